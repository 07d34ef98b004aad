//! Domain names in their canonical form, and what to write instead of what isn't one.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use super::challenge::LABEL;

/// The longest name that DNS carries, in its text form without the trailing dot (RFC 1035, 2.3.4).
const LONGEST: usize = 253;
/// The longest label (RFC 1035, 2.3.4).
const LONGEST_LABEL: usize = 63;
/// What UTS 46 takes for a dot, beside the dot itself.
const DOTS: [char; 3] = ['\u{3002}', '\u{ff0e}', '\u{ff61}'];

/// A registrable-looking domain name: lower case, A-labels, at least two labels, no trailing dot,
/// short enough to have the challenge label put before it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

/// Why a text is not a domain name. Its message says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotADomain {
    #[error("this is not a domain name: write it like acme.com")]
    Malformed,
    #[error("there is nothing: write a domain name like acme.com")]
    Empty,
    #[error("this is an IP address: write a domain name like acme.com")]
    Address,
    #[error("this has only one label: write a whole domain name like acme.com")]
    SingleLabel,
    #[error("wildcards can't be proved: write {0}, with includeSubdomains: true for what is below")]
    Wildcard(DomainName),
    #[error("this is an e-mail address: write the domain alone, {0}")]
    Email(DomainName),
    #[error("this is a URL: write the domain alone, {0}")]
    Url(DomainName),
    #[error("this is more than one name: write one, and make an object for each")]
    Several,
    #[error(
        "two dots have nothing between them, or the name begins with one: write it like acme.com"
    )]
    EmptyLabel,
    #[error("a label begins or ends with a hyphen: no domain name has that")]
    Hyphen,
    #[error("there is an underscore: a domain name has letters, digits and hyphens")]
    Underscore,
    #[error(
        "the label {0} stands for no name that can be written in letters: write the name itself, or copy what your registrar shows"
    )]
    FakeALabel(String),
    #[error("a label is longer than {LONGEST_LABEL} characters, as DNS counts them")]
    LabelTooLong,
    #[error("this name is too long to put {LABEL} before it: prove a shorter, parent domain")]
    TooLong,
}

impl DomainName {
    /// Read what a person wrote: capitals, Unicode (UTS 46) and a trailing dot are fine.
    ///
    /// # Errors
    /// It is no domain name, or none that can be proved.
    pub fn parse(text: &str) -> Result<Self, NotADomain> {
        Self::canonical(text).ok_or_else(|| diagnosis(text))
    }

    fn canonical(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let ascii = idna::domain_to_ascii_strict(text).ok()?;
        let (_, last) = ascii.rsplit_once('.')?;
        // no top-level domain is a number (RFC 3696, 2): this is an address in the making
        let is_address = last.bytes().all(|b| b.is_ascii_digit());
        let has_all = !ascii.split('.').any(str::is_empty);
        let fits = LABEL.len() + 1 + ascii.len() <= LONGEST;
        (has_all && fits && !is_address).then_some(Self(ascii))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `suffix` or below it. On label boundaries: notacme.com is not below acme.com.
    pub fn is_within(&self, suffix: &str) -> bool {
        let above = self.0.strip_suffix(suffix);
        !suffix.is_empty() && above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    }
}

/// What is wrong with a text that is no domain name: `idna` says only that something is.
fn diagnosis(text: &str) -> NotADomain {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return NotADomain::Empty;
    }
    if text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok() {
        return NotADomain::Address;
    }
    if let Some(meant) = meant_by_url(text) {
        return NotADomain::Url(meant);
    }
    if let Some(meant) = text.rsplit_once('@').and_then(|(_, host)| DomainName::canonical(host)) {
        return NotADomain::Email(meant);
    }
    if let Some(meant) = text.strip_prefix("*.").and_then(DomainName::canonical) {
        return NotADomain::Wildcard(meant);
    }
    if text.contains(|c: char| c == ',' || c == ';' || c.is_whitespace()) {
        return NotADomain::Several;
    }
    let dotted = text.replace(DOTS, ".");
    let labels: Vec<_> = dotted.split('.').collect();
    if labels.iter().any(|label| label.is_empty()) {
        return NotADomain::EmptyLabel;
    }
    if labels.iter().any(|label| label.starts_with('-') || label.ends_with('-')) {
        return NotADomain::Hyphen;
    }
    if dotted.contains('_') {
        return NotADomain::Underscore;
    }
    if let Some(fake) = labels.iter().find(|label| is_fake(label)) {
        return NotADomain::FakeALabel((*fake).to_owned());
    }
    if labels
        .iter()
        .any(|label| idna::domain_to_ascii(label).is_ok_and(|l| l.len() > LONGEST_LABEL))
    {
        return NotADomain::LabelTooLong;
    }
    // the lengths apart, all is well with it, or it is not a name at all
    match idna::domain_to_ascii(text) {
        Ok(ascii) if ascii.len() + LABEL.len() + 1 > LONGEST => NotADomain::TooLong,
        Ok(ascii) if ascii.parse::<Ipv4Addr>().is_ok() || ends_in_number(&ascii) => {
            NotADomain::Address
        }
        Ok(ascii) if !ascii.contains('.') && idna::domain_to_ascii_strict(text).is_ok() => {
            NotADomain::SingleLabel
        }
        _ => NotADomain::Malformed,
    }
}

fn ends_in_number(ascii: &str) -> bool {
    ascii.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether a label says that it is encoded, and isn't: it decodes to nothing, to what is written
/// without it, or to something that encodes to another label (RFC 5890, 2.3.2.1).
fn is_fake(label: &str) -> bool {
    let encoded = label.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("xn--"));
    encoded && idna::domain_to_ascii_strict(label).is_err()
}

/// The host of a URL or of a host with a port or path, without the `www.` that nobody has in an
/// e-mail address.
fn meant_by_url(text: &str) -> Option<DomainName> {
    if !text.contains([':', '/', '?', '#']) {
        return None;
    }
    let after_scheme = text.split_once("://").map_or(text, |(_, rest)| rest);
    let rest = after_scheme.strip_prefix("mailto:").unwrap_or(after_scheme);
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.split(':').next()?;
    let without_www = host.strip_prefix("www.").and_then(DomainName::canonical);
    without_www.or_else(|| DomainName::canonical(host))
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    #[test]
    fn names_are_made_canonical() {
        for (text, canonical) in [
            ("acme.com", "acme.com"),
            ("ACME.Com.", "acme.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("bu\u{308}cher.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("acme\u{3002}com", "acme.com"),
            ("ａｃｍｅ.com", "acme.com"),
            ("straße.example", "xn--strae-oqa.example"),
            ("a.b.c.acme.co.uk", "a.b.c.acme.co.uk"),
            ("4acme.com", "4acme.com"),
        ] {
            assert_eq!(DomainName::parse(text).unwrap().as_str(), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_no_domain_is_refused_with_its_reason() {
        let label = "a".repeat(63);
        let long = [label.as_str(); 4].join(".");
        let acme = || name("acme.com");
        for (text, why) in [
            ("", NotADomain::Empty),
            (".", NotADomain::Empty),
            ("com", NotADomain::SingleLabel),
            ("localhost.", NotADomain::SingleLabel),
            ("192.0.2.1", NotADomain::Address),
            ("１２７.0.0.1", NotADomain::Address),
            ("1.2.3.4.5", NotADomain::Address),
            ("2001:db8::1", NotADomain::Address),
            ("[2001:db8::1]", NotADomain::Address),
            ("a..b", NotADomain::EmptyLabel),
            (".acme.com", NotADomain::EmptyLabel),
            ("acme.com..", NotADomain::EmptyLabel),
            ("-acme.com", NotADomain::Hyphen),
            ("acme-.com", NotADomain::Hyphen),
            ("acme.com-", NotADomain::Hyphen),
            ("ac_me.com", NotADomain::Underscore),
            ("ac me.com", NotADomain::Several),
            ("acme.com,acme.io", NotADomain::Several),
            ("ada@acme.com", NotADomain::Email(acme())),
            ("@ACME.com", NotADomain::Email(acme())),
            ("mailto:ada@acme.com", NotADomain::Url(acme())),
            ("https://www.acme.com/about?a=b", NotADomain::Url(acme())),
            ("https://ada:secret@acme.com:8443", NotADomain::Url(acme())),
            ("acme.com:443", NotADomain::Url(acme())),
            ("acme.com/", NotADomain::Url(acme())),
            ("https://192.0.2.1/", NotADomain::Malformed),
            ("*.acme.com", NotADomain::Wildcard(acme())),
            ("*", NotADomain::Malformed),
            ("a*.acme.com", NotADomain::Malformed),
            ("xn--a.com", NotADomain::FakeALabel("xn--a".into())),
            ("xn--acme-.com", NotADomain::Hyphen),
            ("acme.xn--", NotADomain::Hyphen),
            // of a name that isn't in normalization form C, and of one in capitals
            ("xn--bucher-rve.com", NotADomain::FakeALabel("xn--bucher-rve".into())),
            ("xn--ACME-.com", NotADomain::Hyphen),
            ("ab--cd.com", NotADomain::Malformed),
            ("acme\u{0}.com", NotADomain::Malformed),
            ("\u{202e}acme.com", NotADomain::Malformed),
            (&format!("{}.com", "a".repeat(64)), NotADomain::LabelTooLong),
            (&format!("{}.com", "ü".repeat(60)), NotADomain::LabelTooLong),
            (&format!("{label}.{label}.{label}.{}", "a".repeat(50)), NotADomain::TooLong),
            (&long, NotADomain::TooLong),
        ] {
            assert_eq!(DomainName::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_refusal_says_which_domain_was_probably_meant() {
        for (text, says) in [
            ("ada@acme.com", "write the domain alone, acme.com"),
            ("https://www.acme.com/", "write the domain alone, acme.com"),
            ("*.acme.com", "write acme.com, with includeSubdomains: true"),
        ] {
            let said = DomainName::parse(text).unwrap_err().to_string();
            assert!(said.contains(says), "{said}");
        }
    }

    #[test]
    fn a_suffix_ends_at_a_label() {
        let within = |text: &str, suffix| name(text).is_within(suffix);
        assert!(within("acme.com", "acme.com") && within("mail.acme.com", "acme.com"));
        assert!(within("acme.com", "com"));
        assert!(!within("notacme.com", "acme.com") && !within("acme.com", "mail.acme.com"));
        assert!(!within("acme.com", ""));
    }
}
