//! What an access token opens, and for how long.

use super::*;
use crate::{gateway::keys::Keys, ledger::Purpose};

#[tokio::test]
async fn userinfo_says_who_holds_the_token() {
    let world = World::new().await;
    let token = world.tokens().await;
    let access = token["access_token"].as_str().unwrap();
    let info = world.bearer(access).await.ok();
    assert_eq!(info["sub"], world.ada.to_string());
    assert_eq!(info["username"], "acme:ada@acme.com");
    assert_eq!(info["groups"], serde_json::json!(["acme:engineering"]));
    let posted = world.post("/oauth2/userinfo", &format!("bearer {access}"), &[]).await.ok();
    assert_eq!(posted, info);
}

#[tokio::test]
async fn a_token_of_an_ended_session_opens_nothing() {
    let world = World::new().await;
    let token = world.tokens().await;
    world.ledger.revoke("acme", ADA).await.unwrap();
    let answer = world.bearer(token["access_token"].as_str().unwrap()).await;
    assert_eq!(answer.status, 401);
    let challenge = answer.headers[header::WWW_AUTHENTICATE].to_str().unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
}

#[tokio::test]
async fn anything_but_an_access_token_of_ours_opens_nothing() {
    let world = World::new().await;
    let token = world.tokens().await;
    let id = token["id_token"].as_str().unwrap();
    let access = token["access_token"].as_str().unwrap();
    let (message, signature) = access.rsplit_once('.').unwrap();
    let payload = message.split_once('.').unwrap().1;
    let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#);
    let forged = ledger().await;
    let slot = KeySlot::default();
    slot.set(InstallationKey::new(&[7; LENGTH]).unwrap());
    let foreign = Keys::new(forged.1, slot).ring(&Purpose::IdToken).await.unwrap();
    let claims: Value =
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let foreign = super::super::jwt::sign(&foreign, "at+jwt", &claims, Timestamp::now()).unwrap();
    for wrong in [
        "",
        "x",
        "a.b.c",
        id,
        token["refresh_token"].as_str().unwrap(),
        &format!("{none}.{payload}."),
        &format!("{none}.{payload}.{signature}"),
        &format!("{message}."),
        &foreign,
    ] {
        let answer = world.bearer(wrong).await;
        assert_eq!(answer.status, 401, "{wrong}");
        assert!(answer.headers.contains_key(header::WWW_AUTHENTICATE));
    }
    let answer = world.get("/oauth2/userinfo", "").await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer realm=\"rollcall\"");
}
