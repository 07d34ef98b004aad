use std::net::IpAddr;

use futures::future::join_all;
use jiff::SignedDuration;

use super::{
    super::{DIRECTORY, paths, resource},
    filters::query,
    *,
};
use crate::{
    gateway::address::ClientAddress,
    ledger::{Rotation, scim::token_tag},
};

/// Every route, with a body that it would take.
fn routes(user: &str, group: &str) -> Vec<(Method, String, Option<Value>)> {
    let patch = json!({"Operations": [{"op": "replace", "path": "externalId", "value": "stolen"}]});
    let mut routes = Vec::new();
    for (list, id, body) in [
        ("/Users", user, json!({"userName": "stolen"})),
        ("/Groups", group, json!({"displayName": "stolen"})),
    ] {
        let one = format!("{list}/{id}");
        routes.extend([
            (Method::GET, list.to_owned(), None),
            (Method::POST, list.to_owned(), Some(body.clone())),
            (Method::GET, one.clone(), None),
            (Method::PUT, one.clone(), Some(body)),
            (Method::PATCH, one.clone(), Some(patch.clone())),
            (Method::DELETE, one, None),
            (Method::DELETE, list.to_owned(), None),
        ]);
    }
    for path in ["/.search", "/Users/.search", "/Groups/.search"] {
        routes.push((Method::POST, path.to_owned(), Some(json!({"filter": "id pr"}))));
    }
    for path in [
        "/ServiceProviderConfig",
        "/ResourceTypes",
        "/ResourceTypes/User",
        "/Schemas",
        "/Schemas/urn:ietf:params:scim:schemas:core:2.0:User",
        "/Nothing",
        "/",
        "",
    ] {
        routes.push((Method::GET, path.to_owned(), None));
    }
    routes
}

#[tokio::test]
async fn every_method_of_every_path_is_among_the_routes_that_strangers_are_tried_at() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let id = Uuid::nil().to_string();
    for (method, path, body) in routes(&id, &id) {
        okta.call(method, &path, body).await;
    }
    let tried = server.served.lock().unwrap().clone();
    for (path, _) in paths() {
        let one = path.replace("{id}", &id).replace("{*rest}", "Nothing");
        let answer = okta.call(Method::TRACE, &one, None).await;
        // where nothing is, that is said to every method
        let allowed = match answer.headers.get(header::ALLOW) {
            Some(allowed) => allowed.to_str().unwrap(),
            None => {
                answer.error(404);
                "GET"
            }
        };
        for method in allowed.split(',').filter(|method| *method != "HEAD") {
            let route = format!("{method} {DIRECTORY}{path} ");
            assert!(tried.iter().any(|tried| tried.starts_with(&route)), "{route}is left out");
        }
    }
}

#[tokio::test]
async fn whoever_has_not_the_directorys_own_token_learns_nothing() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = okta.user("ann").await;
    let group = okta.group("ops", &[&ann]).await;
    let before = (okta.get(&format!("/Users/{ann}")).await.ok(), server.changes().await);
    let wrong = |base: &str, token: &str| Client {
        server: &server,
        base: format!("/scim/v2/{base}"),
        token: token.to_owned(),
    };
    let mut answers = Vec::new();
    for (method, path, body) in routes(&ann, &group) {
        for client in [
            wrong("acme/okta", "globex-okta"),
            wrong("acme/okta", "acme-entra"),
            wrong("acme/okta", "nonsense"),
            wrong("acme/okta", ""),
            wrong("acme/nothing", "acme-okta"),
            wrong("nobody/okta", "acme-okta"),
            wrong("id-acme/okta", "acme-okta"),
            wrong("acme/okta%00", "acme-okta"),
            wrong("acme/okt%ff", "acme-okta"),
            wrong("acme%2Fokta/okta", "acme-okta"),
        ] {
            let answer = client.call(method.clone(), &path, body.clone()).await;
            answer.error(401);
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            answers.push(answer.body);
        }
    }
    assert!(answers.iter().all(|body| *body == answers[0]));
    let after = (okta.get(&format!("/Users/{ann}")).await.ok(), server.changes().await);
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_token_is_taken_from_the_authorization_header_only() {
    let server = Server::start().await;
    for (name, values, status) in [
        ("authorization", vec!["Bearer acme-okta"], 200),
        ("authorization", vec!["bearer acme-okta"], 200),
        ("authorization", vec!["acme-okta"], 401),
        ("authorization", vec!["Basic acme-okta"], 401),
        ("authorization", vec!["Bearer acme-okta", "Bearer acme-okta"], 401),
        ("x-token", vec!["acme-okta"], 401),
    ] {
        let mut request = Request::get("/scim/v2/acme/okta/Users?access_token=acme-okta");
        for value in &values {
            request = request.header(name, *value);
        }
        let answer = server.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, status, "{name}: {values:?}");
    }
}

#[tokio::test]
async fn another_directorys_ids_are_simply_unknown() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = okta.user("ann").await;
    let group = okta.group("ops", &[&ann]).await;
    let before = (okta.get("/Users").await.ok(), okta.get("/Groups").await.ok());
    for other in [server.client("globex", "okta"), server.client("acme", "entra")] {
        for (method, path, body) in routes(&ann, &group) {
            if path.contains(&ann) || path.contains(&group) {
                other.call(method, &path, body).await.error(404);
            }
        }
        let nobody = async |found: Answer| {
            let found = found.ok();
            assert_eq!((&found["totalResults"], &found["Resources"]), (&json!(0), &json!([])));
        };
        let manager = format!("{}:manager.value", resource::ENTERPRISE_USER);
        for (lists, filter) in [
            (["/Users", "/Groups", ""], format!("id eq \"{ann}\" or id eq \"{group}\"")),
            (["/Groups", "", ""], format!("members eq \"{ann}\"")),
            (["/Groups", "", ""], format!("members[value eq \"{ann}\"]")),
            (["/Users", "", ""], format!("groups.value eq \"{group}\"")),
            (["/Users", "", ""], format!("{manager} eq \"{ann}\"")),
        ] {
            for list in lists {
                let asked = json!({"filter": filter});
                nobody(other.post(&format!("{list}/.search"), asked).await).await;
                if !list.is_empty() {
                    nobody(other.get(&format!("{list}?filter={}", query(&filter))).await).await;
                }
            }
        }
        for list in ["/Users", "/Groups", ""] {
            nobody(other.post(&format!("{list}/.search"), json!({})).await).await;
        }
        // nobody is brought into another's groups, nor made to follow another's manager
        let mine = other.group("mine", &[]).await;
        for id in [&ann, &group] {
            let members = json!([{"value": id}]);
            let body = json!({"displayName": "mine", "members": members});
            let path = format!("/Groups/{mine}");
            let add = json!([{"op": "add", "path": "members", "value": members}]);
            for refused in [
                other.post("/Groups", body.clone()).await,
                other.put(&path, body).await,
                other.patch(&path, add).await,
            ] {
                let (_, detail) = refused.error(400);
                assert_eq!(detail, format!("members: nobody of this directory: {id}"));
            }
            assert!(other.members(&mine).await.is_empty());
        }
        let follower = json!({"userName": "eve", resource::ENTERPRISE_USER: {"manager": ann}});
        let made = other.post("/Users", follower).await;
        let seen = &made.body[resource::ENTERPRISE_USER]["manager"];
        assert_eq!((made.status, seen), (StatusCode::CREATED, &json!({"value": ann})));
    }
    assert_eq!((okta.get("/Users").await.ok(), okta.get("/Groups").await.ok()), before);
}

#[tokio::test]
async fn the_first_request_is_noted_once() {
    let server = Server::start().await;
    let first = async || {
        let directory = server.ledger.directory("id-acme", "okta").await.unwrap().unwrap();
        (directory.first_request_at, server.changes().await)
    };
    let before = first().await;
    assert_eq!(before.0, None);
    let stranger = Client { token: "x".into(), ..server.client("acme", "okta") };
    stranger.get("/Users").await.error(401);
    assert_eq!(first().await, before);
    server.client("acme", "okta").get("/Nothing").await.error(404);
    let noted = first().await;
    assert!(noted.0.is_some() && noted.1 > before.1);
    server.client("acme", "okta").get("/Users").await.ok();
    assert_eq!(first().await, noted);
}

#[tokio::test]
async fn while_a_token_is_rotated_both_open_and_then_the_old_one_does_not() {
    let server = Server::start().await;
    let old = server.client("acme", "okta");
    old.user("ann").await;
    let [second, third] = ["second", "third"]
        .map(|token| Client { token: token.into(), ..server.client("acme", "okta") });
    let rotate = async |to: &Client<'_>, ends_at| {
        let directory = server.ledger.directory("id-acme", "okta").await.unwrap().unwrap();
        let held = directory.tokens.iter().max_by_key(|token| token.id).unwrap().id;
        let (hash, rotation) =
            (digest(&SHA256, to.token.as_bytes()), Rotation { held, ends_at, request: None });
        let (id, now) = (Uuid::now_v7(), Timestamp::now());
        server.ledger.rotate_token(directory.id, id, hash.as_ref(), rotation, now).await.unwrap();
    };
    let opens = async |client: &Client<'_>, name: &str| {
        let written = client.post("/Users", json!({"userName": name})).await.status == 201;
        assert_eq!(client.get("/Users").await.status == 200, written, "{name}");
        written
    };
    let tomorrow = Timestamp::now() + SignedDuration::from_hours(24);
    rotate(&second, tomorrow).await;
    assert!(opens(&old, "a").await && opens(&second, "b").await && !opens(&third, "c").await);
    // the first one ends however much time it had left, the second one at once: neither writes,
    // though both did just now
    rotate(&third, Timestamp::now()).await;
    assert!(!opens(&old, "d").await && !opens(&second, "e").await && opens(&third, "f").await);
    let names = third.get("/Users?attributes=userName").await.ok();
    assert_eq!(names["totalResults"], 4, "{names}");
}

#[tokio::test]
async fn wrong_tokens_from_an_address_refuse_no_right_one_that_comes_from_there() {
    let server = Server::start().await;
    let send = async |token: &str, address: [u8; 4]| {
        let client = Client { token: token.into(), ..server.client("acme", "okta") };
        let mut request = client.request(Method::GET, "/Users", Body::empty());
        request.extensions_mut().insert(ClientAddress::from(IpAddr::from(address)));
        server.send(request).await.status
    };
    let all_of_a_provider = [192, 0, 2, 1];
    let wrong: Vec<_> = (0..200).map(|i| i.to_string()).collect();
    let wrong = join_all(wrong.iter().map(|token| send(token, all_of_a_provider)));
    let (wrong, right, other) = tokio::join!(
        wrong,
        send("acme-okta", all_of_a_provider),
        send("acme-okta", [192, 0, 2, 2])
    );
    assert!(wrong.iter().all(|status| *status == 401));
    assert_eq!((right, other), (StatusCode::OK, StatusCode::OK));
}

#[tokio::test]
async fn any_number_of_wrong_tokens_leaves_the_right_one_open() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    okta.user("ann").await;
    let before = server.changes().await;
    let wrong: Vec<_> = (0..300)
        .map(|i| Client { token: i.to_string(), ..server.client("acme", "okta") })
        .collect();
    let refused = join_all(wrong.iter().map(|client| async {
        client.post("/Users", json!({"userName": "eve"})).await.error(401);
    }));
    let right = async {
        for i in 0..20 {
            okta.get("/Users").await.ok();
            okta.post("/Users", json!({"userName": format!("user{i}")})).await.made();
        }
    };
    // one that nobody was let in with yet, too
    let new = async { server.client("acme", "entra").get("/Users").await.ok() };
    tokio::join!(refused, right, new);
    // and they leave nothing
    let mut lines = server.ledger.audit_log("acme", None, 400).await.unwrap();
    lines.retain(|line| line.actor != "rollcall"); // the directories were made
    assert!(lines.iter().all(|line| line.action == "user.create") && lines.len() == 21);
    assert!(server.changes().await > before);
}

#[tokio::test]
async fn a_deleted_directory_lets_nobody_in_until_it_has_a_new_token() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    okta.user("ann").await;
    server.ledger.delete_directory("id-acme", "okta", Timestamp::now()).await.unwrap();
    okta.get("/Users").await.error(401);
    okta.post("/Users", json!({"userName": "bob"})).await.error(401);
    server.client("acme", "entra").get("/Users").await.ok();
    open(&server.ledger, "acme", "okta").await;
    assert_eq!(okta.get("/Users").await.ok()["totalResults"], 1);
}

#[tokio::test]
async fn every_write_is_told_and_written_down() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let mut last = 0;
    let mut told = async || {
        let changes = server.ledger.changes_since(last).await.unwrap();
        last = server.changes().await;
        let okta = |c: &crate::ledger::Change| {
            (c.organization.as_deref(), c.name.as_str()) == (Some("acme"), "okta")
        };
        changes.iter().any(okta)
    };
    told().await;
    let ann = okta.user("ann").await;
    assert!(told().await);
    let (user, group) =
        (format!("/Users/{ann}"), format!("/Groups/{}", okta.group("x", &[]).await));
    assert!(told().await);
    okta.put(&user, json!({"userName": "ann", "title": "x"})).await.ok();
    assert!(told().await);
    okta.patch(&group, json!([{"op": "add", "path": "members", "value": [{"value": ann}]}])).await;
    assert!(told().await);
    okta.get(&group).await.ok();
    okta.post("/Users", json!({"userName": "ANN"})).await.error(409);
    assert!(!told().await);
    okta.delete(&group).await;
    assert!(told().await);
    okta.delete(&user).await;
    assert!(told().await);
    let directory = server.ledger.directory("id-acme", "okta").await.unwrap().unwrap();
    assert!(directory.changed_at.is_some());
    let mut audit = server.ledger.audit_for_tests().await;
    audit.retain(|(_, actor, ..)| actor != "rollcall"); // the directories were made
    let actions: Vec<_> = audit.iter().map(|(.., action, _)| action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "user.create",
            "group.create",
            "user.replace",
            "group.patch",
            "scim.refused",
            "group.delete",
            "user.delete"
        ]
    );
    let actor = format!("scim:okta{}", token_tag(directory.tokens[0].id));
    assert!(audit.iter().all(|(_, by, ..)| *by == actor), "{audit:?}");
    assert_eq!((audit[0].0.as_str(), &audit[0].3), ("id-acme", &ann));
    let lines = server.ledger.audit_log("acme", None, 7).await.unwrap();
    let details: Vec<_> = lines.iter().rev().map(|line| line.detail.as_deref().unwrap()).collect();
    assert_eq!(
        details,
        [
            "ann",
            "x",
            "title",
            &format!("members +1 ({ann})"),
            "409 uniqueness: another user of this directory has this userName",
            "x",
            "ann"
        ]
    );
    assert_eq!(lines[2].subject, "POST /Users");
}

#[tokio::test]
async fn requests_are_counted_by_route_not_by_path() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = okta.user("ann").await;
    okta.get(&format!("/Users/{ann}")).await.ok();
    okta.get("/Nothing/at/all").await.error(404);
    okta.call(Method::DELETE, "/Users", None).await.error(405);
    server.client("acme", "nothing").get("/Users").await.error(401);
    let response = server.router.clone().oneshot(Request::get("/x").body(Body::empty()).unwrap());
    assert_eq!(response.await.unwrap().status(), 404);
    let prefix = "/scim/v2/{organization}/{directorysync}";
    assert_eq!(
        *server.served.lock().unwrap(),
        [
            format!("POST {prefix}/Users 201"),
            format!("GET {prefix}/Users/{{id}} 200"),
            format!("GET {prefix}/{{*rest}} 404"),
            format!("DELETE {prefix}/Users 405"),
            format!("GET {prefix}/Users 401"),
            "GET unmatched 404".to_owned(),
        ]
    );
}
