//! A company and its people, as far as a load needs them: an identity provider that signs what it is
//! asked for, a directory that pushes them all, and a browser for each, at an address of its own behind
//! a proxy that keeps its connections.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::StatusCode;
use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use futures::future::try_join_all;
use jiff::Timestamp;
use reqwest::{Client, RequestBuilder, header, redirect::Policy};
use serde_json::Value;
use url::Url;

use super::ORGANIZATION;
use crate::{
    control_plane::ControlPlane,
    saml::{
        Person, ServiceProvider,
        authn_request::AuthnRequest,
        keys::{Kind, Signer},
        response::{Response, Sealing},
        signature::Profile,
    },
    scim::Scim,
    stage::Stage,
    visitor::Page,
    wait::until,
};

/// Its DirectorySync.
pub const DIRECTORY: &str = "company";
/// Users pushed at the same time.
const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(120);
const DOMAIN: &str = "bench.example";
const REDIRECT_URI: &str = "http://127.0.0.1:8000/";

/// What one browser after another connects by, with connections of its own.
///
/// # Errors
/// If the CA is none.
pub fn client(ca_pem: &str) -> anyhow::Result<Client> {
    let ca = reqwest::Certificate::from_pem(ca_pem.as_bytes())?;
    let client = Client::builder().tls_certs_only([ca]).no_proxy().redirect(Policy::none());
    Ok(client.build()?)
}

/// The token endpoint doesn't take what it was given, as that of somebody whose access has ended
/// (`invalid_grant`, RFC 6749, section 5.2).
#[derive(Debug, thiserror::Error)]
#[error("refused: {0}")]
pub struct Refused(Value);

/// The company: its identity provider, and the gateway that its people sign in at.
pub struct Company {
    /// What its directory pushes by.
    pub scim: Scim,
    /// The ids of its people there.
    pub ids: Vec<String>,
    gateway: Url,
    issuer: String,
    sealing: Sealing,
}

impl Company {
    /// Proves its domain, connects its identity provider and pushes its people, all in one team.
    ///
    /// # Errors
    /// If something fails to work.
    pub async fn new(
        stage: &Stage,
        control_plane: &ControlPlane,
        size: usize,
    ) -> anyhow::Result<Self> {
        // an elliptic curve: with RSA, signing responses would be most of what is measured
        let signer = Arc::new(Signer::new(Kind::P256)?);
        stage.idp.set_certificates(vec![Arc::clone(signer.identity())]);
        let object = |kind: &str, name: &str, spec: &str| {
            format!(
                "---\n{{apiVersion: rollcall.dev/v1alpha1, kind: {kind}, \
                 metadata: {{name: {name}, namespace: {ORGANIZATION}}}, spec: {spec}}}\n"
            )
        };
        let metadata = format!("{{saml: {{metadataURL: '{}'}}}}", stage.idp.metadata_url());
        let team = "{directorySyncRef: {name: company}, group: {displayName: Everyone}}";
        let objects = [
            object("VerifiedDomain", "domain", &format!("{{domain: {DOMAIN}}}")),
            object("DirectorySync", DIRECTORY, "{source: {scim: {}}}"),
            object("SsoConnection", "company", &metadata),
            object("DirectoryTeam", "everyone", team),
        ];
        control_plane.kubectl_apply(&objects.concat()).await?;
        let get = async |path: &str| {
            let path = format!("--output=jsonpath={path}");
            let get = ["get", "verifieddomain", "domain", "--namespace", ORGANIZATION, &path];
            control_plane.kubectl(&get).await
        };
        let (record, value) = until("the challenge", PATIENCE, async || {
            let record = get("{.status.challenge.recordName}").await?;
            let value = get("{.status.challenge.recordValue}").await?;
            Ok((!record.is_empty() && !value.is_empty()).then_some((record, value)))
        })
        .await?;
        stage.dns.set_txt(&record, vec![vec![value]])?;
        let (scim, ..) = until("the directory's address and token", PATIENCE, async || {
            stage.scim(control_plane, ORGANIZATION, DIRECTORY).await.map(Some)
        })
        .await?;
        let ids = push(&scim, size).await?;
        for object in ["ssoconnection/company", "directoryteam/everyone"] {
            let wait = ["wait", "--for=condition=Ready", "--timeout=120s", object];
            let namespace = ["--namespace", ORGANIZATION];
            control_plane.kubectl(&[&wait[..], &namespace].concat()).await?;
        }
        Ok(Self {
            scim,
            ids,
            gateway: Url::parse(&stage.gateway)?,
            issuer: stage.idp.entity_id(),
            sealing: Sealing { assertion: Some(Profile::new(&signer)), ..Sealing::default() },
        })
    }

    /// Signs one person in; returns the refresh token.
    ///
    /// # Errors
    /// If they are not signed in.
    pub async fn sign_in(&self, client: &Client, number: usize) -> anyhow::Result<String> {
        let email = email(number);
        let mut browser = Browser::new(client, number);
        let verifier = format!("{number:0>43}");
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        let mut authorize = self.gateway.join("/oauth2/authorize")?;
        authorize.query_pairs_mut().extend_pairs([
            ("client_id", "kubernetes"),
            ("redirect_uri", REDIRECT_URI),
            ("response_type", "code"),
            ("scope", "openid email offline_access"),
            ("state", &verifier),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let page = browser.get(&authorize).await?.leads_on()?;
        let form = browser.get(&page).await?.page()?.form()?;
        let fields = form.fields.into_iter().map(|(name, value)| match name.as_str() {
            "email" => (name, email.clone()),
            _ => (name, value),
        });
        let request = client.post(form.action.clone()).header("Sec-Fetch-Site", "same-origin");
        let request = request.form(&fields.collect::<Vec<_>>());
        let asked = browser.send(&form.action, request).await?.leads_on()?;

        let request = AuthnRequest::read(asked.as_str())?;
        let acs = Url::parse(request.acs.as_deref().context("no address to answer at")?)?;
        let sp = ServiceProvider { entity_id: request.issuer, acs: acs.to_string() };
        let person = Person::new(&email, &email, "Somebody");
        let response = Response::new(&self.issuer, &sp, &person, Timestamp::now());
        let response = self.sealing.seal(&response.answering(&request.id))?;
        let posted = [
            ("SAMLResponse", BASE64_STANDARD.encode(response)),
            ("RelayState", request.relay_state.context("no RelayState")?),
        ];
        let request = client.post(acs.clone()).header("Sec-Fetch-Site", "cross-site").form(&posted);
        let resume = browser.send(&acs, request).await?.leads_on()?;
        let back = browser.get(&resume).await?.leads_on()?;
        let code = back.query_pairs().find(|(name, _)| name == "code");
        let (_, code) = code.with_context(|| format!("no code in {back}"))?;
        let fields = [
            ("grant_type", "authorization_code"),
            ("client_id", "kubernetes"),
            ("redirect_uri", REDIRECT_URI),
            ("code", &code),
            ("code_verifier", &verifier),
        ];
        self.tokens(client, number, &fields).await
    }

    /// New tokens for a refresh token; returns the next one.
    ///
    /// # Errors
    /// [`Refused`], or if there is another answer.
    pub async fn refresh(
        &self,
        client: &Client,
        number: usize,
        token: &str,
    ) -> anyhow::Result<String> {
        let fields = [
            ("grant_type", "refresh_token"),
            ("client_id", "kubernetes"),
            ("refresh_token", token),
        ];
        self.tokens(client, number, &fields).await
    }

    /// What the token endpoint answers: an ID token, and the refresh token that is returned.
    async fn tokens(
        &self,
        client: &Client,
        number: usize,
        fields: &[(&str, &str)],
    ) -> anyhow::Result<String> {
        let request = client.post(self.gateway.join("/oauth2/token")?).form(fields);
        let answer = request.header(FORWARDED_FOR, address(number)).send().await?;
        let status = answer.status();
        let answer: Value = answer.json().await?;
        if status == StatusCode::BAD_REQUEST && answer["error"] == "invalid_grant" {
            return Err(Refused(answer).into());
        }
        ensure!(status == StatusCode::OK && answer["id_token"].is_string(), "{status}: {answer}");
        let token = answer["refresh_token"].as_str().context("no refresh token")?;
        Ok(token.to_owned())
    }
}

/// Pushes the people, and a group of all of them. Returns their ids.
async fn push(scim: &Scim, size: usize) -> anyhow::Result<Vec<String>> {
    let next = AtomicUsize::new(0);
    let pushers = (0..AT_ONCE).map(|_| async {
        let mut ids = vec![];
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= size {
                return anyhow::Ok(ids);
            }
            ids.push((number, scim.create_user(&email(number), "Somebody").await?));
        }
    });
    let mut ids = try_join_all(pushers).await?.concat();
    ids.sort_unstable();
    let ids: Vec<_> = ids.into_iter().map(|(_, id)| id).collect();
    let members: Vec<_> = ids.iter().map(String::as_str).collect();
    scim.create_group("Everyone", &members).await?;
    Ok(ids)
}

fn email(number: usize) -> String {
    format!("user{number:05}@{DOMAIN}")
}

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Where the proxy says that somebody is.
fn address(number: usize) -> String {
    let [.., a, b, c] = number.to_be_bytes();
    format!("10.{a}.{b}.{c}")
}

/// One person's browser behind the proxy.
struct Browser<'a> {
    client: &'a Client,
    address: String,
    cookies: HashMap<String, String>,
}

/// Where a request led.
enum Led {
    On(Url),
    To(Page),
}

impl<'a> Browser<'a> {
    fn new(client: &'a Client, number: usize) -> Self {
        Self { client, address: address(number), cookies: HashMap::new() }
    }

    async fn get(&mut self, url: &Url) -> anyhow::Result<Led> {
        self.send(url, self.client.get(url.clone())).await
    }

    async fn send(&mut self, url: &Url, request: RequestBuilder) -> anyhow::Result<Led> {
        let cookies = self.cookies.iter().map(|(name, value)| format!("{name}={value}"));
        let request = request
            .header(FORWARDED_FOR, &self.address)
            .header(header::COOKIE, cookies.collect::<Vec<_>>().join("; "));
        let response = request.send().await?;
        for cookie in response.headers().get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str()?.split(';').next().unwrap_or_default();
            let (name, value) = cookie.split_once('=').context("a cookie without a value")?;
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let status = response.status();
        if let Some(location) = response.headers().get(header::LOCATION) {
            return Ok(Led::On(url.join(location.to_str()?)?));
        }
        let page = Page { url: url.clone(), status, html: response.text().await? };
        Ok(match page.refresh()? {
            Some(next) => Led::On(next),
            None => Led::To(page),
        })
    }
}

impl Led {
    fn leads_on(self) -> anyhow::Result<Url> {
        match self {
            Self::On(url) => Ok(url),
            Self::To(Page { url, status, html }) => bail!("{url} is the end: {status} {html}"),
        }
    }

    fn page(self) -> anyhow::Result<Page> {
        match self {
            Self::To(page) => Ok(page),
            Self::On(url) => bail!("it led on to {url}"),
        }
    }
}
