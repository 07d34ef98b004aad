//! "Import Directory Groups": which groups become teams, under which names. Pure.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest;
use kube::{Resource, ResourceExt, api::ObjectMeta};
use uuid::Uuid;
use wildmatch::WildMatch;

use super::{MANAGER, is_deleted};
use crate::{
    api::{DirectorySync, DirectoryTeam, DirectoryTeamSpec, GroupRef, ImportSpec, LocalRef, meta},
    ledger::Group,
};

/// The longest name a team may have.
const LONGEST: usize = 63;

/// What is to be done.
#[derive(Debug, Default)]
pub struct Plan {
    pub apply: Vec<DirectoryTeam>,
    pub delete: Vec<DirectoryTeam>,
}

/// The difference between the teams that `import` asks for and those that there are.
///
/// `teams` are all teams of the namespace, `pinned` the groups that teams stand for. One made by
/// hand wins, and is never changed.
pub fn plan(
    sync: &DirectorySync,
    import: Option<&ImportSpec>,
    groups: &[Group],
    teams: &[DirectoryTeam],
    pinned: &BTreeMap<String, Uuid>,
) -> Plan {
    let mut names: BTreeSet<String> = teams.iter().map(ResourceExt::name_any).collect();
    // a team on its way out holds its name, and no group
    let staying = teams.iter().filter(|team| !is_deleted(*team));
    let (imported, by_hand): (Vec<_>, Vec<_>) = staying.partition(|team| is_imported(team, sync));
    let taken: BTreeSet<_> = by_hand.iter().filter_map(|t| pinned.get(&t.name_any())).collect();
    let mut current: BTreeMap<Uuid, &DirectoryTeam> = BTreeMap::new();
    let mut plan = Plan::default();
    for team in imported {
        match group_id(team) {
            Some(id) if !current.contains_key(&id) => drop(current.insert(id, team)),
            _ => plan.delete.push(team.clone()),
        }
    }
    for group in groups {
        let wanted = import.is_some_and(|import| matches(import, &group.display_name))
            && !taken.contains(&group.id)
            && !by_hand.iter().any(|team| names_group(team, sync, group));
        if !wanted {
            continue;
        }
        let have = current.remove(&group.id);
        let name = have.map_or_else(|| team_name(group, &names), ResourceExt::name_any);
        names.insert(name.clone());
        let want = team(sync, import, group, &name);
        if have.is_none_or(|have| !same(have, &want)) {
            plan.apply.push(want);
        }
    }
    plan.delete.extend(current.into_values().cloned());
    plan
}

/// Whether a team is one that we made for `sync`.
fn is_imported(team: &DirectoryTeam, sync: &DirectorySync) -> bool {
    team.labels().get(meta::MANAGED_BY).is_some_and(|by| by == MANAGER)
        && team.labels().get(meta::OWNER_UID) == sync.meta().uid.as_ref()
}

fn group_id(team: &DirectoryTeam) -> Option<Uuid> {
    team.annotations().get(meta::GROUP_ID)?.parse().ok()
}

/// Whether a team made by hand asks for this group.
fn names_group(team: &DirectoryTeam, sync: &DirectorySync, group: &Group) -> bool {
    let by = &team.spec.group;
    team.spec.directory_sync_ref.name == sync.name_any()
        && (by.display_name.as_ref() == Some(&group.display_name)
            || by.id.as_deref() == Some(&group.id.to_string())
            || (by.external_id.is_some() && by.external_id == group.external_id))
}

fn matches(import: &ImportSpec, name: &str) -> bool {
    let any = |globs: &[String]| globs.iter().any(|glob| WildMatch::new(glob).matches(name));
    any(&import.include) && !any(import.exclude.as_deref().unwrap_or_default())
}

/// A readable DNS label (RFC 1123, 2.1) of the group's name; with a short hash where that is
/// taken or nothing of it is left.
fn team_name(group: &Group, taken: &BTreeSet<String>) -> String {
    let mut label = String::new();
    for c in group.display_name.to_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            label.push(c);
        } else if !label.is_empty() && !label.ends_with('-') {
            label.push('-');
        }
    }
    label.truncate(LONGEST); // ASCII alone
    let label = label.trim_end_matches('-');
    if !label.is_empty() && !taken.contains(label) {
        return label.to_owned();
    }
    let hash = digest::digest(&digest::SHA256, group.id.as_bytes());
    let hash: String = hash.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let stem = if label.is_empty() { "group" } else { label };
    let stem = &stem[..stem.len().min(LONGEST - hash.len() - 1)];
    format!("{}-{hash}", stem.trim_end_matches('-'))
}

fn team(
    sync: &DirectorySync,
    import: Option<&ImportSpec>,
    group: &Group,
    name: &str,
) -> DirectoryTeam {
    let spec = DirectoryTeamSpec {
        directory_sync_ref: LocalRef { name: sync.name_any() },
        group: GroupRef { id: Some(group.id.to_string()), ..GroupRef::default() },
        permissions: import.and_then(|import| import.permissions.clone()),
        suspend: None,
    };
    let mut team = DirectoryTeam::new(name, spec);
    let pair = |key: &str, value: String| (key.to_owned(), value);
    team.metadata = ObjectMeta {
        namespace: sync.namespace(),
        labels: Some(BTreeMap::from([
            pair(meta::MANAGED_BY, MANAGER.into()),
            pair(meta::OWNER_UID, sync.uid().unwrap_or_default()),
        ])),
        annotations: Some(BTreeMap::from([pair(meta::GROUP_ID, group.id.to_string())])),
        owner_references: sync.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..team.metadata
    };
    team
}

/// Whether a team has all that we want of it; what others added to it is theirs.
fn same(have: &DirectoryTeam, want: &DirectoryTeam) -> bool {
    let spec = DirectoryTeamSpec { suspend: None, ..have.spec.clone() };
    spec == want.spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{DirectorySyncSpec, SourceSpec};

    fn sync() -> DirectorySync {
        let spec = DirectorySyncSpec { suspend: None, source: SourceSpec::default(), teams: None };
        let mut sync = DirectorySync::new("okta", spec);
        sync.metadata.namespace = Some("acme".into());
        sync.metadata.uid = Some("s1".into());
        sync
    }

    fn import(include: &str, exclude: &str) -> ImportSpec {
        ImportSpec {
            include: vec![include.into()],
            exclude: Some(vec![exclude.into()]),
            permissions: None,
        }
    }

    fn group(id: u128, name: &str) -> Group {
        Group { id: Uuid::from_u128(id), display_name: name.into(), external_id: None }
    }

    fn by_hand(name: &str, group: GroupRef) -> DirectoryTeam {
        let spec = DirectoryTeamSpec {
            directory_sync_ref: LocalRef { name: "okta".into() },
            group,
            permissions: None,
            suspend: None,
        };
        DirectoryTeam::new(name, spec)
    }

    fn names(teams: &[DirectoryTeam]) -> Vec<String> {
        teams.iter().map(ResourceExt::name_any).collect()
    }

    fn run(groups: &[Group], teams: &[DirectoryTeam]) -> Plan {
        plan(&sync(), Some(&import("Team *", "*secret*")), groups, teams, &BTreeMap::new())
    }

    #[test]
    fn groups_that_match_become_teams_with_readable_names() {
        let groups =
            [group(1, "Team Rocket & Söhne"), group(2, "Team secret"), group(3, "Everyone")];
        assert_eq!(names(&run(&groups, &[]).apply), ["team-rocket-s-hne"]);
        let nothing = plan(&sync(), None, &groups, &[], &BTreeMap::new());
        assert!(nothing.apply.is_empty() && nothing.delete.is_empty());
    }

    #[test]
    fn a_second_pass_changes_nothing_and_a_rename_keeps_the_name() {
        let first = run(&[group(1, "Team A")], &[]).apply;
        let again = run(&[group(1, "Team A")], &first);
        assert!(again.apply.is_empty() && again.delete.is_empty());
        let renamed = run(&[group(1, "Team B")], &first);
        assert!(renamed.apply.is_empty() && renamed.delete.is_empty());
    }

    #[test]
    fn a_group_that_goes_or_matches_no_more_takes_its_team_along() {
        let first = run(&[group(1, "Team A")], &[]).apply;
        assert_eq!(names(&run(&[], &first).delete), ["team-a"]);
        assert_eq!(names(&run(&[group(1, "secret Team A")], &first).delete), ["team-a"]);
    }

    #[test]
    fn only_colliding_names_get_a_hash_and_all_are_labels() {
        let long = format!("Team {}", "x".repeat(99));
        let groups = [group(1, "Team A"), group(2, "Team (a)"), group(3, &long)];
        let made = names(&run(&groups, &[]).apply);
        assert_eq!(made[0], "team-a");
        assert!(made[1].starts_with("team-a-") && made[1] != "team-a-");
        assert!(made.iter().all(|name| name.len() <= LONGEST));
        let nameless =
            plan(&sync(), Some(&import("*", "-")), &[group(4, "工程")], &[], &BTreeMap::new());
        assert!(names(&nameless.apply)[0].starts_with("group-"));
    }

    #[test]
    fn a_team_made_by_hand_wins_and_is_never_changed() {
        let first = run(&[group(1, "Team A")], &[]).apply;
        for named in [
            GroupRef { display_name: Some("Team A".into()), ..GroupRef::default() },
            GroupRef { id: Some(Uuid::from_u128(1).to_string()), ..GroupRef::default() },
        ] {
            let mut teams = first.clone();
            teams.push(by_hand("mine", named));
            let stepped_back = run(&[group(1, "Team A")], &teams);
            assert!(stepped_back.apply.is_empty());
            assert_eq!(names(&stepped_back.delete), ["team-a"]);
        }
        // one that stands for another group only keeps its name
        let other = GroupRef { display_name: Some("Other".into()), ..GroupRef::default() };
        let beside = run(&[group(1, "Team A")], &[by_hand("team-a", other)]);
        assert!(names(&beside.apply)[0].starts_with("team-a-"));
        assert!(beside.delete.is_empty());
        // and one that is pinned to a group since renamed is known by the ledger
        let elsewhere = GroupRef { display_name: Some("Old".into()), ..GroupRef::default() };
        let pinned = BTreeMap::from([("mine".to_owned(), Uuid::from_u128(1))]);
        let (groups, teams) = ([group(1, "Team A")], [by_hand("mine", elsewhere)]);
        let pinned = plan(&sync(), Some(&import("*", "-")), &groups, &teams, &pinned);
        assert!(pinned.apply.is_empty());
    }
}
