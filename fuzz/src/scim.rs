//! What a company IdP sends, or who has its token. The first line of an input says what it is, and
//! the rest is that: a filter, a query, or a body.

use std::sync::{Arc, LazyLock, Mutex};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use jiff::Timestamp;
use rollcall::{
    fetch::Fetchers,
    gateway::{self, Gateway},
    keys::KeySlot,
    ledger::Ledger,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;
use uuid::Uuid;

/// How many inputs an organization gets: no more than it may send at once.
const INPUTS: u32 = 300;
/// A token, and its SHA-256.
const TOKEN: &str = "fuzz";
const HASH: [u128; 2] =
    [0x93850b70_7585e404_e4951a3d_dc1f05a3, 0x4b3d4f5f_c081d616_f46d8a2e_8f1c8e68];

static WORLD: LazyLock<World> = LazyLock::new(World::new);

struct World {
    runtime: Runtime,
    router: Router,
    ledger: Ledger,
    directory: Mutex<Directory>,
    _folder: TempDir,
}

/// That of an organization, with a user and a group, for some inputs.
#[derive(Clone, Default)]
struct Directory {
    number: u32,
    inputs_left: u32,
    user: String,
    group: String,
}

/// What the input is answered with; `None` where it asks nothing. Nothing makes the server fail,
/// and what it keeps it gives back, and takes again.
pub fn scim(input: &[u8]) -> Option<StatusCode> {
    let (what, rest) = std::str::from_utf8(input).ok()?.split_once('\n')?;
    let world = &*WORLD;
    world.runtime.block_on(world.send(what, rest))
}

impl World {
    fn new() -> Self {
        // another may have installed it
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = runtime.block_on(async {
            Ledger::open(&folder.path().join("ledger.db").into()).await.expect("a ledger")
        });
        let url = "https://gateway.example".parse().expect("it is a URL");
        let fetchers = Fetchers::new().expect("trust roots");
        let gateway =
            Gateway::new(ledger.clone(), url, Arc::new(|_| {}), KeySlot::default(), fetchers);
        let router = gateway::router(gateway);
        Self { runtime, router, ledger, directory: Mutex::default(), _folder: folder }
    }

    async fn send(&self, what: &str, rest: &str) -> Option<StatusCode> {
        let directory = self.directory().await;
        let (user, group) =
            (format!("/Users/{}", directory.user), format!("/Groups/{}", directory.group));
        let search = || json!({"filter": rest}).to_string();
        let body = || rest.replace("{user}", &directory.user).replace("{group}", &directory.group);
        let (method, path, body) = match what {
            "users" => ("POST", "/Users/.search", search()),
            "groups" => ("POST", "/Groups/.search", search()),
            "everything" => ("POST", "/.search", search()),
            "query" => ("GET", &*format!("/Users?{rest}"), String::new()),
            "post user" => ("POST", "/Users", body()),
            "put user" => ("PUT", &*user, body()),
            "patch user" => ("PATCH", &*user, body()),
            "post group" => ("POST", "/Groups", body()),
            "put group" => ("PUT", &*group, body()),
            "patch group" => ("PATCH", &*group, body()),
            _ => return None,
        };
        let (status, _, answer) = self.ask(&directory, method, path, body).await?;
        assert!(!answer.is_null() || status == StatusCode::NO_CONTENT, "{status}");
        if status.is_success() && what.contains(' ') {
            let id = answer["id"].as_str().unwrap_or(&directory.group);
            let list = if what.ends_with("user") { "/Users" } else { "/Groups" };
            self.gives_back(&directory, &format!("{list}/{id}")).await;
        }
        Some(status)
    }

    /// What is read can be written as it is, and then changes nothing any more.
    async fn gives_back(&self, directory: &Directory, path: &str) {
        let ask = async |method, body| self.ask(directory, method, path, body).await.expect("sent");
        let (status, _, kept) = ask("GET", String::new()).await;
        assert_eq!(status, StatusCode::OK);
        let (status, first, answer) = ask("PUT", kept.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{answer} to {kept}");
        let (_, second, answer) = ask("PUT", answer.to_string()).await;
        assert_eq!(first["etag"], second["etag"], "{answer}");
    }

    async fn ask(
        &self,
        directory: &Directory,
        method: &str,
        path: &str,
        body: String,
    ) -> Option<(StatusCode, HeaderMap, Value)> {
        let request = Request::builder()
            .method(method)
            .uri(format!("/scim/v2/o{}/okta{path}", directory.number))
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .body(Body::from(body))
            .ok()?;
        let response = self.router.clone().oneshot(request).await.expect("it can't fail");
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("it is in memory");
        let answer = match body.as_ref() {
            b"" => Value::Null,
            body => serde_json::from_slice(body).expect("answers are JSON"),
        };
        let status = head.status;
        assert!(!status.is_server_error(), "{status}: {answer}");
        assert_ne!(status, StatusCode::UNAUTHORIZED);
        assert_ne!(status, StatusCode::TOO_MANY_REQUESTS);
        Some((status, head.headers, answer))
    }

    /// The directory for the next input.
    async fn directory(&self) -> Directory {
        let mut directory = self.directory.lock().expect("one thread").clone();
        if directory.inputs_left == 0 {
            directory = self.make(directory.number + 1).await;
        }
        directory.inputs_left -= 1;
        *self.directory.lock().expect("one thread") = directory.clone();
        directory
    }

    async fn make(&self, number: u32) -> Directory {
        let (name, now) = (format!("o{number}"), Timestamp::now());
        self.ledger.name_organization(&name, &name, now).await.expect("an organization");
        let made = self.ledger.make_directory(&name, "okta", now).await.expect("a directory");
        let hash = HASH.map(u128::to_be_bytes).concat();
        self.ledger.replace_token(made.id, Uuid::now_v7(), &hash, now).await.expect("a token");
        let mut directory = Directory { number, inputs_left: INPUTS, ..Directory::default() };
        let user = json!({"userName": "ada@acme.example",
            "emails": [{"value": "ada@acme.example", "type": "work", "primary": true}]});
        let made = self.ask(&directory, "POST", "/Users", user.to_string()).await.expect("sent");
        directory.user = made.2["id"].as_str().expect("an id").to_owned();
        let group = json!({"displayName": "Engines", "members": [{"value": directory.user}]});
        let made = self.ask(&directory, "POST", "/Groups", group.to_string()).await.expect("sent");
        directory.group = made.2["id"].as_str().expect("an id").to_owned();
        directory
    }
}
