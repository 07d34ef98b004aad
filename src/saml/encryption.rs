//! Encrypted assertions (saml-core-2.0-os, section 2.3.4; xmlenc-core1): RSA-OAEP for the key,
//! AES-GCM for the assertion, and AES-CBC where a signature over the ciphertext was checked before,
//! since otherwise whoever can send us responses could read them by how we refuse
//! (xmlenc-core1, section 6.1.1).

use std::sync::Arc;

use aws_lc_rs::{
    aead::{self, AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    cipher::{self, AES_128, AES_192, AES_256, DecryptionContext, PaddedBlockDecryptingKey},
    iv::FixedLength,
    rsa::{
        OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512,
        OaepAlgorithm, OaepPrivateDecryptingKey, PrivateDecryptingKey,
    },
};
use base64::prelude::{BASE64_STANDARD, Engine};
use roxmltree::Node;

use super::refusal::{called, shown};
use super::signature::{algorithm, base64};
use super::xml::{attribute, children};
use super::{DS, Refusal, XENC, XENC11};

/// Encrypted keys of one assertion: it may be encrypted for several keys of ours, in a rollover.
const MAX_KEYS: usize = 4;

/// A private key of ours that assertions are encrypted for. It has no `Debug` and is never shown.
/// Cheap to clone.
#[derive(Clone)]
pub struct DecryptionKey(Arc<OaepPrivateDecryptingKey>);

/// It isn't an RSA private key of 2048 to 8192 bits in PKCS#8, DER or PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no RSA private key of 2048 to 8192 bits in PKCS#8 (\"BEGIN PRIVATE KEY\")")]
pub struct BadKey;

impl DecryptionKey {
    /// From PKCS#8, DER or PEM.
    ///
    /// # Errors
    /// It is something else, or an RSA key of less than 2048 or more than 8192 bits.
    pub fn new(pkcs8: &[u8]) -> Result<Self, BadKey> {
        let der = pkcs8_der(pkcs8)?;
        let key = PrivateDecryptingKey::from_pkcs8(&der).map_err(|_| BadKey)?;
        Ok(Self(Arc::new(OaepPrivateDecryptingKey::new(key).map_err(|_| BadKey)?)))
    }
}

/// The DER of PKCS#8, which may be written as PEM (RFC 7468, section 10).
pub(super) fn pkcs8_der(pkcs8: &[u8]) -> Result<Vec<u8>, BadKey> {
    let Some(text) = std::str::from_utf8(pkcs8).ok().filter(|text| text.contains("-----BEGIN"))
    else {
        return Ok(pkcs8.to_vec());
    };
    let (_, text) = text.split_once("-----BEGIN PRIVATE KEY-----").ok_or(BadKey)?;
    let (base64, _) = text.split_once("-----END PRIVATE KEY-----").ok_or(BadKey)?;
    let base64: String = base64.split_ascii_whitespace().collect();
    BASE64_STANDARD.decode(base64).map_err(|_| BadKey)
}

/// How an assertion is encrypted.
enum Cipher {
    Gcm(&'static aead::Algorithm),
    Cbc(&'static cipher::Algorithm, usize),
}

impl Cipher {
    fn named(uri: &str) -> Option<Self> {
        match uri {
            "http://www.w3.org/2009/xmlenc11#aes128-gcm" => Some(Self::Gcm(&AES_128_GCM)),
            "http://www.w3.org/2009/xmlenc11#aes192-gcm" => Some(Self::Gcm(&AES_192_GCM)),
            "http://www.w3.org/2009/xmlenc11#aes256-gcm" => Some(Self::Gcm(&AES_256_GCM)),
            "http://www.w3.org/2001/04/xmlenc#aes128-cbc" => Some(Self::Cbc(&AES_128, 16)),
            "http://www.w3.org/2001/04/xmlenc#aes192-cbc" => Some(Self::Cbc(&AES_192, 24)),
            "http://www.w3.org/2001/04/xmlenc#aes256-cbc" => Some(Self::Cbc(&AES_256, 32)),
            _ => None,
        }
    }

    fn key_length(&self) -> usize {
        match self {
            Self::Gcm(algorithm) => algorithm.key_len(),
            Self::Cbc(_, length) => *length,
        }
    }

    /// The plaintext of `text`; of a wrong key, of a wrong length, or changed: `None`.
    fn decrypt(&self, key: &[u8], mut text: Vec<u8>) -> Option<Vec<u8>> {
        match self {
            Self::Gcm(algorithm) => {
                let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
                let (nonce, rest) = text.split_at_mut_checked(aead::NONCE_LEN)?;
                let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
                Some(key.open_in_place(nonce, Aad::empty(), rest).ok()?.to_vec())
            }
            Self::Cbc(algorithm, _) => {
                let key = cipher::UnboundCipherKey::new(algorithm, key).ok()?;
                let key = PaddedBlockDecryptingKey::cbc_iso10126(key).ok()?;
                let (iv, rest) = text.split_first_chunk_mut::<16>()?;
                let context = DecryptionContext::Iv128(FixedLength::from(*iv));
                Some(key.decrypt(rest, context).ok()?.to_vec())
            }
        }
    }
}

/// What an EncryptedAssertion holds.
pub(super) struct Plaintext {
    pub bytes: Vec<u8>,
    /// Whether it may be another than was encrypted, put together from pieces.
    malleable: bool,
}

impl Plaintext {
    /// `refusal` of the plaintext, as it may be told.
    pub fn refuse(&self, refusal: impl Into<Refusal>) -> Refusal {
        let refusal = refusal.into();
        if self.malleable {
            Refusal::NotDecrypted { plaintext: Some(refusal.into()) }
        } else {
            refusal
        }
    }
}

/// The plaintext of an EncryptedAssertion of a shape that is accepted.
///
/// `authenticated` says that a signature over it has been checked.
pub(super) fn decrypt(
    encrypted: Node<'_, '_>,
    keys: &[DecryptionKey],
    authenticated: bool,
) -> Result<Plaintext, Refusal> {
    let data = child(encrypted, "EncryptedData")?;
    match attribute(data, "Type") {
        None | Some("http://www.w3.org/2001/04/xmlenc#Element") => {}
        Some(other) => return Err(unaccepted("Type", other)),
    }
    let uri = algorithm(child(data, "EncryptionMethod")?)?;
    let cipher = Cipher::named(uri).ok_or_else(|| unaccepted("EncryptionMethod", uri))?;
    if matches!(cipher, Cipher::Cbc(..)) && !authenticated {
        return Err(Refusal::CbcUnsigned);
    }
    let wrapped = wrapped_keys(encrypted, data)?;
    if keys.is_empty() {
        return Err(Refusal::NoDecryptionKey);
    }
    let text = cipher_value(data)?;
    let mut buffer = vec![];
    for Wrapped { algorithm, text: wrapped } in &wrapped {
        for DecryptionKey(key) in keys {
            buffer.resize(key.min_output_size(), 0);
            let Ok(unwrapped) = key.decrypt(algorithm, wrapped, &mut buffer, None) else {
                continue;
            };
            if unwrapped.len() != cipher.key_length() {
                continue;
            }
            if let Some(bytes) = cipher.decrypt(unwrapped, text.clone()) {
                return Ok(Plaintext { bytes, malleable: matches!(cipher, Cipher::Cbc(..)) });
            }
        }
    }
    // whatever of it failed: the difference would help to attack it
    Err(Refusal::NotDecrypted { plaintext: None })
}

/// The key of an assertion, itself encrypted.
struct Wrapped {
    algorithm: &'static OaepAlgorithm,
    text: Vec<u8>,
}

/// The encrypted keys, which stand in the KeyInfo of the data or beside the data. A
/// RetrievalMethod that names one of the latter by its ID says no more than that it is there.
fn wrapped_keys(encrypted: Node<'_, '_>, data: Node<'_, '_>) -> Result<Vec<Wrapped>, Refusal> {
    let inside =
        children(data, (DS, "KeyInfo")).flat_map(|info| children(info, (XENC, "EncryptedKey")));
    let keys: Vec<_> = inside.chain(children(encrypted, (XENC, "EncryptedKey"))).collect();
    if keys.is_empty() {
        return Err(Refusal::MissingElement {
            element: "xenc:EncryptedKey".into(),
            within: called(encrypted),
        });
    }
    if keys.len() > MAX_KEYS {
        return Err(unaccepted("number of keys", &keys.len().to_string()));
    }
    let wrapped = |key: &Node<'_, '_>| {
        Ok(Wrapped {
            algorithm: oaep(child(*key, "EncryptionMethod")?)?,
            text: cipher_value(*key)?,
        })
    };
    keys.iter().map(wrapped).collect()
}

/// The RSA-OAEP of an EncryptionMethod (xmlenc-core1, section 5.5.2). The two hashes it is made of
/// must be the same one, since the library has no other.
fn oaep(method: Node<'_, '_>) -> Result<&'static OaepAlgorithm, Refusal> {
    let uri = algorithm(method)?;
    let digest = children(method, (DS, "DigestMethod")).next().map(algorithm).transpose()?;
    let mask = children(method, (XENC11, "MGF")).next().map(algorithm).transpose()?;
    let mask = mask.unwrap_or("http://www.w3.org/2009/xmlenc11#mgf1sha1");
    match uri {
        "http://www.w3.org/2009/xmlenc11#rsa-oaep" => {}
        // its mask is always of SHA-1, and need not be written out
        "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p" if mask.ends_with("#mgf1sha1") => {}
        _ => return Err(unaccepted("EncryptionMethod of the key", uri)),
    }
    let digest = digest.unwrap_or("http://www.w3.org/2000/09/xmldsig#sha1");
    match (digest, mask) {
        ("http://www.w3.org/2000/09/xmldsig#sha1", "http://www.w3.org/2009/xmlenc11#mgf1sha1") => {
            Ok(&OAEP_SHA1_MGF1SHA1)
        }
        (
            "http://www.w3.org/2001/04/xmlenc#sha256",
            "http://www.w3.org/2009/xmlenc11#mgf1sha256",
        ) => Ok(&OAEP_SHA256_MGF1SHA256),
        (
            "http://www.w3.org/2001/04/xmldsig-more#sha384"
            | "http://www.w3.org/2001/04/xmlenc#sha384",
            "http://www.w3.org/2009/xmlenc11#mgf1sha384",
        ) => Ok(&OAEP_SHA384_MGF1SHA384),
        (
            "http://www.w3.org/2001/04/xmlenc#sha512",
            "http://www.w3.org/2009/xmlenc11#mgf1sha512",
        ) => Ok(&OAEP_SHA512_MGF1SHA512),
        _ => Err(unaccepted("DigestMethod and MGF of the key", &format!("{digest} with {mask}"))),
    }
}

fn unaccepted(what: &'static str, found: &str) -> Refusal {
    Refusal::UnacceptedEncryption { what, found: shown(found) }
}

fn cipher_value(node: Node<'_, '_>) -> Result<Vec<u8>, Refusal> {
    base64(child(child(node, "CipherData")?, "CipherValue")?)
}

fn child<'a, 'i: 'a>(node: Node<'a, 'i>, name: &'static str) -> Result<Node<'a, 'i>, Refusal> {
    children(node, (XENC, name)).next().ok_or_else(|| Refusal::MissingElement {
        element: format!("xenc:{name}"),
        within: called(node),
    })
}
