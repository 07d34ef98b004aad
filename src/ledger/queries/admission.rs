//! Who is let in: the link of a subject to one person of the directory, made once and for good.

use jiff::Timestamp;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{
    Ledger,
    connections::{note_sign_in, open_connection},
    domains::{proof_of, registrable},
    email_owner,
};
use crate::ledger::{
    Admit, Asserted, AuditLine, Matching, NewSession, NotAdmitted, OpenConnection, Result, Rules,
    db::{Tx, query, query_as, query_scalar},
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
    /// Nobody of the directory; but somebody who was in it, or is in another that is kept.
    Removed,
}

impl Ledger {
    /// Let somebody in whom their company IdP vouches for, or say why not. What decides is read in
    /// the transaction that makes the session and its line of the audit log.
    pub async fn admit(
        &self,
        asserted: &Asserted,
        session: &NewSession,
        now: Timestamp,
    ) -> Result<Result<Uuid, NotAdmitted>> {
        let mut tx = self.begin().await?;
        let Asserted { organization, connection, .. } = asserted;
        let Some(open) = open_connection(&mut tx, organization, connection).await? else {
            return Ok(Err(NotAdmitted::ConnectionClosed));
        };
        let admitted = admit(&mut tx, &open, asserted, session, now).await?;
        if admitted.is_ok() {
            tx.commit().await?;
        }
        Ok(admitted)
    }
}

async fn admit(
    tx: &mut Tx,
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
    if let Err(refused) = email_owner::take(tx, rules, asserted, person).await? {
        return Ok(Err(refused));
    }
    let identity: Uuid = query_scalar(
        "INSERT INTO identities (id, organization_id, connection, subject, person_id, directory_id,
             email, email_domain, registrable, display_name, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (organization_id, connection, subject) DO UPDATE SET
             person_id = excluded.person_id, directory_id = excluded.directory_id,
             email = excluded.email, email_domain = excluded.email_domain,
             registrable = excluded.registrable, display_name = excluded.display_name
         RETURNING id",
    )
    .bind(Uuid::new_v4())
    .bind(&route.organization)
    .bind(&route.connection)
    .bind(&asserted.subject)
    .bind(person)
    .bind(person.and(rules.directory))
    .bind(&asserted.email)
    .bind(&asserted.email_domain)
    .bind(registrable(&asserted.email_domain))
    .bind(&asserted.display_name)
    .bind(now.as_second())
    .fetch_one(&mut *tx)
    .await?;
    if let Some(hash) = session.replaces {
        query("DELETE FROM sessions WHERE hash = $1").bind(&hash[..]).execute(&mut *tx).await?;
    }
    let id = Uuid::now_v7();
    let ends = now.as_second().saturating_add(rules.session_seconds);
    let ends = asserted.session_until.map_or(ends, |until| ends.min(until));
    query(
        "INSERT INTO sessions (id, hash, identity_id, authenticated_at, began_at, expires_at,
             browser)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(id)
    .bind(&session.hash[..])
    .bind(identity)
    .bind(asserted.authenticated_at)
    .bind(now.as_second())
    .bind(ends)
    .bind(&session.browser)
    .execute(&mut *tx)
    .await?;
    let line = AuditLine {
        at: now,
        actor: format!("connection:{}", route.connection),
        action: "sign-in".into(),
        subject: asserted.email.clone(),
        detail: None,
        reference: None,
    };
    super::audit::write(&mut *tx, &route.organization, &line).await?;
    note_sign_in(tx, &route.organization, &route.connection, now).await?;
    Ok(Ok(id))
}

/// Whether the connection is still open for the domain, now that nobody else writes.
async fn is_still(tx: &mut Tx, open: &OpenConnection, domain: &str) -> Result<bool> {
    let found: Option<String> = query_scalar(concat!(
        "SELECT c.name FROM ",
        proof_of!("$1", "$2"),
        " proof
         JOIN connection_domains cd ON cd.organization_id = proof.organization_id
             AND cd.domain = proof.domain
         JOIN connections c ON c.organization_id = cd.organization_id AND c.name = cd.connection
         WHERE c.organization_id = $3 AND c.name = $4 AND c.issuer = $5 AND NOT c.withdrawn
             AND c.directory_id IS NOT DISTINCT FROM $6",
    ))
    .bind(domain)
    .bind(registrable(domain))
    .bind(&open.route.organization)
    .bind(&open.route.connection)
    .bind(&open.issuer)
    .bind(open.rules.directory)
    .fetch_optional(tx)
    .await?;
    Ok(found.is_some())
}

async fn known(tx: &mut Tx, open: &OpenConnection, asserted: &Asserted) -> Result<Known> {
    let OpenConnection { route, rules, .. } = open;
    let link: Option<(Option<Uuid>, Option<Uuid>, Option<bool>)> = query_as(
        "SELECT i.directory_id, p.id, p.active FROM identities i
         LEFT JOIN people p ON p.id = i.person_id AND p.directory_id = $4
         WHERE i.organization_id = $1 AND i.connection = $2 AND i.subject = $3",
    )
    .bind(&route.organization)
    .bind(&route.connection)
    .bind(&asserted.subject)
    .bind(rules.directory)
    .fetch_optional(&mut *tx)
    .await?;
    let was_linked = match link {
        Some((_, Some(person), Some(active))) => {
            return Ok(Known::Linked(Candidate { person, active, taken: false }));
        }
        Some((directory, ..)) => directory.is_some(),
        None => false,
    };
    let (_, column, value) = sought(rules, asserted);
    let mut people: Vec<(Uuid, String, bool, bool)> = query_as(AssertSqlSafe(format!(
        "SELECT p.id, p.user_name, p.active, EXISTS (
             SELECT 1 FROM identities i WHERE i.person_id = p.id AND i.organization_id = $1
                 AND i.connection = $2 AND i.subject <> $3)
         FROM people p JOIN directories d ON d.id = p.directory_id AND d.deleted_at IS NULL
         WHERE p.directory_id = $4 AND p.{column} = $5 LIMIT 2"
    )))
    .bind(&route.organization)
    .bind(&route.connection)
    .bind(&asserted.subject)
    .bind(rules.directory)
    .bind(&value)
    .fetch_all(&mut *tx)
    .await?;
    if rules.matching == Matching::UserName {
        // the column folds more than ASCII, and who only looks like somebody isn't them
        people.retain(|(_, name, ..)| name.eq_ignore_ascii_case(&asserted.sign_in_name));
    }
    if people.is_empty() && (was_linked || is_kept(tx, open, asserted).await?) {
        return Ok(Known::Removed);
    }
    let first = people.first();
    let first = first.map(|&(person, _, active, taken)| Candidate { person, active, taken });
    Ok(Known::Candidates(people.len(), first))
}

/// Whether a directory of the organization that was deleted, and is still kept, has such a person:
/// with it everyone's access ended.
async fn is_kept(tx: &mut Tx, open: &OpenConnection, asserted: &Asserted) -> Result<bool> {
    let (_, column, value) = sought(&open.rules, asserted);
    let kept: Option<Uuid> = query_scalar(AssertSqlSafe(format!(
        "SELECT p.id FROM directories d JOIN people p ON p.directory_id = d.id
         WHERE d.organization_id = $1 AND d.deleted_at IS NOT NULL AND p.{column} = $2 LIMIT 1"
    )))
    .bind(&open.route.organization)
    .bind(value)
    .fetch_optional(tx)
    .await?;
    Ok(kept.is_some())
}

/// What the directory is searched for: the attribute, its column, and the value.
fn sought(rules: &Rules, asserted: &Asserted) -> (&'static str, &'static str, String) {
    let (attribute, column) = rules.matching.sought();
    let value = match rules.matching {
        Matching::UserName => asserted.sign_in_name.to_lowercase(),
        Matching::ExternalId => asserted.subject.clone(),
        Matching::Email => asserted.email.clone(),
    };
    (attribute, column, value)
}

impl Matching {
    /// What of a person it goes by: the attribute, for people to read, and its column.
    pub(super) fn sought(self) -> (&'static str, &'static str) {
        match self {
            Self::UserName => ("userName", "user_name_key"),
            Self::ExternalId => ("externalId", "external_id"),
            Self::Email => ("e-mail", "email"),
        }
    }
}

/// The person a subject stands for; `None` for somebody admitted just in time.
fn link(rules: &Rules, asserted: &Asserted, known: &Known) -> Result<Option<Uuid>, NotAdmitted> {
    let (field, _, value) = sought(rules, asserted);
    let candidate = match known {
        Known::Linked(candidate) | Known::Candidates(1, Some(candidate)) => candidate,
        Known::Candidates(0, _) | Known::Candidates(_, None) | Known::Removed => {
            return match rules.admit {
                Admit::JustInTime if matches!(known, Known::Removed) => Err(NotAdmitted::Removed),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{
        fixture::{ACME, Acme, COMPANY, asserted, fresh, new_session},
        scim::PersonFields,
    };

    #[tokio::test]
    async fn whom_the_directory_names_is_let_in_and_linked_for_good() {
        let acme = Acme::new().await;
        let session = acme.sign_in(&asserted("ada")).await.unwrap();
        let standing = acme.ledger.standing_of_session(session, acme.now).await.unwrap().unwrap();
        assert_eq!((standing.subject, standing.email.as_str()), (acme.ada, "ada@acme.com"));
        // the subject counts from then on, whatever name it comes by
        let renamed = Asserted { subject: "sub-ada".into(), ..asserted("countess") };
        let session = acme.sign_in(&renamed).await.unwrap();
        let standing = acme.ledger.standing_of_session(session, acme.now).await.unwrap().unwrap();
        assert_eq!(standing.subject, acme.ada);
    }

    #[tokio::test]
    async fn nobody_takes_the_place_of_a_person_who_is_linked() {
        let acme = Acme::new().await;
        acme.sign_in(&asserted("ada")).await.unwrap();
        let thief = Asserted { subject: "sub-mallory".into(), ..asserted("ada") };
        let refused = acme.sign_in(&thief).await.unwrap_err();
        assert_eq!(refused, NotAdmitted::LinkedToAnother { field: "userName" });
    }

    #[tokio::test]
    async fn somebody_unknown_to_the_directory_is_let_in_only_just_in_time_and_without_teams() {
        let acme = Acme::new().await;
        let refused = acme.sign_in(&asserted("mallory")).await.unwrap_err();
        let value = "mallory@acme.com".to_owned();
        assert_eq!(refused, NotAdmitted::NotInDirectory { field: "userName", value });
        acme.publish(Rules { directory: None, ..acme.rules() }).await;
        assert_eq!(acme.sign_in(&asserted("mallory")).await, Err(NotAdmitted::NoDirectory));
        acme.publish(Rules { admit: Admit::JustInTime, ..acme.rules() }).await;
        let session = acme.sign_in(&asserted("mallory")).await.unwrap();
        let standing = acme.ledger.standing_of_session(session, acme.now).await.unwrap().unwrap();
        assert!(standing.teams.is_empty());
        // who is let in just in time is not so any more once the rule is gone
        acme.publish(acme.rules()).await;
        assert!(!acme.stands(session).await);
    }

    #[tokio::test]
    async fn just_in_time_doesnt_let_in_whom_the_directory_says_is_not_active() {
        let acme = Acme::new().await;
        acme.publish(Rules { admit: Admit::JustInTime, ..acme.rules() }).await;
        acme.set_active(acme.ada, "ada", false).await;
        assert_eq!(acme.sign_in(&asserted("ada")).await, Err(NotAdmitted::Deactivated));
    }

    #[tokio::test]
    async fn just_in_time_doesnt_let_in_whom_the_directory_has_removed() {
        let acme = Acme::new().await;
        acme.publish(Rules { admit: Admit::JustInTime, ..acme.rules() }).await;
        let session = acme.sign_in(&asserted("ada")).await.unwrap();
        acme.ledger.delete_person(&acme.scim, acme.ada, None, acme.now).await.unwrap();
        assert!(!acme.stands(session).await);
        for _ in 0..2 {
            assert_eq!(acme.sign_in(&asserted("ada")).await, Err(NotAdmitted::Removed));
        }
        assert!(acme.sign_in(&asserted("mallory")).await.is_ok(), "whom no directory ever had");
        // in the directory again, she is linked anew, and so is a new subject of hers
        let again = acme.hire("ada").await;
        let session = acme.sign_in(&asserted("ada")).await.unwrap();
        let standing = acme.ledger.standing_of_session(session, acme.now).await.unwrap().unwrap();
        assert_eq!(standing.subject, again);
        acme.ledger.delete_person(&acme.scim, again, None, acme.now).await.unwrap();
        acme.hire("ada").await;
        let other = Asserted { subject: "sub-new".into(), ..asserted("ada") };
        assert!(acme.sign_in(&other).await.is_ok());
        assert_eq!(
            acme.sign_in(&asserted("ada")).await,
            Err(NotAdmitted::LinkedToAnother { field: "userName" })
        );
    }

    #[tokio::test]
    async fn just_in_time_lets_in_nobody_of_a_directory_that_is_deleted_for_as_long_as_it_is_kept()
    {
        let acme = Acme::new().await;
        let jit = Rules { admit: Admit::JustInTime, ..acme.rules() };
        acme.publish(jit.clone()).await;
        acme.sign_in(&asserted("ada")).await.unwrap();
        acme.set_active(acme.grace, "grace", false).await;
        acme.ledger.delete_directory(ACME, "okta", acme.now).await.unwrap();
        acme.publish(Rules { directory: None, ..jit.clone() }).await;
        // who came in before, under whatever name, and who never did
        let renamed = Asserted { subject: "sub-ada".into(), ..asserted("countess") };
        for somebody in [asserted("ada"), renamed, asserted("grace")] {
            let refused = acme.sign_in(&somebody).await;
            assert_eq!(refused, Err(NotAdmitted::Removed), "{}", somebody.sign_in_name);
        }
        assert!(acme.sign_in(&asserted("mallory")).await.is_ok());
        // taken up again, it has them as it had them
        acme.ledger.make_directory(ACME, "okta", acme.now).await.unwrap();
        acme.publish(jit.clone()).await;
        let session = acme.sign_in(&asserted("ada")).await.unwrap();
        let standing = acme.ledger.standing_of_session(session, acme.now).await.unwrap().unwrap();
        assert_eq!(standing.subject, acme.ada);
        assert_eq!(acme.sign_in(&asserted("grace")).await, Err(NotAdmitted::Deactivated));
        // once it is forgotten, nobody knows that they were in it
        acme.ledger.delete_directory(ACME, "okta", acme.now).await.unwrap();
        acme.publish(Rules { directory: None, ..jit }).await;
        acme.ledger.purge_directories(acme.later(1)).await.unwrap();
        assert!(acme.sign_in(&asserted("ada")).await.is_ok());
    }

    #[tokio::test]
    async fn who_is_of_another_directory_is_linked_anew_and_never_admitted_just_in_time() {
        let acme = Acme::new().await;
        acme.sign_in(&asserted("ada")).await.unwrap();
        let entra = acme.ledger.make_directory(ACME, "entra", acme.now).await.unwrap().id;
        let jit = Rules { admit: Admit::JustInTime, ..acme.rules() };
        acme.publish(Rules { directory: Some(entra), ..jit.clone() }).await;
        assert_eq!(acme.sign_in(&asserted("ada")).await, Err(NotAdmitted::Removed));
        acme.publish(jit).await;
        let session = acme.sign_in(&asserted("ada")).await.unwrap();
        let standing = acme.ledger.standing_of_session(session, acme.now).await.unwrap().unwrap();
        assert_eq!(standing.subject, acme.ada, "her link was not forgotten");
    }

    #[tokio::test]
    async fn each_rule_matches_by_its_own_field_alone() {
        let acme = Acme::new().await;
        let by = |matching| Rules { matching, ..acme.rules() };
        let named = |subject: &str| Asserted { subject: subject.into(), ..asserted("nobody") };
        acme.publish(by(Matching::ExternalId)).await;
        assert!(acme.sign_in(&named("ext-ada")).await.is_ok());
        assert!(acme.sign_in(&named("ada@acme.com")).await.is_err());
        acme.publish(by(Matching::Email)).await;
        let mail = |email: &str| Asserted { email: email.into(), ..asserted("nobody") };
        assert!(acme.sign_in(&mail("grace@acme.com")).await.is_ok());
        acme.publish(by(Matching::UserName)).await;
        let upper = Asserted { sign_in_name: "ADA@acme.com".into(), ..asserted("other") };
        assert_eq!(
            acme.sign_in(&upper).await,
            Err(NotAdmitted::LinkedToAnother { field: "userName" }),
            "userNames are the same without regard to case, and Ada is linked already"
        );
    }

    #[tokio::test]
    async fn who_only_looks_like_somebody_is_not_taken_for_them() {
        let acme = Acme::new().await;
        let kim = acme.hire("kim").await;
        // a Kelvin sign, of which Unicode says that its small letter is k
        let lookalike = Asserted { subject: "sub-eve".into(), ..asserted("\u{212a}im") };
        for matching in [Matching::UserName, Matching::Email] {
            acme.publish(Rules { matching, ..acme.rules() }).await;
            assert!(
                matches!(acme.sign_in(&lookalike).await, Err(NotAdmitted::NotInDirectory { .. })),
                "{matching:?}"
            );
        }
        let upper = Asserted { sign_in_name: "KIM@Acme.com".into(), ..asserted("kim") };
        acme.publish(acme.rules()).await;
        let session = acme.sign_in(&upper).await.unwrap();
        let standing = acme.ledger.standing_of_session(session, acme.now).await.unwrap().unwrap();
        assert_eq!(standing.subject, kim);
    }

    #[tokio::test]
    async fn a_new_session_ends_the_one_that_the_browser_had() {
        let acme = Acme::new().await;
        let (first, second) = (new_session(fresh()), fresh());
        let admit = async |session: &NewSession| {
            let ada = asserted("ada");
            acme.ledger.admit(&ada, session, acme.now).await.unwrap()
        };
        let elsewhere = acme.sign_in(&asserted("ada")).await.unwrap();
        let had = admit(&first).await.unwrap();
        let again = NewSession { replaces: Some(first.hash), ..new_session(second) };
        acme.set_active(acme.grace, "grace", false).await;
        let grace = asserted("grace");
        let refused = acme.ledger.admit(&grace, &again, acme.now).await.unwrap();
        assert_eq!(refused, Err(NotAdmitted::Deactivated));
        assert!(acme.stands(had).await, "who isn't let in ends nothing");
        let has = admit(&again).await.unwrap();
        assert!(acme.stands(has).await && acme.stands(elsewhere).await);
        assert!(!acme.stands(had).await);
    }

    #[tokio::test]
    async fn a_session_ends_when_the_company_wants_it_to_and_never_later_than_the_rules_say() {
        let acme = Acme::new().await;
        for (until, ends) in [(None, 3600), (Some(60), 60), (Some(7200), 3600)] {
            let until = until.map(|seconds| acme.later(seconds).as_second());
            let ada = Asserted { session_until: until, ..asserted("ada") };
            let session = acme.sign_in(&ada).await.unwrap();
            let standing = async |at| acme.ledger.standing_of_session(session, at).await.unwrap();
            assert!(standing(acme.later(ends - 1)).await.is_some(), "{until:?}");
            assert!(standing(acme.later(ends)).await.is_none(), "{until:?}");
        }
    }

    #[tokio::test]
    async fn a_session_knows_when_the_company_last_asked_who_somebody_is() {
        let acme = Acme::new().await;
        let at = acme.later(-36_000);
        let ada = Asserted { authenticated_at: at.as_second(), ..asserted("ada") };
        let session = acme.sign_in(&ada).await.unwrap();
        let standing = acme.ledger.standing_of_session(session, acme.now).await.unwrap().unwrap();
        assert_eq!(standing.authenticated_at, at);
        assert_eq!(standing.expires_at, acme.later(3600), "it lasts as long as any other");
        let sessions = acme.ledger.sessions_beside(session, acme.now).await.unwrap();
        assert_eq!(sessions[0].began_at, acme.now);
    }

    #[tokio::test]
    async fn several_people_who_fit_are_nobody() {
        let acme = Acme::new().await;
        let rules = Rules { matching: Matching::Email, ..acme.rules() };
        acme.publish(rules).await;
        let twin = PersonFields {
            user_name: "ada2@acme.com".into(),
            external_id: None,
            email: Some("ada@acme.com".into()),
            active: true,
            attributes: "{}".into(),
        };
        acme.ledger.create_person(&acme.scim, &twin, acme.now).await.unwrap();
        assert!(matches!(
            acme.sign_in(&asserted("ada")).await,
            Err(NotAdmitted::SeveralInDirectory { field: "e-mail", .. })
        ));
    }

    #[tokio::test]
    async fn only_domains_of_the_connection_that_the_organization_owns_count() {
        let acme = Acme::new().await;
        let foreign = Asserted { email_domain: "globex.com".into(), ..asserted("ada") };
        let not_ours = |domain: &str| Err(NotAdmitted::DomainNotOurs(domain.to_owned()));
        assert_eq!(acme.sign_in(&foreign).await, not_ours("globex.com"));
        let domains = ["acme.com".to_owned(), "globex.com".to_owned()];
        acme.ledger.publish_connection(ACME, COMPANY, &acme.rules(), &domains).await.unwrap();
        assert_eq!(acme.sign_in(&foreign).await, not_ours("globex.com"), "claimed, not owned");
        acme.ledger.publish_connection(ACME, COMPANY, &acme.rules(), &[]).await.unwrap();
        assert_eq!(acme.sign_in(&asserted("ada")).await, not_ours("acme.com"));
    }

    #[tokio::test]
    async fn a_withdrawn_or_deleted_connection_lets_nobody_in() {
        let acme = Acme::new().await;
        acme.ledger.withdraw_connection(ACME, COMPANY).await.unwrap();
        assert_eq!(acme.sign_in(&asserted("ada")).await, Err(NotAdmitted::ConnectionClosed));
        acme.ledger.delete_connection(ACME, COMPANY).await.unwrap();
        assert_eq!(acme.sign_in(&asserted("ada")).await, Err(NotAdmitted::ConnectionClosed));
    }

    #[tokio::test]
    async fn another_identity_provider_in_a_connections_place_vouches_for_nobody_it_had() {
        let acme = Acme::new().await;
        let session = acme.sign_in(&asserted("ada")).await.unwrap();
        acme.publish_for("https://other.example", acme.rules()).await;
        assert!(!acme.stands(session).await);
        // its subjects are others, even where they are spelled the same
        let other = Asserted { subject: "sub-ada".into(), ..asserted("grace") };
        let session = acme.sign_in(&other).await.unwrap();
        let standing = acme.ledger.standing_of_session(session, acme.now).await.unwrap().unwrap();
        assert_eq!(standing.subject, acme.grace);
    }

    #[tokio::test]
    async fn connections_have_links_of_their_own() {
        let acme = Acme::new().await;
        acme.sign_in(&asserted("ada")).await.unwrap();
        // a domain leads to one connection: the second gets it once the first lets go
        acme.connect("second").await;
        acme.ledger.publish_connection(ACME, COMPANY, &acme.rules(), &[]).await.unwrap();
        let domains = ["acme.com".to_owned()];
        acme.ledger.publish_connection(ACME, "second", &acme.rules(), &domains).await.unwrap();
        let other =
            Asserted { connection: "second".into(), subject: "another".into(), ..asserted("ada") };
        assert!(acme.sign_in(&other).await.is_ok());
    }
}
