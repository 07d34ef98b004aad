//! What the kit's identity provider makes is good by the judgement of xmlsec1, and it answers
//! requests as one does.

use std::{fs, io::Write, sync::Arc};

use anyhow::ensure;
use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::{Compression, write::DeflateEncoder};
use jiff::Timestamp;
use reqwest::{Certificate, Client};
use rollcall_kit::{
    install_crypto,
    saml::{
        Person, ServiceProvider,
        authn_request::Trusted,
        encryption::{Cipher, Encryption, Transport},
        keys::{Hash, Kind, Signer},
        load::{self, Size},
        response::{Response, Sealing},
        signature::Profile,
        xml,
        xmlsec::{Xmlsec, exclusive_canonical_form},
    },
    saml_idp::SamlIdp,
    tls::Authority,
};
use tempfile::TempDir;
use url::form_urlencoded::Serializer;

const ISSUER: &str = "https://idp.example/?a=1&b=<2>";

fn sp() -> ServiceProvider {
    ServiceProvider {
        entity_id: "https://login.example/saml/metadata".into(),
        acs: "https://login.example/saml/acs?x=1&y=\"2\"".into(),
    }
}

fn person() -> Person {
    Person::new("o'neil & <sons> \u{e9}", "oneil@acme.example", "Ada\t\"Countess\" O'Neil")
}

#[test]
fn what_is_signed_satisfies_xmlsec1() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    for (kind, hash, digest) in [
        (Kind::Rsa, Hash::Sha256, Hash::Sha256),
        (Kind::Rsa, Hash::Sha384, Hash::Sha512),
        (Kind::Rsa, Hash::Sha512, Hash::Sha384),
        (Kind::P256, Hash::Sha256, Hash::Sha256),
        (Kind::P384, Hash::Sha384, Hash::Sha1),
    ] {
        let signer = Arc::new(Signer::new(kind)?);
        let profile = Profile { hash, digest, ..Profile::new(&signer) };
        let encryption = Encryption::new(Signer::new(Kind::Rsa)?.identity().cert_der());
        let xmlsec = Xmlsec::new(&signer)?;
        for (assertion, response, encrypted) in
            [(true, false, false), (false, true, false), (true, true, false), (false, true, true)]
        {
            let sealing = Sealing {
                assertion: assertion.then(|| profile.clone()),
                response: response.then(|| profile.clone()),
                encryption: encrypted.then(|| encryption.clone()),
                ..Sealing::default()
            };
            let response_data = Response::new(ISSUER, &sp(), &person(), Timestamp::now());
            let document = sealing.seal(&response_data.answering("_request"))?;
            let file = folder.path().join("response.xml");
            fs::write(&file, &document)?;
            if assertion {
                xmlsec.verify(std::slice::from_ref(&file), "Assertion")?;
            }
            if response {
                xmlsec.verify(std::slice::from_ref(&file), "Response")?;
                let tampered = xml::swap(&document, "Version=\"2.0\"", "Version=\"2.1\"")?;
                fs::write(&file, tampered)?;
                ensure!(xmlsec.verify(&[file], "Response").is_err());
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_encrypted_is_what_xmlsec1_decrypts() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let recipient = Signer::new(Kind::Rsa)?;
    let xmlsec = Xmlsec::new(&recipient)?;
    for (cipher, transport) in [
        (Cipher::Aes128Gcm, Transport::Oaep),
        (Cipher::Aes256Gcm, Transport::Oaep),
        (Cipher::Aes128Cbc, Transport::Oaep),
        (Cipher::Aes256Cbc, Transport::Pkcs1),
    ] {
        let encryption =
            Encryption { cipher, transport, ..Encryption::new(recipient.identity().cert_der()) };
        let plain = Response::new(ISSUER, &sp(), &person(), Timestamp::now()).assertion.xml();
        let file = folder.path().join("decrypted.xml");
        fs::write(&file, xmlsec.decrypt(&encryption.encrypt(&plain)?)?)?;
        let decrypted = String::from_utf8(exclusive_canonical_form(&file)?)?;
        // around it, the namespace is declared already
        let tag = xml::swap(&plain, " xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\"", "")?;
        ensure!(decrypted.contains(&tag), "{cipher:?}: {decrypted}");
    }
    Ok(())
}

#[test]
fn measured_responses_have_the_sizes_that_are_promised() -> anyhow::Result<()> {
    let signer = Arc::new(Signer::new(Kind::Rsa)?);
    for (size, bytes) in
        [(Size::Small, 4_000), (Size::DoublySigned, 6_000), (Size::ManyGroups, 30_000)]
    {
        let made = load::documents(2, size, &signer, ISSUER, &sp(), Timestamp::now())?;
        let length = made[1].len();
        ensure!(length.abs_diff(bytes) < bytes / 6, "{size:?}: {length}");
    }
    Ok(())
}

/// The URL of an AuthnRequest, signed by `signer`.
fn request(idp: &SamlIdp, issuer: &str, acs: &str, signer: &Signer) -> anyhow::Result<String> {
    let xml = format!(
        "<samlp:AuthnRequest xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\" ID=\"_asked\" \
         Version=\"2.0\" AssertionConsumerServiceURL=\"{acs}\"><saml:Issuer \
         xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\">{issuer}</saml:Issuer>\
         </samlp:AuthnRequest>"
    );
    let mut deflated = DeflateEncoder::new(vec![], Compression::default());
    deflated.write_all(xml.as_bytes())?;
    let signed = Serializer::new(String::new())
        .append_pair("SAMLRequest", &BASE64_STANDARD.encode(deflated.finish()?))
        .append_pair("RelayState", "a state & more")
        .append_pair("SigAlg", signer.signature_uri(Hash::Sha256))
        .finish();
    let signature = BASE64_STANDARD.encode(signer.sign(Hash::Sha256, signed.as_bytes())?);
    let signature = Serializer::new(String::new()).append_pair("Signature", &signature).finish();
    Ok(format!("{}?{signed}&{signature}", idp.sign_on_url()))
}

#[tokio::test]
async fn whoever_is_signed_in_is_sent_back_with_a_response() -> anyhow::Result<()> {
    install_crypto();
    let idp = SamlIdp::start(&Authority::new()?)?;
    let ca = Certificate::from_pem(&fs::read(idp.ca_file())?)?;
    let client = Client::builder().tls_certs_only([ca]).build()?;
    let (acs, key) = ("http://localhost:1/acs", Signer::new(Kind::Rsa)?);
    let url = request(&idp, "https://sp.example", acs, &key)?;

    let nobody = client.get(&url).send().await?;
    ensure!(nobody.status() == 403 && nobody.text().await?.contains("nobody"));
    idp.sign_in_as(Some(person()));
    let page = client.get(&url).send().await?.text().await?;
    ensure!(page.contains(&format!("action=\"{acs}\"")), "{page}");
    ensure!(page.contains("name=\"RelayState\" value=\"a state &amp; more\""), "{page}");
    ensure!(page.contains("<button"), "{page}");

    let answer = idp.respond(&url, &person())?;
    ensure!(answer.xml.matches("InResponseTo=\"_asked\"").count() == 2, "{}", answer.xml);
    ensure!(answer.fields[0].1 == BASE64_STANDARD.encode(&answer.xml));
    let foreign = request(&idp, "https://sp.example", "http://elsewhere.example/acs", &key)?;
    ensure!(idp.respond(&foreign, &person()).is_err());
    Ok(())
}

#[tokio::test]
async fn a_trusted_service_provider_must_have_signed_and_named_its_own_service()
-> anyhow::Result<()> {
    let idp = SamlIdp::start(&Authority::new()?)?;
    let (acs, key) = ("https://sp.example/acs", Signer::new(Kind::Rsa)?);
    let der = BASE64_STANDARD.encode(key.identity().cert_der());
    let trusted = Trusted::from_metadata(&format!(
        "<EntityDescriptor xmlns=\"urn:oasis:names:tc:SAML:2.0:metadata\" \
         entityID=\"https://sp.example\"><SPSSODescriptor><KeyDescriptor><KeyInfo \
         xmlns=\"http://www.w3.org/2000/09/xmldsig#\"><X509Data><X509Certificate>\n{der}\n\
         </X509Certificate></X509Data></KeyInfo></KeyDescriptor><AssertionConsumerService \
         Location=\"{acs}\"/></SPSSODescriptor></EntityDescriptor>"
    ))?;
    ensure!(trusted.signing.len() == 1 && trusted.encryption == trusted.signing);
    idp.trust(trusted);
    idp.configure(|sign_on| sign_on.encrypt = true);

    let good = request(&idp, "https://sp.example", acs, &key)?;
    ensure!(idp.respond(&good, &person())?.xml.contains("<saml:EncryptedAssertion"));
    for (bad, says) in [
        (request(&idp, "https://sp.example", acs, &Signer::new(Kind::Rsa)?)?, "signature"),
        (request(&idp, "https://sp.example", "https://sp.example/other", &key)?, "services"),
        (request(&idp, "https://other.example", acs, &key)?, "known"),
        (good.replace("RelayState=a", "RelayState=b"), "signature"),
        (good.replace("&Signature=", "&Nothing="), "signed"),
    ] {
        let error = idp.respond(&bad, &person()).unwrap_err();
        ensure!(format!("{error:#}").contains(says), "{error:#}");
    }
    Ok(())
}
