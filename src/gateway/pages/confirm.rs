//! The question to somebody who didn't begin here.

use maud::{Markup, html};

use super::layout::{Width, page};
use crate::gateway::Gateway;

/// Asks whether somebody wants to be who their company's login says, where they didn't begin here:
/// another site may have sent them, to have them work in an account that isn't theirs.
pub(in crate::gateway) fn confirm(
    gateway: &Gateway,
    email: &str,
    organization: &str,
    answer: &str,
) -> Markup {
    let content = html! {
        div.card {
            h1 { "Sign in as " (email) "?" }
            p { "You come from the login of " strong { (organization) } "." }
            p { "Go on only if this is you, and you chose to sign in. Otherwise close this page." }
            form method="post" action="/sso/continue" {
                input type="hidden" name="answer" value=(answer);
                button type="submit" { "Yes, sign in" }
            }
        }
    };
    page(gateway, "Confirm that this is you", Width::Narrow, None, &content)
}
