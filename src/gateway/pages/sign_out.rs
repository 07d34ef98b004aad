//! Signing out, here or of a session elsewhere.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use axum_extra::extract::CookieJar;
use jiff::Timestamp;
use maud::html;
use uuid::Uuid;

use super::{
    layout::{Width, page},
    problem::nothing_here,
};
use crate::{
    gateway::{Gateway, cookies, problem::Problem, sign_in},
    ledger::{AuditLine, Standing},
};

/// For who typed the address: a link alone never signs anybody out.
pub(super) async fn ask(State(gateway): State<Gateway>) -> Response {
    let content = html! {
        div.card {
            h1 { "Sign out?" }
            p { "This ends your session in this browser, and what kubectl and other programs got by it." }
            form method="post" action="/sign-out" { button type="submit" { "Sign out" } }
        }
    };
    page(&gateway, "Sign out", Width::Narrow, None, &content).into_response()
}

pub(super) async fn sign_out(State(gateway): State<Gateway>, jar: CookieJar) -> Response {
    match end_own(&gateway, jar).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&gateway).await,
    }
}

/// A session of one's own, by its id.
pub(super) async fn end(
    State(gateway): State<Gateway>,
    jar: CookieJar,
    Path(session): Path<String>,
) -> Response {
    match end_beside(&gateway, jar, &session).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&gateway).await,
    }
}

async fn end_own(gateway: &Gateway, jar: CookieJar) -> Result<Response, Problem> {
    if let Some(standing) = sign_in::current(gateway, &jar).await? {
        note(gateway, &standing).await?;
    }
    // it ends even where its connection is suspended, and would come back with it
    if let Some(hash) = cookies::session(&jar) {
        gateway.ledger.end_session_of_cookie(hash).await?;
    }
    let content = html! {
        div.card {
            h1 { "You are signed out" }
            p { "Your session here is over. Your company’s login may still know this browser: on a shared computer, sign out there too." }
            p { a.button href="/sign-in" { "Sign in again" } }
        }
    };
    let page = page(gateway, "Signed out", Width::Narrow, None, &content);
    Ok((cookies::end_session(jar), page).into_response())
}

async fn end_beside(gateway: &Gateway, jar: CookieJar, session: &str) -> Result<Response, Problem> {
    let Some(standing) = sign_in::current(gateway, &jar).await? else {
        return Ok(Redirect::to("/sign-in").into_response());
    };
    let Ok(session) = session.parse::<Uuid>() else { return Ok(nothing_here(gateway)) };
    if session == standing.session {
        return end_own(gateway, jar).await;
    }
    if !gateway.ledger.end_session(standing.session, session).await? {
        return Ok(nothing_here(gateway));
    }
    note(gateway, &standing).await?;
    Ok(Redirect::to("/").into_response())
}

async fn note(gateway: &Gateway, standing: &Standing) -> Result<(), Problem> {
    let line = AuditLine {
        at: Timestamp::now(),
        actor: format!("person:{}", standing.email),
        action: "session.end".into(),
        subject: standing.email.clone(),
        detail: None,
        reference: None,
    };
    Ok(gateway.ledger.audit(&standing.organization, &line).await?)
}
