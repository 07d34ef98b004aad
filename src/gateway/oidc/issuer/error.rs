//! What a client is told when its own request is refused (RFC 6749, section 5.2).

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{jwt, params::Repeated};
use crate::{
    gateway::{keys::Unavailable, secret::NoRandomness},
    ledger,
};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    InvalidRequest(&'static str),
    /// No client of this id, or not with this secret.
    UnknownClient {
        by_header: bool,
    },
    InvalidGrant(&'static str),
    InvalidScope(&'static str),
    UnsupportedGrantType,
    UnsupportedTokenType,
    /// Nothing the client did, and it passes.
    TryLater,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, error, description) = match self {
            Self::InvalidRequest(text) => (StatusCode::BAD_REQUEST, "invalid_request", text),
            Self::UnknownClient { .. } => (
                StatusCode::UNAUTHORIZED,
                "invalid_client",
                "no such client, or its secret is wrong, missing or not wanted",
            ),
            Self::InvalidGrant(text) => (StatusCode::BAD_REQUEST, "invalid_grant", text),
            Self::InvalidScope(text) => (StatusCode::BAD_REQUEST, "invalid_scope", text),
            Self::UnsupportedGrantType => (
                StatusCode::BAD_REQUEST,
                "unsupported_grant_type",
                "grant_type is authorization_code or refresh_token",
            ),
            Self::UnsupportedTokenType => (
                StatusCode::BAD_REQUEST,
                "unsupported_token_type",
                "only refresh tokens can be revoked",
            ),
            Self::TryLater => (
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "not available just now",
            ),
        };
        let body = Json(json!({"error": error, "error_description": description}));
        let mut response = (status, NO_STORE, body).into_response();
        let headers = response.headers_mut();
        if self == (Self::UnknownClient { by_header: true }) {
            let basic = HeaderValue::from_static("Basic realm=\"rollcall\"");
            headers.insert(header::WWW_AUTHENTICATE, basic);
        }
        if self == Self::TryLater {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

/// Nothing keeps what is in a response (section 5.1).
pub(super) const NO_STORE: [(header::HeaderName, &str); 2] =
    [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];

impl From<ledger::Error> for Refused {
    fn from(error: ledger::Error) -> Self {
        tracing::error!(%error, "a client's request can't be answered");
        Self::TryLater
    }
}

impl From<Unavailable> for Refused {
    fn from(error: Unavailable) -> Self {
        tracing::warn!(%error, "a client's request can't be answered");
        Self::TryLater
    }
}

impl From<NoRandomness> for Refused {
    fn from(error: NoRandomness) -> Self {
        tracing::error!(%error, "a client's request can't be answered");
        Self::TryLater
    }
}

impl From<jwt::Error> for Refused {
    fn from(error: jwt::Error) -> Self {
        tracing::error!(%error, "a token can't be signed");
        Self::TryLater
    }
}

impl From<Repeated> for Refused {
    fn from(_: Repeated) -> Self {
        Self::InvalidRequest("a parameter is repeated")
    }
}
