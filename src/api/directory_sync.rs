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

    /// Which groups teams may stand for. Omitted: all. The IdP can push the others, too, but they
    /// are neither imported nor found by DirectoryTeams that name them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<GroupsSpec>,

    /// What becomes of the groups. Omitted: nothing by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teams: Option<TeamsSpec>,

    /// How many imported teams may go before somebody has to approve it. Omitted: its defaults.
    /// People's access ends at once either way: with their group, they are in no team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<RemovalSpec>,
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

/// SCIM 2.0; {} is all defaults.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScimSpec {
    /// How long the token before still works once the annotation rollcall.dev/rotate-token has made
    /// a new one, 0s to 720h. Default 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = Rule::new(
            "self != '' && self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') && duration(self) <= duration('720h')")
        .message("write how long, from 0s to 720h, for example 24h"))]
    pub token_overlap: Option<String>,
}

/// Which groups teams may stand for.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct GroupsSpec {
    /// Patterns for group names; * stands for any text and ? for one character. Omitted: every
    /// group. Empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub include: Option<Vec<String>>,

    /// Patterns for the names of groups that are left out, whatever include says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub exclude: Option<Vec<String>>,
}

/// When the removal of imported teams waits for approval: once more than maxCount and more than
/// maxPercent of them would be gone within the window. Then the condition RemovalBlocked is True,
/// and the annotation rollcall.dev/approve-removal with the id in status.pendingRemovals lets that
/// removal through.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RemovalSpec {
    /// How many of a hundred imported teams. Default 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub max_percent: Option<i32>,

    /// How many imported teams. Default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub max_count: Option<i32>,

    /// Within how long, 1m to 168h. Default 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = Rule::new(
            "self != '' && self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') && duration(self) >= duration('1m') && duration(self) <= duration('168h')")
        .message("write how long, from 1m to 168h, for example 1h"))]
    pub window: Option<String>,
}

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

    /// The imported teams whose removal waits for approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_removals: Option<PendingRemovals>,

    /// Accepted, Configured, Synced, Ready, and RemovalBlocked while a removal waits.
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

/// A removal that waits for approval.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct PendingRemovals {
    /// What names exactly this set of teams: the value of rollcall.dev/approve-removal.
    pub id: String,
    /// How many teams.
    pub teams: i64,
    /// The names of the first ten.
    pub sample: Vec<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn is_valid(spec: Value) -> bool {
        DirectorySync::new("okta", serde_json::from_value(spec).unwrap()).validate_cel().is_ok()
    }

    #[test]
    fn the_source_must_be_named() {
        assert!(is_valid(json!({ "source": { "scim": {} } })));
        assert!(!is_valid(json!({ "source": {} })));
    }

    #[test]
    fn times_are_within_their_bounds() {
        let overlap = |time| is_valid(json!({ "source": { "scim": { "tokenOverlap": time } } }));
        assert!(["0s", "24h", "1h30m", "720h"].iter().all(overlap));
        assert!(["", "24", "721h", "-1h"].iter().all(|bad| !overlap(bad)));
        let window =
            |time| is_valid(json!({ "source": { "scim": {} }, "removal": { "window": time } }));
        assert!(["1m", "60s", "168h"].iter().all(window));
        assert!(["", "59s", "169h", "1d"].iter().all(|bad| !window(bad)));
    }
}
