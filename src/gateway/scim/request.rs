//! What comes in with a request beside its body: which resource it is about, and what is asked of a
//! list.

use axum::{
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{Method, request::Parts},
};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{
    body::{Body, Fields, Room, SMALL},
    error::{Error, Result},
    filter::{self, resource_id},
    guard::Caller,
    precondition::Precondition,
    projection::Projection,
    resource::{GROUP, Kind, USER},
};
use crate::{
    gateway::Gateway,
    ledger::{
        Ledger,
        scim::{Access, Condition, Window},
    },
};

/// How many resources a page has, unless the client says, and at most.
pub(super) const PAGE: i64 = 100;
pub(super) const MAX_PAGE: i64 = 200;
/// How many bytes of resources a page has, roughly and at most.
const PAGE_BYTES: usize = 4 << 20;

/// Which resource a request is about, of whose directory, and which version of it.
pub(super) struct About {
    pub gateway: Gateway,
    pub caller: Caller,
    pub id: Uuid,
    pub precondition: Precondition,
}

#[derive(Deserialize)]
struct InPath {
    id: String,
}

impl FromRequestParts<Gateway> for About {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self> {
        let caller = Caller::from_request_parts(parts, gateway).await?;
        let path = Path::<InPath>::from_request_parts(parts, gateway).await.ok();
        let id = path.and_then(|path| resource_id(&path.0.id)).ok_or_else(Error::not_found)?;
        let precondition = Precondition::from_request_parts(parts, gateway).await?;
        Ok(Self { gateway: gateway.clone(), caller, id, precondition })
    }
}

impl About {
    /// The ledger, and the right to see this directory in it.
    pub fn ledger(&self) -> (&Ledger, &Access) {
        (&self.gateway.ledger, &self.caller.access)
    }
}

/// What is asked of a list (RFC 7644 sections 3.4.2, 3.4.3 and 3.9). What isn't known is passed
/// over.
#[derive(Debug)]
pub(super) struct Query {
    filter: Option<String>,
    /// From 1.
    pub start_index: i64,
    pub count: i64,
    pub projection: Projection,
}

impl Default for Query {
    fn default() -> Self {
        Self { filter: None, start_index: 1, count: PAGE, projection: Projection::default() }
    }
}

impl Query {
    fn parse(text: &str) -> Result<Self> {
        let mut query = Self::default();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            let number = || {
                let number = value.trim().parse::<i64>();
                number.map_err(|_| Error::value(format!("{name} must be a number")))
            };
            match &*name {
                "filter" if query.filter.is_some() => {
                    return Err(Error::filter("filter is there twice"));
                }
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

    /// The body of a search.
    fn of_search(fields: Fields<'_>) -> Result<Self> {
        let mut query = Self::default();
        for (name, value) in fields.object(&mut Room::new())? {
            let number = |value: &Value| {
                value.as_i64().ok_or_else(|| Error::value(format!("{name} must be a number")))
            };
            match (name.to_ascii_lowercase().as_str(), value) {
                (_, Value::Null) => {}
                ("filter", Value::String(filter)) => query.filter = Some(filter),
                ("filter", _) => return Err(Error::filter("filter must be a string")),
                ("startindex", value) => query.start_index = number(&value)?.max(1),
                ("count", value) => query.count = number(&value)?.clamp(0, MAX_PAGE),
                ("attributes", value) => query.projection.include(&names(&name, value)?)?,
                ("excludedattributes", value) => query.projection.exclude(&names(&name, value)?)?,
                _ => {}
            }
        }
        Ok(query)
    }

    /// What the resources must be, all of them if nothing is said.
    pub fn condition(&self, kind: &Kind) -> Result<Condition> {
        let filter = self.filter.as_deref();
        filter.map_or(Ok(Condition::Const(true)), |filter| filter::compile(kind, filter))
    }

    /// What users and what groups must be, where both are asked for.
    pub fn conditions(&self) -> Result<(Condition, Condition)> {
        let compile = |kind, other| match self.filter.as_deref() {
            None => Ok(Condition::Const(true)),
            Some(filter) => filter::compile_among(kind, Some(other), filter),
        };
        Ok((compile(&USER, &GROUP)?, compile(&GROUP, &USER)?))
    }

    pub fn window(&self) -> Window {
        Window { offset: self.start_index - 1, limit: self.count, bytes: PAGE_BYTES }
    }
}

/// A list of attribute names, as a query has them.
fn names(name: &str, value: Value) -> Result<String> {
    let refused = || Error::value(format!("{name} must be a list of strings"));
    match value {
        Value::String(names) => Ok(names),
        Value::Array(names) => {
            let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
            Ok(names.ok_or_else(refused)?.join(","))
        }
        _ => Err(refused()),
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        Self::parse(parts.uri.query().unwrap_or_default())
    }
}

/// What is asked of a list: by a GET in its query, by a search in its body (RFC 7644 section 3.4.3).
pub(super) struct Asked(pub Query);

impl<S: Send + Sync> FromRequest<S> for Asked {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        if request.method() != Method::POST {
            return Query::parse(request.uri().query().unwrap_or_default()).map(Self);
        }
        let body = Body::<SMALL>::from_request(request, state).await?;
        Query::of_search(body.fields()?).map(Self)
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

    #[test]
    fn a_repeated_parameter_counts_once_or_is_refused() {
        let many = "attributes=emails&".repeat(1_000);
        assert!(Query::parse(&many).is_ok());
        let others: String = (0..101).map(|i| format!("attributes=a{i}&")).collect();
        assert!(Query::parse(&others).is_err());
        assert!(Query::parse("filter=id+pr&filter=id+pr").is_err());
    }
}
