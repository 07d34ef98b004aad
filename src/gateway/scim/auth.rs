//! Who may call: whoever holds a token of the directory that the path names.
//!
//! A wrong token, an unknown organization and an unknown directory all get the same answer, before
//! anything else about the request is looked at.

use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    error::{Error, Refusal, Result},
    guard::{Caller, Guard, Key, Standing},
};
use crate::{
    gateway::{Gateway, limits, observe::Tenant},
    ledger::AuditLine,
};

#[derive(Deserialize)]
pub(super) struct Address {
    organization: String,
    directorysync: String,
}

/// Let the request through with a [`Caller`], or answer 401; 429 where the directory, or its
/// organization, asks too much.
pub(super) async fn authenticate(
    State((gateway, guard)): State<(Gateway, Guard)>,
    address: Result<Path<Address>, PathRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let Ok(Path(address)) = address else { return Error::unauthorized().into_response() };
    let writes = writes(&request);
    let caller = match caller(&gateway, &guard, &address, request.headers(), writes).await {
        Ok(caller) => caller,
        Err(error) => return error.into_response(),
    };
    let (directory, organization) = (caller.access.directory(), caller.access.organization());
    let seat = match guard.count(directory, organization) {
        Ok(()) => caller.seat().await,
        Err(refused) => Err(refused),
    };
    let mut response = match seat {
        Err(refused) => refused.into_response(),
        Ok(()) => {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            request.extensions_mut().insert(caller.clone());
            let response = next.run(request).await;
            let refusal =
                response.extensions().get::<Refusal>().filter(|refusal| refusal.is_news());
            if let Some(refusal) = refusal.cloned().filter(|_| writes)
                && guard.notes_refusal(caller.access.organization())
            {
                note(&gateway, &caller, &method, &path, refusal).await;
            }
            caller.until_read(response)
        }
    };
    response
        .extensions_mut()
        .insert(Tenant { organization: address.organization, directory: address.directorysync });
    response
}

fn writes(request: &Request) -> bool {
    !request.method().is_safe() && !request.uri().path().ends_with("/.search")
}

async fn caller(
    gateway: &Gateway,
    guard: &Guard,
    address: &Address,
    headers: &HeaderMap,
    writes: bool,
) -> Result<Caller> {
    let token = bearer(headers).ok_or_else(Error::unauthorized)?;
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    let Address { organization, directorysync } = address;
    // nothing is called so, and PostgreSQL can't even be asked
    if organization.contains('\0') || directorysync.contains('\0') {
        return Err(Error::unauthorized());
    }
    let url = gateway.public_url.as_str().trim_end_matches('/');
    let base = format!("{url}/scim/v2/{organization}/{directorysync}");
    let key = Key { organization: organization.clone(), directory: directorysync.clone(), hash };
    let (looked, access) = {
        let _turn = match guard.standing(&key, Instant::now()) {
            // a read has no commit that would look again
            Standing::Trusted(access) if writes => return Ok(guard.caller(access, base)),
            Standing::Trusted(_) | Standing::Familiar => None,
            Standing::Stranger => Some(guard.stranger(limits::stranger().is_err()).await?),
        };
        let looked = Instant::now();
        (looked, gateway.ledger.scim_access(organization, directorysync, &hash).await?)
    };
    let Some(mut access) = access else {
        guard.forget(&key);
        return Err(Error::unauthorized());
    };
    gateway.ledger.note_first_request(&mut access, Timestamp::now()).await?;
    guard.remember(key, access.clone(), looked);
    Ok(guard.caller(access, base))
}

/// Write down that a change was refused.
async fn note(
    gateway: &Gateway,
    caller: &Caller,
    method: &Method,
    path: &str,
    Refusal(_, detail): Refusal,
) {
    let path: String = path.split('/').skip(5).collect::<Vec<_>>().join("/");
    let line = AuditLine {
        at: Timestamp::now(),
        actor: format!("scim:{}", caller.access.name()),
        action: "scim.refused".into(),
        subject: format!("{method} /{path}").chars().take(100).collect(),
        detail: Some(detail.chars().take(400).collect()),
        reference: None,
    };
    if let Err(error) = gateway.ledger.audit(caller.access.organization(), &line).await {
        tracing::error!(%error, "a refusal was not written down");
    }
}

/// The token of `Authorization: Bearer <token>`, where that is said exactly once (RFC 6750 section
/// 2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty()).then_some(token)
}
