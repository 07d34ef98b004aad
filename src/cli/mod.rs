//! What people type, beside the two sides themselves.

pub mod authn_config;
pub mod people;
pub mod saml_check;
