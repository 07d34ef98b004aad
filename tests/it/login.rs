//! Signing in for kubectl, as a person at their own machine meets it: the program, a browser, an
//! issuer, and what is left on disk.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use axum::http::StatusCode;
use rollcall_kit::{parts, wait::until};
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use crate::issuer::{Forgery, Issuer, now};

const SOON: Duration = Duration::from_secs(60);
const INTERACTIVE: &str =
    r#"{"apiVersion": "client.authentication.k8s.io/v1", "spec": {"interactive": true}}"#;

/// Somebody at their own machine.
struct Person {
    issuer: Issuer,
    home: TempDir,
    browser: reqwest::Client,
}

/// A command that runs.
struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

struct Ended {
    status: ExitStatus,
    out: String,
    err: String,
}

impl Person {
    fn new() -> anyhow::Result<Self> {
        let issuer = Issuer::start()?;
        let home = TempDir::new()?;
        fs::write(home.path().join("ca.crt"), &issuer.ca_pem)?;
        let ca = reqwest::Certificate::from_pem(issuer.ca_pem.as_bytes())?;
        let browser = reqwest::Client::builder().tls_certs_only([ca]).build()?;
        Ok(Self { issuer, home, browser })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
        command
            .args(args)
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.home.path().join("kubeconfig"))
            .env_remove("XDG_CACHE_HOME")
            .env_remove("ROLLCALL_ISSUER")
            .env_remove("KUBERNETES_EXEC_INFO")
            .stdin(Stdio::null());
        command
    }

    /// A command about this issuer, with what kubectl would say of its wish.
    fn start(&self, args: &[&str], exec_info: Option<&str>) -> anyhow::Result<Running> {
        let mut command = self.command(args);
        command.args(["--issuer", &self.issuer.url, "--ca"]).arg(self.home.path().join("ca.crt"));
        if let Some(exec_info) = exec_info {
            command.env("KUBERNETES_EXEC_INFO", exec_info);
        }
        Running::start(command, self.home.path())
    }

    async fn run(&self, args: &[&str]) -> anyhow::Result<Ended> {
        self.start(args, None)?.end().await
    }

    /// Goes where the command says, as a browser does. Returns where it is left, and the page.
    async fn browse(&self, url: Url) -> anyhow::Result<(StatusCode, Url, String)> {
        let response = self.browser.get(url).send().await?;
        Ok((response.status(), response.url().clone(), response.text().await?))
    }

    /// Signs in, with these claims over the usual ones in the token.
    async fn sign_in(&self, claims: Value) -> anyhow::Result<()> {
        self.issuer.conduct().claims = claims;
        let login = self.start(&["login", "--no-browser", "--force"], None)?;
        self.browse(login.url().await?).await?;
        self.issuer.conduct().claims = Value::Null;
        login.end().await?.well().map(drop)
    }

    fn tokens(&self) -> PathBuf {
        self.home.path().join(".cache/rollcall/tokens")
    }

    /// The one file with tokens, if there is one.
    fn token_file(&self) -> anyhow::Result<Option<PathBuf>> {
        let Ok(files) = fs::read_dir(self.tokens()) else { return Ok(None) };
        let files: Vec<_> = files.map(|file| Ok(file?.path())).collect::<anyhow::Result<_>>()?;
        Ok(files.into_iter().find(|file| file.extension().is_some_and(|name| name == "json")))
    }
}

impl Running {
    fn start(mut command: Command, folder: &Path) -> anyhow::Result<Self> {
        let name = uuid::Uuid::new_v4();
        let (out, err) = (folder.join(format!("{name}.out")), folder.join(format!("{name}.err")));
        command.stdout(File::create(&out)?).stderr(File::create(&err)?);
        Ok(Self { child: command.spawn()?, out, err })
    }

    /// Where it says to sign in.
    async fn url(&self) -> anyhow::Result<Url> {
        until("the address to sign in at", SOON, async || {
            let said = fs::read_to_string(&self.err)?;
            let address = said.lines().map(str::trim).find(|line| line.starts_with("https://"));
            // a line is whole once another follows
            let whole = said.ends_with("\n\n");
            ensure!(address.is_some() && whole, "{said}");
            Ok(address.map(Url::parse).transpose()?)
        })
        .await
    }

    async fn end(mut self) -> anyhow::Result<Ended> {
        let status = until("the end", SOON, async || Ok(self.child.try_wait()?)).await?;
        let (out, err) = (fs::read_to_string(&self.out)?, fs::read_to_string(&self.err)?);
        Ok(Ended { status, out, err })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // one that has ended already doesn't mind
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    fn well(self) -> anyhow::Result<Self> {
        ensure!(self.status.success(), "{}: {}{}", self.status, self.out, self.err);
        Ok(self)
    }

    fn badly(self, says: &str) -> anyhow::Result<()> {
        ensure!(!self.status.success() && self.out.is_empty(), "{}: {}", self.status, self.out);
        ensure!(self.err.contains(says), "not {says:?}: {}", self.err);
        Ok(())
    }

    /// The token of an ExecCredential.
    fn token(self) -> anyhow::Result<String> {
        let ended = self.well()?;
        let credential: Value = serde_json::from_str(&ended.out)?;
        let token = credential["status"]["token"].as_str().context("no token")?;
        Ok(token.to_owned())
    }
}

#[tokio::test]
async fn a_person_signs_in_in_the_browser_and_kubectl_has_a_token_until_they_sign_out()
-> anyhow::Result<()> {
    let ada = Person::new()?;
    ada.run(&["whoami"]).await?.badly("kubectl rollcall login --issuer=https://localhost")?;
    ada.run(&["credential"]).await?.badly("nobody is signed in")?;

    let login = ada.start(&["login", "--no-browser"], None)?;
    let (status, left_at, page) = ada.browse(login.url().await?).await?;
    ensure!(status == StatusCode::OK && page == "You are signed in.", "{status}: {page}");
    ensure!(left_at.as_str() == format!("{}/", ada.issuer.url), "{left_at}");
    let said = login.end().await?.well()?.err;
    ensure!(said.contains("as acme:ada@acme.example"), "{said}");
    ensure!(said.contains("kubectl config set-credentials rollcall --exec-api-version"), "{said}");
    {
        let conduct = ada.issuer.conduct();
        let asked = conduct.asked.first().context("nothing was asked")?;
        ensure!(asked["scope"] == "openid email offline_access", "{asked:?}");
        ensure!(asked["code_challenge_method"] == "S256" && !asked.contains_key("prompt"));
    }

    let token = ada.run(&["credential"]).await?.token()?;
    let v1beta1 = r#"{"apiVersion": "client.authentication.k8s.io/v1beta1"}"#;
    let beta = ada.start(&["credential"], Some(v1beta1))?.end().await?.well()?;
    ensure!(beta.out.contains("k8s.io/v1beta1") && beta.out.contains(&token), "{}", beta.out);
    ensure!(ada.issuer.conduct().refreshes == 0, "a good token was replaced");
    let mode = |path: &Path| anyhow::Ok(fs::metadata(path)?.permissions().mode() & 0o777);
    ensure!(mode(&ada.tokens())? == 0o700);
    ensure!(mode(&ada.token_file()?.context("no file")?)? == 0o600);
    // signed in already: no browser is needed
    ada.run(&["login"]).await?.well()?;

    let who = ada.run(&["whoami"]).await?.well()?.out;
    for line in [
        "Organization  acme\n",
        "E-mail        ada@acme.example\n",
        "Teams         acme:engineering, acme:new\n",
        "Checked       the issuer says so now\n",
    ] {
        ensure!(who.contains(line), "{line:?} is not in {who}");
    }
    ada.issuer.conduct().userinfo_down = true;
    let who = ada.run(&["whoami"]).await?.well()?.out;
    ensure!(who.contains("Teams         acme:engineering\n"), "{who}");
    ensure!(who.contains("the token says so; localhost can't be reached"), "{who}");

    let refresh_token = {
        let file: Value = serde_json::from_slice(&fs::read(ada.token_file()?.context("none")?)?)?;
        file["refresh_token"].clone()
    };
    ada.run(&["logout"]).await?.well()?;
    ensure!(json!(ada.issuer.conduct().revoked) == json!([refresh_token]));
    ensure!(ada.token_file()?.is_none(), "the tokens are still there");
    ada.run(&["credential"]).await?.badly("nobody is signed in")?;
    ada.run(&["logout"]).await?.well().map(drop)
}

#[tokio::test]
async fn only_the_answer_that_is_awaited_signs_anybody_in() -> anyhow::Result<()> {
    let ada = Person::new()?;
    let login = ada.start(&["login", "--no-browser"], None)?;
    let url = login.url().await?;
    let back = url.query_pairs().find(|(name, _)| name == "redirect_uri").context("no way back")?;
    for foreign in ["?state=another&code=code", "?code=code", ""] {
        let (status, ..) = ada.browse(Url::parse(&format!("{}{foreign}", back.1))?).await?;
        ensure!(status == StatusCode::BAD_REQUEST, "{foreign}: {status}");
    }
    let (status, ..) = ada.browse(url).await?;
    ensure!(status == StatusCode::OK, "a foreign answer ended the sign-in: {status}");
    login.end().await?.well()?;
    ada.run(&["logout"]).await?.well()?;

    for (claims, says) in [
        (json!({"nonce": "another"}), "issued for another sign-in"),
        (json!({"aud": "argocd"}), "it is for another client"),
        (json!({"iss": "https://login.example"}), "it is of another issuer"),
        (json!({"exp": now() - 3_600}), "is this machine's clock right?"),
        (json!({"sub": null}), "lacks what an ID token must have"),
    ] {
        ada.issuer.conduct().claims = claims;
        refused(&ada, says).await?;
    }
    ada.issuer.conduct().claims = Value::Null;
    for (forgery, says) in [
        (Forgery::ForeignKey, "its signature is wrong"),
        (Forgery::UnknownKey, "a key that the issuer doesn't publish"),
        (Forgery::Nothing, "it is not a JWT"),
        (Forgery::HmacOfPublicKey, "another algorithm than ES256 and RS256"),
    ] {
        ada.issuer.conduct().forgery = Some(forgery);
        refused(&ada, says).await?;
    }
    ada.issuer.conduct().forgery = None;
    ada.issuer.conduct().answers_as = Some("https://login.example".into());
    refused(&ada, "another issuer than was asked").await?;
    ada.issuer.conduct().answers_as = None;
    ada.issuer.conduct().error = Some("access_denied");
    refused(&ada, "the sign-in is refused: access_denied").await
}

async fn refused(person: &Person, says: &str) -> anyhow::Result<()> {
    let login = person.start(&["login", "--no-browser"], None)?;
    let (status, _, page) = person.browse(login.url().await?).await?;
    ensure!(status == StatusCode::BAD_REQUEST && page.contains("You are not signed in"), "{page}");
    login.end().await?.badly(says)?;
    ensure!(person.token_file()?.is_none(), "tokens are kept after: {says}");
    Ok(())
}

#[tokio::test]
async fn calls_at_the_same_time_refresh_once() -> anyhow::Result<()> {
    let ada = Person::new()?;
    ada.sign_in(json!({"exp": now() + 20})).await?;
    let calls: Vec<_> =
        (0..8).map(|_| ada.start(&["credential"], None)).collect::<anyhow::Result<_>>()?;
    let mut tokens = Vec::new();
    for call in calls {
        tokens.push(call.end().await?.token()?);
    }
    tokens.dedup();
    ensure!(tokens.len() == 1, "{} different tokens", tokens.len());
    ensure!(ada.issuer.conduct().refreshes == 1, "{} refreshes", ada.issuer.conduct().refreshes);
    Ok(())
}

#[tokio::test]
async fn an_ended_access_is_told_and_an_issuer_that_is_away_changes_nothing() -> anyhow::Result<()>
{
    let ada = Person::new()?;
    let away = Some((StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"));
    ada.sign_in(json!({"exp": now() + 20})).await?;
    ada.issuer.conduct().refresh_refused = away;
    // seconds are left, and nothing better is to be had
    ada.run(&["credential"]).await?.token()?;

    ada.sign_in(json!({"exp": now() - 30})).await?;
    ada.run(&["credential"]).await?.badly("localhost can't be reached: HTTP status 503")?;
    ada.issuer.conduct().refresh_refused = None;
    ada.run(&["credential"]).await?.token()?;

    // somebody else's token is no answer, and the next refresh goes on from there
    ada.sign_in(json!({"exp": now() - 30})).await?;
    ada.issuer.conduct().claims = json!({"sub": "somebody-else"});
    ada.run(&["credential"]).await?.badly("it is somebody else's")?;
    ada.issuer.conduct().claims = Value::Null;
    ada.run(&["credential"]).await?.token()?;

    ada.sign_in(json!({"exp": now() - 30})).await?;
    ada.issuer.conduct().refresh_refused = Some((StatusCode::BAD_REQUEST, "invalid_grant"));
    let ended = "your access has ended or the session is over: run `kubectl rollcall login";
    ada.run(&["credential"]).await?.badly(ended)?;
    ensure!(ada.token_file()?.is_none(), "tokens that have ended are kept");
    let refreshes = ada.issuer.conduct().refreshes;
    ada.run(&["credential"]).await?.badly("nobody is signed in")?;
    ensure!(ada.issuer.conduct().refreshes == refreshes, "an ended token was presented again");

    // somebody is there: they are asked to sign in at once
    ada.sign_in(json!({"exp": now() - 30})).await?;
    let kubectl = ada.start(&["credential", "--no-browser"], Some(INTERACTIVE))?;
    ada.browse(kubectl.url().await?).await?;
    kubectl.end().await?.token().map(drop)
}

#[tokio::test]
async fn tokens_that_others_could_have_touched_are_not_used() -> anyhow::Result<()> {
    let ada = Person::new()?;
    ada.sign_in(Value::Null).await?;
    let file = ada.token_file()?.context("no file")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    for command in ["credential", "whoami", "logout"] {
        if command == "logout" {
            // it is deleted even so
            ada.run(&[command]).await?.badly("others can get at")?;
            ensure!(!file.exists());
        } else {
            ada.run(&[command]).await?.badly("(mode 0644)")?;
        }
    }
    ada.sign_in(Value::Null).await?;
    fs::write(&file, "{\"id_token\": \"")?;
    ada.run(&["credential"]).await?.badly("nobody is signed in")?;
    let login = ada.start(&["login", "--no-browser"], None)?;
    ada.browse(login.url().await?).await?;
    login.end().await?.well()?;
    ada.run(&["credential"]).await?.token().map(drop)
}

#[tokio::test]
async fn a_kubeconfig_that_was_set_up_once_needs_no_more_words() -> anyhow::Result<()> {
    let ada = Person::new()?;
    let kubectl = parts::find("kubectl")?;
    let folder = kubectl.parent().context("no folder")?;
    let path = std::env::join_paths([folder])?;
    let with_kubectl = |args: &[&str]| {
        let mut command = ada.command(args);
        command.env("PATH", &path);
        command
    };
    let mut login = with_kubectl(&["login", "--no-browser", "--set-credentials"]);
    login.args(["--issuer", &ada.issuer.url, "--ca"]).arg(ada.home.path().join("ca.crt"));
    let login = Running::start(login, ada.home.path())?;
    ada.browse(login.url().await?).await?;
    login.end().await?.well()?;

    let whoami = || Running::start(with_kubectl(&["whoami"]), ada.home.path());
    whoami()?.end().await?.badly("name the gateway by --issuer")?;
    for args in [["set-context", "acme", "--user=rollcall"].as_slice(), &["use-context", "acme"]] {
        let mut command = Command::new(&kubectl);
        command.arg("config").args(args).env("KUBECONFIG", ada.home.path().join("kubeconfig"));
        Running::start(command, ada.home.path())?.end().await?.well()?;
    }
    let who = whoami()?.end().await?.well()?.out;
    ensure!(who.contains("ada@acme.example"), "{who}");
    let kubeconfig = fs::read_to_string(ada.home.path().join("kubeconfig"))?;
    for line in
        ["interactiveMode: IfAvailable", "client.authentication.k8s.io/v1\n", "- credential\n"]
    {
        if !kubeconfig.contains(line) {
            bail!("{line:?} is not in {kubeconfig}");
        }
    }
    Ok(())
}
