//! What an ID token must be, for somebody to be signed in by it (OpenID Connect Core 1.0, section
//! 3.1.3.7).
//!
//! The signature is checked by jsonwebtoken, on the same aws-lc-rs as all else here, which refuses
//! RSA keys of less than 2048 bits by itself. The openidconnect crate was looked at for the whole:
//! it leaves `azp` unchecked, knows no clock skew, gives up where two keys might fit, and verifies
//! by crates of its own.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, Jwk, KeyOperations, PublicKeyUse},
};
use serde_json::{Map, Value};

use super::shown;

/// Characters of a subject (section 2, `sub`).
const MAX_SUBJECT: usize = 255;

/// The claims of a token whose signature was verified, and how it was signed.
#[derive(Debug)]
pub(super) struct Signed {
    pub claims: Map<String, Value>,
    algorithm: Algorithm,
}

/// What the claims must fit.
pub(super) struct Expected<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    pub nonce: &'a str,
    /// What came along with the ID token.
    pub access_token: Option<&'a str>,
    /// How far the provider's clock may be off.
    pub skew: Duration,
    /// Since when somebody must have proved who they are, if they were asked to, as seconds.
    pub authenticated_since: Option<i64>,
}

/// Who proved that they are it, and when.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authenticated {
    pub subject: String,
    /// By `auth_time`, else by `iat`: a provider that doesn't say more vouches for that moment. In
    /// seconds, and never in the future.
    pub at: i64,
}

/// Why an ID token is refused: which rule, what was expected, what came. For the audit log.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the ID token isn't a signed JWT: an unsigned, encrypted or broken one isn't accepted")]
    NotSigned,
    #[error(
        "the ID token is signed with {0}, which the provider's discovery document doesn't name or which isn't accepted"
    )]
    Algorithm(String),
    #[error("the ID token is of type {0}, which isn't JWT")]
    Type(String),
    #[error("the ID token has critical header parameters, which aren't known here")]
    Critical,
    #[error(
        "the ID token is signed by key {0}, which isn't among the provider's for this algorithm"
    )]
    UnknownKey(String),
    #[error("the ID token's signature doesn't fit the provider's keys")]
    BadSignature,
    #[error("the ID token's claim {0} is missing, or not what the specification says it is")]
    Claim(&'static str),
    #[error("the ID token's issuer (iss) is {came}, not {expected}")]
    Issuer { expected: String, came: String },
    #[error("the ID token's audience (aud) is {came}, not {expected}: it is for another client")]
    Audience { expected: String, came: String },
    #[error(
        "the ID token has other audiences (aud) beside {expected}, and doesn't say (azp) that it was issued to it"
    )]
    OtherAudiences { expected: String },
    #[error("the ID token was issued to (azp) {came}, not {expected}")]
    AuthorizedParty { expected: String, came: String },
    #[error(
        "the ID token expired {ago} s ago: the clocks of provider and gateway may differ by {allowed} s"
    )]
    Expired { ago: i64, allowed: u64 },
    #[error(
        "the ID token's {claim} is {ahead} s ahead: the clocks of provider and gateway may differ by {allowed} s"
    )]
    Early { claim: &'static str, ahead: i64, allowed: u64 },
    #[error("the ID token's nonce isn't that of this sign-in")]
    Nonce,
    #[error("the ID token's at_hash doesn't fit the access token")]
    AccessToken,
    #[error(
        "the provider was asked to have the person sign in anew, and they signed in {0} s before (auth_time)"
    )]
    NotFresh(i64),
    #[error("the ID token's subject (sub) isn't 1 to 255 printable ASCII characters")]
    Subject,
}

/// The claims of a token that one of these keys signed, by one of these algorithms.
pub(super) fn verify(
    token: &str,
    keys: &[Jwk],
    algorithms: &[Algorithm],
) -> Result<Signed, Refusal> {
    let header = header(token)?;
    let algorithm = header.get("alg").and_then(Value::as_str).ok_or(Refusal::NotSigned)?;
    let unaccepted = || Refusal::Algorithm(shown(algorithm));
    let algorithm: Algorithm = algorithm.parse().map_err(|_| unaccepted())?;
    if !algorithms.contains(&algorithm) {
        return Err(unaccepted());
    }
    // RFC 7515, section 4.1.11
    if header.contains_key("crit") {
        return Err(Refusal::Critical);
    }
    // an access token that is a JWT is none that says who somebody is (RFC 9068, section 2.1)
    match header.get("typ") {
        None => {}
        Some(Value::String(typ)) if typ.eq_ignore_ascii_case("JWT") => {}
        Some(typ) => return Err(Refusal::Type(shown(&typ.to_string()))),
    }
    let kid = header.get("kid").and_then(Value::as_str);
    let mut refusal = Refusal::UnknownKey(kid.map_or_else(|| "without a name".to_owned(), shown));
    for key in keys.iter().filter(|key| fits(key, kid, algorithm)) {
        refusal = Refusal::BadSignature;
        let Ok(key) = DecodingKey::from_jwk(key) else { continue };
        if let Ok(token) = jsonwebtoken::decode(token, &key, &signature_alone(algorithm)) {
            return Ok(Signed { claims: token.claims, algorithm });
        }
    }
    Err(refusal)
}

/// The header, read leniently: jsonwebtoken reads it again, strictly.
fn header(token: &str) -> Result<Map<String, Value>, Refusal> {
    let header = token.split('.').next().unwrap_or_default();
    let header = BASE64_URL_SAFE_NO_PAD.decode(header).map_err(|_| Refusal::NotSigned)?;
    serde_json::from_slice(&header).map_err(|_| Refusal::NotSigned)
}

/// The claims are checked below, with reasons that tell more.
fn signature_alone(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

/// Whether a token with this header may have been signed by this key.
fn fits(key: &Jwk, kid: Option<&str>, algorithm: Algorithm) -> bool {
    use Algorithm::{ES256, ES384};
    let common = &key.common;
    let of_family = match &key.algorithm {
        AlgorithmParameters::RSA(_) => !matches!(algorithm, ES256 | ES384),
        AlgorithmParameters::EllipticCurve(_) => matches!(algorithm, ES256 | ES384),
        _ => false,
    };
    let for_signatures = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature))
        && common.key_operations.as_ref().is_none_or(|ops| ops.contains(&KeyOperations::Verify));
    let for_algorithm = common.key_algorithm.is_none_or(|named| named == algorithm.into());
    let named = kid.is_none_or(|kid| common.key_id.as_deref() == Some(kid));
    of_family && for_signatures && for_algorithm && named
}

/// The subject of a token that is for us, for this sign-in, and for now.
pub(super) fn check(
    signed: &Signed,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<Authenticated, Refusal> {
    let Signed { claims, algorithm } = signed;
    let issuer = text(claims, "iss")?;
    if issuer != expected.issuer {
        let (expected, came) = (shown(expected.issuer), shown(issuer));
        return Err(Refusal::Issuer { expected, came });
    }
    check_audience(claims, expected.client_id)?;
    let now = now.as_second();
    let at = check_times(claims, expected, now as f64)?;
    if text(claims, "nonce")? != expected.nonce {
        return Err(Refusal::Nonce);
    }
    if claims.contains_key("at_hash") {
        let access_token = expected.access_token.ok_or(Refusal::AccessToken)?;
        if text(claims, "at_hash")? != half_hash(*algorithm, access_token) {
            return Err(Refusal::AccessToken);
        }
    }
    let subject = text(claims, "sub").map_err(|_| Refusal::Subject)?;
    let printable = subject.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if subject.is_empty() || subject.len() > MAX_SUBJECT || !printable {
        return Err(Refusal::Subject);
    }
    Ok(Authenticated { subject: subject.to_owned(), at: (at as i64).clamp(0, now) })
}

fn check_audience(claims: &Map<String, Value>, client_id: &str) -> Result<(), Refusal> {
    let audiences: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => {
            many.iter().map(Value::as_str).collect::<Option<_>>().ok_or(Refusal::Claim("aud"))?
        }
        _ => return Err(Refusal::Claim("aud")),
    };
    let expected = || shown(client_id);
    if !audiences.contains(&client_id) {
        let came = shown(&audiences.join(", "));
        return Err(Refusal::Audience { expected: expected(), came });
    }
    match claims.get("azp") {
        Some(Value::String(azp)) if azp == client_id => Ok(()),
        Some(Value::String(azp)) => {
            Err(Refusal::AuthorizedParty { expected: expected(), came: shown(azp) })
        }
        Some(_) => Err(Refusal::Claim("azp")),
        None if audiences.iter().all(|audience| *audience == client_id) => Ok(()),
        None => Err(Refusal::OtherAudiences { expected: expected() }),
    }
}

/// Seconds, which the specification allows to have fractions. Returns when the person proved who
/// they are.
fn check_times(
    claims: &Map<String, Value>,
    expected: &Expected<'_>,
    now: f64,
) -> Result<f64, Refusal> {
    let (skew, allowed) = (expected.skew.as_secs_f64(), expected.skew.as_secs());
    let time = |name: &'static str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or(Refusal::Claim(name)),
    };
    let expires = time("exp")?.ok_or(Refusal::Claim("exp"))?;
    if now >= expires + skew {
        return Err(Refusal::Expired { ago: (now - expires) as i64, allowed });
    }
    let issued = time("iat")?.ok_or(Refusal::Claim("iat"))?;
    for (name, begins) in [("iat", Some(issued)), ("nbf", time("nbf")?)] {
        if let Some(begins) = begins.filter(|begins| now < begins - skew) {
            return Err(Refusal::Early { claim: name, ahead: (begins - now) as i64, allowed });
        }
    }
    // Entra and Google leave `auth_time` out even where it is asked for
    let authenticated = time("auth_time")?.unwrap_or(issued);
    match expected.authenticated_since {
        Some(since) if authenticated < since as f64 - skew => {
            Err(Refusal::NotFresh((since as f64 - authenticated) as i64))
        }
        _ => Ok(authenticated),
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, Refusal> {
    claims.get(name).and_then(Value::as_str).ok_or(Refusal::Claim(name))
}

/// Section 3.1.3.6: the left half of the hash that the signature's algorithm uses, in base64url.
fn half_hash(algorithm: Algorithm, text: &str) -> String {
    let hash = match algorithm {
        Algorithm::RS384 | Algorithm::PS384 | Algorithm::ES384 => &digest::SHA384,
        Algorithm::RS512 | Algorithm::PS512 => &digest::SHA512,
        _ => &digest::SHA256,
    };
    let digest = digest::digest(hash, text.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(&digest.as_ref()[..digest.as_ref().len() / 2])
}
