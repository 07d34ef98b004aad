//! The issuer: what the API server and other clients trust.

use axum::response::Response;

use crate::{
    gateway::{
        Gateway,
        problem::{Advice, Problem},
    },
    ledger::Standing,
};

/// Answer a client's authorization request, now that somebody has signed in.
pub(in crate::gateway) async fn complete(
    gateway: &Gateway,
    _request: &str,
    _standing: &Standing,
) -> Response {
    Problem::new(Advice::BadRequest, "no client can sign anybody in yet").respond(gateway).await
}
