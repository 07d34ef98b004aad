//! What is left behind when an object goes without its clean-up (a finalizer removed by hand, a
//! cluster restored from an older backup): rows and bindings without an object give nobody
//! anything for long. And people kept for a directory that nobody made again.

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::{
    Api, ResourceExt,
    api::{ListParams, ObjectMeta, Preconditions},
    runtime::reflector::Store,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Context, Error, Kind, MANAGER, Result, binding_index::Bound, bindings::Place, chain,
    identity_class, namespace, role_bindings,
};
use crate::{
    api::meta,
    dns::DomainName,
    ledger::{Published, Thing},
};

const EVERY: Duration = Duration::from_secs(3600);
/// How long people and groups of a deleted DirectorySync are kept.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How many bindings are asked for at once.
const PAGE: u32 = 500;

/// Sweep at the start, and hourly until `stop`.
pub async fn run(ctx: &Context, stop: CancellationToken) {
    let mut seen = 0;
    loop {
        let swept = async {
            sweep(ctx).await?;
            ctx.ledger.forget_changes(seen).await?;
            seen = ctx.ledger.latest_change().await?;
            identity_class::forget_gone(ctx).await?;
            let forgotten = ctx.ledger.purge_directories(Timestamp::now() - KEPT).await?;
            if forgotten > 0 {
                info!(forgotten, "forgot deleted directories");
            }
            Ok::<_, Error>(())
        };
        match stop.run_until_cancelled(swept).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => warn!(error = %chain(&error), "not swept"),
        }
        if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

async fn sweep(ctx: &Context) -> Result<()> {
    ctx.filled().await?;
    // rows first: the object of a row that is read here was in the cache before
    let rows = ctx.ledger.published().await?;
    let in_namespaces = bindings(&Api::<RoleBinding>::all(ctx.client.clone())).await?;
    let in_cluster = bindings(&Api::<ClusterRoleBinding>::all(ctx.client.clone())).await?;
    let orphans = orphans(rows, &objects(ctx), &ctx.tenancy.names());
    for Published { organization, namespace, thing, name } in orphans {
        warn!(namespace, ?thing, name, "nothing in the cluster stands for this row: removed");
        let (id, ledger) = (&organization, &ctx.ledger);
        match thing {
            Thing::Organization => ledger.end_organization(id, Timestamp::now()).await?,
            Thing::Domain => ledger.release(id, &name).await?,
            Thing::Connection => ledger.delete_connection(id, &name).await?,
            Thing::Directory => ledger.delete_directory(id, &name, Timestamp::now()).await?,
            Thing::Team => ledger.delete_team(id, &name).await?,
        }
    }
    let teams: BTreeSet<_> = ctx.teams.state().iter().filter_map(|team| team.uid()).collect();
    for binding in in_namespaces.into_iter().chain(in_cluster) {
        if is_of_no_team(&binding, &teams) {
            let ObjectMeta { namespace, name, uid, resource_version, .. } = binding;
            let place = Place { namespace, name: name.unwrap_or_default() };
            warn!(?place, "no team stands for this binding: removed");
            role_bindings::delete(ctx, &place, Preconditions { uid, resource_version }).await?;
        }
    }
    Ok(())
}

/// Whether a binding was made for a team that is gone. One that names none isn't ours to delete.
fn is_of_no_team(binding: &ObjectMeta, teams: &BTreeSet<String>) -> bool {
    let owner = binding.labels.as_ref().and_then(|labels| labels.get(meta::OWNER_UID));
    owner.is_some_and(|uid| !teams.contains(uid))
}

/// The names of all objects that publish rows, as the rows have them.
fn objects(ctx: &Context) -> BTreeSet<(Thing, String, String)> {
    fn named<K: Kind>(
        store: &Store<K>,
        thing: Thing,
    ) -> impl Iterator<Item = (Thing, String, String)> {
        let all = store.state().into_iter();
        all.map(move |object| (thing, namespace(object.as_ref()), object.name_any()))
    }
    let domains = ctx.domains.state().into_iter().filter_map(|domain| {
        let name = DomainName::parse(&domain.spec.domain).ok()?;
        Some((Thing::Domain, namespace(domain.as_ref()), name.to_string()))
    });
    domains
        .chain(named(&ctx.connections, Thing::Connection))
        .chain(named(&ctx.syncs, Thing::Directory))
        .chain(named(&ctx.teams, Thing::Team))
        .collect()
}

/// The rows that nothing in the cluster stands for.
fn orphans(
    rows: Vec<Published>,
    objects: &BTreeSet<(Thing, String, String)>,
    namespaces: &BTreeSet<String>,
) -> Vec<Published> {
    rows.into_iter()
        .filter(|row| match row.thing {
            Thing::Organization => !namespaces.contains(&row.namespace),
            thing => !objects.contains(&(thing, row.namespace.clone(), row.name.clone())),
        })
        .collect()
}

/// Every binding of a kind that carries our mark, a page at a time.
async fn bindings<K: Bound>(api: &Api<K>) -> Result<Vec<ObjectMeta>> {
    let ours = format!("{}={MANAGER}", meta::MANAGED_BY);
    let mut params = ListParams::default().labels(&ours).limit(PAGE);
    let mut bindings = vec![];
    loop {
        let page = api.list_metadata(&params).await?;
        bindings.extend(page.items.into_iter().map(|binding| binding.metadata));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(bindings),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_that_names_no_team_is_left_alone() {
        let teams = ["u1".to_owned()].into();
        let of = |labels: &[(&str, &str)]| {
            let owned = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
            let binding = ObjectMeta { labels: Some(owned.collect()), ..ObjectMeta::default() };
            is_of_no_team(&binding, &teams)
        };
        assert!(!of(&[(meta::OWNER_UID, "u1")]));
        assert!(of(&[(meta::OWNER_UID, "u2")]));
        assert!(!of(&[(meta::MANAGED_BY, MANAGER)]));
    }

    #[test]
    fn only_rows_that_nothing_stands_for_are_orphans() {
        let row = |thing, namespace: &str, name: &str| Published {
            organization: "o1".into(),
            namespace: namespace.into(),
            thing,
            name: name.into(),
        };
        let rows = vec![
            row(Thing::Organization, "acme", ""),
            row(Thing::Organization, "gone", ""),
            row(Thing::Domain, "acme", "acme.com"),
            row(Thing::Domain, "acme", "acme.io"),
            row(Thing::Team, "acme", "staff"),
            row(Thing::Directory, "acme", "staff"),
        ];
        let object = |thing, name: &str| (thing, "acme".to_owned(), name.to_owned());
        let objects = [object(Thing::Domain, "acme.com"), object(Thing::Team, "staff")].into();
        let left = orphans(rows, &objects, &["acme".to_owned()].into());
        let left: Vec<_> = left.into_iter().map(|row| (row.thing, row.name)).collect();
        let expected = [
            (Thing::Organization, String::new()),
            (Thing::Domain, "acme.io".into()),
            (Thing::Directory, "staff".into()),
        ];
        assert_eq!(left, expected);
    }
}
