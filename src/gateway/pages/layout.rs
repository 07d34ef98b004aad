//! What all pages have in common.

use maud::{DOCTYPE, Markup, html};

use super::assets::{MARK, STYLE};
use crate::{gateway::Gateway, ledger::Standing};

/// How much room a page takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// A form or a few sentences.
    Narrow,
    Wide,
}

/// A whole page. `title` is what the tab says; `content` has the one `h1`. `who` has signed in.
pub(super) fn page(
    gateway: &Gateway,
    title: &str,
    width: Width,
    who: Option<&Standing>,
    content: &Markup,
) -> Markup {
    page_with_head(gateway, title, width, who, content, &Markup::default())
}

/// [`page`], with something more in the head.
pub(super) fn page_with_head(
    gateway: &Gateway,
    title: &str,
    width: Width,
    who: Option<&Standing>,
    content: &Markup,
    head: &Markup,
) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Rollcall" }
                link rel="stylesheet" href=(STYLE.path());
                link rel="icon" type="image/svg+xml" href=(MARK.path());
                (head)
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header.bar {
                    div {
                        a.brand href="/" {
                            img src=(MARK.path()) width="28" height="28" alt="";
                            "Rollcall"
                        }
                        @if let Some(who) = who {
                            div.who {
                                span { (who.email) }
                                form method="post" action="/sign-out" {
                                    button.plain type="submit" { "Sign out" }
                                }
                            }
                        }
                    }
                }
                main #content tabindex="-1" .narrow[width == Width::Narrow] { (content) }
                // whoever is asked to type something here can see where they are
                footer { "Rollcall at " (gateway.public_url.host_str().unwrap_or_default()) }
            }
        }
    }
}
