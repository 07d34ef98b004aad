//! What encryption brings: ciphertexts that anybody can make, ciphers that can be toyed with, and a
//! second document inside the first.

use anyhow::bail;
use base64::{Engine, prelude::BASE64_STANDARD};

use super::{Cases, Mode, Shape, Signed, TextChange, Words, evil};
use crate::saml::{
    ASSERTION,
    encryption::{Cipher, Encryption, Transport},
    response::new_id,
    signature::Profile,
    xml::{append, behind, content, cut, edit, element, prepend, replace, swap},
};

pub(super) fn add(cases: &mut Cases<'_>) -> anyhow::Result<()> {
    for signed in [Signed::Response, Signed::Assertion, Signed::Both] {
        let shape = Shape { signed, encrypted: true };
        for (name, refusal, change) in changed() {
            add_changed(cases, name, shape, refusal, edit(change))?;
        }
        for (name, refusal, change) in opened() {
            let mut sealing = cases.parties.sealing(shape);
            sealing.signed_assertion = Some(edit(change));
            cases.add(name, shape, refusal, &sealing)?;
        }
        let stranger = cases.parties.stranger.identity().cert_der().to_vec();
        let mut for_stranger = cases.parties.sealing(shape);
        for_stranger.encryption = Some(Encryption::new(&stranger));
        cases.add("encrypted for another key", shape, &["decrypt"], &for_stranger)?;

        let mut pkcs1 = cases.parties.sealing(shape);
        pkcs1.encryption.iter_mut().for_each(|one| one.transport = Transport::Pkcs1);
        cases.add("the key encrypted by PKCS#1 1.5", shape, &["rsa-1_5"], &pkcs1)?;
    }
    for cipher in [Cipher::Aes128Cbc, Cipher::Aes256Cbc] {
        let shape = Shape { signed: Signed::Assertion, encrypted: true };
        let mut sealing = cases.parties.sealing(shape);
        sealing.encryption.iter_mut().for_each(|one| one.cipher = cipher);
        cases.add(&format!("{cipher:?} in an unsigned response"), shape, &["cbc"], &sealing)?;
    }
    add_several(cases)
}

/// A changed `EncryptedAssertion`, before the response is signed.
fn add_changed(
    cases: &mut Cases<'_>,
    name: &str,
    shape: Shape,
    refusal: Words,
    change: crate::saml::xml::Edit,
) -> anyhow::Result<()> {
    let mut sealing = cases.parties.sealing(shape);
    sealing.encryption.iter_mut().for_each(|one| one.encrypted = Some(change.clone()));
    cases.add(name, shape, refusal, &sealing)
}

fn changed() -> Vec<(&'static str, Words, TextChange)> {
    const DECRYPT: Words = &["decrypt"];
    const METHOD: Words = &["isn't accepted"];
    fn flip(e: &str, at: impl Fn(usize) -> usize) -> anyhow::Result<String> {
        // the second CipherValue is the assertion's
        let Some(start) = e.rfind("<xenc:CipherValue>") else { bail!("no CipherValue") };
        let value = content(&e[start..], "xenc:CipherValue")?;
        let mut bytes = BASE64_STANDARD.decode(value)?;
        let at = at(bytes.len());
        bytes[at] ^= 1;
        swap(e, value, &BASE64_STANDARD.encode(bytes))
    }
    vec![
        ("a ciphertext with another nonce", DECRYPT, |e| flip(e, |_| 0)),
        ("a ciphertext with a bit flipped", DECRYPT, |e| flip(e, |length| length / 2)),
        ("a ciphertext with another tag", DECRYPT, |e| flip(e, |length| length - 1)),
        ("a ciphertext cut short", DECRYPT, |e| {
            let Some(start) = e.rfind("<xenc:CipherValue>") else { bail!("no CipherValue") };
            let value = content(&e[start..], "xenc:CipherValue")?.to_owned();
            swap(e, &value, &value[..value.len() / 2 / 4 * 4])
        }),
        ("a ciphertext of three bytes", DECRYPT, |e| {
            let Some(start) = e.rfind("<xenc:CipherValue>") else { bail!("no CipherValue") };
            let value = content(&e[start..], "xenc:CipherValue")?.to_owned();
            swap(e, &value, "AAAA")
        }),
        ("an empty ciphertext", &["decrypt", "base64"], |e| {
            let Some(start) = e.rfind("<xenc:CipherValue>") else { bail!("no CipherValue") };
            let value = content(&e[start..], "xenc:CipherValue")?.to_owned();
            swap(e, &value, "")
        }),
        ("a ciphertext that isn't base64", &["base64", "decrypt"], |e| {
            let Some(start) = e.rfind("<xenc:CipherValue>") else { bail!("no CipherValue") };
            let value = content(&e[start..], "xenc:CipherValue")?.to_owned();
            swap(e, &value, "!!")
        }),
        ("an encrypted key of zeros", DECRYPT, |e| {
            let value = content(e, "xenc:CipherValue")?.to_owned();
            swap(e, &value, &BASE64_STANDARD.encode([0; 256]))
        }),
        ("the ciphertext said to be of the other key length", DECRYPT, |e| {
            swap(e, "aes256-gcm", "aes128-gcm")
        }),
        ("Triple DES", METHOD, |e| {
            swap(
                e,
                "http://www.w3.org/2009/xmlenc11#aes256-gcm",
                "http://www.w3.org/2001/04/xmlenc#tripledes-cbc",
            )
        }),
        ("an unknown cipher", METHOD, |e| {
            swap(e, "http://www.w3.org/2009/xmlenc11#aes256-gcm", "urn:example:none")
        }),
        ("an unknown key transport", METHOD, |e| {
            swap(e, "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p", "urn:example:none")
        }),
        ("a key transport with MD5", METHOD, |e| {
            swap(
                e,
                "http://www.w3.org/2000/09/xmldsig#sha1",
                "http://www.w3.org/2001/04/xmldsig-more#md5",
            )
        }),
        ("encrypted content instead of an element", METHOD, |e| {
            swap(e, "#Element\"", "#Content\"")
        }),
        ("a reference instead of the ciphertext", &["cipherreference"], |e| {
            let Some(start) = e.rfind("<xenc:CipherValue>") else { bail!("no CipherValue") };
            let value = element(&e[start..], "xenc:CipherValue")?.to_owned();
            swap(
                e,
                &value,
                "<xenc:CipherReference URI=\"http://127.0.0.1/\"></xenc:CipherReference>",
            )
        }),
        ("no encrypted key", &["key"], |e| cut(e, "xenc:EncryptedKey")),
        ("200 encrypted keys", &["number of keys", "than is accepted"], |e| {
            let one = element(e, "xenc:EncryptedKey")?.to_owned();
            behind(e, "xenc:EncryptedKey", &one.repeat(199))
        }),
        ("no KeyInfo", &["key"], |e| cut(e, "ds:KeyInfo")),
        ("no cipher data", &["cipher"], |e| {
            let Some(start) = e.rfind("<xenc:CipherData>") else { bail!("no CipherData") };
            Ok(format!("{}{}", &e[..start], cut(&e[start..], "xenc:CipherData")?))
        }),
        ("two ciphertexts", &["encrypteddata"], |e| {
            let data = element(e, "xenc:EncryptedData")?.to_owned();
            behind(e, "xenc:EncryptedData", &data)
        }),
        ("an unknown element beside the ciphertext", METHOD, |e| {
            append(e, "saml:EncryptedAssertion", "<x:More xmlns:x=\"urn:example\"></x:More>")
        }),
        ("a plain assertion beside the ciphertext", METHOD, |e| {
            prepend(e, "saml:EncryptedAssertion", "<saml:Assertion></saml:Assertion>")
        }),
    ]
}

/// What comes to light when it is decrypted. It may have been signed like this.
fn opened() -> Vec<(&'static str, Words, TextChange)> {
    const PLAIN: Words = &[
        "expected a saml 2.0",
        "well-formed",
        "isn't accepted",
        "expected one assertion",
        "decrypt",
    ];
    vec![
        ("nothing inside", PLAIN, |_| Ok(String::new())),
        ("text inside", PLAIN, |_| Ok("admin".into())),
        ("an unclosed assertion inside", PLAIN, |a| Ok(a[..a.len() - 1].to_owned())),
        ("an assertion and more inside", PLAIN, |a| Ok(format!("{a}and more"))),
        ("two assertions inside", PLAIN, |a| Ok(format!("{a}{a}"))),
        ("a response inside", PLAIN, |a| {
            Ok(format!(
                "<samlp:Response xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\" \
                 ID=\"_inside\" Version=\"2.0\">{a}</samlp:Response>"
            ))
        }),
        ("an encrypted assertion inside", PLAIN, |a| {
            Ok(format!(
                "<saml:EncryptedAssertion xmlns:saml=\"{ASSERTION}\">{a}</saml:EncryptedAssertion>"
            ))
        }),
        ("a document type inside", &["document type"], |a| {
            Ok(format!("<!DOCTYPE a [<!ENTITY x \"admin\">]>{a}"))
        }),
        ("a comment inside", &["comment"], |a| Ok(format!("<!-- x -->{a}"))),
        ("a processing instruction inside", &["instruction"], |a| Ok(format!("<?x y?>{a}"))),
        ("an assertion of SAML 1.1 inside", PLAIN, |a| {
            Ok(a.replace("SAML:2.0:assertion", "SAML:1.0:assertion"))
        }),
    ]
}

/// Plain and encrypted ones together.
fn add_several(cases: &mut Cases<'_>) -> anyhow::Result<()> {
    const ONE: Words = &["one assertion"];
    for signed in [Signed::Response, Signed::Assertion, Signed::Both] {
        for encrypted in [false, true] {
            let shape = Shape { signed, encrypted };
            let assertion = cases.parties.response(Mode::Unsolicited).assertion.xml();
            let evil = evil(&assertion, Some(&new_id()))?;
            let other = Profile::new(&cases.parties.idp).sign(&assertion)?;
            let hidden = cases.parties.encryption().encrypt(&other)?;
            let evil_hidden = cases.parties.encryption().encrypt(&evil)?;
            for (name, more) in [
                ("a plain unsigned assertion besides", evil),
                ("a plain signed assertion besides", other),
                ("an encrypted signed assertion besides", hidden),
                ("an encrypted unsigned assertion besides", evil_hidden),
            ] {
                for first in [true, false] {
                    let mut sealing = cases.parties.sealing(shape);
                    let more = more.clone();
                    sealing.plain_response = Some(edit(move |r| {
                        if first {
                            behind(r, "samlp:Status", &more)
                        } else {
                            append(r, "samlp:Response", &more)
                        }
                    }));
                    let place = if first { "before" } else { "behind" };
                    cases.add(&format!("{name}, {place}"), shape, ONE, &sealing)?;
                }
            }
        }
    }
    // the attacker's, encrypted, instead of the signed one
    let shape = Shape { signed: Signed::Assertion, encrypted: true };
    let mut sealing = cases.parties.sealing(shape);
    let recipient = cases.parties.recipient.cert_der().to_vec();
    let fresh = cases.parties.response(Mode::Unsolicited).assertion.xml();
    let fresh = evil(&fresh, Some(&new_id()))?;
    sealing.signed_response = Some(edit(move |r| {
        let hidden = Encryption::new(&recipient).encrypt(&fresh)?;
        replace(r, "saml:EncryptedAssertion", &hidden)
    }));
    let words: Words = &["neither the response nor the assertion is signed"];
    cases.add("an unsigned assertion, encrypted", shape, words, &sealing)
}
