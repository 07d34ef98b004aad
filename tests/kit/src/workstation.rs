//! Somebody's own machine: kubectl, which gets its tokens from `rollcall credential`, and a cache of
//! these tokens that nobody else has.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

use crate::{
    control_plane::ControlPlane,
    parts,
    stage::Stage,
    visitor::{Page, Visitor},
};

/// How long a command may take that waits for somebody to sign in.
const PATIENCE: Duration = Duration::from_secs(120);

/// A machine on which somebody works.
pub struct Workstation {
    kubectl: PathBuf,
    program: PathBuf,
    folder: PathBuf,
    issuer: String,
    ca_file: PathBuf,
}

/// What a command did.
#[derive(Clone, Debug)]
pub struct Done {
    pub status: ExitStatus,
    /// What it printed and said, as a terminal shows it.
    pub printed: String,
}

impl Done {
    /// What it printed.
    ///
    /// # Errors
    /// It failed: with what it said.
    pub fn ok(self) -> anyhow::Result<String> {
        ensure!(self.status.success(), "{}: {}", self.status, self.printed);
        Ok(self.printed)
    }
}

impl Workstation {
    /// A new one, in a folder of its own, with a kubeconfig for this cluster whose user signs in at
    /// the stage's gateway.
    ///
    /// # Errors
    /// If the folder can't be made, or kubectl isn't there.
    pub fn new(control_plane: &ControlPlane, stage: &Stage, folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let ca = folder.join("cluster.crt");
        fs::write(&ca, control_plane.ca_pem())?;
        let program = stage.program().canonicalize()?;
        let (server, ca, program_) = (control_plane.server(), ca.display(), program.display());
        let (issuer, gateway_ca) = (&stage.gateway, stage.ca_file.display());
        let kubeconfig = format!(
            "{{apiVersion: v1, kind: Config, current-context: here,
             clusters: [{{name: here, cluster: {{server: '{server}', certificate-authority: '{ca}'}}}}],
             contexts: [{{name: here, context: {{cluster: here, user: rollcall}}}}],
             users: [{{name: rollcall, user: {{exec: {{
               apiVersion: client.authentication.k8s.io/v1, interactiveMode: IfAvailable,
               command: '{program_}',
               args: [credential, --issuer, '{issuer}', --ca, '{gateway_ca}', --no-browser]}}}}}}]}}"
        );
        fs::write(folder.join("kubeconfig"), kubeconfig)?;
        Ok(Self {
            kubectl: parts::find("kubectl")?,
            program,
            folder: folder.to_owned(),
            issuer: stage.gateway.clone(),
            ca_file: stage.ca_file.clone(),
        })
    }

    /// Runs kubectl for who is signed in here.
    ///
    /// # Errors
    /// If it can't be run, or waits for somebody to sign in.
    pub async fn kubectl(&self, args: &[&str]) -> anyhow::Result<Done> {
        self.run(&self.kubectl, args, async |url| anyhow::bail!("it asks to sign in at {url}"))
            .await
    }

    /// Runs kubectl and, when it shows where to sign in, does that by `sign_in`.
    ///
    /// # Errors
    /// If it can't be run, or the sign-in fails.
    pub async fn kubectl_signing_in(
        &self,
        args: &[&str],
        sign_in: impl AsyncFnOnce(String) -> anyhow::Result<()>,
    ) -> anyhow::Result<Done> {
        self.run(&self.kubectl, args, sign_in).await
    }

    /// Runs `rollcall <subcommand>` for this gateway.
    ///
    /// # Errors
    /// If it can't be run, or waits for somebody to sign in.
    pub async fn rollcall(&self, subcommand: &str) -> anyhow::Result<Done> {
        let ca = self.ca_file.to_str().context("a folder that isn't UTF-8")?;
        let args = [subcommand, "--issuer", &self.issuer, "--ca", ca];
        self.run(&self.program, &args, async |url| anyhow::bail!("it asks to sign in at {url}"))
            .await
    }

    /// Makes the token that is kept here look expired, so that the next command gets a new one.
    ///
    /// # Errors
    /// If no token is kept here.
    pub fn let_token_expire(&self) -> anyhow::Result<()> {
        let tokens = self.folder.join("cache/rollcall/tokens");
        let file = fs::read_dir(&tokens)
            .with_context(|| format!("reading {}", tokens.display()))?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "json"))
            .context("no token is kept")?;
        let mut entry: serde_json::Value = serde_json::from_slice(&fs::read(&file)?)?;
        let expires = entry.get_mut("expires_at").context("the token's end isn't kept")?;
        *expires = serde_json::json!(0);
        fs::write(&file, serde_json::to_vec(&entry)?)?;
        Ok(())
    }

    /// On a terminal, since only there `rollcall credential` asks somebody to sign in: what is
    /// printed and what is said come as one.
    async fn run(
        &self,
        program: &Path,
        args: &[&str],
        sign_in: impl AsyncFnOnce(String) -> anyhow::Result<()>,
    ) -> anyhow::Result<Done> {
        let quoted = |word: &str| format!("'{}'", word.replace('\'', r"'\''"));
        let program = program.to_str().context("a path that isn't UTF-8")?;
        let words = std::iter::once(&program).chain(args).map(|word| quoted(word));
        let command = words.collect::<Vec<_>>().join(" ");
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--flush", "--command", &command, "/dev/null"])
            .env("KUBECONFIG", self.folder.join("kubeconfig"))
            .env("KUBECACHEDIR", self.folder.join("kubectl"))
            .env("XDG_CACHE_HOME", self.folder.join("cache"))
            .env("HOME", &self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("running script, of Debian's package bsdutils")?;
        let out = child.stdout.take().context("no stdout")?;
        let running = async {
            let mut sign_in = Some(sign_in);
            let (mut lines, mut printed) = (BufReader::new(out).lines(), String::new());
            while let Some(line) = lines.next_line().await? {
                let line = line.trim_end();
                let url = line.split_whitespace().find(|word| word.contains("/oauth2/authorize?"));
                if let Some(url) = url
                    && let Some(sign_in) = sign_in.take()
                {
                    sign_in(url.to_owned()).await?;
                }
                printed.push_str(line);
                printed.push('\n');
            }
            anyhow::Ok(Done { status: child.wait().await?, printed })
        };
        timeout(PATIENCE, running).await.with_context(|| command.clone())?
    }
}

/// Signs in at `url` with an e-mail, at a company IdP that knows who is there, and ends on the page
/// that says where one is.
///
/// # Errors
/// If a step doesn't lead on.
pub async fn sign_in(visitor: &Visitor, url: &str, email: &str) -> anyhow::Result<Page> {
    let page = visitor.visit(url).await?;
    page.says("mail")?;
    let page = visitor.submit(&page, &[("email", email)]).await?;
    // the company's own page posts what it says of the person
    visitor.submit(&page, &[]).await
}
