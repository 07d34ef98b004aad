//! Whoever is to leave leaves, whatever else is wrong with the request that says so.

use std::mem;

use super::*;
use crate::ledger::watch_writes;

async fn is_active(server: &Server, name: &str) -> bool {
    server.ledger.people("acme", name).await.unwrap()[0].active
}

#[tokio::test]
async fn a_deactivation_stands_even_if_the_rest_of_its_request_is_refused() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = format!("/Users/{}", okta.user("ann").await);
    okta.user("bob").await;
    let large = "x".repeat(70_000);
    let photo = "x".repeat(1 << 20);
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let puts = [
        (r#""userName": "BOB""#, 409, "uniqueness"),
        (r#""userName": """#, 400, "invalidValue"),
        (r#""title": "without a userName""#, 400, "invalidValue"),
        (r#""userName": "ann", "externalId": 7"#, 400, "invalidValue"),
        (r#""userName": "ann", "title": "\u0000""#, 400, "invalidValue"),
        (r#""userName": "ann", "x": 1e999"#, 400, "invalidValue"),
        (r#""userName": "ann", "USERNAME": "b""#, 400, "invalidSyntax"),
        (&format!(r#""userName": "ann", "title": "{large}""#), 400, "invalidValue"),
        (&format!(r#""userName": "ann", "photo": "{photo}""#), 413, ""),
        (&format!(r#""userName": "ann", "x": {deep}"#), 400, "invalidSyntax"),
    ];
    let patches = [
        (json!({"op": "replace", "path": "userName", "value": "Bob"}), 409, "uniqueness"),
        (json!({"op": "add", "path": "a b", "value": 1}), 400, "invalidPath"),
        (json!({"op": "add", "path": "id", "value": 1}), 400, "mutability"),
        (json!({"op": "add", "path": "title", "value": large}), 400, "invalidValue"),
        (json!({"op": "add", "path": "photo", "value": photo}), 413, ""),
        (json!({"op": "move"}), 400, "invalidSyntax"),
        (json!(1), 400, "invalidSyntax"),
    ];
    let good = (r#"{"userName": "ann", "active": false}"#.to_owned(), 400, "invalidValue");
    let puts = puts.map(|(rest, status, keyword)| {
        (Method::PUT, "", (format!(r#"{{{rest}, "active": false}}"#), status, keyword))
    });
    let patches = patches.map(|(rest, status, keyword)| {
        let active = json!({"op": "Replace", "path": "active", "value": "False"});
        let body = json!({"Operations": [active, rest]}).to_string();
        (Method::PATCH, "", (body, status, keyword))
    });
    let queries = [(Method::PUT, "?attributes=a%20b", good)];
    for (method, query, (body, status, keyword)) in puts.into_iter().chain(patches).chain(queries) {
        okta.put(&ann, json!({"userName": "ann", "title": "Boss", "active": true})).await.ok();
        let before = okta.get(&ann).await.ok();
        let shown = format!("{method} {}", &body[..body.len().min(100)]);
        let path = format!("{ann}{query}");
        let send = async || {
            let body = Body::from(body.clone());
            okta.raw(method.clone(), &path, "application/json", body).await
        };
        assert_eq!(send().await.error(status).0, keyword, "{shown}");
        assert!(!is_active(&server, "ann").await, "{shown}");
        // and that is all that happened
        let after = okta.get(&ann).await.ok();
        let mut wanted = before;
        (wanted["active"], wanted["meta"]) = (false.into(), after["meta"].clone());
        assert_eq!(after, wanted, "{shown}");
        // said again, it isn't written again
        send().await.error(status);
        assert_eq!(okta.get(&ann).await.ok(), after, "{shown}");
    }
    let log = server.ledger.audit_log("acme", None, 5).await.unwrap();
    let made = log.iter().find(|line| line.action == "user.deactivate").unwrap();
    assert!(made.actor.starts_with("scim:okta#"), "{}", made.actor);
    assert_eq!(made.detail.as_deref(), Some("active=false"));
    assert!(log.iter().any(|line| line.action == "scim.refused"));
}

#[tokio::test]
async fn one_byte_more_keeps_nobody_in() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let path = format!("/Users/{}", okta.user("ann").await);
    let title = |length: usize| {
        okta.put(&path, json!({"userName": "ann", "active": true, "title": "x".repeat(length)}))
    };
    // as long as it may be: `false` is longer than `true`
    let (mut fits, mut does_not) = (0, 1 << 17);
    while does_not - fits > 1 {
        let middle = usize::midpoint(fits, does_not);
        if title(middle).await.status == 200 { fits = middle } else { does_not = middle }
    }
    title(fits).await.ok();
    assert!(is_active(&server, "ann").await);
    let off = json!([{"op": "Replace", "path": "active", "value": "False"}]);
    okta.patch(&path, off).await.error(400);
    assert!(!is_active(&server, "ann").await);
}

#[tokio::test]
async fn a_refused_request_deactivates_only_whom_it_may_and_only_where_it_says_so() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = okta.user("ann").await;
    okta.user("bob").await;
    let path = format!("/Users/{ann}");
    let before = okta.get(&path).await.ok();
    let off = json!({"userName": "bob", "active": false});
    // whoever isn't let in, or comes from another directory
    let stranger = Client { token: "x".into(), ..server.client("acme", "okta") };
    stranger.put(&path, off.clone()).await.error(401);
    for other in [server.client("acme", "entra"), server.client("globex", "okta")] {
        other.put(&path, json!({"active": false})).await.error(404);
        other
            .patch(&path, json!([{"op": "add", "value": {"active": false, "id": 1}}, 1]))
            .await
            .error(404);
    }
    // whoever speaks of another version
    let request = Request::put(format!("{}{path}", okta.base))
        .header(header::AUTHORIZATION, "Bearer acme-okta")
        .header(header::IF_MATCH, "\"another\"")
        .body(off.to_string().into());
    server.send(request.unwrap()).await.error(412);
    // whoever says two things, or nothing
    for operations in [
        json!([{"op": "add", "value": {"active": false}}, {"op": "add", "value": {"active": true, "userName": ""}}]),
        json!([{"op": "add", "value": {"userName": ""}}]),
        json!([{"op": "add", "path": "active", "value": "no"}]),
    ] {
        okta.patch(&path, operations).await.error(400);
    }
    okta.put(&path, json!({"userName": "bob"})).await.error(409);
    assert_eq!(okta.get(&path).await.ok(), before);
}

/// What ends Ann's access, each with a title for the rest of what it says.
fn endings(ann: &str, group: &str, title: &str) -> [(Method, String, Value); 4] {
    let (user, group) = (format!("/Users/{ann}"), format!("/Groups/{group}"));
    let title_too = json!({"op": "replace", "path": "title", "value": title});
    let patch = |ends: Value| json!({"Operations": [ends, title_too]});
    let leaves = format!("members[value eq \"{ann}\"]");
    [
        (Method::PUT, user.clone(), json!({"userName": "ann", "active": false, "title": title})),
        (Method::PATCH, user, patch(json!({"op": "add", "path": "active", "value": false}))),
        (Method::PUT, group.clone(), json!({"displayName": "ops", "members": [], "title": title})),
        (Method::PATCH, group, patch(json!({"op": "remove", "path": leaves}))),
    ]
}

/// Ann, who is in a group: their ids.
async fn ann(okta: &Client<'_>) -> (String, String) {
    let ann = okta.user("ann").await;
    let group = okta.group("ops", &[&ann]).await;
    (ann, group)
}

/// Whether somebody is active, and in a group.
async fn is_in(okta: &Client<'_>, id: &str) -> bool {
    let person = okta.get(&format!("/Users/{id}")).await.ok();
    person["active"] == true && person.get("groups").is_some()
}

#[tokio::test]
async fn where_the_ledger_fails_nothing_is_made_and_the_same_request_serves_said_again() {
    for (ending, title) in (0..4).flat_map(|ending| [(ending, "Boss"), (ending, "\0")]) {
        let server = Server::start().await;
        let okta = server.client("acme", "okta");
        let (ann, group) = ann(&okta).await;
        let (method, path, body) = endings(&ann, &group, title)[ending].clone();
        let send = || okta.call(method.clone(), &path, Some(body.clone()));
        let mut failed = false;
        let subject = path.rsplit('/').next().unwrap().parse().unwrap();
        watch_writes(subject, move |_| assert!(mem::replace(&mut failed, true), "it fails once"));

        let before = server.changes().await;
        let answer = send().await;
        answer.error(503);
        assert!(answer.headers.contains_key(header::RETRY_AFTER), "{method} {path}");
        assert!(is_in(&okta, &ann).await, "{method} {path} {title:?}");
        assert_eq!(server.changes().await, before, "{method} {path} {title:?}");

        let again = send().await;
        assert_eq!(again.status.is_success(), title == "Boss", "{method} {path}: {}", again.body);
        assert!(!is_in(&okta, &ann).await, "{method} {path} {title:?}");
    }
}

#[tokio::test]
async fn what_the_database_does_not_take_keeps_nobody_in() {
    for ending in 0..4 {
        let server = Server::start().await;
        server.ledger.refuse_some_for_tests().await;
        let okta = server.client("acme", "okta");
        let (ann, group) = ann(&okta).await;
        let (method, path, body) = endings(&ann, &group, "unkept")[ending].clone();
        let answer = okta.call(method.clone(), &path, Some(body)).await;
        answer.error(500);
        assert!(!answer.headers.contains_key(header::RETRY_AFTER), "said again, it is the same");
        assert!(!is_in(&okta, &ann).await, "{method} {path}");
    }
}
