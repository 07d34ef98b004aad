//! PATCH (RFC 7644 section 3.5.2): reading the operations, and doing them (`apply`).
//!
//! A resource is patched whole or not at all: the caller keeps the result only where every
//! operation went well.

mod apply;
#[cfg(test)]
mod tests;

pub(super) use apply::apply;

use scim_v2::{
    filter::{PatchPath, ValFilter},
    schema_urns,
};
use serde_json::{Value, value::RawValue};

use super::{
    body::{Fields, Listed, Room},
    error::{Error, Result},
    resource::{self, ENTERPRISE_USER, Kind, MAX_VALUES, Object},
};

/// The longest path, in bytes.
const MAX_PATH: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Add,
    Replace,
    Remove,
}

/// One operation, not yet tied to a resource.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub op: Op,
    pub path: Option<Path>,
    /// `None` where it is missing, which isn't null.
    pub value: Option<Value>,
}

#[derive(Clone, Debug)]
pub(super) struct Path {
    text: String,
    pub parsed: PatchPath,
}

/// Where an operation acts.
struct Target<'a> {
    /// The extension that the attribute is part of.
    extension: Option<&'a str>,
    attribute: &'a str,
    choice: Option<&'a ValFilter>,
    sub: Option<&'a str>,
}

/// One operation, whose value isn't read yet.
#[derive(Debug)]
pub(super) struct Unread<'a> {
    pub op: Op,
    pub path: Option<Path>,
    /// `None` where it is missing, which isn't null.
    pub value: Option<&'a RawValue>,
}

impl<'a> Unread<'a> {
    pub fn read(self, room: &mut Room) -> Result<Operation> {
        if self.path.is_none() {
            let value = Some(Value::Object(self.attributes()?.object(room)?));
            return Ok(Operation { op: self.op, path: None, value });
        }
        let value = self.value.map(|value| room.parse(value)).transpose()?;
        Ok(Operation { op: self.op, path: self.path, value })
    }

    /// The value of an operation without a path.
    pub fn attributes(&self) -> Result<Fields<'a>> {
        match self.value {
            Some(value) if value.get().starts_with('{') => Fields::parse(value),
            _ => Err(Error::value("without a path, value must be an object")),
        }
    }
}

/// Read the body of a PATCH request, but for the values. An operation that can't be read is one that
/// is refused.
pub(super) fn operations(mut body: Fields<'_>) -> Result<Vec<Result<Unread<'_>>>> {
    if let Some(schemas) = body.take("schemas") {
        let schemas = Room::new().parse(schemas)?;
        let patch =
            |s: &Value| s.as_str().is_some_and(|s| s.eq_ignore_ascii_case(schema_urns::PATCH_OP));
        if !schemas.as_array().is_some_and(|schemas| schemas.iter().any(patch)) {
            return Err(Error::syntax(format!("schemas must have {}", schema_urns::PATCH_OP)));
        }
    }
    let listed = body.take("Operations").and_then(|listed| serde_json::from_str(listed.get()).ok());
    let Some(Listed(listed)) = listed else {
        return Err(Error::syntax(format!(
            "Operations must be a list of objects, {MAX_VALUES} at most"
        )));
    };
    if listed.is_empty() {
        return Err(Error::syntax("Operations must not be empty"));
    }
    Ok(listed.into_iter().map(operation).collect())
}

/// Read all values, too.
pub(super) fn read(operations: Vec<Result<Unread<'_>>>) -> Result<Vec<Operation>> {
    let mut room = Room::new();
    operations.into_iter().map(|operation| operation?.read(&mut room)).collect()
}

fn operation(mut fields: Fields<'_>) -> Result<Unread<'_>> {
    let text = |value: &RawValue| serde_json::from_str::<Option<String>>(value.get());
    let op = fields.take("op").and_then(|op| text(op).ok()?);
    let op = match op.unwrap_or_default().to_ascii_lowercase().as_str() {
        "add" => Op::Add,
        "replace" => Op::Replace,
        "remove" => Op::Remove,
        _ => return Err(Error::syntax("op must be add, replace or remove")),
    };
    let path = match fields.take("path").map(text) {
        None | Some(Ok(None)) => None,
        Some(Ok(Some(path))) => Some(Path::parse(path)?),
        Some(Err(_)) => return Err(Error::path("path must be a string")),
    };
    let value = fields.take("value");
    match op {
        Op::Remove if path.is_none() => Err(Error::no_target("remove must have a path")),
        Op::Add | Op::Replace if value.is_none() => {
            Err(Error::value("add and replace must have a value"))
        }
        _ => Ok(Unread { op, path, value }),
    }
}

impl Path {
    fn parse(text: String) -> Result<Self> {
        if text.len() > MAX_PATH {
            return Err(Error::path(format!("path is longer than {MAX_PATH} bytes")));
        }
        match text.parse() {
            Ok(parsed) => Ok(Self { text, parsed }),
            Err(_) => Err(Error::path("path can't be read as one of RFC 7644")),
        }
    }

    /// Where this leads in `resource`. A URN may be an extension itself, or an extension and an
    /// attribute of it: which of the two, the resource says.
    fn target<'a>(&'a self, kind: &Kind, resource: &Object) -> Target<'a> {
        let whole = self.text.trim();
        if resource::is_urn(whole)
            && (whole.eq_ignore_ascii_case(ENTERPRISE_USER)
                || resource::find(resource, whole).is_some())
        {
            return Target { extension: None, attribute: whole, choice: None, sub: None };
        }
        let (path, choice, sub) = match &self.parsed {
            PatchPath::Attr(path) => (path, None, path.sub_attr.as_deref()),
            PatchPath::Value(value) => {
                (&value.attr, Some(&value.filter), value.sub_attr.as_deref())
            }
        };
        let extension = path.uri.as_deref().filter(|uri| !uri.eq_ignore_ascii_case(kind.schema));
        Target { extension, attribute: &path.name, choice, sub }
    }
}
