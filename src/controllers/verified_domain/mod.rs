//! VerifiedDomain: look for the record, keep the claim, say what was found.

mod judgement;
mod line;
mod looks;
mod schedule;
mod verdict;

#[cfg(test)]
mod tests;

pub use looks::Looks;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, TryStreamExt, stream};
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
    judgement::{has_run_out, judge},
    looks::{Standing, Subject},
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
    dns::{self, DomainName, Look, NotClaimable},
    ledger::{Asked, Loss, Proof, Topic},
};

/// How long the first status of an object waits for the first look, to say at once what it found.
const FIRST_STATUS: Duration = Duration::from_secs(2);

impl Kind for VerifiedDomain {
    const NAME: &'static str = "VerifiedDomain";
}

/// `looked` are those whose look has ended.
pub async fn run(
    ctx: Arc<Context>,
    writer: Writer<VerifiedDomain>,
    looked: impl Stream<Item = Subject> + Send + 'static,
    stop: CancellationToken,
) {
    let (store, claimants) = (ctx.domains.clone(), ctx.claimants.clone());
    ctx.metrics.count_domains_by(move || by_state(&store));
    let events = events(&ctx).inspect_ok(move |event| claimants.follow(event));
    let (store, claimants) = (ctx.domains.clone(), ctx.claimants.clone());
    let concerned = move |nudge: &Nudge| concerned(nudge, &store, &claimants);
    let claimants = ctx.claimants.clone();
    let looked = looked.flat_map(move |subject| stream::iter(objects(&subject, &claimants)));
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
        Nudge::Ledger { topic: Topic::Domain, changes } => {
            let others = changes.iter().flat_map(|change| {
                let mut others = claimants.of(&change.name);
                others.retain(|d| change.organization.as_deref() != Some(&namespace(d.as_ref())));
                others
            });
            others.collect()
        }
        // the younger of two for one name, when the older goes
        Nudge::Object { kind: of, namespace: at } if *of == VerifiedDomain::NAME => store
            .state_filter(|d| {
                let conditions = d.status.as_ref().map_or(&[][..], |s| &s.conditions);
                *at == namespace(d) && reason_of(conditions, kind::ACCEPTED) == reason::DUPLICATE
            }),
        Nudge::Ledger { .. } | Nudge::Object { .. } => Vec::new(),
    }
}

/// The objects that name the domain that was looked at.
fn objects(subject: &Subject, claimants: &Claimants) -> Vec<ObjectRef<VerifiedDomain>> {
    let mut all = claimants.of(subject.domain.as_str());
    all.retain(|d| namespace(d.as_ref()) == subject.organization);
    all.iter().map(|d| ObjectRef::from_obj(d.as_ref())).collect()
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
    let Accepted { verdict, name, given_up, allow_private } = accept(&domain, ctx).await?;
    let mut facts = Facts { accepted: verdict, claim: None };
    let subject = |domain: DomainName| Subject { organization: own.clone(), domain };
    if let Some(name) = name {
        facts.claim = observe(&domain, &name, facts.accepted.is_yes(), now, ctx).await?;
        if facts.claim.is_none() {
            ctx.looks.forget(&subject(name));
        }
    }
    let (new, next) = decide(&domain, &facts, now);
    if let Some((id, name)) = given_up {
        if ctx.ledger.claim_of(&id, name.as_str()).await?.is_some() {
            ctx.ledger.release(&id, name.as_str()).await?;
        }
        ctx.looks.forget(&subject(name));
    }
    let is_due = next.is_some_and(|at| at <= now);
    let is_new = domain.status.as_ref().is_none_or(|s| s.conditions.is_empty());
    let claim = facts.claim.as_ref();
    // one that is asked for meanwhile comes after it: else whoever asks often enough ends none
    if let Some(claim) = claim.filter(|claim| is_due && !claim.is_under_way) {
        begin_look(&subject(claim.name.clone()), claim, allow_private, ctx);
        if is_new {
            return Ok(Action::requeue(FIRST_STATUS));
        }
    }
    ctx.status.write(domain.as_ref(), &new).await?;
    if let Some(claim) = claim
        && let Some(found) = &claim.found
    {
        ctx.looks.settle(&subject(claim.name.clone()), found);
    }
    if is_new {
        ctx.nudges.send(Nudge::Object { kind: VerifiedDomain::NAME, namespace: own });
    }
    // the end of a look that is under way wakes us
    Ok(Action::requeue(next.filter(|_| !is_due).map_or(RESYNC, |at| until(at, now))))
}

async fn cleanup(domain: Arc<VerifiedDomain>, ctx: &Context) -> Result<()> {
    let namespace = namespace(domain.as_ref());
    // a twin has the claim after it, as it stands
    if let Ok(name) = DomainName::parse(&domain.spec.domain)
        && twins(&domain, &name, &ctx.claimants).is_empty()
    {
        if let Some(organization) = ctx.ledger.organization_named(&namespace).await? {
            ctx.ledger.release(&organization, name.as_str()).await?;
        }
        ctx.looks.forget(&Subject { organization: namespace.clone(), domain: name });
    }
    ctx.nudges.send(Nudge::Object { kind: VerifiedDomain::NAME, namespace });
    Ok(())
}

/// Whether the object may claim its domain.
struct Accepted {
    verdict: Verdict,
    /// Which domain that is: none where it isn't one, or the object has no claim to it.
    name: Option<DomainName>,
    /// The organization and the domain of a claim that may not stand, if there is one.
    given_up: Option<(String, DomainName)>,
    /// Whether name servers at inner addresses may be asked.
    allow_private: bool,
}

impl Accepted {
    fn no_claim(verdict: Verdict) -> Self {
        Self { verdict, name: None, given_up: None, allow_private: false }
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
    let organization = match ctx.tenancy.organization(&namespace(domain)).await? {
        Ok(organization) => organization,
        Err(verdict) => {
            return Ok(Accepted { name: Some(name), ..Accepted::no_claim(verdict) });
        }
    };
    let include_subdomains = domain.spec.include_subdomains.unwrap_or(false);
    Ok(match organization.claimable.check(&name, include_subdomains) {
        Ok(()) => Accepted {
            verdict: Verdict::yes(reason::ACCEPTED, ""),
            name: Some(name),
            given_up: None,
            allow_private: organization.allow_private_endpoints,
        },
        // it may have been claimed before the class, or a newer list, said that it can't be
        Err(refusal) => Accepted {
            given_up: Some((organization.id, name.clone())),
            ..Accepted::no_claim(not_claimable(&name, refusal))
        },
    })
}

fn not_claimable(name: &DomainName, refusal: NotClaimable) -> Verdict {
    let reason = match refusal {
        NotClaimable::PublicSuffix | NotClaimable::PrivateSuffix => reason::PUBLIC_SUFFIX,
        NotClaimable::FreeMail => reason::FREE_MAIL_DOMAIN,
        NotClaimable::SpecialUse => reason::SPECIAL_USE,
        NotClaimable::NotAllowed | NotClaimable::CoversDenied => reason::NOT_ALLOWED_BY_CLASS,
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

/// The claim to the domain, made where it may be, and after what a look that has ended did to it.
/// None where there is none: a proof ages also where no new one is sought.
async fn observe(
    domain: &VerifiedDomain,
    name: &DomainName,
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
    let subject = Subject { organization: namespace(domain), domain: name.clone() };
    let asks = asked.request.is_some() && asked.request != held.asked.request;
    let asked_now = ctx.looks.asked(&subject, asks);
    if held.asked != asked {
        held = ctx.ledger.ask(&id, name.as_str(), &asked, now).await?;
    }
    let value = dns::record_value(key, &id, name);
    let (mut found, mut under_way) = (None, None);
    match ctx.looks.standing(&subject, &value) {
        Standing::Idle => {}
        Standing::UnderWay(since) => under_way = Some(since),
        Standing::Found(look) => {
            if let Some(proof) = judge(&held, look.answer, asked.sought, look.at) {
                held = ctx.ledger.record_proof(&id, name.as_str(), proof, look.at).await?;
            }
            if verdict::is_failure(look.answer) && look.before != Some(look.answer) {
                ctx.status.warn(domain, look.answer.label(), &look.explanation).await;
            }
            found = Some(look);
        }
    }
    if under_way.is_some_and(|since| has_run_out(&held, since, now)) {
        let ended = Proof::Lost(Loss::ProofExpired);
        held = ctx.ledger.record_proof(&id, name.as_str(), ended, now).await?;
    }
    let last = ctx.looks.last(&subject);
    let (name, is_under_way) = (name.clone(), under_way.is_some());
    Ok(Some(Observed { name, value, held, found, asked_now, is_under_way, last }))
}

fn begin_look(subject: &Subject, claim: &Observed, allow_private: bool, ctx: &Context) {
    let Observed { name, value, held, .. } = claim;
    let renewing = held.owns && held.missing_since.is_none();
    let (examiner, name, expected) = (ctx.examiner.clone(), name.clone(), value.clone());
    ctx.looks.begin(subject, value, move || async move {
        let (domain, expected) = (&name, expected.as_str());
        examiner.examine(&Look { domain, expected, allow_private, renewing }).await
    });
}
