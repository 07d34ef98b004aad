//! Who is in a group: people, and groups of the same directory. They are changed by id, many in one
//! statement, and never read for it.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{Access, Refused, size};
use crate::ledger::{
    Error, Result,
    db::{Ids, Text, Tx, query, query_as, query_scalar},
    queries::{Ledger, nesting::steps},
};

/// How many who came, and who left, a line of the audit log names.
const NAMED: usize = 20;
/// How many groups may be in one group, and in all groups of a directory together. Who counts in a
/// group, and which teams somebody is in, takes a walk along them: at each sign-in, and at each change
/// of somebody, while everybody else's writes wait.
pub const GROUPS_IN_GROUP: i64 = 1_000;
pub const GROUPS_IN_GROUPS: i64 = 10_000;

/// Who is in a group, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembersOfGroup {
    pub people: Vec<Uuid>,
    pub groups: Vec<Uuid>,
}

/// What becomes of a group's members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Nobody stays but who is in `add`.
    pub clear: bool,
    pub add: BTreeSet<Uuid>,
    /// None of `add`.
    pub remove: BTreeSet<Uuid>,
    /// Nobody of `add` comes; they only stay.
    pub leave_only: bool,
}

impl Members {
    /// Whether nobody is to come or to leave.
    pub(super) fn stay(&self) -> bool {
        !self.clear && self.remove.is_empty() && (self.leave_only || self.add.is_empty())
    }
}

impl Ledger {
    /// Those of `ids` that are neither people nor groups of the directory; at most `limit` of them,
    /// and how many there are.
    pub async fn strangers(
        &self,
        access: &Access,
        ids: &BTreeSet<Uuid>,
        limit: usize,
    ) -> Result<(Vec<Uuid>, usize)> {
        let mut strangers: Vec<Uuid> = query_scalar(Text::Each {
            sqlite: "SELECT unhex(j.value) FROM json_each($1) j
                 WHERE NOT EXISTS (SELECT 1 FROM people WHERE id = unhex(j.value)
                         AND directory_id = $2)
                     AND NOT EXISTS (SELECT 1 FROM directory_groups WHERE id = unhex(j.value)
                         AND directory_id = $2)
                 ORDER BY j.key",
            postgres: "SELECT j.id FROM unnest($1) j (id)
                 WHERE NOT EXISTS (SELECT 1 FROM people p WHERE p.id = j.id
                         AND p.directory_id = $2)
                     AND NOT EXISTS (SELECT 1 FROM directory_groups g WHERE g.id = j.id
                         AND g.directory_id = $2)
                 ORDER BY j.id",
        })
        .bind(Ids(ids.iter().copied().collect()))
        .bind(access.directory())
        .fetch_all(&self.db.read)
        .await?;
        let all = strangers.len();
        strangers.truncate(limit);
        Ok((strangers, all))
    }
}

/// Who is in a group, all of them.
pub(super) async fn members_of(tx: &mut Tx, group: Uuid) -> Result<MembersOfGroup> {
    let (people, groups): (String, String) = query_as(Text::Each {
        sqlite: "SELECT (SELECT json_group_array(lower(hex(person_id))) FROM memberships
                  WHERE group_id = $1),
                 (SELECT json_group_array(lower(hex(member_id))) FROM subgroups
                  WHERE group_id = $1)",
        postgres: "SELECT (SELECT coalesce(json_agg(person_id ORDER BY person_id)::text, '[]')
                  FROM memberships WHERE group_id = $1),
                 (SELECT coalesce(json_agg(member_id ORDER BY member_id)::text, '[]')
                  FROM subgroups WHERE group_id = $1)",
    })
    .bind(group)
    .fetch_one(tx)
    .await?;
    let ids =
        |ids: &str| serde_json::from_str::<Vec<Uuid>>(ids).map_err(|_| Error::Corrupt("members"));
    Ok(MembersOfGroup { people: ids(&people)?, groups: ids(&groups)? })
}

/// Tell the other side of the groups that this one is in, that those are in, and so on: who joins or
/// leaves it joins or leaves them. They count for teams alone, and there may be thousands of others.
pub(super) async fn tell_above(tx: &mut Tx, access: &Access, group: Uuid) -> Result<()> {
    macro_rules! note {
        ($dialect:ident $name:literal, $again:literal) => {
            concat!(
                "WITH RECURSIVE walk (id) AS (SELECT group_id FROM subgroups WHERE member_id = $1",
                steps!(up $dialect),
                ") INSERT INTO changes (topic, organization_id, name) SELECT 'members', $2, ",
                $name,
                " FROM walk WHERE EXISTS (SELECT 1 FROM teams WHERE group_id = walk.id)",
                $again
            )
        };
    }
    query(Text::Each {
        sqlite: note!(sqlite "lower(hex(walk.id))", ""), // see note_change
        postgres: note!(
            postgres "replace(walk.id::text, '-', '')",
            " ON CONFLICT (topic, organization_id, name) DO UPDATE SET seq = excluded.seq"
        ),
    })
    .bind(group)
    .bind(access.organization())
    .execute(tx)
    .await?;
    Ok(())
}

/// Who came and went.
#[derive(Default)]
pub(super) struct Moved {
    pub joined: MembersOfGroup,
    /// People and groups.
    pub left: Vec<Uuid>,
}

impl Moved {
    pub(super) fn nobody(&self) -> bool {
        self.joined.people.is_empty() && self.joined.groups.is_empty() && self.left.is_empty()
    }

    /// How much more the directory holds.
    pub(super) fn growth(&self) -> i64 {
        let joined = self.joined.people.len() + self.joined.groups.len();
        size::of_memberships(joined) - size::of_memberships(self.left.len())
    }

    /// For the audit log; some of them by name.
    pub(super) fn tell(&self) -> String {
        let mut told = String::new();
        let joined = self.joined.people.iter().chain(&self.joined.groups).copied().collect();
        for (sign, who) in [('-', &self.left), ('+', &joined)] {
            if who.is_empty() {
                continue;
            }
            let mut named: Vec<_> = who.iter().take(NAMED).map(Uuid::to_string).collect();
            match who.len() - named.len() {
                0 => {}
                more => named.push(format!("and {more} more")),
            }
            told += &format!(" members {sign}{} ({})", who.len(), named.join(" "));
        }
        told
    }
}

/// SQL: whether a member leaves who is in `$2`, or else one who isn't (`stay`).
macro_rules! leaves {
    (leave sqlite $id:literal) => {
        concat!($id, " IN (SELECT unhex(value) FROM json_each($2))")
    };
    (stay sqlite $id:literal) => {
        concat!($id, " NOT IN (SELECT unhex(value) FROM json_each($2))")
    };
    (leave postgres $id:literal) => {
        concat!($id, " = ANY($2)")
    };
    (stay postgres $id:literal) => {
        concat!("NOT EXISTS (SELECT 1 FROM unnest($2) j (id) WHERE j.id = ", $id, ")")
    };
}

/// A [`Text`], for members of the group `$1` that are of one kind: who leaves it (0), who of `$3` joins
/// it (1), and who of those is not of that kind, or not of the directory `$4` (2).
macro_rules! moves {
    ($named:ident people) => {
        moves!($named "people", "memberships", "person_id", "", "")
    };
    ($named:ident groups) => {
        moves!($named "directory_groups", "subgroups", "member_id", ", directory_id", ", $4")
    };
    ($named:ident $of:literal, $table:literal, $id:literal, $also:literal, $value:literal) => {
        Text::Each {
            sqlite: concat!(
                "DELETE FROM ", $table, " WHERE group_id = $1 AND ", leaves!($named sqlite $id),
                " RETURNING 0, ", $id, ";
                 INSERT INTO ", $table, " (group_id, ", $id, $also, ") SELECT $1, o.id", $value, "
                 FROM json_each($3) j
                 CROSS JOIN ", $of, " o ON o.id = unhex(j.value) AND o.directory_id = $4
                 WHERE true ON CONFLICT DO NOTHING RETURNING 1, ", $id, ";
                 SELECT 2, unhex(j.value) FROM json_each($3) j
                 WHERE NOT EXISTS (SELECT 1 FROM ", $of, " o
                     WHERE o.id = unhex(j.value) AND o.directory_id = $4)"
            ),
            postgres: concat!(
                "WITH gone AS (
                     DELETE FROM ", $table, " WHERE group_id = $1 AND ", leaves!($named postgres $id), "
                     RETURNING ", $id, " AS id),
                 come AS (
                     INSERT INTO ", $table, " (group_id, ", $id, $also, ") SELECT $1, o.id", $value, "
                     FROM ", $of, " o WHERE o.id = ANY($3) AND o.directory_id = $4
                     ON CONFLICT DO NOTHING RETURNING ", $id, " AS id)
                 SELECT 0::bigint, id FROM gone UNION ALL SELECT 1, id FROM come
                 UNION ALL SELECT 2, j.id FROM unnest($3) j (id)
                 WHERE NOT EXISTS (SELECT 1 FROM ", $of, " o
                     WHERE o.id = j.id AND o.directory_id = $4)"
            ),
        }
    };
}

/// Make these come and go. Whoever isn't of the directory doesn't come. `nests` says whether groups
/// are in this one.
pub(super) async fn change_members(
    tx: &mut Tx,
    access: &Access,
    group: Uuid,
    members: &Members,
    nests: bool,
) -> Result<Moved, Refused> {
    if members.stay() {
        return Ok(Moved::default());
    }
    let ids = |ids: &BTreeSet<Uuid>| ids.iter().copied().collect();
    let named = Ids(ids(if members.clear { &members.add } else { &members.remove }));
    let joining = if members.leave_only { vec![] } else { ids(&members.add) };
    let make = async |tx: &mut Tx, text, joining| {
        let moves = query_as::<(i64, Uuid)>(text).bind(group).bind(named.clone());
        let moves = moves.bind(Ids(joining)).bind(access.directory()).fetch_all(tx).await?;
        let (mut left, mut joined, mut others) = (vec![], vec![], vec![]);
        for (how, id) in moves {
            match how {
                0 => left.push(id),
                1 => joined.push(id),
                _ => others.push(id),
            }
        }
        joined.sort_unstable();
        Ok::<_, Error>((left, joined, others))
    };
    let text = if members.clear { moves!(stay people) } else { moves!(leave people) };
    let (mut left, people, others) = make(tx, text, joining).await?;
    #[cfg(test)]
    super::crash::point(group, "people");
    let mut groups = vec![];
    if !others.is_empty() || nests && (members.clear || !members.remove.is_empty()) {
        let text = if members.clear { moves!(stay groups) } else { moves!(leave groups) };
        let (gone, joined, _) = make(tx, text, others).await?;
        #[cfg(test)]
        super::crash::point(group, "groups");
        left.extend(gone);
        groups = joined;
    }
    if !groups.is_empty() {
        let (in_group, in_directory) = nested(tx, access, group).await?;
        if in_group > GROUPS_IN_GROUP || in_directory > GROUPS_IN_GROUPS {
            return Err(Refused::TooManyGroups);
        }
    }
    Ok(Moved { joined: MembersOfGroup { people, groups }, left })
}

/// How many groups are in this group, and in all groups of the directory together.
async fn nested(tx: &mut Tx, access: &Access, group: Uuid) -> Result<(i64, i64)> {
    query_as(
        "SELECT (SELECT count(*) FROM subgroups WHERE group_id = $1),
             (SELECT count(*) FROM subgroups WHERE directory_id = $2)",
    )
    .bind(group)
    .bind(access.directory())
    .fetch_one(tx)
    .await
}

#[cfg(test)]
mod tests {
    use super::{
        super::groups::{
            insert,
            tests::{NOW, directory},
        },
        *,
    };
    use crate::ledger::{
        Match, Selector, Topic,
        fixture::{group, person},
        scim::{GroupChange, StoredGroup},
    };

    async fn groups(ledger: &Ledger, access: &Access, names: std::ops::Range<i64>) -> Vec<Uuid> {
        let names = names.map(|number| number.to_string()).collect::<Vec<_>>();
        let create = async |name| ledger.create_group(access, &group(name), &[], NOW).await;
        let made = futures::future::join_all(names.iter().map(|name| create(name))).await;
        made.into_iter().map(|made| made.unwrap().0).collect()
    }

    /// Put these into the group, beside those who are in it.
    async fn put_in(
        ledger: &Ledger,
        access: &Access,
        group: Uuid,
        members: &[Uuid],
    ) -> Result<StoredGroup, Refused> {
        let members = Members { add: members.iter().copied().collect(), ..Members::default() };
        let change = |_: &StoredGroup| Ok(GroupChange::default());
        let changed = ledger.change_group(access, group, "test", NOW, &members, change).await;
        changed.map(|changed| changed.group)
    }

    #[tokio::test]
    async fn the_audit_log_names_who_came_and_who_left_and_nobody_else() {
        let (_place, ledger, access) = directory().await;
        let mut people = Vec::new();
        for number in 0..NAMED + 2 {
            let person = person(&number.to_string(), true);
            people.push(ledger.create_person(&access, &person, NOW).await.unwrap());
        }
        let inner = groups(&ledger, &access, 0..1).await[0];
        let first = [people[0], people[1], inner];
        let (group, members) =
            ledger.create_group(&access, &group("ops"), &first, NOW).await.unwrap();
        assert_eq!(members, MembersOfGroup { people: people[..2].into(), groups: vec![inner] });
        let told = async |members: Members| {
            let change = |_: &StoredGroup| Ok::<_, Refused>(GroupChange::default());
            ledger.change_group(&access, group, "x", NOW, &members, change).await.unwrap();
            let mut lines = ledger.audit_log("acme", None, 1).await.unwrap();
            lines.remove(0).detail.unwrap()
        };
        let (add, nobody) = (BTreeSet::from([people[1], people[2]]), Members::default());
        // who stays is named neither as one who comes nor as one who goes
        let replaced = told(Members { clear: true, add, ..nobody.clone() }).await;
        let [gone, came] = [people[0], people[2]];
        let either = |a, b| format!("members -2 ({a} {b}) members +1 ({came})");
        let wanted = [either(gone, inner), either(inner, gone)];
        assert!(wanted.contains(&replaced), "{replaced}");
        let remove = BTreeSet::from([people[0], people[1]]);
        let removed = told(Members { remove, ..nobody.clone() }).await;
        assert_eq!(removed, format!("members -1 ({})", people[1]));
        let add = people.iter().copied().collect();
        let many = told(Members { add, ..nobody }).await;
        assert!(many.starts_with(&format!("members +{} (", NAMED + 1)), "{many}");
        assert!(many.ends_with(" and 1 more)"), "{many}");
    }

    #[tokio::test]
    async fn groups_come_and_go_like_people_however_members_are_changed() {
        let (_place, ledger, access) = directory().await;
        let mut people = Vec::new();
        for name in ["ann", "bob"] {
            people.push(ledger.create_person(&access, &person(name, true), NOW).await.unwrap());
        }
        let [ann, bob] = people[..] else { panic!("two were made") };
        let [one, two] = groups(&ledger, &access, 0..2).await[..] else { panic!("two were made") };
        let [stranger, other] = [Uuid::now_v7(), Uuid::now_v7()];
        let first = [ann, one, stranger];
        let (group, made) = ledger.create_group(&access, &group("ops"), &first, NOW).await.unwrap();
        assert_eq!(made, MembersOfGroup { people: vec![ann], groups: vec![one] });
        let set = |ids: &[Uuid]| ids.iter().copied().collect::<BTreeSet<_>>();
        let add = |ids: &[Uuid]| Members { add: set(ids), ..Members::default() };
        let remove = |ids: &[Uuid]| Members { remove: set(ids), ..Members::default() };
        let replace = |ids: &[Uuid]| Members { clear: true, ..add(ids) };
        let mut version = 1;
        for (number, (members, left, people, groups)) in [
            (add(&[bob, two, stranger]), 0, vec![ann, bob], vec![one, two]),
            (add(&[ann, two]), 0, vec![ann, bob], vec![one, two]),
            (remove(&[two]), 1, vec![ann, bob], vec![one]),
            (remove(&[ann, one, stranger]), 2, vec![bob], vec![]),
            (remove(&[ann, one]), 0, vec![bob], vec![]),
            (Members { add: set(&[one]), ..remove(&[bob]) }, 1, vec![], vec![one]),
            (Members { add: set(&[ann]), ..remove(&[one]) }, 1, vec![ann], vec![]),
            (replace(&[one, two, other]), 1, vec![], vec![one, two]),
            (replace(&[two, bob]), 1, vec![bob], vec![two]),
            (replace(&[two, bob]), 0, vec![bob], vec![two]),
            (Members { leave_only: true, ..replace(&[one, ann, bob]) }, 1, vec![bob], vec![]),
            (Members { leave_only: true, ..replace(&[one, bob]) }, 0, vec![bob], vec![]),
            (replace(&[one]), 1, vec![], vec![one]),
            (replace(&[]), 1, vec![], vec![]),
        ]
        .into_iter()
        .enumerate()
        {
            let before = members_of_group(&ledger, &access, group).await;
            let change = |_: &StoredGroup| Ok::<_, Refused>(GroupChange::default());
            let changed = ledger.change_group(&access, group, "test", NOW, &members, change).await;
            let changed = changed.unwrap();
            let after = MembersOfGroup { people, groups };
            version += i64::from(before != after);
            assert_eq!(members_of_group(&ledger, &access, group).await, after, "{number}");
            assert_eq!((changed.left, changed.group.version), (left, version), "{number}");
        }
        let (said, counted) = ledger.sizes_for_tests().await;
        assert_eq!(said, counted);
    }

    async fn members_of_group(ledger: &Ledger, access: &Access, group: Uuid) -> MembersOfGroup {
        let group = ledger.group(access, group, true).await.unwrap().unwrap();
        let MembersOfGroup { mut people, mut groups } = group.members.unwrap();
        people.sort();
        groups.sort();
        MembersOfGroup { people, groups }
    }

    #[tokio::test]
    async fn groups_nest_up_to_a_limit_and_what_goes_beyond_leaves_nothing() {
        let (_place, ledger, access) = directory().await;
        let inner = groups(&ledger, &access, 0..GROUPS_IN_GROUP + 1).await;
        let (last, most) = inner.split_last().unwrap();
        let count = async || {
            let mut tx = ledger.db.read.begin().await.unwrap();
            nested(&mut tx, &access, inner[0]).await.unwrap()
        };
        // in one group
        let made = ledger.create_group(&access, &group("outer"), &inner, NOW).await;
        assert!(matches!(made, Err(Refused::TooManyGroups)), "{made:?}");
        put_in(&ledger, &access, inner[0], most).await.unwrap();
        let refused = put_in(&ledger, &access, inner[0], &[*last]).await;
        assert!(matches!(refused, Err(Refused::TooManyGroups)), "{refused:?}");
        assert_eq!(count().await, (GROUPS_IN_GROUP, GROUPS_IN_GROUP));
        // who is in it already comes once more, and counts once
        put_in(&ledger, &access, inner[0], most).await.unwrap();
        // in all groups of the directory
        for group in &inner[1..(GROUPS_IN_GROUPS / GROUPS_IN_GROUP) as usize] {
            put_in(&ledger, &access, *group, most).await.unwrap();
        }
        let refused = put_in(&ledger, &access, *last, &most[..1]).await;
        assert!(matches!(refused, Err(Refused::TooManyGroups)), "{refused:?}");
        assert_eq!(count().await.1, GROUPS_IN_GROUPS);
        // another directory's are not counted, and who leaves makes room
        let id = ledger.make_directory("a", "entra", NOW).await.unwrap().id;
        ledger.replace_token(id, Uuid::now_v7(), b"other", NOW).await.unwrap();
        let entra = ledger.scim_access("acme", "entra", b"other").await.unwrap().unwrap();
        let its = groups(&ledger, &entra, 0..2).await;
        put_in(&ledger, &entra, its[0], &its[1..]).await.unwrap();
        assert!(ledger.delete_group(&access, inner[1], None, NOW).await.unwrap());
        put_in(&ledger, &access, *last, &most[..1]).await.unwrap();
    }

    #[tokio::test]
    async fn the_other_side_hears_of_every_team_that_somebody_counts_in_by_groups_in_groups() {
        let (_place, ledger, access) = directory().await;
        let ann = ledger.create_person(&access, &person("ann", true), NOW).await.unwrap();
        let [inner, middle, outer, other] = groups(&ledger, &access, 0..4).await[..] else {
            panic!("four were made")
        };
        for (group, member) in [(middle, inner), (outer, middle), (inner, outer)] {
            put_in(&ledger, &access, group, &[member]).await.unwrap();
        }
        for group in [inner, outer, other] {
            let (name, selector) = (group.to_string(), Selector::Id(group.to_string()));
            ledger.put_team("a", &name, access.directory(), &selector, true).await.unwrap();
        }
        let heard = async |since| {
            let changes = ledger.changes_since(since).await.unwrap().into_iter();
            let groups = [Topic::Group, Topic::Members];
            let groups = changes.filter(|change| groups.contains(&change.topic));
            groups.map(|change| change.name.parse().unwrap()).collect::<BTreeSet<Uuid>>()
        };
        let before = ledger.latest_change().await.unwrap();
        put_in(&ledger, &access, inner, &[ann]).await.unwrap();
        assert_eq!(heard(before).await, BTreeSet::from([inner, outer]));
        let before = ledger.latest_change().await.unwrap();
        put_in(&ledger, &access, inner, &[ann]).await.unwrap();
        assert_eq!(heard(before).await, BTreeSet::new(), "nothing changes");
        ledger.delete_group(&access, inner, None, NOW).await.unwrap();
        // and of one that has no team, since one that looks for a group may look for this
        let before_middle = ledger.latest_change().await.unwrap();
        ledger.delete_group(&access, middle, None, NOW).await.unwrap();
        assert_eq!(heard(before_middle).await, BTreeSet::from([middle, outer]));
        assert_eq!(heard(before).await, BTreeSet::from([inner, middle, outer]));
    }

    #[tokio::test]
    async fn the_longest_chain_of_groups_keeps_nobody_waiting() {
        let (_place, ledger, access) = directory().await;
        let ann = ledger.create_person(&access, &person("ann", true), NOW).await.unwrap();
        let mut tx = ledger.begin().await.unwrap();
        let chain: Vec<_> = (0..=GROUPS_IN_GROUPS).map(|_| Uuid::now_v7()).collect();
        let link = group("link");
        for group in &chain {
            insert(&mut tx, &access, *group, &link, NOW).await.unwrap();
        }
        let nested = query(
            "INSERT INTO subgroups (group_id, member_id, directory_id)
             SELECT id, below, $1 FROM (
                 SELECT id, lag(id) OVER (ORDER BY id) AS below FROM directory_groups) chain
             WHERE below IS NOT NULL",
        );
        let nested = nested.bind(access.directory()).execute(&mut tx).await.unwrap();
        assert_eq!(nested, GROUPS_IN_GROUPS as u64);
        tx.commit().await.unwrap();
        let walks = async {
            put_in(&ledger, &access, chain[0], &[ann]).await.unwrap();
            let top = Selector::Id(chain.last().unwrap().to_string());
            let found = ledger.put_team("a", "top", access.directory(), &top, true).await.unwrap();
            assert!(matches!(found, Match::Found { active_members: 1, .. }), "{found:?}");
            assert_eq!(ledger.teams_of_person(ann).await.unwrap(), ["acme:top"]);
            let change = |_: &_| Ok::<_, Refused>(Some(person("ann", false)));
            ledger.change_person(&access, ann, "test", NOW, change).await.unwrap();
        };
        // each takes less than half a second; a walk that reads all at each step takes many
        tokio::time::timeout(std::time::Duration::from_secs(8), walks).await.expect("in time");
    }
}
