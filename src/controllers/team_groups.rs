//! Which teams a change of a group concerns: found without asking each of many teams.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

use uuid::Uuid;

/// A team: its namespace and its name.
pub type Team = (String, String);

/// The groups that teams stand for.
#[derive(Default)]
pub struct TeamGroups(Mutex<Index>);

#[derive(Default)]
struct Index {
    groups: HashMap<Team, Uuid>,
    teams: HashMap<Uuid, BTreeSet<Team>>,
    /// The teams of each namespace that look for a group: any may be the one.
    seeking: HashMap<String, BTreeSet<Team>>,
}

impl TeamGroups {
    /// A pass over the team looks for its group. What changes from now on concerns it.
    pub fn seeks(&self, team: &Team) {
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        index.forget(team);
        index.seeking.entry(team.0.clone()).or_default().insert(team.clone());
    }

    /// The team stands for this group.
    pub fn found(&self, team: &Team, group: Uuid) {
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        index.forget(team);
        index.groups.insert(team.clone(), group);
        index.teams.entry(group).or_default().insert(team.clone());
    }

    /// The team is gone.
    pub fn forget(&self, team: &Team) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).forget(team);
    }

    /// The teams that changes of these groups concern, each of the organization of a namespace.
    pub fn concerned<'a>(&self, changes: impl Iterator<Item = (&'a str, Uuid)>) -> BTreeSet<Team> {
        let index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut teams, mut organizations) = (BTreeSet::new(), BTreeSet::new());
        for (namespace, group) in changes {
            teams.extend(index.teams.get(&group).into_iter().flatten().cloned());
            // once: both may be many
            if organizations.insert(namespace) {
                teams.extend(index.seeking.get(namespace).into_iter().flatten().cloned());
            }
        }
        teams
    }
}

impl Index {
    fn forget(&mut self, team: &Team) {
        if let Some(group) = self.groups.remove(team) {
            remove(&mut self.teams, &group, team);
        }
        remove(&mut self.seeking, &team.0, team);
    }
}

/// Take a team out of one of the sets, and the set away with the last.
fn remove<K: std::hash::Hash + Eq>(sets: &mut HashMap<K, BTreeSet<Team>>, key: &K, team: &Team) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(team);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_concerns_who_stands_for_the_group_and_who_still_seeks_one() {
        let groups = TeamGroups::default();
        let team = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let concerned = |changes: &[Uuid]| {
            let teams = groups.concerned(changes.iter().map(|&group| ("acme", group)));
            teams.into_iter().collect::<Vec<_>>()
        };
        let (a, b, c) = (team("acme", "a"), team("acme", "b"), team("globex", "c"));
        for team in [&a, &b, &c] {
            groups.seeks(team);
        }
        assert_eq!(concerned(&[one]), [a.clone(), b.clone()]);
        groups.found(&a, one);
        groups.found(&c, two);
        assert_eq!(concerned(&[one]), [a.clone(), b.clone()]);
        groups.found(&b, two);
        assert_eq!(concerned(&[one]), std::slice::from_ref(&a));
        assert_eq!(concerned(&[one, two, one]), [a.clone(), b.clone(), c.clone()]);
        // for another look, and gone
        groups.seeks(&a);
        assert_eq!(concerned(&[two]), [a.clone(), b, c]);
        groups.forget(&a);
        assert!(concerned(&[one]).is_empty());
    }
}
