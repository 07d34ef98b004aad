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
use crate::ledger::{
    self, concerns_one,
    scim::{GROUPS_IN_GROUP, GROUPS_IN_GROUPS, Refused},
};

/// A refusal. `detail` is for the person who sets up the identity provider: it says what to send
/// instead, and never holds a secret or another directory's data.
#[derive(Debug, PartialEq)]
pub(super) struct Error {
    pub status: StatusCode,
    pub scim_type: Option<ScimType>,
    pub detail: String,
    /// After how many seconds to try again.
    pub retry_after: Option<u64>,
}

/// Left in the response's extensions: what was refused, for the audit log.
#[derive(Clone)]
pub(super) struct Refusal(pub StatusCode, pub String);

impl Refusal {
    /// Whether it says something that whoever set up the identity provider should see: not that
    /// something isn't there, nor that somebody isn't let in or comes too often, nor our own faults.
    pub fn is_news(&self) -> bool {
        self.0.is_client_error()
            && ![StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND, StatusCode::TOO_MANY_REQUESTS]
                .contains(&self.0)
    }
}

pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, scim_type: None, detail: detail.into(), retry_after: None }
    }

    fn bad(scim_type: ScimType, detail: impl Into<String>) -> Self {
        Self { scim_type: Some(scim_type), ..Self::new(StatusCode::BAD_REQUEST, detail) }
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

    /// The directory or its organization asks for more than it may; again in so many seconds.
    pub fn too_many(seconds: u64) -> Self {
        let text = "too many requests of this directory, or of its organization";
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, text);
        Self { retry_after: Some(seconds), ..refusal }
    }

    /// Whether nothing was refused for what it says: the client is to say all of it again, and until
    /// then nothing of it is made.
    pub fn is_for_now(&self) -> bool {
        self.retry_after.is_some()
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
        if let ledger::Error::TooLong = error {
            let text = "the filter takes too long: name a userName, an externalId or an address";
            return Self::bad(ScimType::TooMany, text);
        }
        if error.refuses_values() {
            return Self::value(
                "a value can't be kept: it is too large, or has what no text may have",
            );
        }
        tracing::error!(%error, "a SCIM request failed");
        match error {
            ledger::Error::Corrupt(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the stored resource is unreadable")
            }
            error if concerns_one(&error) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the ledger doesn't take this")
            }
            _ => {
                let text = "the ledger doesn't answer, try again";
                Self { retry_after: Some(5), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, text) }
            }
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound => Self::not_found(),
            Refused::UserNameTaken => Self {
                scim_type: Some(ScimType::Uniqueness),
                ..Self::new(
                    StatusCode::CONFLICT,
                    "another user of this directory has this userName",
                )
            },
            Refused::TooManyGroups => Self::value(format!(
                "members: at most {GROUPS_IN_GROUP} groups may be in a group, and \
                 {GROUPS_IN_GROUPS} in all groups of the directory together: send their people instead"
            )),
            // Not 403, which Entra takes for a wrong token, nor a server's error, for which the same is
            // sent again and again: this one only, and what follows goes on. There is no keyword for it.
            Refused::NoRoom(limit) => Self::new(
                StatusCode::BAD_REQUEST,
                format!(
                    "the directories of this organization may hold {} MiB, and this is more: remove \
                     users or groups that nobody needs, or ask the platform team, who can raise that \
                     limit; deactivating and removing go on",
                    limit >> 20
                ),
            ),
            Refused::Closed => Self::unauthorized(),
            Refused::Ledger(error) => error.into(),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let keyword =
            self.scim_type.as_ref().and_then(|keyword| serde_json::to_value(keyword).ok());
        let keyword = keyword.as_ref().and_then(|keyword| keyword.as_str()).unwrap_or_default();
        let refusal = format!("{} {keyword}: {}", self.status.as_u16(), self.detail);
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
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(Refusal(self.status, refusal));
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
    fn what_can_never_be_kept_is_not_sent_again() {
        let refused = Error::from(ledger::Error::Nul);
        assert_eq!((refused.status.as_u16(), refused.retry_after), (400, None));
        assert!(refused.scim_type.is_some());
        let failed = Error::from(ledger::Error::Abandoned);
        assert_eq!((failed.status.as_u16(), failed.retry_after), (503, Some(5)));
    }

    #[test]
    fn who_is_not_let_in_is_told_how_to_come_in() {
        let response = Error::unauthorized().into_response();
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
    }
}
