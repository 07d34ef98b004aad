//! The ledger beside a plain model of who owns what: whatever three organizations claim, prove,
//! lose, suspend and delete, in any order, both have the same owners.

use std::collections::BTreeMap;

use proptest::{prelude::*, test_runner::TestRunner};

use super::*;
use crate::ledger::{Admit, Connection, Matching, Protocol, Rules, tests::ledger};

const ORGANIZATIONS: [&str; 3] = ["a", "b", "c"];
const DOMAINS: [&str; 3] = ["acme.com", "mail.acme.com", "eu.mail.acme.com"];
/// The domains of e-mail addresses, with the names that can cover each, the nearest first.
const EMAILS: [(&str, &[&str]); 7] = [
    ("acme.com", &["acme.com"]),
    ("x.acme.com", &["acme.com"]),
    ("mail.acme.com", &["mail.acme.com", "acme.com"]),
    ("x.mail.acme.com", &["mail.acme.com", "acme.com"]),
    ("eu.mail.acme.com", &["eu.mail.acme.com", "mail.acme.com", "acme.com"]),
    ("x.y.eu.mail.acme.com", &["eu.mail.acme.com", "mail.acme.com", "acme.com"]),
    ("com", &[]),
];

type Name = &'static str;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The object is made, or changed to ask for this.
    Claim {
        include_subdomains: bool,
        sought: bool,
    },
    Seen,
    Missing,
    Lost,
    /// The object is deleted.
    Release,
    /// The namespace is deleted, and made again.
    End,
}

fn steps() -> impl Strategy<Value = Vec<(Name, Name, Step)>> {
    let step = prop_oneof![
        4 => (any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(include_subdomains, sought)| Step::Claim { include_subdomains, sought }),
        6 => Just(Step::Seen),
        2 => Just(Step::Missing),
        2 => Just(Step::Lost),
        2 => Just(Step::Release),
        1 => Just(Step::End),
    ];
    let one = (prop::sample::select(&ORGANIZATIONS[..]), prop::sample::select(&DOMAINS[..]), step);
    prop::collection::vec(one, 1..40)
}

#[derive(Debug, Default)]
struct Held {
    proved_at: Option<i64>,
    missing: bool,
    include_subdomains: bool,
    sought: bool,
}

#[derive(Debug, Default)]
struct Model {
    claims: BTreeMap<(Name, Name), Held>,
    owners: BTreeMap<Name, Name>,
}

impl Model {
    fn held(&mut self, organization: Name, domain: Name) -> Option<&mut Held> {
        self.claims.get_mut(&(domain, organization))
    }

    /// Who could own the domain, the first first.
    fn proved(&self, domain: Name) -> Vec<Name> {
        let mut proved: Vec<_> = ORGANIZATIONS
            .into_iter()
            .filter_map(|organization| {
                let held = self.claims.get(&(domain, organization))?;
                let proved_at = held.proved_at.filter(|_| held.sought && !held.missing)?;
                Some((proved_at, organization))
            })
            .collect();
        proved.sort_unstable();
        proved.into_iter().map(|(_, organization)| organization).collect()
    }

    fn give(&mut self, domain: Name) {
        if let (None, Some(first)) = (self.owners.get(domain), self.proved(domain).first()) {
            self.owners.insert(domain, first);
        }
    }

    fn drop_owner(&mut self, organization: Name, domain: Name) {
        if self.owners.get(domain) == Some(&organization) {
            self.owners.remove(domain);
            self.give(domain);
        }
    }

    fn release(&mut self, organization: Name, domain: Name) {
        self.claims.remove(&(domain, organization));
        self.drop_owner(organization, domain);
    }

    /// Whose people those of an e-mail domain are.
    fn covers(&self, email: Name, above: &[Name]) -> Option<Name> {
        let nearest = above.iter().find(|name| self.owners.contains_key(*name))?;
        let owner = self.owners[nearest];
        let held = &self.claims[&(*nearest, owner)];
        (email == *nearest || held.include_subdomains).then_some(owner)
    }
}

/// An organization with a connection for all domains.
async fn found(ledger: &Ledger, organization: Name) {
    ledger.name_organization(organization, organization, Timestamp::UNIX_EPOCH).await.unwrap();
    let metadata = Connection {
        source: "inline:".into(),
        issuer: "https://idp.example".into(),
        metadata: vec![],
        fetched_at: Timestamp::UNIX_EPOCH,
        request: None,
        withdrawn: true,
    };
    ledger.put_connection(organization, "idp", &metadata).await.unwrap();
    let rules = Rules {
        class: "default".into(),
        protocol: Protocol::Saml,
        admit: Admit::JustInTime,
        directory: None,
        matching: Matching::UserName,
        email_attribute: None,
        name_attribute: None,
        idp_initiated: false,
        session_seconds: 3600,
        private_endpoints: false,
    };
    let domains = DOMAINS.map(str::to_owned);
    ledger.publish_connection(organization, "idp", &rules, &domains).await.unwrap();
}

/// Takes a step in both, as the controller would: it records a proof only for a claim that there
/// is, and proves nothing anew where nothing is sought.
async fn take(ledger: &Ledger, model: &mut Model, now: i64, step: (Name, Name, Step)) {
    let at = Timestamp::from_second(now).unwrap();
    let (organization, domain, step) = step;
    let record = async |proof| ledger.record_proof(organization, domain, proof, at).await.unwrap();
    let owns = model.owners.get(domain) == Some(&organization);
    let Some(held) = model.held(organization, domain) else {
        if let Step::Claim { include_subdomains, sought } = step {
            let asked = Asked { include_subdomains, sought, request: None };
            ledger.claim(organization, domain, at).await.unwrap();
            ledger.ask(organization, domain, &asked, at).await.unwrap();
            let held = Held { include_subdomains, sought, ..Held::default() };
            model.claims.insert((domain, organization), held);
        }
        return;
    };
    match step {
        Step::Claim { include_subdomains, sought } => {
            let asked = Asked { include_subdomains, sought, request: None };
            ledger.ask(organization, domain, &asked, at).await.unwrap();
            (held.include_subdomains, held.sought) = (include_subdomains, sought);
            model.give(domain);
        }
        Step::Seen if held.sought || owns => {
            record(Proof::Seen).await;
            (held.proved_at, held.missing) = (held.proved_at.or(Some(now)), false);
            model.give(domain);
        }
        Step::Missing if held.proved_at.is_some() => {
            record(Proof::Missing).await;
            held.missing = true;
        }
        Step::Lost if held.proved_at.is_some() => {
            record(Proof::Lost(Loss::RecordLost)).await;
            (held.proved_at, held.missing) = (None, false);
            model.drop_owner(organization, domain);
        }
        Step::Release => {
            ledger.release(organization, domain).await.unwrap();
            model.release(organization, domain);
        }
        Step::End => {
            ledger.end_organization(organization, at).await.unwrap();
            for domain in DOMAINS {
                model.release(organization, domain);
            }
            found(ledger, organization).await;
        }
        Step::Seen | Step::Missing | Step::Lost => {}
    }
}

async fn agree(ledger: &Ledger, model: &Model) {
    let mut owners = BTreeMap::new();
    for organization in ORGANIZATIONS {
        for domain in ledger.owned_domains(organization).await.unwrap() {
            let other = owners.insert(domain.clone(), organization);
            assert_eq!(other, None, "two owners of {domain}");
        }
    }
    let expected = model.owners.iter().map(|(domain, owner)| ((*domain).to_owned(), *owner));
    assert_eq!(owners, expected.collect(), "{model:?}");
    for domain in DOMAINS {
        assert!(
            owners.contains_key(domain) || model.proved(domain).is_empty(),
            "{domain} is nobody's though a proof stands: {model:?}"
        );
    }
    for (email, above) in EMAILS {
        let route = ledger.route(email).await.unwrap().map(|route| route.organization);
        assert_eq!(route.as_deref(), model.covers(email, above), "{email}: {model:?}");
    }
}

#[test]
fn a_domain_never_has_two_owners_nor_none_while_a_proof_stands() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_dir, ledger) = runtime.block_on(ledger());
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() };
    let played = TestRunner::new(config).run(&steps(), |steps| {
        runtime.block_on(async {
            for organization in ORGANIZATIONS {
                ledger.end_organization(organization, Timestamp::UNIX_EPOCH).await.unwrap();
                found(&ledger, organization).await;
            }
            let mut model = Model::default();
            for (now, step) in (1..).zip(steps) {
                take(&ledger, &mut model, now, step).await;
                agree(&ledger, &model).await;
            }
        });
        Ok(())
    });
    played.unwrap();
}
