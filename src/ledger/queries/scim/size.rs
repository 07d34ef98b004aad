//! How much a directory holds, in bytes: what its people and groups say of themselves, and a round
//! figure for what each of them, and each membership, takes beside that. Whoever writes knows the
//! difference, so that nobody ever counts.

use super::PersonFields;

/// What somebody takes beside their attributes: columns, and the indexes that find them.
const PERSON: i64 = 500;
const GROUP: i64 = 500;
/// What it takes that somebody, or a group, is in a group.
const MEMBERSHIP: i64 = 100;

/// Of a person. Whoever is deactivated takes no more than before, though `false` is longer than
/// `true`: no limit keeps anybody in.
pub(super) fn of_person(fields: &PersonFields) -> i64 {
    of_kept_person(&fields.attributes, fields.active)
}

pub(super) fn of_kept_person(attributes: &str, active: bool) -> i64 {
    PERSON + of_text(attributes) + i64::from(active)
}

/// Of a group without its members.
pub(super) fn of_group(attributes: &str) -> i64 {
    GROUP + of_text(attributes)
}

pub(super) fn of_memberships(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX).saturating_mul(MEMBERSHIP)
}

fn of_text(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use crate::ledger::{
        Ledger,
        db::{Dialect, Tx, query_scalar},
    };

    impl Ledger {
        /// What directories and organizations are said to hold, and what they do: the migration counts.
        pub async fn sizes_for_tests(&self) -> (Vec<i64>, Vec<i64>) {
            let migration = match self.db.dialect() {
                Dialect::Sqlite => include_str!("../../migrations/sqlite/0009_size.sql"),
                Dialect::Postgres => include_str!("../../migrations/postgres/0002_size.sql"),
            };
            let at = |word| migration.find(word).unwrap();
            let count = &migration[at("UPDATE")..at("CREATE")];
            let mut tx = self.begin().await.unwrap();
            let said = sizes(&mut tx).await;
            tx.run(count).await.unwrap();
            (said, sizes(&mut tx).await) // and nothing of it stays
        }
    }

    async fn sizes(tx: &mut Tx) -> Vec<i64> {
        let mut sizes = vec![];
        for all in [
            "SELECT bytes FROM directories ORDER BY id",
            "SELECT bytes FROM organizations ORDER BY id",
        ] {
            sizes.extend(query_scalar::<i64>(all).fetch_all(&mut *tx).await.unwrap());
        }
        sizes
    }
}
