//! ETags, and requests that are for one version alone.

use super::*;

impl Client<'_> {
    async fn when(
        &self,
        method: Method,
        path: &str,
        (header, tags): (&str, &str),
        body: Option<&Value>,
    ) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header, tags)
            .body(body.map_or_else(Body::empty, |body| body.to_string().into()))
            .unwrap();
        self.server.send(request).await
    }
}

fn tag(answer: &Answer) -> String {
    answer.headers["etag"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_write_for_another_version_changes_nothing() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let user = format!("/Users/{}", okta.user("ann").await);
    let group = format!("/Groups/{}", okta.group("ops", &[]).await);
    let put = json!({"userName": "ann", "displayName": "ann"});
    let patch = json!({"Operations": [{"op": "add", "path": "externalId", "value": "x"}]});
    for path in [user, group] {
        let first = tag(&okta.get(&path).await);
        let patched = okta.when(Method::PATCH, &path, ("if-match", &first), Some(&patch)).await;
        assert!(patched.status.is_success(), "{}", patched.body);
        let second = tag(&patched);
        assert_ne!(first, second);
        let before = (okta.get(&path).await.ok(), server.changes().await);
        for condition in [
            ("if-match", first.as_str()),
            ("if-match", "\"nonsense\""),
            ("if-match", ""),
            ("if-none-match", &second),
            ("if-none-match", "*"),
        ] {
            for (method, body) in
                [(Method::PUT, Some(&put)), (Method::PATCH, Some(&patch)), (Method::DELETE, None)]
            {
                okta.when(method, &path, condition, body).await.error(412);
            }
        }
        assert_eq!((okta.get(&path).await.ok(), server.changes().await), before);
        let several = format!("\"x\", {second}");
        let deleted = okta.when(Method::DELETE, &path, ("if-match", &several), None).await;
        assert_eq!(deleted.status, 204);
    }
}

#[tokio::test]
async fn what_a_client_has_already_is_not_sent_again() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let ann = okta.user("ann").await;
    let group = okta.group("ops", &[&ann]).await;
    let (user, path) = (format!("/Users/{ann}"), format!("/Groups/{group}"));
    let fresh = async |path: &str, tag: &str| {
        let answer = okta.when(Method::GET, path, ("if-none-match", tag), None).await;
        (answer.status.as_u16(), answer.body.is_null())
    };
    let (user_tag, group_tag) = (tag(&okta.get(&user).await), tag(&okta.get(&path).await));
    assert_eq!(fresh(&user, &user_tag).await, (304, true));
    assert_eq!(fresh(&path, &group_tag).await, (304, true));
    assert_eq!(fresh(&path, "\"x\"").await, (200, false));
    // a user's groups are part of what is seen of the user
    okta.put(&path, json!({"displayName": "Dev", "members": [{"value": ann}]})).await.ok();
    assert_eq!(fresh(&user, &user_tag).await, (200, false));
    assert_eq!(fresh(&path, &group_tag).await, (200, false));
    // and a group's members of the group, whoever removes them
    let group_tag = tag(&okta.get(&path).await);
    assert_eq!(okta.delete(&user).await.status, 204);
    assert_eq!(fresh(&path, &group_tag).await, (200, false));
}

#[tokio::test]
async fn of_two_writes_for_one_version_one_is_made() {
    let server = Server::start().await;
    let okta = server.client("acme", "okta");
    let group = format!("/Groups/{}", okta.group("ops", &[]).await);
    let first = tag(&okta.get(&group).await);
    let mut people = Vec::new();
    for i in 0..8 {
        people.push(okta.user(&format!("user{i}")).await);
    }
    let bodies: Vec<_> = people
        .iter()
        .map(|id| json!({"Operations": [{"op": "add", "path": "members", "value": [{"value": id}]}]}))
        .collect();
    let writes = bodies
        .iter()
        .map(|body| okta.when(Method::PATCH, &group, ("if-match", &first), Some(body)));
    let answers = futures::future::join_all(writes).await;
    let made = answers.iter().filter(|answer| answer.status == 204).count();
    assert_eq!((made, answers.iter().filter(|answer| answer.status == 412).count()), (1, 7));
    assert_eq!(okta.get(&group).await.ok()["members"].as_array().unwrap().len(), 1);
}
