//! Claims to domains and who owns them: the first organization to prove a name, held by a unique
//! index; once it lets go, the next whose proof stands, in the same transaction.
//!
//! A proof covers its own name; where its object says `includeSubdomains`, also every name below,
//! down to the next that somebody has proved: of the names that are owned at and above an e-mail
//! domain, the nearest alone decides whose people those are. A company that delegates
//! mail.acme.com to another thereby lets it take that branch, and never more than that branch. Nor
//! does a proof reach over a public suffix: who runs a suffix doesn't speak for who registers
//! below it.

use jiff::Timestamp;
use sqlx::FromRow;

use super::{Ledger, note_change, seconds};
use crate::ledger::{
    Asked, Claim, Error, Loss, Proof, Result, Topic,
    db::{Tx, query, query_as, query_scalar},
};

/// SQL: the proof that decides whose people those of an e-mail domain are, as a table of at most
/// one row, `(organization_id, domain)`. The registrable domain is that of [`registrable`].
macro_rules! proof_of {
    ($email_domain:literal, $registrable:literal) => {
        concat!(
            "(SELECT organization_id, domain FROM (
                 WITH RECURSIVE up (name, above) AS (
                     SELECT ",
            $email_domain,
            ", 0
                     UNION ALL
                     SELECT substr(name, instr(name, '.') + 1), above + 1 FROM up
                     WHERE length(name) > length(",
            $registrable,
            "))
                 SELECT d.organization_id, d.domain, d.include_subdomains, up.above
                 FROM up JOIN domains d ON d.domain = up.name AND d.owns
                 ORDER BY up.above LIMIT 1) nearest
             WHERE above = 0 OR include_subdomains)"
        )
    };
}
pub(super) use proof_of;

/// The highest name whose proof can cover this e-mail domain: one label more than its public
/// suffix has, or itself.
pub(super) fn registrable(email_domain: &str) -> &str {
    psl::domain_str(email_domain).unwrap_or(email_domain)
}

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
    include_subdomains: bool,
    sought: bool,
    request: Option<String>,
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
            asked: Asked {
                include_subdomains: row.include_subdomains,
                sought: row.sought,
                request: row.request,
            },
        })
    }
}

const CLAIM: &str =
    "SELECT claimed_at, proved_at, seen_at, missing_since, missed_at, absences, lost, owns,
        include_subdomains, sought, request
    FROM domains WHERE organization_id = $1 AND domain = $2";

impl Ledger {
    /// The organization's claim to `domain`, made now where there is none.
    pub async fn claim(&self, organization: &str, domain: &str, now: Timestamp) -> Result<Claim> {
        if let Some(known) = self.claim_of(organization, domain).await? {
            return Ok(known);
        }
        let mut tx = self.begin().await?;
        query(
            "INSERT INTO domains (organization_id, domain, claimed_at, sought) VALUES ($1, $2, $3, true)
             ON CONFLICT DO NOTHING",
        )
        .bind(organization)
        .bind(domain)
        .bind(now.as_second())
        .execute(&mut tx)
        .await?;
        let claim = get(&mut tx, organization, domain).await?;
        tx.commit().await?;
        Ok(claim)
    }

    /// Let a claim be as its object asks, from now on. A new request to look again restarts the
    /// clock of a claim without a proof.
    pub async fn ask(
        &self,
        organization: &str,
        domain: &str,
        asked: &Asked,
        now: Timestamp,
    ) -> Result<Claim> {
        let mut tx = self.begin().await?;
        query(
            "UPDATE domains SET include_subdomains = $1, sought = $2,
                 claimed_at = CASE WHEN proved_at IS NULL AND $3 IS NOT NULL AND $3 IS DISTINCT FROM request
                     THEN $4 ELSE claimed_at END,
                 request = $3
             WHERE organization_id = $5 AND domain = $6",
        )
        .bind(asked.include_subdomains)
        .bind(asked.sought)
        .bind(&asked.request)
        .bind(now.as_second())
        .bind(organization)
        .bind(domain)
        .execute(&mut tx)
        .await?;
        if asked.sought {
            give(&mut tx, domain).await?;
        }
        let claim = get(&mut tx, organization, domain).await?;
        tx.commit().await?;
        Ok(claim)
    }

    /// Record what a look at the DNS showed. A domain that is nobody's goes to this organization if
    /// it is proved now, to the next if this proof ended.
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
            Proof::Seen => query(
                "UPDATE domains SET proved_at = coalesce(proved_at, $1), seen_at = $1,
                     missing_since = NULL, missed_at = NULL, absences = 0, lost = NULL
                 WHERE organization_id = $2 AND domain = $3",
            ),
            Proof::Missing => query(
                "UPDATE domains SET missing_since = coalesce(missing_since, $1), missed_at = $1,
                     absences = absences + 1
                 WHERE organization_id = $2 AND domain = $3",
            ),
            Proof::Lost(loss) => query(match loss {
                Loss::RecordLost => {
                    "UPDATE domains SET proved_at = NULL, seen_at = NULL, missing_since = NULL, missed_at = NULL,
                         absences = 0, owns = false, lost = 'RecordLost', claimed_at = $1
                     WHERE organization_id = $2 AND domain = $3"
                }
                Loss::ProofExpired => {
                    "UPDATE domains SET proved_at = NULL, seen_at = NULL, missing_since = NULL, missed_at = NULL,
                         absences = 0, owns = false, lost = 'ProofExpired', claimed_at = $1
                     WHERE organization_id = $2 AND domain = $3"
                }
            }),
        };
        update.bind(now.as_second()).bind(organization).bind(domain).execute(&mut tx).await?;
        match proof {
            Proof::Lost(_) if before.owns => pass_on(&mut tx, organization, domain).await?,
            Proof::Seen if !before.owns => give(&mut tx, domain).await?,
            _ => {}
        }
        let after = get(&mut tx, organization, domain).await?;
        tx.commit().await?;
        Ok(after)
    }

    /// Forget the organization's claim to `domain`; the next whose proof stands owns it from now on.
    pub async fn release(&self, organization: &str, domain: &str) -> Result<()> {
        let mut tx = self.begin().await?;
        let owned: Option<bool> = query_scalar(
            "DELETE FROM domains WHERE organization_id = $1 AND domain = $2 RETURNING owns",
        )
        .bind(organization)
        .bind(domain)
        .fetch_optional(&mut tx)
        .await?;
        if owned == Some(true) {
            pass_on(&mut tx, organization, domain).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The organization's claim to `domain`, where there is one.
    pub async fn claim_of(&self, organization: &str, domain: &str) -> Result<Option<Claim>> {
        let row: Option<Row> =
            query_as(CLAIM).bind(organization).bind(domain).fetch_optional(&self.db.read).await?;
        row.map(TryInto::try_into).transpose()
    }

    /// The domains that the organization owns, in order.
    pub async fn owned_domains(&self, organization: &str) -> Result<Vec<String>> {
        let owned = query_scalar(
            "SELECT domain FROM domains WHERE organization_id = $1 AND owns ORDER BY domain",
        );
        Ok(owned.bind(organization).fetch_all(&self.db.read).await?)
    }
}

/// Tell that the organization no longer owns the domain, and give it to the next.
pub(super) async fn pass_on(tx: &mut Tx, organization: &str, domain: &str) -> Result<()> {
    note_change(tx, Topic::Domain, organization, domain).await?;
    give(tx, domain).await
}

/// Give a domain that is nobody's to the first of those who have proved it. Who doesn't seek it, or
/// whose record was gone at the last look, isn't among them.
async fn give(tx: &mut Tx, domain: &str) -> Result<()> {
    let owner: Option<String> = query_scalar(
        "UPDATE domains SET owns = true
         WHERE domain = $1
             AND organization_id = (
                 SELECT organization_id FROM domains
                 WHERE domain = $1 AND proved_at IS NOT NULL AND missing_since IS NULL
                     AND sought
                 ORDER BY proved_at, organization_id LIMIT 1)
             AND NOT EXISTS (SELECT 1 FROM domains WHERE domain = $1 AND owns)
         RETURNING organization_id",
    )
    .bind(domain)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(owner) = owner else { return Ok(()) };
    // whom a proof further up covered until now, they aren't that organization's any more
    query(
        "DELETE FROM sessions WHERE identity_id IN (
             SELECT id FROM identities
             WHERE registrable = $1 AND organization_id <> $2
                 AND (email_domain = $3
                     OR substr(email_domain, length(email_domain) - length($3)) = '.' || $3))",
    )
    .bind(registrable(domain))
    .bind(&owner)
    .bind(domain)
    .execute(&mut *tx)
    .await?;
    note_change(tx, Topic::Domain, &owner, domain).await
}

async fn get(tx: &mut Tx, organization: &str, domain: &str) -> Result<Claim> {
    let row: Row = query_as(CLAIM).bind(organization).bind(domain).fetch_one(tx).await?;
    row.try_into()
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
