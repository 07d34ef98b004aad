//! What users may rely on of SsoConnection. One test: they share the company's identity provider.

use std::time::{Duration, SystemTime};

use anyhow::ensure;
use rollcall_kit::saml_idp::{Behaviour, new_certificate};

use crate::world::World;

const NAMESPACE: &str = "logins";
const OBJECT: &str = "sso/company";

async fn connect(world: &World, name: &str, saml: &str) -> anyhow::Result<()> {
    let spec = format!("{{admit: JustInTime, saml: {saml}}}");
    world.make_one("SsoConnection", NAMESPACE, name, &spec).await
}

#[tokio::test]
async fn bad_metadata_is_named_and_good_metadata_survives_it() -> anyhow::Result<()> {
    let world = World::shared().await?;
    world.organization(NAMESPACE).await?;
    let idp = &world.stage.idp;
    let by_url = format!("{{metadataURL: \"{}\"}}", idp.metadata_url());
    let inner = "https://169.254.169.254/metadata".to_owned();
    let deep = format!("{}{}", "<a>".repeat(10_000), "</a>".repeat(10_000)).into_bytes();
    idp.set(Behaviour::Status(500));
    connect(world, "company", &by_url).await?;
    for (behaviour, reason, says) in [
        (Behaviour::Status(500), "MetadataUnreachable", "500"),
        (Behaviour::Body(b"<html><body>Sign in</body></html>".into()), "MetadataInvalid", "HTML"),
        (Behaviour::Body(b"{}".into()), "MetadataInvalid", "JSON"),
        (Behaviour::Body(b"<xml".into()), "MetadataInvalid", "XML"),
        (Behaviour::Body(deep), "MetadataInvalid", "nested"),
        (Behaviour::Huge(100 << 20), "MetadataUnreachable", "larger than"),
        (Behaviour::RedirectTo(inner), "MetadataUnreachable", "address"),
        (Behaviour::Endless, "MetadataUnreachable", ""),
        (Behaviour::Silent, "MetadataUnreachable", "too long"),
    ] {
        let what = format!("{behaviour:?}");
        idp.set(behaviour);
        world.nudge(NAMESPACE, OBJECT).await?;
        rollcall_kit::wait::until(&what, crate::world::PATIENCE, async || {
            let (now, message) = world.condition(NAMESPACE, OBJECT, "Configured").await?;
            ensure!(now == reason && message.contains(says), "{now}: {message}");
            Ok(Some(()))
        })
        .await?;
    }

    idp.set(Behaviour::Normal);
    world.nudge(NAMESPACE, OBJECT).await?;
    world.reason(NAMESPACE, OBJECT, "Configured", "Configured").await?;
    world.reason(NAMESPACE, OBJECT, "DomainsVerified", "NoneVerified").await?;
    let entity = idp.entity_id();
    world.field(NAMESPACE, OBJECT, "{.status.identityProvider.entityID}", &entity).await?;

    // the last good one stays, and the message says so
    idp.set(Behaviour::Status(503));
    world.nudge(NAMESPACE, OBJECT).await?;
    rollcall_kit::wait::until(
        "the failed refresh to be told",
        crate::world::PATIENCE,
        async || {
            let (reason, message) = world.condition(NAMESPACE, OBJECT, "Configured").await?;
            ensure!(reason == "Configured" && message.contains("503"), "{reason}: {message}");
            Ok(Some(()))
        },
    )
    .await?;

    // a certificate that expires soon, then a rollover, with no edit
    idp.set_certificates(vec![new_certificate(in_days(10))?]);
    idp.set(Behaviour::Normal);
    world.nudge(NAMESPACE, OBJECT).await?;
    world.reason(NAMESPACE, OBJECT, "CertificateExpiring", "CertificateExpiring").await?;
    idp.set_certificates(vec![new_certificate(in_days(10))?, new_certificate(in_days(400))?]);
    world.nudge(NAMESPACE, OBJECT).await?;
    let no_condition = "{.status.conditions[?(@.type==\"CertificateExpiring\")].reason}";
    world.field(NAMESPACE, OBJECT, no_condition, "").await?;
    idp.set_certificates(vec![new_certificate(SystemTime::now() - Duration::from_secs(86_400))?]);
    world.nudge(NAMESPACE, OBJECT).await?;
    world.reason(NAMESPACE, OBJECT, "Configured", "CertificatesExpired").await?;
    idp.set_certificates(vec![]);
    let metadata = idp.metadata();
    idp.set_certificates(vec![new_certificate(in_days(400))?]);

    // given by hand, from a Secret of the right type only
    world.make_secret("plain", "Opaque", &idp.metadata()).await?;
    world.make_secret("right", "rollcall.dev/saml-metadata", &idp.metadata()).await?;
    world.make_secret("keyless", "rollcall.dev/saml-metadata", &metadata).await?;
    for (secret, condition, reason) in [
        ("missing", "ResolvedRefs", "SecretNotFound"),
        ("plain", "ResolvedRefs", "SecretTypeNotAllowed"),
        ("keyless", "Configured", "NoSigningCertificate"),
        ("right", "Configured", "Configured"),
    ] {
        let by_secret = format!("{{metadata: {{secretRef: {{name: {secret}}}}}}}");
        connect(world, "company", &by_secret).await?;
        world.reason(NAMESPACE, OBJECT, condition, reason).await?;
    }

    // a domain named but missing; then a younger connection for the same domains
    let named = format!("{{domains: [{{name: nowhere}}], saml: {by_url}}}");
    world.field(NAMESPACE, OBJECT, "{.status.protocol}", "SAML").await?;
    for (field, end) in [("entityID", "metadata"), ("metadataURL", "metadata"), ("acsURL", "acs")] {
        let path = format!("{{.status.serviceProvider.{field}}}");
        let url = world.get(NAMESPACE, OBJECT, &path).await?;
        let path = format!("/sso/{NAMESPACE}/company/saml/{end}");
        ensure!(url.starts_with("https://") && url.ends_with(&path), "{field}: {url}");
    }
    world.make_one("SsoConnection", NAMESPACE, "named", &named).await?;
    world.reason(NAMESPACE, "sso/named", "Configured", "ConnectionConflict").await?;
    world.kubectl(&format!("delete {OBJECT} -n {NAMESPACE}")).await?;
    world.reason(NAMESPACE, "sso/named", "Configured", "Configured").await?;
    // its directory, then its domain: it is ready as soon as all is there, and the domain verified
    world.reason(NAMESPACE, "sso/named", "ResolvedRefs", "DirectoryNotFound").await?;
    let directory = "{source: {scim: {}}}";
    world.make_one("DirectorySync", NAMESPACE, "company", directory).await?;
    world.reason(NAMESPACE, "sso/named", "ResolvedRefs", "DomainNotFound").await?;
    let spec = "{domain: logins.test.example}";
    world.make_one("VerifiedDomain", NAMESPACE, "nowhere", spec).await?;
    world.reason(NAMESPACE, "sso/named", "DomainsVerified", "NoneVerified").await?;
    world.prove(NAMESPACE, "nowhere").await?;
    world.reason(NAMESPACE, "sso/named", "Ready", "Ready").await?;
    world.reason(NAMESPACE, "sso/named", "DomainsVerified", "AllVerified").await?;

    // with a second directory it isn't clear any more where people are looked up
    world.make_one("DirectorySync", NAMESPACE, "other", directory).await?;
    world.reason(NAMESPACE, "sso/named", "ResolvedRefs", "DirectoryAmbiguous").await?;
    world.kubectl(&format!("delete dsync/other -n {NAMESPACE}")).await?;
    world.reason(NAMESPACE, "sso/named", "Ready", "Ready").await?;
    Ok(())
}

#[tokio::test]
async fn an_openid_provider_is_read_with_a_secret_of_the_right_type() -> anyhow::Result<()> {
    const NAMESPACE: &str = "oidc-logins";
    let world = World::shared().await?;
    world.organization(NAMESPACE).await?;
    let oidc = "{issuer: 'https://nowhere.test.example/realms/acme', clientID: rollcall,
                 clientSecretRef: {name: company}}";
    let spec = format!("{{admit: JustInTime, oidc: {oidc}}}");
    world.make_one("SsoConnection", NAMESPACE, "company", &spec).await?;
    world.reason(NAMESPACE, OBJECT, "Configured", "DiscoveryFailed").await?;
    world.reason(NAMESPACE, OBJECT, "ResolvedRefs", "SecretNotFound").await?;
    let redirect = world.get(NAMESPACE, OBJECT, "{.status.serviceProvider.redirectURL}").await?;
    let path = format!("/sso/{NAMESPACE}/company/oidc/callback");
    ensure!(redirect.starts_with("https://") && redirect.ends_with(&path), "{redirect}");
    for (kind, reason) in
        [("Opaque", "SecretTypeNotAllowed"), ("rollcall.dev/oidc-client", "ResolvedRefs")]
    {
        let secret = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "type": kind,
            "metadata": {"name": "company", "namespace": NAMESPACE},
            "stringData": {"clientSecret": "secret"},
        });
        world.kubectl(&format!("delete secret company -n {NAMESPACE} --ignore-not-found")).await?;
        world.apply(&secret.to_string()).await?;
        world.nudge(NAMESPACE, OBJECT).await?;
        world.reason(NAMESPACE, OBJECT, "ResolvedRefs", reason).await?;
    }
    Ok(())
}

fn in_days(days: u64) -> SystemTime {
    SystemTime::now() + Duration::from_secs(days * 86_400)
}

impl World {
    async fn make_secret(&self, name: &str, kind: &str, metadata: &str) -> anyhow::Result<()> {
        let secret = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "type": kind,
            "metadata": {"name": name, "namespace": NAMESPACE},
            "stringData": {"metadata": metadata},
        });
        self.apply(&secret.to_string()).await
    }
}
