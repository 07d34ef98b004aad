//! The bindings that stand, by the team they were made for: a pass over each of many teams can't
//! afford to ask the API server, nor memory to keep them whole.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject};
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        reflector::ObjectRef,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::watch;
use tracing::warn;

use super::{
    MANAGER, PAGE,
    bindings::{Place, Standing, print},
    chain,
};
use crate::api::{DirectoryTeam, meta};

/// What both kinds of bindings have.
pub trait Bound:
    Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static
{
    fn role_ref(&self) -> &RoleRef;
    fn subjects(&self) -> Option<&Vec<Subject>>;
}

macro_rules! bound {
    ($($kind:ty),*) => {$(
        impl Bound for $kind {
            fn role_ref(&self) -> &RoleRef {
                &self.role_ref
            }
            fn subjects(&self) -> Option<&Vec<Subject>> {
                self.subjects.as_ref()
            }
        }
    )*};
}
bound!(RoleBinding, ClusterRoleBinding);

/// A binding as it stands, of whichever kind.
pub fn standing<K: Bound>(binding: &K) -> Standing {
    let role = binding.role_ref();
    let annotation = binding.annotations().get(meta::EXPIRES_AT);
    Standing {
        place: Place { namespace: binding.namespace(), name: binding.name_any() },
        uid: binding.uid(),
        resource_version: binding.resource_version(),
        // any other is not one that we make
        role: if role.kind == "ClusterRole" { role.name.clone() } else { String::new() },
        expires_at: annotation.and_then(|at| at.parse::<Timestamp>().ok()),
        print: print(
            &json!(role),
            &json!(binding.subjects()),
            binding.labels(),
            annotation.map(String::as_str),
        ),
    }
}

/// A team: its namespace and its name.
type Team = (String, String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    InNamespace,
    InCluster,
}

#[derive(Default)]
struct Index {
    /// By the UID of the team.
    of_team: HashMap<String, BTreeMap<Place, (Team, Standing)>>,
    /// The UID of the team that each is of.
    owners: HashMap<Place, String>,
    /// By the organization's namespace: those that end, and when.
    ends: BTreeMap<String, BTreeSet<(Timestamp, Place)>>,
    /// What the list under way has shown.
    listed: HashMap<Kind, HashSet<Place>>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct BindingIndex {
    index: Arc<Mutex<Index>>,
    /// How many of the two kinds have been listed.
    ready: Arc<watch::Sender<HashSet<Kind>>>,
}

impl BindingIndex {
    pub fn new() -> Self {
        Self { index: Arc::default(), ready: Arc::new(watch::Sender::new(HashSet::new())) }
    }

    /// Keep up with the API server for as long as this is polled; gives the teams whose bindings
    /// came, went or changed.
    pub fn follow(
        &self,
        client: &Client,
    ) -> impl Stream<Item = ObjectRef<DirectoryTeam>> + Send + 'static {
        stream::select(
            self.watch(Kind::InNamespace, Api::<RoleBinding>::all(client.clone())),
            self.watch(Kind::InCluster, Api::<ClusterRoleBinding>::all(client.clone())),
        )
    }

    fn watch<K: Bound>(
        &self,
        kind: Kind,
        api: Api<K>,
    ) -> impl Stream<Item = ObjectRef<DirectoryTeam>> + Send + 'static {
        let ours = watcher::Config::default()
            .labels(&format!("{}={MANAGER}", meta::MANAGED_BY))
            .page_size(PAGE);
        let index = self.clone();
        watcher(api, ours).default_backoff().flat_map(move |event| {
            let teams = match event {
                Ok(event) => index.apply(kind, &event),
                Err(error) => {
                    warn!(error = %chain(&error), "watch of bindings failed");
                    vec![]
                }
            };
            let team = |(namespace, name): Team| ObjectRef::new(&name).within(&namespace);
            stream::iter(teams.into_iter().map(team))
        })
    }

    /// Take in an event; returns the teams it concerns.
    fn apply<K: Bound>(&self, kind: Kind, event: &Event<K>) -> Vec<Team> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => {
                index.listed.insert(kind, HashSet::new());
                vec![]
            }
            Event::InitApply(binding) => {
                let standing = standing(binding);
                index.listed.entry(kind).or_default().insert(standing.place.clone());
                index.put(binding, standing)
            }
            Event::InitDone => {
                let listed = index.listed.remove(&kind).unwrap_or_default();
                let gone: Vec<_> = index
                    .owners
                    .keys()
                    .filter(|place| kind_of(place) == kind && !listed.contains(*place))
                    .cloned()
                    .collect();
                self.ready.send_if_modified(|ready| ready.insert(kind));
                gone.iter().filter_map(|place| index.remove(place)).collect()
            }
            Event::Apply(binding) => index.put(binding, standing(binding)),
            Event::Delete(binding) => {
                let place = Place { namespace: binding.namespace(), name: binding.name_any() };
                index.remove(&place).into_iter().collect()
            }
        }
    }

    /// Returns once all bindings have been seen.
    pub async fn ready(&self) {
        let mut ready = self.ready.subscribe();
        // fails only without a sender, which is ours
        let _ = ready.wait_for(|kinds| kinds.len() == 2).await;
    }

    /// Know of a binding that was made just now, before the API server tells.
    pub fn made<K: Bound>(&self, binding: &K) {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.put(binding, standing(binding));
    }

    /// Know that there is no such binding any more, before the API server tells.
    pub fn ended(&self, place: &Place) {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.remove(place);
    }

    /// The bindings of the team with this UID.
    pub fn of(&self, team: &str) -> Vec<Standing> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let bindings = index.of_team.get(team).into_iter().flat_map(BTreeMap::values);
        bindings.map(|(_, standing)| standing.clone()).collect()
    }

    /// Bindings whose time is over, of each organization so many at most: those that `count`, in the
    /// order of their ends.
    pub fn over(
        &self,
        now: Timestamp,
        most_of_each: usize,
        counts: impl Fn(&Place) -> bool,
    ) -> Vec<Standing> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let over = index.ends.values().flat_map(|ends| {
            let over = ends.iter().take_while(|(at, _)| *at <= now).map(|(_, place)| place);
            over.filter(|place| counts(place)).take(most_of_each)
        });
        over.filter_map(|place| index.get(place)).cloned().collect()
    }
}

fn kind_of(place: &Place) -> Kind {
    if place.namespace.is_some() { Kind::InNamespace } else { Kind::InCluster }
}

impl Index {
    /// Returns the teams it concerns: whose it was, and whose it is.
    fn put<K: Bound>(&mut self, binding: &K, standing: Standing) -> Vec<Team> {
        let before = self.remove(&standing.place);
        let label = |name| binding.labels().get(name).cloned();
        let now = label(meta::ORGANIZATION).zip(label(meta::TEAM));
        if let (Some(team), Some(uid)) = (&now, label(meta::OWNER_UID)) {
            let place = standing.place.clone();
            if let Some(at) = standing.expires_at {
                self.ends.entry(team.0.clone()).or_default().insert((at, place.clone()));
            }
            self.owners.insert(place.clone(), uid.clone());
            self.of_team.entry(uid).or_default().insert(place, (team.clone(), standing));
        }
        let mut teams: Vec<_> = before.into_iter().chain(now).collect();
        teams.dedup();
        teams
    }

    /// Returns the team it was of.
    fn remove(&mut self, place: &Place) -> Option<Team> {
        let uid = self.owners.remove(place)?;
        let bindings = self.of_team.get_mut(&uid)?;
        let (team, standing) = bindings.remove(place)?;
        if bindings.is_empty() {
            self.of_team.remove(&uid);
        }
        if let (Some(at), Some(ends)) = (standing.expires_at, self.ends.get_mut(&team.0)) {
            ends.remove(&(at, standing.place));
            if ends.is_empty() {
                self.ends.remove(&team.0);
            }
        }
        Some(team)
    }

    fn get(&self, place: &Place) -> Option<&Standing> {
        let bindings = self.of_team.get(self.owners.get(place)?)?;
        bindings.get(place).map(|(_, standing)| standing)
    }
}

#[cfg(test)]
mod tests {
    use kube::api::ObjectMeta;

    use super::*;

    fn binding(namespace: &str, team: &str, uid: &str) -> RoleBinding {
        serde_json::from_value(json!({
            "metadata": {
                "name": "b", "namespace": namespace, "uid": "x",
                "labels": {
                    meta::MANAGED_BY: MANAGER, meta::ORGANIZATION: "acme", meta::TEAM: team,
                    meta::OWNER_UID: uid,
                },
            },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
        }))
        .unwrap()
    }

    fn team(name: &str) -> Team {
        ("acme".into(), name.into())
    }

    #[test]
    fn a_team_has_its_bindings_until_they_go_and_hears_of_it() {
        let index = BindingIndex::new();
        let apply = |event: Event<RoleBinding>| index.apply(Kind::InNamespace, &event);
        let places = |uid: &str| -> Vec<_> {
            index.of(uid).into_iter().filter_map(|s| s.place.namespace).collect()
        };
        apply(Event::Init);
        assert_eq!(apply(Event::InitApply(binding("web", "a", "u1"))), [team("a")]);
        apply(Event::InitDone);
        assert_eq!(apply(Event::Apply(binding("data", "a", "u1"))), [team("a")]);
        assert_eq!(places("u1"), ["data", "web"]);
        // its labels were changed by hand: both hear of it
        let taken = apply(Event::Apply(binding("data", "b", "u2")));
        assert_eq!(taken, [team("a"), team("b")]);
        assert_eq!((places("u1").len(), places("u2").len()), (1, 1));
        assert_eq!(apply(Event::Delete(binding("data", "b", "u2"))), [team("b")]);
        assert!(places("u2").is_empty());
        // the watch broke: what went meanwhile isn't in the new list
        apply(Event::Init);
        assert_eq!(apply(Event::InitDone), [team("a")]);
        assert!(places("u1").is_empty());
    }

    #[test]
    fn what_is_over_is_known_by_its_time_and_none_of_many_keeps_another_organizations_waiting() {
        let index = BindingIndex::new();
        let put = |organization: &str, namespace: &str, ends: Option<&str>| {
            let mut binding = binding(namespace, "a", organization);
            let metadata = &mut binding.metadata;
            let labels = metadata.labels.as_mut().unwrap();
            labels.insert(meta::ORGANIZATION.into(), organization.into());
            metadata.annotations =
                ends.map(|at| BTreeMap::from([(meta::EXPIRES_AT.to_owned(), at.to_owned())]));
            index.made(&binding);
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        for number in 0..9 {
            put("acme", &format!("web-{number}"), Some("1970-01-01T00:00:05Z"));
        }
        put("globex", "lab", Some("1970-01-01T00:00:06Z"));
        put("globex", "forever", None);
        let over = |second| -> Vec<_> {
            let over = index.over(at(second), 2, |place| !place.name.is_empty());
            over.into_iter().filter_map(|s| s.place.namespace).collect()
        };
        assert!(over(4).is_empty());
        assert_eq!(over(5), ["web-0", "web-1"]);
        assert_eq!(over(6), ["web-0", "web-1", "lab"]);
        // one in the whole cluster ends, too
        let everywhere = ClusterRoleBinding {
            metadata: ObjectMeta {
                name: Some("everywhere".into()),
                namespace: None,
                annotations: Some(
                    [(meta::EXPIRES_AT.into(), "1970-01-01T00:00:04Z".into())].into(),
                ),
                ..binding("", "a", "initech").metadata
            },
            ..ClusterRoleBinding::default()
        };
        index.made(&everywhere);
        assert_eq!(index.over(at(4), 2, |_| true)[0].place, standing(&everywhere).place);
        index.ended(&standing(&everywhere).place);
        assert!(index.over(at(4), 2, |_| true).is_empty());
        // prolonged, gone, and one that can't be deleted now
        put("acme", "web-0", Some("1970-01-01T00:00:09Z"));
        put("acme", "web-1", None);
        index.ended(&Place { namespace: Some("web-2".into()), name: "b".into() });
        assert_eq!(over(6), ["web-3", "web-4", "lab"]);
        let others = |place: &Place| place.namespace.as_deref() != Some("web-3");
        assert_eq!(index.over(at(5), 1, others)[0].place.namespace.as_deref(), Some("web-4"));
    }

    #[tokio::test]
    async fn it_is_ready_once_both_kinds_have_been_listed() {
        let index = BindingIndex::new();
        index.apply(Kind::InNamespace, &Event::<RoleBinding>::InitDone);
        let ready = std::pin::pin!(index.ready());
        assert!(futures::poll!(ready).is_pending());
        index.apply(Kind::InCluster, &Event::<ClusterRoleBinding>::InitDone);
        index.ready().await;
    }
}
