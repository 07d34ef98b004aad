//! What browsers bring by link, redirect and form: authorization requests, the answers of company
//! IdPs, and what is asked on the way. An input is what follows the host in the address, and in the
//! lines after that the form, if there is one.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, header},
};
use jiff::{SignedDuration, Timestamp};
use rollcall::{
    fetch::Fetchers,
    gateway::{self, Gateway},
    keys::{InstallationKey, KeySlot, LENGTH},
    ledger::{Admit, Class, Client, Connection, Ledger, Matching, Proof, Protocol, Rules},
};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;
use url::Url;

const GATEWAY: &str = "https://login.example";
/// The client `argocd` has a secret; the client `cli` has none, and `kubernetes` needs no listing.
const ARGOCD: &str = "https://argocd.example/auth/callback?x=1";
const CLI: &str = "http://127.0.0.1/cli";
/// Where inputs may go.
const PATHS: [&str; 6] = [
    "/oauth2/authorize",
    "/sign-in",
    "/sso/continue",
    "/sso/acme/saml/saml/acs",
    "/sso/acme/oidc/oidc/callback",
    "/sso/acme/saml/saml/metadata",
];
/// How many inputs the ledger remembers at most.
const REMEMBERED: u64 = 10_000;

static WORLD: LazyLock<World> = LazyLock::new(World::new);

struct World {
    runtime: Runtime,
    router: Router,
    ledger: Ledger,
    inputs: AtomicU64,
    _folder: TempDir,
}

/// Where the gateway sends the browser, if anywhere: to its own pages, or to a client at an address
/// that is the client's. Nobody is signed in, and no page brings what isn't its own.
pub fn redirect(input: &[u8]) -> Option<String> {
    let input = std::str::from_utf8(input).ok()?;
    let (target, form) = match input.split_once('\n') {
        Some((target, form)) => (target, Some(form)),
        None => (input, None),
    };
    let path = target.split('?').next().unwrap_or_default();
    if !PATHS.contains(&path) {
        return None;
    }
    let request = match form {
        Some(_) => Request::post(target),
        None => Request::get(target),
    };
    let request = request
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "same-origin")
        .body(form.map_or_else(Body::empty, |form| Body::from(form.to_owned())))
        .ok()?;
    let world = &*WORLD;
    let (headers, page) = world.runtime.block_on(world.answer(request));
    for cookie in headers.get_all(header::SET_COOKIE) {
        let cookie = cookie.to_str().expect("cookies are ASCII");
        assert!(cookie.starts_with("__Host-rollcall-browser="), "{cookie}");
    }
    assert!(!page.to_ascii_lowercase().contains("<script"), "{page}");
    let location = headers.get(header::LOCATION)?;
    let location = location.to_str().expect("addresses are ASCII");
    let whose = led_by(location);
    assert!(whose, "led to {location}");
    Some(location.to_owned())
}

/// Whether it is ours, or a client's.
fn led_by(location: &str) -> bool {
    let own = location == "/"
        || location.starts_with("/sign-in?flow=")
        || location.starts_with("https://login.example/oauth2/authorize?");
    let answers = |uri: &str, joint: char| {
        let rest = location.strip_prefix(uri).and_then(|rest| rest.strip_prefix(joint));
        rest.is_some_and(|rest| rest.contains("iss=https%3A%2F%2Flogin.example"))
    };
    // as a browser will understand it
    let native = Url::parse(location).is_ok_and(|url| {
        let host = url.host_str().unwrap_or_default();
        url.scheme() == "http"
            && ["127.0.0.1", "[::1]", "localhost"].contains(&host)
            && ["/", "/callback", "/cli"].contains(&url.path())
            && url.username().is_empty()
            && url.query_pairs().any(|(name, iss)| name == "iss" && iss == GATEWAY)
    });
    own || native || answers(ARGOCD, '&')
}

impl World {
    fn new() -> Self {
        // another target of this process may have been first
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = TempDir::new().expect("a folder");
        let ledger = runtime.block_on(ledger(&folder)).expect("a ledger");
        let fetchers = Fetchers::new().expect("trust roots");
        let key = KeySlot::default();
        key.set(InstallationKey::new(&[7; LENGTH]).expect("it is long enough"));
        let gateway = Gateway::new(
            ledger.clone(),
            Url::parse(GATEWAY).expect("a URL"),
            Arc::new(|_| {}),
            key,
            fetchers,
        );
        let router = gateway::router(gateway);
        Self { runtime, router, ledger, inputs: AtomicU64::new(0), _folder: folder }
    }

    async fn answer(&self, request: Request<Body>) -> (HeaderMap, String) {
        if self.inputs.fetch_add(1, Ordering::Relaxed).is_multiple_of(REMEMBERED) {
            let later = Timestamp::now() + SignedDuration::from_hours(24 * 1000);
            self.ledger.purge_expired(later).await.expect("the ledger forgets");
        }
        let response = self.router.clone().oneshot(request).await.expect("it is infallible");
        let headers = response.headers().clone();
        let body = to_bytes(response.into_body(), usize::MAX).await.expect("a page");
        (headers, String::from_utf8(body.into()).expect("pages are UTF-8"))
    }
}

async fn ledger(folder: &TempDir) -> Result<Ledger, rollcall::ledger::Error> {
    let ledger = Ledger::open(&folder.path().join("ledger.db").into()).await?;
    let now = Timestamp::now();
    let client = |id: &str, uri: &str, secret_hash| Client {
        id: id.into(),
        redirect_uris: vec![uri.into()],
        secret_hash,
        namespaces: None,
    };
    let clients = vec![client("argocd", ARGOCD, Some(vec![1; 32])), client("cli", CLI, None)];
    ledger.put_class("default", &Class { token_seconds: 300, clients }).await?;
    ledger.name_organization("id-acme", "acme", now).await?;
    ledger.claim("id-acme", "acme.com", now).await?;
    ledger.record_proof("id-acme", "acme.com", Proof::Seen, now).await?;
    let saml = include_bytes!("../seeds/metadata/response-seeds.xml").to_vec();
    let oidc = br#"{"issuer": "https://idp.example"}"#.to_vec();
    let secret = Protocol::Oidc { client_id: "x".into(), client_secret: vec![], scopes: vec![] };
    for (name, metadata, protocol, domains) in [
        ("saml", saml, Protocol::Saml, vec!["acme.com".to_owned()]),
        ("oidc", oidc, secret, vec![]),
    ] {
        let connection = Connection {
            source: "inline:".into(),
            issuer: "urn:idp".into(),
            metadata,
            fetched_at: now,
            request: None,
            withdrawn: true,
        };
        let rules = Rules {
            class: "default".into(),
            protocol,
            admit: Admit::JustInTime,
            directory: None,
            matching: Matching::UserName,
            email_attribute: None,
            name_attribute: None,
            idp_initiated: true,
            session_seconds: 3600,
            private_endpoints: false,
        };
        ledger.put_connection("id-acme", name, &connection).await?;
        ledger.publish_connection("id-acme", name, &rules, &domains).await?;
    }
    Ok(ledger)
}
