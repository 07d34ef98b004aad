//! Domain names in their canonical form.

use std::{fmt, net::Ipv4Addr};

use super::challenge::LABEL;

/// The longest name that DNS carries, in its text form without the trailing dot (RFC 1035, 2.3.4).
const LONGEST: usize = 253;

/// A registrable-looking domain name: lower case, A-labels, at least two labels, no trailing dot,
/// short enough to have the challenge label put before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DomainName(String);

/// Why a text is not a domain name. Its message says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotADomain {
    #[error("this is not a domain name: write it like acme.com")]
    Malformed,
    #[error("this is an IP address: write a domain name like acme.com")]
    Address,
    #[error("this has only one label: write a whole domain name like acme.com")]
    SingleLabel,
    #[error("this name is too long to put {LABEL} before it: prove a shorter, parent domain")]
    TooLong,
}

impl DomainName {
    /// Read what a person wrote: capitals, Unicode (UTS 46) and a trailing dot are fine.
    pub fn parse(text: &str) -> Result<Self, NotADomain> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let ascii = idna::domain_to_ascii_strict(text).map_err(|_| too_long_or_malformed(text))?;
        if ascii.parse::<Ipv4Addr>().is_ok() {
            return Err(NotADomain::Address);
        }
        let Some((_, last)) = ascii.rsplit_once('.') else {
            return Err(NotADomain::SingleLabel);
        };
        // no top-level domain is a number (RFC 3696, 2): this is an address in the making
        if last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NotADomain::Address);
        }
        if ascii.split('.').any(str::is_empty) {
            return Err(NotADomain::Malformed);
        }
        if LABEL.len() + 1 + ascii.len() > LONGEST {
            return Err(NotADomain::TooLong);
        }
        Ok(Self(ascii))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `idna` says only that something is wrong.
fn too_long_or_malformed(text: &str) -> NotADomain {
    if text.len() > LONGEST { NotADomain::TooLong } else { NotADomain::Malformed }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_canonical() {
        for (text, canonical) in [
            ("acme.com", "acme.com"),
            ("ACME.Com.", "acme.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("a.b.c.acme.co.uk", "a.b.c.acme.co.uk"),
        ] {
            assert_eq!(DomainName::parse(text).unwrap().as_str(), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_no_domain_is_refused_with_its_reason() {
        let label = "a".repeat(63);
        let long = [label.as_str(); 4].join(".");
        for (text, why) in [
            ("", NotADomain::Malformed),
            ("com", NotADomain::SingleLabel),
            ("192.0.2.1", NotADomain::Address),
            ("1.2.3.4.5", NotADomain::Address),
            ("a..b", NotADomain::Malformed),
            (".acme.com", NotADomain::Malformed),
            ("acme.com..", NotADomain::Malformed),
            ("-acme.com", NotADomain::Malformed),
            ("acme-.com", NotADomain::Malformed),
            ("ac_me.com", NotADomain::Malformed),
            ("ac me.com", NotADomain::Malformed),
            ("ada@acme.com", NotADomain::Malformed),
            ("xn--a.com", NotADomain::Malformed),
            (&format!("{}.com", "a".repeat(64)), NotADomain::Malformed),
            (&format!("{label}.{label}.{label}.{}", "a".repeat(50)), NotADomain::TooLong),
            (&long, NotADomain::TooLong),
        ] {
            assert_eq!(DomainName::parse(text), Err(why), "{text}");
        }
    }
}
