use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use roxmltree::Document;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;
use crate::saml::DecryptionKey;
use crate::saml::fixtures::KEY;

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = BASE64_STANDARD.encode(der);
    let lines: Vec<_> = base64.as_bytes().chunks(64).map(|l| str::from_utf8(l).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[test]
fn a_new_key_signs_what_its_certificate_verifies() {
    let new = NewKey::generate("Rollcall signing").unwrap();
    let signature = SigningKey::new(&new.pkcs8).unwrap().sign(b"text").unwrap();
    let (rest, certificate) = X509Certificate::from_der(&new.certificate).unwrap();
    assert!(rest.is_empty());
    assert_eq!(certificate.subject().to_string(), "CN=Rollcall signing");
    assert_eq!(certificate.validity().not_after.to_datetime().year(), 9999);
    let key = certificate.public_key().raw;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(b"text", &signature).unwrap();
    assert!(DecryptionKey::new(&new.pkcs8).is_ok());
}

#[test]
fn keys_are_pkcs8_in_der_or_pem_and_nothing_else() {
    let good = pem("PRIVATE KEY", &KEY.pkcs8);
    assert!(SigningKey::new(good.as_bytes()).is_ok());
    assert!(DecryptionKey::new(format!("Bag Attributes\n{good}").as_bytes()).is_ok());
    let curve = rcgen::KeyPair::generate().unwrap();
    let certificate = pem("CERTIFICATE", &KEY.certificate);
    let pkcs1 = pem("RSA PRIVATE KEY", &KEY.pkcs8);
    for bad in [&b""[..], b"x", curve.serialized_der(), certificate.as_bytes(), pkcs1.as_bytes()] {
        assert_eq!(SigningKey::new(bad).err(), Some(BadKey));
        assert_eq!(DecryptionKey::new(bad).err(), Some(BadKey));
    }
}

#[test]
fn the_metadata_keeps_the_keys_apart_and_shows_the_next_one() {
    let metadata = Metadata {
        entity_id: "https://r.example/\"<&",
        acs_url: "https://r.example/acs?a&b",
        signing_certificates: &[b"one", b"two"],
        encryption_certificates: &[b"three", b"four"],
    };
    let xml = metadata.xml();
    let document = Document::parse(&xml).unwrap();
    let root = document.root_element();
    assert!(root.has_tag_name((MD, "EntityDescriptor")));
    assert_eq!(root.attribute("entityID"), Some("https://r.example/\"<&"));
    let role = root.first_element_child().unwrap();
    assert_eq!(role.attribute("AuthnRequestsSigned"), Some("true"));
    assert_eq!(role.attribute("WantAssertionsSigned"), Some("true"));
    let keys = role.children().filter(|node| node.has_tag_name((MD, "KeyDescriptor")));
    let keys: Vec<_> = keys
        .map(|key| {
            let certificate = key.descendants().find(|n| n.has_tag_name((DS, "X509Certificate")));
            let der = BASE64_STANDARD.decode(certificate.unwrap().text().unwrap()).unwrap();
            let methods = key.children().filter(|n| n.has_tag_name((MD, "EncryptionMethod")));
            (key.attribute("use").unwrap(), String::from_utf8(der).unwrap(), methods.count())
        })
        .collect();
    let key = |usage, name: &str, methods| (usage, name.to_owned(), methods);
    assert_eq!(
        keys,
        [
            key("signing", "one", 0),
            key("signing", "two", 0),
            key("encryption", "three", 5),
            key("encryption", "four", 5)
        ]
    );
    let acs = role.last_element_child().unwrap();
    assert_eq!(acs.attribute("Location"), Some("https://r.example/acs?a&b"));
    assert!(acs.attribute("Binding").unwrap().ends_with("HTTP-POST"));
}
