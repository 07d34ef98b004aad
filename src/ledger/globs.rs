//! Patterns for the names of groups: * stands for any text, ? for one character.

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

/// Which names are meant. The default is all of them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Globs {
    /// `None`: every name. Empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include: Option<Vec<String>>,
    /// Not these, whatever `include` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

impl Globs {
    pub fn matches(&self, name: &str) -> bool {
        let any = |globs: &[String]| globs.iter().any(|glob| WildMatch::new(glob).matches(name));
        self.include.as_deref().is_none_or(any) && !any(&self.exclude)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_omitted_list_is_every_name_and_an_empty_one_none() {
        let globs = |include: Option<&[&str]>, exclude: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|&glob| glob.to_owned()).collect();
            Globs { include: include.map(owned), exclude: owned(exclude) }
        };
        assert!(globs(None, &[]).matches("Engineering"));
        assert!(!globs(Some(&[]), &[]).matches("Engineering"));
        assert!(globs(Some(&["Team *"]), &[]).matches("Team A"));
        assert!(!globs(Some(&["Team *"]), &["*secret*"]).matches("Team secret"));
        assert!(!globs(None, &["Team ?"]).matches("Team A"));
        assert!(globs(None, &["Team ?"]).matches("Team AB"));
    }
}
