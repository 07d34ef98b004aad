//! Who may call: whoever holds a token of the directory that the path names.
//!
//! A wrong token, an unknown organization and an unknown directory all get the same answer, before
//! anything else about the request is looked at.

use std::{
    panic::resume_unwind,
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::task::JoinError;

use super::{
    error::{Error, Refusal, Result},
    guard::{Caller, Guard, Key, Standing},
};
use crate::{
    gateway::{Gateway, limits, observe::Tenant},
    ledger::{self, AuditLine, scim::Access},
};

/// How long refusals that leave no line of their own are added up.
const ADDED_UP: Duration = Duration::from_secs(60);

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
    // it goes on where its client hangs up: what it began in the ledger is not done before, and until
    // then it keeps its places
    let answered = tokio::spawn(async move {
        let subject = writes.then(|| subject(&request));
        let response = match seat {
            Err(refused) => refused.into_response(),
            Ok(()) => {
                request.extensions_mut().insert(caller.clone());
                next.run(request).await
            }
        };
        if let Some(subject) = subject
            && !response.status().is_success()
        {
            let refusal = response.extensions().get::<Refusal>().cloned();
            note(&gateway, &guard, &caller.access, subject, response.status(), refusal).await;
        }
        caller.until_read(response)
    });
    let mut response = match answered.await.map_err(JoinError::try_into_panic) {
        Ok(response) => response,
        Err(Ok(panic)) => resume_unwind(panic),
        // the program ends
        Err(Err(_)) => Error::from(ledger::Error::Abandoned).into_response(),
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

/// What a change is about, for the audit log.
fn subject(request: &Request) -> String {
    let path: String = request.uri().path().split('/').skip(5).collect::<Vec<_>>().join("/");
    format!("{} /{path}", request.method()).chars().take(100).collect()
}

/// Write down that a change was refused; of those that say nothing new, or are too many, one line
/// tells how many there were.
async fn note(
    gateway: &Gateway,
    guard: &Guard,
    access: &Access,
    subject: String,
    status: StatusCode,
    refusal: Option<Refusal>,
) {
    if let Some(Refusal(_, detail)) = refusal.filter(Refusal::is_news)
        && guard.notes_refusal(access.organization())
    {
        return write_down(gateway, access, access.actor(), subject, &detail).await;
    }
    if guard.leaves_unsaid(access.directory(), status) {
        let (gateway, guard, access) = (gateway.clone(), guard.clone(), access.clone());
        tokio::spawn(async move {
            tokio::time::sleep(ADDED_UP).await;
            tell_unsaid(&gateway, &guard, &access).await;
        });
    }
}

async fn tell_unsaid(gateway: &Gateway, guard: &Guard, access: &Access) {
    let unsaid = guard.unsaid(access.directory());
    let times = |(status, times): (&u16, &u64)| format!("{status}: {times}");
    let detail: Vec<_> = unsaid.iter().map(times).collect();
    let subject = format!("{} more requests", unsaid.values().sum::<u64>());
    write_down(gateway, access, access.actors(), subject, &detail.join(", ")).await;
}

async fn write_down(
    gateway: &Gateway,
    access: &Access,
    actor: String,
    subject: String,
    detail: &str,
) {
    let line = AuditLine {
        at: Timestamp::now(),
        actor,
        action: "scim.refused".into(),
        subject,
        detail: Some(detail.chars().take(400).collect()),
        reference: None,
    };
    if let Err(error) = gateway.ledger.audit(access.organization(), &line).await {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{keys::KeySlot, ledger::fixture::Acme};

    #[tokio::test]
    async fn every_refused_change_is_told_of_by_itself_or_by_number() {
        let acme = Acme::new().await;
        let public_url = "https://gateway.example/".parse().unwrap();
        let gateway = Gateway::for_tests(&acme.ledger, public_url, KeySlot::default());
        let guard = Guard::new();
        let refuse = async |refusal: Error| {
            let response = refusal.into_response();
            let refusal = response.extensions().get::<Refusal>().cloned();
            let subject = "PATCH /Users/x".to_owned();
            note(&gateway, &guard, &acme.scim, subject, response.status(), refusal).await;
        };
        refuse(Error::not_found()).await;
        refuse(Error::too_many(1)).await;
        for _ in 0..100 {
            refuse(Error::value("no")).await;
        }
        tell_unsaid(&gateway, &guard, &acme.scim).await;
        let lines = acme.ledger.audit_log("acme", None, 200).await.unwrap();
        let refused: Vec<_> =
            lines.into_iter().filter(|line| line.action == "scim.refused").collect();
        let (sum, alone) = refused.split_first().unwrap();
        assert!(alone.iter().all(|line| line.subject == "PATCH /Users/x"));
        assert!(alone.iter().all(|line| line.actor == acme.scim.actor()));
        assert_eq!(sum.actor, "scim:okta", "by whichever of its tokens");
        assert!((60..100).contains(&alone.len()), "{}", alone.len());
        assert_eq!(sum.subject, format!("{} more requests", 102 - alone.len()));
        let detail = format!("400: {}, 404: 1, 429: 1", 100 - alone.len());
        assert_eq!(sum.detail.as_deref(), Some(&*detail));
        assert!(guard.leaves_unsaid(acme.directory, StatusCode::NOT_FOUND), "it begins anew");
    }
}
