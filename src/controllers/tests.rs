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
use crate::{
    api::meta,
    ledger::{
        Selector,
        fixture::{ACME, Acme, group},
        tests::ledger,
    },
};

const PATIENCE: Duration = Duration::from_secs(60);
/// When the binding that there is ends.
const ENDS: Duration = Duration::from_secs(10);

/// Controllers in front of an API server that leaves questions unanswered.
struct Stuck {
    running: JoinHandle<Result<()>>,
    stop: CancellationToken,
    /// What is asked that has no answer: the last part of its path. Then, who waits no longer.
    asked: UnboundedReceiver<String>,
}

impl Stuck {
    /// On this ledger. No write is answered, nor who asks for something of the name `silent`.
    fn start(ledger: &Ledger, silent: &'static str) -> Self {
        let (tell, asked) = mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: Request<Body>| {
            let tell = tell.clone();
            async move {
                let name = request.uri().path().rsplit('/').next().unwrap_or_default();
                if request.uri().query().is_some_and(|query| query.contains("watch=")) {
                    return pending().await;
                }
                if request.method() != Method::GET || name == silent {
                    let _waits = Waits::new(name, tell);
                    return pending().await;
                }
                let body = serde_json::to_vec(&answer(name)).unwrap();
                Ok::<_, Infallible>(Response::new(Body::from(body)))
            }
        });
        let client = Client::new(service, "rollcall");
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
        let (ledger, until) = (ledger.clone(), stop.clone());
        let running = tokio::spawn(async move {
            run(client, ledger, settings, Metrics::new(), &Ready::default(), until).await
        });
        Self { running, stop, asked }
    }

    /// Returns once this was asked.
    async fn hears(&mut self, what: &str) {
        let heard =
            async { while self.asked.recv().await.expect("the API server is gone") != what {} };
        timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("{what} wasn't asked"));
    }
}

/// Somebody who waits for an answer.
struct Waits(mpsc::UnboundedSender<String>);

impl Waits {
    fn new(name: &str, tell: mpsc::UnboundedSender<String>) -> Self {
        let _ = tell.send(name.to_owned()); // the test may be over
        Self(tell)
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        let _ = self.0.send(GONE.to_owned());
    }
}

/// What is told of who waits no longer.
const GONE: &str = "gone";

fn answer(name: &str) -> Value {
    let items = match name {
        "namespaces" => json!([{
            "metadata": {
                "name": "acme", "uid": "n", "annotations": { meta::ORGANIZATION_ID: ACME },
            },
        }, {
            "metadata": {
                "name": "acme-web", "uid": "w", "labels": { meta::ORGANIZATION: "acme" },
            },
        }]),
        "identityclasses" => json!([{
            "metadata": { "name": "c", "annotations": { meta::DEFAULT_CLASS: "true" } },
            "spec": {
                "provider": { "builtin": {} }, "namespaceSelector": {},
                "grantableClusterRoles": ["view"],
            },
        }]),
        "verifieddomains" => json!([{
            "metadata": { "name": "domain", "namespace": "acme", "uid": "d", "generation": 1 },
            "spec": { "domain": "acme.com" },
        }]),
        "directoryteams" => json!([{
            "metadata": {
                "name": "staff", "namespace": "acme", "uid": "t", "generation": 1,
                "finalizers": [FINALIZER],
            },
            "spec": {
                "directorySyncRef": { "name": "okta" }, "group": { "displayName": "Staff" },
                "permissions": [
                    { "name": "a", "clusterRole": "view", "cluster": true },
                    { "name": "b", "clusterRole": "view" },
                ],
            },
        }]),
        "rolebindings" => json!([{
            "metadata": {
                "name": "ending", "namespace": "acme-web", "uid": "b",
                "labels": {
                    meta::MANAGED_BY: MANAGER, meta::ORGANIZATION: "acme", meta::TEAM: "staff",
                    meta::OWNER_UID: "t",
                },
                "annotations": { meta::EXPIRES_AT: (Timestamp::now() + ENDS).to_string() },
            },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view",
            },
        }]),
        "rollcall-installation-key" => {
            let key = BASE64_STANDARD.encode([7; 32]);
            return json!({ "metadata": { "name": name }, "data": { "key": key } });
        }
        _ => json!([]),
    };
    json!({ "metadata": { "resourceVersion": "1" }, "items": items })
}

#[tokio::test]
async fn a_pass_that_hangs_does_not_hold_the_stop() {
    let (_folder, ledger) = ledger().await;
    let mut stuck = Stuck::start(&ledger, "");
    stuck.hears("domain").await;
    stuck.stop.cancel();
    let stopped = timeout(GRACE * 2, stuck.running).await.expect("the stop is held");
    stopped.unwrap().unwrap();
}

#[tokio::test]
async fn a_cache_that_is_not_filled_yet_does_not_hold_the_stop_at_all() {
    let (_folder, ledger) = ledger().await;
    let mut stuck = Stuck::start(&ledger, "rolebindings");
    stuck.hears("domain").await;
    stuck.stop.cancel();
    let stopped = timeout(GRACE / 2, stuck.running).await.expect("the stop is held");
    stopped.unwrap().unwrap();
}

#[tokio::test]
async fn controllers_that_are_dropped_leave_no_pass_behind() {
    let (_folder, ledger) = ledger().await;
    let mut stuck = Stuck::start(&ledger, "");
    stuck.hears("domain").await;
    stuck.running.abort();
    stuck.hears(GONE).await;
    assert!(stuck.running.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn nobody_stays_in_a_team_while_the_api_server_is_asked_for_its_roles() {
    let acme = Acme::new().await;
    let group = group("Staff");
    acme.ledger.create_group(&acme.scim, &group, &[acme.ada], acme.now).await.unwrap();
    let staff = Selector::DisplayName("Staff".into());
    acme.ledger.put_team(ACME, "staff", acme.directory, &staff, true).await.unwrap();
    assert_eq!(acme.ledger.teams_of_person(acme.ada).await.unwrap(), ["acme:staff"]);
    let mut stuck = Stuck::start(&acme.ledger, "view");
    stuck.hears("view").await;
    assert!(acme.ledger.teams_of_person(acme.ada).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_permission_ends_at_its_time_also_while_a_pass_over_its_team_hangs() {
    let acme = Acme::new().await;
    let mut stuck = Stuck::start(&acme.ledger, "view");
    stuck.hears("view").await;
    // its pass hangs from now on, for longer than this
    let late = ENDS + Duration::from_secs(5);
    timeout(late, stuck.hears("ending")).await.expect("it isn't deleted");
}

#[test]
fn jitter_stays_within_a_tenth() {
    for _ in 0..1000 {
        let delay = jittered(Duration::from_secs(100)).as_secs_f64();
        assert!((90.0..=110.0).contains(&delay), "{delay}");
    }
}

#[tokio::test]
async fn all_who_wait_for_a_cache_go_on_once_it_is_filled() {
    let (cache, mut writer) = reflector::store::<DirectoryTeam>();
    let wait = |cache: Store<_>| tokio::spawn(async move { filled(&cache).await });
    let mut waiting = [0; 3].map(|_| wait(cache.clone()));
    for waits in &mut waiting {
        assert!(timeout(UNTOLD / 2, waits).await.is_err(), "it isn't filled yet");
    }
    writer.apply_watcher_event(&watcher::Event::Init);
    writer.apply_watcher_event(&watcher::Event::InitDone);
    for waits in waiting {
        timeout(PATIENCE / 10, waits).await.expect("it is filled").unwrap().unwrap();
    }
}
