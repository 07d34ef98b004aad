//! Who holds an access token (OpenID Connect Core, section 5.3), as it is now.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{
    claims::{self, ACCESS_TOKEN, AccessToken, Person},
    error::{NO_STORE, Refused},
    issuer, jwt,
};
use crate::{
    gateway::Gateway,
    ledger::{Purpose, Standing},
};

#[derive(Serialize)]
struct UserInfo<'a> {
    sub: Uuid,
    #[serde(flatten)]
    person: Person<'a>,
}

pub(super) async fn userinfo(State(gateway): State<Gateway>, headers: HeaderMap) -> Response {
    let Some(token) = bearer(&headers) else {
        return unauthorized("Bearer realm=\"rollcall\"");
    };
    match holder(&gateway, token).await {
        Ok(Some(standing)) => {
            let info = UserInfo { sub: standing.subject, person: Person::of(&standing) };
            (NO_STORE, Json(info)).into_response()
        }
        Ok(None) => unauthorized("Bearer realm=\"rollcall\", error=\"invalid_token\""),
        Err(refused) => refused.into_response(),
    }
}

/// The token of `Authorization: Bearer` (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

async fn holder(gateway: &Gateway, token: &str) -> Result<Option<Standing>, Refused> {
    let now = Timestamp::now();
    let keys = gateway.keys.ring(&Purpose::IdToken).await?;
    let issuer = issuer(gateway);
    let audience = claims::audience(&issuer);
    let verified = jwt::verify::<AccessToken>(&keys, ACCESS_TOKEN, &issuer, &audience, token, now);
    let Some(token) = verified else { return Ok(None) };
    let standing = gateway.ledger.standing_of_session(token.sid, now).await?;
    Ok(standing.filter(|standing| standing.subject == token.sub))
}

fn unauthorized(challenge: &'static str) -> Response {
    let mut response = (StatusCode::UNAUTHORIZED, NO_STORE).into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}
