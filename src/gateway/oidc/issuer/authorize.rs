//! A client asks for somebody to sign in (OpenID Connect Core, section 3.1.2; RFC 6749, section
//! 4.1.1; RFC 7636). What is wrong before the redirect URI is known to be the client's is shown as
//! a page; what is wrong after that is the client's to hear.

use axum::{
    extract::{RawForm, RawQuery, State, rejection::RawFormRejection},
    http::header,
    response::{IntoResponse, Redirect, Response},
};
use axum_extra::extract::CookieJar;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use super::{
    OFFLINE, SCOPES,
    claims::objection,
    client::{Clients, KUBERNETES, redirects_to},
    has, issuer,
    params::Params,
};
use crate::{
    gateway::{
        Gateway, pages,
        problem::{Advice, Problem},
        secret::Secret,
        sign_in,
    },
    ledger::{AuditLine, Code, Standing},
};

/// How long a code is good.
const CODE: SignedDuration = SignedDuration::from_secs(60);
/// How large a request may be, in bytes: it is kept while somebody signs in.
const MAX_QUERY: usize = 8 * 1024;
/// How much is kept of what was wrong, in characters.
const MAX_DETAIL: usize = 400;
/// How much of `login_hint` is passed on, in bytes: the longest e-mail address.
const MAX_HINT: usize = 254;

/// `consent` asks nothing: the platform consents by listing the client. `select_account` signs in
/// anew, since the company's login is where accounts are chosen.
pub(super) const PROMPTS: [&str; 4] = ["none", "login", "consent", "select_account"];

/// An authorization request that was found good, but for who will sign in. It waits in the ledger.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
struct Request {
    client: String,
    redirect_uri: String,
    state: Option<String>,
    nonce: Option<String>,
    /// As granted.
    scope: String,
    /// PKCE, S256.
    challenge: String,
    /// Whether the company IdP shall ask for credentials even if it knows the browser.
    fresh: bool,
}

/// How a request wants to be answered.
#[derive(Debug, PartialEq, Eq)]
struct Manner {
    /// Nothing may be shown.
    silent: bool,
    /// How long ago somebody may have signed in, in seconds.
    max_age: Option<i64>,
    login_hint: Option<String>,
}

/// What a client is told at its redirect URI.
#[derive(Debug, PartialEq, Eq)]
struct Fault(&'static str, &'static str);

/// The same by GET: another site's form brings no cookies, its link does.
pub(super) async fn post(
    State(gateway): State<Gateway>,
    body: Result<RawForm, RawFormRejection>,
) -> Response {
    let query = body.ok().and_then(|RawForm(body)| String::from_utf8(body.to_vec()).ok());
    match query
        .filter(|query| query.len() <= MAX_QUERY && query.bytes().all(|b| b.is_ascii_graphic()))
    {
        Some(query) => {
            Redirect::to(&gateway.url(&format!("/oauth2/authorize?{query}"))).into_response()
        }
        None => {
            bad("the body is not a small application/x-www-form-urlencoded one")
                .respond(&gateway)
                .await
        }
    }
}

pub(super) async fn get(
    State(gateway): State<Gateway>,
    jar: CookieJar,
    RawQuery(query): RawQuery,
) -> Response {
    let mut response = match authorize(&gateway, jar, query.as_deref().unwrap_or_default()).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&gateway).await,
    };
    not_kept(&mut response);
    response
}

async fn authorize(gateway: &Gateway, jar: CookieJar, query: &str) -> Result<Response, Problem> {
    if query.len() > MAX_QUERY {
        return Err(bad("the authorization request is too long"));
    }
    let params = Params::parse(query.as_bytes());
    let once = |name| params.only(name).map_err(|_| bad(&format!("{name} is repeated")));
    let id = once("client_id")?.ok_or_else(|| bad("client_id is missing"))?;
    let uri = once("redirect_uri")?.ok_or_else(|| bad("redirect_uri is missing"))?;
    let clients = Clients::find(&gateway.ledger, id).await?;
    let clients = clients.ok_or_else(|| bad(&format!("there is no client {id:?}")))?;
    if !clients.redirect_to(uri) {
        return Err(bad(&format!("{uri:?} is not a redirect URI of the client {id:?}")));
    }
    // of two states neither is the client's
    let state = params.only("state").unwrap_or_default();
    let refuse = |Fault(error, description): Fault| {
        let answer = [("error", error), ("error_description", description)];
        Ok(redirect(gateway, uri, state, &answer))
    };
    let (mut request, manner) = match check(&params, id, uri) {
        Ok(checked) => checked,
        Err(fault) => return refuse(fault),
    };
    let standing = sign_in::current(gateway, &jar).await?;
    let age = |s: &Standing| Timestamp::now().as_second() - s.authenticated_at.as_second();
    let recent = |s: &Standing| manner.max_age.is_none_or(|max| age(s) <= max);
    if let Some(standing) = standing.filter(|standing| !request.fresh && recent(standing)) {
        if !clients.anybody_at(uri) {
            return answer(gateway, &clients, &request, &standing).await;
        }
        if manner.silent {
            return refuse(Fault("interaction_required", "the person must say that it is theirs"));
        }
        let (jar, flow) = sign_in::begin(gateway, jar, Some(&kept(&request)?)).await?;
        return Ok((jar, pages::go_on(gateway, &request.client, &standing, flow)).into_response());
    }
    // the company IdP may have known the browser for longer
    request.fresh |= manner.max_age.is_some();
    if manner.silent {
        return refuse(Fault("login_required", "nobody is signed in, or not recently enough"));
    }
    let (jar, flow) = sign_in::begin(gateway, jar, Some(&kept(&request)?)).await?;
    let mut to = format!("/sign-in?flow={flow}");
    if let Some(hint) = &manner.login_hint {
        let hint: String = form_urlencoded::byte_serialize(hint.as_bytes()).collect();
        to = format!("{to}&login_hint={hint}");
    }
    Ok((jar, Redirect::to(&to)).into_response())
}

/// As it waits in the ledger.
fn kept(request: &Request) -> Result<String, Problem> {
    serde_json::to_string(request).map_err(|error| bad(&error.to_string()))
}

/// What the pages may know of a request that waits.
#[derive(Deserialize)]
pub(in crate::gateway) struct Waiting {
    /// The client's id.
    pub client: String,
    /// Whether the company IdP shall ask for credentials even if it knows the browser.
    pub fresh: bool,
}

impl Waiting {
    /// Of the request as it is kept.
    pub(in crate::gateway) fn read(request: &str) -> Option<Self> {
        serde_json::from_str(request).ok()
    }
}

/// Answer a client's authorization request, now that somebody has signed in.
pub(in crate::gateway) async fn complete(
    gateway: &Gateway,
    request: &str,
    standing: &Standing,
) -> Response {
    let mut response = match resume(gateway, request, standing).await {
        Ok(response) => response,
        Err(problem) => problem.respond(gateway).await,
    };
    not_kept(&mut response);
    response
}

async fn resume(
    gateway: &Gateway,
    request: &str,
    standing: &Standing,
) -> Result<Response, Problem> {
    let request: Request =
        serde_json::from_str(request).map_err(|_| bad("the kept request can't be read"))?;
    let clients = Clients::find(&gateway.ledger, &request.client).await?;
    let gone = || bad(&format!("there is no client {:?} any more", request.client));
    answer(gateway, &clients.ok_or_else(gone)?, &request, standing).await
}

/// Give the client of this person's class a code.
async fn answer(
    gateway: &Gateway,
    clients: &Clients,
    request: &Request,
    standing: &Standing,
) -> Result<Response, Problem> {
    let Request { client, redirect_uri, state, nonce, scope, challenge, .. } = request;
    let state = state.as_deref();
    let actor = format!("client:{client}");
    let theirs = clients.of_class(&standing.class);
    if !theirs.is_some_and(|client| redirects_to(client, redirect_uri)) {
        let detail =
            format!("the class {:?} has no such client at {redirect_uri:?}", standing.class);
        return Err(Problem::new(Advice::NotAdmitted, detail)
            .of(&standing.organization, actor)
            .about(&standing.email));
    }
    if let Some(objection) = objection(clients, standing) {
        let line = AuditLine {
            at: Timestamp::now(),
            actor,
            action: "sign-in.refused".into(),
            subject: standing.email.clone(),
            detail: Some(objection.into()),
            reference: None,
        };
        gateway.ledger.audit(&standing.organization, &line).await?;
        let answer = [("error", "access_denied"), ("error_description", objection)];
        return Ok(redirect(gateway, redirect_uri, state, &answer));
    }
    let secret = Secret::new()?;
    let code = Code {
        session: standing.session,
        client: client.clone(),
        redirect_uri: redirect_uri.clone(),
        challenge: challenge.clone(),
        nonce: nonce.clone(),
        scope: scope.clone(),
    };
    let ends = Timestamp::now().checked_add(CODE).unwrap_or(Timestamp::MAX);
    if !gateway.ledger.issue_code(secret.hash(), &code, ends).await? {
        return Err(Problem::new(Advice::StartAgain, "the session ended a moment ago")
            .of(&standing.organization, actor)
            .about(&standing.email));
    }
    Ok(redirect(gateway, redirect_uri, state, &[("code", secret.as_text())]))
}

/// What is asked for, of this client at this address, if all of it can be had.
fn check(params: &Params, client: &str, uri: &str) -> Result<(Request, Manner), Fault> {
    const INVALID: &str = "invalid_request";
    if params.each_once().is_err() {
        return Err(Fault(INVALID, "a parameter is repeated"));
    }
    if params.get("request").is_some() {
        return Err(Fault("request_not_supported", "write the parameters into the query"));
    }
    if params.get("request_uri").is_some() {
        return Err(Fault("request_uri_not_supported", "write the parameters into the query"));
    }
    if params.get("registration").is_some() {
        return Err(Fault("registration_not_supported", "clients are listed in their class"));
    }
    match params.get("response_type") {
        Some("code") => {}
        Some(_) => return Err(Fault("unsupported_response_type", "response_type is code")),
        None => return Err(Fault(INVALID, "response_type is missing")),
    }
    if params.get("response_mode").is_some_and(|mode| mode != "query") {
        return Err(Fault(INVALID, "response_mode is query"));
    }
    let challenge =
        params.get("code_challenge").ok_or(Fault(INVALID, "code_challenge is missing"))?;
    if params.get("code_challenge_method") != Some("S256") {
        return Err(Fault(INVALID, "code_challenge_method is S256"));
    }
    let base64url = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if challenge.len() != 43 || !challenge.bytes().all(base64url) {
        return Err(Fault(INVALID, "code_challenge is no SHA-256"));
    }
    let max_age = params.get("max_age").map(str::parse::<u32>).transpose();
    let max_age = max_age.map_err(|_| Fault(INVALID, "max_age is a number of seconds"))?;
    let (silent, anew) = prompts(params.get("prompt").unwrap_or_default())?;
    let hint = params.get("login_hint").filter(|hint| hint.len() <= MAX_HINT);
    let request = Request {
        client: client.to_owned(),
        redirect_uri: uri.to_owned(),
        state: params.get("state").map(str::to_owned),
        nonce: params.get("nonce").map(str::to_owned),
        scope: granted(params.get("scope").unwrap_or_default(), client)?,
        challenge: challenge.to_owned(),
        fresh: anew || max_age == Some(0),
    };
    let (max_age, login_hint) = (max_age.map(Into::into), hint.map(str::to_owned));
    Ok((request, Manner { silent, max_age, login_hint }))
}

/// Whether nothing may be shown, and whether somebody must sign in anew.
fn prompts(prompt: &str) -> Result<(bool, bool), Fault> {
    let wanted: Vec<_> = prompt.split_ascii_whitespace().collect();
    if wanted.iter().any(|one| !PROMPTS.contains(one)) {
        return Err(Fault("invalid_request", "prompt has a value that is not supported"));
    }
    let silent = wanted.contains(&"none");
    if silent && wanted.len() > 1 {
        return Err(Fault("invalid_request", "prompt is none and something else"));
    }
    Ok((silent, wanted.contains(&"login") || wanted.contains(&"select_account")))
}

/// What is known of the wanted scope. kubectl always gets refresh tokens: its ID tokens live for
/// minutes.
fn granted(scope: &str, client: &str) -> Result<String, Fault> {
    if !has(scope, "openid") {
        return Err(Fault("invalid_scope", "scope holds openid"));
    }
    let always = |part: &str| part == OFFLINE && client == KUBERNETES;
    let granted = SCOPES.into_iter().filter(|part| has(scope, part) || always(part));
    Ok(granted.collect::<Vec<_>>().join(" "))
}

/// Back to the client, which learns who answers (RFC 9207).
fn redirect(
    gateway: &Gateway,
    uri: &str,
    state: Option<&str>,
    answer: &[(&str, &str)],
) -> Response {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(answer);
    if let Some(state) = state {
        query.append_pair("state", state);
    }
    let query = query.append_pair("iss", &issuer(gateway)).finish();
    let joint = if uri.contains('?') { '&' } else { '?' };
    Redirect::to(&format!("{uri}{joint}{query}")).into_response()
}

/// Neither the code nor the address it came from shall be found anywhere later.
fn not_kept(response: &mut Response) {
    for (name, value) in
        [(header::CACHE_CONTROL, "no-store"), (header::REFERRER_POLICY, "no-referrer")]
    {
        response.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
}

/// The detail is cut: anybody may write one into the audit log.
fn bad(detail: &str) -> Problem {
    Problem::new(Advice::BadRequest, detail.chars().take(MAX_DETAIL).collect::<String>())
}
