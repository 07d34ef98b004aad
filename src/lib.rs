//! Rollcall: enterprise single sign-on and directory sync for Kubernetes, declared as YAML.
//!
//! Two sides meet in the [`ledger`]: [`controllers`] reconcile the kinds of [`api`], the gateway
//! serves the company IdPs and knows no Kubernetes.

pub mod api;
pub mod cli;
pub mod controllers;
pub mod dns;
pub mod email;
pub mod fetch;
pub mod gateway;
pub mod health;
pub mod keys;
pub mod ledger;
pub mod oidc;
pub mod saml;
pub mod telemetry;
pub mod text;
