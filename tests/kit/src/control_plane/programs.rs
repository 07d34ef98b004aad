//! The programs of a control plane, and the flags that make them quick, small and still honest.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{authentication, keys::Keys};
use crate::{parts, process::Process};

const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The controllers that make sense without nodes.
const CONTROLLERS: &str = "clusterrole-aggregation-controller,garbage-collector-controller,\
    namespace-controller,resourcequota-controller,root-ca-certificate-publisher-controller,\
    serviceaccount-controller,serviceaccount-token-controller,\
    validatingadmissionpolicy-status-controller";

/// Where etcd keeps its data.
pub(super) fn etcd_data(folder: &Path) -> PathBuf {
    folder.join("etcd")
}

pub(super) fn start_etcd(folder: &Path, port: u16) -> anyhow::Result<Process> {
    let url = format!("http://127.0.0.1:{port}");
    let mut command = Command::new(parts::find("etcd")?);
    command
        .arg(flag("data-dir", etcd_data(folder).display()))
        .arg(flag("listen-client-urls", &url))
        .arg(flag("advertise-client-urls", &url))
        // A single member talks to no peer.
        .arg("--listen-peer-urls=http://127.0.0.1:0")
        .arg("--unsafe-no-fsync")
        .arg("--log-level=warn");
    start(&command, folder, "etcd")
}

pub(super) fn start_apiserver(
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
        .arg(flag("authentication-config", authentication::file(folder).display()))
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

pub(super) fn start_controller_manager(folder: &Path, keys: &Keys) -> anyhow::Result<Process> {
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
