//! Filters (RFC 7644 section 3.4.2.2), as conditions on what the ledger keeps. An attribute that the
//! schemas don't have, or an operator that its type doesn't take, is refused.

use std::borrow::Cow;

use jiff::Timestamp;
use scim_v2::filter::{AttrExp, AttrPath, CompValue, CompareOp, Filter, ValFilter};
use uuid::Uuid;

use super::{
    error::{Error, Result},
    number::string,
    resource::{self, ENTERPRISE_USER, GROUP, Kind, Shape, has_nul},
};
use crate::ledger::scim::{Condition, Field, List, Op};

/// The longest filter, in bytes: room for a hundred ids.
const MAX_FILTER: usize = 8 << 10;
/// The most comparisons in one filter.
const MAX_TERMS: usize = 100;

/// Which users or groups a client asks for.
pub(super) fn compile(kind: &Kind, text: &str) -> Result<Condition> {
    compile_among(kind, None, text)
}

/// The same where resources of an `other` kind are asked for together with them. What only those have,
/// these have no value of (RFC 7644 section 3.4.2.1).
pub(super) fn compile_among(kind: &Kind, other: Option<&Kind>, text: &str) -> Result<Condition> {
    if text.len() > MAX_FILTER {
        return Err(Error::filter(format!("a filter may have {MAX_FILTER} bytes")));
    }
    if text.contains('\0') || has_nul(text.as_bytes()) {
        return Err(Error::filter("the filter has a NUL character"));
    }
    let filter = rewrite(text).parse();
    let filter: Filter =
        filter.map_err(|_| Error::filter("the filter can't be read as one of RFC 7644"))?;
    let mut terms = 0;
    row((kind, other), &filter, &mut terms)
}

/// An id as we write it, and nothing else that a UUID may be written as.
pub(super) fn resource_id(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

/// Entra's `emails[type eq "work"].value eq "a"`, which the RFC's grammar doesn't have, as
/// `emails[(type eq "work") and value eq "a"]`, which it has.
fn rewrite(text: &str) -> Cow<'_, str> {
    if !text.contains("].") {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    let mut opened = None;
    while let Some(c) = rest.chars().next() {
        let length = if c == '"' { string(rest) } else { c.len_utf8() };
        match (c, opened) {
            ('[', _) => opened = Some(out.len() + 1),
            (']', Some(at)) => {
                if let Some(comparison) = rest.strip_prefix("].").and_then(comparison) {
                    out.insert(at, '(');
                    out.push_str(") and ");
                    out.push_str(comparison);
                    rest = &rest[2 + comparison.len()..];
                    out.push(']');
                    opened = None;
                    continue;
                }
                opened = None;
            }
            _ => {}
        }
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out.into()
}

/// The comparison that `text` begins with: a name, an operator, a value unless that is `pr`.
fn comparison(text: &str) -> Option<&str> {
    let word = |text: &str| {
        let length = text.find(|c: char| c.is_whitespace() || "()[]".contains(c));
        length.unwrap_or(text.len())
    };
    let blank = |text: &str| text.len() - text.trim_start().len();
    let mut end = word(text);
    if end == 0 || blank(&text[end..]) == 0 {
        return None;
    }
    end += blank(&text[end..]);
    let operator = &text[end..][..word(&text[end..])];
    end += operator.len();
    if operator.eq_ignore_ascii_case("pr") {
        return Some(&text[..end]);
    }
    end += blank(&text[end..]);
    let value = &text[end..];
    end += if value.starts_with('"') { string(value) } else { word(value) };
    Some(&text[..end])
}

/// What a value of an attribute is.
#[derive(Clone, Copy)]
enum Type {
    Text,
    Flag,
    Time,
    Id,
}

/// Where an attribute is kept.
enum Place {
    One(Field, Type),
    /// A list, and what of its elements is looked at.
    In(List, Field, Type),
    /// It has no value of its own to compare.
    Whole(Field),
    /// A list without a value to compare.
    WholeList(List),
    /// The same for all resources of the kind.
    Always(&'static str),
}

/// `kinds`: whose rows they are, and what else is asked for together with them.
fn row(kinds: (&Kind, Option<&Kind>), filter: &Filter, terms: &mut usize) -> Result<Condition> {
    let (kind, other) = kinds;
    let several = |several: &[Filter], terms: &mut usize| {
        several.iter().map(|one| row(kinds, one, terms)).collect::<Result<Vec<_>>>()
    };
    Ok(match filter {
        Filter::Attr(expression) => {
            count(terms)?;
            match place(kind, path_of(expression)) {
                Ok(place) => comparison_of(kind, place, expression)?,
                Err(_) if other.is_some_and(|other| place(other, path_of(expression)).is_ok()) => {
                    Condition::Const(is_so_of_nothing(expression))
                }
                Err(unknown) => return Err(unknown),
            }
        }
        Filter::ValuePath(path) => match elements(kind, &path.attr) {
            Ok(elements) => {
                let condition = element(kind, &elements, &path.filter, terms)?;
                Condition::Element(elements.list(), Box::new(condition))
            }
            Err(_) if other.is_some_and(|other| elements(other, &path.attr).is_ok()) => {
                Condition::Const(false)
            }
            Err(unknown) => return Err(unknown),
        },
        Filter::Not(inner) => Condition::Not(Box::new(row(kinds, inner, terms)?)),
        Filter::And(all) => Condition::All(several(all, terms)?),
        Filter::Or(any) => Condition::Any(several(any, terms)?),
    })
}

fn comparison_of(kind: &Kind, place: Place, expression: &AttrExp) -> Result<Condition> {
    Ok(match place {
        Place::One(field, of) => test(&field, of, expression)?,
        // that there is none is so of the list, and of no element
        Place::In(list, field, of) => match against_null(expression) {
            None => Condition::Element(list, Box::new(test(&field, of, expression)?)),
            Some(there) => {
                let present = Condition::Element(list, Box::new(present(&field, of)));
                if there { present } else { Condition::Not(Box::new(present)) }
            }
        },
        Place::Whole(field) if is_present(expression) => Condition::Present(field),
        Place::WholeList(list) if is_present(expression) => {
            Condition::Element(list, Box::new(Condition::Const(true)))
        }
        Place::Always(value) => constant(value, expression)?,
        Place::Whole(_) | Place::WholeList(_) => return Err(unsupported(kind, expression)),
    })
}

/// Of a comparison with null, whether it asks for what is there.
fn against_null(expression: &AttrExp) -> Option<bool> {
    match expression {
        AttrExp::Comparison(_, CompareOp::Eq, CompValue::Null) => Some(false),
        AttrExp::Comparison(_, CompareOp::Ne, CompValue::Null) => Some(true),
        _ => None,
    }
}

/// Whether a comparison is so of an attribute without a value.
fn is_so_of_nothing(expression: &AttrExp) -> bool {
    match (against_null(expression), expression) {
        (Some(there), _) => !there,
        (None, AttrExp::Comparison(_, CompareOp::Ne, _)) => true,
        _ => false,
    }
}

/// A multi-valued attribute.
enum Elements {
    Values(&'static str, Shape),
    Members,
    Groups,
}

impl Elements {
    fn list(&self) -> List {
        match self {
            Self::Values(name, _) => List::Values(json_path(&[name])),
            Self::Members => List::Members,
            Self::Groups => List::Groups,
        }
    }

    /// What of an element is looked at.
    fn field(&self, sub: &str) -> Option<(Field, Type)> {
        let is = |name: &str| sub.eq_ignore_ascii_case(name);
        match self {
            Self::Values(_, shape) => {
                let (sub, shape) = shape.sub(sub)?;
                Some((Field::OfValue(json_path(&[sub])), type_of(shape)?))
            }
            Self::Members | Self::Groups if is("value") => Some((Field::ElementId, Type::Id)),
            Self::Members if is("type") => Some((Field::MemberType, Type::Text)),
            Self::Groups if is("display") => Some((Field::GroupName, Type::Text)),
            _ => None,
        }
    }
}

fn elements(kind: &Kind, path: &AttrPath) -> Result<Elements> {
    let core = path.uri.as_ref().is_none_or(|uri| uri.eq_ignore_ascii_case(kind.schema));
    let is = |name: &str| path.name.eq_ignore_ascii_case(name);
    if core && path.sub_attr.is_none() {
        match kind.known(&path.name) {
            Some((name, shape @ Shape::Many(_))) => return Ok(Elements::Values(name, shape)),
            None if kind.name == GROUP.name && is("members") => return Ok(Elements::Members),
            None if kind.name != GROUP.name && is("groups") => return Ok(Elements::Groups),
            _ => {}
        }
    }
    Err(unknown(kind, path))
}

fn element(kind: &Kind, of: &Elements, filter: &ValFilter, terms: &mut usize) -> Result<Condition> {
    let several = |several: &[ValFilter], terms: &mut usize| {
        several.iter().map(|one| element(kind, of, one, terms)).collect::<Result<Vec<_>>>()
    };
    Ok(match filter {
        ValFilter::Attr(expression) => {
            count(terms)?;
            let path = path_of(expression);
            let field = match (&path.uri, &path.sub_attr) {
                (None, None) => of.field(&path.name),
                _ => None,
            };
            let (field, of) = field.ok_or_else(|| unknown(kind, path))?;
            test(&field, of, expression)?
        }
        ValFilter::Not(inner) => Condition::Not(Box::new(element(kind, of, inner, terms)?)),
        ValFilter::And(all) => Condition::All(several(all, terms)?),
        ValFilter::Or(any) => Condition::Any(several(any, terms)?),
    })
}

fn place(kind: &Kind, path: &AttrPath) -> Result<Place> {
    let sub = path.sub_attr.as_deref();
    if path.uri.as_ref().is_some_and(|uri| uri.eq_ignore_ascii_case(ENTERPRISE_USER)) {
        return enterprise(kind, path);
    }
    if path.uri.as_ref().is_some_and(|uri| !uri.eq_ignore_ascii_case(kind.schema)) {
        return Err(unknown(kind, path));
    }
    let group = kind.name == GROUP.name;
    let name = path.name.to_ascii_lowercase();
    Ok(match (name.as_str(), sub.map(str::to_ascii_lowercase).as_deref()) {
        ("id", None) => Place::One(Field::Id, Type::Id),
        ("externalid", None) => Place::One(Field::ExternalId, Type::Text),
        ("username", None) if !group => Place::One(Field::UserName, Type::Text),
        ("displayname", None) if group => Place::One(Field::DisplayName, Type::Text),
        ("active", None) if !group => Place::One(Field::Active, Type::Flag),
        ("meta", Some("created")) => Place::One(Field::Created, Type::Time),
        ("meta", Some("lastmodified")) => Place::One(Field::Modified, Type::Time),
        ("meta", Some("resourcetype")) => Place::Always(kind.name),
        _ => match kind.known(&path.name) {
            Some((name, Shape::Text)) if sub.is_none() => {
                Place::One(Field::Kept(json_path(&[name])), Type::Text)
            }
            Some((name, shape @ Shape::Complex(_))) => match sub {
                None => Place::Whole(Field::Kept(json_path(&[name]))),
                Some(sub) => {
                    let (sub, _) = shape.sub(sub).ok_or_else(|| unknown(kind, path))?;
                    Place::One(Field::Kept(json_path(&[name, sub])), Type::Text)
                }
            },
            _ => {
                let alone = AttrPath { sub_attr: None, ..path.clone() };
                let elements = elements(kind, &alone).map_err(|_| unknown(kind, path))?;
                match (sub, elements.field(sub.unwrap_or("value"))) {
                    (_, Some((field, of))) => Place::In(elements.list(), field, of),
                    (None, None) => Place::WholeList(elements.list()),
                    (Some(_), None) => return Err(unknown(kind, path)),
                }
            }
        },
    })
}

fn enterprise(kind: &Kind, path: &AttrPath) -> Result<Place> {
    let (name, shape) = kind
        .known(ENTERPRISE_USER)
        .and_then(|(_, extension)| extension.sub(&path.name))
        .ok_or_else(|| unknown(kind, path))?;
    let kept = |names: &[&str]| Field::Kept(json_path(names));
    Ok(match (&path.sub_attr, shape) {
        (None, Shape::Complex(_)) => Place::Whole(kept(&[ENTERPRISE_USER, name])),
        (None, _) => Place::One(kept(&[ENTERPRISE_USER, name]), Type::Text),
        (Some(sub), shape) => {
            let (sub, _) = shape.sub(sub).ok_or_else(|| unknown(kind, path))?;
            Place::One(kept(&[ENTERPRISE_USER, name, sub]), Type::Text)
        }
    })
}

fn type_of(shape: Shape) -> Option<Type> {
    match shape {
        Shape::Text => Some(Type::Text),
        Shape::Flag => Some(Type::Flag),
        _ => None,
    }
}

/// A path into kept JSON. The names are those of the schemas: none has a quotation mark.
fn json_path(names: &[&str]) -> String {
    names.iter().fold("$".to_owned(), |path, name| path + ".\"" + name + "\"")
}

fn present(field: &Field, of: Type) -> Condition {
    match of {
        Type::Id | Type::Time => Condition::Const(true),
        Type::Text | Type::Flag => Condition::Present(field.clone()),
    }
}

fn test(field: &Field, of: Type, expression: &AttrExp) -> Result<Condition> {
    let (op, value) = match expression {
        AttrExp::Present(_) => return Ok(present(field, of)),
        AttrExp::Comparison(_, op, value) => (op, value),
    };
    let refused = || Error::filter("an attribute doesn't take that operator or value");
    let (op, not) = match op {
        CompareOp::Eq => (Op::Eq, false),
        CompareOp::Ne => (Op::Eq, true),
        CompareOp::Co => (Op::Contains, false),
        CompareOp::Sw => (Op::StartsWith, false),
        CompareOp::Ew => (Op::EndsWith, false),
        CompareOp::Gt => (Op::Greater, false),
        CompareOp::Ge => (Op::GreaterOrEqual, false),
        CompareOp::Lt => (Op::Less, false),
        CompareOp::Le => (Op::LessOrEqual, false),
    };
    let condition = match (of, value) {
        (_, CompValue::Null) if op == Op::Eq => Condition::Not(Box::new(present(field, of))),
        (Type::Text, CompValue::Str(text)) => Condition::Text(field.clone(), op, text.clone()),
        (Type::Id, CompValue::Str(text)) if op == Op::Eq => {
            Condition::IsId(field.clone(), resource_id(text))
        }
        (Type::Id, CompValue::Str(text)) => Condition::Text(field.clone(), op, text.clone()),
        (Type::Flag, value) if op == Op::Eq => Condition::Flag(field.clone(), flag(value)?),
        (Type::Time, CompValue::Str(text)) => {
            if matches!(op, Op::Contains | Op::StartsWith | Op::EndsWith) {
                return Err(refused());
            }
            let at: Timestamp =
                text.parse().map_err(|_| Error::filter("a time is written as RFC 3339 does"))?;
            let seconds = at.as_second() as f64 + f64::from(at.subsec_nanosecond()) / 1e9;
            Condition::Time(field.clone(), op, seconds)
        }
        _ => return Err(refused()),
    };
    Ok(if not { Condition::Not(Box::new(condition)) } else { condition })
}

/// A boolean, as Entra may write it too.
fn flag(value: &CompValue) -> Result<bool> {
    let flag = match value {
        CompValue::True => Some(true),
        CompValue::False => Some(false),
        CompValue::Str(text) => resource::flag(&text.as_str().into()),
        _ => None,
    };
    flag.ok_or_else(|| Error::filter("a boolean is true or false"))
}

fn constant(value: &str, expression: &AttrExp) -> Result<Condition> {
    let is = |wanted: &CompValue| matches!(wanted, CompValue::Str(wanted) if wanted.eq_ignore_ascii_case(value));
    match expression {
        AttrExp::Present(_) => Ok(Condition::Const(true)),
        AttrExp::Comparison(_, CompareOp::Eq, wanted) => Ok(Condition::Const(is(wanted))),
        AttrExp::Comparison(_, CompareOp::Ne, wanted) => Ok(Condition::Const(!is(wanted))),
        AttrExp::Comparison(..) => Err(Error::filter("meta.resourceType takes eq, ne and pr")),
    }
}

fn count(terms: &mut usize) -> Result<()> {
    *terms += 1;
    if *terms > MAX_TERMS {
        return Err(Error::filter(format!("a filter may have {MAX_TERMS} comparisons")));
    }
    Ok(())
}

fn path_of(expression: &AttrExp) -> &AttrPath {
    let (AttrExp::Present(path) | AttrExp::Comparison(path, ..)) = expression;
    path
}

fn is_present(expression: &AttrExp) -> bool {
    matches!(expression, AttrExp::Present(_))
}

fn unknown(kind: &Kind, path: &AttrPath) -> Error {
    let name: String = path.to_string().escape_debug().take(80).collect();
    Error::filter(format!("{}: {name} isn't an attribute to filter by", kind.name))
}

fn unsupported(kind: &Kind, expression: &AttrExp) -> Error {
    let name: String = path_of(expression).to_string().escape_debug().take(80).collect();
    Error::filter(format!("{}: of {name} compare a sub-attribute, or ask with pr", kind.name))
}
