//! Who may call: whoever holds a token of the directory that the path names.
//!
//! A wrong token, an unknown organization and an unknown directory all get the same answer, before
//! anything else about the request is looked at.

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    error::{Error, Result},
    request::Caller,
};
use crate::gateway::{Gateway, observe::Tenant};

#[derive(Deserialize)]
pub(super) struct Address {
    organization: String,
    directorysync: String,
}

/// Let the request through with a [`Caller`], or answer 401.
pub(super) async fn authenticate(
    State(gateway): State<Gateway>,
    address: Result<Path<Address>, PathRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let Ok(Path(address)) = address else { return Error::unauthorized().into_response() };
    let caller = match caller(&gateway, &address, request.headers()).await {
        Ok(caller) => caller,
        Err(error) => return error.into_response(),
    };
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    response
        .extensions_mut()
        .insert(Tenant { organization: address.organization, directory: address.directorysync });
    response
}

async fn caller(gateway: &Gateway, address: &Address, headers: &HeaderMap) -> Result<Caller> {
    let token = bearer(headers).ok_or_else(Error::unauthorized)?;
    let hash = digest(&SHA256, token.as_bytes());
    let Address { organization, directorysync } = address;
    let access = gateway.ledger.scim_access(organization, directorysync, hash.as_ref()).await?;
    let access = access.ok_or_else(Error::unauthorized)?;
    gateway.ledger.note_first_request(&access, Timestamp::now()).await?;
    let url = gateway.public_url.as_str().trim_end_matches('/');
    let base = format!("{url}/scim/v2/{organization}/{directorysync}");
    Ok(Caller { access, base })
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
