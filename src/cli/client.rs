//! `rollcall login`, `credential`, `whoami` and `logout`: what a person types at their own machine,
//! or has kubectl run for them.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use url::Url;

use super::{
    cache::{self, Cache, Entry},
    credential::{self, Ask, Wish, lock, sign_in, token},
    kubeconfig::{self, Kubectl},
    oidc::{self, CLIENT, Claims, Provider, Settings},
    printable,
};

/// Why a command of these failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Credential(#[from] credential::Error),
    #[error(transparent)]
    Cache(#[from] cache::Error),
    #[error(transparent)]
    Kubeconfig(#[from] kubeconfig::Error),
    #[error("can't find {}: {source}", .file.display())]
    Ca { file: PathBuf, source: std::io::Error },
    #[error("you are signed out here, but {0}: the session lasts until it ends by itself")]
    NotRevoked(oidc::Error),
}

/// Whose tokens.
#[derive(Args)]
pub struct Issuer {
    /// The gateway's public URL, for example https://login.example.com; without it, that of the
    /// kubeconfig's user.
    #[arg(long, env = "ROLLCALL_ISSUER", value_parser = issuer)]
    issuer: Option<String>,
    /// The client to get tokens for; without it, that of the kubeconfig's user, else kubernetes.
    #[arg(long)]
    client: Option<String>,
    /// The CA of the gateway's certificate, PEM; without it, the system's roots.
    #[arg(long)]
    ca: Option<PathBuf>,
    #[command(flatten)]
    kubectl: Kubectl,
}

/// Sign in in the browser.
#[derive(Args)]
pub struct Login {
    #[command(flatten)]
    issuer: Issuer,
    /// Only show the address to sign in at.
    #[arg(long)]
    no_browser: bool,
    /// Sign in anew, also when somebody is signed in.
    #[arg(long)]
    force: bool,
    /// Also make the kubeconfig's user get its tokens from here, by `kubectl config
    /// set-credentials`; without it, that command is only shown.
    #[arg(long)]
    set_credentials: bool,
    /// The kubeconfig's user.
    #[arg(long, default_value = "rollcall")]
    user: String,
}

/// Print a token for kubectl, which runs this by itself once a user of the kubeconfig says so.
#[derive(Args)]
pub struct Credential {
    #[command(flatten)]
    issuer: Issuer,
    /// Only show the address to sign in at.
    #[arg(long)]
    no_browser: bool,
}

/// Tell who is signed in, and for how long.
#[derive(Args)]
pub struct Whoami {
    #[command(flatten)]
    issuer: Issuer,
}

/// End the session's tokens and forget them.
#[derive(Args)]
pub struct Logout {
    #[command(flatten)]
    issuer: Issuer,
}

impl Issuer {
    fn settings(&self) -> Result<Settings, Error> {
        // kubectl may run it elsewhere
        let ca = self.ca.as_ref().map(|file| {
            file.canonicalize().map_err(|source| Error::Ca { file: file.clone(), source })
        });
        let ca = ca.transpose()?;
        Ok(match self.issuer.clone() {
            Some(issuer) => {
                let client = self.client.clone().unwrap_or_else(|| CLIENT.to_owned());
                Settings { issuer, client, ca }
            }
            None => {
                let known = self.kubectl.settings()?;
                let client = self.client.clone().unwrap_or(known.client);
                Settings { issuer: known.issuer, client, ca: ca.or(known.ca) }
            }
        })
    }
}

impl Login {
    /// Signs somebody in, and tells how kubectl gets to know.
    ///
    /// # Errors
    /// Nobody is signed in, or kubectl fails.
    pub async fn run(self) -> Result<(), Error> {
        let settings = self.issuer.settings()?;
        let ask = if self.no_browser { Ask::Address } else { Ask::Browser };
        let entry = if self.force {
            // not under the lock: whoever waits for the browser elsewhere is overtaken
            let entry = sign_in(&settings, ask, true).await?;
            lock(Cache::of(&settings)?).await?.write(&entry)?;
            entry
        } else {
            token(&settings, ask).await?
        };
        let who = claims(&entry).and_then(|claims| claims.username).unwrap_or(entry.subject);
        eprintln!("Signed in to {} as {}.", settings.issuer, printable(&who));
        if self.issuer.issuer.is_none() {
            return Ok(()); // the kubeconfig knows already
        }
        if self.set_credentials {
            self.issuer.kubectl.set_credentials(&self.user, &settings)?;
            eprintln!("The kubeconfig's user {} gets its tokens from here.", self.user);
        } else {
            let command = self.issuer.kubectl.command_line(&self.user, &settings);
            eprintln!("For kubectl, once:\n\n    {command}\n");
        }
        let user = &self.user;
        eprintln!("Have a context use it: kubectl config set-context --current --user={user}");
        Ok(())
    }
}

impl Credential {
    /// Prints an ExecCredential.
    ///
    /// # Errors
    /// There is no token, and nobody there who could sign in.
    pub async fn run(self) -> Result<(), Error> {
        let wish = Wish::read(std::env::var("KUBERNETES_EXEC_INFO").ok().as_deref())?;
        // kubectl has its own use for standard input and output
        let somebody = wish.interactive || std::io::stderr().is_terminal();
        let ask = match (somebody, self.no_browser) {
            (false, _) => Ask::Nobody,
            (true, true) => Ask::Address,
            (true, false) => Ask::Browser,
        };
        println!("{}", wish.grant(&token(&self.issuer.settings()?, ask).await?));
        Ok(())
    }
}

impl Whoami {
    /// Prints who is signed in, as the issuer knows them now if it can be asked.
    ///
    /// # Errors
    /// Nobody is signed in.
    pub async fn run(self) -> Result<(), Error> {
        let settings = self.issuer.settings()?;
        let entry = token(&settings, Ask::Nobody).await?;
        let said = match &entry.access_token {
            Some(access_token) => match Provider::discover(&settings).await {
                Ok(provider) => provider.userinfo(access_token).await,
                Err(error) => Err(error),
            },
            None => Err(oidc::Error::Refused(oidc::Refusal {
                error: "the issuer gave no access token to ask it with".into(),
                error_description: None,
            })),
        };
        let (claims, source) = match said {
            Ok(Some(now)) => (Some(now), "the issuer says so now".to_owned()),
            Ok(None) => {
                (claims(&entry), "the token says so, but the issuer doesn't any more".to_owned())
            }
            Err(error) => (claims(&entry), format!("the token says so; {error}")),
        };
        print!("{}", tell(&settings.issuer, &entry, claims.as_ref(), &source));
        Ok(())
    }
}

impl Logout {
    /// Revokes the refresh token and forgets all.
    ///
    /// # Errors
    /// The issuer can't be told; the tokens are forgotten even so.
    pub async fn run(self) -> Result<(), Error> {
        let settings = self.issuer.settings()?;
        let locked = lock(Cache::of(&settings)?).await?;
        // one that can't be trusted goes without being used
        let entry = locked.read();
        locked.remove()?;
        let Some(entry) = entry? else {
            eprintln!("Nobody was signed in to {}.", settings.issuer);
            return Ok(());
        };
        if let Some(refresh_token) = &entry.refresh_token {
            let revoke = async { Provider::discover(&settings).await?.revoke(refresh_token).await };
            revoke.await.map_err(Error::NotRevoked)?;
        }
        eprintln!("Signed out of {}.", settings.issuer);
        Ok(())
    }
}

/// What a token in the cache says: it was verified before it was put there.
fn claims(entry: &Entry) -> Option<Claims> {
    jsonwebtoken::dangerous::insecure_decode_claims(&entry.id_token).ok()
}

fn tell(issuer: &str, entry: &Entry, claims: Option<&Claims>, source: &str) -> String {
    let username = claims.and_then(|claims| claims.username.as_deref()).unwrap_or_default();
    let (organization, email) = username.split_once(':').unwrap_or(("unknown", username));
    let teams = match claims {
        Some(claims) if !claims.groups.is_empty() => claims.groups.join(", "),
        _ => "none".into(),
    };
    let expires = Timestamp::from_second(entry.expires_at)
        .map_or_else(|_| "unknown".into(), |at| at.to_string());
    let lines = [
        ("Organization", organization),
        ("E-mail", email),
        ("Teams", &teams),
        ("Person", &entry.subject),
        ("Issuer", issuer),
        ("Token until", &expires),
        ("Checked", source),
    ];
    lines.iter().map(|(name, value)| format!("{name:<13} {}\n", printable(value))).collect()
}

/// An issuer as its tokens name it: without a slash at its end.
fn issuer(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let nobody = url.username().is_empty() && url.password().is_none();
    if url.scheme() != "https" || !bare || !nobody {
        return Err("write https:// and a host, without a path".into());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_written_in_one_way() {
        assert_eq!(issuer("https://Login.example/").unwrap(), "https://login.example");
        assert_eq!(issuer("https://login.example:8443").unwrap(), "https://login.example:8443");
        for refused in
            ["http://login.example", "login.example", "https://a@b.example", "https://b.example/x"]
        {
            assert!(issuer(refused).is_err(), "{refused}");
        }
    }
}
