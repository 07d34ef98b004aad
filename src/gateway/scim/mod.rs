//! The SCIM server (RFC 7643, RFC 7644): a company's identity provider pushes its users and groups
//! here, for one DirectorySync at a time.
//!
//! A request goes through `auth` (whose is it), `request` (what does it say), `users` or `groups`
//! (the routes), which lean on pure parts: `resource` (shapes), `patch` and `members`, `filter`,
//! `projection`. What is kept is the client's own JSON, in one written form.

mod auth;
mod discovery;
mod error;
mod filter;
mod groups;
mod members;
mod patch;
mod projection;
mod request;
mod resource;
#[cfg(test)]
mod tests;
mod users;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use jiff::Timestamp;
use scim_v2::schema_urns;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use self::{
    error::{Error, Result},
    request::{Caller, MAX_BODY},
    resource::{Kind, Object},
};
use super::Gateway;

/// The routes of the directories. All that is under a directory's address, whether it is there or
/// not, is behind the directory's token.
pub(super) fn routes(gateway: Gateway) -> Router<Gateway> {
    let at = |path: &str| format!("/scim/v2/{{organization}}/{{directorysync}}{path}");
    let users = get(users::find).post(users::create);
    let user = get(users::get).put(users::replace).patch(users::patch).delete(users::delete);
    let groups = get(groups::find).post(groups::create);
    let group = get(groups::get).put(groups::replace).patch(groups::patch).delete(groups::delete);
    let nothing = any(async || Error::new(StatusCode::NOT_FOUND, "there is nothing at this path"));
    Router::new()
        .route(&at("/Users"), users)
        .route(&at("/Users/{id}"), user)
        .route(&at("/Groups"), groups)
        .route(&at("/Groups/{id}"), group)
        .route(&at("/ServiceProviderConfig"), get(discovery::service_provider_config))
        .route(&at("/ResourceTypes"), get(discovery::resource_types))
        .route(&at("/ResourceTypes/{id}"), get(discovery::one_resource_type))
        .route(&at("/Schemas"), get(discovery::schemas))
        .route(&at("/Schemas/{id}"), get(discovery::one_schema))
        .route(&at(""), nothing.clone())
        .route(&at("/"), nothing.clone())
        .route(&at("/{*rest}"), nothing)
        .method_not_allowed_fallback(async || {
            Error::new(StatusCode::METHOD_NOT_ALLOWED, "this path doesn't take this method")
        })
        .route_layer(DefaultBodyLimit::max(MAX_BODY))
        .route_layer(from_fn_with_state(gateway, auth::authenticate))
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

/// A resource that was made, and where it is (RFC 7644 section 3.3).
struct Created(String, Object);

impl IntoResponse for Created {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, [(header::LOCATION, self.0)], Json(self.1)).into_response()
    }
}

/// A page of a list (RFC 7644 section 3.4.2).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<T> {
    schemas: [&'static str; 1],
    total_results: i64,
    start_index: i64,
    items_per_page: usize,
    #[serde(rename = "Resources")]
    resources: Vec<T>,
}

impl<T> List<T> {
    fn new(total_results: i64, start_index: i64, resources: Vec<T>) -> Json<Self> {
        let schemas = [schema_urns::LIST_RESPONSE];
        let items_per_page = resources.len();
        Json(Self { schemas, total_results, start_index, items_per_page, resources })
    }
}

/// RFC 7643 section 3.1. `version` comes with ETags.
fn meta(kind: &Kind, caller: &Caller, id: Uuid, times: (Timestamp, Timestamp)) -> Value {
    let whole_seconds =
        |at: Timestamp| Timestamp::from_second(at.as_second()).unwrap_or(at).to_string();
    json!({
        "resourceType": kind.name,
        "created": whole_seconds(times.0),
        "lastModified": whole_seconds(times.1),
        "location": format!("{}{}/{id}", caller.base, kind.endpoint),
    })
}

/// The attributes as they are kept.
fn parse(attributes: &str) -> Result<Object> {
    serde_json::from_str(attributes).map_err(|_| crate::ledger::Error::Corrupt("attributes").into())
}
