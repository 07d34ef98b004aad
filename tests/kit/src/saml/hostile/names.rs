//! IDs that could be found twice, and text that two readers could read differently.

use super::{Cases, Mode, Shape, TextChange, VICTIM, Words};
use crate::saml::{
    response::Sealing,
    xml::{Edit, before, edit, prepend, swap},
};

pub(super) fn add(cases: &mut Cases<'_>) -> anyhow::Result<()> {
    for shape in Shape::all() {
        for (name, refusal, change) in silent() {
            let mut sealing = cases.parties.sealing(shape);
            *hidden_step(&mut sealing, shape) = Some(edit(change));
            cases.add(name, shape, refusal, &sealing)?;
        }
        for (name, refusal, change) in signed() {
            let mut sealing = cases.parties.sealing(shape);
            sealing.plain_assertion = Some(edit(change));
            cases.add(name, shape, refusal, &sealing)?;
        }
        for (name, change) in cdata() {
            let mut sealing = cases.parties.sealing(shape);
            *hidden_step(&mut sealing, shape) = Some(edit(change));
            // its digest is that of the plain text, so it may be accepted: as the whole
            let response = cases.parties.response(Mode::Unsolicited);
            let words: Words = &["cdata", "isn't accepted"];
            cases.add_response(name, shape, words, &sealing, &response, Mode::Unsolicited)?;
            if let Some(case) = cases.made.last_mut() {
                case.or_name_id = Some(VICTIM);
            }
        }
    }
    Ok(())
}

/// The last moment at which a change of the assertion can be made. No signature notices what isn't
/// in the canonical form.
fn hidden_step(sealing: &mut Sealing, shape: Shape) -> &mut Option<Edit> {
    if shape.encrypted { &mut sealing.signed_assertion } else { &mut sealing.signed_response }
}

/// What exclusive canonicalization leaves out, so that every digest still holds.
fn silent() -> Vec<(&'static str, Words, TextChange)> {
    const COMMENT: Words = &["comment"];
    vec![
        ("a comment in the NameID", COMMENT, |a| {
            swap(a, "ada@acme.example</saml:NameID>", "ada@acme.ex<!-- -->ample</saml:NameID>")
        }),
        ("a comment before the NameID's text", COMMENT, |a| prepend(a, "saml:NameID", "<!---->")),
        ("a comment in an attribute's value", COMMENT, |a| {
            prepend(a, "saml:AttributeValue", "<!--admin-->")
        }),
        ("a comment in the Audience", COMMENT, |a| prepend(a, "saml:Audience", "<!-- x -->")),
        ("a comment between elements", COMMENT, |a| before(a, "saml:Conditions", "<!-- x -->")),
        ("a comment with an assertion", COMMENT, |a| {
            before(a, "saml:Conditions", "<!-- <saml:Assertion></saml:Assertion> -->")
        }),
    ]
}

/// What its signature covers.
fn signed() -> Vec<(&'static str, Words, TextChange)> {
    const INSTRUCTION: Words = &["instruction"];
    vec![
        ("a processing instruction in the NameID", INSTRUCTION, |a| {
            swap(a, "ada@acme.example</saml:NameID>", "ada@acme.ex<?x y?>ample</saml:NameID>")
        }),
        ("a processing instruction between elements", INSTRUCTION, |a| {
            before(a, "saml:Conditions", "<?x y?>")
        }),
        ("an ID on the subject", &["attribute id"], |a| {
            swap(a, "<saml:Subject>", "<saml:Subject ID=\"_subject\">")
        }),
        ("an ID of the xml namespace", &["attribute"], |a| {
            swap(a, "<saml:Subject>", "<saml:Subject xml:id=\"_subject\">")
        }),
        ("an Id in another case", &["attribute"], |a| {
            swap(a, "<saml:Subject>", "<saml:Subject Id=\"_subject\">")
        }),
        ("an ID of SAML's namespace", &["attribute"], |a| {
            swap(a, " Version=\"2.0\"", " Version=\"2.0\" saml:ID=\"_other\"")
        }),
        ("an ID of another namespace", &["attribute"], |a| {
            let tag = swap(a, " ID=\"", " xmlns:x=\"urn:example\" ID=\"")?;
            swap(&tag, " Version=\"2.0\"", " Version=\"2.0\" x:ID=\"_other\"")
        }),
        ("an xml:base", &["attribute"], |a| {
            swap(a, " Version=\"2.0\"", " Version=\"2.0\" xml:base=\"http://127.0.0.1/\"")
        }),
    ]
}

fn cdata() -> Vec<(&'static str, TextChange)> {
    vec![
        ("a NameID in CDATA", |a| {
            swap(a, "ada@acme.example</saml:NameID>", "<![CDATA[ada@acme.example]]></saml:NameID>")
        }),
        ("a NameID that ends in CDATA", |a| {
            swap(a, "ada@acme.example</saml:NameID>", "ada@acme<![CDATA[.example]]></saml:NameID>")
        }),
        ("a NameID that begins in CDATA", |a| {
            swap(a, "ada@acme.example</saml:NameID>", "<![CDATA[ada@]]>acme.example</saml:NameID>")
        }),
        ("a NameID with empty CDATA in it", |a| {
            swap(a, "ada@acme.example</saml:NameID>", "ada@acme<![CDATA[]]>.example</saml:NameID>")
        }),
        ("a NameID with character references", |a| {
            swap(a, "ada@acme.example</saml:NameID>", "&#x61;&#100;a@acme.example</saml:NameID>")
        }),
    ]
}
