//! Who somebody is, by the claims of their provider.

use serde_json::{Map, Value};

use super::{id_token::Authenticated, shown};
use crate::{
    email::Email,
    ledger::{Asserted, OpenConnection, Rules},
};

/// Characters that are kept of a name.
const MAX_NAME: usize = 256;

type Claims = Map<String, Value>;

/// Why the claims say nothing to go by: for the audit log.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoPerson {
    #[error("userinfo is of another subject (sub) than the ID token")]
    OtherSubject,
    #[error(
        "neither the ID token nor userinfo has the e-mail address (claim {0:?}): let the provider send it, or set spec.attributes.email"
    )]
    NoEmail(String),
    #[error("the claim {claim:?} is {came}, which isn't an e-mail address")]
    NotAnEmail { claim: String, came: String },
    #[error("the provider says that the e-mail address {0} is not verified (email_verified)")]
    NotVerified(String),
}

/// Whether the ID token has no e-mail, so that userinfo must be asked.
pub(super) fn lacks_email(claims: &Claims, rules: &Rules) -> bool {
    !claims.contains_key(email_claim(rules))
}

/// Who it is. What the ID token says goes before what userinfo says.
pub(super) fn asserted(
    Authenticated { subject, at }: &Authenticated,
    claims: &Claims,
    userinfo: Option<&Claims>,
    OpenConnection { route, rules, .. }: &OpenConnection,
) -> Result<Asserted, NoPerson> {
    // OpenID Connect Core 1.0, section 5.3.2: userinfo may have been exchanged for another's
    if userinfo.is_some_and(|info| info.get("sub").and_then(Value::as_str) != Some(subject)) {
        return Err(NoPerson::OtherSubject);
    }
    let said =
        |name: &str| [Some(claims), userinfo].into_iter().flatten().find_map(|c| c.get(name));
    let claim = email_claim(rules);
    let written = said(claim).ok_or_else(|| NoPerson::NoEmail(claim.to_owned()))?;
    let not_an_email =
        || NoPerson::NotAnEmail { claim: claim.to_owned(), came: shown(&written.to_string()) };
    let email = written.as_str().and_then(Email::parse).ok_or_else(not_an_email)?;
    let sources = [Some(claims), userinfo].into_iter().flatten();
    if claim == EMAIL && sources.filter_map(|claims| claims.get("email_verified")).any(denied) {
        return Err(NoPerson::NotVerified(shown(&email.text)));
    }
    let name = said(rules.name_attribute.as_deref().unwrap_or("name")).and_then(Value::as_str);
    let name = name.map(|name| name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect());
    let display_name = name.filter(|name: &String| !name.trim().is_empty());
    Ok(Asserted {
        organization: route.organization.clone(),
        connection: route.connection.clone(),
        subject: subject.clone(),
        sign_in_name: email.text.clone(),
        email: email.text,
        email_domain: email.domain,
        display_name,
        authenticated_at: *at,
        session_until: None,
    })
}

const EMAIL: &str = "email";

fn email_claim(rules: &Rules) -> &str {
    rules.email_attribute.as_deref().unwrap_or(EMAIL)
}

/// Some send the truth as text. Entra sends none at all: whoever owns the domain decides there who
/// has which address, and the domain must be the organization's anyway.
fn denied(verified: &Value) -> bool {
    match verified {
        Value::Bool(verified) => !verified,
        Value::String(verified) => verified != "true",
        _ => true,
    }
}
