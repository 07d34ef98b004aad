//! The gateway's own key pairs, sealed.

use jiff::Timestamp;
use sqlx::FromRow;

use super::{Ledger, seconds};
use crate::ledger::{
    Error, KeyPair, Purpose, Result,
    db::{query, query_as, query_scalar},
};

#[derive(FromRow)]
struct Row {
    id: String,
    purpose: String,
    organization_id: Option<String>,
    sealed: Vec<u8>,
    public: Vec<u8>,
    created_at: i64,
    active_at: i64,
    retired_at: Option<i64>,
    expires_at: Option<i64>,
}

impl Ledger {
    /// The key pairs for this that are published or will be, the oldest first.
    pub async fn keys(&self, purpose: &Purpose, now: Timestamp) -> Result<Vec<KeyPair>> {
        let (name, organization) = columns(purpose);
        let rows: Vec<Row> = query_as(
            "SELECT * FROM keys
             WHERE purpose = $1 AND organization_id IS NOT DISTINCT FROM $2
                 AND (expires_at IS NULL OR expires_at > $3)
             ORDER BY active_at, id",
        )
        .bind(name)
        .bind(organization)
        .bind(now.as_second())
        .fetch_all(&self.db.read)
        .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Add `next` after `last`, the newest of its purpose that the caller knew, and say when `last`
    /// is no longer used and published. `false`, and nothing is kept, if another gateway was faster.
    pub async fn add_key(&self, next: &KeyPair, last: Option<&KeyPair>) -> Result<bool> {
        let (purpose, organization) = columns(&next.purpose);
        let mut tx = self.begin().await?;
        let newest: Option<String> = query_scalar(
            "SELECT id FROM keys WHERE purpose = $1 AND organization_id IS NOT DISTINCT FROM $2
             ORDER BY active_at DESC, id DESC LIMIT 1",
        )
        .bind(purpose)
        .bind(organization)
        .fetch_optional(&mut tx)
        .await?;
        if newest.as_deref() != last.map(|last| last.id.as_str()) {
            return Ok(false);
        }
        query(
            "INSERT INTO keys (id, purpose, organization_id, sealed, public, created_at, active_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&next.id)
        .bind(purpose)
        .bind(organization)
        .bind(&next.sealed)
        .bind(&next.public)
        .bind(next.created_at.as_second())
        .bind(next.active_at.as_second())
        .execute(&mut tx)
        .await?;
        if let Some(last) = last {
            query("UPDATE keys SET retired_at = $1, expires_at = $2 WHERE id = $3")
                .bind(last.retired_at.map(Timestamp::as_second))
                .bind(last.expires_at.map(Timestamp::as_second))
                .bind(&last.id)
                .execute(&mut tx)
                .await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}

impl TryFrom<Row> for KeyPair {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: row.id,
            purpose: match (&*row.purpose, row.organization_id) {
                ("id-token", None) => Purpose::IdToken,
                ("saml-signing", None) => Purpose::SamlSigning,
                ("saml-encryption", Some(organization)) => Purpose::SamlEncryption(organization),
                _ => return Err(Error::Corrupt("key")),
            },
            sealed: row.sealed,
            public: row.public,
            created_at: seconds(row.created_at)?,
            active_at: seconds(row.active_at)?,
            retired_at: row.retired_at.map(seconds).transpose()?,
            expires_at: row.expires_at.map(seconds).transpose()?,
        })
    }
}

/// The columns `purpose` and `organization_id`.
fn columns(purpose: &Purpose) -> (&'static str, Option<&str>) {
    match purpose {
        Purpose::IdToken => ("id-token", None),
        Purpose::SamlSigning => ("saml-signing", None),
        Purpose::SamlEncryption(organization) => ("saml-encryption", Some(organization)),
    }
}
