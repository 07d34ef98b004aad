//! That nobody makes himself, or anybody else, more than he is: not the authors of YAML, and not
//! Rollcall itself, whose ServiceAccount is taken to be in a thief's hands here.

mod authors;
mod operator;
mod rights;

use std::time::Duration;

use kube::Client;
use rollcall_kit::{
    attempt::{Answer::Refused, Attempt, answers},
    control_plane::ControlPlane,
    stage::installed,
    wait::until,
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// What the API server takes after a policy was made, until it asks that policy.
const ENFORCED: Duration = Duration::from_secs(30);
const OPERATOR: &str = "system:serviceaccount:rollcall:rollcall";
const KINDS: [&str; 5] =
    ["VerifiedDomain", "SsoConnection", "DirectorySync", "DirectoryTeam", "IdentityClass"];

/// An organization, `policies`, with its namespaces and people. Each kind has an object `held`.
/// Tests change none of it.
const SETTING: &str = include_str!("policies/setting.yaml");

struct Cluster {
    control_plane: &'static ControlPlane,
}

impl Cluster {
    /// Made by the first test that asks; returned when all policies are in force.
    async fn shared() -> anyhow::Result<Self> {
        // a failure is every test's, and none waits for the same again
        static MADE: OnceCell<Result<(), String>> = OnceCell::const_new();
        let cluster = Self { control_plane: installed().await? };
        let made = MADE.get_or_init(async || cluster.make().await.map_err(|e| format!("{e:#}")));
        made.await.clone().map_err(anyhow::Error::msg)?;
        Ok(cluster)
    }

    async fn make(&self) -> anyhow::Result<()> {
        self.control_plane.kubectl_apply(SETTING).await?;
        for given in [
            team("held", &everywhere(12, "view")),
            team("held-web", &within(12, "edit", &["policies-web"])),
            sync("held", &everywhere(12, "view")),
            sync("held-web", &within(12, "edit", &["policies-web"])),
        ] {
            self.apply(&given).await?;
        }
        let (admin, operator, ada) =
            (self.admin().await?, self.operator().await?, self.user("ada").await?);
        let domain = held("VerifiedDomain");
        let annotated = Attempt::merge(&domain, json!({"metadata": {"annotations": {"a": "b"}}}));
        let stray = binding("policies-stray", "view", "probe");
        let view = everywhere(1, "view");
        let probes = [
            ("status", &admin, Attempt::merge_status(&domain, forged_status())),
            ("operator-objects", &operator, annotated),
            (
                "operator-secrets",
                &operator,
                Attempt::create(&secret("policies", "probe", "Opaque")),
            ),
            ("operator-bindings", &operator, Attempt::create(&stray)),
            ("author-may-bind-teams", &ada, Attempt::create(&team("probe", &view))),
            ("author-may-bind-imports", &ada, Attempt::create(&sync("probe", &view))),
        ];
        for (policy, who, probe) in probes {
            let says = format!("ValidatingAdmissionPolicy 'rollcall-{policy}'");
            until(&format!("the policy {policy} to be in force"), ENFORCED, async || {
                let probe = [(policy, probe.clone(), Refused(&says))];
                answers(who, probe).await.map(Some)
            })
            .await?;
        }
        Ok(())
    }

    /// May do everything by RBAC.
    async fn admin(&self) -> anyhow::Result<Client> {
        self.control_plane.client().await
    }

    async fn operator(&self) -> anyhow::Result<Client> {
        self.user(OPERATOR).await
    }

    async fn user(&self, name: &str) -> anyhow::Result<Client> {
        self.control_plane.client_as(name, &[]).await
    }

    async fn apply(&self, object: &Value) -> anyhow::Result<()> {
        self.control_plane.kubectl_apply(&object.to_string()).await.map(drop)
    }
}

fn ours(kind: &str, name: &str, spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": "rollcall.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    });
    if kind != "IdentityClass" {
        object["metadata"]["namespace"] = json!("policies");
    }
    object
}

/// The object of this kind that a person made.
fn held(kind: &str) -> Value {
    ours(kind, "held", json!({}))
}

fn team(name: &str, permissions: &[Value]) -> Value {
    let spec = json!({
        "directorySyncRef": {"name": "held"},
        "group": {"displayName": "Engineering"},
        "permissions": permissions,
    });
    ours("DirectoryTeam", name, spec)
}

fn sync(name: &str, permissions: &[Value]) -> Value {
    let import = json!({"include": ["Team *"], "exclude": ["Team X"], "permissions": permissions});
    ours("DirectorySync", name, json!({"source": {"scim": {}}, "teams": {"import": import}}))
}

/// The label of what Rollcall made.
fn mark() -> Value {
    json!({"app.kubernetes.io/managed-by": "rollcall"})
}

/// Permissions p0, p1, .. in all of the organization's namespaces.
fn everywhere(count: usize, role: &str) -> Vec<Value> {
    (0..count).map(|i| json!({"name": format!("p{i}"), "clusterRole": role})).collect()
}

fn within(count: usize, role: &str, namespaces: &[&str]) -> Vec<Value> {
    let mut all = everywhere(count, role);
    all.iter_mut().for_each(|permission| permission["namespaces"] = json!(namespaces));
    all
}

fn forged_status() -> Value {
    let ready = json!({
        "type": "Ready",
        "status": "True",
        "reason": "Forged",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    json!({"status": {"observedGeneration": 1, "conditions": [ready]}})
}

fn binding(namespace: &str, role: &str, group: &str) -> Value {
    let api_group = "rbac.authorization.k8s.io";
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "tried", "namespace": namespace, "labels": mark()},
        "roleRef": {"apiGroup": api_group, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": api_group, "kind": "Group", "name": group}],
    })
}

fn secret(namespace: &str, name: &str, type_: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": mark()},
        "type": type_,
        "stringData": {"token": "x"},
    })
}
