//! What a SCIM client is told when something doesn't go (RFC 7644 section 3.12).

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use scim_v2::{
    models::errors::{ScimHttpError, ScimType},
    schema_urns,
};

use super::Json;
use crate::ledger::{self, scim::Refused};

/// A refusal. `detail` is for the person who sets up the identity provider: it says what to send
/// instead, and never holds a secret or another directory's data.
#[derive(Debug, PartialEq)]
pub(super) struct Error {
    pub status: StatusCode,
    pub scim_type: Option<ScimType>,
    pub detail: String,
}

pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, scim_type: None, detail: detail.into() }
    }

    fn bad(scim_type: ScimType, detail: impl Into<String>) -> Self {
        let scim_type = Some(scim_type);
        Self { status: StatusCode::BAD_REQUEST, scim_type, detail: detail.into() }
    }

    /// The body isn't a message of the protocol.
    pub fn syntax(detail: impl Into<String>) -> Self {
        Self::bad(ScimType::InvalidSyntax, detail)
    }

    /// A value is missing, or isn't one that the attribute takes.
    pub fn value(detail: impl Into<String>) -> Self {
        Self::bad(ScimType::InvalidValue, detail)
    }

    pub fn filter(detail: impl Into<String>) -> Self {
        Self::bad(ScimType::InvalidFilter, detail)
    }

    pub fn path(detail: impl Into<String>) -> Self {
        Self::bad(ScimType::InvalidPath, detail)
    }

    /// A PATCH operation that names nothing.
    pub fn no_target(detail: impl Into<String>) -> Self {
        Self::bad(ScimType::NoTarget, detail)
    }

    /// An attribute that only this server sets.
    pub fn mutability(attribute: &str) -> Self {
        Self::bad(ScimType::Mutability, format!("{attribute} can't be changed"))
    }

    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no such resource in this directory")
    }

    /// The same for every reason, so that nobody learns which organizations and directories exist.
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "send the directory's bearer token to the directory's own address",
        )
    }
}

impl From<ledger::Error> for Error {
    fn from(error: ledger::Error) -> Self {
        tracing::error!(%error, "a SCIM request failed");
        match error {
            ledger::Error::Corrupt(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the stored resource is unreadable")
            }
            _ => Self::new(StatusCode::SERVICE_UNAVAILABLE, "the ledger doesn't answer, try again"),
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound => Self::not_found(),
            Refused::UserNameTaken => Self {
                status: StatusCode::CONFLICT,
                scim_type: Some(ScimType::Uniqueness),
                detail: "another user of this directory has this userName".into(),
            },
            Refused::Closed => Self::unauthorized(),
            Refused::Ledger(error) => error.into(),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let body = ScimHttpError {
            schemas: vec![schema_urns::ERROR.to_owned()],
            scim_type: self.scim_type,
            detail: Some(self.detail),
            status: self.status.as_str().to_owned(),
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_its_status_as_text_and_its_keyword() {
        let response = Error::filter("no").into_response();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["content-type"], "application/scim+json");
        let body = serde_json::to_value(ScimHttpError {
            scim_type: Some(ScimType::InvalidFilter),
            status: "400".into(),
            ..Default::default()
        });
        assert_eq!(
            body.unwrap(),
            serde_json::json!({
                "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
                "scimType": "invalidFilter",
                "status": "400",
            })
        );
    }

    #[test]
    fn who_is_not_let_in_is_told_how_to_come_in() {
        let response = Error::unauthorized().into_response();
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
    }
}
