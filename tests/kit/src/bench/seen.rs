//! How soon a published record is seen, and whether an organization's silent name servers delay
//! anybody else.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, PostParams},
    runtime::wait::{await_condition, conditions},
};
use serde_json::json;

use super::{
    Setting,
    domains::is_true,
    report::{Aim, Table},
};
use crate::dns::Mode;

/// How many records are published, one every few seconds after their objects were made.
const PUBLISHED: u32 = 20;
const APART: Duration = Duration::from_secs(3);
/// How many domains are measured beside silent ones.
const GOOD: usize = 30;
const PATIENCE: Duration = Duration::from_secs(120);
const SILENT: &str = "silent.example";

/// Measures beside `silent` domains whose name servers never answer.
///
/// # Errors
/// If something fails to work.
pub(super) async fn measure(
    setting: &Setting,
    client: &Client,
    resource: &ApiResource,
    silent: usize,
    table: &mut Table,
) -> anyhow::Result<()> {
    for organization in ["fresh", "good", "silent"] {
        let namespace =
            format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {organization}}}}}");
        setting.control_plane.kubectl_apply(&namespace).await?;
    }
    let domains = |organization| Domains {
        setting,
        resource,
        api: Api::namespaced_with(client.clone(), organization, resource),
    };

    println!("==> domains: publishing {PUBLISHED} records, each some seconds later");
    let fresh = domains("fresh");
    let seen = stream::iter(1..=PUBLISHED).map(|number| {
        let name = format!("n{number}.fresh.example");
        let fresh = &fresh;
        async move {
            fresh.create(&name).await?;
            tokio::time::sleep(APART * number).await;
            fresh.publish(&name).await?;
            let published = Instant::now();
            fresh.verified(&name).await?;
            anyhow::Ok(published.elapsed().as_secs_f64())
        }
    });
    let seen: Vec<_> = seen.buffer_unordered(PUBLISHED as usize).try_collect().await?;
    let latest = seen.into_iter().fold(0.0, f64::max);
    table.row("a published record is seen within", latest, "s", Aim::AtMost(15.0));

    let good = domains("good");
    let names: Vec<_> = (1..=GOOD).map(|number| format!("g{number}.good.example")).collect();
    for name in &names {
        good.create(name).await?;
        good.publish(name).await?;
        good.delete(name).await?;
    }
    let alone = good.median(&names).await?;
    println!("==> domains: {silent} whose servers are silent");
    setting.stage.dns.set_mode(SILENT, Mode::Silent)?;
    let bad = domains("silent");
    let names_of_bad = (1..=silent).map(|number| format!("s{number}.{SILENT}"));
    stream::iter(names_of_bad)
        .map(|name| {
            let bad = &bad;
            async move { bad.create(&name).await }
        })
        .buffer_unordered(32)
        .try_for_each(async |()| Ok(()))
        .await?;
    let beside = good.median(&names).await?;
    table.row("creation to Verified, median", alone * 1000.0, "ms", Aim::None);
    let figure = format!("the same beside {silent} silent domains");
    table.row(&figure, beside * 1000.0, "ms", Aim::AtMost(alone * 1100.0));
    Ok(())
}

/// The VerifiedDomains of one organization.
struct Domains<'a> {
    setting: &'a Setting,
    resource: &'a ApiResource,
    api: Api<DynamicObject>,
}

impl Domains<'_> {
    async fn create(&self, name: &str) -> anyhow::Result<()> {
        let object =
            DynamicObject::new(name, self.resource).data(json!({"spec": {"domain": name}}));
        let created = self.api.create(&PostParams::default(), &object).await;
        created.map(drop).with_context(|| format!("creating {name}"))
    }

    async fn publish(&self, name: &str) -> anyhow::Result<()> {
        let told = |object: Option<&DynamicObject>| {
            object.is_some_and(|o| o.data["status"]["challenge"]["recordValue"].is_string())
        };
        let object = self.wait(name, told).await?.context("it was deleted")?;
        let challenge = &object.data["status"]["challenge"];
        let (Some(name), Some(value)) =
            (challenge["recordName"].as_str(), challenge["recordValue"].as_str())
        else {
            bail!("no challenge in {challenge}");
        };
        self.setting.stage.dns.set_txt(name, vec![vec![value.to_owned()]])
    }

    async fn verified(&self, name: &str) -> anyhow::Result<()> {
        let verified = |object: Option<&DynamicObject>| {
            object.is_some_and(|o| is_true(&o.data["status"], "Verified"))
        };
        self.wait(name, verified).await.map(drop)
    }

    async fn delete(&self, name: &str) -> anyhow::Result<()> {
        let object = self.api.get(name).await?;
        let uid = object.metadata.uid.context("it has no uid")?;
        self.api.delete(name, &DeleteParams::default()).await?;
        self.wait(name, conditions::is_deleted(&uid)).await.map(drop)
    }

    /// The median time from making an object whose record is published to its being verified, one
    /// after another; they are deleted again.
    async fn median(&self, names: &[String]) -> anyhow::Result<f64> {
        let mut took = Vec::with_capacity(names.len());
        for name in names {
            let begun = Instant::now();
            self.create(name).await?;
            self.verified(name).await?;
            took.push(begun.elapsed().as_secs_f64());
            self.delete(name).await?;
        }
        took.sort_by(f64::total_cmp);
        Ok(took[took.len() / 2])
    }

    async fn wait(
        &self,
        name: &str,
        condition: impl kube::runtime::wait::Condition<DynamicObject>,
    ) -> anyhow::Result<Option<DynamicObject>> {
        let waiting = await_condition(self.api.clone(), name, condition);
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        Ok(waited.with_context(|| format!("waiting for {name}"))??)
    }
}
