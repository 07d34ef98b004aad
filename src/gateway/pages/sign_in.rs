//! Signing in by e-mail: the address leads to the company's own login.

use axum::{
    Extension, Form,
    extract::{
        Query, State,
        rejection::{FormRejection, QueryRejection},
    },
    http::{StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use axum_extra::extract::CookieJar;
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::layout::{Width, page, page_with_head};
use crate::{
    email::Email,
    gateway::{
        Gateway,
        address::ClientAddress,
        cookies,
        headers::FORM_TO_COMPANY,
        limits::Limits,
        oidc::issuer::Waiting,
        problem::{Advice, Problem},
        sign_in::{self, Departure},
    },
    ledger::Flow,
};

/// As long as an address may be (RFC 5321, section 4.5.3.1.3, without the brackets).
const MAX_EMAIL: usize = 254;

#[derive(Deserialize)]
pub(super) struct Asked {
    flow: Option<String>,
    login_hint: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Typed {
    email: String,
    #[serde(default)]
    flow: String,
}

/// What is wrong with what was typed.
#[derive(Clone, Copy)]
enum Mistake {
    NotAnAddress,
    /// The same for unknown people and unknown domains.
    Unknown,
}

pub(super) async fn show(
    State(gateway): State<Gateway>,
    jar: CookieJar,
    query: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let Ok(Query(asked)) = query else {
        return start_again("the link is not whole").respond(&gateway).await;
    };
    match form(&gateway, &jar, &asked).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&gateway).await,
    }
}

async fn form(gateway: &Gateway, jar: &CookieJar, asked: &Asked) -> Result<Response, Problem> {
    let flow = match &asked.flow {
        Some(flow) => Some(flow_of(gateway, jar, flow).await?),
        None if sign_in::current(gateway, jar).await?.is_some() => {
            return Ok(Redirect::to("/").into_response());
        }
        None => None,
    };
    let email = asked.login_hint.as_deref().unwrap_or_default();
    let email = if email.len() <= MAX_EMAIL { email } else { "" };
    Ok(form_page(gateway, flow.as_ref(), email, None).into_response())
}

pub(super) async fn submit(
    State(gateway): State<Gateway>,
    jar: CookieJar,
    Extension(limits): Extension<Limits>,
    address: Option<Extension<ClientAddress>>,
    form: Result<Form<Typed>, FormRejection>,
) -> Response {
    let Ok(Form(typed)) = form else {
        return start_again("the form is not whole").respond(&gateway).await;
    };
    let address = address.map(|Extension(address)| address);
    if let Err(refused) = limits.person(address, &typed.email) {
        return refused.page(&gateway);
    }
    match depart(&gateway, jar, &typed).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&gateway).await,
    }
}

async fn depart(gateway: &Gateway, jar: CookieJar, typed: &Typed) -> Result<Response, Problem> {
    let flow = match typed.flow.as_str() {
        "" => None,
        flow => Some(flow_of(gateway, &jar, flow).await?),
    };
    let email = typed.email.trim();
    let again = |mistake| {
        let page = form_page(gateway, flow.as_ref(), email, Some(mistake));
        Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
    };
    if Email::parse(email).is_none() {
        return again(Mistake::NotAnAddress);
    }
    let Some(open) = sign_in::connection_of(gateway, email).await? else {
        return again(Mistake::Unknown);
    };
    let fresh = flow.as_ref().and_then(waiting).is_some_and(|waiting| waiting.fresh);
    let (jar, id) = match flow {
        Some(flow) => (jar, flow.id),
        None => sign_in::begin(gateway, jar, None).await?,
    };
    let (jar, browser) = cookies::browser(jar)?;
    let departure = sign_in::depart(gateway, browser, id, &open, email, fresh).await?;
    Ok((jar, departure_page(gateway, &open.route.namespace, &departure)).into_response())
}

/// The flow that this browser is in.
pub(super) async fn flow_of(gateway: &Gateway, jar: &CookieJar, id: &str) -> Result<Flow, Problem> {
    let (Ok(id), Some(browser)) = (id.parse::<Uuid>(), cookies::known_browser(jar)) else {
        return Err(start_again("the sign-in is not of this browser"));
    };
    let flow = gateway.ledger.flow(id, browser, Timestamp::now()).await?;
    flow.ok_or_else(|| start_again("the sign-in is not of this browser, or too old"))
}

fn form_page(
    gateway: &Gateway,
    flow: Option<&Flow>,
    email: &str,
    mistake: Option<Mistake>,
) -> Markup {
    let title = match mistake {
        None => "Sign in",
        Some(_) => "Try again: sign in", // the first thing that a screen reader says
    };
    let content = html! {
        div.card {
            h1 { "Sign in" }
            @match flow.and_then(client) {
                Some(client) => p { "With your company’s login, to continue to " strong { (client) } "." },
                None => p { "With your company’s login." },
            }
            @match mistake {
                Some(Mistake::NotAnAddress) => {
                    p.error #email-error role="alert" { "Write your whole e-mail address, such as ada@example.com." }
                }
                Some(Mistake::Unknown) => {
                    p.error #email-error role="alert" {
                        "Nobody can sign in with this address here. Is it your work address, and spelled right? If it is, ask your administrator whether your company’s login is connected."
                    }
                }
                None => {}
            }
            form method="post" action="/sign-in" novalidate {
                @if let Some(flow) = flow {
                    input type="hidden" name="flow" value=(flow.id);
                }
                label for="email" { "Work e-mail" }
                input #email type="email" name="email" value=(email) autocomplete="username"
                    autocapitalize="none" spellcheck="false" required autofocus
                    aria-invalid=[mistake.map(|_| "true")]
                    aria-describedby=[mistake.map(|_| "email-error")];
                button type="submit" { "Continue" }
            }
        }
        p.quiet.small { "You will be sent to your company’s own login page. Rollcall never asks for your password." }
    };
    page(gateway, title, Width::Narrow, None, &content)
}

/// On to the company IdP. Not by a redirect: that would be part of the form's submission, and
/// Chromium applies `form-action` to each step from there to the end, the company's login and a
/// client's loopback address included. This page ends the submission, so that `form-action 'self'`
/// can stand; what follows is a navigation of its own.
pub(super) fn departure_page(
    gateway: &Gateway,
    organization: &str,
    departure: &Departure,
) -> Response {
    let lead = html! {
        h1 { "Continue to your company’s login" }
        p role="status" { "You are on your way to the login of " strong { (organization) } "." }
    };
    let (content, head) = match departure {
        Departure::Redirect(url) => (
            html! {
                div.card {
                    (lead)
                    p { a #continue .button href=(url) { "Continue" } }
                }
            },
            html! { meta http-equiv="refresh" content={ "0; url=" (url) }; },
        ),
        Departure::Post { action, fields } => (
            html! {
                div.card {
                    (lead)
                    form method="post" action=(action) {
                        @for (name, value) in fields {
                            input type="hidden" name=(name) value=(value);
                        }
                        button type="submit" autofocus { "Continue" }
                    }
                }
            },
            Markup::default(),
        ),
    };
    let page = page_with_head(
        gateway,
        "Continue to your company’s login",
        Width::Narrow,
        None,
        &content,
        &head,
    );
    match departure {
        Departure::Redirect(_) => page.into_response(),
        Departure::Post { .. } => {
            ([(header::CONTENT_SECURITY_POLICY, FORM_TO_COMPANY)], page).into_response()
        }
    }
}

/// What the client that asked is called.
fn client(flow: &Flow) -> Option<String> {
    Some(called(&waiting(flow)?.client).to_owned())
}

/// What people call the client of this id.
pub(super) fn called(client: &str) -> &str {
    if client == "kubernetes" { "kubectl" } else { client }
}

pub(super) fn waiting(flow: &Flow) -> Option<Waiting> {
    Waiting::read(flow.request.as_deref()?)
}

pub(super) fn start_again(detail: &str) -> Problem {
    Problem::new(Advice::StartAgain, detail)
}
