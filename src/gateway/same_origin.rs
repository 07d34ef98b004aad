//! Our own forms are taken from our own pages alone. What others post to us by design (assertions,
//! tokens, SCIM) is not behind this.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, header::ORIGIN},
    middleware::Next,
    response::Response,
};

use super::{
    Gateway,
    problem::{Advice, Problem},
};

/// Refuse what changes something and comes from another site.
pub(super) async fn require(
    State(gateway): State<Gateway>,
    request: Request,
    next: Next,
) -> Response {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if safe || is_own(request.headers(), &gateway) {
        return next.run(request).await;
    }
    Problem::new(Advice::StartAgain, "the form was not sent by a page of this gateway")
        .respond(&gateway)
        .await
}

/// By what the browser says itself; pages can't set either header. `none` is the person's own doing.
fn is_own(headers: &HeaderMap, gateway: &Gateway) -> bool {
    match headers.get("sec-fetch-site") {
        Some(site) => site == "same-origin" || site == "none",
        None => {
            let ours = gateway.public_url.origin().ascii_serialization();
            headers.get(ORIGIN).is_some_and(|origin| *origin == ours)
        }
    }
}
