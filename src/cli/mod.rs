//! What people type, beside the two sides themselves.

pub mod audit_log;
pub mod authn_config;
mod cache;
pub mod client;
mod credential;
pub mod dns;
pub mod domain_explain;
pub mod domains;
mod kubeconfig;
mod loopback;
mod oidc;
pub mod people;
pub mod plugin;
pub mod saml_check;
pub mod why;

use crate::text::unseen;

/// Text that came from elsewhere, for a terminal: nothing in it moves the cursor, hides what was
/// printed or begins a line that looks like ours.
pub fn printable(text: &str) -> String {
    // among those are the marks that turn the direction of writing; two end lines
    let steers = |c: char| unseen(c) || matches!(c, '\u{2028}' | '\u{2029}');
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) { printable.extend(c.escape_default()) } else { printable.push(c) }
    }
    printable
}
