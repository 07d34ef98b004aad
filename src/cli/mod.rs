//! What people type, beside the two sides themselves.

pub mod audit_log;
pub mod authn_config;
mod cache;
pub mod client;
mod credential;
mod kubeconfig;
mod loopback;
mod oidc;
pub mod people;
pub mod plugin;
pub mod saml_check;
pub mod why;

/// Text that came from elsewhere, for a terminal: nothing in it moves the cursor, hides what was
/// printed or begins a line that looks like ours.
pub fn printable(text: &str) -> String {
    let steers = |c: char| {
        // the marks that turn the direction of writing, and invisible ones
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) { printable.extend(c.escape_default()) } else { printable.push(c) }
    }
    printable
}
