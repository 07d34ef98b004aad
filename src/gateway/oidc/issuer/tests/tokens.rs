//! The token endpoint, discovery and revocation.

use base64::prelude::BASE64_STANDARD;
use jiff::ToSpan;

use super::*;
use crate::ledger::{Code, KeyPair, Purpose};

#[tokio::test]
async fn a_code_is_worth_an_id_token_that_says_who_and_which_teams() {
    let world = World::new().await;
    let cookie = world.session_of(ADA, 100).await;
    let answer = world.redeem(&world.code(&cookie, &[]).await).await;
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    let token = answer.ok();
    assert_eq!(token["token_type"], "Bearer");
    assert_eq!(token["expires_in"], 300);
    assert_eq!(token["scope"], "openid offline_access");
    let id = token["id_token"].as_str().unwrap();
    assert_eq!(decode_header(id).unwrap().alg, Algorithm::ES256);
    let claims = world.verified(id, "kubernetes").await;
    let ada = world.ada.to_string();
    assert_eq!((claims["sub"].as_str(), claims["uid"].as_str()), (Some(&*ada), Some(&*ada)));
    assert_eq!(claims["iss"], ISSUER);
    assert_eq!(claims["aud"], "kubernetes");
    assert_eq!(claims["username"], "acme:ada@acme.com");
    assert_eq!(claims["groups"], serde_json::json!(["acme:engineering"]));
    assert_eq!(claims["email"], ADA);
    assert_eq!(claims["email_verified"], true);
    assert_eq!(claims["nonce"], "n-1");
    let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    assert_eq!(exp - iat, 300);
    assert!((100..110).contains(&(iat - claims["auth_time"].as_i64().unwrap())));
    let access = token["access_token"].as_str().unwrap();
    let half = &digest(&SHA256, access.as_bytes()).as_ref()[..16].to_vec();
    assert_eq!(claims["at_hash"], BASE64_URL_SAFE_NO_PAD.encode(half));
}

#[tokio::test]
async fn an_access_token_is_no_id_token() {
    let world = World::new().await;
    let token = world.tokens().await;
    let access = token["access_token"].as_str().unwrap();
    assert_eq!(decode_header(access).unwrap().typ.as_deref(), Some("at+jwt"));
    let claims = world.verified(access, "https://gateway.example/oauth2/userinfo").await;
    for missing in ["username", "groups", "uid", "email"] {
        assert!(claims.get(missing).is_none(), "{missing}");
    }
}

#[tokio::test]
async fn tokens_do_not_outlive_the_session_and_live_an_hour_at_most() {
    let world = World::new().await;
    let class = Class { token_seconds: 86_400, clients: vec![] };
    world.ledger.put_class("default", &class).await.unwrap();
    assert_eq!(world.tokens().await["expires_in"], 3600);
    let rules = world.ledger.open_connection_of("a", "okta").await.unwrap().unwrap().rules;
    let rules = Rules { session_seconds: 100, ..rules };
    let domains = ["acme.com".to_owned()];
    world.ledger.publish_connection("a", "okta", &rules, &domains).await.unwrap();
    let left = world.tokens().await["expires_in"].as_i64().unwrap();
    assert!((1..=100).contains(&left), "{left}");
}

#[tokio::test]
async fn a_code_is_for_the_client_the_address_and_the_verifier_it_was_issued_for() {
    let world = World::new().await;
    let cookie = world.session_of(ADA, 0).await;
    let grafana = [("client_id", "grafana")];
    let other_port = [("redirect_uri", "http://127.0.0.1:8001/callback")];
    let other_verifier = [("code_verifier", "b-verifier-of-43-characters-or-more-as-the-RFC")];
    let too_short = [("code_verifier", "short")];
    let the_challenge = challenge();
    let the_challenge = [("code_verifier", the_challenge.as_str())];
    for changes in [grafana, other_port, other_verifier, too_short, the_challenge] {
        let code = world.code(&cookie, &[]).await;
        let answer = world.redeem_with(&code, &changes).await;
        assert_eq!(answer.refused(400), "invalid_grant", "{changes:?}");
    }
    for missing in ["code", "redirect_uri", "code_verifier", "grant_type", "client_id"] {
        let code = world.code(&cookie, &[]).await;
        let answer = world.redeem_with(&code, &[(missing, "")]).await;
        assert_eq!(answer.refused(400), "invalid_request", "{missing}");
        world.redeem(&code).await.ok();
    }
    let answer = world.redeem_with("x", &[("grant_type", "password")]).await;
    assert_eq!(answer.refused(400), "unsupported_grant_type");
    let twice = [("scope", "openid"), ("scope", "openid")];
    assert_eq!(world.redeem_with("x", &twice).await.refused(400), "invalid_request");
    assert_eq!(world.redeem("x").await.refused(400), "invalid_grant");
}

#[tokio::test]
async fn a_code_used_twice_ends_the_session_and_all_that_came_of_it() {
    let world = World::new().await;
    let cookie = world.session_of(ADA, 0).await;
    let code = world.code(&cookie, &[]).await;
    let token = world.redeem(&code).await.ok();
    assert_eq!(world.redeem(&code).await.refused(400), "invalid_grant");
    let refresh = token["refresh_token"].as_str().unwrap();
    assert_eq!(world.refresh(refresh).await.refused(400), "invalid_grant");
    assert_eq!(world.bearer(token["access_token"].as_str().unwrap()).await.status, 401);
    assert!(world.authorize(&cookie, &[]).await.to().starts_with("/sign-in?flow="));
    let line =
        ("a".into(), "client:kubernetes".into(), "token.reused".into(), world.ada.to_string());
    assert_eq!(world.audited("token.reused").await, [line]);
}

#[tokio::test]
async fn a_code_is_good_for_a_minute() {
    let world = World::new().await;
    let cookie = world.session_of(ADA, 0).await;
    let now = Timestamp::now();
    let standing = world.ledger.standing_of_cookie(secret::hash(&cookie), now).await.unwrap();
    let code = Code {
        session: standing.unwrap().session,
        client: "kubernetes".into(),
        redirect_uri: REDIRECT.into(),
        challenge: challenge(),
        nonce: None,
        scope: "openid".into(),
    };
    for (text, seconds) in [("late", -1), ("early", 30)] {
        let ends = now + seconds.seconds();
        assert!(world.ledger.issue_code(secret::hash(text), &code, ends).await.unwrap());
    }
    assert_eq!(world.redeem("late").await.refused(400), "invalid_grant");
    let token = world.redeem("early").await.ok();
    assert!(token.get("refresh_token").is_none(), "none was asked for");
}

#[tokio::test]
async fn a_refresh_token_is_used_once_and_its_reuse_ends_the_session() {
    let world = World::new().await;
    let first = world.tokens().await;
    let text = |token: &Value| token["refresh_token"].as_str().unwrap().to_owned();
    let second = world.refresh(&text(&first)).await.ok();
    let claims = world.verified(second["id_token"].as_str().unwrap(), "kubernetes").await;
    assert_eq!(claims["groups"], serde_json::json!(["acme:engineering"]));
    assert!(claims.get("nonce").is_none());
    let third = world.refresh(&text(&second)).await.ok();
    assert_eq!(world.refresh(&text(&first)).await.refused(400), "invalid_grant");
    assert_eq!(world.refresh(&text(&third)).await.refused(400), "invalid_grant");
    assert_eq!(world.audited("token.reused").await.len(), 1);
}

#[tokio::test]
async fn a_refresh_looks_at_person_connection_and_domain_again() {
    for change in ["person", "connection", "domain", "directory", "namespace"] {
        let world = World::new().await;
        let token = world.tokens().await;
        match change {
            "person" => world.deactivate_ada().await,
            "connection" => world.ledger.withdraw_connection("a", "okta").await.unwrap(),
            "domain" => world.ledger.release("a", "acme.com").await.unwrap(),
            "directory" => {
                world.ledger.delete_directory("a", "okta", Timestamp::now()).await.unwrap();
            }
            _ => world.ledger.end_organization("a", Timestamp::now()).await.unwrap(),
        }
        let answer = world.refresh(token["refresh_token"].as_str().unwrap()).await;
        assert_eq!(answer.refused(400), "invalid_grant", "{change}");
        let answer = world.bearer(token["access_token"].as_str().unwrap()).await;
        assert_eq!(answer.status, 401, "{change}");
    }
}

#[tokio::test]
async fn a_connection_that_was_suspended_for_a_while_spends_no_refresh_token() {
    let world = World::new().await;
    let token = world.tokens().await;
    let refresh = token["refresh_token"].as_str().unwrap();
    let rules = world.ledger.open_connection_of("a", "okta").await.unwrap().unwrap().rules;
    world.ledger.withdraw_connection("a", "okta").await.unwrap();
    assert_eq!(world.refresh(refresh).await.refused(400), "invalid_grant");
    let domains = ["acme.com".to_owned()];
    world.ledger.publish_connection("a", "okta", &rules, &domains).await.unwrap();
    world.refresh(refresh).await.ok();
}

#[tokio::test]
async fn a_refresh_grants_no_more_than_the_code_did() {
    let world = World::new().await;
    let token = world.tokens().await;
    let refresh = token["refresh_token"].as_str().unwrap();
    let with = |scope| {
        [
            ("grant_type", "refresh_token"),
            ("client_id", "kubernetes"),
            ("refresh_token", refresh),
            ("scope", scope),
        ]
    };
    let wider = world.post("/oauth2/token", "", &with("openid groups")).await;
    assert_eq!(wider.refused(400), "invalid_scope");
    world.post("/oauth2/token", "", &with("openid")).await.ok();
}

#[tokio::test]
async fn a_confidential_client_shows_its_secret_and_a_public_one_has_none() {
    let world = World::new().await;
    let cookie = world.session_of(ADA, 0).await;
    let uri = "https://argocd.example/callback";
    let argocd = [("client_id", "argocd"), ("redirect_uri", uri)];
    let code = world.code(&cookie, &argocd).await;
    for secret in ["", "hush ", "Hush"] {
        let answer =
            world.redeem_with(&code, &[argocd[0], argocd[1], ("client_secret", secret)]).await;
        assert_eq!(answer.refused(401), "invalid_client", "{secret:?}");
    }
    let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &*code),
        ("redirect_uri", uri),
        ("code_verifier", VERIFIER),
    ];
    let answer = world.post("/oauth2/token", &basic("argocd:wrong"), &form).await;
    assert_eq!(answer.refused(401), "invalid_client");
    assert!(answer.headers[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic"));
    let both = [&form[..], &[("client_secret", "hush")]].concat();
    let answer = world.post("/oauth2/token", &basic("argocd:hush"), &both).await;
    assert_eq!(answer.refused(400), "invalid_request");
    let token = world.post("/oauth2/token", &basic("argocd:hush"), &form).await.ok();
    let claims = world.verified(token["id_token"].as_str().unwrap(), "argocd").await;
    assert_eq!(claims["aud"], "argocd");
    assert!(token.get("refresh_token").is_none(), "it didn't ask for offline_access");
    let code = world.code(&cookie, &[]).await;
    let answer = world.redeem_with(&code, &[("client_secret", "guess")]).await;
    assert_eq!(answer.refused(401), "invalid_client");
    // as Go's oauth2 begins: by header, with an empty secret
    let form = changed(&form, &[("code", &code), ("redirect_uri", REDIRECT)]);
    world.post("/oauth2/token", &basic("kubernetes:"), &form).await.ok();
}

#[tokio::test]
async fn a_client_that_is_gone_from_the_class_refreshes_nothing() {
    let world = World::new().await;
    let cookie = world.session_of(ADA, 0).await;
    let uri = "https://argocd.example/callback";
    let argocd = [("client_id", "argocd"), ("redirect_uri", uri), ("client_secret", "hush")];
    let offline = [argocd[0], argocd[1], ("scope", "openid offline_access")];
    let code = world.code(&cookie, &offline).await;
    let token = world.redeem_with(&code, &argocd).await.ok();
    let refresh = token["refresh_token"].as_str().unwrap().to_owned();
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", "argocd"),
        ("client_secret", "hush"),
        ("refresh_token", &refresh),
    ];
    let as_kubernetes = changed(&form, &[("client_id", "kubernetes"), ("client_secret", "")]);
    let answer = world.post("/oauth2/token", "", &as_kubernetes).await;
    assert_eq!(answer.refused(400), "invalid_grant", "another client's is unknown");
    let mut class = world.ledger.class("default").await.unwrap().unwrap();
    class.clients.iter_mut().for_each(|c| c.namespaces = Some(vec!["initech".into()]));
    world.ledger.put_class("default", &class).await.unwrap();
    assert_eq!(world.post("/oauth2/token", "", &form).await.refused(400), "invalid_grant");
    class.clients.clear();
    world.ledger.put_class("default", &class).await.unwrap();
    assert_eq!(world.post("/oauth2/token", "", &form).await.refused(401), "invalid_client");
}

#[tokio::test]
async fn an_organization_named_system_gets_no_token() {
    let world = World::new().await;
    world.ledger.name_organization("a", "system", Timestamp::now()).await.unwrap();
    let cookie = world.session_of(ADA, 0).await;
    let told = world.authorize(&cookie, &[]).await.location();
    assert_eq!(told["error"], "access_denied");
}

#[tokio::test]
async fn a_revoked_refresh_token_is_over_and_an_unknown_one_is_no_error() {
    let world = World::new().await;
    let token = world.tokens().await;
    let refresh = token["refresh_token"].as_str().unwrap();
    let revoke = async |client: &str, token: &str| {
        world.post("/oauth2/revoke", "", &[("client_id", client), ("token", token)]).await
    };
    assert_eq!(revoke("kubernetes", "unknown").await.status, 200);
    assert_eq!(revoke("grafana", refresh).await.status, 200);
    let token = world.refresh(refresh).await.ok();
    let refresh = token["refresh_token"].as_str().unwrap();
    assert_eq!(revoke("argocd", refresh).await.refused(401), "invalid_client");
    let access = token["access_token"].as_str().unwrap();
    assert_eq!(revoke("kubernetes", access).await.refused(400), "unsupported_token_type");
    assert_eq!(revoke("kubernetes", refresh).await.status, 200);
    assert_eq!(world.refresh(refresh).await.refused(400), "invalid_grant");
    assert!(world.audited("token.reused").await.is_empty());
}

#[tokio::test]
async fn without_the_installation_key_clients_are_told_to_try_later_and_no_code_is_spent() {
    let slot = KeySlot::default();
    let world = World::with_key(slot.clone()).await;
    let cookie = world.session_of(ADA, 0).await;
    let code = world.code(&cookie, &[]).await;
    assert_eq!(world.redeem(&code).await.refused(503), "temporarily_unavailable");
    assert_eq!(world.get("/oauth2/jwks", "").await.refused(503), "temporarily_unavailable");
    assert_eq!(world.bearer("x").await.refused(503), "temporarily_unavailable");
    slot.set(InstallationKey::new(&[7; LENGTH]).unwrap());
    world.redeem(&code).await.ok();
}

#[tokio::test]
async fn the_discovery_document_says_where_everything_is() {
    let world = World::new().await;
    let document = world.get("/.well-known/openid-configuration", "").await.ok();
    assert_eq!(document["issuer"], ISSUER);
    assert_eq!(document["code_challenge_methods_supported"], serde_json::json!(["S256"]));
    for (name, value) in document.as_object().unwrap() {
        if name.ends_with("_endpoint") || name == "jwks_uri" {
            let path = value.as_str().unwrap().strip_prefix(ISSUER).unwrap();
            assert_ne!(world.get(path, "").await.status, 404, "{name}");
        }
    }
    let token = world.tokens().await;
    let claims = world.verified(token["id_token"].as_str().unwrap(), "kubernetes").await;
    let supported = document["claims_supported"].as_array().unwrap();
    for name in claims.as_object().unwrap().keys() {
        assert!(supported.contains(&Value::from(name.as_str())), "{name}");
    }
}

#[tokio::test]
async fn the_next_key_is_published_before_it_signs_and_the_last_one_verifies_still() {
    let world = World::new().await;
    let old = world.tokens().await;
    let old = old["id_token"].as_str().unwrap();
    let now = Timestamp::now();
    let first = world.ledger.keys(&Purpose::IdToken, now).await.unwrap().remove(0);
    assert_eq!(decode_header(old).unwrap().kid.as_ref(), Some(&first.id));
    // another gateway made a key of its own, which this one has not seen
    let key = InstallationKey::new(&[7; LENGTH]).unwrap();
    let pair = aws_lc_rs::signature::EcdsaKeyPair::generate(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
    );
    let private = pair.unwrap().to_pkcs8v1().unwrap();
    let next = |id: &str, active_at| KeyPair {
        id: id.into(),
        purpose: Purpose::IdToken,
        sealed: key.seal(&format!("ID-token key {id}"), private.as_ref()).unwrap(),
        public: vec![],
        created_at: now,
        active_at,
        retired_at: None,
        expires_at: None,
    };
    let soon = next("soon", now + 24.hours());
    let ends = KeyPair { expires_at: Some(now + 25.hours()), ..first.clone() };
    assert!(world.ledger.add_key(&soon, Some(&ends)).await.unwrap());
    let url = format!("{ISSUER}/").parse().unwrap();
    let slot = KeySlot::default();
    slot.set(key.clone());
    let other = Gateway::for_tests(&world.ledger, url, slot);
    let world = World { router: router(other), ..world };
    let published = world.get("/oauth2/jwks", "").await.ok();
    let ids: Vec<_> =
        published["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect();
    assert_eq!(ids, [Value::from(first.id.as_str()), Value::from("soon")]);
    let token = world.tokens().await;
    let signed_by = decode_header(token["id_token"].as_str().unwrap()).unwrap().kid;
    assert_eq!(signed_by, Some(first.id), "the next one is not used yet");
    world.verified(old, "kubernetes").await;
}
