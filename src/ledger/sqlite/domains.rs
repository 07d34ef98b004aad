//! Claims to domains and who owns them: the first organization to prove a name, held by a unique
//! index.

use jiff::Timestamp;
use sqlx::{FromRow, SqliteConnection};

use super::{Ledger, note_change, seconds};
use crate::ledger::{Claim, Error, Loss, Proof, Result, Topic};

#[derive(FromRow)]
struct Row {
    claimed_at: i64,
    proved_at: Option<i64>,
    seen_at: Option<i64>,
    missing_since: Option<i64>,
    missed_at: Option<i64>,
    absences: i64,
    lost: Option<String>,
    owns: bool,
}

impl TryFrom<Row> for Claim {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let lost = match row.lost.as_deref() {
            None => None,
            Some("RecordLost") => Some(Loss::RecordLost),
            Some("ProofExpired") => Some(Loss::ProofExpired),
            Some(_) => return Err(Error::Corrupt("loss")),
        };
        Ok(Claim {
            claimed_at: seconds(row.claimed_at)?,
            proved_at: row.proved_at.map(seconds).transpose()?,
            seen_at: row.seen_at.map(seconds).transpose()?,
            missing_since: row.missing_since.map(seconds).transpose()?,
            missed_at: row.missed_at.map(seconds).transpose()?,
            absences: row.absences,
            lost,
            owns: row.owns,
        })
    }
}

const CLAIM: &str =
    "SELECT claimed_at, proved_at, seen_at, missing_since, missed_at, absences, lost, owns
    FROM domains WHERE organization_id = ? AND domain = ?";

impl Ledger {
    /// The organization's claim to `domain`, made now where there is none.
    pub async fn claim(&self, organization: &str, domain: &str, now: Timestamp) -> Result<Claim> {
        if let Some(known) = self.claim_of(organization, domain).await? {
            return Ok(known);
        }
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO domains (organization_id, domain, claimed_at) VALUES (?, ?, ?)
             ON CONFLICT DO NOTHING",
        )
        .bind(organization)
        .bind(domain)
        .bind(now.as_second())
        .execute(&mut *tx)
        .await?;
        let claim = get(&mut tx, organization, domain).await?;
        tx.commit().await?;
        Ok(claim)
    }

    /// Record what a look at the DNS showed, and give the domain to this organization if it is
    /// proved now and nobody's.
    pub async fn record_proof(
        &self,
        organization: &str,
        domain: &str,
        proof: Proof,
        now: Timestamp,
    ) -> Result<Claim> {
        let mut tx = self.begin().await?;
        let before = get(&mut tx, organization, domain).await?;
        let update = match proof {
            Proof::Seen => sqlx::query(
                "UPDATE domains SET proved_at = coalesce(proved_at, ?1), seen_at = ?1,
                     missing_since = NULL, missed_at = NULL, absences = 0, lost = NULL,
                     owns = owns OR NOT EXISTS (SELECT 1 FROM domains o WHERE o.domain = ?3 AND o.owns = 1)
                 WHERE organization_id = ?2 AND domain = ?3",
            ),
            Proof::Missing => sqlx::query(
                "UPDATE domains SET missing_since = coalesce(missing_since, ?1), missed_at = ?1,
                     absences = absences + 1
                 WHERE organization_id = ?2 AND domain = ?3",
            ),
            Proof::Lost(loss) => sqlx::query(match loss {
                Loss::RecordLost => {
                    "UPDATE domains SET proved_at = NULL, seen_at = NULL, missing_since = NULL, missed_at = NULL,
                         absences = 0, owns = 0, lost = 'RecordLost', claimed_at = ?1
                     WHERE organization_id = ?2 AND domain = ?3"
                }
                Loss::ProofExpired => {
                    "UPDATE domains SET proved_at = NULL, seen_at = NULL, missing_since = NULL, missed_at = NULL,
                         absences = 0, owns = 0, lost = 'ProofExpired', claimed_at = ?1
                     WHERE organization_id = ?2 AND domain = ?3"
                }
            }),
        };
        update.bind(now.as_second()).bind(organization).bind(domain).execute(&mut *tx).await?;
        let after = get(&mut tx, organization, domain).await?;
        if before.owns != after.owns {
            note_change(&mut tx, Topic::Domain, organization, domain).await?;
        }
        tx.commit().await?;
        Ok(after)
    }

    /// Forget the organization's claim to `domain`; who else has proved it can own it now.
    pub async fn release(&self, organization: &str, domain: &str) -> Result<()> {
        let mut tx = self.begin().await?;
        let owned: Option<bool> = sqlx::query_scalar(
            "DELETE FROM domains WHERE organization_id = ? AND domain = ? RETURNING owns",
        )
        .bind(organization)
        .bind(domain)
        .fetch_optional(&mut *tx)
        .await?;
        if owned == Some(true) {
            note_change(&mut tx, Topic::Domain, organization, domain).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The organization's claim to `domain`, where there is one.
    pub async fn claim_of(&self, organization: &str, domain: &str) -> Result<Option<Claim>> {
        let row: Option<Row> = sqlx::query_as(CLAIM)
            .bind(organization)
            .bind(domain)
            .fetch_optional(&self.read)
            .await?;
        row.map(TryInto::try_into).transpose()
    }

    /// The domains that the organization owns, in order.
    pub async fn owned_domains(&self, organization: &str) -> Result<Vec<String>> {
        let owned = sqlx::query_scalar(
            "SELECT domain FROM domains WHERE organization_id = ? AND owns = 1 ORDER BY domain",
        );
        Ok(owned.bind(organization).fetch_all(&self.read).await?)
    }
}

async fn get(tx: &mut SqliteConnection, organization: &str, domain: &str) -> Result<Claim> {
    let row: Row = sqlx::query_as(CLAIM).bind(organization).bind(domain).fetch_one(tx).await?;
    row.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::sqlite::tests::ledger;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[tokio::test]
    async fn the_first_to_prove_owns_and_the_next_takes_over_when_that_ends() {
        let (_dir, ledger) = ledger().await;
        for (id, name) in [("a", "acme"), ("b", "globex")] {
            ledger.name_organization(id, name, Timestamp::UNIX_EPOCH).await.unwrap();
            ledger.claim(id, "acme.com", at(1)).await.unwrap();
        }
        let prove =
            async |id| ledger.record_proof(id, "acme.com", Proof::Seen, at(2)).await.unwrap();
        assert!(prove("b").await.owns);
        let later = prove("a").await;
        assert!(!later.owns && later.proved_at.is_some());

        let lost = Proof::Lost(Loss::RecordLost);
        let lost = ledger.record_proof("b", "acme.com", lost, at(3)).await.unwrap();
        assert!(!lost.owns && lost.proved_at.is_none() && lost.lost == Some(Loss::RecordLost));
        assert!(prove("a").await.owns);
        assert!(!prove("b").await.owns);

        ledger.release("a", "acme.com").await.unwrap();
        assert!(prove("b").await.owns);
        assert_eq!(ledger.owned_domains("b").await.unwrap(), ["acme.com"]);
    }

    #[tokio::test]
    async fn the_other_side_hears_of_owners_only() {
        let (_dir, ledger) = ledger().await;
        ledger.name_organization("a", "acme", Timestamp::UNIX_EPOCH).await.unwrap();
        ledger.claim("a", "acme.com", at(1)).await.unwrap();
        assert_eq!(ledger.latest_change().await.unwrap(), 0);
        for _ in 0..2 {
            ledger.record_proof("a", "acme.com", Proof::Seen, at(2)).await.unwrap();
        }
        let changes = ledger.changes_since(0).await.unwrap();
        assert_eq!(changes.len(), 1);
        assert_eq!((changes[0].seq, changes[0].topic), (1, Topic::Domain));
        assert_eq!(changes[0].organization.as_deref(), Some("acme"));
    }

    #[tokio::test]
    async fn absences_are_counted_until_the_record_is_seen_again() {
        let (_dir, ledger) = ledger().await;
        ledger.name_organization("a", "acme", Timestamp::UNIX_EPOCH).await.unwrap();
        ledger.claim("a", "acme.com", at(1)).await.unwrap();
        let record =
            async |proof, now| ledger.record_proof("a", "acme.com", proof, at(now)).await.unwrap();
        record(Proof::Seen, 2).await;
        record(Proof::Missing, 3).await;
        let missing = record(Proof::Missing, 4).await;
        assert_eq!((missing.missing_since, missing.absences), (Some(at(3)), 2));
        assert!(missing.owns);
        let seen = record(Proof::Seen, 5).await;
        assert_eq!((seen.missing_since, seen.absences), (None, 0));
        assert_eq!((seen.proved_at, seen.seen_at), (Some(at(2)), Some(at(5))));
    }
}
