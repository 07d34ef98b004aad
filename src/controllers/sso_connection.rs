//! SsoConnection: read the identity provider's metadata, keep the last good one, let people in by
//! the connection while all is well, say what is wrong.

use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use kube::{
    ResourceExt,
    runtime::{controller::Action, reflector::store::Writer},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Context, Kind, Nudge, Result,
    connection_refs::{directory, domains, older_rival},
    connection_status::{Facts, decide, service_provider},
    controller, error_policy,
    idp_metadata::{self, Metadata},
    jittered, namespace, report, secrets,
    tenancy::Organization,
    with_finalizer,
};
use crate::{
    api::{
        self, DirectorySync, SsoConnection, VerifiedDomain,
        conditions::{Verdict, reason},
    },
    keys::{InstallationKey, Unspecified},
    ledger::{Admit, Matching, Protocol, Rules, Topic, client_secret_label},
};

/// How long a sign-in lasts where the spec says nothing, in seconds.
const SESSION_SECONDS: i64 = 12 * 3600;
/// What an OIDC provider is asked for where the spec says nothing, beside `openid`.
const SCOPES: [&str; 2] = ["email", "profile"];

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
            *namespace == own
                && [VerifiedDomain::NAME, SsoConnection::NAME, DirectorySync::NAME].contains(kind)
        }
        Nudge::Ledger { topic, changes } => {
            let mut ours = changes.iter().filter(|c| c.organization.as_ref() == Some(&own));
            match topic {
                Topic::Domain => ours.next().is_some(),
                Topic::Connection => ours.any(|change| change.name == connection.name_any()),
                // people come and go; directories nudge
                Topic::Directory | Topic::People | Topic::Group | Topic::Members => false,
            }
        }
    }
}

async fn reconcile(connection: Arc<SsoConnection>, ctx: Arc<Context>) -> Result<Action> {
    with_finalizer(connection, &ctx, |c| apply(c, &ctx), |c| cleanup(c, &ctx)).await
}

async fn apply(connection: Arc<SsoConnection>, ctx: &Context) -> Result<Action> {
    let now = Timestamp::now();
    let (facts, people) = match ctx.tenancy.organization(&namespace(connection.as_ref())).await? {
        Err(refused) => (Facts::refused(refused), None),
        Ok(organization) => {
            let (facts, found) = observe(&connection, &organization, now, ctx).await?;
            (facts, Some((organization, found)))
        }
    };
    let decided = decide(&connection, &facts, now);
    // published before it is said, and withdrawn before that
    match people {
        Some((organization, found)) if decided.open => {
            let domains = &facts.domains.canonical;
            publish(&connection, &organization, found, domains, ctx).await?;
        }
        _ => withdraw(&connection, ctx).await?,
    }
    ctx.status.write(connection.as_ref(), &decided.status).await?;
    Ok(Action::requeue(jittered(decided.next)))
}

async fn cleanup(connection: Arc<SsoConnection>, ctx: &Context) -> Result<()> {
    let namespace = namespace(connection.as_ref());
    if let Some(organization) = ctx.ledger.organization_named(&namespace).await? {
        ctx.ledger.delete_connection(&organization, &connection.name_any()).await?;
    }
    ctx.nudges.send(Nudge::Object { kind: SsoConnection::NAME, namespace });
    Ok(())
}

/// What of the outside goes into the rules of a connection.
#[derive(Default)]
struct Found {
    directory: Option<Uuid>,
    /// `None` for SAML, and where it can't be had.
    client_secret: Option<Vec<u8>>,
}

async fn observe(
    connection: &SsoConnection,
    organization: &Organization,
    now: Timestamp,
    ctx: &Context,
) -> Result<(Facts, Found)> {
    let fine = || Verdict::yes(reason::RESOLVED_REFS, "");
    let (mut secret, metadata) = match older_rival(connection, &ctx.connections.state()) {
        Some(older) => (fine(), Metadata::Conflict(older)),
        None => idp_metadata::read(connection, organization, now, ctx).await?,
    };
    let mut found = Found::default();
    if let Some(oidc) = &connection.spec.oidc {
        let name = &oidc.client_secret_ref.name;
        match secrets::client_secret(&ctx.client, &organization.name, name).await? {
            Ok(held) => found.client_secret = Some(held),
            Err(unusable) => secret = unusable,
        }
    }
    let directories = ctx.ledger.directories(&organization.id).await?;
    let directory = match directory(connection, directories) {
        Ok(directory) => {
            found.directory = directory;
            fine()
        }
        Err(missing) => missing,
    };
    let facts = Facts {
        accepted: Verdict::yes(reason::ACCEPTED, ""),
        secret,
        directory,
        domains: domains(connection, organization, ctx).await?,
        metadata,
        service_provider: Some(service_provider(connection, &ctx.settings.public_url)),
        last_sign_in: ctx.ledger.last_sign_in(&organization.id, &connection.name_any()).await?,
    };
    Ok((facts, found))
}

/// Let people in by this connection.
async fn publish(
    connection: &SsoConnection,
    organization: &Organization,
    found: Found,
    domains: &[String],
    ctx: &Context,
) -> Result<()> {
    let name = connection.name_any();
    // there is one: without it no pass gets here
    let Some(key) = ctx.installation.key() else { return Ok(()) };
    let client_secret = match &found.client_secret {
        None => vec![],
        Some(secret) => {
            let standing = ctx.ledger.open_connection_of(&organization.id, &name).await?;
            let standing = standing.map(|open| open.rules.protocol);
            let label = client_secret_label(&organization.id, &name);
            sealed(key, &label, secret, standing)?
        }
    };
    let rules = rules(connection, organization, found.directory, client_secret);
    Ok(ctx.ledger.publish_connection(&organization.id, &name, &rules, domains).await?)
}

/// The secret, sealed; where that stands already, as it stands, for no two sealings are alike.
fn sealed(
    key: &InstallationKey,
    label: &str,
    secret: &[u8],
    standing: Option<Protocol>,
) -> Result<Vec<u8>, Unspecified> {
    match standing {
        Some(Protocol::Oidc { client_secret, .. })
            if key.unseal(label, &client_secret).is_some_and(|stands| stands == secret) =>
        {
            Ok(client_secret)
        }
        _ => key.seal(label, secret),
    }
}

fn rules(
    connection: &SsoConnection,
    organization: &Organization,
    directory: Option<Uuid>,
    client_secret: Vec<u8>,
) -> Rules {
    let spec = &connection.spec;
    let protocol = match &spec.oidc {
        None => Protocol::Saml,
        Some(oidc) => Protocol::Oidc {
            client_id: oidc.client_id.clone(),
            client_secret,
            scopes: oidc.scopes.clone().unwrap_or_else(|| SCOPES.map(str::to_owned).into()),
        },
    };
    let attributes = spec.attributes.clone().unwrap_or_default();
    let sign_in = spec.sign_in.clone().unwrap_or_default();
    let matching = spec.directory.as_ref().and_then(|directory| directory.matching);
    Rules {
        class: organization.class.clone(),
        protocol,
        admit: match spec.admit.unwrap_or_default() {
            api::Admit::DirectoryOnly => Admit::DirectoryOnly,
            api::Admit::JustInTime => Admit::JustInTime,
        },
        directory,
        matching: match matching.unwrap_or_default() {
            api::Matching::UserName => Matching::UserName,
            api::Matching::ExternalId => Matching::ExternalId,
            api::Matching::Email => Matching::Email,
        },
        email_attribute: attributes.email,
        name_attribute: attributes.name,
        idp_initiated: sign_in.idp_initiated.unwrap_or(false),
        session_seconds: sign_in
            .session_duration
            .and_then(|duration| api::seconds(&duration))
            .unwrap_or(SESSION_SECONDS),
        private_endpoints: organization.allow_private_endpoints,
    }
}

/// Nobody signs in by this connection for now.
async fn withdraw(connection: &SsoConnection, ctx: &Context) -> Result<()> {
    if let Some(organization) = ctx.ledger.organization_named(&namespace(connection)).await? {
        ctx.ledger.withdraw_connection(&organization, &connection.name_any()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::LENGTH;
    use serde_json::json;

    fn organization() -> Organization {
        Organization {
            id: "o1".into(),
            name: "acme".into(),
            class: "builtin".into(),
            grantable: [].into(),
            claimable: crate::dns::Claimable::default(),
            cluster_scope: false,
            allow_private_endpoints: true,
        }
    }

    fn rules_of(spec: serde_json::Value) -> Rules {
        let connection = SsoConnection::new("okta", serde_json::from_value(spec).unwrap());
        rules(&connection, &organization(), Some(Uuid::nil()), b"sealed".to_vec())
    }

    #[test]
    fn what_the_spec_leaves_out_has_the_defaults_it_tells_of() {
        let defaults = Rules {
            class: "builtin".into(),
            protocol: Protocol::Saml,
            admit: Admit::DirectoryOnly,
            directory: Some(Uuid::nil()),
            matching: Matching::UserName,
            email_attribute: None,
            name_attribute: None,
            idp_initiated: false,
            session_seconds: 43_200,
            private_endpoints: true,
        };
        let saml = json!({ "metadataURL": "https://idp.example/metadata" });
        assert_eq!(rules_of(json!({ "saml": saml })), defaults);
        let all = json!({
            "saml": saml, "admit": "JustInTime", "attributes": { "email": "mail", "name": "cn" },
            "directory": { "name": "okta", "match": "externalId" },
            "signIn": { "idpInitiated": true, "sessionDuration": "1h30m" },
        });
        let changed = Rules {
            admit: Admit::JustInTime,
            matching: Matching::ExternalId,
            email_attribute: Some("mail".into()),
            name_attribute: Some("cn".into()),
            idp_initiated: true,
            session_seconds: 5400,
            ..defaults
        };
        assert_eq!(rules_of(all), changed);
    }

    #[test]
    fn scopes_that_are_left_out_are_not_the_same_as_none() {
        let scopes = |scopes: Option<&[&str]>| {
            let mut oidc = json!({
                "issuer": "https://idp.example", "clientID": "a", "clientSecretRef": { "name": "b" },
            });
            if let Some(scopes) = scopes {
                oidc["scopes"] = json!(scopes);
            }
            match rules_of(json!({ "oidc": oidc })).protocol {
                Protocol::Oidc { client_id, client_secret, scopes } => {
                    assert_eq!((client_id.as_str(), &client_secret[..]), ("a", &b"sealed"[..]));
                    scopes.join(" ")
                }
                Protocol::Saml => panic!("this is OIDC"),
            }
        };
        assert_eq!(scopes(None), "email profile");
        assert_eq!(scopes(Some(&[])), "");
        assert_eq!(scopes(Some(&["groups"])), "groups");
    }

    #[test]
    fn a_secret_that_stands_is_not_sealed_anew() {
        let key = InstallationKey::new(&[1; LENGTH]).unwrap();
        let standing = |client_secret: &[u8]| {
            let client_secret = client_secret.to_vec();
            Some(Protocol::Oidc { client_id: "a".into(), client_secret, scopes: vec![] })
        };
        let first = sealed(&key, "a", b"secret", None).unwrap();
        assert_eq!(key.unseal("a", &first).as_deref(), Some(&b"secret"[..]));
        assert_eq!(sealed(&key, "a", b"secret", standing(&first)).unwrap(), first);
        for (label, secret, protocol) in [
            ("a", &b"other"[..], standing(&first)),
            ("b", b"secret", standing(&first)),
            ("a", b"secret", standing(b"not sealed")),
            ("a", b"secret", Some(Protocol::Saml)),
        ] {
            let anew = sealed(&key, label, secret, protocol).unwrap();
            assert_ne!(anew, first);
            assert_eq!(key.unseal(label, &anew).as_deref(), Some(secret));
        }
    }
}
