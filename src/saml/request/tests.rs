use std::io::Read as _;

use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use flate2::read::DeflateDecoder;
use roxmltree::Document;
use url::Url;

use super::*;
use crate::saml::fixtures::{ACS, KEY, NOW, SP, at, trusted};
use crate::saml::signature;

fn request(binding: Binding, sign_on_url: &str) -> AuthnRequest<'_> {
    AuthnRequest {
        id: "_0123",
        issued_at: at(NOW),
        issuer: SP,
        acs_url: ACS,
        sign_on_url,
        binding,
        force_authn: false,
        relay_state: "a b+c/&=",
    }
}

fn key() -> SigningKey {
    SigningKey::new(&KEY.pkcs8).unwrap()
}

#[test]
fn ids_are_128_random_bits() {
    let (one, other) = (new_id().unwrap(), new_id().unwrap());
    assert_ne!(one, other);
    assert!(one.len() == 33 && one.starts_with('_'), "{one}");
    assert!(one[1..].bytes().all(|b| b.is_ascii_hexdigit()), "{one}");
}

/// As saml-bindings-2.0-os, section 3.4.4.1 has it, with the strings of the query as they are.
#[test]
fn a_redirect_carries_a_signature_over_its_query() {
    for sign_on_url in ["https://idp.acme.com/sso", "https://idp.acme.com/sso?a=1&b=2"] {
        let request =
            AuthnRequest { force_authn: true, ..request(Binding::HttpRedirect, sign_on_url) };
        let Sent::Redirect(url) = request.sent(&key()).unwrap() else { panic!("a redirect") };
        let own = url.strip_prefix(sign_on_url).unwrap().trim_start_matches(['?', '&']);
        let (signed, _) = own.split_once("&Signature=").unwrap();
        let names: Vec<_> = signed.split('&').map(|p| p.split_once('=').unwrap().0).collect();
        assert_eq!(names, ["SAMLRequest", "RelayState", "SigAlg"]);

        let url = Url::parse(&url).unwrap();
        let field = |name| url.query_pairs().find(|(n, _)| n == name).unwrap().1.into_owned();
        assert_eq!(field("RelayState"), "a b+c/&=");
        let signature = BASE64_STANDARD.decode(field("Signature")).unwrap();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, KEY.pair.public_key())
            .verify(signed.as_bytes(), &signature)
            .unwrap();

        let deflated = BASE64_STANDARD.decode(field("SAMLRequest")).unwrap();
        let mut xml = String::new();
        DeflateDecoder::new(&deflated[..]).read_to_string(&mut xml).unwrap();
        let document = Document::parse(&xml).unwrap();
        let root = document.root_element();
        assert!(root.has_tag_name((SAMLP, "AuthnRequest")));
        for (name, value) in [
            ("ID", "_0123"),
            ("Version", "2.0"),
            ("IssueInstant", NOW),
            ("Destination", sign_on_url),
            ("AssertionConsumerServiceURL", ACS),
            ("ProtocolBinding", "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"),
            ("ForceAuthn", "true"),
        ] {
            assert_eq!(root.attribute(name), Some(value), "{name}");
        }
        assert_eq!(root.first_element_child().unwrap().text(), Some(SP));
    }
}

#[test]
fn a_posted_request_is_signed_within() {
    let sign_on_url = "https://idp.acme.com/sso?a='\"<>&b";
    let sent = request(Binding::HttpPost, sign_on_url).sent(&key()).unwrap();
    let Sent::Post { action, fields: [(request, base64), (state, relayed)] } = sent else {
        panic!("a form")
    };
    assert_eq!((action.as_str(), request, state), (sign_on_url, "SAMLRequest", "RelayState"));
    assert_eq!(relayed, "a b+c/&=");
    let xml = String::from_utf8(BASE64_STANDARD.decode(base64).unwrap()).unwrap();
    let document = Document::parse(&xml).unwrap();
    let root = document.root_element();
    assert_eq!(root.attribute("Destination"), Some(sign_on_url));
    // what was written as canonical is: our own check canonicalizes it anew
    let signature = root.last_element_child().unwrap();
    let idp = trusted(&[&KEY.certificate]);
    signature::verify(signature, root, &idp, at(NOW), &mut vec![]).unwrap();
    let changed = xml.replace("Version=\"2.0\"", "Version=\"2.1\"");
    let document = Document::parse(&changed).unwrap();
    let root = document.root_element();
    let signature = root.last_element_child().unwrap();
    assert!(signature::verify(signature, root, &idp, at(NOW), &mut vec![]).is_err());
}
