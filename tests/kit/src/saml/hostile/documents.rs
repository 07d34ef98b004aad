//! Documents that aren't what they should be as a whole, or are too much.

use std::fmt::Write;

use super::{Cases, Mode, Shape, Signed, TextChange, Words};
use crate::saml::xml::{append, before, edit, prepend, swap};

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
const DTD: Words = &["document type"];
const COMPLEX: Words = &["than is accepted"];
const BYTES: Words = &["bytes"];

pub(super) fn add(cases: &mut Cases<'_>) -> anyhow::Result<()> {
    for shape in Shape::all() {
        for (name, refusal, change) in types().into_iter().chain(forms()) {
            let mut sealing = cases.parties.sealing(shape);
            sealing.signed_response = Some(edit(change));
            cases.add(name, shape, refusal, &sealing)?;
        }
    }
    for signed in [Signed::Response, Signed::Assertion] {
        let shape = Shape { signed, encrypted: false };
        for (name, refusal, change) in bombs() {
            let mut sealing = cases.parties.sealing(shape);
            sealing.signed_response = Some(edit(change));
            cases.add(name, shape, refusal, &sealing)?;
        }
        // anybody can encrypt a bomb
        let shape = Shape { signed, encrypted: true };
        for (name, refusal, change) in assertion_bombs() {
            let mut sealing = cases.parties.sealing(shape);
            sealing.signed_assertion = Some(edit(change));
            cases.add(name, shape, refusal, &sealing)?;
        }
    }
    add_encodings(cases)
}

/// Document types and what they bring.
fn types() -> Vec<(&'static str, Words, TextChange)> {
    fn with(document: &str, subset: &str, text: &str) -> anyhow::Result<String> {
        let used = swap(document, "<samlp:Status>", &format!("<samlp:Status>{text}"))?;
        Ok(format!("{XML}<!DOCTYPE samlp:Response [{subset}]>{used}"))
    }
    vec![
        ("an empty document type", DTD, |d| with(d, "", "")),
        ("a document type without more", DTD, |d| Ok(format!("<!DOCTYPE r>{d}"))),
        ("an entity", DTD, |d| with(d, "<!ENTITY a \"admin\">", "&a;")),
        ("an entity from a file", DTD, |d| {
            with(d, "<!ENTITY a SYSTEM \"file:///etc/passwd\">", "&a;")
        }),
        ("an entity from the web", DTD, |d| {
            with(d, "<!ENTITY % a SYSTEM \"http://127.0.0.1:1/a.dtd\"> %a;", "")
        }),
        ("entities of entities of entities", DTD, |d| {
            let mut subset = "<!ENTITY a0 \"laughs\">".to_owned();
            for level in 1..12 {
                let previous = format!("&a{};", level - 1).repeat(10);
                write!(subset, "<!ENTITY a{level} \"{previous}\">")?;
            }
            with(d, &subset, "&a11;")
        }),
        ("a document type that gives IDs", DTD, |d| {
            with(d, "<!ATTLIST samlp:Status ID ID #FIXED \"_status\">", "")
        }),
        ("a document type from elsewhere", DTD, |d| {
            Ok(format!("<!DOCTYPE r SYSTEM \"http://127.0.0.1:1/r.dtd\">{d}"))
        }),
        ("an entity that nobody declared", &["well-formed"], |d| {
            swap(d, "<samlp:Status>", "<samlp:Status>&a;")
        }),
    ]
}

/// Not one well-formed Response and nothing else.
fn forms() -> Vec<(&'static str, Words, TextChange)> {
    const NOT_XML: Words = &["well-formed"];
    const OUTSIDE: Words = &["comment"];
    vec![
        ("a comment before the response", OUTSIDE, |d| Ok(format!("{XML}<!-- x -->{d}"))),
        ("a comment behind the response", OUTSIDE, |d| Ok(format!("{d}<!-- x -->"))),
        ("a comment in the status", OUTSIDE, |d| prepend(d, "samlp:Status", "<!-- x -->")),
        ("a processing instruction before the response", &["instruction"], |d| {
            Ok(format!("{XML}<?xml-stylesheet href=\"a.xsl\"?>{d}"))
        }),
        ("a processing instruction behind the response", &["instruction"], |d| {
            Ok(format!("{d}<?x y?>"))
        }),
        ("text behind the response", NOT_XML, |d| Ok(format!("{d}and more"))),
        ("two responses", NOT_XML, |d| Ok(format!("{d}{d}"))),
        ("half a response", NOT_XML, |d| Ok(d[..d.len() / 2].to_owned())),
        ("one byte less", NOT_XML, |d| Ok(d[..d.len() - 1].to_owned())),
        ("a prefix that nobody declared", NOT_XML, |d| {
            swap(d, "<samlp:Status>", "<samlp:Status><x:y></x:y>")
        }),
        ("an attribute twice", NOT_XML, |d| {
            swap(d, " Version=\"2.0\"", " Version=\"2.0\" Version=\"2.0\"")
        }),
        ("another prefix's xmlns", NOT_XML, |d| {
            swap(d, "<samlp:Status>", "<samlp:Status samlp:xmlns=\"urn:x\">")
        }),
        ("a prefix's xmlns that nobody declared", NOT_XML, |d| {
            swap(d, "<samlp:Status>", "<samlp:Status x:xmlns=\"urn:x\">")
        }),
        ("an xmlns whose prefix is empty", NOT_XML, |d| {
            swap(d, "<samlp:Status>", "<samlp:Status :xmlns=\"urn:x\">")
        }),
        ("an element whose prefix is empty", NOT_XML, |d| {
            swap(d, "<samlp:Status>", "<samlp:Status><:x></:x>")
        }),
        ("a NUL", NOT_XML, |d| swap(d, "<samlp:Status>", "<samlp:Status>\0")),
        ("a NUL as a character reference", NOT_XML, |d| {
            swap(d, "<samlp:Status>", "<samlp:Status>&#0;")
        }),
        ("two XML declarations", &["well-formed", "instruction"], |d| Ok(format!("{XML}{XML}{d}"))),
        ("comments that don't end", NOT_XML, |d| Ok(format!("<!-- {d}"))),
        ("the protocol of SAML 1.1", &["expected a saml 2.0"], |d| {
            Ok(d.replace("SAML:2.0:protocol", "SAML:1.0:protocol"))
        }),
        ("a LogoutResponse", &["expected a saml 2.0"], |d| {
            Ok(d.replace("samlp:Response", "samlp:LogoutResponse"))
        }),
        ("a response in an envelope", &["expected a saml 2.0"], |d| {
            Ok(format!(
                "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>{d}\
                 </s:Body></s:Envelope>"
            ))
        }),
        ("an assertion alone", &["expected a saml 2.0"], |_| {
            Ok("<saml:Assertion xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\"/>".into())
        }),
        ("nothing", NOT_XML, |_| Ok(String::new())),
        ("a web page", &["expected a saml 2.0", "well-formed", "document type"], |_| {
            Ok("<html><body>Sign in</body></html>".into())
        }),
    ]
}

/// More than anybody needs, put where an attacker can put it: the signature isn't what stops it.
fn bombs() -> Vec<(&'static str, Words, TextChange)> {
    fn filled(document: &str, filling: &str) -> anyhow::Result<String> {
        append(
            document,
            "samlp:Status",
            &format!("<samlp:StatusDetail>{filling}</samlp:StatusDetail>"),
        )
    }
    fn attributes(count: usize, name: &str) -> String {
        (0..count).map(|number| format!(" {name}{number}=\"urn:{number}\"")).collect()
    }
    vec![
        ("1,000 levels", COMPLEX, |d| filled(d, &("<a>".repeat(1_000) + &"</a>".repeat(1_000)))),
        ("20,000 levels that don't end", COMPLEX, |d| {
            Ok(before(d, "samlp:Status", "")?.replace("<samlp:Status>", &"<a>".repeat(20_000)))
        }),
        ("100 attributes of one tag", COMPLEX, |d| {
            filled(d, &format!("<a{}/>", attributes(100, "a")))
        }),
        ("200 namespaces of one tag", COMPLEX, |d| {
            filled(d, &format!("<a{}/>", attributes(200, "xmlns:a")))
        }),
        ("3,000 namespaces", COMPLEX, |d| {
            filled(d, &format!("<a{}/>", attributes(30, "xmlns:a")).repeat(100))
        }),
        ("namespaces in scope at 30 levels", COMPLEX, |d| {
            let mut nested = String::new();
            for level in 0..30 {
                write!(nested, "<a{}>", attributes(30, &format!("xmlns:l{level}n")))?;
            }
            filled(d, &(nested + &"</a>".repeat(30)))
        }),
        ("30,000 elements", COMPLEX, |d| filled(d, &"<a/>".repeat(30_000))),
        ("a namespace of 10 KB", COMPLEX, |d| {
            filled(d, &format!("<a xmlns:a=\"urn:{}\"/>", "a".repeat(10_000)))
        }),
        ("text of 0.5 MB", BYTES, |d| filled(d, &"a".repeat(500_000))),
        ("an attribute of 0.5 MB", BYTES, |d| {
            filled(d, &format!("<a a=\"{}\"/>", "a".repeat(500_000)))
        }),
        ("white space of 0.5 MB", BYTES, |d| append(d, "samlp:Response", &" ".repeat(500_000))),
        ("elements of 0.5 MB", &["bytes", "than is accepted"], |d| {
            filled(d, &"<a></a>".repeat(70_000))
        }),
        ("a tag of 0.5 MB", &["bytes", "than is accepted"], |d| {
            filled(d, &format!("<a{}/>", attributes(25_000, "a")))
        }),
        ("namespaces of 0.5 MB", &["bytes", "than is accepted"], |d| {
            filled(d, &format!("<a{}/>", attributes(60, "xmlns:a")).repeat(350))
        }),
        ("text of 5 MB", BYTES, |d| filled(d, &"a".repeat(5_000_000))),
        ("elements of 5 MB", &["bytes", "than is accepted"], |d| {
            filled(d, &"<a>".repeat(1_600_000))
        }),
    ]
}

fn assertion_bombs() -> Vec<(&'static str, Words, TextChange)> {
    fn filled(assertion: &str, filling: &str) -> anyhow::Result<String> {
        append(assertion, "saml:Assertion", filling)
    }
    vec![
        ("1,000 levels inside", COMPLEX, |a| {
            filled(a, &("<a>".repeat(1_000) + &"</a>".repeat(1_000)))
        }),
        ("30,000 elements inside", COMPLEX, |a| filled(a, &"<a/>".repeat(30_000))),
        ("0.5 MB inside", BYTES, |a| filled(a, &"a".repeat(500_000))),
    ]
}

/// Bytes that aren't UTF-8.
fn add_encodings(cases: &mut Cases<'_>) -> anyhow::Result<()> {
    const UTF8: Words = &["utf-8"];
    for shape in Shape::all() {
        let good = cases.parties.sealing(shape).seal(&cases.parties.response(Mode::Unsolicited))?;
        let utf16: Vec<u8> =
            "\u{feff}".chars().chain(good.chars()).flat_map(|c| (c as u16).to_le_bytes()).collect();
        let declared = good.replacen('<', "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><", 1);
        let broken = good.replacen("</samlp:Status>", "\u{1}</samlp:Status>", 1);
        let broken: Vec<u8> =
            broken.bytes().map(|byte| if byte == 1 { 0xff } else { byte }).collect();
        for (name, document, refusal) in [
            ("UTF-16", utf16, &["utf-8", "well-formed", "base64"] as Words),
            ("a declaration of another encoding", declared.into_bytes(), UTF8),
            ("a byte that isn't UTF-8", broken, UTF8),
        ] {
            let name = format!("{name} ({})", shape.name());
            cases.add_document(&name, refusal, document, Mode::Unsolicited);
        }
    }
    Ok(())
}
