//! The relying party: people of a company sign in by its own OpenID provider, by the authorization
//! code flow with PKCE (OpenID Connect Core 1.0, section 3.1; RFC 9700).
//!
//! An answer counts only for the connection that the sign-in was sent to, in the browser that began
//! it, once; and only if the provider, where it says who it is, is the very one that was asked.

mod id_token;
mod person;
mod providers;
#[cfg(test)]
mod tests;

pub use providers::Providers;

use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    response::Response,
    routing::get,
};
use axum_extra::extract::CookieJar;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use self::{
    id_token::{Expected, Refusal, Signed},
    providers::{AskError, Redemption},
};
use crate::{
    fetch::FetchError,
    gateway::{
        Gateway, cookies,
        problem::{Advice, Problem},
        secret::Secret,
        sign_in::{self, Departure},
    },
    ledger::{Asserted, OpenConnection, Protocol, client_secret_label},
    oidc::discovery::{self, Provider},
};

/// Characters that the audit log keeps of what a provider or browser says.
const MAX_SHOWN: usize = 200;

pub(in crate::gateway) fn routes() -> Router<Gateway> {
    Router::new().route("/sso/{organization}/{connection}/oidc/callback", get(callback))
}

/// What is kept of a sign-in until its answer comes.
#[derive(Deserialize, Serialize)]
struct Challenge {
    /// Whom the browser was sent to.
    issuer: String,
    nonce: String,
    /// PKCE (RFC 7636, section 4.1).
    verifier: String,
    /// When the browser was sent, if the person was to sign in anew; in seconds.
    fresh_since: Option<i64>,
}

/// Where the browser goes, and what the answer must fit. `email` is passed on as a hint, unless it
/// is empty.
pub(in crate::gateway) async fn depart(
    gateway: &Gateway,
    open: &OpenConnection,
    state: &Secret,
    email: &str,
    fresh: bool,
) -> Result<(Departure, String), Problem> {
    let connection = Connection::read(gateway, open)?;
    let (nonce, verifier) = (Secret::new()?, Secret::new()?);
    let mut scope = vec!["openid"];
    scope.extend(connection.scopes.iter().map(String::as_str).filter(|scope| *scope != "openid"));
    let code_challenge =
        BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_text().as_bytes()));
    let mut url = Url::parse(&connection.provider.authorization_endpoint)
        .map_err(|_| connection.problem(Advice::AskAdministrator, "no authorization endpoint"))?;
    {
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", connection.client_id)
            .append_pair("redirect_uri", &connection.redirect_uri)
            .append_pair("scope", &scope.join(" "))
            .append_pair("state", state.as_text())
            .append_pair("nonce", nonce.as_text())
            .append_pair("code_challenge", &code_challenge)
            .append_pair("code_challenge_method", "S256");
        if !email.is_empty() {
            query.append_pair("login_hint", email);
        }
        if fresh {
            query.append_pair("prompt", "login").append_pair("max_age", "0");
        }
    }
    let challenge = Challenge {
        issuer: open.issuer.clone(),
        nonce: nonce.into_text(),
        verifier: verifier.into_text(),
        fresh_since: fresh.then(|| Timestamp::now().as_second()),
    };
    let challenge = serde_json::to_string(&challenge)
        .map_err(|error| connection.problem(Advice::TryLater, error.to_string()))?;
    Ok((Departure::Redirect(url.into()), challenge))
}

/// What the provider has the browser bring (RFC 6749, sections 4.1.2 and 4.1.2.1; RFC 9207).
#[derive(Deserialize)]
struct Answer {
    state: Option<String>,
    code: Option<String>,
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

async fn callback(
    State(gateway): State<Gateway>,
    Path((organization, connection)): Path<(String, String)>,
    jar: CookieJar,
    answer: Result<Query<Answer>, QueryRejection>,
) -> Response {
    let nobodys = |detail: &str| Problem::new(Advice::StartAgain, detail).unasked();
    let taken = async {
        let Query(answer) = answer.map_err(|_| nobodys("the provider's answer is malformed"))?;
        let open = gateway.ledger.open_connection(&organization, &connection).await?;
        let open =
            open.ok_or_else(|| nobodys("an answer came for a connection that isn't open"))?;
        take(&gateway, &open, &jar, &answer).await
    };
    match taken.await {
        Ok(response) => response,
        Err(problem) => problem.respond(&gateway).await,
    }
}

/// Take an answer for this connection: only the one that is awaited.
async fn take(
    gateway: &Gateway,
    open: &OpenConnection,
    jar: &CookieJar,
    answer: &Answer,
) -> Result<Response, Problem> {
    let nobodys = |detail: &str| {
        Problem::new(Advice::StartAgain, detail)
            .of(&open.route.organization, actor(&open.route.connection))
            .unasked()
    };
    let state = answer.state.as_deref().ok_or_else(|| nobodys("the answer has no state"))?;
    let awaited = sign_in::awaited(gateway, &open.route, state).await?.ok_or_else(|| {
        nobodys("no sign-in by this connection awaits an answer with this state: it was answered, is too old, or was sent elsewhere")
    })?;
    let connection = Connection::read(gateway, open)?;
    let again = |detail: &str| connection.problem(Advice::StartAgain, detail);
    let administrator = |detail: String| connection.problem(Advice::AskAdministrator, detail);
    if cookies::known_browser(jar) != Some(awaited.browser) {
        return Err(again("the browser that brings the answer is not the one that began"));
    }
    let challenge: Challenge = serde_json::from_str(&awaited.challenge)
        .map_err(|_| again("what was kept of the sign-in can't be read"))?;
    if challenge.issuer != open.issuer {
        return Err(again("the connection has another issuer than when the sign-in began"));
    }
    check_sender(answer, &connection.provider).map_err(administrator)?;
    if let Some(error) = &answer.error {
        return Err(refused(&connection, error, answer.error_description.as_deref()));
    }
    let code = answer.code.as_deref().filter(|code| !code.is_empty());
    let code = code.ok_or_else(|| administrator("the answer has no code".into()))?;

    let asserted = match connection.identify(code, &challenge).await {
        Ok(asserted) => asserted,
        Err(problem) => return Err(sign_in::refused(gateway, &awaited, problem).await),
    };
    sign_in::answer(gateway, &awaited, None, &asserted)
        .await
        .map_err(|problem| problem.of(&open.route.organization, connection.actor()))
}

/// RFC 9207, section 2.4: an answer of another provider, that was mixed up, says so itself.
fn check_sender(answer: &Answer, provider: &Provider) -> Result<(), String> {
    match &answer.iss {
        Some(iss) if *iss == provider.issuer => Ok(()),
        Some(iss) => Err(format!(
            "the answer is of the issuer (iss) {}, not {}",
            shown(iss),
            shown(&provider.issuer)
        )),
        None if provider.names_itself => {
            Err("the answer doesn't say of which issuer it is (iss), as the provider's all do"
                .into())
        }
        None => Ok(()),
    }
}

/// The provider says that there will be no sign-in.
fn refused(connection: &Connection<'_>, error: &str, description: Option<&str>) -> Problem {
    let advice = match error {
        "access_denied" => Advice::NotAdmitted,
        "server_error" | "temporarily_unavailable" => Advice::TryLater,
        _ => Advice::AskAdministrator,
    };
    let description = description.map(|text| format!(", {}", shown(text))).unwrap_or_default();
    connection.problem(advice, format!("the provider refuses: {}{description}", shown(error)))
}

/// A connection that speaks OpenID Connect.
struct Connection<'a> {
    gateway: &'a Gateway,
    open: &'a OpenConnection,
    provider: Provider,
    client_id: &'a str,
    client_secret: &'a [u8],
    scopes: &'a [String],
    redirect_uri: String,
}

impl<'a> Connection<'a> {
    fn read(gateway: &'a Gateway, open: &'a OpenConnection) -> Result<Self, Problem> {
        let route = &open.route;
        let problem = |detail: String| {
            Problem::new(Advice::AskAdministrator, detail)
                .of(&route.organization, actor(&route.connection))
        };
        let Protocol::Oidc { client_id, client_secret, scopes } = &open.rules.protocol else {
            return Err(problem("the connection doesn't speak OpenID Connect".into()));
        };
        if client_secret.is_empty() {
            let detail = "NoClientSecret: the Secret that clientSecretRef names can't be used";
            return Err(problem(detail.into()));
        }
        let provider = discovery::parse(&open.metadata, &open.issuer)
            .map_err(|error| problem(error.to_string()))?;
        let path = format!("/sso/{}/{}/oidc/callback", route.namespace, route.connection);
        let redirect_uri = gateway.url(&path);
        Ok(Self { gateway, open, provider, client_id, client_secret, scopes, redirect_uri })
    }

    fn actor(&self) -> String {
        actor(&self.open.route.connection)
    }

    fn problem(&self, advice: Advice, detail: impl Into<String>) -> Problem {
        Problem::new(advice, detail).of(&self.open.route.organization, self.actor())
    }

    fn refuse(&self, detail: impl ToString) -> Problem {
        self.problem(Advice::AskAdministrator, detail.to_string())
    }

    /// Who the provider says it is, for this code.
    async fn identify(&self, code: &str, challenge: &Challenge) -> Result<Asserted, Problem> {
        let private = self.open.rules.private_endpoints;
        let providers = &self.gateway.providers;
        let redemption = Redemption {
            client_id: self.client_id,
            client_secret: &self.secret()?,
            code,
            redirect_uri: &self.redirect_uri,
            verifier: &challenge.verifier,
        };
        let tokens = providers.redeem(&self.provider, private, &redemption).await;
        let tokens = tokens.map_err(|error| self.unanswered(&error))?;
        let token = tokens.id_token.ok_or_else(|| self.refuse("the provider gave no ID token"))?;
        let access_token = tokens.access_token.as_deref();

        let signed = self.verify(&token).await?;
        let expected = Expected {
            issuer: &self.open.issuer,
            client_id: self.client_id,
            nonce: &challenge.nonce,
            access_token,
            skew: self.gateway.clock_skew,
            authenticated_since: challenge.fresh_since,
        };
        let authenticated = id_token::check(&signed, &expected, Timestamp::now())
            .map_err(|refusal| self.refuse(refusal))?;

        let rules = &self.open.rules;
        let userinfo = match (&self.provider.userinfo_endpoint, access_token) {
            (Some(endpoint), Some(access_token)) if person::lacks_email(&signed.claims, rules) => {
                let userinfo = providers.userinfo(endpoint, private, access_token).await;
                Some(userinfo.map_err(|error| self.unanswered(&error))?)
            }
            _ => None,
        };
        person::asserted(&authenticated, &signed.claims, userinfo.as_ref(), self.open)
            .map_err(|error| self.refuse(error).about(authenticated.subject))
    }

    /// A signature that fits no key we know may be by a new one.
    async fn verify(&self, token: &str) -> Result<Signed, Problem> {
        let (provider, private) = (&self.provider, self.open.rules.private_endpoints);
        let providers = &self.gateway.providers;
        let unanswered = |error: AskError| self.unanswered(&error);
        let keys = providers.keys(provider, private, Instant::now()).await.map_err(unanswered)?;
        let mut verified = id_token::verify(token, &keys.keys, &provider.algorithms);
        if matches!(verified, Err(Refusal::UnknownKey(_) | Refusal::BadSignature)) {
            let newer = providers.newer_keys(provider, private, &keys, Instant::now()).await;
            if let Some(newer) = newer.map_err(unanswered)? {
                verified = id_token::verify(token, &newer.keys, &provider.algorithms);
            }
        }
        verified.map_err(|refusal| self.refuse(refusal))
    }

    /// The client's secret.
    fn secret(&self) -> Result<String, Problem> {
        let later = |detail: &str| self.problem(Advice::TryLater, detail);
        let key = self.gateway.key.get();
        let key = key.ok_or_else(|| later("the installation key isn't known yet"))?;
        let route = &self.open.route;
        let label = client_secret_label(&route.organization, &route.connection);
        let secret = key.unseal(&label, self.client_secret).and_then(|s| String::from_utf8(s).ok());
        secret.ok_or_else(|| later("the client's secret can't be opened with the installation key"))
    }

    fn unanswered(&self, error: &AskError) -> Problem {
        match error {
            AskError::Fetch(_, FetchError::Unreachable | FetchError::Timeout)
            | AskError::Refused { status: 500.., .. } => {
                self.problem(Advice::TryLater, error.to_string())
            }
            _ => self.refuse(error),
        }
    }
}

fn actor(connection: &str) -> String {
    format!("oidc:{connection}")
}

/// What somebody else said, cut, in quotes, with what could disturb a terminal escaped.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(MAX_SHOWN).collect::<String>())
}
