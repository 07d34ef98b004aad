//! The look at a domain's challenge record: who is asked what, in which order, and when it is enough.

use std::{sync::Arc, time::Duration};

use hickory_net::proto::{
    ProtoError,
    op::Query,
    rr::{Name, RecordType},
};

use super::{
    Answer, DomainName, Examination, challenge,
    dnssec::{Validator, Validity},
    explain::{Finding, Hint, explain},
    judge::{Opinion, Verdict, judge, of_failure},
    reply::{Reply, texts},
    source::{Settings, SettingsError, Source},
    trip::Trip,
    walk::Found,
};

/// How long a look may take in all.
const DEADLINE: Duration = Duration::from_secs(15);
/// How many aliases behind one another are followed.
const MOST_ALIASES: usize = 8;
/// How long to wait at most for a resolver to forget.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    pub domain: &'a DomainName,
    /// The value that proves the domain. Where it is empty nothing matches, and the explanation
    /// speaks to somebody who doesn't know it.
    pub expected: &'a str,
    /// Whether name servers at private and loopback addresses may be asked.
    pub allow_private: bool,
    /// Whether the domain stands proved by this very value, and the record was there at the last
    /// look. It takes as many servers as a new proof does; but a record that is no alias needs no
    /// second look at whether it is a wildcard's: only the zone's owner can have made it one.
    pub renewing: bool,
}

/// Is told what each look came to.
pub type Observer = Arc<dyn Fn(Answer) + Send + Sync>;

/// Looks at challenge records. Cheap to clone; knows nothing of who claims what.
#[derive(Clone)]
pub struct Examiner {
    source: Arc<Source>,
    validator: Arc<Validator>,
    observer: Observer,
}

/// How thoroughly to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// One server that answers.
    One,
    /// Every server of the zone.
    All,
}

impl Examiner {
    /// # Errors
    /// What the settings name can't be had.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        Ok(Self {
            source: Arc::new(Source::new(&settings.mode)?),
            validator: Arc::new(Validator::new(settings.trust_anchors.as_deref())?),
            observer: Arc::new(|_| {}),
        })
    }

    /// Tell `observer` what each look comes to.
    pub fn observed_by(self, observer: Observer) -> Self {
        Self { observer, ..self }
    }

    /// Look for the record, and say what was found. Takes fifteen seconds at most.
    pub async fn examine(&self, look: &Look<'_>) -> Examination {
        let trip = Arc::new(Trip::new(look.allow_private));
        let record = challenge::record_name(look.domain);
        let finding = match Name::from_ascii(format!("{record}.")) {
            Ok(name) => {
                let inquiry = Inquiry { examiner: self, look, trip: &trip };
                let finding = tokio::time::timeout(DEADLINE, inquiry.inquire(&name)).await;
                finding.unwrap_or_else(|_| Finding::new(name, Answer::Timeout))
            }
            // no name that `DomainName` accepts leads here
            Err(_) => Finding::new(Name::root(), Answer::NxDomain),
        };
        (self.observer)(finding.answer);
        Examination {
            answer: finding.answer,
            explanation: explain(look, &finding),
            wait_at_least: finding.remembered.map(|time| time.min(LONGEST_WAIT)),
            steps: trip.steps(),
        }
    }
}

/// One look under way.
struct Inquiry<'a> {
    examiner: &'a Examiner,
    look: &'a Look<'a>,
    trip: &'a Arc<Trip>,
}

impl Inquiry<'_> {
    async fn inquire(&self, record: &Name) -> Finding {
        let mut finding = self.see(record, Depth::All, MOST_ALIASES).await;
        match finding.answer {
            Answer::Match if self.look.renewing && finding.aliases.is_empty() => {}
            Answer::Match => self.rule_out_wildcard(&mut finding).await,
            answer if answer.is_definite_absence() => {
                finding.hint = self.hint(record, &finding).await;
            }
            _ => {}
        }
        finding
    }

    /// Follow the aliases from `name`, but no more than `most`, to where the record is, or isn't.
    async fn see(&self, name: &Name, depth: Depth, most: usize) -> Finding {
        let mut finding = Finding::new(name.to_lowercase(), Answer::TooManyCnames);
        while finding.aliases.len() <= most {
            let question = Query::query(finding.name.clone(), RecordType::TXT);
            let mut found =
                self.examiner.source.find(self.trip, &finding.name, RecordType::TXT).await;
            if depth == Depth::All {
                self.examiner.source.hear_the_others(self.trip, &mut found, &question).await;
            }
            found.heard.sort_by(|a, b| a.server.cmp(&b.server));
            if !found.complete && found.first().is_ok() {
                // who failed before somebody answered is no voter
                found.heard.retain(|heard| heard.said.is_ok());
            }
            let opinions: Vec<_> =
                found.heard.iter().map(|heard| Opinion::of(heard, &finding.name)).collect();
            let verdict = judge(&opinions, self.look.expected);
            let validity = self.check(&found, &opinions, &verdict, &question).await;
            let servers = found.heard.iter().map(|heard| heard.server.clone());
            finding.opinions = servers.zip(opinions).collect();
            finding.zone = found.zone.as_ref().map(|zone| zone.name.clone());
            finding.remembered = self.remembered(&found);
            match (validity, verdict) {
                (Validity::Bogus, _) => {
                    finding.answer = Answer::Bogus;
                    return finding;
                }
                (Validity::Unknown(failure), _) => {
                    finding.answer = of_failure(failure);
                    finding.keys_missing = true;
                    return finding;
                }
                (Validity::Good, Verdict::Final(answer)) => {
                    finding.answer = answer;
                    return finding;
                }
                (Validity::Good, Verdict::Follow(target)) => {
                    let known = finding.aliases.contains(&target) || finding.name == target;
                    finding.aliases.push(std::mem::replace(&mut finding.name, target));
                    if known {
                        finding.answer = Answer::CnameLoop;
                        return finding;
                    }
                }
            }
        }
        finding
    }

    /// Validate what a verdict rests on: one of the messages that say so, since what is signed is
    /// the same from whatever server.
    async fn check(
        &self,
        found: &Found,
        opinions: &[Opinion],
        verdict: &Verdict,
        question: &Query,
    ) -> Validity {
        let supports = |opinion: &Opinion| match verdict {
            Verdict::Follow(_) => matches!(opinion, Opinion::Alias(_)),
            Verdict::Final(Answer::Match) => opinion.shows(self.look.expected),
            Verdict::Final(Answer::Mismatch) => matches!(opinion, Opinion::Texts(_)),
            Verdict::Final(Answer::NoData) => *opinion == Opinion::NoData,
            Verdict::Final(Answer::NxDomain) => *opinion == Opinion::NxDomain,
            // says nothing that could be signed
            Verdict::Final(_) => false,
        };
        let supporting = found.heard.iter().zip(opinions).filter(|(_, opinion)| supports(opinion));
        let mut validity = Validity::Good;
        for (heard, _) in supporting {
            let Ok((_, message)) = &heard.said else { continue };
            let Examiner { source, validator, .. } = self.examiner;
            validity = validator.check(source, self.trip, question, message).await;
            if validity == Validity::Good {
                break;
            }
        }
        validity
    }

    /// Whether a name beside the challenge name, which nobody has published, shows the value too, or
    /// is an alias like it.
    async fn rule_out_wildcard(&self, finding: &mut Finding) {
        let Ok(beside) = self.beside() else {
            // it is shorter than the challenge name, so that this can't be
            finding.answer = Answer::Malformed;
            return;
        };
        let sibling = match finding.aliases.first() {
            None => self.see(&beside, Depth::One, MOST_ALIASES).await,
            // Only the domain's own servers, and all of them, are asked about an alias: whoever
            // serves what it is an alias of may show the value now and deny it a moment later.
            Some(record) => {
                let sibling = self.see(&beside, Depth::All, 0).await;
                let target = finding.aliases.get(1).unwrap_or(&finding.name);
                let alike = |(_, opinion): &(_, Opinion)| {
                    matches!(opinion, Opinion::Alias(other)
                        if are_alike((record, target), (&beside, other)))
                };
                if sibling.opinions.iter().any(alike) {
                    finding.answer = Answer::Wildcard;
                    return;
                }
                sibling
            }
        };
        finding.answer = match sibling.answer {
            Answer::Match => Answer::Wildcard,
            // nobody there, aliases to elsewhere or without an end: nothing shows the value
            answer if answer.is_definite_absence() => return,
            Answer::CnameLoop | Answer::TooManyCnames => return,
            // a wildcard can't be ruled out
            failed => failed,
        };
        finding.beside = Some(Box::new(sibling));
    }

    fn beside(&self) -> Result<Name, ProtoError> {
        Name::from_ascii(format!("_{:016x}.{}.", fastrand::u64(..), self.look.domain))
    }

    /// Where else the value may have been published by mistake.
    async fn hint(&self, record: &Name, finding: &Finding) -> Option<Hint> {
        if self.look.expected.is_empty() {
            return None;
        }
        let apex = Name::from_ascii(format!("{}.", self.look.domain)).ok()?;
        if self.shows(&apex).await {
            return Some(Hint::AtApex);
        }
        // what a panel would have appended; registries have none
        let zone = finding.zone.as_ref().filter(|zone| zone.num_labels() >= 2).unwrap_or(&apex);
        // too long a name can't be published either
        let doubled = record.clone().append_domain(zone).ok()?;
        if self.shows(&doubled).await {
            return Some(Hint::Doubled(doubled));
        }
        if finding.answer == Answer::Mismatch
            && let Ok(beside) = self.beside()
        {
            let sibling = self.see(&beside, Depth::One, MOST_ALIASES).await;
            if sibling.answer == Answer::Mismatch && sibling.texts() == finding.texts() {
                return Some(Hint::Wildcard);
            }
        }
        None
    }

    async fn shows(&self, name: &Name) -> bool {
        let found = self.examiner.source.find(self.trip, name, RecordType::TXT).await;
        match found.first() {
            Ok((Reply::Records, message)) => {
                texts(message, name).iter().any(|text| text == self.look.expected)
            }
            _ => false,
        }
    }

    /// How long those who were asked remember that there is nothing, if they remember anything.
    fn remembered(&self, found: &Found) -> Option<Duration> {
        match found.first() {
            Ok((Reply::NoData(time) | Reply::NxDomain(time), _)) => {
                let remembers = self.examiner.source.remembers() && !time.is_zero();
                remembers.then_some(*time)
            }
            _ => None,
        }
    }
}

/// Whether two aliases, each with its target, come from one record: a wildcard's lead to the same
/// name, and a DNAME's to names that differ as the aliases themselves do (RFC 6672, 2.2).
fn are_alike((alias, target): (&Name, &Name), (other, others): (&Name, &Name)) -> bool {
    let leads_on = |from: &Name, to: &Name| from.iter().next() == to.iter().next();
    target == others
        || target.base_name() == others.base_name()
            && leads_on(alias, target)
            && leads_on(other, others)
}
