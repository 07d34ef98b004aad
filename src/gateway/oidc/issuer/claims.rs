//! What tokens say of somebody.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{client::Clients, jwt};
use crate::{gateway::keys::Keyring, ledger::Standing};

/// `typ` of an ID token.
pub(super) const ID_TOKEN: &str = "JWT";
/// `typ` of an access token (RFC 9068, section 2.1). It is for `userinfo` alone.
pub(super) const ACCESS_TOKEN: &str = "at+jwt";
/// How long tokens live, in seconds, whatever a class says.
const LIFETIMES: (i64, i64) = (60, 3600);
/// What Kubernetes keeps for itself.
const RESERVED: &str = "system:";

/// What ID tokens and userinfo say alike (OpenID Connect Core, section 5.1). `uid`, `username` and
/// `groups` are what the API server goes by.
#[derive(Serialize)]
pub(super) struct Person<'a> {
    uid: Uuid,
    username: String,
    groups: &'a [String],
    email: &'a str,
    email_verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    preferred_username: &'a str,
}

impl<'a> Person<'a> {
    pub fn of(standing: &'a Standing) -> Self {
        Self {
            uid: standing.subject,
            username: username(standing),
            groups: &standing.teams,
            email: &standing.email,
            email_verified: true,
            name: standing.display_name.as_deref(),
            preferred_username: &standing.email,
        }
    }
}

fn username(standing: &Standing) -> String {
    format!("{}:{}", standing.namespace, standing.email)
}

/// Why somebody gets no token of a client's; for the client and the audit log.
pub(super) fn objection(clients: &Clients, standing: &Standing) -> Option<&'static str> {
    if clients.serving(standing).is_none() {
        return Some("the client doesn't serve people of this organization");
    }
    let reserved = standing.teams.iter().any(|team| team.starts_with(RESERVED))
        || username(standing).starts_with(RESERVED);
    reserved.then_some("the organization's name is one that Kubernetes keeps for itself")
}

/// OpenID Connect Core, section 2.
#[derive(Serialize)]
struct IdToken<'a> {
    iss: &'a str,
    sub: Uuid,
    aud: &'a str,
    exp: i64,
    iat: i64,
    auth_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    at_hash: String,
    sid: Uuid,
    #[serde(flatten)]
    person: Person<'a>,
}

/// RFC 9068, section 2.2.
#[derive(Deserialize, Serialize)]
pub(super) struct AccessToken {
    iss: String,
    pub sub: Uuid,
    aud: String,
    exp: i64,
    iat: i64,
    jti: Uuid,
    client_id: String,
    scope: String,
    /// The session, which is looked up at each use.
    pub sid: Uuid,
}

/// What a token is made for.
pub(super) struct Grant<'a> {
    pub issuer: &'a str,
    pub client: &'a str,
    pub scope: &'a str,
    pub nonce: Option<&'a str>,
    pub standing: &'a Standing,
}

/// Signed tokens, and for how many seconds they are good.
pub(super) struct Tokens {
    pub access: String,
    pub id: String,
    pub expires_in: i64,
}

/// Sign an access token and the ID token that goes with it. They don't outlive the session.
pub(super) fn tokens(
    keys: &Keyring,
    grant: &Grant<'_>,
    now: Timestamp,
) -> Result<Tokens, jwt::Error> {
    let Grant { issuer, client, scope, nonce, standing } = *grant;
    let iat = now.as_second();
    let left = standing.expires_at.as_second() - iat;
    let expires_in = standing.token_seconds.clamp(LIFETIMES.0, LIFETIMES.1).min(left);
    let exp = iat + expires_in;
    let access = AccessToken {
        iss: issuer.to_owned(),
        sub: standing.subject,
        aud: audience(issuer),
        exp,
        iat,
        jti: Uuid::new_v4(),
        client_id: client.to_owned(),
        scope: scope.to_owned(),
        sid: standing.session,
    };
    let access = jwt::sign(keys, ACCESS_TOKEN, &access, now)?;
    let id = IdToken {
        iss: issuer,
        sub: standing.subject,
        aud: client,
        exp,
        iat,
        auth_time: standing.authenticated_at.as_second(),
        nonce,
        at_hash: at_hash(&access),
        sid: standing.session,
        person: Person::of(standing),
    };
    let id = jwt::sign(keys, ID_TOKEN, &id, now)?;
    Ok(Tokens { access, id, expires_in })
}

/// Whom access tokens are for: nobody but our own userinfo.
pub(super) fn audience(issuer: &str) -> String {
    format!("{issuer}/oauth2/userinfo")
}

/// The left half of the access token's SHA-256 (section 3.1.3.6).
fn at_hash(access: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(&digest(&SHA256, access.as_bytes()).as_ref()[..16])
}
