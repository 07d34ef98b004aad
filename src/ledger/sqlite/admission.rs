//! Who is let in: the link of a subject to one person of the directory, made once and for good.

use jiff::{SignedDuration, Timestamp};
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::{Ledger, connections::note_sign_in};
use crate::ledger::{
    Admit, Asserted, Matching, NewSession, NotAdmitted, OpenConnection, Result, Rules,
};

/// A person of the directory that a subject is linked to, or that its assertion names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    person: Uuid,
    active: bool,
    /// Whether another subject of this connection is linked to them.
    taken: bool,
}

/// What is known of a subject.
#[derive(Debug)]
enum Known {
    /// Linked before to this person.
    Linked(Candidate),
    /// Not linked; so many people of the directory fit, and the first of them.
    Candidates(usize, Option<Candidate>),
}

impl Ledger {
    /// Let somebody in whom their company IdP vouches for, or say why not. What decides is read in
    /// the transaction that makes the session.
    pub async fn admit(
        &self,
        organization: &str,
        connection: &str,
        asserted: &Asserted,
        session: &NewSession,
        now: Timestamp,
    ) -> Result<Result<Uuid, NotAdmitted>> {
        let Some(open) = self.open_connection_of(organization, connection).await? else {
            return Ok(Err(NotAdmitted::ConnectionClosed));
        };
        let mut tx = self.begin().await?;
        let admitted = admit(&mut tx, &open, asserted, session, now).await?;
        if admitted.is_ok() {
            tx.commit().await?;
        }
        Ok(admitted)
    }
}

async fn admit(
    tx: &mut SqliteConnection,
    open: &OpenConnection,
    asserted: &Asserted,
    session: &NewSession,
    now: Timestamp,
) -> Result<Result<Uuid, NotAdmitted>> {
    let OpenConnection { route, rules, .. } = open;
    if !is_still(tx, open, &asserted.email_domain).await? {
        return Ok(Err(NotAdmitted::DomainNotOurs(asserted.email_domain.clone())));
    }
    let person = match link(rules, asserted, &known(tx, open, asserted).await?) {
        Ok(person) => person,
        Err(refused) => return Ok(Err(refused)),
    };
    let identity: Uuid = sqlx::query_scalar(
        "INSERT INTO identities (id, organization_id, connection, subject, person_id, email,
             email_domain, display_name, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (organization_id, connection, subject) DO UPDATE SET
             person_id = excluded.person_id, email = excluded.email,
             email_domain = excluded.email_domain, display_name = excluded.display_name
         RETURNING id",
    )
    .bind(Uuid::new_v4())
    .bind(&route.organization)
    .bind(&route.connection)
    .bind(&asserted.subject)
    .bind(person)
    .bind(&asserted.email)
    .bind(&asserted.email_domain)
    .bind(&asserted.display_name)
    .bind(now.as_second())
    .fetch_one(&mut *tx)
    .await?;
    let id = Uuid::now_v7();
    let ends = now.checked_add(SignedDuration::from_secs(rules.session_seconds));
    sqlx::query(
        "INSERT INTO sessions (id, hash, identity_id, authenticated_at, expires_at, browser)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(id)
    .bind(&session.hash[..])
    .bind(identity)
    .bind(session.authenticated_at.as_second())
    .bind(ends.unwrap_or(Timestamp::MAX).as_second())
    .bind(&session.browser)
    .execute(&mut *tx)
    .await?;
    note_sign_in(tx, &route.organization, &route.connection, now).await?;
    Ok(Ok(id))
}

/// Whether the connection is still open for the domain, now that nobody else writes.
async fn is_still(tx: &mut SqliteConnection, open: &OpenConnection, domain: &str) -> Result<bool> {
    let found: Option<i64> = sqlx::query_scalar(
        "SELECT 1 FROM connections c
         JOIN connection_domains cd ON cd.organization_id = c.organization_id
             AND cd.connection = c.name AND cd.domain = ?
         JOIN domains d ON d.organization_id = c.organization_id AND d.domain = cd.domain
             AND d.owns = 1
         WHERE c.organization_id = ? AND c.name = ? AND c.issuer = ? AND c.withdrawn = 0
             AND c.directory_id IS ?",
    )
    .bind(domain)
    .bind(&open.route.organization)
    .bind(&open.route.connection)
    .bind(&open.issuer)
    .bind(open.rules.directory)
    .fetch_optional(tx)
    .await?;
    Ok(found.is_some())
}

async fn known(
    tx: &mut SqliteConnection,
    open: &OpenConnection,
    asserted: &Asserted,
) -> Result<Known> {
    let OpenConnection { route, rules, .. } = open;
    let linked: Option<(Uuid, bool)> = sqlx::query_as(
        "SELECT p.id, p.active FROM identities i JOIN people p ON p.id = i.person_id
         WHERE i.organization_id = ? AND i.connection = ? AND i.subject = ?
             AND p.directory_id IS ?",
    )
    .bind(&route.organization)
    .bind(&route.connection)
    .bind(&asserted.subject)
    .bind(rules.directory)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some((person, active)) = linked {
        return Ok(Known::Linked(Candidate { person, active, taken: false }));
    }
    let (_, column, value) = sought(rules, asserted);
    let people: Vec<(Uuid, bool, bool)> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "SELECT p.id, p.active, EXISTS (
             SELECT 1 FROM identities i WHERE i.person_id = p.id AND i.organization_id = ?
                 AND i.connection = ? AND i.subject <> ?)
         FROM people p JOIN directories d ON d.id = p.directory_id AND d.deleted_at IS NULL
         WHERE p.directory_id = ? AND p.{column} = ? LIMIT 2"
    )))
    .bind(&route.organization)
    .bind(&route.connection)
    .bind(&asserted.subject)
    .bind(rules.directory)
    .bind(value)
    .fetch_all(tx)
    .await?;
    let first = people.first();
    let first = first.map(|&(person, active, taken)| Candidate { person, active, taken });
    Ok(Known::Candidates(people.len(), first))
}

/// What the directory is searched for: the attribute, its column, and the value.
fn sought(rules: &Rules, asserted: &Asserted) -> (&'static str, &'static str, String) {
    match rules.matching {
        Matching::UserName => ("userName", "user_name_key", asserted.sign_in_name.to_lowercase()),
        Matching::ExternalId => ("externalId", "external_id", asserted.subject.clone()),
        Matching::Email => ("e-mail", "email", asserted.email.clone()),
    }
}

/// The person a subject stands for; `None` for somebody admitted just in time.
fn link(rules: &Rules, asserted: &Asserted, known: &Known) -> Result<Option<Uuid>, NotAdmitted> {
    let (field, _, value) = sought(rules, asserted);
    let candidate = match known {
        Known::Linked(candidate) | Known::Candidates(1, Some(candidate)) => candidate,
        Known::Candidates(0, _) | Known::Candidates(_, None) => {
            return match rules.admit {
                Admit::JustInTime => Ok(None),
                Admit::DirectoryOnly if rules.directory.is_none() => Err(NotAdmitted::NoDirectory),
                Admit::DirectoryOnly => Err(NotAdmitted::NotInDirectory { field, value }),
            };
        }
        Known::Candidates(..) => return Err(NotAdmitted::SeveralInDirectory { field, value }),
    };
    if candidate.taken {
        return Err(NotAdmitted::LinkedToAnother { field });
    }
    if !candidate.active {
        return Err(NotAdmitted::Deactivated);
    }
    Ok(Some(candidate.person))
}
