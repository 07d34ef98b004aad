use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine};
use roxmltree::Document;

use super::*;
use crate::saml::fixtures::{KEY, Signer};

/// What libxml2 (`xmllint --exc-c14n`) makes of the same documents.
#[test]
fn canonical_forms_are_those_of_libxml2() {
    for (xml, canonical) in [
        ("<a  b = '1'   a=\"2\"/>", r#"<a a="2" b="1"></a>"#),
        ("<a><!-- c -->t<?p  q ?><![CDATA[<&>]]></a>", "<a>t<?p q ?>&lt;&amp;&gt;</a>"),
        (
            "<a b='&lt;&gt;&quot;&#39;&#9;&#10;&#13;x\ty\nz'>&#13;\r\n\"'</a>",
            "<a b=\"&lt;>&quot;'&#x9;&#xA;&#xD;x y z\">&#xD;\n\"'</a>",
        ),
        (
            r#"<n:a xmlns:n="n" xmlns:u="u" xmlns="d"><b xmlns:n="n"/><c xmlns=""/><n:d u:y="1" x="2"/></n:a>"#,
            r#"<n:a xmlns:n="n"><b xmlns="d"></b><c></c><n:d xmlns:u="u" x="2" u:y="1"></n:d></n:a>"#,
        ),
        (
            r#"<a xmlns="d"><b xmlns=""><c xmlns="d"/></b></a>"#,
            r#"<a xmlns="d"><b xmlns=""><c xmlns="d"></c></b></a>"#,
        ),
        (
            r#"<a xmlns:z="a" xmlns:y="b" z:k="1" y:k="2" xml:lang="en" k="3"/>"#,
            r#"<a xmlns:y="b" xmlns:z="a" k="3" z:k="1" y:k="2" xml:lang="en"></a>"#,
        ),
        (
            r#"<p:a xmlns:p="1"><p:b xmlns:p="2"><p:c xmlns:p="1"/></p:b></p:a>"#,
            r#"<p:a xmlns:p="1"><p:b xmlns:p="2"><p:c xmlns:p="1"></p:c></p:b></p:a>"#,
        ),
    ] {
        let document = Document::parse(xml).unwrap();
        let mut out = vec![];
        canonicalize(document.root_element(), None, &[], &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), canonical, "{xml}");
    }
}

#[test]
fn a_part_is_canonical_without_what_is_around_it_and_without_what_is_left_out() {
    let xml = r#"<r xmlns="d" xmlns:a="a" xmlns:b="b" xml:lang="en"><a:x><a:y>1</a:y><sig>2<deep/></sig>3</a:x> tail</r>"#;
    let document = Document::parse(xml).unwrap();
    let apex = document.root_element().first_element_child().unwrap();
    let signature = apex.last_element_child();
    let canonical = |inclusive: &[&'static str]| {
        let mut out = b"kept ".to_vec();
        canonicalize(apex, signature, inclusive, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(canonical(&[]), r#"kept <a:x xmlns:a="a"><a:y>1</a:y>3</a:x>"#);
    assert_eq!(
        canonical(&["b", "#default", "nowhere", "xml"]),
        r#"kept <a:x xmlns="d" xmlns:a="a" xmlns:b="b"><a:y>1</a:y>3</a:x>"#
    );
}

/// Documents nobody would think of, all valid: namespaces declared, undeclared and declared anew,
/// used and not used, and text of every kind.
struct Author {
    random: fastrand::Rng,
    xml: String,
}

impl Author {
    const PREFIXES: [&str; 4] = ["", "a", "b", "c"];
    const TEXTS: [&str; 15] = [
        "t",
        " ",
        "\n\t",
        "&amp;",
        "&lt;",
        "&gt;",
        "&#13;",
        "&#x9;",
        "&quot;",
        "'",
        "\r\n",
        "\r",
        "\u{e9}",
        "\u{1f600}",
        "&#x10FFFF;",
    ];

    /// `[[_a]]` in an element of the ID `_a`, anywhere but in the root element.
    fn document(seed: u64) -> String {
        let mut author = Self { random: fastrand::Rng::with_seed(seed), xml: String::new() };
        let mut scope = vec![""; 4];
        let root = author.start("r", &mut scope, false);
        author.text();
        author.element(scope.clone(), 0, true);
        author.text();
        author.xml += &format!("</{root}>");
        author.xml
    }

    fn element(&mut self, mut scope: Vec<&'static str>, depth: usize, signed: bool) {
        let name = self.start(if signed { "Assertion" } else { "e" }, &mut scope, signed);
        if signed {
            self.xml += "[[_a]]";
        }
        for _ in 0..self.random.usize(0..4 - depth.min(3)) {
            self.text();
            self.element(scope.clone(), depth + 1, false);
        }
        self.text();
        self.xml += &format!("</{name}>");
    }

    /// Writes a start tag with declarations, which it adds to those in force, and attributes.
    fn start(&mut self, local: &str, scope: &mut [&'static str], signed: bool) -> String {
        let mut tag = String::new();
        for (at, prefix) in Self::PREFIXES.iter().enumerate() {
            if self.random.u8(0..3) > 0 {
                continue;
            }
            // no `&`: libxml2 writes it as a reference of its own
            let namespace = ["urn:a", "urn:b", "urn:x?y"][self.random.usize(0..3)];
            let namespace = if at == 0 && self.random.bool() { "" } else { namespace };
            scope[at] = namespace;
            let colon = if at == 0 { "" } else { ":" };
            tag += &format!(" xmlns{colon}{prefix}=\"{namespace}\"");
        }
        let mut used = vec![];
        for _ in 0..self.random.usize(0..4) {
            let (at, name) = (self.random.usize(0..4), ["x", "y", "z"][self.random.usize(0..3)]);
            let namespace = if at == 0 { "" } else { scope[at] };
            if (at > 0 && namespace.is_empty()) || used.contains(&(namespace, name)) {
                continue;
            }
            used.push((namespace, name));
            let colon = if at == 0 { "" } else { ":" };
            let value = self.piece();
            let value = value.replace('<', "&lt;").replace('"', "&quot;");
            tag += &format!(" {}{colon}{name} =\t\"{value}\"", Self::PREFIXES[at]);
        }
        if self.random.u8(0..5) == 0 {
            tag += " xml:lang='en'";
        }
        let at = self.random.usize(0..4);
        let prefix = if scope[at].is_empty() { "" } else { Self::PREFIXES[at] };
        let colon = if prefix.is_empty() { "" } else { ":" };
        let name = format!("{prefix}{colon}{local}");
        let id = if signed { " ID='_a'" } else { "" };
        self.xml += &format!("<{name}{id}{tag}>");
        name
    }

    fn piece(&mut self) -> &'static str {
        Self::TEXTS[self.random.usize(0..Self::TEXTS.len())]
    }

    fn text(&mut self) {
        for _ in 0..self.random.usize(0..3) {
            match self.random.u8(0..8) {
                0 => self.xml += "<![CDATA[<&]] >\r\n]]>",
                1 => self.xml += "<?p  q\r\nr ?>",
                2 => self.xml += "<!-- c -->",
                _ => {
                    let piece = self.piece();
                    self.xml += piece;
                }
            }
        }
    }
}

/// The oracle is xmlsec1, one process for all: it must find each signature good that was made over
/// our canonical forms, and with it the forms themselves.
#[test]
fn xmlsec1_agrees_on_10_000_random_documents() {
    const DOCUMENTS: u64 = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let certificate = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        BASE64_STANDARD.encode(&KEY.certificate)
    );
    std::fs::write(folder.path().join("certificate"), certificate).unwrap();
    let lists = ["", "a", "#default", "b c", "a b c #default nowhere"];
    let folder_path = folder.path();
    let write = move |seed: u64| {
        let without_key = |signature: String| {
            let (before, rest) = signature.split_once("<ds:KeyInfo>").expect("it has one");
            let (_, after) = rest.split_once("</ds:KeyInfo>").expect("it ends");
            format!("{before}{after}")
        };
        let prefixes = lists[usize::try_from(seed).unwrap() % lists.len()];
        let signer = Signer { prefixes, edit: &without_key, ..Signer::default() };
        let xml = signer.sign(&Author::document(seed), "_a");
        std::fs::write(folder_path.join(seed.to_string()), xml).unwrap();
    };
    std::thread::scope(|scope| {
        for first in 0..4 {
            scope.spawn(move || (first..DOCUMENTS).step_by(4).for_each(write));
        }
    });
    let namespaces = ["urn:a:", "urn:b:", "urn:x?y:", ""];
    let ids =
        namespaces.iter().flat_map(|space| ["--id-attr:ID".into(), format!("{space}Assertion")]);
    let verified = Command::new("xmlsec1")
        .args(["--verify", "--pubkey-cert-pem", "certificate"])
        .args(ids)
        .args((0..DOCUMENTS).map(|seed| seed.to_string()))
        .current_dir(folder.path())
        .output()
        .expect("xmlsec1 is missing: make parts");
    let said = String::from_utf8_lossy(&verified.stderr);
    let good = said.lines().filter(|line| line.trim() == "OK").count();
    assert_eq!(good as u64, DOCUMENTS, "{said:.2000}");
    assert!(verified.status.success());
}
