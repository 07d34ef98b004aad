//! Our request that somebody be signed in (saml-core-2.0-os, section 3.4.1), signed, on its way by a
//! redirect or by a form that sends itself (saml-bindings-2.0-os, sections 3.4 and 3.5).

use std::io::Write as _;

use aws_lc_rs::{
    digest::{self, SHA256},
    rand::{SecureRandom, SystemRandom},
};
use base64::prelude::{BASE64_STANDARD, Engine};
use flate2::{Compression, write::DeflateEncoder};
use jiff::Timestamp;
use url::form_urlencoded;

use super::metadata::Binding;
use super::service_provider::{RSA_SHA256, SigningKey, Unspecified};
use super::{DS, EXC_C14N, SAML, SAMLP, XENC, c14n};

/// What is asked of an identity provider.
#[derive(Clone, Copy)]
pub struct AuthnRequest<'a> {
    /// Of [`new_id`]; kept on the server, where the response's InResponseTo is held against it.
    pub id: &'a str,
    pub issued_at: Timestamp,
    /// Our entity ID.
    pub issuer: &'a str,
    pub acs_url: &'a str,
    /// The identity provider's, as its metadata has them.
    pub sign_on_url: &'a str,
    pub binding: Binding,
    /// The person must show anew who they are, though they are signed in there.
    pub force_authn: bool,
    /// What comes back with the response, at most 80 bytes (saml-bindings-2.0-os, section 3.4.3):
    /// opaque, since it passes through other hands.
    pub relay_state: &'a str,
}

/// How a request gets to the identity provider.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// The browser is redirected to this URL.
    Redirect(String),
    /// The browser posts a form to `action` with these fields, in the encoding
    /// `application/x-www-form-urlencoded`.
    Post { action: String, fields: [(&'static str, String); 2] },
}

/// A new ID: 128 random bits (saml-core-2.0-os, section 1.3.4).
///
/// # Errors
/// The system has no randomness to give.
pub fn new_id() -> Result<String, Unspecified> {
    let mut random = [0; 16];
    SystemRandom::new().fill(&mut random).map_err(|_| Unspecified)?;
    Ok(random.iter().fold("_".to_owned(), |id, byte| format!("{id}{byte:02x}")))
}

impl AuthnRequest<'_> {
    /// Signs the request and makes it ready to be sent.
    ///
    /// # Errors
    /// The key failed.
    pub fn sent(&self, key: &SigningKey) -> Result<Sent, Unspecified> {
        match self.binding {
            Binding::HttpRedirect => self.redirect(key).map(Sent::Redirect),
            Binding::HttpPost => {
                let xml = BASE64_STANDARD.encode(self.signed_xml(key)?);
                let fields = [("SAMLRequest", xml), ("RelayState", self.relay_state.to_owned())];
                Ok(Sent::Post { action: self.sign_on_url.to_owned(), fields })
            }
        }
    }

    /// The signature is over the query as it is written (saml-bindings-2.0-os, section 3.4.4.1).
    fn redirect(&self, key: &SigningKey) -> Result<String, Unspecified> {
        let mut deflate = DeflateEncoder::new(vec![], Compression::default());
        let deflated = deflate
            .write_all(self.xml("").as_bytes())
            .and_then(|()| deflate.finish())
            .map_err(|_| Unspecified)?;
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("SAMLRequest", &BASE64_STANDARD.encode(deflated))
            .append_pair("RelayState", self.relay_state)
            .append_pair("SigAlg", RSA_SHA256)
            .finish();
        let signature = BASE64_STANDARD.encode(key.sign(query.as_bytes())?);
        let signed =
            form_urlencoded::Serializer::new(query).append_pair("Signature", &signature).finish();
        let separator = if self.sign_on_url.contains('?') { '&' } else { '?' };
        Ok(format!("{}{separator}{signed}", self.sign_on_url))
    }

    /// The request with its signature in it. What is digested and what is signed is written in its
    /// canonical form to begin with: attributes in order, namespaces declared where they are first
    /// used, no element without an end tag.
    fn signed_xml(&self, key: &SigningKey) -> Result<String, Unspecified> {
        let digest = digest::digest(&SHA256, self.xml("").as_bytes());
        let digest = BASE64_STANDARD.encode(digest);
        let id = self.id;
        let info = |namespace: &str| {
            format!(
                "<ds:SignedInfo{namespace}>\
                 <ds:CanonicalizationMethod Algorithm=\"{EXC_C14N}\"></ds:CanonicalizationMethod>\
                 <ds:SignatureMethod Algorithm=\"{RSA_SHA256}\"></ds:SignatureMethod>\
                 <ds:Reference URI=\"#{id}\"><ds:Transforms>\
                 <ds:Transform Algorithm=\"{DS}enveloped-signature\"></ds:Transform>\
                 <ds:Transform Algorithm=\"{EXC_C14N}\"></ds:Transform></ds:Transforms>\
                 <ds:DigestMethod Algorithm=\"{XENC}sha256\"></ds:DigestMethod>\
                 <ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
            )
        };
        let namespace = format!(" xmlns:ds=\"{DS}\"");
        let signature = BASE64_STANDARD.encode(key.sign(info(&namespace).as_bytes())?);
        Ok(self.xml(&format!(
            "<ds:Signature{namespace}>{}<ds:SignatureValue>{signature}</ds:SignatureValue>\
             </ds:Signature>",
            info("")
        )))
    }

    /// In canonical form, if `signature` is. No NameIDPolicy: identity providers refuse requests
    /// for formats they weren't set up for, and what they send is checked when it comes.
    fn xml(&self, signature: &str) -> String {
        let issuer = c14n::text(self.issuer);
        let (acs_url, destination) = (c14n::value(self.acs_url), c14n::value(self.sign_on_url));
        let force = if self.force_authn { " ForceAuthn=\"true\"" } else { "" };
        let (id, issued_at) = (self.id, self.issued_at.strftime("%Y-%m-%dT%H:%M:%SZ"));
        format!(
            "<samlp:AuthnRequest xmlns:samlp=\"{SAMLP}\" \
             AssertionConsumerServiceURL=\"{acs_url}\" Destination=\"{destination}\"{force} \
             ID=\"{id}\" IssueInstant=\"{issued_at}\" \
             ProtocolBinding=\"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST\" Version=\"2.0\">\
             <saml:Issuer xmlns:saml=\"{SAML}\">{issuer}</saml:Issuer>{signature}\
             </samlp:AuthnRequest>"
        )
    }
}

#[cfg(test)]
mod tests;
