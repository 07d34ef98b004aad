//! Signing and verifying our own tokens: ES256 (RFC 7518, section 3.4), by the key of the day.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode, errors,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::gateway::keys::{Keyring, OpenKey};

/// Sign claims as a token of this type.
pub(super) fn sign(
    keys: &Keyring,
    kind: &str,
    claims: &impl Serialize,
    now: Timestamp,
) -> errors::Result<String> {
    let key = keys.active(now).ok_or(errors::ErrorKind::InvalidKeyFormat)?;
    let mut header = Header::new(Algorithm::ES256);
    header.typ = Some(kind.to_owned());
    header.kid = Some(key.id.clone());
    encode(&header, claims, &EncodingKey::from_ec_der(&key.private))
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
    let point = point(keys.published(now).find(|key| key.id == kid)?)?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.leeway = 0;
    validation.set_audience(&[audience]);
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    Some(decode(token, &DecodingKey::from_ec_der(&point), &validation).ok()?.claims)
}

/// The keys that our tokens are verified by (RFC 7517, section 5).
pub(super) fn key_set(keys: &Keyring, now: Timestamp) -> Value {
    let encode = |coordinate: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(coordinate);
    let jwk = |key: &OpenKey| {
        let point = point(key)?;
        let (x, y) = point.get(1..)?.split_at_checked(32)?;
        Some(json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256",
            "kid": key.id, "x": encode(x), "y": encode(y),
        }))
    };
    json!({"keys": keys.published(now).filter_map(jwk).collect::<Vec<_>>()})
}

/// The public key, uncompressed (SEC 1, section 2.3.3): 4, then x and y of 32 bytes each.
fn point(key: &OpenKey) -> Option<Vec<u8>> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.private).ok()?;
    Some(pair.public_key().as_ref().to_vec())
}
