use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// What the platform team offers to the organizations of this class, and where the limits are.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "rollcall.dev",
    version = "v1alpha1",
    kind = "IdentityClass",
    plural = "identityclasses",
    shortname = "idclass",
    category = "rollcall",
    status = "IdentityClassStatus",
    derive = "PartialEq",
    doc = "The engine that serves organizations, and the limits set by the platform team. An organization's class is its namespace's annotation rollcall.dev/class, else the one IdentityClass annotated rollcall.dev/is-default-class: \"true\".",
    printcolumn(
        name = "Default",
        type_ = "string",
        json_path = r#".metadata.annotations.rollcall\.dev/is-default-class"#
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
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[cfg_attr(test, kube(cel))]
#[serde(rename_all = "camelCase")]
pub struct IdentityClassSpec {
    /// The engine: exactly one.
    pub provider: ProviderSpec,

    /// Which namespaces may be organizations: {} is all of them, omitted is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,

    /// The ClusterRoles that teams may be given; omitted or empty is none. The operator itself
    /// must be allowed to bind each of them (chart value grantableClusterRoles).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub grantable_cluster_roles: Option<Vec<String>>,

    /// Whether company IdPs may be at private and loopback addresses. Default false. Link-local
    /// addresses stay refused either way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_private_endpoints: Option<bool>,
}

/// The engine that serves the organizations of a class.
#[derive(KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[x_kube(validation = Rule::new("has(self.builtin)").message("name the provider: builtin: {}"))]
pub struct ProviderSpec {
    /// Rollcall's own gateway: needs no outside service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builtin: Option<BuiltinProvider>,
}

/// Rollcall's own gateway; it has no settings here yet: write {}.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct BuiltinProvider {}

/// What Rollcall found.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityClassStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Accepted and Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

super::status!(IdentityClassStatus);
