//! A company's OpenID provider: it signs in the person it is told to, without asking, and its
//! tokens and answers can be wrong in every way that a client must notice.

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    Form, Router,
    body::{Body, Bytes},
    extract::{Query, Request, State},
    http::{HeaderMap, Response, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::IntoResponse,
    routing::{get, post},
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use futures::stream;
use jsonwebtoken::{Algorithm, EncodingKey, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::{background::background, tls::Authority};

/// How it misbehaves; not at all by default.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// How ID tokens are signed.
    pub signing: Signing,
    /// What replaces claims of ID tokens; null removes one.
    pub claims: Value,
    /// What replaces parameters of ID tokens' headers; null removes one.
    pub header: Value,
    /// What replaces claims of userinfo; null removes one.
    pub userinfo: Value,
    /// What replaces fields of the token endpoint's answers; null removes one.
    pub tokens: Value,
    /// What replaces fields of the discovery document; null removes one.
    pub discovery: Value,
    /// The `iss` of its answers (RFC 9207); empty for none.
    pub iss: Option<String>,
    /// It refuses to sign anybody in, with this `error` and `error_description`.
    pub refusal: Option<(String, String)>,
    /// What one of its paths, such as `/token`, does instead of answering.
    pub instead: HashMap<String, Instead>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            signing: Signing::Proper(Algorithm::ES256),
            claims: json!({}),
            header: json!({}),
            userinfo: json!({}),
            tokens: json!({}),
            discovery: json!({}),
            iss: None,
            refusal: None,
            instead: HashMap::new(),
        }
    }
}

/// How an ID token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// As it should be, by a published key.
    Proper(Algorithm),
    /// By a key of the same name that is not the published one.
    ForeignKey,
    /// Not at all: `alg` is `none`.
    None,
    /// It says it is, but the signature is missing.
    Stripped,
    /// As an HMAC whose key is the public key, PEM.
    HmacOfPublicKey,
    /// As an HMAC whose key is the client's secret.
    HmacOfSecret,
    /// Properly, and then a claim was changed.
    Tampered,
}

/// What a path does instead of answering.
#[derive(Clone, Debug)]
pub enum Instead {
    /// Answers with this HTTP status and body.
    Status(u16, String),
    /// Redirects (307) to this URL.
    RedirectTo(String),
    /// Answers with a body that never ends.
    Endless,
    /// Takes the request and never answers.
    Silent,
    /// Answers as it should, once this is notified.
    Held(Arc<Notify>),
}

/// A running provider, ended when dropped.
pub struct OidcIdp {
    state: Shared,
    handle: Handle<SocketAddr>,
    folder: TempDir,
    issuer: String,
}

type Shared = Arc<Mutex<Idp>>;

struct Idp {
    issuer: String,
    keys: Keys,
    clients: HashMap<String, Client>,
    user: Map<String, Value>,
    behaviour: Behaviour,
    /// By the code that was given for it.
    grants: HashMap<String, Grant>,
    /// By access token.
    userinfo: HashMap<String, Map<String, Value>>,
    /// How often each path was asked for.
    requests: HashMap<String, u64>,
}

struct Client {
    secret: String,
    redirect_uri: String,
}

struct Grant {
    client: String,
    challenge: String,
    nonce: Option<String>,
}

/// One key of each kind.
struct Keys {
    generation: u32,
    rsa: KeyPair,
    p256: KeyPair,
    p384: KeyPair,
}

impl Keys {
    fn new(generation: u32) -> anyhow::Result<Self> {
        Ok(Self {
            generation,
            rsa: KeyPair::generate_for(&PKCS_RSA_SHA256)?,
            p256: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
            p384: KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?,
        })
    }

    /// The key for this algorithm, and its name.
    fn key(&self, algorithm: Algorithm) -> anyhow::Result<(EncodingKey, String)> {
        let (pair, kind) = match algorithm {
            Algorithm::ES256 => (&self.p256, "p256"),
            Algorithm::ES384 => (&self.p384, "p384"),
            _ => (&self.rsa, "rsa"),
        };
        let pem = pair.serialize_pem();
        let key = match kind {
            "rsa" => EncodingKey::from_rsa_pem(pem.as_bytes())?,
            _ => EncodingKey::from_ec_pem(pem.as_bytes())?,
        };
        Ok((key, format!("{kind}-{}", self.generation)))
    }

    /// As a JWK set, with keys that a client must leave alone.
    fn published(&self) -> anyhow::Result<Value> {
        let mut keys = vec![json!({"kty": "future", "kid": "x"}), json!(7)];
        for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384] {
            let (key, kid) = self.key(algorithm)?;
            let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&key, algorithm)?)?;
            jwk["kid"] = json!(kid);
            jwk["use"] = json!("sig");
            if let Some(jwk) = jwk.as_object_mut() {
                jwk.remove("alg"); // one RSA key serves RS256 to PS512
            }
            keys.push(jwk);
        }
        Ok(json!({ "keys": keys }))
    }
}

impl OidcIdp {
    /// Starts one at `https://localhost:<port>`, with a TLS certificate of `authority`. Until it is
    /// told otherwise it signs in ada@acme.com.
    ///
    /// # Errors
    /// If no port can be had or no certificate made.
    pub fn start(authority: &Authority) -> anyhow::Result<Self> {
        let folder = TempDir::new().context("making a folder for the CA")?;
        authority.write_ca(&folder.path().join("ca.crt"))?;
        let tls = authority.issue(&["localhost"], &[[127, 0, 0, 1].into()])?.server_config()?;
        let listener = TcpListener::bind("127.0.0.1:0").context("binding a port")?;
        listener.set_nonblocking(true).context("setting up the port")?;
        let issuer = format!("https://localhost:{}/realm", listener.local_addr()?.port());
        let ada = json!({
            "sub": "ada", "email": "ada@acme.com", "email_verified": true, "name": "Ada Lovelace",
        });
        let state = Arc::new(Mutex::new(Idp {
            issuer: issuer.clone(),
            keys: Keys::new(1).context("making keys")?,
            clients: HashMap::new(),
            user: ada.as_object().cloned().unwrap_or_default(),
            behaviour: Behaviour::default(),
            grants: HashMap::new(),
            userinfo: HashMap::new(),
            requests: HashMap::new(),
        }));
        let realm = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/keys", get(keys))
            .route("/userinfo", get(userinfo))
            .layer(from_fn_with_state(Arc::clone(&state), misbehave));
        let app = Router::new().nest("/realm", realm).with_state(Arc::clone(&state));
        let handle = Handle::new();
        let _runtime = background().enter();
        let server = axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(tls))
            .context("serving")?
            .handle(handle.clone());
        background().spawn(server.serve(app.into_make_service()));
        Ok(Self { state, handle, folder, issuer })
    }

    /// Its issuer: what a connection names.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Its discovery document.
    pub fn discovery(&self) -> Value {
        lock(&self.state).discovery()
    }

    /// The CA of its TLS certificate, PEM.
    pub fn ca_file(&self) -> PathBuf {
        let folder: &Path = self.folder.path();
        folder.join("ca.crt")
    }

    /// Lets a client in.
    pub fn add_client(&self, id: &str, secret: &str, redirect_uri: &str) {
        let client = Client { secret: secret.into(), redirect_uri: redirect_uri.into() };
        lock(&self.state).clients.insert(id.into(), client);
    }

    /// Signs in this person from now on: their claims, `sub` among them. Those that start with
    /// `email` or are `name` are in the ID token, too.
    pub fn set_user(&self, claims: &Value) {
        lock(&self.state).user = claims.as_object().cloned().unwrap_or_default();
    }

    /// Behaves like this from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        lock(&self.state).behaviour = behaviour;
    }

    /// Signs with new keys from now on, and publishes no others.
    ///
    /// # Errors
    /// If no keys can be made.
    pub fn rotate_keys(&self) -> anyhow::Result<()> {
        let mut idp = lock(&self.state);
        idp.keys = Keys::new(idp.keys.generation + 1)?;
        Ok(())
    }

    /// How often a path, such as `/keys`, was asked for.
    pub fn requests(&self, path: &str) -> u64 {
        lock(&self.state).requests.get(path).copied().unwrap_or_default()
    }
}

impl Drop for OidcIdp {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

fn lock(state: &Shared) -> MutexGuard<'_, Idp> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Idp {
    fn discovery(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        let document = json!({
            "issuer": self.issuer,
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "jwks_uri": at("/keys"),
            "userinfo_endpoint": at("/userinfo"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported":
                ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
        });
        replaced(document, &self.behaviour.discovery)
    }

    /// The token that says who somebody is.
    fn id_token(&self, grant: &Grant, access_token: &str) -> anyhow::Result<String> {
        let now = seconds();
        let mut claims = json!({
            "iss": self.issuer, "aud": grant.client, "exp": now + 300, "iat": now,
            "auth_time": now, "sub": self.user.get("sub"), "nonce": grant.nonce,
            "at_hash": BASE64_URL_SAFE_NO_PAD.encode(&digest(&SHA256, access_token.as_bytes()).as_ref()[..16]),
        });
        for (name, value) in &self.user {
            if name.starts_with("email") || name == "name" {
                claims[name] = value.clone();
            }
        }
        let signing = self.behaviour.signing;
        let algorithm = match signing {
            Signing::Proper(algorithm) => algorithm,
            _ => Algorithm::ES256,
        };
        if !matches!(algorithm, Algorithm::ES256 | Algorithm::RS256 | Algorithm::PS256) {
            claims["at_hash"] = Value::Null;
        }
        let claims = replaced(without_nulls(claims), &self.behaviour.claims);
        let (key, kid) = self.keys.key(algorithm)?;
        let name = match signing {
            Signing::None => json!("none"),
            Signing::HmacOfPublicKey | Signing::HmacOfSecret => json!("HS256"),
            _ => json!(algorithm),
        };
        let header = json!({"alg": name, "typ": "JWT", "kid": kid});
        let header = replaced(header, &self.behaviour.header);
        let part = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", part(&header), part(&claims));
        let sign = |algorithm, key: &EncodingKey| {
            jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm)
        };
        let signature = match signing {
            Signing::None | Signing::Stripped => String::new(),
            Signing::Proper(algorithm) => sign(algorithm, &key)?,
            Signing::ForeignKey => {
                let foreign = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_pem();
                sign(algorithm, &EncodingKey::from_ec_pem(foreign.as_bytes())?)?
            }
            Signing::HmacOfPublicKey => {
                let public = EncodingKey::from_secret(self.keys.p256.public_key_pem().as_bytes());
                sign(Algorithm::HS256, &public)?
            }
            Signing::HmacOfSecret => {
                let secret = &self.clients[&grant.client].secret;
                sign(Algorithm::HS256, &EncodingKey::from_secret(secret.as_bytes()))?
            }
            Signing::Tampered => {
                let changed = part(&replaced(claims.clone(), &json!({"sub": "eve"})));
                return Ok(format!("{}.{changed}.{}", part(&header), sign(algorithm, &key)?));
            }
        };
        Ok(format!("{message}.{signature}"))
    }
}

/// Counts requests, and does something else where it is told to.
async fn misbehave(State(state): State<Shared>, request: Request, next: Next) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let instead = {
        let mut idp = lock(&state);
        *idp.requests.entry(path.clone()).or_default() += 1;
        idp.behaviour.instead.get(&path).cloned()
    };
    match instead {
        None => next.run(request).await,
        Some(Instead::Status(status, body)) => {
            (StatusCode::from_u16(status).unwrap_or_default(), body).into_response()
        }
        Some(Instead::RedirectTo(url)) => {
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, url)]).into_response()
        }
        Some(Instead::Endless) => {
            let spaces =
                stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 8192])));
            Body::from_stream(spaces).into_response()
        }
        Some(Instead::Held(released)) => {
            released.notified().await;
            next.run(request).await
        }
        Some(Instead::Silent) => std::future::pending().await,
    }
}

async fn discovery(State(state): State<Shared>) -> axum::Json<Value> {
    axum::Json(lock(&state).discovery())
}

async fn keys(State(state): State<Shared>) -> Response<Body> {
    match lock(&state).keys.published() {
        Ok(keys) => axum::Json(keys).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Signs the person in and sends them back (RFC 6749, section 4.1.2), or tells on the page which
/// parameter is wrong.
async fn authorize(
    State(state): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
) -> Response<Body> {
    let mut idp = lock(&state);
    let said = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    let client = idp.clients.get(said("client_id"));
    let known = client.is_some_and(|client| client.redirect_uri == said("redirect_uri"));
    for (parameter, right) in [
        ("client_id or redirect_uri", known),
        ("response_type", said("response_type") == "code"),
        ("scope", said("scope").split(' ').any(|scope| scope == "openid")),
        ("state", !said("state").is_empty()),
        ("code_challenge_method", said("code_challenge_method") == "S256"),
        ("code_challenge", said("code_challenge").len() == 43),
    ] {
        if !right {
            return (StatusCode::BAD_REQUEST, format!("wrong: {parameter}")).into_response();
        }
    }
    let mut answer = vec![("state", said("state").to_owned())];
    match idp.behaviour.refusal.clone() {
        Some((error, description)) => {
            answer.extend([("error", error), ("error_description", description)]);
        }
        None => {
            let code = random();
            let grant = Grant {
                client: said("client_id").into(),
                challenge: said("code_challenge").into(),
                nonce: query.get("nonce").cloned(),
            };
            idp.grants.insert(code.clone(), grant);
            answer.push(("code", code));
        }
    }
    match &idp.behaviour.iss {
        Some(iss) if iss.is_empty() => {}
        Some(iss) => answer.push(("iss", iss.clone())),
        None => answer.push(("iss", idp.issuer.clone())),
    }
    let location = reqwest::Url::parse_with_params(said("redirect_uri"), answer);
    match location {
        Ok(url) => (StatusCode::FOUND, [(header::LOCATION, String::from(url))]).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

/// Redeems a code, once, for the client it was given for (RFC 6749, section 4.1.3; RFC 7636).
async fn token(
    State(state): State<Shared>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response<Body> {
    let mut idp = lock(&state);
    let said = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let complain = |error: &str, description: &str| {
        let complaint = json!({"error": error, "error_description": description});
        (StatusCode::BAD_REQUEST, axum::Json(complaint)).into_response()
    };
    let (id, secret) =
        basic(&headers).unwrap_or((said("client_id").into(), said("client_secret").into()));
    let Some(client) = idp.clients.get(&id).filter(|client| client.secret == secret) else {
        return complain("invalid_client", "id or secret is wrong");
    };
    if said("redirect_uri") != client.redirect_uri || said("grant_type") != "authorization_code" {
        return complain("invalid_request", "redirect_uri or grant_type is wrong");
    }
    let Some(grant) = idp.grants.remove(said("code")) else {
        return complain("invalid_grant", "no such code");
    };
    let verifier = digest(&SHA256, said("code_verifier").as_bytes());
    if grant.client != id || BASE64_URL_SAFE_NO_PAD.encode(verifier) != grant.challenge {
        return complain("invalid_grant", "the code is for another client, or the verifier wrong");
    }
    let access_token = random();
    let id_token = match idp.id_token(&grant, &access_token) {
        Ok(token) => token,
        Err(error) => {
            return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
        }
    };
    let claims = idp.user.clone();
    idp.userinfo.insert(access_token.clone(), claims);
    let tokens = json!({
        "access_token": access_token, "token_type": "Bearer", "expires_in": 300,
        "id_token": id_token,
    });
    axum::Json(replaced(tokens, &idp.behaviour.tokens)).into_response()
}

async fn userinfo(State(state): State<Shared>, headers: HeaderMap) -> Response<Body> {
    let idp = lock(&state);
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer "));
    match token.and_then(|token| idp.userinfo.get(token)) {
        Some(claims) => {
            let claims = Value::Object(claims.clone());
            axum::Json(replaced(claims, &idp.behaviour.userinfo)).into_response()
        }
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

/// The client's id and secret in the header, each of which is form-encoded.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(BASE64_STANDARD.decode(value).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    let decoded = |text: &str| {
        let url = reqwest::Url::parse(&format!("https://x/?v={text}")).ok()?;
        url.query_pairs().next().map(|(_, value)| value.into_owned())
    };
    Some((decoded(id)?, decoded(secret)?))
}

/// `json` with these fields replaced; null removes one.
fn replaced(json: Value, fields: &Value) -> Value {
    let mut json = json;
    for (name, value) in fields.as_object().into_iter().flatten() {
        json[name] = value.clone();
    }
    without_nulls(json)
}

fn without_nulls(mut json: Value) -> Value {
    if let Some(fields) = json.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    json
}

fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or_default()
}
