//! What people see in a browser. Everything works without JavaScript, and there is none.

mod assets;
mod confirm;
mod go_on;
mod landing;
mod layout;
mod problem;
mod sign_in;
mod sign_out;
#[cfg(test)]
mod tests;

pub(super) use confirm::confirm;
pub(super) use go_on::go_on;
pub(super) use problem::{nothing_here, problem};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::from_fn_with_state,
    routing::{get, post},
};

use super::{Gateway, same_origin};

/// How much a form of ours may hold, in bytes.
const MAX_FORM: usize = 16 * 1024;

pub(super) fn routes(gateway: &Gateway) -> Router<Gateway> {
    Router::new()
        .route("/", get(landing::show))
        .route("/sign-in", get(sign_in::show).post(sign_in::submit))
        .route("/sign-in/go-on", get(go_on::go))
        .route("/sign-out", get(sign_out::ask).post(sign_out::sign_out))
        .route("/sessions/{id}/end", post(sign_out::end))
        .route("/assets/{name}", get(assets::get))
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .layer(from_fn_with_state(gateway.clone(), same_origin::require))
}
