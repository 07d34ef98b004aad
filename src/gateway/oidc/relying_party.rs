//! The relying party: people of a company sign in by its own OpenID provider.

use crate::{
    gateway::{
        Gateway,
        problem::{Advice, Problem},
        secret::Secret,
        sign_in::Departure,
    },
    ledger::OpenConnection,
};

/// Where the browser goes, and what the answer must fit.
pub(in crate::gateway) async fn depart(
    _gateway: &Gateway,
    _open: &OpenConnection,
    _state: &Secret,
    _email: &str,
    _fresh: bool,
) -> Result<(Departure, String), Problem> {
    Err(Problem::new(Advice::AskAdministrator, "OpenID providers can't be signed in by yet"))
}
