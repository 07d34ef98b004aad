//! Signatures that don't hold, or hold by rules that aren't ours. Where it can be, the signature
//! over SignedInfo is good, so that the rule alone refuses it.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{Cases, Parties, Shape, Signed, TextChange, Words};
use crate::saml::{
    DS, EXCLUSIVE,
    keys::{Hash, Signer},
    signature::{ENVELOPED, Profile},
    xml::{append, before, behind, content, cut, edit, element, prepend, replace, swap},
};

const INCLUSIVE: &str = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315";
const MORE: &str = "http://www.w3.org/2001/04/xmldsig-more#";

type Change = fn(&mut Profile, &Parties);

pub(super) fn add(cases: &mut Cases<'_>) -> anyhow::Result<()> {
    for shape in Shape::all() {
        let targets: &[Signed] = match shape.signed {
            Signed::Both => &[Signed::Assertion, Signed::Response],
            Signed::Response => &[Signed::Response],
            Signed::Assertion => &[Signed::Assertion],
        };
        for target in targets {
            let on = match (shape.signed, target) {
                (Signed::Both, Signed::Assertion) => ", of the assertion",
                (Signed::Both, _) => ", of the response",
                _ => "",
            };
            let parties = cases.parties;
            let mut add = |name: &str, refusal, change: &dyn Fn(&mut Profile)| {
                let mut sealing = cases.parties.sealing(shape);
                let profile = match target {
                    Signed::Assertion => &mut sealing.assertion,
                    _ => &mut sealing.response,
                };
                profile.iter_mut().for_each(change);
                cases.add(&format!("{name}{on}"), shape, refusal, &sealing)
            };
            for (name, refusal, change) in keys() {
                add(name, refusal, &|profile| change(profile, parties))?;
            }
            for (name, refusal, change) in signed_infos() {
                add(name, refusal, &|profile| profile.signed_info = Some(edit(change)))?;
            }
            for (name, refusal, change) in finished() {
                add(name, refusal, &|profile| profile.signature = Some(edit(change)))?;
            }
            for (what, algorithms) in algorithms() {
                for (named, change) in algorithms {
                    add(named, what, &|profile| profile.signed_info = Some(edit(change)))?;
                }
            }
        }
        if shape.signed != Signed::Both {
            let mut sealing = cases.parties.sealing(shape);
            (sealing.assertion, sealing.response) = (None, None);
            cases.add(
                "no signature at all",
                shape,
                &["neither the response nor the assertion is signed"],
                &sealing,
            )?;
        }
    }
    Ok(())
}

/// Keys that aren't the identity provider's.
fn keys() -> Vec<(&'static str, Words, Change)> {
    fn hmac(profile: &mut Profile, parties: &Parties, public: &[u8]) {
        profile.signer = Arc::new(Signer::hmac(Arc::clone(parties.idp.identity()), public));
    }
    const FOREIGN: Words = &["none of the metadata's keys"];
    vec![
        ("a stranger's key with its certificate", FOREIGN, |p, parties| {
            p.signer = Arc::clone(&parties.stranger);
        }),
        ("a stranger's key alone", FOREIGN, |p, parties| {
            p.signer = Arc::clone(&parties.stranger);
            p.certificate = false;
        }),
        ("a stranger's key with the trusted certificate", FOREIGN, |p, parties| {
            let (theirs, ours) = (&parties.stranger, &parties.idp);
            let [theirs, ours] =
                [theirs, ours].map(|key| BASE64_STANDARD.encode(key.identity().cert_der()));
            p.signer = Arc::clone(&parties.stranger);
            p.signature = Some(edit(move |signature| swap(signature, &theirs, &ours)));
        }),
        (
            "a stranger's key as a KeyValue",
            &["none of the metadata's keys", "keyvalue"],
            |p, parties| {
                p.signer = Arc::clone(&parties.stranger);
                p.signature = Some(edit(|signature| {
                    let value = "<ds:KeyInfo><ds:KeyValue><ds:RSAKeyValue><ds:Modulus>AQAB</ds:Modulus>\
                             <ds:Exponent>AQAB</ds:Exponent></ds:RSAKeyValue></ds:KeyValue></ds:KeyInfo>";
                    replace(signature, "ds:KeyInfo", value)
                }));
            },
        ),
        ("an HMAC with the certificate as its secret", &["hmac"], |p, parties| {
            hmac(p, parties, parties.idp.identity().cert_der());
        }),
        ("an HMAC with the certificate's PEM as its secret", &["hmac"], |p, parties| {
            hmac(p, parties, parties.idp.identity().cert_pem().as_bytes());
        }),
        ("an HMAC with no secret", &["hmac"], |p, parties| hmac(p, parties, b"")),
        ("a digest of something else", &["digest"], |p, _| {
            p.digested = Some(edit(|_| Ok("something else".into())));
        }),
        ("the digest of nothing, as void canonicalization gives", &["digest"], |p, _| {
            p.digested = Some(edit(|_| Ok(String::new())));
        }),
        ("a SHA-1 digest", &["sha1"], |p, _| p.digest = Hash::Sha1),
        (
            "the signature of nothing, as void canonicalization gives",
            &["signature"],
            |p, parties| {
                let nothing =
                    parties.idp.sign(p.hash, b"").map(|value| BASE64_STANDARD.encode(value));
                let nothing = nothing.unwrap_or_default();
                p.signature =
                    Some(edit(move |s| swap(s, content(s, "ds:SignatureValue")?, &nothing)));
            },
        ),
        ("the RSA key said to be an elliptic curve's", FOREIGN, |p, _| {
            p.signed_info = Some(edit(|s| swap(s, "rsa-sha256", "ecdsa-sha384")));
        }),
        ("an elliptic curve's key said to be RSA", FOREIGN, |p, parties| {
            p.signer = Arc::clone(&parties.curve);
            p.signed_info = Some(edit(|s| swap(s, "ecdsa-sha384", "rsa-sha256")));
        }),
        ("SHA-256 said to be SHA-512", FOREIGN, |p, _| {
            p.signed_info = Some(edit(|s| swap(s, "rsa-sha256", "rsa-sha512")));
        }),
    ]
}

/// Identifiers in SignedInfo, and a word of the refusal of each kind.
fn algorithms() -> Vec<(Words, Vec<(&'static str, TextChange)>)> {
    fn method(s: &str, uri: &str) -> anyhow::Result<String> {
        swap(s, &format!("{MORE}rsa-sha256"), uri)
    }
    fn canonicalization(s: &str, uri: &str) -> anyhow::Result<String> {
        swap(
            s,
            &format!("<ds:CanonicalizationMethod Algorithm=\"{EXCLUSIVE}\">"),
            &format!("<ds:CanonicalizationMethod Algorithm=\"{uri}\">"),
        )
    }
    fn digest(s: &str, uri: &str) -> anyhow::Result<String> {
        swap(s, "http://www.w3.org/2001/04/xmlenc#sha256", uri)
    }
    fn transforms(s: &str, these: &[&str]) -> anyhow::Result<String> {
        let one = |uri: &&str| format!("<ds:Transform Algorithm=\"{uri}\"></ds:Transform>");
        let all: String = these.iter().map(one).collect();
        replace(s, "ds:Transforms", &format!("<ds:Transforms>{all}</ds:Transforms>"))
    }
    vec![
        (
            &["signaturemethod"],
            vec![
                ("signed with RSA and SHA-1", |s| method(s, &format!("{DS}rsa-sha1"))),
                ("signed with RSA and MD5", |s| method(s, &format!("{MORE}rsa-md5"))),
                ("signed with DSA", |s| method(s, &format!("{DS}dsa-sha1"))),
                ("signed with ECDSA and SHA-1", |s| method(s, &format!("{MORE}ecdsa-sha1"))),
                ("signed with nothing known", |s| method(s, "urn:example:none")),
                ("signed with nothing named", |s| method(s, "")),
            ],
        ),
        (
            &["digestmethod"],
            vec![
                ("a digest with MD5", |s| digest(s, &format!("{MORE}md5"))),
                ("a digest with nothing known", |s| digest(s, "urn:example:none")),
            ],
        ),
        (
            &["canonicalizationmethod"],
            vec![
                ("SignedInfo by inclusive canonicalization", |s| canonicalization(s, INCLUSIVE)),
                ("SignedInfo by canonicalization 1.1", |s| {
                    canonicalization(s, "http://www.w3.org/2006/12/xml-c14n11")
                }),
                ("SignedInfo with comments", |s| {
                    canonicalization(s, &format!("{EXCLUSIVE}WithComments"))
                }),
                ("SignedInfo by nothing known", |s| canonicalization(s, "urn:example:void")),
                ("SignedInfo by nothing named", |s| canonicalization(s, "")),
            ],
        ),
        (
            &["transforms"],
            vec![
                ("no transform", |s| transforms(s, &[])),
                ("no enveloped-signature", |s| transforms(s, &[EXCLUSIVE])),
                ("no canonicalization", |s| transforms(s, &[ENVELOPED])),
                ("the transforms the other way round", |s| transforms(s, &[EXCLUSIVE, ENVELOPED])),
                ("enveloped-signature twice", |s| {
                    transforms(s, &[ENVELOPED, ENVELOPED, EXCLUSIVE])
                }),
                ("canonicalization twice", |s| transforms(s, &[ENVELOPED, EXCLUSIVE, EXCLUSIVE])),
                ("inclusive canonicalization", |s| transforms(s, &[ENVELOPED, INCLUSIVE])),
                ("canonicalization with comments", |s| {
                    transforms(s, &[ENVELOPED, &format!("{EXCLUSIVE}WithComments")])
                }),
                ("an XSLT transform", |s| {
                    transforms(
                        s,
                        &[ENVELOPED, "http://www.w3.org/TR/1999/REC-xslt-19991116", EXCLUSIVE],
                    )
                }),
                ("an XPath transform", |s| {
                    transforms(
                        s,
                        &[ENVELOPED, "http://www.w3.org/TR/1999/REC-xpath-19991116", EXCLUSIVE],
                    )
                }),
                ("an XPath filter", |s| {
                    transforms(s, &["http://www.w3.org/2002/06/xmldsig-filter2", EXCLUSIVE])
                }),
                ("a base64 transform", |s| {
                    transforms(s, &[ENVELOPED, &format!("{DS}base64"), EXCLUSIVE])
                }),
                ("an unknown transform", |s| transforms(s, &[ENVELOPED, "urn:example:void"])),
            ],
        ),
    ]
}

/// What is wrong with SignedInfo otherwise. The signature over it is good.
fn signed_infos() -> Vec<(&'static str, Words, TextChange)> {
    fn uri(s: &str, other: &str) -> anyhow::Result<String> {
        let reference = element(s, "ds:Reference")?;
        let tag = &reference[..=reference.find('>').unwrap_or(0)];
        swap(s, tag, &format!("<ds:Reference{other}>"))
    }
    fn inclusive(count: usize) -> String {
        let prefixes: Vec<_> = (0..count).map(|number| format!("p{number}")).collect();
        let list = prefixes.join(" ");
        format!(
            "<ec:InclusiveNamespaces xmlns:ec=\"{EXCLUSIVE}\" PrefixList=\"{list}\">\
             </ec:InclusiveNamespaces>"
        )
    }
    const REFERENCE: Words = &["must refer"];
    vec![
        ("an empty reference", REFERENCE, |s| uri(s, " URI=\"\"")),
        ("a reference to nothing", &["must refer", "uri"], |s| uri(s, "")),
        ("a reference to another ID", REFERENCE, |s| uri(s, " URI=\"#_other\"")),
        ("a reference by a bare name without #", REFERENCE, |s| swap(s, "URI=\"#", "URI=\"")),
        ("a reference to the root by XPointer", REFERENCE, |s| uri(s, " URI=\"#xpointer(/)\"")),
        ("a reference to a web page", REFERENCE, |s| uri(s, " URI=\"http://127.0.0.1/a.xml\"")),
        ("a reference to a file", REFERENCE, |s| uri(s, " URI=\"file:///etc/passwd\"")),
        ("two references", &["reference"], |s| {
            let one = element(s, "ds:Reference")?.to_owned();
            behind(s, "ds:Reference", &one)
        }),
        ("no reference", &["reference"], |s| cut(s, "ds:Reference")),
        ("no digest method", &["digestmethod"], |s| cut(s, "ds:DigestMethod")),
        ("no digest value", &["digestvalue"], |s| cut(s, "ds:DigestValue")),
        ("two digest values", &["digestvalue"], |s| {
            behind(s, "ds:DigestValue", "<ds:DigestValue>AAAA</ds:DigestValue>")
        }),
        ("an empty digest value", &["digest"], |s| {
            replace(s, "ds:DigestValue", "<ds:DigestValue></ds:DigestValue>")
        }),
        ("a digest value that isn't base64", &["base64"], |s| {
            replace(s, "ds:DigestValue", "<ds:DigestValue>!!</ds:DigestValue>")
        }),
        ("an element in the digest value", &["digestvalue"], |s| {
            prepend(s, "ds:DigestValue", "<ds:X></ds:X>")
        }),
        ("no transforms", &["transforms"], |s| cut(s, "ds:Transforms")),
        ("an HMAC's output length", &["hmacoutputlength"], |s| {
            let length = "<ds:HMACOutputLength>1</ds:HMACOutputLength>";
            append(s, "ds:SignatureMethod", length)
        }),
        ("an XPath in a transform", &["isn't accepted"], |s| {
            append(s, "ds:Transform", "<ds:XPath>/*</ds:XPath>")
        }),
        ("10,000 inclusive prefixes", &["prefixlist"], |s| {
            let at = s.rfind("</ds:Transform>").unwrap_or(0);
            Ok(format!("{}{}{}", &s[..at], inclusive(10_000), &s[at..]))
        }),
        ("10,000 inclusive prefixes of SignedInfo", &["prefixlist"], |s| {
            append(s, "ds:CanonicalizationMethod", &inclusive(10_000))
        }),
        ("two lists of inclusive prefixes", &["inclusivenamespaces"], |s| {
            let at = s.rfind("</ds:Transform>").unwrap_or(0);
            Ok(format!("{}{}{}", &s[..at], inclusive(1).repeat(2), &s[at..]))
        }),
        ("no signature method", &["signaturemethod"], |s| cut(s, "ds:SignatureMethod")),
        ("no canonicalization method", &["canonicalizationmethod"], |s| {
            cut(s, "ds:CanonicalizationMethod")
        }),
        ("text in SignedInfo", &["text"], |s| append(s, "ds:Reference", "and more")),
    ]
}

/// What is wrong with the finished signature.
fn finished() -> Vec<(&'static str, Words, TextChange)> {
    const CHANGED: Words = &["none of the metadata's keys"];
    vec![
        ("another digest put in after signing", CHANGED, |s| {
            // a good one, of nothing: SignedInfo comes first, whatever the digest
            let old = element(s, "ds:DigestValue")?.to_owned();
            let nothing = BASE64_STANDARD.encode(Hash::Sha256.of(b""));
            swap(s, &old, &format!("<ds:DigestValue>{nothing}</ds:DigestValue>"))
        }),
        ("SignedInfo with white space put in", CHANGED, |s| {
            swap(s, "<ds:SignedInfo>", "<ds:SignedInfo>\n")
        }),
        ("two SignedInfos", &["signedinfo"], |s| {
            let one = element(s, "ds:SignedInfo")?.to_owned();
            behind(s, "ds:SignedInfo", &one)
        }),
        ("two SignedInfos, the attacker's first", &["signedinfo"], |s| {
            let one = element(s, "ds:SignedInfo")?.to_owned();
            let digest = element(s, "ds:DigestValue")?;
            before(
                s,
                "ds:SignedInfo",
                &swap(&one, digest, "<ds:DigestValue>AAAA</ds:DigestValue>")?,
            )
        }),
        ("the signed SignedInfo in an Object, the attacker's in its place", &["ds:object"], |s| {
            let one = element(s, "ds:SignedInfo")?.to_owned();
            let digest = element(s, "ds:DigestValue")?;
            let other = swap(&one, digest, "<ds:DigestValue>AAAA</ds:DigestValue>")?;
            let replaced = replace(s, "ds:SignedInfo", &other)?;
            append(&replaced, "ds:Signature", &format!("<ds:Object>{one}</ds:Object>"))
        }),
        ("no SignedInfo", &["signedinfo"], |s| cut(s, "ds:SignedInfo")),
        ("no SignatureValue", &["signaturevalue"], |s| cut(s, "ds:SignatureValue")),
        ("an empty SignatureValue", &["signature"], |s| {
            replace(s, "ds:SignatureValue", "<ds:SignatureValue></ds:SignatureValue>")
        }),
        ("a SignatureValue that isn't base64", &["base64"], |s| {
            replace(s, "ds:SignatureValue", "<ds:SignatureValue>!!</ds:SignatureValue>")
        }),
        ("a SignatureValue of zeros", CHANGED, |s| {
            let zeros = BASE64_STANDARD.encode([0; 256]);
            replace(
                s,
                "ds:SignatureValue",
                &format!("<ds:SignatureValue>{zeros}</ds:SignatureValue>"),
            )
        }),
        ("a SignatureValue cut short", CHANGED, |s| {
            let value = content(s, "ds:SignatureValue")?.to_owned();
            swap(s, &value, &value[..value.len() / 2 / 4 * 4])
        }),
        ("two SignatureValues", &["signaturevalue"], |s| {
            let one = element(s, "ds:SignatureValue")?.to_owned();
            behind(s, "ds:SignatureValue", &one)
        }),
        ("two Signatures", &["ds:signature"], |s| Ok(format!("{s}{s}"))),
        ("a signature in the signature", &["isn't accepted"], |s| append(s, "ds:Signature", s)),
        ("a Manifest in an Object", &["ds:object"], |s| {
            append(s, "ds:Signature", "<ds:Object><ds:Manifest></ds:Manifest></ds:Object>")
        }),
        ("an unknown element in the signature", &["isn't accepted"], |s| {
            append(s, "ds:Signature", "<x:More xmlns:x=\"urn:example\"></x:More>")
        }),
        ("a signature of another namespace", &["isn't accepted"], |s| {
            swap(s, DS, "urn:example:xmldsig")
        }),
    ]
}
