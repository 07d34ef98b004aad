//! For tests: an organization that people can sign in to.

use std::sync::atomic::{AtomicU8, Ordering};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{
    Ledger,
    scim::{Access, GroupFields, PersonFields},
    tests::{Place, ledger},
};
use crate::ledger::{
    Admit, Asserted, Connection, Hash, Matching, NewSession, NotAdmitted, Proof, Protocol, Rules,
};

/// The organization `acme` (id `id-acme`): it owns acme.com, its directory `okta` has Ada and Grace,
/// and its connection `company` lets them in.
pub(crate) struct Acme {
    pub ledger: Ledger,
    pub directory: Uuid,
    pub scim: Access,
    pub ada: Uuid,
    pub grace: Uuid,
    pub now: Timestamp,
    pub place: Place,
}

/// When all of it is, in seconds since the Unix epoch.
const NOW: i64 = 1_700_000_000;
pub(crate) const ACME: &str = "id-acme";
pub(crate) const COMPANY: &str = "company";

impl Acme {
    pub async fn new() -> Self {
        let (place, ledger) = ledger().await;
        let now = Timestamp::from_second(NOW).unwrap();
        ledger.name_organization(ACME, "acme", now).await.unwrap();
        ledger.claim(ACME, "acme.com", now).await.unwrap();
        ledger.record_proof(ACME, "acme.com", Proof::Seen, now).await.unwrap();
        let directory = ledger.make_directory(ACME, "okta", now).await.unwrap().id;
        ledger.replace_token(directory, Uuid::new_v4(), b"token", now).await.unwrap();
        let scim = ledger.scim_access("acme", "okta", b"token").await.unwrap().unwrap();
        let mut acme =
            Self { ledger, directory, scim, ada: Uuid::nil(), grace: Uuid::nil(), now, place };
        acme.ada = acme.hire("ada").await;
        acme.grace = acme.hire("grace").await;
        acme.publish(acme.rules()).await;
        acme
    }

    /// What the connection goes by at first.
    pub fn rules(&self) -> Rules {
        Rules {
            class: "default".into(),
            protocol: Protocol::Saml,
            admit: Admit::DirectoryOnly,
            directory: Some(self.directory),
            matching: Matching::UserName,
            email_attribute: None,
            name_attribute: None,
            idp_initiated: false,
            session_seconds: 3600,
            private_endpoints: false,
        }
    }

    pub async fn publish(&self, rules: Rules) {
        self.publish_for("https://idp.example", rules).await;
    }

    /// Open the connection to this identity provider.
    pub async fn publish_for(&self, issuer: &str, rules: Rules) {
        self.put(COMPANY, issuer).await;
        let domains = ["acme.com".to_owned()];
        self.ledger.publish_connection(ACME, COMPANY, &rules, &domains).await.unwrap();
    }

    /// Open another connection, which no domain leads to.
    pub async fn connect(&self, connection: &str) {
        self.put(connection, "https://another.example").await;
        self.ledger.publish_connection(ACME, connection, &self.rules(), &[]).await.unwrap();
    }

    async fn put(&self, connection: &str, issuer: &str) {
        let metadata = Connection {
            source: "inline:".into(),
            issuer: issuer.into(),
            metadata: vec![],
            fetched_at: self.now,
            request: None,
            withdrawn: true,
        };
        self.ledger.put_connection(ACME, connection, &metadata).await.unwrap();
    }

    /// Somebody new in the directory: `<name>@acme.com`, externalId `ext-<name>`.
    pub async fn hire(&self, name: &str) -> Uuid {
        let person = person(name, true);
        self.ledger.create_person(&self.scim, &person, self.now).await.unwrap()
    }

    pub async fn set_active(&self, id: Uuid, name: &str, active: bool) {
        let change = |_: &_| Ok::<_, super::scim::Refused>(Some(person(name, active)));
        self.ledger.change_person(&self.scim, id, "user.patch", self.now, change).await.unwrap();
    }

    /// Sign somebody in. Returns the session.
    pub async fn sign_in(&self, asserted: &Asserted) -> Result<Uuid, NotAdmitted> {
        let session = new_session(fresh());
        self.ledger.admit(asserted, &session, self.now).await.unwrap()
    }

    /// Whether the session gives access now.
    pub async fn stands(&self, session: Uuid) -> bool {
        self.ledger.standing_of_session(session, self.now).await.unwrap().is_some()
    }

    pub fn later(&self, seconds: i64) -> Timestamp {
        self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap()
    }
}

/// What the identity provider says of `<name>@acme.com`.
pub(crate) fn asserted(name: &str) -> Asserted {
    let email = format!("{name}@acme.com");
    Asserted {
        organization: ACME.into(),
        connection: COMPANY.into(),
        subject: format!("sub-{name}"),
        sign_in_name: email.clone(),
        email,
        email_domain: "acme.com".into(),
        display_name: Some(name.to_owned()),
        authenticated_at: NOW,
        session_until: None,
    }
}

/// A session in a browser that had none.
pub(crate) fn new_session(hash: Hash) -> NewSession {
    NewSession { hash, browser: "a browser".into(), replaces: None }
}

/// A hash that no other call returns.
pub(crate) fn fresh() -> Hash {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(Uuid::new_v4().as_bytes());
    hash[31] = NEXT.fetch_add(1, Ordering::Relaxed);
    hash
}

pub(crate) fn group(name: &str) -> GroupFields {
    GroupFields { display_name: name.into(), external_id: None, attributes: "{}".into() }
}

pub(crate) fn person(name: &str, active: bool) -> PersonFields {
    PersonFields {
        user_name: format!("{name}@acme.com"),
        external_id: Some(format!("ext-{name}")),
        email: Some(format!("{name}@acme.com")),
        active,
        attributes: format!(r#"{{"userName":"{name}@acme.com","active":{active}}}"#),
    }
}
