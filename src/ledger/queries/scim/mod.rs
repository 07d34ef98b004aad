//! What the SCIM server reads and writes: a directory's people and groups, for who holds its token.
//!
//! Each query is given an [`Access`] and sees nothing outside that directory. A write is one
//! transaction, shared with others' where several wait (`writer`): rows, audit line, change number.

mod auth;
mod condition;
#[cfg(test)]
mod crash;
mod groups;
mod line;
mod members;
mod people;
mod queue;
mod size;
mod writer;

pub use auth::{Access, token_tag};
pub use condition::{Condition, Field, List, Op, without_case};
#[cfg(test)]
pub(crate) use crash::{point as crash_point, watch as watch_writes};
pub use groups::{ChangedGroup, GroupChange, GroupFields, StoredGroup};
pub use members::{GROUPS_IN_GROUP, GROUPS_IN_GROUPS, Members, MembersOfGroup};
pub use people::{GroupOfPerson, PersonFields, StoredPerson};
pub(super) use writer::Writer;

use std::time::Duration;

use serde_json::{Map, Value};

use crate::ledger::Error;

/// How long a search may take that no index helps.
const SEARCH: Duration = Duration::from_secs(5);

/// Why a write was not made. Nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// This directory has no such person or group. Said before anything is written.
    #[error("not found")]
    NotFound,
    /// Another person of the directory has this userName.
    #[error("userName taken")]
    UserNameTaken,
    /// More than [`GROUPS_IN_GROUP`] groups would be in a group, or [`GROUPS_IN_GROUPS`] in all.
    #[error("too many groups in groups")]
    TooManyGroups,
    /// The organization's directories would hold more than this many bytes.
    #[error("no room")]
    NoRoom(i64),
    /// The token was taken back, or the directory deleted, since the caller was let in.
    #[error("no longer let in")]
    Closed,
    #[error(transparent)]
    Ledger(#[from] Error),
}

/// Some of the things asked for, and how many there are of them.
#[derive(Debug)]
pub struct Page<T> {
    pub total: i64,
    pub items: Vec<T>,
}

impl<T> Page<T> {
    /// What a window shows of `all` there are.
    fn of_all(all: Vec<T>, window: Window) -> Self {
        let (skip, most) = (window.offset, window.limit);
        let (skip, most) = (usize::try_from(skip).unwrap_or(0), usize::try_from(most).unwrap_or(0));
        let total = i64::try_from(all.len()).unwrap_or(i64::MAX);
        Self { total, items: all.into_iter().skip(skip).take(most).collect() }
    }
}

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// How many to leave out at the start.
    pub offset: i64,
    /// How many at most; 0 for the total alone.
    pub limit: i64,
    /// How many bytes at most, roughly; one item comes in any case. The page ends early then.
    pub bytes: usize,
}

impl Window {
    /// Whether there is room for one more of `weight` bytes; takes the room.
    fn admits(&mut self, nothing_yet: bool, weight: usize) -> bool {
        let room = self.bytes.checked_sub(weight);
        self.bytes = room.unwrap_or(0);
        room.is_some() || nothing_yet
    }
}

/// What changes between two kept resources, for the audit log: names, and no values but `active`.
fn differences(before: &str, after: &str) -> String {
    let read = |text| serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
    let (before, after) = (read(before), read(after));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    let told = changed.map(|name| match after.get(name) {
        Some(Value::Bool(flag)) if name == "active" => format!("{name}={flag}"),
        _ => name.clone(),
    });
    told.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{
        Result,
        db::{query_scalar, too_long},
        tests::ledger,
    };

    #[tokio::test]
    async fn a_search_that_takes_too_long_is_broken_off_and_the_next_one_is_not() {
        let (_dir, ledger) = ledger().await;
        let count = async |to: i64, limit: Duration| -> Result<i64> {
            let mut tx = ledger.db.search.begin_within(limit).await?;
            let count = query_scalar(
                "WITH RECURSIVE n (i) AS (
                     SELECT $2 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
                 SELECT count(*) FROM n",
            );
            count.bind(to).bind(1_i64).fetch_one(&mut tx).await
        };
        for _ in 0..3 {
            let broken_off = count(i64::MAX, Duration::from_millis(20)).await.map_err(too_long);
            assert!(matches!(broken_off, Err(Error::TooLong)));
            assert_eq!(count(100_000, SEARCH).await.unwrap(), 100_000);
        }
    }
}
