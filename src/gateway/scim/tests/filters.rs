//! Filters, as they are answered from the ledger.

use super::*;

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

pub(super) fn query(filter: &str) -> String {
    url::form_urlencoded::byte_serialize(filter.as_bytes()).collect()
}

impl Client<'_> {
    /// What names those that `filter` leads to, in order.
    async fn found(&self, list: &str, filter: &str) -> Vec<String> {
        let page = self.get(&format!("{list}?filter={}", query(filter))).await;
        assert_eq!(page.status, 200, "{filter}: {}", page.body);
        let found = page.body["Resources"].as_array().unwrap();
        assert_eq!(page.body["totalResults"], found.len(), "{filter}");
        let name =
            |resource: &Value| resource.get("userName").unwrap_or(&resource["displayName"]).clone();
        found.iter().map(|one| name(one).as_str().unwrap().to_owned()).collect()
    }

    async fn staff(&self) -> [String; 3] {
        let ann = json!({
            "userName": "ann@acme.example", "externalId": "00A", "title": "Boss", "nickName": "50%_x",
            "name": {"givenName": "Ann", "familyName": "Arden"},
            "emails": [{"value": "Ann@acme.example", "type": "work", "primary": true},
                       {"value": "ann@home.example", "type": "home"}],
            ENTERPRISE: {"Department": "R&D", "manager": "7"},
        });
        let bob = json!({
            "userName": "Bob@acme.example", "externalId": "00b", "active": false,
            "name": {"givenName": "Bob"},
            "emails": [{"value": "bob@acme.example", "type": "home"}],
        });
        let eve =
            json!({"userName": "eve@globex.example", "title": "boss", "nickName": "\u{c4}rger"});
        let mut ids = Vec::new();
        for user in [ann, bob, eve] {
            ids.push(self.post("/Users", user).await.made());
        }
        ids.try_into().unwrap()
    }
}

#[tokio::test]
async fn every_operator_finds_whom_it_says() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let [ann, ..] = okta.staff().await;
    server.client("acme", "entra").staff().await;
    okta.group("Ops", &[&ann]).await;
    let (a, b, e) = ("ann@acme.example", "Bob@acme.example", "eve@globex.example");
    let id_start = &ann[..13];
    for (filter, found) in [
        (r#"userName eq "ANN@acme.EXAMPLE""#, vec![a]),
        (r#"userName ne "ann@acme.example""#, vec![b, e]),
        (r#"userName co "@ACME""#, vec![a, b]),
        (r#"userName sw "bob""#, vec![b]),
        (r#"userName ew "globex.example""#, vec![e]),
        (r#"userName ew "example.eve@globex.example""#, vec![]),
        (r#"userName gt "b""#, vec![b, e]),
        (r#"userName ge "bob@acme.example""#, vec![b, e]),
        (r#"userName lt "b""#, vec![a]),
        (r#"userName le "bob@acme.example""#, vec![a, b]),
        ("userName pr", vec![a, b, e]),
        (r#"userName co "%""#, vec![]),
        (r#"nickName co "50%_""#, vec![a]),
        (r#"nickName sw """#, vec![a, e]),
        // the case of ASCII letters alone doesn't count
        ("nickName eq \"\u{c4}RGER\"", vec![e]),
        ("nickName eq \"\u{e4}rger\"", vec![]),
        ("nickName sw \"\u{c4}R\"", vec![e]),
        ("nickName co \"\u{e4}\"", vec![]),
        (r#"externalId eq "00a""#, vec![]),
        (r#"externalId eq "00A""#, vec![a]),
        (r#"externalId sw "00""#, vec![a, b]),
        ("externalId pr", vec![a, b]),
        ("not (externalId pr)", vec![e]),
        ("externalId eq null", vec![e]),
        ("externalId ne null", vec![a, b]),
        (r#"externalId gt "00A""#, vec![b]),
        (r#"externalId ge "00A""#, vec![a, b]),
        (r#"externalId lt "00b""#, vec![a]),
        (r#"externalId le "00b""#, vec![a, b]),
        (r#"title eq "BOSS""#, vec![a, e]),
        (r#"title gt "BOSR""#, vec![a, e]),
        (r#"title ge "BOSS""#, vec![a, e]),
        (r#"title lt "boss""#, vec![]),
        (r#"title le "boss""#, vec![a, e]),
        (r#"title ne "boss""#, vec![b]),
        (r#"not (title eq "boss")"#, vec![b]),
        (r#"not (title eq "boss" or name.givenName eq "Bob")"#, vec![]),
        ("name pr", vec![a, b]),
        ("name.familyName pr", vec![a]),
        (r#"name.givenName co "n""#, vec![a]),
        ("active eq true", vec![a, e]),
        (r#"active eq "False""#, vec![b]),
        ("active ne true", vec![b]),
        ("emails pr", vec![a, b]),
        ("emails eq null", vec![e]),
        ("emails ne null", vec![a, b]),
        ("not (emails eq null)", vec![a, b]),
        ("emails.type eq null", vec![e]),
        ("emails.primary pr", vec![a]),
        ("emails.primary eq null", vec![b, e]),
        (r#"emails ne "bob@acme.example""#, vec![a]),
        ("emails[type pr]", vec![a, b]),
        (r#"not (emails[type eq "work"])"#, vec![b, e]),
        ("groups eq null", vec![b, e]),
        (r#"emails eq "ann@ACME.example""#, vec![a]),
        (r#"emails.value ew "home.example""#, vec![a]),
        (r#"emails.type eq "home""#, vec![a, b]),
        ("emails.primary eq true", vec![a]),
        (r#"emails[type eq "home" and value co "@acme"]"#, vec![b]),
        (r#"emails[type eq "work" and value eq "ann@home.example"]"#, vec![]),
        (r#"emails[type eq "home" and value eq "ANN@home.example"]"#, vec![a]),
        (r#"emails[not (type eq "home")]"#, vec![a]),
        (r#"emails[type ne "home"]"#, vec![a]),
        (r#"emails[type eq "work"].value eq "ann@acme.example""#, vec![a]),
        (r#"emails[type eq "home" or type eq "work"].value sw "bob""#, vec![b]),
        (r#"emails[type eq "work"].value pr and active eq true"#, vec![a]),
        (r#"emails[value eq "]. x"].type eq "home" or title eq "boss""#, vec![a, e]),
        (
            r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq "r&d""#,
            vec![a],
        ),
        (
            r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value eq "7""#,
            vec![a],
        ),
        (r#"urn:ietf:params:scim:schemas:core:2.0:User:userName sw "eve""#, vec![e]),
        (r#"groups.display eq "ops""#, vec![a]),
        ("groups pr", vec![a]),
        (r#"meta.created gt "2020-01-01T00:00:00Z""#, vec![a, b, e]),
        (r#"meta.lastModified lt "2020-01-01T00:00:00Z""#, vec![]),
        ("meta.created pr", vec![a, b, e]),
        (r#"meta.lastModified ge "2020-01-01T00:00:00Z""#, vec![a, b, e]),
        (r#"meta.lastModified le "2020-01-01T00:00:00Z""#, vec![]),
        (r#"meta.created eq "2020-01-01T00:00:00Z""#, vec![]),
        (r#"meta.resourceType eq "user""#, vec![a, b, e]),
        (r#"meta.resourceType ne "User""#, vec![]),
        ("meta.resourceType pr", vec![a, b, e]),
        (&format!(r#"id sw "{id_start}""#), vec![a]),
        (&format!(r#"id ne "{ann}""#), vec![b, e]),
        (r#"(userName sw "ann" or userName sw "bob") and active eq false"#, vec![b]),
        (r#"userName sw "ann" or userName sw "bob" and active eq false"#, vec![a, b]),
        (r#"userName eq "ann@acme.example" or emails.value eq "bob@acme.example""#, vec![a, b]),
        (r#"userName eq "x' OR 1=1 --""#, vec![]),
    ] {
        // the beginning of a UUID v7 is a time, which others may share
        if filter.starts_with("id sw") {
            assert!(okta.found("/Users", filter).await.contains(&a.to_owned()), "{filter}");
        } else {
            assert_eq!(okta.found("/Users", filter).await, found, "{filter}");
        }
    }
}

#[tokio::test]
async fn groups_are_found_by_their_members_too() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let [ann, bob, _] = okta.staff().await;
    let ops = okta.group("Ops", &[&ann]).await;
    okta.group("All", &[&ops, &bob]).await;
    okta.group("None", &[]).await;
    for (filter, found) in [
        (format!(r#"members eq "{ann}""#), vec!["Ops"]),
        (format!(r#"members.value eq "{ops}""#), vec!["All"]),
        (format!(r#"members[value eq "{bob}"]"#), vec!["All"]),
        (format!(r#"id eq "{ops}" and members eq "{ann}""#), vec!["Ops"]),
        (format!(r#"id eq "{ops}" and members eq "{bob}""#), vec![]),
        (r#"members[type eq "Group"]"#.into(), vec!["All"]),
        ("members pr".into(), vec!["All", "Ops"]),
        ("not (members pr)".into(), vec!["None"]),
        ("members eq null".into(), vec!["None"]),
        ("members ne null".into(), vec!["All", "Ops"]),
        (r#"displayName co "o""#.into(), vec!["None", "Ops"]),
    ] {
        assert_eq!(okta.found("/Groups", &filter).await, found, "{filter}");
    }
}

#[tokio::test]
async fn a_filter_that_can_not_be_answered_is_refused_and_says_why() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let terms = |n: usize| vec!["id pr"; n].join(" or ");
    for filter in [
        "",
        "userName",
        "userName eq",
        "userName eq 1",
        "userName eq true",
        r#"userName is "a""#,
        r#"password eq "a""#,
        "password pr",
        r#"shoeSize eq "44""#,
        r#"active co "t""#,
        "active gt false",
        r#"active eq "maybe""#,
        r#"meta.created eq "yesterday""#,
        r#"meta.created co "2026""#,
        r#"name eq "Ann""#,
        r#"name.shoeSize eq "a""#,
        r#"userName.x eq "a""#,
        r#"emails[shoeSize eq "a"]"#,
        r#"name[givenName eq "a"]"#,
        r#"emails[type eq "work""#,
        r#"emails[type eq "work"]."#,
        r#"emails[type eq "work"].value"#,
        r#"emails[type eq "work"].value eq"#,
        r#"emails[emails.type eq "work"]"#,
        r#"urn:other:userName eq "a""#,
        r#"userName eq "a\u0000""#,
        r#"userName eq "a'; DROP TABLE people" --"#,
        &"(".repeat(5_000),
        &format!("{}id pr{}", "not (".repeat(1_000), ")".repeat(1_000)),
        &format!("{}id pr{}", "(".repeat(100), ")".repeat(100)),
        &terms(101),
        &format!(r#"userName eq "{}""#, "a".repeat(10_000)),
    ] {
        for list in ["/Users", "/Groups"] {
            let answer = okta.get(&format!("{list}?filter={}", query(filter))).await;
            let shown = &filter[..filter.len().min(60)];
            assert_eq!(answer.error(400).0, "invalidFilter", "{list}: {shown}");
            assert!(answer.error(400).1.len() < 200, "{shown}");
        }
    }
    okta.get(&format!("/Users?filter={}", query(&terms(100)))).await.ok();
}

#[tokio::test]
async fn a_search_says_in_its_body_what_a_query_says_in_its_address() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let [ann, ..] = okta.staff().await;
    okta.group("Ops", &[&ann]).await;
    let search = |rest: Value| {
        let mut body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"]});
        body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        body
    };
    let body = search(json!({"filter": "title pr", "attributes": ["userName"], "count": 1}));
    let page = okta.post("/Users/.search", body).await.ok();
    assert_eq!((&page["totalResults"], &page["itemsPerPage"]), (&json!(2), &json!(1)));
    let found = page["Resources"][0].as_object().unwrap();
    assert!(found.contains_key("userName") && !found.contains_key("title"));
    let body = search(json!({"filter": "displayName eq \"ops\"", "excludedAttributes": "members"}));
    let page = okta.post("/Groups/.search", body).await.ok();
    assert!(page["totalResults"] == 1 && page["Resources"][0].get("members").is_none());
    // over both: users come first
    let names = async |rest: Value| {
        let page = okta.post("/.search", search(rest)).await.ok();
        let names = page["Resources"].as_array().unwrap().iter();
        let names: Vec<_> = names
            .map(|one| {
                one.get("userName").unwrap_or(&one["displayName"]).as_str().unwrap().to_owned()
            })
            .collect();
        (page["totalResults"].as_i64().unwrap(), names.join(" "))
    };
    let (a, b, e) = ("ann@acme.example", "Bob@acme.example", "eve@globex.example");
    assert_eq!(names(json!({})).await, (4, format!("{a} {b} {e} Ops")));
    assert_eq!(names(json!({"startIndex": 3, "count": 2})).await, (4, format!("{e} Ops")));
    assert_eq!(names(json!({"startIndex": 4})).await, (4, "Ops".into()));
    assert_eq!(names(json!({"startIndex": 2, "count": 1})).await, (4, b.into()));
    assert_eq!(names(json!({"filter": "userName pr"})).await, (3, format!("{a} {b} {e}")));
    assert_eq!(
        names(json!({"filter": r#"meta.resourceType eq "Group""#})).await,
        (1, "Ops".into())
    );
    // what only one kind has, the other has no value of
    for (filter, found) in [
        (r#"userName sw "ann" or members pr"#.to_owned(), vec![a, "Ops"]),
        (format!("members[value eq \"{ann}\"] or active eq false"), vec![b, "Ops"]),
        ("not (userName pr)".into(), vec!["Ops"]),
        ("userName eq null".into(), vec!["Ops"]),
        (r#"title ne "boss""#.into(), vec![b, "Ops"]),
        (r#"not (title eq "boss")"#.into(), vec![b, "Ops"]),
        ("members eq null".into(), vec![a, b, e]),
        ("members ne null and userName pr".into(), vec![]),
        (r#"title gt "a" and meta.resourceType eq "User""#.into(), vec![a, e]),
    ] {
        let (total, names) = names(json!({"filter": filter})).await;
        assert_eq!((total, names), (found.len() as i64, found.join(" ")), "{filter}");
    }
    for (body, keyword) in [
        (json!({"filter": "shoeSize pr or id pr"}), "invalidFilter"),
        (json!({"filter": 1}), "invalidFilter"),
        (json!({"filter": "shoeSize pr"}), "invalidFilter"),
        (json!({"filter": "id pr or userName eq 1"}), "invalidFilter"),
        (json!({"count": "ten"}), "invalidValue"),
        (json!({"attributes": [1]}), "invalidValue"),
        (json!({"attributes": ["a b"]}), "invalidValue"),
        (json!([]), "invalidSyntax"),
    ] {
        for path in ["/.search", "/Users/.search", "/Groups/.search"] {
            assert_eq!(okta.post(path, body.clone()).await.error(400).0, keyword, "{body}");
        }
    }
}
