use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema, core::Rule};
use serde::{Deserialize, Serialize};

use super::LocalRef;

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

    /// Organizations, by the labels of their namespaces, whose teams may have permissions with
    /// cluster: true. {} is all of them, omitted is none. The operator must be allowed to make
    /// ClusterRoleBindings (chart value clusterWideBindings).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_scope_selector: Option<LabelSelector>,

    /// Which domains the organizations may claim. Omitted: any that a company can own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domains: Option<ClaimableSpec>,

    /// Whether company IdPs and name servers may be at private and loopback addresses. Default
    /// false. Link-local addresses stay refused either way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_private_endpoints: Option<bool>,
}

/// Which domains organizations may claim. One that this refuses is not theirs, proved or not.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimableSpec {
    /// Only what is at or below one of these names, such as acme.com. Omitted: any. Empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set, validation = suffixes())]
    pub allow: Option<Vec<String>>,

    /// Nothing that is at or below one of these names, whatever is allowed. Omitted or empty: all
    /// may be claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set, validation = suffixes())]
    pub deny: Option<Vec<String>>,

    /// Whether names kept for special use may be claimed, such as acme.test, acme.example and
    /// acme.internal: for trials, and for networks with a DNS of their own. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_special_use: Option<bool>,

    /// Whether names may be claimed below which their owner lets anybody register, such as
    /// github.io. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_private_suffixes: Option<bool>,
}

/// Names as DNS has them, so that they can be compared as they are.
fn suffixes() -> Rule {
    Rule::new("self.all(s, s.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])*[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))")
        .message("write each name in lower case, Unicode as xn--, without a dot before or after it: acme.com")
}

/// The engine that serves the organizations of a class.
#[derive(KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[x_kube(validation = Rule::new("has(self.builtin)").message("name the provider: builtin: {}"))]
pub struct ProviderSpec {
    /// Rollcall's own gateway: needs no outside service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builtin: Option<BuiltinProvider>,
}

/// Rollcall's own gateway; {} is all defaults.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuiltinProvider {
    /// What people may sign in to beside Kubernetes: Argo CD, Grafana, Headlamp. The public client
    /// kubernetes is always there. Omitted or empty: nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub clients: Option<Vec<ClientSpec>>,

    /// How long tokens live, 1m to 1h; ended access still works for as long. Default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = Rule::new(
            "self != '' && self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') && duration(self) >= duration('1m') && duration(self) <= duration('1h')")
        .message("write how long, from 1m to 1h, for example 5m"))]
    pub token_lifetime: Option<String>,
}

/// An OpenID Connect client of the gateway.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientSpec {
    /// Its client id, the audience of its tokens.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$")
    )]
    #[x_kube(validation = Rule::new("self != 'kubernetes'")
        .message("the client kubernetes is always there: choose another id"))]
    pub id: String,

    /// Where people may be sent back to, compared exactly: https, or http to this machine
    /// (localhost, 127.0.0.1, [::1]), where any port will do.
    #[serde(rename = "redirectURIs")]
    #[schemars(length(min = 1, max = 16), inner(length(max = 512)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new(
                "self.all(u, isURL(u) && !u.contains('#') && (u.startsWith('https://') ? url(u).getHostname() != '' : u.startsWith('http://') && url(u).getHostname() in ['localhost', '127.0.0.1', '::1', '[::1]']))")
            .message("write each as a full URL without #, that begins with https:// (http:// only for localhost, 127.0.0.1 and [::1])")
    )]
    pub redirect_uris: Vec<String>,

    /// A Secret of the operator's namespace, of type rollcall.dev/oidc-client, that holds the
    /// client secret under the key clientSecret. Omitted: a public client, for programs on people's
    /// own machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalRef>,

    /// The organizations, by namespace, whose people may use it. Omitted: all of the class. Empty:
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub namespaces: Option<Vec<String>>,
}

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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn is_valid(builtin: Value) -> bool {
        let spec = json!({ "provider": { "builtin": builtin } });
        IdentityClass::new("a", serde_json::from_value(spec).unwrap()).validate_cel().is_ok()
    }

    #[test]
    fn a_client_is_sent_people_only_where_nobody_listens_in() {
        let client = |id: &str, uri: &str| {
            is_valid(json!({ "clients": [{ "id": id, "redirectURIs": [uri] }] }))
        };
        for good in [
            "https://argocd.example/auth/callback?a=b",
            "http://localhost:8085/auth/callback",
            "http://127.0.0.1/callback",
        ] {
            assert!(client("argocd", good), "{good}");
        }
        for bad in [
            "http://argocd.example/callback",
            "https://argocd.example/#callback",
            "https://",
            "argocd.example/callback",
            "http://localhost.evil.example/",
            "custom://callback",
        ] {
            assert!(!client("argocd", bad), "{bad}");
        }
        assert!(!client("kubernetes", "https://argocd.example/callback"));
    }

    #[test]
    fn suffixes_are_written_as_dns_has_them() {
        let is_valid = |names: &[&str]| {
            let spec = json!({ "provider": { "builtin": {} }, "domains": { "deny": names } });
            IdentityClass::new("a", serde_json::from_value(spec).unwrap()).validate_cel().is_ok()
        };
        assert!(
            is_valid(&[])
                && is_valid(&["com", "acme.co.uk", "xn--bcher-kva.example", "4.acme.com"])
        );
        for bad in
            ["", ".com", "acme.com.", "ACME.com", "*.acme.com", "bücher.example", "a..b", "-a.com"]
        {
            assert!(!is_valid(&[bad]), "{bad}");
        }
    }

    #[test]
    fn a_token_lives_a_minute_to_an_hour() {
        let lives = |lifetime: &str| is_valid(json!({ "tokenLifetime": lifetime }));
        assert!(["1m", "60s", "5m", "1h"].iter().all(|good| lives(good)));
        assert!(["", "59s", "1h1s", "5"].iter().all(|bad| !lives(bad)));
    }
}
