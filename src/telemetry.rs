//! Logs and metrics.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text::encode},
    metrics::{counter::Counter, family::Family, gauge::ConstGauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use tracing_subscriber::EnvFilter;

/// Log to standard error, as JSON, at `RUST_LOG`'s levels (default: info).
pub fn log() {
    // kube's own warnings repeat what we report with more context
    let levels = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,kube_client=error,hickory=error"));
    tracing_subscriber::fmt().json().with_writer(std::io::stderr).with_env_filter(levels).init();
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reconcile {
    kind: &'static str,
    /// `ok`, or the name of an error variant.
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Look {
    /// A variant of `dns::Answer`.
    answer: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    /// The route's template, never a path with ids.
    route: String,
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct State {
    state: String,
}

/// How many domains there are in each state. Counted at each scrape.
type DomainsByState = dyn Fn() -> BTreeMap<String, i64> + Send + Sync;

#[derive(Clone, Default)]
struct Domains(Arc<Mutex<Option<Box<DomainsByState>>>>);

impl fmt::Debug for Domains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Domains")
    }
}

impl Collector for Domains {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = counted.as_ref() else { return Ok(()) };
        let gauge = ConstGauge::new(0_i64);
        let mut family = encoder.encode_descriptor(
            "domains",
            "VerifiedDomains by the reason of Verified",
            None,
            gauge.metric_type(),
        )?;
        for (state, number) in count() {
            let labels = State { state };
            ConstGauge::new(number).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Histograms that are all made alike.
type Timings<Labels> = Family<Labels, Histogram, fn() -> Histogram>;

struct Families {
    registry: Registry,
    domains: Domains,
    reconciles: Family<Reconcile, Counter>,
    reconcile_seconds: Timings<Kind>,
    looks: Family<Look, Counter>,
    requests: Family<Request, Counter>,
    request_seconds: Timings<Route>,
}

/// The metrics of this process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("rollcall");
        let reconciles = Family::default();
        registry.register("reconciles", "Reconciliations by kind and outcome", reconciles.clone());
        let reconcile_seconds = Timings::new_with_constructor(|| {
            Histogram::new([0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0])
        });
        registry.register_with_unit(
            "reconcile_duration",
            "Time taken by a reconciliation",
            Unit::Seconds,
            reconcile_seconds.clone(),
        );
        let looks = Family::default();
        let help = "Looks at the records that prove domains, by what they came to";
        registry.register("domain_looks", help, looks.clone());
        let requests = Family::default();
        registry.register("scim_requests", "SCIM requests by route and code", requests.clone());
        let request_seconds = Timings::new_with_constructor(|| {
            Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0])
        });
        registry.register_with_unit(
            "scim_request_duration",
            "Time taken by a SCIM request",
            Unit::Seconds,
            request_seconds.clone(),
        );
        let domains = Domains::default();
        registry.register_collector(Box::new(domains.clone()));
        Self(Arc::new(Families {
            registry,
            domains,
            reconciles,
            reconcile_seconds,
            looks,
            requests,
            request_seconds,
        }))
    }

    /// Count a reconciliation. `outcome` is `ok` or the name of an error variant.
    pub fn reconciled(&self, kind: &'static str, outcome: &'static str, took: Duration) {
        self.0.reconciles.get_or_create(&Reconcile { kind, outcome }).inc();
        self.0.reconcile_seconds.get_or_create(&Kind { kind }).observe(took.as_secs_f64());
    }

    /// Count a look at a domain's record. `answer` is the label of what it came to.
    pub fn looked(&self, answer: &'static str) {
        self.0.looks.get_or_create(&Look { answer }).inc();
    }

    /// Count a SCIM request. `route` is a template.
    pub fn requested(&self, route: &str, code: u16, took: Duration) {
        self.0.requests.get_or_create(&Request { route: route.into(), code }).inc();
        let route = Route { route: route.into() };
        self.0.request_seconds.get_or_create(&route).observe(took.as_secs_f64());
    }

    /// Say how many domains there are in each state, at each scrape. The last to say so counts.
    pub fn count_domains_by(
        &self,
        count: impl Fn() -> BTreeMap<String, i64> + Send + Sync + 'static,
    ) {
        let mut counted = self.0.domains.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counted = Some(Box::new(count));
    }

    /// The text that Prometheus scrapes (OpenMetrics 1.0).
    pub fn text(&self) -> String {
        let mut out = String::new();
        encode(&mut out, &self.0.registry).expect("writing to a string does not fail");
        out
    }
}
