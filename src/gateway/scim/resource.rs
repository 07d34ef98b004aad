//! The shape of users and groups: which attributes have which types (RFC 7643 sections 2.3 and 4),
//! and one written form for what clients send in several.

use serde_json::{Map, Value};

use super::error::{Error, Result};

pub(super) type Object = Map<String, Value>;

pub(super) const ENTERPRISE_USER: &str = scim_v2::schema_urns::ENTERPRISE_USER;

/// The longest userName, displayName, externalId and e-mail address, in characters: what is looked
/// up by an index must fit into one (PostgreSQL: 2,704 bytes).
pub(super) const MAX_NAME: usize = 256;
/// The most values of one attribute, members apart, and the most attributes of one object.
pub(super) const MAX_VALUES: usize = 1_000;
/// The largest resource that is kept, in bytes; members apart.
const MAX_RESOURCE: usize = 64 << 10;
/// How deep a value may nest: what is kept must be read again by everybody.
const MAX_DEPTH: usize = 16;

/// What differs between users and groups.
pub(super) struct Kind {
    pub name: &'static str,
    pub endpoint: &'static str,
    pub schema: &'static str,
    attributes: &'static [(&'static str, Shape)],
    /// Ours, or kept elsewhere, or never kept: whatever a client says of them is passed over.
    ignored: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Flag,
    /// An object with these sub-attributes, and others.
    Complex(&'static [&'static str]),
    /// A list of objects with these sub-attributes, and others.
    Many(&'static [&'static str]),
    /// A schema extension with these attributes, and others.
    Extension(&'static [(&'static str, Shape)]),
    /// The list of schemas.
    Schemas,
    /// An attribute we know nothing of.
    Any,
}

/// RFC 7643 section 4.3. `manager` is sent as a string, too.
const ENTERPRISE: &[(&str, Shape)] = &[
    ("employeeNumber", Shape::Any),
    ("costCenter", Shape::Any),
    ("organization", Shape::Any),
    ("division", Shape::Any),
    ("department", Shape::Any),
    ("manager", Shape::Complex(&["value", "$ref", "displayName"])),
];

const VALUE: &[&str] = &["value", "display", "type", "primary", "$ref"];

pub(super) const USER: Kind = Kind {
    name: "User",
    endpoint: "/Users",
    schema: scim_v2::schema_urns::USER,
    attributes: &[
        ("schemas", Shape::Schemas),
        ("userName", Shape::Text),
        ("externalId", Shape::Text),
        ("active", Shape::Flag),
        (
            "name",
            Shape::Complex(&[
                "formatted",
                "familyName",
                "givenName",
                "middleName",
                "honorificPrefix",
                "honorificSuffix",
            ]),
        ),
        ("displayName", Shape::Text),
        ("nickName", Shape::Text),
        ("profileUrl", Shape::Text),
        ("title", Shape::Text),
        ("userType", Shape::Text),
        ("preferredLanguage", Shape::Text),
        ("locale", Shape::Text),
        ("timezone", Shape::Text),
        ("emails", Shape::Many(VALUE)),
        ("phoneNumbers", Shape::Many(VALUE)),
        ("ims", Shape::Many(VALUE)),
        ("photos", Shape::Many(VALUE)),
        (
            "addresses",
            Shape::Many(&[
                "formatted",
                "streetAddress",
                "locality",
                "region",
                "postalCode",
                "country",
                "type",
                "primary",
            ]),
        ),
        ("entitlements", Shape::Many(VALUE)),
        ("roles", Shape::Many(VALUE)),
        ("x509Certificates", Shape::Many(VALUE)),
        (ENTERPRISE_USER, Shape::Extension(ENTERPRISE)),
    ],
    ignored: &["id", "meta", "groups", "password"],
};

pub(super) const GROUP: Kind = Kind {
    name: "Group",
    endpoint: "/Groups",
    schema: scim_v2::schema_urns::GROUP,
    attributes: &[
        ("schemas", Shape::Schemas),
        ("displayName", Shape::Text),
        ("externalId", Shape::Text),
    ],
    ignored: &["id", "meta", "members"],
};

impl Kind {
    /// Whether a client may say what it likes of this attribute, and nothing comes of it.
    pub fn ignores(&self, attribute: &str) -> bool {
        self.ignored.iter().any(|ignored| ignored.eq_ignore_ascii_case(attribute))
    }

    pub fn shape(&self, attribute: &str) -> Shape {
        self.known(attribute).map_or(Shape::Any, |(_, shape)| shape)
    }

    /// An attribute that the schema has, as it writes it.
    pub fn known(&self, attribute: &str) -> Option<(&'static str, Shape)> {
        known(self.attributes, attribute)
    }

    /// Whether `name` is the URN of the core schema, one that it begins with, or a path into it.
    pub fn contains_core(&self, name: &str) -> bool {
        let (name, schema) = (name.to_ascii_lowercase(), self.schema.to_ascii_lowercase());
        is_urn(&name) && (schema.starts_with(&name) || name.starts_with(&schema))
    }

    /// One written form of a whole resource: known names as the RFC writes them, booleans that are
    /// booleans, nothing that is empty, nothing of what we ignore.
    pub fn tidy(&self, resource: Object) -> Result<Object> {
        let mut tidied = Object::new();
        for (name, value) in resource {
            if self.ignores(&name) {
                continue;
            }
            // kept as an extension, `active` or `members` in it would be taken and do nothing
            if self.contains_core(&name) {
                let schema = self.schema;
                return Err(Error::value(format!(
                    "write the attributes of {schema} by their names"
                )));
            }
            let name = self.known(&name).map_or(name, |(known, _)| known.to_owned());
            let value = self.shape(&name).tidy(&name, value)?;
            put_once(&mut tidied, name, value)?;
        }
        let mut schemas = match tidied.remove("schemas") {
            Some(Value::Array(schemas)) => schemas,
            _ => vec![self.schema.into()],
        };
        let names = |schemas: &[Value], urn: &str| {
            schemas.iter().any(|s| s.as_str().is_some_and(|s| s.eq_ignore_ascii_case(urn)))
        };
        if !names(&schemas, self.schema) {
            return Err(Error::value(format!("schemas must have {}", self.schema)));
        }
        for extension in tidied.keys().filter(|name| is_urn(name)) {
            if !names(&schemas, extension) {
                schemas.push(extension.clone().into());
            }
        }
        tidied.insert("schemas".into(), schemas.into());
        Ok(tidied)
    }
}

fn known(attributes: &[(&'static str, Shape)], attribute: &str) -> Option<(&'static str, Shape)> {
    attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute)).copied()
}

impl Shape {
    /// One written form of an attribute's value; [`Value::Null`] where there is none.
    pub fn tidy(self, name: &str, value: Value) -> Result<Value> {
        self.tidy_pruned(name, prune(value, MAX_DEPTH)?)
    }

    /// A sub-attribute that the schema has, as it writes it.
    pub fn sub(self, attribute: &str) -> Option<(&'static str, Self)> {
        match self {
            Self::Complex(subs) | Self::Many(subs) => {
                let known = subs.iter().find(|known| known.eq_ignore_ascii_case(attribute))?;
                Some((known, if *known == "primary" { Self::Flag } else { Self::Text }))
            }
            Self::Extension(attributes) => known(attributes, attribute),
            _ => None,
        }
    }

    fn tidy_pruned(self, name: &str, value: Value) -> Result<Value> {
        match (self, value) {
            (_, Value::Null) => Ok(Value::Null),
            (Self::Any, value) | (Self::Text, value @ Value::String(_)) => Ok(value),
            (Self::Flag, value) => match flag(&value) {
                Some(flag) => Ok(flag.into()),
                None => Err(Error::value(format!("{name} must be true or false"))),
            },
            (Self::Complex(_) | Self::Extension(_), Value::Object(object)) => {
                self.tidy_object(object)
            }
            // as Entra sends a reference
            (Self::Complex(_), Value::Array(mut only))
                if only.len() == 1 && only[0].is_object() =>
            {
                self.tidy_pruned(name, only.remove(0))
            }
            // one value is taken for the whole
            (Self::Complex([value, ..]), text @ Value::String(_)) if *value == "value" => {
                Ok(Value::Object([((*value).to_owned(), text)].into_iter().collect()))
            }
            (Self::Many(_), Value::Array(values)) => {
                let tidied = values.into_iter().map(|value| match value {
                    Value::Object(object) => self.tidy_object(object),
                    _ => Err(Error::value(format!("each of {name} must be an object"))),
                });
                let tidied = tidied.collect::<Result<Vec<_>>>()?;
                if tidied.iter().filter(|value| is_primary(value)).count() > 1 {
                    return Err(Error::value(format!("only one of {name} can be primary")));
                }
                Ok(tidied.into())
            }
            (Self::Schemas, Value::Array(schemas)) if schemas.iter().all(Value::is_string) => {
                Ok(schemas.into())
            }
            (Self::Text, _) => Err(Error::value(format!("{name} must be a string"))),
            (Self::Complex(_) | Self::Extension(_), _) => {
                Err(Error::value(format!("{name} must be an object")))
            }
            (Self::Many(_), _) => Err(Error::value(format!("{name} must be a list of objects"))),
            (Self::Schemas, _) => Err(Error::value("schemas must be a list of strings")),
        }
    }

    fn tidy_object(self, object: Object) -> Result<Value> {
        let mut tidied = Object::new();
        for (name, value) in object {
            let (name, shape) = match self.sub(&name) {
                Some((known, shape)) => (known.to_owned(), shape),
                None => (name, Self::Any),
            };
            let value = shape.tidy_pruned(&name, value)?;
            put_once(&mut tidied, name, value)?;
        }
        Ok(Value::Object(tidied))
    }
}

/// Attribute names have no case (RFC 7643 section 2.1): the same name twice says two things.
fn put_once(object: &mut Object, name: String, value: Value) -> Result<()> {
    if find(object, &name).is_some() {
        return Err(Error::syntax("an attribute is there twice, in different case"));
    }
    if value.is_null() { Ok(()) } else { put(object, name, value) }
}

/// Set an attribute, within bounds.
pub(super) fn put(object: &mut Object, name: String, value: Value) -> Result<()> {
    object.insert(name, value);
    if object.len() > MAX_VALUES {
        return Err(Error::value(format!("an object has more than {MAX_VALUES} attributes")));
    }
    Ok(())
}

/// Take out what says that there is no value: null, and empty lists and objects (RFC 7643 section
/// 2.5). `depth` is how deep the value may nest.
fn prune(value: Value, depth: usize) -> Result<Value> {
    let deeper = |value| match depth.checked_sub(1) {
        Some(depth) => prune(value, depth),
        None => Err(Error::value(format!("a value nests deeper than {MAX_DEPTH}"))),
    };
    Ok(match value {
        Value::Array(values) => {
            if values.len() > MAX_VALUES {
                return Err(Error::value(format!("a list has more than {MAX_VALUES} values")));
            }
            let values = values.into_iter().map(deeper).filter(|v| !matches!(v, Ok(Value::Null)));
            let values = values.collect::<Result<Vec<_>>>()?;
            if values.is_empty() { Value::Null } else { Value::Array(values) }
        }
        Value::Object(object) => {
            let mut pruned = Object::new();
            for (name, value) in object {
                match deeper(value)? {
                    Value::Null => {}
                    value => drop(pruned.insert(name, value)),
                }
            }
            if pruned.is_empty() { Value::Null } else { Value::Object(pruned) }
        }
        value => value,
    })
}

/// A boolean; as Entra may send it, too, and as older clients do, in a list of one value.
pub(super) fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Array(values) => match &values[..] {
            [Value::Object(only)] => get(only, "value").filter(|v| !v.is_array()).and_then(flag),
            _ => None,
        },
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

pub(super) fn is_primary(value: &Value) -> bool {
    value.as_object().and_then(|v| get(v, "primary")).and_then(flag) == Some(true)
}

pub(super) fn is_urn(name: &str) -> bool {
    name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("urn:"))
}

/// The name under which `object` has the attribute `name`, in whatever case.
pub(super) fn find(object: &Object, name: &str) -> Option<String> {
    if object.contains_key(name) {
        return Some(name.to_owned());
    }
    object.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned()
}

pub(super) fn get<'a>(object: &'a Object, name: &str) -> Option<&'a Value> {
    object
        .get(name)
        .or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v))
}

/// A tidied resource as it is kept, within bounds.
pub(super) fn kept(resource: &Object) -> Result<String> {
    let text = written(resource)?;
    if text.len() > MAX_RESOURCE {
        return Err(Error::value(format!("the resource has more than {MAX_RESOURCE} bytes")));
    }
    Ok(text)
}

/// The JSON of a resource. Whichever way a string came into it, none has what no database holds.
pub(super) fn written(resource: &Object) -> Result<String> {
    let text = serde_json::to_string(resource)
        .map_err(|_| Error::value("the resource can't be written as JSON"))?;
    if has_nul(text.as_bytes()) {
        return Err(Error::value("a string has a NUL character"));
    }
    Ok(text)
}

/// Whether a string of this JSON has U+0000, which PostgreSQL can't hold. In JSON it is always
/// written like this (RFC 8259 section 7).
pub(super) fn has_nul(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        rest = &rest[at + 1..];
        if rest.starts_with(b"u0000") {
            return true;
        }
        rest = rest.get(1..).unwrap_or_default(); // a backslash that is escaped itself begins nothing
    }
    false
}

/// How much a value weighs: roughly its bytes as JSON.
pub(super) fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(values) => values.iter().map(|value| weight(value) + 1).sum::<usize>() + 2,
        Value::Object(object) => {
            object.iter().map(|(name, value)| name.len() + weight(value) + 4).sum::<usize>() + 2
        }
        _ => 5,
    }
}

/// A string of a tidied resource that names it: not empty, not boundless.
pub(super) fn name_of(resource: &Object, attribute: &str) -> Result<Option<String>> {
    let Some(text) = resource.get(attribute).and_then(Value::as_str) else { return Ok(None) };
    if text.trim().is_empty() {
        return Err(Error::value(format!("{attribute} must not be empty")));
    }
    if text.chars().count() > MAX_NAME {
        return Err(Error::value(format!("{attribute} is longer than {MAX_NAME} characters")));
    }
    Ok(Some(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tidy(resource: Value) -> Result<Value> {
        let Value::Object(resource) = resource else { panic!("not an object") };
        USER.tidy(resource).map(Value::Object)
    }

    #[test]
    fn only_an_escape_is_taken_for_a_nul() {
        for (json, has) in [
            (r#""\u0000""#, true),
            (r#""a\\\u0000b""#, true),
            (r#"{"x\u0000": 1}"#, true),
            (r#""\\u0000""#, false),
            (r#""\u0001\\""#, false),
            (r#""u0000""#, false),
            ("\\", false),
            ("", false),
        ] {
            assert_eq!(has_nul(json.as_bytes()), has, "{json}");
        }
    }

    #[test]
    fn attribute_names_have_no_case() {
        let tidied =
            tidy(json!({"USERNAME": "a", "Emails": [{"VALUE": "a@b", "Primary": "True"}]}));
        assert_eq!(
            tidied.unwrap(),
            json!({
                "schemas": [USER.schema],
                "userName": "a",
                "emails": [{"value": "a@b", "primary": true}],
            })
        );
        assert!(tidy(json!({"userName": "a", "username": "b"})).is_err());
    }

    #[test]
    fn one_value_is_taken_in_a_list_of_one_too() {
        let list = json!([{"$ref": null, "value": "False"}]);
        assert_eq!(tidy(json!({"userName": "a", "active": list})).unwrap()["active"], false);
        for manager in [json!("7"), json!({"value": "7"}), json!([{"value": "7"}])] {
            let user = json!({"userName": "a", ENTERPRISE_USER: {"manager": manager}});
            assert_eq!(tidy(user).unwrap()[ENTERPRISE_USER]["manager"], json!({"value": "7"}));
        }
        let two = json!([{"value": false}, {"value": false}]);
        assert!(tidy(json!({"userName": "a", "active": two})).is_err());
        assert!(tidy(json!({"userName": "a", "active": [[false]]})).is_err());
        assert!(tidy(json!({"userName": "a", "name": [{"givenName": "A"}, {}]})).is_ok());
        assert!(tidy(json!({"userName": "a", "name": [{"givenName": "A"}, {"x": 1}]})).is_err());
    }

    #[test]
    fn core_attributes_under_their_schema_are_refused_not_passed_over() {
        for urn in [
            "urn:ietf:params:scim:schemas:core:2.0:User",
            "urn:ietf:params:scim:schemas:core:2.0:USER:active",
            "urn:ietf:params:scim:schemas:core:2.0",
        ] {
            assert!(tidy(json!({"userName": "a", urn: {"active": false}})).is_err(), "{urn}");
        }
    }

    #[test]
    fn what_is_not_known_is_kept() {
        let urn = "urn:example:1.0:User";
        let tidied = tidy(json!({"userName": "a", urn: {"x": [1, 2.5]}, "shoeSize": 44})).unwrap();
        assert_eq!(tidied[urn], json!({"x": [1, 2.5]}));
        assert_eq!(tidied["shoeSize"], 44);
        assert_eq!(tidied["schemas"], json!([USER.schema, urn]));
    }

    #[test]
    fn null_and_empty_mean_that_there_is_none() {
        let tidied =
            tidy(json!({"userName": "a", "title": null, "emails": [], "name": {"x": null}}));
        assert_eq!(tidied.unwrap(), json!({"schemas": [USER.schema], "userName": "a"}));
    }

    #[test]
    fn a_value_of_another_type_is_refused_by_name() {
        for (body, said) in [
            (json!({"userName": 1}), "userName must be a string"),
            (json!({"userName": ["a"]}), "userName must be a string"),
            (json!({"active": "yes"}), "active must be true or false"),
            (json!({"name": "Ann"}), "name must be an object"),
            (json!({"emails": "a@b"}), "emails must be a list of objects"),
            (json!({"emails": {"value": "a@b"}}), "emails must be a list of objects"),
            (json!({"emails": ["a@b"]}), "each of emails must be an object"),
            (json!({"emails": [{"value": 7}]}), "value must be a string"),
            (
                json!({"emails": [{"value": "a", "primary": true}, {"value": "b", "primary": true}]}),
                "only one of emails can be primary",
            ),
            (json!({"schemas": "x"}), "schemas must be a list of strings"),
        ] {
            assert_eq!(tidy(body).unwrap_err().detail, said);
        }
    }
}
