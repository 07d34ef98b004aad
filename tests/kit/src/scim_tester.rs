//! scim2-tester, a judge of SCIM servers by others, for Python.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_json::json;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{parts, scratch::Scratch, tls::write_file};

const SCRIPT: &str = include_str!("../scim-tester/check.py");
const TIMEOUT: Duration = Duration::from_secs(180);

/// What one check came to.
#[derive(Clone, Debug, Deserialize)]
pub struct Check {
    /// `SUCCESS`, `COMPLIANT`, `ACCEPTABLE`, `DEVIATION`, `ERROR`, `CRITICAL` or `SKIPPED`.
    pub status: String,
    /// Which check it was.
    pub title: String,
    /// Of which type of resource, if of one.
    pub resource: Option<String>,
    /// What was seen.
    pub reason: Option<String>,
}

/// Judges the server at `endpoint`, whose TLS certificate is of the authority `ca_pem`.
///
/// # Errors
/// If a part is missing (`tests/kit/parts --all`), or the program fails.
pub async fn check(endpoint: &str, token: &str, ca_pem: &str) -> anyhow::Result<Vec<Check>> {
    let scratch = Scratch::take("scim-tester")?;
    let ca = scratch.path().join("ca.crt");
    write_file(&ca, ca_pem)?;
    let python = parts::folder("scim-tester")?.join("bin/python");
    let mut python = Command::new(python)
        .args(["-I", "-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("starting scim2-tester's Python")?;
    let mut stdin = python.stdin.take().context("Python has no standard input")?;
    let server = json!({"endpoint": endpoint, "token": token, "ca": ca});
    stdin.write_all(server.to_string().as_bytes()).await?;
    drop(stdin);
    let output = tokio::time::timeout(TIMEOUT, python.wait_with_output())
        .await
        .with_context(|| format!("scim2-tester took longer than {TIMEOUT:?}"))??;
    ensure!(output.status.success(), "scim2-tester: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("reading what scim2-tester printed")
}
