//! OpenID Connect: towards company IdPs as a relying party, towards Kubernetes and other clients as
//! the issuer.

pub(super) mod issuer;
pub(super) mod relying_party;

pub use relying_party::Providers;
