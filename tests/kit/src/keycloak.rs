//! A real Keycloak, as a company IdP for SAML and OIDC.
//!
//! It runs as `start-dev` would, with its database in memory, but serves HTTPS only, since Rollcall
//! fetches nothing else; and it was built once by `tests/kit/parts`, so that it starts in seconds.

mod realm;

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail, ensure};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

pub use self::realm::{NameIdFormat, OidcClient, Realm, SamlClient, User};
use crate::{
    parts,
    process::{Process, free_port},
    scratch::Scratch,
    tls::{Authority, install_crypto, write_file},
    wait::until,
};

/// Ample: two busy cores take up to a minute.
const START_TIMEOUT: Duration = Duration::from_secs(300);
const ADMIN: &str = "admin";
const DAY_SECONDS: u32 = 86_400;

/// What keeps the JVM small and its start short. The `java.lang` ones are what Keycloak's own
/// script passes.
const JVM_FLAGS: [&str; 13] = [
    "-Xms64m",
    "-Xmx512m",
    "-XX:MaxMetaspaceSize=256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
    "-Djava.util.concurrent.ForkJoinPool.common.threadFactory=\
     io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory",
    "-Dpicocli.disable.closures=true",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "--add-opens=java.base/java.security=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
];

/// A running Keycloak, ended when dropped.
#[derive(Debug)]
pub struct Keycloak {
    process: Process,
    admin: Admin,
    ca_pem: String,
    scratch: Scratch,
}

impl Keycloak {
    /// The Keycloak that all tests of this process share, started by the first that asks, with an
    /// authority of its own. Each test makes its own realm in it.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn shared() -> anyhow::Result<&'static Self> {
        static SHARED: OnceCell<Keycloak> = OnceCell::const_new();
        SHARED.get_or_try_init(|| async { Self::start(&Authority::new()?).await }).await
    }

    /// Starts one at `https://127.0.0.1:<port>`, with a TLS certificate of `authority`, and waits
    /// until it serves. To a browser, what is at `localhost` is another site.
    ///
    /// # Errors
    /// If a part is missing (`tests/kit/parts --all`), or it ends or isn't ready in time: with its
    /// log's end.
    pub async fn start(authority: &Authority) -> anyhow::Result<Self> {
        Self::start_by(authority, None).await
    }

    /// As [`start`](Self::start), with a clock that is `offset` seconds ahead of the true time, or
    /// behind it if negative, and can be [set](Self::set_clock).
    ///
    /// # Errors
    /// As [`start`](Self::start), or without a C compiler.
    pub async fn start_with_clock(authority: &Authority, offset: i64) -> anyhow::Result<Self> {
        Self::start_by(authority, Some(offset)).await
    }

    async fn start_by(authority: &Authority, clock: Option<i64>) -> anyhow::Result<Self> {
        let scratch = Scratch::take("keycloak")?;
        let (port, management_port) = (free_port()?, free_port()?);
        let url = format!("https://127.0.0.1:{port}");
        let password = uuid::Uuid::new_v4().to_string();
        let mut command = command(scratch.path(), authority, &url, port, management_port)?;
        command.env("KC_BOOTSTRAP_ADMIN_USERNAME", ADMIN);
        command.env("KC_BOOTSTRAP_ADMIN_PASSWORD", &password);
        if let Some(offset) = clock {
            let file = clock_file(scratch.path());
            fs::write(&file, offset.to_ne_bytes())?;
            command.env("LD_PRELOAD", compile_clock(scratch.path())?).env("CLOCK_OFFSET", file);
        }
        let mut process = Process::spawn(&command, &scratch.path().join("keycloak.log"))?;
        // Its data goes with it, so there is nothing to be tidied up first.
        process.set_grace(Duration::ZERO);

        let ca_pem = authority.ca_pem();
        let client = client(&ca_pem)?;
        let health = format!("https://127.0.0.1:{management_port}/health/ready");
        let ready = until("Keycloak to be ready", START_TIMEOUT, async || {
            let answer = client.get(&health).send().await?;
            ensure!(answer.status().is_success(), "{} {}", answer.status(), answer.text().await?);
            Ok(Some(()))
        });
        tokio::select! {
            ready = ready => ready.with_context(|| format!("its log ends:\n{}", process.log_tail()))?,
            died = process.dies() => died?,
        }
        let admin = Admin::sign_in(client, url, &password).await?;
        Ok(Self { process, admin, ca_pem, scratch })
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.admin.url
    }

    /// The authority of its TLS certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// By how many seconds its clock was ahead of ours when it had started.
    pub fn clock_offset(&self) -> i64 {
        self.admin.clock_offset
    }

    /// Puts its clock so many seconds ahead of the true time from now on.
    ///
    /// # Errors
    /// If it wasn't started [with one](Self::start_with_clock) that can be set.
    pub fn set_clock(&self, offset: i64) -> anyhow::Result<()> {
        let file = clock_file(self.scratch.path());
        // not anew: it looks at this very file
        let mut file = OpenOptions::new().write(true).open(file).context("opening its clock")?;
        file.write_all(&offset.to_ne_bytes()).context("setting its clock")
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Makes a realm: one company's login, with its own people, clients and keys.
    ///
    /// # Errors
    /// If there is one of that name.
    pub async fn create_realm(&self, name: &str) -> anyhow::Result<Realm> {
        Realm::create(self.admin.clone(), name).await
    }
}

/// Calls the admin API.
#[derive(Clone, Debug)]
struct Admin {
    client: Client,
    url: String,
    token: String,
    clock_offset: i64,
}

impl Admin {
    /// With a token that outlives any test run, instead of the usual minute.
    async fn sign_in(client: Client, url: String, password: &str) -> anyhow::Result<Self> {
        let token = fetch_token(&client, &url, password).await?;
        let admin = Self { client, url, token, clock_offset: 0 };
        let lifespans = json!({
            "accessTokenLifespan": DAY_SECONDS,
            "ssoSessionIdleTimeout": DAY_SECONDS,
            "ssoSessionMaxLifespan": DAY_SECONDS,
        });
        admin.send(Method::PUT, "realms/master", &lifespans).await?;
        let token = fetch_token(&admin.client, &admin.url, password).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("it is before 1970")?;
        let clock_offset = issued_at(&token)? - i64::try_from(now.as_secs())?;
        Ok(Self { token, clock_offset, ..admin })
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        Ok(self.request(Method::GET, path, &Value::Null).await?.json().await?)
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<()> {
        self.request(method, path, body).await.map(drop)
    }

    /// Creates something and returns its id, which Keycloak gives by the new address only.
    async fn create(&self, path: &str, body: &Value) -> anyhow::Result<String> {
        let created = self.request(Method::POST, path, body).await?;
        let location = created.headers().get("location").context("it has no address")?;
        let id = location.to_str()?.rsplit('/').next().unwrap_or_default();
        Ok(id.to_owned())
    }

    /// Has Keycloak make JSON of XML.
    async fn convert(&self, path: &str, xml: &str) -> anyhow::Result<Value> {
        let url = format!("{}/admin/{path}", self.url);
        let request = self.client.post(&url).header("content-type", "application/xml");
        Ok(self.answered(request.body(xml.to_owned())).await?.json().await?)
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<reqwest::Response> {
        let mut request = self.client.request(method, format!("{}/admin/{path}", self.url));
        if !body.is_null() {
            request = request.json(body);
        }
        self.answered(request).await
    }

    async fn answered(
        &self,
        request: reqwest::RequestBuilder,
    ) -> anyhow::Result<reqwest::Response> {
        let request = request.bearer_auth(&self.token).build()?;
        let (method, url) = (request.method().clone(), request.url().clone());
        let answer = self.client.execute(request).await.with_context(|| format!("asking {url}"))?;
        let status = answer.status();
        if !status.is_success() {
            bail!("{method} {url}: {status} {}", answer.text().await?);
        }
        Ok(answer)
    }
}

async fn fetch_token(client: &Client, url: &str, password: &str) -> anyhow::Result<String> {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "password")
        .append_pair("client_id", "admin-cli")
        .append_pair("username", ADMIN)
        .append_pair("password", password)
        .finish();
    let answer: Value = client
        .post(format!("{url}/realms/master/protocol/openid-connect/token"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .context("signing in as the administrator")?
        .json()
        .await?;
    let token = answer["access_token"].as_str();
    Ok(token.with_context(|| format!("no token: {}", answer["error"]))?.to_owned())
}

/// The time of a token, in seconds since 1970 by the clock of whoever made it.
fn issued_at(token: &str) -> anyhow::Result<i64> {
    let claims = token.split('.').nth(1).context("a token has three parts")?;
    let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims)?)?;
    claims["iat"].as_i64().context("the token has no time")
}

/// One that tests of different runtimes may share: it keeps no connections, which would belong to
/// the runtime that opened them.
fn client(ca_pem: &str) -> anyhow::Result<Client> {
    install_crypto();
    let ca = Certificate::from_pem(ca_pem.as_bytes()).context("reading the CA")?;
    Ok(Client::builder().tls_certs_only([ca]).no_proxy().pool_max_idle_per_host(0).build()?)
}

/// Java itself, since Keycloak's script would stay between it and us.
fn command(
    folder: &Path,
    authority: &Authority,
    url: &str,
    port: u16,
    management_port: u16,
) -> anyhow::Result<Command> {
    let home = home(folder, &parts::folder("keycloak")?)?;
    let tls = authority.issue(&["localhost"], &[[127, 0, 0, 1].into()])?.write(folder, "tls")?;
    let temporary = folder.join("tmp");
    std::fs::create_dir(&temporary).context("making a folder for temporary files")?;

    let mut command = Command::new(parts::java()?);
    command
        .args(JVM_FLAGS)
        .arg(format!("-Djava.io.tmpdir={}", temporary.display()))
        .arg(format!("-Dkc.home.dir={}", home.display()))
        .arg(format!("-Djboss.server.config.dir={}", home.join("conf").display()))
        .arg("-cp")
        .arg(home.join("lib/quarkus-run.jar"))
        .args(["io.quarkus.bootstrap.runner.QuarkusEntryPoint", "start", "--optimized"])
        .args(["--cache=local", "--http-enabled=false"])
        .args(["--http-host=127.0.0.1", "--http-management-host=127.0.0.1"])
        .arg(format!("--hostname={url}"))
        .arg(format!("--https-port={port}"))
        .arg(format!("--http-management-port={management_port}"))
        .arg(format!("--https-certificate-file={}", tls.cert.display()))
        .arg(format!("--https-certificate-key-file={}", tls.key.display()))
        .current_dir(folder);
    Ok(command)
}

/// A home of its own: the programs are the cache's, what it writes stays in `folder`.
fn home(folder: &Path, installed: &Path) -> anyhow::Result<PathBuf> {
    let home = folder.join("home");
    std::fs::create_dir(&home).context("making Keycloak's home")?;
    for part in ["conf", "lib", "providers", "themes"] {
        std::os::unix::fs::symlink(installed.join(part), home.join(part))
            .with_context(|| format!("linking {part}"))?;
    }
    Ok(home)
}

/// Where its clock's offset is kept.
fn clock_file(folder: &Path) -> PathBuf {
    folder.join("clock")
}

/// The library that gives a program a wrong clock.
fn compile_clock(folder: &Path) -> anyhow::Result<PathBuf> {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    write_file(&source, include_str!("keycloak/clock.c"))?;
    let compiled = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .output()
        .context("running cc (it is in Debian's package build-essential)")?;
    ensure!(compiled.status.success(), "cc: {}", String::from_utf8_lossy(&compiled.stderr));
    Ok(library)
}
