//! Which domains can be anybody's to prove: not those that many share, and those only that the
//! class lets its organizations have.

use std::{collections::BTreeSet, sync::LazyLock};

use super::DomainName;

/// Names that are no company's, or aren't looked up in the public DNS: IANA's registry of
/// special-use domain names (RFC 6761), with all of .arpa, and .internal, which ICANN keeps for
/// private use.
const SPECIAL_USE: [&str; 12] = [
    "alt",
    "arpa",
    "example",
    "example.com",
    "example.net",
    "example.org",
    "internal",
    "invalid",
    "local",
    "localhost",
    "onion",
    "test",
];

static FREE_MAIL: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
    let lines = include_str!("free-mail.txt").lines();
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
});

/// What a class lets its organizations claim. By default any domain that a company can own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimable {
    /// Canonical names; what is at or below one of them. `None`: any.
    pub allow: Option<Vec<String>>,
    /// The same, before `allow`: none of these.
    pub deny: Vec<String>,
    /// Whether special-use names may be claimed.
    pub special_use: bool,
    /// Whether suffixes may be claimed under which a company lets anybody register (github.io).
    pub private_suffixes: bool,
}

/// Why a domain can't be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotClaimable {
    #[error("anybody may register a name below it: claim the name that is registered to you")]
    PublicSuffix,
    #[error(
        "its owner lets anybody register a name below it: claim the name that is registered to you, or, if it is yours, have your class allow private suffixes"
    )]
    PrivateSuffix,
    #[error("anybody gets a mailbox there: claim the domain of your company's own addresses")]
    FreeMail,
    #[error("it is kept for special use and nobody's: claim a domain that is registered to you")]
    SpecialUse,
    #[error("the class of this organization doesn't allow it: ask the platform team")]
    NotAllowed,
    #[error(
        "the class of this organization denies a name below it: write it without includeSubdomains"
    )]
    CoversDenied,
}

impl Claimable {
    /// What every class refuses.
    ///
    /// # Errors
    /// The first thing that speaks against the domain.
    pub fn by_any_class(name: &DomainName) -> Result<(), NotClaimable> {
        Self { special_use: true, private_suffixes: true, ..Self::default() }.check(name, false)
    }

    /// Whether the domain may be claimed, with what is below it or without.
    ///
    /// # Errors
    /// The first thing that speaks against it.
    pub fn check(&self, name: &DomainName, include_subdomains: bool) -> Result<(), NotClaimable> {
        match own_suffix(name) {
            Some(psl::Type::Icann) => return Err(NotClaimable::PublicSuffix),
            Some(psl::Type::Private) if !self.private_suffixes => {
                return Err(NotClaimable::PrivateSuffix);
            }
            _ => {}
        }
        if is_within_any(name, &FREE_MAIL) {
            return Err(NotClaimable::FreeMail);
        }
        if !self.special_use && SPECIAL_USE.iter().any(|suffix| name.is_within(suffix)) {
            return Err(NotClaimable::SpecialUse);
        }
        let within = |suffixes: &[String]| suffixes.iter().any(|suffix| name.is_within(suffix));
        if within(&self.deny) || self.allow.as_deref().is_some_and(|allow| !within(allow)) {
            return Err(NotClaimable::NotAllowed);
        }
        let is_below = |denied: &String| {
            denied.strip_suffix(name.as_str()).is_some_and(|above| above.ends_with('.'))
        };
        if include_subdomains && self.deny.iter().any(is_below) {
            return Err(NotClaimable::CoversDenied);
        }
        Ok(())
    }
}

/// Which part of the public suffix list the name itself is on. A last label that isn't on it is no
/// suffix here: it is no company's either, but nobody will find a record there.
fn own_suffix(name: &DomainName) -> Option<psl::Type> {
    let suffix = psl::suffix(name.as_str().as_bytes())?;
    suffix.typ().filter(|_| suffix.as_bytes() == name.as_str().as_bytes())
}

fn is_within_any(name: &DomainName, suffixes: &BTreeSet<&str>) -> bool {
    let mut name = name.as_str();
    loop {
        if suffixes.contains(name) {
            return true;
        }
        match name.split_once('.') {
            Some((_, above)) => name = above,
            None => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(rules: &Claimable, text: &str) -> Option<NotClaimable> {
        rules.check(&DomainName::parse(text).unwrap(), false).err()
    }

    #[test]
    fn what_many_share_is_nobodys() {
        let any = Claimable::default();
        for (text, why) in [
            ("acme.com", None),
            ("mail.acme.co.uk", None),
            ("acme.corp", None),
            ("co.uk", Some(NotClaimable::PublicSuffix)),
            ("foo.ck", Some(NotClaimable::PublicSuffix)),
            ("github.io", Some(NotClaimable::PrivateSuffix)),
            ("acme.github.io", None),
            ("gmail.com", Some(NotClaimable::FreeMail)),
            ("hotmail.co.uk", Some(NotClaimable::FreeMail)),
            ("vip.qq.com", Some(NotClaimable::FreeMail)),
            ("notgmail.com", None),
            ("acme.example", Some(NotClaimable::SpecialUse)),
            ("example.com", Some(NotClaimable::SpecialUse)),
            ("mail.example.org", Some(NotClaimable::SpecialUse)),
            ("acme.internal", Some(NotClaimable::SpecialUse)),
            ("printer.local", Some(NotClaimable::SpecialUse)),
            ("2.0.192.in-addr.arpa", Some(NotClaimable::SpecialUse)),
        ] {
            assert_eq!(refused(&any, text), why, "{text}");
        }
    }

    #[test]
    fn a_class_allows_what_is_no_companys_and_never_what_everybody_has() {
        let lax = Claimable { special_use: true, private_suffixes: true, ..Claimable::default() };
        for text in ["acme.example", "github.io", "acme.internal"] {
            assert_eq!(refused(&lax, text), None, "{text}");
            let name = DomainName::parse(text).unwrap();
            assert_eq!(Claimable::by_any_class(&name), Ok(()), "{text}");
        }
        assert_eq!(refused(&lax, "co.uk"), Some(NotClaimable::PublicSuffix));
        assert_eq!(refused(&lax, "gmail.com"), Some(NotClaimable::FreeMail));
    }

    #[test]
    fn a_class_allows_and_denies_at_and_below_a_name() {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let none = Some(NotClaimable::NotAllowed);
        let rules = Claimable {
            allow: Some(list(&["acme.com", "org"])),
            deny: list(&["evil.acme.com"]),
            ..Claimable::default()
        };
        for (text, why) in [
            ("acme.com", None),
            ("mail.acme.com", None),
            ("acme.org", None),
            ("notacme.com", none),
            ("acme.io", none),
            ("evil.acme.com", none),
            ("more.evil.acme.com", none),
        ] {
            assert_eq!(refused(&rules, text), why, "{text}");
        }
        let with_all_below = |text| rules.check(&DomainName::parse(text).unwrap(), true).err();
        assert_eq!(with_all_below("acme.com"), Some(NotClaimable::CoversDenied));
        assert_eq!(with_all_below("mail.acme.com"), None);
        let nothing = Claimable { allow: Some(vec![]), ..Claimable::default() };
        assert_eq!(refused(&nothing, "acme.com"), none);
        let all_but = Claimable { deny: list(&["acme.com"]), ..Claimable::default() };
        assert_eq!(refused(&all_but, "acme.com"), none);
        assert_eq!(refused(&all_but, "acme.io"), None);
    }

    #[test]
    fn the_bundled_list_is_of_canonical_names_in_order_that_nobody_registers_below() {
        let text = include_str!("free-mail.txt");
        let names: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(names.len() > 300, "{}", names.len());
        assert!(names.is_sorted() && FREE_MAIL.len() == names.len(), "out of order or twice");
        for text in names {
            let name = DomainName::parse(text).unwrap();
            assert_eq!(name.as_str(), text);
            assert_eq!(own_suffix(&name), None, "{text} is a suffix");
        }
    }
}
