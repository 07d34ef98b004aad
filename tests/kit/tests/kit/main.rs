//! What the tests of Rollcall rely on: that the kit's parts are real, answer as they are told to,
//! and leave nothing behind.

mod control_plane;
mod dns;
mod process;
mod saml_idp;
