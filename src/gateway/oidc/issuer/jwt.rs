//! Signing and verifying our own tokens: ES256 (RFC 7515, section 7.1; RFC 7518, section 3.4), by
//! the key of the day.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{EcdsaKeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::gateway::keys::{Keyring, OpenKey, Private};

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("there is no key to sign with")]
    NoKey,
    #[error(transparent)]
    Claims(#[from] serde_json::Error),
    #[error("the key doesn't sign")]
    Signature,
}

/// Sign claims as a token of this type.
pub(super) fn sign(
    keys: &Keyring,
    kind: &str,
    claims: &impl Serialize,
    now: Timestamp,
) -> Result<String, Error> {
    let key = keys.active(now).ok_or(Error::NoKey)?;
    let pair = pair(key).ok_or(Error::NoKey)?;
    let header = json!({"alg": "ES256", "typ": kind, "kid": key.id});
    let mut token = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
    token.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims)?, &mut token);
    let signature = pair.sign(&SystemRandom::new(), token.as_bytes());
    let signature = signature.map_err(|_| Error::Signature)?;
    token.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

/// What a token of ours says: of this type, for this audience, neither forged nor too old.
pub(super) fn verify<T: DeserializeOwned>(
    keys: &Keyring,
    kind: &str,
    issuer: &str,
    audience: &str,
    token: &str,
    now: Timestamp,
) -> Option<T> {
    let header = decode_header(token).ok()?;
    let kid = header.kid?;
    if header.typ.as_deref() != Some(kind) {
        return None;
    }
    let pair = pair(keys.published(now).find(|key| key.id == kid)?)?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.leeway = 0;
    validation.set_audience(&[audience]);
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    let key = DecodingKey::from_ec_der(pair.public_key().as_ref());
    Some(decode(token, &key, &validation).ok()?.claims)
}

/// The keys that our tokens are verified by (RFC 7517, section 5).
pub(super) fn key_set(keys: &Keyring, now: Timestamp) -> Value {
    let encode = |coordinate: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(coordinate);
    let jwk = |key: &OpenKey| {
        // uncompressed (SEC 1, section 2.3.3): 4, then x and y of 32 bytes each
        let point = pair(key)?.public_key().as_ref();
        let (x, y) = point.get(1..)?.split_at_checked(32)?;
        Some(json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256",
            "kid": key.id, "x": encode(x), "y": encode(y),
        }))
    };
    json!({"keys": keys.published(now).filter_map(jwk).collect::<Vec<_>>()})
}

fn pair(key: &OpenKey) -> Option<&EcdsaKeyPair> {
    match &key.private {
        Private::IdToken(pair) => Some(pair),
        Private::SamlSigning(_) | Private::SamlEncryption(_) => None,
    }
}
