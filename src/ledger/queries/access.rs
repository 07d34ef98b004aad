//! Who has access now: sessions, each good only while everything that let its person in is true.

use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::{Ledger, domains::proof_of, seconds, teams::teams_of_person};
use crate::ledger::{
    Grant, Hash, Result, Session, Standing,
    db::{On, QueryAs, query, query_as, query_scalar},
};

/// How long tokens live where the class says nothing, in seconds.
pub const TOKEN_SECONDS: i64 = 300;

/// All that must be true of a session. A condition of its own follows.
macro_rules! standing {
    ($condition:literal) => {
        concat!(
            "SELECT s.id AS session, coalesce(p.id, i.id) AS subject, p.id AS person,
                 o.id AS organization, o.name AS namespace, c.name AS connection, c.class, i.email,
                 i.display_name, s.authenticated_at, s.expires_at, k.token_seconds
             FROM sessions s
             JOIN identities i ON i.id = s.identity_id
             JOIN organizations o ON o.id = i.organization_id AND o.name IS NOT NULL
             JOIN connections c ON c.organization_id = o.id AND c.name = i.connection
                 AND NOT c.withdrawn
             LEFT JOIN classes k ON k.name = c.class
             LEFT JOIN people p ON p.id = i.person_id
             LEFT JOIN directories d ON d.id = p.directory_id
             WHERE ",
            $condition,
            " AND s.expires_at > $2
                 AND EXISTS (SELECT 1 FROM ",
            proof_of!("i.email_domain", "i.registrable"),
            " proof
                     JOIN connection_domains cd ON cd.organization_id = proof.organization_id
                         AND cd.domain = proof.domain
                     WHERE cd.organization_id = o.id AND cd.connection = c.name)
                 AND CASE WHEN i.person_id IS NULL
                         THEN i.directory_id IS NULL AND c.admit = 'JustInTime'
                     ELSE p.active AND d.deleted_at IS NULL AND d.id = c.directory_id END"
        )
    };
}

#[derive(FromRow)]
struct Row {
    session: Uuid,
    subject: Uuid,
    person: Option<Uuid>,
    organization: String,
    namespace: String,
    connection: String,
    class: String,
    email: String,
    display_name: Option<String>,
    authenticated_at: i64,
    expires_at: i64,
    token_seconds: Option<i64>,
}

impl Ledger {
    /// Who holds the session of this cookie, if they still have access.
    pub async fn standing_of_cookie(&self, hash: Hash, now: Timestamp) -> Result<Option<Standing>> {
        let row = query_as(standing!("s.hash = $1")).bind(&hash[..]).bind(now.as_second());
        standing((&self.db.read).into(), row).await
    }

    /// Who holds this session, if they still have access.
    pub async fn standing_of_session(
        &self,
        session: Uuid,
        now: Timestamp,
    ) -> Result<Option<Standing>> {
        standing_of_session((&self.db.read).into(), session, now).await
    }

    /// The sessions of whoever holds this one, the newest first.
    pub async fn sessions_beside(&self, session: Uuid, now: Timestamp) -> Result<Vec<Session>> {
        let rows: Vec<(Uuid, i64, i64, String)> = query_as(
            "SELECT id, began_at, expires_at, browser FROM sessions
             WHERE identity_id = (SELECT identity_id FROM sessions WHERE id = $1) AND expires_at > $2
             ORDER BY began_at DESC, id DESC LIMIT 100",
        )
        .bind(session)
        .bind(now.as_second())
        .fetch_all(&self.db.read)
        .await?;
        let mut sessions = Vec::with_capacity(rows.len());
        for (id, began_at, expires_at, browser) in rows {
            let clients = query_scalar(
                "SELECT DISTINCT client_id FROM refresh_tokens WHERE session_id = $1 AND NOT used
                 ORDER BY client_id",
            );
            sessions.push(Session {
                id,
                began_at: seconds(began_at)?,
                expires_at: seconds(expires_at)?,
                browser,
                clients: clients.bind(id).fetch_all(&self.db.read).await?,
            });
        }
        Ok(sessions)
    }

    /// End a session of whoever holds `own`, with everything obtained by it. `false` if they have
    /// no such session.
    pub async fn end_session(&self, own: Uuid, session: Uuid) -> Result<bool> {
        let ended = query(
            "DELETE FROM sessions
             WHERE id = $1 AND identity_id = (SELECT identity_id FROM sessions WHERE id = $2)",
        )
        .bind(session)
        .bind(own)
        .write(&self.db.write)
        .await?;
        Ok(ended > 0)
    }

    /// End the session of this cookie, with everything obtained by it, whether or not it gives
    /// anybody anything now.
    pub async fn end_session_of_cookie(&self, hash: Hash) -> Result<()> {
        let end = query("DELETE FROM sessions WHERE hash = $1").bind(&hash[..]);
        end.write(&self.db.write).await?;
        Ok(())
    }

    /// End all sessions in the organization of this namespace of who has this e-mail or userName,
    /// without regard to case. Returns how many there were.
    pub async fn revoke(&self, namespace: &str, who: &str) -> Result<u64> {
        let ended = query(
            "DELETE FROM sessions WHERE identity_id IN (
                 SELECT i.id FROM identities i
                 JOIN organizations o ON o.id = i.organization_id
                 LEFT JOIN people p ON p.id = i.person_id
                 WHERE o.name = $1 AND (i.email = $2 OR p.email = $2 OR p.user_name_key = $3))",
        )
        .bind(namespace)
        .bind(who.to_ascii_lowercase())
        .bind(who.to_lowercase())
        .write(&self.db.write)
        .await?;
        Ok(ended)
    }

    /// What a team may do where, as the controller has bound it; in order.
    pub async fn put_grants(&self, organization: &str, team: &str, grants: &[Grant]) -> Result<()> {
        if self.grants(organization, team).await? == grants {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        query("DELETE FROM grants WHERE organization_id = $1 AND team = $2")
            .bind(organization)
            .bind(team)
            .execute(&mut tx)
            .await?;
        for grant in grants {
            query(
                "INSERT INTO grants (organization_id, team, namespace, cluster_role)
                 SELECT organization_id, name, $1, $2 FROM teams WHERE organization_id = $3 AND name = $4
                 ON CONFLICT DO NOTHING",
            )
            .bind(grant.namespace.as_deref().unwrap_or_default())
            .bind(&grant.cluster_role)
            .bind(organization)
            .bind(team)
            .execute(&mut tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// What a team may do where, in order.
    pub async fn grants(&self, organization: &str, team: &str) -> Result<Vec<Grant>> {
        let grants: Vec<(String, String)> = query_as(
            "SELECT namespace, cluster_role FROM grants WHERE organization_id = $1 AND team = $2
             ORDER BY namespace, cluster_role",
        )
        .bind(organization)
        .bind(team)
        .fetch_all(&self.db.read)
        .await?;
        let grant = |(namespace, cluster_role): (String, _)| Grant {
            namespace: Some(namespace).filter(|namespace| !namespace.is_empty()),
            cluster_role,
        };
        Ok(grants.into_iter().map(grant).collect())
    }
}

/// Who holds this session, if they still have access.
pub(super) async fn standing_of_session(
    on: On<'_>,
    session: Uuid,
    now: Timestamp,
) -> Result<Option<Standing>> {
    standing(on, query_as(standing!("s.id = $1")).bind(session).bind(now.as_second())).await
}

async fn standing(mut on: On<'_>, row: QueryAs<Row>) -> Result<Option<Standing>> {
    let Some(row) = row.fetch_optional(on.again()).await? else { return Ok(None) };
    let teams = match row.person {
        Some(person) => teams_of_person(on, person).await?,
        None => vec![],
    };
    Ok(Some(Standing {
        session: row.session,
        subject: row.subject,
        organization: row.organization,
        namespace: row.namespace,
        connection: row.connection,
        class: row.class,
        email: row.email,
        display_name: row.display_name,
        authenticated_at: seconds(row.authenticated_at)?,
        expires_at: seconds(row.expires_at)?,
        token_seconds: row.token_seconds.unwrap_or(TOKEN_SECONDS),
        teams,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{
        Admit, Loss, Proof, Selector,
        fixture::{ACME, Acme, COMPANY, asserted, fresh, group},
    };

    #[tokio::test]
    async fn a_session_ends_at_once_with_the_person() {
        let acme = Acme::new().await;
        let ada = acme.sign_in(&asserted("ada")).await.unwrap();
        let grace = acme.sign_in(&asserted("grace")).await.unwrap();
        acme.set_active(acme.ada, "ada", false).await;
        assert!(!acme.stands(ada).await);
        acme.set_active(acme.ada, "ada", true).await;
        assert!(!acme.stands(ada).await, "who is made active again signs in again");
        assert!(acme.stands(grace).await);
        acme.ledger.delete_person(&acme.scim, acme.grace, None, acme.now).await.unwrap();
        assert!(!acme.stands(grace).await);
    }

    #[tokio::test]
    async fn a_session_ends_at_once_with_the_directory() {
        let acme = Acme::new().await;
        let ada = acme.sign_in(&asserted("ada")).await.unwrap();
        acme.ledger.delete_directory(ACME, "okta", acme.now).await.unwrap();
        assert!(!acme.stands(ada).await);
        acme.ledger.make_directory(ACME, "okta", acme.now).await.unwrap();
        assert!(!acme.stands(ada).await);
        assert!(acme.sign_in(&asserted("ada")).await.is_ok(), "its people are taken up again");
    }

    #[tokio::test]
    async fn a_session_ends_at_once_with_the_domains_proof() {
        let acme = Acme::new().await;
        let ada = acme.sign_in(&asserted("ada")).await.unwrap();
        let lost = Proof::Lost(Loss::RecordLost);
        acme.ledger.record_proof(ACME, "acme.com", lost, acme.now).await.unwrap();
        assert!(!acme.stands(ada).await);
        acme.ledger.record_proof(ACME, "acme.com", Proof::Seen, acme.now).await.unwrap();
        assert!(!acme.stands(ada).await);
        let ada = acme.sign_in(&asserted("ada")).await.unwrap();
        acme.ledger.release(ACME, "acme.com").await.unwrap();
        assert!(!acme.stands(ada).await);
    }

    #[tokio::test]
    async fn a_session_waits_out_a_suspension_and_ends_with_the_connection() {
        let acme = Acme::new().await;
        let ada = acme.sign_in(&asserted("ada")).await.unwrap();
        acme.ledger.withdraw_connection(ACME, COMPANY).await.unwrap();
        assert!(!acme.stands(ada).await);
        acme.publish(acme.rules()).await;
        assert!(acme.stands(ada).await);
        acme.ledger.delete_connection(ACME, COMPANY).await.unwrap();
        acme.publish(acme.rules()).await;
        assert!(!acme.stands(ada).await);
    }

    #[tokio::test]
    async fn a_session_ends_with_its_time_and_with_its_organization() {
        let acme = Acme::new().await;
        let ada = acme.sign_in(&asserted("ada")).await.unwrap();
        let standing = async |at| acme.ledger.standing_of_session(ada, at).await.unwrap();
        assert!(standing(acme.later(3599)).await.is_some());
        assert!(standing(acme.later(3600)).await.is_none());
        acme.ledger.name_organization("another", "acme", acme.now).await.unwrap();
        assert!(!acme.stands(ada).await);
    }

    #[tokio::test]
    async fn a_directory_that_the_connection_no_longer_names_gives_no_access() {
        let acme = Acme::new().await;
        let ada = acme.sign_in(&asserted("ada")).await.unwrap();
        let other = acme.ledger.make_directory(ACME, "entra", acme.now).await.unwrap().id;
        let rules = crate::ledger::Rules { directory: Some(other), ..acme.rules() };
        acme.publish(rules).await;
        assert!(!acme.stands(ada).await);
        assert!(acme.sign_in(&asserted("ada")).await.is_err());
    }

    #[tokio::test]
    async fn somebody_sees_and_ends_their_own_sessions_alone() {
        let acme = Acme::new().await;
        let first = acme.sign_in(&asserted("ada")).await.unwrap();
        let second = acme.sign_in(&asserted("ada")).await.unwrap();
        let grace = acme.sign_in(&asserted("grace")).await.unwrap();
        let sessions = acme.ledger.sessions_beside(first, acme.now).await.unwrap();
        let ids: Vec<_> = sessions.iter().map(|s| s.id).collect();
        assert_eq!(ids.len(), 2);
        assert!(ids.contains(&first) && ids.contains(&second));
        assert!(!acme.ledger.end_session(first, grace).await.unwrap());
        assert!(acme.stands(grace).await);
        assert!(acme.ledger.end_session(first, second).await.unwrap());
        assert!(!acme.stands(second).await && acme.stands(first).await);
    }

    #[tokio::test]
    async fn revoking_ends_all_of_somebodys_sessions_in_that_organization() {
        let acme = Acme::new().await;
        for _ in 0..2 {
            acme.sign_in(&asserted("ada")).await.unwrap();
        }
        let grace = acme.sign_in(&asserted("grace")).await.unwrap();
        assert_eq!(acme.ledger.revoke("globex", "ada@acme.com").await.unwrap(), 0);
        assert_eq!(acme.ledger.revoke("acme", "Ada@Acme.com").await.unwrap(), 2);
        assert!(acme.stands(grace).await);
        // an address has no case in ASCII alone, a userName none at all
        acme.publish(crate::ledger::Rules { admit: Admit::JustInTime, ..acme.rules() }).await;
        let oedo = acme.sign_in(&asserted("\u{d6}do")).await.unwrap();
        assert_eq!(acme.ledger.revoke("acme", "\u{d6}do@acme.com").await.unwrap(), 1);
        assert!(!acme.stands(oedo).await);
    }

    #[tokio::test]
    async fn teams_and_what_they_may_do_follow_the_session() {
        let acme = Acme::new().await;
        let group = group("Engineering");
        let members = [acme.ada];
        let made = acme.ledger.create_group(&acme.scim, &group, &members, acme.now).await;
        let (group, _) = made.unwrap();
        let selector = Selector::Id(group.to_string());
        let (team, id) = ("engineering", acme.directory);
        acme.ledger.put_team(ACME, team, id, &selector, true).await.unwrap();
        let ada = acme.sign_in(&asserted("ada")).await.unwrap();
        let standing = acme.ledger.standing_of_session(ada, acme.now).await.unwrap().unwrap();
        assert_eq!(standing.teams, ["acme:engineering"]);
        let grant = |role: &str| Grant { namespace: Some("web".into()), cluster_role: role.into() };
        let everywhere = Grant { namespace: None, cluster_role: "view".into() };
        for grants in [vec![everywhere, grant("edit"), grant("view")], vec![grant("view")]] {
            acme.ledger.put_grants(ACME, team, &grants).await.unwrap();
            assert_eq!(acme.ledger.grants(ACME, team).await.unwrap(), grants);
        }
        acme.ledger.delete_team(ACME, team).await.unwrap();
        assert!(acme.ledger.grants(ACME, team).await.unwrap().is_empty());
        let unknown = fresh();
        assert_eq!(acme.ledger.standing_of_cookie(unknown, acme.now).await.unwrap(), None);
    }
}
