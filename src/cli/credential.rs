//! Tokens for whoever asks: the one at hand, a new one for the refresh token, or one by a sign-in in
//! the browser. And `rollcall credential`, which hands it to kubectl.

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::{
    cache::{self, Cache, Entry, Locked},
    kubeconfig::sign_in_command,
    loopback::{Loopback, Page},
    oidc::{self, Attempt, Claims, Provider, Refusal, Settings, Tokens},
};

/// A token that ends sooner isn't handed out: a request takes its time.
const LEFT: i64 = 30;
/// How long a sign-in in the browser may take.
const SIGN_IN: Duration = Duration::from_secs(300);
/// How long nothing is said of a wait for others.
const SILENCE: Duration = Duration::from_secs(2);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Oidc(#[from] oidc::Error),
    #[error(transparent)]
    Cache(#[from] cache::Error),
    #[error("can't listen for the browser's answer: {0}")]
    Loopback(io::Error),
    #[error("nobody is signed in: run `{0}`")]
    SignedOut(String),
    #[error("your access has ended or the session is over: run `{0}`")]
    Ended(String),
    #[error("the browser didn't come back within 5 minutes")]
    TooLate,
    #[error("the answer came from another issuer than was asked, so it isn't used")]
    MixUp,
    #[error(
        "kubectl's wish can't be read: KUBERNETES_EXEC_INFO is not an ExecCredential of version v1 or v1beta1"
    )]
    ExecInfo,
    #[error("the wait for another sign-in was interrupted")]
    Interrupted,
}

/// How somebody may be asked to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// In their browser, which is opened.
    Browser,
    /// By an address that is only shown.
    Address,
    /// Not at all: nobody is there.
    Nobody,
}

/// A token for now, by the least that is needed. Whoever asks at the same time waits and has the
/// same token: a refresh token is used once.
///
/// # Errors
/// There is none to be had.
pub async fn token(settings: &Settings, ask: Ask) -> Result<Entry, Error> {
    let cache = Cache::of(settings)?;
    if let Some(entry) = cache.read()?.filter(fresh) {
        return Ok(entry);
    }
    let locked = lock(cache).await?;
    let entry = locked.read()?;
    let over = match entry {
        Some(entry) if fresh(&entry) => return Ok(entry),
        Some(entry) => match refreshed(settings, &locked, &entry).await {
            Err(error) if !matches!(error, Error::Ended(_)) => {
                // the issuer may be back when this one has expired
                return if seconds_left(&entry) > 0 { Ok(entry) } else { Err(error) };
            }
            Err(ended) => ended,
            refreshed => return refreshed,
        },
        None => Error::SignedOut(sign_in_command(settings)),
    };
    if ask == Ask::Nobody {
        return Err(over);
    }
    let entry = sign_in(settings, ask, false).await?;
    locked.write(&entry)?;
    Ok(entry)
}

/// The cache, once nobody else changes it.
pub async fn lock(cache: Cache) -> Result<Locked, Error> {
    let mut locked = tokio::task::spawn_blocking(move || cache.lock());
    let locked = tokio::select! {
        locked = &mut locked => locked,
        () = tokio::time::sleep(SILENCE) => {
            eprintln!("Waiting for another command that gets a token.");
            locked.await
        }
    };
    Ok(locked.map_err(|_| Error::Interrupted)??)
}

fn seconds_left(entry: &Entry) -> i64 {
    entry.expires_at - Timestamp::now().as_second()
}

fn fresh(entry: &Entry) -> bool {
    seconds_left(entry) > LEFT
}

/// The entry with new tokens, written. [`Error::Ended`] if the issuer refuses: then it is forgotten.
async fn refreshed(settings: &Settings, locked: &Locked, old: &Entry) -> Result<Entry, Error> {
    let ended = || {
        locked.remove()?;
        Err(Error::Ended(sign_in_command(settings)))
    };
    let Some(refresh_token) = &old.refresh_token else { return ended() };
    let provider = Provider::discover(settings).await?;
    let tokens = match provider.refresh(refresh_token).await {
        Err(oidc::Error::Refused(Refusal { error, .. })) if error == "invalid_grant" => {
            return ended();
        }
        tokens => tokens?,
    };
    // the old refresh token is used up, so the new one is kept even if nothing else is of use
    let kept = Entry {
        refresh_token: tokens.refresh_token.clone().or_else(|| Some(refresh_token.clone())),
        ..old.clone()
    };
    locked.write(&kept)?;
    let claims = provider.verify(&tokens)?;
    if claims.sub != old.subject {
        return Err(oidc::Error::IdToken("it is somebody else's").into());
    }
    let entry = Entry { refresh_token: kept.refresh_token, ..entry(settings, tokens, &claims) };
    locked.write(&entry)?;
    Ok(entry)
}

fn entry(settings: &Settings, tokens: Tokens, claims: &Claims) -> Entry {
    Entry {
        issuer: settings.issuer.clone(),
        client: settings.client.clone(),
        subject: claims.sub.clone(),
        id_token: tokens.id_token.unwrap_or_default(),
        access_token: tokens.access_token,
        refresh_token: tokens.refresh_token,
        expires_at: claims.exp,
    }
}

/// A sign-in in the browser. `anew`: even if the browser knows somebody already.
///
/// # Errors
/// It is refused, or doesn't end in time.
pub async fn sign_in(settings: &Settings, ask: Ask, anew: bool) -> Result<Entry, Error> {
    let provider = Provider::discover(settings).await?;
    let mut loopback = Loopback::listen().await.map_err(Error::Loopback)?;
    let attempt = Attempt::new(loopback.redirect_uri.clone())?;
    let url = provider.authorization_url(&attempt, anew);
    let opened = ask == Ask::Browser && open(url.as_str()).await;
    let how = if opened { "Sign in in the browser. If none opens," } else { "To sign in," };
    eprintln!("{how} go to\n\n    {url}\n");
    let signed_in = tokio::time::timeout(SIGN_IN, answered(&provider, &mut loopback, &attempt));
    let signed_in = signed_in.await.unwrap_or(Err(Error::TooLate));
    loopback.end().await;
    let (tokens, claims) = signed_in?;
    Ok(entry(settings, tokens, &claims))
}

async fn open(url: &str) -> bool {
    let url = url.to_owned();
    // it waits for the launcher
    let opened = tokio::task::spawn_blocking(move || open::that_detached(url));
    matches!(opened.await, Ok(Ok(())))
}

async fn answered(
    provider: &Provider,
    loopback: &mut Loopback,
    attempt: &Attempt,
) -> Result<(Tokens, Claims), Error> {
    let answer = loopback.answer(&attempt.state).await.ok_or(Error::Interrupted)?;
    let result = if !provider.answers_as(answer.parameter("iss")) {
        Err(Error::MixUp)
    } else if let Some(error) = answer.parameter("error") {
        let description = answer.parameter("error_description");
        let refusal =
            Refusal { error: error.to_owned(), error_description: description.map(str::to_owned) };
        Err(oidc::Error::Refused(refusal).into())
    } else {
        let code = answer.parameter("code").unwrap_or_default();
        provider.exchange(attempt, code).await.map_err(Error::from)
    };
    answer.leave_at(match &result {
        Ok(_) => Page::Elsewhere(format!("{}/", provider.issuer())),
        Err(error) => Page::Here(format!("You are not signed in: {error}.")),
    });
    result
}

/// What kubectl asks for in `KUBERNETES_EXEC_INFO`
/// (`client.authentication.k8s.io`, ExecCredential).
#[derive(Debug, PartialEq, Eq)]
pub struct Wish {
    api_version: String,
    /// Whether somebody is there to sign in.
    pub interactive: bool,
}

impl Wish {
    /// By the variable's value; without one, by a caller who isn't kubectl.
    ///
    /// # Errors
    /// It is nothing that can be answered.
    pub fn read(exec_info: Option<&str>) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Info {
            api_version: String,
            #[serde(default)]
            spec: Spec,
        }
        #[derive(Default, Deserialize)]
        struct Spec {
            #[serde(default)]
            interactive: bool,
        }
        let Some(exec_info) = exec_info else {
            let api_version = "client.authentication.k8s.io/v1".to_owned();
            return Ok(Self { api_version, interactive: false });
        };
        let info: Info = serde_json::from_str(exec_info).map_err(|_| Error::ExecInfo)?;
        let known = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];
        if !known.contains(&info.api_version.as_str()) {
            return Err(Error::ExecInfo);
        }
        Ok(Self { api_version: info.api_version, interactive: info.spec.interactive })
    }

    /// The answer, JSON.
    pub fn grant(&self, entry: &Entry) -> String {
        let expires = Timestamp::from_second(entry.expires_at).unwrap_or(Timestamp::UNIX_EPOCH);
        json!({
            "apiVersion": self.api_version,
            "kind": "ExecCredential",
            "status": {"token": entry.id_token, "expirationTimestamp": expires.to_string()},
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_gets_the_version_it_asks_for() {
        let entry = Entry {
            issuer: String::new(),
            client: String::new(),
            subject: String::new(),
            id_token: "header.claims.signature".into(),
            access_token: None,
            refresh_token: Some("secret".into()),
            expires_at: 1_800_000_000,
        };
        let wish = Wish::read(Some(
            r#"{"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1beta1",
                "spec": {"interactive": true, "cluster": {}}}"#,
        ))
        .unwrap();
        assert!(wish.interactive);
        let granted: serde_json::Value = serde_json::from_str(&wish.grant(&entry)).unwrap();
        let expected = json!({
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "kind": "ExecCredential",
            "status": {
                "token": "header.claims.signature",
                "expirationTimestamp": "2027-01-15T08:00:00Z",
            },
        });
        assert_eq!(granted, expected);
        let alone = Wish::read(None).unwrap();
        assert!(!alone.interactive && alone.grant(&entry).contains("k8s.io/v1\""));
        for nonsense in
            ["", "{}", r#"{"apiVersion": "client.authentication.k8s.io/v2", "spec": {}}"#]
        {
            assert!(matches!(Wish::read(Some(nonsense)), Err(Error::ExecInfo)), "{nonsense}");
        }
    }
}
