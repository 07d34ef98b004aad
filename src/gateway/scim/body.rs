//! Bodies, of which no more is made than they are worth: an object is split into its attributes,
//! which are parsed one by one within a budget, and members, who may be 100,000, become ids at once.
//! What no database of ours can hold is refused here, for all routes: U+0000, and numbers without
//! bounds.

use std::{fmt, time::Duration};

use axum::{
    body::HttpBody,
    extract::{FromRequest, Request},
    http::{StatusCode, header},
};
use futures::StreamExt;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, error::Category, value::RawValue};

use super::{
    error::{Error, Result},
    guard::{Caller, Memory, Place},
    number,
    resource::{MAX_VALUES, Object},
};

/// How much of any body may be attributes, in bytes, and the largest body where no other bound is
/// said. In memory they take up to eighty times as much.
pub(super) const SMALL: usize = 128 << 10;
/// The largest body of a change, in bytes: that of a group of 100,000 members has about 10 MB, and
/// keeps others' writes waiting for a quarter of a second; the barest has 340,000, and takes about one.
/// That of a person isn't kept beyond [`SMALL`], but read, since it may say that they are to leave.
pub(super) const LARGE: usize = 16 << 20;
/// How long a body may take to arrive.
const TIME: Duration = Duration::from_secs(30);

/// What a client sent, of at most so many bytes. As long as it is there it holds memory of its
/// organization's share, and a place among the large ones if it is large.
pub(super) struct Body<const LIMIT: usize = SMALL> {
    bytes: Vec<u8>,
    _memory: Memory,
    place: Option<Place>,
}

/// The attributes of an object that isn't parsed further yet, each there once whatever its case.
#[derive(Debug, Default)]
pub(super) struct Fields<'a>(Vec<(String, &'a RawValue)>);

/// How many bytes of attributes may still be parsed.
pub(super) struct Room(usize);

impl<const LIMIT: usize> Body<LIMIT> {
    /// The body as one JSON object.
    pub fn fields(&self) -> Result<Fields<'_>> {
        parse(|| serde_json::from_slice(&self.bytes))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<S: Send + Sync, const LIMIT: usize> FromRequest<S> for Body<LIMIT> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
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
        let caller = request.extensions().get::<Caller>().cloned();
        let caller = caller.ok_or_else(Error::unauthorized)?;
        match tokio::time::timeout(TIME, Self::collect(request, &caller)).await {
            Ok(collected) => collected,
            Err(_) => Err(Error::new(StatusCode::REQUEST_TIMEOUT, "the body took too long")),
        }
    }
}

impl<const LIMIT: usize> Body<LIMIT> {
    async fn collect(request: Request, caller: &Caller) -> Result<Self> {
        let body = request.into_body();
        // what isn't said beforehand may be as much as is let in
        let said = body.size_hint().upper();
        let said = said.map_or(SMALL, |said| usize::try_from(said).unwrap_or(usize::MAX));
        if said > LIMIT {
            return Err(too_large());
        }
        let memory = caller.memory(said.min(SMALL)).await?;
        let mut chunks = body.into_data_stream();
        let mut body = Self { bytes: Vec::new(), _memory: memory, place: None };
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Error::syntax("the body can't be read"))?;
            let length = body.bytes.len() + chunk.len();
            if length > LIMIT {
                return Err(too_large());
            }
            if length > SMALL && body.place.is_none() {
                body.place = Some(caller.large().await?);
            }
            body.bytes.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

fn too_large() -> Error {
    let text = format!(
        "a body may have {SMALL} bytes, that of a change {LARGE}, of which {SMALL} may be others \
         than members"
    );
    Error::new(StatusCode::PAYLOAD_TOO_LARGE, text)
}

/// Say in our own words what serde found wrong: it would repeat what was sent.
fn parse<T>(read: impl FnOnce() -> serde_json::Result<T>) -> Result<T> {
    read().map_err(|error| match error.classify() {
        // serde_json has no other word for it
        Category::Syntax if error.to_string().starts_with("number out of range") => {
            Error::value("a number is larger than any that is kept")
        }
        Category::Data => Error::syntax(format!(
            "line {}, column {}: here must be a JSON object, with each attribute once whatever its \
             case, and at most {MAX_VALUES} of them",
            error.line(),
            error.column()
        )),
        _ => Error::syntax(format!(
            "the body isn't JSON: line {}, column {}",
            error.line(),
            error.column()
        )),
    })
}

impl<'a> Fields<'a> {
    /// A part of a body as one JSON object.
    pub fn parse(text: &'a RawValue) -> Result<Self> {
        parse(|| serde_json::from_str(text.get()))
    }

    /// Take out an attribute, whatever the case of its name.
    pub fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let at = self.0.iter().position(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(self.0.swap_remove(at).1)
    }

    /// All that is left, parsed.
    pub fn object(self, room: &mut Room) -> Result<Object> {
        let pairs = self.0.into_iter().map(|(name, value)| {
            room.take(name.len())?;
            Ok((name, room.parse(value)?))
        });
        pairs.collect()
    }
}

impl Room {
    pub fn new() -> Self {
        Self(SMALL)
    }

    fn take(&mut self, bytes: usize) -> Result<()> {
        self.0 = self.0.checked_sub(bytes).ok_or_else(too_large)?;
        Ok(())
    }

    /// Parse a value, if there is room for it. How deep it may nest, serde_json bounds.
    pub fn parse(&mut self, value: &RawValue) -> Result<Value> {
        self.take(value.get().len())?;
        let parsed = parse(|| serde_json::from_str(value.get()))?;
        match number::altered(value.get()) {
            false => Ok(parsed),
            true => {
                Err(Error::value("a number has more digits than are kept: send it as a string"))
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Split;
        impl<'de> Visitor<'de> for Split {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Vec<(String, &RawValue)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let twice = fields.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name));
                    if twice || fields.len() == MAX_VALUES {
                        return Err(A::Error::custom("there twice, or too many"));
                    }
                    fields.push((name, map.next_value()?));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Split)
    }
}

/// The objects of a list, at most [`MAX_VALUES`].
pub(super) struct Listed<'a>(pub Vec<Fields<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Listed<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Split;
        impl<'de> Visitor<'de> for Split {
            type Value = Listed<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of objects")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut listed = Vec::new();
                while let Some(fields) = seq.next_element()? {
                    if listed.len() == MAX_VALUES {
                        return Err(A::Error::custom("too many"));
                    }
                    listed.push(fields);
                }
                Ok(Listed(listed))
            }
        }
        deserializer.deserialize_seq(Split)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_beyond_all_that_is_kept_is_an_invalid_value_and_no_syntax_error() {
        let body: Fields<'_> = serde_json::from_str(r#"{"x": [1e308, -1e400]}"#).unwrap();
        let refused = body.object(&mut Room::new()).unwrap_err();
        assert_eq!(refused, Error::value("a number is larger than any that is kept"));
    }
}
