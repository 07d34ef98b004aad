use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{LocalRef, Permission};

/// Where the organization's people and groups come from, and what becomes of the groups.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "rollcall.dev",
    version = "v1alpha1",
    kind = "DirectorySync",
    plural = "directorysyncs",
    shortname = "dsync",
    category = "rollcall",
    namespaced,
    status = "DirectorySyncStatus",
    derive = "PartialEq",
    doc = "An organization's directory: the company IdP pushes its users and groups to a SCIM endpoint of its own. Whoever may edit it can act as any member of the organization.",
    validation = Rule::new("size(self.metadata.name) <= 63")
        .message("the name is part of URLs: at most 63 characters"),
    printcolumn(name = "Source", type_ = "string", json_path = ".status.source"),
    printcolumn(
        name = "Configured",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Configured")].status"#
    ),
    printcolumn(name = "Users", type_ = "integer", json_path = ".status.users"),
    printcolumn(name = "Groups", type_ = "integer", json_path = ".status.groups"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[cfg_attr(test, kube(cel))]
#[serde(rename_all = "camelCase")]
pub struct DirectorySyncSpec {
    /// Still take what the IdP pushes, but make and delete no teams. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,

    /// How people and groups arrive: exactly one.
    pub source: SourceSpec,

    /// What becomes of the groups. Omitted: nothing by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teams: Option<TeamsSpec>,
}

/// How people and groups arrive.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[x_kube(validation = Rule::new("has(self.scim)").message("name the source: scim: {}"))]
pub struct SourceSpec {
    /// The IdP pushes them by SCIM 2.0 to the endpoint in status.scim, with the token of the
    /// Secret named there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scim: Option<ScimSpec>,
}

/// SCIM 2.0; it has no settings yet: write {}.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ScimSpec {}

/// What becomes of the directory's groups.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct TeamsSpec {
    /// Import directory groups: make a DirectoryTeam of each group that matches. Omitted: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<ImportSpec>,
}

/// Which groups are imported as teams, and what those teams may do.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ImportSpec {
    /// Patterns for group names; * stands for any text and ? for one character. A group that
    /// matches one of them is imported.
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub include: Vec<String>,

    /// Patterns for group names that aren't imported, whatever include says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub exclude: Option<Vec<String>>,

    /// The permissions of every imported team, as in DirectoryTeam. Omitted: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub permissions: Option<Vec<Permission>>,
}

/// What Rollcall found.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectorySyncStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// How people and groups arrive: SCIM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,

    /// How many people the directory holds, deactivated ones included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<i64>,

    /// How many groups the directory holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<i64>,

    /// When the IdP last changed anything, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_change_at: Option<Time>,

    /// What to enter at the IdP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scim: Option<ScimEndpoint>,

    /// Accepted, Configured, Synced and Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

super::status!(DirectorySyncStatus, counts: users, groups, last_change_at);

/// What to enter at the IdP's provisioning page.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScimEndpoint {
    /// The SCIM base URL.
    pub endpoint: String,
    /// The Secret of this namespace that holds the bearer token, under the key token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<LocalRef>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_must_be_named() {
        let sync = |scim| {
            let source = SourceSpec { scim };
            DirectorySync::new("okta", DirectorySyncSpec { suspend: None, source, teams: None })
        };
        assert!(sync(Some(ScimSpec {})).validate_cel().is_ok());
        assert!(sync(None).validate_cel().is_err());
    }
}
