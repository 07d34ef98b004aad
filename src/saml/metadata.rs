//! SAML metadata of a company's identity provider: where it signs people in, and the certificates
//! whose keys it signs with (saml-metadata-2.0-os).
//!
//! A signature on the metadata isn't looked at: there is no key to check it by. What vouches for
//! it is the TLS of the URL it came from, or whoever wrote it into the cluster.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::prelude::{BASE64_STANDARD, Engine};
use jiff::Timestamp;
use roxmltree::Node;
use url::Url;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::xml::{self, XmlError, attribute, children, content};
use super::{DS, MD, SAMLP, duration, timestamp};

/// Characters of an entity ID (saml-metadata-2.0-os, section 2.2.1).
const MAX_ENTITY_ID: usize = 1024;
const MAX_URL: usize = 2048;
/// Different signing certificates; a rollover has two.
const MAX_CERTIFICATES: usize = 16;
/// Certificates that are looked at for that, with repetitions and those of authorities.
const MAX_CERTIFICATES_READ: usize = 64;

/// What the metadata says of the identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityProvider {
    /// 1 to 1024 characters, no control characters.
    pub entity_id: String,
    /// An https URL as the identity provider wrote it, which is how it will compare it.
    pub sign_on_url: String,
    pub sign_on_binding: Binding,
    /// Of the keys it signs with: 1 to 16, no two alike, the one that lives longest is the last.
    /// Some or all may have expired.
    pub certificates: Vec<SigningCertificate>,
    /// From when on this metadata must not be used any more; later than the `now` of [`parse`].
    pub valid_until: Option<Timestamp>,
    /// How long it may be used before it is looked at again, by its `cacheDuration` and
    /// `validUntil`. It may be zero or centuries: clamp it.
    pub refresh_after: Option<Duration>,
}

/// How the request to sign somebody in gets to the identity provider (saml-bindings-2.0-os,
/// sections 3.4 and 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    HttpRedirect,
    HttpPost,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningCertificate {
    pub der: Vec<u8>,
    /// Of the DER, 64 lower-case hexadecimal digits.
    pub sha256: String,
    pub not_after: Timestamp,
}

/// Why a document is no metadata to work with. The variants' names are metric labels; the
/// sentences are conditions' messages, hence stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    #[error("the metadata is empty: put the identity provider's SAML metadata there")]
    Empty,
    #[error("the metadata isn't text in UTF-8: save it as XML in UTF-8")]
    NotUtf8,
    #[error(
        "this is an HTML page, not SAML metadata: use the URL that downloads the XML, and that \
         can be read without signing in"
    )]
    Html,
    #[error(
        "this is JSON, not SAML metadata: use the URL of the SAML metadata; an OpenID Connect \
         provider's is another one"
    )]
    Json,
    #[error(
        "the metadata isn't well-formed XML: download it from the identity provider again and \
         leave it as it is"
    )]
    NotXml,
    #[error("the metadata has a document type declaration, which isn't accepted: remove it")]
    HasDtd,
    #[error(
        "the metadata is larger or more deeply nested than that of one identity provider: use \
         the document for this identity provider alone"
    )]
    TooComplex,
    #[error(
        "this is XML, but not SAML 2.0 metadata: it must begin with an EntityDescriptor or \
         EntitiesDescriptor of the namespace urn:oasis:names:tc:SAML:2.0:metadata"
    )]
    NotSaml,
    #[error(
        "the metadata describes no SAML 2.0 identity provider (IDPSSODescriptor): use the \
         identity provider's metadata, not a service provider's"
    )]
    NoIdentityProvider,
    #[error(
        "the metadata describes several identity providers: use the document for one of them alone"
    )]
    SeveralIdentityProviders,
    #[error("the metadata's entityID is missing, or not 1 to 1024 printable characters")]
    BadEntityId,
    #[error(
        "the identity provider has no SingleSignOnService with the binding HTTP-Redirect or \
         HTTP-POST: enable one of them there"
    )]
    NoSignOnService,
    #[error(
        "the Location of the identity provider's SingleSignOnService isn't an https URL of at \
         most 2048 characters: mend it there"
    )]
    BadSignOnUrl,
    #[error(
        "the metadata has no signing certificate (KeyDescriptor for signing with an \
         X509Certificate): without one no sign-in can be checked"
    )]
    NoSigningCertificate,
    /// Counted from 1, in the order of the document.
    #[error(
        "signing certificate number {0} of the metadata can't be read: it must be one X.509 \
         certificate, DER in base64"
    )]
    BadCertificate(usize),
    #[error("the metadata has more than 16 signing certificates: remove those not in use")]
    TooManyCertificates,
    #[error(
        "a validUntil of the metadata isn't a date and time, or a cacheDuration isn't a duration \
         that is zero or more"
    )]
    BadTime,
    #[error("the metadata has expired (validUntil): get it from the identity provider again")]
    Expired,
}

impl MetadataError {
    /// The variant's name: a metric label of few values.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::NotUtf8 => "NotUtf8",
            Self::Html => "Html",
            Self::Json => "Json",
            Self::NotXml => "NotXml",
            Self::HasDtd => "HasDtd",
            Self::TooComplex => "TooComplex",
            Self::NotSaml => "NotSaml",
            Self::NoIdentityProvider => "NoIdentityProvider",
            Self::SeveralIdentityProviders => "SeveralIdentityProviders",
            Self::BadEntityId => "BadEntityId",
            Self::NoSignOnService => "NoSignOnService",
            Self::BadSignOnUrl => "BadSignOnUrl",
            Self::NoSigningCertificate => "NoSigningCertificate",
            Self::BadCertificate(_) => "BadCertificate",
            Self::TooManyCertificates => "TooManyCertificates",
            Self::BadTime => "BadTime",
            Self::Expired => "Expired",
        }
    }
}

/// Reads metadata, which has at most 2 MiB.
///
/// # Errors
/// It isn't the metadata of exactly one identity provider that can be used at `now`. That its
/// certificates have expired is no error.
pub fn parse(document: &[u8], now: Timestamp) -> Result<IdentityProvider, MetadataError> {
    let text = &*xml::text(document).map_err(|_| MetadataError::NotUtf8)?;
    let document = xml::document(text, &xml::METADATA).map_err(|error| what_else(text, error))?;
    let (entity, role) = identity_provider(document.root_element())?;

    let valid_until = earliest(role, "validUntil", timestamp)?;
    if valid_until.is_some_and(|until| until <= now) {
        return Err(MetadataError::Expired);
    }
    let cache_duration = earliest(role, "cacheDuration", |text| duration(text, now))?;
    let left = valid_until.and_then(|until| until.duration_since(now).try_into().ok());

    let (sign_on_url, sign_on_binding) = sign_on(role)?;
    Ok(IdentityProvider {
        entity_id: entity_id(entity).ok_or(MetadataError::BadEntityId)?,
        sign_on_url,
        sign_on_binding,
        certificates: certificates(role)?,
        valid_until,
        refresh_after: cache_duration.into_iter().chain(left).min(),
    })
}

/// What a document that can't be read is instead.
fn what_else(text: &str, error: XmlError) -> MetadataError {
    let start: String = text.trim_ascii_start().chars().take(512).collect();
    let start = start.to_ascii_lowercase();
    match error {
        XmlError::NotUtf8 => MetadataError::NotUtf8,
        _ if start.is_empty() => MetadataError::Empty,
        _ if start.starts_with(['{', '[']) => MetadataError::Json,
        _ if start.contains("<!doctype html") || start.contains("<html") => MetadataError::Html,
        XmlError::HasDtd => MetadataError::HasDtd,
        XmlError::TooLarge { .. } | XmlError::TooComplex => MetadataError::TooComplex,
        XmlError::NotXml => MetadataError::NotXml,
    }
}

/// The one entity with the one role of a SAML 2.0 identity provider (sections 2.3 to 2.4.3).
fn identity_provider<'a, 'i>(
    root: Node<'a, 'i>,
) -> Result<(Node<'a, 'i>, Node<'a, 'i>), MetadataError> {
    if root.tag_name().name().eq_ignore_ascii_case("html") {
        return Err(MetadataError::Html);
    }
    if !root.has_tag_name((MD, "EntityDescriptor"))
        && !root.has_tag_name((MD, "EntitiesDescriptor"))
    {
        return Err(MetadataError::NotSaml);
    }
    let mut found = None;
    let mut unseen = vec![root];
    while let Some(node) = unseen.pop() {
        if node.has_tag_name((MD, "EntitiesDescriptor")) {
            unseen.extend(children(node, (MD, "EntitiesDescriptor")));
            unseen.extend(children(node, (MD, "EntityDescriptor")));
            continue;
        }
        for role in children(node, (MD, "IDPSSODescriptor")).filter(speaks_saml2) {
            if found.replace((node, role)).is_some() {
                return Err(MetadataError::SeveralIdentityProviders);
            }
        }
    }
    found.ok_or(MetadataError::NoIdentityProvider)
}

fn speaks_saml2(role: &Node<'_, '_>) -> bool {
    let protocols = attribute(*role, "protocolSupportEnumeration").unwrap_or_default();
    protocols.split_ascii_whitespace().any(|protocol| protocol == SAMLP)
}

/// The smallest value of an attribute of the role and of all that encloses it, each of which
/// limits what is inside it.
fn earliest<T: Ord>(
    role: Node<'_, '_>,
    name: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, MetadataError> {
    let values = role.ancestors().filter_map(|node| attribute(node, name));
    let values: Option<Vec<T>> = values.map(read).collect();
    Ok(values.ok_or(MetadataError::BadTime)?.into_iter().min())
}

fn entity_id(entity: Node<'_, '_>) -> Option<String> {
    let id = attribute(entity, "entityID")?.trim();
    let good =
        !id.is_empty() && id.chars().count() <= MAX_ENTITY_ID && !id.chars().any(char::is_control);
    good.then(|| id.to_owned())
}

/// The first usable SingleSignOnService (section 2.4.3); HTTP-Redirect needs no page with a form.
fn sign_on(role: Node<'_, '_>) -> Result<(String, Binding), MetadataError> {
    let mut error = MetadataError::NoSignOnService;
    for (binding, uri) in [
        (Binding::HttpRedirect, "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"),
        (Binding::HttpPost, "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"),
    ] {
        let services = children(role, (MD, "SingleSignOnService"));
        for service in services.filter(|service| attribute(*service, "Binding") == Some(uri)) {
            match attribute(service, "Location").and_then(https_url) {
                Some(url) => return Ok((url, binding)),
                None => error = MetadataError::BadSignOnUrl,
            }
        }
    }
    Err(error)
}

/// The URL as it is written, if every program reads it alike.
fn https_url(text: &str) -> Option<String> {
    let text = text.trim();
    let plain = text.len() <= MAX_URL && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let https = text.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"));
    let url = Url::parse(text).ok()?;
    let anonymous = url.username().is_empty() && url.password().is_none();
    (plain && https && anonymous).then(|| text.to_owned())
}

struct Certificate {
    der: Vec<u8>,
    not_after: Timestamp,
    subject: Vec<u8>,
    issuer: Vec<u8>,
}

/// The certificates of all keys for signing: of every KeyDescriptor that has that `use`, or none
/// (section 2.4.1.1).
fn certificates(role: Node<'_, '_>) -> Result<Vec<SigningCertificate>, MetadataError> {
    let mut read = 0;
    let mut found: Vec<SigningCertificate> = vec![];
    let keys = children(role, (MD, "KeyDescriptor"))
        .filter(|key| matches!(attribute(*key, "use"), None | Some("signing")));
    let data = keys
        .flat_map(|key| children(key, (DS, "KeyInfo")))
        .flat_map(|info| children(info, (DS, "X509Data")));
    for data in data {
        let mut chain = vec![];
        for node in children(data, (DS, "X509Certificate")) {
            read += 1;
            if read > MAX_CERTIFICATES_READ {
                return Err(MetadataError::TooManyCertificates);
            }
            chain.push(certificate(node).ok_or(MetadataError::BadCertificate(read))?);
        }
        for Certificate { der, not_after, .. } in leaves(&chain) {
            if !found.iter().any(|other| other.der == *der) {
                found.push(SigningCertificate {
                    der: der.clone(),
                    sha256: sha256(der),
                    not_after: *not_after,
                });
            }
        }
    }
    match found.len() {
        0 => return Err(MetadataError::NoSigningCertificate),
        1..=MAX_CERTIFICATES => {}
        _ => return Err(MetadataError::TooManyCertificates),
    }
    found.sort_by(|a, b| (a.not_after, &a.sha256).cmp(&(b.not_after, &b.sha256)));
    Ok(found)
}

/// An X509Data may hold the certificate of a key together with those of its authorities
/// (xmldsig-core, section 4.4.4), and an authority's key is none that assertions are signed with.
fn leaves(chain: &[Certificate]) -> impl Iterator<Item = &Certificate> {
    chain.iter().filter(|authority| {
        let issued_another =
            |c: &Certificate| c.issuer == authority.subject && c.subject != c.issuer;
        !chain.iter().any(issued_another)
    })
}

fn certificate(node: Node<'_, '_>) -> Option<Certificate> {
    let mut base64 = content(node)?;
    base64.retain(|c| !c.is_ascii_whitespace());
    let der = BASE64_STANDARD.decode(base64).ok()?;
    let (rest, certificate) = X509Certificate::from_der(&der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let seconds = certificate.validity().not_after.timestamp();
    // RFC 5280, section 4.1.2.5: the last second of 9999 is "no expiry", and later than jiff counts
    let not_after = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    let subject = certificate.subject().as_raw().to_vec();
    let issuer = certificate.issuer().as_raw().to_vec();
    Some(Certificate { not_after, subject, issuer, der })
}

fn sha256(der: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, der);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
