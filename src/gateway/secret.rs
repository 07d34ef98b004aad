//! Secrets that are handed out: 256 random bits each, of which the ledger keeps the SHA-256. That
//! many bits need no salt and no slow hash.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::{keys, ledger::Hash};

pub(super) use keys::Unspecified as NoRandomness;

/// A secret for somebody else. It has no `Debug`.
pub(super) struct Secret(String);

impl Secret {
    pub fn new() -> Result<Self, NoRandomness> {
        Ok(Self(BASE64_URL_SAFE_NO_PAD.encode(keys::random()?)))
    }

    /// What is kept of it.
    pub fn hash(&self) -> Hash {
        hash(&self.0)
    }

    /// 43 characters, safe in URLs, cookies and headers.
    pub fn as_text(&self) -> &str {
        &self.0
    }

    pub fn into_text(self) -> String {
        self.0
    }
}

/// What is kept of a secret that somebody presents.
pub(super) fn hash(text: &str) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}
