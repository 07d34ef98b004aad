//! The kinds: plain data, no I/O. `crds/` is generated from here, and so is what `kubectl explain`
//! says; the doc comments of specs and statuses are written for its readers.

pub mod conditions;
mod directory_sync;
mod directory_team;
mod identity_class;
mod sso_connection;
mod verified_domain;

pub use directory_sync::{
    DirectorySync, DirectorySyncSpec, DirectorySyncStatus, GroupsSpec, ImportSpec, PendingRemovals,
    RemovalSpec, ScimEndpoint, ScimSpec, SourceSpec, TeamsSpec,
};
pub use directory_team::{
    BindingCounts, DirectoryTeam, DirectoryTeamSpec, DirectoryTeamStatus, GroupRef, GroupStatus,
    Permission,
};
pub use identity_class::{
    BuiltinProvider, ClaimableSpec, ClientSpec, IdentityClass, IdentityClassSpec,
    IdentityClassStatus, ProviderSpec,
};
pub use sso_connection::{
    Admit, AttributesSpec, CertificateStatus, DirectorySpec, IdentityProviderStatus, Matching,
    MetadataSource, OidcSpec, SamlSpec, ServiceProviderStatus, SignInSpec, SsoConnection,
    SsoConnectionSpec, SsoConnectionStatus,
};
pub use verified_domain::{Challenge, VerifiedDomain, VerifiedDomainSpec, VerifiedDomainStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::SignedDuration;
use kube::{CustomResourceExt, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The group every kind lives in.
pub const GROUP: &str = "rollcall.dev";

/// Labels and annotations, ours and those we read.
pub mod meta {
    /// Annotation of an organization's namespace: the class that serves it.
    pub const CLASS: &str = "rollcall.dev/class";
    /// Annotation of the IdentityClass that serves organizations that name none.
    pub const DEFAULT_CLASS: &str = "rollcall.dev/is-default-class";
    /// Annotation of an organization's namespace: an id that survives a rebuild of the cluster.
    pub const ORGANIZATION_ID: &str = "rollcall.dev/organization-id";
    /// Label of a workload namespace, and of everything made for an organization: its name.
    pub const ORGANIZATION: &str = "rollcall.dev/organization";
    /// Label of what is made for an object: that object's UID.
    pub const OWNER_UID: &str = "rollcall.dev/owner-uid";
    /// Label of a binding: the DirectoryTeam it serves.
    pub const TEAM: &str = "rollcall.dev/team";
    /// Annotation of an imported DirectoryTeam: the directory's id of its group.
    pub const GROUP_ID: &str = "rollcall.dev/group-id";
    /// Annotation of a token Secret: the id, not the value, of the token in it.
    pub const TOKEN_ID: &str = "rollcall.dev/token-id";
    /// Annotation of a DirectorySync: a new value asks for a new token.
    pub const ROTATE_TOKEN: &str = "rollcall.dev/rotate-token";
    /// Annotation of a DirectorySync: the id of a removal that may be done.
    pub const APPROVE_REMOVAL: &str = "rollcall.dev/approve-removal";
    /// Annotation of a binding: when it ends.
    pub const EXPIRES_AT: &str = "rollcall.dev/expires-at";
    /// Annotation of any object: a new value asks for a pass over it now.
    pub const REQUESTED_AT: &str = "rollcall.dev/reconcile-requested-at";
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
}

/// An object in the same namespace.
#[derive(KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LocalRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// The seconds of a duration as specs have it, like 1h30m; `None` if it is none.
pub fn seconds(duration: &str) -> Option<i64> {
    duration.parse::<SignedDuration>().ok().map(|duration| duration.as_secs())
}

/// What the statuses of all kinds have in common.
pub trait Status: Clone + Default + PartialEq + Serialize {
    fn conditions(&self) -> &[Condition];
    fn conditions_mut(&mut self) -> &mut Vec<Condition>;
    /// The generation of the spec that the status speaks of.
    fn set_observed_generation(&mut self, generation: Option<i64>);
    /// Take over from `old` what counts requests and people: such a figure alone is written at
    /// most every ten seconds.
    fn keep_counts(&mut self, _old: &Self) {}
}

macro_rules! status {
    ($status:ty $(, counts: $($field:ident),+)?) => {
        impl crate::api::Status for $status {
            fn conditions(&self) -> &[Condition] {
                &self.conditions
            }
            fn conditions_mut(&mut self) -> &mut Vec<Condition> {
                &mut self.conditions
            }
            fn set_observed_generation(&mut self, generation: Option<i64>) {
                self.observed_generation = generation;
            }
            $(fn keep_counts(&mut self, old: &Self) {
                $(self.$field = old.$field.clone();)+
            })?
        }
    };
}
use status;

/// Every CRD.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![
        VerifiedDomain::crd(),
        SsoConnection::crd(),
        DirectorySync::crd(),
        DirectoryTeam::crd(),
        IdentityClass::crd(),
    ];
    let versions = crds.iter_mut().flat_map(|crd| &mut crd.spec.versions);
    let schemas = versions.filter_map(|v| v.schema.as_mut()?.open_api_v3_schema.as_mut());
    for schema in schemas {
        forbid_null(schema);
        bound_selectors(schema);
        if let Some(status) = schema.properties.as_mut().and_then(|p| p.get_mut("status")) {
            // what nobody has looked at yet must not be taken for current (kstatus)
            status.default = Some(JSON(json!({"observedGeneration": -1})));
        }
    }
    crds
}

/// Label selectors of a spec as Kubernetes has them, but bounded, for the sake of the CEL rules.
fn bound_selectors(schema: &mut JSONSchemaProps) {
    let Some(properties) = &mut schema.properties else { return };
    if let Some(labels) = properties.get_mut("matchLabels") {
        labels.max_properties = Some(16);
    }
    if let Some(expressions) = properties.get_mut("matchExpressions") {
        expressions.max_items = Some(16);
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut expressions.items
            && let Some(values) = items.properties.as_mut().and_then(|p| p.get_mut("values"))
        {
            values.max_items = Some(64);
        }
    }
    properties.values_mut().for_each(bound_selectors);
    for property in properties.values_mut() {
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut property.items {
            bound_selectors(items);
        }
    }
}

/// Where null isn't allowed the API server drops it, so that nobody else, least of all an admission
/// policy, has to tell it from a field that was omitted.
fn forbid_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.enum_.iter_mut().for_each(|values| values.retain(|value| !value.0.is_null()));
    schema.properties.iter_mut().flat_map(|p| p.values_mut()).for_each(forbid_null);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        forbid_null(items);
    }
}

/// Every CRD as YAML, as `crds/` holds them.
pub fn crds_yaml() -> String {
    let yaml = |crd| serde_saphyr::to_string(&crd).expect("a CRD is plain data");
    crds().iter().map(yaml).map(|y| format!("---\n{}\n", y.trim_end())).collect()
}
