//! Whether a request about a person says that they are no longer active, however little else of it
//! can be taken: a name that is taken, or an attribute that is nonsense, keeps nobody in.
//!
//! It must be said without a doubt: twice the same, or not twice; by the last operation that speaks
//! of it; in a body that is JSON. The body is passed over once, and nothing else of it is kept.

use std::fmt;

use serde::{
    Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::resource::{USER, flag};

/// The longest value that is looked at, in bytes: a flag is short.
const MAX_FLAG: usize = 256;

/// What is said of `active`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Inactive,
    Otherwise,
}

/// What the body of a PUT says: a resource.
pub(super) fn by_put(body: &[u8]) -> bool {
    serde_json::from_slice(body).is_ok_and(|body| attributes(body, true) == Said::Inactive)
}

/// What the body of a PATCH says: operations.
pub(super) fn by_patch(body: &[u8]) -> bool {
    let mut said = Said::Nothing;
    let read = serde_json::from_slice(body).is_ok_and(|body| {
        each(body, |name, listed| {
            if name.eq_ignore_ascii_case("Operations") {
                each(listed, |_, one| match operation(one) {
                    Said::Nothing => {}
                    says => said = says,
                });
            }
        })
    });
    read && said == Said::Inactive
}

impl Said {
    fn of(value: &RawValue) -> Self {
        let short = Some(value.get()).filter(|text| text.len() <= MAX_FLAG);
        match short.and_then(|text| flag(&serde_json::from_str(text).ok()?)) {
            Some(false) => Self::Inactive,
            _ => Self::Otherwise,
        }
    }

    /// What two places say together.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, says) | (says, Self::Nothing) => says,
            (one, other) if one == other => one,
            _ => Self::Otherwise,
        }
    }
}

/// What the attributes of an object say; where they are those of a resource, its schema may hold
/// them, too.
fn attributes(object: &RawValue, of_resource: bool) -> Said {
    let mut said = Said::Nothing;
    let read = each(object, |name, value| {
        if is_active(name) {
            said = said.and(Said::of(value));
        } else if of_resource && name.eq_ignore_ascii_case(USER.schema) {
            said = said.and(attributes(value, false));
        }
    });
    if read { said } else { Said::Nothing }
}

fn operation(operation: &RawValue) -> Said {
    let mut parts = ["op", "path", "value"].map(|name| (name, None, false));
    each(operation, |name, value| {
        for (known, said, twice) in &mut parts {
            if known.eq_ignore_ascii_case(name) {
                *twice = said.replace(value).is_some();
            }
        }
    });
    if parts.iter().any(|(.., twice)| *twice) {
        return Said::Otherwise;
    }
    let [op, path, value] = parts.map(|(_, said, _)| said);
    let text = |part: Option<&RawValue>| match part {
        Some(part) => serde_json::from_str::<Option<String>>(part.get()),
        None => Ok(None),
    };
    let (Ok(Some(op)), Ok(path)) = (text(op), text(path)) else { return Said::Nothing };
    match (op.to_ascii_lowercase().as_str(), path.as_deref().map(str::trim), value) {
        ("remove", Some(path), _) if is_active(path) => Said::Inactive,
        ("add" | "replace", Some(path), Some(value)) if is_active(path) => Said::of(value),
        ("add" | "replace", Some(path), Some(value)) if path.eq_ignore_ascii_case(USER.schema) => {
            attributes(value, false)
        }
        ("add" | "replace", None, Some(value)) => attributes(value, true),
        _ => Said::Nothing,
    }
}

/// Whether this is `active`, alone or with its schema before it.
fn is_active(name: &str) -> bool {
    let (schema, name) = name.rsplit_once(':').unwrap_or((USER.schema, name));
    name.eq_ignore_ascii_case("active") && schema.eq_ignore_ascii_case(USER.schema)
}

/// Show each of an object's attributes, or of a list's elements, which have no name. Whether it is
/// one of the two.
fn each<'a>(json: &'a RawValue, show: impl FnMut(&str, &'a RawValue)) -> bool {
    struct Each<F>(F);
    impl<'de, F: FnMut(&str, &'de RawValue)> Visitor<'de> for Each<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object or a list")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some(name) = map.next_key::<String>()? {
                self.0(&name, map.next_value()?);
            }
            Ok(())
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
            while let Some(element) = seq.next_element()? {
                self.0("", element);
            }
            Ok(())
        }
    }
    serde_json::Deserializer::from_str(json.get()).deserialize_any(Each(show)).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const CORE: &str = "urn:ietf:params:scim:schemas:core:2.0:User";

    #[test]
    fn a_put_says_it_whatever_else_it_says() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for (body, says) in [
            (r#"{"active": false}"#, true),
            (r#"{"userName": 7, "ACTIVE": "False", "x": "\u0000", "emails": 1}"#, true),
            (&format!(r#"{{"x": {deep}, "active": false}}"#), true),
            (r#"{"x": 1e999, "userName": "a", "username": "b", "active": false}"#, true),
            (r#"{"active": false, "Active": false}"#, true),
            (r#"{"active": [{"$ref": null, "value": "False"}]}"#, true),
            (r#"{"urn:ietf:params:scim:schemas:core:2.0:User": {"active": false}}"#, true),
            (r#"{"urn:ietf:params:scim:schemas:core:2.0:User:active": false}"#, true),
            (r#"{"active": false, "Active": true}"#, false),
            (r#"{"active": false, "active": true}"#, false),
            (r#"{"active": true}"#, false),
            (r#"{"active": null}"#, false),
            (r#"{"active": 0}"#, false),
            (r#"{"active": "no"}"#, false),
            (r#"{"active": {"value": false}}"#, false),
            (r#"{"x": {"active": false}}"#, false),
            (r#"{"urn:example:User:active": false}"#, false),
            (r#"{"userName": "a"}"#, false),
            (r#"[{"x": {"active": false}}]"#, false),
            (r#"{"active": false"#, false),
            (r#"{"active": false}}"#, false),
            (r#""active""#, false),
            ("", false),
        ] {
            assert_eq!(by_put(body.as_bytes()), says, "{}", &body[..body.len().min(100)]);
        }
    }

    #[test]
    fn a_patch_says_it_by_the_last_operation_that_speaks_of_it() {
        let set = |value: Value| json!({"op": "Replace", "path": "active", "value": value});
        let other = json!({"op": "add", "path": "emails[x", "value": "x"});
        for (operations, says) in [
            (json!([set(json!(false))]), true),
            (json!([other, set(json!("False")), other, 1, null, "x"]), true),
            (json!([set(json!(true)), set(json!(false))]), true),
            (json!([{"op": "ADD", "value": {"userName": 1, "Active": false}}]), true),
            (json!([{"op": "add", "path": null, "value": {"active": false}}]), true),
            (json!([{"op": "remove", "path": "active"}]), true),
            (json!([{"op": "replace", "path": format!("{CORE}:active"), "value": false}]), true),
            (json!([{"op": "replace", "path": CORE, "value": {"active": false}}]), true),
            (json!([{"op": "replace", "value": {CORE: {"active": false}}}]), true),
            (json!([set(json!(false)), set(json!(true))]), false),
            (json!([set(json!(false)), set(json!("no"))]), false),
            (json!([{"op": "move", "path": "active", "value": false}]), false),
            (json!([{"path": "active", "value": false}]), false),
            (json!([{"op": "replace", "path": "active"}]), false),
            (json!([{"op": "replace", "path": 1, "value": {"active": false}}]), false),
            (json!([{"op": "remove", "path": "emails[active eq true]"}]), false),
            (json!([{"op": "add", "path": "x", "value": {"active": false}}]), false),
            (json!([[set(json!(false))]]), false),
            (json!([]), false),
            (json!(null), false),
        ] {
            let body = json!({"Operations": operations}).to_string();
            assert_eq!(by_patch(body.as_bytes()), says, "{body}");
        }
        for (body, says) in [
            (r#"{"schemas": 1, "operations": [{"op": "add", "value": {"active": false}}]}"#, true),
            (
                r#"{"Operations": [{"op": "add", "path": "x", "path": "active", "value": false}]}"#,
                false,
            ),
            (r#"{"Operations": [{"op": "add", "value": {"active": false}}]"#, false),
            (r#"{"active": false}"#, false),
        ] {
            assert_eq!(by_patch(body.as_bytes()), says, "{body}");
        }
    }
}
