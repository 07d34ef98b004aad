//! The operator has the rights it uses and no others, by the API server's own audit log.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use rollcall_kit::{control_plane::ControlPlane, stage::Stage, wait::until};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
/// The operator's: everywhere, and in its own namespace where the ledger is shared.
const ROLES: [&str; 2] = ["rollcall", "rollcall-lease"];
const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, users: ['system:serviceaccount:rollcall:rollcall']}
- {level: None}
";

/// What an API server writes down of the operator's requests.
pub struct Audit {
    policy: PathBuf,
    log: PathBuf,
}

impl Audit {
    pub fn prepare(folder: &Path) -> anyhow::Result<Self> {
        let audit = Self { policy: folder.join("audit.yaml"), log: folder.join("audit.log") };
        fs::write(&audit.policy, POLICY)?;
        Ok(audit)
    }

    /// The API server's flags for it.
    pub fn flags(&self) -> [String; 2] {
        [
            format!("--audit-policy-file={}", self.policy.display()),
            format!("--audit-log-path={}", self.log.display()),
        ]
    }

    /// After the story: does what it left out, and compares.
    pub async fn rights_are_exactly_those_used(
        &self,
        control_plane: &ControlPlane,
        stage: &Stage,
    ) -> anyhow::Result<()> {
        let kubectl = async |command: &str| {
            control_plane.kubectl(&command.split(' ').collect::<Vec<_>>()).await
        };
        // a group goes, and with it its imported team and the team's binding
        let (scim, ..) = stage.scim(control_plane, "acme", "company").await?;
        let filter = "Groups?filter=displayName%20eq%20%22Team%20Research%22";
        let (_, found) = scim.send(reqwest::Method::GET, filter, &Value::Null).await?;
        let id = found["Resources"][0]["id"].as_str().context("no such group")?;
        scim.send(reqwest::Method::DELETE, &format!("Groups/{id}"), &Value::Null).await?;
        // a team gets a role in the whole cluster, and goes
        let scope = "--type=merge -p {\"spec\":{\"clusterScopeSelector\":{}}}";
        kubectl(&format!("patch idclass builtin {scope}")).await?;
        let team = json!({
            "apiVersion": "rollcall.dev/v1alpha1", "kind": "DirectoryTeam",
            "metadata": {"name": "everywhere", "namespace": "acme"},
            "spec": {
                "directorySyncRef": {"name": "company"}, "group": {"displayName": "Engineering"},
                "permissions": [{"name": "look", "clusterRole": "view", "cluster": true}],
            },
        });
        control_plane.kubectl_apply(&team.to_string()).await?;
        let ready = "wait dteam/everywhere -n acme --for=condition=Ready --timeout=60s";
        kubectl(ready).await?;
        kubectl("delete dteam everywhere -n acme").await?;
        // a Secret that names another token than the ledger's gets a new one
        let secret = "secret/company-scim-token -n acme";
        kubectl(&format!("annotate {secret} --overwrite rollcall.dev/token-id=other")).await?;
        kubectl("annotate dsync company -n acme rollcall.dev/reconcile-requested-at=now").await?;
        let granted = granted(&kubectl("get clusterroles,roles -n rollcall -o json").await?)?;
        until("all rights to be used, and no others", PATIENCE, async || {
            let used = self.used()?;
            let unused: Vec<_> = granted.difference(&used).collect();
            let refused: Vec<_> = used.difference(&granted).collect();
            ensure!(
                unused.is_empty() && refused.is_empty(),
                "unused {unused:?}, lacking {refused:?}"
            );
            Ok(Some(()))
        })
        .await
    }

    fn used(&self) -> anyhow::Result<BTreeSet<String>> {
        let mut used = BTreeSet::new();
        for line in fs::read_to_string(&self.log)?.lines() {
            let Ok(event) = serde_json::from_str::<Value>(line) else { continue }; // half-written
            let text = |pointer| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let resource = match text("/objectRef/subresource") {
                "" => text("/objectRef/resource").to_owned(),
                sub => format!("{}/{sub}", text("/objectRef/resource")),
            };
            if resource.is_empty() {
                continue; // discovery
            }
            let group = text("/objectRef/apiGroup");
            used.insert(format!("{} {group}/{resource}", text("/verb")));
            // an apply that makes the object needs the right to create it, too
            if event.pointer("/responseStatus/code") == Some(&json!(201)) {
                used.insert(format!("create {group}/{resource}"));
            }
        }
        Ok(used)
    }
}

fn granted(roles: &str) -> anyhow::Result<BTreeSet<String>> {
    let roles: Value = serde_json::from_str(roles)?;
    let mut granted = BTreeSet::new();
    let list = |rule: &Value, key: &str| -> Vec<String> {
        let items = rule[key].as_array().into_iter().flatten();
        items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let roles = roles["items"].as_array().context("no list")?.iter();
    let ours = roles.filter(|role| ROLES.iter().any(|ours| role["metadata"]["name"] == *ours));
    for rule in ours.filter_map(|role| role["rules"].as_array()).flatten() {
        for group in list(rule, "apiGroups") {
            for resource in list(rule, "resources") {
                // `bind` is asked for by the API server itself, of whoever makes a binding
                for verb in list(rule, "verbs").iter().filter(|verb| *verb != "bind") {
                    granted.insert(format!("{verb} {group}/{resource}"));
                }
            }
        }
    }
    Ok(granted)
}
