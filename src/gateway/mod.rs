//! The gateway: the HTTP side. It knows the ledger and no Kubernetes.

mod address;
mod cookies;
mod door;
mod headers;
mod installation;
mod keys;
mod limits;
mod observe;
mod oidc;
mod pages;
mod problem;
mod same_origin;
mod saml;
mod scim;
mod secret;
mod serve;
mod sign_in;

pub use installation::read_key;
pub use observe::{Observer, Served};
pub use serve::{Tls, serve};

use std::time::Duration;

use axum::{
    Router,
    extract::State,
    middleware::{from_fn, from_fn_with_state},
};
use url::Url;

use self::{keys::Keys, limits::Limits, oidc::Providers};
use crate::{fetch::Fetchers, keys::KeySlot, ledger::Ledger};

/// What the gateway's routes need. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    pub ledger: Ledger,
    /// How clients reach the gateway: the base of every address it gives out.
    pub public_url: Url,
    /// Is told of each request that was answered.
    pub observer: Observer,
    /// The installation key, once it is known. Nobody signs in before.
    pub key: KeySlot,
    keys: Keys,
    idps: saml::Idps,
    providers: Providers,
    clock_skew: Duration,
}

impl Gateway {
    /// `fetchers` ask the companies' OpenID providers.
    pub fn new(
        ledger: Ledger,
        public_url: Url,
        observer: Observer,
        key: KeySlot,
        fetchers: Fetchers,
    ) -> Self {
        let keys = Keys::new(ledger.clone(), key.clone());
        Self {
            ledger,
            public_url,
            observer,
            key,
            keys,
            idps: saml::Idps::default(),
            providers: Providers::new(fetchers),
            clock_skew: crate::saml::response::SKEW,
        }
    }

    #[cfg(test)]
    fn for_tests(ledger: &Ledger, public_url: Url, key: KeySlot) -> Self {
        rollcall_kit::install_crypto();
        let fetchers = Fetchers::new().expect("trust roots");
        Self::new(ledger.clone(), public_url, std::sync::Arc::new(|_| {}), key, fetchers)
    }

    /// How far the clock of a company IdP may be from ours: 60 s, unless this says otherwise.
    #[must_use]
    pub fn with_clock_skew(self, clock_skew: Duration) -> Self {
        Self { clock_skew, ..self }
    }

    /// What is to be done beside answering, for as long as this is polled: the gateway's own keys
    /// are replaced in time, and the ledger forgets what has expired.
    pub async fn keep(self) {
        self.keys.keep().await;
    }

    /// An address of the gateway's: `path` begins with a slash.
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.public_url.as_str().trim_end_matches('/'))
    }
}

/// Every route of the gateway's public port.
pub fn router(gateway: Gateway) -> Router {
    let observer = gateway.observer.clone();
    let limits = (gateway.clone(), Limits::new());
    Router::new()
        .merge(scim::routes(gateway.clone()))
        .merge(pages::routes(&gateway))
        .merge(oidc::issuer::routes())
        .merge(oidc::relying_party::routes())
        .merge(saml::routes())
        .merge(sign_in::routes(&gateway))
        .fallback(async |State(gateway): State<Gateway>| pages::nothing_here(&gateway))
        .layer(from_fn_with_state(limits, limits::limit))
        .layer(from_fn(headers::add))
        .layer(from_fn_with_state(observer, observe::observe))
        .with_state(gateway)
}
