//! Many VerifiedDomains of one organization, made at once; each one's record is published as soon
//! as its value is known. Then the same at rest, after a restart, and beside others.

use std::{collections::HashSet, path::Path, pin::pin, time::Duration, time::Instant};

use anyhow::{Context, bail};
use axum::http::Request;
use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};

use super::{
    ORGANIZATION, Setting, machine, metrics,
    report::{Aim, Table},
    seen,
};
use crate::{dns::Dns, wait::until};

/// How many objects are created at the same time.
const CREATED_AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(1800);
/// How long nothing is to be written.
const REST: Duration = Duration::from_secs(60);
/// How many proofs are renewed before their time.
const RENEWED: usize = 20;
/// How long no pass begins once all is done.
const SETTLED: Duration = Duration::from_secs(3);

/// Measures with `size` objects.
///
/// # Errors
/// If something fails to work.
pub async fn measure(program: &Path, size: usize, table: &mut Table) -> anyhow::Result<()> {
    let mut setting = Setting::start(program, "domains").await?;
    let client = setting.control_plane.client().await?;
    let kind = GroupVersionKind::gvk("rollcall.dev", "v1alpha1", "VerifiedDomain");
    let resource = ApiResource::from_gvk_with_plural(&kind, "verifieddomains");
    let api = Api::namespaced_with(client.clone(), ORGANIZATION, &resource);
    let count = size as f64;
    let ours = std::process::id();

    println!("==> domains: creating {size}");
    let before = Writes::so_far(&client).await?;
    let client_before = machine::processor_seconds(ours)?;
    let begun = Instant::now();
    let dns = &setting.stage.dns;
    let seconds = tokio::select! {
        done = async { tokio::try_join!(create(&api, &resource, size), prove(&api, dns, size)) } => {
            let (created, ()) = done?;
            table.row("domains created", count / created.as_secs_f64(), "/s", Aim::None);
            begun.elapsed().as_secs_f64()
        }
        died = setting.stage.processes()[0].dies() => died?,
    };
    let passes = settled_passes(&setting).await?;
    let writes = Writes::so_far(&client).await? - before;
    table.row(&format!("{size} domains, first creation to all Verified"), seconds, "s", Aim::None);
    table.row("API writes to each object", writes.objects / count, "", Aim::AtMost(3.0));
    table.row("API writes refused as stale", writes.refused, "", Aim::None);
    table.row("events for each object", writes.events / count, "", Aim::None);
    table.row("passes for each object", passes / count, "", Aim::None);
    table.row("passes per second", passes / seconds, "/s", Aim::None);
    let queries = setting.stage.dns.queries() as f64;
    table.row("DNS queries for each object", queries / count, "", Aim::None);
    let spent = machine::processor_seconds(setting.controller())?;
    table.row("controller, processor time", spent, "s", Aim::None);
    let spent = machine::processor_seconds(ours)? - client_before;
    table.row("bench's own processor time (clients, DNS server)", spent, "s", Aim::None);

    println!("==> domains: at rest for {} s", REST.as_secs());
    let before = Writes::so_far(&client).await?;
    let spent = machine::processor_seconds(setting.controller())?;
    let asked = setting.stage.dns.queries();
    tokio::time::sleep(REST).await;
    let asked = (setting.stage.dns.queries() - asked) as f64 / REST.as_secs_f64();
    table.row("DNS queries at rest", asked, "/s", Aim::AtMost(0.2));
    let writes = Writes::so_far(&client).await? - before;
    let all = writes.objects + writes.refused + writes.events;
    table.row("API writes in 60 s at rest", all, "", Aim::AtMost(0.0));
    let spent = machine::processor_seconds(setting.controller())? - spent;
    table.row("controller, processor time in 60 s at rest", spent, "s", Aim::None);
    let (now, most) = machine::memory(setting.controller())?;
    table.row("controller, resident memory", now, "MiB", Aim::AtMost(64.0));
    table.row("controller, resident memory at its peak", most, "MiB", Aim::AtMost(64.0));
    let program = machine::program_memory(setting.controller())?;
    table.row("of that the program itself", program, "MiB", Aim::None);

    renewals(&setting, &api, size, table).await?;

    println!("==> domains: restarting Rollcall");
    let asked_before = setting.stage.dns.queries();
    let before = Writes::so_far(&client).await?;
    setting.stage.stop().await?;
    let begun = Instant::now();
    setting.stage.run().await?;
    until("a pass over each domain", PATIENCE, async || {
        Ok((passes_so_far(&setting).await? >= count).then_some(()))
    })
    .await?;
    table.row("restart, to a pass over each", begun.elapsed().as_secs_f64(), "s", Aim::None);
    settled_passes(&setting).await?;
    let asked = (setting.stage.dns.queries() - asked_before) as f64;
    table.row("restart, DNS queries", asked, "", Aim::AtMost(0.0));
    let writes = Writes::so_far(&client).await? - before;
    let all = writes.objects + writes.refused + writes.events;
    table.row("restart, API writes", all, "", Aim::AtMost(0.0));
    let (now, most) = machine::memory(setting.controller())?;
    table.row("restart, resident memory", now, "MiB", Aim::AtMost(64.0));
    table.row("restart, resident memory at its peak", most, "MiB", Aim::AtMost(64.0));
    seen::measure(&setting, &client, &resource, size.div_ceil(10), table).await
}

/// What it costs to look at a verified domain again, which is done daily.
async fn renewals(
    setting: &Setting,
    api: &Api<DynamicObject>,
    size: usize,
    table: &mut Table,
) -> anyhow::Result<()> {
    let dns = &setting.stage.dns;
    let asked = dns.queries();
    for number in 1..=RENEWED.min(size) {
        let before = dns.queries();
        let now =
            json!({"metadata": {"annotations": {"rollcall.dev/reconcile-requested-at": "now"}}});
        let params = PatchParams::default();
        api.patch(&object_name(number), &params, &Patch::Merge(now)).await?;
        until("a look", PATIENCE, async || Ok((dns.queries() > before).then_some(()))).await?;
    }
    settled_passes(setting).await?;
    let each = (dns.queries() - asked) as f64 / RENEWED.min(size) as f64;
    table.row("DNS queries to renew a proof", each, "", Aim::None);
    let daily = each * size as f64 / 86_400.0;
    table.row("DNS queries a second, each renewed daily", daily, "/s", Aim::AtMost(0.2));
    Ok(())
}

fn object_name(number: usize) -> String {
    format!("d{number:05}.bench.example")
}

/// Creates the objects; returns how long that took.
async fn create(
    api: &Api<DynamicObject>,
    resource: &ApiResource,
    size: usize,
) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let creations = stream::iter(1..=size).map(|number| async move {
        let name = object_name(number);
        let spec = json!({"spec": {"domain": name}});
        let object = DynamicObject::new(&name, resource).data(spec);
        api.create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("creating {name}"))
    });
    creations.buffer_unordered(CREATED_AT_ONCE).try_for_each(async |_| Ok(())).await?;
    Ok(begun.elapsed())
}

/// Publishes each challenge when it is told, until all domains are Verified.
async fn prove(api: &Api<DynamicObject>, dns: &Dns, size: usize) -> anyhow::Result<()> {
    let (mut published, mut verified) = (HashSet::new(), HashSet::new());
    let proving = async {
        let mut objects = pin!(
            watcher(api.clone(), watcher::Config::default()).default_backoff().applied_objects()
        );
        while verified.len() < size {
            let object = objects.try_next().await?.context("the watch ended")?;
            let status = &object.data["status"];
            let challenge = &status["challenge"];
            if let (Some(name), Some(value)) =
                (challenge["recordName"].as_str(), challenge["recordValue"].as_str())
                && published.insert(object.name_any())
            {
                dns.set_txt(name, vec![vec![value.to_owned()]])?;
            }
            if is_true(status, "Verified") {
                verified.insert(object.name_any());
            }
        }
        Ok(())
    };
    match tokio::time::timeout(PATIENCE, proving).await {
        Ok(proved) => proved,
        Err(_) => bail!("after {PATIENCE:?} {} of {size} domains are Verified", verified.len()),
    }
}

pub(super) fn is_true(status: &Value, condition: &str) -> bool {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|c| c["type"] == condition && c["status"] == "True")
}

/// What the API server has written so far.
struct Writes {
    /// To VerifiedDomains, their creation apart.
    objects: f64,
    /// To VerifiedDomains, but their version wasn't the newest.
    refused: f64,
    /// Events, made or counted up.
    events: f64,
}

impl Writes {
    async fn so_far(client: &Client) -> anyhow::Result<Self> {
        let request = Request::get("/metrics").body(Vec::new())?;
        let text = client.request_text(request).await.context("asking the API server's metrics")?;
        let sum = |resource, verbs: &[&str], code| -> f64 {
            let labels = |verb| [("resource", resource), ("verb", verb), ("code", code)];
            let family = "apiserver_request_total";
            verbs.iter().map(|verb| metrics::sum(&text, family, &labels(*verb))).sum()
        };
        let changes = ["APPLY", "DELETE", "PATCH", "PUT"];
        Ok(Self {
            objects: sum("verifieddomains", &changes, "200"),
            refused: sum("verifieddomains", &changes, "409"),
            events: sum("events", &["POST"], "201") + sum("events", &changes, "200"),
        })
    }
}

impl std::ops::Sub for Writes {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            objects: self.objects - before.objects,
            refused: self.refused - before.refused,
            events: self.events - before.events,
        }
    }
}

/// The controller's passes over VerifiedDomains.
async fn passes_so_far(setting: &Setting) -> anyhow::Result<f64> {
    let text = reqwest::get(format!("{}/metrics", setting.stage.health[0])).await?.text().await?;
    Ok(metrics::sum(&text, "rollcall_reconciles_total", &[("kind", "VerifiedDomain")]))
}

/// The same, once there are no more.
async fn settled_passes(setting: &Setting) -> anyhow::Result<f64> {
    let mut before = passes_so_far(setting).await?;
    loop {
        tokio::time::sleep(SETTLED).await;
        let now = passes_so_far(setting).await?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
}
