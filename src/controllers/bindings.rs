//! Bindings: which ones a team should have, which it has, and the difference. Pure.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest;
use jiff::Timestamp;
use kube::{
    ResourceExt,
    api::Preconditions,
    core::{Selector, SelectorExt},
};
use serde_json::{Value, json};

use super::MANAGER;
use crate::{
    api::{DirectoryTeam, Permission, meta},
    ledger::Grant,
};

const RBAC: &str = "rbac.authorization.k8s.io";

/// The group that the API server sees a team's members in.
pub fn kubernetes_group(organization: &str, team: &str) -> String {
    format!("rollcall:{organization}:{team}")
}

/// Where a binding is: a RoleBinding in a namespace, or a ClusterRoleBinding.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// `None`: in the whole cluster.
    pub namespace: Option<String>,
    pub name: String,
}

/// A binding as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub place: Place,
    pub role: String,
    group: String,
    labels: BTreeMap<String, String>,
    expires_at: Option<Timestamp>,
}

/// A binding as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub place: Place,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    /// The ClusterRole it gives.
    pub role: String,
    /// When it ends, by its annotation.
    pub expires_at: Option<Timestamp>,
    /// What [`print`] says of it.
    pub print: Print,
}

/// Stands for all of a binding that is ours to say: an index of all bindings keeps no more of it.
pub type Print = [u8; 16];

/// The print of a binding: its role, its subjects, its labels, its end.
pub fn print(
    role: &Value,
    subjects: &Value,
    labels: &BTreeMap<String, String>,
    expires_at: Option<&str>,
) -> Print {
    let ours = [meta::MANAGED_BY, meta::ORGANIZATION, meta::TEAM, meta::OWNER_UID];
    let labels = ours.map(|label| labels.get(label)); // others are others' business
    let all = json!([role, subjects, labels, expires_at]).to_string();
    let hash = digest::digest(&digest::SHA256, all.as_bytes());
    let mut print = Print::default();
    print.copy_from_slice(&hash.as_ref()[..16]);
    print
}

impl Binding {
    /// The object itself.
    pub fn object(&self) -> Value {
        let Place { namespace, name } = &self.place;
        let kind = if namespace.is_some() { "RoleBinding" } else { "ClusterRoleBinding" };
        let mut metadata = json!({ "name": name, "labels": self.labels });
        if let Some(namespace) = namespace {
            metadata["namespace"] = json!(namespace);
        }
        if let Some(at) = self.expires_at {
            metadata["annotations"] = json!({ meta::EXPIRES_AT: at.to_string() });
        }
        json!({
            "apiVersion": format!("{RBAC}/v1"), "kind": kind, "metadata": metadata,
            "roleRef": self.role_ref(), "subjects": self.subjects(),
        })
    }

    fn role_ref(&self) -> Value {
        json!({ "apiGroup": RBAC, "kind": "ClusterRole", "name": self.role })
    }

    fn subjects(&self) -> Value {
        json!([{ "apiGroup": RBAC, "kind": "Group", "name": self.group }])
    }

    /// What the binding would be, once it is made.
    pub fn print(&self) -> Print {
        let expires_at = self.expires_at.map(|at| at.to_string());
        print(&self.role_ref(), &self.subjects(), &self.labels, expires_at.as_deref())
    }

    pub fn grant(&self) -> Grant {
        Grant { namespace: self.place.namespace.clone(), cluster_role: self.role.clone() }
    }
}

impl Standing {
    /// That it is still the very one that was seen.
    pub fn seen(&self) -> Preconditions {
        let (uid, resource_version) = (self.uid.clone(), self.resource_version.clone());
        Preconditions { uid, resource_version }
    }

    pub fn grant(&self) -> Grant {
        Grant { namespace: self.place.namespace.clone(), cluster_role: self.role.clone() }
    }

    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// Where bindings may be made, and with which roles.
pub struct Bounds<'a> {
    pub organization: &'a str,
    /// The organization's namespaces, with their labels.
    pub ours: &'a BTreeMap<String, BTreeMap<String, String>>,
    /// Whether it may have bindings in the whole cluster.
    pub cluster: bool,
    /// The ClusterRoles that the class lets it give.
    pub grantable: &'a BTreeSet<String>,
    /// Whether there is a namespace of that name at all.
    pub exists: &'a (dyn Fn(&str) -> bool + Sync),
    pub now: Timestamp,
}

/// What the permissions come to.
#[derive(Debug, Default)]
pub struct Wanted {
    pub bindings: Vec<Binding>,
    /// The roles that may be given, whether they are there or not.
    pub roles: BTreeSet<String>,
    /// What each permission asks for that can't be, by what is wrong with it.
    pub role_not_grantable: BTreeSet<String>,
    pub namespace_not_ours: BTreeSet<String>,
    /// The permissions that ask for the whole cluster, which the class doesn't let them have.
    pub scope_not_allowed: BTreeSet<String>,
    pub role_not_found: BTreeSet<String>,
    pub namespace_not_found: BTreeSet<String>,
    /// The permissions whose time is over, and when that was.
    pub over: BTreeMap<String, Timestamp>,
    /// Those whose time will be over.
    pub ending: BTreeMap<String, Timestamp>,
}

impl Wanted {
    /// Want nothing of the roles that are not there.
    pub fn leave_out(&mut self, missing: BTreeSet<String>) {
        self.bindings.retain(|binding| !missing.contains(&binding.role));
        self.role_not_found.extend(missing);
    }
}

/// The bindings that `permissions` ask for, within `bounds`. What is out of bounds, missing or over
/// degrades only its own entry.
pub fn wanted(team: &DirectoryTeam, permissions: &[Permission], bounds: &Bounds<'_>) -> Wanted {
    let mut wanted = Wanted::default();
    for permission in permissions {
        let role = &permission.cluster_role;
        if let Some(at) = ends(permission) {
            if at <= bounds.now {
                wanted.over.insert(permission.name.clone(), at);
                continue;
            }
            wanted.ending.insert(permission.name.clone(), at);
        }
        if !bounds.grantable.contains(role) {
            wanted.role_not_grantable.insert(role.clone());
            continue;
        }
        let cluster = permission.cluster == Some(true);
        if cluster && !bounds.cluster {
            wanted.scope_not_allowed.insert(permission.name.clone());
            continue;
        }
        wanted.roles.insert(role.clone());
        let binding = |namespace| binding(team, permission, bounds.organization, namespace);
        if cluster {
            wanted.bindings.push(binding(None));
            continue;
        }
        for namespace in places(permission, bounds) {
            if bounds.ours.contains_key(&namespace) {
                wanted.bindings.push(binding(Some(namespace)));
            } else if (bounds.exists)(&namespace) {
                wanted.namespace_not_ours.insert(namespace);
            } else {
                wanted.namespace_not_found.insert(namespace);
            }
        }
    }
    wanted
}

/// When a permission ends.
fn ends(permission: &Permission) -> Option<Timestamp> {
    permission.expires_at.as_ref().map(|at| at.0)
}

/// When the next of these permissions ends.
pub fn next_end(permissions: &[Permission], now: Timestamp) -> Option<Timestamp> {
    permissions.iter().filter_map(ends).filter(|at| *at > now).min()
}

/// The namespaces that a permission asks for.
fn places(permission: &Permission, bounds: &Bounds<'_>) -> Vec<String> {
    match (&permission.namespaces, &permission.namespace_selector) {
        (Some(named), _) => named.clone(),
        (None, None) => bounds.ours.keys().cloned().collect(),
        (None, Some(selector)) => {
            // one that doesn't parse, which the API server refuses, selects nothing
            let Ok(selector) = Selector::try_from(selector.clone()) else { return vec![] };
            let selected = bounds.ours.iter().filter(|(_, labels)| selector.matches(labels));
            selected.map(|(name, _)| name.clone()).collect()
        }
    }
}

/// roleRef can't be changed in Kubernetes, so the role is part of the name: another role is
/// another binding, made before the old one goes.
fn binding(
    team: &DirectoryTeam,
    permission: &Permission,
    organization: &str,
    namespace: Option<String>,
) -> Binding {
    let (name, uid) = (team.name_any(), team.uid().unwrap_or_default());
    let id = format!("{uid}\0{}\0{}", permission.name, permission.cluster_role);
    let id = digest::digest(&digest::SHA256, id.as_bytes());
    let short: String = id.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let label = |key: &str, value: String| (key.to_owned(), value);
    Binding {
        place: Place {
            namespace,
            name: format!("rollcall:{organization}:{name}:{}-{short}", permission.name),
        },
        role: permission.cluster_role.clone(),
        group: kubernetes_group(organization, &name),
        labels: BTreeMap::from([
            label(meta::MANAGED_BY, MANAGER.into()),
            label(meta::ORGANIZATION, organization.into()),
            label(meta::TEAM, name),
            label(meta::OWNER_UID, uid),
        ]),
        expires_at: ends(permission),
    }
}

/// What is to be done, in this order.
#[derive(Debug, Default)]
pub struct Plan<'a> {
    pub apply: Vec<&'a Binding>,
    pub delete: Vec<&'a Standing>,
}

/// The difference between the bindings of ours that there are and those that are wanted.
pub fn plan<'a>(current: &'a [Standing], wanted: &'a [Binding]) -> Plan<'a> {
    let have: BTreeMap<_, _> = current.iter().map(|have| (&have.place, have)).collect();
    let want: BTreeMap<_, _> = wanted.iter().map(|want| (&want.place, want)).collect();
    Plan {
        apply: want
            .values()
            .filter(|want| have.get(&want.place).is_none_or(|have| have.print != want.print()))
            .copied()
            .collect(),
        // one with another role than its name says can't be mended, only made anew
        delete: have
            .values()
            .filter(|have| want.get(&have.place).is_none_or(|want| want.role != have.role))
            .copied()
            .collect(),
    }
}

/// Whether `new` is for the same permission in the same place as `old`.
pub fn is_successor(new: &Place, old: &Place) -> bool {
    let stem = |place: &Place| place.name.rsplit_once('-').map(|(stem, _)| stem.to_owned());
    new.namespace == old.namespace && stem(new) == stem(old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{DirectoryTeamSpec, GroupRef, LocalRef};

    fn team() -> DirectoryTeam {
        let spec = DirectoryTeamSpec {
            directory_sync_ref: LocalRef { name: "okta".into() },
            group: GroupRef::default(),
            permissions: None,
            suspend: None,
        };
        let mut team = DirectoryTeam::new("engineering", spec);
        team.metadata.uid = Some("u1".into());
        team
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&n| n.to_owned()).collect()
    }

    fn permission(role: &str, namespaces: Option<&[&str]>) -> Permission {
        let namespaces = namespaces.map(|n| n.iter().map(|&n| n.to_owned()).collect());
        Permission {
            name: "p".into(),
            cluster_role: role.into(),
            namespaces,
            ..Permission::default()
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ask(permission: Permission) -> Wanted {
        ask_in(permission, false)
    }

    fn ask_in(permission: Permission, cluster: bool) -> Wanted {
        let labels = |tier: &str| BTreeMap::from([("tier".to_owned(), tier.to_owned())]);
        let ours = BTreeMap::from([
            ("data".to_owned(), labels("gold")),
            ("web".to_owned(), labels("iron")),
        ]);
        let bounds = Bounds {
            organization: "acme",
            ours: &ours,
            cluster,
            grantable: &names(&["edit", "view", "gone"]),
            exists: &|namespace| namespace == "kube-system",
            now: at(100),
        };
        wanted(&team(), &[permission], &bounds)
    }

    fn places(wanted: &Wanted) -> Vec<String> {
        wanted.bindings.iter().filter_map(|binding| binding.place.namespace.clone()).collect()
    }

    /// As the API server has it once it is made.
    fn standing(binding: &Binding) -> Standing {
        Standing {
            place: binding.place.clone(),
            uid: None,
            resource_version: None,
            role: binding.role.clone(),
            expires_at: binding.expires_at,
            print: binding.print(),
        }
    }

    fn all_standing(wanted: &Wanted) -> Vec<Standing> {
        wanted.bindings.iter().map(standing).collect()
    }

    #[test]
    fn omitted_namespaces_are_all_of_the_organization_and_an_empty_list_is_none() {
        assert_eq!(places(&ask(permission("edit", None))), ["data", "web"]);
        assert_eq!(places(&ask(permission("edit", Some(&["web"])))), ["web"]);
        assert!(places(&ask(permission("edit", Some(&[])))).is_empty());
    }

    #[test]
    fn what_is_out_of_bounds_is_named_and_the_rest_stands() {
        let some = ask(permission("edit", Some(&["web", "kube-system", "nowhere"])));
        assert_eq!(places(&some), ["web"]);
        assert_eq!(some.namespace_not_ours, names(&["kube-system"]));
        assert_eq!(some.namespace_not_found, names(&["nowhere"]));
        let ungranted = ask(permission("cluster-admin", None));
        assert!(ungranted.bindings.is_empty());
        assert_eq!(ungranted.role_not_grantable, names(&["cluster-admin"]));
        let mut gone = ask(permission("gone", None));
        assert_eq!(gone.roles, names(&["gone"]));
        gone.leave_out(names(&["gone"]));
        assert!(gone.bindings.is_empty());
        assert_eq!(gone.role_not_found, names(&["gone"]));
    }

    #[test]
    fn a_selector_takes_those_of_the_organizations_namespaces_that_it_matches() {
        let select = |selector: serde_json::Value| {
            let selector = Some(serde_json::from_value(selector).unwrap());
            ask(Permission { namespace_selector: selector, ..permission("edit", None) })
        };
        assert_eq!(places(&select(json!({}))), ["data", "web"]);
        assert_eq!(places(&select(json!({ "matchLabels": { "tier": "gold" } }))), ["data"]);
        assert!(places(&select(json!({ "matchLabels": { "tier": "tin" } }))).is_empty());
        let broken = json!({ "matchExpressions": [{ "key": "tier", "operator": "Like" }] });
        assert!(places(&select(broken)).is_empty());
    }

    #[test]
    fn the_whole_cluster_is_given_only_where_the_class_allows_it() {
        let everywhere = || Permission { cluster: Some(true), ..permission("view", None) };
        let refused = ask_in(everywhere(), false);
        assert!(refused.bindings.is_empty());
        assert_eq!(refused.scope_not_allowed, names(&["p"]));
        let given = ask_in(everywhere(), true);
        assert_eq!(given.bindings.len(), 1);
        let object = given.bindings[0].object();
        assert_eq!(object["kind"], "ClusterRoleBinding");
        assert_eq!(object["metadata"]["namespace"], json!(null));
        assert_eq!(object["subjects"][0]["name"], "rollcall:acme:engineering");
    }

    #[test]
    fn a_permission_ends_at_its_time_and_is_not_given_again() {
        let until = |second| Permission {
            expires_at: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(second))),
            ..permission("edit", None)
        };
        let given = ask(until(101));
        assert_eq!((given.bindings.len(), given.ending["p"]), (2, at(101)));
        let standing = all_standing(&given);
        assert!(!standing[0].is_over(at(100)) && standing[0].is_over(at(101)));
        let over = ask(until(100));
        assert!(over.bindings.is_empty());
        assert_eq!(over.over["p"], at(100));
        assert_eq!(plan(&standing, &over.bindings).delete.len(), 2);
        let permissions = [until(90), until(300), until(200), permission("edit", None)];
        assert_eq!(next_end(&permissions, at(100)), Some(at(200)));
        // another time is the same binding, told again
        let longer = ask(until(500));
        let plan = plan(&standing, &longer.bindings);
        assert_eq!((plan.apply.len(), plan.delete.len()), (2, 0));
    }

    #[test]
    fn another_role_is_another_binding() {
        let (edit, view) = (ask(permission("edit", None)), ask(permission("view", None)));
        let standing = all_standing(&edit);
        let plan = plan(&standing, &view.bindings);
        assert_eq!((plan.apply.len(), plan.delete.len()), (2, 2));
        assert!(is_successor(&plan.apply[0].place, &plan.delete[0].place));
        assert!(!is_successor(&plan.apply[0].place, &plan.delete[1].place), "another namespace");
    }

    #[test]
    fn what_is_right_already_is_left_alone() {
        let edit = ask(permission("edit", None));
        let standing = all_standing(&edit);
        let plan = plan(&standing, &edit.bindings);
        assert!(plan.apply.is_empty() && plan.delete.is_empty());
    }

    #[test]
    fn a_changed_subject_is_put_right_and_a_changed_role_made_anew() {
        let right = ask(permission("edit", Some(&["web"])));
        let mut changed = all_standing(&right);
        changed[0].print = Print::default();
        let mended = plan(&changed, &right.bindings);
        assert_eq!((mended.apply.len(), mended.delete.len()), (1, 0));
        changed[0].role = "cluster-admin".into();
        let anew = plan(&changed, &right.bindings);
        assert_eq!((anew.apply.len(), anew.delete.len()), (1, 1));
    }
}
