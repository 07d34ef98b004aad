use super::*;

#[tokio::test]
async fn a_user_is_made_read_changed_and_deleted() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let made = okta
        .post(
            "/Users",
            json!({
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
                "id": "mine", "meta": {"version": "x"}, "groups": [{"value": "admins"}],
                "password": "secret",
                "userName": "Ann@Acme.com", "externalId": "00u1",
                "name": {"givenName": "Ann"},
                "emails": [{"value": "ann@home.example"}, {"value": "Ann@Acme.com", "primary": true}],
                "shoeSize": 38,
                "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "R&D"},
            }),
        )
        .await;
    assert_eq!(made.status, 201);
    let id = made.body["id"].as_str().unwrap();
    let location = format!("https://gateway.example/scim/v2/acme/okta/Users/{id}");
    assert_eq!(made.headers["location"], location);
    assert_eq!(made.body["meta"]["location"], location);
    assert_eq!(made.body["meta"]["resourceType"], "User");
    assert_eq!(made.body["meta"]["version"], made.headers["etag"].to_str().unwrap());
    assert_eq!(made.body["active"], true);
    assert_eq!(made.body["shoeSize"], 38);
    assert_eq!(made.body["schemas"].as_array().unwrap().len(), 2);
    assert!(made.body.get("groups").is_none());
    assert!(made.body.get("password").is_none());

    let path = format!("/Users/{id}");
    assert_eq!(okta.get(&path).await.ok(), made.body);
    let person = server.ledger.people("acme", "ann@acme.com").await.unwrap().remove(0);
    assert_eq!(person.email.as_deref(), Some("ann@acme.com"));
    assert_eq!(person.user_name, "Ann@Acme.com");

    let replaced = okta.put(&path, json!({"userName": "ann", "active": "False"})).await.ok();
    assert_eq!(replaced["active"], false);
    assert!(replaced.get("name").is_none());
    assert_eq!(replaced["meta"]["created"], made.body["meta"]["created"]);

    let patched = okta
        .patch(
            &path,
            json!([
                {"op": "Replace", "path": "active", "value": "True"},
                {"op": "add", "path": "name.familyName", "value": "Arden"},
            ]),
        )
        .await
        .ok();
    assert_eq!(
        (&patched["active"], &patched["name"]["familyName"]),
        (&json!(true), &json!("Arden"))
    );
    assert_eq!(okta.get(&path).await.ok(), patched);

    assert_eq!(okta.delete(&path).await.status, 204);
    okta.get(&path).await.error(404);
    okta.delete(&path).await.error(404);
    okta.patch(&path, json!([{"op": "add", "path": "title", "value": "x"}])).await.error(404);
    okta.put(&path, json!({"userName": "x"})).await.error(404);
}

#[tokio::test]
async fn a_user_name_is_there_once_whatever_its_case() {
    let server = Server::start().await;
    let (okta, entra) = (server.client("acme", "okta"), server.client("acme", "entra"));
    okta.user("Ann").await;
    let bob = okta.user("bob").await;
    assert_eq!(okta.post("/Users", json!({"userName": "aNN"})).await.error(409).0, "uniqueness");
    let rename = json!([{"op": "replace", "path": "userName", "value": "ANN"}]);
    assert_eq!(okta.patch(&format!("/Users/{bob}"), rename).await.error(409).0, "uniqueness");
    let taken = okta.put(&format!("/Users/{bob}"), json!({"userName": "ANN"})).await;
    assert_eq!(taken.error(409).0, "uniqueness");
    assert_eq!(okta.get(&format!("/Users/{bob}")).await.ok()["userName"], "bob");
    entra.user("ann").await;
}

#[tokio::test]
async fn users_are_found_by_what_names_them() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = okta
        .post(
            "/Users",
            json!({"userName": "Ann", "externalId": "X1",
                "emails": [{"value": "ann@acme.com", "primary": true}, {"value": "A2@acme.com"}]}),
        )
        .await
        .made();
    okta.post("/Users", json!({"userName": "bob", "active": false})).await.made();
    server.client("globex", "okta").user("ann").await;
    for (filter, found) in [
        (r#"userName eq "ANN""#, 1),
        (r#"USERNAME Eq "ann""#, 1),
        (r#"externalId eq "X1""#, 1),
        (r#"externalId eq "x1""#, 0),
        (&format!(r#"id eq "{ann}""#), 1),
        (r#"id eq "x""#, 0),
        (r#"emails eq "ANN@acme.com""#, 1),
        (r#"emails.value eq "a2@acme.com""#, 1),
        (r#"emails.value eq "a3@acme.com""#, 0),
        ("active eq true", 1),
        ("active eq false", 1),
        (r#"userName eq "x' OR 1=1 --""#, 0),
        (r#"userName eq "%""#, 0),
    ] {
        let query: String = url::form_urlencoded::byte_serialize(filter.as_bytes()).collect();
        let page = okta.get(&format!("/Users?filter={query}")).await.ok();
        assert_eq!(page["totalResults"], found, "{filter}");
        assert_eq!(page["Resources"].as_array().unwrap().len(), found, "{filter}");
    }
    let refused = okta.get("/Users?filter=password%20eq%20%22x%22").await;
    assert_eq!(refused.error(400).0, "invalidFilter");
}

#[tokio::test]
async fn pages_cover_a_list_once_each() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    for i in 0..5 {
        okta.user(&format!("user{i}")).await;
    }
    let mut seen = Vec::new();
    for start in [1, 3, 5, 7] {
        let page = okta.get(&format!("/Users?startIndex={start}&count=2")).await.ok();
        assert_eq!((&page["totalResults"], &page["startIndex"]), (&json!(5), &json!(start)));
        let users = page["Resources"].as_array().unwrap();
        assert_eq!(page["itemsPerPage"], users.len());
        seen.extend(users.iter().map(|user| user["userName"].as_str().unwrap().to_owned()));
    }
    assert_eq!(seen, ["user0", "user1", "user2", "user3", "user4"]);
    let page = okta.get("/Users?count=0").await.ok();
    assert_eq!((&page["totalResults"], &page["Resources"]), (&json!(5), &json!([])));
    assert_eq!(okta.get("/Users?count=x").await.error(400).0, "invalidValue");
}

#[tokio::test]
async fn a_client_sees_the_attributes_it_asks_for() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = okta.user("ann").await;
    okta.group("ops", &[&ann]).await;
    let user = okta.get(&format!("/Users/{ann}")).await.ok();
    assert_eq!(user["groups"][0]["display"], "ops");
    let user = okta.get(&format!("/Users/{ann}?excludedAttributes=groups,meta")).await.ok();
    assert!(user.get("groups").is_none() && user.get("meta").is_none());
    let page = okta.get("/Users?attributes=groups.display").await.ok();
    assert_eq!(page["Resources"][0]["groups"], json!([{"display": "ops"}]));
    assert!(page["Resources"][0].get("userName").is_none());
}

#[tokio::test]
async fn what_changes_nothing_writes_nothing() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = format!("/Users/{}", okta.user("ann").await);
    let operations = json!([
        {"op": "add", "path": "emails", "value": [{"value": "a@b", "Primary": "True"}]},
        {"op": "replace", "path": "active", "value": "true"},
        {"op": "remove", "path": "title"},
    ]);
    okta.patch(&ann, operations.clone()).await.ok();
    let (before, user) = (server.changes().await, okta.get(&ann).await.ok());
    assert_eq!(okta.patch(&ann, operations).await.ok(), user);
    okta.put(&ann, user.clone()).await.ok();
    okta.put(&ann, json!({"userName": "ann", "emails": user["emails"]})).await.ok();
    assert_eq!(server.changes().await, before);
    assert_eq!(okta.get(&ann).await.ok(), user);
}

#[tokio::test]
async fn a_put_that_does_not_speak_of_active_brings_nobody_back() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = format!("/Users/{}", okta.user("ann").await);
    okta.put(&ann, json!({"userName": "ann", "active": false})).await.ok();
    assert_eq!(
        okta.put(&ann, json!({"userName": "ann", "title": "x"})).await.ok()["active"],
        false
    );
}

#[tokio::test]
async fn nobody_is_active_of_whom_that_was_taken_away() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = format!("/Users/{}", okta.user("ann").await);
    let active = async || server.ledger.people("acme", "ann").await.unwrap()[0].active;
    assert!(active().await);
    let removed = okta.patch(&ann, json!([{"op": "remove", "path": "active"}])).await.ok();
    assert!(removed.get("active").is_none() && !active().await);
    okta.patch(&ann, json!([{"op": "add", "path": "title", "value": "x"}])).await.ok();
    assert!(!active().await);
    okta.put(&ann, json!({"userName": "ann"})).await.ok();
    assert!(!active().await);
    okta.patch(&ann, json!([{"op": "add", "path": "active", "value": true}])).await.ok();
    assert!(active().await);
}

#[tokio::test]
async fn a_failed_operation_undoes_the_ones_before_it() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = format!("/Users/{}", okta.user("ann").await);
    let before = okta.get(&ann).await.ok();
    for (operation, keyword) in [
        (json!({"op": "replace", "path": "userName", "value": ""}), "invalidValue"),
        (json!({"op": "remove", "path": "userName"}), "invalidValue"),
        (
            json!({"op": "replace", "path": "emails[value eq \"a@b\"].value", "value": "x"}),
            "noTarget",
        ),
        (json!({"op": "replace", "path": "id", "value": "x"}), "mutability"),
        (json!({"op": "replace", "path": "a b", "value": "x"}), "invalidPath"),
        (json!({"op": "remove"}), "noTarget"),
        (json!({"op": "move", "path": "title"}), "invalidSyntax"),
    ] {
        let title = json!({"op": "add", "path": "title", "value": "x"});
        let answer = okta.patch(&ann, json!([title, operation])).await;
        assert_eq!(answer.error(400).0, keyword, "{operation}");
    }
    assert_eq!(okta.get(&ann).await.ok(), before);
}

#[tokio::test]
async fn patches_at_the_same_time_lose_nothing() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = format!("/Users/{}", okta.user("ann").await);
    let patches = (0..20).map(|i| {
        let value = json!([{"value": format!("{i}@acme.com")}]);
        okta.patch(&ann, json!([{"op": "add", "path": "emails", "value": value}]))
    });
    for patched in futures::future::join_all(patches).await {
        patched.ok();
    }
    assert_eq!(okta.get(&ann).await.ok()["emails"].as_array().unwrap().len(), 20);
}

#[tokio::test]
async fn a_deactivation_is_carried_out_in_whatever_way_active_is_named() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = format!("/Users/{}", okta.user("ann").await);
    let core = "urn:ietf:params:scim:schemas:core:2.0:User";
    for (operation, status) in [
        (json!({"op": "replace", "value": {core: {"active": false}}}), 400),
        (json!({"op": "replace", "path": core, "value": {"active": false}}), 400),
        (json!({"op": "replace", "path": format!("{core}:active"), "value": false}), 200),
    ] {
        okta.put(&ann, json!({"userName": "ann", "active": true})).await.ok();
        assert_eq!(okta.patch(&ann, json!([operation])).await.status, status);
        assert_eq!(okta.get(&ann).await.ok()["active"], false, "{operation}");
    }
}
