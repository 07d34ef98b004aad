//! What a look does to a claim. Only a match proves, and only where a proof is sought does it prove
//! anything new; only definite absence, for long enough, loses; a failed look loses nothing before
//! the proof has run out.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{
    dns::Answer,
    ledger::{Claim, Loss, Proof},
};

/// How far apart absences must be to count.
const MISSED: SignedDuration = SignedDuration::from_mins(30);
/// How long, and over how many definite absences, a record may be missing before it is lost.
pub const GRACE: SignedDuration = SignedDuration::from_hours(72);
const ABSENCES: i64 = 3;
/// How long a proof holds without being renewed.
pub const PROOF_HOLDS: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How long a look must have been under way for a proof to run out that it could renew: longer than
/// any line, after however long the controller stood still.
const LONG_TRIED: Duration = Duration::from_secs(3600);

/// Whether a proof has run out although no look ended that says so, but one was begun so long ago:
/// whoever keeps looks from ending keeps no domain by it.
pub fn has_run_out(claim: &Claim, under_way: Duration, now: Timestamp) -> bool {
    is_past(claim, now) && under_way >= LONG_TRIED
}

fn is_past(claim: &Claim, now: Timestamp) -> bool {
    claim.seen_at.is_some_and(|seen| seen + PROOF_HOLDS <= now)
}

/// What this answer does to the claim, if anything.
pub fn judge(claim: &Claim, answer: Answer, seeking: bool, now: Timestamp) -> Option<Proof> {
    let proved = claim.proved_at.is_some();
    match answer {
        Answer::Match => (seeking || claim.owns).then_some(Proof::Seen),
        absent if absent.is_definite_absence() && proved => {
            // looks in quick succession are one absence
            if claim.missed_at.is_some_and(|missed| missed + MISSED > now) {
                return None;
            }
            let long_enough = claim.missing_since.is_some_and(|since| since + GRACE <= now);
            let lost = long_enough && claim.absences + 1 >= ABSENCES;
            Some(if lost { Proof::Lost(Loss::RecordLost) } else { Proof::Missing })
        }
        absent if absent.is_definite_absence() => None,
        _ => is_past(claim, now).then_some(Proof::Lost(Loss::ProofExpired)),
    }
}
