//! Who owns a domain, and what that does to those who signed in by it.

use super::*;
use crate::ledger::{
    Asserted, Rules,
    fixture::{ACME, Acme, COMPANY, asserted, fresh},
    tests::ledger,
};

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
    let prove = async |id| ledger.record_proof(id, "acme.com", Proof::Seen, at(2)).await.unwrap();
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

const GLOBEX: &str = "id-globex";

/// The claim of an organization to a domain, proved, and covering what is below it or not.
async fn prove(acme: &Acme, id: &str, domain: &str, include_subdomains: bool) -> Claim {
    acme.ledger.name_organization(id, id.trim_start_matches("id-"), acme.now).await.unwrap();
    acme.ledger.claim(id, domain, acme.now).await.unwrap();
    let asked = Asked { include_subdomains, sought: true, request: None };
    acme.ledger.ask(id, domain, &asked, acme.now).await.unwrap();
    acme.ledger.record_proof(id, domain, Proof::Seen, acme.now).await.unwrap()
}

/// What the identity provider says of `ada@<domain>`, who is Ada of the directory.
fn ada_at(domain: &str) -> Asserted {
    let email = format!("ada@{domain}");
    Asserted { email, email_domain: domain.into(), ..asserted("ada") }
}

#[tokio::test]
async fn a_proof_covers_what_is_below_it_where_its_object_says_so() {
    let acme = Acme::new().await;
    let below = ["mail.acme.com", "eu.mail.acme.com"];
    for domain in below {
        assert!(acme.sign_in(&ada_at(domain)).await.is_err(), "{domain}");
    }
    prove(&acme, ACME, "acme.com", true).await;
    let mut sessions = vec![];
    for domain in below {
        assert_eq!(acme.ledger.route(domain).await.unwrap().unwrap().namespace, "acme");
        let session = acme.sign_in(&ada_at(domain)).await.unwrap();
        assert!(acme.stands(session).await);
        sessions.push(session);
    }
    for other in ["notacme.com", "acme.com.evil.org", "com"] {
        assert_eq!(acme.ledger.route(other).await.unwrap(), None, "{other}");
    }
    let ada = acme.sign_in(&asserted("ada")).await.unwrap();
    prove(&acme, ACME, "acme.com", false).await;
    // all three are one identity, whose e-mail is the last that was asserted
    assert!(acme.stands(ada).await);
    prove(&acme, ACME, "acme.com", true).await;
    let session = acme.sign_in(&ada_at("mail.acme.com")).await.unwrap();
    prove(&acme, ACME, "acme.com", false).await;
    prove(&acme, ACME, "acme.com", true).await;
    assert!(!acme.stands(session).await, "what no longer was covered signs in again");
}

#[tokio::test]
async fn the_most_specific_proof_decides_and_ends_what_was_covered_before() {
    let acme = Acme::new().await;
    prove(&acme, ACME, "acme.com", true).await;
    let at = |domain: &str| ada_at(domain);
    let session = acme.sign_in(&at("eu.mail.acme.com")).await.unwrap();
    assert!(prove(&acme, GLOBEX, "mail.acme.com", false).await.owns);
    assert!(!acme.stands(session).await);
    for taken in ["mail.acme.com", "eu.mail.acme.com"] {
        assert!(acme.sign_in(&at(taken)).await.is_err(), "{taken}");
    }
    assert!(acme.sign_in(&at("acme.com")).await.is_ok());
    let session = acme.sign_in(&at("other.acme.com")).await.unwrap();
    assert!(!prove(&acme, ACME, "mail.acme.com", true).await.owns, "who was first keeps it");
    assert!(acme.stands(session).await);

    acme.ledger.release(GLOBEX, "mail.acme.com").await.unwrap();
    assert!(acme.ledger.claim_of(ACME, "mail.acme.com").await.unwrap().unwrap().owns);
    acme.ledger.release(ACME, "mail.acme.com").await.unwrap();
    assert!(acme.sign_in(&at("eu.mail.acme.com")).await.is_ok(), "covered from above again");
}

#[tokio::test]
async fn no_proof_reaches_over_a_public_suffix() {
    let acme = Acme::new().await;
    for (owned, covered, not) in [
        ("github.io", "github.io", "acme.github.io"),
        ("amazonaws.com", "mail.amazonaws.com", "bucket.s3.amazonaws.com"),
    ] {
        prove(&acme, ACME, owned, true).await;
        let domains = [owned.to_owned()];
        acme.ledger.publish_connection(ACME, COMPANY, &acme.rules(), &domains).await.unwrap();
        assert!(acme.ledger.route(covered).await.unwrap().is_some(), "{covered}");
        assert!(acme.sign_in(&ada_at(covered)).await.is_ok(), "{covered}");
        assert_eq!(acme.ledger.route(not).await.unwrap(), None);
        assert!(acme.sign_in(&ada_at(not)).await.is_err(), "{not}");
    }
}

#[tokio::test]
async fn a_new_owner_revives_nothing_of_the_old_one() {
    let acme = Acme::new().await;
    let session = acme.sign_in(&asserted("ada")).await.unwrap();
    query(
        "INSERT INTO refresh_tokens (hash, session_id, client_id, scope, issued_at)
         VALUES ($1, $2, 'kubernetes', 'openid', 0)",
    )
    .bind(&fresh()[..])
    .bind(session)
    .write(&acme.ledger.db.write)
    .await
    .unwrap();
    assert!(!prove(&acme, GLOBEX, "acme.com", true).await.owns);
    let lost = Proof::Lost(Loss::RecordLost);
    acme.ledger.record_proof(ACME, "acme.com", lost, acme.now).await.unwrap();
    assert_eq!(acme.ledger.owned_domains(GLOBEX).await.unwrap(), ["acme.com"]);
    assert_eq!(acme.ledger.route("acme.com").await.unwrap(), None, "globex has no connection");
    assert!(!acme.stands(session).await);
    assert!(acme.sign_in(&asserted("ada")).await.is_err());

    // the same subject at the new owner's connection of the same name is somebody else
    let metadata = acme.ledger.connection(ACME, COMPANY).await.unwrap().unwrap();
    acme.ledger.put_connection(GLOBEX, COMPANY, &metadata).await.unwrap();
    let rules = Rules { directory: None, admit: crate::ledger::Admit::JustInTime, ..acme.rules() };
    let domains = ["acme.com".to_owned()];
    acme.ledger.publish_connection(GLOBEX, COMPANY, &rules, &domains).await.unwrap();
    let new = crate::ledger::NewSession { hash: fresh(), browser: String::new(), replaces: None };
    let theirs = Asserted { organization: GLOBEX.into(), ..asserted("ada") };
    let admitted = acme.ledger.admit(&theirs, &new, acme.now).await;
    let theirs = admitted.unwrap().unwrap();
    let standing = acme.ledger.standing_of_session(theirs, acme.now).await.unwrap().unwrap();
    assert_ne!(standing.subject, acme.ada);
    assert_eq!((standing.namespace.as_str(), standing.teams.len()), ("globex", 0));

    // and once the old owner has it back, neither its own nor the other's sessions count
    prove(&acme, ACME, "acme.com", false).await;
    acme.ledger.release(GLOBEX, "acme.com").await.unwrap();
    for session in [session, theirs] {
        assert!(!acme.stands(session).await);
    }
    for table in ["sessions", "refresh_tokens"] {
        let count = query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")));
        let left: i64 = count.fetch_one(&acme.ledger.db.read).await.unwrap();
        assert_eq!(left, 0, "{table}");
    }
    let back = acme.sign_in(&asserted("ada")).await.unwrap();
    let standing = acme.ledger.standing_of_session(back, acme.now).await.unwrap().unwrap();
    assert_eq!(standing.subject, acme.ada);
}

#[tokio::test]
async fn only_who_seeks_a_domain_and_shows_its_record_takes_it_over() {
    let acme = Acme::new().await;
    let (initech, domain) = ("id-initech", "acme.com");
    for id in [GLOBEX, initech] {
        assert!(!prove(&acme, id, domain, false).await.owns);
    }
    let asked = |sought| Asked { sought, ..Asked::default() };
    acme.ledger.ask(GLOBEX, domain, &asked(false), acme.now).await.unwrap();
    acme.ledger.record_proof(initech, domain, Proof::Missing, acme.now).await.unwrap();
    let before = acme.ledger.latest_change().await.unwrap();
    acme.ledger.release(ACME, domain).await.unwrap();
    for id in [GLOBEX, initech] {
        assert!(!acme.ledger.claim_of(id, domain).await.unwrap().unwrap().owns, "{id}");
    }
    assert!(acme.ledger.ask(GLOBEX, domain, &asked(true), acme.now).await.unwrap().owns);
    let told = acme.ledger.changes_since(before).await.unwrap();
    let told: Vec<_> = told.iter().map(|change| change.organization.as_deref()).collect();
    assert_eq!(told, [Some("acme"), Some("globex")]);
    // who owns it keeps it though it isn't sought for now
    acme.ledger.ask(GLOBEX, domain, &asked(false), acme.now).await.unwrap();
    let seen = acme.ledger.record_proof(initech, domain, Proof::Seen, acme.now).await.unwrap();
    assert!(!seen.owns);
    // an organization that ends leaves it to the next
    acme.ledger.end_organization(GLOBEX, acme.now).await.unwrap();
    assert_eq!(acme.ledger.owned_domains(initech).await.unwrap(), [domain]);
}

#[tokio::test]
async fn a_new_request_restarts_the_clock_of_a_claim_without_a_proof() {
    let (_dir, ledger) = ledger().await;
    ledger.name_organization("a", "acme", Timestamp::UNIX_EPOCH).await.unwrap();
    ledger.claim("a", "acme.com", at(1)).await.unwrap();
    let ask = async |request: Option<&str>, now| {
        let request = request.map(str::to_owned);
        let asked = Asked { include_subdomains: false, sought: true, request };
        ledger.ask("a", "acme.com", &asked, at(now)).await.unwrap().claimed_at
    };
    assert_eq!(ask(Some("once"), 5).await, at(5));
    assert_eq!(ask(Some("once"), 6).await, at(5));
    assert_eq!(ask(None, 7).await, at(5));
    assert_eq!(ask(Some("again"), 8).await, at(8));
    ledger.record_proof("a", "acme.com", Proof::Seen, at(9)).await.unwrap();
    assert_eq!(ask(Some("more"), 10).await, at(8));
}
