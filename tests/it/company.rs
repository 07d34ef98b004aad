//! What tests of signing in share.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, ensure};
use rollcall_kit::{
    saml::{Person, ServiceProvider},
    saml_idp::{Answer, SamlIdp},
    visitor::{Page, Visitor},
};
use url::Url;

use crate::world::World;

/// An organization with a login of its own. Its domain is `<name>.test.example`.
pub struct Company<'w> {
    pub world: &'w World,
    pub name: &'static str,
    pub idp: SamlIdp,
}

impl Company<'static> {
    /// Has one move in that admits whom its login vouches for.
    pub async fn found(name: &'static str) -> anyhow::Result<Self> {
        Self::found_in(World::shared().await?, name).await
    }
}

impl<'w> Company<'w> {
    /// The same, elsewhere.
    pub async fn found_in(world: &'w World, name: &'static str) -> anyhow::Result<Self> {
        let idp = SamlIdp::start(&world.stage.authority)?;
        world.organization(name).await?;
        world
            .make_one("VerifiedDomain", name, "mail", &format!("{{domain: {name}.test.example}}"))
            .await?;
        world.prove(name, "mail").await?;
        let company = Self { world, name, idp };
        company.connect("").await?;
        Ok(company)
    }

    /// Connects its login anew; `more` goes into the connection's spec, in flow style.
    pub async fn connect(&self, more: &str) -> anyhow::Result<()> {
        let url = self.idp.metadata_url();
        let spec = format!("{{saml: {{metadataURL: '{url}'}}, admit: JustInTime{more}}}");
        self.world.make_one("SsoConnection", self.name, "company", &spec).await?;
        let generation = self.world.get(self.name, "sso/company", "{.metadata.generation}").await?;
        let seen = "{.status.observedGeneration}";
        self.world.field(self.name, "sso/company", seen, &generation).await?;
        self.world.reason(self.name, "sso/company", "Ready", "Ready").await.map(drop)
    }

    pub fn email(&self, person: &str) -> String {
        format!("{person}@{}.test.example", self.name)
    }

    /// Somebody whom this company's login vouches for.
    pub fn person(&self, person: &str) -> Person {
        Person::new(&format!("{}-{person}", self.name), &self.email(person), person)
    }

    pub fn service_provider(&self) -> ServiceProvider {
        let base = format!("{}/sso/{}/company/saml", self.world.stage.gateway, self.name);
        ServiceProvider { entity_id: format!("{base}/metadata"), acs: format!("{base}/acs") }
    }

    pub fn visitor(&self) -> anyhow::Result<Visitor> {
        Visitor::new(&self.world.stage.ca_pem)
    }

    /// Begins in this browser. Returns where it is sent: a request to the company's login.
    pub async fn begin(&self, browser: &Visitor) -> anyhow::Result<Url> {
        static TRIES: AtomicUsize = AtomicUsize::new(0);
        let page = browser.visit(&format!("{}/sign-in", self.world.stage.gateway)).await?;
        // somebody else each time: one address may be tried only so often
        let email = self.email(&format!("try{}", TRIES.fetch_add(1, Ordering::Relaxed)));
        let sign_on = self.idp.sign_on_url();
        let there = |url: &Url| url.as_str().starts_with(&sign_on);
        browser.submit_until(&page, &[("email", &email)], there).await
    }

    /// Begins, and returns what the company's login has the browser post.
    pub async fn answer(&self, browser: &Visitor, person: &Person) -> anyhow::Result<Answer> {
        self.idp.respond(self.begin(browser).await?.as_str(), person)
    }

    /// Goes the whole way.
    pub async fn sign_in(&self, person: &Person) -> anyhow::Result<Visitor> {
        let browser = self.visitor()?;
        let answer = self.answer(&browser, person).await?;
        browser.post(&answer.acs, &answer.fields).await?.says(&self.welcome())?;
        Ok(browser)
    }

    pub fn welcome(&self) -> String {
        format!("You are signed in to {}", self.name)
    }

    pub async fn is_signed_in(&self, browser: &Visitor) -> anyhow::Result<bool> {
        let page = browser.visit(&self.world.stage.gateway).await?;
        Ok(page.html.contains(&self.welcome()))
    }

    /// What the audit log of this organization says of the page's reference; empty where it isn't
    /// this organization's matter.
    pub fn log(&self, page: &Page) -> anyhow::Result<String> {
        let rest = page.html.split_once("<code class=\"reference\">").map(|(_, rest)| rest);
        let reference = rest.and_then(|rest| rest.split_once('<')).map(|(reference, _)| reference);
        let reference = reference.with_context(|| format!("no reference: {}", page.html))?;
        self.world.stage.rollcall(&["log", "-n", self.name, "--reference", reference])
    }

    /// The page is a refusal, which the audit log explains so.
    #[track_caller]
    pub fn refused(&self, page: &Page, says: &str) -> anyhow::Result<()> {
        ensure!(page.status.is_client_error(), "let in: {} {}", page.url, page.html);
        let log = self.log(page)?;
        ensure!(log.contains(says), "not {says:?}: {log}");
        Ok(())
    }
}

/// Somebody with this e-mail.
pub fn other(email: &str) -> Person {
    Person::new("somebody", email, "Somebody")
}
