//! How many active people count in a group: counted once for the many teams that stand for it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{nesting::walk, topic_name};
use crate::ledger::{
    Result, Topic,
    db::{Tx, query_scalar},
};

/// For how long a count is good where no change is known: a change itself is known for an hour
/// (see [`Ledger::forget_changes`](super::Ledger::forget_changes)).
const GOOD: Duration = Duration::from_secs(1800);
/// How many groups are remembered.
const MOST: usize = 10_000;

/// What was counted.
#[derive(Default)]
pub(super) struct MemberCounts(Mutex<HashMap<Uuid, Count>>);

#[derive(Clone, Copy)]
struct Count {
    members: i64,
    /// The newest change of the group, or of who counts in it, at that time.
    change: Option<i64>,
    at: Instant,
}

impl MemberCounts {
    /// How many active people are in a group of this directory, or in the groups in it, as `reader`
    /// sees it. For a group that a team stands for: of no other a change is told.
    pub async fn of(&self, reader: &mut Tx, directory: Uuid, group: Uuid) -> Result<i64> {
        let change = newest_change(reader, directory, group).await?;
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&group).copied();
        match known.filter(|known| known.change == change && known.at.elapsed() < GOOD) {
            Some(known) => Ok(known.members),
            None => self.count(reader, change, group).await,
        }
    }

    /// The same, for a group that a team stands for from now on: nothing that is known counts.
    pub async fn anew(&self, reader: &mut Tx, directory: Uuid, group: Uuid) -> Result<i64> {
        let change = newest_change(reader, directory, group).await?;
        self.count(reader, change, group).await
    }

    async fn count(&self, reader: &mut Tx, change: Option<i64>, group: Uuid) -> Result<i64> {
        let at = Instant::now();
        let members: i64 = query_scalar(walk!(
            down,
            "SELECT $1",
            "SELECT count(DISTINCT p.id) FROM walk
             JOIN memberships m ON m.group_id = walk.id
             JOIN people p ON p.id = m.person_id AND p.active"
        ))
        .bind(group)
        .fetch_one(reader)
        .await?;
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MOST {
            counts.clear();
        }
        counts.insert(group, Count { members, change, at });
        Ok(members)
    }
}

/// The newest change of a group, or of who counts in it.
async fn newest_change(reader: &mut Tx, directory: Uuid, group: Uuid) -> Result<Option<i64>> {
    query_scalar(
        "SELECT max(c.seq) FROM directories d
         JOIN changes c ON c.topic IN ($1, $2) AND c.organization_id = d.organization_id
             AND c.name = $3
         WHERE d.id = $4",
    )
    .bind(topic_name(Topic::Group))
    .bind(topic_name(Topic::Members))
    .bind(group.simple().to_string())
    .bind(directory)
    .fetch_one(reader)
    .await
}

#[cfg(test)]
mod tests {
    use crate::ledger::{
        Match, Selector,
        db::query,
        fixture::{ACME, Acme, group},
    };

    #[tokio::test]
    async fn who_counts_in_a_group_is_counted_again_when_that_changes_and_not_before() {
        let acme = Acme::new().await;
        let group = async |name: &str, members: &[uuid::Uuid]| {
            let fields = group(name);
            let made = acme.ledger.create_group(&acme.scim, &fields, members, acme.now).await;
            made.unwrap().0
        };
        let inner = group("Inner", &[acme.ada]).await;
        let outer = group("Outer", &[inner]).await;
        let count = async || {
            let selector = Selector::Id(outer.to_string());
            let put = acme.ledger.put_team(ACME, "outer", acme.directory, &selector, true).await;
            let Match::Found { active_members, .. } = put.unwrap() else { panic!("not found") };
            active_members
        };
        assert_eq!(count().await, 1);
        acme.set_active(acme.ada, "ada", false).await;
        assert_eq!(count().await, 0, "of a group in it");
        acme.set_active(acme.ada, "ada", true).await;
        assert_eq!(count().await, 1);
        let joins = query("INSERT INTO memberships (group_id, person_id) VALUES ($1, $2)");
        joins.bind(inner).bind(acme.grace).write(&acme.ledger.db.write).await.unwrap();
        assert_eq!(count().await, 1, "no change was told");
        acme.ledger.delete_person(&acme.scim, acme.ada, None, acme.now).await.unwrap();
        assert_eq!(count().await, 1, "Grace");
        acme.ledger.delete_team(ACME, "outer").await.unwrap();
        acme.set_active(acme.grace, "grace", false).await;
        assert_eq!(count().await, 0, "of what no team stood for nothing was told");
    }
}
