//! The set-up guide of enterprise single sign-on, played from start to end: what the demo shows
//! and a test proves. Each step fails where it doesn't hold.

use std::{fs, time::Duration};

use anyhow::{Context, bail, ensure};

use crate::{
    control_plane::ControlPlane,
    saml::Person,
    scim::Scim,
    stage::Stage,
    visitor::Visitor,
    wait::until,
    workstation::{Workstation, sign_in},
};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/acme");
const ACME: &str = "acme";
/// How the story ends a sign-in that was refused as it should be.
const REFUSED: &str = "she is not let in";
const PATIENCE: Duration = Duration::from_secs(90);

/// What is told while the story plays.
#[derive(Clone, Copy, Debug)]
pub enum Line<'a> {
    /// A step begins.
    Step(&'a str),
    /// A sentence about it.
    Say(&'a str),
    /// A command and what it printed.
    Show(&'a str, &'a str),
}

/// A played story, and what is needed to join in.
#[derive(Clone, Debug)]
pub struct Played {
    pub scim_url: String,
    pub scim_token: String,
}

/// Plays the story of the organization `acme`.
///
/// # Errors
/// The first thing that doesn't hold.
pub async fn play(
    control_plane: &ControlPlane,
    stage: &Stage,
    tell: &dyn Fn(Line<'_>),
) -> anyhow::Result<Played> {
    let story = Story { control_plane, stage, tell };
    story.organization().await?;
    story.domains().await?;
    story.connection().await?;
    let (scim, played) = story.directory().await?;
    let ada = story.push(&scim).await?;
    story.access(&scim, &ada).await?;
    Ok(played)
}

struct Story<'a> {
    control_plane: &'a ControlPlane,
    stage: &'a Stage,
    tell: &'a dyn Fn(Line<'_>),
}

impl Story<'_> {
    async fn organization(&self) -> anyhow::Result<()> {
        (self.tell)(Line::Step("Acme moves in: its namespaces, domains, login, directory, a team"));
        self.apply("00-namespaces.yaml", |yaml| yaml).await?;
        for file in ["domains.yaml", "directory.yaml", "team.yaml"] {
            self.apply(file, |yaml| yaml).await?;
        }
        (self.tell)(Line::Say(
            "The login's file has a placeholder, for which the demo puts its identity provider's address:",
        ));
        let url = self.stage.idp.metadata_url();
        let placeholder = "https://localhost:8443/metadata";
        self.apply("sso.yaml", |yaml| yaml.replace(placeholder, &url)).await
    }

    async fn domains(&self) -> anyhow::Result<()> {
        (self.tell)(Line::Step("Acme proves its domains: the records to publish"));
        let domains = ["acme-example", "acme-labs-example"];
        for domain in domains {
            self.reason(&format!("verifieddomain/{domain}"), "Verified", "AwaitingRecord").await?;
        }
        self.show("get verifieddomains -n acme -o wide").await?;
        (self.tell)(Line::Say("Acme's DNS administrator publishes them. Nothing else is touched."));
        for domain in domains {
            let get = format!("get verifieddomain {domain} -n acme -o jsonpath=");
            let name = self.kubectl(&format!("{get}{{.status.challenge.recordName}}")).await?;
            let value = self.kubectl(&format!("{get}{{.status.challenge.recordValue}}")).await?;
            self.stage.dns.set_txt(&name, vec![vec![value]])?;
        }
        for domain in domains {
            self.condition(&format!("verifieddomain/{domain}"), "Verified").await?;
        }
        self.show("get verifieddomains -n acme").await
    }

    async fn connection(&self) -> anyhow::Result<()> {
        (self.tell)(Line::Step("Acme's own login: read from its identity provider's metadata"));
        self.condition("ssoconnection/company", "Configured").await?;
        self.condition("ssoconnection/company", "Ready").await?;
        self.show("get ssoconnections -n acme -o wide").await
    }

    async fn directory(&self) -> anyhow::Result<(Scim, Played)> {
        (self.tell)(Line::Step(
            "Acme's directory: an address and a token for its identity provider",
        ));
        self.reason("directorysync/company", "Configured", "AwaitingFirstRequest").await?;
        self.show("get directorysyncs -n acme").await?;
        let (scim, scim_url, scim_token) =
            self.stage.scim(self.control_plane, ACME, "company").await?;
        (self.tell)(Line::Say(&format!("The address: {scim_url}")));
        (self.tell)(Line::Say("The token is in the Secret company-scim-token."));
        Ok((scim, Played { scim_url, scim_token }))
    }

    /// Returns the id of the user Ada.
    async fn push(&self, scim: &Scim) -> anyhow::Result<String> {
        (self.tell)(Line::Step("The identity provider pushes people and groups"));
        let ada = scim.create_user("ada@acme.example", "Ada Lovelace").await?;
        let grace = scim.create_user("grace@acme.example", "Grace Hopper").await?;
        let linus = scim.create_user("linus@acme-labs.example", "Linus").await?;
        scim.create_group("Engineering", &[&ada, &grace]).await?;
        scim.create_group("Team Research", &[&ada, &linus]).await?;
        scim.create_group("Everyone", &[&ada, &grace, &linus]).await?;
        self.condition("directorysync/company", "Configured").await?;
        self.condition("directoryteam/engineering", "Ready").await?;
        self.condition("directoryteam/team-research", "Ready").await?;
        // counts are written at most every ten seconds
        let synced =
            self.condition_path("directorysync/company", "{.status.users}/{.status.groups}");
        until("the counts", PATIENCE, async || Ok((synced().await? == "3/3").then_some(())))
            .await?;
        let members = self.condition_path("directoryteam/engineering", "{.status.members}");
        until("the members", PATIENCE, async || Ok((members().await? == "2").then_some(())))
            .await?;
        self.show("get directorysyncs -n acme").await?;
        (self.tell)(Line::Say(
            "Groups called \"Team ...\" became teams by themselves; Engineering was asked for by name:",
        ));
        self.show("get directoryteams -n acme").await?;
        self.show("get rolebindings -A -l app.kubernetes.io/managed-by=rollcall").await?;
        Ok(ada)
    }

    async fn access(&self, scim: &Scim, ada: &str) -> anyhow::Result<()> {
        (self.tell)(Line::Step("What Ada may do, by the groups her token carries"));
        let groups = self.teams_of_ada()?;
        ensure!(groups == ["acme:engineering", "acme:team-research"], "Ada's teams: {groups:?}");
        ensure!(!self.why()?.contains("BROKEN"), "Ada's way to access is broken");
        for (question, expected) in [
            ("create deployments -n acme-web", "yes"),
            ("list pods -n acme-data", "yes"),
            ("create deployments -n acme-data", "no"),
            ("get secrets -n acme", "no"),
            ("list pods -n default", "no"),
        ] {
            self.can_i(&groups, question, expected).await?;
        }
        if self.control_plane.is_ours() {
            return self.sign_in(scim, ada).await;
        }
        (self.tell)(Line::Say(
            "To sign in, this cluster's API server must trust the gateway: rollcall authn-config.",
        ));
        (self.tell)(Line::Step("Ada leaves: her identity provider deactivates her"));
        scim.deactivate(ada).await?;
        let groups = self.teams_of_ada()?;
        ensure!(groups.is_empty(), "Ada still has teams: {groups:?}");
        self.can_i(&groups, "create deployments -n acme-web", "no").await
    }

    /// Ada types kubectl, signs in with her company's login, and sees what her teams may see.
    async fn sign_in(&self, scim: &Scim, ada: &str) -> anyhow::Result<()> {
        let stage = self.stage;
        (self.tell)(Line::Step("The API server trusts the gateway, by its configuration"));
        let ca = stage.ca_file.to_str().context("a folder that isn't UTF-8")?;
        let config = stage.rollcall(&["authn-config", "--issuer", &stage.gateway, "--ca", ca])?;
        let told = format!("rollcall authn-config --issuer {} --ca ca.crt", stage.gateway);
        let lines = config.lines().take_while(|line| !line.contains("certificateAuthority"));
        (self.tell)(Line::Show(&told, &lines.collect::<Vec<_>>().join("\n")));
        self.control_plane.authenticate_with(&config).await?;

        (self.tell)(Line::Step(
            "Ada types kubectl get pods, and signs in with her company's login",
        ));
        let folder = stage.folder().join("ada");
        let workstation = Workstation::new(self.control_plane, stage, &folder)?;
        let email = "ada@acme.example";
        stage.idp.sign_in_as(Some(Person::new(email, email, "Ada Lovelace")));
        let visitor = Visitor::new(&stage.ca_pem)?;
        let get = ["get", "pods", "-n", "acme-web"];
        let done = workstation
            .kubectl_signing_in(&get, async |url| {
                let page = sign_in(&visitor, &url, email).await?;
                for shown in ["You are signed in to acme", "engineering", "team-research"] {
                    page.says(shown)?;
                }
                Ok(())
            })
            .await?;
        (self.tell)(Line::Show("kubectl get pods -n acme-web", &done.ok()?));
        let who = workstation.kubectl(&["auth", "whoami"]).await?.ok()?;
        (self.tell)(Line::Show("kubectl auth whoami", &who));
        for part in ["rollcall:acme:ada@acme.example", "rollcall:acme:engineering", ada] {
            ensure!(who.contains(part), "no {part} in {who}");
        }
        for (question, expected) in
            [("create deployments -n acme-web", "yes"), ("create deployments -n acme-data", "no")]
        {
            let args: Vec<_> = ["auth", "can-i"].into_iter().chain(question.split(' ')).collect();
            let answer = workstation.kubectl(&args).await?.printed;
            (self.tell)(Line::Show(&format!("kubectl auth can-i {question}"), &answer));
            ensure!(answer.trim().ends_with(expected), "expected {expected}, got {answer}");
        }

        (self.tell)(Line::Step("Ada leaves: her identity provider deactivates her"));
        scim.deactivate(ada).await?;
        let groups = self.teams_of_ada()?;
        ensure!(groups.is_empty(), "Ada still has teams: {groups:?}");
        workstation.let_token_expire()?;
        let refused = workstation
            .kubectl_signing_in(&get, async |url| {
                let page = visitor.visit(&url).await?;
                page.says("Work e-mail")?;
                let page = visitor.submit(&page, &[("email", email)]).await?;
                let page = visitor.submit(&page, &[]).await?;
                ensure!(page.status == 403, "Ada still gets in: {} {}", page.url, page.html);
                bail!("{REFUSED}")
            })
            .await;
        let error = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(error.contains(REFUSED), "kubectl didn't ask Ada to sign in: {error}");
        (self.tell)(Line::Say(
            "Her session has ended; kubectl asks her to sign in, and she is not let in.",
        ));
        let log = stage.rollcall(&["log", "-n", ACME, "--limit", "1"])?;
        (self.tell)(Line::Show("rollcall log -n acme --limit 1", &log));
        ensure!(log.contains("Deactivated"), "the audit log doesn't say why: {log}");
        let why = self.why()?;
        ensure!(why.contains("Person      BROKEN"), "why doesn't name the broken link: {why}");
        Ok(())
    }

    /// What `rollcall why` says of Ada, link by link.
    fn why(&self) -> anyhow::Result<String> {
        let command = ["why", "ada@acme.example", "-n", ACME];
        let told = self.stage.rollcall(&command)?;
        (self.tell)(Line::Show(&format!("rollcall {}", command.join(" ")), &told));
        Ok(told)
    }

    fn teams_of_ada(&self) -> anyhow::Result<Vec<String>> {
        let command = ["people", "ada@acme.example", "-n", ACME];
        let told = self.stage.rollcall(&command)?;
        (self.tell)(Line::Show(&format!("rollcall {}", command.join(" ")), &told));
        let teams = told.lines().find_map(|line| line.strip_prefix("Teams "));
        let teams = teams.context("rollcall people shows no teams")?.trim();
        Ok(teams.split(", ").filter(|team| *team != "none").map(str::to_owned).collect())
    }

    async fn can_i(&self, groups: &[String], question: &str, expected: &str) -> anyhow::Result<()> {
        // the API server puts `rollcall:` before what a token carries
        let groups: String =
            groups.iter().map(|group| format!(" --as-group rollcall:{group}")).collect();
        let command = format!("auth can-i {question} --as rollcall:acme:ada@acme.example{groups}");
        // `can-i` answers no by failing
        let answer = match self.kubectl(&command).await {
            Ok(answer) => answer.trim().to_owned(),
            Err(error) if format!("{error:#}").ends_with(": no") => "no".to_owned(),
            Err(error) => return Err(error),
        };
        (self.tell)(Line::Show(&format!("kubectl {command}"), &answer));
        ensure!(answer == expected, "expected {expected} to {question}, got {answer}");
        Ok(())
    }

    async fn apply(&self, file: &str, edit: impl Fn(String) -> String) -> anyhow::Result<()> {
        let path = format!("{EXAMPLE}/{file}");
        let yaml = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let said = self.control_plane.kubectl_apply(&edit(yaml)).await?;
        (self.tell)(Line::Show(&format!("kubectl apply -f examples/acme/{file}"), &said));
        Ok(())
    }

    async fn kubectl(&self, command: &str) -> anyhow::Result<String> {
        self.control_plane.kubectl(&command.split(' ').collect::<Vec<_>>()).await
    }

    async fn show(&self, command: &str) -> anyhow::Result<()> {
        let output = self.kubectl(command).await?;
        (self.tell)(Line::Show(&format!("kubectl {command}"), &output));
        Ok(())
    }

    fn condition_path<'s>(
        &'s self,
        object: &'s str,
        path: &'s str,
    ) -> impl AsyncFn() -> anyhow::Result<String> + 's {
        async move || self.kubectl(&format!("get {object} -n acme -o jsonpath={path}")).await
    }

    async fn condition(&self, object: &str, condition: &str) -> anyhow::Result<()> {
        self.until_wait(object, &format!("condition={condition}")).await
    }

    async fn reason(&self, object: &str, condition: &str, reason: &str) -> anyhow::Result<()> {
        let path =
            format!("jsonpath={{.status.conditions[?(@.type==\"{condition}\")].reason}}={reason}");
        self.until_wait(object, &path).await
    }

    /// `kubectl wait`, also for an object that isn't made yet.
    async fn until_wait(&self, object: &str, what: &str) -> anyhow::Result<()> {
        let wait = format!("wait {object} -n acme --for={what} --timeout={}s", PATIENCE.as_secs());
        until(object, PATIENCE, async || self.kubectl(&wait).await.map(Some)).await?;
        Ok(())
    }
}
