//! Everything around one Rollcall, and Rollcall itself: installed by its chart, with the chart's
//! rights and policies, but run here as processes, since no pod runs on this control plane.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::sync::OnceCell;

use crate::{
    control_plane::ControlPlane,
    dns::Dns,
    parts,
    postgres::Database,
    process::{Process, free_port},
    saml_idp::SamlIdp,
    scim::Scim,
    tls::Authority,
    wait::until,
};

/// The operator's namespace, and the name of its release and ServiceAccount.
pub const NAMESPACE: &str = "rollcall";
/// The chart's folder.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/rollcall");
const READY: Duration = Duration::from_secs(60);
/// The name of a stage's own pod.
pub const FIRST: &str = "first";
/// What the chart has Kubernetes give the pod.
const GRACE: Duration = Duration::from_secs(30);

/// How the two sides run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sides {
    /// `rollcall run`: both in one process.
    Together,
    /// Two processes on one ledger, as in the chart's pod; the gateway without access to Kubernetes.
    Apart,
}

/// Another pod of a stage. Its processes end when it is dropped.
pub struct Pod {
    /// Its own gateway's URL, beside the one that everybody knows.
    pub gateway: String,
    pub controller: Process,
    /// The gateway.
    pub process: Process,
}

/// A running Rollcall and what it talks to. Its processes end when it is dropped.
pub struct Stage {
    /// Where its zone is published.
    pub dns: Dns,
    /// The company's identity provider.
    pub idp: SamlIdp,
    /// The gateway's URL.
    pub gateway: String,
    /// Whom alone Rollcall trusts: more identity providers can have certificates of it.
    pub authority: Authority,
    /// The CA of gateway and identity provider, PEM.
    pub ca_pem: String,
    /// The same in a file.
    pub ca_file: PathBuf,
    /// Where the ledger is: its file, or the URL of a database.
    pub ledger: String,
    /// Base URLs of `/healthz`, `/readyz` and `/metrics`: the controller's first.
    pub health: Vec<String>,
    program: PathBuf,
    kubeconfig: PathBuf,
    folder: PathBuf,
    sides: Sides,
    listen: u16,
    processes: Vec<Process>,
    crash_at: Option<String>,
}

impl Stage {
    /// Installs the chart and runs `program` by it. Everything it writes goes into `folder`, which
    /// is its own, but for the ledger where that is a database.
    ///
    /// # Errors
    /// If a part is missing (`make parts`), the chart is refused, or Rollcall isn't ready in time.
    pub async fn start(
        control_plane: &ControlPlane,
        program: &Path,
        folder: &Path,
        sides: Sides,
        database: Option<&Database>,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let authority = Authority::new()?;
        let ca_file = folder.join("ca.crt");
        authority.write_ca(&ca_file)?;
        let listen = free_port()?;
        let localhost = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        authority.issue(&["localhost"], &localhost)?.write(folder, "gateway")?;
        let gateway = format!("https://localhost:{listen}");
        install(control_plane, &gateway, database.is_some()).await?;
        let account = control_plane.service_account_kubeconfig(NAMESPACE, NAMESPACE).await?;
        let health = match sides {
            Sides::Together => vec![free_port()?],
            Sides::Apart => vec![free_port()?, free_port()?],
        };
        let mut stage = Self {
            dns: Dns::start()?,
            idp: SamlIdp::start(&authority)?,
            gateway,
            ca_pem: authority.ca_pem(),
            authority,
            ca_file,
            ledger: match database {
                Some(database) => database.url.clone(),
                None => folder.join("ledger.db").display().to_string(),
            },
            health: health.iter().map(|port| format!("http://127.0.0.1:{port}")).collect(),
            program: program.to_owned(),
            kubeconfig: account,
            folder: folder.to_owned(),
            sides,
            listen,
            processes: Vec::new(),
            crash_at: None,
        };
        std::fs::write(stage.trust_anchors(), "").context("writing trust anchors")?;
        stage.run().await?;
        stage.hand_over_key(control_plane).await?;
        Ok(stage)
    }

    /// Gives the gateway the installation key, as the kubelet does where it is the gateway's alone.
    async fn hand_over_key(&self, control_plane: &ControlPlane) -> anyhow::Result<()> {
        let get = [
            "get",
            "secret",
            "rollcall-installation-key",
            "--namespace",
            NAMESPACE,
            "--output=jsonpath={.data.key}",
        ];
        // a controller that waits for its Lease is ready before it has made the key
        let key = until("the installation key", READY, async || {
            Ok(Some(control_plane.kubectl(&get).await?))
        });
        let key = BASE64_STANDARD.decode(key.await?)?;
        let file = self.key_file();
        std::fs::write(&file, key).with_context(|| format!("writing {}", file.display()))
    }

    /// A file that trusts nobody's signatures, and so demands none.
    fn trust_anchors(&self) -> PathBuf {
        self.folder.join("trust-anchors")
    }

    fn key_file(&self) -> PathBuf {
        self.folder.join("installation-key")
    }

    /// Starts Rollcall's processes and waits until they are ready.
    ///
    /// # Errors
    /// If one ends or isn't ready in time: with its log's end.
    pub async fn run(&mut self) -> anyhow::Result<()> {
        let subcommands: &[&str] = match self.sides {
            Sides::Together => &["run"],
            Sides::Apart => &["controller", "gateway"],
        };
        for (subcommand, health) in subcommands.iter().zip(&self.health) {
            let log = self.folder.join(format!("{subcommand}.log"));
            let process = Self::ready(self.command(subcommand, health, self.listen), health, &log);
            self.processes.push(process.await?);
        }
        Ok(())
    }

    /// Starts another pod beside this one, on the same ledger.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn another(&self, name: &str) -> anyhow::Result<Pod> {
        let listen = free_port()?;
        let start = async |subcommand: &str| {
            let health = format!("http://127.0.0.1:{}", free_port()?);
            let mut command = self.command(subcommand, &health, listen);
            command.env("POD_NAME", name);
            let log = self.folder.join(format!("{name}-{subcommand}.log"));
            Self::ready(command, &health, &log).await
        };
        let (controller, process) = (start("controller").await?, start("gateway").await?);
        Ok(Pod { gateway: format!("https://localhost:{listen}"), controller, process })
    }

    async fn ready(command: Command, health: &str, log: &Path) -> anyhow::Result<Process> {
        let mut process = Process::spawn(&command, log)?;
        process.set_grace(GRACE);
        let ready = until("Rollcall to be ready", READY, async || {
            let response = reqwest::get(format!("{health}/readyz")).await?;
            ensure!(response.status().is_success(), response.text().await?);
            Ok(Some(()))
        });
        tokio::select! {
            ready = ready => ready.with_context(|| process.log_tail())?,
            died = process.dies() => died?,
        }
        Ok(process)
    }

    fn command(&self, subcommand: &str, health: &str, listen: u16) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg(subcommand)
            .env("ROLLCALL_LEDGER", &self.ledger)
            .env("ROLLCALL_PUBLIC_URL", &self.gateway)
            .env("SSL_CERT_FILE", &self.ca_file)
            .env("ROLLCALL_HEALTH_LISTEN", health.trim_start_matches("http://"));
        if subcommand != "gateway" {
            command
                .env("KUBECONFIG", &self.kubeconfig)
                .env("POD_NAMESPACE", NAMESPACE)
                .env("POD_NAME", FIRST)
                .envs(self.crash_at.iter().map(|point| ("ROLLCALL_CRASH_AT", point)))
                // the whole world's names are there, and nobody signs them
                .env("ROLLCALL_DNS_SERVERS", self.dns.address().to_string())
                .env("ROLLCALL_DNS_TRUST_ANCHORS", self.trust_anchors());
        } else {
            command.env_remove("KUBECONFIG").env("ROLLCALL_INSTALLATION_KEY", self.key_file());
        }
        if subcommand != "controller" {
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, listen));
            command
                .env("ROLLCALL_LISTEN", listen.to_string())
                // as an ingress on this machine would be
                .env("ROLLCALL_TRUSTED_PROXIES", "127.0.0.1")
                .env("ROLLCALL_TLS_CERT", self.folder.join("gateway.crt"))
                .env("ROLLCALL_TLS_KEY", self.folder.join("gateway.key"));
        }
        command
    }

    /// Lets the controller of the next [`run`](Self::run) crash where it comes to this point.
    pub fn crash_at(&mut self, point: Option<&str>) {
        self.crash_at = point.map(str::to_owned);
    }

    /// Where the stage keeps its files, for as long as it stands.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The program itself.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Rollcall's processes, in the order of [`health`](Self::health).
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// Ends Rollcall as Kubernetes would, and fails if it didn't end well.
    ///
    /// # Errors
    /// If a process had to be killed or says that it failed: with its log's end.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        for process in self.processes.drain(..).rev() {
            let status = process.stop().await?;
            ensure!(status.success(), "ended with {status}: {}", process.log_tail());
        }
        Ok(())
    }

    /// Ends Rollcall as a power failure would.
    ///
    /// # Errors
    /// If a process can't be killed.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        for process in self.processes.drain(..) {
            process.kill()?;
        }
        Ok(())
    }

    /// What Rollcall has logged so far.
    ///
    /// # Errors
    /// If a log can't be read.
    pub fn logs(&self) -> anyhow::Result<String> {
        let read = |process: &Process| Ok(std::fs::read_to_string(process.log())?);
        self.processes.iter().map(read).collect()
    }

    /// Runs `rollcall` with these arguments, on this ledger, and returns what it prints, whether
    /// it found anything or not.
    ///
    /// # Errors
    /// If it can't be run, or says that it failed.
    pub fn rollcall(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(&self.program)
            .args(args)
            .env("ROLLCALL_LEDGER", &self.ledger)
            .output()
            .with_context(|| format!("running {}", self.program.display()))?;
        if !output.stderr.is_empty() {
            bail!("rollcall {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The provisioning side of the company IdP, by what a DirectorySync says of itself: the
    /// endpoint in its status and the token in the Secret named there.
    ///
    /// # Errors
    /// If there is no such thing yet.
    pub async fn scim(
        &self,
        control_plane: &ControlPlane,
        namespace: &str,
        sync: &str,
    ) -> anyhow::Result<(Scim, String, String)> {
        let get = async |what: &[&str], path: &str| {
            let path = format!("--output=jsonpath={{{path}}}");
            let get = [&["get", "--namespace", namespace], what, &[&path]].concat();
            let text = control_plane.kubectl(&get).await?;
            ensure!(!text.is_empty(), "{} has no {path}", what.join("/"));
            anyhow::Ok(text)
        };
        let sync = ["directorysync", sync];
        let endpoint = get(&sync, ".status.scim.endpoint").await?;
        let secret = get(&sync, ".status.scim.tokenSecretRef.name").await?;
        let token = get(&["secret", &secret], ".data.token").await?;
        let token = String::from_utf8(BASE64_STANDARD.decode(token)?)?;
        Ok((Scim::new(&endpoint, &token, &self.ca_pem)?, endpoint, token))
    }
}

/// The chart as `helm template` renders it for a gateway at this URL, for company IdPs and name
/// servers on this machine, and for domains that are only examples; with several pods where the
/// ledger is on PostgreSQL.
///
/// # Errors
/// If helm isn't there or the chart is no good.
pub fn chart(gateway: &str, on_postgres: bool) -> anyhow::Result<String> {
    let several = "replicas: 2, postgresql: {secretName: ledger},";
    let replicas = if on_postgres { several } else { "" };
    let values = format!(
        "{{publicURL: '{gateway}', clusterWideBindings: true, {replicas}
          defaultClass: {{allowPrivateEndpoints: true, domains: {{allowSpecialUse: true}}}}}}"
    );
    helm(&["template", NAMESPACE, CHART, "--namespace", NAMESPACE], &values)
}

/// Runs a command of helm that takes values (YAML), for the Kubernetes of the control plane.
///
/// # Errors
/// If helm isn't there, or fails: with what it said.
pub fn helm(args: &[&str], values: &str) -> anyhow::Result<String> {
    let mut file = tempfile::NamedTempFile::new().context("making a file of values")?;
    file.write_all(values.as_bytes()).context("writing values")?;
    let output = Command::new(parts::find("helm")?)
        .args(args)
        // a helm built from its module thinks it is for a very old Kubernetes
        .args(["--kube-version", "1.36"])
        .arg("--values")
        .arg(file.path())
        .output()
        .context("running helm")?;
    let said = |bytes| String::from_utf8_lossy(bytes).into_owned();
    ensure!(output.status.success(), "helm: {}{}", said(&output.stderr), said(&output.stdout));
    Ok(String::from_utf8(output.stdout)?)
}

/// The control plane that all tests of this process share, with the chart on it. Nothing runs there
/// by it, so what a test writes stays as it is.
///
/// # Errors
/// As [`ControlPlane::shared`], or if the chart is refused.
pub async fn installed() -> anyhow::Result<&'static ControlPlane> {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let control_plane = ControlPlane::shared().await?;
    INSTALLED
        .get_or_try_init(|| install(control_plane, "https://login.platform.example", false))
        .await?;
    Ok(control_plane)
}

/// The kinds alone.
///
/// # Errors
/// If the API server refuses them.
pub async fn install_crds(control_plane: &ControlPlane) -> anyhow::Result<()> {
    let crds = format!("{CHART}/crds");
    control_plane.kubectl(&["apply", "--server-side", "--filename", &crds]).await?;
    let established = ["wait", "--for=condition=Established", "--timeout=60s", "--filename", &crds];
    control_plane.kubectl(&established).await.map(drop)
}

async fn install(
    control_plane: &ControlPlane,
    gateway: &str,
    on_postgres: bool,
) -> anyhow::Result<()> {
    let namespace = format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}");
    control_plane.kubectl_apply(&namespace).await?;
    install_crds(control_plane).await?;
    // the pod is these processes
    let chart = chart(gateway, on_postgres)?;
    let objects: Vec<_> =
        chart.split("\n---\n").filter(|object| !object.contains("\nkind: Deployment\n")).collect();
    control_plane.kubectl_apply(&objects.join("\n---\n")).await?;
    Ok(())
}
