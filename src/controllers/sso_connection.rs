//! SsoConnection: read the identity provider's metadata, keep the last good one, say what is wrong.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use kube::{
    ResourceExt,
    runtime::{
        controller::Action,
        reflector::{ObjectRef, store::Writer},
    },
};
use tokio_util::sync::CancellationToken;

use super::{
    Context, Kind, Nudge, RESYNC, Result, age, controller, error_policy,
    idp_metadata::{self, Metadata},
    is_deleted, jittered, namespace, report,
    tenancy::Organization,
    until, with_finalizer,
};
use crate::{
    api::{
        CertificateStatus, IdentityProviderStatus, SsoConnection, SsoConnectionStatus,
        VerifiedDomain,
        conditions::{
            Conditions, Truth, Verdict, Waiting, all_of, find, kind, reason, whole_seconds,
        },
    },
    dns::DomainName,
    ledger::Topic,
    saml::metadata::MetadataError,
};

/// When metadata is looked for again where there is none, and the soonest that it is at all.
const RETRY: Duration = Duration::from_secs(30);
/// How long before its end a certificate is said to expire.
const EXPIRING: SignedDuration = SignedDuration::from_hours(30 * 24);

impl Kind for SsoConnection {
    const NAME: &'static str = "SsoConnection";
}

pub async fn run(ctx: Arc<Context>, writer: Writer<SsoConnection>, stop: CancellationToken) {
    controller(&ctx, (ctx.connections.clone(), writer), wakes, stop)
        .run(reconcile, error_policy, ctx)
        .for_each(report)
        .await;
}

fn wakes(nudge: &Nudge, connection: &SsoConnection) -> bool {
    let own = namespace(connection);
    match nudge {
        Nudge::All => true,
        Nudge::Namespace { name, .. } => *name == own,
        Nudge::Object { kind, namespace } => {
            *namespace == own && [VerifiedDomain::NAME, SsoConnection::NAME].contains(kind)
        }
        Nudge::Ledger(change) => {
            change.topic == Topic::Domain && change.organization.as_ref() == Some(&own)
        }
    }
}

async fn reconcile(connection: Arc<SsoConnection>, ctx: Arc<Context>) -> Result<Action> {
    with_finalizer(connection, &ctx, |c| apply(c, &ctx), |c| cleanup(c, &ctx)).await
}

async fn apply(connection: Arc<SsoConnection>, ctx: &Context) -> Result<Action> {
    let now = Timestamp::now();
    let facts = match ctx.tenancy.organization(&namespace(connection.as_ref())).await? {
        Err(refused) => {
            withdraw(&connection, ctx).await?;
            Facts::refused(refused)
        }
        Ok(organization) => {
            let domains = domains(&connection, &organization, ctx).await?;
            let older = older_rival(&connection, &ctx.connections.state());
            let (resolved, metadata) = match older {
                Some(older) => {
                    withdraw(&connection, ctx).await?;
                    (Verdict::yes(reason::RESOLVED_REFS, ""), Metadata::Conflict(older))
                }
                None => idp_metadata::read(&connection, &organization, now, ctx).await?,
            };
            Facts { accepted: Verdict::yes(reason::ACCEPTED, ""), resolved, domains, metadata }
        }
    };
    let (new, next) = decide(&connection, &facts, now);
    ctx.status.write(connection.as_ref(), &new).await?;
    Ok(Action::requeue(jittered(next)))
}

async fn cleanup(connection: Arc<SsoConnection>, ctx: &Context) -> Result<()> {
    let namespace = namespace(connection.as_ref());
    if let Some(organization) = ctx.ledger.organization_named(&namespace).await? {
        ctx.ledger.delete_connection(&organization, &connection.name_any()).await?;
    }
    ctx.nudges.send(Nudge::Object { kind: SsoConnection::NAME, namespace });
    Ok(())
}

/// Nobody signs in by this connection for now.
async fn withdraw(connection: &SsoConnection, ctx: &Context) -> Result<()> {
    if let Some(organization) = ctx.ledger.organization_named(&namespace(connection)).await? {
        ctx.ledger.withdraw_connection(&organization, &connection.name_any()).await?;
    }
    Ok(())
}

/// The domains of a connection: how many it has, how many of them are verified, and which of
/// those it names are missing.
#[derive(Default)]
struct Domains {
    named: usize,
    unverified: Vec<String>,
    missing: Vec<String>,
}

async fn domains(
    connection: &SsoConnection,
    organization: &Organization,
    ctx: &Context,
) -> Result<Domains> {
    let owned = ctx.ledger.owned_domains(&organization.id).await?;
    let at = |name: &str| ObjectRef::<VerifiedDomain>::new(name).within(&organization.name);
    let mut domains = Domains::default();
    let named = match &connection.spec.domains {
        None => ctx
            .domains
            .state_filter(|domain| namespace(domain) == organization.name && !is_deleted(domain)),
        Some(refs) => {
            let mut found = vec![];
            for name in refs.iter().map(|r| &r.name) {
                match ctx.domains.get(&at(name)).filter(|d| !is_deleted(d.as_ref())) {
                    Some(domain) => found.push(domain),
                    None => domains.missing.push(name.clone()),
                }
            }
            found
        }
    };
    domains.named = named.len();
    for domain in named {
        let owns = DomainName::parse(&domain.spec.domain)
            .is_ok_and(|name| owned.binary_search_by(|o| o.as_str().cmp(name.as_str())).is_ok());
        if !owns {
            domains.unverified.push(domain.name_any());
        }
    }
    domains.unverified.sort_unstable();
    Ok(domains)
}

/// An older connection of the namespace that names a domain of this one.
fn older_rival(connection: &SsoConnection, all: &[Arc<SsoConnection>]) -> Option<String> {
    let share = |other: &SsoConnection| match (&connection.spec.domains, &other.spec.domains) {
        (None, None) => true,
        (None, Some(some)) | (Some(some), None) => !some.is_empty(),
        (Some(ours), Some(theirs)) => ours.iter().any(|domain| theirs.contains(domain)),
    };
    all.iter()
        .filter(|other| {
            other.metadata.namespace == connection.metadata.namespace
                && !is_deleted(other.as_ref())
                && age(other.as_ref()) < age(connection)
                && share(other)
        })
        .map(|other| other.name_any())
        .min()
}

/// What one pass found.
struct Facts {
    accepted: Verdict,
    resolved: Verdict,
    domains: Domains,
    metadata: Metadata,
}

impl Facts {
    fn refused(accepted: Verdict) -> Self {
        Self {
            accepted,
            resolved: Verdict::yes(reason::RESOLVED_REFS, ""),
            domains: Domains::default(),
            metadata: Metadata::Refused,
        }
    }
}

fn resolved(facts: &Facts) -> Verdict {
    if !facts.domains.missing.is_empty() && facts.resolved.is_yes() {
        let message = format!(
            "There is no VerifiedDomain {} in this namespace: make it, or correct the name.",
            facts.domains.missing.join(", ")
        );
        return Verdict::no(reason::DOMAIN_NOT_FOUND, message);
    }
    facts.resolved.clone()
}

fn domains_verified(domains: &Domains) -> Verdict {
    let Domains { named, unverified, .. } = domains;
    match (*named, unverified.len()) {
        (0, _) => Verdict::no(
            reason::NONE_VERIFIED,
            "Nobody can sign in: the connection has no VerifiedDomain yet.",
        ),
        (_, 0) => Verdict::yes(reason::ALL_VERIFIED, "All of its domains are verified."),
        (named, waiting) if waiting < named => Verdict::yes(
            reason::SOME_VERIFIED,
            format!("Not verified yet: {}.", unverified.join(", ")),
        ),
        _ => Verdict::no(
            reason::NONE_VERIFIED,
            format!("Nobody can sign in before one is verified: {}.", unverified.join(", ")),
        ),
    }
}

fn configured(facts: &Facts, now: Timestamp) -> Verdict {
    match &facts.metadata {
        Metadata::Good { provider, problem, .. } => {
            let last = provider.certificates.last();
            if last.is_none_or(|certificate| certificate.not_after <= now) {
                return Verdict::no(
                    reason::CERTIFICATES_EXPIRED,
                    "All of the identity provider's signing certificates have expired: renew them there.",
                );
            }
            let message = match problem {
                None => format!("{} is configured.", provider.entity_id),
                Some(problem) => format!(
                    "{} is configured by its last good metadata; getting it again failed: {problem}.",
                    provider.entity_id
                ),
            };
            Verdict::yes(reason::CONFIGURED, message)
        }
        Metadata::Unreachable(error) => Verdict::no(
            reason::METADATA_UNREACHABLE,
            format!("The metadata can't be fetched: {error}."),
        ),
        Metadata::Invalid(MetadataError::NoSigningCertificate) => Verdict::no(
            reason::NO_SIGNING_CERTIFICATE,
            format!("{}.", capitalized(&MetadataError::NoSigningCertificate)),
        ),
        Metadata::Invalid(error) => {
            Verdict::no(reason::METADATA_INVALID, format!("{}.", capitalized(error)))
        }
        Metadata::Unresolved => Verdict { truth: Truth::False, ..facts.resolved.clone() },
        Metadata::Conflict(older) => Verdict::no(
            reason::CONNECTION_CONFLICT,
            format!("{older} has these domains already: give each connection domains of its own."),
        ),
        Metadata::Suspended => Verdict::no(
            reason::SUSPENDED,
            "Suspended before its metadata was read: it is not fetched now.",
        ),
        Metadata::Refused => Verdict { truth: Truth::False, ..facts.accepted.clone() },
    }
}

fn capitalized(error: &MetadataError) -> String {
    let text = error.to_string();
    text[..1].to_uppercase() + &text[1..] // the messages begin with an ASCII letter
}

/// While the certificate that lives longest has less than 30 days.
fn expiring(metadata: &Metadata, now: Timestamp) -> Option<Verdict> {
    let Metadata::Good { provider, .. } = metadata else { return None };
    let last = provider.certificates.last()?;
    (last.not_after - EXPIRING <= now).then(|| {
        Verdict::yes(
            reason::CERTIFICATE_EXPIRING,
            format!(
                "The identity provider's last signing certificate expires at {}: have it publish \
                 a new one before.",
                last.not_after
            ),
        )
    })
}

fn decide(
    connection: &SsoConnection,
    facts: &Facts,
    now: Timestamp,
) -> (SsoConnectionStatus, Duration) {
    let resolved = resolved(facts);
    let domains = domains_verified(&facts.domains);
    let configured = configured(facts, now);
    let suspended = connection.spec.suspend == Some(true);
    let ready = if suspended {
        Verdict::no(reason::SUSPENDED, "Suspended: nobody signs in by this connection.")
    } else {
        all_of(&[&facts.accepted, &resolved, &configured, &domains], configured.message.clone())
    };
    let waiting = match () {
        () if suspended || ready.is_yes() => Waiting::No,
        () if !facts.accepted.is_yes() || matches!(facts.metadata, Metadata::Conflict(_)) => {
            Waiting::Edit
        }
        () if connection.spec.saml.metadata_url.is_none() && !configured.is_yes() => Waiting::Edit,
        () => Waiting::Outside,
    };
    let provider = match &facts.metadata {
        Metadata::Good { provider, .. } => Some(IdentityProviderStatus {
            entity_id: provider.entity_id.clone(),
            sign_on_url: provider.sign_on_url.clone(),
            certificates: provider
                .certificates
                .iter()
                .rev()
                .map(|certificate| CertificateStatus {
                    sha256: certificate.sha256.clone(),
                    not_after: whole_seconds(certificate.not_after),
                })
                .collect(),
        }),
        _ => None,
    };
    let old = connection.status.as_ref().map_or(&[][..], |s| &s.conditions);
    let at = whole_seconds(now);
    let mut conditions = Conditions::new(old, connection.metadata.generation, &at);
    conditions.set(kind::ACCEPTED, &facts.accepted);
    conditions.set(kind::RESOLVED_REFS, &resolved);
    conditions.set(kind::DOMAINS_VERIFIED, &domains);
    conditions.set(kind::CONFIGURED, &configured);
    if let Some(expiring) = expiring(&facts.metadata, now) {
        conditions.set(kind::CERTIFICATE_EXPIRING, &expiring);
    }
    let new = SsoConnectionStatus {
        observed_generation: connection.metadata.generation,
        protocol: Some("SAML".into()),
        identity_provider: provider,
        conditions: conditions.ready(&ready, waiting),
    };
    let failing = find(&new.conditions, kind::CONFIGURED).map(|c| c.last_transition_time.0);
    let next = next_pass(&facts.metadata, failing.unwrap_or(now), now);
    (new, next)
}

/// What fails is tried again after as long as it has failed.
fn next_pass(metadata: &Metadata, since: Timestamp, now: Timestamp) -> Duration {
    match metadata {
        Metadata::Unreachable(_) | Metadata::Invalid(_) => until(now, since).clamp(RETRY, RESYNC),
        Metadata::Good { refresh_at: Some(at), .. } => until(*at, now).clamp(RETRY, RESYNC),
        _ => RESYNC,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{LocalRef, SamlSpec, SsoConnectionSpec, conditions::reason_of},
        fetch::FetchError,
        saml::metadata::{Binding, IdentityProvider, SigningCertificate},
    };
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    const DAY: i64 = 24 * 3600;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn connection(name: &str, created: i64, domains: Option<&[&str]>) -> SsoConnection {
        let refs = |names: &[&str]| names.iter().map(|&n| LocalRef { name: n.into() }).collect();
        let spec = SsoConnectionSpec {
            suspend: None,
            domains: domains.map(refs),
            saml: SamlSpec::default(),
        };
        let mut connection = SsoConnection::new(name, spec);
        connection.metadata.creation_timestamp = Some(Time(at(created)));
        connection
    }

    fn good(expires: &[i64]) -> Metadata {
        let certificates = expires
            .iter()
            .map(|&e| SigningCertificate { der: vec![], sha256: e.to_string(), not_after: at(e) })
            .collect();
        let provider = IdentityProvider {
            entity_id: "https://idp.example".into(),
            sign_on_url: "https://idp.example/sso".into(),
            sign_on_binding: Binding::HttpRedirect,
            certificates,
            valid_until: None,
            refresh_after: None,
        };
        Metadata::Good { provider, refresh_at: Some(at(3600)), problem: None }
    }

    fn facts(metadata: Metadata) -> Facts {
        Facts {
            accepted: Verdict::yes(reason::ACCEPTED, ""),
            resolved: Verdict::yes(reason::RESOLVED_REFS, ""),
            domains: Domains { named: 1, ..Domains::default() },
            metadata,
        }
    }

    fn reasons(facts: &Facts) -> (String, String) {
        let (status, _) = decide(&connection("okta", 0, None), facts, at(0));
        let reason = |kind| reason_of(&status.conditions, kind).to_owned();
        (reason(kind::CONFIGURED), reason(kind::READY))
    }

    #[test]
    fn each_state_of_the_metadata_has_its_reason() {
        for (metadata, configured) in [
            (good(&[99 * DAY]), reason::CONFIGURED),
            (good(&[-1]), reason::CERTIFICATES_EXPIRED),
            (good(&[-1, 99 * DAY]), reason::CONFIGURED),
            (Metadata::Unreachable(FetchError::Timeout), reason::METADATA_UNREACHABLE),
            (Metadata::Invalid(MetadataError::Html), reason::METADATA_INVALID),
            (
                Metadata::Invalid(MetadataError::NoSigningCertificate),
                reason::NO_SIGNING_CERTIFICATE,
            ),
            (Metadata::Conflict("entra".into()), reason::CONNECTION_CONFLICT),
        ] {
            assert_eq!(reasons(&facts(metadata)).0, configured);
        }
    }

    #[test]
    fn a_connection_is_ready_with_metadata_and_one_verified_domain() {
        let ready = |domains| reasons(&Facts { domains, ..facts(good(&[99 * DAY])) }).1;
        let two = |unverified: &[&str]| Domains {
            named: 2,
            unverified: unverified.iter().map(|&d| d.to_owned()).collect(),
            missing: vec![],
        };
        assert_eq!(ready(two(&[])), reason::READY);
        assert_eq!(ready(two(&["a"])), reason::READY);
        assert_eq!(ready(two(&["a", "b"])), reason::NONE_VERIFIED);
        assert_eq!(ready(Domains::default()), reason::NONE_VERIFIED);
        let missing = Domains { missing: vec!["a".into()], ..two(&[]) };
        assert_eq!(ready(missing), reason::DOMAIN_NOT_FOUND);
    }

    #[test]
    fn a_secret_that_is_missing_or_of_another_type_is_named() {
        for because in [reason::SECRET_NOT_FOUND, reason::SECRET_TYPE_NOT_ALLOWED] {
            let resolved = Verdict::no(because, "");
            let facts = Facts { resolved, ..facts(Metadata::Unresolved) };
            assert_eq!(reasons(&facts), (because.to_owned(), because.to_owned()));
        }
    }

    #[test]
    fn a_failed_refresh_keeps_the_last_good_metadata_and_says_so() {
        let Metadata::Good { provider, .. } = good(&[99 * DAY]) else { unreachable!() };
        let problem = Some(FetchError::Timeout.to_string());
        let facts = facts(Metadata::Good { provider, refresh_at: Some(at(300)), problem });
        let (status, next) = decide(&connection("okta", 0, None), &facts, at(0));
        let configured = find(&status.conditions, kind::CONFIGURED).unwrap();
        assert_eq!(configured.status, "True");
        assert!(configured.message.contains("last good"), "{}", configured.message);
        assert_eq!(next, Duration::from_secs(300));
    }

    #[test]
    fn expiry_is_told_thirty_days_ahead() {
        let told = |expires| {
            let (status, _) =
                decide(&connection("okta", 0, None), &facts(good(&[1, expires])), at(0));
            find(&status.conditions, kind::CERTIFICATE_EXPIRING).is_some()
        };
        assert!(told(30 * DAY));
        assert!(!told(30 * DAY + 1));
    }

    #[test]
    fn the_older_of_two_connections_with_a_common_domain_has_it() {
        let older = |domains: Option<&[&str]>, other: Option<&[&str]>| {
            let all = [Arc::new(connection("a", 1, other)), Arc::new(connection("b", 2, domains))];
            assert_eq!(older_rival(&all[0], &all), None);
            older_rival(&all[1], &all)
        };
        assert_eq!(older(None, None).as_deref(), Some("a"));
        assert_eq!(older(Some(&["x"]), Some(&["x", "y"])).as_deref(), Some("a"));
        assert_eq!(older(Some(&["x"]), None).as_deref(), Some("a"));
        assert_eq!(older(Some(&["x"]), Some(&["y"])), None);
        assert_eq!(older(None, Some(&[])), None);
    }

    #[test]
    fn deciding_twice_changes_nothing() {
        for metadata in [good(&[10 * DAY]), Metadata::Unreachable(FetchError::Tls)] {
            let facts = facts(metadata);
            let mut connection = connection("okta", 0, None);
            let (first, _) = decide(&connection, &facts, at(0));
            connection.status = Some(first.clone());
            assert_eq!(decide(&connection, &facts, at(9)).0, first);
        }
    }

    #[test]
    fn a_suspended_connection_says_so() {
        let mut connection = connection("okta", 0, None);
        connection.spec.suspend = Some(true);
        let (status, _) = decide(&connection, &facts(good(&[99 * DAY])), at(0));
        assert_eq!(reason_of(&status.conditions, kind::READY), reason::SUSPENDED);
    }
}
