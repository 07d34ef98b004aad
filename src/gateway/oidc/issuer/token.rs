//! Codes and refresh tokens for tokens (RFC 6749, sections 4.1.3 and 6; OpenID Connect Core,
//! sections 3.1.3 and 12). What is used twice ends the session it came from.

use aws_lc_rs::{
    constant_time,
    digest::{SHA256, digest},
};
use axum::{
    Json,
    extract::{RawForm, State, rejection::RawFormRejection},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{
    OFFLINE,
    claims::{self, Grant, Tokens, objection},
    client::{Clients, authenticate},
    error::{NO_STORE, Refused},
    has, issuer,
    params::Params,
    within,
};
use crate::{
    gateway::{
        Gateway,
        keys::Keyring,
        secret::{self, Secret},
    },
    ledger::{self, AuditLine, Code, Once, Purpose},
};

/// How long a PKCE verifier may be (RFC 7636, section 4.1).
const VERIFIER: std::ops::RangeInclusive<usize> = 43..=128;

/// RFC 6749, section 5.1.
#[derive(Serialize)]
struct Answer<'a> {
    access_token: String,
    token_type: &'static str,
    expires_in: i64,
    id_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    scope: &'a str,
}

/// A client, authenticated, and the keys that its tokens are signed with.
struct Caller {
    id: String,
    clients: Clients,
    keys: std::sync::Arc<Keyring>,
}

/// The parameters of a posted form.
pub(super) fn form(body: Result<RawForm, RawFormRejection>) -> Result<Params, Refused> {
    let RawForm(body) = body.map_err(|_| {
        Refused::InvalidRequest("the body is not a small application/x-www-form-urlencoded one")
    })?;
    let params = Params::parse(&body);
    params.each_once()?;
    Ok(params)
}

pub(super) async fn token(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    body: Result<RawForm, RawFormRejection>,
) -> Result<Response, Refused> {
    let params = form(body)?;
    // first of all: a code is spent only where it can be paid for
    let keys = gateway.keys.ring(&Purpose::IdToken).await?;
    let (id, clients) = authenticate(&gateway.ledger, &headers, &params).await?;
    let caller = Caller { id, clients, keys };
    match params.get("grant_type") {
        Some("authorization_code") => redeem(&gateway, &caller, &params).await,
        Some("refresh_token") => refresh(&gateway, &caller, &params).await,
        Some(_) => Err(Refused::UnsupportedGrantType),
        None => Err(Refused::InvalidRequest("grant_type is missing")),
    }
}

async fn redeem(gateway: &Gateway, caller: &Caller, params: &Params) -> Result<Response, Refused> {
    let missing = |name| Refused::InvalidRequest(name);
    let code = params.get("code").ok_or(missing("code is missing"))?;
    let redirect_uri = params.get("redirect_uri").ok_or(missing("redirect_uri is missing"))?;
    let verifier = params.get("code_verifier").ok_or(missing("code_verifier is missing"))?;
    let refresh = Secret::new()?;
    let now = Timestamp::now();
    let used = gateway.ledger.use_code(secret::hash(code), now, |code, standing| {
        fits(code, &caller.id, redirect_uri, verifier)?;
        if let Some(objection) = objection(&caller.clients, standing) {
            return Err(Refused::InvalidGrant(objection));
        }
        Ok(has(&code.scope, OFFLINE).then(|| refresh.hash()))
    });
    match used.await? {
        Once::Fresh(Ok((code, standing))) => {
            let grant = Grant {
                issuer: &issuer(gateway),
                client: &caller.id,
                scope: &code.scope,
                nonce: code.nonce.as_deref(),
                standing: &standing,
            };
            let refresh = has(&code.scope, OFFLINE).then_some(&refresh);
            answer(&caller.keys, &grant, refresh, now)
        }
        Once::Fresh(Err(refused)) => Err(refused),
        Once::Reused { organization, subject } => {
            reused(gateway, &organization, subject, caller, "an authorization code").await?;
            Err(Refused::InvalidGrant("the code was used before: its session has ended"))
        }
        Once::Unknown => Err(Refused::InvalidGrant("the code is wrong or too old")),
    }
}

/// Whether a code was issued for who presents it.
fn fits(code: &Code, client: &str, redirect_uri: &str, verifier: &str) -> Result<(), Refused> {
    if code.client != client {
        return Err(Refused::InvalidGrant("the code was issued to another client"));
    }
    if code.redirect_uri != redirect_uri {
        return Err(Refused::InvalidGrant("redirect_uri is not the one of the authorization"));
    }
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
    let verified =
        constant_time::verify_slices_are_equal(challenge.as_bytes(), code.challenge.as_bytes());
    if verified.is_err() || !VERIFIER.contains(&verifier.len()) {
        return Err(Refused::InvalidGrant("code_verifier doesn't fit code_challenge"));
    }
    Ok(())
}

async fn refresh(gateway: &Gateway, caller: &Caller, params: &Params) -> Result<Response, Refused> {
    let presented = params.get("refresh_token");
    let presented = presented.ok_or(Refused::InvalidRequest("refresh_token is missing"))?;
    let next = Secret::new()?;
    let now = Timestamp::now();
    let used = gateway.ledger.rotate_refresh_token(
        secret::hash(presented),
        &caller.id,
        next.hash(),
        now,
        |token, standing| {
            if !params.get("scope").is_none_or(|scope| within(scope, &token.scope)) {
                return Err(Refused::InvalidScope("scope is wider than what was granted"));
            }
            objection(&caller.clients, standing).map_or(Ok(()), |o| Err(Refused::InvalidGrant(o)))
        },
    );
    match used.await? {
        Once::Fresh(Ok((token, standing))) => {
            let grant = Grant {
                issuer: &issuer(gateway),
                client: &caller.id,
                scope: &token.scope,
                nonce: None,
                standing: &standing,
            };
            answer(&caller.keys, &grant, Some(&next), now)
        }
        Once::Fresh(Err(refused)) => Err(refused),
        Once::Reused { organization, subject } => {
            reused(gateway, &organization, subject, caller, "a refresh token").await?;
            Err(Refused::InvalidGrant("the refresh token was used before: its session has ended"))
        }
        Once::Unknown => {
            Err(Refused::InvalidGrant("the refresh token is wrong, or access has ended"))
        }
    }
}

fn answer(
    keys: &Keyring,
    grant: &Grant<'_>,
    refresh: Option<&Secret>,
    now: Timestamp,
) -> Result<Response, Refused> {
    let Tokens { access, id, expires_in } = claims::tokens(keys, grant, now)?;
    let answer = Answer {
        access_token: access,
        token_type: "Bearer",
        expires_in,
        id_token: id,
        refresh_token: refresh.map(Secret::as_text),
        scope: grant.scope,
    };
    Ok((NO_STORE, Json(answer)).into_response())
}

/// Somebody else may have had it: the audit log tells.
async fn reused(
    gateway: &Gateway,
    organization: &str,
    subject: Uuid,
    caller: &Caller,
    what: &str,
) -> ledger::Result<()> {
    let line = AuditLine {
        at: Timestamp::now(),
        actor: format!("client:{}", caller.id),
        action: "token.reused".into(),
        subject: subject.to_string(),
        detail: Some(format!("{what} was used a second time; its session has been ended")),
        reference: None,
    };
    gateway.ledger.audit(organization, &line).await
}
