//! The SAML service provider's addresses, one set for each connection: its metadata, and where the
//! company IdP's responses arrive (saml-profiles-2.0-os, section 4.1).

mod idps;

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use axum::{
    Form, Router,
    extract::{Path, State, rejection::FormRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use axum_extra::extract::CookieJar;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::idps::Idp;
pub(super) use self::idps::Idps;
use super::{
    Gateway,
    keys::{Keyring, Private, Unavailable},
    problem::{Advice, Problem},
    secret::Secret,
    sign_in::{self, Departure},
};
use crate::{
    email::Email,
    ledger::{Asserted, Hash, OpenConnection, Protocol, Purpose, Route},
    saml::{
        self, Assertion, DecryptionKey, Expected, ServiceProvider,
        request::{self, AuthnRequest, Sent},
        service_provider::Metadata,
    },
};

/// Names of attributes that the audit log keeps of an assertion, and characters of each.
const MAX_NAMES: usize = 20;
const MAX_SHOWN: usize = 100;

pub(super) fn routes() -> Router<Gateway> {
    Router::new()
        .route("/sso/{organization}/{connection}/saml/metadata", get(our_metadata))
        .route("/sso/{organization}/{connection}/saml/acs", post(consume))
}

/// The keys that may open an assertion for this organization.
async fn decryption_keys(
    gateway: &Gateway,
    organization: &str,
    now: Timestamp,
) -> Result<Vec<DecryptionKey>, Problem> {
    let ring = gateway.keys.ring(&Purpose::SamlEncryption(organization.to_owned())).await?;
    let keys = ring.published(now).filter_map(|key| match &key.private {
        Private::SamlEncryption(key) => Some(key.clone()),
        Private::IdToken(_) | Private::SamlSigning(_) => None,
    });
    Ok(keys.collect())
}

/// The certificates of the present key and of those to come, DER.
fn certificates(ring: &Keyring, now: Timestamp) -> Vec<&[u8]> {
    ring.present_and_next(now).map(|key| key.public.as_slice()).collect()
}

/// Our entity id for a connection, which is also where our metadata for it is.
fn entity_id(gateway: &Gateway, namespace: &str, connection: &str) -> String {
    gateway.url(&format!("/sso/{namespace}/{connection}/saml/metadata"))
}

fn acs_url(gateway: &Gateway, namespace: &str, connection: &str) -> String {
    gateway.url(&format!("/sso/{namespace}/{connection}/saml/acs"))
}

/// What the answer to a request must fit.
#[derive(Deserialize, Serialize)]
struct Challenge {
    /// The request's ID.
    id: String,
    /// Where the person had to show anew who they are: when that was asked for, in seconds since
    /// the Unix epoch.
    fresh_since: Option<i64>,
}

/// Where the browser goes, and what the answer must fit.
pub(super) async fn depart(
    gateway: &Gateway,
    open: &OpenConnection,
    state: &Secret,
    fresh: bool,
) -> Result<(Departure, String), Problem> {
    let now = Timestamp::now();
    let idp = identity_provider(gateway, open, now)?;
    let ring = gateway.keys.ring(&Purpose::SamlSigning).await?;
    let Some(Private::SamlSigning(signer)) = ring.active(now).map(|key| &key.private) else {
        return Err(Unavailable::NoKey("SAML signing key").into());
    };
    let Route { namespace, connection, .. } = &open.route;
    let id = request::new_id().map_err(|e| Problem::new(Advice::TryLater, e.to_string()))?;
    let request = AuthnRequest {
        id: &id,
        issued_at: now,
        issuer: &entity_id(gateway, namespace, connection),
        acs_url: &acs_url(gateway, namespace, connection),
        sign_on_url: &idp.described.sign_on_url,
        binding: idp.described.sign_on_binding,
        force_authn: fresh,
        relay_state: state.as_text(),
    };
    let sent = request.sent(signer).map_err(|e| Problem::new(Advice::TryLater, e.to_string()))?;
    let departure = match sent {
        Sent::Redirect(url) => Departure::Redirect(url),
        Sent::Post { action, fields } => Departure::Post { action, fields: fields.into() },
    };
    let challenge = Challenge { id, fresh_since: fresh.then(|| now.as_second()) };
    let challenge = serde_json::to_string(&challenge)
        .map_err(|error| Problem::new(Advice::TryLater, error.to_string()))?;
    Ok((departure, challenge))
}

/// Our metadata for a connection of this name. It is the same whether there is one: company IdPs
/// want it before there can be. Without the organization there is no key to encrypt for.
async fn our_metadata(
    State(gateway): State<Gateway>,
    Path((namespace, connection)): Path<(String, String)>,
) -> Response {
    if ![&namespace, &connection].into_iter().all(|name| is_name(name)) {
        return StatusCode::NOT_FOUND.into_response();
    }
    match metadata_xml(&gateway, &namespace, &connection).await {
        Ok(xml) => ([(header::CONTENT_TYPE, "application/samlmetadata+xml")], xml).into_response(),
        Err(problem) => problem.respond(&gateway).await,
    }
}

async fn metadata_xml(
    gateway: &Gateway,
    namespace: &str,
    connection: &str,
) -> Result<String, Problem> {
    let signing = gateway.keys.ring(&Purpose::SamlSigning).await?;
    let encryption = match gateway.ledger.organization_named(namespace).await? {
        Some(id) => Some(gateway.keys.ring(&Purpose::SamlEncryption(id)).await?),
        None => None,
    };
    let now = Timestamp::now();
    let encryption = encryption.as_deref().map(|ring| certificates(ring, now));
    let metadata = Metadata {
        entity_id: &entity_id(gateway, namespace, connection),
        acs_url: &acs_url(gateway, namespace, connection),
        signing_certificates: &certificates(&signing, now),
        encryption_certificates: &encryption.unwrap_or_default(),
    };
    Ok(metadata.xml())
}

/// What an object of Kubernetes may be called.
fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    (1..=253).contains(&name.len()) && name.bytes().all(allowed)
}

/// The fields that the company IdP makes the browser post (saml-bindings-2.0-os, section 3.5.4).
#[derive(Deserialize)]
struct Posted {
    #[serde(rename = "SAMLResponse")]
    response: String,
    #[serde(rename = "RelayState")]
    relay_state: Option<String>,
}

/// The assertion consumer service: it checks and keeps what the company IdP says, and sends the
/// browser on to our own site, since another site made it come here.
async fn consume(
    State(gateway): State<Gateway>,
    Path((namespace, connection)): Path<(String, String)>,
    jar: CookieJar,
    form: Result<Form<Posted>, FormRejection>,
) -> Response {
    let taken = async {
        let Form(posted) = form.map_err(|rejection| {
            Problem::new(Advice::AskAdministrator, format!("not a SAML form: {rejection}"))
                .unasked()
        })?;
        let open = gateway.ledger.open_connection(&namespace, &connection).await?;
        let open = open.filter(|open| open.rules.protocol == Protocol::Saml).ok_or_else(|| {
            Problem::new(Advice::AskAdministrator, "no such connection, or it is suspended")
                .unasked()
        })?;
        take(&gateway, jar, &open, posted).await.map_err(|problem| match problem.organization {
            Some(_) => problem,
            None => problem.of(&open.route.organization, actor(&open)),
        })
    };
    match taken.await {
        Ok(response) => response,
        Err(problem) => problem.respond(&gateway).await,
    }
}

async fn take(
    gateway: &Gateway,
    jar: CookieJar,
    open: &OpenConnection,
    posted: Posted,
) -> Result<Response, Problem> {
    let awaited = match &posted.relay_state {
        Some(state) => sign_in::awaited(gateway, &open.route, state).await?,
        None => None,
    };
    let Some(awaited) = awaited else {
        if !open.rules.idp_initiated {
            return Err(Problem::new(
                Advice::StartAgain,
                "no sign-in that began here awaits this response (RelayState), and the connection \
                 takes no others (signIn.idpInitiated)",
            )
            .unasked());
        }
        let Identified { asserted, seen } =
            identify(gateway, open, None, posted.response).await.map_err(Problem::unasked)?;
        return sign_in::answer_unasked(gateway, jar, &open.route.namespace, seen, &asserted)
            .await
            .map_err(|problem| problem.about(&asserted.email).unasked());
    };
    let challenge = serde_json::from_str(&awaited.challenge)
        .map_err(|_| Problem::new(Advice::StartAgain, "this sign-in didn't go out by SAML"))?;
    let taken = async {
        let Identified { asserted, seen } =
            identify(gateway, open, Some(challenge), posted.response).await?;
        let answered = sign_in::answer(gateway, &awaited, Some(seen), &asserted).await;
        answered.map_err(|problem| problem.about(&asserted.email))
    };
    match taken.await {
        Ok(response) => Ok(response),
        Err(problem) => Err(sign_in::refused(gateway, &awaited, problem).await),
    }
}

/// Whom a response vouches for.
struct Identified {
    asserted: Asserted,
    /// The assertion that must be new, and until when that must be known.
    seen: (Hash, Timestamp),
}

/// Check a response, which must answer the challenge, or no request if there is none.
async fn identify(
    gateway: &Gateway,
    open: &OpenConnection,
    challenge: Option<Challenge>,
    response: String,
) -> Result<Identified, Problem> {
    let now = Timestamp::now();
    let idp = identity_provider(gateway, open, now)?;
    let Route { organization, namespace, connection } = &open.route;
    let keys = decryption_keys(gateway, organization, now).await?;
    let (entity_id, acs_url) =
        (entity_id(gateway, namespace, connection), acs_url(gateway, namespace, connection));
    let fresh_since = challenge.as_ref().and_then(|challenge| challenge.fresh_since);
    let skew = gateway.clock_skew;
    // what somebody makes as dear as they can isn't worked on where everybody's requests are
    let verified = tokio::task::spawn_blocking(move || {
        let expected = Expected {
            idp: &idp.trusted,
            sp: ServiceProvider {
                entity_id: &entity_id,
                acs_url: &acs_url,
                decryption_keys: &keys,
            },
            request: challenge.as_ref().map(|challenge| challenge.id.as_str()),
            now,
            skew,
        };
        saml::decode(&response).and_then(|xml| saml::verify(&xml, &expected))
    });
    let assertion = verified
        .await
        .map_err(|_| Problem::new(Advice::TryLater, "the check of a response didn't end"))?
        .map_err(|refusal| {
            Problem::new(Advice::AskAdministrator, format!("{}: {refusal}", refusal.name()))
        })?;
    let asserted = asserted(&assertion, open, now)?;
    let at = asserted.authenticated_at.saturating_add_unsigned(skew.as_secs());
    if fresh_since.is_some_and(|since| at < since) {
        return Err(Problem::new(
            Advice::AskAdministrator,
            format!(
                "NotFresh: the client asked for a new sign-in (ForceAuthn), and AuthnInstant is {}",
                assertion.authn_instant
            ),
        ));
    }
    let seen = (presented(&open.route, &assertion), assertion.expires_at);
    Ok(Identified { asserted, seen })
}

/// What the kept metadata says, as long as it may be used.
fn identity_provider(
    gateway: &Gateway,
    open: &OpenConnection,
    now: Timestamp,
) -> Result<Arc<Idp>, Problem> {
    gateway.idps.of(open, now).map_err(|error| {
        Problem::new(Advice::AskAdministrator, error.to_string())
            .of(&open.route.organization, actor(open))
    })
}

fn asserted(
    assertion: &Assertion,
    open: &OpenConnection,
    now: Timestamp,
) -> Result<Asserted, Problem> {
    let missing = || {
        let names = assertion.attributes.iter().take(MAX_NAMES);
        let mut names: Vec<_> = names.map(|attribute| shown(&attribute.name)).collect();
        let more = assertion.attributes.len() - names.len();
        if more > 0 {
            names.push(format!("{more} more"));
        }
        let expected = open.rules.email_attribute.as_deref().unwrap_or("one of the usual ones");
        Problem::new(
            Advice::AskAdministrator,
            format!(
                "NoEmail: the assertion has no e-mail address: expected attribute {expected}, \
                 found {}",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            ),
        )
    };
    let email = assertion.email(open.rules.email_attribute.as_deref());
    let email = email.and_then(|email| Email::parse(&email)).ok_or_else(missing)?;
    let subject = assertion.name_id.value.clone();
    let is_address = Email::parse(&subject).is_some();
    Ok(Asserted {
        organization: open.route.organization.clone(),
        connection: open.route.connection.clone(),
        sign_in_name: if is_address { subject.clone() } else { email.text.clone() },
        subject,
        email: email.text,
        email_domain: email.domain,
        display_name: assertion.display_name(open.rules.name_attribute.as_deref()),
        authenticated_at: assertion.authn_instant.min(now).as_second(),
        session_until: assertion.session_expires_at.map(Timestamp::as_second),
    })
}

/// What somebody else wrote, cut, in quotes, with what could disturb a terminal escaped.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(MAX_SHOWN).collect::<String>())
}

/// What stands for an assertion, wherever it is presented again.
fn presented(route: &Route, assertion: &Assertion) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in [&route.organization, &route.connection, &assertion.issuer, &assertion.id] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut hash = Hash::default();
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn actor(open: &OpenConnection) -> String {
    format!("saml:{}", open.route.connection)
}
