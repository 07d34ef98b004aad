//! The issuer: what the API server and other clients trust (OpenID Connect Core 1.0, OAuth 2.1).
//!
//! A client sends somebody to `authorize`; once they have a session the client gets a code, which
//! it trades at `token` for an ID token. Who may have what is asked of the ledger each time.

mod authorize;
mod claims;
mod client;
mod discovery;
mod error;
mod jwt;
mod params;
mod revoke;
#[cfg(test)]
mod tests;
mod token;
mod userinfo;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};

pub(in crate::gateway) use self::authorize::{Waiting, complete};
use crate::gateway::Gateway;

/// How large a request may be, in bytes.
const MAX_REQUEST: usize = 16 * 1024;

/// The scopes there are. Tokens say the same of somebody whatever the scope: clients are the
/// platform's own, and some know no scope but `openid`.
const SCOPES: [&str; 5] = ["openid", "profile", "email", "groups", OFFLINE];
/// A refresh token is wanted.
const OFFLINE: &str = "offline_access";

pub(in crate::gateway) fn routes() -> Router<Gateway> {
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery::configuration))
        .route("/oauth2/jwks", get(discovery::jwks))
        .route("/oauth2/authorize", get(authorize::get).post(authorize::post))
        .route("/oauth2/token", post(token::token))
        .route("/oauth2/userinfo", get(userinfo::userinfo).post(userinfo::userinfo))
        .route("/oauth2/revoke", post(revoke::revoke))
        .route_layer(DefaultBodyLimit::max(MAX_REQUEST))
}

/// The issuer identifier: the gateway's address without a slash at its end.
fn issuer(gateway: &Gateway) -> String {
    gateway.url("")
}

/// Whether all of a scope's parts are among `granted`.
fn within(scope: &str, granted: &str) -> bool {
    scope.split_ascii_whitespace().all(|part| has(granted, part))
}

fn has(scope: &str, part: &str) -> bool {
    scope.split_ascii_whitespace().any(|known| known == part)
}
