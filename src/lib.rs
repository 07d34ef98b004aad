pub mod api;
pub mod fetch;
pub mod ledger;
