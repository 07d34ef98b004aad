//! A Kubernetes control plane: etcd, kube-apiserver with RBAC, and kube-controller-manager, which
//! gives `view`, `edit` and `admin` their rules, makes service accounts, collects garbage and
//! finishes the deletion of namespaces. No kubelet: no pod ever runs.

mod authentication;
mod keys;
mod programs;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use axum::http::Request;
use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use self::{
    keys::{Keys, write_kubeconfig},
    programs::{etcd_data, start_apiserver, start_controller_manager, start_etcd},
};
use crate::{
    kubectl::Kubectl,
    process::{Process, free_port},
    scratch::Scratch,
    tls::{install_crypto, write_file},
    wait::until,
};

/// Ample: on two busy cores it takes a few seconds.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// A running control plane, ended when dropped; or a cluster that was there already.
#[derive(Debug)]
pub struct ControlPlane {
    // In the order in which they are ended.
    processes: Vec<Process>,
    /// What its programs are started with; none where they aren't ours.
    ours: Option<Ours>,
    folder: PathBuf,
    kubeconfig: PathBuf,
    server: String,
    ca_pem: String,
    kubectl: Kubectl,
    _scratch: Option<Scratch>,
}

#[derive(Debug)]
struct Ours {
    keys: Keys,
    etcd_port: u16,
    port: u16,
    apiserver_flags: Vec<String>,
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

    /// As [`start`](Self::start), with more flags for kube-apiserver.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(folder: &Path, apiserver_flags: &[String]) -> anyhow::Result<Self> {
        let (etcd_port, port) = (free_port()?, free_port()?);
        let keys = Keys::make(folder, &format!("https://127.0.0.1:{port}"))?;
        authentication::write(folder, authentication::NOBODY)?;
        let mut control_plane = Self {
            processes: Vec::new(),
            folder: folder.to_owned(),
            kubectl: Kubectl::new(&keys.kubeconfig, folder)?,
            kubeconfig: keys.kubeconfig.clone(),
            server: keys.server.clone(),
            ca_pem: keys.ca_pem.clone(),
            ours: Some(Ours { keys, etcd_port, port, apiserver_flags: apiserver_flags.to_owned() }),
            _scratch: None,
        };
        control_plane.run().await?;
        Ok(control_plane)
    }

    /// Starts its programs on what etcd has in the folder.
    async fn run(&mut self) -> anyhow::Result<()> {
        let folder = &self.folder;
        let Ours { keys, etcd_port, port, apiserver_flags } =
            self.ours.as_ref().context("this cluster's programs are not the kit's to run")?;
        let etcd = start_etcd(folder, *etcd_port)?;
        let apiserver = start_apiserver(folder, keys, *etcd_port, *port, apiserver_flags)?;
        let client = self.client().await?;
        tokio::select! {
            served = served(&client) => served?,
            died = apiserver.dies() => died?,
            died = etcd.dies() => died?,
        }
        let manager = start_controller_manager(folder, keys)?;
        tokio::select! {
            aggregated = aggregated(&client) => aggregated?,
            died = manager.dies() => died?,
        }
        self.processes = vec![manager, apiserver, etcd];
        Ok(())
    }

    /// Keeps a copy of what etcd has now, in place of the one before. It isn't served meanwhile.
    ///
    /// # Errors
    /// As [`start`](Self::start), or if the cluster was there already.
    pub async fn back_up(&mut self) -> anyhow::Result<()> {
        let data = etcd_data(&self.folder);
        self.replace(&data.with_extension("backup"), &data).await
    }

    /// Lets etcd have again what it had at the backup.
    ///
    /// # Errors
    /// As [`back_up`](Self::back_up), or if there was no backup.
    pub async fn restore(&mut self) -> anyhow::Result<()> {
        let data = etcd_data(&self.folder);
        self.replace(&data, &data.with_extension("backup")).await
    }

    /// Puts a copy of one folder in the place of another, while nothing runs.
    async fn replace(&mut self, folder: &Path, with: &Path) -> anyhow::Result<()> {
        ensure!(self.is_ours(), "this cluster's data are not the kit's to change");
        ensure!(with.is_dir(), "{} isn't there", with.display());
        for process in self.processes.drain(..) {
            process.stop().await?;
        }
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
        }
        let copied = Command::new("cp").arg("--recursive").args([with, folder]).status();
        ensure!(copied.context("running cp")?.success(), "{} isn't copied", with.display());
        self.run().await
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
            processes: Vec::new(),
            ours: None,
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
    /// If the API server gives no token for it; one it gives lasts a day.
    pub async fn service_account_kubeconfig(
        &self,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<PathBuf> {
        let token = ["create", "token", "--duration=24h", "--namespace", namespace, name];
        let token = self.kubectl(&token).await?;
        self.kubeconfig_for_token(&format!("{namespace}-{name}"), token.trim())
    }

    /// Has the API server trust the issuers of this AuthenticationConfiguration (YAML) and no
    /// others, and waits until it does.
    ///
    /// # Errors
    /// If the API server refuses it, with its reason; or if the cluster was there already.
    pub async fn authenticate_with(&self, config: &str) -> anyhow::Result<()> {
        ensure!(self.is_ours(), "this cluster's issuers are not the kit's to change");
        authentication::change(&self.client().await?, &self.folder, config).await
    }

    /// Whether it was started here, and is not somebody's cluster.
    pub fn is_ours(&self) -> bool {
        self.ours.is_some()
    }

    /// A client as the administrator. Make one in each test: it belongs to the test's runtime.
    ///
    /// # Errors
    /// If the kubeconfig is no good.
    pub async fn client(&self) -> anyhow::Result<Client> {
        client_for(&self.kubeconfig).await
    }

    /// A client as the user of this name, who may be a service account, in these groups; with none
    /// given, in those that such a user always has.
    ///
    /// # Errors
    /// As [`client`](Self::client).
    pub async fn client_as(&self, user: &str, groups: &[&str]) -> anyhow::Result<Client> {
        install_crypto();
        let mut config = config_for(&self.kubeconfig).await?;
        config.auth_info.impersonate = Some(user.to_owned());
        config.auth_info.impersonate_groups =
            Some(groups.iter().map(|group| (*group).to_owned()).collect());
        Client::try_from(config).context("making a client")
    }
}

/// A client with the kubeconfig at `path`.
///
/// # Errors
/// If the kubeconfig is no good.
pub async fn client_for(path: &Path) -> anyhow::Result<Client> {
    install_crypto();
    Client::try_from(config_for(path).await?).context("making a client")
}

async fn config_for(path: &Path) -> anyhow::Result<Config> {
    let kubeconfig =
        Kubeconfig::read_from(path).with_context(|| format!("reading {}", path.display()))?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("using {}", path.display()))
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
