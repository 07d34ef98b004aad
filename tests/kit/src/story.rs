//! The set-up guide of enterprise single sign-on, played from start to end: what the demo shows
//! and a test proves. Each step fails where it doesn't hold.

use std::{fs, time::Duration};

use anyhow::{Context, ensure};

use crate::{control_plane::ControlPlane, scim::Scim, stage::Stage, wait::until};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/acme");
const ACME: &str = "acme";
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
        (self.tell)(Line::Step("What Ada may do, by the groups her token would carry"));
        let groups = self.teams_of_ada()?;
        ensure!(groups == ["acme:engineering", "acme:team-research"], "Ada's teams: {groups:?}");
        for (question, expected) in [
            ("create deployments -n acme-web", "yes"),
            ("list pods -n acme-data", "yes"),
            ("create deployments -n acme-data", "no"),
            ("get secrets -n acme", "no"),
            ("list pods -n default", "no"),
        ] {
            self.can_i(&groups, question, expected).await?;
        }
        (self.tell)(Line::Step("Ada leaves: her identity provider deactivates her"));
        scim.deactivate(ada).await?;
        let groups = self.teams_of_ada()?;
        ensure!(groups.is_empty(), "Ada still has teams: {groups:?}");
        self.can_i(&groups, "create deployments -n acme-web", "no").await
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
