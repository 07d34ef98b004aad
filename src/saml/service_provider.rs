//! Us towards identity providers: the keys we sign requests with and have assertions encrypted for,
//! and the metadata that tells of them (saml-metadata-2.0-os, section 2.4.4).

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::RSA_PKCS1_SHA256,
};
use base64::prelude::{BASE64_STANDARD, Engine};
use rcgen::{CertificateParams, DnType, PKCS_RSA_SHA256};

use super::encryption::{BadKey, pkcs8_der};
use super::{DS, MD, SAMLP, XENC, XENC11, c14n};

/// SignatureMethod and SigAlg of what we sign.
pub(super) const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";

/// A private key that our requests are signed with: RSA, which every identity provider can check.
/// It has no `Debug` and is never shown.
pub struct SigningKey(KeyPair);

impl SigningKey {
    /// From PKCS#8, DER or PEM.
    ///
    /// # Errors
    /// It is something else, or an RSA key of less than 2048 or more than 8192 bits.
    pub fn new(pkcs8: &[u8]) -> Result<Self, BadKey> {
        Ok(Self(KeyPair::from_pkcs8(&pkcs8_der(pkcs8)?).map_err(|_| BadKey)?))
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, section 8.2).
    pub(super) fn sign(&self, text: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        let random = SystemRandom::new();
        self.0.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).map_err(|_| Unspecified)?;
        Ok(signature)
    }
}

/// The system's source of randomness, or a key that was good before, failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key can't be made or used")]
pub struct Unspecified;

/// A new RSA key, for signing or for encryption, to be kept sealed. It has no `Debug`.
pub struct NewKey {
    /// The private key, PKCS#8.
    pub pkcs8: Vec<u8>,
    /// A certificate of it that it signed itself, DER. Identity providers ask for one and look at
    /// nothing in it but the key; it never ends, since a key ends by leaving the metadata.
    pub certificate: Vec<u8>,
}

impl NewKey {
    /// A key of 3072 bits, named for instance "Rollcall signing" in its certificate. It takes some
    /// tenths of a second.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate(name: &str) -> Result<Self, Unspecified> {
        let key = KeyPair::generate(KeySize::Rsa3072).map_err(|_| Unspecified)?;
        let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).map_err(|_| Unspecified)?;
        let pkcs8 = pkcs8.as_ref().to_vec();
        let certificate = self_signed(&pkcs8, name).map_err(|_| Unspecified)?;
        Ok(Self { pkcs8, certificate })
    }
}

fn self_signed(pkcs8: &[u8], name: &str) -> Result<Vec<u8>, rcgen::Error> {
    let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.into(), &PKCS_RSA_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    Ok(params.self_signed(&key)?.der().to_vec())
}

/// What our metadata says.
pub struct Metadata<'a> {
    pub entity_id: &'a str,
    pub acs_url: &'a str,
    /// DER. Several in a rollover: the next one is here before it signs anything.
    pub signing_certificates: &'a [&'a [u8]],
    /// DER. The first is the one to encrypt for; identity providers that take the last, or any,
    /// are as welcome, as long as assertions can be decrypted with each.
    pub encryption_certificates: &'a [&'a [u8]],
}

impl Metadata<'_> {
    /// An EntityDescriptor. It isn't signed: it is served over TLS.
    pub fn xml(&self) -> String {
        let entity_id = c14n::value(self.entity_id);
        let acs_url = c14n::value(self.acs_url);
        let keys = |usage: &str, certificates: &[&[u8]], methods: &str| -> String {
            let key = |der: &&[u8]| {
                let certificate = BASE64_STANDARD.encode(der);
                format!(
                    "<md:KeyDescriptor use=\"{usage}\"><ds:KeyInfo><ds:X509Data>\
                     <ds:X509Certificate>{certificate}</ds:X509Certificate>\
                     </ds:X509Data></ds:KeyInfo>{methods}</md:KeyDescriptor>"
                )
            };
            certificates.iter().map(key).collect()
        };
        let signing = keys("signing", self.signing_certificates, "");
        let encryption = keys("encryption", self.encryption_certificates, &encryption_methods());
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <md:EntityDescriptor xmlns:md=\"{MD}\" xmlns:ds=\"{DS}\" entityID=\"{entity_id}\">\
             <md:SPSSODescriptor AuthnRequestsSigned=\"true\" WantAssertionsSigned=\"true\" \
             protocolSupportEnumeration=\"{SAMLP}\">{signing}{encryption}\
             <md:AssertionConsumerService \
             Binding=\"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST\" \
             Location=\"{acs_url}\" index=\"0\" isDefault=\"true\"/>\
             </md:SPSSODescriptor></md:EntityDescriptor>"
        )
    }
}

/// What we can decrypt, the best first (section 2.4.1.1). AES-CBC isn't offered, though a signed
/// response may have it.
fn encryption_methods() -> String {
    let ciphers = ["aes256-gcm", "aes192-gcm", "aes128-gcm"];
    let ciphers = ciphers
        .map(|cipher| format!("<md:EncryptionMethod Algorithm=\"{XENC11}{cipher}\"/>"))
        .concat();
    format!(
        "{ciphers}<md:EncryptionMethod Algorithm=\"{XENC11}rsa-oaep\">\
         <ds:DigestMethod Algorithm=\"{XENC}sha256\"/>\
         <xenc11:MGF xmlns:xenc11=\"{XENC11}\" Algorithm=\"{XENC11}mgf1sha256\"/>\
         </md:EncryptionMethod>\
         <md:EncryptionMethod Algorithm=\"{XENC}rsa-oaep-mgf1p\"/>"
    )
}

#[cfg(test)]
mod tests;
