//! The key pairs of the service provider, read once for as long as they stay the same: reading an
//! RSA key costs more than using it.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::super::keys::{Keyring, Keys, OpenKey, Unavailable};
use crate::{
    ledger::Purpose,
    saml::{DecryptionKey, service_provider::SigningKey},
};

/// What the service provider signs and decrypts with, and what it publishes of it.
pub(super) struct SamlKeys {
    signing: Arc<Keyring>,
    encryption: Arc<Keyring>,
    /// Signs requests.
    pub signer: SigningKey,
    /// Each may open an assertion.
    pub openers: Vec<DecryptionKey>,
}

/// The last ones that were read. Cheap to clone; all clones share it.
#[derive(Clone, Default)]
pub(in crate::gateway) struct SamlKeyCache(Arc<Mutex<Option<Arc<SamlKeys>>>>);

impl SamlKeyCache {
    /// The key pairs as they are now.
    pub(super) async fn get(&self, keys: &Keys) -> Result<Arc<SamlKeys>, Unavailable> {
        let signing = keys.ring(Purpose::SamlSigning).await?;
        let encryption = keys.ring(Purpose::SamlEncryption).await?;
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last.as_ref()
            && Arc::ptr_eq(&known.signing, &signing)
            && Arc::ptr_eq(&known.encryption, &encryption)
        {
            return Ok(known.clone());
        }
        let read = Arc::new(SamlKeys::read(signing, encryption, Timestamp::now())?);
        *last = Some(read.clone());
        Ok(read)
    }
}

impl SamlKeys {
    fn read(
        signing: Arc<Keyring>,
        encryption: Arc<Keyring>,
        now: Timestamp,
    ) -> Result<Self, Unavailable> {
        let none = || Unavailable::NoKey("SAML key");
        let active = signing.active(now).and_then(OpenKey::rsa).ok_or_else(none)?;
        let signer = SigningKey::new(active).map_err(|_| none())?;
        let openers = encryption
            .published(now)
            .filter_map(OpenKey::rsa)
            .map(|pkcs8| DecryptionKey::new(pkcs8).map_err(|_| none()))
            .collect::<Result<_, _>>()?;
        Ok(Self { signing, encryption, signer, openers })
    }

    /// The certificates of the key that signs and of those that will, DER.
    pub fn signing_certificates(&self, now: Timestamp) -> Vec<&[u8]> {
        self.signing.present_and_next(now).map(|key| key.public.as_slice()).collect()
    }

    /// The certificates to encrypt for: of the present key, then of those to come, DER.
    pub fn encryption_certificates(&self, now: Timestamp) -> Vec<&[u8]> {
        self.encryption.present_and_next(now).map(|key| key.public.as_slice()).collect()
    }
}
