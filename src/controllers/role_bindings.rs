//! RoleBindings in the cluster: read, written and deleted as planned.

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::{ClusterRole, RoleBinding};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};

use super::{
    Context, MANAGER, Result,
    bindings::{is_successor, plan, same_name},
    delete_seen, namespace,
};
use crate::{
    api::{DirectoryTeam, meta},
    ledger::Grant,
};

/// What came of it.
#[derive(Debug, Default)]
pub struct Kept {
    /// How many of the wanted bindings stand.
    pub applied: usize,
    /// What all that stand give, in order and each once.
    pub grants: Vec<Grant>,
    /// Roles that we may not bind.
    pub forbidden: BTreeSet<String>,
    /// Roles that are not there.
    pub missing: BTreeSet<String>,
}

/// Make the team's bindings those that are wanted. One that can't be made holds back no deletion
/// but that of the binding it was to replace.
///
/// # Errors
/// The first thing that went wrong, after all else was done.
pub async fn keep(team: &DirectoryTeam, wanted: &[RoleBinding], ctx: &Context) -> Result<Kept> {
    let current = current(team, ctx).await?;
    let plan = plan(&current, wanted);
    let mut kept = Kept { applied: wanted.len() - plan.apply.len(), ..Kept::default() };
    let mut failed = None;
    let (mut unmade, mut left) = (vec![], vec![]);
    // one of the same name goes first, all else goes after its successor stands
    let (anew, over): (Vec<_>, Vec<_>) =
        plan.delete.into_iter().partition(|have| plan.apply.iter().any(|w| same_name(have, w)));
    for binding in anew {
        failed = delete(ctx, binding).await.err().or(failed);
    }
    for binding in plan.apply {
        let role = &binding.role_ref.name;
        match apply(ctx, binding).await {
            Ok(()) => {
                kept.applied += 1;
                continue;
            }
            Err(kube::Error::Api(error)) if error.is_forbidden() => {
                kept.forbidden.insert(role.clone());
            }
            // its role, which we may not look at, or its namespace, which went meanwhile
            Err(kube::Error::Api(error)) if error.is_not_found() => {
                if error.details.is_some_and(|details| details.name == *role) {
                    kept.missing.insert(role.clone());
                }
            }
            Err(error) => failed = failed.or(Some(error.into())),
        }
        unmade.push(binding);
    }
    for binding in over {
        if unmade.iter().any(|successor| is_successor(successor, binding)) {
            left.push(binding);
        } else {
            failed = delete(ctx, binding).await.err().or(failed);
        }
    }
    let made = wanted.iter().filter(|want| !unmade.iter().any(|un| same_name(un, want)));
    kept.grants = grants(made.chain(left));
    failed.map_or(Ok(kept), Err)
}

/// What bindings give, in order and each once.
fn grants<'a>(bindings: impl Iterator<Item = &'a RoleBinding>) -> Vec<Grant> {
    let grant = |binding: &RoleBinding| Grant {
        namespace: namespace(binding),
        cluster_role: binding.role_ref.name.clone(),
    };
    bindings.map(grant).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Delete the team's bindings but those in the namespaces `but`.
///
/// # Errors
/// The first thing that went wrong, after all else was done.
pub async fn delete_all(
    team: &DirectoryTeam,
    but: &BTreeSet<String>,
    ctx: &Context,
) -> Result<Kept> {
    let (stay, go): (Vec<_>, Vec<_>) =
        current(team, ctx).await?.into_iter().partition(|b| but.contains(&namespace(b)));
    let mut failed = None;
    for binding in &go {
        failed = delete(ctx, binding).await.err().or(failed);
    }
    let kept = Kept { applied: stay.len(), grants: grants(stay.iter()), ..Kept::default() };
    failed.map_or(Ok(kept), Err)
}

/// The bindings that were made for this team, wherever they are.
async fn current(team: &DirectoryTeam, ctx: &Context) -> Result<Vec<RoleBinding>> {
    let uid = team.uid().unwrap_or_default();
    let mark = format!("{}={MANAGER},{}={uid}", meta::MANAGED_BY, meta::OWNER_UID);
    let api = Api::<RoleBinding>::all(ctx.client.clone());
    Ok(api.list(&ListParams::default().labels(&mark)).await?.items)
}

async fn apply(ctx: &Context, binding: &RoleBinding) -> kube::Result<()> {
    let api = Api::<RoleBinding>::namespaced(ctx.client.clone(), &namespace(binding));
    let params = PatchParams::apply(MANAGER).force();
    api.patch(&binding.name_any(), &params, &Patch::Apply(binding)).await.map(drop)
}

/// Delete the very binding that was seen; one that is gone already is fine.
pub async fn delete(ctx: &Context, binding: &RoleBinding) -> Result<()> {
    let api = Api::<RoleBinding>::namespaced(ctx.client.clone(), &namespace(binding));
    Ok(delete_seen(&api, binding).await?)
}

pub async fn role_exists(ctx: &Context, role: &str) -> Result<bool> {
    match Api::<ClusterRole>::all(ctx.client.clone()).get_metadata_opt(role).await {
        Ok(found) => Ok(found.is_some()),
        // one that we may not even look at we may not bind either, and binding will say so
        Err(kube::Error::Api(error)) if error.is_forbidden() => Ok(true),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_bindings_give_is_told_in_order_and_once() {
        let binding = |name: &str, namespace: &str, role: &str| -> RoleBinding {
            serde_json::from_value(json!({
                "metadata": { "name": name, "namespace": namespace },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            }))
            .unwrap()
        };
        let bindings = [
            binding("a", "web", "view"),
            binding("b", "api", "view"),
            binding("c", "web", "view"),
            binding("d", "web", "edit"),
        ];
        let told: Vec<_> =
            grants(bindings.iter()).into_iter().map(|g| (g.namespace, g.cluster_role)).collect();
        let expected = [("api", "view"), ("web", "edit"), ("web", "view")];
        assert_eq!(told, expected.map(|(namespace, role)| (namespace.into(), role.into())));
    }
}
