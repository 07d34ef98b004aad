//! Whose tokens the API server takes beside its own: a file that it reads again when it changes.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use axum::http::Request;
use kube::Client;

use crate::{tls::write_file, wait::until};

/// The configuration it starts with. One in flow style would be taken for broken JSON.
pub(super) const NOBODY: &str =
    "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt: []\n";

/// It looks at the file when it is told of a change, and else every minute; then it asks the issuer
/// for its keys, for at most another.
const TAKEN: Duration = Duration::from_secs(130);

pub(super) fn file(folder: &Path) -> PathBuf {
    folder.join("authentication.yaml")
}

/// Writes the file at once, so that nobody reads half of it.
pub(super) fn write(folder: &Path, config: &str) -> anyhow::Result<()> {
    let new = folder.join("authentication.yaml.new");
    write_file(&new, config)?;
    fs::rename(&new, file(folder)).with_context(|| format!("making {}", file(folder).display()))
}

/// Writes the file and waits until the API server goes by it.
pub(super) async fn change(client: &Client, folder: &Path, config: &str) -> anyhow::Result<()> {
    if fs::read_to_string(file(folder))? == config {
        return Ok(());
    }
    let before = Reloads::read(client).await?;
    write(folder, config)?;
    let taken = until("the API server to take its authentication config", TAKEN, async || {
        let now = Reloads::read(client).await?;
        let decided = now != before;
        Ok(decided.then_some(now.taken > before.taken))
    });
    if !taken.await? {
        let log = fs::read_to_string(folder.join("logs/kube-apiserver.log"))?;
        let why = log.rfind("authentication config\" err=").map(|at| &log[at..]);
        bail!("the API server refuses it: {}", why.unwrap_or("its log doesn't say why"));
    }
    Ok(())
}

/// How often the API server has read the file again.
#[derive(PartialEq)]
struct Reloads {
    taken: u64,
    refused: u64,
}

impl Reloads {
    async fn read(client: &Client) -> anyhow::Result<Self> {
        let request = Request::get("/metrics").body(Vec::new()).context("asking /metrics")?;
        let metrics = client.request_text(request).await?;
        let count = |status: &str| {
            metrics
                .lines()
                .filter(|line| {
                    line.starts_with(
                        "apiserver_authentication_config_controller_automatic_reloads_total{",
                    )
                })
                .filter(|line| line.contains(&format!("status=\"{status}\"")))
                .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
                .sum()
        };
        Ok(Self { taken: count("success"), refused: count("failure") })
    }
}
