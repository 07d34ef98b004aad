//! What a DirectoryTeam's status says of what a pass found and did. Pure.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::bindings::{Wanted, kubernetes_group};
use crate::{
    api::{
        BindingCounts, DirectoryTeam, DirectoryTeamStatus, GroupStatus,
        conditions::{Conditions, Truth, Verdict, Waiting, all_of, kind, reason},
        meta,
    },
    ledger::Match,
};

/// What one pass found and did.
pub struct Facts {
    /// `None` where the namespace is no organization.
    pub organization: Option<String>,
    pub accepted: Verdict,
    /// `None` where there is no directory.
    pub group: Option<Match>,
    pub wanted: Wanted,
    pub applied: usize,
    /// Roles that we may not bind.
    pub forbidden: BTreeSet<String>,
}

impl Facts {
    pub fn refused(accepted: Verdict) -> Self {
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

/// Whether the team may have what it asks for.
pub fn accepted(wanted: &Wanted, organization: &str) -> Verdict {
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
    if !wanted.scope_not_allowed.is_empty() {
        let message = format!(
            "The IdentityClass gives this organization's teams nothing in the whole cluster, for \
             which {} asks: write namespaces instead, or ask the platform team for its \
             clusterScopeSelector. Until then nobody is in this team.",
            list(&wanted.scope_not_allowed)
        );
        return Verdict::no(reason::SCOPE_NOT_ALLOWED, message);
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
        Some(Match::LeftOut(name)) => Verdict::no(
            reason::NOT_FOUND,
            format!(
                "spec.groups of {sync} leaves the group {name} out: let it in there, or name another."
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
            "Suspended: {} bindings stay as they are until they end, whatever the permissions say now.",
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
                 doesn't name it, or clusterWideBindings is false, or an admission policy refuses it \
                 there.",
                list(&facts.forbidden)
            ),
        );
    }
    let wanted = &facts.wanted;
    let out_of_reach = [
        &wanted.role_not_grantable,
        &wanted.namespace_not_ours,
        &wanted.scope_not_allowed,
        &wanted.role_not_found,
        &wanted.namespace_not_found,
    ]
    .into_iter()
    .any(|names| !names.is_empty());
    if out_of_reach || facts.applied < desired {
        let message = format!(
            "{} bindings stand; Accepted and ResolvedRefs say what is in the way of the others.",
            facts.applied
        );
        return Verdict::no(reason::PARTIALLY_APPLIED, message);
    }
    let asked = team.spec.permissions.as_ref().is_some_and(|p| !p.is_empty());
    if !asked {
        let message = "Nobody gets access through this team yet: it has no permissions.";
        return Verdict::yes(reason::NO_PERMISSIONS, message);
    }
    let times = times(wanted);
    if desired == 0 && !wanted.over.is_empty() && wanted.ending.is_empty() {
        let message = format!("Nobody gets access through this team any more.{times}");
        return Verdict::yes(reason::NO_PERMISSIONS, message);
    }
    if desired == 0 {
        let message = format!(
            "Nobody gets access through this team yet: its permissions name no namespace.{times}"
        );
        return Verdict::yes(reason::NO_PERMISSIONS, message);
    }
    let bindings = if desired == 1 { "binding" } else { "bindings" };
    Verdict::yes(reason::APPLIED, format!("{desired} {bindings}.{times}"))
}

/// What the author learns of permissions that end.
fn times(wanted: &Wanted) -> String {
    let over = wanted
        .over
        .iter()
        .map(|(name, at)| format!(" {name} ended at {at}: give it another time, or remove it."));
    let ending = wanted.ending.iter().map(|(name, at)| format!(" {name} ends at {at}."));
    over.chain(ending).collect()
}

pub fn decide(team: &DirectoryTeam, facts: &Facts, now: &Time) -> DirectoryTeamStatus {
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
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        api::{
            DirectoryTeamSpec, GroupRef, LocalRef, Permission,
            conditions::{find, reason_of},
        },
        controllers::bindings::{self, Binding, Bounds},
        ledger::Group,
    };
    use jiff::Timestamp;
    use uuid::Uuid;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn team(permissions: bool) -> DirectoryTeam {
        let permission = Permission {
            name: "developers".into(),
            cluster_role: "edit".into(),
            ..Permission::default()
        };
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
        let wanted = Wanted { bindings: vec![one_binding()], ..Wanted::default() };
        Facts {
            organization: Some("acme".into()),
            accepted: Verdict::yes(reason::ACCEPTED, ""),
            group: Some(Match::Found { group, active_members: 2 }),
            wanted,
            applied: 1,
            forbidden: BTreeSet::new(),
        }
    }

    fn one_binding() -> Binding {
        let web = BTreeMap::from([("web".to_owned(), BTreeMap::new())]);
        let edit = one("edit");
        let bounds = Bounds {
            organization: "acme",
            ours: &web,
            cluster: false,
            grantable: &edit,
            exists: &|_| true,
            now: Timestamp::UNIX_EPOCH,
        };
        let team = team(true);
        let permissions = team.spec.permissions.as_deref().unwrap();
        bindings::wanted(&team, permissions, &bounds).bindings.remove(0)
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
        assert_eq!(status.bindings, Some(BindingCounts { desired: 1, applied: 1 }));
        let waits = [kind::RECONCILING, kind::STALLED];
        assert_eq!(waits.map(|kind| reason_of(&status.conditions, kind)), ["", ""]);
    }

    #[test]
    fn of_the_bindings_that_are_wanted_those_that_stand_are_told() {
        let none = decide(&team(true), &Facts { applied: 0, ..facts() }, &at(1));
        assert_eq!(none.bindings, Some(BindingCounts { desired: 1, applied: 0 }));
    }

    #[test]
    fn where_the_namespace_is_no_organization_every_condition_says_why() {
        let refused = Facts::refused(Verdict::no(reason::CLASS_NOT_FOUND, ""));
        let status = decide(&team(true), &refused, &at(1));
        let says = |kind| reason_of(&status.conditions, kind) == reason::CLASS_NOT_FOUND;
        assert!(says(kind::ACCEPTED) && says(kind::RESOLVED_REFS) && says(kind::GROUP_FOUND));
        assert!(says(kind::PERMISSIONS_APPLIED) && says(kind::READY) && says(kind::STALLED));
        assert_eq!((status.bindings, status.kubernetes_group), (None, None));
    }

    #[test]
    fn a_team_waits_for_what_others_may_make_and_for_an_edit_where_only_that_helps() {
        let refused = Verdict::no(reason::NAMESPACE_NOT_OURS, "");
        let (awaited, stalled) = (kind::RECONCILING, kind::STALLED);
        for (facts, waits, because) in [
            (Facts { group: None, ..facts() }, awaited, reason::DIRECTORY_SYNC_NOT_FOUND),
            (Facts { group: Some(Match::NotFound), ..facts() }, awaited, reason::NOT_FOUND),
            (Facts { group: Some(Match::Ambiguous(2)), ..facts() }, stalled, reason::AMBIGUOUS),
            (Facts { accepted: refused, ..facts() }, stalled, reason::NAMESPACE_NOT_OURS),
            (Facts { forbidden: one("edit"), ..facts() }, stalled, reason::FORBIDDEN),
        ] {
            let status = decide(&team(true), &facts, &at(1));
            let other = if waits == awaited { stalled } else { awaited };
            let said = [waits, other].map(|kind| reason_of(&status.conditions, kind));
            assert_eq!(said, [because, ""]);
        }
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
            (
                with(|f| f.group = Some(Match::LeftOut("Engineering".into()))),
                kind::GROUP_FOUND,
                reason::NOT_FOUND,
            ),
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
        let scope = Wanted { scope_not_allowed: one("everywhere"), ..Wanted::default() };
        assert_eq!(accepted(&scope, "acme").reason, reason::SCOPE_NOT_ALLOWED);
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
    fn the_author_learns_of_permissions_that_end() {
        let said = |facts: &Facts| {
            let status = decide(&team(true), facts, &at(1));
            let applied = find(&status.conditions, kind::PERMISSIONS_APPLIED).unwrap().clone();
            (applied.reason, applied.message)
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut ending = facts();
        ending.wanted.ending.insert("ci".into(), at(60));
        let (reason, message) = said(&ending);
        assert_eq!(reason, reason::APPLIED);
        assert_eq!(message, "1 binding. ci ends at 1970-01-01T00:01:00Z.");
        let wanted = Wanted { over: [("ci".to_owned(), at(60))].into(), ..Wanted::default() };
        let (reason, message) = said(&Facts { wanted, applied: 0, ..facts() });
        assert_eq!(reason, reason::NO_PERMISSIONS);
        assert!(message.starts_with("Nobody gets access through this team any more. ci ended at"));
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
        for kind in [kind::READY, kind::PERMISSIONS_APPLIED] {
            assert_eq!(reason_of(&status.conditions, kind), reason::SUSPENDED);
        }
    }
}
