//! What people see in a browser.

use maud::{DOCTYPE, Markup, html};

use super::problem::Advice;

/// What is told to somebody for whom it didn't work.
pub(super) fn problem(advice: Advice, reference: &str) -> Markup {
    let (title, text) = match advice {
        Advice::StartAgain => {
            ("Please start again", "This sign-in is too old, or began in another browser.")
        }
        Advice::AskAdministrator => (
            "Your company's login didn't work",
            "Tell your administrator the reference below: it leads them to what is wrong.",
        ),
        Advice::NotAdmitted => (
            "You have no access",
            "Your company's login knows you, but you are not among those who are let in. Ask your administrator.",
        ),
        Advice::BadRequest => (
            "That request is wrong",
            "The program that sent you here made a mistake. Tell whoever runs it.",
        ),
        Advice::TooMany => ("Too many attempts", "Wait a minute, then try again."),
        Advice::TryLater => ("Not available just now", "Try again in a minute."),
    };
    layout(
        title,
        &html! {
            h1 { (title) }
            p { (text) }
            p { "Reference: " code { (reference) } }
        },
    )
}

/// Asks whether somebody wants to be who their company's login says, where they didn't begin here.
pub(super) fn confirm(email: &str, organization: &str, answer: &str) -> Markup {
    layout(
        "Sign in",
        &html! {
            h1 { "Sign in as " (email) "?" }
            p { "You come from the login of " (organization) "." }
            form method="post" action="/sso/continue" {
                input type="hidden" name="answer" value=(answer);
                button type="submit" { "Sign in" }
            }
        },
    )
}

fn layout(title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
            }
            body { main { (content) } }
        }
    }
}
