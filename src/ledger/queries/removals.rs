//! What was removed of a directory's imported teams: the facts that the limits on removals go by.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{Ledger, seconds};
use crate::ledger::{
    Removal, Result,
    db::{query, query_as},
};

/// For how long removals are remembered: no window is longer.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(168);

impl Ledger {
    /// The removals that are remembered.
    pub async fn removals(&self, directory: Uuid) -> Result<Vec<Removal>> {
        let rows: Vec<(String, i64, bool)> = query_as(
            "SELECT team, removed_at, approved FROM removals WHERE directory_id = $1 ORDER BY team",
        )
        .bind(directory)
        .fetch_all(&self.db.read)
        .await?;
        let removal = |(team, at, approved)| Ok(Removal { team, at: seconds(at)?, approved });
        rows.into_iter().map(removal).collect()
    }

    /// Forget what was noted of these teams, by their UIDs: they weren't removed after all.
    pub async fn forget_removals(&self, directory: Uuid, teams: &[String]) -> Result<()> {
        if teams.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        for team in teams {
            query("DELETE FROM removals WHERE directory_id = $1 AND team = $2")
                .bind(directory)
                .bind(team)
                .execute(&mut tx)
                .await?;
        }
        tx.commit().await
    }

    /// Remember that these teams, by their UIDs, are let go. To be called before they are.
    pub async fn note_removals(
        &self,
        directory: Uuid,
        teams: &[String],
        approved: bool,
        now: Timestamp,
    ) -> Result<()> {
        if teams.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        query("DELETE FROM removals WHERE directory_id = $1 AND removed_at < $2")
            .bind(directory)
            .bind((now - REMEMBERED).as_second())
            .execute(&mut tx)
            .await?;
        for team in teams {
            query(
                "INSERT INTO removals (directory_id, team, removed_at, approved) VALUES ($1, $2, $3, $4)
                 ON CONFLICT DO NOTHING",
            )
            .bind(directory)
            .bind(team)
            .bind(now.as_second())
            .bind(approved)
            .execute(&mut tx)
            .await?;
        }
        let why = if approved { "approved" } else { "within the limits" };
        query(
            "INSERT INTO audit (at, organization_id, actor, action, subject, detail)
             SELECT $1, organization_id, 'rollcall', 'teams.remove', name, $2
             FROM directories WHERE id = $3",
        )
        .bind(now.as_second())
        .bind(format!("{} imported teams, {why}", teams.len()))
        .bind(directory)
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::ledger::fixture::Acme;

    #[tokio::test]
    async fn a_removal_counts_once_and_is_forgotten_after_the_longest_window() {
        let acme = Acme::new().await;
        let note = async |teams: &[&str], now| {
            let teams: Vec<_> = teams.iter().map(|&team| team.to_owned()).collect();
            acme.ledger.note_removals(acme.directory, &teams, false, now).await.unwrap();
        };
        note(&["a", "b"], acme.now).await;
        note(&["b", "c"], acme.later(60)).await;
        let removals = acme.ledger.removals(acme.directory).await.unwrap();
        let times: Vec<_> = removals.iter().map(|r| (r.team.as_str(), r.at)).collect();
        assert_eq!(times, [("a", acme.now), ("b", acme.now), ("c", acme.later(60))]);
        note(&["d"], acme.later(168 * 3600 + 30)).await;
        let removals = acme.ledger.removals(acme.directory).await.unwrap();
        assert_eq!(removals.iter().map(|r| r.team.as_str()).collect::<Vec<_>>(), ["c", "d"]);
        acme.ledger.forget_removals(acme.directory, &["c".into(), "x".into()]).await.unwrap();
        let removals = acme.ledger.removals(acme.directory).await.unwrap();
        assert_eq!(removals.iter().map(|r| r.team.as_str()).collect::<Vec<_>>(), ["d"]);
        let audit = acme.ledger.audit_for_tests().await;
        let removed = audit.iter().filter(|(_, _, action, _)| action == "teams.remove");
        assert_eq!(removed.count(), 3);
    }
}
