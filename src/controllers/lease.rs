//! The Lease: of several controllers on one ledger, the one that holds it works and the others stand
//! by.
//!
//! Not by kube-lease-manager (0.13.1 was read): its holder works on while its renewals fail, a Lease
//! that was given up is noticed only when it would have run out, and of several who find it run out
//! each may take it. Here every write names the version that it replaces, the holder stops well
//! before anybody else may begin, and nobody compares the clocks of two machines.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{api::coordination::v1, apimachinery::pkg::apis::meta::v1::MicroTime};
use kube::{Api, Client, ResourceExt, api::PostParams};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use super::chain;

/// The Lease's name, in the operator's namespace. The chart makes it.
const NAME: &str = "rollcall-controller";
const PERIODS: Periods = Periods {
    theirs: Duration::from_secs(15),
    ours: Duration::from_secs(10),
    renew: Duration::from_secs(2),
    look: Duration::from_secs(1),
    answer: Duration::from_secs(5),
};

#[derive(Clone, Copy)]
struct Periods {
    /// For how long it is another's since it was last seen to change.
    theirs: Duration,
    /// For how long it is ours since the start of the last renewal that succeeded: shorter by what
    /// may be under way when it ends.
    ours: Duration,
    /// How often it is renewed.
    renew: Duration,
    /// How often whoever stands by looks at it, and a renewal that failed is tried again.
    look: Duration,
    /// How long the API server may take for an answer.
    answer: Duration,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("kubernetes: {0}")]
    Kube(#[from] kube::Error),
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
}

type Result<T> = std::result::Result<T, Error>;

/// One who works only while it holds the Lease.
pub struct Lease {
    api: Api<v1::Lease>,
    /// Never used before: who restarts doesn't take what it held for its own.
    me: String,
    periods: Periods,
}

/// The Lease, while it is ours.
struct Held {
    lease: v1::Lease,
    renewed: Instant,
}

/// A Lease of somebody else, as it was when it was first seen so.
struct Seen {
    version: Option<String>,
    since: Instant,
}

impl Lease {
    /// For the process called `name`, such as its pod.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        let me = format!("{name}_{}", Uuid::new_v4());
        Self { api: Api::namespaced(client, namespace), me, periods: PERIODS }
    }

    /// Do `work` while the Lease is ours, until `stop`, or until the work ends by itself. Whenever
    /// the Lease is lost, the work is dropped where it is. At the end the Lease is given up, so that
    /// another takes it at once.
    ///
    /// # Errors
    /// The work's own.
    pub async fn hold<F, E>(
        &self,
        stop: &CancellationToken,
        work: impl Fn() -> F,
    ) -> std::result::Result<(), E>
    where
        F: Future<Output = std::result::Result<(), E>>,
    {
        loop {
            let Some(mut held) = stop.run_until_cancelled(self.acquire()).await else {
                return Ok(());
            };
            info!(lease = NAME, "holding the lease: the controllers run here");
            tokio::select! {
                // first: whoever was frozen learns so before anything else
                biased;
                () = self.keep(&mut held) => {
                    warn!(lease = NAME, "lost the lease: the controllers stopped, and this one stands by");
                }
                ended = work() => {
                    if let Err(error) = self.give_up().await {
                        warn!(error = %chain(&error), lease = NAME, "lease not given up: others wait");
                    }
                    return ended;
                }
            }
        }
    }

    /// Returns once the Lease is ours.
    async fn acquire(&self) -> Held {
        let mut seen = None;
        loop {
            match self.try_acquire(&mut seen).await {
                Ok(Some(held)) => return held,
                Ok(None) => {}
                Err(error) => warn!(error = %chain(&error), lease = NAME, "lease not read"),
            }
            sleep(self.periods.look).await;
        }
    }

    async fn try_acquire(&self, seen: &mut Option<Seen>) -> Result<Option<Held>> {
        let mut lease = self.get().await?;
        // one that still says it is ours was taken by nobody since we lost it
        if holder(&lease) != Some(&self.me) && !self.is_free(&lease, seen, Instant::now()) {
            return Ok(None);
        }
        let now = MicroTime(Timestamp::now());
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(self.me.clone());
        spec.acquire_time = Some(now);
        spec.lease_duration_seconds = i32::try_from(self.periods.theirs.as_secs()).ok();
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        self.put(lease).await
    }

    /// Keep the Lease. Returns once it is lost.
    async fn keep(&self, held: &mut Held) {
        loop {
            // cut off in the middle, it may have been renewed: we give it up all the same
            let renewed = timeout_at(held.renewed + self.periods.ours, self.renew(held)).await;
            match renewed {
                Ok(Some(again)) => *held = again,
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Renew the Lease when it is time, however often that takes. `None`: it is another's.
    async fn renew(&self, held: &Held) -> Option<Held> {
        sleep(self.periods.renew).await;
        let mut lease = held.lease.clone();
        loop {
            let error = match self.put(lease.clone()).await {
                Ok(Some(held)) => return Some(held),
                // changed meanwhile: by an answer of ours that was lost, or by somebody else
                Ok(None) => match self.get().await {
                    Ok(now) if holder(&now) == Some(&self.me) => {
                        lease = now;
                        continue;
                    }
                    Ok(_) => return None,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            warn!(error = %chain(&error), lease = NAME, "lease not renewed");
            sleep(self.periods.look).await;
        }
    }

    /// Let others take it at once.
    async fn give_up(&self) -> Result<()> {
        // as it is now: a renewal may have been broken off after it was done
        let mut lease = self.get().await?;
        if holder(&lease) == Some(&self.me) {
            lease.spec.get_or_insert_default().holder_identity = None;
            self.put(lease).await?;
        }
        Ok(())
    }

    async fn get(&self) -> Result<v1::Lease> {
        self.answered(self.api.get(NAME)).await
    }

    /// Put `lease` in the place of the version it was made of. `None`: that isn't there any more.
    async fn put(&self, mut lease: v1::Lease) -> Result<Option<Held>> {
        let renewed = Instant::now();
        lease.spec.get_or_insert_default().renew_time = Some(MicroTime(Timestamp::now()));
        match self.answered(self.api.replace(NAME, &PostParams::default(), &lease)).await {
            Ok(lease) => Ok(Some(Held { lease, renewed })),
            Err(Error::Kube(kube::Error::Api(error))) if error.is_conflict() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn answered<T>(&self, question: impl Future<Output = kube::Result<T>>) -> Result<T> {
        let patience = self.periods.answer;
        Ok(timeout(patience, question).await.map_err(|_| Error::Silent(patience))??)
    }

    /// Whether nobody holds the Lease, or whoever does hasn't renewed it in time.
    fn is_free(&self, lease: &v1::Lease, seen: &mut Option<Seen>, now: Instant) -> bool {
        if holder(lease).is_none() {
            return true;
        }
        let version = lease.resource_version();
        match seen {
            Some(seen) if seen.version == version => {
                now.duration_since(seen.since) > self.periods.theirs
            }
            _ => {
                *seen = Some(Seen { version, since: now });
                false
            }
        }
    }
}

fn holder(lease: &v1::Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref().filter(|holder| !holder.is_empty())
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        future::pending,
        sync::{
            Arc, Mutex,
            atomic::{AtomicU32, Ordering},
        },
    };

    use axum::http::{Method, Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::{Value, json};
    use tokio_util::sync::CancellationToken;

    use super::*;

    /// Short, but not for a busy machine.
    const QUICK: Periods = Periods {
        theirs: Duration::from_secs(6),
        ours: Duration::from_secs(3),
        renew: Duration::from_millis(200),
        look: Duration::from_millis(100),
        answer: Duration::from_secs(1),
    };
    const WHILE: Duration = Duration::from_secs(1);

    /// The Lease on an API server.
    #[derive(Clone)]
    struct Server(Arc<Mutex<Value>>);

    impl Server {
        fn new() -> Self {
            Self(Arc::new(Mutex::new(
                json!({ "metadata": { "name": NAME, "resourceVersion": "1" } }),
            )))
        }

        fn answer(&self, body: Option<Value>) -> (StatusCode, Value) {
            let mut lease = self.0.lock().unwrap();
            let Some(new) = body else { return (StatusCode::OK, lease.clone()) };
            let version = lease["metadata"]["resourceVersion"].clone();
            if new["metadata"]["resourceVersion"] != version {
                let status = json!({ "status": "Failure", "reason": "Conflict", "code": 409 });
                return (StatusCode::CONFLICT, status);
            }
            *lease = new;
            let next = version.as_str().unwrap().parse::<u64>().unwrap() + 1;
            lease["metadata"]["resourceVersion"] = json!(next.to_string());
            (StatusCode::OK, lease.clone())
        }

        fn taken_by(&self, holder: &str) {
            let mut lease = self.answer(None).1;
            lease["spec"]["holderIdentity"] = json!(holder);
            assert_eq!(self.answer(Some(lease)).0, StatusCode::OK);
        }

        fn transitions(&self) -> i64 {
            self.0.lock().unwrap()["spec"]["leaseTransitions"].as_i64().unwrap_or(0)
        }

        /// Somebody who asks it, until `cut`.
        fn client(&self, cut: &CancellationToken) -> Lease {
            let (server, cut) = (self.clone(), cut.clone());
            let service = tower::service_fn(move |request: Request<Body>| {
                let (server, cut) = (server.clone(), cut.clone());
                async move {
                    if cut.is_cancelled() {
                        return pending().await;
                    }
                    let put = request.method() == Method::PUT;
                    let body = request.into_body().collect_bytes().await.unwrap();
                    let (code, body) =
                        server.answer(put.then(|| serde_json::from_slice(&body).unwrap()));
                    let body = Body::from(serde_json::to_vec(&body).unwrap());
                    Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
                }
            });
            let client = Client::new(service, "rollcall");
            Lease { periods: QUICK, ..Lease::new(client, "rollcall", "pod") }
        }
    }

    fn never() -> CancellationToken {
        CancellationToken::new()
    }

    #[tokio::test]
    async fn a_holder_that_is_cut_off_stops_before_another_begins() {
        let (server, cut) = (Server::new(), never());
        let (one, other) = (server.client(&cut), server.client(&never()));
        let mut held = one.acquire().await;
        let start = Instant::now();
        let lost = async {
            one.keep(&mut held).await;
            start.elapsed()
        };
        let taken = async {
            other.acquire().await;
            start.elapsed()
        };
        let cutting = async {
            sleep(WHILE).await;
            cut.cancel();
        };
        let (lost, taken, ()) = tokio::join!(lost, taken, cutting);
        assert!(lost > WHILE, "it was renewed until then: {lost:?}");
        let margin = QUICK.theirs - QUICK.ours - QUICK.answer;
        assert!(taken > lost + margin, "lost after {lost:?}, taken after {taken:?}");
    }

    #[tokio::test]
    async fn what_is_given_up_at_a_stop_is_taken_within_a_second() {
        let server = Server::new();
        let (one, other) = (server.client(&never()), server.client(&never()));
        let stop = CancellationToken::new();
        let work = || async {
            stop.cancelled().await;
            Ok::<_, Infallible>(())
        };
        let stopping = async {
            sleep(WHILE).await;
            stop.cancel();
        };
        let start = Instant::now();
        let (ended, (), _held) = tokio::join!(one.hold(&stop, work), stopping, other.acquire());
        ended.unwrap();
        assert!(start.elapsed() < QUICK.theirs, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn of_several_who_wait_for_one_that_died_exactly_one_takes_over() {
        let server = Server::new();
        drop(server.client(&never()).acquire().await);
        let waiting = async || {
            let lease = server.client(&never());
            let Ok(mut held) = timeout(QUICK.theirs * 2, lease.acquire()).await else {
                return false;
            };
            timeout(QUICK.theirs, lease.keep(&mut held)).await.expect_err("lost again");
            true
        };
        let (a, b, c) = tokio::join!(waiting(), waiting(), waiting());
        assert_eq!([a, b, c].into_iter().filter(|holds| *holds).count(), 1);
        assert_eq!(server.transitions(), 2);
    }

    #[tokio::test]
    async fn work_is_dropped_where_it_is_when_the_lease_is_lost_and_begun_anew_when_it_is_back() {
        struct Working<'a>(&'a AtomicU32);
        impl Drop for Working<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let (server, begun, dropped) = (Server::new(), AtomicU32::new(0), AtomicU32::new(0));
        let lease = server.client(&never());
        let work = || async {
            begun.fetch_add(1, Ordering::Relaxed);
            let _working = Working(&dropped);
            pending::<std::result::Result<(), Infallible>>().await
        };
        let stop = never();
        let counts = || (begun.load(Ordering::Relaxed), dropped.load(Ordering::Relaxed));
        let watching = async {
            sleep(WHILE).await;
            assert_eq!(counts(), (1, 0));
            server.taken_by("somebody");
            sleep(QUICK.renew + QUICK.ours).await;
            assert_eq!(counts(), (1, 1));
            sleep(QUICK.theirs * 2).await;
            assert_eq!(counts(), (2, 1));
        };
        tokio::select! {
            _ = lease.hold(&stop, work) => panic!("the work never ends"),
            () = watching => {}
        }
    }
}
