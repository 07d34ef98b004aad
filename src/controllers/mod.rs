//! The Kubernetes side: one file per kind, all of the same shape. `run` wires the watches,
//! `reconcile` observes, decides (a pure function), acts and records.

mod binding_index;
mod bindings;
mod claimants;
mod connection_refs;
mod connection_status;
mod crash;
mod directory_sync;
mod directory_team;
mod ends;
mod failures;
mod identity_class;
mod idp_metadata;
mod imports;
mod installation;
mod lease;
mod nudges;
mod pace;
mod removals;
mod role_bindings;
mod scim_token;
mod secrets;
mod sso_connection;
mod status;
mod sweep;
mod team_groups;
mod team_status;
mod tenancy;
#[cfg(test)]
mod tests;
mod verified_domain;

pub use lease::Lease;

use std::{
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, Stream};
use jiff::Timestamp;
use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::Time};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Preconditions},
    core::object::HasStatus,
    runtime::{
        Controller, Predicate, PredicateConfig, WatchStreamExt,
        controller::{self, Action},
        finalizer::{self, finalizer},
        predicates,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::{
    binding_index::BindingIndex,
    claimants::Claimants,
    failures::Failures,
    installation::Installation,
    nudges::{Nudge, Nudges},
    team_groups::TeamGroups,
    tenancy::Tenancy,
};
use crate::{
    api::{DirectorySync, DirectoryTeam, SsoConnection, Status, VerifiedDomain},
    dns,
    fetch::Fetchers,
    health::Ready,
    keys::KeySlot,
    ledger::{self, Ledger, Topic},
    telemetry::Metrics,
};

/// The field manager, the value of `managed-by`, the reporter of events.
pub const MANAGER: &str = "rollcall";
/// What keeps an object until what it did is undone.
const FINALIZER: &str = "rollcall.dev/cleanup";

/// How long passes under way may take to end after the stop: a third of what Kubernetes gives a pod
/// by default. One that takes longer is cut off, which it bears as it would a crash.
const GRACE: Duration = Duration::from_secs(10);
/// How long one pass over an object may take; kube's client alone would retry for minutes.
const DEADLINE: Duration = Duration::from_secs(60);
/// How many objects of a kind are worked on at once: passes mostly wait for others.
const CONCURRENCY: u16 = 64;
/// How many objects a list asks for at once. Until it is stripped, an object takes many times the
/// memory that the cache will give it; what a page took, the process keeps.
const PAGE: u32 = 100;
/// How soon who waits for a cache looks again by themselves.
const UNTOLD: Duration = Duration::from_millis(100);
/// How often an object is looked at where nothing is known to change.
const RESYNC: Duration = Duration::from_secs(600);

/// What the controllers are told by whoever starts them.
#[derive(Clone)]
pub struct Settings {
    /// Where the company IdPs reach the gateway; without a trailing slash.
    pub public_url: String,
    /// The operator's own namespace.
    pub namespace: String,
    /// How domains are looked up.
    pub dns: dns::Settings,
    /// Where the installation key is put once it is known.
    pub key: KeySlot,
}

/// What makes a pass meaningless. It changes no verdict; the next pass comes with back-off.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("kubernetes: {0}")]
    Kube(#[from] kube::Error),
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    #[error(transparent)]
    Random(#[from] crate::keys::Unspecified),
    #[error("trust roots: {0}")]
    TrustRoots(#[source] reqwest::Error),
    #[error("dns: {0}")]
    Dns(#[from] dns::SettingsError),
    /// The watch that should have filled a cache ended first.
    #[error("a cache was never filled")]
    Cache,
    /// What was worked out on a thread of its own was not: a panic.
    #[error("not worked out: {0}")]
    Broken(#[source] tokio::task::JoinError),
    #[error("not done within {} s", DEADLINE.as_secs())]
    Deadline,
    // boxed, for it holds this very type
    #[error("finalizer: {0}")]
    Finalizer(#[source] Box<finalizer::Error<Error>>),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A fixed set of names, fit for a metric label.
    fn name(&self) -> &'static str {
        match self {
            Error::Kube(_) => "kube",
            Error::Ledger(_) => "ledger",
            Error::Random(_) => "random",
            Error::TrustRoots(_) => "trust_roots",
            Error::Dns(_) => "dns",
            Error::Cache => "cache",
            Error::Broken(_) => "broken",
            Error::Deadline => "deadline",
            Error::Finalizer(inner) => match &**inner {
                finalizer::Error::ApplyFailed(e) | finalizer::Error::CleanupFailed(e) => e.name(),
                _ => "finalizer",
            },
        }
    }
}

/// What every reconciler is handed.
struct Context {
    client: Client,
    ledger: Ledger,
    settings: Settings,
    metrics: Metrics,
    nudges: Nudges,
    tenancy: Tenancy,
    installation: Installation,
    status: status::Writer,
    failures: Failures,
    examiner: dns::Examiner,
    looks: verified_domain::Looks,
    fetchers: Fetchers,
    // the caches of the controllers
    domains: Store<VerifiedDomain>,
    connections: Store<SsoConnection>,
    syncs: Store<DirectorySync>,
    teams: Store<DirectoryTeam>,
    claimants: Claimants,
    bindings: BindingIndex,
    team_groups: TeamGroups,
}

impl Context {
    /// Returns once the caches hold all that there is.
    async fn filled(&self) -> Result<()> {
        self.bindings.ready().await;
        tokio::try_join!(
            filled(&self.domains),
            filled(&self.connections),
            filled(&self.syncs),
            filled(&self.teams),
        )
        .map(drop)
    }
}

/// Returns once the cache holds all that there is. Of several who wait, kube's own wait wakes only
/// the one that was polled last: the others look again after a moment.
async fn filled<K: Kind>(cache: &Store<K>) -> Result<()> {
    loop {
        if let Ok(ready) = tokio::time::timeout(UNTOLD, cache.wait_until_ready()).await {
            return ready.map_err(|_| Error::Cache);
        }
    }
}

/// Run all controllers until `stop`. Returns once every pass under way has ended, or [`GRACE`] later.
/// Dropped, it ends them all where they are.
///
/// `ready` is told when the first passes begin.
///
/// # Errors
/// What must stand before the first pass: the caches of namespaces and classes, the resolver.
pub async fn run(
    client: Client,
    ledger: Ledger,
    settings: Settings,
    metrics: Metrics,
    ready: &Ready,
    stop: CancellationToken,
) -> Result<()> {
    // what is spawned ends with this, too
    let stop = stop.child_token();
    let _ends = stop.clone().drop_guard();
    let nudges = Nudges::new();
    let tenancy = tenancy::watch(&client, &ledger, &nudges, &stop);
    let Some(tenancy) = stop.run_until_cancelled(tenancy).await else { return Ok(()) };
    let (domains, domains_writer) = reflector::store();
    let (connections, connections_writer) = reflector::store();
    let (syncs, syncs_writer) = reflector::store();
    let (teams, teams_writer) = reflector::store();
    let (looks, looked) = verified_domain::Looks::new(stop.clone());
    let ctx = Arc::new(Context {
        looks,
        examiner: dns::Examiner::new(&settings.dns)?.observed_by(Arc::new({
            let metrics = metrics.clone();
            move |answer: dns::Answer| metrics.looked(answer.label())
        })),
        fetchers: Fetchers::new().map_err(Error::TrustRoots)?,
        status: status::Writer::new(client.clone()),
        installation: Installation::new(
            client.clone(),
            ledger.clone(),
            &settings.namespace,
            settings.key.clone(),
        ),
        failures: Failures::default(),
        tenancy: tenancy?,
        nudges,
        client,
        ledger,
        settings,
        metrics,
        claimants: Claimants::new(domains.clone()),
        bindings: BindingIndex::new(),
        team_groups: TeamGroups::default(),
        domains,
        connections,
        syncs,
        teams,
    });
    let until = || stop.clone();
    // the first look, so that nothing is said to stall while the key only has to be read
    let Some(key) = stop.run_until_cancelled(ctx.installation.look()).await else { return Ok(()) };
    key?;
    ready.set();
    let controllers = async {
        tokio::join!(
            ctx.nudges.follow_ledger(&ctx.ledger, until()),
            ctx.installation.keep_looking(&ctx.nudges, until()),
            sweep::run(&ctx, until()),
            ends::run(&ctx, until()),
            identity_class::run(ctx.clone(), until()),
            verified_domain::run(ctx.clone(), domains_writer, looked, until()),
            sso_connection::run(ctx.clone(), connections_writer, until()),
            directory_sync::run(ctx.clone(), syncs_writer, until()),
            directory_team::run(ctx.clone(), teams_writer, until()),
        )
    };
    tokio::select! {
        _ = controllers => {}
        () = patience(&ctx, &stop) => warn!("stopped in the middle of passes"),
    }
    Ok(())
}

/// Returns once the stop waits no longer for passes under way.
async fn patience(ctx: &Context, stop: &CancellationToken) {
    stop.cancelled().await;
    // nobody fills the caches any more: what waits for one would wait for good
    if ctx.filled().now_or_never().is_some_and(|filled| filled.is_ok()) {
        tokio::time::sleep(GRACE).await;
    }
}

/// A kind that is reconciled here.
trait Kind:
    Resource<DynamicType = ()>
    + HasStatus<Status: Status>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Its name in metrics.
    const NAME: &'static str;
}

/// What happens to the objects of a kind, stripped of what only fills memory.
fn events<K: Kind>(
    ctx: &Context,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + use<K> {
    let config = watcher::Config::default().page_size(PAGE);
    watcher(Api::<K>::all(ctx.client.clone()), config).default_backoff().modify(strip)
}

/// The controller of a kind: by a stream and a cache of its own, and without the echoes of its own
/// status writes.
fn controller<K: Kind>(
    ctx: &Context,
    (store, writer): (Store<K>, reflector::store::Writer<K>),
    wakes: impl Fn(&Nudge, &K) -> bool + Send + 'static,
    stop: CancellationToken,
) -> Controller<K> {
    let objects = store.clone();
    let concerned = move |nudge: &Nudge| match nudge {
        // there are many of these, and they concern teams alone
        Nudge::Ledger { topic: Topic::Group | Topic::Members, .. } => vec![],
        _ => objects.state_filter(|object| wakes(nudge, object)),
    };
    controller_on(ctx, events(ctx), (store, writer), concerned, stop)
}

/// The same, on the kind's `events`, where `concerned` knows better than to ask each object whether
/// a nudge wakes it.
fn controller_on<K: Kind>(
    ctx: &Context,
    events: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
    (store, writer): (Store<K>, reflector::store::Writer<K>),
    concerned: impl Fn(&Nudge) -> Vec<Arc<K>> + Send + 'static,
    stop: CancellationToken,
) -> Controller<K> {
    let changed = predicates::generation
        .combine(predicates::finalizers)
        .combine(predicates::annotations)
        .combine(predicates::labels);
    let stream = events
        .reflect(writer)
        .applied_objects()
        .predicate_filter(changed, PredicateConfig::default());
    let config = controller::Config::default().concurrency(CONCURRENCY);
    Controller::for_stream(stream, store)
        .with_config(config)
        .reconcile_on(ctx.nudges.objects(concerned))
        .graceful_shutdown_on(stop.cancelled_owned())
}

/// managedFields and the last applied configuration are most of what a cache would hold.
fn strip<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None; // clearing the list would keep its place
    object.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
}

/// Run one pass over an object: within the deadline, and counted.
async fn pass<K, F>(object: &Arc<K>, ctx: &Context, work: F) -> Result<Action>
where
    K: Kind,
    F: Future<Output = Result<Action>>,
{
    let start = Instant::now();
    let result = tokio::time::timeout(DEADLINE, work).await.unwrap_or(Err(Error::Deadline));
    let outcome = result.as_ref().err().map_or("ok", Error::name);
    ctx.metrics.reconciled(K::NAME, outcome, start.elapsed());
    if result.is_ok() {
        ctx.failures.forget(&key(object.as_ref()));
    }
    result
}

/// Apply or clean up, whichever the object asks for; it stays until the clean-up has succeeded.
/// Without the installation key nothing is applied, and the object says so.
async fn with_finalizer<K, A, C>(
    object: Arc<K>,
    ctx: &Context,
    apply: impl FnOnce(Arc<K>) -> A,
    cleanup: impl FnOnce(Arc<K>) -> C,
) -> Result<Action>
where
    K: Kind + Serialize + Resource<Scope = NamespaceResourceScope>,
    A: Future<Output = Result<Action>>,
    C: Future<Output = Result<()>>,
{
    let api = Api::<K>::namespaced(ctx.client.clone(), &namespace(object.as_ref()));
    let work = finalizer(&api, FINALIZER, object.clone(), |event| async {
        match event {
            finalizer::Event::Apply(object) => match ctx.installation.missing() {
                None => apply(object).await,
                Some(message) => {
                    ctx.status.stall(object.as_ref(), message).await?;
                    Ok(Action::await_change())
                }
            },
            finalizer::Event::Cleanup(object) => {
                cleanup(object).await.map(|()| Action::await_change())
            }
        }
    });
    pass(&object, ctx, async { work.await.map_err(|e| Error::Finalizer(Box::new(e))) }).await
}

/// Only Kubernetes or the ledger failed us: each object waits by itself, longer each time.
fn error_policy<K: Kind>(object: Arc<K>, _: &Error, ctx: Arc<Context>) -> Action {
    Action::requeue(jittered(ctx.failures.count(key(object.as_ref()))))
}

/// Log each result; a reconciler's own error has an object to name.
async fn report<K: Kind>(
    result: Result<(ObjectRef<K>, Action), controller::Error<Error, watcher::Error>>,
) {
    use controller::Error as E;
    match result {
        Ok((object, action)) => debug!(%object, ?action, "reconciled"),
        // deleted while it was queued: expected, not an error
        Err(E::ObjectNotFound(object)) => debug!(%object, "gone before its turn"),
        Err(E::ReconcilerFailed(error, object)) => {
            warn!(error = %chain(&error), kind = K::NAME, %object, "reconcile failed");
        }
        Err(error) => warn!(error = %chain(&error), kind = K::NAME, "watch failed"),
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

fn key<K: Kind>(object: &K) -> String {
    format!("{}/{}/{}", K::NAME, namespace(object), object.name_any())
}

fn namespace<K: Resource>(object: &K) -> String {
    object.meta().namespace.clone().unwrap_or_default()
}

/// `delay`, a tenth more or less, so that what began together doesn't stay together.
fn jittered(delay: Duration) -> Duration {
    delay.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// The time until `at`, none if it is past.
fn until(at: Timestamp, now: Timestamp) -> Duration {
    at.duration_since(now).try_into().unwrap_or_default()
}

/// Delete the very object that was seen; one that is gone already is fine.
async fn delete_seen<K>(api: &Api<K>, object: &K) -> kube::Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: object.uid(),
            resource_version: object.resource_version(),
        }),
        ..DeleteParams::default()
    };
    match api.delete(&object.name_any(), &params).await {
        Err(kube::Error::Api(error)) if error.is_not_found() => Ok(()),
        other => other.map(drop),
    }
}

/// Whether an object is on its way out.
fn is_deleted<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_some()
}

/// Older objects come first; the name decides between those of one second.
fn age<K: Resource>(object: &K) -> (Option<Time>, String) {
    (object.meta().creation_timestamp.clone(), object.name_any())
}
