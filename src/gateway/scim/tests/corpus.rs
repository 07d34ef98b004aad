//! What Entra and Okta send, in their order, written down from their public documentation.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{filters::query, *};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// What the identity provider is about.
    does: String,
    /// Method and path. What a filter is, is encoded by the player.
    send: String,
    body: Option<Value>,
    answer: u16,
    /// What the body has, beside others.
    has: Option<Value>,
    /// JSON pointers to what it hasn't.
    #[serde(default)]
    lacks: Vec<String>,
    /// Names, for later steps, of what the body has at these JSON pointers: `{name}`.
    #[serde(default)]
    keep: BTreeMap<String, String>,
}

/// Whether `found` has what is `wanted`: attributes among others, and lists of the same length, in
/// any order.
fn has(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .all(|(name, wanted)| found.get(name).is_some_and(|found| has(found, wanted))),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && each_has(&found.iter().collect::<Vec<_>>(), wanted)
        }
        (found, wanted) => found == wanted,
    }
}

/// Whether there is another one of `found` for each that is `wanted`.
fn each_has(found: &[&Value], wanted: &[Value]) -> bool {
    let Some((first, rest)) = wanted.split_first() else { return true };
    (0..found.len()).any(|at| {
        has(found[at], first) && each_has(&[&found[..at], &found[at + 1..]].concat(), rest)
    })
}

#[test]
fn a_list_has_what_is_wanted_of_it_one_by_one() {
    let found = json!([{"a": 1, "b": 2}, {"a": 1}]);
    assert!(has(&found, &json!([{"a": 1}, {"b": 2}])));
    assert!(!has(&found, &json!([{"b": 2}, {"b": 2}])));
    assert!(!has(&found, &json!([{"a": 1}])));
    assert!(!has(&json!({"a": 1}), &json!({"a": null})));
}

fn fill(text: &str, kept: &BTreeMap<String, String>) -> String {
    kept.iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

async fn play(corpus: &str, directory: &str) {
    let steps: Vec<Step> = serde_saphyr::from_str(corpus).unwrap();
    assert!(steps.len() >= 20, "{} steps", steps.len());
    let server = Server::start().await;
    let client = server.client("acme", directory);
    let mut kept = BTreeMap::new();
    for step in steps {
        let (method, path) = step.send.split_once(' ').unwrap();
        let mut path = fill(path, &kept);
        if let Some((before, filter)) = path.split_once("filter=") {
            let (filter, after) = filter.split_once('&').unwrap_or((filter, ""));
            path = format!("{before}filter={}&{after}", query(filter));
        }
        let body =
            step.body.map(|body| serde_json::from_str(&fill(&body.to_string(), &kept)).unwrap());
        let answer = client.call(method.parse().unwrap(), &path, body).await;
        let (does, body) = (&step.does, &answer.body);
        assert_eq!(answer.status, step.answer, "{does}: {body}");
        if let Some(wanted) = step.has {
            let wanted: Value = serde_json::from_str(&fill(&wanted.to_string(), &kept)).unwrap();
            assert!(has(body, &wanted), "{does}: {body} should have {wanted}");
        }
        for pointer in step.lacks {
            assert_eq!(body.pointer(&pointer), None, "{does}");
        }
        for (name, pointer) in step.keep {
            let value = body.pointer(&pointer).and_then(Value::as_str);
            kept.insert(name, value.unwrap_or_else(|| panic!("{does}: {body}")).to_owned());
        }
    }
}

#[tokio::test]
async fn entra_is_understood() {
    play(include_str!("corpus/entra.yaml"), "entra").await;
}

#[tokio::test]
async fn okta_is_understood() {
    play(include_str!("corpus/okta.yaml"), "okta").await;
}
