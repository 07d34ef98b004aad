use super::*;

#[tokio::test]
async fn nonsense_is_refused_and_leaves_nothing() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = okta.user("ann").await;
    let group = okta.group("ops", &[&ann]).await;
    let before = server.changes().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_object = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    let (user, group) = (format!("/Users/{ann}"), format!("/Groups/{group}"));
    for body in [
        "",
        " ",
        "null",
        "[]",
        "1",
        "\"x\"",
        "{",
        "{}",
        "not JSON",
        "{\"userName\": \"x\", \"displayName\": \"x\"",
        &deep,
        &deep_object,
        &format!(r#"{{"userName": "x", "displayName": "x", "x": {deep}}}"#),
        r#"{"userName": 1, "displayName": 1}"#,
        r#"{"userName": null, "displayName": null}"#,
        r#"{"userName": "x", "displayName": "x", "x": {"y": [12345678901234567890123]}}"#,
        r#"{"userName": "", "displayName": ""}"#,
        r#"{"userName": "  ", "displayName": "  "}"#,
        r#"{"userName": ["x"], "displayName": ["x"]}"#,
        r#"{"userName": {"x": 1}, "displayName": {"x": 1}}"#,
        r#"{"userName": "x\u0000", "displayName": "x\u0000"}"#,
        r#"{"userName": "x", "displayName": "x", "externalId": ""}"#,
        r#"{"userName": "x", "displayName": "x", "externalId": 7}"#,
        r#"{"userName": "x", "displayName": "x", "schemas": "y"}"#,
        r#"{"userName": "x", "displayName": "x", "schemas": ["y"]}"#,
        r#"{"userName": "x", "displayName": "x", "DisplayName": "y"}"#,
        r#"{"userName": "x", "displayName": "x", "active": "maybe", "members": "x"}"#,
        r#"{"userName": "x", "displayName": "x", "active": 1, "members": ["x"]}"#,
        r#"{"userName": "x", "displayName": "x", "emails": {"value": "x"}, "members": [{"value": 1}]}"#,
        &json!({"userName": "x".repeat(257), "displayName": "x".repeat(257)}).to_string(),
        "{\"userName\": \"x\", \"displayName\": \"x\"}\0",
    ] {
        let shown = &body[..body.len().min(60)];
        for (method, path) in [
            (Method::POST, "/Users"),
            (Method::POST, "/Groups"),
            (Method::PUT, &user),
            (Method::PUT, &group),
            (Method::PATCH, &user),
            (Method::PATCH, &group),
        ] {
            let body = Body::from(body.to_owned());
            let answer = okta.raw(method, path, "application/json", body).await;
            let (keyword, _) = answer.error(400);
            assert!(["invalidSyntax", "invalidValue"].contains(&keyword), "{path}: {shown}");
        }
    }
    assert_eq!(server.changes().await, before);
}

#[tokio::test]
async fn nonsense_operations_are_refused() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = okta.user("ann").await;
    let group = okta.group("ops", &[&ann]).await;
    let before = server.changes().await;
    let add = json!({"op": "add", "path": "title", "value": "x"});
    for operations in [
        json!(null),
        json!([]),
        json!({}),
        json!("add"),
        json!([1]),
        json!([[]]),
        json!([{}]),
        json!([{"op": 1}]),
        json!([{"op": "add"}]),
        json!([{"op": "add", "value": "x"}]),
        json!([{"op": "add", "path": 1, "value": "x"}]),
        json!([{"op": "add", "path": "", "value": "x"}]),
        json!([{"op": "add", "path": "a.b.c", "value": "x"}]),
        json!([{"op": "add", "path": "meta.created", "value": "x"}]),
        json!([{"op": "add", "path": "x[y", "value": "x"}]),
        json!([{"op": "add", "path": "x".repeat(100_000), "value": "x"}]),
        json!([{"op": "add", "path": format!("emails[{}value pr{}]", "(".repeat(200), ")".repeat(200)), "value": {}}]),
        json!([{"op": "replace", "path": "schemas", "value": ["x"]}]),
        json!([{"op": "replace", "path": "schemas.x", "value": "x"}]),
        json!([{"op": "add", "path": "title", "value": "\0"}]),
        // JSON in JSON
        json!([{"op": "add", "path": r#"emails[value eq "\u0000"]"#, "value": {"type": "work"}}]),
        json!([{"op": "replace", "path": r#"emails[type eq "\u0000"].value"#, "value": "a@acme.com"}]),
        json!([{"op": "add", "value": {r#"emails[type eq "\u0000"].value"#: "a@acme.com"}}]),
        json!([{"op": "add", "path": "x", "value": vec![1; 1_001]}]),
        Value::Array(vec![add; 1_001]),
    ] {
        for path in [format!("/Users/{ann}"), format!("/Groups/{group}")] {
            let answer = okta.patch(&path, operations.clone()).await;
            let shown: String = operations.to_string().chars().take(80).collect();
            assert_eq!(answer.status, 400, "{path}: {shown} {}", answer.body);
        }
    }
    assert_eq!(server.changes().await, before);
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let body = |x: usize| json!({"userName": "x", "displayName": "x", "x": "y".repeat(x)});
    for path in ["/Users", "/Groups"] {
        assert_eq!(okta.post(path, body(100 << 10)).await.error(400).0, "invalidValue");
        okta.post(path, body(2 << 20)).await.error(413);
    }
    let id = Uuid::now_v7().to_string();
    let members = vec![json!({"value": id, "display": "x".repeat(1_000)}); 17_000];
    okta.post("/Groups", json!({"displayName": "x", "members": members})).await.error(413);
}

#[tokio::test]
async fn what_people_are_found_by_is_not_boundless() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let long = |n: usize| "\u{10ffff}".repeat(n);
    let all = |n: usize| {
        let emails = json!([{"value": long(n), "primary": true}, {"value": "a@acme.example"}]);
        json!({"userName": long(n), "externalId": long(n), "emails": emails})
    };
    let path = format!("/Users/{}", okta.post("/Users", all(256)).await.made());
    for attribute in ["userName", "externalId", "emails"] {
        let value = &all(257)[attribute];
        let replace = json!([{"op": "replace", "path": attribute, "value": value}]);
        let refused = okta.patch(&path, replace).await;
        assert_eq!(refused.error(400).0, "invalidValue", "{attribute}");
        assert!(refused.error(400).1.contains(attribute), "{attribute}");
    }
}

#[tokio::test]
async fn a_body_whose_length_is_not_said_is_bounded_as_it_comes() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = okta.user("ann").await;
    let streamed = |body: Value| {
        let chunks: Vec<_> = body.to_string().into_bytes().chunks(1 << 14).map(Vec::from).collect();
        Body::from_stream(futures::stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>)))
    };
    let members = vec![json!({"value": ann}); 10_000];
    let long = "x".repeat(200_000);
    for (path, body, status) in [
        ("/Users", json!({"userName": "bob"}), 201),
        ("/Users", json!({"userName": "eve", "title": long}), 413),
        ("/Groups", json!({"displayName": "ops", "members": members}), 201),
        ("/Groups", json!({"displayName": "dev", "x": "y".repeat(17 << 20)}), 413),
    ] {
        let answer = okta.raw(Method::POST, path, "application/json", streamed(body)).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_value_that_nests_too_deep_to_be_read_again_is_refused() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let nested = |depth: usize| {
        serde_json::from_str::<Value>(&format!("{}1{}", "[".repeat(depth), "]".repeat(depth)))
            .unwrap()
    };
    let ann = format!("/Users/{}", okta.user("ann").await);
    for (depth, status) in [(16, 200), (17, 400), (120, 400)] {
        let add = json!([{"op": "add", "path": "x", "value": nested(depth)}]);
        assert_eq!(okta.patch(&ann, add).await.status, status, "{depth}");
    }
    okta.get(&ann).await.ok();
}

#[tokio::test]
async fn a_few_operations_make_no_boundless_work() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = format!("/Users/{}", okta.user("ann").await);
    let emails: Vec<_> = (0..1_000).map(|i| json!({"value": i.to_string()})).collect();
    okta.patch(&ann, json!([{"op": "add", "path": "emails", "value": emails}])).await.ok();
    // a value put into a thousand elements at once, and a thousand looks at each of them
    let many = json!([{"op": "add", "path": "emails[value pr].x", "value": "y".repeat(100_000)}]);
    let again =
        json!({"op": "replace", "path": "emails[value co \"z\" or value co \"y\"].x", "value": 1});
    let remove = json!({"op": "remove", "path": "emails[value co \"z\" or value co \"y\"]"});
    for operations in [many, json!(vec![again; 1_000]), json!(vec![remove; 1_000])] {
        let begun = std::time::Instant::now();
        assert_eq!(okta.patch(&ann, operations).await.status, 400);
        assert!(begun.elapsed() < std::time::Duration::from_secs(10));
    }
}

#[tokio::test]
async fn a_resource_does_not_grow_beyond_its_bounds_by_patches() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = format!("/Users/{}", okta.user("ann").await);
    let add = |path: &str| json!([{"op": "add", "path": path, "value": "y".repeat(40_000)}]);
    okta.patch(&ann, add("title")).await.ok();
    assert_eq!(okta.patch(&ann, add("nickName")).await.error(400).0, "invalidValue");
    let emails = |from: usize| {
        let values: Vec<_> = (from..from + 600).map(|i| json!({"value": i.to_string()})).collect();
        json!([{"op": "add", "path": "emails", "value": values}])
    };
    okta.patch(&ann, json!([{"op": "remove", "path": "title"}])).await.ok();
    okta.patch(&ann, emails(0)).await.ok();
    okta.patch(&ann, emails(0)).await.ok();
    assert_eq!(okta.patch(&ann, emails(600)).await.error(400).0, "invalidValue");
}

#[tokio::test]
async fn both_media_types_are_taken_and_no_other() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    for (i, (media_type, status)) in [
        ("application/scim+json", 201),
        ("application/scim+json; charset=utf-8", 201),
        ("Application/JSON", 201),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 415),
    ]
    .into_iter()
    .enumerate()
    {
        let body = json!({"userName": format!("user{i}")}).to_string().into();
        let answer = okta.raw(Method::POST, "/Users", media_type, body).await;
        assert_eq!(answer.status, status, "{media_type}");
    }
}

#[tokio::test]
async fn unknown_paths_and_ids_are_not_found() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    for path in [
        "",
        "/",
        "/users",
        "/Users/",
        "/Users/x",
        "/Users/1/2",
        "/Me",
        "/Bulk",
        "/Groups/00000000000000000000000000000000",
        "/ResourceTypes/X",
        "/Schemas/urn:x",
        "/Users/%00",
        "/Users/{00000000-0000-0000-0000-000000000000}",
    ] {
        let answer = okta.get(&path.replace(['{', '}'], "%7B")).await;
        answer.error(404);
    }
    let answer = okta.call(Method::PATCH, "/Users", Some(json!({}))).await;
    answer.error(405);
    assert_eq!(okta.get("/Users/%ff").await.status, 401);
}

#[tokio::test]
async fn discovery_says_what_is_there_and_no_more() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let config = okta.get("/ServiceProviderConfig").await.ok();
    for (feature, there) in [
        ("patch", true),
        ("filter", true),
        ("bulk", false),
        ("sort", false),
        ("etag", true),
        ("changePassword", false),
    ] {
        assert_eq!(config[feature]["supported"], there, "{feature}");
    }
    let pages = &config["pagination"];
    assert_eq!((&pages["cursor"], &pages["index"]), (&json!(false), &json!(true)));
    assert_eq!(pages["defaultPaginationMethod"], "index");
    for list in ["/ResourceTypes", "/Schemas"] {
        let page = okta.get(list).await.ok();
        let listed = page["Resources"].as_array().unwrap();
        assert_eq!(page["totalResults"], listed.len());
        for one in listed {
            let id = one["id"].as_str().unwrap();
            assert_eq!(okta.get(&format!("{list}/{id}")).await.ok(), *one);
            let location = one["meta"]["location"].as_str().unwrap();
            assert_eq!(location, format!("https://gateway.example{}{list}/{id}", okta.base));
        }
        okta.get(&format!("{list}?filter=id%20pr")).await.error(403);
    }
    let user = okta.get("/Schemas/urn:ietf:params:scim:schemas:core:2.0:User").await.ok();
    let attributes = user["attributes"].as_array().unwrap();
    assert!(attributes.iter().any(|a| a["name"] == "userName" && a["uniqueness"] == "server"));
    assert!(attributes.iter().all(|a| a["name"] != "password"));
}
