//! VerifiedDomain: look for the record, keep the claim, say what was found.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    ResourceExt,
    runtime::{
        controller::Action,
        reflector::{Store, store::Writer},
    },
};
use tokio_util::sync::CancellationToken;

use super::{
    Context, Kind, Nudge, Result, age, claimants::Claimants, controller_on, error_policy, events,
    is_deleted, jittered, namespace, report, with_finalizer,
};
use crate::{
    api::{
        Challenge, VerifiedDomain, VerifiedDomainStatus,
        conditions::{
            Conditions, Truth, Verdict, Waiting, all_of, find, kind, reason, reason_of,
            whole_seconds,
        },
    },
    dns::{self, Answer, DomainName, Examination, Look},
    ledger::{Claim, Loss, Proof, Topic},
};

/// How soon and how late an unproved domain is looked at again; in between, a tenth of the time
/// that the claim has lasted.
const SEEKING: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3600));
/// How often a proved domain is looked at.
const PROVED: Duration = Duration::from_secs(24 * 3600);
/// How often one whose record is missing is looked at.
const MISSING: Duration = Duration::from_secs(3600);
/// How far apart absences must be to count.
const MISSED: SignedDuration = SignedDuration::from_mins(30);
/// How long, and over how many definite absences, a record may be missing before it is lost.
const GRACE: SignedDuration = SignedDuration::from_hours(72);
const ABSENCES: i64 = 3;
/// How long a proof holds without being renewed.
const PROOF_HOLDS: SignedDuration = SignedDuration::from_hours(30 * 24);
/// What a look alone can have said before; a failed look keeps it.
const SEEN: [&str; 2] = [reason::AWAITING_RECORD, reason::VALUE_MISMATCH];

impl Kind for VerifiedDomain {
    const NAME: &'static str = "VerifiedDomain";
}

pub async fn run(ctx: Arc<Context>, writer: Writer<VerifiedDomain>, stop: CancellationToken) {
    let (store, claimants) = (ctx.domains.clone(), ctx.claimants.clone());
    ctx.metrics.count_domains_by(move || by_state(&store));
    let events = events(&ctx).inspect_ok(move |event| claimants.follow(event));
    let (store, claimants) = (ctx.domains.clone(), ctx.claimants.clone());
    let concerned = move |nudge: &Nudge| concerned(nudge, &store, &claimants);
    controller_on(&ctx, events, (ctx.domains.clone(), writer), concerned, stop)
        .run(reconcile, error_policy, ctx)
        .for_each(report)
        .await;
}

/// Whom to look at again.
fn concerned(
    nudge: &Nudge,
    store: &Store<VerifiedDomain>,
    claimants: &Claimants,
) -> Vec<Arc<VerifiedDomain>> {
    match nudge {
        Nudge::All => store.state(),
        Nudge::Namespace { name, .. } => store.state_filter(|d| *name == namespace(d)),
        // the others who claim the name that changed hands; its owner knows already
        Nudge::Ledger(change) if change.topic == Topic::Domain => {
            let mut others = claimants.of(&change.name);
            others.retain(|d| change.organization.as_deref() != Some(&namespace(d.as_ref())));
            others
        }
        // the younger of two for one name, when the older goes
        Nudge::Object { kind: of, namespace: at } if *of == VerifiedDomain::NAME => store
            .state_filter(|d| {
                let conditions = d.status.as_ref().map_or(&[][..], |s| &s.conditions);
                *at == namespace(d) && reason_of(conditions, kind::ACCEPTED) == reason::DUPLICATE
            }),
        Nudge::Ledger(_) | Nudge::Object { .. } => Vec::new(),
    }
}

fn by_state(store: &Store<VerifiedDomain>) -> BTreeMap<String, i64> {
    let mut states = BTreeMap::new();
    for domain in store.state() {
        let conditions = domain.status.as_ref().map_or(&[][..], |s| &s.conditions);
        *states.entry(reason_of(conditions, kind::VERIFIED).to_owned()).or_insert(0) += 1;
    }
    states
}

async fn reconcile(domain: Arc<VerifiedDomain>, ctx: Arc<Context>) -> Result<Action> {
    with_finalizer(domain, &ctx, |d| apply(d, &ctx), |d| cleanup(d, &ctx)).await
}

async fn apply(domain: Arc<VerifiedDomain>, ctx: &Context) -> Result<Action> {
    let now = Timestamp::now();
    let own = namespace(domain.as_ref());
    let (accepted, name, allow_private) = accept(&domain, ctx).await?;
    let mut facts = Facts { accepted, claim: None };
    let seeking = facts.accepted.is_yes() && domain.spec.suspend != Some(true);
    // a proof ages also where no new one is sought
    if let (Some(name), Some(key)) = (name, ctx.installation.key())
        && let Some(organization) = ctx.ledger.organization_named(&own).await?
        && let Some(mut held) = match facts.accepted.is_yes() {
            true => Some(ctx.ledger.claim(&organization, name.as_str(), now).await?),
            false => ctx.ledger.claim_of(&organization, name.as_str()).await?,
        }
    {
        let value = dns::record_value(key, &organization, &name);
        let mut sighting = Sighting::NotLooked;
        if seeking || held.proved_at.is_some() {
            let look = Look {
                domain: &name,
                expected: &value,
                allow_private,
                renewing: held.owns && held.missing_since.is_none(),
            };
            sighting = Sighting::of(ctx.examiner.examine(&look).await);
            if let Some(proof) = judge(&held, &sighting, seeking, now) {
                let ledger = &ctx.ledger;
                held = ledger.record_proof(&organization, name.as_str(), proof, now).await?;
            }
        }
        facts.claim = Some(Observed { name, value, held, sighting });
    }
    let (new, next) = decide(&domain, &facts, now);
    ctx.status.write(domain.as_ref(), &new).await?;
    if domain.status.as_ref().is_none_or(|s| s.conditions.is_empty()) {
        ctx.nudges.send(Nudge::Object { kind: VerifiedDomain::NAME, namespace: own });
    }
    Ok(Action::requeue(jittered(next)))
}

async fn cleanup(domain: Arc<VerifiedDomain>, ctx: &Context) -> Result<()> {
    let namespace = namespace(domain.as_ref());
    if let Ok(name) = DomainName::parse(&domain.spec.domain)
        && twins(&domain, &name, &ctx.claimants).is_empty()
        && let Some(organization) = ctx.ledger.organization_named(&namespace).await?
    {
        ctx.ledger.release(&organization, name.as_str()).await?;
    }
    ctx.nudges.send(Nudge::Object { kind: VerifiedDomain::NAME, namespace });
    Ok(())
}

/// Whether the object may claim its domain, and which domain that is: none where it isn't one, or
/// another object counts for it. And whether its class allows private endpoints.
async fn accept(
    domain: &VerifiedDomain,
    ctx: &Context,
) -> Result<(Verdict, Option<DomainName>, bool)> {
    let name = match DomainName::parse(&domain.spec.domain) {
        Ok(name) => name,
        Err(error) => {
            let message = format!("{}: {error}.", domain.spec.domain);
            return Ok((Verdict::no(reason::NOT_A_DOMAIN, message), None, false));
        }
    };
    let twins = twins(domain, &name, &ctx.claimants);
    if let Some(older) = twins.iter().find(|twin| age(twin.as_ref()) < age(domain)) {
        let older = older.name_any();
        let message = format!("{older} names this domain already: delete one of the two.");
        return Ok((Verdict::no(reason::DUPLICATE, message), None, false));
    }
    Ok(match ctx.tenancy.organization(&namespace(domain)).await? {
        Ok(organization) => {
            let accepted = Verdict::yes(reason::ACCEPTED, "");
            (accepted, Some(name), organization.allow_private_endpoints)
        }
        Err(refused) => (refused, Some(name), false),
    })
}

/// The other objects of the namespace that name the same domain, and stay.
fn twins(
    domain: &VerifiedDomain,
    name: &DomainName,
    claimants: &Claimants,
) -> Vec<Arc<VerifiedDomain>> {
    let mut twins = claimants.of(name.as_str());
    twins.retain(|other| {
        other.metadata.namespace == domain.metadata.namespace
            && other.metadata.name != domain.metadata.name
            && !is_deleted(other.as_ref())
    });
    twins
}

/// What one pass found.
struct Facts {
    accepted: Verdict,
    /// The claim after what was seen had its effect; none where none is made.
    claim: Option<Observed>,
}

struct Observed {
    name: DomainName,
    value: String,
    held: Claim,
    sighting: Sighting,
}

/// What a look at the record showed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sighting {
    Match,
    /// There are records, but not ours. Each with what to say of it.
    Mismatch(String),
    Absent(String),
    Failed(String),
    NotLooked,
}

impl Sighting {
    fn of(Examination { answer, explanation, .. }: Examination) -> Self {
        match answer {
            Answer::Match => Self::Match,
            Answer::Mismatch => Self::Mismatch(explanation),
            answer if answer.is_definite_absence() => Self::Absent(explanation),
            _ => Self::Failed(explanation),
        }
    }
}

/// What a sighting does to a claim. Only a match proves, and only where a proof is sought does it
/// prove anything new; only definite absence, for long enough, loses; a failed look loses nothing
/// before the proof has run out.
fn judge(claim: &Claim, sighting: &Sighting, seeking: bool, now: Timestamp) -> Option<Proof> {
    let proved = claim.proved_at.is_some();
    match sighting {
        Sighting::Match if seeking || claim.owns => Some(Proof::Seen),
        Sighting::Absent(_) | Sighting::Mismatch(_) if proved => {
            // looks in quick succession are one absence
            if claim.missed_at.is_some_and(|missed| missed + MISSED > now) {
                return None;
            }
            let long_enough = claim.missing_since.is_some_and(|since| since + GRACE <= now);
            let lost = long_enough && claim.absences + 1 >= ABSENCES;
            Some(if lost { Proof::Lost(Loss::RecordLost) } else { Proof::Missing })
        }
        Sighting::Failed(_) if claim.seen_at.is_some_and(|seen| seen + PROOF_HOLDS <= now) => {
            Some(Proof::Lost(Loss::ProofExpired))
        }
        _ => None,
    }
}

/// The status that the facts make, and when to look again.
fn decide(
    domain: &VerifiedDomain,
    facts: &Facts,
    now: Timestamp,
) -> (VerifiedDomainStatus, Duration) {
    let old = domain.status.as_ref().map_or(&[][..], |s| &s.conditions);
    let generation = domain.metadata.generation;
    let claim = facts.claim.as_ref();
    let verified = match claim {
        Some(observed) if facts.accepted.is_yes() || observed.held.proved_at.is_some() => {
            verified(observed, old)
        }
        _ => Verdict { truth: Truth::False, ..facts.accepted.clone() },
    };
    let suspended = domain.spec.suspend == Some(true);
    let ready = if suspended {
        Verdict::no(reason::SUSPENDED, "Suspended: no proof is sought; one that stands still ages.")
    } else {
        all_of(&[&facts.accepted, &verified], verified.message.clone())
    };
    let waiting = match (&facts.accepted, &verified) {
        _ if suspended || ready.is_yes() => Waiting::No,
        (accepted, _) if !accepted.is_yes() => Waiting::Edit,
        (_, verified) if verified.reason == reason::DOMAIN_CONFLICT => Waiting::Edit,
        _ => Waiting::Outside,
    };
    let at = whole_seconds(now);
    let mut conditions = Conditions::new(old, generation, &at);
    conditions.set(kind::ACCEPTED, &facts.accepted);
    conditions.set(kind::VERIFIED, &verified);
    let new = VerifiedDomainStatus {
        observed_generation: generation,
        domain: claim.map(|c| c.name.to_string()),
        verified_at: claim.filter(|c| c.held.owns).and_then(|c| c.held.proved_at).map(Time),
        challenge: claim.map(|c| Challenge {
            record_name: dns::record_name(&c.name),
            record_type: "TXT".into(),
            record_value: c.value.clone(),
        }),
        conditions: conditions.ready(&ready, waiting),
    };
    (new, next_look(claim, now))
}

/// What to say of a claim. `old` are the conditions so far: what they know, a failed look keeps.
fn verified(observed: &Observed, old: &[Condition]) -> Verdict {
    let Observed { name, value, held, sighting } = observed;
    let record = dns::record_name(name);
    let publish = format!("publish a TXT record {record} with the value {value}");
    match held {
        Claim { owns: true, missing_since: None, .. } => {
            Verdict::yes(reason::RECORD_FOUND, format!("{name} is verified."))
        }
        Claim { owns: true, missing_since: Some(since), .. } => Verdict::yes(
            reason::RECORD_MISSING_IN_GRACE,
            format!(
                "{name} is still verified, but its record is gone since {since}: {publish}, or the \
                 domain is lost {} hours after that.",
                GRACE.as_hours()
            ),
        ),
        Claim { proved_at: Some(_), .. } => Verdict::no(
            reason::DOMAIN_CONFLICT,
            format!(
                "Another organization proved {name} first, and keeps it for as long as its proof \
                 stands. If the domain is yours alone, ask the platform team."
            ),
        ),
        Claim { lost: Some(Loss::RecordLost), .. } => Verdict::no(
            reason::RECORD_LOST,
            format!("{name} was verified, but its record was gone for too long: {publish} again."),
        ),
        Claim { lost: Some(Loss::ProofExpired), .. } => Verdict::no(
            reason::PROOF_EXPIRED,
            format!(
                "{name} was verified, but could not be looked up for {} days: mend its name \
                 servers, and {publish}.",
                PROOF_HOLDS.as_hours() / 24
            ),
        ),
        Claim { .. } => match sighting {
            Sighting::Mismatch(seen) => Verdict::no(reason::VALUE_MISMATCH, seen),
            Sighting::Absent(seen) => Verdict::no(reason::AWAITING_RECORD, seen),
            Sighting::Failed(why) => {
                match find(old, kind::VERIFIED).filter(|c| SEEN.contains(&c.reason.as_str())) {
                    Some(known) => Verdict::kept(known),
                    None => Verdict::unknown(reason::LOOKUP_FAILED, why),
                }
            }
            Sighting::NotLooked | Sighting::Match => Verdict::no(
                reason::AWAITING_RECORD,
                format!("To prove {name}, {publish}. It is looked for by itself."),
            ),
        },
    }
}

fn next_look(claim: Option<&Observed>, now: Timestamp) -> Duration {
    let Some(Observed { held, sighting, .. }) = claim else { return super::RESYNC };
    match held {
        Claim { owns: true, missing_since: None, .. } if *sighting == Sighting::Match => PROVED,
        Claim { proved_at: Some(_), .. } => MISSING,
        claim => {
            let lasted: Duration =
                now.duration_since(claim.claimed_at).try_into().unwrap_or_default();
            (lasted / 10).clamp(SEEKING.0, SEEKING.1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::VerifiedDomainSpec;

    const DAY: i64 = 24 * 3600;

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
            asked: crate::ledger::Asked::default(),
        }
    }

    fn owned() -> Claim {
        Claim { proved_at: Some(at(10)), seen_at: Some(at(10)), owns: true, ..claim() }
    }

    fn missing(absences: i64) -> Claim {
        Claim { missing_since: Some(at(100)), missed_at: Some(at(100)), absences, ..owned() }
    }

    fn absent() -> Sighting {
        Sighting::Absent("it is not there".into())
    }

    fn failed() -> Sighting {
        Sighting::Failed("nobody answers".into())
    }

    fn domain() -> VerifiedDomain {
        let spec = VerifiedDomainSpec { domain: "acme.com".into(), suspend: None };
        let mut domain = VerifiedDomain::new("acme-com", spec);
        domain.metadata.generation = Some(3);
        domain
    }

    fn facts(held: Claim, sighting: Sighting) -> Facts {
        let name = DomainName::parse("acme.com").unwrap();
        let observed = Observed { name, value: "rollcall-verification=1".into(), held, sighting };
        Facts { accepted: Verdict::yes(reason::ACCEPTED, ""), claim: Some(observed) }
    }

    /// `Verified` as `decide` sets it on a new object.
    fn says(held: Claim, sighting: Sighting) -> (String, String) {
        let (status, _) = decide(&domain(), &facts(held, sighting), at(1000));
        let verified = find(&status.conditions, kind::VERIFIED).unwrap();
        (verified.status.clone(), verified.reason.clone())
    }

    #[test]
    fn only_a_match_proves_and_only_long_absence_loses() {
        let failed = failed();
        let other = Sighting::Mismatch("x".into());
        let late = at(100) + GRACE;
        let lost = Some(Proof::Lost(Loss::RecordLost));
        for (held, sighting, now, proof) in [
            (claim(), Sighting::Match, at(1), Some(Proof::Seen)),
            (claim(), absent(), at(1), None),
            (claim(), other.clone(), at(1), None),
            (claim(), failed.clone(), at(1), None),
            (owned(), absent(), at(100), Some(Proof::Missing)),
            (owned(), other, at(100), Some(Proof::Missing)),
            // long, but not often enough; often, but not long enough; both
            (missing(1), absent(), late, Some(Proof::Missing)),
            (missing(9), absent(), late - SignedDuration::from_secs(1), Some(Proof::Missing)),
            (missing(2), absent(), late, lost),
            (missing(9), failed.clone(), late, None),
            (owned(), failed.clone(), at(10 + 30 * DAY - 1), None),
            (owned(), failed, at(10 + 30 * DAY), Some(Proof::Lost(Loss::ProofExpired))),
            (owned(), Sighting::NotLooked, at(10 + 60 * DAY), None),
        ] {
            assert_eq!(judge(&held, &sighting, true, now), proof, "{held:?} {sighting:?} {now}");
        }
    }

    #[test]
    fn looks_in_quick_succession_are_one_absence() {
        let soon = at(100) + SignedDuration::from_secs(1);
        assert_eq!(judge(&missing(1), &absent(), true, soon), None);
        assert_eq!(judge(&missing(1), &absent(), true, at(100) + MISSED), Some(Proof::Missing));
    }

    #[test]
    fn where_no_proof_is_sought_a_standing_one_ages_and_none_is_made() {
        let now = at(200);
        assert_eq!(judge(&owned(), &Sighting::Match, false, now), Some(Proof::Seen));
        assert_eq!(judge(&owned(), &absent(), false, now), Some(Proof::Missing));
        let rival = Claim { owns: false, ..owned() };
        assert_eq!(judge(&rival, &Sighting::Match, false, now), None);
        assert_eq!(judge(&claim(), &Sighting::Match, false, now), None);
    }

    #[test]
    fn each_finding_has_its_reason() {
        let lost = |loss| Claim { lost: Some(loss), ..claim() };
        let rival = Claim { owns: false, ..owned() };
        for (held, sighting, truth, because) in [
            (claim(), absent(), "False", reason::AWAITING_RECORD),
            (claim(), Sighting::NotLooked, "False", reason::AWAITING_RECORD),
            (claim(), Sighting::Mismatch("x".into()), "False", reason::VALUE_MISMATCH),
            (claim(), failed(), "Unknown", reason::LOOKUP_FAILED),
            (owned(), Sighting::Match, "True", reason::RECORD_FOUND),
            (owned(), failed(), "True", reason::RECORD_FOUND),
            (missing(1), absent(), "True", reason::RECORD_MISSING_IN_GRACE),
            (missing(1), failed(), "True", reason::RECORD_MISSING_IN_GRACE),
            (rival, Sighting::Match, "False", reason::DOMAIN_CONFLICT),
            (lost(Loss::RecordLost), absent(), "False", reason::RECORD_LOST),
            (lost(Loss::ProofExpired), failed(), "False", reason::PROOF_EXPIRED),
        ] {
            let expected = (truth.to_owned(), because.to_owned());
            assert_eq!(says(held.clone(), sighting.clone()), expected, "{held:?} {sighting:?}");
        }
    }

    #[test]
    fn deciding_twice_changes_nothing() {
        for (held, sighting) in [
            (claim(), absent()),
            (claim(), Sighting::Mismatch("x".into())),
            (claim(), failed()),
            (owned(), Sighting::Match),
            (missing(1), absent()),
        ] {
            let facts = facts(held, sighting);
            let mut domain = domain();
            let (first, _) = decide(&domain, &facts, at(1000));
            domain.status = Some(first.clone());
            assert_eq!(decide(&domain, &facts, at(5000)).0, first);
        }
    }

    #[test]
    fn a_failed_look_keeps_what_was_known() {
        let mut domain = domain();
        let (known, _) = decide(&domain, &facts(claim(), Sighting::Mismatch("x".into())), at(1000));
        domain.status = Some(known.clone());
        let failed = facts(claim(), failed());
        assert_eq!(decide(&domain, &failed, at(2000)).0, known);
    }

    #[test]
    fn what_is_not_accepted_is_neither_verified_nor_ready() {
        let accepted = Verdict::no(reason::NOT_A_DOMAIN, "acme");
        let (status, _) = decide(&domain(), &Facts { accepted, claim: None }, at(1));
        for condition in [kind::ACCEPTED, kind::VERIFIED, kind::READY] {
            let found = find(&status.conditions, condition).unwrap();
            assert_eq!(
                (found.status.as_str(), found.reason.as_str()),
                ("False", reason::NOT_A_DOMAIN)
            );
        }
        assert!(find(&status.conditions, kind::STALLED).is_some());
    }

    #[test]
    fn suspending_takes_nothing_that_is_proved() {
        let mut domain = domain();
        domain.spec.suspend = Some(true);
        let (status, next) = decide(&domain, &facts(owned(), Sighting::Match), at(1));
        assert_eq!(reason_of(&status.conditions, kind::READY), reason::SUSPENDED);
        assert_eq!(reason_of(&status.conditions, kind::VERIFIED), reason::RECORD_FOUND);
        assert_eq!(next, PROVED);
        let refused = Facts {
            accepted: Verdict::no(reason::NOT_ALLOWED_BY_CLASS, ""),
            ..facts(owned(), Sighting::Match)
        };
        let (status, _) = decide(&domain, &refused, at(1));
        assert_eq!(reason_of(&status.conditions, kind::VERIFIED), reason::RECORD_FOUND);
    }

    #[test]
    fn looks_are_soon_at_first_and_rarer_later() {
        let seconds = |held, sighting, now| {
            next_look(facts(held, sighting).claim.as_ref(), at(now)).as_secs()
        };
        assert_eq!(seconds(claim(), absent(), 1), 5);
        assert_eq!(seconds(claim(), absent(), 600), 60);
        assert_eq!(seconds(claim(), absent(), 10 * DAY), 3600);
        assert_eq!(seconds(owned(), Sighting::Match, 600), 24 * 3600);
        assert_eq!(seconds(missing(1), absent(), 600), 3600);
        // one that failed, or that waits for the owner to let go
        assert_eq!(seconds(owned(), failed(), 600), 3600);
        assert_eq!(seconds(Claim { owns: false, ..owned() }, Sighting::Match, 600), 3600);
    }
}
