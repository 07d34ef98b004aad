//! A person's browser: headless Chromium, driven over WebDriver by chromedriver. What is on a page is
//! found as a screen reader finds it, by its accessible name.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use axum::http::Method;
use fantoccini::{
    Client, ClientBuilder, Locator,
    elements::Element,
    wd::{Capabilities, WebDriverCompatibleCommand},
};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use url::{ParseError, Url};

use crate::{
    parts,
    process::{Process, free_port},
    process_tree::ProcessTree,
    scratch::Scratch,
    tls::write_file,
    wait::until,
};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a page may take to show what is looked for.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// What can be clicked or filled in.
const CONTROLS: &str =
    "a[href], button, input:not([type=hidden]), select, textarea, summary, [role]";

/// A browser with an empty profile: no cookies, no history. It belongs to the test's runtime, and
/// ends when dropped.
///
/// Every host name is this machine for it, so that it never reaches another, and tests may give
/// their servers names.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    driver: Process,
    _scratch: Scratch,
}

impl Browser {
    /// Starts one that trusts these authorities, PEM, and nobody else.
    ///
    /// # Errors
    /// If a part is missing (`tests/kit/parts --all`), or it doesn't start: with its log's end.
    pub async fn start(authorities: &[&str]) -> anyhow::Result<Self> {
        let scratch = Scratch::take("browser")?;
        let folder = scratch.path();
        trust(folder, authorities)?;
        let port = free_port()?;
        let mut command = Command::new(parts::installed("chromedriver")?);
        // Chromium looks for the authorities in its home.
        command.arg(format!("--port={port}")).env("HOME", folder).env("TMPDIR", folder);
        let mut driver = Process::spawn(&command, &folder.join("chromedriver.log"))?;
        // The profile goes with it, so there is nothing to be tidied up first.
        driver.set_grace(Duration::ZERO);

        let listening = until("chromedriver to listen", START_TIMEOUT, async || {
            TcpStream::connect(("127.0.0.1", port)).await.map(Some).map_err(Into::into)
        });
        tokio::select! {
            listening = listening => drop(listening?),
            died = driver.dies() => died?,
        }
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities(folder)?)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .with_context(|| format!("starting Chromium; the log ends:\n{}", driver.log_tail()))?;
        Ok(Self { client, driver, _scratch: scratch })
    }

    /// The process of chromedriver, whose child Chromium is.
    pub fn process(&self) -> &Process {
        &self.driver
    }

    /// Goes to `url` and waits until the page has loaded. If the server's certificate isn't trusted,
    /// that is Chromium's own page with the warning.
    ///
    /// # Errors
    /// If nothing answers there.
    pub async fn visit(&self, url: &str) -> anyhow::Result<()> {
        self.client.goto(url).await.with_context(|| format!("visiting {url}"))
    }

    /// Where it is now, after all redirects.
    ///
    /// # Errors
    /// If the browser is gone.
    pub async fn url(&self) -> anyhow::Result<Url> {
        Ok(self.client.current_url().await?)
    }

    /// Waits until it is at an address that begins so, and returns the whole of that.
    ///
    /// # Errors
    /// If it doesn't get there: with where it is and what it shows.
    pub async fn wait_for_url(&self, start: &str) -> anyhow::Result<Url> {
        let what = format!("the address {start}...");
        self.wait_for(&what, async || {
            let url = self.url().await?;
            Ok(url.as_str().starts_with(start).then_some(url))
        })
        .await
    }

    /// What the page shows, as text.
    ///
    /// # Errors
    /// If there is no page.
    pub async fn text(&self) -> anyhow::Result<String> {
        Ok(self.client.find(Locator::Css("body")).await?.text().await?)
    }

    /// Waits until the page shows `text`.
    ///
    /// # Errors
    /// If it doesn't: with what it shows.
    pub async fn wait_for_text(&self, text: &str) -> anyhow::Result<()> {
        let what = format!("the text {text:?}");
        self.wait_for(&what, async || Ok(self.text().await?.contains(text).then_some(()))).await
    }

    /// Clicks on the link or button with this accessible name, once it is there.
    ///
    /// # Errors
    /// If it isn't, or something hides it.
    pub async fn click(&self, name: &str) -> anyhow::Result<()> {
        // The page may change between the look and the click; then both are done again.
        self.wait_for(&format!("{name:?} to click on"), async || {
            let Some(control) = self.control(name).await? else { return Ok(None) };
            control.click().await.map(Some).map_err(Into::into)
        })
        .await
    }

    /// Clicks on the first element that the CSS selector finds, once it is there.
    ///
    /// # Errors
    /// If it isn't, or something hides it.
    pub async fn click_css(&self, selector: &str) -> anyhow::Result<()> {
        self.wait_for(&format!("{selector} to click on"), async || {
            let element = self.client.find(Locator::Css(selector)).await?;
            element.click().await.map(Some).map_err(Into::into)
        })
        .await
    }

    /// Replaces what is in the field with this accessible name, once it is there.
    ///
    /// # Errors
    /// If it isn't, or can't be filled in.
    pub async fn fill(&self, name: &str, value: &str) -> anyhow::Result<()> {
        self.wait_for(&format!("{name:?} to fill in"), async || {
            let Some(field) = self.control(name).await? else { return Ok(None) };
            field.clear().await?;
            field.send_keys(value).await.map(Some).map_err(Into::into)
        })
        .await
    }

    /// Runs the body of a JavaScript function and returns its value.
    ///
    /// # Errors
    /// If it throws.
    pub async fn run(&self, script: &str) -> anyhow::Result<Value> {
        Ok(self.client.execute(script, Vec::new()).await?)
    }

    /// Writes a picture (PNG) of what is in the window, and makes the folder for it.
    ///
    /// # Errors
    /// If it can't be written.
    pub async fn screenshot(&self, path: &Path) -> anyhow::Result<()> {
        let picture = self.client.screenshot().await?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        fs::write(path, picture).with_context(|| format!("writing {}", path.display()))
    }

    /// Gives the window this size in CSS pixels, such as 390 x 844 for a phone, on which pages are
    /// then laid out as on one.
    ///
    /// # Errors
    /// If the browser is gone.
    pub async fn resize(&self, width: u32, height: u32) -> anyhow::Result<()> {
        // A real window can't be as narrow as a phone.
        let metrics = json!({
            "width": width,
            "height": height,
            "deviceScaleFactor": 1,
            "mobile": width < 500,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics).await
    }

    /// Whether pages are told that the person prefers dark ones.
    ///
    /// # Errors
    /// If the browser is gone.
    pub async fn prefer_dark(&self, dark: bool) -> anyhow::Result<()> {
        let value = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        self.devtools("Emulation.setEmulatedMedia", &media).await
    }

    async fn control(&self, name: &str) -> anyhow::Result<Option<Element>> {
        for control in self.client.find_all(Locator::Css(CONTROLS)).await? {
            if self.accessible_name(&control).await? == name && control.is_displayed().await? {
                return Ok(Some(control));
            }
        }
        Ok(None)
    }

    async fn accessible_name(&self, element: &Element) -> anyhow::Result<String> {
        let path = format!("element/{}/computedlabel", element.element_id());
        let label = self.client.issue_cmd(SessionCommand { path, body: None }).await?;
        Ok(label.as_str().unwrap_or_default().trim().to_owned())
    }

    /// A command of Chromium's own, beside those of WebDriver.
    async fn devtools(&self, command: &str, params: &Value) -> anyhow::Result<()> {
        let body = Some(json!({"cmd": command, "params": params}));
        let command = SessionCommand { path: "goog/cdp/execute".to_owned(), body };
        self.client.issue_cmd(command).await.map(drop).map_err(Into::into)
    }

    async fn wait_for<T>(
        &self,
        what: &str,
        probe: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        match until(what, PAGE_TIMEOUT, probe).await {
            Ok(value) => Ok(value),
            Err(error) => {
                let url = self.url().await.map_or_else(|error| error.to_string(), String::from);
                let text = self.text().await.unwrap_or_default();
                Err(error.context(format!("the page at {url} shows:\n{text}")))
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let chromium = ProcessTree::below(self.driver.id());
        if let Err(error) = self.driver.kill() {
            eprintln!("kit: {error:#}");
        }
        // They write to the profile until they have ended, and the folder is used again.
        chromium.kill(END_TIMEOUT);
    }
}

/// Puts the authorities into the database in which Chromium looks for them.
fn trust(home: &Path, authorities: &[&str]) -> anyhow::Result<()> {
    let certutil = parts::installed("certutil")?;
    let folder = home.join(".pki/nssdb");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let database = format!("sql:{}", folder.display());
    let run = |args: &[&str]| {
        let done = Command::new(&certutil).args(["-d", &database]).args(args).output()?;
        ensure!(done.status.success(), "certutil: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    };
    run(&["-N", "--empty-password"])?;
    for (number, authority) in authorities.iter().enumerate() {
        let file = home.join(format!("authority-{number}.crt"));
        write_file(&file, authority)?;
        let file = file.to_str().context("the temporary folder's path is not UTF-8")?;
        run(&["-A", "-t", "C,,", "-n", &format!("authority-{number}"), "-i", file])?;
    }
    Ok(())
}

/// A script that is Chromium, but dies with chromedriver, which would leave it behind when we are
/// killed. What Chromium itself has started ends with it.
fn bound_chromium(folder: &Path) -> anyhow::Result<PathBuf> {
    let chromium = parts::installed("chromium")?;
    let script = folder.join("chromium");
    let line = format!("exec setpriv --pdeathsig KILL -- '{}' \"$@\"", chromium.display());
    write_file(&script, &format!("#!/bin/sh\n{line}\n"))?;
    fs::set_permissions(&script, Permissions::from_mode(0o700)).context("making a script")?;
    Ok(script)
}

fn capabilities(folder: &Path) -> anyhow::Result<Capabilities> {
    let mut flags = vec![
        "--headless=new".to_owned(),
        format!("--user-data-dir={}", folder.join("profile").display()),
        "--window-size=1280,900".to_owned(),
        "--host-resolver-rules=MAP * 127.0.0.1".to_owned(),
    ];
    // Nothing but the pages that it is sent to; and no shared memory, of which containers have little.
    flags.extend(
        [
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-quic",
            "--disable-sync",
            "--no-first-run",
        ]
        .map(str::to_owned),
    );
    if rustix::process::geteuid().is_root() {
        // Chromium refuses to run as root otherwise.
        flags.push("--no-sandbox".to_owned());
    }
    let Value::Object(capabilities) = json!({
        "browserName": "chrome",
        // fantoccini's default is true.
        "acceptInsecureCerts": false,
        "goog:chromeOptions": {"binary": bound_chromium(folder)?, "args": flags},
    }) else {
        unreachable!("it is written as an object");
    };
    Ok(capabilities)
}

/// A command of a session that fantoccini has no function for.
#[derive(Debug)]
struct SessionCommand {
    path: String,
    /// With one, it is posted.
    body: Option<Value>,
}

impl WebDriverCompatibleCommand for SessionCommand {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _url: &Url) -> (Method, Option<String>) {
        match &self.body {
            Some(body) => (Method::POST, Some(body.to_string())),
            None => (Method::GET, None),
        }
    }
}
