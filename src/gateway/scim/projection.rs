//! Which attributes a client wants to see (RFC 7644 section 3.9).

use scim_v2::filter::{AttrPath, PatchPath};
use serde_json::Value;

use super::{
    error::{Error, Result},
    resource::{self, Kind, Object},
};

/// The most attributes that a request may name.
const MAX_NAMES: usize = 100;

/// `attributes` and `excludedAttributes`. By default everything is returned; `id` and `schemas`
/// always are.
#[derive(Debug, Default)]
pub(super) struct Projection {
    included: Option<Vec<Name>>,
    excluded: Vec<Name>,
}

#[derive(Debug)]
struct Name {
    text: String,
    path: AttrPath,
}

/// What is always returned.
const ALWAYS: [&str; 2] = ["id", "schemas"];

impl Projection {
    /// Read the parameter `attributes`.
    pub fn include(&mut self, list: &str) -> Result<()> {
        let names = names(list)?;
        if names.is_empty() {
            return Ok(());
        }
        add(self.included.get_or_insert_default(), names)
    }

    /// Read the parameter `excludedAttributes`.
    pub fn exclude(&mut self, list: &str) -> Result<()> {
        add(&mut self.excluded, names(list)?)
    }

    /// Whether the client says what it wants to see.
    pub fn asks(&self) -> bool {
        self.included.is_some()
    }

    /// Whether a core attribute is wanted, in whole or in part.
    pub fn wants(&self, kind: &Kind, attribute: &str) -> bool {
        let is = |name: &Name| name.extension(kind).is_none() && name.names(attribute);
        self.included.as_ref().is_none_or(|included| included.iter().any(is))
            && !self.excluded.iter().any(|name| is(name) && name.path.sub_attr.is_none())
    }

    /// Whether a sub-attribute of a core attribute is wanted, where that attribute is.
    pub fn wants_sub(&self, kind: &Kind, attribute: &str, sub: &str) -> bool {
        let is = |name: &Name, whole: bool| {
            name.extension(kind).is_none()
                && name.names(attribute)
                && match &name.path.sub_attr {
                    None => whole,
                    Some(named) => named.eq_ignore_ascii_case(sub),
                }
        };
        self.included.as_ref().is_none_or(|included| included.iter().any(|name| is(name, true)))
            && !self.excluded.iter().any(|name| is(name, false))
    }

    /// What of `resource` the client wants to see.
    pub fn apply(&self, kind: &Kind, mut resource: Object) -> Object {
        if let Some(included) = &self.included {
            let mut kept = Object::new();
            for name in ALWAYS {
                if let Some(value) = resource.remove(name) {
                    kept.insert(name.into(), value);
                }
            }
            for name in included {
                name.copy(kind, &resource, &mut kept);
            }
            resource = kept;
        }
        for name in &self.excluded {
            name.cut(kind, &mut resource);
        }
        resource
    }
}

impl Name {
    fn names(&self, attribute: &str) -> bool {
        self.path.name.eq_ignore_ascii_case(attribute)
    }

    /// The extension that the attribute is part of.
    fn extension(&self, kind: &Kind) -> Option<&str> {
        self.path.uri.as_deref().filter(|uri| !uri.eq_ignore_ascii_case(kind.schema))
    }

    fn copy(&self, kind: &Kind, from: &Object, to: &mut Object) {
        if let Some(whole) = resource::find(from, &self.text) {
            to.insert(whole.clone(), from[&whole].clone());
            return;
        }
        match self.extension(kind) {
            None => copy(from, to, &self.path),
            Some(extension) => {
                let Some(key) = resource::find(from, extension) else { return };
                if let Value::Object(from) = &from[&key] {
                    let to = to.entry(key).or_insert_with(|| Value::Object(Object::new()));
                    if let Value::Object(to) = to {
                        copy(from, to, &self.path);
                    }
                }
            }
        }
    }

    fn cut(&self, kind: &Kind, resource: &mut Object) {
        if let Some(whole) = resource::find(resource, &self.text) {
            if !ALWAYS.contains(&whole.as_str()) {
                resource.remove(&whole);
            }
            return;
        }
        let object = match self.extension(kind) {
            None => resource,
            Some(extension) => {
                match resource::find(resource, extension).and_then(|key| resource.get_mut(&key)) {
                    Some(Value::Object(extension)) => extension,
                    _ => return,
                }
            }
        };
        let Some(key) = resource::find(object, &self.path.name) else { return };
        match &self.path.sub_attr {
            None => drop(object.remove(&key)),
            Some(sub) => {
                for element in elements_mut(object.get_mut(&key)) {
                    if let Some(sub) = resource::find(element, sub) {
                        element.remove(&sub);
                    }
                }
            }
        }
    }
}

/// Copy an attribute, or one sub-attribute of it. Several sub-attributes of one attribute add up.
fn copy(from: &Object, to: &mut Object, path: &AttrPath) {
    let Some(key) = resource::find(from, &path.name) else { return };
    let Some(sub) = &path.sub_attr else {
        to.insert(key.clone(), from[&key].clone());
        return;
    };
    let copy_sub = |from: &Object, to: &mut Object| {
        if let Some(sub) = resource::find(from, sub) {
            to.insert(sub.clone(), from[&sub].clone());
        }
    };
    match &from[&key] {
        Value::Object(from) => {
            let to = to.entry(key).or_insert_with(|| Value::Object(Object::new()));
            if let Value::Object(to) = to {
                copy_sub(from, to);
            }
        }
        Value::Array(from) => {
            let empty = || Value::Array(vec![Value::Object(Object::new()); from.len()]);
            if let Value::Array(to) = to.entry(key).or_insert_with(empty) {
                for (from, to) in from.iter().zip(to) {
                    if let (Value::Object(from), Value::Object(to)) = (from, to) {
                        copy_sub(from, to);
                    }
                }
            }
        }
        _ => {}
    }
}

fn elements_mut(value: Option<&mut Value>) -> Vec<&mut Object> {
    match value {
        Some(Value::Object(object)) => vec![object],
        Some(Value::Array(values)) => values.iter_mut().filter_map(Value::as_object_mut).collect(),
        _ => Vec::new(),
    }
}

/// Each name counts once, however often it is said.
fn add(names: &mut Vec<Name>, more: Vec<Name>) -> Result<()> {
    for name in more {
        if !names.iter().any(|known| known.text.eq_ignore_ascii_case(&name.text)) {
            names.push(name);
        }
    }
    if names.len() > MAX_NAMES {
        return Err(Error::value(format!("a request may name {MAX_NAMES} attributes")));
    }
    Ok(())
}

fn names(list: &str) -> Result<Vec<Name>> {
    let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
    let names = names.take(MAX_NAMES + 1).map(|text| match text.parse() {
        Ok(PatchPath::Attr(path)) => Ok(Name { text: text.to_owned(), path }),
        _ => Err(Error::value("attributes and excludedAttributes are lists of attribute names")),
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::resource::USER, *};

    const ENTERPRISE: &str = resource::ENTERPRISE_USER;

    fn see(included: &str, excluded: &str) -> Value {
        let mut projection = Projection::default();
        projection.include(included).unwrap();
        projection.exclude(excluded).unwrap();
        let Value::Object(resource) = json!({
            "id": "1",
            "schemas": ["s"],
            "userName": "a",
            "name": {"givenName": "A", "familyName": "B"},
            "emails": [{"value": "a@b", "type": "work"}, {"value": "c@d"}],
            ENTERPRISE: {"department": "x", "manager": {"value": "9"}},
        }) else {
            unreachable!()
        };
        Value::Object(projection.apply(&USER, resource))
    }

    #[test]
    fn only_what_is_asked_for_is_seen_and_always_the_id() {
        assert_eq!(see("USERNAME", ""), json!({"id": "1", "schemas": ["s"], "userName": "a"}));
        assert_eq!(see("nothing", ""), json!({"id": "1", "schemas": ["s"]}));
        let seen = see("name.givenName, emails.type,emails.value", "emails.value");
        assert_eq!(seen["name"], json!({"givenName": "A"}));
        assert_eq!(seen["emails"], json!([{"type": "work"}, {}]));
        let seen = see(&format!("{ENTERPRISE}:department"), "");
        assert_eq!(seen[ENTERPRISE], json!({"department": "x"}));
        assert_eq!(see(ENTERPRISE, "")[ENTERPRISE]["manager"]["value"], "9");
    }

    #[test]
    fn what_is_excluded_is_not_seen_but_for_the_id() {
        let seen = see("", &format!("id,schemas,Emails,name.familyname,{ENTERPRISE}:manager"));
        assert_eq!(
            seen,
            json!({
                "id": "1",
                "schemas": ["s"],
                "userName": "a",
                "name": {"givenName": "A"},
                ENTERPRISE: {"department": "x"},
            })
        );
        assert_eq!(see("", ENTERPRISE).get(ENTERPRISE), None);
    }
}
