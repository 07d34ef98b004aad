//! Encrypted assertions (saml-core-2.0-os, section 6; xmlenc-core1): AES for the assertion, RSA for
//! the AES key.

use anyhow::{Context, anyhow};
use aws_lc_rs::{
    aead, cipher,
    iv::FixedLength,
    rand,
    rsa::{
        OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey,
        Pkcs1PublicEncryptingKey, PublicEncryptingKey,
    },
};
use base64::{Engine, prelude::BASE64_STANDARD};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    ASSERTION, DS, XENC, XENC11,
    xml::{self, Edit},
};

/// What the assertion is encrypted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    Aes128Cbc,
    Aes256Cbc,
}

/// What its key is encrypted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// RSA-OAEP with SHA-1 in both places, as `xmlenc#rsa-oaep-mgf1p` has it if it names no other.
    Oaep,
    /// RSA-OAEP with SHA-256 in both places (xmlenc 1.1).
    OaepSha256,
    /// PKCS#1 v1.5, which nobody should take (Bleichenbacher).
    Pkcs1,
}

/// How an assertion is encrypted.
#[derive(Clone)]
pub struct Encryption {
    /// The recipient's certificate, DER.
    pub recipient: Vec<u8>,
    pub cipher: Cipher,
    pub transport: Transport,
    /// Changes the finished `EncryptedAssertion`.
    pub encrypted: Option<Edit>,
}

impl Encryption {
    /// AES-256-GCM and RSA-OAEP.
    pub fn new(recipient: &[u8]) -> Self {
        Self {
            recipient: recipient.to_vec(),
            cipher: Cipher::Aes256Gcm,
            transport: Transport::Oaep,
            encrypted: None,
        }
    }

    /// The `EncryptedAssertion` of an assertion's text.
    ///
    /// # Errors
    /// If the recipient's certificate isn't RSA, or the edit fails.
    pub fn encrypt(&self, assertion: &str) -> anyhow::Result<String> {
        let mut key = vec![0; self.cipher.key_length()];
        rand::fill(&mut key).map_err(|_| anyhow!("no random bytes"))?;
        let data = BASE64_STANDARD.encode(self.cipher.encrypt(&key, assertion.as_bytes())?);
        let wrapped = BASE64_STANDARD.encode(self.transport.encrypt(&self.recipient, &key)?);
        let (cipher, transport) = (self.cipher.uri(), self.transport.method());
        let encrypted = format!(
            "<saml:EncryptedAssertion xmlns:saml=\"{ASSERTION}\">\
             <xenc:EncryptedData xmlns:xenc=\"{XENC}\" Type=\"{XENC}Element\">\
             <xenc:EncryptionMethod Algorithm=\"{cipher}\"></xenc:EncryptionMethod>\
             <ds:KeyInfo xmlns:ds=\"{DS}\"><xenc:EncryptedKey>{transport}\
             <xenc:CipherData><xenc:CipherValue>{wrapped}</xenc:CipherValue></xenc:CipherData>\
             </xenc:EncryptedKey></ds:KeyInfo>\
             <xenc:CipherData><xenc:CipherValue>{data}</xenc:CipherValue></xenc:CipherData>\
             </xenc:EncryptedData></saml:EncryptedAssertion>"
        );
        xml::apply(self.encrypted.as_ref(), encrypted)
    }
}

impl Cipher {
    fn uri(self) -> String {
        match self {
            Self::Aes128Gcm => format!("{XENC11}aes128-gcm"),
            Self::Aes256Gcm => format!("{XENC11}aes256-gcm"),
            Self::Aes128Cbc => format!("{XENC}aes128-cbc"),
            Self::Aes256Cbc => format!("{XENC}aes256-cbc"),
        }
    }

    fn key_length(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Aes128Cbc => 16,
            Self::Aes256Gcm | Self::Aes256Cbc => 32,
        }
    }

    /// The nonce or initialization vector, then the ciphertext (with its tag).
    fn encrypt(self, key: &[u8], plain: &[u8]) -> anyhow::Result<Vec<u8>> {
        let failed = |_| anyhow!("encrypting failed");
        let mut data = plain.to_vec();
        let start: Vec<u8> = match self {
            Self::Aes128Gcm | Self::Aes256Gcm => {
                let algorithm =
                    if key.len() == 16 { &aead::AES_128_GCM } else { &aead::AES_256_GCM };
                let key = aead::RandomizedNonceKey::new(algorithm, key).map_err(failed)?;
                let nonce =
                    key.seal_in_place_append_tag(aead::Aad::empty(), &mut data).map_err(failed)?;
                nonce.as_ref().to_vec()
            }
            Self::Aes128Cbc | Self::Aes256Cbc => {
                let algorithm = if key.len() == 16 { &cipher::AES_128 } else { &cipher::AES_256 };
                let key = cipher::UnboundCipherKey::new(algorithm, key).map_err(failed)?;
                let key = cipher::PaddedBlockEncryptingKey::cbc_pkcs7(key).map_err(failed)?;
                let iv = FixedLength::<16>::new().map_err(failed)?;
                let start = iv.as_ref().to_vec();
                let context = cipher::EncryptionContext::Iv128(iv);
                key.less_safe_encrypt(&mut data, context).map_err(failed)?;
                start
            }
        };
        Ok([start, data].concat())
    }
}

impl Transport {
    fn method(self) -> String {
        match self {
            Self::Oaep => format!(
                "<xenc:EncryptionMethod Algorithm=\"{XENC}rsa-oaep-mgf1p\">\
                 <ds:DigestMethod Algorithm=\"{DS}sha1\"></ds:DigestMethod></xenc:EncryptionMethod>"
            ),
            Self::OaepSha256 => format!(
                "<xenc:EncryptionMethod Algorithm=\"{XENC11}rsa-oaep\">\
                 <ds:DigestMethod Algorithm=\"{XENC}sha256\"></ds:DigestMethod>\
                 <xenc11:MGF xmlns:xenc11=\"{XENC11}\" Algorithm=\"{XENC11}mgf1sha256\">\
                 </xenc11:MGF></xenc:EncryptionMethod>"
            ),
            Self::Pkcs1 => format!(
                "<xenc:EncryptionMethod Algorithm=\"{XENC}rsa-1_5\"></xenc:EncryptionMethod>"
            ),
        }
    }

    fn encrypt(self, certificate: &[u8], key: &[u8]) -> anyhow::Result<Vec<u8>> {
        let failed = |_| anyhow!("the recipient's key is not RSA");
        let (_, certificate) = X509Certificate::from_der(certificate).context("the certificate")?;
        let public =
            PublicEncryptingKey::from_der(certificate.public_key().raw).context("its key")?;
        let mut output = vec![0; public.key_size_bytes()];
        let written = if self == Self::Pkcs1 {
            let public = Pkcs1PublicEncryptingKey::new(public).map_err(failed)?;
            public.encrypt(key, &mut output).map_err(failed)?.len()
        } else {
            let algorithm =
                if self == Self::Oaep { &OAEP_SHA1_MGF1SHA1 } else { &OAEP_SHA256_MGF1SHA256 };
            let public = OaepPublicEncryptingKey::new(public).map_err(failed)?;
            public.encrypt(algorithm, key, &mut output, None).map_err(failed)?.len()
        };
        output.truncate(written);
        Ok(output)
    }
}
