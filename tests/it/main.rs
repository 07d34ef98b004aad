//! Rollcall as its users meet it: on a real API server, installed by its chart, under exactly the
//! chart's rights and policies.

mod api;
mod authn_config;
mod chart;
mod connections;
mod directories;
mod domains;
mod fuzz_seeds;
mod generated;
mod issuer;
mod login;
mod operations;
mod plugin;
mod policies;
mod rights;
mod saml;
mod story;
mod teams;
mod world;
