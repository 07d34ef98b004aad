//! E-mail addresses: each in one way of writing, by which it is kept, compared and shown.

use crate::{dns::DomainName, text::unseen};

/// Bytes of an address (RFC 5321, section 4.5.3.1.3, less the two angle brackets).
const LONGEST: usize = 254;

/// An address with a domain that could be somebody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// With ASCII in lower case, and the domain canonical.
    pub text: String,
    /// Canonical.
    pub domain: String,
}

impl Email {
    /// Read what somebody wrote. Of the part before the `@` only ASCII is folded: what else would
    /// be alike is for nobody to guess. What can't be seen in it is refused.
    pub fn parse(text: &str) -> Option<Self> {
        let (local, domain) = text.split_once('@')?;
        let plain = !local.is_empty() && !local.chars().any(|c| c.is_whitespace() || unseen(c));
        if !plain || text.len() > LONGEST {
            return None;
        }
        let domain = DomainName::parse(domain).ok()?.as_str().to_owned();
        Some(Self { text: format!("{}@{domain}", local.to_ascii_lowercase()), domain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        for (written, text) in [
            ("ada@acme.com", "ada@acme.com"),
            ("Ada@ACME.com", "ada@acme.com"),
            ("ada@acme.com.", "ada@acme.com"),
            ("ada@b\u{fc}cher.example", "ada@xn--bcher-kva.example"),
            ("ada+b.c@mail.acme.com", "ada+b.c@mail.acme.com"),
            // nobody's guess: these are two
            ("\u{d6}do@acme.com", "\u{d6}do@acme.com"),
            ("\u{212a}ate@acme.com", "\u{212a}ate@acme.com"),
        ] {
            let email = Email::parse(written).unwrap();
            assert_eq!(email.text, text, "{written}");
            assert_eq!(email.text.rsplit_once('@').unwrap().1, email.domain);
        }
    }

    #[test]
    fn what_is_no_address_or_only_looks_like_one_is_refused() {
        let long = format!("{}@acme.com", "a".repeat(LONGEST - 8));
        for text in [
            "",
            "ada",
            "@acme.com",
            "ada@",
            "ada@acme",
            "a@b@acme.com",
            "ada@acme.com ",
            " ada@acme.com",
            "a da@acme.com",
            "ada\u{200b}@acme.com",
            "a\u{ad}da@acme.com",
            "ada\n@acme.com",
            "ada@ac me.com",
            "ada@192.0.2.1",
            "ada@acme..com",
            &long,
        ] {
            assert_eq!(Email::parse(text), None, "{text:?}");
        }
        assert!(Email::parse(&long[1..]).is_some());
    }
}
