//! Rollcall as its users meet it: on a real API server, installed by its chart, under exactly the
//! chart's rights and policies.

mod acs;
mod api;
mod authn_config;
mod chart;
mod clients;
mod company;
mod connections;
mod directories;
mod domains;
mod ending;
mod fuzz_seeds;
mod generated;
mod issuer;
mod keycloak;
mod login;
mod looks;
mod operations;
mod plugin;
mod policies;
mod postgres;
mod restore;
mod rights;
mod saml;
mod scim;
mod shared;
mod story;
mod teams;
mod uninstall;
mod world;
