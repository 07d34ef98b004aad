//! What is decided of a domain, at one moment and over its whole life.

use jiff::{SignedDuration, Timestamp};

use super::{
    judgement::{GRACE, has_run_out, judge},
    looks::{Found, Last},
    verdict::{Facts, Observed, decide},
    *,
};
use crate::{
    api::{
        VerifiedDomainSpec,
        conditions::{Truth, find},
    },
    dns::Answer,
    ledger::{Claim, Loss, Proof},
};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// One that has no place of its own, so that intervals are as they are written.
const VALUE: &str = "rollcall-verification=value";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn claim() -> Claim {
    Claim {
        claimed_at: at(0),
        proved_at: None,
        seen_at: None,
        missing_since: None,
        missed_at: None,
        absences: 0,
        lost: None,
        owns: false,
        asked: Asked { sought: true, ..Asked::default() },
    }
}

fn owned() -> Claim {
    Claim { proved_at: Some(at(10)), seen_at: Some(at(10)), owns: true, ..claim() }
}

fn missing(absences: i64) -> Claim {
    Claim { missing_since: Some(at(100)), missed_at: Some(at(100)), absences, ..owned() }
}

fn unsought(held: Claim) -> Claim {
    Claim { asked: Asked::default(), ..held }
}

fn domain() -> VerifiedDomain {
    let spec =
        VerifiedDomainSpec { domain: "acme.com".into(), include_subdomains: None, suspend: None };
    let mut domain = VerifiedDomain::new("acme-com", spec);
    domain.metadata.generation = Some(3);
    domain
}

fn found(answer: Answer) -> Found {
    Found::of(answer, format!("it saw {}", answer.label()))
}

/// What a pass finds: a claim, and what a look saw that has just ended, if one has.
fn facts(held: Claim, seen: Option<Answer>) -> Facts {
    let observed = Observed {
        name: DomainName::parse("acme.com").unwrap(),
        value: VALUE.into(),
        held,
        found: seen.map(found),
        asked_now: false,
        is_under_way: false,
        last: None,
    };
    Facts { accepted: Verdict::yes(reason::ACCEPTED, ""), claim: Some(observed) }
}

/// `Verified` as `decide` sets it on an object with this status.
fn said(domain: &VerifiedDomain, facts: &Facts, now: i64) -> (String, String, String) {
    let (status, _) = decide(domain, facts, at(now));
    let verified = find(&status.conditions, kind::VERIFIED).unwrap();
    (verified.status.clone(), verified.reason.clone(), verified.message.clone())
}

#[test]
fn only_a_match_proves_and_only_long_absence_loses() {
    let late = at(100) + GRACE;
    let early = late - SignedDuration::from_secs(1);
    let lost = Some(Proof::Lost(Loss::RecordLost));
    for (held, answer, now, proof) in [
        (claim(), Answer::Match, at(1), Some(Proof::Seen)),
        (owned(), Answer::NxDomain, at(100), Some(Proof::Missing)),
        (owned(), Answer::NoData, at(100), Some(Proof::Missing)),
        (owned(), Answer::Mismatch, at(100), Some(Proof::Missing)),
        // long, but not often enough; often, but not long enough; both
        (missing(1), Answer::NoData, late, Some(Proof::Missing)),
        (missing(9), Answer::NoData, early, Some(Proof::Missing)),
        (missing(2), Answer::NoData, late, lost),
    ] {
        assert_eq!(judge(&held, answer, true, now), proof, "{held:?} {answer:?} {now}");
    }
    let expired = Some(Proof::Lost(Loss::ProofExpired));
    for answer in Answer::ALL.into_iter().filter(|answer| *answer != Answer::Match) {
        assert_eq!(judge(&claim(), answer, true, at(60 * DAY)), None, "{answer:?} proves nothing");
        if !answer.is_definite_absence() {
            assert_eq!(judge(&missing(9), answer, true, late), None, "{answer:?} loses nothing");
            assert_eq!(judge(&owned(), answer, true, at(10 + 30 * DAY - 1)), None, "{answer:?}");
            assert_eq!(judge(&owned(), answer, true, at(10 + 30 * DAY)), expired, "{answer:?}");
        }
    }
}

#[test]
fn a_proof_runs_out_also_where_no_look_ends() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let (before, after) = (at(10 + 30 * DAY - 1), at(10 + 30 * DAY));
    assert!(has_run_out(&owned(), minutes(60), after));
    assert!(!has_run_out(&owned(), minutes(60), before));
    assert!(!has_run_out(&owned(), minutes(59), after), "after a long stop it is looked for first");
    assert!(!has_run_out(&claim(), minutes(6000), at(60 * DAY)), "there is no proof");
}

#[test]
fn looks_in_quick_succession_are_one_absence() {
    let then = |minutes: i64| judge(&missing(1), Answer::NoData, true, at(100 + 60 * minutes));
    assert_eq!(then(29), None);
    assert_eq!(then(30), Some(Proof::Missing));
}

#[test]
fn where_no_proof_is_sought_a_standing_one_ages_and_none_is_made() {
    let now = at(200);
    assert_eq!(judge(&owned(), Answer::Match, false, now), Some(Proof::Seen));
    assert_eq!(judge(&owned(), Answer::NoData, false, now), Some(Proof::Missing));
    let rival = Claim { owns: false, ..owned() };
    assert_eq!(judge(&rival, Answer::Match, false, now), None);
    assert_eq!(judge(&claim(), Answer::Match, false, now), None);
}

#[test]
fn each_answer_and_each_claim_has_its_reason() {
    let lost = |loss| Claim { lost: Some(loss), ..claim() };
    let rival = || Claim { owns: false, ..owned() };
    let rival_missing = Claim { owns: false, ..missing(1) };
    let timeout = Some(Answer::Timeout);
    for (held, seen, truth, because) in [
        (claim(), None, "False", reason::AWAITING_RECORD),
        (claim(), Some(Answer::NoData), "False", reason::AWAITING_RECORD),
        (claim(), Some(Answer::NxDomain), "False", reason::AWAITING_RECORD),
        (claim(), Some(Answer::Inconsistent), "False", reason::AWAITING_RECORD),
        (claim(), Some(Answer::Mismatch), "False", reason::VALUE_MISMATCH),
        (claim(), Some(Answer::Wildcard), "False", reason::WILDCARD_ANSWER),
        (owned(), Some(Answer::Match), "True", reason::RECORD_FOUND),
        (owned(), timeout, "True", reason::RECORD_FOUND),
        (missing(1), Some(Answer::NoData), "True", reason::RECORD_MISSING_IN_GRACE),
        (missing(1), timeout, "True", reason::RECORD_MISSING_IN_GRACE),
        (rival(), Some(Answer::Match), "False", reason::DOMAIN_CONFLICT),
        (rival(), None, "False", reason::DOMAIN_CONFLICT),
        // of these nobody knows whether another has it
        (rival_missing, None, "False", reason::AWAITING_RECORD),
        (unsought(rival()), None, "False", reason::AWAITING_RECORD),
        (lost(Loss::RecordLost), Some(Answer::NoData), "False", reason::RECORD_LOST),
        (lost(Loss::ProofExpired), timeout, "False", reason::PROOF_EXPIRED),
    ] {
        let (status, reason, _) = said(&domain(), &facts(held.clone(), seen), 1000);
        assert_eq!((&*status, &*reason), (truth, because), "{held:?} {seen:?}");
    }
    for answer in Answer::ALL.into_iter().filter(|answer| verdict::is_failure(*answer)) {
        let (status, reason, message) = said(&domain(), &facts(claim(), Some(answer)), 1000);
        assert_eq!((&*status, &*reason), ("Unknown", reason::LOOKUP_FAILED), "{answer:?}");
        assert_eq!(message, format!("it saw {}", answer.label()));
    }
    let (_, _, message) = said(&domain(), &facts(claim(), Some(Answer::Wildcard)), 1000);
    assert_eq!(message, "it saw Wildcard");
}

#[test]
fn deciding_twice_changes_nothing() {
    let seen = Answer::ALL.map(|answer| (claim(), Some(answer)));
    let lost = Claim { lost: Some(Loss::RecordLost), ..claim() };
    let others = [
        (owned(), Some(Answer::Match)),
        (owned(), None),
        (missing(1), None),
        (missing(1), Some(Answer::NoData)),
        (lost.clone(), None),
        (lost, Some(Answer::Bogus)),
    ];
    for (held, seen) in seen.into_iter().chain(others) {
        let mut domain = domain();
        let (first, _) = decide(&domain, &facts(held.clone(), seen), at(1000));
        domain.status = Some(first.clone());
        // by the same look, by none, and by another that finds the same
        for seen in [seen, None, seen] {
            let (again, _) = decide(&domain, &facts(held.clone(), seen), at(5000));
            assert_eq!(again, first, "{held:?} {seen:?}");
        }
    }
}

#[test]
fn a_failed_look_is_told_and_takes_back_nothing_that_was_known() {
    let mut domain = domain();
    let mismatch = facts(claim(), Some(Answer::Mismatch));
    domain.status = Some(decide(&domain, &mismatch, at(1000)).0);
    let (truth, because, message) = said(&domain, &facts(claim(), Some(Answer::Bogus)), 2000);
    assert_eq!((&*truth, &*because), ("False", reason::VALUE_MISMATCH));
    assert_eq!(message, "it saw Bogus");

    // for another value, the old one's status says nothing
    let mut other = facts(claim(), None);
    other.claim.as_mut().unwrap().value = "rollcall-verification=8000".into();
    let (_, because, message) = said(&domain, &other, 2000);
    assert_eq!(because, reason::AWAITING_RECORD);
    assert!(message.contains("8000"), "{message}");
}

#[test]
fn what_the_last_look_showed_is_told_of_a_record_that_is_gone_too() {
    for held in [missing(1), Claim { lost: Some(Loss::RecordLost), ..claim() }] {
        let mut domain = domain();
        let (_, _, message) = said(&domain, &facts(held.clone(), None), 200);
        assert!(message.ends_with(&format!("with the value {VALUE}.")), "{message}");
        let mismatch = facts(held.clone(), Some(Answer::Mismatch));
        domain.status = Some(decide(&domain, &mismatch, at(200)).0);
        let (_, _, kept) = said(&domain, &facts(held.clone(), None), 300);
        assert!(kept.ends_with(" it saw Mismatch"), "{kept}");
        let (_, _, new) = said(&domain, &facts(held, Some(Answer::Timeout)), 300);
        assert!(new.ends_with(" it saw Timeout"), "{new}");
    }
}

#[test]
fn a_proof_that_isnt_renewed_is_told_before_it_expires() {
    let message = |now| said(&domain(), &facts(owned(), None), now).2;
    assert_eq!(message(10 + 3 * DAY - 1), "acme.com is verified.");
    assert!(
        message(10 + 3 * DAY).contains("since 1970-01-01T00:00:10Z"),
        "{}",
        message(10 + 3 * DAY)
    );
    let wide = Asked { include_subdomains: true, ..owned().asked };
    let wide = facts(Claim { asked: wide, ..owned() }, None);
    assert_eq!(said(&domain(), &wide, 100).2, "acme.com is verified, with all below it.");
}

#[test]
fn what_is_not_accepted_is_neither_verified_nor_ready() {
    for because in [
        reason::NOT_A_DOMAIN,
        reason::PUBLIC_SUFFIX,
        reason::SPECIAL_USE,
        reason::FREE_MAIL_DOMAIN,
        reason::NOT_ALLOWED_BY_CLASS,
    ] {
        let facts = Facts { accepted: Verdict::no(because, "acme"), claim: None };
        let (status, next) = decide(&domain(), &facts, at(1));
        for condition in [kind::ACCEPTED, kind::VERIFIED, kind::READY] {
            let found = find(&status.conditions, condition).unwrap();
            assert_eq!((found.status.as_str(), found.reason.as_str()), ("False", because));
        }
        assert!(find(&status.conditions, kind::STALLED).is_some());
        assert_eq!(next, None);
    }
}

#[test]
fn each_refusal_of_a_name_has_its_reason_and_says_what_to_do() {
    let name = DomainName::parse("acme.com").unwrap();
    for (refusal, because, says) in [
        (NotClaimable::PublicSuffix, reason::PUBLIC_SUFFIX, "claim the name that is registered"),
        (NotClaimable::PrivateSuffix, reason::PUBLIC_SUFFIX, "allow private suffixes"),
        (NotClaimable::FreeMail, reason::FREE_MAIL_DOMAIN, "your company's own"),
        (NotClaimable::SpecialUse, reason::SPECIAL_USE, "registered to you"),
        (NotClaimable::NotAllowed, reason::NOT_ALLOWED_BY_CLASS, "ask the platform team"),
        (NotClaimable::CoversDenied, reason::NOT_ALLOWED_BY_CLASS, "without includeSubdomains"),
    ] {
        let verdict = not_claimable(&name, refusal);
        assert_eq!((verdict.truth, &*verdict.reason), (Truth::False, because));
        assert!(verdict.message.starts_with("acme.com: "), "{}", verdict.message);
        assert!(verdict.message.contains(says), "{}", verdict.message);
    }
}

#[test]
fn suspending_takes_nothing_that_is_proved() {
    let mut domain = domain();
    domain.spec.suspend = Some(true);
    let standing = facts(unsought(owned()), Some(Answer::Match));
    let (status, next) = decide(&domain, &standing, at(1));
    assert_eq!(reason_of(&status.conditions, kind::READY), reason::SUSPENDED);
    assert_eq!(reason_of(&status.conditions, kind::VERIFIED), reason::RECORD_FOUND);
    assert_eq!(next, Some(at(10 + DAY)), "it still ages");
    let refused = Facts { accepted: Verdict::no(reason::NOT_ALLOWED_BY_CLASS, ""), ..standing };
    let (status, _) = decide(&domain, &refused, at(1));
    assert_eq!(reason_of(&status.conditions, kind::VERIFIED), reason::RECORD_FOUND);
    let (_, next) = decide(&domain, &facts(unsought(claim()), None), at(1));
    assert_eq!(next, None, "nothing is sought");
}

#[test]
fn a_look_waits_until_it_can_show_anything_new() {
    let last = |wait| Last {
        at: at(100),
        answer: Answer::NxDomain,
        wait_at_least: Duration::from_secs(wait),
    };
    let next = |held: Claim, asked_now, last| {
        let mut facts = facts(held, None);
        let claim = facts.claim.as_mut().unwrap();
        (claim.asked_now, claim.last) = (asked_now, Some(last));
        decide(&domain(), &facts, at(150)).1
    };
    assert_eq!(next(claim(), true, last(0)), Some(at(150)));
    assert_eq!(next(claim(), true, last(3600)), Some(at(3700)));
    assert_eq!(next(claim(), false, last(3600)), Some(at(3700)));
    assert_eq!(next(missing(1), true, last(3600)), Some(at(3700)));
    assert_eq!(next(missing(1), true, last(0)), Some(at(150)));
}

/// A domain's life by simulated time: what DNS answers by the second, and what comes of it.
struct Life {
    held: Claim,
    object: VerifiedDomain,
    last: Option<Last>,
    now: Timestamp,
    /// When looks were made.
    looks: Vec<i64>,
    /// The reasons of `Verified`, each with when it came.
    told: Vec<(i64, String)>,
}

impl Life {
    fn new() -> Self {
        let mut life = Self {
            held: claim(),
            object: domain(),
            last: None,
            now: at(0),
            looks: vec![],
            told: vec![],
        };
        life.pass(None);
        life
    }

    fn second(&self) -> i64 {
        self.now.as_second()
    }

    /// Lives until nothing is looked for any more, or until that second.
    fn until(mut self, end: i64, world: impl Fn(i64) -> Answer) -> Self {
        for _ in 0..10_000 {
            let mut facts = facts(self.held.clone(), None);
            facts.claim.as_mut().unwrap().last = self.last;
            match decide(&self.object, &facts, self.now).1 {
                Some(next) if next.as_second() < end => self.now = self.now.max(next),
                _ => return self,
            }
            // woken to look, or only to say that nothing is looked for any more
            let seen = (!schedule::is_expired(&self.held, self.now)).then(|| world(self.second()));
            self.pass(seen);
        }
        panic!("looks never grow rarer: {:?}", &self.looks[..100]);
    }

    /// What a pass does, with the ledger's part played by hand.
    fn pass(&mut self, seen: Option<Answer>) {
        if let Some(answer) = seen {
            self.looks.push(self.second());
            self.last = Some(Last { at: self.now, answer, wait_at_least: Duration::ZERO });
            let held = &mut self.held;
            match judge(held, answer, true, self.now) {
                None => {}
                Some(Proof::Seen) => {
                    *held = Claim {
                        proved_at: held.proved_at.or(Some(self.now)),
                        seen_at: Some(self.now),
                        claimed_at: held.claimed_at,
                        owns: true,
                        ..claim()
                    };
                }
                Some(Proof::Missing) => {
                    held.missing_since = held.missing_since.or(Some(self.now));
                    held.missed_at = Some(self.now);
                    held.absences += 1;
                }
                Some(Proof::Lost(loss)) => {
                    *held = Claim { claimed_at: self.now, lost: Some(loss), ..claim() };
                }
            }
        }
        let (status, _) = decide(&self.object, &facts(self.held.clone(), seen), self.now);
        let reason = reason_of(&status.conditions, kind::VERIFIED).to_owned();
        if self.told.last().is_none_or(|(_, before)| *before != reason) {
            self.told.push((self.second(), reason));
        }
        self.object.status = Some(status);
    }

    fn reasons(&self) -> Vec<&str> {
        self.told.iter().map(|(_, reason)| reason.as_str()).collect()
    }
}

#[test]
fn an_unproved_domain_is_looked_at_ever_more_rarely_and_after_thirty_days_not_at_all() {
    let life = Life::new().until(i64::MAX, |_| Answer::NxDomain);
    let gaps: Vec<_> = life.looks.windows(2).map(|pair| (pair[0], pair[1] - pair[0])).collect();
    for pair in gaps.windows(2) {
        // seconds are whole here
        assert!(pair[1].1 >= pair[0].1 - 1, "they grow: {pair:?}");
    }
    for (looked, gap) in &gaps {
        let expected = match *looked {
            0..1200 => 10..=14,
            1200..HOUR => 13..=300,
            HOUR..DAY => 900..=HOUR,
            _ => HOUR - 1..=HOUR,
        };
        assert!(expected.contains(gap), "{gap} after {looked}");
    }
    let in_first_hour = gaps.iter().filter(|(looked, _)| *looked < HOUR).map(|(_, gap)| gap);
    assert!(*in_first_hour.max().unwrap() > 200, "it grows towards five minutes");
    assert!(life.looks.len() < 1000, "{}", life.looks.len());
    assert!(*life.looks.last().unwrap() > 29 * DAY);
    assert_eq!(life.reasons(), [reason::AWAITING_RECORD, reason::CHALLENGE_EXPIRED]);
    assert_eq!(life.told[1].0, 30 * DAY);
    let status = life.object.status.as_ref().unwrap();
    assert_eq!(reason_of(&status.conditions, kind::STALLED), reason::CHALLENGE_EXPIRED);

    // asked again, it starts from the beginning
    let mut again = life;
    again.held.claimed_at = again.now;
    let from = again.second();
    again.looks.clear();
    let again = again.until(from + DAY, |_| Answer::Match);
    assert_eq!(again.looks[0], from);
    assert_eq!(again.reasons().last(), Some(&reason::RECORD_FOUND));
}

#[test]
fn a_record_published_in_the_first_twenty_minutes_is_seen_within_fifteen_seconds() {
    for published in (0..1200).step_by(7) {
        let record = |now| if now < published { Answer::NoData } else { Answer::Match };
        let mut life = Life::new().until(2 * HOUR, record);
        let seen = life.told.pop().unwrap();
        assert_eq!(seen.1, reason::RECORD_FOUND);
        let took = seen.0 - published;
        // a tenth later at most, by the place that a value has
        assert!(took * 11 <= 15 * 10, "published at {published}, seen {took} s later");
    }
}

#[test]
fn a_proved_domain_is_looked_at_daily_and_hourly_while_its_servers_fail() {
    let fails = |now: i64| (10 * DAY..12 * DAY).contains(&now);
    let life = Life::new()
        .until(20 * DAY, |now| if fails(now) { Answer::ServFail } else { Answer::Match });
    for pair in life.looks.windows(2) {
        let every = if fails(pair[0]) { HOUR } else { DAY };
        assert!((every - 1..=every + 1).contains(&(pair[1] - pair[0])), "{pair:?}");
    }
    assert_eq!(life.reasons(), [reason::AWAITING_RECORD, reason::RECORD_FOUND]);
}

#[test]
fn a_lost_record_has_three_days_of_grace_and_is_then_sought_like_a_new_one() {
    let gone = 5 * DAY + 7;
    let world = |back: i64| {
        move |now: i64| {
            if (gone..back).contains(&now) { Answer::NoData } else { Answer::Match }
        }
    };
    // back within the grace: nothing is lost
    let life = Life::new().until(20 * DAY, world(gone + 3 * DAY));
    let grace = [reason::AWAITING_RECORD, reason::RECORD_FOUND, reason::RECORD_MISSING_IN_GRACE];
    assert_eq!(life.reasons(), [&grace[..], &[reason::RECORD_FOUND]].concat());
    assert_eq!(life.held.proved_at, Some(at(0)));

    let life = Life::new().until(20 * DAY, world(gone + 10 * DAY));
    let after = [reason::RECORD_LOST, reason::RECORD_FOUND];
    assert_eq!(life.reasons(), [&grace[..], &after[..]].concat());
    let (noticed, lost) = (life.told[2].0, life.told[3].0);
    assert!((gone..=gone + DAY + 1).contains(&noticed), "{noticed}");
    assert!((3 * DAY..=3 * DAY + HOUR + 60).contains(&(lost - noticed)), "{}", lost - noticed);
    let in_grace: Vec<_> = life.looks.iter().filter(|at| (noticed..lost).contains(*at)).collect();
    assert!((70..=73).contains(&in_grace.len()), "hourly, which was {} times", in_grace.len());
    let next = life.looks.iter().find(|at| **at > lost).unwrap() - lost;
    assert!((10..=11).contains(&next), "{next}");
}

#[test]
fn a_proof_that_cant_be_renewed_for_thirty_days_expires_and_no_sooner() {
    for failure in Answer::ALL.into_iter().filter(|answer| !answer.is_definite_absence()) {
        if failure == Answer::Match {
            continue;
        }
        let world = |now: i64| if now < 5 * DAY { Answer::Match } else { failure };
        let life = Life::new().until(40 * DAY, world);
        let renewed = life.looks.iter().filter(|at| **at < 5 * DAY).max().unwrap();
        let (expired, last) = life.told.last().unwrap();
        assert_eq!(last, reason::PROOF_EXPIRED, "{failure:?}");
        assert!((30 * DAY..=30 * DAY + HOUR).contains(&(expired - renewed)), "{failure:?}");
    }
}

#[test]
fn failures_in_between_neither_lose_a_missing_record_nor_save_it() {
    let gone = 5 * DAY;
    let world = |now: i64| match now {
        ..432_000 => Answer::Match,
        _ if now < gone + DAY + 60 => Answer::NoData,
        _ if now < gone + 10 * DAY => Answer::Timeout,
        _ => Answer::NxDomain,
    };
    let life = Life::new().until(20 * DAY, world);
    let (lost, reason) = life.told.last().unwrap();
    assert_eq!(reason, reason::RECORD_LOST);
    assert!(*lost >= gone + 10 * DAY, "{lost}");
}
