//! openid-client, an OpenID Connect client of others, for Node.js: what it can sign in with, other
//! programs can.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{parts, scratch::Scratch, tls::write_file};

const SCRIPT: &str = include_str!("../openid-client/sign-in.mjs");
const TIMEOUT: Duration = Duration::from_secs(60);

/// A client of one issuer. Each call is a process of its own, which discovers the issuer anew.
#[derive(Debug)]
pub struct OpenidClient {
    node: PathBuf,
    packages: PathBuf,
    ca_file: PathBuf,
    issuer: String,
    id: String,
    secret: Option<String>,
    _scratch: Scratch,
}

/// A sign-in that has begun.
#[derive(Clone, Debug, Deserialize)]
pub struct SignIn {
    /// Where the browser goes.
    pub url: String,
    /// State, nonce and PKCE verifier, which the client keeps until the browser is back.
    pub checks: Value,
}

/// What the token endpoint gave, after all of openid-client's checks.
#[derive(Clone, Debug, Deserialize)]
pub struct Tokens {
    /// The answer as it came: `access_token`, `id_token`, `refresh_token`, ...
    pub tokens: Map<String, Value>,
    /// The claims of the ID token; null if a refresh brought none.
    pub claims: Value,
}

/// Why a step was refused, by openid-client or by the issuer.
#[derive(Clone, Debug, Deserialize, thiserror::Error)]
#[error("{message}: {error:?} {description:?} {cause:?} ({code})")]
pub struct Refused {
    /// What openid-client says.
    pub message: String,
    /// Its code, such as `OAUTH_RESPONSE_BODY_ERROR` for what the issuer refused.
    pub code: String,
    /// The issuer's error code, such as `invalid_grant` (RFC 6749, section 5.2).
    pub error: Option<String>,
    /// The issuer's words.
    pub description: Option<String>,
    /// What is behind the message, such as the check that failed.
    pub cause: Option<String>,
    /// The HTTP status of the issuer's answer.
    pub status: Option<u16>,
}

impl OpenidClient {
    /// A client of `issuer`, whose TLS certificate is of the authority `ca_pem`. It is public if it
    /// has no secret.
    ///
    /// # Errors
    /// If a part is missing (`tests/kit/parts --all`).
    pub fn new(issuer: &str, id: &str, secret: Option<&str>, ca_pem: &str) -> anyhow::Result<Self> {
        let scratch = Scratch::take("openid-client")?;
        let ca_file = scratch.path().join("ca.crt");
        write_file(&ca_file, ca_pem)?;
        Ok(Self {
            node: parts::installed("node")?,
            packages: parts::folder("openid-client")?,
            ca_file,
            issuer: issuer.to_owned(),
            id: id.to_owned(),
            secret: secret.map(ToOwned::to_owned),
            _scratch: scratch,
        })
    }

    /// Begins a sign-in. `parameters` are added to the request, or replace what it has: `scope` is
    /// `openid` unless they say otherwise.
    ///
    /// # Errors
    /// [`Refused`], or if the program fails.
    pub async fn begin(&self, redirect_uri: &str, parameters: &Value) -> anyhow::Result<SignIn> {
        self.step("begin", json!({"redirectUri": redirect_uri, "parameters": parameters})).await
    }

    /// Exchanges the code of `callback`, the address at which the browser came back, for tokens.
    ///
    /// # Errors
    /// [`Refused`], or if the program fails.
    pub async fn finish(&self, sign_in: &SignIn, callback: &str) -> anyhow::Result<Tokens> {
        self.step("finish", json!({"callback": callback, "checks": sign_in.checks})).await
    }

    /// New tokens for a refresh token.
    ///
    /// # Errors
    /// [`Refused`], or if the program fails.
    pub async fn refresh(&self, refresh_token: &str) -> anyhow::Result<Tokens> {
        self.step("refresh", json!({"refreshToken": refresh_token})).await
    }

    /// The answer of the userinfo endpoint, which must be about `subject`.
    ///
    /// # Errors
    /// [`Refused`], or if the program fails.
    pub async fn userinfo(&self, access_token: &str, subject: &str) -> anyhow::Result<Value> {
        let input = json!({"accessToken": access_token, "subject": subject});
        let mut answer: Value = self.step("userinfo", input).await?;
        Ok(answer["userinfo"].take())
    }

    /// Revokes an access or refresh token (RFC 7009).
    ///
    /// # Errors
    /// [`Refused`], or if the program fails.
    pub async fn revoke(&self, token: &str) -> anyhow::Result<()> {
        self.step::<Value>("revoke", json!({"token": token})).await.map(drop)
    }

    async fn step<T: DeserializeOwned>(&self, step: &str, mut input: Value) -> anyhow::Result<T> {
        input["step"] = step.into();
        input["issuer"] = self.issuer.as_str().into();
        input["clientId"] = self.id.as_str().into();
        input["clientSecret"] = self.secret.as_deref().into();
        let mut output = tokio::time::timeout(TIMEOUT, self.node(&self.packages, &input))
            .await
            .with_context(|| format!("{step} took longer than {TIMEOUT:?}"))??;
        match output.get_mut("refused") {
            Some(refused) => bail!(serde_json::from_value::<Refused>(refused.take())?),
            None => Ok(serde_json::from_value(output)?),
        }
    }

    /// The script is handed over as an argument, since Node.js then finds packages in its folder.
    async fn node(&self, folder: &Path, input: &Value) -> anyhow::Result<Value> {
        let mut node = Command::new(&self.node)
            .args(["--input-type=module", "--eval", SCRIPT])
            .current_dir(folder)
            .env("NODE_EXTRA_CA_CERTS", &self.ca_file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting node")?;
        let mut stdin = node.stdin.take().context("node has no standard input")?;
        stdin.write_all(input.to_string().as_bytes()).await?;
        drop(stdin);
        let output = node.wait_with_output().await?;
        ensure!(output.status.success(), "node: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("reading what node printed")
    }
}
