//! What may stand where in a response: a list of the elements, attributes and positions that are
//! accepted (saml-schema-protocol-2.0, saml-schema-assertion-2.0, xmldsig-core, xmlenc-core1).
//!
//! Anything else is refused. An element that is skipped because nobody asked for it is where a
//! signed one is hidden while a forged one takes its place.

use std::collections::HashSet;

use roxmltree::Node;

use super::refusal::{called, name, shown};
use super::{DS, DSIG11, EXC_C14N, Refusal, SAML, SAMLP, XENC, XENC11};

/// Bytes of an ID.
const MAX_ID: usize = 256;
const WSSE: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// An element and what it may have.
pub(super) struct Shape {
    namespace: &'static str,
    name: &'static str,
    /// Of no namespace; those that must be there are asked for by who reads them.
    attributes: &'static [&'static str],
    content: Content,
}

enum Content {
    Text,
    /// Elements in the order of their numbers; those of one number in any order.
    Elements(&'static [(u8, Times, &'static Shape)]),
    /// Elements of namespaces that mean nothing here, or none.
    Foreign,
    /// Of an AttributeValue: text, else a NameID (eduPersonTargetedID) or what is foreign, neither
    /// of which is read. Its attributes, and those of the Attribute, may be foreign too (saml-core,
    /// section 2.7.3.1).
    Value,
}

#[derive(Clone, Copy, PartialEq)]
enum Times {
    Once,
    Maybe,
    Any,
}
use Times::{Any, Maybe, Once};

const NOTHING: Content = Content::Elements(&[]);
const NAME: &[&str] = &["NameQualifier", "SPNameQualifier", "Format", "SPProvidedID"];

const fn shape(
    namespace: &'static str,
    name: &'static str,
    attributes: &'static [&'static str],
    content: Content,
) -> Shape {
    Shape { namespace, name, attributes, content }
}

const fn text(namespace: &'static str, name: &'static str) -> Shape {
    shape(namespace, name, &[], Content::Text)
}

pub(super) static RESPONSE: Shape = shape(
    SAMLP,
    "Response",
    &["ID", "Version", "IssueInstant", "Destination", "Consent", "InResponseTo"],
    Content::Elements(&[
        (1, Maybe, &ISSUER),
        (2, Maybe, &SIGNATURE),
        (3, Maybe, &EXTENSIONS),
        (4, Once, &STATUS),
        (5, Any, &ASSERTION), // how many is counted where they are read
        (5, Any, &ENCRYPTED_ASSERTION),
    ]),
);
static ISSUER: Shape = shape(SAML, "Issuer", NAME, Content::Text);
static EXTENSIONS: Shape = shape(SAMLP, "Extensions", &[], Content::Foreign);
static STATUS: Shape = shape(
    SAMLP,
    "Status",
    &[],
    Content::Elements(&[
        (1, Once, &STATUS_CODE),
        (2, Maybe, &STATUS_MESSAGE),
        (3, Maybe, &STATUS_DETAIL),
    ]),
);
static STATUS_CODE: Shape =
    shape(SAMLP, "StatusCode", &["Value"], Content::Elements(&[(1, Maybe, &STATUS_CODE)]));
static STATUS_MESSAGE: Shape = text(SAMLP, "StatusMessage");
static STATUS_DETAIL: Shape = shape(SAMLP, "StatusDetail", &[], Content::Foreign);

pub(super) static ASSERTION: Shape = shape(
    SAML,
    "Assertion",
    &["ID", "Version", "IssueInstant"],
    Content::Elements(&[
        (1, Once, &ISSUER),
        (2, Maybe, &SIGNATURE),
        (3, Once, &SUBJECT),
        (4, Once, &CONDITIONS),
        (5, Any, &AUTHN_STATEMENT), // at least one is asked for where they are read
        (5, Any, &ATTRIBUTE_STATEMENT),
    ]),
);
static SUBJECT: Shape = shape(
    SAML,
    "Subject",
    &[],
    Content::Elements(&[(1, Once, &NAME_ID), (2, Any, &SUBJECT_CONFIRMATION)]),
);
static NAME_ID: Shape = shape(SAML, "NameID", NAME, Content::Text);
static SUBJECT_CONFIRMATION: Shape = shape(
    SAML,
    "SubjectConfirmation",
    &["Method"],
    Content::Elements(&[(1, Maybe, &SUBJECT_CONFIRMATION_DATA)]),
);
static SUBJECT_CONFIRMATION_DATA: Shape = shape(
    SAML,
    "SubjectConfirmationData",
    &["NotBefore", "NotOnOrAfter", "Recipient", "InResponseTo", "Address"],
    NOTHING,
);
static CONDITIONS: Shape = shape(
    SAML,
    "Conditions",
    &["NotBefore", "NotOnOrAfter"],
    Content::Elements(&[
        (1, Any, &AUDIENCE_RESTRICTION),
        (1, Maybe, &ONE_TIME_USE),
        (1, Maybe, &PROXY_RESTRICTION),
    ]),
);
static AUDIENCE_RESTRICTION: Shape =
    shape(SAML, "AudienceRestriction", &[], Content::Elements(&[(1, Any, &AUDIENCE)]));
static AUDIENCE: Shape = text(SAML, "Audience");
static ONE_TIME_USE: Shape = shape(SAML, "OneTimeUse", &[], NOTHING);
static PROXY_RESTRICTION: Shape =
    shape(SAML, "ProxyRestriction", &["Count"], Content::Elements(&[(1, Any, &AUDIENCE)]));
static AUTHN_STATEMENT: Shape = shape(
    SAML,
    "AuthnStatement",
    &["AuthnInstant", "SessionIndex", "SessionNotOnOrAfter"],
    Content::Elements(&[(1, Maybe, &SUBJECT_LOCALITY), (2, Once, &AUTHN_CONTEXT)]),
);
static SUBJECT_LOCALITY: Shape = shape(SAML, "SubjectLocality", &["Address", "DNSName"], NOTHING);
static AUTHN_CONTEXT: Shape = shape(
    SAML,
    "AuthnContext",
    &[],
    Content::Elements(&[
        (1, Maybe, &AUTHN_CONTEXT_CLASS_REF),
        (2, Maybe, &AUTHN_CONTEXT_DECL_REF),
        (3, Any, &AUTHENTICATING_AUTHORITY),
    ]),
);
static AUTHN_CONTEXT_CLASS_REF: Shape = text(SAML, "AuthnContextClassRef");
static AUTHN_CONTEXT_DECL_REF: Shape = text(SAML, "AuthnContextDeclRef");
static AUTHENTICATING_AUTHORITY: Shape = text(SAML, "AuthenticatingAuthority");
static ATTRIBUTE_STATEMENT: Shape =
    shape(SAML, "AttributeStatement", &[], Content::Elements(&[(1, Any, &ATTRIBUTE)]));
static ATTRIBUTE: Shape = shape(
    SAML,
    "Attribute",
    &["Name", "NameFormat", "FriendlyName"],
    Content::Elements(&[(1, Any, &ATTRIBUTE_VALUE)]),
);
static ATTRIBUTE_VALUE: Shape = shape(SAML, "AttributeValue", &[], Content::Value);

static SIGNATURE: Shape = shape(
    DS,
    "Signature",
    &["Id"],
    Content::Elements(&[
        (1, Once, &SIGNED_INFO),
        (2, Once, &SIGNATURE_VALUE),
        (3, Maybe, &SIGNATURE_KEY_INFO),
    ]),
);
static SIGNED_INFO: Shape = shape(
    DS,
    "SignedInfo",
    &[],
    Content::Elements(&[
        (1, Once, &CANONICALIZATION_METHOD),
        (2, Once, &SIGNATURE_METHOD),
        (3, Once, &REFERENCE),
    ]),
);
static CANONICALIZATION_METHOD: Shape = shape(
    DS,
    "CanonicalizationMethod",
    &["Algorithm"],
    Content::Elements(&[(1, Maybe, &INCLUSIVE_NAMESPACES)]),
);
static INCLUSIVE_NAMESPACES: Shape =
    shape(EXC_C14N, "InclusiveNamespaces", &["PrefixList"], NOTHING);
static SIGNATURE_METHOD: Shape = shape(DS, "SignatureMethod", &["Algorithm"], NOTHING);
static REFERENCE: Shape = shape(
    DS,
    "Reference",
    &["URI"],
    Content::Elements(&[
        (1, Once, &TRANSFORMS),
        (2, Once, &DIGEST_METHOD),
        (3, Once, &DIGEST_VALUE),
    ]),
);
static TRANSFORMS: Shape = shape(DS, "Transforms", &[], Content::Elements(&[(1, Any, &TRANSFORM)]));
static TRANSFORM: Shape =
    shape(DS, "Transform", &["Algorithm"], Content::Elements(&[(1, Maybe, &INCLUSIVE_NAMESPACES)]));
static DIGEST_METHOD: Shape = shape(DS, "DigestMethod", &["Algorithm"], NOTHING);
static DIGEST_VALUE: Shape = text(DS, "DigestValue");
static SIGNATURE_VALUE: Shape = shape(DS, "SignatureValue", &["Id"], Content::Text);
/// Says which key it was, and is never asked: the metadata's keys are tried.
static SIGNATURE_KEY_INFO: Shape = shape(
    DS,
    "KeyInfo",
    &["Id"],
    Content::Elements(&[(1, Any, &KEY_NAME), (1, Any, &KEY_VALUE), (1, Any, &X509_DATA)]),
);
static KEY_NAME: Shape = text(DS, "KeyName");
static KEY_VALUE: Shape = shape(
    DS,
    "KeyValue",
    &[],
    Content::Elements(&[(1, Maybe, &RSA_KEY_VALUE), (1, Maybe, &EC_KEY_VALUE)]),
);
static RSA_KEY_VALUE: Shape =
    shape(DS, "RSAKeyValue", &[], Content::Elements(&[(1, Once, &MODULUS), (2, Once, &EXPONENT)]));
static MODULUS: Shape = text(DS, "Modulus");
static EXPONENT: Shape = text(DS, "Exponent");
static EC_KEY_VALUE: Shape = shape(
    DSIG11,
    "ECKeyValue",
    &[],
    Content::Elements(&[(1, Maybe, &NAMED_CURVE), (2, Once, &PUBLIC_KEY)]),
);
static NAMED_CURVE: Shape = shape(DSIG11, "NamedCurve", &["URI"], NOTHING);
static PUBLIC_KEY: Shape = text(DSIG11, "PublicKey");
static X509_DATA: Shape = shape(
    DS,
    "X509Data",
    &[],
    Content::Elements(&[
        (1, Any, &X509_CERTIFICATE),
        (1, Any, &X509_SUBJECT_NAME),
        (1, Any, &X509_ISSUER_SERIAL),
        (1, Any, &X509_SKI),
        (1, Any, &X509_DIGEST),
    ]),
);
static X509_CERTIFICATE: Shape = text(DS, "X509Certificate");
static X509_SUBJECT_NAME: Shape = text(DS, "X509SubjectName");
static X509_SKI: Shape = text(DS, "X509SKI");
static X509_DIGEST: Shape = shape(DSIG11, "X509Digest", &["Algorithm"], Content::Text);
static X509_ISSUER_SERIAL: Shape = shape(
    DS,
    "X509IssuerSerial",
    &[],
    Content::Elements(&[(1, Once, &X509_ISSUER_NAME), (2, Once, &X509_SERIAL_NUMBER)]),
);
static X509_ISSUER_NAME: Shape = text(DS, "X509IssuerName");
static X509_SERIAL_NUMBER: Shape = text(DS, "X509SerialNumber");

static ENCRYPTED_ASSERTION: Shape = shape(
    SAML,
    "EncryptedAssertion",
    &[],
    Content::Elements(&[(1, Once, &ENCRYPTED_DATA), (2, Any, &ENCRYPTED_KEY)]),
);
static ENCRYPTED_DATA: Shape = shape(
    XENC,
    "EncryptedData",
    &["Id", "Type", "MimeType", "Encoding"],
    Content::Elements(&[
        (1, Once, &ENCRYPTION_METHOD),
        (2, Maybe, &DATA_KEY_INFO),
        (3, Once, &CIPHER_DATA),
    ]),
);
static ENCRYPTED_KEY: Shape = shape(
    XENC,
    "EncryptedKey",
    &["Id", "Type", "MimeType", "Encoding", "Recipient"],
    Content::Elements(&[
        (1, Once, &ENCRYPTION_METHOD),
        (2, Maybe, &RECIPIENT_KEY_INFO),
        (3, Once, &CIPHER_DATA),
        (4, Maybe, &REFERENCE_LIST),
        (5, Maybe, &CARRIED_KEY_NAME),
    ]),
);
/// Says which of our keys it is for, and is never asked: all are tried. Microsoft's security token
/// service says it in terms of WS-Security.
static RECIPIENT_KEY_INFO: Shape = shape(
    DS,
    "KeyInfo",
    &["Id"],
    Content::Elements(&[
        (1, Any, &KEY_NAME),
        (1, Any, &KEY_VALUE),
        (1, Any, &X509_DATA),
        (1, Maybe, &SECURITY_TOKEN_REFERENCE),
    ]),
);
static SECURITY_TOKEN_REFERENCE: Shape = shape(
    WSSE,
    "SecurityTokenReference",
    &[],
    Content::Elements(&[(1, Maybe, &X509_DATA), (1, Maybe, &KEY_IDENTIFIER)]),
);
static KEY_IDENTIFIER: Shape =
    shape(WSSE, "KeyIdentifier", &["ValueType", "EncodingType"], Content::Text);
static ENCRYPTION_METHOD: Shape = shape(
    XENC,
    "EncryptionMethod",
    &["Algorithm"],
    Content::Elements(&[(1, Maybe, &KEY_SIZE), (2, Maybe, &DIGEST_METHOD), (2, Maybe, &MGF)]),
);
static KEY_SIZE: Shape = text(XENC, "KeySize");
static MGF: Shape = shape(XENC11, "MGF", &["Algorithm"], NOTHING);
static DATA_KEY_INFO: Shape = shape(
    DS,
    "KeyInfo",
    &["Id"],
    Content::Elements(&[
        (1, Any, &KEY_NAME),
        (1, Any, &RETRIEVAL_METHOD),
        (1, Any, &ENCRYPTED_KEY),
    ]),
);
static RETRIEVAL_METHOD: Shape = shape(DS, "RetrievalMethod", &["URI", "Type"], NOTHING);
static CIPHER_DATA: Shape =
    shape(XENC, "CipherData", &[], Content::Elements(&[(1, Once, &CIPHER_VALUE)]));
static CIPHER_VALUE: Shape = text(XENC, "CipherValue");
static REFERENCE_LIST: Shape =
    shape(XENC, "ReferenceList", &[], Content::Elements(&[(1, Any, &DATA_REFERENCE)]));
static DATA_REFERENCE: Shape = shape(XENC, "DataReference", &["URI"], NOTHING);
static CARRIED_KEY_NAME: Shape = text(XENC, "CarriedKeyName");

/// The IDs seen so far, of all documents of one response.
#[derive(Default)]
pub(super) struct Ids(HashSet<String>);

/// Whether `root` and all that is in it is of this shape, without a comment or processing
/// instruction anywhere in its document, and no ID is there twice.
pub(super) fn check(root: Node<'_, '_>, shape: &Shape, ids: &mut Ids) -> Result<(), Refusal> {
    for node in root.document().root().children() {
        // beside the root element
        not_a_remark(node, || "the document".to_owned())?;
    }
    if !shape.is(root) {
        return Err(Refusal::NotTheElement { expected: shape.name, found: called(root) });
    }
    element(root, shape, ids)
}

impl Shape {
    fn is(&self, node: Node<'_, '_>) -> bool {
        node.tag_name().name() == self.name && node.tag_name().namespace() == Some(self.namespace)
    }

    fn takes_foreign_attributes(&self) -> bool {
        std::ptr::eq(self, &raw const ATTRIBUTE) || matches!(self.content, Content::Value)
    }
}

/// Calls itself as deeply as the document is nested, which the parse has bounded.
fn element(node: Node<'_, '_>, shape: &Shape, ids: &mut Ids) -> Result<(), Refusal> {
    attributes(node, shape, ids)?;
    match shape.content {
        Content::Text => no_elements(node),
        Content::Elements(accepted) => children(node, accepted, ids),
        Content::Foreign => foreign_children(node),
        Content::Value => match node.first_element_child() {
            None => no_elements(node),
            Some(child) if NAME_ID.is(child) => children(node, &[(1, Once, &NAME_ID)], ids),
            Some(_) => foreign_children(node),
        },
    }
}

fn attributes(node: Node<'_, '_>, shape: &Shape, ids: &mut Ids) -> Result<(), Refusal> {
    for attribute in node.attributes() {
        let foreign = shape.takes_foreign_attributes();
        let accepted = match attribute.namespace() {
            None => shape.attributes.contains(&attribute.name()),
            Some(namespace) => foreign && is_foreign(namespace) && !is_id(attribute.name()),
        };
        if !accepted {
            return Err(Refusal::UnexpectedAttribute {
                attribute: name(attribute.namespace(), attribute.name()),
                element: called(node),
            });
        }
        if is_id(attribute.name()) {
            id(node, attribute.value(), ids)?;
        }
    }
    Ok(())
}

fn is_id(name: &str) -> bool {
    name.eq_ignore_ascii_case("id")
}

/// An `xs:ID`, of fewer characters than XML allows, so that no two ways to write one exist.
fn id(node: Node<'_, '_>, value: &str, ids: &mut Ids) -> Result<(), Refusal> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.:".contains(&b);
    if value.is_empty() || value.len() > MAX_ID || !value.bytes().all(plain) {
        return Err(Refusal::BadId { element: called(node), found: shown(value) });
    }
    if ids.0.insert(value.to_owned()) {
        Ok(())
    } else {
        Err(Refusal::DuplicateId { found: shown(value) })
    }
}

fn children(
    node: Node<'_, '_>,
    accepted: &[(u8, Times, &Shape)],
    ids: &mut Ids,
) -> Result<(), Refusal> {
    let mut seen = 0_u32; // one bit for each of `accepted`
    let mut reached = 0;
    for child in node.children() {
        not_a_remark(child, || called(node))?;
        if child.is_text() {
            if !child.text().unwrap_or_default().trim_ascii().is_empty() {
                return Err(Refusal::UnexpectedText { element: called(node) });
            }
            continue;
        }
        let found = accepted.iter().position(|(_, _, shape)| shape.is(child));
        let Some(at) = found else { return Err(unexpected(child, node)) };
        let (order, times, shape) = accepted[at];
        let again = seen & (1 << at) != 0 && times != Any;
        if again || order < reached {
            return Err(unexpected(child, node));
        }
        seen |= 1 << at;
        reached = order;
        element(child, shape, ids)?;
    }
    for (at, (_, times, shape)) in accepted.iter().enumerate() {
        if *times == Once && seen & (1 << at) == 0 {
            return Err(Refusal::MissingElement {
                element: name(Some(shape.namespace), shape.name),
                within: called(node),
            });
        }
    }
    Ok(())
}

fn unexpected(child: Node<'_, '_>, parent: Node<'_, '_>) -> Refusal {
    let is = |name| child.has_tag_name((SAML, name));
    if is("EncryptedID") {
        Refusal::EncryptedId
    } else if is("EncryptedAttribute") {
        Refusal::EncryptedAttribute
    } else if CONDITIONS.is(parent) && !is("OneTimeUse") && !is("ProxyRestriction") {
        Refusal::UnknownCondition { found: called(child) }
    } else {
        Refusal::UnexpectedElement { element: called(child), within: called(parent) }
    }
}

fn no_elements(node: Node<'_, '_>) -> Result<(), Refusal> {
    for child in node.children() {
        not_a_remark(child, || called(node))?;
        if child.is_element() {
            return Err(unexpected(child, node));
        }
    }
    Ok(())
}

/// All that is in the node must mean nothing here: no element, attribute or ID by which something
/// could be taken for a part of SAML or of a signature.
fn foreign_children(node: Node<'_, '_>) -> Result<(), Refusal> {
    for inner in node.descendants().skip(1) {
        not_a_remark(inner, || called(node))?;
        if !inner.is_element() {
            continue;
        }
        if inner.tag_name().namespace().is_some_and(|namespace| !is_foreign(namespace)) {
            return Err(unexpected(inner, node));
        }
        for attribute in inner.attributes() {
            let known = attribute.namespace().is_some_and(|namespace| !is_foreign(namespace));
            if known || is_id(attribute.name()) {
                return Err(Refusal::UnexpectedAttribute {
                    attribute: name(attribute.namespace(), attribute.name()),
                    element: called(inner),
                });
            }
        }
    }
    Ok(())
}

fn is_foreign(namespace: &str) -> bool {
    ![SAML, SAMLP, DS, DSIG11, XENC, XENC11, EXC_C14N, XML].contains(&namespace)
}

fn not_a_remark(node: Node<'_, '_>, within: impl Fn() -> String) -> Result<(), Refusal> {
    if node.is_comment() || node.is_pi() {
        return Err(Refusal::CommentOrInstruction { within: within() });
    }
    Ok(())
}
