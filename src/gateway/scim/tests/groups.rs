use super::*;
use crate::ledger::Selector;

#[tokio::test]
async fn a_group_is_made_read_changed_and_deleted() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let (ann, bob) = (okta.user("ann").await, okta.user("bob").await);
    let made = okta
        .post(
            "/Groups",
            json!({"displayName": "Ops", "externalId": "g1", "members": [
                {"value": ann, "display": "Ann"}, {"value": ann}]}),
        )
        .await;
    let path = format!("/Groups/{}", made.body["id"].as_str().unwrap());
    assert_eq!(made.status, 201);
    assert_eq!(
        made.body["members"],
        json!([{
            "value": ann,
            "$ref": format!("https://gateway.example/scim/v2/acme/okta/Users/{ann}"),
            "type": "User",
        }])
    );
    assert_eq!(okta.get(&path).await.ok(), made.body);
    assert_eq!(okta.get(&format!("/Users/{ann}")).await.ok()["groups"][0]["display"], "Ops");

    let replaced = okta.put(&path, json!({"displayName": "Dev", "members": [{"value": bob}]}));
    let replaced = replaced.await.ok();
    assert_eq!(replaced["members"][0]["value"], bob.as_str());
    assert_eq!(okta.get(&path).await.ok(), replaced);
    assert!(replaced.get("externalId").is_none());

    let patched = okta
        .patch(
            &path,
            json!([
                {"op": "Add", "path": "members", "value": [{"value": ann}]},
                {"op": "replace", "value": {"displayName": "Devs", "id": "ignored"}},
            ]),
        )
        .await;
    assert_eq!((patched.status, patched.body), (StatusCode::NO_CONTENT, Value::Null));
    let removed = json!([{"op": "remove", "path": format!("members[value eq \"{bob}\"]")}]);
    let seen = okta.patch(&format!("{path}?attributes=displayName,members"), removed).await.ok();
    assert_eq!(
        (&seen["displayName"], seen["members"].as_array().unwrap().len()),
        (&json!("Devs"), 1)
    );

    assert_eq!(okta.delete(&path).await.status, 204);
    okta.get(&path).await.error(404);
    okta.delete(&path).await.error(404);
    assert!(okta.get(&format!("/Users/{ann}")).await.ok().get("groups").is_none());
}

#[tokio::test]
async fn groups_are_found_by_what_names_them() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = okta.user("ann").await;
    let ops = okta.group("Ops", &[&ann]).await;
    okta.group("Ops", &[]).await;
    okta.post("/Groups", json!({"displayName": "Dev", "externalId": "g2"})).await.made();
    for (filter, found) in [
        (r#"displayName eq "ops""#.to_owned(), 2),
        (r#"externalId eq "g2""#.to_owned(), 1),
        (format!(r#"id eq "{ops}""#), 1),
        (r#"id eq """#.to_owned(), 0),
    ] {
        let query: String = url::form_urlencoded::byte_serialize(filter.as_bytes()).collect();
        let page = okta.get(&format!("/Groups?filter={query}")).await.ok();
        assert_eq!(page["totalResults"], found, "{filter}");
    }
    let page = okta.get("/Groups?excludedAttributes=members&startIndex=2&count=5").await.ok();
    let groups = page["Resources"].as_array().unwrap();
    assert_eq!((&page["totalResults"], groups.len()), (&json!(3), 2));
    assert!(groups.iter().all(|group| group.get("members").is_none()));
    let refused = okta.get("/Groups?filter=members.display%20eq%20%22x%22").await;
    assert_eq!(refused.error(400).0, "invalidFilter");
}

#[tokio::test]
async fn members_are_replaced_when_a_client_says_replace() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let (ann, bob, eve) = (okta.user("a").await, okta.user("b").await, okta.user("e").await);
    let group = okta.group("ops", &[&ann, &bob]).await;
    let path = format!("/Groups/{group}");
    let replace =
        json!([{"op": "replace", "path": "members", "value": [{"value": bob}, {"value": eve}]}]);
    assert_eq!(okta.patch(&path, replace).await.status, 204);
    assert_eq!(okta.members(&group).await, [bob.clone(), eve.clone()]);
    let remove = json!([{"op": "remove", "path": "members", "value": [{"value": bob}]}]);
    assert_eq!(okta.patch(&path, remove).await.status, 204);
    assert_eq!(okta.members(&group).await, [eve]);
    okta.put(&path, json!({"displayName": "ops"})).await.ok();
    assert_eq!(okta.members(&group).await, [""; 0]);
}

#[tokio::test]
async fn a_member_must_be_a_user_of_the_directory() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = okta.user("ann").await;
    let group = okta.group("ops", &[&ann]).await;
    let elsewhere = server.client("acme", "entra").user("ann").await;
    let nobody = Uuid::now_v7().to_string();
    for id in [&elsewhere, &nobody, "Ann", "", &ann.to_uppercase().replace('-', "")] {
        let members = json!([{"value": ann}, {"value": id}]);
        let add = json!([{"op": "add", "path": "members", "value": members}]);
        for answer in [
            okta.post("/Groups", json!({"displayName": "x", "members": members})).await,
            okta.put(&format!("/Groups/{group}"), json!({"displayName": "x", "members": members}))
                .await,
            okta.patch(&format!("/Groups/{group}"), add).await,
        ] {
            let (keyword, detail) = answer.error(400);
            assert_eq!(keyword, "invalidValue");
            assert!(detail.ends_with(id) && !detail.contains(&ann), "{detail}");
        }
    }
    let many: Vec<_> = (0..5_000).map(|_| json!({"value": Uuid::now_v7()})).collect();
    let answer = okta.post("/Groups", json!({"displayName": "x", "members": many})).await;
    let (_, detail) = answer.error(400);
    assert!(detail.ends_with("and 4990 more") && detail.len() < 600, "{detail}");
    assert_eq!(okta.get("/Groups?count=0").await.ok()["totalResults"], 1);
    // nobody came, and whom the refused PUT left out has left
    assert_eq!(okta.members(&group).await, [ann]);
}

#[tokio::test]
async fn somebody_unknown_who_shall_come_keeps_nobody_in() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let (ann, bob, eve) = (okta.user("a").await, okta.user("b").await, okta.user("e").await);
    let path = format!("/Groups/{}", okta.group("ops", &[&ann, &bob]).await);
    let group = path.rsplit_once('/').unwrap().1;
    let nobody = Uuid::now_v7().to_string();
    let operations = json!([
        {"op": "add", "path": "members", "value": [{"value": nobody}, {"value": eve}]},
        {"op": "remove", "path": format!("members[value eq \"{ann}\"]")},
        {"op": "replace", "path": "displayName", "value": "Dev"},
    ]);
    assert!(okta.patch(&path, operations).await.error(400).1.ends_with(&nobody));
    let stay = okta.members(group).await;
    assert_eq!(stay, std::slice::from_ref(&bob), "ann left, and eve did not come");
    let members = json!([{"value": eve}, {"value": nobody}]);
    let put = okta.put(&path, json!({"displayName": "Dev", "members": members})).await;
    let (_, detail) = put.error(400);
    assert!(detail.starts_with("1 left the group") && detail.ends_with(&nobody), "{detail}");
    let left = okta.get(&path).await.ok();
    assert_eq!((left.get("members"), &left["displayName"]), (None, &json!("ops")));
}

#[tokio::test]
async fn whoever_names_nobody_that_we_know_empties_no_group() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let (ann, bob) = (okta.user("a").await, okta.user("b").await);
    let elsewhere = server.client("globex", "okta").user("a").await;
    let (one, two) = (Uuid::now_v7().to_string(), Uuid::now_v7().to_string());
    for ids in [vec![&*one, &*two], vec!["Ann"], vec![&*elsewhere, "Bob"]] {
        let members: Vec<_> = ids.iter().map(|id| json!({"value": id})).collect();
        let group = okta.group("ops", &[&ann, &bob]).await;
        let path = format!("/Groups/{group}");
        let put = json!({"displayName": "ops", "members": members});
        let replace = json!([{"op": "replace", "path": "members", "value": members}]);
        let by_hand = json!([{"op": "remove", "path": "members"},
            {"op": "add", "path": "members", "value": members}]);
        let before = server.changes().await;
        for refused in [
            okta.put(&path, put).await,
            okta.patch(&path, replace.clone()).await,
            okta.patch(&path, by_hand).await,
        ] {
            let (keyword, detail) = refused.error(400);
            assert_eq!(keyword, "invalidValue");
            assert!(detail.starts_with("members: nobody of this directory: "), "{detail}");
        }
        assert_eq!(okta.members(&group).await.len(), 2, "{ids:?}");
        assert_eq!(server.changes().await, before);
        // whoever is named to leave does, and is told of
        let mut operations = replace.as_array().unwrap().clone();
        let leave = format!("members[value eq \"{ann}\"]");
        operations.push(json!({"op": "remove", "path": leave}));
        let refused = okta.patch(&path, operations.into()).await;
        let (_, detail) = refused.error(400);
        let told = "1 left the group, nothing else was done: members: nobody of this directory";
        assert!(detail.starts_with(told), "{detail}");
        assert_eq!(okta.members(&group).await, std::slice::from_ref(&bob));
    }
}

#[tokio::test]
async fn whoever_is_removed_leaves_even_if_the_rest_of_the_request_is_refused() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let (ann, bob, eve) = (okta.user("a").await, okta.user("b").await, okta.user("e").await);
    for (rest, keyword) in [
        (json!({"op": "replace", "path": "displayName", "value": ""}), "invalidValue"),
        (json!({"op": "replace", "path": "externalId", "value": 7}), "invalidValue"),
        (json!({"op": "add", "path": "x", "value": "y".repeat(70_000)}), "invalidValue"),
        (json!({"op": "add", "path": "id", "value": "x"}), "mutability"),
        (json!({"op": "add", "path": "a b", "value": "x"}), "invalidPath"),
        (json!({"op": "add", "path": "members[x eq 1]", "value": "x"}), "mutability"),
        (json!({"op": "move", "path": "members"}), "invalidSyntax"),
    ] {
        let group = okta.group("ops", &[&ann, &bob]).await;
        let path = format!("/Groups/{group}");
        let operations = json!([
            {"op": "remove", "path": format!("members[value eq \"{ann}\"]")},
            rest,
            {"op": "add", "path": "members", "value": [{"value": eve}]},
        ]);
        assert_eq!(okta.patch(&path, operations).await.error(400).0, keyword, "{rest}");
        assert_eq!(okta.members(&group).await, std::slice::from_ref(&bob), "{rest}");
        assert_eq!(okta.get(&path).await.ok()["displayName"], "ops");
    }
    for (body, query) in [
        (json!({"displayName": "", "members": [{"value": bob}]}), ""),
        (json!({"displayName": "ops", "schemas": ["y"], "members": [{"value": bob}]}), ""),
        (json!({"displayName": "ops\0", "members": [{"value": bob}, {"value": eve}]}), ""),
        (json!({"displayName": "ops", "members": [{"value": bob}]}), "?count=ten"),
    ] {
        let group = okta.group("ops", &[&ann, &bob]).await;
        okta.put(&format!("/Groups/{group}{query}"), body.clone()).await.error(400);
        assert_eq!(okta.members(&group).await, std::slice::from_ref(&bob), "{body}");
        let nothing = json!({"displayName": "", "externalId": "x"});
        okta.put(&format!("/Groups/{group}"), nothing).await.error(400);
        assert_eq!(okta.members(&group).await, std::slice::from_ref(&bob), "nobody was named");
    }
}

#[tokio::test]
async fn a_refused_request_that_empties_a_group_and_fills_it_again_takes_nobody_out() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let (ann, bob) = (okta.user("a").await, okta.user("b").await);
    let all = json!({"op": "remove", "path": "members"});
    for comes in [
        json!({"op": "add", "path": "members", "value": [{"value": ann}, {}]}),
        json!({"op": "add", "value": {"members": [{"value": ann}], "Members": []}}),
        json!({"op": "put", "path": "members", "value": [{"value": ann}]}),
    ] {
        let group = okta.group("ops", &[&ann, &bob]).await;
        okta.patch(&format!("/Groups/{group}"), json!([all, comes])).await.error(400);
        assert_eq!(okta.members(&group).await.len(), 2, "{comes}");
    }
    let group = okta.group("ops", &[&ann, &bob]).await;
    let rest = json!({"op": "replace", "path": "displayName", "value": ""});
    okta.patch(&format!("/Groups/{group}"), json!([all, rest])).await.error(400);
    assert!(okta.members(&group).await.is_empty(), "that nobody stays was said");
}

#[tokio::test]
async fn a_group_is_shown_as_it_was_made() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let (ann, inner) = (okta.user("a").await, okta.group("inner", &[]).await);
    let members = json!([{"value": ann}, {"value": inner}, {"value": ann}]);
    let made = okta.post("/Groups", json!({"displayName": "ops", "members": members})).await;
    let path = format!("/Groups/{}", made.body["id"].as_str().unwrap());
    assert_eq!((made.status, &made.body), (StatusCode::CREATED, &okta.get(&path).await.body));
    assert_eq!(made.body["members"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_patch_made_twice_is_made_once() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let (ann, bob) = (okta.user("ann").await, okta.user("bob").await);
    let path = format!("/Groups/{}", okta.group("ops", &[&bob]).await);
    let operations = json!([
        {"op": "add", "path": "members", "value": [{"value": ann}]},
        {"op": "remove", "path": format!("members[value eq \"{bob}\"]")},
        {"op": "replace", "path": "displayName", "value": "Ops"},
    ]);
    assert_eq!(okta.patch(&path, operations.clone()).await.status, 204);
    let (before, group) = (server.changes().await, okta.get(&path).await.ok());
    assert_eq!(okta.patch(&path, operations).await.status, 204);
    okta.put(&path, group.clone()).await.ok();
    assert_eq!(server.changes().await, before);
    assert_eq!(okta.get(&path).await.ok(), group);
}

#[tokio::test]
async fn patches_of_one_group_at_the_same_time_lose_nothing() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let mut people = Vec::new();
    for i in 0..40 {
        people.push(okta.user(&format!("user{i}")).await);
    }
    people.sort();
    let path = format!("/Groups/{}", okta.group("ops", &[&people[0]]).await);
    let patches = people.iter().enumerate().map(|(i, id)| {
        let mut operations =
            vec![json!({"op": "add", "path": "members", "value": [{"value": id}]})];
        if i % 2 == 0 {
            operations.push(json!({"op": "add", "path": format!("tag{i}"), "value": i}));
        }
        okta.patch(&path, Value::Array(operations))
    });
    for patched in futures::future::join_all(patches).await {
        assert_eq!(patched.status, 204, "{}", patched.body);
    }
    let group = okta.get(&path).await.ok();
    let mut members: Vec<_> =
        group["members"].as_array().unwrap().iter().map(|m| m["value"].as_str().unwrap()).collect();
    members.sort_unstable();
    assert_eq!(members, people);
    assert!((0..40).step_by(2).all(|i| group[format!("tag{i}")] == i));
}

#[tokio::test]
async fn whoever_is_deactivated_or_leaves_is_in_no_team() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = okta.user("ann").await;
    let group = okta.group("ops", &[&ann]).await;
    let directory = server.ledger.directory("id-acme", "okta").await.unwrap().unwrap().id;
    let selector = Selector::DisplayName("ops".into());
    server.ledger.put_team("id-acme", "ops", directory, &selector, true).await.unwrap();
    let teams = async || server.ledger.teams_of_person(ann.parse().unwrap()).await.unwrap();
    assert_eq!(teams().await, ["acme:ops"]);

    let active = |value: Value| json!([{"op": "replace", "value": {"active": value}}]);
    let path = format!("/Users/{ann}");
    okta.patch(&path, active(json!("False"))).await.ok();
    assert_eq!(teams().await, [""; 0]);
    okta.patch(&path, active(json!(true))).await.ok();
    assert_eq!(teams().await, ["acme:ops"]);

    let leave = json!([{"op": "remove", "path": format!("members[value eq \"{ann}\"]")}]);
    okta.patch(&format!("/Groups/{group}"), leave).await;
    assert_eq!(teams().await, [""; 0]);
    let join = json!([{"op": "add", "path": "members", "value": {"value": ann}}]);
    okta.patch(&format!("/Groups/{group}"), join).await;
    assert_eq!(teams().await, ["acme:ops"]);

    assert_eq!(okta.delete(&path).await.status, 204);
    assert_eq!(teams().await, [""; 0]);
    assert_eq!(okta.members(&group).await, [""; 0]);
}
