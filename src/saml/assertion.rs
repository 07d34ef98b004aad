//! What an assertion says of a person, once it may be believed, and where the identity providers
//! put an e-mail and a name.

use jiff::Timestamp;
use roxmltree::Node;

use super::refusal::shown;
use super::signature::required;
use super::xml::{attribute, children, content};
use super::{Refusal, SAML};
use crate::text::unseen;

/// Bytes of a NameID: the key of a person in the ledger.
const MAX_NAME_ID: usize = 1024;
/// Bytes of an e-mail address (RFC 5321, section 4.5.3.1.3, less the two angle brackets).
const MAX_EMAIL: usize = 254;

/// Bytes of a name that is shown.
const MAX_DISPLAY_NAME: usize = 256;

const TRANSIENT: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient";
const PERSISTENT: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent";
const EMAIL_ADDRESS: &str = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress";

/// Where an e-mail is looked for, the best first: the claim of Entra and AD FS, the two object
/// identifiers of directories (Shibboleth's, Keycloak's), then what administrators are told to
/// write for Okta, Google, JumpCloud and OneLogin (`User.email`). Capitals don't matter.
const EMAIL: &[&str] = &[
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress",
    "urn:oid:0.9.2342.19200300.100.1.3",
    "urn:oid:1.2.840.113549.1.9.1",
    "email",
    "mail",
    "emailAddress",
    "user.email",
    "primaryEmail",
    "email_address",
];
const DISPLAY_NAME: &[&str] = &[
    "http://schemas.microsoft.com/identity/claims/displayname",
    "urn:oid:2.16.840.1.113730.3.1.241",
    "displayName",
    "display_name",
    "user.displayName",
    "fullName",
    "full_name",
    "name",
    "urn:oid:2.5.4.3",
    "cn",
];
const GIVEN_NAME: &[&str] = &[
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/givenname",
    "urn:oid:2.5.4.42",
    "givenName",
    "given_name",
    "firstName",
    "first_name",
    "user.firstName",
];
const FAMILY_NAME: &[&str] = &[
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/surname",
    "urn:oid:2.5.4.4",
    "surname",
    "sn",
    "familyName",
    "family_name",
    "lastName",
    "last_name",
    "user.lastName",
];

/// What an identity provider says of a person. Only [`super::verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    pub id: String,
    /// The entity ID of the identity provider.
    pub issuer: String,
    pub name_id: NameId,
    pub session_index: Option<String>,
    /// In the order of the document; a name may be there more than once.
    pub attributes: Vec<Attribute>,
    /// When the person showed who they are.
    pub authn_instant: Timestamp,
    /// When the identity provider wants a session that begins with it to end.
    pub session_expires_at: Option<Timestamp>,
    /// The latest moment at which it could still be accepted, skew included: until then it must be
    /// remembered, so that it isn't accepted again.
    pub expires_at: Timestamp,
    _verified: Verified,
}

/// Keeps others from making an [`Assertion`].
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verified;

/// A lasting name of a person (saml-core-2.0-os, section 2.2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameId {
    /// 1 to 1024 bytes without characters that nobody sees.
    pub value: String,
    pub format: Option<String>,
    pub name_qualifier: Option<String>,
    pub sp_name_qualifier: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    pub name: String,
    pub name_format: Option<String>,
    pub friendly_name: Option<String>,
    /// Without those that are made of elements.
    pub values: Vec<String>,
}

/// What was made out of an assertion by checking it.
pub(super) struct Validity {
    pub authn_instant: Timestamp,
    pub session_index: Option<String>,
    pub session_expires_at: Option<Timestamp>,
    pub expires_at: Timestamp,
}

/// Reads an Assertion that may be believed, of a shape that is accepted, for the service provider
/// of this entity ID.
pub(super) fn read(
    assertion: Node<'_, '_>,
    service_provider: &str,
    validity: Validity,
) -> Result<Assertion, Refusal> {
    let text =
        |name| children(assertion, (SAML, name)).next().and_then(content).unwrap_or_default();
    let statements = children(assertion, (SAML, "AttributeStatement"));
    let attributes = statements.flat_map(|statement| children(statement, (SAML, "Attribute")));
    let issuer = text("Issuer");
    Ok(Assertion {
        id: required(assertion, "ID")?.to_owned(),
        name_id: name_id(assertion, &issuer, service_provider)?,
        issuer,
        session_index: validity.session_index,
        attributes: attributes.map(read_attribute).collect::<Result<_, _>>()?,
        authn_instant: validity.authn_instant,
        session_expires_at: validity.session_expires_at,
        expires_at: validity.expires_at,
        _verified: Verified,
    })
}

fn name_id(
    assertion: Node<'_, '_>,
    issuer: &str,
    service_provider: &str,
) -> Result<NameId, Refusal> {
    let subject = children(assertion, (SAML, "Subject")).next();
    let node = subject.and_then(|subject| children(subject, (SAML, "NameID")).next());
    let bad = Refusal::BadNameId { limit: MAX_NAME_ID };
    let Some(node) = node else { return Err(bad) };
    let value = content(node).unwrap_or_default();
    // the value is compared as it is (saml-core-2.0-os, section 1.3.1), so one that only looks like
    // another isn't let in
    let plain = !value.is_empty() && value.trim() == value && !value.chars().any(unseen);
    if !plain || value.len() > MAX_NAME_ID {
        return Err(bad);
    }
    let owned = |name| attribute(node, name).map(|text| text.trim_ascii().to_owned());
    let format = owned("Format");
    if format.as_deref() == Some(TRANSIENT) {
        return Err(Refusal::TransientNameId);
    }
    let (name_qualifier, sp_name_qualifier) = (owned("NameQualifier"), owned("SPNameQualifier"));
    // the same value of another qualifier is another person (saml-core-2.0-os, section 8.3.7)
    if format.as_deref() == Some(PERSISTENT) {
        for (attribute, found, expected) in [
            ("NameQualifier", &name_qualifier, issuer),
            ("SPNameQualifier", &sp_name_qualifier, service_provider),
        ] {
            if let Some(found) = found.as_deref().filter(|found| *found != expected) {
                let (expected, found) = (expected.to_owned(), shown(found));
                return Err(Refusal::WrongQualifier { attribute, expected, found });
            }
        }
    }
    Ok(NameId { value, format, name_qualifier, sp_name_qualifier })
}

fn read_attribute(node: Node<'_, '_>) -> Result<Attribute, Refusal> {
    Ok(Attribute {
        name: required(node, "Name")?.to_owned(),
        name_format: attribute(node, "NameFormat").map(str::to_owned),
        friendly_name: attribute(node, "FriendlyName").map(str::to_owned),
        values: children(node, (SAML, "AttributeValue")).filter_map(content).collect(),
    })
}

impl Assertion {
    /// The person's e-mail address, in ASCII lower case: of the attribute that is `configured`, and
    /// no other; else of the first attribute that usually has it, in a fixed order; else the
    /// NameID, if its format says that it is one.
    pub fn email(&self, configured: Option<&str>) -> Option<String> {
        if let Some(name) = configured {
            return self.configured(name).find_map(email);
        }
        let named = EMAIL.iter().find_map(|name| self.usual(name).find_map(email));
        let is_email = self.name_id.format.as_deref() == Some(EMAIL_ADDRESS);
        named.or_else(|| is_email.then(|| email(&self.name_id.value)).flatten())
    }

    /// What the person is called: by the attribute that is `configured`, and no other; else by the
    /// first that usually says it; else by given and family name.
    pub fn display_name(&self, configured: Option<&str>) -> Option<String> {
        if let Some(name) = configured {
            return self.configured(name).find_map(display);
        }
        let first =
            |names: &[&str]| names.iter().find_map(|name| self.usual(name).find_map(display));
        first(DISPLAY_NAME).or_else(|| match (first(GIVEN_NAME), first(FAMILY_NAME)) {
            (Some(given), Some(family)) => Some(format!("{given} {family}")),
            (given, family) => given.or(family),
        })
    }

    /// The values of the attributes of exactly this name, or FriendlyName.
    fn configured(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values(move |attribute| {
            attribute.name == name || attribute.friendly_name.as_deref() == Some(name)
        })
    }

    /// The values of the attributes of this name, whatever its capitals.
    fn usual(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values(move |attribute| attribute.name.eq_ignore_ascii_case(name))
    }

    fn values(&self, named: impl Fn(&Attribute) -> bool) -> impl Iterator<Item = &str> {
        let attributes = self.attributes.iter().filter(move |attribute| named(attribute));
        attributes.flat_map(|attribute| &attribute.values).map(String::as_str)
    }
}

/// A value that looks like an e-mail address. Only ASCII is folded: what else would be alike is for
/// nobody to guess.
fn email(value: &str) -> Option<String> {
    let value = value.trim_ascii();
    let (local, domain) = value.split_once('@')?;
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '@';
    let good =
        !local.is_empty() && !domain.is_empty() && local.chars().chain(domain.chars()).all(plain);
    (good && value.len() <= MAX_EMAIL).then(|| value.to_ascii_lowercase())
}

/// A value that can be shown as somebody's name.
fn display(value: &str) -> Option<String> {
    let value = value.trim();
    let good = !value.is_empty()
        && value.len() <= MAX_DISPLAY_NAME
        && !value.chars().any(char::is_control);
    good.then(|| value.to_owned())
}

#[cfg(test)]
mod tests;
