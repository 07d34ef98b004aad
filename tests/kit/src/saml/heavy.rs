//! The most expensive responses that could be thought of, each as large as Rollcall reads at all and
//! just within its other limits: what is over them is refused for next to nothing. Some are the
//! work of whoever can post to us and has one good response, which may be old; some of a company
//! that signs them itself.

use std::fmt::Write;

use super::{
    EXCLUSIVE,
    encryption::Encryption,
    hostile::{Mode, Parties, Shape, Signed},
    idp::metadata_of,
    keys::{Kind, Signer},
    signature::Profile,
    xml::{self, append, edit},
};

/// Bytes of a response that are read, with the room that a good one takes.
const BYTES: usize = (256 << 10) - 8_000;
/// `<` or `=` of a response that is read, with the same.
const MARKUP: usize = 10_000 - 150;

/// An expensive response.
pub struct Heavy {
    pub name: &'static str,
    /// By which it is to be verified.
    pub metadata: String,
    pub document: String,
}

/// All of them.
///
/// # Errors
/// If one can't be made.
pub fn all(parties: &Parties) -> anyhow::Result<Vec<Heavy>> {
    let metadata = parties.metadata();
    let mut made = vec![];
    let mut add = |name, document| {
        made.push(Heavy { name, metadata: metadata.clone(), document });
    };
    for (name, filling) in fillings() {
        add(name, outsiders(parties, |good| detail(good, &filling))?);
    }
    for (name, change) in signatures() {
        add(name, outsiders(parties, change)?);
    }
    add("a ciphertext for four keys", encrypted(parties)?);
    add("a PrefixList of all namespaces", prefix_list(parties)?);
    for (name, parent, filling) in [
        ("2,400 audiences", "saml:AudienceRestriction", "<saml:Audience>a</saml:Audience>"),
        ("2,400 values", "saml:Attribute", "<saml:AttributeValue></saml:AttributeValue>"),
        ("2,400 confirmations", "saml:Subject", CONFIRMATION),
    ] {
        let count = 2_400.min(BYTES / filling.len());
        let filling = filling.repeat(count);
        let mut sealing = parties.sealing(Shape { signed: Signed::Both, encrypted: false });
        sealing.plain_assertion = Some(edit(move |good| append(good, parent, &filling)));
        add(name, sealing.seal(&parties.response(Mode::Unsolicited))?);
    }
    made.push(many_certificates(parties)?);
    Ok(made)
}

const CONFIRMATION: &str = "<saml:SubjectConfirmation \
    Method=\"urn:oasis:names:tc:SAML:2.0:cm:bearer\"></saml:SubjectConfirmation>";

/// One whose response is signed, changed afterwards by somebody who can't sign.
fn outsiders(
    parties: &Parties,
    change: impl Fn(&str) -> anyhow::Result<String>,
) -> anyhow::Result<String> {
    let sealing = parties.sealing(Shape { signed: Signed::Response, encrypted: false });
    change(&sealing.seal(&parties.response(Mode::Unsolicited))?)
}

fn detail(response: &str, filling: &str) -> anyhow::Result<String> {
    append(response, "samlp:Status", &format!("<samlp:StatusDetail>{filling}</samlp:StatusDetail>"))
}

/// What fills a place where anything may stand: it is parsed, looked at and digested.
fn fillings() -> Vec<(&'static str, String)> {
    let padded = |count: usize, rest: usize| "a".repeat((BYTES / count).saturating_sub(rest));
    let elements = |count: usize| format!("<{}/>", padded(count, 3)).repeat(count);
    let levels = 28;
    let nested = "<aaaaaaa>".repeat(levels) + &"</aaaaaaa>".repeat(levels);
    let attributes: String = (0..60).map(|n| format!(" {n:a>20}=\"\"", n = named(n))).collect();
    let declared: String = (0..50).map(|n| format!(" xmlns:{0}=\"u:{0}\"", named(n))).collect();
    vec![
        ("elements", elements(MARKUP)),
        ("elements in elements", nested.repeat(MARKUP / 2 / levels)),
        ("attributes", format!("<a{attributes}/>").repeat(MARKUP / 61)),
        (
            "namespaces",
            format!(
                "<a{declared}>{}{}</a>",
                "<a xmlns:x=\"u\"/>".repeat(900),
                format!("<{}:a/>", named(49)).repeat(MARKUP - 1_000),
            ),
        ),
        ("a text", "a".repeat(BYTES)),
        ("a text that grows", ">".repeat(BYTES)),
        ("a text of references", "&#13;".repeat(BYTES / 5)),
        ("CDATA sections", format!("<![CDATA[{}]]>", padded(MARKUP, 12)).repeat(MARKUP)),
        ("a value that grows", format!("<a a='{}'/>", "\"".repeat(BYTES))),
        ("a long name", format!("<{}/>", "a".repeat(BYTES))),
    ]
}

/// `aa`, `ab`, ..
fn named(number: usize) -> String {
    let letter = |n: usize| char::from(b'a' + u8::try_from(n % 26).unwrap_or_default());
    [letter(number / 26), letter(number)].iter().collect()
}

type Change = Box<dyn Fn(&str) -> anyhow::Result<String>>;

/// What is done to a signature.
fn signatures() -> Vec<(&'static str, Change)> {
    fn change(change: impl Fn(&str) -> anyhow::Result<String> + 'static) -> Change {
        Box::new(change)
    }
    fn repeated(name: &'static str, count: usize) -> Change {
        change(move |good| {
            let copies = xml::element(good, name)?.repeat(count);
            xml::behind(good, name, &copies)
        })
    }
    vec![
        ("signatures", repeated("ds:Signature", 100)),
        ("references", repeated("ds:Reference", 350)),
        ("transforms", repeated("ds:Transform", 2_500)),
        ("certificates", repeated("ds:X509Certificate", 200)),
        (
            "assertions",
            change(|good| {
                let assertion = xml::element(good, "saml:Assertion")?;
                let id = xml::root_attribute(assertion, "ID")?;
                let copy = |n: usize| assertion.replace(id, &format!("_{n}"));
                xml::behind(good, "saml:Assertion", &(0..120).map(copy).collect::<String>())
            }),
        ),
        (
            "a signature of a text",
            change(|good| append(good, "ds:SignatureValue", &"A".repeat(BYTES))),
        ),
        (
            "a PrefixList of 60,000",
            change(|good| {
                let list = "a a ".repeat(BYTES / 4);
                let inclusive = format!(
                    "<ec:InclusiveNamespaces xmlns:ec=\"{EXCLUSIVE}\" PrefixList=\"{list}\"/>"
                );
                append(good, "ds:CanonicalizationMethod", &inclusive)
            }),
        ),
        (
            "white space in what is signed",
            change(|good| append(good, "ds:SignedInfo", &" ".repeat(BYTES))),
        ),
    ]
}

/// Anybody can encrypt anything.
fn encrypted(parties: &Parties) -> anyhow::Result<String> {
    let response = parties.response(Mode::Unsolicited);
    let filling = "<a/>".repeat(MARKUP);
    let assertion = append(&response.assertion.xml(), "saml:Assertion", &filling)?;
    let padding = " ".repeat(BYTES * 3 / 4 - assertion.len() - 4_000);
    let assertion = append(&assertion, "saml:Assertion", &padding)?;
    let hidden = Encryption::new(parties.recipient.cert_der()).encrypt(&assertion)?;
    let other = Encryption::new(parties.idp.identity().cert_der()).encrypt(&assertion)?;
    let keys = xml::element(&other, "xenc:EncryptedKey")?.repeat(3);
    Ok(response.around(&xml::before(&hidden, "xenc:EncryptedKey", &keys)?))
}

/// A company's own: each element is asked for each prefix.
fn prefix_list(parties: &Parties) -> anyhow::Result<String> {
    let prefixes: Vec<String> = (0..58).map(named).collect();
    let mut declared = String::new();
    for prefix in &prefixes {
        write!(declared, " xmlns:{prefix}=\"u:{prefix}\"")?;
    }
    let filling = format!("<a{declared}>{}</a>", "<a></a>".repeat(MARKUP / 2));
    let inclusive = format!(
        "<ec:InclusiveNamespaces xmlns:ec=\"{EXCLUSIVE}\" PrefixList=\"{}\">\
         </ec:InclusiveNamespaces>",
        prefixes.join(" ")
    );
    let transform = format!("<ds:Transform Algorithm=\"{EXCLUSIVE}\">");
    let mut sealing = parties.sealing(Shape { signed: Signed::Response, encrypted: false });
    sealing.plain_response = Some(edit(move |response| detail(response, &filling)));
    if let Some(profile) = &mut sealing.response {
        profile.signed_info =
            Some(edit(move |info| xml::swap(info, &transform, &format!("{transform}{inclusive}"))));
    }
    sealing.seal(&parties.response(Mode::Unsolicited))
}

/// As many certificates as metadata may have, of the slowest kind; none made the signature.
fn many_certificates(parties: &Parties) -> anyhow::Result<Heavy> {
    let signers = (0..17).map(|_| Signer::new(Kind::P384).map(std::sync::Arc::new));
    let mut signers = signers.collect::<anyhow::Result<Vec<_>>>()?;
    let mut sealing = parties.sealing(Shape { signed: Signed::Response, encrypted: false });
    sealing.response = signers.pop().map(|signer| Profile::new(&signer));
    let certificates = signers.iter().map(|signer| signer.identity().cert_der());
    Ok(Heavy {
        name: "16 certificates",
        metadata: metadata_of(&parties.issuer, "https://idp.acme.example/sso", certificates, ""),
        document: sealing.seal(&parties.response(Mode::Unsolicited))?,
    })
}
