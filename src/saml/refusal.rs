//! Why a response isn't accepted: which rule, what was expected, what came. It is how an admin finds
//! out why sign-in doesn't work, so it says more than the person who signs in is shown.
//!
//! What came is shown cut and on one line, and never is it a name, an attribute's value or a key.

use jiff::Timestamp;
use roxmltree::Node;

use super::{DS, DSIG11, EXC_C14N, SAML, SAMLP, XENC, XENC11, xml::XmlError};

/// Characters of what came that an error shows.
const SHOWN: usize = 160;

/// Why a response isn't accepted. The variants' names are metric labels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the response has {found} bytes, more than the {limit} that are read")]
    TooLarge { found: usize, limit: usize },
    #[error("the response isn't base64")]
    NotBase64,
    #[error("the response isn't text in UTF-8, the one encoding that is accepted")]
    NotUtf8,
    #[error("the response has a document type declaration, which isn't accepted")]
    HasDtd,
    #[error(
        "the response has more elements, attributes or namespace declarations, or is more deeply \
         nested, than is accepted"
    )]
    TooComplex,
    #[error("the response isn't well-formed XML")]
    NotXml,
    #[error("there is a comment or processing instruction in {within}, which isn't accepted")]
    CommentOrInstruction { within: String },

    #[error("expected a SAML 2.0 {expected}, found {found}")]
    NotTheElement { expected: &'static str, found: String },
    #[error("there is {element} in {within}, where it isn't accepted")]
    UnexpectedElement { element: String, within: String },
    #[error("{element} is missing in {within}")]
    MissingElement { element: String, within: String },
    #[error("there is the attribute {attribute} on {element}, where it isn't accepted")]
    UnexpectedAttribute { attribute: String, element: String },
    #[error("the attribute {attribute} is missing on {element}")]
    MissingAttribute { attribute: &'static str, element: String },
    #[error("there is text in {element}, where only elements are accepted")]
    UnexpectedText { element: String },
    #[error("expected one Assertion or EncryptedAssertion, found {found}")]
    NotOneAssertion { found: usize },
    #[error(
        "there is an EncryptedID: let the identity provider encrypt the whole assertion or \
         nothing"
    )]
    EncryptedId,
    #[error(
        "there is an EncryptedAttribute: let the identity provider encrypt the whole assertion or \
         nothing"
    )]
    EncryptedAttribute,
    #[error("the ID {found:?} of {element} isn't one of 1 to 256 letters, digits and _ - . :")]
    BadId { element: String, found: String },
    #[error("the ID {found:?} is there more than once")]
    DuplicateId { found: String },
    #[error("expected version \"2.0\" of {element}, found {found:?}")]
    WrongVersion { element: String, found: String },
    #[error("{attribute} of {element} isn't a date and time: {found:?}")]
    BadTime { attribute: &'static str, element: String, found: String },

    #[error("the identity provider refused: {codes}{message}")]
    StatusNotSuccess { codes: String, message: String },
    #[error(
        "expected the identity provider {expected:?} as the Issuer of {element}, found {found:?}"
    )]
    WrongIssuer { element: String, expected: String, found: String },

    #[error("neither the response nor the assertion is signed")]
    Unsigned,
    #[error("the {what} {found:?} of the signature of {element} isn't accepted")]
    UnacceptedAlgorithm { what: &'static str, element: String, found: String },
    #[error(
        "the transforms of the signature of {element} must be enveloped-signature, then exclusive \
         canonicalization; found {found}"
    )]
    WrongTransforms { element: String, found: String },
    #[error(
        "the signature of {element} must refer to it by its ID, {expected:?}; it refers to \
         {found:?}"
    )]
    WrongReference { element: String, expected: String, found: String },
    #[error("{element} isn't base64")]
    BadBase64 { element: String },
    #[error(
        "the metadata has no certificate that signatures can be checked by: {unusable} can't be \
         used (RSA of 2048 to 8192 bits, P-256 and P-384 can), {expired} expired"
    )]
    NoUsableKey { unusable: usize, expired: usize },
    #[error(
        "the signature of {element} was made by none of the metadata's keys of the kind {kind} \
         ({tried} tried, {expired} expired), or changed after it was made"
    )]
    WrongSignature { element: String, kind: &'static str, tried: usize, expired: usize },
    #[error("{element} was changed after it was signed: its digest is another one")]
    WrongDigest { element: String },

    #[error("the assertion is encrypted, and there is no key to decrypt it with")]
    NoDecryptionKey,
    #[error("the {what} {found:?} of the encrypted assertion isn't accepted")]
    UnacceptedEncryption { what: &'static str, found: String },
    #[error(
        "the assertion is encrypted with AES-CBC, which is accepted only inside a signed \
         response: use AES-GCM, or sign the response"
    )]
    CbcUnsigned,
    /// What is wrong with the plaintext of something encrypted with AES-CBC is told by
    /// [`Refusal::in_full`] alone: who may choose the ciphertext learns the plaintext by it
    /// (xmlenc-core1, section 6.1.1).
    #[error(
        "the assertion can't be decrypted: it was encrypted for another key, or changed on its way"
    )]
    NotDecrypted { plaintext: Option<Box<Refusal>> },

    #[error("expected {expected:?} as {what}, found {found}")]
    WrongRecipient { what: &'static str, expected: String, found: String },
    #[error(
        "expected an answer to the request {expected:?} in InResponseTo of {element}, found {found}"
    )]
    WrongRequest { element: String, expected: String, found: String },
    #[error(
        "{element} answers the request {found:?}, but there is none that waits for an answer here"
    )]
    NoSuchRequest { element: String, found: String },
    #[error("expected the audience {expected:?}, found {found}")]
    WrongAudience { expected: String, found: String },
    #[error("the assertion has the condition {found}, which isn't understood")]
    UnknownCondition { found: String },
    #[error("{what} is {at}, and it is {now}: too early; compare the clocks")]
    TooEarly { what: &'static str, at: Timestamp, now: Timestamp },
    #[error("{what} is {at}, and it is {now}: too late; compare the clocks")]
    TooLate { what: &'static str, at: Timestamp, now: Timestamp },
    #[error("the assertion has no SubjectConfirmation of the method bearer")]
    NotBearer,
    #[error(
        "the NameID is transient, different at each sign-in: let the identity provider send a \
         lasting one"
    )]
    TransientNameId,
    #[error(
        "the NameID is empty, longer than {limit} bytes, begins or ends with white space, or has \
         characters that nobody sees"
    )]
    BadNameId { limit: usize },
    #[error(
        "expected {expected:?} as the {attribute} of the persistent NameID, or none; found {found:?}"
    )]
    WrongQualifier { attribute: &'static str, expected: String, found: String },
    #[error("the assertion {id:?} was presented before")]
    Replayed { id: String },
}

impl Refusal {
    /// The variant's name: a metric label of few values.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "TooLarge",
            Self::NotBase64 => "NotBase64",
            Self::NotUtf8 => "NotUtf8",
            Self::HasDtd => "HasDtd",
            Self::TooComplex => "TooComplex",
            Self::NotXml => "NotXml",
            Self::CommentOrInstruction { .. } => "CommentOrInstruction",
            Self::NotTheElement { .. } => "NotTheElement",
            Self::UnexpectedElement { .. } => "UnexpectedElement",
            Self::MissingElement { .. } => "MissingElement",
            Self::UnexpectedAttribute { .. } => "UnexpectedAttribute",
            Self::MissingAttribute { .. } => "MissingAttribute",
            Self::UnexpectedText { .. } => "UnexpectedText",
            Self::NotOneAssertion { .. } => "NotOneAssertion",
            Self::EncryptedId => "EncryptedId",
            Self::EncryptedAttribute => "EncryptedAttribute",
            Self::BadId { .. } => "BadId",
            Self::DuplicateId { .. } => "DuplicateId",
            Self::WrongVersion { .. } => "WrongVersion",
            Self::BadTime { .. } => "BadTime",
            Self::StatusNotSuccess { .. } => "StatusNotSuccess",
            Self::WrongIssuer { .. } => "WrongIssuer",
            Self::Unsigned => "Unsigned",
            Self::UnacceptedAlgorithm { .. } => "UnacceptedAlgorithm",
            Self::WrongTransforms { .. } => "WrongTransforms",
            Self::WrongReference { .. } => "WrongReference",
            Self::BadBase64 { .. } => "BadBase64",
            Self::NoUsableKey { .. } => "NoUsableKey",
            Self::WrongSignature { .. } => "WrongSignature",
            Self::WrongDigest { .. } => "WrongDigest",
            Self::NoDecryptionKey => "NoDecryptionKey",
            Self::UnacceptedEncryption { .. } => "UnacceptedEncryption",
            Self::CbcUnsigned => "CbcUnsigned",
            Self::NotDecrypted { .. } => "NotDecrypted",
            Self::WrongRecipient { .. } => "WrongRecipient",
            Self::WrongRequest { .. } => "WrongRequest",
            Self::NoSuchRequest { .. } => "NoSuchRequest",
            Self::WrongAudience { .. } => "WrongAudience",
            Self::UnknownCondition { .. } => "UnknownCondition",
            Self::TooEarly { .. } => "TooEarly",
            Self::TooLate { .. } => "TooLate",
            Self::NotBearer => "NotBearer",
            Self::TransientNameId => "TransientNameId",
            Self::BadNameId { .. } => "BadNameId",
            Self::WrongQualifier { .. } => "WrongQualifier",
            Self::Replayed { .. } => "Replayed",
        }
    }
}

impl Refusal {
    /// Name and sentence, with what only who holds the decryption key may know.
    pub fn in_full(&self) -> String {
        let told = format!("{}: {self}", self.name());
        match self {
            Self::NotDecrypted { plaintext: Some(refusal) } => {
                format!("{told}; of what was decrypted: {}", refusal.in_full())
            }
            _ => told,
        }
    }
}

impl From<XmlError> for Refusal {
    fn from(error: XmlError) -> Self {
        match error {
            XmlError::NotUtf8 => Self::NotUtf8,
            XmlError::HasDtd => Self::HasDtd,
            XmlError::TooLarge { found, limit } => Self::TooLarge { found, limit },
            XmlError::TooComplex => Self::TooComplex,
            XmlError::NotXml => Self::NotXml,
        }
    }
}

/// What came, cut; quotes and escapes of control characters are `Debug`'s.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// What came, in quotes, or that nothing came.
pub(super) fn quoted(text: Option<&str>) -> String {
    text.map_or_else(|| "nothing".to_owned(), |text| format!("{:?}", shown(text)))
}

/// `saml:Assertion`: the name of an element, its namespace by the usual prefix.
pub(super) fn called(node: Node<'_, '_>) -> String {
    name(node.tag_name().namespace(), node.tag_name().name())
}

/// As [`called`], of a name. Those from outside are XML names, hence without control characters.
pub(super) fn name(namespace: Option<&str>, local: &str) -> String {
    let prefix = match namespace {
        Some(SAML) => "saml:",
        Some(SAMLP) => "samlp:",
        Some(DS) => "ds:",
        Some(DSIG11) => "dsig11:",
        Some(XENC) => "xenc:",
        Some(XENC11) => "xenc11:",
        Some(EXC_C14N) => "ec:",
        Some(other) => return format!("{} of {:?}", shown(local), shown(other)),
        None => "",
    };
    format!("{prefix}{}", shown(local))
}
