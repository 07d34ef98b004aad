//! The story with real parts: people of two companies, whose login is a real Keycloak by SAML and by
//! OpenID Connect, type kubectl at a real API server and sign in with a real browser.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use rollcall_kit::{
    browser::Browser,
    keycloak::{Keycloak, OidcClient, Realm, User},
    scim::Scim,
    wait::until,
    workstation::Workstation,
};

use crate::world::{PATIENCE, World};

/// How a sign-in ends here that is refused as it should be.
const REFUSED: &str = "they are not let in";
/// How far Keycloak's clock is off, in seconds.
const OFF: i64 = 600;
const PASSWORD: &str = "analytical engine";
const CLIENT_SECRET: &str = "hush: & more";

#[tokio::test]
async fn people_sign_in_at_their_companys_keycloak_and_kubectl_goes_on() -> anyhow::Result<()> {
    let world = World::own().await?;
    let stage = &world.stage;
    let keycloak = Keycloak::start_with_clock(&stage.authority, 0);
    let (keycloak, ..) =
        tokio::try_join!(keycloak, move_in(&world, "saml"), move_in(&world, "oidc"))?;
    let ca = stage.ca_file.to_str().context("a folder that isn't UTF-8")?;
    let trust = stage.rollcall(&["authn-config", "--issuer", &stage.gateway, "--ca", ca])?;
    world.control_plane.authenticate_with(&trust).await?;
    let companies = [
        Company::connect_by_saml(&world, &keycloak).await?,
        Company::connect_by_oidc(&world, &keycloak).await?,
    ];

    let mut browsers = vec![];
    for company in &companies {
        browsers.push(company.kubectl_asks_to_sign_in().await?);
    }
    for company in &companies {
        company.rolls_its_key_over().await?;
    }
    for company in &companies {
        company.disables_somebody_at_keycloak().await?;
    }
    companies[1].loses_its_client_secret().await?;
    for (offset, by_saml, by_oidc) in
        [(OFF, "TooEarly", "s ahead: the clocks"), (-OFF, "TooLate", "s ago: the clocks")]
    {
        keycloak.set_clock(offset)?;
        companies[0].is_refused_for_its_clock(by_saml).await?;
        companies[1].is_refused_for_its_clock(by_oidc).await?;
    }
    keycloak.set_clock(0)?;
    for (company, browser) in companies.iter().zip(&browsers) {
        company.deactivates_somebody_by_scim(browser).await?;
    }
    Ok(())
}

/// All of an organization but its login: namespaces, a domain, a directory, and a team whose people
/// may look at what runs in `<name>-web`.
async fn move_in(world: &World, name: &str) -> anyhow::Result<()> {
    world.organization(name).await?;
    world.make_one("VerifiedDomain", name, "mail", &format!("{{domain: {name}.example}}")).await?;
    world.prove(name, "mail").await?;
    world.make_one("DirectorySync", name, "company", "{source: {scim: {}}}").await?;
    world.reason(name, "dsync/company", "Configured", "AwaitingFirstRequest").await?;
    let team = "{directorySyncRef: {name: company}, group: {displayName: Engineering},
                 permissions: [{name: look, clusterRole: view}]}";
    world.make_one("DirectoryTeam", name, "engineering", team).await
}

/// An organization whose login is a realm of Keycloak.
struct Company<'a> {
    world: &'a World,
    name: &'static str,
    realm: Realm,
    scim: Scim,
    email: String,
    /// Ada, as Keycloak and as the directory know her.
    at_keycloak: String,
    in_directory: String,
    workstation: Workstation,
}

impl<'a> Company<'a> {
    async fn connect_by_saml(world: &'a World, keycloak: &Keycloak) -> anyhow::Result<Self> {
        let company = Self::new(world, keycloak, "saml").await?;
        let url = company.realm.saml_metadata_url();
        company.connect(&format!("{{saml: {{metadataURL: '{url}'}}}}")).await?;
        // by our metadata Keycloak knows to check our requests and to encrypt what it says
        let ca = reqwest::Certificate::from_pem(world.stage.ca_pem.as_bytes())?;
        let client = reqwest::Client::builder().tls_certs_only([ca]).build()?;
        let metadata = client.get(company.told("metadataURL").await?).send().await?.text().await?;
        company.realm.import_saml_client(&metadata).await?;
        Ok(company)
    }

    async fn connect_by_oidc(world: &'a World, keycloak: &Keycloak) -> anyhow::Result<Self> {
        let company = Self::new(world, keycloak, "oidc").await?;
        company.make_client_secret().await?;
        let issuer = company.realm.issuer();
        let oidc =
            format!("issuer: '{issuer}', clientID: rollcall, clientSecretRef: {{name: company}}");
        company.connect(&format!("{{oidc: {{{oidc}}}}}")).await?;
        let redirect_uri = company.told("redirectURL").await?;
        let client =
            OidcClient { id: "rollcall", secret: CLIENT_SECRET, redirect_uri: &redirect_uri };
        company.realm.create_oidc_client(&client).await?;
        Ok(company)
    }

    async fn make_client_secret(&self) -> anyhow::Result<()> {
        let secret = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "type": "rollcall.dev/oidc-client",
            "metadata": {"name": "company", "namespace": self.name},
            "stringData": {"clientSecret": CLIENT_SECRET},
        });
        self.world.apply(&secret.to_string()).await
    }

    /// With Ada in its realm and in its directory, in Engineering.
    async fn new(
        world: &'a World,
        keycloak: &Keycloak,
        name: &'static str,
    ) -> anyhow::Result<Self> {
        let realm = keycloak.create_realm(name).await?;
        let email = format!("ada@{name}.example");
        let at_keycloak = realm.create_user(&ada(&email)).await?;
        let scim = world.scim(name, "company").await?;
        let in_directory = scim.create_user(&email, "Ada Lovelace").await?;
        scim.create_group("Engineering", &[&in_directory]).await?;
        world.reason(name, "dteam/engineering", "Ready", "Ready").await?;
        let workstation = workstation(world, name)?;
        Ok(Self { world, name, realm, scim, email, at_keycloak, in_directory, workstation })
    }

    async fn connect(&self, spec: &str) -> anyhow::Result<()> {
        self.world.make_one("SsoConnection", self.name, "company", spec).await?;
        self.world.reason(self.name, "sso/company", "Ready", "Ready").await.map(drop)
    }

    /// What the connection says is to be entered at Keycloak.
    async fn told(&self, field: &str) -> anyhow::Result<String> {
        let path = format!("{{.status.serviceProvider.{field}}}");
        self.world.get(self.name, "sso/company", &path).await
    }

    fn welcome(&self) -> String {
        format!("You are signed in to {}", self.name)
    }

    /// Ada types kubectl, signs in, and RBAC decides from there. Returns her browser.
    async fn kubectl_asks_to_sign_in(&self) -> anyhow::Result<Browser> {
        let browser = self.browser().await?;
        let web = format!("{}-web", self.name);
        let done = self
            .workstation
            .kubectl_signing_in(&["get", "pods", "-n", &web], async |url| {
                browser.visit(&url).await?;
                browser.wait_for_text("to continue to kubectl").await?;
                self.show(&browser, "sign-in").await?;
                self.sign_in(&browser, true).await?;
                self.arrives(&browser).await?;
                self.show(&browser, "landing").await
            })
            .await?;
        ensure!(done.ok()?.contains("No resources found"), "kubectl saw something else");
        let text = browser.text().await?;
        for shown in ["Ada Lovelace", &self.email, "engineering", "Directory Group", &web, "view"] {
            ensure!(text.contains(shown), "no {shown:?} in {text}");
        }
        let who = self.workstation.kubectl(&["auth", "whoami"]).await?.ok()?;
        let name = format!("rollcall:{}:{}", self.name, self.email);
        let group = format!("rollcall:{}:engineering", self.name);
        for part in [&name, &group, &self.in_directory] {
            ensure!(who.contains(part), "no {part} in {who}");
        }
        for (verb, what, namespace, expected) in [
            ("list", "pods", web.as_str(), "yes"),
            ("create", "deployments", &web, "no"),
            ("get", "secrets", self.name, "no"),
            ("list", "pods", "default", "no"),
        ] {
            let question = ["auth", "can-i", verb, what, "-n", namespace];
            let answer = self.workstation.kubectl(&question).await?.printed;
            ensure!(answer.trim().ends_with(expected), "{question:?}: {answer}");
        }
        self.another_kubectl_is_hers(&browser).await?;
        Ok(browser)
    }

    /// The browser knows her by now, but not whose the program is that asks.
    async fn another_kubectl_is_hers(&self, browser: &Browser) -> anyhow::Result<()> {
        let machine = workstation(self.world, &format!("{}-another", self.name))?;
        let done = machine.kubectl_signing_in(&["auth", "whoami"], async |url| {
            browser.visit(&url).await?;
            browser.wait_for_text("Continue to kubectl?").await?;
            self.show(browser, "go-on").await?;
            browser.click("Continue").await?;
            self.arrives(browser).await
        });
        let who = done.await?.ok()?;
        ensure!(who.contains(&self.in_directory), "{who}");
        Ok(())
    }

    /// From the sign-in page on, as far as Keycloak lets her.
    async fn sign_in(&self, browser: &Browser, with_password: bool) -> anyhow::Result<()> {
        browser.fill("Work e-mail", &self.email).await?;
        browser.click("Continue").await?;
        if with_password {
            ada(&self.email).sign_in(browser).await?;
        }
        Ok(())
    }

    /// Waits for the page that says where she is; any other of ours is an error, with what the audit
    /// log says of it.
    async fn arrives(&self, browser: &Browser) -> anyhow::Result<()> {
        let told = until("a page of ours", PATIENCE, async || {
            let text = browser.text().await?;
            let log = self.log(&text)?;
            let arrived = text.contains(&self.welcome());
            Ok((arrived || log.is_some()).then_some(log))
        });
        match told.await? {
            None => browser.wait_for_url(&self.world.stage.gateway).await.map(drop),
            Some(log) => bail!("{log}"),
        }
    }

    /// What the audit log says of the reference that a page shows, if it shows one.
    fn log(&self, page: &str) -> anyhow::Result<Option<String>> {
        let reference = page.lines().find_map(|line| line.strip_prefix("Reference: "));
        let Some(reference) = reference else { return Ok(None) };
        let log = ["log", "-n", self.name, "--reference", reference.trim()];
        self.world.stage.rollcall(&log).map(Some)
    }

    /// Keycloak signs with another key from now on, and nobody here does anything: the next look at
    /// its keys finds that out.
    async fn rolls_its_key_over(&self) -> anyhow::Result<()> {
        self.realm.add_signing_key().await?;
        self.realm.remove_old_signing_keys().await?;
        // the hour between two looks at metadata is over
        self.world.nudge(self.name, "sso/company").await?;
        let mut attempt = 0;
        until("a sign-in by the new key", 4 * PATIENCE, async || {
            // a machine of its own for each: where one was refused, kubectl may still wait
            attempt += 1;
            let machine = workstation(self.world, &format!("{}-again-{attempt}", self.name))?;
            let browser = self.browser().await?;
            let signed_in = machine.kubectl_signing_in(&["auth", "whoami"], async |url| {
                browser.visit(&url).await?;
                self.sign_in(&browser, true).await?;
                self.arrives(&browser).await
            });
            let who = signed_in.await?.ok()?;
            ensure!(who.contains(&self.in_directory), "{who}");
            Ok(Some(()))
        })
        .await
    }

    /// Whom Keycloak doesn't let in doesn't come back.
    async fn disables_somebody_at_keycloak(&self) -> anyhow::Result<()> {
        self.realm.set_enabled(&self.at_keycloak, false).await?;
        let browser = self.browser().await?;
        browser.visit(&format!("{}/sign-in", self.world.stage.gateway)).await?;
        self.sign_in(&browser, true).await?;
        browser.wait_for_text("Account is disabled").await?;
        self.is_out(&browser).await?;
        self.realm.set_enabled(&self.at_keycloak, true).await
    }

    /// Without it nobody can sign in, and who has goes on.
    async fn loses_its_client_secret(&self) -> anyhow::Result<()> {
        let (world, name) = (self.world, self.name);
        world.kubectl(&format!("delete secret/company -n {name}")).await?;
        world.nudge(name, "sso/company").await?;
        world.reason(name, "sso/company", "ResolvedRefs", "SecretNotFound").await?;
        self.workstation.let_token_expire()?;
        let who = self.workstation.kubectl(&["auth", "whoami"]).await?.ok()?;
        ensure!(who.contains(&self.in_directory), "{who}");
        let browser = self.browser().await?;
        browser.visit(&format!("{}/sign-in", world.stage.gateway)).await?;
        self.sign_in(&browser, false).await?;
        self.is_told_that_the_login_fails(&browser, "NoClientSecret").await?;
        self.make_client_secret().await?;
        world.nudge(name, "sso/company").await?;
        world.reason(name, "sso/company", "Ready", "Ready").await.map(drop)
    }

    async fn is_refused_for_its_clock(&self, says: &str) -> anyhow::Result<()> {
        let browser = self.browser().await?;
        browser.visit(&format!("{}/sign-in", self.world.stage.gateway)).await?;
        self.sign_in(&browser, true).await?;
        self.is_told_that_the_login_fails(&browser, says).await
    }

    /// The page gives a reference, and the audit log the reason.
    async fn is_told_that_the_login_fails(
        &self,
        browser: &Browser,
        says: &str,
    ) -> anyhow::Result<()> {
        browser.wait_for_text("Your company’s login didn’t work").await?;
        self.show(browser, "login-fails").await?;
        let log = self.log(&browser.text().await?)?.context("no reference")?;
        ensure!(log.contains(says), "not {says:?}: {log}");
        self.is_out(browser).await
    }

    /// The directory says that Ada has left, while Keycloak vouches for her still.
    async fn deactivates_somebody_by_scim(&self, browser: &Browser) -> anyhow::Result<()> {
        browser.visit(&self.world.stage.gateway).await?;
        browser.wait_for_text(&self.welcome()).await?;
        self.scim.deactivate(&self.in_directory).await?;
        self.is_out(browser).await?;
        self.workstation.let_token_expire()?;
        let get = ["get", "pods", "-n", &format!("{}-web", self.name)];
        let refused = self.workstation.kubectl_signing_in(&get, async |url| {
            browser.visit(&url).await?;
            // Keycloak knows the browser
            self.sign_in(browser, false).await?;
            browser.wait_for_text("You don’t have access").await?;
            self.show(browser, "deactivated").await?;
            bail!("{REFUSED}")
        });
        let error = refused.await.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(error.contains(REFUSED), "kubectl didn't ask to sign in: {error}");
        let log = self.world.stage.rollcall(&["log", "-n", self.name, "--limit", "1"])?;
        ensure!(log.contains("Deactivated: the directory says"), "{log}");
        self.is_out(browser).await
    }

    /// Whoever comes to the gateway with this browser is asked to sign in.
    async fn is_out(&self, browser: &Browser) -> anyhow::Result<()> {
        browser.visit(&self.world.stage.gateway).await?;
        browser.wait_for_url(&format!("{}/sign-in", self.world.stage.gateway)).await.map(drop)
    }

    async fn browser(&self) -> anyhow::Result<Browser> {
        Browser::start(&[&self.world.stage.ca_pem]).await
    }

    /// Keeps pictures of the page, as different people see it.
    async fn show(&self, browser: &Browser, page: &str) -> anyhow::Result<()> {
        for (whose, width, height, dark) in [
            ("phone", 390, 844, false),
            ("phone-dark", 390, 844, true),
            ("desktop-dark", 1280, 900, true),
            ("desktop", 1280, 900, false),
        ] {
            browser.resize(width, height).await?;
            browser.prefer_dark(dark).await?;
            let wide = browser.run("return document.documentElement.scrollWidth > innerWidth");
            ensure!(wide.await? == false, "{page} is wider than a {whose}");
            // all of it
            let whole = browser.run("return document.documentElement.scrollHeight").await?;
            let whole = whole.as_u64().and_then(|whole| u32::try_from(whole).ok());
            browser.resize(width, whole.context("no height")?.max(height)).await?;
            let name = format!("{}-{page}-{whose}.png", self.name);
            browser.screenshot(&screenshots().join(name)).await?;
        }
        Ok(())
    }
}

fn ada(email: &str) -> User<'_> {
    User { email, name: "Ada Lovelace", password: PASSWORD }
}

fn workstation(world: &World, name: &str) -> anyhow::Result<Workstation> {
    Workstation::new(&world.control_plane, &world.stage, &world.stage.folder().join(name))
}

/// Where the pictures are kept.
fn screenshots() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots")
}
