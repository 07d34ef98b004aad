//! The audit log, and forgetting what has served.

use jiff::{SignedDuration, Timestamp};
use sqlx::AssertSqlSafe;

use super::{Ledger, seconds};
use crate::ledger::{
    AuditLine, Result,
    db::{Query, Tx, query, query_as},
};

/// How long a line of the audit log is kept.
const AUDIT: SignedDuration = SignedDuration::from_hours(400 * 24);

type Row = (i64, String, String, String, Option<String>, Option<String>);

impl Ledger {
    /// Write a line. `organization` is its id; empty where none is known.
    pub async fn audit(&self, organization: &str, line: &AuditLine) -> Result<()> {
        written(organization, line).write(&self.db.write).await.map(drop)
    }

    /// The newest lines of the organization in this namespace, the newest first; with `reference`
    /// only those that an error page showed under it.
    pub async fn audit_log(
        &self,
        namespace: &str,
        reference: Option<&str>,
        limit: u32,
    ) -> Result<Vec<AuditLine>> {
        let rows: Vec<Row> = query_as(
            "SELECT a.at, a.actor, a.action, a.subject, a.detail, a.reference
             FROM audit a JOIN organizations o ON o.id = a.organization_id
             WHERE o.name = $1 AND ($2 IS NULL OR a.reference = $2) ORDER BY a.seq DESC LIMIT $3",
        )
        .bind(namespace)
        .bind(reference)
        .bind(limit)
        .fetch_all(&self.db.read)
        .await?;
        rows.into_iter().map(line).collect()
    }

    /// The lines that an error page showed under this reference, where no organization was known.
    pub async fn audit_of_nobody(&self, reference: &str) -> Result<Vec<AuditLine>> {
        let rows: Vec<Row> = query_as(
            "SELECT at, actor, action, subject, detail, reference FROM audit
             WHERE organization_id = '' AND reference = $1 ORDER BY seq DESC",
        )
        .bind(reference)
        .fetch_all(&self.db.read)
        .await?;
        rows.into_iter().map(line).collect()
    }

    /// Forget what has expired: flows, codes, sessions, presented assertions, keys, old lines of
    /// the audit log.
    pub async fn purge_expired(&self, now: Timestamp) -> Result<()> {
        for table in ["flows", "sessions", "seen_assertions", "keys"] {
            let delete = format!("DELETE FROM {table} WHERE expires_at <= $1");
            query(AssertSqlSafe(delete)).bind(now.as_second()).write(&self.db.write).await?;
        }
        let before = now.checked_sub(AUDIT).unwrap_or(Timestamp::MIN);
        // a few at a time, so that others get to write in between
        let purge = "DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE at < $1 ORDER BY seq LIMIT 10000)";
        query(purge).bind(before.as_second()).write(&self.db.write).await?;
        Ok(())
    }
}

/// Write a line, in the transaction that does what it tells of.
pub(super) async fn write(tx: &mut Tx, organization: &str, line: &AuditLine) -> Result<()> {
    written(organization, line).execute(tx).await.map(drop)
}

fn written(organization: &str, line: &AuditLine) -> Query {
    // what somebody sent is told of even where no database can hold it
    let told = |text: &String| text.replace('\0', "\u{fffd}");
    query(
        "INSERT INTO audit (at, organization_id, actor, action, subject, detail, reference)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(line.at.as_second())
    .bind(organization)
    .bind(told(&line.actor))
    .bind(&line.action)
    .bind(told(&line.subject))
    .bind(line.detail.as_ref().map(told))
    .bind(line.reference.as_ref().map(told))
}

fn line((at, actor, action, subject, detail, reference): Row) -> Result<AuditLine> {
    Ok(AuditLine { at: seconds(at)?, actor, action, subject, detail, reference })
}
