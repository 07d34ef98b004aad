//! From somebody who says who they are to their session: begin, depart to the company IdP, answer,
//! finish. What the company IdP says is checked by the protocols' own rooms; who is let in is
//! decided by the ledger.
//!
//! An answer is finished only by who has both the cookie of the browser that began and what the
//! browser that brought the answer was given. So nobody is signed in as somebody else by a prepared
//! link, and nobody gets the session of whom they sent to a company IdP.

use axum::{
    Form, Router,
    extract::{
        Query, State,
        rejection::{FormRejection, QueryRejection},
    },
    http::{HeaderMap, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use axum_extra::extract::CookieJar;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    Gateway, cookies,
    oidc::{issuer, relying_party},
    pages,
    problem::{Advice, Problem},
    same_origin, saml,
    secret::{self, Secret},
};
use crate::{
    email::Email,
    ledger::{Asserted, Awaited, Hash, NewSession, OpenConnection, Protocol, Route, Standing},
};

/// How long somebody may take to sign in.
const PATIENCE: SignedDuration = SignedDuration::from_mins(15);
/// How much is kept of what a browser calls itself, in bytes.
const MAX_BROWSER: usize = 200;

pub(super) fn routes(gateway: &Gateway) -> Router<Gateway> {
    Router::new()
        .route("/sso/continue", get(resume).post(confirm))
        .layer(from_fn_with_state(gateway.clone(), same_origin::require))
}

/// How the browser gets to the company IdP.
pub(super) enum Departure {
    /// A link to it, which holds all.
    Redirect(String),
    /// A form that is posted to it.
    Post { action: String, fields: Vec<(&'static str, String)> },
}

/// Who has this browser's session, if they still have access.
pub(super) async fn current(
    gateway: &Gateway,
    jar: &CookieJar,
) -> Result<Option<Standing>, Problem> {
    let Some(hash) = cookies::session(jar) else { return Ok(None) };
    Ok(gateway.ledger.standing_of_cookie(hash, Timestamp::now()).await?)
}

/// Begin a sign-in in this browser, and answer with its id, for `/sign-in?flow=<id>`. `request` is
/// the client's authorization request that shall be answered at its end.
pub(super) async fn begin(
    gateway: &Gateway,
    jar: CookieJar,
    request: Option<&str>,
) -> Result<(CookieJar, Uuid), Problem> {
    let (jar, browser) = cookies::browser(jar)?;
    let id = gateway.ledger.begin_flow(browser, request, ends(Timestamp::now())).await?;
    Ok((jar, id))
}

/// The connection of who has this e-mail, if its domain leads to one. Nothing is looked up of the
/// person.
pub(super) async fn connection_of(
    gateway: &Gateway,
    email: &str,
) -> Result<Option<OpenConnection>, Problem> {
    let Some(Email { domain, .. }) = Email::parse(email.trim()) else { return Ok(None) };
    let Some(Route { organization, connection, .. }) = gateway.ledger.route(&domain).await? else {
        return Ok(None);
    };
    Ok(gateway.ledger.open_connection_of(&organization, &connection).await?)
}

/// Send a flow of this browser to a connection. `fresh`: the company IdP shall ask for credentials
/// even if it knows the browser. `email` is passed on as a hint.
pub(super) async fn depart(
    gateway: &Gateway,
    browser: Hash,
    flow: Uuid,
    open: &OpenConnection,
    email: &str,
    fresh: bool,
) -> Result<Departure, Problem> {
    let state = Secret::new()?;
    let (departure, challenge) = match &open.rules.protocol {
        Protocol::Saml => saml::depart(gateway, open, &state, fresh).await?,
        Protocol::Oidc { .. } => relying_party::depart(gateway, open, &state, email, fresh).await?,
    };
    let now = Timestamp::now();
    let routed = gateway
        .ledger
        .route_flow(flow, browser, &open.route, state.hash(), &challenge, now)
        .await?;
    if routed {
        Ok(departure)
    } else {
        Err(Problem::new(Advice::StartAgain, "the sign-in is not of this browser, or too old"))
    }
}

/// The sign-in that awaits an answer with this state by this connection: an answer for another
/// connection is nobody's.
pub(super) async fn awaited(
    gateway: &Gateway,
    route: &Route,
    state: &str,
) -> Result<Option<Awaited>, Problem> {
    let awaited = gateway.ledger.awaited(secret::hash(state), Timestamp::now()).await?;
    Ok(awaited.filter(|awaited| {
        awaited.organization == route.organization && awaited.connection == route.connection
    }))
}

/// Count an answer that is refused: each costs something, and whoever has a state could bring any
/// number.
pub(super) async fn refused(gateway: &Gateway, awaited: &Awaited, problem: Problem) -> Problem {
    match gateway.ledger.refuse_answer(awaited).await {
        Ok(()) => problem,
        Err(error) => error.into(),
    }
}

/// Keep the answer to a flow, and send the browser that brought it on to our own site. `seen` is
/// the assertion that must be new, and until when that must be known.
pub(super) async fn answer(
    gateway: &Gateway,
    awaited: &Awaited,
    seen: Option<(Hash, Timestamp)>,
    asserted: &Asserted,
) -> Result<Response, Problem> {
    let continuation = Secret::new()?;
    let now = Timestamp::now();
    let hash = continuation.hash();
    if gateway.ledger.answer_flow(awaited, seen, asserted, hash, now).await? {
        let to = format!("/sso/continue?answer={}", continuation.as_text());
        return Ok(Redirect::to(&to).into_response());
    }
    let detail = "the answer was presented before, or the sign-in was sent elsewhere meanwhile";
    Err(Problem::new(Advice::StartAgain, detail))
}

/// Keep an answer that nobody here asked for, and ask its browser's person whether they want to be
/// who it says: another site may have sent them.
pub(super) async fn answer_unasked(
    gateway: &Gateway,
    jar: CookieJar,
    namespace: &str,
    seen: (Hash, Timestamp),
    asserted: &Asserted,
) -> Result<Response, Problem> {
    let (jar, browser) = cookies::unasked(jar)?;
    let continuation = Secret::new()?;
    let ends = ends(Timestamp::now());
    let hashes = (browser, continuation.hash());
    if gateway.ledger.answer_unasked(seen, asserted, hashes, ends).await? {
        let page = pages::confirm(gateway, &asserted.email, namespace, continuation.as_text());
        return Ok((jar, page).into_response());
    }
    Err(Problem::new(Advice::StartAgain, "the answer was presented before"))
}

#[derive(Deserialize)]
struct Continuation {
    answer: String,
}

/// Where the answer to what was begun here leads.
async fn resume(
    State(gateway): State<Gateway>,
    jar: CookieJar,
    headers: HeaderMap,
    query: Result<Query<Continuation>, QueryRejection>,
) -> Response {
    let Ok(Query(Continuation { answer })) = query else {
        return start_again("the link is not whole").respond(&gateway).await;
    };
    let browser = cookies::known_browser(&jar);
    match finish(&gateway, jar, browser, &headers, &answer).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&gateway).await,
    }
}

/// The person wants to be who the company IdP says they are.
async fn confirm(
    State(gateway): State<Gateway>,
    jar: CookieJar,
    headers: HeaderMap,
    form: Result<Form<Continuation>, FormRejection>,
) -> Response {
    let Ok(Form(Continuation { answer })) = form else {
        return start_again("the form is not whole").respond(&gateway).await;
    };
    let browser = cookies::known_unasked(&jar);
    match finish(&gateway, jar, browser, &headers, &answer).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&gateway).await,
    }
}

/// `browser` is what tells the browser that began, or that brought what nobody asked for.
async fn finish(
    gateway: &Gateway,
    jar: CookieJar,
    browser: Option<Hash>,
    headers: &HeaderMap,
    answer: &str,
) -> Result<Response, Problem> {
    let now = Timestamp::now();
    let browser = browser
        .ok_or_else(|| start_again("the browser that came back is not the one that began"))?;
    let answered = gateway
        .ledger
        .finish_flow(secret::hash(answer), browser, now)
        .await?
        .ok_or_else(|| start_again("the sign-in is finished, too old, or another browser's"))?;
    let asserted = &answered.asserted;
    let problem = |detail: String| {
        Problem::new(Advice::NotAdmitted, detail)
            .of(&asserted.organization, format!("connection:{}", asserted.connection))
            .about(&asserted.email)
    };
    let cookie = Secret::new()?;
    let session = NewSession {
        hash: cookie.hash(),
        browser: user_agent(headers),
        replaces: cookies::session(&jar),
    };
    let admitted = gateway.ledger.admit(asserted, &session, now).await?;
    let session = admitted.map_err(|refused| problem(format!("{}: {refused}", refused.name())))?;
    let standing = gateway.ledger.standing_of_session(session, now).await?;
    let standing = standing.ok_or_else(|| problem("access ended during the sign-in".into()))?;
    let onward = match &answered.request {
        Some(request) => issuer::complete(gateway, request, &standing).await,
        None => Redirect::to("/").into_response(),
    };
    Ok((cookies::begin_session(jar, cookie), onward).into_response())
}

fn start_again(detail: &str) -> Problem {
    Problem::new(Advice::StartAgain, detail)
}

fn ends(now: Timestamp) -> Timestamp {
    now.checked_add(PATIENCE).unwrap_or(Timestamp::MAX)
}

/// What the browser calls itself, cut, without what could disturb a page or a terminal.
fn user_agent(headers: &HeaderMap) -> String {
    let said = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let said = said.unwrap_or("unknown").chars().filter(|c| !c.is_control());
    said.take(MAX_BROWSER).collect()
}
