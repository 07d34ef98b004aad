//! One Rollcall that many tests share, each with organizations of its own.

use std::{path::Path, time::Duration};

use anyhow::{Context, ensure};
use rollcall_kit::{
    control_plane::ControlPlane,
    install_crypto,
    postgres::{Database, Postgres},
    scim::Scim,
    scratch::Scratch,
    stage::{Sides, Stage},
    wait::until,
};
use tokio::sync::OnceCell;

pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct World {
    pub control_plane: ControlPlane,
    pub stage: Stage,
    /// Where the ledger is, if not in a file. It goes after the stage, which is connected to it.
    pub database: Option<Database>,
    _scratch: Scratch,
}

impl World {
    /// The one of this process, made by the first test that asks.
    pub async fn shared() -> anyhow::Result<&'static Self> {
        static WORLD: OnceCell<World> = OnceCell::const_new();
        WORLD.get_or_try_init(Self::own).await
    }

    /// One for a test alone, that stops it or changes what all share.
    pub async fn own() -> anyhow::Result<Self> {
        Self::with(Database::asked_for().await?).await
    }

    /// One for a test alone, with its ledger in PostgreSQL whatever is asked for.
    pub async fn on_postgres() -> anyhow::Result<Self> {
        Self::with(Some(Postgres::shared().await?.database()?)).await
    }

    async fn with(database: Option<Database>) -> anyhow::Result<Self> {
        install_crypto();
        let scratch = Scratch::take("world")?;
        let control_plane = ControlPlane::start(scratch.path()).await?;
        let program = Path::new(env!("CARGO_BIN_EXE_rollcall"));
        let (own, sides) = (scratch.path().join("rollcall"), Sides::Apart);
        let stage = Stage::start(&control_plane, program, &own, sides, database.as_ref()).await?;
        Ok(Self { control_plane, stage, database, _scratch: scratch })
    }

    pub async fn kubectl(&self, command: &str) -> anyhow::Result<String> {
        self.control_plane.kubectl(&command.split(' ').collect::<Vec<_>>()).await
    }

    pub async fn apply(&self, yaml: &str) -> anyhow::Result<()> {
        self.control_plane.kubectl_apply(yaml).await.map(drop)
    }

    /// Makes an object of ours with this spec, in flow style.
    pub async fn make_one(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        spec: &str,
    ) -> anyhow::Result<()> {
        let yaml = format!(
            "{{apiVersion: rollcall.dev/v1alpha1, kind: {kind}, \
             metadata: {{name: {name}, namespace: {namespace}}}, spec: {spec}}}"
        );
        self.apply(&yaml).await
    }

    /// Makes an organization, with one workload namespace `<name>-web`.
    pub async fn organization(&self, name: &str) -> anyhow::Result<()> {
        self.apply(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}\n---\n\
             {{apiVersion: v1, kind: Namespace, metadata: {{name: {name}-web, \
             labels: {{rollcall.dev/organization: {name}}}}}}}\n"
        ))
        .await
    }

    /// Makes an organization with the DirectorySync `idp`, and returns what pushes to it.
    pub async fn directory(&self, organization: &str, spec: &str) -> anyhow::Result<Scim> {
        self.organization(organization).await?;
        self.make_one("DirectorySync", organization, "idp", spec).await?;
        self.connect(organization, "idp").await
    }

    /// What pushes to a DirectorySync that nobody has pushed to by its present token.
    pub async fn connect(&self, organization: &str, name: &str) -> anyhow::Result<Scim> {
        let object = format!("dsync/{name}");
        self.reason(organization, &object, "Configured", "AwaitingFirstRequest").await?;
        self.scim(organization, name).await
    }

    /// What pushes to a DirectorySync by the token of its Secret.
    pub async fn scim(&self, organization: &str, name: &str) -> anyhow::Result<Scim> {
        Ok(self.stage.scim(&self.control_plane, organization, name).await?.0)
    }

    /// Waits until the Secret of a DirectorySync has another token than that of `before`, and returns
    /// what pushes by it.
    pub async fn next_scim(
        &self,
        organization: &str,
        name: &str,
        before: &Scim,
    ) -> anyhow::Result<Scim> {
        until(&format!("a new token for {name}"), PATIENCE, async || {
            let now = self.scim(organization, name).await?;
            Ok((now.token() != before.token()).then_some(now))
        })
        .await
    }

    /// Waits until a condition of `object` has this reason, and returns its message.
    pub async fn reason(
        &self,
        namespace: &str,
        object: &str,
        condition: &str,
        reason: &str,
    ) -> anyhow::Result<String> {
        let what = format!("{object} to have {condition} {reason}");
        until(&what, PATIENCE, async || {
            let (now, message) = self.condition(namespace, object, condition).await?;
            ensure!(now == reason, "{now}: {message}");
            Ok(Some(message))
        })
        .await
    }

    /// A condition's reason and message.
    pub async fn condition(
        &self,
        namespace: &str,
        object: &str,
        condition: &str,
    ) -> anyhow::Result<(String, String)> {
        let path =
            format!("{{.status.conditions[?(@.type==\"{condition}\")]['reason','message']}}");
        let said = self.get(namespace, object, &path).await?;
        let (reason, message) = said.split_once(' ').unwrap_or((&said, ""));
        Ok((reason.to_owned(), message.to_owned()))
    }

    /// A field of an object.
    pub async fn get(&self, namespace: &str, object: &str, path: &str) -> anyhow::Result<String> {
        let output = format!("jsonpath={path}");
        self.control_plane.kubectl(&["get", object, "-n", namespace, "-o", &output]).await
    }

    /// Waits until a field of an object has this value.
    pub async fn field(
        &self,
        namespace: &str,
        object: &str,
        path: &str,
        value: &str,
    ) -> anyhow::Result<()> {
        until(&format!("{path} of {object} to be {value:?}"), PATIENCE, async || {
            let now = self.get(namespace, object, path).await?;
            ensure!(now == value, "{now:?}");
            Ok(Some(()))
        })
        .await
    }

    /// Waits until our bindings in a namespace give these roles, in order.
    pub async fn has_roles(&self, namespace: &str, expected: &str) -> anyhow::Result<()> {
        let ours = "-l app.kubernetes.io/managed-by=rollcall -o jsonpath={.items[*].roleRef.name}";
        let list = format!("get rolebindings -n {namespace} {ours}");
        until(&format!("{namespace} to have [{expected}]"), PATIENCE, async || {
            let now = self.kubectl(&list).await?;
            let mut now: Vec<_> = now.split_whitespace().collect();
            now.sort_unstable();
            ensure!(now.join(" ") == expected, "it has {now:?}");
            Ok(Some(()))
        })
        .await
    }

    /// Waits until there is no such object.
    pub async fn gone(&self, namespace: &str, object: &str) -> anyhow::Result<()> {
        until(&format!("{object} to be gone"), PATIENCE, async || {
            let get = ["get", object, "-n", namespace, "--ignore-not-found", "-o", "name"];
            let found = self.control_plane.kubectl(&get).await?;
            ensure!(found.is_empty(), "{found}");
            Ok(Some(()))
        })
        .await
    }

    /// Asks for a pass over an object now.
    pub async fn nudge(&self, namespace: &str, object: &str) -> anyhow::Result<()> {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let annotation = format!("rollcall.dev/reconcile-requested-at={number}");
        self.kubectl(&format!("annotate {object} -n {namespace} --overwrite {annotation}"))
            .await
            .map(drop)
    }

    /// The name and value of the record that proves a VerifiedDomain.
    pub async fn challenge(
        &self,
        namespace: &str,
        domain: &str,
    ) -> anyhow::Result<(String, String)> {
        let object = format!("verifieddomain/{domain}");
        until("the challenge", PATIENCE, async || {
            let path = "{.status.challenge['recordName','recordValue']}";
            let challenge = self.get(namespace, &object, path).await?;
            let pair = challenge.split_once(' ');
            Ok(pair.map(|(name, value)| (name.to_owned(), value.to_owned())))
        })
        .await
        .with_context(|| object.clone())
    }

    /// Publishes the record that proves a VerifiedDomain, alone, and waits until it does.
    pub async fn prove(&self, namespace: &str, domain: &str) -> anyhow::Result<()> {
        let (name, value) = self.challenge(namespace, domain).await?;
        self.stage.dns.set_txt(&name, vec![vec![value]])?;
        let object = format!("verifieddomain/{domain}");
        self.reason(namespace, &object, "Verified", "RecordFound").await.map(drop)
    }
}
