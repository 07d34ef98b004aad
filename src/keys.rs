//! The installation key: 32 random bytes that make this installation's challenges its own, and
//! under which the ledger's secrets are sealed.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    constant_time, hmac,
    rand::{self, SystemRandom},
};

/// How many bytes the key has.
pub const LENGTH: usize = 32;

/// The installation key. It has no `Debug` and is never shown.
#[derive(Clone)]
pub struct InstallationKey(hmac::Key);

impl InstallationKey {
    /// `None` unless `bytes` is of the right length.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == LENGTH).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// What a ledger keeps of the key, to know it again: an HMAC, from which the key can't be had.
    pub fn check(&self) -> Vec<u8> {
        self.mac(b"rollcall installation check v1").as_ref().to_vec()
    }

    /// Whether `check` was made by this key.
    pub fn made(&self, check: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.check(), check).is_ok()
    }

    /// Seal a secret for the ledger: AES-256-GCM under a key of its own. It opens only for the same
    /// `label`, which says what it is and whose.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn seal(&self, label: &str, secret: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let mut sealed = secret.to_vec();
        let nonce = self
            .sealing_key()
            .and_then(|key| {
                key.seal_in_place_append_tag(Aad::from(label.as_bytes()), &mut sealed).ok()
            })
            .ok_or(Unspecified)?;
        sealed.splice(..0, nonce.as_ref().iter().copied());
        Ok(sealed)
    }

    /// What was sealed for this label with this key; `None` for anything else.
    pub fn unseal(&self, label: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut secret = sealed.to_vec();
        let key = self.sealing_key()?;
        let length = key.open_in_place(nonce, Aad::from(label.as_bytes()), &mut secret).ok()?.len();
        secret.truncate(length);
        Some(secret)
    }

    fn sealing_key(&self) -> Option<RandomizedNonceKey> {
        RandomizedNonceKey::new(&AES_256_GCM, self.mac(b"rollcall seal v1").as_ref()).ok()
    }

    /// HMAC-SHA-256 (RFC 2104) of `data`. Begin `data` with what it is for.
    pub fn mac(&self, data: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, data)
    }
}

/// Where the gateway finds the installation key once it is known. Cheap to clone; all clones share
/// it.
#[derive(Clone, Default)]
pub struct KeySlot(Arc<OnceLock<InstallationKey>>);

impl KeySlot {
    pub fn get(&self) -> Option<&InstallationKey> {
        self.0.get()
    }

    /// Make the key known. The first stays.
    pub fn set(&self, key: InstallationKey) {
        self.0.get_or_init(|| key);
    }
}

/// Fresh random bytes.
///
/// # Errors
/// The system has no randomness to give.
pub fn random() -> Result<[u8; LENGTH], Unspecified> {
    let mut bytes = [0; LENGTH];
    rand::SecureRandom::fill(&SystemRandom::new(), &mut bytes).map_err(|_| Unspecified)?;
    Ok(bytes)
}

/// The system's source of randomness failed.
#[derive(Debug, thiserror::Error)]
#[error("no randomness to be had from the system")]
pub struct Unspecified;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_knows_its_own_check() {
        let key = InstallationKey::new(&[1; LENGTH]).unwrap();
        let other = InstallationKey::new(&[2; LENGTH]).unwrap();
        assert!(key.made(&key.check()));
        assert!(!other.made(&key.check()));
        assert!(InstallationKey::new(&[1; 31]).is_none());
    }

    #[test]
    fn what_is_sealed_opens_for_its_own_key_and_label_alone() {
        let key = InstallationKey::new(&[1; LENGTH]).unwrap();
        let other = InstallationKey::new(&[2; LENGTH]).unwrap();
        let sealed = key.seal("a", b"secret").unwrap();
        assert_eq!(key.unseal("a", &sealed).as_deref(), Some(&b"secret"[..]));
        assert_eq!(key.unseal("b", &sealed), None);
        assert_eq!(other.unseal("a", &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.unseal("a", &changed), None, "byte {at}");
            assert_eq!(key.unseal("a", &sealed[..at]), None, "{at} bytes");
        }
        assert_ne!(sealed, key.seal("a", b"secret").unwrap(), "a nonce is used once");
    }
}
