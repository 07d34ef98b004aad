//! `make bench`: what a release build of Rollcall does under load, beside what the design asks of it.
//!
//! `ONLY=domains`, `ONLY=scim` or `ONLY=teams` measures one part. `SIZE=500` shrinks what is measured, for a quick
//! try: its figures mean little. A missed aim is a figure like any other; what fails to work ends
//! the bench with an error.

use std::env;

use anyhow::{Context, bail};
use rollcall_kit::{
    bench::{domains, machine, report::Table, scim, teams},
    install_crypto,
};
use tokio::signal::unix::{SignalKind, signal};

const DOMAINS: usize = 10_000;
const USERS: usize = 20_000;
const CHANGES: usize = 300;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    install_crypto();
    let mut term = signal(SignalKind::terminate())?;
    tokio::select! {
        measured = bench() => measured,
        _ = tokio::signal::ctrl_c() => bail!("stopped"),
        _ = term.recv() => bail!("stopped"),
    }
}

async fn bench() -> anyhow::Result<()> {
    let only = env::var("ONLY").unwrap_or_default();
    if !["", "domains", "scim", "teams"].contains(&only.as_str()) {
        bail!("ONLY={only}: it is domains, scim or teams");
    }
    let part = |name: &str| only.is_empty() || only == name;
    let size: Option<usize> = match env::var("SIZE").unwrap_or_default().as_str() {
        "" => None,
        size => Some(size.parse().with_context(|| format!("SIZE={size}"))?),
    };
    let program = env::current_exe()?.with_file_name("rollcall");
    if !program.exists() {
        bail!("{} is missing: run `make bench`", program.display());
    }
    let machine = machine::description()?;
    let mut table = Table::default();
    let mut outcome = Ok(());
    if part("domains") {
        domains::measure(&program, size.unwrap_or(DOMAINS), &mut table).await?;
    }
    if part("teams") {
        teams::measure(&program, size.unwrap_or(CHANGES), &mut table).await?;
    }
    if part("scim") {
        outcome = scim::measure(&program, size.unwrap_or(USERS), &mut table).await;
    }
    println!("\n{machine}\n\n{table}");
    outcome
}
