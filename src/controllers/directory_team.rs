//! DirectoryTeam: find the group, publish the team, keep its bindings.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::StreamExt;
use jiff::Timestamp;
use kube::{
    ResourceExt,
    runtime::{controller::Action, reflector::ObjectRef, reflector::store::Writer},
};
use tokio_util::sync::CancellationToken;

use super::{
    Context, Error, Kind, MANAGER, Nudge, RESYNC, Result,
    bindings::{Bounds, Standing, next_end, wanted},
    controller_on, error_policy, events, jittered, namespace, report,
    role_bindings::{self, role_exists},
    status,
    team_groups::Team,
    team_status::{Facts, accepted, decide},
    tenancy::Organization,
    until, with_finalizer,
};
use crate::{
    api::{DirectorySync, DirectoryTeam, GroupRef, meta},
    ledger::{Match, Selector, Topic},
};

/// How often a team is looked at that waits for a role to be made.
const ROLE_MISSING: Duration = Duration::from_secs(30);

impl Kind for DirectoryTeam {
    const NAME: &'static str = "DirectoryTeam";
}

pub async fn run(ctx: Arc<Context>, writer: Writer<DirectoryTeam>, stop: CancellationToken) {
    let of = ctx.clone();
    let store = (ctx.teams.clone(), writer);
    controller_on(&ctx, events(&ctx), store, move |nudge| concerned(nudge, &of), stop)
        .reconcile_on(ctx.bindings.follow(&ctx.client))
        .run(reconcile, error_policy, ctx)
        .for_each(report)
        .await;
}

fn concerned(nudge: &Nudge, ctx: &Context) -> Vec<Arc<DirectoryTeam>> {
    let changes = match nudge {
        Nudge::Ledger { topic: Topic::Group | Topic::Members, changes } => changes,
        Nudge::Ledger { .. } => return vec![],
        _ => return ctx.teams.state_filter(|team| wakes(nudge, team)),
    };
    let groups = changes
        .iter()
        .filter_map(|change| Some((change.organization.as_deref()?, change.name.parse().ok()?)));
    let team = |(namespace, name): Team| ctx.teams.get(&ObjectRef::new(&name).within(&namespace));
    ctx.team_groups.concerned(groups).into_iter().filter_map(team).collect()
}

fn wakes(nudge: &Nudge, team: &DirectoryTeam) -> bool {
    let Some(own) = &team.metadata.namespace else { return false };
    match nudge {
        Nudge::All => true,
        Nudge::Namespace { name, organizations } => name == own || organizations.contains(own),
        Nudge::Object { kind, namespace } => *kind == DirectorySync::NAME && namespace == own,
        Nudge::Ledger { .. } => false, // see `concerned`
    }
}

async fn reconcile(team: Arc<DirectoryTeam>, ctx: Arc<Context>) -> Result<Action> {
    with_finalizer(team, &ctx, |t| apply(t, &ctx), |t| cleanup(t, &ctx)).await
}

async fn apply(team: Arc<DirectoryTeam>, ctx: &Context) -> Result<Action> {
    let now = Timestamp::now();
    let own = namespace(team.as_ref());
    let name = (own.clone(), team.name_any());
    ctx.team_groups.seeks(&name);
    let facts = match ctx.tenancy.organization(&own).await? {
        Ok(organization) => observe_and_act(&team, &organization, now, ctx).await?,
        Err(refused) => {
            // nobody is in the team; its bindings stay until they end, for a class mended soon, but
            // not in a namespace that is no longer the organization's
            if let Some(organization) = ctx.ledger.organization_named(&own).await? {
                ctx.ledger.withdraw_team(&organization, &team.name_any()).await?;
            }
            let ours = ctx.tenancy.workload_namespaces(&own).await?;
            let stays = |binding: &Standing| {
                binding.place.namespace.as_ref().is_none_or(|at| ours.contains_key(at))
            };
            role_bindings::retain(&team, stays, ctx).await?;
            Facts::refused(refused)
        }
    };
    if let Some(Match::Found { group, .. }) = &facts.group {
        ctx.team_groups.found(&name, group.id);
        // one that was imported for this group steps back
        let told = team.status.as_ref().and_then(|status| status.group.as_ref());
        if told.is_none_or(|told| told.id != group.id.to_string()) && by_hand(&team) {
            ctx.nudges.send(Nudge::Object { kind: DirectoryTeam::NAME, namespace: own });
        }
    }
    let new = decide(&team, &facts, &status::now());
    let debounced = ctx.status.write(team.as_ref(), &new).await?;
    let roles_missing = !facts.wanted.role_not_found.is_empty();
    let next = if roles_missing { ROLE_MISSING } else { RESYNC };
    let next = debounced.unwrap_or_else(|| jittered(next));
    let permissions = team.spec.permissions.as_deref().unwrap_or_default();
    // its bindings end by themselves (see `ends`), and then it is told
    let end = next_end(permissions, now);
    Ok(Action::requeue(end.map_or(next, |end| next.min(until(end, Timestamp::now())))))
}

/// What was found and done.
async fn observe_and_act(
    team: &DirectoryTeam,
    organization: &Organization,
    now: Timestamp,
    ctx: &Context,
) -> Result<Facts> {
    let name = team.name_any();
    let permissions = team.spec.permissions.as_deref().unwrap_or_default();
    let ours = ctx.tenancy.workload_namespaces(&organization.name).await?;
    let bounds = Bounds {
        organization: &organization.name,
        ours: &ours,
        cluster: organization.cluster_scope,
        grantable: &organization.grantable,
        exists: &|name| ctx.tenancy.namespace_exists(name),
        now,
    };
    let mut wanted = wanted(team, permissions, &bounds);
    let accepted = accepted(&wanted, &organization.name);

    // published before it is said, and before anything is bound
    let sync = &team.spec.directory_sync_ref.name;
    let group = match ctx.ledger.directory(&organization.id, sync).await? {
        Some(directory) => {
            let selector = selector(&team.spec.group);
            let counts = accepted.is_yes();
            let put = ctx.ledger.put_team(&organization.id, &name, directory.id, &selector, counts);
            Some(put.await?)
        }
        None => {
            ctx.ledger.withdraw_team(&organization.id, &name).await?;
            None
        }
    };
    // asked only now: what is taken away doesn't wait for answers
    let (missing, failed) = missing_roles(&wanted.roles, ctx).await;
    wanted.leave_out(missing);
    let kept = if team.spec.suspend == Some(true) {
        // what stands stays, but not where it may not stand any more
        let stays = |binding: &Standing| {
            let there = match &binding.place.namespace {
                Some(namespace) => ours.contains_key(namespace),
                None => organization.cluster_scope,
            };
            there && organization.grantable.contains(&binding.role)
        };
        role_bindings::retain(team, stays, ctx).await?
    } else {
        role_bindings::keep(team, &wanted.bindings, ctx).await?
    };
    if group.is_some() {
        ctx.ledger.put_grants(&organization.id, &name, &kept.grants).await?;
    }
    if let Some(error) = failed {
        return Err(error);
    }
    wanted.role_not_found.extend(kept.missing);
    Ok(Facts {
        organization: Some(organization.name.clone()),
        accepted,
        group,
        wanted,
        applied: kept.applied,
        forbidden: kept.forbidden,
    })
}

/// Which of the roles aren't there, and the first thing that went wrong: what couldn't be learned of
/// takes away nothing.
async fn missing_roles(
    roles: &BTreeSet<String>,
    ctx: &Context,
) -> (BTreeSet<String>, Option<Error>) {
    let (mut missing, mut failed) = (BTreeSet::new(), None);
    for role in roles {
        match role_exists(ctx, role).await {
            Ok(true) => {}
            Ok(false) => drop(missing.insert(role.clone())),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    (missing, failed)
}

async fn cleanup(team: Arc<DirectoryTeam>, ctx: &Context) -> Result<()> {
    let namespace = namespace(team.as_ref());
    if let Some(organization) = ctx.ledger.organization_named(&namespace).await? {
        ctx.ledger.delete_team(&organization, &team.name_any()).await?;
    }
    role_bindings::retain(&team, |_| false, ctx).await?;
    ctx.team_groups.forget(&(namespace.clone(), team.name_any()));
    ctx.nudges.send(Nudge::Object { kind: DirectoryTeam::NAME, namespace });
    Ok(())
}

/// Whether a team is not one that we made.
fn by_hand(team: &DirectoryTeam) -> bool {
    team.labels().get(meta::MANAGED_BY).is_none_or(|by| by != MANAGER)
}

fn selector(group: &GroupRef) -> Selector {
    match (&group.id, &group.display_name, &group.external_id) {
        (Some(id), ..) => Selector::Id(id.clone()),
        (_, Some(name), _) => Selector::DisplayName(name.clone()),
        (.., external) => Selector::ExternalId(external.clone().unwrap_or_default()),
    }
}
