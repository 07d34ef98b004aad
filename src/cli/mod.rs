//! What people type, beside the two sides themselves.

pub mod people;
pub mod saml_check;
