//! When a domain is looked at.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::looks::Last;
use crate::{dns::Answer, ledger::Claim};

/// How soon the first look at an unproved domain is followed by the next, and how late the last of
/// the first hour is. The growth is slow at first and steep later, since who has just made the
/// object is about to publish the record: until twenty minutes have passed, looks are never more
/// than 15 s apart.
const FIRST_HOUR: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));
const HOUR: f64 = 3600.0;
/// The same afterwards; in between, a sixteenth of the time that the claim has lasted.
const LATER: (Duration, Duration) = (Duration::from_secs(900), Duration::from_secs(3600));
/// How long an unproved domain is looked at.
const CHALLENGE_HOLDS: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How often a proved domain is looked at.
const PROVED: Duration = Duration::from_secs(24 * 3600);
/// How often one is whose record is missing, that couldn't be looked up, or that is another's.
const DOUBTFUL: Duration = Duration::from_secs(3600);

/// Whether an unproved claim has been looked at for long enough.
pub fn is_expired(held: &Claim, now: Timestamp) -> bool {
    held.proved_at.is_none() && held.claimed_at + CHALLENGE_HOLDS <= now
}

/// When to look again, or, where that comes first, to say that nothing is looked for any more.
/// `None`: nothing is. A look that is asked for now still waits until it can show anything new.
/// `spread` is a factor around 1 that is the claim's own.
pub fn next(
    held: &Claim,
    asked_now: bool,
    last: Option<&Last>,
    spread: f64,
    now: Timestamp,
) -> Option<Timestamp> {
    let is_proved = held.proved_at.is_some();
    if !is_proved && (is_expired(held, now) || !held.asked.sought) {
        return None;
    }
    let due = if asked_now { now } else { due(held, last, spread, now) };
    let shows_anything = last.map_or(due, |last| after(last.at, last.wait_at_least));
    let due = due.max(shows_anything);
    Some(if is_proved { due } else { due.min(held.claimed_at + CHALLENGE_HOLDS) })
}

fn due(held: &Claim, last: Option<&Last>, spread: f64, now: Timestamp) -> Timestamp {
    let looked = last.map(|last| last.at);
    if let Some(seen) = held.seen_at {
        let failed = last.is_some_and(|last| last.answer != Answer::Match);
        let stands = held.owns && held.missing_since.is_none() && !failed;
        let every = if stands { PROVED } else { DOUBTFUL };
        let before = looked.or(held.missed_at).map_or(seen, |at| at.max(seen));
        return after(before, every.mul_f64(spread));
    }
    // looked at since the claim was made, or its clock was restarted?
    match looked.filter(|at| *at >= held.claimed_at) {
        Some(at) => after(at, interval(held, at).mul_f64(spread)),
        None => now,
    }
}

/// How long after a look at an unproved domain comes the next.
fn interval(held: &Claim, looked: Timestamp) -> Duration {
    let lasted: Duration = looked.duration_since(held.claimed_at).try_into().unwrap_or_default();
    let hours = lasted.as_secs_f64() / HOUR;
    if hours < 1.0 {
        let (soonest, latest) = FIRST_HOUR;
        return soonest + (latest - soonest).mul_f64(hours.powi(4));
    }
    (lasted / 16).clamp(LATER.0, LATER.1)
}

fn after(at: Timestamp, wait: Duration) -> Timestamp {
    at.checked_add(wait).unwrap_or(Timestamp::MAX)
}
