//! Signatures of responses and assertions: one narrow profile of XML Signature
//! (saml-core-2.0-os, section 5.4), and the keys of the metadata, which are the only ones.
//!
//! What a signature is said to sign is checked before, and its SignedInfo authenticated before
//! anything it says is worked with, so that a stranger can't make us canonicalize or digest much.

use aws_lc_rs::{
    digest::{self, SHA256, SHA384, SHA512},
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey,
        RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
        VerificationAlgorithm,
    },
};
use base64::prelude::{BASE64_STANDARD, Engine};
use jiff::Timestamp;
use roxmltree::Node;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::c14n::canonicalize;
use super::metadata::IdentityProvider;
use super::refusal::{called, shown};
use super::xml::{attribute, children, content};
use super::{DS, EXC_C14N, Refusal};

const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
/// Prefixes of one PrefixList.
const MAX_PREFIXES: usize = 64;

/// What a signature may be made with. A P-256 key signs with SHA-256 and a P-384 key with SHA-384,
/// no other way round.
#[derive(Clone, Copy, PartialEq)]
enum Method {
    RsaSha256,
    RsaSha384,
    RsaSha512,
    EcdsaSha256,
    EcdsaSha384,
}

impl Method {
    fn named(uri: &str) -> Option<Self> {
        match uri.strip_prefix("http://www.w3.org/2001/04/xmldsig-more#")? {
            "rsa-sha256" => Some(Self::RsaSha256),
            "rsa-sha384" => Some(Self::RsaSha384),
            "rsa-sha512" => Some(Self::RsaSha512),
            "ecdsa-sha256" => Some(Self::EcdsaSha256),
            "ecdsa-sha384" => Some(Self::EcdsaSha384),
            _ => None,
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::RsaSha256 | Self::RsaSha384 | Self::RsaSha512 => "RSA",
            Self::EcdsaSha256 => "P-256",
            Self::EcdsaSha384 => "P-384",
        }
    }

    fn algorithm(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::RsaSha256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::RsaSha384 => &RSA_PKCS1_2048_8192_SHA384,
            Self::RsaSha512 => &RSA_PKCS1_2048_8192_SHA512,
            Self::EcdsaSha256 => &ECDSA_P256_SHA256_FIXED,
            Self::EcdsaSha384 => &ECDSA_P384_SHA384_FIXED,
        }
    }
}

/// An identity provider whose keys are ready to check signatures by: make it once, not for each
/// response.
pub struct TrustedIdp {
    pub(super) entity_id: String,
    keys: Vec<Key>,
    /// Certificates whose keys can't be used.
    unusable: usize,
}

struct Key {
    not_after: Timestamp,
    /// The key, once for each way it may have signed.
    methods: Vec<(Method, ParsedPublicKey)>,
}

impl TrustedIdp {
    /// A certificate counts by being in the metadata: nobody else vouches for it, and nothing it
    /// says is looked at but its key and when it ends. One whose key can't be used is left out; if
    /// none is left, every response is refused.
    pub fn new(idp: &IdentityProvider) -> Self {
        let found = idp.certificates.iter().map(|certificate| {
            Some(Key { not_after: certificate.not_after, methods: methods(&certificate.der)? })
        });
        let keys: Vec<Key> = found.flatten().collect();
        let unusable = idp.certificates.len() - keys.len();
        Self { entity_id: idp.entity_id.clone(), keys, unusable }
    }
}

fn methods(der: &[u8]) -> Option<Vec<(Method, ParsedPublicKey)>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let key = certificate.public_key();
    let methods: &[Method] = match key.parsed().ok()? {
        PublicKey::RSA(rsa) if (2048..=8192).contains(&rsa.key_size()) => {
            &[Method::RsaSha256, Method::RsaSha384, Method::RsaSha512]
        }
        PublicKey::EC(_) => &[Method::EcdsaSha256, Method::EcdsaSha384],
        _ => return None,
    };
    let parsed = methods.iter().filter_map(|method| {
        Some((*method, ParsedPublicKey::new(method.algorithm(), key.raw).ok()?))
    });
    let parsed: Vec<_> = parsed.collect();
    (!parsed.is_empty()).then_some(parsed)
}

/// Checks `signature`, of a shape that is accepted, which stands in `parent` and must sign it.
///
/// `buffer` is for the canonical texts, and kept for its memory.
pub(super) fn verify(
    signature: Node<'_, '_>,
    parent: Node<'_, '_>,
    idp: &TrustedIdp,
    now: Timestamp,
    buffer: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let info = child(signature, "SignedInfo")?;
    let canonicalization = child(info, "CanonicalizationMethod")?;
    if algorithm(canonicalization)? != EXC_C14N {
        return Err(unaccepted("CanonicalizationMethod", canonicalization, parent));
    }
    let reference = child(info, "Reference")?;
    let (id, uri) = (required(parent, "ID")?, required(reference, "URI")?);
    if uri.strip_prefix('#') != Some(id) {
        return Err(Refusal::WrongReference {
            element: called(parent),
            expected: format!("#{}", shown(id)),
            found: shown(uri),
        });
    }
    let inclusive = transforms(child(reference, "Transforms")?, parent)?;
    let digest_method = child(reference, "DigestMethod")?;
    let digest = match algorithm(digest_method)? {
        "http://www.w3.org/2001/04/xmlenc#sha256" => &SHA256,
        "http://www.w3.org/2001/04/xmldsig-more#sha384" => &SHA384,
        "http://www.w3.org/2001/04/xmlenc#sha512" => &SHA512,
        _ => return Err(unaccepted("DigestMethod", digest_method, parent)),
    };
    let signature_method = child(info, "SignatureMethod")?;
    let method = Method::named(algorithm(signature_method)?)
        .ok_or_else(|| unaccepted("SignatureMethod", signature_method, parent))?;

    buffer.clear();
    canonicalize(info, None, &prefixes(canonicalization, parent)?, buffer);
    authenticate(buffer, &base64(child(signature, "SignatureValue")?)?, method, idp, now, parent)?;

    buffer.clear();
    canonicalize(parent, Some(signature), &inclusive, buffer);
    let expected = base64(child(reference, "DigestValue")?)?;
    if digest::digest(digest, buffer).as_ref() != expected {
        return Err(Refusal::WrongDigest { element: called(parent) });
    }
    Ok(())
}

/// The PrefixList of the canonicalization that follows the removal of the signature itself.
fn transforms<'a>(transforms: Node<'a, '_>, parent: Node<'_, '_>) -> Result<Vec<&'a str>, Refusal> {
    let list: Vec<_> = children(transforms, (DS, "Transform")).collect();
    let uris = list.iter().map(|transform| algorithm(*transform)).collect::<Result<Vec<_>, _>>()?;
    let [enveloped, canonicalization] = list[..] else {
        return Err(Refusal::WrongTransforms {
            element: called(parent),
            found: shown(&format!("{uris:?}")),
        });
    };
    if uris != [ENVELOPED, EXC_C14N] || enveloped.has_children() {
        return Err(Refusal::WrongTransforms {
            element: called(parent),
            found: shown(&format!("{uris:?}")),
        });
    }
    prefixes(canonicalization, parent)
}

fn prefixes<'a>(method: Node<'a, '_>, parent: Node<'_, '_>) -> Result<Vec<&'a str>, Refusal> {
    let Some(list) = children(method, (EXC_C14N, "InclusiveNamespaces")).next() else {
        return Ok(vec![]);
    };
    let list = required(list, "PrefixList")?;
    let prefixes: Vec<&str> = list.split_ascii_whitespace().collect();
    if prefixes.len() > MAX_PREFIXES {
        return Err(Refusal::UnacceptedAlgorithm {
            what: "PrefixList",
            element: called(parent),
            found: shown(list),
        });
    }
    Ok(prefixes)
}

/// Whether one of the metadata's keys made this signature of `text`.
fn authenticate(
    text: &[u8],
    signature: &[u8],
    method: Method,
    idp: &TrustedIdp,
    now: Timestamp,
    parent: Node<'_, '_>,
) -> Result<(), Refusal> {
    let (current, expired): (Vec<_>, Vec<_>) =
        idp.keys.iter().partition(|key| now <= key.not_after);
    if current.is_empty() {
        return Err(Refusal::NoUsableKey { unusable: idp.unusable, expired: expired.len() });
    }
    let of_kind = |key: &&Key| key.methods.iter().any(|(other, _)| *other == method);
    let tried = current.iter().flat_map(|key| &key.methods).filter(|(other, _)| *other == method);
    let made = |(_, key): &&(Method, ParsedPublicKey)| key.verify_sig(text, signature).is_ok();
    if tried.clone().any(|key| made(&key)) {
        return Ok(());
    }
    Err(Refusal::WrongSignature {
        element: called(parent),
        kind: method.kind(),
        tried: tried.count(),
        expired: expired.into_iter().filter(of_kind).count(),
    })
}

fn unaccepted(what: &'static str, node: Node<'_, '_>, parent: Node<'_, '_>) -> Refusal {
    let found = shown(attribute(node, "Algorithm").unwrap_or_default());
    Refusal::UnacceptedAlgorithm { what, element: called(parent), found }
}

pub(super) fn algorithm<'a>(node: Node<'a, '_>) -> Result<&'a str, Refusal> {
    required(node, "Algorithm")
}

pub(super) fn required<'a>(node: Node<'a, '_>, name: &'static str) -> Result<&'a str, Refusal> {
    let missing = || Refusal::MissingAttribute { attribute: name, element: called(node) };
    attribute(node, name).ok_or_else(missing)
}

/// A child of the namespace of signatures, which a shape that is accepted has.
fn child<'a, 'i: 'a>(node: Node<'a, 'i>, name: &'static str) -> Result<Node<'a, 'i>, Refusal> {
    children(node, (DS, name)).next().ok_or_else(|| Refusal::MissingElement {
        element: format!("ds:{name}"),
        within: called(node),
    })
}

/// An `xs:base64Binary`, which may have white space anywhere.
pub(super) fn base64(node: Node<'_, '_>) -> Result<Vec<u8>, Refusal> {
    let mut text = content(node).unwrap_or_default();
    text.retain(|c| !c.is_ascii_whitespace());
    BASE64_STANDARD.decode(text).map_err(|_| Refusal::BadBase64 { element: called(node) })
}
