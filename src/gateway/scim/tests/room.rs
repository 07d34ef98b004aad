//! What an organization's directories may hold, and that a full one keeps nobody in.

use futures::{future::join_all, poll};

use super::*;
use crate::ledger::scim::{PersonFields, Refused};

/// For about 16 people with a title as long as it may be.
const ROOM: i64 = 1 << 20;
const LONG: usize = 60_000;

/// Users with long titles, until there is no more room for one; their ids.
async fn fill(client: &Client<'_>) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let title = "x".repeat(LONG);
        let body = json!({"userName": format!("user{}", ids.len()), "title": title});
        let answer = client.post("/Users", body).await;
        if answer.status != 201 {
            refused(&answer);
            return ids;
        }
        ids.push(answer.made());
        assert!(ids.len() < 100, "there is no end");
    }
}

fn refused(answer: &Answer) {
    let (keyword, detail) = answer.error(400);
    assert_eq!(keyword, "");
    assert!(detail.contains("may hold 1 MiB") && detail.contains("platform team"), "{detail}");
}

async fn sizes_are_right(server: &Server) {
    let (said, counted) = server.ledger.sizes_for_tests().await;
    assert_eq!(said, counted);
}

#[tokio::test]
async fn an_organization_holds_what_it_may_and_others_notice_nothing() {
    let server = Server::with_room(ROOM).await;
    let (okta, entra) = (server.client("acme", "okta"), server.client("acme", "entra"));
    let people = fill(&okta).await;
    assert_eq!(people.len(), 17);
    assert_eq!(okta.get("/Users?count=0").await.ok()["totalResults"], 17);
    let long = json!({"userName": "eve", "title": "x".repeat(LONG)});
    refused(&entra.post("/Users", long.clone()).await); // one more directory is no more room
    refused(&okta.post("/Groups", json!({"displayName": "x", "y": "x".repeat(LONG)})).await);
    let globex = server.client("globex", "okta");
    globex.post("/Users", long.clone()).await.made();
    let log = server.ledger.audit_log("acme", None, 1).await.unwrap().remove(0);
    assert_eq!((log.action.as_str(), log.subject.as_str()), ("scim.refused", "POST /Groups"));
    assert!(log.detail.unwrap().contains("may hold 1 MiB"));
    // whoever goes leaves room
    assert_eq!(okta.delete(&format!("/Users/{}", people[0])).await.status, 204);
    entra.post("/Users", long.clone()).await.made();
    sizes_are_right(&server).await;
    // what is kept of a deleted directory takes room for as long as it is kept
    let now = Timestamp::now();
    server.ledger.delete_directory("id-acme", "okta", now).await.unwrap();
    refused(&entra.post("/Users", json!({"userName": "bob", "title": "x".repeat(LONG)})).await);
    server.ledger.purge_directories(now + jiff::SignedDuration::from_secs(1)).await.unwrap();
    entra.post("/Users", json!({"userName": "bob", "title": "x".repeat(LONG)})).await.made();
    sizes_are_right(&server).await;
}

#[tokio::test]
async fn whoever_is_to_leave_leaves_a_full_directory_and_what_makes_room_is_taken() {
    let server = Server::with_room(ROOM).await;
    let okta = server.client("acme", "okta");
    let (ann, bob) = (okta.user("ann").await, okta.user("bob").await);
    let (group, inner) = (okta.group("ops", &[&ann]).await, okta.group("dev", &[&bob]).await);
    fill(&okta).await;
    // to the last byte
    let path = format!("/Users/{ann}");
    let (mut fits, mut does_not) = (0, LONG + 1);
    while does_not - fits > 1 {
        let middle = usize::midpoint(fits, does_not);
        let body = json!({"userName": "ann", "active": true, "title": "x".repeat(middle)});
        if okta.put(&path, body).await.status == 200 { fits = middle } else { does_not = middle }
    }
    let body = json!({"userName": "ann", "active": true, "title": "x".repeat(fits)});
    okta.put(&path, body).await.ok();
    refused(&okta.patch(&path, json!([{"op": "add", "path": "nickName", "value": "x"}])).await);
    // members
    let members = format!("/Groups/{group}");
    let change =
        |op: &str, id: &str| json!([{"op": op, "path": "members", "value": [{"value": id}]}]);
    refused(&okta.patch(&members, change("add", &bob)).await);
    refused(&okta.patch(&members, change("add", &inner)).await);
    let both = json!([{"value": ann}, {"value": bob}]);
    refused(&okta.put(&members, json!({"displayName": "ops", "members": both})).await);
    assert_eq!(okta.patch(&members, change("replace", &bob)).await.status, 204);
    // of what is refused those who are to leave leave, and nobody comes
    let patch = json!([
        {"op": "remove", "path": format!("members[value eq \"{bob}\"]")},
        {"op": "add", "path": "members", "value": [{"value": ann}, {"value": inner}]},
    ]);
    refused(&okta.patch(&members, patch).await);
    assert_eq!(okta.members(&group).await, [""; 0]);
    assert_eq!(okta.patch(&members, change("add", &bob)).await.status, 204, "there is room now");
    // people
    let off = json!({"op": "Replace", "path": "active", "value": "False"});
    let grow = json!({"op": "add", "path": "nickName", "value": "x".repeat(200)});
    refused(&okta.patch(&path, json!([off, grow])).await);
    assert!(!server.ledger.people("acme", "ann").await.unwrap()[0].active);
    okta.patch(&path, json!([{"op": "replace", "path": "active", "value": true}])).await.ok();
    okta.patch(&path, json!([off])).await.ok();
    assert!(!server.ledger.people("acme", "ann").await.unwrap()[0].active);
    assert_eq!(okta.delete(&path).await.status, 204);
    assert_eq!(okta.delete(&members).await.status, 204);
    sizes_are_right(&server).await;
}

#[tokio::test]
async fn writes_that_share_a_transaction_share_the_room() {
    let server = Server::with_room(10_000).await;
    let hash = digest(&SHA256, b"acme-okta");
    let okta = server.ledger.scim_access("acme", "okta", hash.as_ref()).await.unwrap().unwrap();
    let hash = digest(&SHA256, b"acme-entra");
    let entra = server.ledger.scim_access("acme", "entra", hash.as_ref()).await.unwrap().unwrap();
    let person = |number: usize| PersonFields {
        user_name: number.to_string(),
        external_id: None,
        email: None,
        active: true,
        // with what is added for everybody: 1,000 bytes
        attributes: format!(r#"{{"x":"{}"}}"#, "x".repeat(1_000 - 501 - 8)),
    };
    let people: Vec<_> = (0..24).map(person).collect();
    let held = server.ledger.begin_for_tests().await;
    let create = |(number, person)| {
        let access = if number % 3 == 0 { &entra } else { &okta };
        server.ledger.create_person(access, person, Timestamp::now())
    };
    let mut writes = Box::pin(join_all(people.iter().enumerate().map(create)));
    assert!(poll!(&mut writes).is_pending(), "they wait, to go into one transaction");
    drop(held);
    let written = writes.await;
    assert_eq!(written.iter().filter(|written| written.is_ok()).count(), 10);
    assert!(written.iter().all(|written| matches!(written, Ok(_) | Err(Refused::NoRoom(10_000)))));
    sizes_are_right(&server).await;
}
