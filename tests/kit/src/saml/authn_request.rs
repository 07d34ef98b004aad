//! The service provider's AuthnRequest as it comes by redirect (saml-bindings-2.0-os, section 3.4).

use std::io::Read;

use anyhow::{Context, anyhow, bail, ensure};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::read::DeflateDecoder;
use roxmltree::{Document, Node};
use url::{Url, form_urlencoded};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{ASSERTION, DS, PROTOCOL};

const METADATA: &str = "urn:oasis:names:tc:SAML:2.0:metadata";
const MAX_BYTES: u64 = 64 * 1024;

/// What the request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthnRequest {
    pub id: String,
    pub issuer: String,
    pub destination: Option<String>,
    pub acs: Option<String>,
    pub relay_state: Option<String>,
    pub force_authn: bool,
    /// Whether it has a signature at all, good or not.
    pub signed: bool,
    /// The document.
    pub xml: String,
}

/// What an identity provider knows of a service provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    pub entity_id: String,
    /// Its assertion consumer services.
    pub acs: Vec<String>,
    /// DER of the certificates it signs requests with; none: requests needn't be signed.
    pub signing: Vec<Vec<u8>>,
    /// DER of the certificates that assertions may be encrypted for.
    pub encryption: Vec<Vec<u8>>,
}

impl AuthnRequest {
    /// Reads one from the URL that the browser was sent to.
    ///
    /// # Errors
    /// If there is none in it.
    pub fn read(url: &str) -> anyhow::Result<Self> {
        let url = Url::parse(url).context("the request's URL")?;
        let parameter = |name: &str| {
            url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        let deflated = parameter("SAMLRequest").context("no SAMLRequest")?;
        let deflated = BASE64_STANDARD.decode(deflated).context("SAMLRequest isn't base64")?;
        let mut xml = String::new();
        DeflateDecoder::new(deflated.as_slice())
            .take(MAX_BYTES)
            .read_to_string(&mut xml)
            .context("SAMLRequest isn't deflated text")?;
        let document = Document::parse(&xml).context("SAMLRequest isn't XML")?;
        let root = document.root_element();
        ensure!(root.has_tag_name((PROTOCOL, "AuthnRequest")), "this isn't an AuthnRequest");
        ensure!(root.attribute("Version") == Some("2.0"), "this isn't SAML 2.0");
        let issuer = root.children().find(|child| child.has_tag_name((ASSERTION, "Issuer")));
        Ok(Self {
            id: root.attribute("ID").context("the request has no ID")?.to_owned(),
            issuer: issuer.and_then(|issuer| issuer.text()).unwrap_or_default().to_owned(),
            destination: root.attribute("Destination").map(ToOwned::to_owned),
            acs: root.attribute("AssertionConsumerServiceURL").map(ToOwned::to_owned),
            relay_state: parameter("RelayState"),
            force_authn: root.attribute("ForceAuthn") == Some("true"),
            signed: parameter("Signature").is_some(),
            xml: xml.clone(),
        })
    }
}

impl Trusted {
    /// What the service provider's metadata says.
    ///
    /// # Errors
    /// If it isn't metadata of one.
    pub fn from_metadata(metadata: &str) -> anyhow::Result<Self> {
        let document = Document::parse(metadata).context("the metadata isn't XML")?;
        let root = document.root_element();
        let described =
            |name| document.descendants().filter(move |node| node.has_tag_name((METADATA, name)));
        let keys = |usage| {
            described("KeyDescriptor")
                .filter(move |key| key.attribute("use").is_none_or(|for_what| for_what == usage))
                .flat_map(|key| key.descendants())
                .filter(|node| node.has_tag_name((DS, "X509Certificate")))
                .map(certificate)
                .collect::<anyhow::Result<Vec<_>>>()
        };
        ensure!(described("SPSSODescriptor").count() == 1, "this isn't a service provider's");
        Ok(Self {
            entity_id: root.attribute("entityID").context("no entityID")?.to_owned(),
            acs: described("AssertionConsumerService")
                .filter_map(|service| service.attribute("Location").map(ToOwned::to_owned))
                .collect(),
            signing: keys("signing")?,
            encryption: keys("encryption")?,
        })
    }

    /// Checks a request and the signature of the URL that brought it.
    ///
    /// # Errors
    /// If it isn't this service provider's.
    pub fn check(&self, url: &str, request: &AuthnRequest) -> anyhow::Result<()> {
        ensure!(request.issuer == self.entity_id, "the request is {}'s", request.issuer);
        if let Some(acs) = &request.acs {
            ensure!(self.acs.contains(acs), "{acs} is none of its services");
        }
        if self.signing.is_empty() {
            return Ok(());
        }
        // what is signed are the parameters as they were sent, in this order
        let query = url.split_once('?').context("no query")?.1;
        let query = query.split('#').next().unwrap_or_default();
        let sent = |name: &str| query.split('&').find(|part| part.starts_with(name));
        let parts = [sent("SAMLRequest="), sent("RelayState="), sent("SigAlg=")];
        let signed = parts.into_iter().flatten().collect::<Vec<_>>().join("&");
        let decoded = |name: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        let algorithm = verification(&decoded("SigAlg").context("the request isn't signed")?)?;
        let signature = decoded("Signature").context("the request isn't signed")?;
        let signature = BASE64_STANDARD.decode(signature).context("the signature")?;
        let good = self.signing.iter().any(|der| {
            X509Certificate::from_der(der).is_ok_and(|(_, certificate)| {
                UnparsedPublicKey::new(algorithm, &certificate.public_key().subject_public_key.data)
                    .verify(signed.as_bytes(), &signature)
                    .is_ok()
            })
        });
        ensure!(good, "the request's signature is none of the service provider's keys'");
        Ok(())
    }
}

fn certificate(node: Node<'_, '_>) -> anyhow::Result<Vec<u8>> {
    let text: String = node.text().unwrap_or_default().split_ascii_whitespace().collect();
    BASE64_STANDARD.decode(text).map_err(|_| anyhow!("a certificate isn't base64"))
}

fn verification(uri: &str) -> anyhow::Result<&'static dyn VerificationAlgorithm> {
    let name = uri.strip_prefix("http://www.w3.org/2001/04/xmldsig-more#").unwrap_or(uri);
    Ok(match name {
        "rsa-sha256" => &RSA_PKCS1_2048_8192_SHA256,
        "rsa-sha384" => &RSA_PKCS1_2048_8192_SHA384,
        "rsa-sha512" => &RSA_PKCS1_2048_8192_SHA512,
        "ecdsa-sha256" => &ECDSA_P256_SHA256_FIXED,
        "ecdsa-sha384" => &ECDSA_P384_SHA384_FIXED,
        _ => bail!("requests signed with {uri} aren't taken"),
    })
}
