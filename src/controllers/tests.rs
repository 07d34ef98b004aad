//! How the controllers end, whatever the API server does meanwhile; and what all of them share.

use std::convert::Infallible;

use axum::http::{Method, Request, Response};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures::future::pending;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver},
    task::JoinHandle,
    time::timeout,
};

use super::*;
use crate::ledger::tests::ledger;

const PATIENCE: Duration = Duration::from_secs(60);

/// Controllers in front of an API server that has one VerifiedDomain, and answers no write.
struct Stuck {
    running: JoinHandle<Result<()>>,
    stop: CancellationToken,
    /// Tells when a pass writes, and when it no longer waits for the answer.
    passes: UnboundedReceiver<&'static str>,
    _folder: tempfile::TempDir,
}

impl Stuck {
    /// `silent`: a kind that it doesn't list either.
    async fn start(silent: &'static str) -> Self {
        let (tell, passes) = mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: Request<Body>| {
            let tell = tell.clone();
            async move {
                if request.method() != Method::GET {
                    let _told = Waits::new(tell);
                    return pending().await;
                }
                let path = request.uri().path().rsplit('/').next().unwrap_or_default();
                let watch = request.uri().query().is_some_and(|query| query.contains("watch="));
                if watch || path == silent {
                    return pending().await;
                }
                let body = serde_json::to_vec(&answer(path)).unwrap();
                Ok::<_, Infallible>(Response::new(Body::from(body)))
            }
        });
        let client = Client::new(service, "rollcall");
        let (folder, ledger) = ledger().await;
        let settings = Settings {
            public_url: "https://login.example".into(),
            namespace: "rollcall".into(),
            dns: dns::Settings {
                mode: dns::Mode::Recursive { servers: vec![([127, 0, 0, 1], 1).into()], tls: None },
                trust_anchors: None,
            },
            key: KeySlot::default(),
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn({
            let stop = stop.clone();
            async move { run(client, ledger, settings, Metrics::new(), &Ready::default(), stop).await }
        });
        Self { running, stop, passes, _folder: folder }
    }

    async fn told(&mut self) -> &'static str {
        timeout(PATIENCE, self.passes.recv()).await.expect("no pass").expect("no API server")
    }
}

/// A write that waits for its answer.
struct Waits(mpsc::UnboundedSender<&'static str>);

impl Waits {
    fn new(tell: mpsc::UnboundedSender<&'static str>) -> Self {
        let _ = tell.send("waits");
        Self(tell)
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        let _ = self.0.send("gone");
    }
}

fn answer(path: &str) -> Value {
    let key = BASE64_STANDARD.encode([7; 32]);
    let items = match path {
        "namespaces" => json!([{ "metadata": { "name": "acme", "uid": "n" } }]),
        "verifieddomains" => json!([{
            "metadata": { "name": "d", "namespace": "acme", "uid": "d", "generation": 1 },
            "spec": { "domain": "acme.com" },
        }]),
        "rollcall-installation-key" => {
            return json!({ "metadata": { "name": path }, "data": { "key": key } });
        }
        _ => json!([]),
    };
    json!({ "metadata": { "resourceVersion": "1" }, "items": items })
}

#[tokio::test]
async fn a_pass_that_hangs_does_not_hold_the_stop() {
    let mut stuck = Stuck::start("").await;
    assert_eq!(stuck.told().await, "waits");
    stuck.stop.cancel();
    let stopped = timeout(GRACE * 2, stuck.running).await.expect("the stop is held");
    stopped.unwrap().unwrap();
    assert_eq!(stuck.passes.recv().await, Some("gone"));
}

#[tokio::test]
async fn a_cache_that_is_not_filled_yet_does_not_hold_the_stop_at_all() {
    let mut stuck = Stuck::start("rolebindings").await;
    assert_eq!(stuck.told().await, "waits");
    stuck.stop.cancel();
    let stopped = timeout(GRACE / 2, stuck.running).await.expect("the stop is held");
    stopped.unwrap().unwrap();
}

#[tokio::test]
async fn controllers_that_are_dropped_leave_no_pass_behind() {
    let mut stuck = Stuck::start("").await;
    assert_eq!(stuck.told().await, "waits");
    stuck.running.abort();
    assert_eq!(stuck.told().await, "gone");
    assert!(stuck.running.await.unwrap_err().is_cancelled());
}

#[test]
fn jitter_stays_within_a_tenth() {
    for _ in 0..1000 {
        let delay = jittered(Duration::from_secs(100)).as_secs_f64();
        assert!((90.0..=110.0).contains(&delay), "{delay}");
    }
}
