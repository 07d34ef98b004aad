//! Runs the real kubectl with a kubeconfig, whatever the caller's own settings are.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, bail};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::parts;

/// kubectl, as one user of one cluster.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Kubectl {
    /// kubectl with this kubeconfig; what it caches goes under `folder`.
    ///
    /// # Errors
    /// If kubectl isn't there.
    pub fn new(kubeconfig: &Path, folder: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            program: parts::find("kubectl")?,
            kubeconfig: kubeconfig.to_owned(),
            home: folder.join("kubectl"),
        })
    }

    /// Runs it and returns what it prints.
    ///
    /// # Errors
    /// If it fails: with the command and what it said.
    pub async fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        self.run_with_input(args, "").await
    }

    /// `kubectl apply -f -` of these manifests.
    ///
    /// # Errors
    /// If one is refused: with what the API server said.
    pub async fn apply(&self, manifests: &str) -> anyhow::Result<String> {
        self.run_with_input(&["apply", "-f", "-"], manifests).await
    }

    /// Runs it with `input` on its standard input, and returns what it prints.
    ///
    /// # Errors
    /// If it fails: with the command and what it said.
    pub async fn run_with_input(&self, args: &[&str], input: &str) -> anyhow::Result<String> {
        let command = || format!("kubectl {}", args.join(" "));
        let mut child = Command::new(&self.program)
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", self.home.join("cache"))
            .env("HOME", &self.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(command)?;
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // One that doesn't read to the end says why by its status.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), feed);
        let output = output.with_context(command)?;
        if !output.status.success() {
            // `auth can-i` says its "no" on standard output
            let said = [output.stderr, output.stdout].concat();
            let said = String::from_utf8_lossy(&said);
            bail!("{} ({}): {}", command(), output.status, said.trim());
        }
        String::from_utf8(output.stdout).with_context(|| format!("{} printed no UTF-8", command()))
    }
}
