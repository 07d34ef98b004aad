pub mod api;
pub mod fetch;
pub mod ledger;
pub mod saml;
