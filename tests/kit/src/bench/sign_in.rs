//! Whole sign-ins, from kubectl's authorization request through the company's SAML identity provider to
//! the ID token, and refreshes: each person at an address of their own behind a proxy that keeps its
//! connections, as an ingress does. The ledger syncs each step to the disk before it answers.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use futures::future::try_join_all;
use reqwest::Client;

use super::{
    Setting,
    company::{Company, client},
    machine,
    report::{Aim, Table, milliseconds},
};

/// Sign-ins at the same time.
const AT_ONCE: usize = 16;
/// How often each person's tokens are refreshed.
const REFRESHES: usize = 5;

/// Measures with `size` people.
///
/// # Errors
/// If something fails to work; the rows are in the table even if only some sign-ins failed.
pub async fn measure(program: &Path, size: usize, table: &mut Table) -> anyhow::Result<()> {
    let setting = Setting::start(program, "sign-in").await?;
    let Setting { stage, control_plane, scratch, .. } = &setting;
    println!("==> sign-in: connecting the company and pushing {size} people");
    let company = Company::new(stage, control_plane, size).await?;

    println!("==> sign-in: {size} people sign in");
    let title = format!("{size} sign-ins by SAML, {AT_ONCE} at once");
    let (signed_in, errors) =
        load(&setting, &title, "sign-ins", size, table, async |client, number| {
            company.sign_in(client, number).await
        })
        .await?;
    println!("==> sign-in: their tokens are refreshed");
    let title = format!("{} refreshes, {AT_ONCE} at once", size * REFRESHES);
    // one after the other: a refresh token is used once
    let tokens: Vec<_> = signed_in.into_iter().map(tokio::sync::Mutex::new).collect();
    let (_, refresh_errors) = if tokens.is_empty() {
        (vec![], vec![])
    } else {
        let refreshes = tokens.len() * REFRESHES;
        load(&setting, &title, "refreshes", refreshes, table, async |client, number| {
            let mut token = tokens[number % tokens.len()].lock().await;
            *token = company.refresh(client, number, &token).await?;
            Ok(())
        })
        .await?
    };
    let mut tries = 0..21;
    let syncs = machine::syncs(scratch.path(), || tries.next().is_some())?;
    table.times("one sync of this disk", syncs, Aim::None);
    for (name, process) in [("controller", setting.controller()), ("gateway", setting.gateway())] {
        let (now, most) = machine::memory(process)?;
        table.row(&format!("{name}, resident memory"), now, "MiB", Aim::None);
        table.row(&format!("{name}, resident memory at its peak"), most, "MiB", Aim::None);
    }
    match errors.into_iter().chain(refresh_errors).next() {
        Some(error) => Err(error.context("somebody was not signed in")),
        None => Ok(()),
    }
}

/// Does something `count` times, and tells how it went.
async fn load<T>(
    setting: &Setting,
    title: &str,
    what: &str,
    count: usize,
    table: &mut Table,
    work: impl AsyncFn(&Client, usize) -> anyhow::Result<T>,
) -> anyhow::Result<(Vec<T>, Vec<anyhow::Error>)> {
    let ours = std::process::id();
    let spent = || {
        let [gateway, controller] = [setting.gateway(), setting.controller()];
        let seconds = [gateway, controller, ours].map(machine::processor_seconds);
        seconds.into_iter().collect::<anyhow::Result<Vec<f64>>>()
    };
    let before = spent()?;
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    let workers = (0..AT_ONCE).map(|_| async {
        // of its own: clones would share their connections
        let client = client(&setting.stage.ca_pem)?;
        let (mut times, mut done, mut errors) = (vec![], vec![], vec![]);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return anyhow::Ok((times, done, errors));
            }
            let begun = Instant::now();
            match work(&client, number).await {
                Ok(one) => {
                    times.push(milliseconds(begun));
                    done.push(one);
                }
                Err(error) => errors.push(error),
            }
        }
    });
    let all = tokio::select! {
        all = try_join_all(workers) => all?,
        died = setting.stage.processes()[1].dies() => died?,
    };
    let seconds = begun.elapsed().as_secs_f64();
    let spent: Vec<_> = spent()?.into_iter().zip(before).map(|(now, then)| now - then).collect();
    let (mut times, mut done, mut errors) = (vec![], vec![], vec![]);
    for (some_times, some_done, some_errors) in all {
        times.extend(some_times);
        done.extend(some_done);
        errors.extend(some_errors);
    }
    let count = times.len() as f64;
    table.row(title, count / seconds, "/s", Aim::None);
    table.times(what, times, Aim::None);
    table.row(&format!("{what}, errors"), errors.len() as f64, "", Aim::AtMost(0.0));
    for (name, spent) in ["gateway", "controller", "bench itself"].into_iter().zip(spent) {
        let row = format!("{what}, processor time of each: {name}");
        table.row(&row, spent / count * 1e3, "ms", Aim::None);
    }
    Ok((done, errors))
}
