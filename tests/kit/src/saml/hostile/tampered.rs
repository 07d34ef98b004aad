//! What was changed after it was signed.

use super::{Cases, Mode, Shape, TextChange, Words, evil};
use crate::saml::{
    encryption::Encryption,
    signature::Profile,
    xml::{append, cut, edit, element, replace, root_attribute, swap},
};

const DIGEST: Words = &["was changed after it was signed"];

pub(super) fn add(cases: &mut Cases<'_>) -> anyhow::Result<()> {
    Shape::all().try_for_each(|shape| add_shape(cases, shape))
}

fn add_shape(cases: &mut Cases<'_>, shape: Shape) -> anyhow::Result<()> {
    let in_assertion: [(&str, TextChange); 7] = [
        ("the NameID changed", |a| evil(a, Some(root_attribute(a, "ID")?))),
        ("a group added", |a| {
            let attribute = a.rfind("</saml:Attribute>").unwrap_or(0);
            let admins = "<saml:AttributeValue>admins</saml:AttributeValue>";
            Ok(format!("{}{admins}{}", &a[..attribute], &a[attribute..]))
        }),
        ("an attribute taken away", |a| cut(a, "saml:Attribute")),
        ("a space put into the NameID", |a| swap(a, "</saml:NameID>", " </saml:NameID>")),
        ("white space put between elements", |a| swap(a, "</saml:Subject>", "</saml:Subject>\n")),
        ("a longer session", |a| swap(a, " SessionNotOnOrAfter=\"2", " SessionNotOnOrAfter=\"3")),
        ("an attribute renamed", |a| swap(a, " Name=\"displayName\"", " Name=\"mail\"")),
    ];
    for (name, change) in in_assertion {
        let mut sealing = cases.parties.sealing(shape);
        if shape.assertion_signed() {
            sealing.signed_assertion = Some(edit(change));
        } else if shape.encrypted {
            continue; // the response's digest is over the ciphertext
        } else {
            sealing.signed_response = Some(edit(change_within(change)));
        }
        cases.add(name, shape, DIGEST, &sealing)?;
    }
    if !shape.response_signed() {
        return Ok(());
    }
    let recipient = cases.parties.recipient.cert_der().to_vec();
    let signing = Profile::new(&cases.parties.idp);
    let fresh = cases.parties.response(Mode::Unsolicited).assertion.xml();
    let mut sealing = cases.parties.sealing(shape);
    let encrypted = shape.encrypted;
    sealing.signed_response = Some(edit(move |r| {
        // even one that the identity provider signed itself, in another response
        let other = signing.sign(&fresh)?;
        if encrypted {
            let other = Encryption::new(&recipient).encrypt(&other)?;
            return replace(r, "saml:EncryptedAssertion", &other);
        }
        replace(r, "saml:Assertion", &other)
    }));
    cases.add("the assertion of another response", shape, DIGEST, &sealing)?;
    let in_response: [(&str, TextChange); 3] = [
        ("another time of the response", |r| swap(r, " IssueInstant=\"2", " IssueInstant=\"3")),
        ("a status message added", |r| {
            append(r, "samlp:Status", "<samlp:StatusMessage>hello</samlp:StatusMessage>")
        }),
        ("white space put into the response", |r| swap(r, "<samlp:Status>", "<samlp:Status> ")),
    ];
    for (name, change) in in_response {
        let mut sealing = cases.parties.sealing(shape);
        sealing.signed_response = Some(edit(change));
        cases.add(name, shape, DIGEST, &sealing)?;
    }
    Ok(())
}

/// A change of the assertion as a change of the response around it.
fn change_within(change: TextChange) -> impl Fn(&str) -> anyhow::Result<String> {
    move |response| {
        let changed = change(element(response, "saml:Assertion")?)?;
        replace(response, "saml:Assertion", &changed)
    }
}
