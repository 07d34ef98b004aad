//! Identity providers as their metadata describes them, read once for as long as it stays the same:
//! to read a large document takes longer than all else that is done for a response.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;

use crate::{
    ledger::{Hash, OpenConnection},
    saml::{
        TrustedIdp,
        metadata::{self, IdentityProvider, MetadataError},
    },
};

/// An identity provider, ready for use.
pub(super) struct Idp {
    /// SHA-256 of the metadata.
    metadata: Hash,
    pub described: IdentityProvider,
    pub trusted: TrustedIdp,
}

/// By organization and connection.
type Read = HashMap<(String, String), Arc<Idp>>;

/// The last ones that were read. Cheap to clone; all clones share them.
#[derive(Clone, Default)]
pub(in crate::gateway) struct Idps(Arc<Mutex<Read>>);

impl Idps {
    /// What the kept metadata says, as long as it may be used.
    pub(super) fn of(
        &self,
        open: &OpenConnection,
        now: Timestamp,
    ) -> Result<Arc<Idp>, MetadataError> {
        let mut hash = Hash::default();
        hash.copy_from_slice(digest(&SHA256, &open.metadata).as_ref());
        let key = (open.route.organization.clone(), open.route.connection.clone());
        let fits = |idp: &&Arc<Idp>| {
            idp.metadata == hash && idp.described.valid_until.is_none_or(|until| until > now)
        };
        if let Some(idp) = self.known().get(&key).filter(fits) {
            return Ok(idp.clone());
        }
        let described = metadata::parse(&open.metadata, now)?;
        let trusted = TrustedIdp::new(&described);
        let idp = Arc::new(Idp { metadata: hash, described, trusted });
        self.known().insert(key, idp.clone());
        Ok(idp)
    }

    fn known(&self) -> MutexGuard<'_, Read> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};

    use super::*;
    use crate::{
        ledger::fixture::{ACME, Acme, COMPANY},
        saml::fixtures::KEY,
    };

    #[tokio::test]
    async fn metadata_is_read_once_until_it_changes_or_ends() {
        let acme = Acme::new().await;
        let open = acme.ledger.open_connection_of(ACME, COMPANY).await.unwrap().unwrap();
        let certificate = BASE64_STANDARD.encode(&KEY.certificate);
        let until = acme.later(60);
        let describing = |sign_on: &str| {
            let metadata = format!(
                r#"<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="urn:idp" validUntil="{until}"><IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><KeyDescriptor><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>{certificate}</X509Certificate></X509Data></KeyInfo></KeyDescriptor><SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="{sign_on}"/></IDPSSODescriptor></EntityDescriptor>"#
            );
            OpenConnection { metadata: metadata.into_bytes(), ..open.clone() }
        };
        let (idps, now) = (Idps::default(), acme.now);
        let first = describing("https://idp.example/1");
        let read = idps.of(&first, now).unwrap();
        assert!(Arc::ptr_eq(&read, &idps.of(&first, now).unwrap()));
        let second = describing("https://idp.example/2");
        let changed = idps.of(&second, now).unwrap();
        assert_eq!(changed.described.sign_on_url, "https://idp.example/2");
        let last = acme.later(59);
        assert!(Arc::ptr_eq(&changed, &idps.of(&second, last).unwrap()));
        assert!(idps.of(&second, acme.later(60)).is_err(), "it has ended");
        // nor is another connection's taken for it
        let mut other = first;
        other.route.connection = "other".into();
        assert_eq!(idps.of(&other, now).unwrap().described.sign_on_url, "https://idp.example/1");
    }
}
