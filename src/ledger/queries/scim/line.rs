//! The line of the audit log that ends each write. Nothing is written where the caller isn't let in any
//! more; nobody can take back the token between this and the commit, since there is one writer.

use jiff::Timestamp;
use uuid::Uuid;

use super::{Access, Refused};
use crate::ledger::{
    Result, Topic,
    db::{QueryScalar, Text, Tx, query_scalar},
};

/// The longest detail of a line, in characters.
const DETAIL: usize = 2_000;

/// Who did what to whom, and what comes of it.
pub(super) struct Line<'a> {
    pub action: &'a str,
    pub subject: Uuid,
    pub detail: &'a str,
    /// What of the directory changes: [`Topic::Directory`] or [`Topic::People`].
    pub topic: Topic,
    /// By how many bytes more the directory holds; less than nothing where the write frees something.
    pub by: i64,
    pub now: Timestamp,
}

/// What comes of a write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effect {
    pub topic: Topic,
    pub by: i64,
    /// How many bytes the organization's directories held before the transaction.
    pub from: i64,
}

/// SQL: a line, on a condition.
macro_rules! line_where {
    ($($condition:tt)+) => {
        concat!(
            "INSERT INTO audit (at, organization_id, actor, action, subject, detail)
             SELECT $1, $2, $3, $4, $5, $6 WHERE ",
            $($condition)+,
            " RETURNING (SELECT bytes FROM organizations WHERE id = $2)"
        )
    };
}

/// SQL: whether the caller is let in still.
macro_rules! let_in {
    () => {
        $crate::ledger::queries::scim::auth::open!("$7", "$8", "$9")
    };
}

/// A [`Text`]: a statement that writes, whose values are bound from `$10` on, and the line of what it
/// wrote, in one go. It ends in a WHERE, but for what `$rest` is. See [`Line::of`].
macro_rules! written {
    ($statement:literal $(, $rest:literal)?) => {
        $crate::ledger::db::Text::Each {
            sqlite: concat!(
                $statement,
                " AND ",
                let_in!(),
                $($rest,)?
                "; ",
                line_where!("changes() > 0")
            ),
            postgres: concat!(
                "WITH written AS (",
                $statement,
                " AND ",
                let_in!(),
                $($rest,)?
                " RETURNING 1) ",
                line_where!("EXISTS (SELECT 1 FROM written)")
            ),
        }
    };
}
pub(super) use {let_in, line_where, written};

impl Line<'_> {
    /// Write it.
    ///
    /// # Errors
    ///
    /// [`Refused::Closed`] where the caller isn't let in any more.
    pub async fn write(&self, tx: &mut Tx, access: &Access) -> Result<Effect, Refused> {
        let from = self.of(line_where!(let_in!()), access).fetch_optional(tx).await?;
        self.effect(from).ok_or(Refused::Closed)
    }

    /// What comes of what [`Line::of`] wrote, by what that returned.
    pub fn effect(&self, from: Option<i64>) -> Option<Effect> {
        from.map(|from| Effect { topic: self.topic, by: self.by, from })
    }

    /// The line, with what [`written!`] has it tell of. Returns what its [`Effect`] is from; no row
    /// where nothing was written at all, as where the caller isn't let in any more.
    pub fn of(&self, text: impl Into<Text>, access: &Access) -> QueryScalar<i64> {
        query_scalar(text)
            .bind(self.now.as_second())
            .bind(access.organization())
            .bind(access.actor())
            .bind(self.action)
            .bind(self.subject.hyphenated().to_string())
            .bind(self.detail.chars().take(DETAIL).collect::<String>())
            .bind(access.token())
            .bind(access.directory())
            .bind(Timestamp::now().as_second())
    }
}
