//! The installation key: 32 random bytes that make this installation's challenges its own.

use aws_lc_rs::{
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

    /// HMAC-SHA-256 (RFC 2104) of `data`. Begin `data` with what it is for.
    pub fn mac(&self, data: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, data)
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
}
