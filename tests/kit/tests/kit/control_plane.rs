//! The control plane is a real one, with RBAC that means something.

use std::time::Duration;

use anyhow::ensure;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use rollcall_kit::{control_plane::ControlPlane, wait::until};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_role_binding_gives_a_service_account_that_access_and_no_more() -> anyhow::Result<()> {
    let cluster = ControlPlane::shared().await?;
    cluster.kubectl(&["create", "namespace", "kit-rbac"]).await?;
    cluster
        .kubectl_apply(
            "apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: kit-rbac}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: readers, namespace: kit-rbac}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: reader}]
",
        )
        .await?;
    let reader = cluster.service_account_kubeconfig("kit-rbac", "reader").await?;
    let reader = cluster.kubectl_as(&reader)?;
    let whoami = reader.run(&["auth", "whoami"]).await?;
    ensure!(whoami.contains("system:serviceaccount:kit-rbac:reader"), "{whoami}");
    // The authorizer's view of a binding is a cache that follows within milliseconds.
    until("the reader to read", SOON, async || {
        reader.run(&["get", "pods", "--namespace=kit-rbac"]).await.map(Some)
    })
    .await?;
    for refused in [
        ["auth", "can-i", "get", "secrets", "--namespace=kit-rbac"],
        ["auth", "can-i", "create", "pods", "--namespace=kit-rbac"],
        ["auth", "can-i", "get", "pods", "--namespace=default"],
    ] {
        ensure!(reader.run(&refused).await.is_err(), "{refused:?}");
    }
    let administrator = cluster.kubectl(&["auth", "can-i", "*", "*"]).await?;
    ensure!(administrator.trim() == "yes", "{administrator}");
    Ok(())
}

#[tokio::test]
async fn a_deleted_namespace_goes_with_what_is_in_it() -> anyhow::Result<()> {
    let cluster = ControlPlane::shared().await?;
    let namespaces: Api<Namespace> = Api::all(cluster.client().await?);
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some("kit-deleted".into());
    namespaces.create(&PostParams::default(), &namespace).await?;
    until("the controller-manager's ConfigMap", SOON, async || {
        let get = ["get", "configmap", "kube-root-ca.crt", "--namespace=kit-deleted"];
        cluster.kubectl(&get).await.map(Some)
    })
    .await?;
    namespaces.delete("kit-deleted", &DeleteParams::default()).await?;
    until("the namespace to be gone", SOON, async || {
        Ok(namespaces.get_opt("kit-deleted").await?.is_none().then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_refusal_is_told_in_the_api_servers_words() -> anyhow::Result<()> {
    let cluster = ControlPlane::shared().await?;
    let error = cluster
        .kubectl_apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: NOT_A_NAME}}")
        .await
        .unwrap_err()
        .to_string();
    ensure!(error.contains("NOT_A_NAME") && error.contains("RFC 1123"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_cluster_that_is_there_already_is_used_by_its_kubeconfig() -> anyhow::Result<()> {
    let cluster = ControlPlane::shared().await?;
    let folder = TempDir::new()?;
    let same = ControlPlane::existing(cluster.kubeconfig(), folder.path()).await?;
    ensure!(same.server() == cluster.server() && same.ca_pem() == cluster.ca_pem());
    ensure!(same.client().await?.apiserver_version().await?.major == "1");
    drop(same);
    cluster.kubectl(&["get", "namespaces"]).await.map(drop)
}

#[tokio::test]
async fn one_that_does_not_start_says_why_at_once() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let started =
        ControlPlane::start_with(folder.path(), &["--no-such-flag".to_owned()]).await.map(drop);
    let error = started.unwrap_err().to_string();
    ensure!(error.contains("kube-apiserver") && error.contains("no-such-flag"), "{error}");
    Ok(())
}
