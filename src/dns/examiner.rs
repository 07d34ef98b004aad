//! The look at a domain's challenge record, and what it means.

use std::net::SocketAddr;

use hickory_resolver::net::NetError;

use super::{
    Answer, DomainName, Examination, challenge,
    lookup::{Failure, Found, Resolver},
};

/// How much of a wrong record's value is shown.
const SHOWN: usize = 60;

/// How looks are made.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The recursive resolvers to ask; the system's where empty.
    pub servers: Vec<SocketAddr>,
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    pub domain: &'a DomainName,
    /// The value that proves the domain.
    pub expected: &'a str,
    /// Whether name servers at private, loopback and link-local addresses may be asked.
    pub allow_private: bool,
    /// Whether the domain stands proved by this very value, and the record was there at the last
    /// look: then the first server that still shows it is enough. Anything else is looked into in
    /// full.
    pub renewing: bool,
}

/// Looks at challenge records. Cheap to clone; knows nothing of who claims what.
#[derive(Clone)]
pub struct Examiner(Resolver);

impl Examiner {
    /// # Errors
    /// The system's configuration can't be read.
    pub fn new(settings: &Settings) -> Result<Self, NetError> {
        Resolver::new(&settings.servers).map(Self)
    }

    /// Look for the record, and say what was found. Takes a bounded time.
    pub async fn examine(&self, look: &Look<'_>) -> Examination {
        let Look { domain, expected, .. } = look;
        let record = challenge::record_name(domain);
        let publish = format!("publish a TXT record {record} with the value {expected}");
        let (answer, explanation) = match self.0.txt(&record).await {
            Found::Records(records) if records.iter().any(|r| r == expected) => {
                (Answer::Match, format!("The record {record} is published."))
            }
            Found::Records(records) => {
                let other: String =
                    records.into_iter().next().unwrap_or_default().chars().take(SHOWN).collect();
                (
                    Answer::Mismatch,
                    format!(
                        "There is a TXT record {record}, but its value is \"{other}\": change it \
                         to {expected}, or add a second record."
                    ),
                )
            }
            Found::NoData => (Answer::NoData, format!("To prove {domain}, {publish}.")),
            Found::NxDomain => (Answer::NxDomain, format!("To prove {domain}, {publish}.")),
            Found::Failed(failure) => (
                match failure {
                    Failure::ServFail => Answer::ServFail,
                    Failure::Refused => Answer::Refused,
                    Failure::Timeout => Answer::Timeout,
                    Failure::Malformed => Answer::Malformed,
                    Failure::Unreachable => Answer::Unreachable,
                },
                format!("{record} could not be looked up: {failure}."),
            ),
        };
        Examination { answer, explanation, wait_at_least: None, steps: Vec::new() }
    }
}
