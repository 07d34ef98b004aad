pub mod api;
pub mod ledger;
