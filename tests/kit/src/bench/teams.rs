//! From a change at the company IdP to what it gives or takes: how long after a SCIM request begins its
//! effect stands in the cluster, or a person's refresh is refused. Beside other teams, one change after
//! another.

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
use reqwest::{Client, Method};
use serde_json::Value;

use super::{
    ORGANIZATION, Setting,
    company::{Company, DIRECTORY, Refused, client},
    report::{Aim, Table, milliseconds},
};
use crate::{control_plane::ControlPlane, scim::Scim};

const PATIENCE: Duration = Duration::from_secs(60);
/// Within what a change has its effect, in milliseconds.
const PROMPT: Aim = Aim::AtMost(1000.0);
/// How many teams there are already.
const BESIDE: usize = 200;

/// Measures with `size` changes of each kind.
///
/// # Errors
/// If something fails to work.
pub async fn measure(program: &Path, size: usize, table: &mut Table) -> anyhow::Result<()> {
    let setting = Setting::start(program, "teams").await?;
    let Setting { stage, control_plane, .. } = &setting;
    println!("==> teams: connecting the company and pushing {size} people");
    let company = Company::new(stage, control_plane, size).await?;
    bindings(control_plane, &company.scim, size, table).await?;
    refusals(&client(&stage.ca_pem)?, &company, table).await
}

/// Groups that come and go, each with a team that is imported.
async fn bindings(
    control_plane: &ControlPlane,
    scim: &Scim,
    size: usize,
    table: &mut Table,
) -> anyhow::Result<()> {
    let directory = format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: {ORGANIZATION}-web, \
          labels: {{rollcall.dev/organization: {ORGANIZATION}}}}}}}\n---\n\
         {{apiVersion: rollcall.dev/v1alpha1, kind: DirectorySync, \
          metadata: {{name: {DIRECTORY}, namespace: {ORGANIZATION}}}, spec: {{source: {{scim: {{}}}}, \
          removal: {{maxPercent: 100}}, teams: {{import: {{include: [\"*\"], \
          permissions: [{{name: look, clusterRole: view}}]}}}}}}}}"
    );
    control_plane.kubectl_apply(&directory).await?;
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
        made.push(milliseconds(begun));
        ensure!(team == Some(format!("team-{number}")), "a binding of {team:?}");
        let begun = Instant::now();
        delete_group(scim, &id).await?;
        next(true).await?;
        ended.push(milliseconds(begun));
    }
    table.times("group pushed to its RoleBinding", made, PROMPT);
    table.times("group deleted to its end", ended, PROMPT);
    Ok(())
}

/// People who are signed in, until the company deactivates them.
async fn refusals(client: &Client, company: &Company, table: &mut Table) -> anyhow::Result<()> {
    println!("==> teams: {} people are deactivated", company.ids.len());
    let mut times = vec![];
    for (number, id) in company.ids.iter().enumerate() {
        let token = company.sign_in(client, number).await?;
        let mut token = company.refresh(client, number, &token).await?;
        let begun = Instant::now();
        company.scim.deactivate(id).await?;
        let refused = async {
            loop {
                match company.refresh(client, number, &token).await {
                    Ok(next) => token = next,
                    Err(error) if error.is::<Refused>() => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        };
        tokio::time::timeout(PATIENCE, refused).await.context("refreshes are still granted")??;
        times.push(milliseconds(begun));
    }
    table.times("person deactivated to their refused refresh", times, PROMPT);
    Ok(())
}

async fn delete_group(scim: &Scim, id: &str) -> anyhow::Result<()> {
    let path = format!("Groups/{id}");
    let (status, body) = scim.send(Method::DELETE, &path, &Value::Null).await?;
    ensure!(status.is_success(), "{status}: {body}");
    Ok(())
}
