//! Who may speak for a directory.

use jiff::Timestamp;
use uuid::Uuid;

use super::Refused;
use crate::ledger::{
    Result, Topic,
    sqlite::{Ledger, note_change},
};

/// Proof that the caller holds a token of this directory. Only [`Ledger::scim_access`] makes one.
#[derive(Clone, Debug)]
pub struct Access {
    directory: Uuid,
    organization: String,
    name: String,
    token: Uuid,
    called_before: bool,
}

/// Whether a token (the first value bound) still opens its directory (the second one).
macro_rules! open {
    () => {
        "EXISTS (SELECT 1 FROM directory_tokens t JOIN directories d ON d.id = t.directory_id
             WHERE t.id = ? AND d.id = ? AND d.deleted_at IS NULL
                 AND coalesce(t.ends_at > unixepoch(), 1))"
    };
}
pub(super) use open;

impl Access {
    pub fn directory(&self) -> Uuid {
        self.directory
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self {
            directory: Uuid::nil(),
            organization: "acme".into(),
            name: "okta".into(),
            token: Uuid::nil(),
            called_before: true,
        }
    }

    /// The organization's id, not its namespace.
    pub fn organization(&self) -> &str {
        &self.organization
    }

    /// The name of the DirectorySync.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn token(&self) -> Uuid {
        self.token
    }
}

impl Ledger {
    /// Let in who holds a token of the DirectorySync `name` of the organization in the namespace
    /// `organization`. `hash` is the token's SHA-256. `None` doesn't say what was wrong.
    pub async fn scim_access(
        &self,
        organization: &str,
        name: &str,
        hash: &[u8],
    ) -> Result<Option<Access>> {
        let tokens: Vec<(Uuid, String, bool, Uuid, Vec<u8>)> = sqlx::query_as(
            "SELECT d.id, d.organization_id, d.first_request_at IS NOT NULL, t.id, t.hash
             FROM organizations o
             JOIN directories d ON d.organization_id = o.id AND d.deleted_at IS NULL
             JOIN directory_tokens t ON t.directory_id = d.id
             WHERE o.name = ? AND d.name = ? AND coalesce(t.ends_at > unixepoch(), 1)",
        )
        .bind(organization)
        .bind(name)
        .fetch_all(&self.read)
        .await?;
        let held = tokens.into_iter().find(|(.., stored)| {
            aws_lc_rs::constant_time::verify_slices_are_equal(stored, hash).is_ok()
        });
        Ok(held.map(|(directory, organization, called_before, token, _)| Access {
            directory,
            organization,
            name: name.to_owned(),
            token,
            called_before,
        }))
    }

    /// That the caller is let in still, for an answer that needs no write.
    pub(super) async fn still_open(&self, access: &Access) -> Result<(), Refused> {
        let open: bool = sqlx::query_scalar(concat!("SELECT ", open!()))
            .bind(access.token)
            .bind(access.directory)
            .fetch_one(&self.read)
            .await?;
        if open { Ok(()) } else { Err(Refused::Closed) }
    }

    /// Keep when the directory was first called with the right token. Costs nothing after that.
    pub async fn note_first_request(&self, access: &mut Access, now: Timestamp) -> Result<()> {
        if access.called_before {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        let first = sqlx::query(
            "UPDATE directories SET first_request_at = ?
             WHERE id = ? AND first_request_at IS NULL AND deleted_at IS NULL",
        )
        .bind(now.as_second())
        .bind(access.directory)
        .execute(&mut *tx)
        .await?;
        if first.rows_affected() > 0 {
            note_change(&mut tx, Topic::Directory, &access.organization, &access.name).await?;
        }
        tx.commit().await?;
        access.called_before = true;
        Ok(())
    }
}
