//! The parameters of a request (RFC 6749, section 3.1): each at most once, and an empty one is none; nor
//! is one with a NUL character, which no parameter may have (appendix A) and no database keeps.

use url::form_urlencoded;

pub(super) struct Params(Vec<(String, String)>);

/// A parameter that came more than once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Repeated;

impl Params {
    /// From a query string or a body of type application/x-www-form-urlencoded.
    pub fn parse(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// The value of a parameter of a request that repeats none.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty() && !value.contains('\0'))
    }

    /// The value of a parameter that must not be repeated, whatever the others are.
    pub fn only(&self, name: &str) -> Result<Option<&str>, Repeated> {
        let times = self.0.iter().filter(|(key, _)| key == name).count();
        if times > 1 { Err(Repeated) } else { Ok(self.get(name)) }
    }

    /// Refuse a request that repeats any parameter.
    pub fn each_once(&self) -> Result<(), Repeated> {
        let mut names: Vec<_> = self.0.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) { Err(Repeated) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_there_once_and_not_empty_or_it_is_not_there() {
        let params = Params::parse(b"a=1&b=&c=2%20+3&c=4&d=5%00");
        assert_eq!(params.only("a"), Ok(Some("1")));
        assert_eq!(params.only("b"), Ok(None));
        assert_eq!(params.only("d"), Ok(None));
        assert_eq!(params.only("c"), Err(Repeated));
        assert_eq!(params.get("c"), Some("2  3"));
        assert_eq!(params.each_once(), Err(Repeated));
        assert_eq!(Params::parse(b"a=1&b=2").each_once(), Ok(()));
    }
}
