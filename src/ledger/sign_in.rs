//! The plain types of signing in.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A SHA-256: what is kept of a secret that somebody else holds.
pub type Hash = [u8; 32];

/// Whom a connection lets in, and how they are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The IdentityClass that serves the organization.
    pub class: String,
    pub protocol: Protocol,
    pub admit: Admit,
    /// The directory in which people are looked up. Without one, only `JustInTime` admits anybody.
    pub directory: Option<Uuid>,
    pub matching: Matching,
    /// The attribute or claim that holds the e-mail; the usual ones if `None`.
    pub email_attribute: Option<String>,
    pub name_attribute: Option<String>,
    /// Whether a SAML response is taken that nobody here asked for.
    pub idp_initiated: bool,
    /// How long a sign-in lasts.
    pub session_seconds: i64,
    /// Whether the company IdP may be at a private address.
    pub private_endpoints: bool,
}

/// What a connection speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    Saml,
    Oidc {
        client_id: String,
        /// Sealed with the installation key, for [`client_secret_label`]; empty while there is
        /// none, and nobody can sign in.
        client_secret: Vec<u8>,
        /// Beside `openid`.
        scopes: Vec<String>,
    },
}

/// What the client secret of a connection is sealed for, so that it opens nowhere else.
pub fn client_secret_label(organization: &str, connection: &str) -> String {
    format!("client-secret {organization}/{connection}")
}

/// Who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// Only whom the directory knows.
    DirectoryOnly,
    /// Also people whom it doesn't know; they have no teams.
    JustInTime,
}

/// What links somebody to their directory person at the first sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    /// The SCIM userName equals the sign-in name.
    UserName,
    /// The SCIM externalId equals the subject.
    ExternalId,
    /// The person's primary e-mail equals the asserted one.
    Email,
}

/// A connection by which people may sign in now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenConnection {
    pub route: Route,
    pub issuer: String,
    /// As it came: it is for the reader to see whether it may still be used.
    pub metadata: Vec<u8>,
    pub rules: Rules,
}

/// Which connection, of which organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The organization's id.
    pub organization: String,
    pub namespace: String,
    pub connection: String,
}

/// What a company IdP said of somebody, verified. It counts for the connection that it was verified
/// for, and says itself which that is.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Asserted {
    /// The organization's id.
    pub organization: String,
    pub connection: String,
    /// A lasting NameID or `sub`.
    pub subject: String,
    /// What they sign in by at their company: the subject if it is an e-mail address, else the
    /// e-mail.
    pub sign_in_name: String,
    /// With ASCII in lower case.
    pub email: String,
    /// The domain of `email`, canonical.
    pub email_domain: String,
    pub display_name: Option<String>,
    /// When they showed their company who they are, as it says; never later than when it said so.
    /// In seconds since the Unix epoch.
    pub authenticated_at: i64,
    /// When the company IdP wants a session that begins with this to end, in seconds since the Unix
    /// epoch (saml-core-2.0-os, section 2.7.2, SessionNotOnOrAfter).
    pub session_until: Option<i64>,
}

/// A sign-in under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    pub id: Uuid,
    /// The client's authorization request; `None` where somebody just wants the landing page.
    pub request: Option<String>,
}

/// A sign-in that waits for the company IdP's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    pub id: Uuid,
    /// SHA-256 of the state that the answer came with.
    pub state: Hash,
    /// SHA-256 of the cookie of the browser that began.
    pub browser: Hash,
    /// The connection it was sent to.
    pub organization: String,
    pub connection: String,
    /// What the answer must fit.
    pub challenge: String,
}

/// A sign-in that the company IdP answered, taken by the browser that began it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub request: Option<String>,
    pub asserted: Asserted,
}

/// A new session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// SHA-256 of the cookie.
    pub hash: Hash,
    /// What the browser calls itself.
    pub browser: String,
    /// SHA-256 of the cookie of the session that the browser had until now, which ends.
    pub replaces: Option<Hash>,
}

/// Why somebody whom their company IdP vouches for is not let in. The variants' names are metric
/// labels; the sentences are for the audit log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    #[error("the connection is gone or suspended")]
    ConnectionClosed,
    #[error("the domain {0} is not a verified domain of this connection")]
    DomainNotOurs(String),
    #[error("the connection has no directory to look the person up in")]
    NoDirectory,
    #[error("the directory has nobody whose {field} is {value:?}")]
    NotInDirectory { field: &'static str, value: String },
    #[error("the directory has several people whose {field} is {value:?}")]
    SeveralInDirectory { field: &'static str, value: String },
    #[error("the directory's person with that {field} is linked to another subject already")]
    LinkedToAnother { field: &'static str },
    #[error("the directory says that the person is not active")]
    Deactivated,
    #[error(
        "the person was removed from the directory, or the directory that has them was: who was in one isn't admitted just in time"
    )]
    Removed,
    #[error(
        "the asserted e-mail address is another person's, {0}: let the company's login and the directory say the same address of each"
    )]
    AddressOfAnother(&'static str),
}

impl NotAdmitted {
    /// The variant's name: a metric label of few values.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ConnectionClosed => "ConnectionClosed",
            Self::DomainNotOurs(_) => "DomainNotOurs",
            Self::NoDirectory => "NoDirectory",
            Self::NotInDirectory { .. } => "NotInDirectory",
            Self::SeveralInDirectory { .. } => "SeveralInDirectory",
            Self::LinkedToAnother { .. } => "LinkedToAnother",
            Self::Deactivated => "Deactivated",
            Self::Removed => "Removed",
            Self::AddressOfAnother(_) => "AddressOfAnother",
        }
    }
}

/// Somebody with a session, of whom everything that lets them in was true when it was read:
/// session, connection, domain, directory, person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub session: Uuid,
    /// The directory person's id, or the identity's where there is none: `sub` and `uid`.
    pub subject: Uuid,
    /// The organization's id.
    pub organization: String,
    pub namespace: String,
    pub connection: String,
    pub class: String,
    pub email: String,
    pub display_name: Option<String>,
    /// When they showed their company who they are: perhaps long before the session began.
    pub authenticated_at: Timestamp,
    pub expires_at: Timestamp,
    /// How long tokens live.
    pub token_seconds: i64,
    /// As tokens carry them: `<organization>:<team>`, in order.
    pub teams: Vec<String>,
}

/// A session, as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: Uuid,
    pub began_at: Timestamp,
    pub expires_at: Timestamp,
    pub browser: String,
    /// The clients that hold a token of it, in order.
    pub clients: Vec<String>,
}

/// An authorization code, as it was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    pub session: Uuid,
    pub client: String,
    pub redirect_uri: String,
    /// PKCE, S256.
    pub challenge: String,
    pub nonce: Option<String>,
    pub scope: String,
}

/// A refresh token, as it was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    pub session: Uuid,
    pub client: String,
    pub scope: String,
}

/// What came of a secret that may be used once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Once<T> {
    /// The first use.
    Fresh(T),
    /// It was used before: its session, with everything obtained by it, has been ended.
    Reused { organization: String, subject: Uuid },
    /// Never issued, expired, or of a session that has ended.
    Unknown,
}

/// An IdentityClass, as the gateway needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// How long tokens live.
    pub token_seconds: i64,
    /// In the order of their ids.
    pub clients: Vec<Client>,
}

/// A client of a class that people may sign in to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub id: String,
    /// Compared as they are.
    pub redirect_uris: Vec<String>,
    /// SHA-256 of its secret; `None` for a public client.
    pub secret_hash: Option<Vec<u8>>,
    /// The organizations whose people may use it, by namespace; `None` for all of the class.
    pub namespaces: Option<Vec<String>>,
}

/// What a key pair is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    IdToken,
    SamlSigning,
    /// Of this organization (by id): what is encrypted for one is never opened for another.
    SamlEncryption(String),
}

/// A key pair of the gateway's.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    pub id: String,
    pub purpose: Purpose,
    /// The private key, PKCS#8, sealed with the installation key for `id`.
    pub sealed: Vec<u8>,
    /// The certificate or the public key, DER.
    pub public: Vec<u8>,
    pub created_at: Timestamp,
    /// Published from the start, used from then on.
    pub active_at: Timestamp,
    /// No longer used from then on.
    pub retired_at: Option<Timestamp>,
    /// No longer published from then on.
    pub expires_at: Option<Timestamp>,
}

/// A binding that stands: what a team may do where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// `None`: in the whole cluster.
    pub namespace: Option<String>,
    pub cluster_role: String,
}

/// A line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    pub at: Timestamp,
    /// Who did it: `scim:<directory>#<token>`, `saml:<connection>`, `oidc:<connection>`, ...
    pub actor: String,
    /// What they did: `user.create`, `sign-in`, `sign-in.refused`, ...
    pub action: String,
    /// To whom or what.
    pub subject: String,
    pub detail: Option<String>,
    /// What an error page showed.
    pub reference: Option<String>,
}
