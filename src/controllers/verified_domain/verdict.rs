//! What the status says of what one pass found.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{
    judgement::{GRACE, PROOF_HOLDS},
    looks::{Found, Last, spread},
    schedule,
};
use crate::{
    api::{
        Challenge, VerifiedDomain, VerifiedDomainStatus,
        conditions::{
            Conditions, Truth, Verdict, Waiting, all_of, find, kind, reason, whole_seconds,
        },
        meta,
    },
    dns::{self, Answer, DomainName},
    ledger::{Claim, Loss},
};

/// What a look alone can have said: it stands until another look says something else.
const SEEN: [&str; 4] = [
    reason::AWAITING_RECORD,
    reason::VALUE_MISMATCH,
    reason::WILDCARD_ANSWER,
    reason::LOOKUP_FAILED,
];
/// How long a standing proof isn't renewed before that is told.
const UNRENEWED: SignedDuration = SignedDuration::from_hours(3 * 24);

/// What one pass found.
pub struct Facts {
    pub accepted: Verdict,
    /// The claim after what was seen had its effect; none where none is made.
    pub claim: Option<Observed>,
}

pub struct Observed {
    pub name: DomainName,
    /// The value that proves it.
    pub value: String,
    pub held: Claim,
    /// What a look that has ended found.
    pub found: Option<Found>,
    /// Whether a look is asked for now.
    pub asked_now: bool,
    pub is_under_way: bool,
    pub last: Option<Last>,
}

/// The status that the facts make, and when to look again, or only to say that nothing is looked
/// for any more; `None`: when something changes.
pub fn decide(
    domain: &VerifiedDomain,
    facts: &Facts,
    now: Timestamp,
) -> (VerifiedDomainStatus, Option<Timestamp>) {
    let old = domain.status.as_ref();
    let old_conditions = old.map_or(&[][..], |s| &s.conditions);
    let generation = domain.metadata.generation;
    let claim = facts.claim.as_ref();
    let challenge = claim.map(|c| Challenge {
        record_name: dns::record_name(&c.name),
        record_type: "TXT".into(),
        record_value: c.value.clone(),
    });
    let verified = match claim {
        Some(observed) if facts.accepted.is_yes() || observed.held.proved_at.is_some() => {
            // of another value the old status said nothing
            let same = old.is_some_and(|s| s.challenge == challenge);
            verified(observed, if same { old_conditions } else { &[] }, now)
        }
        _ => Verdict { truth: Truth::False, ..facts.accepted.clone() },
    };
    let suspended = domain.spec.suspend == Some(true);
    let ready = if suspended {
        Verdict::no(reason::SUSPENDED, "Suspended: no proof is sought; one that stands still ages.")
    } else {
        all_of(&[&facts.accepted, &verified], verified.message.clone())
    };
    let waiting = match (&facts.accepted, &*verified.reason) {
        _ if suspended || ready.is_yes() => Waiting::No,
        (accepted, _) if !accepted.is_yes() => Waiting::Edit,
        (_, reason::DOMAIN_CONFLICT | reason::CHALLENGE_EXPIRED) => Waiting::Edit,
        _ => Waiting::Outside,
    };
    let at = whole_seconds(now);
    let mut conditions = Conditions::new(old_conditions, generation, &at);
    conditions.set(kind::ACCEPTED, &facts.accepted);
    conditions.set(kind::VERIFIED, &verified);
    let status = VerifiedDomainStatus {
        observed_generation: generation,
        domain: claim.map(|c| c.name.to_string()),
        verified_at: claim.filter(|c| c.held.owns).and_then(|c| c.held.proved_at).map(Time),
        challenge,
        conditions: conditions.ready(&ready, waiting),
    };
    let next = claim
        .and_then(|c| schedule::next(&c.held, c.asked_now, c.last.as_ref(), spread(&c.value), now));
    (status, next)
}

/// What to say of a claim. `old` are the conditions so far: what they know of the last look, a pass
/// without one keeps.
fn verified(observed: &Observed, old: &[Condition], now: Timestamp) -> Verdict {
    let Observed { name, value, held, found, .. } = observed;
    let record = format!("a TXT record {} with the value {value}", dns::record_name(name));
    let days = PROOF_HOLDS.as_hours() / 24;
    let old = find(old, kind::VERIFIED);
    // what has come of the claim, and behind it what the last look showed
    let and_seen = |fate: String| {
        let seen = found.as_ref().filter(|found| found.answer != Answer::Match);
        let known = || old.and_then(|old| old.message.strip_prefix(&fate)).map(str::to_owned);
        let seen = seen.map(|found| format!(" {}", found.explanation)).or_else(known);
        let seen = seen.unwrap_or_else(|| format!(" Publish {record}."));
        fate + &seen
    };
    match held {
        Claim { owns: true, missing_since: None, .. } => {
            let unrenewed = held.seen_at.filter(|seen| *seen + UNRENEWED <= now);
            let with = if held.asked.include_subdomains { ", with all below it" } else { "" };
            let but = unrenewed.map_or_else(String::new, |since| {
                format!(
                    " But its record could not be confirmed since {since}: mend its name servers, \
                     or the proof expires {days} days after that."
                )
            });
            Verdict::yes(reason::RECORD_FOUND, format!("{name} is verified{with}.{but}"))
        }
        Claim { owns: true, missing_since: Some(since), .. } => {
            let fate = format!(
                "{name} is still verified, but its record is gone since {since}, and {} hours after \
                 that the domain is lost.",
                GRACE.as_hours()
            );
            Verdict::yes(reason::RECORD_MISSING_IN_GRACE, and_seen(fate))
        }
        Claim { proved_at: Some(_), missing_since: None, asked, .. } if asked.sought => {
            let message = format!(
                "Another organization proved {name} first, and keeps it for as long as its proof \
                 stands. If the domain is yours alone, ask the platform team."
            );
            Verdict::no(reason::DOMAIN_CONFLICT, message)
        }
        held if schedule::is_expired(held, now) => {
            let message = format!(
                "The record was looked for during {days} days, and no longer is: publish {record}, \
                 and give the annotation {} a new value.",
                meta::REQUESTED_AT
            );
            Verdict::no(reason::CHALLENGE_EXPIRED, message)
        }
        Claim { lost: Some(loss), .. } => {
            let (reason, fate) = match loss {
                Loss::RecordLost => (reason::RECORD_LOST, "its record was gone for too long"),
                Loss::ProofExpired => {
                    (reason::PROOF_EXPIRED, "its record could not be confirmed for too long")
                }
            };
            Verdict::no(reason, and_seen(format!("{name} was verified, but {fate}.")))
        }
        Claim { .. } => {
            let known = old.filter(|old| SEEN.contains(&old.reason.as_str())).map(Verdict::kept);
            unproved(found.as_ref(), known).unwrap_or_else(|| {
                let message =
                    format!("To prove {name}, publish {record}. It is looked for by itself.");
                Verdict::no(reason::AWAITING_RECORD, message)
            })
        }
    }
}

/// What to say of an unproved domain: what the look showed. One that failed is told, and what was
/// known before it still counts. `None`: there is nothing to say yet.
fn unproved(found: Option<&Found>, known: Option<Verdict>) -> Option<Verdict> {
    let Some(Found { answer, explanation, .. }) = found else { return known };
    Some(match answer {
        Answer::Match => return known, // nothing is sought, or it would be proved now
        Answer::Mismatch => Verdict::no(reason::VALUE_MISMATCH, explanation),
        Answer::Wildcard => Verdict::no(reason::WILDCARD_ANSWER, explanation),
        failure if is_failure(*failure) => match known {
            Some(known) => Verdict { message: explanation.clone(), ..known },
            None => Verdict::unknown(reason::LOOKUP_FAILED, explanation),
        },
        _ => Verdict::no(reason::AWAITING_RECORD, explanation),
    })
}

/// Whether the answer says nothing of the record, so that no reason of `Verified` tells it.
pub fn is_failure(answer: Answer) -> bool {
    match answer {
        Answer::Match
        | Answer::Mismatch
        | Answer::NoData
        | Answer::NxDomain
        | Answer::Inconsistent
        | Answer::Wildcard => false,
        Answer::CnameLoop
        | Answer::TooManyCnames
        | Answer::Bogus
        | Answer::ServFail
        | Answer::Refused
        | Answer::Timeout
        | Answer::Malformed
        | Answer::Unreachable => true,
    }
}
