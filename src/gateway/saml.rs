//! The SAML service provider's addresses.

use super::{
    Gateway,
    problem::{Advice, Problem},
    secret::Secret,
    sign_in::Departure,
};
use crate::ledger::OpenConnection;

/// Where the browser goes, and what the answer must fit.
pub(super) async fn depart(
    _gateway: &Gateway,
    _open: &OpenConnection,
    _state: &Secret,
    _fresh: bool,
) -> Result<(Departure, String), Problem> {
    Err(Problem::new(Advice::AskAdministrator, "SAML can't be signed in by yet"))
}
