//! Bindings in the cluster: read, written and deleted as planned.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};

use super::{
    Context, MANAGER, Result,
    binding_index::Bound,
    bindings::{Binding, Place, Standing, is_successor, plan},
};
use crate::{api::DirectoryTeam, ledger::Grant};

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

/// Make the team's bindings those that are wanted. One that can't be made holds back nothing; only
/// where it may come with the next pass does the one stay that it is to replace.
///
/// # Errors
/// The first thing that went wrong, after all else was done.
pub async fn keep(team: &DirectoryTeam, wanted: &[Binding], ctx: &Context) -> Result<Kept> {
    let current = current(team, ctx).await;
    let plan = plan(&current, wanted);
    let mut kept = Kept { applied: wanted.len() - plan.apply.len(), ..Kept::default() };
    let mut failed = None;
    let (mut unmade, mut later) = (vec![], vec![]);
    // one of the same name goes first, all else goes after its successor stands
    let (anew, over): (Vec<_>, Vec<_>) =
        plan.delete.into_iter().partition(|have| plan.apply.iter().any(|w| w.place == have.place));
    for binding in anew {
        failed = delete(ctx, &binding.place, binding.seen()).await.err().or(failed);
    }
    for binding in plan.apply {
        match apply(ctx, binding).await {
            Ok(()) => {
                kept.applied += 1;
                continue;
            }
            Err(kube::Error::Api(error)) if error.is_forbidden() => {
                kept.forbidden.insert(binding.role.clone());
            }
            // its role, which we may not look at, or its namespace, which went meanwhile
            Err(kube::Error::Api(error)) if error.is_not_found() => {
                if error.details.is_some_and(|details| details.name == binding.role) {
                    kept.missing.insert(binding.role.clone());
                }
            }
            Err(error) => {
                if !is_refused(&error) {
                    later.push(binding);
                }
                failed = failed.or(Some(error.into()));
            }
        }
        unmade.push(binding);
    }
    let now = Timestamp::now();
    for binding in over {
        let replaced = later.iter().any(|new| is_successor(&new.place, &binding.place));
        if !replaced || binding.is_over(now) {
            failed = delete(ctx, &binding.place, binding.seen()).await.err().or(failed);
        }
    }
    let made = wanted.iter().filter(|want| !unmade.iter().any(|un| un.place == want.place));
    kept.grants = distinct(made.map(Binding::grant));
    failed.map_or(Ok(kept), Err)
}

/// Whether the API server will say the same the next time: what it refuses to make is nothing that
/// another binding waits for before it goes.
fn is_refused(error: &kube::Error) -> bool {
    const PASSING: [u16; 2] = [409, 429];
    let kube::Error::Api(status) = error else { return false };
    (400..500).contains(&status.code) && !PASSING.contains(&status.code)
}

/// In order and each once.
fn distinct(grants: impl Iterator<Item = Grant>) -> Vec<Grant> {
    grants.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Leave the team's bindings as they are, and delete those that may not `stay`.
///
/// # Errors
/// The first thing that went wrong, after all else was done.
pub async fn retain(
    team: &DirectoryTeam,
    stay: impl Fn(&Standing) -> bool,
    ctx: &Context,
) -> Result<Kept> {
    let (stay, go): (Vec<_>, Vec<_>) = current(team, ctx).await.into_iter().partition(stay);
    let mut failed = None;
    for binding in &go {
        failed = delete(ctx, &binding.place, binding.seen()).await.err().or(failed);
    }
    let kept = Kept {
        applied: stay.len(),
        grants: distinct(stay.iter().map(Standing::grant)),
        ..Kept::default()
    };
    failed.map_or(Ok(kept), Err)
}

/// The bindings that were made for this team, wherever they are.
async fn current(team: &DirectoryTeam, ctx: &Context) -> Vec<Standing> {
    ctx.bindings.ready().await;
    ctx.bindings.of(&team.uid().unwrap_or_default())
}

async fn apply(ctx: &Context, binding: &Binding) -> kube::Result<()> {
    match &binding.place.namespace {
        Some(namespace) => {
            let api = Api::<RoleBinding>::namespaced(ctx.client.clone(), namespace);
            apply_by(&api, binding, ctx).await
        }
        None => apply_by(&Api::<ClusterRoleBinding>::all(ctx.client.clone()), binding, ctx).await,
    }
}

async fn apply_by<K: Bound>(api: &Api<K>, binding: &Binding, ctx: &Context) -> kube::Result<()> {
    let params = PatchParams::apply(MANAGER).force();
    let made = api.patch(&binding.place.name, &params, &Patch::Apply(binding.object())).await?;
    ctx.bindings.made(&made);
    Ok(())
}

/// Delete the very binding that was seen; one that is gone already is fine.
pub async fn delete(ctx: &Context, place: &Place, seen: Preconditions) -> Result<()> {
    request_deletion(ctx, place, seen).await?;
    ctx.bindings.ended(place);
    Ok(())
}

/// The same, of which the index, and so the binding's team, hears from the API server.
pub async fn request_deletion(ctx: &Context, place: &Place, seen: Preconditions) -> Result<()> {
    let params = DeleteParams { preconditions: Some(seen), ..DeleteParams::default() };
    let name = &place.name;
    let deleted = match &place.namespace {
        Some(namespace) => {
            let api = Api::<RoleBinding>::namespaced(ctx.client.clone(), namespace);
            api.delete(name, &params).await.map(drop)
        }
        None => {
            let api = Api::<ClusterRoleBinding>::all(ctx.client.clone());
            api.delete(name, &params).await.map(drop)
        }
    };
    match deleted {
        Err(kube::Error::Api(error)) if error.is_not_found() => Ok(()),
        other => Ok(other?),
    }
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

    #[test]
    fn what_is_refused_for_good_keeps_no_other_binding() {
        let answered = |code| {
            kube::Error::Api(Box::new(kube::core::Status { code, ..kube::core::Status::default() }))
        };
        for (code, refused) in [(400, true), (422, true), (409, false), (429, false), (500, false)]
        {
            assert_eq!(is_refused(&answered(code)), refused, "{code}");
        }
        assert!(!is_refused(&kube::Error::LinesCodecMaxLineLengthExceeded), "not even answered");
    }

    #[test]
    fn what_bindings_give_is_told_in_order_and_once() {
        let grant = |namespace: &str, role: &str| Grant {
            namespace: Some(namespace.into()),
            cluster_role: role.into(),
        };
        let everywhere = Grant { namespace: None, cluster_role: "view".into() };
        let (web, api) = (grant("web", "view"), grant("api", "view"));
        let told =
            distinct([web.clone(), api.clone(), web.clone(), everywhere.clone()].into_iter());
        assert_eq!(told, [everywhere, api, web]);
    }
}
