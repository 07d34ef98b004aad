//! XML signature wrapping ("On Breaking SAML: Be Whoever You Want to Be", USENIX Security 2012):
//! the signed element is moved to where the signature still finds it, and an unsigned one is put
//! where the application looks. The eight classic shapes are named XSW1 to XSW8.
//!
//! Where the response is signed besides, it is signed after its assertion was wrapped: its
//! signature holds, so that the form alone gives it away.

use super::{Cases, Mode, Shape, Words, evil, with_id};
use crate::saml::{
    PROTOCOL,
    encryption::Encryption,
    response::new_id,
    xml::{append, before, behind, cut, edit, element, replace, root_attribute},
};

const FORM: Words = &[
    "isn't accepted",
    "expected one assertion",
    "more than once",
    "attribute id is missing",
    "must refer",
    "expected a saml 2.0",
];

const FORM_INSIDE: Words =
    &["isn't accepted", "well-formed", "more than once", "attribute id is missing", "must refer"];

/// Of an assertion: as signed, without its signature, the attacker's, the signature.
struct Parts {
    signed: String,
    original: String,
    evil: String,
    signature: String,
}

type Wrap = fn(&Parts) -> anyhow::Result<String>;

/// The attacker's assertion with the signature in it, where an honest one has it.
fn evil_signed(parts: &Parts) -> anyhow::Result<String> {
    behind(&parts.evil, "saml:Issuer", &parts.signature)
}

pub(super) fn add(cases: &mut Cases<'_>) -> anyhow::Result<()> {
    for shape in Shape::all() {
        if shape.assertion_signed() {
            add_assertions(cases, shape)?;
        }
        if shape.response_signed() {
            add_responses(cases, shape)?;
        }
    }
    Ok(())
}

fn add_assertions(cases: &mut Cases<'_>, shape: Shape) -> anyhow::Result<()> {
    for (name, wrap) in assertions() {
        for ids in ["its own ID", "the same ID", "no ID"] {
            let mut sealing = cases.parties.sealing(shape);
            sealing.signed_assertion = Some(edit(move |signed| {
                let original = cut(signed, "ds:Signature")?;
                let own = new_id();
                let id = match ids {
                    "its own ID" => Some(own.as_str()),
                    "the same ID" => Some(root_attribute(signed, "ID")?),
                    _ => None,
                };
                let evil = evil(&original, id)?;
                let signature = element(signed, "ds:Signature")?.to_owned();
                wrap(&Parts { signed: signed.to_owned(), original, evil, signature })
            }));
            // what is inside the ciphertext must be one document
            let words = if shape.encrypted { FORM_INSIDE } else { FORM };
            cases.add(&format!("{name}, {ids}"), shape, words, &sealing)?;
        }
    }
    // what goes elsewhere in the response
    if shape.encrypted {
        return Ok(());
    }
    for (name, place) in places() {
        for evil_inside in [true, false] {
            let mut sealing = cases.parties.sealing(shape);
            sealing.plain_response = Some(edit(move |response| {
                let signed = element(response, "saml:Assertion")?.to_owned();
                let evil = evil(&cut(&signed, "ds:Signature")?, Some(&new_id()))?;
                let (inside, outside) = if evil_inside { (evil, signed) } else { (signed, evil) };
                place(&replace(response, "saml:Assertion", &outside)?, &inside)
            }));
            let who = if evil_inside { "the attacker's" } else { "the signed one" };
            cases.add(&format!("{name}, {who}"), shape, FORM, &sealing)?;
        }
    }
    Ok(())
}

fn assertions() -> Vec<(&'static str, Wrap)> {
    vec![
        ("XSW3: the attacker's assertion first", |p| Ok(format!("{}{}", p.evil, p.signed))),
        ("the attacker's assertion second", |p| Ok(format!("{}{}", p.signed, p.evil))),
        ("XSW4: the signed assertion in the attacker's", |p| {
            append(&p.evil, "saml:Assertion", &p.signed)
        }),
        ("XSW5: the signature moved, the original behind", |p| {
            Ok(format!("{}{}", evil_signed(p)?, p.original))
        }),
        ("XSW6: the original in the moved signature", |p| {
            append(&evil_signed(p)?, "ds:Signature", &p.original)
        }),
        ("XSW8: the original in an Object of the moved signature", |p| {
            let object = format!("<ds:Object>{}</ds:Object>", p.original);
            append(&evil_signed(p)?, "ds:Signature", &object)
        }),
        ("the original in the KeyInfo of the moved signature", |p| {
            append(&evil_signed(p)?, "ds:KeyInfo", &p.original)
        }),
        ("the signed assertion in an Object", |p| {
            let object = format!("<ds:Object>{}</ds:Object>", p.signed);
            append(&evil_signed(p)?, "ds:Signature", &object)
        }),
        ("the signed assertion in Advice", |p| {
            let advice = format!("<saml:Advice>{}</saml:Advice>", p.signed);
            behind(&p.evil, "saml:Conditions", &advice)
        }),
        ("the original in Advice, the signature moved", |p| {
            let advice = format!("<saml:Advice>{}</saml:Advice>", p.original);
            behind(&evil_signed(p)?, "saml:Conditions", &advice)
        }),
        ("the signed assertion in SubjectConfirmationData", |p| {
            append(&p.evil, "saml:SubjectConfirmationData", &p.signed)
        }),
        ("the original in SubjectConfirmationData, the signature moved", |p| {
            append(&evil_signed(p)?, "saml:SubjectConfirmationData", &p.original)
        }),
        ("the signed assertion in an attribute's value", |p| {
            append(&p.evil, "saml:AttributeValue", &p.signed)
        }),
        ("the original in the Issuer, the signature moved", |p| {
            append(&evil_signed(p)?, "saml:Issuer", &p.original)
        }),
        ("the signed assertion in AuthnContextDecl", |p| {
            let declaration =
                format!("<saml:AuthnContextDecl>{}</saml:AuthnContextDecl>", p.signed);
            append(&p.evil, "saml:AuthnContext", &declaration)
        }),
        ("the attacker's assertion in an element of another namespace", |p| {
            let wrapped = format!("<x:wrap xmlns:x=\"urn:example\">{}</x:wrap>", p.signed);
            append(&p.evil, "saml:Assertion", &wrapped)
        }),
        ("two signed assertions", |p| Ok(format!("{0}{0}", p.signed))),
    ]
}

type Place = fn(&str, &str) -> anyhow::Result<String>;

/// Places of a response, around one that has an assertion already.
fn places() -> Vec<(&'static str, Place)> {
    vec![
        ("XSW7: an assertion in Extensions", |r, inside| {
            let extensions = format!("<samlp:Extensions>{inside}</samlp:Extensions>");
            before(r, "samlp:Status", &extensions)
        }),
        ("an assertion in StatusDetail", |r, inside| {
            let detail = format!("<samlp:StatusDetail>{inside}</samlp:StatusDetail>");
            append(r, "samlp:Status", &detail)
        }),
        ("an assertion in the StatusCode", |r, inside| append(r, "samlp:StatusCode", inside)),
        ("an assertion in the response's Issuer", |r, inside| append(r, "saml:Issuer", inside)),
        ("an assertion in an EncryptedAssertion", |r, inside| {
            let wrapped = format!(
                "<saml:EncryptedAssertion xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\">\
                 {inside}</saml:EncryptedAssertion>"
            );
            append(r, "samlp:Response", &wrapped)
        }),
        ("an assertion in an element of another namespace", |r, inside| {
            let wrapped = format!("<x:wrap xmlns:x=\"urn:example\">{inside}</x:wrap>");
            append(r, "samlp:Response", &wrapped)
        }),
    ]
}

fn add_responses(cases: &mut Cases<'_>, shape: Shape) -> anyhow::Result<()> {
    let recipient = cases.parties.recipient.cert_der().to_vec();
    for (name, wrap) in responses() {
        for ids in ["its own ID", "the same ID", "no ID"] {
            let mut sealing = cases.parties.sealing(shape);
            let fake = cases.parties.response(Mode::Unsolicited);
            let recipient = recipient.clone();
            sealing.signed_response = Some(edit(move |signed| {
                // the response's own signature comes first, unless the assertion is before it
                let signature = element(signed, "ds:Signature")?.to_owned();
                let original = cut(signed, "ds:Signature")?;
                let mut assertion = evil(&fake.assertion.xml(), Some(&new_id()))?;
                if shape.encrypted {
                    // anybody can encrypt for the service provider
                    assertion = Encryption::new(&recipient).encrypt(&assertion)?;
                }
                let id = match ids {
                    "its own ID" => Some(fake.id.as_str()),
                    "the same ID" => Some(root_attribute(signed, "ID")?),
                    _ => None,
                };
                let evil = with_id(&fake.around(&assertion), id)?;
                wrap(&Parts { signed: signed.to_owned(), original, evil, signature })
            }));
            cases.add(&format!("{name}, {ids}"), shape, FORM, &sealing)?;
        }
    }
    Ok(())
}

fn responses() -> Vec<(&'static str, Wrap)> {
    vec![
        ("XSW1: the original response in the moved signature", |p| {
            let signature = append(&p.signature, "ds:Signature", &p.original)?;
            behind(&p.evil, "saml:Issuer", &signature)
        }),
        ("XSW2: the original response before the moved signature", |p| {
            behind(&p.evil, "saml:Issuer", &format!("{}{}", p.original, p.signature))
        }),
        ("the original response in an Object of the moved signature", |p| {
            let object = format!("<ds:Object>{}</ds:Object>", p.original);
            let signature = append(&p.signature, "ds:Signature", &object)?;
            behind(&p.evil, "saml:Issuer", &signature)
        }),
        ("the signed response in Extensions", |p| {
            let extensions = format!("<samlp:Extensions>{}</samlp:Extensions>", p.signed);
            before(&p.evil, "samlp:Status", &extensions)
        }),
        ("the signed response in StatusDetail", |p| {
            let detail = format!("<samlp:StatusDetail>{}</samlp:StatusDetail>", p.signed);
            append(&p.evil, "samlp:Status", &detail)
        }),
        ("the signed response in the attacker's", |p| append(&p.evil, "samlp:Response", &p.signed)),
        ("the signed response before the attacker's, in an envelope", |p| {
            Ok(format!("<x:both xmlns:x=\"urn:example\">{}{}</x:both>", p.signed, p.evil))
        }),
        ("the attacker's response in the signed one's place, that in an ArtifactResponse", |p| {
            Ok(format!(
                "<samlp:ArtifactResponse xmlns:samlp=\"{PROTOCOL}\" ID=\"_artifact\" \
                 IssueInstant=\"2026-01-01T00:00:00Z\" Version=\"2.0\">{}{}\
                 </samlp:ArtifactResponse>",
                p.evil, p.signed
            ))
        }),
        ("the response's signature in its status", |p| {
            append(&p.original, "samlp:Status", &p.signature)
        }),
        ("the response's signature in Extensions", |p| {
            let extensions = format!("<samlp:Extensions>{}</samlp:Extensions>", p.signature);
            before(&p.original, "samlp:Status", &extensions)
        }),
    ]
}
