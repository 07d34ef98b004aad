//! The TXT record that proves a domain.

use std::fmt::Write as _;

use super::DomainName;
use crate::keys::InstallationKey;

/// The label under which the record is published (RFC 8552: names that begin with an underscore).
pub(super) const LABEL: &str = "_rollcall-challenge";

/// How every value begins.
pub(super) const PREFIX: &str = "rollcall-verification=";

/// How much of the HMAC the value shows: 160 bits can't be guessed, and fit on one line.
const SHOWN: usize = 20;

/// The name of the record that proves `domain`.
pub fn record_name(domain: &DomainName) -> String {
    format!("{LABEL}.{domain}")
}

/// The value that proves `domain` for the organization with this id. The same again as long as
/// key and id are; different for any other organization.
pub fn record_value(key: &InstallationKey, organization: &str, domain: &DomainName) -> String {
    // a domain name holds no NUL, so that no two pairs give the same text
    let tag = key.mac(format!("rollcall domain challenge v1\0{domain}\0{organization}").as_bytes());
    let mut value = String::from(PREFIX);
    for byte in &tag.as_ref()[..SHOWN] {
        write!(value, "{byte:02x}").expect("writing to a string does not fail");
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_belongs_to_one_organization_domain_and_installation() {
        let key = |byte| InstallationKey::new(&[byte; 32]).unwrap();
        let name = |text| DomainName::parse(text).unwrap();
        let value = record_value(&key(1), "org-1", &name("acme.com"));
        assert_eq!(value.len(), PREFIX.len() + 40);
        assert_eq!(value, record_value(&key(1), "org-1", &name("ACME.com.")));
        assert_ne!(value, record_value(&key(1), "org-2", &name("acme.com")));
        assert_ne!(value, record_value(&key(1), "org-1", &name("acme.io")));
        assert_ne!(value, record_value(&key(2), "org-1", &name("acme.com")));
    }
}
