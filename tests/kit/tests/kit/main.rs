//! What the tests of Rollcall rely on: that the kit's parts are real, answer as they are told to,
//! and leave nothing behind.

mod browser;
mod control_plane;
mod dns;
mod keycloak;
mod process;
mod saml;
mod saml_idp;
mod site;
