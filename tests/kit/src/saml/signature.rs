//! XML-DSig as SAML uses it (saml-core-2.0-os, section 5.4), for elements that are their own
//! exclusive canonical form; with hooks at each step, for those that don't play by the rules.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    DS, EXCLUSIVE,
    keys::{Hash, Signer},
    xml::{self, Edit},
};

/// The transform that leaves the signature itself out.
pub(crate) const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";

/// How an element is signed.
#[derive(Clone)]
pub struct Profile {
    pub signer: Arc<Signer>,
    /// Of the signature.
    pub hash: Hash,
    /// Of the digest.
    pub digest: Hash,
    /// Whether the certificate is put in.
    pub certificate: bool,
    /// Changes what is digested.
    pub digested: Option<Edit>,
    /// Changes SignedInfo before it is signed; it must leave the tag of SignedInfo alone.
    pub signed_info: Option<Edit>,
    /// Changes the finished signature.
    pub signature: Option<Edit>,
}

impl Profile {
    /// SHA-256 for both, with the certificate.
    pub fn new(signer: &Arc<Signer>) -> Self {
        Self {
            signer: Arc::clone(signer),
            hash: Hash::Sha256,
            digest: Hash::Sha256,
            certificate: true,
            digested: None,
            signed_info: None,
            signature: None,
        }
    }

    /// Signs an element by its own ID. The signature comes after its Issuer, where the schema has
    /// it, or first where there is none.
    ///
    /// # Errors
    /// If the element has no ID, or an edit fails.
    pub fn sign(&self, element: &str) -> anyhow::Result<String> {
        let signature = self.signature_of(element)?;
        let first = element.find('>').map_or(0, |tag| tag + 1);
        let at = if element[first..].starts_with("<saml:Issuer") {
            first + xml::span(&element[first..], "saml:Issuer")?.end
        } else {
            first
        };
        Ok(format!("{}{signature}{}", &element[..at], &element[at..]))
    }

    /// The signature of an element, to be put into it.
    ///
    /// # Errors
    /// If the element has no ID, or an edit fails.
    pub fn signature_of(&self, element: &str) -> anyhow::Result<String> {
        let digested = xml::apply(self.digested.as_ref(), element.to_owned())?;
        let reference = xml::root_attribute(element, "ID")?;
        let signed_info = format!(
            "<ds:SignedInfo>\
             <ds:CanonicalizationMethod Algorithm=\"{EXCLUSIVE}\"></ds:CanonicalizationMethod>\
             <ds:SignatureMethod Algorithm=\"{}\"></ds:SignatureMethod>\
             <ds:Reference URI=\"#{reference}\"><ds:Transforms>\
             <ds:Transform Algorithm=\"{ENVELOPED}\"></ds:Transform>\
             <ds:Transform Algorithm=\"{EXCLUSIVE}\"></ds:Transform></ds:Transforms>\
             <ds:DigestMethod Algorithm=\"{}\"></ds:DigestMethod>\
             <ds:DigestValue>{}</ds:DigestValue></ds:Reference></ds:SignedInfo>",
            self.signer.signature_uri(self.hash),
            self.digest.digest_uri(),
            BASE64_STANDARD.encode(self.digest.of(digested.as_bytes())),
        );
        let signed_info = xml::apply(self.signed_info.as_ref(), signed_info)?;
        // alone it declares the namespace that it inherits in the document
        let declared = format!("<ds:SignedInfo xmlns:ds=\"{DS}\">");
        let canonical = xml::swap(&signed_info, "<ds:SignedInfo>", &declared)?;
        let value = self.signer.sign(self.hash, canonical.as_bytes())?;
        let certificate = if self.certificate {
            format!(
                "<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{}</ds:X509Certificate>\
                 </ds:X509Data></ds:KeyInfo>",
                BASE64_STANDARD.encode(self.signer.identity().cert_der())
            )
        } else {
            String::new()
        };
        let signature = format!(
            "<ds:Signature xmlns:ds=\"{DS}\">{signed_info}<ds:SignatureValue>{}\
             </ds:SignatureValue>{certificate}</ds:Signature>",
            BASE64_STANDARD.encode(value)
        );
        xml::apply(self.signature.as_ref(), signature)
    }
}
