//! Versions of resources, and requests that ask for one of them (RFC 7644 section 3.14).

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, StatusCode, header, request::Parts},
};

use super::error::{Error, Result};

/// What a request says of the version that it is about.
#[derive(Debug, Default)]
pub(super) struct Precondition {
    matching: Option<Tags>,
    none_matching: Option<Tags>,
}

#[derive(Debug)]
enum Tags {
    Any,
    These(Vec<String>),
}

impl Precondition {
    /// Whether a read's client has this version already.
    pub fn has(&self, tag: &str) -> bool {
        self.none_matching.as_ref().is_some_and(|tags| tags.contain(tag))
    }

    /// Whether a write is only for some versions.
    pub fn is_there(&self) -> bool {
        self.matching.is_some() || self.none_matching.is_some()
    }

    /// Refuse a write that isn't for this version.
    pub fn check(&self, tag: &str) -> Result<()> {
        if self.matching.as_ref().is_none_or(|tags| tags.contain(tag)) && !self.has(tag) {
            return Ok(());
        }
        Err(Error::new(StatusCode::PRECONDITION_FAILED, "the resource has another version"))
    }
}

impl Tags {
    fn read(headers: &HeaderMap, name: HeaderName) -> Option<Self> {
        let mut said = headers.get_all(name).iter().peekable();
        said.peek()?;
        let said = said.map(|value| value.to_str().unwrap_or_default());
        let tags: Vec<_> = said.flat_map(|value| value.split(',')).map(str::trim).collect();
        if tags.contains(&"*") {
            return Some(Self::Any);
        }
        Some(Self::These(tags.into_iter().map(|tag| opaque(tag).to_owned()).collect()))
    }

    fn contain(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|known| known == opaque(tag)),
        }
    }
}

/// All our tags are weak, and compared as such: RFC 7644 uses them with If-Match, too.
fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

impl<S: Sync> FromRequestParts<S> for Precondition {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        Ok(Self {
            matching: Tags::read(&parts.headers, header::IF_MATCH),
            none_matching: Tags::read(&parts.headers, header::IF_NONE_MATCH),
        })
    }
}
