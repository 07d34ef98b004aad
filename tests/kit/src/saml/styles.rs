//! Good responses in the style of the big identity providers: their prefixes, the part they sign,
//! the names of their attributes, the white space they leave. Most declare namespaces where they
//! aren't used, so that only canonicalization makes them what was signed: xmlsec1 signs them.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::SignedDuration;

use super::{
    Attribute, DS, EXCLUSIVE, PERSISTENT, Person, UNSPECIFIED,
    encryption::{Cipher, Encryption, Transport},
    hostile::{Parties, Shape, Signed},
    keys::Hash,
    response::{Response, new_id, time},
    signature::{ENVELOPED, Profile},
    xml,
    xmlsec::Xmlsec,
};

mod templates;

/// A good response and what it says.
#[derive(Clone, Debug)]
pub struct Good {
    pub name: String,
    pub document: String,
    pub name_id: String,
    pub attributes: BTreeMap<String, Vec<String>>,
}

/// How one identity provider writes.
struct Style {
    name: &'static str,
    template: &'static str,
    name_id: &'static str,
    attributes: &'static [(&'static str, &'static [&'static str])],
    /// The local names of what is signed, in that order.
    signs: &'static [&'static str],
    /// Encrypts the assertion between the two, if it is to be.
    cipher: Option<Cipher>,
}

/// One of each, as answers to the request of this ID, or unsolicited.
///
/// # Errors
/// If one can't be made; xmlsec1 must be there.
pub fn all(parties: &Parties, request: Option<&str>) -> anyhow::Result<Vec<Good>> {
    let xmlsec = Xmlsec::new(&parties.idp)?;
    let mut made = Vec::new();
    for style in templates::ALL {
        made.push(style.good(parties, request, &xmlsec)?);
    }
    if let Some(last) = templates::ALL.last() {
        // signed by a parser that takes them for what they are (XML 1.0, section 2.11)
        let mut good = last.good(parties, request, &xmlsec)?;
        good.document = good.document.replace('\n', "\r\n");
        good.name.push_str(", with Windows line ends");
        made.push(good);
    }
    made.extend(plain(parties, request)?);
    Ok(made)
}

impl Style {
    fn good(
        &self,
        parties: &Parties,
        request: Option<&str>,
        xmlsec: &Xmlsec,
    ) -> anyhow::Result<Good> {
        let mut document = fill(self.template, parties, request);
        for parent in self.signs {
            if let (Some(cipher), &"Response") = (self.cipher, parent) {
                let name = ["saml2:Assertion", "saml:Assertion", "Assertion"]
                    .into_iter()
                    .find(|name| xml::span(&document, name).is_ok())
                    .unwrap_or_default();
                let encryption =
                    Encryption { cipher, ..Encryption::new(parties.recipient.cert_der()) };
                let hidden = encryption.encrypt(xml::element(&document, name)?)?;
                document = xml::replace(&document, name, &hidden)?;
            }
            document = xmlsec.sign(&document, parent)?;
        }
        let owned = |values: &[&str]| values.iter().map(ToString::to_string).collect();
        Ok(Good {
            name: self.name.to_owned(),
            document,
            name_id: self.name_id.to_owned(),
            attributes: self
                .attributes
                .iter()
                .map(|(name, values)| ((*name).to_owned(), owned(values)))
                .collect(),
        })
    }
}

/// Puts IDs, times, names and signatures to be filled in into a template.
fn fill(template: &str, parties: &Parties, request: Option<&str>) -> String {
    let (response, assertion) = (new_id(), new_id());
    let at = |minutes| time(parties.now + SignedDuration::from_mins(minutes));
    let milliseconds = parties.now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
    let request = xml::attribute("InResponseTo", request);
    let certificate = BASE64_STANDARD.encode(parties.idp.identity().cert_der());
    let mut filled = template.to_owned();
    for (parent, id) in [("RESPONSE", &response), ("ASSERTION", &assertion)] {
        for (prefix, declared) in [("ds", "xmlns:ds"), ("dsig", "xmlns:dsig"), ("", "xmlns")] {
            for list in ["", "xs"] {
                let mark = format!("$SIGNATURE-{parent}-{prefix}-{list}$");
                if filled.contains(&mark) {
                    let signature = unsigned(prefix, declared, id, list, &certificate);
                    filled = filled.replace(&mark, &signature);
                }
            }
        }
    }
    for (mark, value) in [
        ("$RESPONSE$", response.as_str()),
        ("$ASSERTION$", &assertion),
        ("$REQUEST$", &request),
        ("$NOW$", &at(0)),
        ("$MILLISECONDS$", &milliseconds),
        ("$EARLIER$", &at(-5)),
        ("$SOON$", &at(5)),
        ("$LATER$", &at(480)),
        ("$ISSUER$", &parties.issuer),
        ("$ACS$", &parties.sp.acs),
        ("$SP$", &parties.sp.entity_id),
    ] {
        filled = filled.replace(mark, value);
    }
    filled
}

/// A signature for xmlsec1 to fill in.
fn unsigned(prefix: &str, declared: &str, id: &str, list: &str, certificate: &str) -> String {
    let inclusive = if list.is_empty() {
        String::new()
    } else {
        format!("<ec:InclusiveNamespaces xmlns:ec=\"{EXCLUSIVE}\" PrefixList=\"{list}\"/>")
    };
    let p = if prefix.is_empty() { String::new() } else { format!("{prefix}:") };
    format!(
        "<{p}Signature {declared}=\"{DS}\"><{p}SignedInfo><{p}CanonicalizationMethod \
         Algorithm=\"{EXCLUSIVE}\"/><{p}SignatureMethod \
         Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256\"/><{p}Reference \
         URI=\"#{id}\"><{p}Transforms><{p}Transform Algorithm=\"{ENVELOPED}\"/><{p}Transform \
         Algorithm=\"{EXCLUSIVE}\">{inclusive}</{p}Transform></{p}Transforms><{p}DigestMethod \
         Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha256\"/><{p}DigestValue/></{p}Reference>\
         </{p}SignedInfo><{p}SignatureValue/><{p}KeyInfo><{p}X509Data><{p}X509Certificate>\
         {certificate}</{p}X509Certificate></{p}X509Data></{p}KeyInfo></{p}Signature>"
    )
}

/// Those of the kit's own identity provider: every shape, cipher and algorithm.
fn plain(parties: &Parties, request: Option<&str>) -> anyhow::Result<Vec<Good>> {
    let mut person = Person::new(
        "o'neil & <sons>; \u{e9}\u{1f511}@acme.example",
        "o'neil@acme.example",
        "\"Ada\"\tO'Neil, a > b",
    );
    person.attributes.push(Attribute::new("empty", &[""]));
    person.attributes.push(Attribute { name_format: String::new(), ..Attribute::new("none", &[]) });
    let mut made = vec![];
    let mut add = |name: &str, sealing: super::response::Sealing, change: fn(&mut Response)| {
        let response = Response::new(&parties.issuer, &parties.sp, &person, parties.now);
        let mut response = match request {
            Some(request) => response.answering(request),
            None => response,
        };
        change(&mut response);
        let values = |one: &Attribute| (one.name.clone(), one.values.clone());
        made.push(Good {
            name: name.to_owned(),
            document: sealing.seal(&response)?,
            name_id: response.assertion.person.name_id.clone(),
            attributes: response.assertion.person.attributes.iter().map(values).collect(),
        });
        anyhow::Ok(())
    };
    for shape in Shape::all() {
        add(&format!("{shape:?}"), parties.sealing(shape), |_| {})?;
    }
    let shape = Shape { signed: Signed::Response, encrypted: true };
    for cipher in [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::Aes128Cbc, Cipher::Aes256Cbc] {
        for transport in [Transport::Oaep, Transport::OaepSha256] {
            let mut sealing = parties.sealing(shape);
            sealing.encryption.iter_mut().for_each(|one| {
                one.cipher = cipher;
                one.transport = transport;
            });
            add(&format!("{cipher:?} {transport:?}"), sealing, |_| {})?;
        }
    }
    let shape = Shape { signed: Signed::Both, encrypted: false };
    for (name, signer, hash, digest) in [
        ("RSA and SHA-384", &parties.idp, Hash::Sha384, Hash::Sha512),
        ("RSA and SHA-512", &parties.idp, Hash::Sha512, Hash::Sha384),
        ("an elliptic curve", &parties.curve, Hash::Sha384, Hash::Sha384),
    ] {
        let mut sealing = parties.sealing(shape);
        let profile = Profile { hash, digest, ..Profile::new(signer) };
        (sealing.assertion, sealing.response) = (Some(profile.clone()), Some(profile));
        add(name, sealing, |_| {})?;
    }
    let shape = Shape { signed: Signed::Assertion, encrypted: false };
    add("nothing that could be left out", parties.sealing(shape), |response| {
        response.issuer = None;
        response.destination = None;
        response.assertion.not_before = None;
        response.assertion.not_on_or_after = None;
        response.assertion.session_not_on_or_after = None;
        response.assertion.person.format.clear();
        response.assertion.person.attributes.clear();
    })?;
    add("several audiences", parties.sealing(shape), |response| {
        let ours = response.assertion.audiences[0].clone();
        let both = [vec!["https://other.example".to_owned()], ours].concat();
        response.assertion.audiences.push(both);
    })?;
    add("clocks half a minute apart", parties.sealing(shape), |response| {
        let skew = SignedDuration::from_secs(30);
        response.assertion.not_before = Some(response.issued + skew);
        response.assertion.not_on_or_after = Some(response.issued - skew);
        response.assertion.confirmation.not_on_or_after = Some(response.issued - skew);
    })?;
    add("an unspecified format", parties.sealing(shape), |response| {
        response.assertion.person.format = UNSPECIFIED.into();
    })?;
    let mut elsewhere = parties.sealing(shape);
    elsewhere.plain_assertion = Some(xml::edit(|assertion| {
        let other = "<saml:SubjectConfirmation Method=\"urn:oasis:names:tc:SAML:2.0:cm:sender-vouches\">\
                     </saml:SubjectConfirmation>";
        xml::before(assertion, "saml:SubjectConfirmation", other)
    }));
    add("a confirmation for others besides", elsewhere, |_| {})?;
    let mut once = parties.sealing(shape);
    once.plain_assertion = Some(xml::edit(|assertion| {
        let conditions = "<saml:OneTimeUse></saml:OneTimeUse>\
                          <saml:ProxyRestriction Count=\"0\"></saml:ProxyRestriction>";
        xml::append(assertion, "saml:Conditions", conditions)
    }));
    add("the conditions that SAML knows", once, |response| {
        response.assertion.person.format = PERSISTENT.into();
    })?;
    Ok(made)
}
