//! SAML 2.0 from the other side: an identity provider, the responses it makes, and those that an
//! attacker makes of them. It shares no code with the product, so that neither hides what the other
//! does wrong.
//!
//! Responses are written so that every signed element is its own exclusive canonical form (sorted
//! attributes, each namespace declared where it is first used, no empty-element tags): its digest
//! is that of its text, and no canonicalization is needed to sign it. What identity providers write
//! otherwise, xmlsec1 signs.

pub mod authn_request;
pub mod encryption;
pub mod heavy;
pub mod hostile;
pub mod idp;
pub mod keys;
pub mod load;
pub mod mutation;
pub mod response;
pub mod signature;
pub mod styles;
pub mod xml;
pub mod xmlsec;

pub(crate) const PROTOCOL: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
pub(crate) const ASSERTION: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
pub(crate) const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
pub(crate) const XENC: &str = "http://www.w3.org/2001/04/xmlenc#";
pub(crate) const XENC11: &str = "http://www.w3.org/2009/xmlenc11#";
pub(crate) const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
/// Formats of a NameID.
pub const PERSISTENT: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent";
pub const TRANSIENT: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient";
pub const EMAIL_ADDRESS: &str = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress";
pub const UNSPECIFIED: &str = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified";
pub(crate) const BASIC: &str = "urn:oasis:names:tc:SAML:2.0:attrname-format:basic";

/// Whom responses are for.
#[derive(Clone, Debug)]
pub struct ServiceProvider {
    pub entity_id: String,
    /// Its assertion consumer service.
    pub acs: String,
}

/// Who is signed in, and what is said of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub name_id: String,
    /// The NameID's format; none is written if it is empty.
    pub format: String,
    pub attributes: Vec<Attribute>,
}

/// One attribute of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    pub name: String,
    /// None is written if it is empty.
    pub name_format: String,
    pub values: Vec<String>,
}

impl Person {
    /// Somebody with a persistent NameID and the attributes `email`, `displayName`, `groups`.
    pub fn new(name_id: &str, email: &str, name: &str) -> Self {
        let attributes = vec![
            Attribute::new("email", &[email]),
            Attribute::new("displayName", &[name]),
            Attribute::new("groups", &["engineering", "research & development"]),
        ];
        Self { name_id: name_id.into(), format: PERSISTENT.into(), attributes }
    }
}

impl Attribute {
    /// One with the name format `basic`.
    pub fn new(name: &str, values: &[&str]) -> Self {
        let values = values.iter().map(ToString::to_string).collect();
        Self { name: name.into(), name_format: BASIC.into(), values }
    }
}
