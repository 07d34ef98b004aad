//! A Kubernetes control plane: etcd, kube-apiserver with RBAC, and kube-controller-manager, which
//! gives `view`, `edit` and `admin` their rules, makes service accounts, collects garbage and
//! finishes the deletion of namespaces. No kubelet: no pod ever runs.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Context;
use axum::http::Request;
use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use rcgen::KeyPair;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{
    kubectl::Kubectl,
    parts,
    process::{Process, free_port},
    scratch::Scratch,
    tls::{Authority, install_crypto, write_file},
    wait::until,
};

/// Ample: on two busy cores it takes a few seconds.
const START_TIMEOUT: Duration = Duration::from_secs(120);
const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The controllers that make sense without nodes.
const CONTROLLERS: &str = "clusterrole-aggregation-controller,garbage-collector-controller,\
    namespace-controller,resourcequota-controller,root-ca-certificate-publisher-controller,\
    serviceaccount-controller,serviceaccount-token-controller,\
    validatingadmissionpolicy-status-controller";

/// A running control plane, ended when dropped; or a cluster that was there already.
#[derive(Debug)]
pub struct ControlPlane {
    // In the order in which they are ended.
    _processes: Vec<Process>,
    folder: PathBuf,
    kubeconfig: PathBuf,
    server: String,
    ca_pem: String,
    kubectl: Kubectl,
    _scratch: Option<Scratch>,
}

impl ControlPlane {
    /// The control plane that all tests of this process share, started by the first that asks: the
    /// cluster of `KUBECONFIG`, if that is set, else one of its own.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn shared() -> anyhow::Result<&'static Self> {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        SHARED
            .get_or_try_init(|| async {
                let scratch = Scratch::take("control-plane")?;
                let mut shared = match env::var_os("KUBECONFIG") {
                    Some(path) => Self::existing(Path::new(&path), scratch.path()).await?,
                    None => Self::start(scratch.path()).await?,
                };
                shared._scratch = Some(scratch);
                Ok(shared)
            })
            .await
    }

    /// Starts one, with its data, keys and logs in `folder`, and waits until it serves.
    ///
    /// # Errors
    /// If a part is missing (`make parts`), or one ends or isn't ready in time: with its log's end.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        Self::start_with(folder, &[]).await
    }

    /// As [`start`](Self::start), with more flags for kube-apiserver, such as
    /// `--authentication-config=<file>`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(folder: &Path, apiserver_flags: &[String]) -> anyhow::Result<Self> {
        let (etcd_port, port) = (free_port()?, free_port()?);
        let keys = Keys::make(folder, &format!("https://127.0.0.1:{port}"))?;
        let etcd = start_etcd(folder, etcd_port)?;
        let apiserver = start_apiserver(folder, &keys, etcd_port, port, apiserver_flags)?;
        let control_plane = Self {
            _processes: Vec::new(),
            folder: folder.to_owned(),
            kubectl: Kubectl::new(&keys.kubeconfig, folder)?,
            kubeconfig: keys.kubeconfig.clone(),
            server: keys.server.clone(),
            ca_pem: keys.ca_pem.clone(),
            _scratch: None,
        };
        let client = control_plane.client().await?;
        tokio::select! {
            served = served(&client) => served?,
            died = apiserver.dies() => died?,
            died = etcd.dies() => died?,
        }
        let manager = start_controller_manager(folder, &keys)?;
        tokio::select! {
            aggregated = aggregated(&client) => aggregated?,
            died = manager.dies() => died?,
        }
        Ok(Self { _processes: vec![manager, apiserver, etcd], ..control_plane })
    }

    /// A cluster that is there already; nothing is started or ended. What the kit writes for it
    /// goes into `folder`.
    ///
    /// # Errors
    /// If the kubeconfig doesn't name a cluster, with its CA.
    pub async fn existing(kubeconfig: &Path, folder: &Path) -> anyhow::Result<Self> {
        let kubectl = Kubectl::new(kubeconfig, folder)?;
        // kubectl resolves contexts, merged files and referenced certificates for us.
        let view = kubectl
            .run(&["config", "view", "--raw", "--minify", "--flatten", "--output=json"])
            .await?;
        let view: Value = serde_json::from_str(&view).context("reading the kubeconfig")?;
        let cluster = &view["clusters"][0]["cluster"];
        let server = cluster["server"].as_str().context("the kubeconfig names no server")?;
        let ca = cluster["certificate-authority-data"]
            .as_str()
            .with_context(|| format!("{} has no certificate authority", kubeconfig.display()))?;
        let ca = BASE64_STANDARD.decode(ca).context("decoding the certificate authority")?;
        // A file of its own, so that what is started with it needs nothing of the original's place.
        let own = folder.join("admin.kubeconfig");
        write_file(&own, &view.to_string())?;
        Ok(Self {
            _processes: Vec::new(),
            folder: folder.to_owned(),
            server: server.to_owned(),
            ca_pem: String::from_utf8(ca).context("the certificate authority is not PEM")?,
            kubectl: Kubectl::new(&own, folder)?,
            kubeconfig: own,
            _scratch: None,
        })
    }

    /// The administrator's kubeconfig (`system:masters`).
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The API server's URL.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The certificate authority of the API server, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Runs kubectl as the administrator and returns what it prints.
    ///
    /// # Errors
    /// If it fails: with what it said.
    pub async fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.kubectl.run(args).await
    }

    /// `kubectl apply` of these manifests as the administrator.
    ///
    /// # Errors
    /// If one is refused: with what the API server said.
    pub async fn kubectl_apply(&self, manifests: &str) -> anyhow::Result<String> {
        self.kubectl.apply(manifests).await
    }

    /// kubectl with another kubeconfig, such as a person's.
    ///
    /// # Errors
    /// If kubectl isn't there.
    pub fn kubectl_as(&self, kubeconfig: &Path) -> anyhow::Result<Kubectl> {
        Kubectl::new(kubeconfig, &self.folder)
    }

    /// Writes a kubeconfig for whoever `token` is; `name` is part of the file's name.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn kubeconfig_for_token(&self, name: &str, token: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(format!("{name}.kubeconfig"));
        let user = json!({"token": token});
        write_kubeconfig(&path, &self.server, &self.ca_pem, name, user)?;
        Ok(path)
    }

    /// Writes a kubeconfig for a service account, which must exist.
    ///
    /// # Errors
    /// If the API server gives no token for it.
    pub async fn service_account_kubeconfig(
        &self,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<PathBuf> {
        let token = self.kubectl(&["create", "token", "--namespace", namespace, name]).await?;
        self.kubeconfig_for_token(&format!("{namespace}-{name}"), token.trim())
    }

    /// A client as the administrator. Make one in each test: it belongs to the test's runtime.
    ///
    /// # Errors
    /// If the kubeconfig is no good.
    pub async fn client(&self) -> anyhow::Result<Client> {
        client_for(&self.kubeconfig).await
    }
}

/// A client with the kubeconfig at `path`.
///
/// # Errors
/// If the kubeconfig is no good.
pub async fn client_for(path: &Path) -> anyhow::Result<Client> {
    install_crypto();
    let kubeconfig =
        Kubeconfig::read_from(path).with_context(|| format!("reading {}", path.display()))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("using {}", path.display()))?;
    Client::try_from(config).context("making a client")
}

/// The key material and kubeconfigs of a control plane.
struct Keys {
    server: String,
    ca_pem: String,
    ca: PathBuf,
    serving: crate::tls::IdentityFiles,
    service_account_key: PathBuf,
    service_account_public_key: PathBuf,
    kubeconfig: PathBuf,
    manager_kubeconfig: PathBuf,
}

impl Keys {
    fn make(folder: &Path, server: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let authority = Authority::new()?;
        let ca = folder.join("ca.crt");
        authority.write_ca(&ca)?;
        let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        let serving = authority
            .issue(&names, &[[127, 0, 0, 1].into(), [10, 96, 0, 1].into()])?
            .write(folder, "apiserver")?;

        let service_account = KeyPair::generate().context("making the service accounts' key")?;
        let service_account_key = folder.join("service-account.key");
        write_file(&service_account_key, &service_account.serialize_pem())?;
        let service_account_public_key = folder.join("service-account.pub");
        write_file(&service_account_public_key, &service_account.public_key_pem())?;

        let ca_pem = authority.ca_pem();
        let client = |name: &str, user: &str, group: Option<&str>| -> anyhow::Result<PathBuf> {
            let identity = authority.issue_client(user, group)?;
            let user = json!({
                "client-certificate-data": BASE64_STANDARD.encode(identity.cert_pem()),
                "client-key-data": BASE64_STANDARD.encode(identity.key_pem()),
            });
            let path = folder.join(format!("{name}.kubeconfig"));
            write_kubeconfig(&path, server, &ca_pem, name, user)?;
            Ok(path)
        };
        Ok(Self {
            kubeconfig: client("admin", "admin", Some("system:masters"))?,
            manager_kubeconfig: client(
                "controller-manager",
                "system:kube-controller-manager",
                None,
            )?,
            server: server.to_owned(),
            ca_pem: ca_pem.clone(),
            ca,
            serving,
            service_account_key,
            service_account_public_key,
        })
    }
}

fn write_kubeconfig(
    path: &Path,
    server: &str,
    ca_pem: &str,
    user_name: &str,
    user: Value,
) -> anyhow::Result<()> {
    let ca = BASE64_STANDARD.encode(ca_pem);
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "kit",
            "cluster": {"server": server, "certificate-authority-data": ca},
        }],
        "users": [{"name": user_name, "user": user}],
        "contexts": [{"name": "kit", "context": {"cluster": "kit", "user": user_name}}],
        "current-context": "kit",
    });
    // JSON is YAML.
    write_file(path, &format!("{kubeconfig:#}\n"))
}

fn start_etcd(folder: &Path, port: u16) -> anyhow::Result<Process> {
    let url = format!("http://127.0.0.1:{port}");
    let mut command = Command::new(parts::find("etcd")?);
    command
        .arg(flag("data-dir", folder.join("etcd").display()))
        .arg(flag("listen-client-urls", &url))
        .arg(flag("advertise-client-urls", &url))
        // A single member talks to no peer.
        .arg("--listen-peer-urls=http://127.0.0.1:0")
        .arg("--unsafe-no-fsync")
        .arg("--log-level=warn");
    start(&command, folder, "etcd")
}

fn start_apiserver(
    folder: &Path,
    keys: &Keys,
    etcd_port: u16,
    port: u16,
    more: &[String],
) -> anyhow::Result<Process> {
    let mut command = Command::new(parts::find("kube-apiserver")?);
    command
        .arg(flag("etcd-servers", format!("http://127.0.0.1:{etcd_port}")))
        .arg("--bind-address=127.0.0.1")
        .arg("--advertise-address=127.0.0.1")
        .arg("--endpoint-reconciler-type=none")
        .arg(flag("secure-port", port))
        .arg(flag("tls-cert-file", keys.serving.cert.display()))
        .arg(flag("tls-private-key-file", keys.serving.key.display()))
        .arg(flag("client-ca-file", keys.ca.display()))
        .arg("--authorization-mode=Node,RBAC")
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(flag("service-account-signing-key-file", keys.service_account_key.display()))
        .arg(flag("service-account-key-file", keys.service_account_public_key.display()))
        .arg(flag("service-cluster-ip-range", SERVICE_RANGE))
        .arg("--allow-privileged")
        .arg("--profiling=false")
        .args(more);
    start(&command, folder, "kube-apiserver")
}

fn start_controller_manager(folder: &Path, keys: &Keys) -> anyhow::Result<Process> {
    let mut command = Command::new(parts::find("kube-controller-manager")?);
    command
        .arg(flag("kubeconfig", keys.manager_kubeconfig.display()))
        .arg(flag("root-ca-file", keys.ca.display()))
        .arg(flag("service-account-private-key-file", keys.service_account_key.display()))
        .arg(flag("controllers", CONTROLLERS))
        .arg("--use-service-account-credentials")
        .arg("--leader-elect=false")
        .arg("--secure-port=0")
        .arg("--profiling=false");
    start(&command, folder, "kube-controller-manager")
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

fn start(command: &Command, folder: &Path, name: &str) -> anyhow::Result<Process> {
    let mut process = Process::spawn(command, &folder.join("logs").join(format!("{name}.log")))?;
    // Its data goes with it, so there is nothing to be tidied up first.
    process.set_grace(Duration::ZERO);
    Ok(process)
}

async fn served(client: &Client) -> anyhow::Result<()> {
    until("the API server to be ready", START_TIMEOUT, async || {
        let request = Request::get("/readyz").body(Vec::new()).context("asking /readyz")?;
        client.request_text(request).await.map(Some).map_err(Into::into)
    })
    .await
    .map(drop)
}

/// The rules of `admin` come from `edit`, those of `edit` from `view`: so once `admin` allows what
/// only `view` brings, all three are whole.
async fn aggregated(client: &Client) -> anyhow::Result<()> {
    let roles: Api<ClusterRole> = Api::all(client.clone());
    until("the rules of the ClusterRoles view, edit and admin", START_TIMEOUT, async || {
        let rules = roles.get("admin").await?.rules.unwrap_or_default();
        let whole = rules
            .iter()
            .any(|rule| rule.resources.iter().flatten().any(|resource| resource == "pods/log"));
        Ok(whole.then_some(()))
    })
    .await
}
