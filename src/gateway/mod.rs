//! The gateway: the HTTP side. It knows the ledger and no Kubernetes.

mod observe;
mod scim;
mod serve;

pub use observe::{Observer, Served};
pub use serve::{Tls, serve};

use axum::{Router, middleware::from_fn_with_state};
use url::Url;

use crate::ledger::Ledger;

/// What the gateway's routes need. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    pub ledger: Ledger,
    /// How clients reach the gateway: the base of every address it gives out.
    pub public_url: Url,
    /// Is told of each request that was answered.
    pub observer: Observer,
}

/// Every route of the gateway's public port.
pub fn router(gateway: Gateway) -> Router {
    let observer = gateway.observer.clone();
    Router::new()
        .merge(scim::routes(gateway.clone()))
        .layer(from_fn_with_state(observer, observe::observe))
        .with_state(gateway)
}
