//! What browsers bring to `authorize`, and what comes of it.

use super::*;
use crate::gateway::oidc::issuer::{Waiting, complete};

const ARGOCD: [(&str, &str); 2] =
    [("client_id", "argocd"), ("redirect_uri", "https://argocd.example/callback")];

#[tokio::test]
async fn with_a_session_a_client_gets_its_code_at_once() {
    let world = World::new().await;
    let cookie = world.session_of(ADA, 0).await;
    let answer = world.get(&authorize(&ARGOCD), &cookie).await;
    assert!(answer.to().starts_with("https://argocd.example/callback?code="));
    let told = answer.location();
    assert_eq!(told["state"], "a state & more");
    assert_eq!(told["iss"], ISSUER);
    assert_eq!(told["code"].len(), 43);
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(answer.headers[header::REFERRER_POLICY], "no-referrer");
}

#[tokio::test]
async fn a_program_on_ones_own_machine_is_answered_only_if_one_says_that_it_is_ones_own() {
    let world = World::new().await;
    let cookie = world.session_of(ADA, 0).await;
    let asked = world.get(&authorize(&[]), &cookie).await;
    assert_eq!(asked.status, 200);
    assert!(asked.text.contains("Continue to kubectl?") && asked.text.contains(ADA));
    let (path, browser) = asked.asks().unwrap();
    world.get_in(&path, "another", &cookie).await.is_page(400);
    let flow = path.split_once('=').unwrap().1;
    let sign_in = format!("/sign-in?flow={flow}");
    assert_eq!(world.get_in(&path, &browser, "nobody").await.to(), sign_in);
    assert!(world.get_in(&path, &browser, &cookie).await.location().contains_key("code"));
    world.get_in(&path, &browser, &cookie).await.is_page(400);
    for wrong in ["/sign-in/go-on", "/sign-in/go-on?flow=x", "/sign-in/go-on?flow="] {
        world.get_in(wrong, &browser, &cookie).await.is_page(400);
    }
    let told = world.get(&authorize(&[("prompt", "none")]), &cookie).await.location();
    assert_eq!(told["error"], "interaction_required");
    // who must sign in anew doesn't get around that
    let anew = world.get(&authorize(&[("prompt", "login")]), &cookie).await;
    let go_on = anew.to().replace("/sign-in?", "/sign-in/go-on?");
    assert_eq!(world.get_in(&go_on, &anew.browser(), &cookie).await.to(), anew.to());
}

#[tokio::test]
async fn without_a_session_somebody_signs_in_first() {
    let world = World::new().await;
    for (hint, to) in [("", ""), (ADA, "&login_hint=ada%40acme.com")] {
        let answer = world.authorize("", &[("login_hint", hint)]).await;
        let (path, rest) = answer.to().split_once('=').unwrap();
        assert_eq!(path, "/sign-in?flow");
        assert_eq!(&rest[36..], to);
        let browser = secret::hash(&answer.browser());
        let id = rest[..36].parse().unwrap();
        let flow = world.ledger.flow(id, browser, Timestamp::now()).await.unwrap().unwrap();
        assert!(!Waiting::read(&flow.request.unwrap()).unwrap().fresh);
    }
}

/// The request of a flow that was begun by this answer, and a gateway to complete it at.
async fn begun(world: &World, answer: &Answer) -> String {
    let id = answer.to().split_once('=').unwrap().1[..36].parse().unwrap();
    let browser = secret::hash(&answer.browser());
    let flow = world.ledger.flow(id, browser, Timestamp::now()).await.unwrap();
    flow.unwrap().request.unwrap()
}

async fn completed(world: &World, request: &str, cookie: &str) -> Answer {
    let now = Timestamp::now();
    let standing = world.ledger.standing_of_cookie(secret::hash(cookie), now).await.unwrap();
    let url = format!("{ISSUER}/").parse().unwrap();
    let gateway = Gateway::for_tests(&world.ledger, url, KeySlot::default());
    let response = complete(&gateway, request, &standing.unwrap()).await;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    Answer { status, headers, text: String::from_utf8(body.to_vec()).unwrap() }
}

#[tokio::test]
async fn a_request_that_waited_is_answered_once_somebody_has_signed_in() {
    let world = World::new().await;
    let request = begun(&world, &world.authorize("", &[]).await).await;
    let cookie = world.session_of(ADA, 0).await;
    let told = completed(&world, &request, &cookie).await.location();
    assert_eq!((told["state"].as_str(), told["iss"].as_str()), ("a state & more", ISSUER));
    let token = world.redeem(&told["code"]).await.ok();
    let claims = world.verified(token["id_token"].as_str().unwrap(), "kubernetes").await;
    assert_eq!(claims["nonce"], "n-1");
}

#[tokio::test]
async fn a_client_that_is_gone_meanwhile_gets_nothing() {
    let world = World::new().await;
    let request = begun(&world, &world.authorize("", &ARGOCD).await).await;
    world.ledger.delete_class("default").await.unwrap();
    let cookie = world.session_of(ADA, 0).await;
    completed(&world, &request, &cookie).await.is_page(400);
}

#[tokio::test]
async fn what_is_wrong_before_the_redirect_uri_is_good_is_a_page() {
    let world = World::new().await;
    let cookie = world.session_of(ADA, 0).await;
    for change in [
        ("client_id", ""),
        ("client_id", "nobody"),
        ("client_id", "Kubernetes"),
        ("redirect_uri", ""),
        ("redirect_uri", "http://127.0.0.1:8000/other"),
        ("redirect_uri", "http://127.0.0.2:8000/callback"),
        ("redirect_uri", "http://127.0.0.1:8000@evil.example/callback"),
        ("redirect_uri", "http://127.0.0.1.:8000/callback"),
        ("redirect_uri", "https://127.0.0.1:8000/callback"),
        ("redirect_uri", "http://127.0.0.1:8000/callback#x"),
        ("redirect_uri", "http://127.0.0.1:8000/callback?x=1"),
        ("redirect_uri", "http://127.0.0.1:8000/CALLBACK"),
        ("redirect_uri", "javascript:alert(1)"),
    ] {
        world.authorize(&cookie, &[change]).await.is_page(400);
    }
    for twice in ["client_id=kubernetes", "redirect_uri=http://127.0.0.1:8000/callback"] {
        world.get(&format!("{}&{twice}", authorize(&[])), &cookie).await.is_page(400);
    }
    let long = "x".repeat(9000);
    world.authorize(&cookie, &[("state", &long)]).await.is_page(400);
    assert_eq!(world.audited("sign-in.refused").await.len(), 16);
}

#[tokio::test]
async fn what_is_wrong_after_that_is_told_to_the_client() {
    let world = World::new().await;
    let cookie = world.session_of(ADA, 0).await;
    for (change, error) in [
        (("response_type", ""), "invalid_request"),
        (("response_type", "token"), "unsupported_response_type"),
        (("response_type", "code id_token"), "unsupported_response_type"),
        (("response_mode", "fragment"), "invalid_request"),
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge", "short"), "invalid_request"),
        (("code_challenge_method", ""), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("scope", ""), "invalid_scope"),
        (("scope", "profile email"), "invalid_scope"),
        (("request", "e30."), "request_not_supported"),
        (("request_uri", "https://x.example"), "request_uri_not_supported"),
        (("registration", "{}"), "registration_not_supported"),
        (("prompt", "create"), "invalid_request"),
        (("prompt", "none login"), "invalid_request"),
        (("max_age", "-1"), "invalid_request"),
        (("max_age", "soon"), "invalid_request"),
    ] {
        let told = world.authorize(&cookie, &[change]).await.location();
        assert_eq!(told["error"], error, "{change:?}");
        assert_eq!((told["state"].as_str(), told["iss"].as_str()), ("a state & more", ISSUER));
        assert!(!told.contains_key("code"));
    }
    for (twice, state) in [("nonce=2", true), ("scope=openid", true), ("state=2", false)] {
        let answer = world.get(&format!("{}&{twice}", authorize(&[])), &cookie).await;
        let told = answer.location();
        assert_eq!(told["error"], "invalid_request", "{twice}");
        assert_eq!(told.contains_key("state"), state, "{twice}");
    }
}

#[tokio::test]
async fn prompt_none_shows_nothing() {
    let world = World::new().await;
    let silent = ("prompt", "none");
    let told = world.authorize("", &[silent]).await.location();
    assert_eq!(told["error"], "login_required");
    let cookie = world.session_of(ADA, 100).await;
    let argocd = [ARGOCD[0], ARGOCD[1], silent];
    assert!(world.authorize(&cookie, &argocd).await.location().contains_key("code"));
    let told = world.authorize(&cookie, &[silent, ("max_age", "99")]).await.location();
    assert_eq!(told["error"], "login_required");
}

#[tokio::test]
async fn who_must_sign_in_anew_does_so_at_their_company_too() {
    let world = World::new().await;
    let cookie = world.session_of(ADA, 100).await;
    for change in
        [("prompt", "login"), ("prompt", "select_account"), ("max_age", "99"), ("max_age", "0")]
    {
        let answer = world.authorize(&cookie, &[change]).await;
        let waiting = Waiting::read(&begun(&world, &answer).await).unwrap();
        assert!(waiting.fresh, "{change:?}");
    }
    for change in [("prompt", "consent"), ("max_age", "200")] {
        assert!(world.authorize(&cookie, &[change]).await.location().contains_key("code"));
    }
}

#[tokio::test]
async fn a_client_serves_the_people_of_its_class_and_of_its_namespaces_alone() {
    let world = World::new().await;
    let client = |id| [("client_id", id), ("redirect_uri", "")];
    let at = |id: &'static str, uri: &'static str| {
        let mut changes = client(id);
        changes[1].1 = uri;
        changes
    };
    let argocd = at("argocd", "https://argocd.example/callback");
    let headlamp = at("headlamp", "https://headlamp.example/callback");
    let grafana = at("grafana", "https://grafana.example/callback");
    let (ada, bob) = (world.session_of(ADA, 0).await, world.session_of(BOB, 0).await);
    assert!(world.authorize(&ada, &argocd).await.location().contains_key("code"));
    assert!(world.authorize(&bob, &headlamp).await.location().contains_key("code"));
    assert!(
        world.authorize(&bob, &[]).await.location().contains_key("code"),
        "kubernetes is all's"
    );
    world.authorize(&bob, &argocd).await.is_page(403);
    world.authorize(&ada, &headlamp).await.is_page(403);
    let told = world.authorize(&ada, &grafana).await.location();
    assert_eq!(told["error"], "access_denied");
    let whose = |(organization, actor, _, subject): &(String, String, String, String)| {
        format!("{organization} {actor} {subject}")
    };
    let refused: Vec<_> = world.audited("sign-in.refused").await.iter().map(whose).collect();
    assert_eq!(
        refused,
        [
            "b client:argocd bob@globex.com",
            "a client:headlamp ada@acme.com",
            "a client:grafana ada@acme.com"
        ]
    );
}

#[tokio::test]
async fn one_id_in_two_classes_is_two_clients() {
    let world = World::new().await;
    let uri = "https://elsewhere.example/callback";
    let other = Client {
        id: "argocd".into(),
        redirect_uris: vec![uri.into()],
        secret_hash: Some(secret::hash("other").to_vec()),
        namespaces: None,
    };
    let class = Class { token_seconds: 300, clients: vec![other] };
    world.ledger.put_class("other", &class).await.unwrap();
    let ada = world.session_of(ADA, 0).await;
    world.authorize(&ada, &[("client_id", "argocd"), ("redirect_uri", uri)]).await.is_page(403);
    let uri = "https://argocd.example/callback";
    let code = world.code(&ada, &[("client_id", "argocd"), ("redirect_uri", uri)]).await;
    let with = |secret| [("client_id", "argocd"), ("redirect_uri", uri), ("client_secret", secret)];
    let refused = world.redeem_with(&code, &with("other")).await.refused(400);
    assert_eq!(refused, "invalid_grant", "a secret of another class's client");
}

#[tokio::test]
async fn a_posted_request_is_taken_as_a_link() {
    let world = World::new().await;
    let answer = world.post("/oauth2/authorize", "", &[("client_id", "kubernetes")]).await;
    assert_eq!(answer.to(), format!("{ISSUER}/oauth2/authorize?client_id=kubernetes"));
    let long = "x".repeat(9000);
    world.post("/oauth2/authorize", "", &[("state", &long)]).await.is_page(400);
}
