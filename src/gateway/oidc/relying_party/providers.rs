//! Talking to the companies' OpenID providers: their keys, the exchange of a code, userinfo. All of
//! it goes through [`crate::fetch`], for a tenant names the addresses.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use jsonwebtoken::jwk::Jwk;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::{Map, Value};
use url::form_urlencoded::byte_serialize;

use super::shown;
use crate::{
    fetch::{Answer, FetchError, Fetcher, Fetchers},
    oidc::discovery::{ClientAuthentication, Provider},
};

/// How long a provider's keys are used before they are fetched again.
const FRESH: Duration = Duration::from_secs(300);
/// The least time between two fetches for a token that fits no known key.
const AGAIN: Duration = Duration::from_secs(30);
/// The keys of how many providers are kept.
const MAX_PROVIDERS: usize = 4096;
/// How many keys of a provider are looked at.
const MAX_KEYS: usize = 64;

/// Asks the companies' OpenID providers, and remembers their keys. Cheap to clone; all clones share
/// what is remembered.
#[derive(Clone)]
pub struct Providers(Arc<Shared>);

struct Shared {
    fetchers: Fetchers,
    keys: Mutex<HashMap<Id, Slot>>,
}

/// Whose keys: by issuer and `jwks_uri`, and whether private addresses were allowed.
type Id = (String, String, bool);
/// Locked while the keys are being fetched, so that they are fetched once for all who wait.
type Slot = Arc<tokio::sync::Mutex<Option<Keys>>>;

/// A provider's keys, as they were at a time.
#[derive(Clone)]
pub(super) struct Keys {
    pub keys: Arc<[Jwk]>,
    fetched_at: Instant,
}

/// What a provider gives for a code.
#[derive(Deserialize)]
pub(super) struct Tokens {
    pub id_token: Option<String>,
    pub access_token: Option<String>,
}

/// Who redeems a code, and what goes with it.
pub(super) struct Redemption<'a> {
    pub client_id: &'a str,
    pub client_secret: &'a str,
    pub code: &'a str,
    pub redirect_uri: &'a str,
    /// PKCE (RFC 7636, section 4.5).
    pub verifier: &'a str,
}

/// Why a provider didn't give what it was asked for; the sentences are for the audit log.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AskError {
    #[error("the provider's {0}: {1}")]
    Fetch(&'static str, FetchError),
    #[error("the provider's {endpoint} answers with HTTP status {status}{said}")]
    Refused { endpoint: &'static str, status: u16, said: String },
    #[error("the provider's {0} doesn't answer with the JSON that it should")]
    Malformed(&'static str),
}

impl Providers {
    pub fn new(fetchers: Fetchers) -> Self {
        Self(Arc::new(Shared { fetchers, keys: Mutex::default() }))
    }

    fn fetcher(&self, private_endpoints: bool) -> &Fetcher {
        self.0.fetchers.of(private_endpoints)
    }

    /// The provider's keys, at most five minutes old.
    pub(super) async fn keys(
        &self,
        provider: &Provider,
        private_endpoints: bool,
        now: Instant,
    ) -> Result<Keys, AskError> {
        let slot = self.slot(provider, private_endpoints);
        let mut known = slot.lock().await;
        match &*known {
            Some(keys) if now.saturating_duration_since(keys.fetched_at) < FRESH => {
                Ok(keys.clone())
            }
            _ => self.fetch_keys(provider, private_endpoints, &mut known, now).await,
        }
    }

    /// Newer keys than `old`, which a token didn't fit: the provider may have changed them. `None`
    /// if they were fetched a moment ago, whatever the token says: nobody can make us hammer a
    /// provider.
    pub(super) async fn newer_keys(
        &self,
        provider: &Provider,
        private_endpoints: bool,
        old: &Keys,
        now: Instant,
    ) -> Result<Option<Keys>, AskError> {
        let slot = self.slot(provider, private_endpoints);
        let mut known = slot.lock().await;
        match &*known {
            Some(keys) if keys.fetched_at > old.fetched_at => Ok(Some(keys.clone())),
            Some(keys) if now.saturating_duration_since(keys.fetched_at) < AGAIN => Ok(None),
            _ => self.fetch_keys(provider, private_endpoints, &mut known, now).await.map(Some),
        }
    }

    fn slot(&self, provider: &Provider, private_endpoints: bool) -> Slot {
        let id = (provider.issuer.clone(), provider.jwks_uri.clone(), private_endpoints);
        let mut slots = self.0.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MAX_PROVIDERS && !slots.contains_key(&id) {
            slots.clear();
        }
        slots.entry(id).or_default().clone()
    }

    async fn fetch_keys(
        &self,
        provider: &Provider,
        private_endpoints: bool,
        known: &mut Option<Keys>,
        now: Instant,
    ) -> Result<Keys, AskError> {
        const ENDPOINT: &str = "jwks_uri";
        let document = self.fetcher(private_endpoints).get(&provider.jwks_uri).await;
        let document = document.map_err(|error| AskError::Fetch(ENDPOINT, error))?;
        let keys = parse_keys(&document).ok_or(AskError::Malformed(ENDPOINT))?;
        Ok(known.insert(Keys { keys, fetched_at: now }).clone())
    }

    /// Exchange a code for tokens (RFC 6749, section 4.1.3).
    pub(super) async fn redeem(
        &self,
        provider: &Provider,
        private_endpoints: bool,
        redemption: &Redemption<'_>,
    ) -> Result<Tokens, AskError> {
        const ENDPOINT: &str = "token_endpoint";
        let Redemption { client_id, client_secret, code, redirect_uri, verifier } = *redemption;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
        ];
        let authorization = match provider.client_authentication {
            ClientAuthentication::Basic => Some(basic(client_id, client_secret)),
            ClientAuthentication::Post => {
                form.extend([("client_id", client_id), ("client_secret", client_secret)]);
                None
            }
        };
        let url = &provider.token_endpoint;
        let answer = self.fetcher(private_endpoints).post_form(url, &form, authorization).await;
        let body = accepted(ENDPOINT, answer)?;
        serde_json::from_slice(&body).map_err(|_| AskError::Malformed(ENDPOINT))
    }

    /// What the provider says of who has this access token (OpenID Connect Core 1.0, section 5.3).
    pub(super) async fn userinfo(
        &self,
        endpoint: &str,
        private_endpoints: bool,
        access_token: &str,
    ) -> Result<Map<String, Value>, AskError> {
        const ENDPOINT: &str = "userinfo_endpoint";
        let bearer = HeaderValue::try_from(format!("Bearer {access_token}"))
            .map_err(|_| AskError::Malformed("token_endpoint"))?;
        let answer = self.fetcher(private_endpoints).get_authorized(endpoint, bearer).await;
        let body = accepted(ENDPOINT, answer)?;
        serde_json::from_slice(&body).map_err(|_| AskError::Malformed(ENDPOINT))
    }
}

/// RFC 6749, section 2.3.1: both parts are form-encoded first.
fn basic(client_id: &str, client_secret: &str) -> HeaderValue {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(client_id), encoded(client_secret));
    HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(pair)))
        .expect("base64 is a header's value")
}

fn accepted(
    endpoint: &'static str,
    answer: Result<Answer, FetchError>,
) -> Result<Vec<u8>, AskError> {
    let Answer { status, body } = answer.map_err(|error| AskError::Fetch(endpoint, error))?;
    if status == 200 {
        return Ok(body);
    }
    let said = match serde_json::from_slice::<Complaint>(&body) {
        Ok(Complaint { error, error_description: None }) => format!(": {}", shown(&error)),
        Ok(Complaint { error, error_description: Some(description) }) => {
            format!(": {}, {}", shown(&error), shown(&description))
        }
        Err(_) => String::new(),
    };
    Err(AskError::Refused { endpoint, status, said })
}

/// RFC 6749, section 5.2.
#[derive(Deserialize)]
struct Complaint {
    error: String,
    error_description: Option<String>,
}

/// The public keys of a JWK set (RFC 7517, section 5). Keys that can't be read are no business of
/// ours.
fn parse_keys(document: &[u8]) -> Option<Arc<[Jwk]>> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let Set { keys } = serde_json::from_slice(document).ok()?;
    Some(
        keys.into_iter()
            .take(MAX_KEYS)
            .filter_map(|key| serde_json::from_value(key).ok())
            .collect(),
    )
}
