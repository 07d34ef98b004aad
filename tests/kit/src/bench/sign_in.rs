//! Whole sign-ins, from kubectl's authorization request through the company's SAML identity provider to
//! the ID token, and refreshes: each person at an address of their own behind a proxy that keeps its
//! connections, as an ingress does. The ledger syncs each step to the disk before it answers.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
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

use super::{
    ORGANIZATION, Setting, machine,
    report::{Aim, Table},
};
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

/// Sign-ins at the same time.
const AT_ONCE: usize = 16;
/// How often each person's tokens are refreshed.
const REFRESHES: usize = 5;
const PATIENCE: Duration = Duration::from_secs(120);
const DOMAIN: &str = "bench.example";
const REDIRECT_URI: &str = "http://127.0.0.1:8000/";

/// Measures with `size` people.
///
/// # Errors
/// If something fails to work; the rows are in the table even if only some sign-ins failed.
pub async fn measure(program: &Path, size: usize, table: &mut Table) -> anyhow::Result<()> {
    let setting = Setting::start(program, "sign-in").await?;
    let Setting { stage, control_plane, scratch, .. } = &setting;
    println!("==> sign-in: connecting the company and pushing {size} people");
    let company = Company::new(stage, control_plane, size).await?;

    println!("==> sign-in: {size} people sign in");
    let title = format!("{size} sign-ins by SAML, {AT_ONCE} at once");
    let (signed_in, errors) =
        load(&setting, &title, "sign-ins", size, table, async |client, number| {
            company.sign_in(client, number).await
        })
        .await?;
    println!("==> sign-in: their tokens are refreshed");
    let title = format!("{} refreshes, {AT_ONCE} at once", size * REFRESHES);
    // one after the other: a refresh token is used once
    let tokens: Vec<_> = signed_in.into_iter().map(tokio::sync::Mutex::new).collect();
    let (_, refresh_errors) = if tokens.is_empty() {
        (vec![], vec![])
    } else {
        let refreshes = tokens.len() * REFRESHES;
        load(&setting, &title, "refreshes", refreshes, table, async |client, number| {
            let mut token = tokens[number % tokens.len()].lock().await;
            *token = company.refresh(client, number, &token).await?;
            Ok(())
        })
        .await?
    };
    let sync = machine::sync_milliseconds(scratch.path())?;
    table.row("one sync of this disk", sync, "ms", Aim::None);
    for (name, process) in [("controller", setting.controller()), ("gateway", setting.gateway())] {
        let (now, most) = machine::memory(process)?;
        table.row(&format!("{name}, resident memory"), now, "MiB", Aim::None);
        table.row(&format!("{name}, resident memory at its peak"), most, "MiB", Aim::None);
    }
    match errors.into_iter().chain(refresh_errors).next() {
        Some(error) => Err(error.context("somebody was not signed in")),
        None => Ok(()),
    }
}

/// Does something `count` times, and tells how it went.
async fn load<T>(
    setting: &Setting,
    title: &str,
    what: &str,
    count: usize,
    table: &mut Table,
    work: impl AsyncFn(&Client, usize) -> anyhow::Result<T>,
) -> anyhow::Result<(Vec<T>, Vec<anyhow::Error>)> {
    let ours = std::process::id();
    let spent = || {
        let [gateway, controller] = [setting.gateway(), setting.controller()];
        let seconds = [gateway, controller, ours].map(machine::processor_seconds);
        seconds.into_iter().collect::<anyhow::Result<Vec<f64>>>()
    };
    let before = spent()?;
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    let workers = (0..AT_ONCE).map(|_| async {
        // of its own: clones would share their connections
        let client = client(&setting.stage.ca_pem)?;
        let (mut times, mut done, mut errors) = (vec![], vec![], vec![]);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return anyhow::Ok((times, done, errors));
            }
            let begun = Instant::now();
            match work(&client, number).await {
                Ok(one) => {
                    times.push(begun.elapsed().as_secs_f64() * 1e3);
                    done.push(one);
                }
                Err(error) => errors.push(error),
            }
        }
    });
    let all = tokio::select! {
        all = try_join_all(workers) => all?,
        died = setting.stage.processes()[1].dies() => died?,
    };
    let seconds = begun.elapsed().as_secs_f64();
    let spent: Vec<_> = spent()?.into_iter().zip(before).map(|(now, then)| now - then).collect();
    let (mut times, mut done, mut errors) = (vec![], vec![], vec![]);
    for (some_times, some_done, some_errors) in all {
        times.extend(some_times);
        done.extend(some_done);
        errors.extend(some_errors);
    }
    times.sort_unstable_by(f64::total_cmp);
    table.row(title, times.len() as f64 / seconds, "/s", Aim::None);
    for percent in [50, 99] {
        let row = format!("{what}, {percent} % of them within");
        table.row(&row, percentile(&times, percent), "ms", Aim::None);
    }
    table.row(&format!("{what}, errors"), errors.len() as f64, "", Aim::AtMost(0.0));
    for (name, spent) in ["gateway", "controller", "bench itself"].into_iter().zip(spent) {
        let row = format!("{what}, processor time of each: {name}");
        table.row(&row, spent / times.len() as f64 * 1e3, "ms", Aim::None);
    }
    Ok((done, errors))
}

/// Of times in order.
fn percentile(times: &[f64], percent: usize) -> f64 {
    let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(at).copied().unwrap_or(f64::NAN)
}

fn client(ca_pem: &str) -> anyhow::Result<Client> {
    let ca = reqwest::Certificate::from_pem(ca_pem.as_bytes())?;
    let client = Client::builder().tls_certs_only([ca]).no_proxy().redirect(Policy::none());
    Ok(client.build()?)
}

/// The company: its identity provider, and the gateway that its people sign in at.
struct Company {
    gateway: Url,
    issuer: String,
    sealing: Sealing,
}

impl Company {
    /// Proves its domain, connects its identity provider and pushes its people, all in one team.
    async fn new(stage: &Stage, control_plane: &ControlPlane, size: usize) -> anyhow::Result<Self> {
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
            object("DirectorySync", "company", "{source: {scim: {}}}"),
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
        let (_, endpoint, token) =
            until("the directory's address and token", PATIENCE, async || {
                stage.scim(control_plane, ORGANIZATION, "company").await.map(Some)
            })
            .await?;
        push(&Scim::new(&endpoint, &token, &stage.ca_pem)?, size).await?;
        for object in ["ssoconnection/company", "directoryteam/everyone"] {
            let wait = ["wait", "--for=condition=Ready", "--timeout=120s", object];
            let namespace = ["--namespace", ORGANIZATION];
            control_plane.kubectl(&[&wait[..], &namespace].concat()).await?;
        }
        Ok(Self {
            gateway: Url::parse(&stage.gateway)?,
            issuer: stage.idp.entity_id(),
            sealing: Sealing { assertion: Some(Profile::new(&signer)), ..Sealing::default() },
        })
    }

    /// Signs one person in; returns the refresh token.
    async fn sign_in(&self, client: &Client, number: usize) -> anyhow::Result<String> {
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
    async fn refresh(&self, client: &Client, number: usize, token: &str) -> anyhow::Result<String> {
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
        ensure!(status == StatusCode::OK && answer["id_token"].is_string(), "{status}: {answer}");
        let token = answer["refresh_token"].as_str().context("no refresh token")?;
        Ok(token.to_owned())
    }
}

async fn push(scim: &Scim, size: usize) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    let pushers = (0..AT_ONCE).map(|_| async {
        let mut ids = vec![];
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= size {
                return anyhow::Ok(ids);
            }
            ids.push(scim.create_user(&email(number), "Somebody").await?);
        }
    });
    let ids = try_join_all(pushers).await?.concat();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    scim.create_group("Everyone", &ids).await.map(drop)
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
