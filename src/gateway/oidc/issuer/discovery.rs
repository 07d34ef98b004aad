//! Where everything is and what is supported (OpenID Connect Discovery 1.0, section 4; RFC 8414),
//! and the keys.

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde_json::json;

use super::{SCOPES, authorize::PROMPTS, error::Refused, issuer, jwt};
use crate::{gateway::Gateway, ledger::Purpose};

/// A key is published a day before it is used.
const CACHE: [(header::HeaderName, &str); 1] =
    [(header::CACHE_CONTROL, "public, max-age=3600, must-revalidate")];

pub(super) async fn configuration(State(gateway): State<Gateway>) -> Response {
    let at = |path: &str| gateway.url(path);
    let authentication = ["client_secret_basic", "client_secret_post", "none"];
    let configuration = json!({
        "issuer": issuer(&gateway),
        "authorization_endpoint": at("/oauth2/authorize"),
        "token_endpoint": at("/oauth2/token"),
        "jwks_uri": at("/oauth2/jwks"),
        "userinfo_endpoint": at("/oauth2/userinfo"),
        "revocation_endpoint": at("/oauth2/revoke"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": SCOPES,
        "prompt_values_supported": PROMPTS,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": authentication,
        "revocation_endpoint_auth_methods_supported": authentication,
        "claims_supported": [
            "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "sid", "uid",
            "username", "groups", "email", "email_verified", "name", "preferred_username",
        ],
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "authorization_response_iss_parameter_supported": true,
    });
    (CACHE, Json(configuration)).into_response()
}

pub(super) async fn jwks(State(gateway): State<Gateway>) -> Result<Response, Refused> {
    let keys = gateway.keys.ring(&Purpose::IdToken).await?;
    Ok((CACHE, Json(jwt::key_set(&keys, Timestamp::now()))).into_response())
}
