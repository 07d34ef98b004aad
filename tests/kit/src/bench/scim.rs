//! Users pushed to one directory over several keep-alive connections, each created after the one
//! before was answered. The ledger syncs each to the disk before it answers.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::ensure;
use futures::future::try_join_all;

use super::{
    ORGANIZATION, Setting, machine,
    report::{Aim, Table},
};
use crate::{scim::Scim, wait::until};

const CONNECTIONS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);
const DIRECTORY: &str = "company";

/// Measures with `size` users.
///
/// # Errors
/// If something fails to work; the rows are in the table even if only some requests failed.
pub async fn measure(program: &Path, size: usize, table: &mut Table) -> anyhow::Result<()> {
    let setting = Setting::start(program, "scim").await?;
    let Setting { stage, control_plane, scratch } = &setting;
    let directory = format!(
        "{{apiVersion: rollcall.dev/v1alpha1, kind: DirectorySync, \
          metadata: {{name: {DIRECTORY}, namespace: {ORGANIZATION}}}, spec: {{source: {{scim: {{}}}}}}}}"
    );
    control_plane.kubectl_apply(&directory).await?;
    let (_, endpoint, token) = until("the directory's address and token", PATIENCE, async || {
        stage.scim(control_plane, ORGANIZATION, DIRECTORY).await.map(Some)
    })
    .await?;

    println!("==> scim: creating {size} users");
    let ours = std::process::id();
    let (gateway_before, ours_before) =
        (machine::processor_seconds(setting.gateway())?, machine::processor_seconds(ours)?);
    let next = AtomicUsize::new(1);
    let begun = Instant::now();
    let clients = (0..CONNECTIONS).map(|_| async {
        // of its own: clones would share their connections
        let scim = Scim::new(&endpoint, &token, &stage.ca_pem)?;
        let (mut times, mut errors) = (Vec::new(), Vec::new());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number > size {
                return anyhow::Ok((times, errors));
            }
            let begun = Instant::now();
            let user_name = format!("user{number:05}@bench.example");
            match scim.create_user(&user_name, &format!("User {number:05}")).await {
                Ok(_) => times.push(begun.elapsed().as_secs_f64() * 1e3),
                Err(error) => errors.push(error),
            }
        }
    });
    let done = tokio::select! {
        done = try_join_all(clients) => done?,
        died = stage.processes()[1].dies() => died?,
    };
    let seconds = begun.elapsed().as_secs_f64();
    let gateway = machine::processor_seconds(setting.gateway())? - gateway_before;
    let ours = machine::processor_seconds(ours)? - ours_before;
    let (mut times, mut errors) = (Vec::new(), Vec::new());
    for (some_times, some_errors) in done {
        times.extend(some_times);
        errors.extend(some_errors);
    }
    times.sort_unstable_by(f64::total_cmp);
    let percentile = |percent: usize| {
        times
            .get((times.len() * percent).div_ceil(100).saturating_sub(1))
            .copied()
            .unwrap_or(f64::NAN)
    };
    let rate = times.len() as f64 / seconds;
    let title = format!("{size} users over TLS on {CONNECTIONS} connections");
    table.row(&title, rate, "/s", Aim::AtLeast(1000.0));
    table.row("latency, half of them within", percentile(50), "ms", Aim::None);
    table.row("latency, 99 % within", percentile(99), "ms", Aim::None);
    table.row("errors", errors.len() as f64, "", Aim::AtMost(0.0));
    table.row(
        "one sync of this disk",
        machine::sync_milliseconds(scratch.path())?,
        "ms",
        Aim::None,
    );
    table.row("gateway, processor time", gateway, "s", Aim::None);
    table.row("bench's own processor time (the client)", ours, "s", Aim::None);
    let (now, most) = machine::memory(setting.gateway())?;
    table.row("gateway, resident memory", now, "MiB", Aim::None);
    table.row("gateway, resident memory at its peak", most, "MiB", Aim::None);
    if let Some(error) = errors.into_iter().next() {
        return Err(error.context("a user was not created"));
    }
    until("the users to be counted in the status", PATIENCE, async || {
        let get = ["get", "directorysync", DIRECTORY, "-n", ORGANIZATION];
        let path = ["-o", "jsonpath={.status.users}"];
        let users = control_plane.kubectl(&[&get[..], &path].concat()).await?;
        ensure!(users == size.to_string(), "{users} users");
        Ok(Some(()))
    })
    .await
}
