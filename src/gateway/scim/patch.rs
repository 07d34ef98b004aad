//! PATCH (RFC 7644 section 3.5.2): operations on a resource, as a pure function on JSON.
//!
//! A resource is patched whole or not at all: the caller keeps the result only where every
//! operation went well.

use scim_v2::{
    filter::{AttrExp, CompValue, CompareOp, PatchPath, ValFilter},
    schema_urns,
};
use serde_json::Value;

use super::{
    error::{Error, Result},
    filter::chooses,
    resource::{self, ENTERPRISE_USER, Kind, MAX_VALUES, Object, Shape},
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
        let patch = |s: &Value| s.as_str().is_some_and(|s| s.eq_ignore_ascii_case(schema_urns::PATCH_OP));
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
        let extension =
            path.uri.as_deref().filter(|uri| !uri.eq_ignore_ascii_case(kind.schema));
        Target { extension, attribute: &path.name, choice, sub }
    }
}

/// Do all of `operations` to `resource`, in order. What comes out is not tidied.
///
/// # Errors
///
/// The first operation that can't be done; `resource` is then half patched, and to be thrown away.
pub(super) fn apply(kind: &Kind, resource: &mut Object, operations: &[Operation]) -> Result<()> {
    for Operation { op, path, value } in operations {
        match path {
            Some(path) => {
                let target = path.target(kind, resource);
                at(kind, *op, resource, &target, value.clone())?;
            }
            None => whole(kind, *op, resource, value.clone())?,
        }
    }
    Ok(())
}

/// An operation without a path: its value is an object of attributes.
fn whole(kind: &Kind, op: Op, resource: &mut Object, value: Option<Value>) -> Result<()> {
    let Some(Value::Object(attributes)) = value else {
        return Err(Error::value("without a path, value must be an object"));
    };
    for (name, value) in attributes {
        if kind.ignores(&name) {
            continue;
        }
        // Entra writes paths here: `name.givenName`, and extensions' attributes in one string
        let known = resource::find(resource, &name).is_some() || kind.shape(&name) != Shape::Any;
        match Path::parse(name.clone()) {
            Ok(path) if !known && !value.is_object() => {
                let target = path.target(kind, resource);
                at(kind, op, resource, &target, Some(value))?;
            }
            _ => {
                let target =
                    Target { extension: None, attribute: &name, choice: None, sub: None };
                at(kind, op, resource, &target, Some(value))?;
            }
        }
    }
    Ok(())
}

fn at(
    kind: &Kind,
    op: Op,
    resource: &mut Object,
    target: &Target<'_>,
    value: Option<Value>,
) -> Result<()> {
    let Some(extension) = target.extension else {
        if kind.ignores(target.attribute) {
            // what is never kept can't be changed either, and no client is told so each time
            let kept_nowhere = target.attribute.eq_ignore_ascii_case("password");
            return if kept_nowhere { Ok(()) } else { Err(Error::mutability(target.attribute)) };
        }
        return within(kind.shape(target.attribute), op, resource, target, value);
    };
    let name = resource::find(resource, extension).unwrap_or_else(|| extension.to_owned());
    if op == Op::Remove && !resource.contains_key(&name) {
        return Ok(());
    }
    if !resource.contains_key(&name) {
        resource::put(resource, name.clone(), Value::Object(Object::new()))?;
    }
    match resource.get_mut(&name) {
        Some(Value::Object(extension)) => within(Shape::Any, op, extension, target, value),
        _ => Err(Error::path(format!("{name} is not an extension with attributes"))),
    }
}

/// An operation on one attribute of `object`.
fn within(
    shape: Shape,
    op: Op,
    object: &mut Object,
    target: &Target<'_>,
    value: Option<Value>,
) -> Result<()> {
    let name = target.attribute;
    let key = resource::find(object, name).unwrap_or_else(|| name.to_owned());
    if let Some(choice) = target.choice {
        return chosen(op, object, key, choice, target.sub, value);
    }
    if let Some(sub) = target.sub {
        if op != Op::Remove && !object.contains_key(&key) && !matches!(shape, Shape::Many(_)) {
            resource::put(object, key.clone(), Value::Object(Object::new()))?;
        }
        return match (object.get_mut(&key), op) {
            (Some(Value::Object(parent)), _) => set(parent, sub, value_of(op, value)),
            (None, Op::Remove) => Ok(()),
            _ => Err(Error::path(format!(
                "{name}.{sub} must say which: {name}[type eq \"work\"].{sub}"
            ))),
        };
    }
    let value = match (shape, value) {
        // one value is taken for a list of one
        (Shape::Many(_), Some(value @ Value::Object(_))) => Some(Value::Array(vec![value])),
        (_, value) => value,
    };
    match (op, object.get_mut(&key), value) {
        (Op::Remove, Some(Value::Array(values)), Some(unwanted)) if !unwanted.is_null() => {
            // Entra says here which ones
            remove_values(values, &unwanted);
            Ok(())
        }
        (Op::Remove, ..) => {
            object.remove(&key);
            Ok(())
        }
        (Op::Add, Some(Value::Array(values)), Some(more)) => {
            let more = match shape.tidy(name, more)? {
                Value::Array(more) => more,
                Value::Null => return Ok(()),
                one => vec![one],
            };
            append(name, values, more)
        }
        (_, Some(Value::Object(parent)), Some(Value::Object(subs))) => {
            subs.into_iter().try_for_each(|(sub, value)| set(parent, &sub, value))
        }
        (_, _, value) => resource::put(object, key, value.unwrap_or_default()),
    }
}

/// An operation on those values of a multi-valued attribute that `choice` chooses.
fn chosen(
    op: Op,
    object: &mut Object,
    key: String,
    choice: &ValFilter,
    sub: Option<&str>,
    value: Option<Value>,
) -> Result<()> {
    let mut values = match object.remove(&key) {
        Some(Value::Array(values)) => values,
        None => Vec::new(),
        Some(_) => return Err(Error::path(format!("{key} doesn't have several values"))),
    };
    let mut touched: Vec<usize> =
        (0..values.len()).filter(|&i| chooses(choice, &values[i])).collect();
    match (op, sub) {
        (Op::Remove, None) => values.retain(|value| !chooses(choice, value)),
        (Op::Remove, Some(sub)) => {
            for i in touched.drain(..) {
                if let Some(element) = values[i].as_object_mut() {
                    set(element, sub, Value::Null)?;
                }
            }
        }
        (Op::Add | Op::Replace, _) => {
            if touched.is_empty() {
                // RFC 7644 section 3.5.2.3 refuses a replace; an add makes the value it describes
                let made = if op == Op::Add { described(choice) } else { None };
                let made = made.ok_or_else(|| Error::no_target(format!("no {key} is so")))?;
                touched.push(values.len());
                values.push(Value::Object(made));
            }
            let value = value.unwrap_or_default();
            for &i in &touched {
                match (values[i].as_object_mut(), sub, &value) {
                    (Some(element), Some(sub), value) => set(element, sub, value.clone())?,
                    (Some(element), None, Value::Object(subs)) => {
                        if op == Op::Replace {
                            element.clear();
                        }
                        for (sub, value) in subs {
                            set(element, sub, value.clone())?;
                        }
                    }
                    _ => return Err(Error::value(format!("each of {key} must be an object"))),
                }
            }
        }
    }
    if values.len() > MAX_VALUES {
        return Err(Error::value(format!("{key} has more than {MAX_VALUES} values")));
    }
    one_primary(&mut values, &touched);
    if values.is_empty() { Ok(()) } else { resource::put(object, key, Value::Array(values)) }
}

/// The value that a choice by equality describes: `type eq "work"` is `{"type": "work"}`.
fn described(choice: &ValFilter) -> Option<Object> {
    let mut described = Object::new();
    let parts = match choice {
        ValFilter::And(parts) => parts.as_slice(),
        one => std::slice::from_ref(one),
    };
    for part in parts {
        let ValFilter::Attr(AttrExp::Comparison(path, CompareOp::Eq, value)) = part else {
            return None;
        };
        let value = match value {
            CompValue::Str(text) => text.as_str().into(),
            CompValue::True => true.into(),
            CompValue::False => false.into(),
            CompValue::Number(number) => number.clone().into(),
            CompValue::Null => continue,
        };
        described.insert(path.name.clone(), value);
    }
    Some(described)
}

/// Append those of `more` that aren't there yet.
fn append(name: &str, values: &mut Vec<Value>, more: Vec<Value>) -> Result<()> {
    let old = values.len();
    for value in more {
        if !values.contains(&value) {
            values.push(value);
        }
        if values.len() > MAX_VALUES {
            return Err(Error::value(format!("{name} has more than {MAX_VALUES} values")));
        }
    }
    let new: Vec<usize> = (old..values.len()).collect();
    one_primary(values, &new);
    Ok(())
}

/// Where one of the values at `new` is primary, no other stays so (RFC 7644 section 3.5.2).
fn one_primary(values: &mut [Value], new: &[usize]) {
    if !new.iter().any(|&i| resource::is_primary(&values[i])) {
        return;
    }
    for (i, value) in values.iter_mut().enumerate() {
        if !new.contains(&i)
            && resource::is_primary(value)
            && let Some(element) = value.as_object_mut()
            && let Some(key) = resource::find(element, "primary")
        {
            element.insert(key, false.into());
        }
    }
}

/// Take out the values that are `unwanted`, or have the same `value`.
fn remove_values(values: &mut Vec<Value>, unwanted: &Value) {
    let unwanted = match unwanted {
        Value::Array(several) => several.as_slice(),
        one => std::slice::from_ref(one),
    };
    values.retain(|kept| !unwanted.iter().any(|u| identity(u) == identity(kept)));
}

fn identity(value: &Value) -> &Value {
    value.as_object().and_then(|object| resource::get(object, "value")).unwrap_or(value)
}

fn value_of(op: Op, value: Option<Value>) -> Value {
    if op == Op::Remove { Value::Null } else { value.unwrap_or_default() }
}

/// Set or unset an attribute, whatever the case of its name.
fn set(object: &mut Object, name: &str, value: Value) -> Result<()> {
    let key = resource::find(object, name).unwrap_or_else(|| name.to_owned());
    if value.is_null() {
        object.remove(&key);
        return Ok(());
    }
    resource::put(object, key, value)
}
