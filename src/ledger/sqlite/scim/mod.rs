//! What the SCIM server reads and writes: a directory's people and groups, for who holds its token.
//!
//! Each query is given an [`Access`] and sees nothing outside that directory. A write is one
//! transaction: rows, audit line, change number.

mod auth;
mod groups;
mod people;

pub use auth::Access;
pub use groups::{GroupFields, GroupFilter, Members, StoredGroup};
pub use people::{GroupOfPerson, PersonFields, PersonFilter, StoredPerson};

use jiff::Timestamp;
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::note_change;
use crate::ledger::{self, Topic};

/// Why a write was not made. Nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// This directory has no such person or group.
    #[error("not found")]
    NotFound,
    /// Another person of the directory has this userName.
    #[error("userName taken")]
    UserNameTaken,
    /// The directory was deleted since the caller was let in.
    #[error("directory deleted")]
    Closed,
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        Self::Ledger(error.into())
    }
}

/// Some of the things asked for, and how many there are of them.
#[derive(Debug)]
pub struct Page<T> {
    pub total: i64,
    pub items: Vec<T>,
}

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// How many to leave out at the start.
    pub offset: i64,
    /// How many at most; 0 for the total alone.
    pub limit: i64,
}

/// The end of every write: when the directory last changed, who did what, and the number by which
/// the other side sees it. Refused where the directory was deleted in the meantime.
async fn finish(
    tx: &mut SqliteConnection,
    access: &Access,
    action: &'static str,
    subject: Uuid,
    now: Timestamp,
) -> Result<(), Refused> {
    let open =
        sqlx::query("UPDATE directories SET changed_at = ? WHERE id = ? AND deleted_at IS NULL")
            .bind(now.as_second())
            .bind(access.directory())
            .execute(&mut *tx)
            .await?;
    if open.rows_affected() == 0 {
        return Err(Refused::Closed);
    }
    sqlx::query(
        "INSERT INTO audit (at, organization_id, actor, action, subject)
         VALUES (?, ?, 'scim:' || ?, ?, ?)",
    )
    .bind(now.as_second())
    .bind(access.organization())
    .bind(access.name())
    .bind(action)
    .bind(subject.hyphenated().to_string())
    .execute(&mut *tx)
    .await?;
    note_change(tx, Topic::Directory, access.organization(), access.name()).await?;
    Ok(())
}
