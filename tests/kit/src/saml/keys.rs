//! What responses are signed with: the keys of identity providers, and what an attacker puts in
//! their place.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, anyhow};
use aws_lc_rs::{
    digest, hmac,
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    },
};
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256};

use crate::tls::Identity;

const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(3 * 365 * 86_400);

/// A hash function, of a digest or a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// For digests alone.
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// Its identifier as an XML-DSig digest (xmldsig-core1, section 6.2).
    pub fn digest_uri(self) -> &'static str {
        match self {
            Self::Sha1 => "http://www.w3.org/2000/09/xmldsig#sha1",
            Self::Sha256 => "http://www.w3.org/2001/04/xmlenc#sha256",
            Self::Sha384 => "http://www.w3.org/2001/04/xmldsig-more#sha384",
            Self::Sha512 => "http://www.w3.org/2001/04/xmlenc#sha512",
        }
    }

    /// The digest of `data`.
    pub fn of(self, data: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, data)
    }
}

/// A kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RSA of 2048 bits.
    Rsa,
    P256,
    P384,
}

/// A signing key and its certificate.
#[derive(Debug)]
pub struct Signer {
    identity: Arc<Identity>,
    key: Key,
}

#[derive(Debug)]
enum Key {
    Rsa(Box<rsa::KeyPair>),
    P256(Box<EcdsaKeyPair>),
    P384(Box<EcdsaKeyPair>),
    Hmac(Box<hmac::Key>),
}

impl Signer {
    /// A new key of this kind.
    ///
    /// # Errors
    /// If none can be made.
    pub fn new(kind: Kind) -> anyhow::Result<Self> {
        let algorithm = match kind {
            Kind::Rsa => &PKCS_RSA_SHA256,
            Kind::P256 => &PKCS_ECDSA_P256_SHA256,
            Kind::P384 => &PKCS_ECDSA_P384_SHA384,
        };
        let end = SystemTime::now() + CERTIFICATE_LIFETIME;
        let identity = Identity::self_signed("company identity provider", end, algorithm)?;
        Self::with(Arc::new(identity), kind)
    }

    /// The key of an RSA identity.
    ///
    /// # Errors
    /// If it isn't RSA.
    pub fn rsa(identity: Arc<Identity>) -> anyhow::Result<Self> {
        Self::with(identity, Kind::Rsa)
    }

    /// The classic confusion of keys: an HMAC whose secret is `public`, which everybody knows.
    pub fn hmac(identity: Arc<Identity>, public: &[u8]) -> Self {
        let key = Key::Hmac(Box::new(hmac::Key::new(hmac::HMAC_SHA256, public)));
        Self { identity, key }
    }

    fn with(identity: Arc<Identity>, kind: Kind) -> anyhow::Result<Self> {
        let der = identity.key_der();
        let ecdsa = |algorithm| {
            EcdsaKeyPair::from_pkcs8(algorithm, &der).map(Box::new).context("reading the key")
        };
        let key = match kind {
            Kind::Rsa => {
                Key::Rsa(Box::new(rsa::KeyPair::from_pkcs8(&der).context("reading the key")?))
            }
            Kind::P256 => Key::P256(ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)?),
            Kind::P384 => Key::P384(ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING)?),
        };
        Ok(Self { identity, key })
    }

    /// Its certificate and key.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// The identifier of its signatures (RFC 9231); an elliptic curve brings its own hash.
    pub fn signature_uri(&self, hash: Hash) -> &'static str {
        match (&self.key, hash) {
            (Key::P256(_), _) => "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
            (Key::P384(_), _) => "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
            (Key::Hmac(_), _) => "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256",
            (Key::Rsa(_), Hash::Sha384) => "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384",
            (Key::Rsa(_), Hash::Sha512) => "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512",
            (Key::Rsa(_), _) => "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
        }
    }

    /// Signs `data`.
    ///
    /// # Errors
    /// If the library can't.
    pub fn sign(&self, hash: Hash, data: &[u8]) -> anyhow::Result<Vec<u8>> {
        let random = SystemRandom::new();
        let failed = |_| anyhow!("signing failed");
        match &self.key {
            Key::Rsa(key) => {
                let padding = match hash {
                    Hash::Sha384 => &RSA_PKCS1_SHA384,
                    Hash::Sha512 => &RSA_PKCS1_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(padding, &random, data, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Key::P256(key) | Key::P384(key) => {
                Ok(key.sign(&random, data).map_err(failed)?.as_ref().to_vec())
            }
            Key::Hmac(key) => Ok(hmac::sign(key, data).as_ref().to_vec()),
        }
    }
}
