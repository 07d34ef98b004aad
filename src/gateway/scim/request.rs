//! What comes in with a request: who calls, the query, the body.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{StatusCode, header, request::Parts},
};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{
    error::{Error, Result},
    filter::resource_id,
    projection::Projection,
    resource::Object,
};
use crate::ledger::scim::{Access, Window};

/// The largest body, in bytes.
pub(super) const MAX_BODY: usize = 1 << 20;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);
/// How many resources a page has, unless the client says, and at most.
const PAGE: i64 = 100;
pub(super) const MAX_PAGE: i64 = 200;

/// Who calls, once the token was found right.
#[derive(Clone)]
pub(super) struct Caller {
    pub access: Access,
    /// The directory's own base URL, without a slash at the end.
    pub base: String,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        parts.extensions.get::<Self>().cloned().ok_or_else(Error::unauthorized)
    }
}

/// The id in the path.
pub(super) struct Id(pub Uuid);

#[derive(Deserialize)]
struct IdInPath {
    id: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let path = Path::<IdInPath>::from_request_parts(parts, state).await;
        path.ok().and_then(|path| resource_id(&path.0.id)).map(Self).ok_or_else(Error::not_found)
    }
}

/// The query of a request (RFC 7644 sections 3.4.2 and 3.9). What isn't known is passed over.
#[derive(Debug)]
pub(super) struct Query {
    pub filter: Option<String>,
    /// From 1.
    pub start_index: i64,
    pub count: i64,
    pub projection: Projection,
}

impl Query {
    fn parse(text: &str) -> Result<Self> {
        let mut query =
            Self { filter: None, start_index: 1, count: PAGE, projection: Projection::default() };
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            let number = || {
                let number = value.trim().parse::<i64>();
                number.map_err(|_| Error::value(format!("{name} must be a number")))
            };
            match &*name {
                "filter" => query.filter = Some(value.into_owned()),
                "startIndex" => query.start_index = number()?.max(1),
                "count" => query.count = number()?.clamp(0, MAX_PAGE),
                "attributes" => query.projection.include(&value)?,
                "excludedAttributes" => query.projection.exclude(&value)?,
                _ => {}
            }
        }
        Ok(query)
    }

    pub fn window(&self) -> Window {
        Window { offset: self.start_index - 1, limit: self.count }
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        Self::parse(parts.uri.query().unwrap_or_default())
    }
}

/// A body that is one JSON object. How deep it may nest, serde_json bounds.
pub(super) struct Body(pub Object);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        if let Some(media_type) = request.headers().get(header::CONTENT_TYPE) {
            let media_type = media_type.to_str().unwrap_or_default();
            let media_type = media_type.split(';').next().unwrap_or_default().trim();
            if !["application/scim+json", "application/json"]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(media_type))
            {
                return Err(Error::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "send application/scim+json",
                ));
            }
        }
        let body = tokio::time::timeout(BODY_TIME, Bytes::from_request(request, state)).await;
        let body = body
            .map_err(|_| Error::new(StatusCode::REQUEST_TIMEOUT, "the body took too long"))?
            .map_err(|rejection| match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Error::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("a body may have {MAX_BODY} bytes"),
                ),
                _ => Error::syntax("the body can't be read"),
            })?;
        match serde_json::from_slice(&body) {
            Ok(Value::Object(object)) => Ok(Self(object)),
            Ok(_) => Err(Error::syntax("the body must be a JSON object")),
            Err(error) => Err(Error::syntax(format!(
                "the body isn't JSON: line {}, column {}",
                error.line(),
                error.column()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_bounded() {
        for (text, start, count) in [
            ("", 1, PAGE),
            ("startIndex=0&count=-5", 1, 0),
            ("startIndex=-1&count=0", 1, 0),
            ("startIndex=201&count=1000000", 201, MAX_PAGE),
            ("startIndex=9223372036854775807", i64::MAX, PAGE),
        ] {
            let query = Query::parse(text).unwrap();
            assert_eq!((query.start_index, query.count), (start, count), "{text}");
        }
        for text in ["count=", "count=ten", "startIndex=1e3", "count=9223372036854775808"] {
            assert!(Query::parse(text).is_err(), "{text}");
        }
    }
}
