//! What `rollcall authn-config` prints, on a real API server: whom it lets in, as whom, and whom not.

use std::process::Command;

use anyhow::{Context, ensure};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rollcall_kit::{control_plane::ControlPlane, scratch::Scratch};
use serde_json::{Value, json};

use crate::issuer::{Issuer, now};

fn printed(issuer: &str, ca: &std::path::Path, more: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_rollcall"))
        .args(["authn-config", "--issuer", issuer, "--ca"])
        .arg(ca)
        .args(more)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test]
async fn the_api_server_knows_people_and_teams_by_it_and_nobody_else() -> anyhow::Result<()> {
    let scratch = Scratch::take("authn-config")?;
    let control_plane = ControlPlane::start(scratch.path()).await?;
    let issuer = Issuer::start()?;
    let ca = scratch.path().join("issuer-ca.crt");
    std::fs::write(&ca, &issuer.ca_pem)?;

    let beta = printed(&issuer.url, &ca, &["--api-version=v1beta1"])?;
    control_plane.authenticate_with(&beta).await.context("v1beta1")?;
    let broken = beta.replace("claims.username.startsWith", "claims.username.beginsWith");
    let refused = control_plane.authenticate_with(&broken).await.unwrap_err().to_string();
    ensure!(refused.contains("beginsWith"), "{refused}");
    control_plane.authenticate_with(&printed(&issuer.url, &ca, &[])?).await?;

    let who = async |token: String| {
        let kubeconfig = control_plane.kubeconfig_for_token("person", &token)?;
        let kubectl = control_plane.kubectl_as(&kubeconfig)?;
        let who: Value = serde_json::from_str(&kubectl.run(&["auth", "whoami", "-o=json"]).await?)?;
        anyhow::Ok(who["status"]["userInfo"].clone())
    };
    let ada = who(issuer.token(&Value::Null)?).await?;
    ensure!(ada["username"] == "rollcall:acme:ada@acme.example", "{ada}");
    ensure!(ada["uid"] == "0190a5c4-0000-7000-8000-000000000001", "{ada}");
    ensure!(ada["groups"] == json!(["rollcall:acme:engineering", "system:authenticated"]), "{ada}");
    for nothing in [json!({"groups": null}), json!({"groups": []})] {
        let nobody = who(issuer.token(&nothing)?).await.context(nothing.to_string())?;
        ensure!(nobody["groups"] == json!(["system:authenticated"]), "{nobody}");
    }
    who(issuer.token(&json!({"aud": ["kubernetes"], "email_verified": null}))?).await?;

    let long_ago = now() - 3_600;
    for refused in [
        json!({"username": "system:admin"}),
        json!({"username": null}),
        json!({"groups": ["acme:engineering", "system:masters"]}),
        json!({"groups": "system:masters"}),
        json!({"aud": "argocd"}),
        json!({"aud": ["kubernetes", "argocd"]}),
        json!({"aud": null}),
        json!({"email_verified": false}),
        json!({"iss": "https://login.example"}),
        json!({"exp": long_ago}),
        json!({"sub": null}),
    ] {
        let token = issuer.token(&refused)?;
        unauthorized(who(token).await, &refused.to_string())?;
    }
    unauthorized(who(issuer.forged()?).await, "a foreign key")?;
    let token = issuer.token(&Value::Null)?;
    let claims = token.split('.').nth(1).context("no claims")?;
    let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    unauthorized(who(format!("{none}.{claims}.")).await, "no signature")
}

fn unauthorized(who: anyhow::Result<Value>, what: &str) -> anyhow::Result<()> {
    match who {
        Ok(who) => anyhow::bail!("{what}: let in as {who}"),
        Err(error) => {
            let error = format!("{error:#}");
            ensure!(
                error.contains("Unauthorized") || error.contains("logged in"),
                "{what}: {error}"
            );
            Ok(())
        }
    }
}
