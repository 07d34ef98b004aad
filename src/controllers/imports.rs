//! "Import Directory Groups": which groups become teams, under which names. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aws_lc_rs::digest;
use kube::{Resource, ResourceExt, api::ObjectMeta};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{MANAGER, is_deleted};
use crate::{
    api::{DirectorySync, DirectoryTeam, DirectoryTeamSpec, GroupRef, ImportSpec, LocalRef, meta},
    ledger::{Globs, Group},
};

/// The longest name a team may have.
const LONGEST: usize = 63;

/// What is to be done.
#[derive(Debug, Default)]
pub struct Plan {
    pub create: Vec<DirectoryTeam>,
    /// Teams as they are, with what they are to become.
    pub change: Vec<(Arc<DirectoryTeam>, DirectoryTeamSpec)>,
    /// Another team stands for their group.
    pub step_back: Vec<Arc<DirectoryTeam>>,
    /// Their group is gone, or isn't imported any more: to be removed within the limits.
    pub remove: Vec<Arc<DirectoryTeam>>,
    /// The UIDs of all imported teams there are, those included that are to be removed.
    pub standing: BTreeSet<String>,
}

/// The difference between the teams that the import of `sync` asks for and those that there are.
///
/// `teams` are all teams of the namespace, `pinned` the groups that teams stand for. One made by
/// hand wins, and is never changed.
///
/// Where a group is gone and another comes that would have its team's name, that one gets the team:
/// an IdP that pushes all of its groups anew changes nobody's access for good.
pub fn plan(
    sync: &DirectorySync,
    groups: &[Group],
    teams: &[Arc<DirectoryTeam>],
    pinned: &BTreeMap<String, Uuid>,
) -> Plan {
    let mut names: BTreeSet<String> = teams.iter().map(|team| team.name_any()).collect();
    // a team on its way out holds its name, and no group
    let staying = teams.iter().filter(|team| !is_deleted(team.as_ref()));
    let (imported, by_hand): (Vec<_>, Vec<_>) = staying.partition(|team| is_imported(team, sync));
    let by_hand = ByHand::new(&by_hand, sync, pinned);
    let mut current: BTreeMap<Uuid, &Arc<DirectoryTeam>> = BTreeMap::new();
    let mut plan = Plan::default();
    for team in imported {
        match group_id(team) {
            Some(id) if !current.contains_key(&id) => drop(current.insert(id, team)),
            _ => plan.step_back.push(team.clone()),
        }
    }
    plan.standing = current.values().filter_map(|team| team.uid()).collect();
    let import = import_globs(sync).map(|globs| globs.matcher());
    let let_in = let_in(sync).matcher();
    let there: BTreeSet<_> = groups.iter().map(|group| group.id).collect();
    let mut orphans: BTreeMap<String, Uuid> = current
        .iter()
        .filter(|(id, _)| !there.contains(id))
        .map(|(id, team)| (team.name_any(), *id))
        .collect();
    for group in groups {
        let name = &group.display_name;
        if !import.as_ref().is_some_and(|globs| globs.matches(name)) || !let_in.matches(name) {
            continue;
        }
        let have = current.remove(&group.id);
        if by_hand.have(group) {
            plan.step_back.extend(have.cloned());
            continue;
        }
        let orphan =
            || orphans.remove(&label(&group.display_name)).and_then(|id| current.remove(&id));
        let want = spec(sync, group);
        match have.or_else(orphan) {
            Some(have) if !same(have, &want) => plan.change.push((have.clone(), want)),
            Some(_) => {}
            None => {
                let name = team_name(group, &names);
                names.insert(name.clone());
                plan.create.push(team(sync, group, &name, want));
            }
        }
    }
    plan.remove.extend(current.into_values().cloned());
    plan
}

/// The groups that teams made by hand have: those they are pinned to; and of one that isn't (yet),
/// whichever it asks for.
struct ByHand<'a> {
    groups: BTreeSet<Uuid>,
    names: BTreeSet<&'a str>,
    external_ids: BTreeSet<&'a str>,
}

impl<'a> ByHand<'a> {
    fn new(
        teams: &[&'a Arc<DirectoryTeam>],
        sync: &DirectorySync,
        pinned: &BTreeMap<String, Uuid>,
    ) -> Self {
        let (pinned_to, seeking): (Vec<_>, Vec<_>) = teams
            .iter()
            .map(|team| (team, pinned.get(&team.name_any())))
            .partition(|(_, to)| to.is_some());
        let sought: Vec<_> = seeking
            .into_iter()
            .filter(|(team, _)| team.spec.directory_sync_ref.name == sync.name_any())
            .map(|(team, _)| &team.spec.group)
            .collect();
        let ids = sought.iter().filter_map(|by| by.id.as_deref()?.parse().ok());
        Self {
            groups: pinned_to.into_iter().filter_map(|(_, to)| to.copied()).chain(ids).collect(),
            names: sought.iter().filter_map(|by| by.display_name.as_deref()).collect(),
            external_ids: sought.iter().filter_map(|by| by.external_id.as_deref()).collect(),
        }
    }

    fn have(&self, group: &Group) -> bool {
        self.groups.contains(&group.id)
            || self.names.contains(group.display_name.as_str())
            || group.external_id.as_deref().is_some_and(|id| self.external_ids.contains(id))
    }
}

/// Whether a team is one that we made for `sync`.
pub fn is_imported(team: &DirectoryTeam, sync: &DirectorySync) -> bool {
    team.labels().get(meta::MANAGED_BY).is_some_and(|by| by == MANAGER)
        && team.labels().get(meta::OWNER_UID) == sync.meta().uid.as_ref()
}

fn group_id(team: &DirectoryTeam) -> Option<Uuid> {
    team.annotations().get(meta::GROUP_ID)?.parse().ok()
}

/// Which groups teams may stand for at all.
pub fn let_in(sync: &DirectorySync) -> Globs {
    let groups = sync.spec.groups.clone().unwrap_or_default();
    Globs { include: groups.include, exclude: groups.exclude.unwrap_or_default() }
}

/// Which of them are imported, if any.
fn import_globs(sync: &DirectorySync) -> Option<Globs> {
    let ImportSpec { include, exclude, .. } = sync.spec.teams.as_ref()?.import.clone()?;
    Some(Globs { include: Some(include), exclude: exclude.unwrap_or_default() })
}

/// What a DNS label (RFC 1123, 2.1) can keep of a group's name; maybe nothing.
fn label(name: &str) -> String {
    let mut label = String::new();
    for c in name.to_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            label.push(c);
        } else if !label.is_empty() && !label.ends_with('-') {
            label.push('-');
        }
    }
    label.truncate(LONGEST); // ASCII alone
    label.truncate(label.trim_end_matches('-').len());
    label
}

/// A readable label of the group's name; with a short hash where that is taken or nothing of it is
/// left, and with another where somebody has taken that name as well.
fn team_name(group: &Group, taken: &BTreeSet<String>) -> String {
    let label = label(&group.display_name);
    let (stem, mut name) = match label.as_str() {
        "" => ("group", None),
        label => (label, Some(label.to_owned())),
    };
    let mut attempt = 0_u32;
    loop {
        if let Some(name) = name.filter(|name| !taken.contains(name)) {
            return name;
        }
        name = Some(hashed(stem, group.id, attempt));
        attempt += 1;
    }
}

fn hashed(stem: &str, group: Uuid, attempt: u32) -> String {
    let mut id = group.as_bytes().to_vec();
    if attempt > 0 {
        id.extend(attempt.to_be_bytes());
    }
    let hash = digest::digest(&digest::SHA256, &id);
    let hash: String = hash.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let stem = &stem[..stem.len().min(LONGEST - hash.len() - 1)];
    format!("{}-{hash}", stem.trim_end_matches('-'))
}

fn spec(sync: &DirectorySync, group: &Group) -> DirectoryTeamSpec {
    let import = sync.spec.teams.as_ref().and_then(|teams| teams.import.as_ref());
    DirectoryTeamSpec {
        directory_sync_ref: LocalRef { name: sync.name_any() },
        group: GroupRef { id: Some(group.id.to_string()), ..GroupRef::default() },
        permissions: import.and_then(|import| import.permissions.clone()),
        suspend: None,
    }
}

fn team(sync: &DirectorySync, group: &Group, name: &str, spec: DirectoryTeamSpec) -> DirectoryTeam {
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

/// Whether a team is as we want it; whether it is suspended is for others to say.
fn same(have: &DirectoryTeam, want: &DirectoryTeamSpec) -> bool {
    DirectoryTeamSpec { suspend: None, ..have.spec.clone() } == *want
}

/// The change that makes `have` what it is to become, and nothing else of it: a merge patch
/// (RFC 7386) on the very object that was seen.
pub fn change(have: &DirectoryTeam, want: &DirectoryTeamSpec) -> Value {
    json!({
        "metadata": {
            "resourceVersion": have.resource_version(),
            "annotations": { meta::GROUP_ID: want.group.id },
        },
        "spec": {
            "group": {
                "id": want.group.id, "displayName": Value::Null, "externalId": Value::Null,
            },
            "permissions": want.permissions,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Permission;

    /// One that imports what matches, without what matches the other.
    fn importing(include: &str, exclude: &str) -> DirectorySync {
        let spec = json!({
            "source": { "scim": {} },
            "teams": { "import": { "include": [include], "exclude": [exclude] } },
        });
        let mut sync = DirectorySync::new("okta", serde_json::from_value(spec).unwrap());
        sync.metadata.namespace = Some("acme".into());
        sync.metadata.uid = Some("s1".into());
        sync
    }

    fn sync() -> DirectorySync {
        importing("Team *", "*secret*")
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

    fn names<'a>(teams: impl IntoIterator<Item = &'a DirectoryTeam>) -> Vec<String> {
        teams.into_iter().map(ResourceExt::name_any).collect()
    }

    fn removed(plan: &Plan) -> Vec<String> {
        names(plan.remove.iter().map(AsRef::as_ref))
    }

    fn is_empty(plan: &Plan) -> bool {
        let Plan { create, change, step_back, remove, .. } = plan;
        create.is_empty() && change.is_empty() && step_back.is_empty() && remove.is_empty()
    }

    fn run(groups: &[Group], teams: &[Arc<DirectoryTeam>]) -> Plan {
        plan(&sync(), groups, teams, &BTreeMap::new())
    }

    /// The teams that are made of these groups.
    fn made(groups: &[Group]) -> Vec<Arc<DirectoryTeam>> {
        let with_uid = |mut team: DirectoryTeam| {
            team.metadata.uid = Some(team.name_any());
            Arc::new(team)
        };
        run(groups, &[]).create.into_iter().map(with_uid).collect()
    }

    #[test]
    fn groups_that_match_become_teams_with_readable_names() {
        let groups =
            [group(1, "Team Rocket & Söhne"), group(2, "Team secret"), group(3, "Everyone")];
        assert_eq!(names(&run(&groups, &[]).create), ["team-rocket-s-hne"]);
        let mut without = sync();
        without.spec.teams = None;
        assert!(is_empty(&plan(&without, &groups, &[], &BTreeMap::new())));
    }

    #[test]
    fn a_group_that_the_directory_leaves_out_is_not_imported() {
        let mut sync = importing("*", "-");
        sync.spec.groups =
            serde_json::from_value(json!({ "include": ["Team *"], "exclude": ["*x"] })).unwrap();
        let groups = [group(1, "Team a"), group(2, "Team x"), group(3, "Staff")];
        let plan = plan(&sync, &groups, &[], &BTreeMap::new());
        assert_eq!(names(&plan.create), ["team-a"]);
    }

    #[test]
    fn a_second_pass_changes_nothing_and_a_rename_keeps_the_name() {
        let first = made(&[group(1, "Team A")]);
        assert!(is_empty(&run(&[group(1, "Team A")], &first)));
        assert!(is_empty(&run(&[group(1, "Team B")], &first)));
    }

    #[test]
    fn a_group_that_goes_or_matches_no_more_takes_its_team_along() {
        let first = made(&[group(1, "Team A")]);
        let gone = run(&[], &first);
        assert_eq!((removed(&gone), gone.standing.len()), (vec!["team-a".to_owned()], 1));
        assert_eq!(removed(&run(&[group(1, "secret Team A")], &first)), ["team-a"]);
    }

    #[test]
    fn a_group_that_is_pushed_anew_gets_its_team_back() {
        let first = made(&[group(1, "Team A"), group(2, "Team B")]);
        let anew = run(&[group(3, "Team A"), group(2, "Team B")], &first);
        assert!(anew.create.is_empty() && anew.remove.is_empty());
        let (have, want) = &anew.change[0];
        assert_eq!(have.name_any(), "team-a");
        assert_eq!(want.group.id, Some(Uuid::from_u128(3).to_string()));
        let patch = change(have, want);
        assert_eq!(patch["metadata"]["annotations"][meta::GROUP_ID], json!(want.group.id));
        assert_eq!(patch["spec"]["permissions"], Value::Null);
        // while the first is there, another of the name is another
        let both = run(&[group(1, "Team A"), group(2, "Team B"), group(3, "Team A")], &first);
        assert!(names(&both.create)[0].starts_with("team-a-") && both.change.is_empty());
    }

    #[test]
    fn teams_follow_the_permissions_of_the_import_and_one_that_somebody_edited_is_put_right() {
        let permissions = |role: &str| {
            Some(vec![Permission {
                name: "look".into(),
                cluster_role: role.into(),
                ..Permission::default()
            }])
        };
        let groups = [group(1, "Team A"), group(2, "Team B")];
        let pass = |role, teams: &[Arc<DirectoryTeam>]| {
            let mut sync = sync();
            let import = sync.spec.teams.as_mut().and_then(|teams| teams.import.as_mut());
            import.unwrap().permissions = role;
            plan(&sync, &groups, teams, &BTreeMap::new())
        };
        let changed = |plan: &Plan| -> Vec<_> {
            let Plan { create, step_back, remove, .. } = plan;
            assert!(create.is_empty() && step_back.is_empty() && remove.is_empty());
            plan.change.iter().map(|(have, _)| have.name_any()).collect()
        };
        let become_so = |plan: &Plan| -> Vec<_> {
            let become_so = |(have, want): &(Arc<DirectoryTeam>, DirectoryTeamSpec)| {
                let patch = change(have, want);
                assert_eq!(patch["spec"]["permissions"], json!(want.permissions));
                assert_eq!(patch["spec"].get("suspend"), None, "that is somebody else's to say");
                Arc::new(DirectoryTeam { spec: want.clone(), ..have.as_ref().clone() })
            };
            plan.change.iter().map(become_so).collect()
        };
        let mut teams = made(&groups);
        for role in [permissions("view"), permissions("edit"), Some(vec![]), permissions("view")] {
            let other = pass(role.clone(), &teams);
            assert_eq!(changed(&other), ["team-a", "team-b"]);
            teams = become_so(&other);
            assert!(teams.iter().all(|team| team.spec.permissions == role));
            assert!(is_empty(&pass(role, &teams)));
        }
        let edit = |edit: fn(&mut DirectoryTeamSpec)| {
            let mut edited = teams.clone();
            edit(&mut Arc::make_mut(&mut edited[0]).spec);
            pass(permissions("view"), &edited)
        };
        for edited in [
            edit(|spec| spec.permissions = None),
            edit(|spec| spec.permissions.as_mut().unwrap()[0].cluster_role = "edit".into()),
            edit(|spec| spec.group.display_name = Some("Team B".into())),
        ] {
            assert_eq!(changed(&edited), ["team-a"]);
            assert_eq!(become_so(&edited)[0].spec, teams[0].spec);
        }
        assert!(is_empty(&edit(|spec| spec.suspend = Some(true))));
    }

    #[test]
    fn only_colliding_names_get_a_hash_and_all_are_labels() {
        let long = format!("Team {}", "x".repeat(99));
        let groups = [group(1, "Team A"), group(2, "Team (a)"), group(3, &long)];
        let made = names(&run(&groups, &[]).create);
        assert_eq!(made[0], "team-a");
        assert!(made[1].starts_with("team-a-") && made[1] != "team-a-");
        assert!(made.iter().all(|name| name.len() <= LONGEST));
        let nameless = plan(&importing("*", "-"), &[group(4, "工程")], &[], &BTreeMap::new());
        assert!(names(&nameless.create)[0].starts_with("group-"));
    }

    #[test]
    fn a_team_made_by_hand_wins_and_is_never_changed() {
        let first = made(&[group(1, "Team A")]);
        for named in [
            GroupRef { display_name: Some("Team A".into()), ..GroupRef::default() },
            GroupRef { id: Some(Uuid::from_u128(1).to_string()), ..GroupRef::default() },
            GroupRef { external_id: Some("a".into()), ..GroupRef::default() },
        ] {
            let mut teams = first.clone();
            teams.push(Arc::new(by_hand("mine", named)));
            let group = Group { external_id: Some("a".into()), ..group(1, "Team A") };
            let stepped_back = run(&[group], &teams);
            assert!(stepped_back.create.is_empty() && stepped_back.remove.is_empty());
            assert_eq!(names(stepped_back.step_back.iter().map(AsRef::as_ref)), ["team-a"]);
        }
        // one that stands for another group only keeps its name
        let other = GroupRef { display_name: Some("Other".into()), ..GroupRef::default() };
        let beside = run(&[group(1, "Team A")], &[Arc::new(by_hand("team-a", other))]);
        assert!(names(&beside.create)[0].starts_with("team-a-"));
        assert!(beside.step_back.is_empty() && beside.change.is_empty());
        // and one that is pinned to a group since renamed is known by the ledger
        let elsewhere = GroupRef { display_name: Some("Old".into()), ..GroupRef::default() };
        let pinned = BTreeMap::from([("mine".to_owned(), Uuid::from_u128(1))]);
        let (groups, teams) = ([group(1, "Team A")], [Arc::new(by_hand("mine", elsewhere))]);
        assert!(is_empty(&plan(&importing("*", "-"), &groups, &teams, &pinned)));
        // another group that has the name now is nobody's, and is imported
        let groups = [group(1, "Team A"), group(2, "Old")];
        let plan = plan(&importing("*", "-"), &groups, &teams, &pinned);
        assert_eq!(names(&plan.create), ["old"]);
    }

    #[test]
    fn a_group_is_imported_whatever_names_others_have_taken() {
        let mut teams = vec![];
        let other = GroupRef { display_name: Some("Other".into()), ..GroupRef::default() };
        for _ in 0..4 {
            let name = names(&run(&[group(1, "Team A")], &teams).create).remove(0);
            assert!(name.starts_with("team-a") && name.len() <= LONGEST);
            assert!(teams.iter().all(|team: &Arc<DirectoryTeam>| team.name_any() != name));
            teams.push(Arc::new(by_hand(&name, other.clone())));
        }
    }
}
