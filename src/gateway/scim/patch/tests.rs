use serde_json::json;

use super::{
    super::{
        error::{Error, Result},
        resource::{ENTERPRISE_USER, USER},
    },
    apply,
};
use serde_json::Value;

/// What becomes of a user by these operations, tidied.
fn patch(user: Value, operations: Value) -> Result<Value> {
    let Value::Object(mut user) = user else { panic!("not an object") };
    let body = json!({"Operations": operations}).to_string();
    let operations = super::operations(serde_json::from_str(&body).unwrap())?;
    apply(&USER, &mut user, &super::read(operations)?)?;
    let mut tidied = USER.tidy(user)?;
    tidied.remove("schemas");
    Ok(Value::Object(tidied))
}

fn is(user: Value, operations: Value, wanted: Value) {
    let shown = operations.to_string();
    let patched = patch(user, operations.clone()).unwrap_or_else(|e| panic!("{shown}: {e:?}"));
    assert_eq!(patched, wanted, "{shown}");
    assert_eq!(patch(patched, operations).ok(), Some(wanted), "twice: {shown}");
}

#[test]
fn simple_attributes_are_set_and_unset() {
    for op in ["add", "Replace"] {
        is(json!({}), json!([{"op": op, "path": "title", "value": "x"}]), json!({"title": "x"}));
        is(
            json!({"title": "y"}),
            json!([{"op": op, "path": "TITLE", "value": "x"}]),
            json!({"title": "x"}),
        );
        is(json!({"title": "y"}), json!([{"op": op, "path": "title", "value": null}]), json!({}));
        is(json!({}), json!([{"op": op, "value": {"title": "x"}}]), json!({"title": "x"}));
    }
    is(json!({"title": "y"}), json!([{"op": "REMOVE", "path": "title"}]), json!({}));
    is(json!({}), json!([{"op": "remove", "path": "title"}]), json!({}));
}

#[test]
fn complex_attributes_are_changed_in_part() {
    let user = json!({"name": {"givenName": "Ann", "familyName": "A"}});
    for operation in [
        json!({"op": "replace", "path": "name.familyName", "value": "B"}),
        json!({"op": "replace", "path": "name", "value": {"familyname": "B"}}),
        json!({"op": "add", "value": {"name": {"familyName": "B"}}}),
        json!({"op": "add", "value": {"name.familyName": "B"}}),
    ] {
        let wanted = json!({"name": {"givenName": "Ann", "familyName": "B"}});
        is(user.clone(), json!([operation]), wanted);
    }
    is(
        user,
        json!([{"op": "remove", "path": "name.givenName"}]),
        json!({"name": {"familyName": "A"}}),
    );
    let made = json!({"name": {"givenName": "A"}});
    is(json!({}), json!([{"op": "add", "path": "name.givenName", "value": "A"}]), made.clone());
    is(made, json!([{"op": "remove", "path": "name.givenName"}]), json!({}));
}

#[test]
fn extensions_are_reached_by_their_urn() {
    let set = |path: &str, value: Value| json!([{"op": "add", "path": path, "value": value}]);
    let wanted = json!({ENTERPRISE_USER: {"department": "R&D"}});
    is(json!({}), set(&format!("{ENTERPRISE_USER}:department"), json!("R&D")), wanted.clone());
    is(json!({}), set(ENTERPRISE_USER, json!({"department": "R&D"})), wanted.clone());
    is(
        json!({}),
        json!([{"op": "add", "value": {format!("{ENTERPRISE_USER}:department"): "R&D"}}]),
        wanted.clone(),
    );
    is(
        wanted.clone(),
        set(&format!("{ENTERPRISE_USER}:manager.value"), json!("7")),
        json!({ENTERPRISE_USER: {"department": "R&D", "manager": {"value": "7"}}}),
    );
    for path in [ENTERPRISE_USER.to_owned(), format!("{ENTERPRISE_USER}:Department")] {
        is(wanted.clone(), json!([{"op": "remove", "path": path}]), json!({}));
    }
    let custom = "urn:example:params:1.0:User";
    is(json!({}), set(&format!("{custom}:badge"), json!(7)), json!({custom: {"badge": 7}}));
    is(
        json!({}),
        set("urn:ietf:params:scim:schemas:core:2.0:User:title", json!("x")),
        json!({"title": "x"}),
    );
}

#[test]
fn values_are_added_once_replaced_and_removed() {
    let (work, home) =
        (json!({"type": "work", "value": "w"}), json!({"type": "home", "value": "h"}));
    let both = json!({"emails": [work, home]});
    is(
        json!({"emails": [work]}),
        json!([{"op": "add", "path": "emails", "value": [work, home]}]),
        both.clone(),
    );
    is(
        json!({}),
        json!([{"op": "add", "path": "emails", "value": work}]),
        json!({"emails": [work]}),
    );
    is(
        both.clone(),
        json!([{"op": "replace", "path": "emails", "value": [home]}]),
        json!({"emails": [home]}),
    );
    for operation in [
        json!({"op": "remove", "path": "emails[type eq \"Work\"]"}),
        json!({"op": "remove", "path": "emails[value eq \"w\" and type pr]"}),
        json!({"op": "remove", "path": "emails", "value": [{"value": "w"}]}),
        json!({"op": "remove", "path": "emails", "value": "w"}),
    ] {
        is(both.clone(), json!([operation]), json!({"emails": [home]}));
    }
    is(both.clone(), json!([{"op": "remove", "path": "emails"}]), json!({}));
    is(both, json!([{"op": "remove", "path": "emails[value pr]"}]), json!({}));
}

#[test]
fn one_value_is_changed_by_a_choice() {
    let user = json!({"emails": [{"type": "work", "value": "w"}, {"type": "home", "value": "h"}]});
    for op in ["add", "replace"] {
        is(
            user.clone(),
            json!([{"op": op, "path": "emails[type eq \"work\"].value", "value": "x"}]),
            json!({"emails": [{"type": "work", "value": "x"}, {"type": "home", "value": "h"}]}),
        );
    }
    is(
        user.clone(),
        json!([{"op": "replace", "path": "emails[type eq \"home\"]",
            "value": {"type": "home", "value": "x"}}]),
        json!({"emails": [{"type": "work", "value": "w"}, {"type": "home", "value": "x"}]}),
    );
    is(
        user,
        json!([{"op": "remove", "path": "emails[type eq \"home\"].type"}]),
        json!({"emails": [{"type": "work", "value": "w"}, {"value": "h"}]}),
    );
    is(
        json!({}),
        json!([{"op": "add", "path": "emails[type eq \"work\" and primary eq true].value", "value": "x"}]),
        json!({"emails": [{"type": "work", "primary": true, "value": "x"}]}),
    );
}

#[test]
fn a_type_that_nobody_had_is_added_where_entra_says_replace() {
    for (path, wanted) in [
        ("emails[type eq \"work\"].value", json!({"emails": [{"type": "work", "value": "x"}]})),
        (
            "addresses[type eq \"work\"].country",
            json!({"addresses": [{"type": "work", "country": "x"}]}),
        ),
        ("roles[primary eq \"True\"].value", json!({"roles": [{"primary": true, "value": "x"}]})),
    ] {
        is(json!({}), json!([{"op": "Replace", "path": path, "value": "x"}]), wanted);
    }
    let home = json!({"type": "home", "value": "h"});
    is(
        json!({"emails": [home]}),
        json!([{"op": "Replace", "path": "emails[type eq \"work\"].value", "value": "x"}]),
        json!({"emails": [home, {"type": "work", "value": "x"}]}),
    );
    // what speaks of a value that isn't there, or of more than an attribute of it, names none
    for (path, value) in [
        ("emails[value eq \"old\"].value", json!("x")),
        ("emails[type eq \"work\" and value eq \"old\"].value", json!("x")),
        ("emails[type ne \"home\"].value", json!("x")),
        ("emails[type eq \"work\"]", json!({"value": "x"})),
    ] {
        let refused = patch(
            json!({"emails": [home]}),
            json!([{"op": "replace", "path": path, "value": value}]),
        );
        assert_eq!(refused.unwrap_err(), Error::no_target("no emails is so"), "{path}");
    }
}

#[test]
fn a_new_primary_value_is_the_only_one() {
    let old = json!({"value": "o", "primary": true});
    let no_more = json!({"value": "o", "primary": false});
    let new = json!({"value": "n", "primary": true});
    is(
        json!({"emails": [old]}),
        json!([{"op": "add", "path": "emails", "value": [{"value": "n", "primary": "True"}]}]),
        json!({"emails": [no_more, new]}),
    );
    is(
        json!({"emails": [old, {"value": "n"}]}),
        json!([{"op": "add", "path": "emails[value eq \"n\"].primary", "value": true}]),
        json!({"emails": [no_more, new]}),
    );
}

#[test]
fn what_only_the_server_sets_is_passed_over_or_refused() {
    let ours = json!({"id": "x", "META": {}, "groups": [], "password": "x", "title": "x"});
    is(json!({}), json!([{"op": "replace", "value": ours}]), json!({"title": "x"}));
    is(json!({}), json!([{"op": "replace", "path": "password", "value": "x"}]), json!({}));
    for path in ["id", "meta.created", "Groups", "groups[value eq \"x\"]"] {
        let refused = patch(json!({}), json!([{"op": "add", "path": path, "value": "x"}]));
        assert_eq!(refused.unwrap_err(), Error::mutability(path.split(['.', '[']).next().unwrap()));
    }
}

#[test]
fn what_leads_nowhere_is_refused() {
    let user = json!({"title": "x", "emails": [{"value": "a"}]});
    for operation in [
        json!({"op": "replace", "path": "emails[value eq \"b\"].value", "value": "x"}),
        json!({"op": "add", "path": "emails[type sw \"work\"].value", "value": "x"}),
        json!({"op": "add", "path": "emails.value", "value": "x"}),
        json!({"op": "add", "path": "title.x", "value": "x"}),
        json!({"op": "add", "path": "title[x eq 1]", "value": "x"}),
        json!({"op": "add", "path": "emails[value eq \"a\"]", "value": "x"}),
        json!({"op": "add", "path": "emails", "value": "x"}),
        json!({"op": "add", "path": "name", "value": "x"}),
        json!({"op": "replace", "value": [1]}),
    ] {
        assert!(patch(user.clone(), json!([operation])).is_err(), "{operation}");
    }
}

proptest::proptest! {
    #[test]
    fn no_path_makes_it_panic(path in r#"[a-zA-Z.:\[\]"=() ]{0,40}|emails\[.{0,20}\].?.{0,8}"#) {
        let user = json!({"title": "x", "emails": [{"value": "a"}], "name": {"x": 1}});
        for op in ["add", "replace", "remove"] {
            for value in [json!("x"), json!({"a": 1}), json!([1, {"value": "a"}]), json!(null)] {
                let _ = patch(user.clone(), json!([{"op": op, "path": path, "value": value}]));
            }
        }
    }
}
