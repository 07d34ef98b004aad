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
use serde_json::Value;

use super::{
    error::{Error, Result},
    resource::{self, ENTERPRISE_USER, Kind, Object},
};

/// The most operations of one request.
const MAX_OPERATIONS: usize = 1_000;
/// The longest path, in bytes.
const MAX_PATH: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Add,
    Replace,
    Remove,
}

/// One operation, read but not yet tied to a resource.
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

/// Read the body of a PATCH request.
pub(super) fn operations(body: Object) -> Result<Vec<Operation>> {
    if let Some(schemas) = resource::get(&body, "schemas") {
        let patch =
            |s: &Value| s.as_str().is_some_and(|s| s.eq_ignore_ascii_case(schema_urns::PATCH_OP));
        if !schemas.as_array().is_some_and(|schemas| schemas.iter().any(patch)) {
            return Err(Error::syntax(format!("schemas must have {}", schema_urns::PATCH_OP)));
        }
    }
    let listed = body.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("Operations"));
    let Some((_, Value::Array(listed))) = listed else {
        return Err(Error::syntax("Operations must be a list"));
    };
    if listed.is_empty() || listed.len() > MAX_OPERATIONS {
        return Err(Error::syntax(format!("Operations must be 1 to {MAX_OPERATIONS}")));
    }
    listed.into_iter().map(operation).collect()
}

fn operation(value: Value) -> Result<Operation> {
    let Value::Object(object) = value else {
        return Err(Error::syntax("each of Operations must be an object"));
    };
    let (mut op, mut path, mut argument) = (None, None, None);
    for (name, value) in object {
        match (name.to_ascii_lowercase().as_str(), value) {
            ("op", Value::String(text)) => {
                op = match text.to_ascii_lowercase().as_str() {
                    "add" => Some(Op::Add),
                    "replace" => Some(Op::Replace),
                    "remove" => Some(Op::Remove),
                    _ => None,
                };
            }
            ("path", Value::String(text)) => path = Some(Path::parse(text)?),
            ("path", Value::Null) => {}
            ("path", _) => return Err(Error::path("path must be a string")),
            ("value", value) => argument = Some(value),
            _ => {}
        }
    }
    let op = op.ok_or_else(|| Error::syntax("op must be add, replace or remove"))?;
    match op {
        Op::Remove if path.is_none() => {
            return Err(Error::no_target("remove must have a path"));
        }
        Op::Add | Op::Replace if argument.is_none() => {
            return Err(Error::value("add and replace must have a value"));
        }
        _ => {}
    }
    Ok(Operation { op, path, value: argument })
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
