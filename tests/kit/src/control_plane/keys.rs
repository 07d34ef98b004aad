//! The keys, certificates and kubeconfigs of a control plane.

use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::{Engine, prelude::BASE64_STANDARD};
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::tls::{Authority, IdentityFiles, write_file};

/// The key material and kubeconfigs of a control plane.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) server: String,
    pub(super) ca_pem: String,
    pub(super) ca: PathBuf,
    pub(super) serving: IdentityFiles,
    pub(super) service_account_key: PathBuf,
    pub(super) service_account_public_key: PathBuf,
    pub(super) kubeconfig: PathBuf,
    pub(super) manager_kubeconfig: PathBuf,
}

impl Keys {
    pub(super) fn make(folder: &Path, server: &str) -> anyhow::Result<Self> {
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

pub(super) fn write_kubeconfig(
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
