//! DirectoryTeam: find the group, publish the team, keep its RoleBindings.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::{api::rbac::v1::RoleBinding, apimachinery::pkg::apis::meta::v1::Time};
use kube::{
    Api, ResourceExt,
    api::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        controller::Action,
        reflector::{ObjectRef, store::Writer},
        watcher,
    },
};
use tokio_util::sync::CancellationToken;

use super::{
    Context, Kind, MANAGER, Nudge, RESYNC, Result,
    bindings::{Bounds, Wanted, kubernetes_group, wanted},
    controller, error_policy, jittered, namespace, report,
    role_bindings::{self, role_exists},
    status,
    tenancy::Organization,
    with_finalizer,
};
use crate::{
    api::{
        BindingCounts, DirectorySync, DirectoryTeam, DirectoryTeamStatus, GroupRef, GroupStatus,
        conditions::{Conditions, Truth, Verdict, Waiting, all_of, kind, reason},
        meta,
    },
    ledger::{Match, Selector, Topic},
};

/// How often a team is looked at that waits for a role to be made.
const ROLE_MISSING: Duration = Duration::from_secs(30);

impl Kind for DirectoryTeam {
    const NAME: &'static str = "DirectoryTeam";
}

pub async fn run(ctx: Arc<Context>, writer: Writer<DirectoryTeam>, stop: CancellationToken) {
    let ours = watcher::Config::default().labels(&format!("{}={MANAGER}", meta::MANAGED_BY));
    let bindings = watcher(Api::<PartialObjectMeta<RoleBinding>>::all(ctx.client.clone()), ours)
        .default_backoff()
        .touched_objects();
    controller(&ctx, (ctx.teams.clone(), writer), wakes, stop)
        .watches_stream(bindings, team_of)
        .run(reconcile, error_policy, ctx)
        .for_each(report)
        .await;
}

fn wakes(nudge: &Nudge, team: &DirectoryTeam) -> bool {
    let own = namespace(team);
    match nudge {
        Nudge::All => true,
        Nudge::Namespace { name, organizations } => *name == own || organizations.contains(&own),
        Nudge::Ledger(change) => {
            change.topic == Topic::Directory
                && change.organization.as_ref() == Some(&own)
                && change.name == team.spec.directory_sync_ref.name
        }
        Nudge::Object { kind, namespace } => *kind == DirectorySync::NAME && *namespace == own,
    }
}

/// The team that a binding was made for.
fn team_of(binding: PartialObjectMeta<RoleBinding>) -> Option<ObjectRef<DirectoryTeam>> {
    let labels = binding.labels();
    Some(ObjectRef::new(labels.get(meta::TEAM)?).within(labels.get(meta::ORGANIZATION)?))
}

async fn reconcile(team: Arc<DirectoryTeam>, ctx: Arc<Context>) -> Result<Action> {
    with_finalizer(team, &ctx, |t| apply(t, &ctx), |t| cleanup(t, &ctx)).await
}

async fn apply(team: Arc<DirectoryTeam>, ctx: &Context) -> Result<Action> {
    let own = namespace(team.as_ref());
    let facts = match ctx.tenancy.organization(&own).await? {
        Ok(organization) => observe_and_act(&team, &organization, ctx).await?,
        Err(refused) => {
            // nobody is in the team; its bindings stay, for a class mended soon
            if let Some(organization) = ctx.ledger.organization_named(&own).await? {
                ctx.ledger.withdraw_team(&organization, &team.name_any()).await?;
            }
            Facts::refused(refused)
        }
    };
    let new = decide(&team, &facts, &status::now());
    let debounced = ctx.status.write(team.as_ref(), &new).await?;
    let roles_missing = !facts.wanted.role_not_found.is_empty();
    let next = if roles_missing { ROLE_MISSING } else { RESYNC };
    Ok(Action::requeue(debounced.unwrap_or_else(|| jittered(next))))
}

async fn observe_and_act(
    team: &DirectoryTeam,
    organization: &Organization,
    ctx: &Context,
) -> Result<Facts> {
    let name = team.name_any();
    let permissions = team.spec.permissions.as_deref().unwrap_or_default();
    let ours = ctx.tenancy.workload_namespaces(&organization.name).await?;
    let mut existing = BTreeSet::new();
    for role in permissions.iter().map(|p| &p.cluster_role) {
        if organization.grantable.contains(role)
            && !existing.contains(role)
            && role_exists(ctx, role).await?
        {
            existing.insert(role.clone());
        }
    }
    let bounds = Bounds {
        organization: &organization.name,
        ours: &ours,
        grantable: &organization.grantable,
        existing: &existing,
        exists: &|name| ctx.tenancy.namespace_exists(name),
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
    let kept = if team.spec.suspend == Some(true) {
        // what stands stays, but not where it may not stand any more
        role_bindings::delete_all(team, &ours, ctx).await?
    } else {
        role_bindings::keep(team, &wanted.bindings, ctx).await?
    };
    if group.is_some() {
        ctx.ledger.put_grants(&organization.id, &name, &kept.grants).await?;
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

async fn cleanup(team: Arc<DirectoryTeam>, ctx: &Context) -> Result<()> {
    let namespace = namespace(team.as_ref());
    if let Some(organization) = ctx.ledger.organization_named(&namespace).await? {
        ctx.ledger.delete_team(&organization, &team.name_any()).await?;
    }
    role_bindings::delete_all(&team, &BTreeSet::new(), ctx).await?;
    ctx.nudges.send(Nudge::Object { kind: DirectoryTeam::NAME, namespace });
    Ok(())
}

fn selector(group: &GroupRef) -> Selector {
    match (&group.id, &group.display_name, &group.external_id) {
        (Some(id), ..) => Selector::Id(id.clone()),
        (_, Some(name), _) => Selector::DisplayName(name.clone()),
        (.., external) => Selector::ExternalId(external.clone().unwrap_or_default()),
    }
}

/// What one pass found and did.
struct Facts {
    /// `None` where the namespace is no organization.
    organization: Option<String>,
    accepted: Verdict,
    /// `None` where there is no directory.
    group: Option<Match>,
    wanted: Wanted,
    applied: usize,
    /// Roles that we may not bind.
    forbidden: BTreeSet<String>,
}

impl Facts {
    fn refused(accepted: Verdict) -> Self {
        Self {
            organization: None,
            accepted,
            group: None,
            wanted: Wanted::default(),
            applied: 0,
            forbidden: BTreeSet::new(),
        }
    }
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn accepted(wanted: &Wanted, organization: &str) -> Verdict {
    if !wanted.role_not_grantable.is_empty() {
        let message = format!(
            "The IdentityClass doesn't let teams have {}: ask the platform team, or name another role. Until then nobody is in this team.",
            list(&wanted.role_not_grantable)
        );
        return Verdict::no(reason::ROLE_NOT_GRANTABLE, message);
    }
    if !wanted.namespace_not_ours.is_empty() {
        let message = format!(
            "Not this organization's: {}. The platform team labels its namespaces {}={organization}; \
             its own is never one of them. Until then nobody is in this team.",
            list(&wanted.namespace_not_ours),
            meta::ORGANIZATION
        );
        return Verdict::no(reason::NAMESPACE_NOT_OURS, message);
    }
    Verdict::yes(reason::ACCEPTED, "")
}

/// Nothing else is looked at where the namespace is no organization.
fn refused(facts: &Facts) -> Verdict {
    Verdict { truth: Truth::False, ..facts.accepted.clone() }
}

fn resolved(team: &DirectoryTeam, facts: &Facts) -> Verdict {
    if facts.organization.is_none() {
        return refused(facts);
    }
    let sync = &team.spec.directory_sync_ref.name;
    if facts.group.is_none() {
        let message = format!(
            "There is no DirectorySync {sync} in this namespace: make it, or make this team anew \
             with another."
        );
        return Verdict::no(reason::DIRECTORY_SYNC_NOT_FOUND, message);
    }
    if !facts.wanted.role_not_found.is_empty() {
        let message = format!(
            "There is no ClusterRole {}: ask the platform team to make it, or name another.",
            list(&facts.wanted.role_not_found)
        );
        return Verdict::no(reason::ROLE_NOT_FOUND, message);
    }
    if !facts.wanted.namespace_not_found.is_empty() {
        let message = format!(
            "There is no namespace {}: correct the name, or have it made and labelled.",
            list(&facts.wanted.namespace_not_found)
        );
        return Verdict::no(reason::NAMESPACE_NOT_FOUND, message);
    }
    Verdict::yes(reason::RESOLVED_REFS, "")
}

fn found(team: &DirectoryTeam, facts: &Facts) -> Verdict {
    let sync = &team.spec.directory_sync_ref.name;
    match &facts.group {
        _ if facts.organization.is_none() => refused(facts),
        Some(Match::Found { group, .. }) => {
            Verdict::yes(reason::FOUND, format!("The group {} of {sync}.", group.display_name))
        }
        None => Verdict::no(
            reason::NOT_FOUND,
            format!("There is no DirectorySync {sync} to look for the group in."),
        ),
        Some(Match::NotFound) => Verdict::no(
            reason::NOT_FOUND,
            format!(
                "{sync} has no such group: push it from the company IdP, or correct spec.group."
            ),
        ),
        Some(Match::Ambiguous(number)) => Verdict::no(
            reason::AMBIGUOUS,
            format!(
                "{sync} has {number} groups of that name: name the one that is meant by its externalId, its id at the company IdP, or rename one there."
            ),
        ),
    }
}

fn permissions_applied(team: &DirectoryTeam, facts: &Facts) -> Verdict {
    if facts.organization.is_none() {
        return refused(facts);
    }
    if team.spec.suspend == Some(true) {
        let message = format!(
            "Suspended: {} RoleBindings stay as they are, whatever the permissions say now.",
            facts.applied
        );
        return Verdict::no(reason::SUSPENDED, message);
    }
    let desired = facts.wanted.bindings.len();
    if !facts.forbidden.is_empty() {
        return Verdict::no(
            reason::FORBIDDEN,
            format!(
                "The API server lets Rollcall not bind {}: the chart's value grantableClusterRoles \
                 doesn't name it, or an admission policy refuses it there.",
                list(&facts.forbidden)
            ),
        );
    }
    let wanted = &facts.wanted;
    let out_of_reach = [
        &wanted.role_not_grantable,
        &wanted.namespace_not_ours,
        &wanted.role_not_found,
        &wanted.namespace_not_found,
    ]
    .into_iter()
    .any(|names| !names.is_empty());
    if out_of_reach || facts.applied < desired {
        let message = format!(
            "{} RoleBindings stand; Accepted and ResolvedRefs say what is in the way of the others.",
            facts.applied
        );
        return Verdict::no(reason::PARTIALLY_APPLIED, message);
    }
    let asked = team.spec.permissions.as_ref().is_some_and(|p| !p.is_empty());
    if !asked {
        let message = "Nobody gets access through this team yet: it has no permissions.";
        return Verdict::yes(reason::NO_PERMISSIONS, message);
    }
    if desired == 0 {
        let message =
            "Nobody gets access through this team yet: its permissions name no namespace.";
        return Verdict::yes(reason::NO_PERMISSIONS, message);
    }
    Verdict::yes(reason::APPLIED, format!("{desired} RoleBindings."))
}

fn decide(team: &DirectoryTeam, facts: &Facts, now: &Time) -> DirectoryTeamStatus {
    let resolved = resolved(team, facts);
    let found = found(team, facts);
    let applied = permissions_applied(team, facts);
    let suspended = team.spec.suspend == Some(true);
    let ready = if suspended {
        Verdict::no(reason::SUSPENDED, "Suspended: the team's bindings stay as they are.")
    } else {
        all_of(&[&facts.accepted, &resolved, &found, &applied], applied.message.clone())
    };
    let waiting = match () {
        () if suspended || ready.is_yes() => Waiting::No,
        // what others may make any time: a directory, a role, a namespace, a group
        () if facts.accepted.is_yes() && facts.forbidden.is_empty() => match facts.group {
            Some(Match::Ambiguous(_)) => Waiting::Edit,
            _ => Waiting::Outside,
        },
        () => Waiting::Edit,
    };
    let (group, members) = match &facts.group {
        Some(Match::Found { group, active_members }) => {
            let status =
                GroupStatus { id: group.id.to_string(), display_name: group.display_name.clone() };
            (Some(status), Some(*active_members))
        }
        _ => (None, None),
    };
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let old = team.status.as_ref().map_or(&[][..], |s| &s.conditions);
    let mut conditions = Conditions::new(old, team.metadata.generation, now);
    conditions.set(kind::ACCEPTED, &facts.accepted);
    conditions.set(kind::RESOLVED_REFS, &resolved);
    conditions.set(kind::GROUP_FOUND, &found);
    conditions.set(kind::PERMISSIONS_APPLIED, &applied);
    DirectoryTeamStatus {
        observed_generation: team.metadata.generation,
        source: Some("Directory Group".into()),
        group,
        members,
        kubernetes_group: facts
            .organization
            .as_ref()
            .map(|organization| kubernetes_group(organization, &team.name_any())),
        bindings: facts.organization.as_ref().map(|_| BindingCounts {
            desired: count(facts.wanted.bindings.len()),
            applied: count(facts.applied),
        }),
        conditions: conditions.ready(&ready, waiting),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{
            DirectoryTeamSpec, LocalRef, Permission,
            conditions::{find, reason_of},
        },
        ledger::Group,
    };
    use jiff::Timestamp;
    use uuid::Uuid;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn team(permissions: bool) -> DirectoryTeam {
        let permission =
            Permission { name: "developers".into(), cluster_role: "edit".into(), namespaces: None };
        let spec = DirectoryTeamSpec {
            directory_sync_ref: LocalRef { name: "okta".into() },
            group: GroupRef { display_name: Some("Engineering".into()), ..GroupRef::default() },
            permissions: permissions.then(|| vec![permission]),
            suspend: None,
        };
        DirectoryTeam::new("engineering", spec)
    }

    fn facts() -> Facts {
        let group =
            Group { id: Uuid::nil(), display_name: "Engineering".into(), external_id: None };
        let wanted = Wanted { bindings: vec![RoleBinding::default()], ..Wanted::default() };
        Facts {
            organization: Some("acme".into()),
            accepted: Verdict::yes(reason::ACCEPTED, ""),
            group: Some(Match::Found { group, active_members: 2 }),
            wanted,
            applied: 1,
            forbidden: BTreeSet::new(),
        }
    }

    fn one(name: &str) -> BTreeSet<String> {
        [name.to_owned()].into()
    }

    #[test]
    fn a_team_whose_group_and_roles_are_there_is_ready() {
        let status = decide(&team(true), &facts(), &at(1));
        assert_eq!(reason_of(&status.conditions, kind::READY), reason::READY);
        assert_eq!(reason_of(&status.conditions, kind::PERMISSIONS_APPLIED), reason::APPLIED);
        assert_eq!(status.members, Some(2));
        assert_eq!(status.source.as_deref(), Some("Directory Group"));
        assert_eq!(status.kubernetes_group.as_deref(), Some("rollcall:acme:engineering"));
    }

    #[test]
    fn each_thing_that_is_wrong_has_its_reason() {
        let with = |change: fn(&mut Facts)| {
            let mut facts = facts();
            change(&mut facts);
            facts
        };
        for (facts, condition, because) in [
            (
                with(|f| f.accepted = Verdict::no(reason::ROLE_NOT_GRANTABLE, "")),
                kind::ACCEPTED,
                reason::ROLE_NOT_GRANTABLE,
            ),
            (with(|f| f.group = None), kind::RESOLVED_REFS, reason::DIRECTORY_SYNC_NOT_FOUND),
            (
                with(|f| f.wanted.role_not_found = one("edit")),
                kind::RESOLVED_REFS,
                reason::ROLE_NOT_FOUND,
            ),
            (
                with(|f| f.wanted.namespace_not_found = one("web")),
                kind::RESOLVED_REFS,
                reason::NAMESPACE_NOT_FOUND,
            ),
            (with(|f| f.group = Some(Match::NotFound)), kind::GROUP_FOUND, reason::NOT_FOUND),
            (with(|f| f.group = Some(Match::Ambiguous(2))), kind::GROUP_FOUND, reason::AMBIGUOUS),
            (with(|f| f.forbidden = one("edit")), kind::PERMISSIONS_APPLIED, reason::FORBIDDEN),
            (with(|f| f.applied = 0), kind::PERMISSIONS_APPLIED, reason::PARTIALLY_APPLIED),
        ] {
            let status = decide(&team(true), &facts, &at(1));
            assert_eq!(reason_of(&status.conditions, condition), because);
            assert_eq!(reason_of(&status.conditions, kind::READY), because);
        }
    }

    #[test]
    fn what_is_out_of_the_ceiling_or_elsewhere_is_not_accepted() {
        let role = Wanted { role_not_grantable: one("cluster-admin"), ..Wanted::default() };
        assert_eq!(accepted(&role, "acme").reason, reason::ROLE_NOT_GRANTABLE);
        let place = Wanted { namespace_not_ours: one("kube-system"), ..Wanted::default() };
        assert_eq!(accepted(&place, "acme").reason, reason::NAMESPACE_NOT_OURS);
        assert!(accepted(&Wanted::default(), "acme").is_yes());
    }

    #[test]
    fn a_team_without_permissions_says_that_nobody_gets_access() {
        let none = Facts { wanted: Wanted::default(), applied: 0, ..facts() };
        for permissions in [false, true] {
            let status = decide(&team(permissions), &none, &at(1));
            let applied = find(&status.conditions, kind::PERMISSIONS_APPLIED).unwrap();
            assert_eq!(
                (applied.status.as_str(), applied.reason.as_str()),
                ("True", reason::NO_PERMISSIONS)
            );
            assert!(applied.message.starts_with("Nobody gets access"));
        }
    }

    #[test]
    fn deciding_twice_changes_nothing() {
        for facts in [facts(), Facts::refused(Verdict::no(reason::CLASS_NOT_FOUND, ""))] {
            let mut team = team(true);
            let first = decide(&team, &facts, &at(1));
            team.status = Some(first.clone());
            assert_eq!(decide(&team, &facts, &at(9)), first);
        }
    }

    #[test]
    fn a_suspended_team_says_so() {
        let mut team = team(true);
        team.spec.suspend = Some(true);
        let status = decide(&team, &facts(), &at(1));
        assert_eq!(reason_of(&status.conditions, kind::READY), reason::SUSPENDED);
    }
}
