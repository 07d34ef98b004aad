//! Which namespace is an organization, which class serves it, and which namespaces are its own.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::LabelSelector};
use kube::{
    Api, Client, ResourceExt,
    core::{Selector, SelectorExt},
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Error, Nudge, Nudges, Result, age, chain, is_deleted, strip};
use crate::{
    api::{
        IdentityClass,
        conditions::{Verdict, reason},
        meta,
    },
    dns::Claimable,
    ledger::Ledger,
};

/// The caches of namespaces and classes.
pub struct Tenancy {
    namespaces: Store<Namespace>,
    classes: Store<IdentityClass>,
    ledger: Ledger,
}

/// A namespace that is an organization.
pub struct Organization {
    /// Survives what the name doesn't.
    pub id: String,
    /// The namespace.
    pub name: String,
    /// The IdentityClass that serves it.
    pub class: String,
    /// The ClusterRoles that its teams may be given.
    pub grantable: BTreeSet<String>,
    /// Whether its teams may have permissions in the whole cluster.
    pub cluster_scope: bool,
    /// The domains that it may claim.
    pub claimable: Claimable,
    /// Whether its IdPs and name servers may be at inner addresses.
    pub allow_private_endpoints: bool,
}

/// Watch namespaces and classes until `stop`. Returns once both are known.
pub async fn watch(
    client: &Client,
    ledger: &Ledger,
    nudges: &Nudges,
    stop: &CancellationToken,
) -> Result<Tenancy> {
    let (namespaces, writer) = reflector::store();
    let events = watcher(Api::<Namespace>::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .modify(strip)
        .reflect(writer);
    let mut labels = HashMap::new();
    follow(events, nudges.clone(), stop.clone(), move |event| namespace_nudge(event, &mut labels));

    let (classes, writer) = reflector::store();
    let events = watcher(Api::<IdentityClass>::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .modify(strip)
        .reflect(writer);
    // our own status writes come by here too, but only a handful in a class's life
    follow(events, nudges.clone(), stop.clone(), |event| match event {
        watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone => {
            Some(Nudge::All)
        }
        watcher::Event::Init | watcher::Event::InitApply(_) => None,
    });
    namespaces.wait_until_ready().await.map_err(|_| Error::Cache)?;
    classes.wait_until_ready().await.map_err(|_| Error::Cache)?;
    Ok(Tenancy { namespaces, classes, ledger: ledger.clone() })
}

fn follow<K: Send + 'static>(
    events: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
    nudges: Nudges,
    stop: CancellationToken,
    mut nudge: impl FnMut(&watcher::Event<K>) -> Option<Nudge> + Send + 'static,
) {
    let following = async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    if let Some(nudge) = nudge(&event) {
                        nudges.send(nudge);
                    }
                }
                Err(error) => warn!(error = %chain(&error), "watch failed"),
            }
        }
    };
    tokio::spawn(async move { stop.run_until_cancelled(following).await });
}

/// `labels` remembers which organization each namespace belongs to, for the time it no longer does.
fn namespace_nudge(
    event: &watcher::Event<Namespace>,
    labels: &mut HashMap<String, String>,
) -> Option<Nudge> {
    let (namespace, now) = match event {
        watcher::Event::Apply(n) | watcher::Event::InitApply(n) => (n, organization_of(n)),
        watcher::Event::Delete(n) => (n, None),
        watcher::Event::Init => return None,
        watcher::Event::InitDone => return Some(Nudge::All),
    };
    let name = namespace.name_any();
    let before = match &now {
        Some(organization) => labels.insert(name.clone(), organization.clone()),
        None => labels.remove(&name),
    };
    if matches!(event, watcher::Event::InitApply(_)) {
        return None; // `InitDone` wakes everybody
    }
    Some(Nudge::Namespace { name, organizations: now.into_iter().chain(before).collect() })
}

/// The organization that a workload namespace belongs to, by its label.
fn organization_of(namespace: &Namespace) -> Option<String> {
    namespace.labels().get(meta::ORGANIZATION).filter(|name| !name.is_empty()).cloned()
}

impl Tenancy {
    /// The organization in the namespace `name`, known to the ledger from here on; or why there is
    /// none.
    pub async fn organization(&self, name: &str) -> Result<Result<Organization, Verdict>> {
        let Some(namespace) = self.namespaces.get(&ObjectRef::new(name)) else {
            return Ok(Err(Verdict::no(reason::NOT_ALLOWED_BY_CLASS, "The namespace is gone.")));
        };
        if namespace.annotations().contains_key(meta::ORGANIZATION_ID) {
            let id = organization_id(&namespace);
            let twins = self.namespaces.state_filter(|other| {
                other.name_any() != name && organization_id(other) == id && !is_deleted(other)
            });
            let holder =
                if twins.is_empty() { None } else { self.ledger.namespace_of(&id).await? };
            if !has_right_to(&namespace, &id, &twins, holder.as_deref()) {
                let message = format!(
                    "Another namespace has the organization id of this one: ask the platform team \
                     to correct the annotation {}.",
                    meta::ORGANIZATION_ID
                );
                return Ok(Err(Verdict::no(reason::NOT_ALLOWED_BY_CLASS, message)));
            }
        }
        let classes = self.classes.state();
        let organization = resolve(&namespace, classes.iter().map(AsRef::as_ref));
        if let Ok(Organization { id, name, .. }) = &organization {
            self.ledger.name_organization(id, name, Timestamp::now()).await?;
        }
        Ok(organization)
    }

    /// The namespaces that belong to the organization `name` by their label, with all their labels;
    /// never its own, nor another organization's own.
    pub async fn workload_namespaces(
        &self,
        name: &str,
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        let labelled = self.namespaces.state_filter(|namespace| {
            organization_of(namespace).is_some_and(|label| label == name)
                && namespace.name_any() != name
                && !is_deleted(namespace)
        });
        let mut ours = BTreeMap::new();
        for namespace in labelled {
            let name = namespace.name_any();
            if self.ledger.organization_named(&name).await?.is_none() {
                ours.insert(name, namespace.labels().clone());
            }
        }
        Ok(ours)
    }

    /// The names of all namespaces that stay.
    pub fn names(&self) -> BTreeSet<String> {
        let staying = self.namespaces.state_filter(|namespace| !is_deleted(namespace));
        staying.iter().map(|namespace| namespace.name_any()).collect()
    }

    /// The names of the classes annotated as the default, in order.
    pub fn default_classes(&self) -> Vec<String> {
        let defaults = self.classes.state_filter(is_default);
        let names: BTreeSet<_> = defaults.iter().map(|class| class.name_any()).collect();
        names.into_iter().collect()
    }

    pub fn class_exists(&self, name: &str) -> bool {
        self.classes.get(&ObjectRef::new(name)).is_some()
    }

    pub fn namespace_exists(&self, name: &str) -> bool {
        self.namespaces.get(&ObjectRef::new(name)).is_some_and(|found| !is_deleted(found.as_ref()))
    }
}

/// What the ledger knows the organization by.
fn organization_id(namespace: &Namespace) -> String {
    let annotated = namespace.annotations().get(meta::ORGANIZATION_ID).cloned();
    annotated.filter(|id| !id.is_empty()).or_else(|| namespace.uid()).unwrap_or_default()
}

/// Whether a namespace may be the organization `id`, which it has by annotation, as others do:
/// whose UID it is has it, else who held it before, else the oldest.
fn has_right_to(
    namespace: &Namespace,
    id: &str,
    twins: &[Arc<Namespace>],
    holder: Option<&str>,
) -> bool {
    if twins.iter().any(|twin| twin.uid().as_deref() == Some(id)) {
        return false;
    }
    match holder {
        Some(holder) if holder == namespace.name_any() => true,
        Some(holder) if twins.iter().any(|twin| twin.name_any() == holder) => false,
        _ => twins.iter().all(|twin| age(namespace) < age(twin.as_ref())),
    }
}

fn resolve<'a>(
    namespace: &Namespace,
    mut classes: impl Iterator<Item = &'a IdentityClass>,
) -> Result<Organization, Verdict> {
    let class = match namespace.annotations().get(meta::CLASS) {
        Some(named) => classes.find(|class| class.name_any() == *named).ok_or_else(|| {
            Verdict::no(
                reason::CLASS_NOT_FOUND,
                format!(
                    "There is no IdentityClass {named}, which the namespace's annotation {} names.",
                    meta::CLASS
                ),
            )
        })?,
        None => {
            let mut defaults = classes.filter(|class| is_default(class));
            match (defaults.next(), defaults.next()) {
                (Some(class), None) => class,
                (Some(_), Some(_)) => {
                    return Err(Verdict::no(
                        reason::CLASS_NOT_FOUND,
                        "Several IdentityClasses are the default: ask the platform team to leave one.",
                    ));
                }
                (None, _) => {
                    return Err(Verdict::no(
                        reason::CLASS_NOT_FOUND,
                        "There is no default IdentityClass: ask the platform team for one, or to \
                         name one for this namespace.",
                    ));
                }
            }
        }
    };
    if !selects(class.spec.namespace_selector.as_ref(), namespace) {
        return Err(Verdict::no(
            reason::NOT_ALLOWED_BY_CLASS,
            format!(
                "IdentityClass {} doesn't take this namespace as an organization.",
                class.name_any()
            ),
        ));
    }
    Ok(Organization {
        id: organization_id(namespace),
        name: namespace.name_any(),
        class: class.name_any(),
        grantable: class.spec.grantable_cluster_roles.iter().flatten().cloned().collect(),
        claimable: claimable(class),
        cluster_scope: selects(class.spec.cluster_scope_selector.as_ref(), namespace),
        allow_private_endpoints: class.spec.allow_private_endpoints.unwrap_or(false),
    })
}

fn claimable(class: &IdentityClass) -> Claimable {
    let spec = class.spec.domains.clone().unwrap_or_default();
    Claimable {
        allow: spec.allow,
        deny: spec.deny.unwrap_or_default(),
        special_use: spec.allow_special_use.unwrap_or(false),
        private_suffixes: spec.allow_private_suffixes.unwrap_or(false),
    }
}

/// Whether a class's selector takes a namespace; one that is omitted, or makes no sense, doesn't.
fn selects(selector: Option<&LabelSelector>, namespace: &Namespace) -> bool {
    let selector = selector.cloned().map(Selector::try_from);
    selector.is_some_and(|s| s.is_ok_and(|s| s.matches(namespace.labels())))
}

/// Whether a class serves organizations that name none.
pub fn is_default(class: &IdentityClass) -> bool {
    class.annotations().get(meta::DEFAULT_CLASS).is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn namespace(value: serde_json::Value) -> Namespace {
        serde_json::from_value(json!({ "metadata": value })).unwrap()
    }

    fn class(name: &str, default: bool, spec: serde_json::Value) -> IdentityClass {
        serde_json::from_value(json!({
            "apiVersion": "rollcall.dev/v1alpha1", "kind": "IdentityClass",
            "metadata": { "name": name, "annotations": { meta::DEFAULT_CLASS: default.to_string() } },
            "spec": spec,
        }))
        .unwrap()
    }

    fn everybody(name: &str, default: bool) -> IdentityClass {
        class(name, default, json!({ "provider": { "builtin": {} }, "namespaceSelector": {} }))
    }

    fn reason_for(namespace: &Namespace, classes: &[IdentityClass]) -> String {
        match resolve(namespace, classes.iter()) {
            Ok(organization) => organization.id,
            Err(verdict) => verdict.reason.into_owned(),
        }
    }

    #[test]
    fn the_one_default_class_serves_who_names_none() {
        let acme = namespace(json!({ "name": "acme", "uid": "u1" }));
        let found = |classes: &[_]| reason_for(&acme, classes);
        assert_eq!(found(&[everybody("a", true), everybody("b", false)]), "u1");
        assert_eq!(found(&[]), reason::CLASS_NOT_FOUND);
        assert_eq!(found(&[everybody("a", false)]), reason::CLASS_NOT_FOUND);
        assert_eq!(found(&[everybody("a", true), everybody("b", true)]), reason::CLASS_NOT_FOUND);
    }

    #[test]
    fn a_class_takes_only_the_namespaces_it_selects() {
        let acme = namespace(json!({
            "name": "acme", "uid": "u1", "labels": { "tier": "gold" },
            "annotations": { meta::CLASS: "strict" },
        }));
        let provider = json!({ "builtin": {} });
        let selects = |labels: serde_json::Value| {
            let selector = json!({ "matchLabels": labels });
            class("strict", false, json!({ "provider": provider, "namespaceSelector": selector }))
        };
        assert_eq!(reason_for(&acme, &[selects(json!({ "tier": "gold" }))]), "u1");
        let refused = reason::NOT_ALLOWED_BY_CLASS;
        assert_eq!(reason_for(&acme, &[selects(json!({ "tier": "iron" }))]), refused);
        assert_eq!(
            reason_for(&acme, &[class("strict", false, json!({ "provider": provider }))]),
            refused
        );
        assert_eq!(reason_for(&acme, &[everybody("other", true)]), reason::CLASS_NOT_FOUND);
    }

    #[test]
    fn the_whole_cluster_is_for_the_organizations_that_the_class_selects() {
        let acme = namespace(json!({ "name": "acme", "uid": "u1", "labels": { "tier": "gold" } }));
        let allowed = |selector: serde_json::Value| {
            let mut class = everybody("a", true);
            class.spec.cluster_scope_selector = serde_json::from_value(selector).unwrap();
            resolve(&acme, [class].iter()).unwrap().cluster_scope
        };
        assert!(allowed(json!({})));
        assert!(allowed(json!({ "matchLabels": { "tier": "gold" } })));
        assert!(!allowed(json!({ "matchLabels": { "tier": "iron" } })));
        assert!(!allowed(json!(null)));
    }

    #[test]
    fn nobody_takes_the_id_of_another_organization() {
        let annotated = |name: &str, id: &str, second: u32| {
            namespace(json!({
                "name": name, "uid": name, "annotations": { meta::ORGANIZATION_ID: id },
                "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
            }))
        };
        let acme = Arc::new(namespace(json!({ "name": "acme", "uid": "u1" })));
        assert!(!has_right_to(&annotated("thief", "u1", 0), "u1", &[acme], None));

        let (older, younger) = (annotated("b", "inc", 1), annotated("a", "inc", 2));
        let (old, young) = ([Arc::new(older.clone())], [Arc::new(younger.clone())]);
        assert!(has_right_to(&older, "inc", &young, None));
        assert!(!has_right_to(&younger, "inc", &old, None));
        // who held it keeps it, however old the other is; a holder that is gone does not
        assert!(has_right_to(&younger, "inc", &old, Some("a")));
        assert!(!has_right_to(&older, "inc", &young, Some("a")));
        assert!(has_right_to(&older, "inc", &young, Some("gone")));
    }

    #[test]
    fn a_namespace_that_loses_its_label_still_wakes_the_organization() {
        let mut labels = HashMap::new();
        let mut organizations = |event| match namespace_nudge(&event, &mut labels) {
            Some(Nudge::Namespace { organizations, .. }) => organizations,
            _ => vec![],
        };
        let labelled =
            namespace(json!({ "name": "web", "labels": { meta::ORGANIZATION: "acme" } }));
        let bare = namespace(json!({ "name": "web" }));
        assert_eq!(organizations(watcher::Event::Apply(labelled)), ["acme"]);
        assert_eq!(organizations(watcher::Event::Apply(bare.clone())), ["acme"]);
        assert!(organizations(watcher::Event::Apply(bare)).is_empty());
    }
}
