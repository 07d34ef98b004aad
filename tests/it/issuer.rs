//! A small OIDC issuer that does as it is told, also what a good one never would.

use std::{
    collections::HashMap,
    net::TcpListener,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use axum::{
    Form, Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use rollcall_kit::{install_crypto, tls::Authority};
use serde_json::{Value, json};
use url::Url;

type Parameters = HashMap<String, String>;

/// A running issuer; it ends when it is dropped.
pub struct Issuer {
    pub url: String,
    pub ca_pem: String,
    shared: Arc<Shared>,
    handle: Handle<std::net::SocketAddr>,
}

struct Shared {
    url: String,
    key: EncodingKey,
    jwk: Value,
    state: Mutex<Conduct>,
}

/// What it does and what it has seen.
#[derive(Default)]
pub struct Conduct {
    /// Claims over the usual ones; `null` takes one away.
    pub claims: Value,
    /// How it signs, where that isn't as it should be.
    pub forgery: Option<Forgery>,
    /// What it says of itself in the answer, where that isn't the truth.
    pub answers_as: Option<String>,
    /// The error it sends people back with.
    pub error: Option<&'static str>,
    /// What it answers to a refresh, instead of tokens.
    pub refresh_refused: Option<(StatusCode, &'static str)>,
    /// Whether userinfo works.
    pub userinfo_down: bool,
    /// The authorization requests.
    pub asked: Vec<Parameters>,
    pub refreshes: u32,
    pub revoked: Vec<String>,
    codes: HashMap<String, Parameters>,
    refresh_token: Option<String>,
}

/// How a token is signed that nobody may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// By a key of the published one's name.
    ForeignKey,
    /// By its key, under a name that isn't published.
    UnknownKey,
    /// Not at all: `alg` is `none`.
    Nothing,
    /// As an HMAC whose key is the public one.
    HmacOfPublicKey,
}

impl Issuer {
    pub fn start() -> anyhow::Result<Self> {
        install_crypto();
        let authority = Authority::new()?;
        let identity = authority.issue(&["localhost"], &[[127, 0, 0, 1].into()])?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let url = format!("https://localhost:{}", listener.local_addr()?.port());
        let key = signing_key()?;
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&key, Algorithm::ES256)?)?;
        jwk["kid"] = json!("one");
        jwk["use"] = json!("sig");
        let shared =
            Arc::new(Shared { url: url.clone(), key, jwk, state: Mutex::new(Conduct::default()) });
        let routes = Router::new()
            .route("/", get(async || "You are signed in."))
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/oauth2/jwks", get(keys))
            .route("/oauth2/authorize", get(authorize))
            .route("/oauth2/token", post(token))
            .route("/oauth2/userinfo", get(userinfo))
            .route("/oauth2/revoke", post(revoke))
            .with_state(shared.clone());
        let handle = Handle::new();
        let tls = RustlsConfig::from_config(identity.server_config()?);
        let server = axum_server::from_tcp_rustls(listener, tls)?.handle(handle.clone());
        tokio::spawn(server.serve(routes.into_make_service()));
        Ok(Self { url, ca_pem: authority.ca_pem(), shared, handle })
    }

    pub fn conduct(&self) -> MutexGuard<'_, Conduct> {
        self.shared.conduct()
    }

    /// A token as it would issue it now, with `claims` over the usual ones.
    pub fn token(&self, claims: &Value) -> anyhow::Result<String> {
        self.shared.sign(&self.shared.claims(claims), &self.shared.key)
    }

    /// The same by a key that isn't its own.
    pub fn forged(&self) -> anyhow::Result<String> {
        self.shared.forge(&self.shared.claims(&Value::Null), Forgery::ForeignKey)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

impl Shared {
    fn conduct(&self) -> MutexGuard<'_, Conduct> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claims(&self, over: &Value) -> Value {
        let now = now();
        let mut claims = json!({
            "iss": self.url, "aud": "kubernetes", "iat": now, "exp": now + 300,
            "sub": "0190a5c4-0000-7000-8000-000000000001",
            "uid": "0190a5c4-0000-7000-8000-000000000001",
            "username": "acme:ada@acme.example", "email": "ada@acme.example",
            "email_verified": true, "groups": ["acme:engineering"],
        });
        for (name, value) in over.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        if let Some(claims) = claims.as_object_mut() {
            claims.retain(|_, value| !value.is_null());
        }
        claims
    }

    fn sign(&self, claims: &Value, key: &EncodingKey) -> anyhow::Result<String> {
        let header = Header { kid: Some("one".into()), ..Header::new(Algorithm::ES256) };
        encode(&header, claims, key).context("signing a token")
    }

    fn forge(&self, claims: &Value, how: Forgery) -> anyhow::Result<String> {
        let header =
            |algorithm, kid: &str| Header { kid: Some(kid.into()), ..Header::new(algorithm) };
        Ok(match how {
            Forgery::ForeignKey => self.sign(claims, &signing_key()?)?,
            Forgery::UnknownKey => encode(&header(Algorithm::ES256, "two"), claims, &self.key)?,
            Forgery::Nothing => {
                let signed = self.sign(claims, &self.key)?;
                let claims = signed.split('.').nth(1).context("no claims")?;
                let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
                format!("{none}.{claims}.")
            }
            Forgery::HmacOfPublicKey => {
                let public = EncodingKey::from_secret(self.jwk.to_string().as_bytes());
                encode(&header(Algorithm::HS256, "one"), claims, &public)?
            }
        })
    }

    /// New tokens, and the refresh token that is good from now on.
    fn tokens(&self, nonce: Option<&String>) -> Response {
        let mut conduct = self.conduct();
        let mut claims = self.claims(&conduct.claims);
        if let (Some(nonce), None) = (nonce, claims.get("nonce")) {
            claims["nonce"] = json!(nonce);
        }
        let signed = match conduct.forgery {
            None => self.sign(&claims, &self.key),
            Some(how) => self.forge(&claims, how),
        };
        let Ok(id_token) = signed else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let refresh_token = uuid::Uuid::new_v4().to_string();
        conduct.refresh_token = Some(refresh_token.clone());
        Json(json!({
            "token_type": "Bearer", "expires_in": 300, "access_token": "an access token",
            "id_token": id_token, "refresh_token": refresh_token,
        }))
        .into_response()
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn signing_key() -> anyhow::Result<EncodingKey> {
    Ok(EncodingKey::from_ec_der(&rcgen::KeyPair::generate()?.serialize_der()))
}

async fn discovery(State(issuer): State<Arc<Shared>>) -> Json<Value> {
    let url = &issuer.url;
    Json(json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/oauth2/authorize"),
        "token_endpoint": format!("{url}/oauth2/token"),
        "jwks_uri": format!("{url}/oauth2/jwks"),
        "userinfo_endpoint": format!("{url}/oauth2/userinfo"),
        "revocation_endpoint": format!("{url}/oauth2/revoke"),
        "scopes_supported": ["openid", "email", "offline_access"],
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "authorization_response_iss_parameter_supported": true,
    }))
}

async fn keys(State(issuer): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({"keys": [issuer.jwk]}))
}

/// Whoever asks is signed in at once.
async fn authorize(
    State(issuer): State<Arc<Shared>>,
    Query(asked): Query<Parameters>,
) -> Result<Redirect, StatusCode> {
    let mut conduct = issuer.conduct();
    conduct.asked.push(asked.clone());
    let mut back = asked
        .get("redirect_uri")
        .and_then(|uri| Url::parse(uri).ok())
        .ok_or(StatusCode::BAD_REQUEST)?;
    let state = asked.get("state").ok_or(StatusCode::BAD_REQUEST)?;
    let iss = conduct.answers_as.as_ref().unwrap_or(&issuer.url);
    back.query_pairs_mut().append_pair("state", state).append_pair("iss", iss);
    if let Some(error) = conduct.error {
        back.query_pairs_mut().append_pair("error", error);
        return Ok(Redirect::to(back.as_str()));
    }
    let code = uuid::Uuid::new_v4().to_string();
    back.query_pairs_mut().append_pair("code", &code);
    conduct.codes.insert(code, asked);
    Ok(Redirect::to(back.as_str()))
}

async fn token(State(issuer): State<Arc<Shared>>, Form(form): Form<Parameters>) -> Response {
    let refused =
        |status: StatusCode, error: &str| (status, Json(json!({"error": error}))).into_response();
    let invalid_grant = || refused(StatusCode::BAD_REQUEST, "invalid_grant");
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    if field("client_id") != "kubernetes" {
        return refused(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    if field("grant_type") == "refresh_token" {
        let mut conduct = issuer.conduct();
        conduct.refreshes += 1;
        if let Some((status, error)) = conduct.refresh_refused {
            return refused(status, error);
        }
        if conduct.refresh_token.take().as_deref() != Some(field("refresh_token")) {
            return invalid_grant();
        }
        drop(conduct);
        return issuer.tokens(None);
    }
    let Some(asked) = issuer.conduct().codes.remove(field("code")) else { return invalid_grant() };
    let digest =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, field("code_verifier").as_bytes());
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(digest);
    let fits = asked.get("code_challenge") == Some(&challenge)
        && asked.get("code_challenge_method").is_some_and(|method| method == "S256")
        && asked.get("redirect_uri").is_some_and(|uri| uri == field("redirect_uri"));
    if fits { issuer.tokens(asked.get("nonce")) } else { invalid_grant() }
}

async fn userinfo(State(issuer): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if issuer.conduct().userinfo_down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if headers.get(AUTHORIZATION).is_none_or(|value| value != "Bearer an access token") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    Json(issuer.claims(&json!({"groups": ["acme:engineering", "acme:new"]}))).into_response()
}

async fn revoke(State(issuer): State<Arc<Shared>>, Form(form): Form<Parameters>) -> StatusCode {
    let mut conduct = issuer.conduct();
    conduct.revoked.extend(form.get("token").cloned());
    StatusCode::OK
}
