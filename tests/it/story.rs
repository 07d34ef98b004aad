//! The set-up guide from start to end, then rest, then an orderly stop.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context, ensure};
use rollcall_kit::{
    control_plane::ControlPlane,
    install_crypto,
    postgres::Database,
    scratch::Scratch,
    stage::{Sides, Stage},
    story::play,
    wait::until,
};
use serde_json::Value;

use crate::rights::Audit;

/// How long nothing may change. Statuses' counts are written at most ten seconds late.
const REST: Duration = Duration::from_secs(60);
const SETTLED: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_company_moves_in_and_then_nothing_is_written() -> anyhow::Result<()> {
    install_crypto();
    let scratch = Scratch::take("story")?;
    let audit = Audit::prepare(scratch.path())?;
    let control_plane = ControlPlane::start_with(scratch.path(), &audit.flags()).await?;
    let program = Path::new(env!("CARGO_BIN_EXE_rollcall"));
    let own = scratch.path().join("rollcall");
    let database = Database::asked_for().await?;
    let mut stage =
        Stage::start(&control_plane, program, &own, Sides::Apart, database.as_ref()).await?;
    let played = play(&control_plane, &stage, &|_| {}).await?;

    stays(&control_plane, REST).await?;

    let metrics = reqwest::get(format!("{}/metrics", stage.health[0])).await?.text().await?;
    let domains = "rollcall_domains{state=\"RecordFound\"} 2";
    ensure!(metrics.contains(domains), "no {domains} in {metrics}");
    let reconciles = "rollcall_reconciles_total{kind=\"VerifiedDomain\",outcome=\"ok\"}";
    ensure!(metrics.contains(reconciles), "no {reconciles} in {metrics}");
    let metrics = reqwest::get(format!("{}/metrics", stage.health[1])).await?.text().await?;
    ensure!(metrics.contains("rollcall_scim_requests_total{"), "{metrics}");

    let events = control_plane.kubectl(&["get", "events", "-A", "-o", "json"]).await?;
    let logs = stage.logs()?;
    for (place, text) in [("logs", &logs), ("events", &events), ("metrics", &metrics)] {
        ensure!(!text.contains(&played.scim_token), "the token is in the {place}");
        ensure!(!text.contains("ada@"), "a person is in the {place}");
        ensure!(!text.contains("postgres://"), "the database's URL is in the {place}");
    }
    audit.rights_are_exactly_those_used(&control_plane, &stage).await?;
    stage.stop().await
}

/// Fails unless the objects of the cluster stay as they are for that long.
async fn stays(control_plane: &ControlPlane, long: Duration) -> anyhow::Result<()> {
    let mut before = versions(control_plane).await?;
    let mut since = std::time::Instant::now();
    let begun = since;
    // the story's last writes may still come; from then on, none
    until("a minute in which nothing is written", long + SETTLED, async || {
        let now = versions(control_plane).await?;
        if now != before {
            let changed: Vec<_> =
                now.iter().filter(|(name, v)| before.get(*name) != Some(*v)).collect();
            let late = begun.elapsed() > SETTLED;
            let what = format!("changed after {:?}: {changed:?}", begun.elapsed());
            before = now.clone();
            since = std::time::Instant::now();
            ensure!(!late, what);
        }
        Ok((since.elapsed() >= long).then_some(()))
    })
    .await
}

/// The resourceVersion of every object but Leases, and the endpoints and addresses that the
/// control plane itself renews.
async fn versions(control_plane: &ControlPlane) -> anyhow::Result<BTreeMap<String, String>> {
    let kinds = "rollcall,rolebindings,clusterrolebindings,secrets,serviceaccounts,namespaces,events,configmaps";
    let all = control_plane.kubectl(&["get", kinds, "-A", "-o", "json"]).await?;
    let all: Value = serde_json::from_str(&all)?;
    let items = all["items"].as_array().context("no list")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(items
        .iter()
        .map(|item| {
            let meta = &item["metadata"];
            let name = [&item["kind"], &meta["namespace"], &meta["name"]].map(text).join("/");
            (name, text(&meta["resourceVersion"]))
        })
        .collect())
}
