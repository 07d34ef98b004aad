//! What operations do to a resource: a pure function on JSON.

use scim_v2::filter::{AttrExp, CompValue, CompareOp, ValFilter};
use serde_json::Value;

use super::{
    super::{
        choose::{chooses, terms},
        error::{Error, Result},
        resource::{self, Kind, MAX_VALUES, Object, Shape, weight},
    },
    Op, Operation, Path, Target,
};

/// How much work a request may make, in bytes that are written or compared.
const WORK: usize = 16 << 20;

/// What of it is left.
struct Work(usize);

impl Work {
    fn take(&mut self, bytes: usize) -> Result<()> {
        let left = self.0.checked_sub(bytes);
        self.0 =
            left.ok_or_else(|| Error::value("these operations are too much work for one request"))?;
        Ok(())
    }
}

/// Do all of `operations` to `resource`, in order. What comes out is not tidied.
///
/// # Errors
///
/// The first operation that can't be done; `resource` is then half patched, and to be thrown away.
pub(in super::super) fn apply(
    kind: &Kind,
    resource: &mut Object,
    operations: &[Operation],
) -> Result<()> {
    let mut work = Work(WORK);
    for Operation { op, path, value } in operations {
        work.take(value.as_ref().map_or(0, weight))?;
        match path {
            Some(path) => {
                let target = path.target(kind, resource);
                at(kind, *op, resource, &target, value.clone(), &mut work)?;
            }
            None => whole(kind, *op, resource, value.clone(), &mut work)?,
        }
    }
    Ok(())
}

/// An operation without a path: its value is an object of attributes.
fn whole(
    kind: &Kind,
    op: Op,
    resource: &mut Object,
    value: Option<Value>,
    work: &mut Work,
) -> Result<()> {
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
                at(kind, op, resource, &target, Some(value), work)?;
            }
            _ => {
                let target = Target { extension: None, attribute: &name, choice: None, sub: None };
                at(kind, op, resource, &target, Some(value), work)?;
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
    work: &mut Work,
) -> Result<()> {
    if kind.contains_core(target.extension.unwrap_or(target.attribute)) {
        let schema = kind.schema;
        return Err(Error::path(format!("name an attribute of {schema}, not the schema")));
    }
    let Some(extension) = target.extension else {
        if kind.ignores(target.attribute) {
            // what is never kept can't be changed either, and no client is told so each time
            let kept_nowhere = target.attribute.eq_ignore_ascii_case("password");
            return if kept_nowhere { Ok(()) } else { Err(Error::mutability(target.attribute)) };
        }
        return within(kind.shape(target.attribute), op, resource, target, value, work);
    };
    let name = resource::find(resource, extension).unwrap_or_else(|| extension.to_owned());
    if op == Op::Remove && !resource.contains_key(&name) {
        return Ok(());
    }
    if !resource.contains_key(&name) {
        resource::put(resource, name.clone(), Value::Object(Object::new()))?;
    }
    match resource.get_mut(&name) {
        Some(Value::Object(extension)) => {
            let shape =
                kind.shape(&name).sub(target.attribute).map_or(Shape::Any, |(_, shape)| shape);
            within(shape, op, extension, target, value, work)
        }
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
    work: &mut Work,
) -> Result<()> {
    let name = target.attribute;
    let key = resource::find(object, name).unwrap_or_else(|| name.to_owned());
    if let Some(choice) = target.choice {
        return chosen(op, object, key, choice, target.sub, value, work);
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
            work.take(pairs(values, &unwanted))?;
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
            work.take(values.iter().map(weight).sum::<usize>().saturating_mul(more.len()))?;
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
    work: &mut Work,
) -> Result<()> {
    let mut values = match object.remove(&key) {
        Some(Value::Array(values)) => values,
        None => Vec::new(),
        Some(_) => return Err(Error::path(format!("{key} doesn't have several values"))),
    };
    work.take(values.iter().map(weight).sum::<usize>().saturating_mul(terms(choice)))?;
    let mut touched: Vec<usize> =
        (0..values.len()).filter(|&i| chooses(choice, &values[i])).collect();
    match (op, sub) {
        (Op::Remove, None) => values.retain(|value| !chooses(choice, value)),
        (Op::Remove, Some(sub)) => {
            for i in touched {
                if let Some(element) = values[i].as_object_mut() {
                    set(element, sub, Value::Null)?;
                }
            }
        }
        (Op::Add | Op::Replace, _) => {
            if touched.is_empty() {
                // RFC 7644 section 3.5.2.3 refuses a replace; an add makes the value it describes.
                // Entra says replace where it means the one value of a type, there or not
                let made = described(choice)
                    .filter(|made| op == Op::Add || (sub.is_some() && is_slot(made)));
                let made = made.ok_or_else(|| Error::no_target(format!("no {key} is so")))?;
                touched.push(values.len());
                values.push(Value::Object(made));
            }
            let value = value.unwrap_or_default();
            work.take(weight(&value).saturating_mul(touched.len()))?;
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
            one_primary(&mut values, &touched);
        }
    }
    if values.len() > MAX_VALUES {
        return Err(Error::value(format!("{key} has more than {MAX_VALUES} values")));
    }
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

/// Whether this names a place for a value, and nothing of the value itself.
fn is_slot(described: &Object) -> bool {
    let names = |name: &String| ["type", "primary"].iter().any(|n| n.eq_ignore_ascii_case(name));
    described.keys().all(names)
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

/// What it takes to compare each with each.
fn pairs(values: &[Value], unwanted: &Value) -> usize {
    let several = unwanted.as_array().map_or(1, Vec::len);
    values.iter().map(weight).sum::<usize>().saturating_mul(several)
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
