//! For tests: responses as an identity provider makes them, right or with one thing changed.

use std::sync::LazyLock;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    cipher::{AES_256, PaddedBlockEncryptingKey, UnboundCipherKey},
    digest,
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{
        KeyPair, KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey,
        PrivateDecryptingKey,
    },
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    },
};
use base64::prelude::{BASE64_STANDARD, Engine};
use jiff::Timestamp;
use roxmltree::{Document, Node};

use super::metadata::{Binding, IdentityProvider, SigningCertificate};
use super::{
    DS, DecryptionKey, EXC_C14N, Expected, SAML, SAMLP, ServiceProvider, TrustedIdp, XENC, XENC11,
    c14n, response,
};

pub const IDP: &str = "https://idp.acme.com/saml";
pub const SP: &str = "https://rollcall.example.com/sso/acme/okta/saml/metadata";
pub const ACS: &str = "https://rollcall.example.com/sso/acme/okta/saml/acs";
pub const REQUEST: &str = "_request";
pub const NOW: &str = "2026-03-01T12:00:00Z";

const RSA: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";

/// An RSA key and its certificate; making one takes long.
pub struct Key {
    pub pair: KeyPair,
    pub pkcs8: Vec<u8>,
    pub certificate: Vec<u8>,
}

impl Key {
    fn new() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap().as_ref().to_vec();
        let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(
            &pkcs8.as_slice().into(),
            &rcgen::PKCS_RSA_SHA256,
        );
        let certificate = certificate(&key.unwrap());
        Self { pair, pkcs8, certificate }
    }
}

pub static KEY: LazyLock<Key> = LazyLock::new(Key::new);
pub static OTHER_KEY: LazyLock<Key> = LazyLock::new(Key::new);

pub fn certificate(key: &rcgen::KeyPair) -> Vec<u8> {
    rcgen::CertificateParams::new([]).unwrap().self_signed(key).unwrap().der().to_vec()
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The identity provider with these certificates, good for a day more.
pub fn idp(certificates: &[&[u8]]) -> IdentityProvider {
    let certificate = |der: &&[u8]| SigningCertificate {
        der: der.to_vec(),
        sha256: String::new(),
        not_after: at("2026-03-02T12:00:00Z"),
    };
    IdentityProvider {
        entity_id: IDP.into(),
        sign_on_url: "https://idp.acme.com/sso".into(),
        sign_on_binding: Binding::HttpRedirect,
        certificates: certificates.iter().map(certificate).collect(),
        valid_until: None,
        refresh_after: None,
    }
}

pub fn trusted(certificates: &[&[u8]]) -> TrustedIdp {
    TrustedIdp::new(&idp(certificates))
}

pub fn expected<'a>(idp: &'a TrustedIdp, keys: &'a [DecryptionKey]) -> Expected<'a> {
    Expected {
        idp,
        sp: ServiceProvider { entity_id: SP, acs_url: ACS, decryption_keys: keys },
        request: Some(REQUEST),
        now: at(NOW),
        skew: response::SKEW,
    }
}

/// A good assertion, with `[[_a]]` where its signature goes.
pub fn assertion() -> String {
    format!(
        r#"<saml:Assertion xmlns:saml="{SAML}" xmlns:xs="http://www.w3.org/2001/XMLSchema" ID="_a" Version="2.0" IssueInstant="{NOW}">
  <saml:Issuer>{IDP}</saml:Issuer>[[_a]]<saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress">ada@acme.com</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData InResponseTo="{REQUEST}" NotOnOrAfter="2026-03-01T12:05:00Z" Recipient="{ACS}"/></saml:SubjectConfirmation></saml:Subject>
  <saml:Conditions NotBefore="2026-03-01T11:55:00Z" NotOnOrAfter="2026-03-01T12:10:00Z"><saml:AudienceRestriction><saml:Audience>{SP}</saml:Audience></saml:AudienceRestriction></saml:Conditions>
  <saml:AuthnStatement AuthnInstant="2026-03-01T11:59:00Z" SessionIndex="_s"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>
  <saml:AttributeStatement><saml:Attribute Name="email" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:basic"><saml:AttributeValue xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:string">Ada@Acme.com</saml:AttributeValue></saml:Attribute><saml:Attribute Name="groups" FriendlyName="g"><saml:AttributeValue>a &amp; b</saml:AttributeValue><saml:AttributeValue>c</saml:AttributeValue></saml:Attribute></saml:AttributeStatement>
</saml:Assertion>"#
    )
}

/// A good response around it, with `[[_r]]` where its signature goes.
pub fn response(assertion: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<samlp:Response xmlns:samlp="{SAMLP}" ID="_r" Version="2.0" IssueInstant="{NOW}" Destination="{ACS}" InResponseTo="{REQUEST}"><saml:Issuer xmlns:saml="{SAML}">{IDP}</saml:Issuer>[[_r]]<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>{assertion}</samlp:Response>"#
    )
}

/// How something is signed.
pub struct Signer<'a> {
    pub method: &'a str,
    pub digest: &'a str,
    pub prefixes: &'a str,
    pub key: &'a Key,
    /// What is done to the signature before its SignedInfo is signed.
    pub edit: &'a dyn Fn(String) -> String,
}

impl Default for Signer<'_> {
    fn default() -> Self {
        Self { method: RSA, digest: SHA256, prefixes: "", key: &KEY, edit: &|signature| signature }
    }
}

impl Signer<'_> {
    /// Signs the element of this ID where the text has `[[ID]]`; takes the other marks away only
    /// for the look at it.
    pub fn sign(&self, xml: &str, id: &str) -> String {
        let mark = format!("[[{id}]]");
        let digest = {
            let text = as_read(xml);
            let document = Document::parse(&text).unwrap();
            let prefixes: Vec<&str> = self.prefixes.split_whitespace().collect();
            let mut out = vec![];
            c14n::canonicalize(by_id(&document, id), None, &prefixes, &mut out);
            let algorithm = match self.digest {
                "http://www.w3.org/2000/09/xmldsig#sha1" => &digest::SHA1_FOR_LEGACY_USE_ONLY,
                SHA256 => &digest::SHA256,
                "http://www.w3.org/2001/04/xmldsig-more#sha384" => &digest::SHA384,
                _ => &digest::SHA512,
            };
            BASE64_STANDARD.encode(digest::digest(algorithm, &out))
        };
        let Self { method, digest: digest_method, prefixes, .. } = self;
        let inclusive = match *prefixes {
            "" => String::new(),
            list => {
                format!(r#"<ec:InclusiveNamespaces xmlns:ec="{EXC_C14N}" PrefixList="{list}"/>"#)
            }
        };
        let certificate = BASE64_STANDARD.encode(&self.key.certificate);
        let signature = (self.edit)(format!(
            r##"<ds:Signature xmlns:ds="{DS}"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{EXC_C14N}"/><ds:SignatureMethod Algorithm="{method}"/><ds:Reference URI="#{id}"><ds:Transforms><ds:Transform Algorithm="{DS}enveloped-signature"/><ds:Transform Algorithm="{EXC_C14N}">{inclusive}</ds:Transform></ds:Transforms><ds:DigestMethod Algorithm="{digest_method}"/><ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo><ds:SignatureValue>[[value]]</ds:SignatureValue><ds:KeyInfo><ds:X509Data><ds:X509Certificate>
{certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></ds:Signature>"##
        ));
        let xml = xml.replace(&mark, &signature);
        let info = {
            let text = as_read(&xml);
            let document = Document::parse(&text).unwrap();
            let signatures = by_id(&document, id).children();
            let mut signatures = signatures.filter(|node| node.has_tag_name((DS, "Signature")));
            let info = signatures.next().unwrap().first_element_child().unwrap();
            let mut out = vec![];
            c14n::canonicalize(info, None, &[], &mut out);
            out
        };
        xml.replace("[[value]]", &BASE64_STANDARD.encode(self.made(&info)))
    }

    fn made(&self, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let encoding = match self.method.rsplit('#').next() {
            Some("rsa-sha384") => &RSA_PKCS1_SHA384,
            Some("rsa-sha512") => &RSA_PKCS1_SHA512,
            Some("hmac-sha256") => {
                let key =
                    aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &self.key.certificate);
                return aws_lc_rs::hmac::sign(&key, text).as_ref().to_vec();
            }
            _ => &RSA_PKCS1_SHA256,
        };
        let mut signature = vec![0; self.key.pair.public_modulus_len()];
        self.key.pair.sign(encoding, &random, text, &mut signature).unwrap();
        signature
    }
}

/// A response signed with an elliptic curve's key, and the key's certificate.
pub fn signed_by_curve(p384: bool) -> (String, Vec<u8>) {
    let (kind, algorithm, method) = if p384 {
        (&rcgen::PKCS_ECDSA_P384_SHA384, &ECDSA_P384_SHA384_FIXED_SIGNING, "ecdsa-sha384")
    } else {
        (&rcgen::PKCS_ECDSA_P256_SHA256, &ECDSA_P256_SHA256_FIXED_SIGNING, "ecdsa-sha256")
    };
    let key = rcgen::KeyPair::generate_for(kind).unwrap();
    let method = format!("http://www.w3.org/2001/04/xmldsig-more#{method}");
    let xml = Signer { method: &method, ..Signer::default() }.sign(&response(&assertion()), "_a");
    let xml = unmarked(&xml);
    let document = Document::parse(&xml).unwrap();
    let info = document.descendants().find(|node| node.has_tag_name((DS, "SignedInfo"))).unwrap();
    let mut text = vec![];
    c14n::canonicalize(info, None, &[], &mut text);
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, key.serialized_der()).unwrap();
    let signature = pair.sign(&SystemRandom::new(), &text).unwrap();
    let value = document.descendants().find(|node| node.has_tag_name((DS, "SignatureValue")));
    let old = value.unwrap().text().unwrap();
    (xml.replace(old, &BASE64_STANDARD.encode(signature)), certificate(&key))
}

/// What is signed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Signed {
    Assertion,
    Response,
    Both,
}

pub const ALL_WAYS: [Signed; 3] = [Signed::Assertion, Signed::Response, Signed::Both];

/// A response with something changed before it is signed.
pub fn edited(signed: Signed, edit: impl Fn(String) -> String) -> String {
    signed_with(signed, &Signer::default(), &edit(response(&assertion())))
}

pub fn good(signed: Signed) -> String {
    edited(signed, |xml| xml)
}

pub fn signed_with(signed: Signed, signer: &Signer<'_>, xml: &str) -> String {
    let mut xml = xml.to_owned();
    if signed != Signed::Response && xml.contains("[[_a]]") {
        xml = signer.sign(&xml, "_a");
    }
    if signed != Signed::Assertion {
        xml = signer.sign(&unmarked_but(&xml, "_r"), "_r");
    }
    unmarked(&xml)
}

fn unmarked(xml: &str) -> String {
    ["[[_a]]", "[[_r]]", "[[value]]"].iter().fold(xml.to_owned(), |xml, mark| xml.replace(mark, ""))
}

/// As the text is read, without marks.
fn as_read(xml: &str) -> String {
    super::xml::text(unmarked(xml).as_bytes()).unwrap().into_owned()
}

fn unmarked_but(xml: &str, id: &str) -> String {
    if id == "_r" { xml.replace("[[_a]]", "") } else { xml.replace("[[_r]]", "") }
}

fn by_id<'a, 'i>(document: &'a Document<'i>, id: &str) -> Node<'a, 'i> {
    let named = |node: &Node<'_, '_>| ["Assertion", "Response"].contains(&node.tag_name().name());
    document.descendants().filter(named).find(|node| node.attribute("ID") == Some(id)).unwrap()
}

/// How an assertion is encrypted.
#[derive(Clone, Copy)]
pub struct Encryption {
    pub cbc: bool,
    pub oaep_sha256: bool,
    /// The key beside the data, named by a RetrievalMethod.
    pub key_beside: bool,
}

pub const GCM: Encryption = Encryption { cbc: false, oaep_sha256: false, key_beside: false };

/// An EncryptedAssertion for `key` of this text.
pub fn encrypted(plain: &str, key: &Key, how: Encryption) -> String {
    let secret = [7; 32];
    let mut text = plain.as_bytes().to_vec();
    let text = if how.cbc {
        let key = UnboundCipherKey::new(&AES_256, &secret).unwrap();
        let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).unwrap();
        let context = key.encrypt(&mut text).unwrap();
        let iv: &[u8] = (&context).try_into().unwrap();
        [iv, &text].concat()
    } else {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &secret).unwrap());
        let nonce = Nonce::assume_unique_for_key([3; 12]);
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut text).unwrap();
        [&[3; 12], &text[..]].concat()
    };
    let public = PrivateDecryptingKey::from_pkcs8(&key.pkcs8).unwrap().public_key();
    let public = OaepPublicEncryptingKey::new(public).unwrap();
    let (oaep, method) = if how.oaep_sha256 {
        let method = format!(
            r#"Algorithm="{XENC11}rsa-oaep"><ds:DigestMethod Algorithm="{XENC}sha256"/><x:MGF xmlns:x="{XENC11}" Algorithm="{XENC11}mgf1sha256"/>"#
        );
        (&OAEP_SHA256_MGF1SHA256, method)
    } else {
        let method =
            format!(r#"Algorithm="{XENC}rsa-oaep-mgf1p"><ds:DigestMethod Algorithm="{DS}sha1"/>"#);
        (&OAEP_SHA1_MGF1SHA1, method)
    };
    let mut wrapped = vec![0; public.ciphertext_size()];
    let wrapped = public.encrypt(oaep, &secret, &mut wrapped, None).unwrap();
    let (text, wrapped) = (BASE64_STANDARD.encode(text), BASE64_STANDARD.encode(wrapped));
    let cipher = if how.cbc { format!("{XENC}aes256-cbc") } else { format!("{XENC11}aes256-gcm") };
    let key = format!(
        r#"<xenc:EncryptedKey xmlns:xenc="{XENC}" xmlns:ds="{DS}" Id="_k"><xenc:EncryptionMethod {method}</xenc:EncryptionMethod><xenc:CipherData><xenc:CipherValue>{wrapped}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedKey>"#
    );
    let retrieval =
        r##"<ds:RetrievalMethod Type="http://www.w3.org/2001/04/xmlenc#EncryptedKey" URI="#_k"/>"##
            .to_owned();
    let (inside, beside) = if how.key_beside { (retrieval, key) } else { (key, String::new()) };
    format!(
        r#"<saml:EncryptedAssertion xmlns:saml="{SAML}"><xenc:EncryptedData xmlns:xenc="{XENC}" Type="http://www.w3.org/2001/04/xmlenc#Element"><xenc:EncryptionMethod Algorithm="{cipher}"/><ds:KeyInfo xmlns:ds="{DS}">{inside}</ds:KeyInfo><xenc:CipherData><xenc:CipherValue>{text}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData>{beside}</saml:EncryptedAssertion>"#
    )
}
