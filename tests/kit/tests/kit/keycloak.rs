//! Keycloak: a person signs in at it in a browser, by SAML and by OIDC, and it does what tests of
//! Rollcall will ask of it: keys that roll over, a disabled person, a clock that is wrong.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::{Context, ensure};
use axum::{Router, response::Html, routing::get, routing::post};
use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::{Certificate, Client};
use rollcall_kit::{
    browser::Browser,
    install_crypto,
    keycloak::{Keycloak, NameIdFormat, OidcClient, SamlClient, User},
    openid_client::{OpenidClient, Refused},
    saml_idp::new_certificate,
    tls::Authority,
};
use serde_json::json;

use crate::site::Site;

const ADA: User<'_> =
    User { email: "ada@acme.test", name: "Ada Lovelace", password: "analytical engine" };
const ENTITY_ID: &str = "https://rollcall.test/sso/acme/keycloak/saml/metadata";

fn screenshot(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots").join(name)
}

#[tokio::test]
async fn a_person_signs_in_and_sees_their_account() -> anyhow::Result<()> {
    let keycloak = Keycloak::shared().await?;
    let realm = keycloak.create_realm("account").await?;
    let ada = realm.create_user(&ADA).await?;
    let browser = Browser::start(&[keycloak.ca_pem()]).await?;
    browser.visit(&realm.account_url()).await?;
    browser.wait_for_text("Sign in to your account").await?;
    browser.screenshot(&screenshot("keycloak-login.png")).await?;
    ADA.sign_in(&browser).await?;
    browser.wait_for_text("Ada Lovelace").await?;
    browser.wait_for_url(&realm.account_url()).await?;
    browser.screenshot(&screenshot("keycloak-account.png")).await?;

    // Logged out by the administrator and disabled, she can't get in again.
    realm.set_enabled(&ada, false).await?;
    realm.log_out(&ada).await?;
    browser.visit(&realm.account_url()).await?;
    ADA.sign_in(&browser).await?;
    browser.wait_for_text("Account is disabled").await?;
    realm.set_enabled(&ada, true).await?;
    ADA.sign_in(&browser).await?;
    browser.wait_for_text("Ada Lovelace").await
}

#[tokio::test]
async fn openid_client_signs_in_by_oidc() -> anyhow::Result<()> {
    let keycloak = Keycloak::shared().await?;
    let realm = keycloak.create_realm("oidc").await?;
    let ada = realm.create_user(&ADA).await?;
    realm.join_group(&ada, &realm.create_group("engineering").await?).await?;
    let authority = Authority::new()?;
    let site =
        Site::start(&authority, Router::new().route("/callback", get(async || "You are back.")))?;
    let redirect_uri = site.url("/callback");
    let client = OidcClient { id: "rollcall", secret: "hush", redirect_uri: &redirect_uri };
    realm.create_oidc_client(&client).await?;
    let client = OpenidClient::new(&realm.issuer(), "rollcall", Some("hush"), keycloak.ca_pem())?;

    let begun = client.begin(&redirect_uri, &json!({"scope": "openid email profile"})).await?;
    let browser = Browser::start(&[keycloak.ca_pem(), &authority.ca_pem()]).await?;
    browser.visit(&begun.url).await?;
    ADA.sign_in(&browser).await?;
    browser.wait_for_text("You are back.").await?;
    let callback = browser.wait_for_url(&redirect_uri).await?.to_string();

    // Of another sign-in: the state differs.
    let other = client.begin(&redirect_uri, &json!({})).await?;
    let refused = refusal(client.finish(&other, &callback).await)?;
    ensure!(refused.cause.as_ref().is_some_and(|cause| cause.contains("state")), "{refused}");

    let got = client.finish(&begun, &callback).await?;
    let claims = &got.claims;
    ensure!(claims["sub"] == ada && claims["email"] == ADA.email, "{claims}");
    ensure!(claims["email_verified"] == true && claims["name"] == ADA.name, "{claims}");
    ensure!(claims["groups"] == json!(["engineering"]), "{claims}");
    let token = |name: &str| {
        let token = got.tokens.get(name).and_then(|token| token.as_str());
        token.with_context(|| format!("no {name}"))
    };
    let userinfo = client.userinfo(token("access_token")?, &ada).await?;
    ensure!(userinfo["email"] == ADA.email, "{userinfo}");
    let refreshed = client.refresh(token("refresh_token")?).await?;
    ensure!(refreshed.claims["sub"] == ada, "{}", refreshed.claims);
    client.revoke(token("refresh_token")?).await?;
    let refused = refusal(client.refresh(token("refresh_token")?).await)?;
    ensure!(refused.error.as_deref() == Some("invalid_grant"), "{refused}");
    ensure!(refused.status == Some(400), "{refused}");
    // The code was for once.
    let refused = refusal(client.finish(&begun, &callback).await)?;
    ensure!(refused.error.as_deref() == Some("invalid_grant"), "{refused}");
    Ok(())
}

fn refusal<T>(result: anyhow::Result<T>) -> anyhow::Result<Refused> {
    result.err().context("it was not refused")?.downcast()
}

/// An assertion consumer service that keeps what is posted to it.
struct Acs {
    site: Site,
    authority: Authority,
    posted: Arc<Mutex<String>>,
}

impl Acs {
    fn start() -> anyhow::Result<Self> {
        install_crypto();
        let authority = Authority::new()?;
        let posted = Arc::new(Mutex::new(String::new()));
        let keep = Arc::clone(&posted);
        let pages = Router::new().route(
            "/acs",
            post(async move |form: String| {
                *keep.lock().unwrap_or_else(PoisonError::into_inner) = form;
                Html("Thank you.")
            }),
        );
        Ok(Self { site: Site::start(&authority, pages)?, authority, posted })
    }

    fn url(&self) -> String {
        self.site.url("/acs")
    }

    /// The SAML response that arrives when Ada begins at the IdP.
    async fn receive(&self, keycloak: &Keycloak, url: &str) -> anyhow::Result<String> {
        let browser = Browser::start(&[keycloak.ca_pem(), &self.authority.ca_pem()]).await?;
        browser.visit(url).await?;
        ADA.sign_in(&browser).await?;
        browser.wait_for_text("Thank you.").await?;
        let form = self.posted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let response = url::form_urlencoded::parse(form.as_bytes())
            .find_map(|(name, value)| (name == "SAMLResponse").then(|| value.into_owned()))
            .context("no SAMLResponse was posted")?;
        Ok(String::from_utf8(BASE64_STANDARD.decode(response)?)?)
    }
}

#[tokio::test]
async fn a_signed_assertion_with_attributes_is_posted_to_the_acs() -> anyhow::Result<()> {
    let acs = Acs::start()?;
    let keycloak = Keycloak::shared().await?;
    let realm = keycloak.create_realm("saml").await?;
    let ada = realm.create_user(&ADA).await?;
    realm.join_group(&ada, &realm.create_group("engineering").await?).await?;
    let url = acs.url();
    let client = SamlClient { idp_initiated: Some("rollcall"), ..SamlClient::new(ENTITY_ID, &url) };
    realm.create_saml_client(&client).await?;
    let response = acs.receive(keycloak, &realm.idp_initiated_url("rollcall")).await?;
    for part in [ENTITY_ID, &realm.issuer(), &url, ADA.email, "Lovelace", "engineering"] {
        ensure!(response.contains(part), "no {part} in {response}");
    }
    ensure!(response.contains("nameid-format:persistent"), "{response}");
    let signature = response.find("<dsig:Signature").context("it is not signed")?;
    let assertion = response.find("<saml:Assertion").context("there is no assertion")?;
    ensure!(assertion < signature, "the response is signed: {response}");
    Ok(())
}

#[tokio::test]
async fn an_encrypted_assertion_in_a_signed_response_is_posted_to_the_acs() -> anyhow::Result<()> {
    let acs = Acs::start()?;
    let keycloak = Keycloak::shared().await?;
    let realm = keycloak.create_realm("saml-encrypted").await?;
    realm.create_user(&ADA).await?;
    let url = acs.url();
    let certificate = new_certificate(SystemTime::now() + Duration::from_secs(86_400))?;
    let client = SamlClient {
        encryption_certificate: Some(&certificate.cert_pem()),
        sign_response: true,
        name_id: NameIdFormat::Email,
        idp_initiated: Some("rollcall"),
        ..SamlClient::new(ENTITY_ID, &url)
    };
    realm.create_saml_client(&client).await?;
    let response = acs.receive(keycloak, &realm.idp_initiated_url("rollcall")).await?;
    ensure!(!response.contains(ADA.email) && response.contains("<saml:EncryptedAssertion"));
    for part in ["<dsig:Signature", "xmlenc11#aes256-gcm", "rsa-oaep"] {
        ensure!(response.contains(part), "no {part} in {response}");
    }
    Ok(())
}

#[tokio::test]
async fn signing_keys_roll_over() -> anyhow::Result<()> {
    let keycloak = Keycloak::shared().await?;
    let realm = keycloak.create_realm("rollover").await?;
    let ca = Certificate::from_pem(keycloak.ca_pem().as_bytes())?;
    let client = Client::builder().tls_certs_only([ca]).build()?;
    let certificates = async || -> anyhow::Result<Vec<String>> {
        let metadata = client.get(realm.saml_metadata_url()).send().await?.text().await?;
        let found = metadata.split("<ds:X509Certificate>").skip(1);
        Ok(found.filter_map(|rest| rest.split('<').next()).map(ToOwned::to_owned).collect())
    };
    let first = certificates().await?;
    ensure!(first.len() == 1, "{first:?}");
    realm.add_signing_key().await?;
    let both = certificates().await?;
    ensure!(both.len() == 2 && both.contains(&first[0]), "{both:?}");
    realm.remove_old_signing_keys().await?;
    let second = certificates().await?;
    ensure!(second.len() == 1 && !second.contains(&first[0]), "{second:?}");
    ensure!(both.contains(&second[0]));
    Ok(())
}

#[tokio::test]
async fn its_clock_can_be_wrong_and_it_leaves_no_process() -> anyhow::Result<()> {
    install_crypto();
    let authority = Authority::new()?;
    let keycloak = Keycloak::start_with_clock(&authority, -600).await?;
    let offset = keycloak.clock_offset();
    ensure!((-660..=-540).contains(&offset), "{offset}");
    let process = Path::new("/proc").join(keycloak.process().id().to_string());
    ensure!(process.exists());
    drop(keycloak);
    ensure!(!process.exists());
    Ok(())
}
