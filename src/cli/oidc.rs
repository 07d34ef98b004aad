//! An OIDC client for one person at their own machine (RFC 8252): discovery, tokens, and what an ID
//! token must be before it is kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use url::{Url, form_urlencoded};

use super::printable;
use crate::keys;

/// The client that every gateway knows: kubectl's.
pub const CLIENT: &str = "kubernetes";
/// For one request and its answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How far this machine's clock may be off.
const SKEW: Duration = Duration::from_secs(60);
/// What is asked for, as far as the issuer says that it knows it, beside `openid`.
const SCOPES: [&str; 4] = ["profile", "email", "groups", "offline_access"];

/// Whose tokens, for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Without a slash at its end.
    pub issuer: String,
    pub client: String,
    /// The only authorities whose certificate the issuer may have, PEM; the system's if `None`.
    pub ca: Option<PathBuf>,
}

/// Why there is no token. No variant holds one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("can't read {}: {source}", .file.display())]
    Ca { file: PathBuf, source: std::io::Error },
    #[error("{} is not a CA file in PEM: {source}", .file.display())]
    CaInvalid { file: PathBuf, source: reqwest::Error },
    #[error(transparent)]
    Randomness(#[from] keys::Unspecified),
    /// Worth another try.
    #[error("{host} can't be reached: {why}")]
    Unreachable { host: String, why: String },
    #[error("{0} is no OpenID Connect issuer that can be used here: {1}")]
    Discovery(String, &'static str),
    /// An error of OAuth's (RFC 6749, sections 4.1.2.1 and 5.2).
    #[error("the sign-in is refused: {0}")]
    Refused(Refusal),
    #[error("the issuer's token can't be used: {0}")]
    IdToken(&'static str),
}

/// What an issuer says when it refuses.
#[derive(Debug, Deserialize)]
pub struct Refusal {
    pub error: String,
    pub error_description: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.error_description {
            Some(why) => write!(f, "{} ({})", printable(why), printable(&self.error)),
            None => write!(f, "{}", printable(&self.error)),
        }
    }
}

/// What the token endpoint gives (RFC 6749, section 5.1).
#[derive(Deserialize)]
pub struct Tokens {
    pub id_token: Option<String>,
    pub access_token: Option<String>,
    pub refresh_token: Option<String>,
}

/// What is read of an ID token or of userinfo.
#[derive(Clone, Debug, Deserialize)]
pub struct Claims {
    pub sub: String,
    /// Seconds since 1970; userinfo has none.
    #[serde(default)]
    pub exp: i64,
    #[serde(default)]
    pub nonce: Option<String>,
    /// `<organization>:<e-mail>`.
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub groups: Vec<String>,
}

/// An issuer that was asked what it is.
pub struct Provider {
    http: reqwest::Client,
    metadata: Metadata,
    keys: JwkSet,
    client: String,
}

/// OpenID Connect Discovery 1.0, section 3, and RFC 9207.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: Url,
    token_endpoint: Url,
    jwks_uri: Url,
    userinfo_endpoint: Option<Url>,
    revocation_endpoint: Option<Url>,
    scopes_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// What only the one who asked knows: state, nonce and PKCE verifier.
pub struct Attempt {
    pub state: String,
    nonce: String,
    verifier: String,
    redirect_uri: String,
}

impl Attempt {
    pub fn new(redirect_uri: String) -> Result<Self, Error> {
        let secret = || Ok::<_, Error>(BASE64_URL_SAFE_NO_PAD.encode(keys::random()?));
        Ok(Self { state: secret()?, nonce: secret()?, verifier: secret()?, redirect_uri })
    }
}

impl Provider {
    /// Asks the issuer what it is and for its keys: before anything is used up that can be used
    /// once.
    pub async fn discover(settings: &Settings) -> Result<Self, Error> {
        let http = http(settings.ca.as_deref())?;
        let not = |why| Error::Discovery(settings.issuer.clone(), why);
        let url = format!("{}/.well-known/openid-configuration", settings.issuer);
        let metadata: Metadata =
            json(http.get(url)).await?.ok_or_else(|| not("it publishes no configuration"))?;
        if metadata.issuer != settings.issuer {
            return Err(not("it calls itself by another address"));
        }
        let keys = json(http.get(metadata.jwks_uri.clone()))
            .await?
            .ok_or_else(|| not("it publishes no keys"))?;
        Ok(Self { http, metadata, keys, client: settings.client.clone() })
    }

    pub fn issuer(&self) -> &str {
        &self.metadata.issuer
    }

    /// Where the browser goes: code flow with PKCE (RFC 7636).
    pub fn authorization_url(&self, attempt: &Attempt, anew: bool) -> Url {
        let known = |scope: &&str| {
            let known = self.metadata.scopes_supported.as_ref();
            known.is_none_or(|known| known.iter().any(|one| one == scope))
        };
        let scopes: Vec<_> =
            ["openid"].into_iter().chain(SCOPES.into_iter().filter(known)).collect();
        let mut url = self.metadata.authorization_endpoint.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client)
            .append_pair("redirect_uri", &attempt.redirect_uri)
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", &attempt.state)
            .append_pair("nonce", &attempt.nonce)
            .append_pair(
                "code_challenge",
                &BASE64_URL_SAFE_NO_PAD.encode(sha256(&attempt.verifier)),
            )
            .append_pair("code_challenge_method", "S256");
        if anew {
            url.query_pairs_mut().append_pair("prompt", "login");
        }
        url
    }

    /// Whether an answer that names this issuer, or none, is ours (RFC 9207, section 2.4).
    pub fn answers_as(&self, iss: Option<&str>) -> bool {
        match iss {
            Some(iss) => iss == self.metadata.issuer,
            None => !self.metadata.authorization_response_iss_parameter_supported,
        }
    }

    /// Tokens for an authorization code, and what the ID token says.
    pub async fn exchange(&self, attempt: &Attempt, code: &str) -> Result<(Tokens, Claims), Error> {
        let tokens = self
            .tokens(&[
                ("grant_type", "authorization_code"),
                ("code", code),
                ("redirect_uri", &attempt.redirect_uri),
                ("client_id", &self.client),
                ("code_verifier", &attempt.verifier),
            ])
            .await?;
        let claims = self.verify(&tokens)?;
        if claims.nonce.as_deref() != Some(&attempt.nonce) {
            return Err(Error::IdToken("it was issued for another sign-in"));
        }
        Ok((tokens, claims))
    }

    /// New tokens. The refresh token is used up by that, whatever the new ones are like.
    pub async fn refresh(&self, refresh_token: &str) -> Result<Tokens, Error> {
        self.tokens(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
            ("client_id", &self.client),
        ])
        .await
    }

    async fn tokens(&self, form: &[(&str, &str)]) -> Result<Tokens, Error> {
        let response = send(post(&self.http, &self.metadata.token_endpoint, form)).await?;
        let status = response.status();
        let body = body(response).await?;
        let nonsense = || {
            Error::Refused(Refusal {
                error: format!("the token endpoint answers with HTTP status {}", status.as_u16()),
                error_description: None,
            })
        };
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|_| nonsense());
        }
        Err(serde_json::from_slice(&body).map_or_else(|_| nonsense(), Error::Refused))
    }

    /// What the ID token says, if it is one of this issuer, for this client, and still good
    /// (OpenID Connect Core 1.0, section 3.1.3.7).
    pub fn verify(&self, tokens: &Tokens) -> Result<Claims, Error> {
        let token = tokens.id_token.as_deref().ok_or(Error::IdToken("there is none"))?;
        let header = decode_header(token).map_err(|_| Error::IdToken("it is not a JWT"))?;
        if !matches!(header.alg, Algorithm::ES256 | Algorithm::RS256) {
            return Err(Error::IdToken("it is signed by another algorithm than ES256 and RS256"));
        }
        let key = match &header.kid {
            Some(kid) => self.keys.find(kid),
            None => self.keys.keys.first().filter(|_| self.keys.keys.len() == 1),
        };
        let key = key
            .and_then(|key| DecodingKey::from_jwk(key).ok())
            .ok_or(Error::IdToken("it is signed by a key that the issuer doesn't publish"))?;
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.metadata.issuer]);
        validation.set_audience(&[&self.client]);
        validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
        validation.leeway = SKEW.as_secs();
        decode(token, &key, &validation).map(|decoded| decoded.claims).map_err(|error| {
            use jsonwebtoken::errors::ErrorKind;
            Error::IdToken(match error.kind() {
                ErrorKind::ExpiredSignature => {
                    "it has expired already: is this machine's clock right?"
                }
                ErrorKind::InvalidAudience => "it is for another client",
                ErrorKind::InvalidIssuer => "it is of another issuer",
                ErrorKind::InvalidSignature => "its signature is wrong",
                _ => "it lacks what an ID token must have",
            })
        })
    }

    /// What the issuer says of the person now; `None` if it says that they have no access.
    pub async fn userinfo(&self, access_token: &str) -> Result<Option<Claims>, Error> {
        let Some(url) = &self.metadata.userinfo_endpoint else {
            return Err(Error::Discovery(self.metadata.issuer.clone(), "it has no userinfo"));
        };
        json(self.http.get(url.clone()).bearer_auth(access_token)).await
    }

    /// Ends the refresh token, and with it what was obtained by it (RFC 7009).
    pub async fn revoke(&self, refresh_token: &str) -> Result<(), Error> {
        let Some(url) = &self.metadata.revocation_endpoint else {
            return Err(Error::Discovery(self.metadata.issuer.clone(), "it can't revoke tokens"));
        };
        let form = [
            ("token", refresh_token),
            ("token_type_hint", "refresh_token"),
            ("client_id", &self.client),
        ];
        let response = send(post(&self.http, url, &form)).await?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(serde_json::from_slice(&body(response).await?).map_or(
            Error::Discovery(self.metadata.issuer.clone(), "it doesn't revoke the token"),
            Error::Refused,
        ))
    }
}

/// SHA-256.
pub fn sha256(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref(),
    );
    hash
}

fn http(ca: Option<&Path>) -> Result<reqwest::Client, Error> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("rollcall/", env!("CARGO_PKG_VERSION")))
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none()) // none of these answers is one
        .timeout(PATIENCE);
    if let Some(file) = ca {
        let pem =
            std::fs::read(file).map_err(|source| Error::Ca { file: file.to_owned(), source })?;
        let invalid = |source| Error::CaInvalid { file: file.to_owned(), source };
        builder =
            builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem).map_err(invalid)?);
    }
    builder.build().map_err(|error| unreachable("the issuer", &error))
}

fn post(http: &reqwest::Client, url: &Url, form: &[(&str, &str)]) -> RequestBuilder {
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    http.post(url.clone())
        .header("content-type", "application/x-www-form-urlencoded")
        .header("accept", "application/json")
        .body(form)
}

/// The JSON of a `200 OK`; `None` if there is another answer.
async fn json<T: DeserializeOwned>(request: RequestBuilder) -> Result<Option<T>, Error> {
    let response = send(request).await?;
    if response.status() != StatusCode::OK {
        return Ok(None);
    }
    Ok(serde_json::from_slice(&body(response).await?).ok())
}

/// An answer, if it isn't the kind that says to come back later.
async fn send(request: RequestBuilder) -> Result<Response, Error> {
    let response = request.send().await.map_err(|error| {
        let host = error.url().and_then(Url::host_str).unwrap_or("the issuer").to_owned();
        unreachable(&host, &error)
    })?;
    let status = response.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        let host = response.url().host_str().unwrap_or("the issuer").to_owned();
        return Err(Error::Unreachable { host, why: format!("HTTP status {}", status.as_u16()) });
    }
    Ok(response)
}

async fn body(response: Response) -> Result<Vec<u8>, Error> {
    let host = response.url().host_str().unwrap_or("the issuer").to_owned();
    let body = response.bytes().await.map_err(|error| unreachable(&host, &error))?;
    Ok(body.into())
}

/// The innermost cause is what helps: a name that doesn't resolve, a certificate that isn't trusted.
fn unreachable(host: &str, error: &reqwest::Error) -> Error {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Error::Unreachable { host: host.to_owned(), why: printable(&cause.to_string()) }
}
