//! What is said of an SsoConnection, and whether people may sign in by it: decided from what one
//! pass found.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::{
    RESYNC,
    connection_refs::Domains,
    idp_metadata::{Invalid, Metadata},
    namespace, until,
};
use crate::{
    api::{
        CertificateStatus, IdentityProviderStatus, ServiceProviderStatus, SsoConnection,
        SsoConnectionStatus,
        conditions::{
            Conditions, Truth, Verdict, Waiting, all_of, find, kind, reason, whole_seconds,
        },
    },
    saml::metadata::MetadataError,
};

/// When metadata is looked for again where there is none, and the soonest that it is at all.
const RETRY: Duration = Duration::from_secs(30);
/// How long before its end a certificate is said to expire.
const EXPIRING: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What one pass found.
pub struct Facts {
    pub accepted: Verdict,
    /// Whether the Secret of its metadata, or of its client, is there.
    pub secret: Verdict,
    /// Whether its directory is.
    pub directory: Verdict,
    pub domains: Domains,
    pub metadata: Metadata,
    /// What to enter at the identity provider; `None` where the namespace is no organization.
    pub service_provider: Option<ServiceProviderStatus>,
    /// The day of the last sign-in.
    pub last_sign_in: Option<Timestamp>,
}

impl Facts {
    pub fn refused(accepted: Verdict) -> Self {
        Self {
            accepted,
            secret: Verdict::yes(reason::RESOLVED_REFS, ""),
            directory: Verdict::yes(reason::RESOLVED_REFS, ""),
            domains: Domains::default(),
            metadata: Metadata::Refused,
            service_provider: None,
            last_sign_in: None,
        }
    }
}

/// Whether all that it refers to is there: of several that aren't, the first.
fn resolved(facts: &Facts) -> Verdict {
    if let Some(missing) = [&facts.secret, &facts.directory].into_iter().find(|v| !v.is_yes()) {
        return missing.clone();
    }
    if !facts.domains.missing.is_empty() {
        let message = format!(
            "There is no VerifiedDomain {} in this namespace: make it, or correct the name.",
            facts.domains.missing.join(", ")
        );
        return Verdict::no(reason::DOMAIN_NOT_FOUND, message);
    }
    Verdict::yes(reason::RESOLVED_REFS, "")
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

fn configured(facts: &Facts, is_oidc: bool, now: Timestamp) -> Verdict {
    match &facts.metadata {
        Metadata::Good { provider, problem, .. } => {
            let last = provider.certificates.as_ref().map(|certificates| certificates.last());
            if last.is_some_and(|last| last.is_none_or(|last| last.not_after <= now)) {
                return Verdict::no(
                    reason::CERTIFICATES_EXPIRED,
                    "All of the identity provider's signing certificates have expired: renew them there.",
                );
            }
            let message = match problem {
                None => format!("{} is configured.", provider.issuer),
                Some(problem) => format!(
                    "{} is configured by its last good metadata; getting it again failed: {problem}.",
                    provider.issuer
                ),
            };
            Verdict::yes(reason::CONFIGURED, message)
        }
        Metadata::Unreachable(error) if is_oidc => Verdict::no(
            reason::DISCOVERY_FAILED,
            format!("The issuer's discovery document can't be fetched: {error}."),
        ),
        Metadata::Unreachable(error) => Verdict::no(
            reason::METADATA_UNREACHABLE,
            format!("The metadata can't be fetched: {error}."),
        ),
        Metadata::Invalid(error) => {
            let because = match error {
                Invalid::Oidc(_) => reason::DISCOVERY_FAILED,
                Invalid::Saml(MetadataError::NoSigningCertificate) => {
                    reason::NO_SIGNING_CERTIFICATE
                }
                Invalid::Saml(_) => reason::METADATA_INVALID,
            };
            Verdict::no(because, format!("{}.", capitalized(error)))
        }
        Metadata::Unresolved => Verdict { truth: Truth::False, ..facts.secret.clone() },
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

fn capitalized(error: &Invalid) -> String {
    let text = error.to_string();
    text[..1].to_uppercase() + &text[1..] // the messages begin with an ASCII letter
}

/// While the certificate that lives longest has less than 30 days.
fn expiring(metadata: &Metadata, now: Timestamp) -> Option<Verdict> {
    let Metadata::Good { provider, .. } = metadata else { return None };
    let last = provider.certificates.as_ref()?.last()?;
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

/// What comes of a pass.
pub struct Decision {
    pub status: SsoConnectionStatus,
    /// Whether the connection is published: people may sign in by it, and who has is let be. Only
    /// those of verified domains can, and by OIDC only with a client secret, which isn't asked
    /// here: without them some or all can't sign in, and nobody else loses anything.
    pub open: bool,
    /// When to look again.
    pub next: Duration,
}

pub fn decide(connection: &SsoConnection, facts: &Facts, now: Timestamp) -> Decision {
    let is_oidc = connection.spec.oidc.is_some();
    let resolved = resolved(facts);
    let domains = domains_verified(&facts.domains);
    let configured = configured(facts, is_oidc, now);
    let suspended = connection.spec.suspend == Some(true);
    let open =
        !suspended && [&facts.accepted, &facts.directory, &configured].iter().all(|v| v.is_yes());
    let ready = if suspended {
        Verdict::no(reason::SUSPENDED, "Suspended: nobody signs in by this connection.")
    } else {
        all_of(&[&facts.accepted, &resolved, &configured, &domains], configured.message.clone())
    };
    let by_hand = connection.spec.saml.as_ref().is_some_and(|saml| saml.metadata_url.is_none());
    let waiting = match () {
        () if suspended || ready.is_yes() => Waiting::No,
        () if !facts.accepted.is_yes()
            || matches!(facts.metadata, Metadata::Conflict(_))
            || resolved.reason == reason::DIRECTORY_AMBIGUOUS
            || (by_hand && !configured.is_yes()) =>
        {
            Waiting::Edit
        }
        () => Waiting::Outside,
    };
    let provider = match &facts.metadata {
        Metadata::Good { provider, .. } => Some(IdentityProviderStatus {
            entity_id: provider.issuer.clone(),
            sign_on_url: provider.sign_on_url.clone(),
            certificates: provider
                .certificates
                .iter()
                .flatten()
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
    let status = SsoConnectionStatus {
        observed_generation: connection.metadata.generation,
        protocol: Some(if is_oidc { "OIDC" } else { "SAML" }.into()),
        service_provider: facts.service_provider.clone(),
        last_sign_in_day: facts.last_sign_in.map(|day| day.strftime("%F").to_string()),
        identity_provider: provider,
        conditions: conditions.ready(&ready, waiting),
    };
    let next = next_pass(&facts.metadata, &status, now);
    Decision { status, open, next }
}

/// What fails is tried again after as long as it has failed; nobody tells us of Secrets either.
fn next_pass(metadata: &Metadata, status: &SsoConnectionStatus, now: Timestamp) -> Duration {
    let failing = |kind| {
        let condition = find(&status.conditions, kind).filter(|c| c.status != "True");
        condition.map_or(RESYNC, |c| until(now, c.last_transition_time.0))
    };
    let after = match metadata {
        Metadata::Unreachable(_) | Metadata::Invalid(_) => failing(kind::CONFIGURED),
        Metadata::Good { refresh_at: Some(at), .. } => until(*at, now),
        _ => RESYNC,
    };
    after.min(failing(kind::RESOLVED_REFS)).clamp(RETRY, RESYNC)
}

/// What to enter at the identity provider of this connection.
pub fn service_provider(connection: &SsoConnection, public_url: &str) -> ServiceProviderStatus {
    let base = format!("{public_url}/sso/{}/{}", namespace(connection), connection.name_any());
    if connection.spec.oidc.is_some() {
        let redirect_url = Some(format!("{base}/oidc/callback"));
        return ServiceProviderStatus { redirect_url, ..ServiceProviderStatus::default() };
    }
    let metadata = format!("{base}/saml/metadata");
    ServiceProviderStatus {
        entity_id: Some(metadata.clone()),
        acs_url: Some(format!("{base}/saml/acs")),
        metadata_url: Some(metadata),
        redirect_url: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::conditions::reason_of, controllers::idp_metadata::Provider, fetch::FetchError,
        oidc::discovery::DiscoveryError,
    };
    use serde_json::json;

    const DAY: i64 = 24 * 3600;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn connection(spec: serde_json::Value) -> SsoConnection {
        let mut connection = SsoConnection::new("okta", serde_json::from_value(spec).unwrap());
        connection.metadata.namespace = Some("acme".into());
        connection
    }

    fn saml() -> SsoConnection {
        connection(json!({ "saml": { "metadataURL": "https://idp.example/metadata" } }))
    }

    fn oidc() -> SsoConnection {
        let secret = json!({ "name": "okta" });
        let issuer = "https://idp.example";
        let oidc = json!({ "issuer": issuer, "clientID": "a", "clientSecretRef": secret });
        connection(json!({ "oidc": oidc }))
    }

    fn metadata(provider: Provider) -> Metadata {
        Metadata::Good { provider, refresh_at: Some(at(3600)), problem: None }
    }

    fn good(expires: &[i64]) -> Metadata {
        let ends: Vec<_> = expires.iter().map(|&second| at(second)).collect();
        metadata(Provider::fake(Some(&ends)))
    }

    fn facts(metadata: Metadata) -> Facts {
        Facts {
            accepted: Verdict::yes(reason::ACCEPTED, ""),
            secret: Verdict::yes(reason::RESOLVED_REFS, ""),
            directory: Verdict::yes(reason::RESOLVED_REFS, ""),
            domains: Domains { named: 1, ..Domains::default() },
            metadata,
            service_provider: Some(service_provider(&saml(), "https://rollcall.example")),
            last_sign_in: Some(at(86_400)),
        }
    }

    fn reasons_of(connection: &SsoConnection, facts: &Facts) -> (String, String) {
        let status = decide(connection, facts, at(0)).status;
        let reason = |kind| reason_of(&status.conditions, kind).to_owned();
        (reason(kind::CONFIGURED), reason(kind::READY))
    }

    fn reasons(facts: &Facts) -> (String, String) {
        reasons_of(&saml(), facts)
    }

    #[test]
    fn each_state_of_the_metadata_has_its_reason_and_only_good_one_opens_the_connection() {
        for (metadata, configured) in [
            (good(&[99 * DAY]), reason::CONFIGURED),
            (good(&[-1]), reason::CERTIFICATES_EXPIRED),
            (good(&[]), reason::CERTIFICATES_EXPIRED),
            (good(&[-1, 99 * DAY]), reason::CONFIGURED),
            (Metadata::Unreachable(FetchError::Timeout), reason::METADATA_UNREACHABLE),
            (Metadata::Invalid(MetadataError::Html.into()), reason::METADATA_INVALID),
            (
                Metadata::Invalid(MetadataError::NoSigningCertificate.into()),
                reason::NO_SIGNING_CERTIFICATE,
            ),
            (Metadata::Conflict("entra".into()), reason::CONNECTION_CONFLICT),
            (Metadata::Suspended, reason::SUSPENDED),
        ] {
            let facts = facts(metadata);
            assert_eq!(reasons(&facts).0, configured);
            let open = decide(&saml(), &facts, at(0)).open;
            assert_eq!(open, configured == reason::CONFIGURED, "{configured}");
        }
    }

    #[test]
    fn a_provider_without_certificates_is_configured_by_its_discovery_document() {
        let good = facts(metadata(Provider::fake(None)));
        let decided = decide(&oidc(), &good, at(0));
        assert_eq!(reason_of(&decided.status.conditions, kind::READY), reason::READY);
        assert!(decided.open);
        assert_eq!(decided.status.protocol.as_deref(), Some("OIDC"));
        for metadata in [
            Metadata::Unreachable(FetchError::Timeout),
            Metadata::Invalid(DiscoveryError::WrongIssuer.into()),
        ] {
            let facts = facts(metadata);
            assert_eq!(reasons_of(&oidc(), &facts).0, reason::DISCOVERY_FAILED);
            assert!(!decide(&oidc(), &facts, at(0)).open);
        }
    }

    #[test]
    fn the_addresses_to_enter_at_the_identity_provider_are_told() {
        let url = "https://rollcall.example";
        let told = service_provider(&saml(), url);
        let base = "https://rollcall.example/sso/acme/okta";
        assert_eq!(told.entity_id, Some(format!("{base}/saml/metadata")));
        assert_eq!(told.metadata_url, told.entity_id);
        assert_eq!(told.acs_url, Some(format!("{base}/saml/acs")));
        assert_eq!(told.redirect_url, None);
        let told = service_provider(&oidc(), url);
        assert_eq!(told.redirect_url, Some(format!("{base}/oidc/callback")));
        assert_eq!((told.entity_id, told.acs_url, told.metadata_url), (None, None, None));
    }

    #[test]
    fn the_last_sign_in_is_told_to_the_day() {
        let status = decide(&saml(), &facts(good(&[99 * DAY])), at(0)).status;
        assert_eq!(status.last_sign_in_day.as_deref(), Some("1970-01-02"));
    }

    #[test]
    fn a_connection_is_ready_with_metadata_and_one_verified_domain() {
        let said = |domains| {
            let facts = Facts { domains, ..facts(good(&[99 * DAY])) };
            let conditions = decide(&saml(), &facts, at(0)).status.conditions;
            [kind::DOMAINS_VERIFIED, kind::READY]
                .map(|kind| reason_of(&conditions, kind).to_owned())
        };
        let two = |unverified: &[&str]| Domains {
            named: 2,
            unverified: unverified.iter().map(|&d| d.to_owned()).collect(),
            ..Domains::default()
        };
        assert_eq!(said(two(&[])), [reason::ALL_VERIFIED, reason::READY]);
        assert_eq!(said(two(&["a"])), [reason::SOME_VERIFIED, reason::READY]);
        let none = [reason::NONE_VERIFIED; 2];
        assert_eq!(said(two(&["a", "b"])), none);
        assert_eq!(said(Domains::default()), none);
        let missing = Domains { missing: vec!["a".into()], ..two(&[]) };
        assert_eq!(said(missing), [reason::ALL_VERIFIED, reason::DOMAIN_NOT_FOUND]);
    }

    #[test]
    fn what_a_connection_refers_to_and_is_missing_is_told() {
        let good = || facts(good(&[99 * DAY]));
        let missing = |because| Verdict::no(because, "");
        for because in [reason::DIRECTORY_NOT_FOUND, reason::DIRECTORY_AMBIGUOUS] {
            let facts = Facts { directory: missing(because), ..good() };
            assert_eq!(reasons(&facts), (reason::CONFIGURED.into(), because.to_owned()));
            let decided = decide(&saml(), &facts, at(0));
            assert!(!decided.open, "people are looked up nowhere");
            assert_eq!(decided.next, RETRY);
        }
        for because in [reason::SECRET_NOT_FOUND, reason::SECRET_TYPE_NOT_ALLOWED] {
            for connection in [saml(), oidc()] {
                let facts = Facts { secret: missing(because), ..good() };
                let told = (reason::CONFIGURED.to_owned(), because.to_owned());
                assert_eq!(reasons_of(&connection, &facts), told);
                let decided = decide(&connection, &facts, at(0));
                assert!(decided.open, "with the last good metadata nobody loses access");
                assert_eq!(decided.next, RETRY);
            }
        }
        let secret = missing(reason::SECRET_NOT_FOUND);
        let facts = Facts { secret, ..facts(Metadata::Unresolved) };
        let told = reason::SECRET_NOT_FOUND.to_owned();
        assert_eq!(reasons(&facts), (told.clone(), told));
        assert!(!decide(&saml(), &facts, at(0)).open);
    }

    #[test]
    fn a_domain_that_is_gone_closes_the_connection_to_nobody_else() {
        let domains = Domains { named: 1, missing: vec!["a".into()], ..Domains::default() };
        let facts = Facts { domains, ..facts(good(&[99 * DAY])) };
        assert_eq!(reasons(&facts).1, reason::DOMAIN_NOT_FOUND);
        assert!(decide(&saml(), &facts, at(0)).open);
    }

    #[test]
    fn a_connection_is_open_whatever_becomes_of_its_domains() {
        let domains = Domains { unverified: vec!["a".into()], named: 1, ..Domains::default() };
        let none_verified = Facts { domains, ..facts(good(&[99 * DAY])) };
        assert!(decide(&saml(), &none_verified, at(0)).open);
        let refused = Facts::refused(Verdict::no(reason::CLASS_NOT_FOUND, ""));
        let decided = decide(&saml(), &refused, at(0));
        assert!(!decided.open);
        assert_eq!(decided.status.service_provider, None);
    }

    #[test]
    fn a_failed_refresh_keeps_the_last_good_metadata_and_says_so() {
        let Metadata::Good { provider, .. } = good(&[99 * DAY]) else { unreachable!() };
        let problem = Some(FetchError::Timeout.to_string());
        let facts = facts(Metadata::Good { provider, refresh_at: Some(at(300)), problem });
        let Decision { status, open, next } = decide(&saml(), &facts, at(0));
        assert!(open, "the identity provider's hiccup takes nobody's access");
        let configured = find(&status.conditions, kind::CONFIGURED).unwrap();
        assert_eq!(configured.status, "True");
        assert!(configured.message.contains("last good"), "{}", configured.message);
        assert_eq!(next, Duration::from_secs(300));
    }

    #[test]
    fn expiry_is_told_thirty_days_ahead() {
        let told = |expires| {
            let status = decide(&saml(), &facts(good(&[1, expires])), at(0)).status;
            find(&status.conditions, kind::CERTIFICATE_EXPIRING).is_some()
        };
        assert!(told(30 * DAY));
        assert!(!told(30 * DAY + 1));
    }

    #[test]
    fn deciding_twice_changes_nothing() {
        for mut connection in [saml(), oidc()] {
            for metadata in [
                good(&[10 * DAY]),
                metadata(Provider::fake(None)),
                Metadata::Unreachable(FetchError::Tls),
            ] {
                let facts = facts(metadata);
                let first = decide(&connection, &facts, at(0)).status;
                connection.status = Some(first.clone());
                assert_eq!(decide(&connection, &facts, at(9)).status, first);
                connection.status = None;
            }
        }
    }

    #[test]
    fn a_suspended_connection_says_so_and_lets_nobody_in() {
        let mut connection = saml();
        connection.spec.suspend = Some(true);
        let decided = decide(&connection, &facts(good(&[99 * DAY])), at(0));
        assert_eq!(reason_of(&decided.status.conditions, kind::READY), reason::SUSPENDED);
        assert!(!decided.open);
    }
}
