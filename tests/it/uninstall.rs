//! What an uninstall leaves: everybody's people, and what opens them again.

use std::process::Command;

use anyhow::{Context, ensure};
use rollcall_kit::{control_plane::ControlPlane, parts, scratch::Scratch, stage::CHART};

/// Runs helm against this control plane.
fn helm(control_plane: &ControlPlane, args: &str) -> anyhow::Result<()> {
    let mut helm = Command::new(parts::find("helm")?);
    helm.args(args.split(' ')).env("KUBECONFIG", control_plane.kubeconfig());
    let output = helm.output().context("running helm")?;
    ensure!(output.status.success(), "helm {args}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[tokio::test]
async fn an_uninstall_keeps_the_people_and_the_next_install_has_them() -> anyhow::Result<()> {
    let scratch = Scratch::take("uninstall")?;
    let control_plane = ControlPlane::start(scratch.path()).await?;
    let kubectl =
        async |command: &str| control_plane.kubectl(&command.split(' ').collect::<Vec<_>>()).await;
    let install = format!(
        "install rollcall {CHART} --namespace rollcall --create-namespace --set \
         publicURL=https://login.platform.example"
    );
    helm(&control_plane, &install)?;
    // as the operator makes them
    let key = "create secret generic rollcall-installation-key -n rollcall --from-literal=key=x";
    kubectl(key).await?;
    control_plane
        .kubectl_apply(
            "{apiVersion: rollcall.dev/v1alpha1, kind: DirectorySync, \
             metadata: {name: people, namespace: default}, spec: {source: {scim: {}}}}",
        )
        .await?;
    let kept = [
        "persistentvolumeclaim/rollcall-ledger -n rollcall",
        "secret/rollcall-installation-key -n rollcall",
        "customresourcedefinition/directorysyncs.rollcall.dev",
        "directorysync/people -n default",
    ];
    let identities = async || {
        let mut found = vec![];
        for what in kept {
            let path = "jsonpath={.metadata.uid}{.metadata.deletionTimestamp}";
            found.push(kubectl(&format!("get {what} -o {path}")).await.context(what)?);
        }
        anyhow::Ok(found)
    };
    let before = identities().await?;
    helm(&control_plane, "uninstall rollcall --namespace rollcall")?;
    ensure!(kubectl("get deployment rollcall -n rollcall").await.is_err(), "still installed");
    ensure!(identities().await? == before, "something is gone");
    helm(&control_plane, &install)?;
    ensure!(identities().await? == before, "something is another one now");
    Ok(())
}
