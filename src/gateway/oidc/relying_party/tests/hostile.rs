//! Answers that sign nobody in, each refused for its own reason, which the audit log keeps.

use std::collections::HashMap;

use rollcall_kit::{oidc_idp::Instead, wait::until};
use tokio::sync::Notify;

use super::*;

/// Each is a way for a provider to answer, and what the audit log says of it.
#[tokio::test]
async fn an_id_token_that_is_wrong_signs_nobody_in() {
    let world = World::start().await;
    let now = Timestamp::now().as_second();
    let signed = |signing| Behaviour { signing, ..Behaviour::default() };
    let claims = |claims| Behaviour { claims, ..Behaviour::default() };
    let header = |header| Behaviour { header, ..Behaviour::default() };
    for (behaviour, reason) in [
        (signed(Signing::None), "is signed with \"none\""),
        (signed(Signing::HmacOfPublicKey), "is signed with \"HS256\""),
        (signed(Signing::HmacOfSecret), "is signed with \"HS256\""),
        (signed(Signing::Stripped), "signature doesn't fit"),
        (signed(Signing::ForeignKey), "signature doesn't fit"),
        (signed(Signing::Tampered), "signature doesn't fit"),
        (header(json!({"alg": "RS256"})), "is signed by key \"p256-1\""),
        (header(json!({"alg": "ES384"})), "signature doesn't fit"),
        (header(json!({"alg": "EdDSA"})), "is signed with \"EdDSA\""),
        (header(json!({"alg": null})), "isn't a signed JWT"),
        (header(json!({"kid": "p384-1"})), "signature doesn't fit"),
        (header(json!({"kid": "x"})), "is signed by key \"x\""),
        (header(json!({"kid": "\u{1b}[2J"})), "is signed by key \"\\u{1b}[2J\""),
        (header(json!({"crit": ["b64"], "b64": false})), "critical header parameters"),
        (header(json!({"typ": "at+jwt"})), "is of type"),
        (
            claims(json!({"iss": "https://evil.example"})),
            "issuer (iss) is \"https://evil.example\"",
        ),
        (claims(json!({"iss": format!("{}/", world.idp.issuer())})), "issuer (iss) is"),
        (claims(json!({"iss": null})), "claim iss"),
        (
            claims(json!({"aud": "globex-okta"})),
            "audience (aud) is \"globex-okta\", not \"acme-okta\"",
        ),
        (claims(json!({"aud": []})), "audience (aud) is"),
        (claims(json!({"aud": null})), "claim aud"),
        (claims(json!({"aud": ["acme-okta", 7]})), "claim aud"),
        (claims(json!({"aud": ["acme-okta", "globex-okta"]})), "other audiences (aud)"),
        (claims(json!({"azp": "globex-okta"})), "issued to (azp) \"globex-okta\""),
        (
            claims(json!({"aud": ["acme-okta", "b"], "azp": "b"})),
            "issued to (azp) \"b\", not \"acme-okta\"",
        ),
        (claims(json!({"azp": 7})), "claim azp"),
        (claims(json!({"exp": now - 61})), "expired 6"),
        (claims(json!({"exp": null})), "claim exp"),
        (claims(json!({"exp": "never"})), "claim exp"),
        (claims(json!({"iat": now + 120})), "iat is"),
        (claims(json!({"iat": null})), "claim iat"),
        (claims(json!({"nbf": now + 120})), "nbf is"),
        (claims(json!({"nonce": "another"})), "nonce isn't that of this sign-in"),
        (claims(json!({"nonce": null})), "claim nonce"),
        (claims(json!({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"})), "at_hash doesn't fit"),
        (claims(json!({"sub": ""})), "subject (sub)"),
        (claims(json!({"sub": null})), "subject (sub)"),
        (claims(json!({"sub": 7})), "subject (sub)"),
        (claims(json!({"sub": "a".repeat(256)})), "subject (sub)"),
        (claims(json!({"sub": "ad\u{e4}"})), "subject (sub)"),
        (claims(json!({"email_verified": false})), "\"ada@acme.com\" is not verified"),
        (claims(json!({"email": "ada"})), "isn't an e-mail address"),
        (claims(json!({"email": "a\n@acme.com"})), "isn't an e-mail address"),
        (claims(json!({"email": ["ada@acme.com"]})), "isn't an e-mail address"),
        (claims(json!({"email": "@acme.com"})), "isn't an e-mail address"),
    ] {
        world.idp.behave(behaviour.clone());
        let reply = world.round_trip().await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{behaviour:?}");
        let AuditLine { actor, detail, .. } = world.refused("acme", &reply).await;
        let detail = detail.unwrap();
        assert!(detail.contains(reason), "{behaviour:?}: {detail}");
        assert_eq!(actor, "oidc:okta");
    }
    // and what is unusual, but right
    for fine in [
        claims(json!({"aud": ["acme-okta"]})),
        claims(json!({"aud": ["acme-okta", "api"], "azp": "acme-okta"})),
        claims(json!({"exp": now - 30, "iat": now + 30})),
        claims(json!({"exp": now as f64 + 60.5})),
        claims(json!({"at_hash": null})),
        claims(json!({"sub": "a".repeat(255)})),
        header(json!({"kid": null, "typ": null})),
    ] {
        world.idp.behave(fine.clone());
        let reply = world.round_trip().await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{fine:?}: {}", world.last("acme").await);
    }
}

#[tokio::test]
async fn how_far_the_clocks_may_differ_is_a_setting() {
    let mut world = World::start().await;
    let now = Timestamp::now().as_second();
    let claims = json!({"exp": now - 30, "iat": now - 330});
    world.idp.behave(Behaviour { claims, ..Behaviour::default() });
    world.taken(&world.round_trip().await).await;
    world.gateway = world.gateway.clone().with_clock_skew(Duration::from_secs(10));
    world.router = router(world.gateway.clone());
    let reply = world.round_trip().await;
    let detail = world.refused("acme", &reply).await.detail.unwrap();
    assert!(detail.contains("may differ by 10 s"), "{detail}");
}

#[tokio::test]
async fn a_person_who_should_sign_in_anew_must_have_done_so() {
    let world = World::start().await;
    let an_hour_ago = Timestamp::now().as_second() - 3600;
    let claims = json!({"auth_time": an_hour_ago});
    world.idp.behave(Behaviour { claims, ..Behaviour::default() });
    let asserted = world.taken(&world.round_trip().await).await.asserted;
    assert_eq!(asserted.authenticated_at, an_hour_ago, "the session isn't fresher than that");
    let sent = world.depart("acme", "okta", true).await;
    let reply = world.come_back(&world.sign_in(&sent).await).await;
    let detail = world.refused("acme", &reply).await.detail.unwrap();
    assert!(detail.contains("asked to have the person sign in anew"), "{detail}");
    // nor is anybody's clock believed to be ahead of ours, or to tell more than a time
    let now = Timestamp::now().as_second();
    for (auth_time, fits) in [(json!(1e300), now..=now + 5), (json!(-1e300), 0..=0)] {
        let claims = json!({"auth_time": auth_time});
        world.idp.behave(Behaviour { claims, ..Behaviour::default() });
        let asserted = world.taken(&world.round_trip().await).await.asserted;
        assert!(fits.contains(&asserted.authenticated_at), "{auth_time}: {asserted:?}");
    }
}

#[tokio::test]
async fn a_provider_that_does_not_answer_as_it_should_signs_nobody_in() {
    let mut world = World::start().await;
    let elsewhere = "https://localhost:1/elsewhere".to_owned();
    let instead = |path: &str, what: Instead| Behaviour {
        instead: HashMap::from([(path.to_owned(), what)]),
        claims: json!({"email": null}),
        ..Behaviour::default()
    };
    let tokens = |tokens| Behaviour { tokens, ..Behaviour::default() };
    let redirect = || Instead::RedirectTo(elsewhere.clone());
    let text = |status, text: &str| Instead::Status(status, text.into());
    let (forbidden, later) = (StatusCode::FORBIDDEN, StatusCode::SERVICE_UNAVAILABLE);
    for (behaviour, status, reason) in [
        (instead("/token", redirect()), forbidden, "token_endpoint answers with HTTP status 307"),
        (instead("/token", Instead::Endless), forbidden, "token_endpoint: the document is larger"),
        (instead("/token", Instead::Silent), later, "token_endpoint: the URL's host took too long"),
        (
            instead("/token", text(500, "secret")),
            later,
            "token_endpoint answers with HTTP status 500",
        ),
        (instead("/token", text(200, "secret")), forbidden, "doesn't answer with the JSON"),
        (instead("/token", text(200, "[]")), forbidden, "doesn't answer with the JSON"),
        (
            instead(
                "/token",
                text(400, "{\"error\": \"bad\\u0007\", \"error_description\": \"x\"}"),
            ),
            forbidden,
            "HTTP status 400: \"bad\\u{7}\", \"x\"",
        ),
        (
            instead("/keys", text(404, "secret")),
            forbidden,
            "jwks_uri: the URL's host answers with HTTP status 404",
        ),
        (instead("/keys", text(200, "{\"keys\": 7}")), forbidden, "jwks_uri doesn't answer with"),
        (instead("/keys", text(200, "{\"keys\": []}")), forbidden, "isn't among the provider's"),
        (
            instead("/userinfo", redirect()),
            forbidden,
            "userinfo_endpoint answers with HTTP status 307",
        ),
        (
            instead("/userinfo", text(401, "secret")),
            forbidden,
            "userinfo_endpoint answers with HTTP status 401",
        ),
        (
            instead("/userinfo", text(200, "eyJh.b.c")),
            forbidden,
            "userinfo_endpoint doesn't answer",
        ),
        (tokens(json!({"id_token": null})), forbidden, "no ID token"),
        (tokens(json!({"id_token": "a.b.c"})), forbidden, "isn't a signed JWT"),
        (
            tokens(json!({"id_token": "eyJhbGciOiJkaXIifQ.a.b.c.d"})),
            forbidden,
            "is signed with \"dir\"",
        ),
        (tokens(json!({"access_token": "another"})), forbidden, "at_hash doesn't fit"),
        (tokens(json!({"access_token": null})), forbidden, "at_hash doesn't fit"),
    ] {
        world.forget_keys();
        world.idp.behave(behaviour.clone());
        let reply = world.round_trip().await;
        let detail = world.refused("acme", &reply).await.detail.unwrap();
        assert!(detail.contains(reason) && !detail.contains("secret"), "{behaviour:?}: {detail}");
        assert_eq!(reply.status, status, "{behaviour:?}: {detail}");
    }
}

#[tokio::test]
async fn no_address_inside_is_asked_unless_the_class_allows_it() {
    let world = World::start().await;
    world.connect("acme", "okta", |rules| rules.private_endpoints = false).await;
    let before = world.idp.requests("/token");
    let reply = world.round_trip().await;
    let detail = world.refused("acme", &reply).await.detail.unwrap();
    assert!(detail.contains("no address that may be used"), "{detail}");
    assert_eq!(world.idp.requests("/token"), before);
}

#[tokio::test]
async fn what_the_provider_refuses_is_told_to_the_administrator() {
    let world = World::start().await;
    for (error, status) in [
        ("access_denied", StatusCode::FORBIDDEN),
        ("temporarily_unavailable", StatusCode::SERVICE_UNAVAILABLE),
        ("invalid_scope", StatusCode::FORBIDDEN),
    ] {
        let refusal = Some((error.to_owned(), format!("no\u{1b}[31m{}", "x".repeat(1000))));
        world.idp.behave(Behaviour { refusal, ..Behaviour::default() });
        let reply = world.round_trip().await;
        assert_eq!(reply.status, status);
        let detail = world.refused("acme", &reply).await.detail.unwrap();
        assert!(detail.contains(error) && detail.contains("no\\u{1b}[31m"), "{detail}");
        assert!(detail.len() < 300 && !detail.contains('\u{1b}'), "{detail}");
        assert!(!reply.page.contains(error), "the page is the same for all");
    }
}

#[tokio::test]
async fn an_answer_counts_only_for_the_connection_that_was_asked() {
    let world = World::start().await;
    for (organization, connection) in [("acme", "other"), ("globex", "okta")] {
        let sent = world.depart("acme", "okta", false).await;
        let mut url = world.sign_in(&sent).await;
        url.set_path(&format!("/sso/{organization}/{connection}/oidc/callback"));
        let reply = world.come_back(&url).await;
        let line = world.refused(organization, &reply).await;
        assert!(line.detail.as_deref().unwrap().contains("was sent elsewhere"), "{line:?}");
        assert_eq!(line.actor, format!("oidc:{connection}"));
        // it still counts where it belongs
        url.set_path("/sso/acme/okta/oidc/callback");
        world.taken(&world.come_back(&url).await).await;
    }
    // a code that was given for another client
    let other = world.depart("globex", "okta", false).await;
    let code = parameter(&world.sign_in(&other).await, "code").unwrap();
    let sent = world.depart("acme", "okta", false).await;
    let state = parameter(&sent.url, "state").unwrap();
    let mut url = world.sign_in(&sent).await;
    url.query_pairs_mut().clear().append_pair("state", &state).append_pair("code", &code);
    let detail = world.refused("acme", &world.come_back(&url).await).await.detail.unwrap();
    assert!(detail.contains("HTTP status 400: \"invalid_grant\""), "{detail}");
}

#[tokio::test]
async fn an_answer_that_takes_long_doesnt_count_where_the_sign_in_was_sent_meanwhile() {
    let world = World::start().await;
    let released = Arc::new(Notify::new());
    let held = Instead::Held(released.clone());
    let instead = HashMap::from([("/token".to_owned(), held)]);
    world.idp.behave(Behaviour { instead, ..Behaviour::default() });
    // the provider of one connection keeps its answer back until the browser is sent to another
    let sent = world.depart("acme", "other", false).await;
    let slow = world.sign_in(&sent).await;
    let elsewhere = async {
        let asked = async || Ok((world.idp.requests("/token") > 0).then_some(()));
        until("the token endpoint to be asked", Duration::from_secs(5), asked).await.unwrap();
        world.idp.behave(Behaviour::default());
        let url = world.depart_again(sent.flow, "acme", "okta", false).await.unwrap();
        released.notify_one();
        url
    };
    let (reply, url) = tokio::join!(world.come_back(&slow), elsewhere);
    let line = world.refused("acme", &reply).await;
    assert!(line.detail.as_deref().unwrap().contains("sent elsewhere meanwhile"), "{line:?}");
    assert_eq!(line.actor, "oidc:other");
    // the other is still awaited, and vouches for itself alone
    let url = world.sign_in(&Sent { url, ..sent }).await;
    let answered = world.taken(&world.come_back(&url).await).await;
    assert_eq!(answered.asserted.connection, "okta");
}

#[tokio::test]
async fn an_answer_of_another_provider_is_a_mix_up() {
    let world = World::start().await;
    let answers = |iss: &str| Behaviour { iss: Some(iss.to_owned()), ..Behaviour::default() };
    world.idp.behave(answers("https://evil.example"));
    let detail = world.refused("acme", &world.round_trip().await).await.detail.unwrap();
    assert!(detail.contains("(iss) \"https://evil.example\""), "{detail}");
    assert_eq!(world.idp.requests("/token"), 0, "it is given no code");
    world.idp.behave(answers(""));
    world.taken(&world.round_trip().await).await;
    let discovery = json!({"authorization_response_iss_parameter_supported": true});
    world.idp.behave(Behaviour { discovery: discovery.clone(), ..Behaviour::default() });
    world.connect("acme", "okta", |_| {}).await;
    world.taken(&world.round_trip().await).await;
    world.idp.behave(Behaviour { discovery, ..answers("") });
    let detail = world.refused("acme", &world.round_trip().await).await.detail.unwrap();
    assert!(detail.contains("doesn't say of which issuer"), "{detail}");
    // an error is checked first, too
    let refusal = Some(("access_denied".to_owned(), "no".to_owned()));
    world.idp.behave(Behaviour { refusal, ..answers("https://evil.example") });
    let detail = world.refused("acme", &world.round_trip().await).await.detail.unwrap();
    assert!(detail.contains("(iss)") && !detail.contains("access_denied"), "{detail}");
}

#[tokio::test]
async fn an_answer_counts_only_in_the_browser_that_began() {
    let world = World::start().await;
    let sent = world.depart("acme", "okta", false).await;
    let url = world.sign_in(&sent).await;
    for browser in [None, Some("another-browser"), Some("")] {
        let reply = world.get(&url, browser).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        let detail = world.refused("acme", &reply).await.detail.unwrap();
        assert!(detail.contains("not the one that began"), "{detail}");
    }
    assert_eq!(world.idp.requests("/token"), 0);
    world.taken(&world.come_back(&url).await).await;
}

#[tokio::test]
async fn an_answer_counts_once() {
    let world = World::start().await;
    let sent = world.depart("acme", "okta", false).await;
    let url = world.sign_in(&sent).await;
    let first = world.come_back(&url).await;
    // the same link again, and the same state with a code that is fresh
    let fresh = world.sign_in(&sent).await;
    for again in [&url, &fresh] {
        let reply = world.come_back(again).await;
        let detail = world.refused("acme", &reply).await.detail.unwrap();
        assert!(detail.contains("it was answered"), "{detail}");
    }
    world.taken(&first).await;
    // what was sent anew awaits no earlier answer
    let sent = world.depart("acme", "okta", false).await;
    let early = world.sign_in(&sent).await;
    world.depart_again(sent.flow, "acme", "okta", false).await.unwrap();
    let reply = world.come_back(&early).await;
    assert_eq!(world.refused("acme", &reply).await.action, "sign-in.refused");
}

#[tokio::test]
async fn a_sign_in_is_over_after_five_answers_that_are_refused() {
    let world = World::start().await;
    let sent = world.depart("acme", "okta", false).await;
    world.idp.behave(Behaviour { claims: json!({"exp": 0}), ..Behaviour::default() });
    for _ in 0..5 {
        let reply = world.come_back(&world.sign_in(&sent).await).await;
        let detail = world.refused("acme", &reply).await.detail.unwrap();
        assert!(detail.contains("expired"), "{detail}");
    }
    let asked = world.idp.requests("/token");
    world.idp.behave(Behaviour::default());
    let reply = world.come_back(&world.sign_in(&sent).await).await;
    let detail = world.refused("acme", &reply).await.detail.unwrap();
    assert!(detail.contains("no sign-in by this connection awaits"), "{detail}");
    assert_eq!(world.idp.requests("/token"), asked, "nothing is done for it any more");
    world.taken(&world.round_trip().await).await;
}

#[tokio::test]
async fn nonsense_at_the_callback_is_refused() {
    let world = World::start().await;
    let base: Url = "https://gateway.example/sso/acme/okta/oidc/callback".parse().unwrap();
    for (query, reason) in [("", "has no state"), ("state=x&code=y", "awaits an answer")] {
        let mut url = base.clone();
        url.set_query(Some(query));
        let detail = world.refused("acme", &world.come_back(&url).await).await.detail.unwrap();
        assert!(detail.contains(reason), "{detail}");
    }
    for (path, query, reason) in [
        (base.path(), "state=x&state=y", "malformed"),
        ("/sso/acme/nobody/oidc/callback", "state=x", "isn't open"),
        ("/sso/nobody/okta/oidc/callback", "state=x", "isn't open"),
    ] {
        let mut url = base.clone();
        url.set_path(path);
        url.set_query(Some(query));
        let reply = world.come_back(&url).await;
        let log = world.ledger().audit_of_nobody(reference(&reply.page)).await.unwrap();
        assert!(log[0].detail.as_deref().unwrap().contains(reason), "{log:?}");
    }
    let sent = world.depart("acme", "okta", false).await;
    let state = parameter(&sent.url, "state").unwrap();
    for query in [format!("state={state}"), format!("state={state}&code=")] {
        let mut url = base.clone();
        url.set_query(Some(&query));
        let detail = world.refused("acme", &world.come_back(&url).await).await.detail.unwrap();
        assert!(detail.contains("has no code"), "{detail}");
    }
}

#[tokio::test]
async fn what_changes_during_a_sign_in_ends_it() {
    let world = World::start().await;
    let sent = world.depart("acme", "okta", false).await;
    let url = world.sign_in(&sent).await;
    world.ledger().withdraw_connection("id-acme", "okta").await.unwrap();
    let reply = world.come_back(&url).await;
    let log = world.ledger().audit_of_nobody(reference(&reply.page)).await.unwrap();
    assert!(log[0].detail.as_deref().unwrap().contains("isn't open"), "{log:?}");

    world.connect("acme", "okta", |rules| rules.protocol = Protocol::Saml).await;
    let detail = world.refused("acme", &world.come_back(&url).await).await.detail.unwrap();
    assert!(detail.contains("doesn't speak OpenID Connect"), "{detail}");

    // a secret that is gone signs nobody in, and says so before anybody is sent away
    let without =
        Protocol::Oidc { client_id: "acme-okta".into(), client_secret: vec![], scopes: vec![] };
    world.connect("acme", "okta", |rules| rules.protocol = without.clone()).await;
    let detail = world.refused("acme", &world.come_back(&url).await).await.detail.unwrap();
    assert!(detail.starts_with("NoClientSecret"), "{detail}");
    let problem = world.depart_again(sent.flow, "acme", "okta", false).await.unwrap_err();
    assert!(problem.detail.starts_with("NoClientSecret"), "{problem:?}");

    // a secret that was sealed for another connection is no secret of this one
    let sealed = world.gateway.key.get().unwrap().seal("client-secret b/okta", b"x").unwrap();
    let other =
        Protocol::Oidc { client_id: "acme-okta".into(), client_secret: sealed, scopes: vec![] };
    world.connect("acme", "okta", |rules| rules.protocol = other.clone()).await;
    let reply = world.come_back(&url).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    let detail = world.refused("acme", &reply).await.detail.unwrap();
    assert!(detail.contains("can't be opened"), "{detail}");
    world.connect("acme", "okta", |_| {}).await;
    world.taken(&world.come_back(&url).await).await;
}
