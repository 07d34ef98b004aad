//! What is told of each request: to the caller's metrics by route and code, to the log with whose
//! it was. Never a token, a body or a person's name.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::Response,
};

/// A request that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Served<'a> {
    /// The template of the route, or `unmatched`: a label of few values.
    pub route: &'a str,
    pub method: &'a Method,
    pub status: StatusCode,
    pub duration: Duration,
}

/// Is told of each request that was answered. It must not block.
pub type Observer = Arc<dyn Fn(Served<'_>) + Send + Sync>;

/// Whose request it was, left in the response's extensions by who let it in.
#[derive(Clone)]
pub(super) struct Tenant {
    pub organization: String,
    pub directory: String,
}

pub(super) async fn observe(
    State(observer): State<Observer>,
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let served =
        Served { route, method: &method, status: response.status(), duration: begun.elapsed() };
    let tenant = response.extensions().get::<Tenant>();
    tracing::info!(
        %method,
        route,
        status = served.status.as_u16(),
        duration_ms = served.duration.as_secs_f64() * 1e3,
        organization = tenant.map(|t| t.organization.as_str()),
        directory = tenant.map(|t| t.directory.as_str()),
        "served"
    );
    observer(served);
    response
}
