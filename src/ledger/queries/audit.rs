//! The audit log, and forgetting what has served.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sqlx::AssertSqlSafe;

use super::{Ledger, seconds};
use crate::ledger::{
    AuditLine, Result,
    db::{Query, Tx, query, query_as},
};

/// How long a line of the audit log is kept.
const AUDIT: SignedDuration = SignedDuration::from_hours(400 * 24);
/// How many lines an organization has before the oldest of what its directories wrote are forgotten,
/// too: a token that is in use leaves a line at each write. They are 250 MB or so.
const LINES: i64 = 1_000_000;
/// How long it may take to count everybody's lines: shorter than any answer is waited for.
const COUNT: Duration = Duration::from_secs(30);

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
        // The oldest few at a time, so that others get to write in between, and none of what stays
        // is looked through.
        let purge = "DELETE FROM audit WHERE seq IN (
             SELECT seq FROM (SELECT seq, at FROM audit ORDER BY seq LIMIT 10000) oldest
             WHERE at < $1)";
        while query(purge).bind(before.as_second()).write(&self.db.write).await? > 0 {}
        self.purge_audit(LINES).await
    }

    /// Forget the oldest of what its directories wrote of each organization that has more than so many
    /// lines. What else was done stays, or somebody could hide it by writing a lot.
    async fn purge_audit(&self, lines: i64) -> Result<()> {
        let mut tx = self.db.search.begin_within(COUNT).await?;
        let many: Vec<(String, i64)> = query_as(
            "SELECT many.organization_id, (SELECT seq FROM audit
                  WHERE organization_id = many.organization_id ORDER BY seq DESC LIMIT 1 OFFSET $1)
             FROM (SELECT organization_id FROM audit
                 GROUP BY organization_id HAVING count(*) > $1) many",
        )
        .bind(lines)
        .fetch_all(&mut tx)
        .await?;
        drop(tx);
        for (organization, last) in many {
            let some = async || {
                let some = query(
                    "DELETE FROM audit WHERE seq IN (
                         SELECT seq FROM audit
                         WHERE organization_id = $1 AND seq <= $2 AND actor LIKE 'scim:%'
                         ORDER BY seq LIMIT 10000)",
                );
                some.bind(&organization).bind(last).write(&self.db.write).await
            };
            while some().await? > 0 {}
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fixture::{ACME, Acme};

    #[tokio::test]
    async fn old_lines_are_forgotten_however_many_they_are_and_the_others_stay() {
        let acme = Acme::new().await;
        let lines = async || acme.ledger.audit_log("acme", None, u32::MAX).await.unwrap().len();
        let stay = lines().await;
        let old = (acme.now - AUDIT).as_second() - 1;
        query(
            "INSERT INTO audit (at, organization_id, actor, action, subject)
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)
             SELECT CAST($1 AS BIGINT), $2, 'scim:okta', 'user.create', 'x' FROM n",
        )
        .bind(old)
        .bind(ACME)
        .write(&acme.ledger.db.write)
        .await
        .unwrap();
        // they come first in a ledger that has grown
        query("UPDATE audit SET seq = -seq WHERE at = $1")
            .bind(old)
            .write(&acme.ledger.db.write)
            .await
            .unwrap();
        assert_eq!(lines().await, stay + 25_000);
        acme.ledger.purge_expired(acme.now).await.unwrap();
        assert_eq!(lines().await, stay);
    }

    #[tokio::test]
    async fn of_too_many_lines_the_oldest_that_a_directory_wrote_go_and_no_others() {
        let acme = Acme::new().await;
        let write = async |organization: &str, actor: &str, lines: i64| {
            query(
                "INSERT INTO audit (at, organization_id, actor, action, subject)
                 WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
                 SELECT $2, $3, $4, 'user.create', CAST(i AS TEXT) FROM n",
            )
            .bind(lines)
            .bind(acme.now.as_second())
            .bind(organization)
            .bind(actor)
            .write(&acme.ledger.db.write)
            .await
            .unwrap();
        };
        for actor in ["saml:company", "scim:okta", "scim:entra", "scim:okta"] {
            write(ACME, actor, 100).await;
        }
        write("globex", "scim:okta", 150).await;
        acme.ledger.purge_audit(150).await.unwrap();
        let left = acme.ledger.audit_for_tests().await;
        let of = |organization: &str, actor: &str| {
            let its = left.iter().filter(|line| line.0 == organization && line.1 == actor);
            its.map(|line| line.3.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(of(ACME, "saml:company").len(), 100);
        assert_eq!(of(ACME, "scim:okta").len(), 100);
        let entra = of(ACME, "scim:entra");
        assert_eq!((entra.first(), entra.len()), (Some(&"51"), 50), "the newest of them");
        assert_eq!(of("globex", "scim:okta").len(), 150);
        acme.ledger.purge_audit(150).await.unwrap();
        assert_eq!(acme.ledger.audit_for_tests().await, left);
    }
}
