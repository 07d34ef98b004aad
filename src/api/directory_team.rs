use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::LocalRef;

/// Which directory group the team stands for, and what it may do.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "rollcall.dev",
    version = "v1alpha1",
    kind = "DirectoryTeam",
    plural = "directoryteams",
    shortname = "dteam",
    category = "rollcall",
    namespaced,
    status = "DirectoryTeamStatus",
    derive = "PartialEq",
    doc = "A group of the organization's directory as a team of the cluster: its members are the Kubernetes group in status.kubernetesGroup, and have its permissions in the organization's namespaces.",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')")
        .message("the name is part of a Kubernetes group: lower-case letters, digits and hyphens, at most 63 characters"),
    printcolumn(name = "Source", type_ = "string", json_path = ".status.source"),
    printcolumn(name = "Group", type_ = "string", json_path = ".status.group.displayName"),
    printcolumn(name = "Members", type_ = "integer", json_path = ".status.members"),
    printcolumn(
        name = "Permissions",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="PermissionsApplied")].reason"#
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(
        name = "Kubernetes-Group",
        type_ = "string",
        json_path = ".status.kubernetesGroup",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[cfg_attr(test, kube(cel))]
#[serde(rename_all = "camelCase")]
pub struct DirectoryTeamSpec {
    /// The DirectorySync of this namespace that the group belongs to. Can't be changed.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("directorySyncRef can't be changed: make another DirectoryTeam and delete this one"))]
    pub directory_sync_ref: LocalRef,

    /// The directory's group: exactly one of id, displayName and externalId.
    pub group: GroupRef,

    /// What members may do. Omitted or empty: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub permissions: Option<Vec<Permission>>,

    /// Leave the team's bindings as they are. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// A group of the directory: exactly one of the three.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
        "[has(self.id), has(self.displayName), has(self.externalId)].filter(x, x).size() == 1")
    .message("name the group by exactly one of id, displayName and externalId"))]
pub struct GroupRef {
    /// The id that Rollcall's SCIM endpoint gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub id: Option<String>,

    /// Its name. The team stays with the group that the name first matched, also when that is
    /// renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub display_name: Option<String>,

    /// The IdP's own id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub external_id: Option<String>,
}

/// A role in some of the organization's namespaces, or in the whole cluster.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
        "[has(self.namespaces), has(self.namespaceSelector), has(self.cluster) && self.cluster].filter(x, x).size() <= 1")
    .message("say where by at most one of namespaces, namespaceSelector and cluster: true"))]
pub struct Permission {
    /// A name for it, unique in the list.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,

    /// The ClusterRole whose rights members get. The class must name it as grantable, and whoever
    /// writes this must be allowed to bind it, and to create RoleBindings, there (with cluster:
    /// true ClusterRoleBindings).
    #[schemars(length(min = 1, max = 253))]
    pub cluster_role: String,

    /// The namespaces, each labelled rollcall.dev/organization with the organization's name.
    /// Omitted: all namespaces of the organization. Empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub namespaces: Option<Vec<String>>,

    /// Those of the organization's namespaces that have these labels. {} is all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(
            "!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['Exists', 'DoesNotExist'] ? !has(e.values) || e.values.size() == 0 : e.operator in ['In', 'NotIn'] && has(e.values) && e.values.size() > 0)")
        .message("write each operator as In or NotIn with values, or as Exists or DoesNotExist without"))]
    pub namespace_selector: Option<LabelSelector>,

    /// In the whole cluster, all namespaces and what is in none. Only where the IdentityClass's
    /// clusterScopeSelector takes the organization's namespace. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<bool>,

    /// When the permission ends, in UTC: 2026-12-31T00:00:00Z. Its bindings are removed then, and not
    /// made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // stricter than the API server's date-time: whatever it takes must be readable
    #[schemars(regex(pattern = r"^2[0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"))]
    pub expires_at: Option<Time>,
}

/// What Rollcall found.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryTeamStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Where the team comes from: Directory Group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,

    /// The directory's group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupStatus>,

    /// How many active people are in the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<i64>,

    /// The group that Kubernetes sees the members in, and that bindings name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_group: Option<String>,

    /// How many bindings the permissions ask for, and how many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bindings: Option<BindingCounts>,

    /// Accepted, ResolvedRefs, GroupFound, PermissionsApplied and Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

super::status!(DirectoryTeamStatus, counts: members);

/// A group of the directory.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    /// The id that Rollcall's SCIM endpoint gave it.
    pub id: String,
    /// Its present name.
    pub display_name: String,
}

/// How far the bindings are.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct BindingCounts {
    /// How many the permissions ask for.
    pub desired: i64,
    /// How many there are.
    pub applied: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn team(name: &str, directory: &str, group: GroupRef) -> DirectoryTeam {
        let spec = DirectoryTeamSpec {
            directory_sync_ref: LocalRef { name: directory.into() },
            group,
            permissions: None,
            suspend: None,
        };
        DirectoryTeam::new(name, spec)
    }

    #[test]
    fn a_group_is_named_in_exactly_one_way() {
        let id = GroupRef { id: Some("1".into()), ..GroupRef::default() };
        let two = GroupRef { display_name: Some("Engineering".into()), ..id.clone() };
        assert!(team("eng", "okta", id).validate_cel().is_ok());
        assert!(team("eng", "okta", two).validate_cel().is_err());
        assert!(team("eng", "okta", GroupRef::default()).validate_cel().is_err());
    }

    #[test]
    fn a_permission_says_where_in_at_most_one_way() {
        let is_valid = |place: serde_json::Value| {
            let mut permission = serde_json::json!({ "name": "a", "clusterRole": "view" });
            permission.as_object_mut().unwrap().extend(place.as_object().unwrap().clone());
            let mut team = team("eng", "okta", GroupRef::default());
            team.spec.group.id = Some("1".into());
            team.spec.permissions = Some(vec![serde_json::from_value(permission).unwrap()]);
            team.validate_cel().is_ok()
        };
        let expression = |operator: &str, values: &[&str]| {
            let expression =
                serde_json::json!({ "key": "a", "operator": operator, "values": values });
            serde_json::json!({ "namespaceSelector": { "matchExpressions": [expression] } })
        };
        for good in [
            serde_json::json!({}),
            serde_json::json!({ "namespaces": [] }),
            serde_json::json!({ "namespaceSelector": {} }),
            serde_json::json!({ "cluster": true }),
            serde_json::json!({ "cluster": false, "namespaces": ["web"] }),
            expression("In", &["a"]),
            expression("Exists", &[]),
        ] {
            assert!(is_valid(good.clone()), "{good}");
        }
        for bad in [
            serde_json::json!({ "cluster": true, "namespaces": [] }),
            serde_json::json!({ "cluster": true, "namespaceSelector": {} }),
            serde_json::json!({ "namespaces": [], "namespaceSelector": {} }),
            expression("In", &[]),
            expression("Exists", &["a"]),
            expression("Like", &["a"]),
        ] {
            assert!(!is_valid(bad.clone()), "{bad}");
        }
    }

    #[test]
    fn the_directory_of_a_team_is_immutable() {
        let group = GroupRef { id: Some("1".into()), ..GroupRef::default() };
        let old = team("eng", "okta", group.clone());
        assert!(team("eng", "entra", group).validate_cel_update(&old).is_err());
    }
}
