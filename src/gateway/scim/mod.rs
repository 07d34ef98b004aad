//! The SCIM server (RFC 7643, RFC 7644): a company's identity provider pushes its users and groups
//! here, for one DirectorySync at a time.
//!
//! A request goes through `auth` (whose is it) and `guard` (how much may it take), `request`,
//! `precondition` and `body` (what does it say), `users`, `groups` or `search` (the routes), which
//! lean on pure parts: `resource` (shapes), `patch` and `members`, `filter`, `projection`,
//! `deactivation`; `shown` writes the answer. What is kept is the client's own JSON, in one written form.

mod auth;
mod body;
mod choose;
mod deactivation;
mod discovery;
mod error;
mod filter;
mod groups;
mod guard;
mod members;
mod number;
mod patch;
mod precondition;
mod projection;
mod request;
mod resource;
mod search;
mod shown;
#[cfg(test)]
mod tests;
mod users;

use axum::{
    Router,
    http::{StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{MethodRouter, any, get, post},
};
use serde::Serialize;

use self::{
    error::{Error, Result},
    guard::Guard,
    resource::Object,
};
use super::Gateway;

/// The address of a directory.
const DIRECTORY: &str = "/scim/v2/{organization}/{directorysync}";

/// The routes of the directories. All that is under a directory's address, whether it is there or
/// not, is behind the directory's token.
pub(super) fn routes(gateway: Gateway) -> Router<Gateway> {
    paths()
        .into_iter()
        .fold(Router::new(), |routes, (path, methods)| {
            routes.route(&format!("{DIRECTORY}{path}"), methods)
        })
        .method_not_allowed_fallback(async || {
            Error::new(StatusCode::METHOD_NOT_ALLOWED, "this path doesn't take this method")
        })
        .route_layer(from_fn_with_state((gateway, Guard::new()), auth::authenticate))
}

/// What there is below a directory's address.
fn paths() -> Vec<(&'static str, MethodRouter<Gateway>)> {
    let users = get(users::find).post(users::create);
    let user = get(users::get).put(users::replace).patch(users::patch).delete(users::delete);
    let groups = get(groups::find).post(groups::create);
    let group = get(groups::get).put(groups::replace).patch(groups::patch).delete(groups::delete);
    let nothing = any(async || Error::new(StatusCode::NOT_FOUND, "there is nothing at this path"));
    vec![
        ("/Users", users),
        ("/Users/{id}", user),
        ("/Groups", groups),
        ("/Groups/{id}", group),
        ("/.search", post(search::everywhere)),
        ("/Users/.search", post(users::find)),
        ("/Groups/.search", post(groups::find)),
        ("/ServiceProviderConfig", get(discovery::service_provider_config)),
        ("/ResourceTypes", get(discovery::resource_types)),
        ("/ResourceTypes/{id}", get(discovery::one_resource_type)),
        ("/Schemas", get(discovery::schemas)),
        ("/Schemas/{id}", get(discovery::one_schema)),
        ("", nothing.clone()),
        ("/", nothing.clone()),
        ("/{*rest}", nothing),
    ]
}

/// A body of type application/scim+json (RFC 7644 section 3.1).
struct Json<T>(T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, "application/scim+json")], body).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

/// The attributes as they are kept.
fn parse(attributes: &str) -> Result<Object> {
    serde_json::from_str(attributes).map_err(|_| crate::ledger::Error::Corrupt("attributes").into())
}
