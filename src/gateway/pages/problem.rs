//! What is told to somebody for whom it didn't work: what happened, what to do, and the reference
//! that leads an administrator to the line of the audit log.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use maud::{Markup, html};

use super::layout::{Width, page};
use crate::gateway::{Gateway, problem::Advice};

/// `organization` is its namespace, where it is known; `reference` is what the audit log knows the
/// case by.
pub(in crate::gateway) fn problem(
    gateway: &Gateway,
    advice: Advice,
    organization: Option<&str>,
    reference: Option<&str>,
) -> Markup {
    let (title, happened, todo) = match advice {
        Advice::StartAgain => (
            "Please start again",
            "This sign-in took too long, is finished already, or began in another browser.",
            "Start again from the beginning. If you were signing in to a program, such as kubectl, start again there.",
        ),
        Advice::AskAdministrator => (
            "Your company’s login didn’t work",
            "What your company’s login sent, or how it is connected here, is not as it must be. You did nothing wrong.",
            match reference {
                Some(_) => {
                    "Tell your administrator the reference below. It leads them to what is wrong."
                }
                None => {
                    "Sign in from this site’s start page. If it stays like this, tell your administrator."
                }
            },
        ),
        Advice::NotAdmitted => (
            "You don’t have access",
            "Your company’s login knows you, but you are not, or no longer, among the people who are let in here.",
            "Ask your administrator to give you access, and tell them the reference below.",
        ),
        Advice::BadRequest => (
            "This request can’t be answered",
            "The program or link that sent you here asked for something that isn’t possible.",
            "Tell whoever runs that program the reference below. Trying again won’t help.",
        ),
        Advice::TooMany => (
            "Too many attempts",
            "There were too many attempts from where you are in a short time.",
            "Wait a minute, then try again.",
        ),
        Advice::TryLater => (
            "Not available just now",
            "Something doesn’t work on our side at the moment.",
            "Try again in a minute. If it stays like this, tell your administrator.",
        ),
    };
    let again = matches!(advice, Advice::StartAgain | Advice::TooMany | Advice::TryLater);
    let content = html! {
        div.card {
            div role="alert" {
                h1 { (title) }
                p { (happened) }
            }
            @if let Some(organization) = organization {
                p.quiet { "Organization: " strong { (organization) } }
            }
            p { strong { "What to do: " } (todo) }
            @if let Some(reference) = reference {
                p { "Reference: " code.reference { (reference) } }
            }
            @if again {
                p { a.button href="/" { "Start again" } }
            }
        }
    };
    page(gateway, title, Width::Narrow, None, &content)
}

/// For an address at which there is nothing.
pub(in crate::gateway) fn nothing_here(gateway: &Gateway) -> Response {
    let content = html! {
        div.card {
            h1 { "There is nothing here" }
            p { "The address may be mistyped, or what was here is gone." }
            p { a.button href="/" { "Go to the start page" } }
        }
    };
    let page = page(gateway, "There is nothing here", Width::Narrow, None, &content);
    (StatusCode::NOT_FOUND, page).into_response()
}
