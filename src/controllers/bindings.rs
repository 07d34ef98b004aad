//! RoleBindings: which ones a team should have, which it has, and the difference. Pure.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest;
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
use kube::{ResourceExt, api::ObjectMeta};

use super::MANAGER;
use crate::api::{DirectoryTeam, Permission, meta};

const RBAC: &str = "rbac.authorization.k8s.io";

/// The group that the API server sees a team's members in.
pub fn kubernetes_group(organization: &str, team: &str) -> String {
    format!("rollcall:{organization}:{team}")
}

/// Where bindings may be made, and with which roles.
pub struct Bounds<'a> {
    pub organization: &'a str,
    /// The organization's namespaces.
    pub ours: &'a BTreeSet<String>,
    /// The ClusterRoles that the class lets it give.
    pub grantable: &'a BTreeSet<String>,
    /// Those that the permissions name and that there are.
    pub existing: &'a BTreeSet<String>,
    /// Whether there is a namespace of that name at all.
    pub exists: &'a (dyn Fn(&str) -> bool + Sync),
}

/// What the permissions come to.
#[derive(Debug, Default)]
pub struct Wanted {
    pub bindings: Vec<RoleBinding>,
    /// What each permission asks for that can't be, by what is wrong with it.
    pub role_not_grantable: BTreeSet<String>,
    pub namespace_not_ours: BTreeSet<String>,
    pub role_not_found: BTreeSet<String>,
    pub namespace_not_found: BTreeSet<String>,
}

/// The bindings that `permissions` ask for, within `bounds`. What is out of bounds or missing
/// degrades only its own entry.
pub fn wanted(team: &DirectoryTeam, permissions: &[Permission], bounds: &Bounds<'_>) -> Wanted {
    let mut wanted = Wanted::default();
    for permission in permissions {
        let role = &permission.cluster_role;
        if !bounds.grantable.contains(role) {
            wanted.role_not_grantable.insert(role.clone());
            continue;
        }
        if !bounds.existing.contains(role) {
            wanted.role_not_found.insert(role.clone());
            continue;
        }
        let named = permission.namespaces.as_ref();
        for namespace in named.map_or_else(|| bounds.ours.iter().collect(), Vec::from_iter) {
            if bounds.ours.contains(namespace) {
                let binding = binding(team, permission, bounds.organization, namespace);
                wanted.bindings.push(binding);
            } else if (bounds.exists)(namespace) {
                wanted.namespace_not_ours.insert(namespace.clone());
            } else {
                wanted.namespace_not_found.insert(namespace.clone());
            }
        }
    }
    wanted
}

/// roleRef can't be changed in Kubernetes, so the role is part of the name: another role is
/// another binding, made before the old one goes.
fn binding(
    team: &DirectoryTeam,
    permission: &Permission,
    organization: &str,
    namespace: &str,
) -> RoleBinding {
    let (name, uid) = (team.name_any(), team.uid().unwrap_or_default());
    let id = format!("{uid}\0{}\0{}", permission.name, permission.cluster_role);
    let id = digest::digest(&digest::SHA256, id.as_bytes());
    let short: String = id.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let label = |key: &str, value: String| (key.to_owned(), value);
    RoleBinding {
        metadata: ObjectMeta {
            name: Some(format!("rollcall:{organization}:{name}:{}-{short}", permission.name)),
            namespace: Some(namespace.to_owned()),
            labels: Some(BTreeMap::from([
                label(meta::MANAGED_BY, MANAGER.into()),
                label(meta::ORGANIZATION, organization.into()),
                label(meta::TEAM, name.clone()),
                label(meta::OWNER_UID, uid),
            ])),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef {
            api_group: Some(RBAC.into()),
            kind: "ClusterRole".into(),
            name: permission.cluster_role.clone(),
        },
        subjects: Some(vec![Subject {
            api_group: Some(RBAC.into()),
            kind: "Group".into(),
            name: kubernetes_group(organization, &name),
            namespace: None,
        }]),
    }
}

/// What is to be done, in this order.
#[derive(Debug, Default)]
pub struct Plan<'a> {
    pub apply: Vec<&'a RoleBinding>,
    pub delete: Vec<&'a RoleBinding>,
}

/// The difference between the bindings of ours that there are and those that are wanted.
pub fn plan<'a>(current: &'a [RoleBinding], wanted: &'a [RoleBinding]) -> Plan<'a> {
    let by_name = |bindings: &'a [RoleBinding]| -> BTreeMap<_, &'a RoleBinding> {
        bindings.iter().map(|b| ((b.namespace(), b.name_any()), b)).collect()
    };
    let (current, wanted) = (by_name(current), by_name(wanted));
    let same = |a: &RoleBinding, b: &RoleBinding| {
        a.subjects == b.subjects && a.role_ref == b.role_ref && a.labels() == b.labels()
    };
    Plan {
        apply: wanted
            .iter()
            .filter(|(name, want)| current.get(name).is_none_or(|have| !same(have, want)))
            .map(|(_, want)| *want)
            .collect(),
        // one with another role than its name says can't be mended, only made anew
        delete: current
            .iter()
            .filter(|(name, have)| wanted.get(name).is_none_or(|w| w.role_ref != have.role_ref))
            .map(|(_, have)| *have)
            .collect(),
    }
}

pub fn same_name(a: &RoleBinding, b: &RoleBinding) -> bool {
    a.metadata.name == b.metadata.name && a.metadata.namespace == b.metadata.namespace
}

/// Whether `new` is for the same permission in the same namespace as `old`.
pub fn is_successor(new: &RoleBinding, old: &RoleBinding) -> bool {
    let stem = |binding: &RoleBinding| {
        let name = binding.name_any();
        name.rsplit_once('-').map(|(stem, _)| stem.to_owned())
    };
    new.metadata.namespace == old.metadata.namespace && stem(new) == stem(old)
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
        Permission { name: "p".into(), cluster_role: role.into(), namespaces }
    }

    fn ask(permission: Permission) -> Wanted {
        let (ours, roles) = (names(&["data", "web"]), names(&["edit", "view"]));
        let bounds = Bounds {
            organization: "acme",
            ours: &ours,
            grantable: &names(&["edit", "view", "gone"]),
            existing: &roles,
            exists: &|namespace| namespace == "kube-system",
        };
        wanted(&team(), &[permission], &bounds)
    }

    fn places(wanted: &Wanted) -> Vec<String> {
        wanted.bindings.iter().filter_map(ResourceExt::namespace).collect()
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
        assert_eq!(ask(permission("gone", None)).role_not_found, names(&["gone"]));
    }

    #[test]
    fn another_role_is_another_binding() {
        let (edit, view) = (ask(permission("edit", None)), ask(permission("view", None)));
        let plan = plan(&edit.bindings, &view.bindings);
        assert_eq!((plan.apply.len(), plan.delete.len()), (2, 2));
        assert!(is_successor(plan.apply[0], plan.delete[0]));
        assert!(!is_successor(plan.apply[0], plan.delete[1]), "another namespace");
    }

    #[test]
    fn what_is_right_already_is_left_alone() {
        let edit = ask(permission("edit", None));
        let plan = plan(&edit.bindings, &edit.bindings);
        assert!(plan.apply.is_empty() && plan.delete.is_empty());
    }

    #[test]
    fn a_changed_subject_is_put_right_and_a_changed_role_made_anew() {
        let right = ask(permission("edit", Some(&["web"]))).bindings;
        let mut subject = right.clone();
        subject[0].subjects = None;
        let mended = plan(&subject, &right);
        assert_eq!((mended.apply.len(), mended.delete.len()), (1, 0));
        let mut role = right.clone();
        role[0].role_ref.name = "cluster-admin".into();
        let anew = plan(&role, &right);
        assert_eq!((anew.apply.len(), anew.delete.len()), (1, 1));
    }
}
