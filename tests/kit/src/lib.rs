//! What Rollcall's tests, demo and bench need around them, started for real: a Kubernetes control
//! plane, a DNS server, a company's identity provider, a browser, and the processes and certificates of those.
//! Nothing of it is part of the product.

pub mod attempt;
pub mod background;
pub mod bench;
pub mod browser;
pub mod control_plane;
pub mod dns;
pub mod keycloak;
pub mod kubectl;
pub mod oidc_idp;
pub mod openid_client;
pub mod parts;
pub mod postgres;
pub mod process;
pub mod process_tree;
pub mod saml;
pub mod scim;
pub mod scim_tester;
pub mod scratch;
pub mod stage;
pub mod story;
pub mod tls;
pub mod visitor;
pub mod wait;
pub mod workstation;

pub use saml::idp as saml_idp;
pub use tls::install_crypto;
