//! From a change at the company IdP to what it gives: how long after a SCIM request begins its effect
//! stands in the cluster. Beside other teams, one change after another.

use std::{
    path::Path,
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::{
    Api, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::Value;

use super::{
    ORGANIZATION, Setting,
    report::{Aim, Table},
};
use crate::{scim::Scim, wait::until};

const PATIENCE: Duration = Duration::from_secs(60);
const DIRECTORY: &str = "company";
/// How many teams there are already.
const BESIDE: usize = 200;

/// Measures with `size` changes.
///
/// # Errors
/// If something fails to work.
pub async fn measure(program: &Path, size: usize, table: &mut Table) -> anyhow::Result<()> {
    let setting = Setting::start(program, "teams").await?;
    let Setting { stage, control_plane, .. } = &setting;
    let directory = format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: {ORGANIZATION}-web, \
          labels: {{rollcall.dev/organization: {ORGANIZATION}}}}}}}\n---\n\
         {{apiVersion: rollcall.dev/v1alpha1, kind: DirectorySync, \
          metadata: {{name: {DIRECTORY}, namespace: {ORGANIZATION}}}, spec: {{source: {{scim: {{}}}}, \
          removal: {{maxPercent: 100}}, teams: {{import: {{include: [\"*\"], \
          permissions: [{{name: look, clusterRole: view}}]}}}}}}}}"
    );
    control_plane.kubectl_apply(&directory).await?;
    let (scim, ..) = until("the directory's address and token", PATIENCE, async || {
        stage.scim(control_plane, ORGANIZATION, DIRECTORY).await.map(Some)
    })
    .await?;
    let person = scim.create_user("ada@bench.example", "Ada").await?;
    let web = format!("{ORGANIZATION}-web");
    let bindings = Api::<RoleBinding>::namespaced(control_plane.client().await?, &web);
    let mut events = pin!(watcher(bindings, watcher::Config::default()).default_backoff().boxed());
    // the team of the next binding that is made, or ended
    let mut next = async |ended: bool| {
        let seen = async {
            while let Some(event) = events.try_next().await? {
                let binding = match event {
                    watcher::Event::Apply(binding) | watcher::Event::InitApply(binding)
                        if !ended =>
                    {
                        binding
                    }
                    watcher::Event::Delete(binding) if ended => binding,
                    _ => continue,
                };
                return Ok(binding.labels().get("rollcall.dev/team").cloned());
            }
            anyhow::bail!("the watch of bindings ended")
        };
        tokio::time::timeout(PATIENCE, seen).await.context("no change of a binding")?
    };

    println!("==> teams: {size} changes beside {BESIDE} teams");
    for number in 0..BESIDE {
        scim.create_group(&format!("Beside {number}"), &[&person]).await?;
    }
    for _ in 0..BESIDE {
        next(false).await?;
    }
    let (mut made, mut ended) = (vec![], vec![]);
    for number in 0..size {
        let begun = Instant::now();
        let id = scim.create_group(&format!("Team {number}"), &[&person]).await?;
        let team = next(false).await?;
        made.push(begun.elapsed().as_secs_f64() * 1e3);
        ensure!(team == Some(format!("team-{number}")), "a binding of {team:?}");
        let begun = Instant::now();
        delete_group(&scim, &id).await?;
        next(true).await?;
        ended.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    for (what, mut times) in
        [("group pushed to its RoleBinding", made), ("group deleted to its end", ended)]
    {
        times.sort_unstable_by(f64::total_cmp);
        let percentile = |percent: usize| {
            let place = (times.len() * percent).div_ceil(100).saturating_sub(1);
            times.get(place).copied().unwrap_or(f64::NAN)
        };
        table.row(&format!("{what}, half of them within"), percentile(50), "ms", Aim::None);
        table.row(&format!("{what}, 99 % within"), percentile(99), "ms", Aim::AtMost(1000.0));
    }
    Ok(())
}

async fn delete_group(scim: &Scim, id: &str) -> anyhow::Result<()> {
    let path = format!("Groups/{id}");
    let (status, body) = scim.send(reqwest::Method::DELETE, &path, &Value::Null).await?;
    ensure!(status.is_success(), "{status}: {body}");
    Ok(())
}
