//! What nobody can do to others, and what a crash can't do at all.

use std::{
    collections::BTreeSet,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::join_all;
use tokio::time::timeout;

use super::{super::guard::AT_ONCE, *};
use crate::ledger::{
    Selector,
    fixture::group,
    scim::{GROUPS_IN_GROUP, PersonFields, Refused},
    tests::Place,
    watch_writes,
};

#[tokio::test]
async fn groups_in_groups_count_for_everybody_in_them_and_loops_end() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let (ann, bob) = (okta.user("ann").await, okta.user("bob").await);
    let inner = okta.group("Inner", &[&ann]).await;
    let middle = okta.group("Middle", &[&inner, &bob]).await;
    let outer = okta.group("Outer", &[&middle]).await;
    let add = |id: &str| json!([{"op": "add", "path": "members", "value": [{"value": id}]}]);
    assert_eq!(okta.patch(&format!("/Groups/{inner}"), add(&outer)).await.status, 204);
    assert_eq!(okta.patch(&format!("/Groups/{inner}"), add(&inner)).await.status, 204);
    let directory = server.ledger.directory("id-acme", "okta").await.unwrap().unwrap().id;
    let put = async |team: &str, group: &str| {
        let selector = Selector::DisplayName(group.into());
        server.ledger.put_team("id-acme", team, directory, &selector, true).await.unwrap()
    };
    let crate::ledger::Match::Found { active_members, .. } = put("outer", "Outer").await else {
        panic!("not found")
    };
    assert_eq!(active_members, 2);
    let teams = async |id: &str| server.ledger.teams_of_person(id.parse().unwrap()).await.unwrap();
    assert_eq!(teams(&ann).await, ["acme:outer"]);
    assert_eq!(teams(&bob).await, ["acme:outer"]);
    let member = &okta.get(&format!("/Groups/{outer}")).await.ok()["members"][0];
    assert_eq!(
        *member,
        json!({
            "value": middle,
            "$ref": format!("https://gateway.example/scim/v2/acme/okta/Groups/{middle}"),
            "type": "Group",
        })
    );
    let person = server.ledger.people("acme", "ann").await.unwrap().remove(0);
    assert_eq!(person.groups, ["Inner", "Middle", "Outer"]);
    // a group that goes takes its ways with it, and the loop's other way leads nowhere
    assert_eq!(okta.delete(&format!("/Groups/{middle}")).await.status, 204);
    assert_eq!(teams(&ann).await, [""; 0]);
    assert!(okta.get(&format!("/Groups/{outer}")).await.ok().get("members").is_none());
    // nobody nests another directory's groups
    let entra = server.client("acme", "entra");
    let foreign = entra.group("Foreign", &[]).await;
    okta.patch(&format!("/Groups/{outer}"), add(&foreign)).await.error(400);
}

#[tokio::test]
async fn whoever_hangs_up_keeps_their_place_until_what_they_began_is_done() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    okta.user("first").await;
    let held = server.ledger.begin_for_tests().await;
    for wave in 0..3 {
        let create = |number| {
            let body = json!({"userName": format!("{wave}-{number}")});
            let okta = &okta;
            async move { okta.post("/Users", body).await }
        };
        let hung_up = timeout(Duration::from_millis(500), join_all((0..AT_ONCE).map(create))).await;
        assert!(hung_up.is_err(), "nobody writes now");
    }
    drop(held);
    okta.user("last").await;
    let all = &okta.get("/Users?count=0").await.ok()["totalResults"];
    assert_eq!(*all, AT_ONCE + 2, "of the others none was taken");
}

#[tokio::test]
async fn too_many_groups_in_a_group_are_refused_and_who_is_removed_leaves_all_the_same() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let hash = digest(&SHA256, b"acme-okta");
    let access = server.ledger.scim_access("acme", "okta", hash.as_ref()).await.unwrap().unwrap();
    let inner = group("inner");
    let create = |_| server.ledger.create_group(&access, &inner, &[], Timestamp::now());
    let made = join_all((0..=GROUPS_IN_GROUP).map(create)).await;
    let members: Vec<_> = made.into_iter().map(|id| json!({"value": id.unwrap().0})).collect();
    let refused = |answer: Answer| {
        let (keyword, detail) = answer.error(400);
        assert_eq!(keyword, "invalidValue");
        assert!(detail.contains("at most 1000 groups"), "{detail}");
    };
    refused(okta.post("/Groups", json!({"displayName": "outer", "members": members})).await);
    let named = okta.get("/Groups?filter=displayName%20eq%20%22outer%22").await.ok();
    assert_eq!(named["totalResults"], 0);
    let (ann, bob) = (okta.user("ann").await, okta.user("bob").await);
    let group = okta.group("ops", &[&ann, &bob]).await;
    let path = format!("/Groups/{group}");
    let patch = json!([
        {"op": "replace", "path": "displayName", "value": "outer"},
        {"op": "remove", "path": format!("members[value eq \"{bob}\"]")},
        {"op": "add", "path": "members", "value": members},
    ]);
    refused(okta.patch(&path, patch).await);
    assert_eq!(okta.members(&group).await, [ann]);
    assert_eq!(okta.get(&path).await.ok()["displayName"], "ops");
}

#[tokio::test]
async fn a_token_that_was_taken_back_writes_nothing_even_if_it_was_let_in_before() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = format!("/Users/{}", okta.user("ann").await);
    let ops = format!("/Groups/{}", okta.group("ops", &[]).await);
    // let in before, by the ledger and by the gateway's memory
    let hash = digest(&SHA256, b"acme-okta");
    let access = server.ledger.scim_access("acme", "okta", hash.as_ref()).await.unwrap().unwrap();
    let directory = access.directory();
    let (now, before) = (Timestamp::now(), server.changes().await);
    server.ledger.replace_token(directory, Uuid::now_v7(), &[7; 32], now).await.unwrap();
    let fields = PersonFields {
        user_name: "eve".into(),
        external_id: None,
        email: None,
        active: true,
        attributes: "{}".into(),
    };
    let made = server.ledger.create_person(&access, &fields, now).await;
    assert!(matches!(made, Err(Refused::Closed)));
    let fields = group("x");
    let made = server.ledger.create_group(&access, &fields, &[], now).await;
    assert!(matches!(made, Err(Refused::Closed)));
    okta.post("/Users", json!({"userName": "eve"})).await.error(401);
    let title = |title: &str| json!([{"op": "add", "path": "title", "value": title}]);
    okta.patch(&ann, title("x")).await.error(401);
    okta.patch(&ann, json!([{"op": "remove", "path": "title"}])).await.error(401);
    okta.put(&ann, json!({"userName": "ann"})).await.error(401);
    okta.put(&ops, json!({"displayName": "ops"})).await.error(401);
    okta.patch(&ops, title("x")).await.error(401);
    okta.delete(&ops).await.error(401);
    okta.delete(&ann).await.error(401);
    okta.get(&ann).await.error(401);
    okta.post("/Users/.search", json!({})).await.error(401);
    assert_eq!(server.changes().await, before);
}

#[tokio::test]
async fn a_page_of_large_resources_ends_early_and_the_next_one_goes_on() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let title = "x".repeat(60_000);
    for i in 0..80 {
        okta.post("/Users", json!({"userName": format!("user{i:03}"), "title": title}))
            .await
            .made();
    }
    let (mut start, mut pages, mut names) = (1, 0, BTreeSet::new());
    while start <= 80 {
        let page = okta.get(&format!("/Users?startIndex={start}&count=200")).await.ok();
        assert_eq!(page["totalResults"], 80);
        assert!(page.to_string().len() < 5 << 20);
        let users = page["Resources"].as_array().unwrap();
        names.extend(users.iter().map(|user| user["userName"].as_str().unwrap().to_owned()));
        start += page["itemsPerPage"].as_i64().unwrap();
        pages += 1;
    }
    assert_eq!((pages, names.len()), (2, 80));
}

#[tokio::test]
async fn a_body_with_many_members_is_taken_where_others_may_be_small() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = okta.user("ann").await;
    let members = vec![json!({"value": ann, "$ref": null, "display": "Ann"}); 60_000];
    let group = okta.post("/Groups", json!({"displayName": "x", "members": members})).await.made();
    let replace = json!([{"op": "replace", "path": "members", "value": members}]);
    assert_eq!(okta.patch(&format!("/Groups/{group}"), replace).await.status, 204);
    let replace = json!([{"op": "replace", "value": {"members": members}}]);
    assert_eq!(okta.patch(&format!("/Groups/{group}"), replace).await.status, 204);
    assert_eq!(okta.members(&group).await, [ann]);
}

#[tokio::test]
async fn a_crash_anywhere_in_a_group_replace_leaves_all_or_nothing() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let (ann, bob) = (okta.user("ann").await, okta.user("bob").await);
    let (one, two) = (okta.group("one", &[]).await, okta.group("two", &[]).await);
    let group = okta.group("before", &[&ann, &one]).await;
    okta.group("above", &[&group]).await;
    let path = format!("/Groups/{group}");
    let state = async |ledger: &Ledger| {
        let hash = digest(&SHA256, b"acme-okta");
        let access = ledger.scim_access("acme", "okta", hash.as_ref()).await.unwrap().unwrap();
        let group = ledger.group(&access, group.parse().unwrap(), true).await.unwrap().unwrap();
        let (audit, change) =
            (ledger.audit_for_tests().await, ledger.latest_change().await.unwrap());
        (group.version, group.attributes, group.members.unwrap(), audit, change)
    };
    let before = state(&server.ledger).await;
    let directory = server.ledger.directory("id-acme", "okta").await.unwrap().unwrap().id;
    let members = json!([{"value": bob}, {"value": two}]);
    let replace =
        async || okta.put(&path, json!({"displayName": "after", "members": members})).await;
    let watch = |watch: Box<dyn FnMut(&'static str) + Send>| {
        let passed = Arc::new(Mutex::new(Vec::new()));
        let watch = Arc::new(Mutex::new(watch));
        for subject in [group.parse().unwrap(), directory] {
            let (passed, watch) = (passed.clone(), watch.clone());
            watch_writes(subject, move |point| {
                passed.lock().unwrap().push(point);
                watch.lock().unwrap()(point);
            });
        }
        passed
    };
    match &*server.place {
        Place::File(folder) => {
            let copies = Arc::new(Mutex::new(Vec::new()));
            let (from, to) = (folder.path().to_owned(), copies.clone());
            // what a crash leaves: the files as they are now, but for the index, which is made anew
            let passed = watch(Box::new(move |_| {
                let copy = tempfile::tempdir().unwrap();
                for file in ["ledger.db", "ledger.db-wal"] {
                    fs::copy(from.join(file), copy.path().join(file)).unwrap();
                }
                to.lock().unwrap().push(copy);
            }));
            replace().await.ok();
            assert_eq!(*passed.lock().unwrap(), POINTS);
            let copies = std::mem::take(&mut *copies.lock().unwrap());
            for (copy, point) in copies.into_iter().zip(POINTS) {
                let ledger = Ledger::open(&copy.path().join("ledger.db").into()).await.unwrap();
                assert_eq!(state(&ledger).await, before, "{point}");
            }
        }
        Place::Postgres(database) => {
            let cut = database.cut();
            let at = Arc::new(Mutex::new(""));
            let wanted = at.clone();
            // the server sees the program end there
            let passed = watch(Box::new(move |point| {
                if *wanted.lock().unwrap() == point {
                    cut().unwrap();
                }
            }));
            for point in POINTS {
                *at.lock().unwrap() = point;
                assert!(replace().await.status.is_server_error(), "{point}");
                assert_eq!(state(&server.ledger).await, before, "{point}");
            }
            *at.lock().unwrap() = "";
            passed.lock().unwrap().clear();
            replace().await.ok();
            assert_eq!(*passed.lock().unwrap(), POINTS);
        }
    }
    assert_ne!(before, state(&server.ledger).await);
}

/// What a group replace passes.
const POINTS: [&str; 5] = ["people", "groups", "groups above", "audit line", "change"];

#[tokio::test]
async fn an_answer_keeps_its_place_until_it_is_read_and_one_at_a_time_shows_all_members() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = okta.user("ann").await;
    let group = format!("/Groups/{}", okta.group("ops", &[&ann]).await);
    let all = format!("{group}?attributes=members");
    let add = json!({"Operations": [{"op": "add", "path": "members", "value": [{"value": ann}]}]});
    let put = json!({"displayName": "ops", "members": [{"value": ann}]});
    for (method, path, body) in [
        (Method::GET, &group, None),
        (Method::GET, &"/Groups".to_owned(), None),
        (Method::PATCH, &all, Some(add)),
        (Method::PUT, &group, Some(put)),
    ] {
        let request = okta.request(Method::GET, &all, Body::empty());
        let unread = server.router.clone().oneshot(request).await.unwrap();
        let mut next = Box::pin(okta.call(method.clone(), path, body));
        let waits = async |next: &mut _| timeout(Duration::from_millis(200), next).await.is_err();
        assert!(waits(&mut next).await, "{method}");
        // whoever asks for no members waits for nobody
        okta.get(&format!("{group}?excludedAttributes=members")).await.ok();
        // nor is it over when the server has handed it on
        let bytes = to_bytes(unread.into_body(), usize::MAX).await.unwrap();
        assert!(waits(&mut next).await, "{method}");
        drop(bytes);
        assert!(next.await.status.is_success(), "{method}");
    }
}

#[tokio::test]
async fn answers_that_nobody_reads_are_as_many_as_an_organization_may_have_under_way() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = format!("/Users/{}", okta.user("ann").await);
    let request = || server.router.clone().oneshot(okta.request(Method::GET, &ann, Body::empty()));
    let mut unread = Vec::new();
    while let Ok(answer) = timeout(Duration::from_millis(500), request()).await {
        assert_eq!(answer.as_ref().unwrap().status(), 200);
        unread.push(answer);
    }
    assert_eq!(unread.len(), 64);
    // others have places of their own
    server.client("globex", "okta").get("/Users").await.ok();
    unread.pop();
    assert_eq!(request().await.unwrap().status(), 200);
}

#[tokio::test]
async fn whoever_asks_too_often_or_while_the_ledger_fails_is_told_when_to_come_back() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    okta.get("/Users").await.ok();
    // counted as they begin, one right after the other, however long the answers take
    let requests = (0..2_000).map(|_| okta.post("/Nothing", json!({})));
    let answers = join_all(requests).await;
    let refused = answers.iter().find(|answer| answer.status != 404);
    let refused = refused.expect("there is a limit");
    refused.error(429);
    assert_eq!(refused.headers["retry-after"], "1");
    server.client("globex", "okta").get("/Users").await.ok();
    server.ledger.close().await;
    let failed = server.client("globex", "okta").get("/Users").await;
    failed.error(503);
    assert_eq!(failed.headers["retry-after"], "5");
}

#[tokio::test]
async fn every_route_shows_what_is_asked_for_and_not_what_is_excluded() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let user = |name: &str| json!({"userName": name, "title": "x", "nickName": "y"});
    let ann = okta.post("/Users", user("ann")).await.made();
    let members = json!([{"value": ann}]);
    let group = |name: &str| json!({"displayName": name, "externalId": "x", "members": members});
    let ops = okta.post("/Groups", group("ops")).await.made();
    let (ann, ops) = (format!("/Users/{ann}"), format!("/Groups/{ops}"));
    let patch = |value: &str| {
        json!({"Operations": [
            {"op": "replace", "path": "externalId", "value": value}
        ]})
    };
    for (method, path, body) in [
        (Method::POST, "/Users", Some(user("bob"))),
        (Method::GET, &ann, None),
        (Method::PUT, &ann, Some(user("ann"))),
        (Method::PATCH, &ann, Some(patch("y"))),
        (Method::GET, "/Users", None),
        (Method::POST, "/Groups", Some(group("dev"))),
        (Method::GET, &ops, None),
        (Method::PUT, &ops, Some(group("ops"))),
        (Method::PATCH, &ops, Some(patch("y"))),
        (Method::GET, "/Groups", None),
        (Method::POST, "/.search", Some(json!({}))),
        (Method::POST, "/Users/.search", Some(json!({}))),
        (Method::POST, "/Groups/.search", Some(json!({}))),
    ] {
        let asked = [
            (
                "attributes",
                "title,externalId",
                vec!["title", "externalId"],
                vec!["nickName", "members", "meta", "userName", "displayName"],
            ),
            ("excludedAttributes", "title,members,id", vec!["meta"], vec!["title", "members"]),
        ];
        for (n, (parameter, names, may, never)) in asked.into_iter().enumerate() {
            let search = path.ends_with(".search");
            let mut body = body.clone();
            if let Some(name) = body.as_mut().and_then(|body| body.get_mut("userName"))
                && path == "/Users"
            {
                *name = format!("bob{n}").into();
            }
            let answer = if search {
                okta.post(path, json!({parameter: names.split(',').collect::<Vec<_>>()})).await
            } else {
                let path = format!("{path}?{parameter}={names}");
                okta.call(method.clone(), &path, body).await
            };
            let told = format!("{method} {path}?{parameter}={names}: {}", answer.body);
            if method == Method::PATCH && path == ops && parameter != "attributes" {
                assert_eq!(answer.status, 204, "{told}");
                continue;
            }
            assert!(answer.status.is_success(), "{told}");
            let all = match answer.body.get("Resources") {
                Some(resources) => resources.as_array().unwrap().clone(),
                None => vec![answer.body],
            };
            assert!(!all.is_empty(), "{told}");
            for one in all {
                let has = |name: &&str| one.get(*name).is_some();
                assert!(["id", "schemas"].iter().all(has) && may.iter().any(has), "{told}");
                assert!(!never.iter().any(has), "{told}");
            }
        }
    }
}
