//! The question to somebody who has signed in, whether the program on their machine that asks who
//! they are is theirs: a link may have led them here for somebody else's.

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Redirect, Response},
};
use axum_extra::extract::CookieJar;
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    layout::{Width, page},
    sign_in::{called, flow_of, start_again, waiting},
};
use crate::{
    gateway::{Gateway, oidc::issuer, problem::Problem, sign_in},
    ledger::Standing,
};

/// Asks whether `who` wants to go on to the client, whose request waits in this flow. The answer is
/// a link: browsers would apply `form-action` to what follows a form, the client's address included.
/// Nobody but this page knows the flow's id.
pub(in crate::gateway) fn go_on(
    gateway: &Gateway,
    client: &str,
    who: &Standing,
    flow: Uuid,
) -> Markup {
    let client = called(client);
    let content = html! {
        div.card {
            h1 { "Continue to " (client) "?" }
            p { "A program on your computer asks who you are: " strong { (who.email) } "." }
            p { "Go on only if you have just started it yourself. Otherwise close this page." }
            p { a.button href={ "/sign-in/go-on?flow=" (flow) } { "Continue" } }
            p.small { a href={ "/sign-in?flow=" (flow) } { "Sign in as somebody else" } }
        }
    };
    page(gateway, &format!("Continue to {client}"), Width::Narrow, None, &content)
}

#[derive(Deserialize)]
pub(super) struct Chosen {
    flow: String,
}

/// They want to.
pub(super) async fn go(
    State(gateway): State<Gateway>,
    jar: CookieJar,
    query: Result<Query<Chosen>, QueryRejection>,
) -> Response {
    let Ok(Query(Chosen { flow })) = query else {
        return start_again("the link is not whole").respond(&gateway).await;
    };
    match onward(&gateway, &jar, &flow).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&gateway).await,
    }
}

async fn onward(gateway: &Gateway, jar: &CookieJar, flow: &str) -> Result<Response, Problem> {
    let flow = flow_of(gateway, jar, flow).await?;
    let anew = waiting(&flow).is_none_or(|waiting| waiting.fresh);
    let standing = sign_in::current(gateway, jar).await?.filter(|_| !anew);
    let (Some(standing), Some(request)) = (standing, &flow.request) else {
        return Ok(Redirect::to(&format!("/sign-in?flow={}", flow.id)).into_response());
    };
    if !gateway.ledger.end_flow(flow.id, Timestamp::now()).await? {
        return Err(start_again("the sign-in is finished already"));
    }
    Ok(issuer::complete(gateway, request, &standing).await)
}
