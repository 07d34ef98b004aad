//! VerifiedDomain: look for the record, keep the claim, say what was found.

mod judgement;
mod looks;
mod schedule;
mod verdict;

#[cfg(test)]
mod tests;

pub use looks::Looks;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, TryStreamExt};
use jiff::Timestamp;
use kube::{
    ResourceExt,
    runtime::{
        controller::Action,
        reflector::{ObjectRef, Store, store::Writer},
    },
};
use tokio_util::sync::CancellationToken;

use self::{
    judgement::judge,
    looks::Standing,
    verdict::{Facts, Observed, decide},
};
use super::{
    Context, Kind, Nudge, RESYNC, Result, age, claimants::Claimants, controller_on, error_policy,
    events, is_deleted, namespace, report, until, with_finalizer,
};
use crate::{
    api::{
        VerifiedDomain,
        conditions::{Verdict, kind, reason, reason_of},
        meta,
    },
    dns::{self, DomainName, Examination, Look, NotClaimable},
    ledger::{Asked, Topic},
};

/// How long the first status of an object waits for the first look, to say at once what it found.
const FIRST_STATUS: Duration = Duration::from_secs(2);

impl Kind for VerifiedDomain {
    const NAME: &'static str = "VerifiedDomain";
}

/// `looked` are the objects whose look has ended.
pub async fn run(
    ctx: Arc<Context>,
    writer: Writer<VerifiedDomain>,
    looked: impl Stream<Item = ObjectRef<VerifiedDomain>> + Send + 'static,
    stop: CancellationToken,
) {
    let (store, claimants) = (ctx.domains.clone(), ctx.claimants.clone());
    ctx.metrics.count_domains_by(move || by_state(&store));
    let events = events(&ctx).inspect_ok(move |event| claimants.follow(event));
    let (store, claimants) = (ctx.domains.clone(), ctx.claimants.clone());
    let concerned = move |nudge: &Nudge| concerned(nudge, &store, &claimants);
    controller_on(&ctx, events, (ctx.domains.clone(), writer), concerned, stop)
        .reconcile_on(looked)
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
    let Accepted { verdict, name, allow_private } = accept(&domain, ctx).await?;
    let mut facts = Facts { accepted: verdict, claim: None };
    if let Some(name) = name {
        facts.claim = observe(&domain, name, facts.accepted.is_yes(), now, ctx).await?;
    }
    let (new, next) = decide(&domain, &facts, now);
    let is_due = next.is_some_and(|at| at <= now);
    let is_new = domain.status.as_ref().is_none_or(|s| s.conditions.is_empty());
    if let Some(claim) = facts.claim.filter(|_| is_due)
        && begin_look(&domain, claim, allow_private, ctx)
        && is_new
    {
        return Ok(Action::requeue(FIRST_STATUS));
    }
    ctx.status.write(domain.as_ref(), &new).await?;
    if is_new {
        ctx.nudges.send(Nudge::Object { kind: VerifiedDomain::NAME, namespace: own });
    }
    // the end of a look that is under way wakes us
    Ok(Action::requeue(next.filter(|_| !is_due).map_or(RESYNC, |at| until(at, now))))
}

async fn cleanup(domain: Arc<VerifiedDomain>, ctx: &Context) -> Result<()> {
    let namespace = namespace(domain.as_ref());
    ctx.looks.forget(&object(&domain));
    if let Ok(name) = DomainName::parse(&domain.spec.domain)
        && twins(&domain, &name, &ctx.claimants).is_empty()
        && let Some(organization) = ctx.ledger.organization_named(&namespace).await?
    {
        ctx.ledger.release(&organization, name.as_str()).await?;
    }
    ctx.nudges.send(Nudge::Object { kind: VerifiedDomain::NAME, namespace });
    Ok(())
}

/// Whether the object may claim its domain.
struct Accepted {
    verdict: Verdict,
    /// Which domain that is: none where it isn't one, or the object has no claim to it.
    name: Option<DomainName>,
    /// Whether name servers at inner addresses may be asked.
    allow_private: bool,
}

impl Accepted {
    fn no_claim(verdict: Verdict) -> Self {
        Self { verdict, name: None, allow_private: false }
    }
}

async fn accept(domain: &VerifiedDomain, ctx: &Context) -> Result<Accepted> {
    let name = match DomainName::parse(&domain.spec.domain) {
        Ok(name) => name,
        Err(error) => {
            let message = format!("{}: {error}.", domain.spec.domain);
            return Ok(Accepted::no_claim(Verdict::no(reason::NOT_A_DOMAIN, message)));
        }
    };
    let twins = twins(domain, &name, &ctx.claimants);
    if let Some(older) = twins.iter().find(|twin| age(twin.as_ref()) < age(domain)) {
        let older = older.name_any();
        let message = format!("{older} names this domain already: delete one of the two.");
        return Ok(Accepted::no_claim(Verdict::no(reason::DUPLICATE, message)));
    }
    match ctx.tenancy.organization(&namespace(domain)).await? {
        Ok(organization) => match organization.claimable.check(&name) {
            Ok(()) => Ok(Accepted {
                verdict: Verdict::yes(reason::ACCEPTED, ""),
                name: Some(name),
                allow_private: organization.allow_private_endpoints,
            }),
            // it was somebody's before the class, or a newer list, said that it can't be
            Err(refusal) => {
                if ctx.ledger.claim_of(&organization.id, name.as_str()).await?.is_some() {
                    ctx.ledger.release(&organization.id, name.as_str()).await?;
                }
                Ok(Accepted::no_claim(not_claimable(&name, refusal)))
            }
        },
        Err(verdict) => Ok(Accepted { verdict, name: Some(name), allow_private: false }),
    }
}

fn not_claimable(name: &DomainName, refusal: NotClaimable) -> Verdict {
    let reason = match refusal {
        NotClaimable::PublicSuffix | NotClaimable::PrivateSuffix => reason::PUBLIC_SUFFIX,
        NotClaimable::FreeMail => reason::FREE_MAIL_DOMAIN,
        NotClaimable::SpecialUse => reason::SPECIAL_USE,
        NotClaimable::NotAllowed => reason::NOT_ALLOWED_BY_CLASS,
    };
    Verdict::no(reason, format!("{name}: {refusal}."))
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

fn object(domain: &VerifiedDomain) -> ObjectRef<VerifiedDomain> {
    ObjectRef::new(&domain.name_any()).within(&namespace(domain))
}

/// The claim to the domain, made where it may be, and after what a look that has ended did to it.
/// None where there is none: a proof ages also where no new one is sought.
async fn observe(
    domain: &VerifiedDomain,
    name: DomainName,
    accepted: bool,
    now: Timestamp,
    ctx: &Context,
) -> Result<Option<Observed>> {
    let Some(key) = ctx.installation.key() else { return Ok(None) };
    let Some(id) = ctx.ledger.organization_named(&namespace(domain)).await? else {
        return Ok(None);
    };
    let held = match accepted {
        true => Some(ctx.ledger.claim(&id, name.as_str(), now).await?),
        false => ctx.ledger.claim_of(&id, name.as_str()).await?,
    };
    let Some(mut held) = held else { return Ok(None) };
    let asked = Asked {
        include_subdomains: domain.spec.include_subdomains.unwrap_or(false),
        sought: accepted && domain.spec.suspend != Some(true),
        request: domain.annotations().get(meta::REQUESTED_AT).cloned(),
    };
    let object = object(domain);
    let asks = asked.request.is_some() && asked.request != held.asked.request;
    let asked_now = ctx.looks.asked(&object, asks);
    if held.asked != asked {
        held = ctx.ledger.ask(&id, name.as_str(), &asked, now).await?;
    }
    let value = dns::record_value(key, &id, &name);
    let (mut seen, mut is_under_way) = (None, false);
    match ctx.looks.take(&object, &value) {
        Standing::Idle => {}
        Standing::UnderWay => is_under_way = true,
        Standing::Found { examination: Examination { answer, explanation, .. }, before } => {
            if let Some(proof) = judge(&held, answer, asked.sought, now) {
                held = ctx.ledger.record_proof(&id, name.as_str(), proof, now).await?;
            }
            if verdict::is_failure(answer) && before != Some(answer) {
                ctx.status.warn(domain, answer.label(), &explanation).await;
            }
            seen = Some((answer, explanation));
        }
    }
    let last = ctx.looks.last(&object);
    Ok(Some(Observed { name, value, held, seen, asked_now, is_under_way, last }))
}

/// Begin the look that is due, unless one is under way that will do. Returns whether it was begun.
fn begin_look(
    domain: &VerifiedDomain,
    claim: Observed,
    allow_private: bool,
    ctx: &Context,
) -> bool {
    let Observed { name, value, held, asked_now, is_under_way, .. } = claim;
    if is_under_way && !asked_now {
        return false;
    }
    let examiner = ctx.examiner.clone();
    let renewing = held.owns && held.missing_since.is_none();
    let expected = value.clone();
    ctx.looks.begin(&object(domain), &namespace(domain), &value, move || async move {
        let (domain, expected) = (&name, expected.as_str());
        examiner.examine(&Look { domain, expected, allow_private, renewing }).await
    });
    true
}
