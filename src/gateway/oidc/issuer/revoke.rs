//! A client gives a refresh token back (RFC 7009).

use axum::{
    extract::{RawForm, State, rejection::RawFormRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};

use super::{client::authenticate, error::Refused, params::Params, token::form};
use crate::gateway::{Gateway, secret};

pub(super) async fn revoke(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    body: Result<RawForm, RawFormRejection>,
) -> Result<Response, Refused> {
    let params: Params = form(body)?;
    let (client, _) = authenticate(&gateway.ledger, &headers, &params).await?;
    let token = params.get("token").ok_or(Refused::InvalidRequest("token is missing"))?;
    // an access token can't be had back: it ends by itself, and with the session
    if token.contains('.') {
        return Err(Refused::UnsupportedTokenType);
    }
    gateway.ledger.revoke_refresh_token(secret::hash(token), &client).await?;
    Ok(StatusCode::OK.into_response())
}
