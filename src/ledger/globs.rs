//! Patterns for the names of groups: * stands for any text, ? for one character.
//!
//! Whoever writes the patterns, and the names, must not be able to keep others waiting: all patterns
//! of a list are matched at once, in one walk over the name without a step back (the Shift-And
//! algorithm of Baeza-Yates and Gonnet). Automata that are made on the way, as those of regular
//! expressions, have patterns that are far worse.

use std::{collections::HashMap, mem};

use serde::{Deserialize, Serialize};

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
    /// What tells the names that are meant; made once for many.
    pub fn matcher(&self) -> Matcher {
        Matcher {
            include: self.include.as_deref().map(Patterns::new),
            exclude: Patterns::new(&self.exclude),
        }
    }
}

/// Tells which names [`Globs`] mean.
#[derive(Debug)]
pub struct Matcher {
    include: Option<Patterns>,
    exclude: Patterns,
}

impl Matcher {
    pub fn matches(&self, name: &str) -> bool {
        let fits_any = |patterns: &Patterns| patterns.any_fits(name);
        self.include.as_ref().is_none_or(fits_any) && !self.exclude.any_fits(name)
    }
}

/// Patterns, one behind the other. A bit stands for a place in one of them: before its first
/// character, or behind one that isn't a star. The first word has none, so that each has one before.
#[derive(Debug, Default)]
struct Patterns {
    /// Where a name begins.
    starts: Vec<u64>,
    /// Where a name may end.
    ends: Vec<u64>,
    /// Where there is a star: any character leaves a name there.
    stars: Vec<u64>,
    /// Behind a question mark: any character leads there from the place before.
    any: Vec<u64>,
    /// Behind a character, which alone leads there: by word.
    behind: HashMap<char, Vec<(usize, u64)>>,
}

impl Patterns {
    fn new(globs: &[String]) -> Self {
        let mut patterns = Self::default();
        let mut place = 64;
        for glob in globs {
            set(&mut patterns.starts, place);
            for c in glob.chars() {
                if c == '*' {
                    set(&mut patterns.stars, place);
                    continue;
                }
                place += 1;
                if c == '?' {
                    set(&mut patterns.any, place);
                } else {
                    patterns.set_behind(c, place);
                }
            }
            set(&mut patterns.ends, place);
            place += 1;
        }
        let Self { starts, ends, stars, any, .. } = &mut patterns;
        for places in [starts, ends, stars, any] {
            places.resize(place.div_ceil(64), 0);
        }
        patterns
    }

    fn set_behind(&mut self, c: char, place: usize) {
        let (word, bit) = (place / 64, 1 << (place % 64));
        let words = self.behind.entry(c).or_default();
        match words.last_mut() {
            Some((last, bits)) if *last == word => *bits |= bit,
            _ => words.push((word, bit)),
        }
    }

    /// Whether the name fits one of them.
    fn any_fits(&self, name: &str) -> bool {
        let mut at = self.starts.clone();
        let mut then = vec![0; at.len()];
        for c in name.chars() {
            // from each place to the next; nothing leads behind the end of a pattern
            let next = |word: usize| at[word] << 1 | at[word - 1] >> 63;
            for word in 1..at.len() {
                then[word] = next(word) & self.any[word] | at[word] & self.stars[word];
            }
            for &(word, bits) in self.behind.get(&c).into_iter().flatten() {
                then[word] |= next(word) & bits;
            }
            mem::swap(&mut at, &mut then);
        }
        at.iter().zip(&self.ends).any(|(at, ends)| at & ends != 0)
    }
}

fn set(places: &mut Vec<u64>, place: usize) {
    let words = places.len().max(place / 64 + 1);
    places.resize(words, 0);
    places[place / 64] |= 1 << (place % 64);
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    fn globs(include: Option<&[&str]>, exclude: &[&str]) -> Matcher {
        let owned = |list: &[&str]| list.iter().map(|&glob| glob.to_owned()).collect();
        Globs { include: include.map(owned), exclude: owned(exclude) }.matcher()
    }

    #[test]
    fn an_omitted_list_is_every_name_and_an_empty_one_none() {
        assert!(globs(None, &[]).matches("Engineering"));
        assert!(!globs(Some(&[]), &[]).matches("Engineering"));
        assert!(globs(Some(&["Team *"]), &[]).matches("Team A"));
        assert!(!globs(Some(&["Team *"]), &["*secret*"]).matches("Team secret"));
        assert!(!globs(None, &["Team ?"]).matches("Team A"));
        assert!(globs(None, &["Team ?"]).matches("Team AB"));
    }

    #[test]
    fn a_pattern_is_for_the_whole_name_and_a_character_is_one_in_any_script() {
        let fits = |glob: &str, name: &str| globs(Some(&[glob]), &[]).matches(name);
        assert!(fits("*", "") && fits("", "") && !fits("", "a") && !fits("?", ""));
        assert!(fits("工?", "工程") && !fits("工?", "工") && fits("*程", "工程"));
        assert!(fits("a*b*c", "a-b-b-c") && !fits("a*b*c", "a-b-b-c-d"));
        assert!(!fits("team", "Team") && fits("a.c", "a.c") && !fits("a.c", "abc"));
        // what one pattern ends with leads into no other
        assert!(!globs(Some(&["a", "b"]), &[]).matches("ab"));
        assert!(!globs(Some(&["a", "*b"]), &[]).matches("a!"));
    }

    /// The same by trying everything.
    fn fits(glob: &[char], name: &[char]) -> bool {
        match (glob, name) {
            ([], _) => name.is_empty(),
            (['*', glob @ ..], _) => (0..=name.len()).any(|from| fits(glob, &name[from..])),
            ([c, glob @ ..], [first, name @ ..]) => (*c == '?' || c == first) && fits(glob, name),
            (_, []) => false,
        }
    }

    proptest! {
        #[test]
        fn what_fits_is_found(
            patterns in prop::collection::vec("[ab?*]{0,9}", 0..4),
            padding in "[ab]{0,70}",
            name in "[ab]{0,12}",
        ) {
            // that the patterns lie across words
            let all: Vec<String> = patterns.iter().cloned().chain([padding]).rev().collect();
            let name: Vec<char> = name.chars().collect();
            let tried = all.iter().any(|p| fits(&p.chars().collect::<Vec<_>>(), &name));
            let name: String = name.into_iter().collect();
            prop_assert_eq!(Patterns::new(&all).any_fits(&name), tried);
        }
    }

    #[test]
    fn no_patterns_of_one_length_take_much_longer_than_others() {
        // as many, and with names as long, as there may be
        let name = "a".repeat(256);
        let took = |glob: &str| {
            let patterns = Patterns::new(&vec![glob.to_owned(); 64]);
            let once = || {
                let begun = Instant::now();
                assert!(!patterns.any_fits(&name));
                begun.elapsed()
            };
            (0..20).map(|_| once()).min().unwrap()
        };
        let plain = took(&"b".repeat(248));
        for worst in [
            format!("*{}{}", "a".repeat(127), "b".repeat(121)),
            format!("*a{}{}", "?".repeat(126), "b".repeat(121)),
            format!("{}b", "*a".repeat(247)),
        ] {
            let worst = took(&worst);
            assert!(worst < plain * 20, "{worst:?}, the others {plain:?}");
        }
    }
}
