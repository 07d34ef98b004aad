//! xmlsec1 as the judge of canonicalization and signatures.

use std::fmt::Write;

use anyhow::{Context, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_STANDARD};
use fastrand::Rng;
use rollcall::saml::c14n::canonicalize;
use rollcall_kit::saml::{
    Attribute,
    hostile::{Mode, Parties, Shape, Signed},
    xmlsec::{Xmlsec, exclusive_canonical_form},
};
use roxmltree::Document;

use super::Checker;

const DOCUMENTS: usize = 40;
const SUBTREES: usize = 250;
const RESPONSES: usize = 300;

#[test]
fn the_canonical_forms_of_10_000_random_subtrees_are_those_of_xmlsec1() -> anyhow::Result<()> {
    let parties = Parties::new()?;
    let xmlsec = Xmlsec::new(&parties.idp)?;
    let seed = Rng::new().get_seed();
    let mut random = Rng::with_seed(seed);
    let mut compared = 0;
    for _ in 0..DOCUMENTS {
        let (document, references) = Generator::new(&mut random).document();
        let theirs = xmlsec.digests(&document)?;
        ensure!(theirs.len() == references.len(), "{} digests", theirs.len());
        // as every parser should (XML 1.0, section 2.11); roxmltree misses some beside references
        let document = document.replace("\r\n", "\n").replace('\r', "\n");
        let parsed = Document::parse(&document)?;
        for ((id, prefixes), theirs) in references.iter().zip(theirs) {
            let apex = parsed.descendants().find(|node| {
                node.attribute(("http://www.w3.org/XML/1998/namespace", "id")) == Some(id)
            });
            let apex = apex.with_context(|| format!("no {id}"))?;
            let mut canonical = vec![];
            canonicalize(apex, None, prefixes, &mut canonical);
            let ours = BASE64_STANDARD.encode(digest(&SHA256, &canonical));
            ensure!(
                ours == theirs,
                "seed {seed}, PrefixList {prefixes:?}: {}\nours: {}",
                &document[apex.range()],
                String::from_utf8_lossy(&canonical)
            );
            compared += 1;
        }
    }
    ensure!(compared == DOCUMENTS * SUBTREES, "{compared}");
    Ok(())
}

#[test]
fn random_responses_that_xmlsec1_verifies_are_accepted_with_what_they_say() -> anyhow::Result<()> {
    let parties = Parties::new()?;
    let xmlsec = Xmlsec::new(&parties.idp)?;
    let checker = Checker::new(&parties)?;
    let seed = Rng::new().get_seed();
    let mut random = Rng::with_seed(seed);
    let (mut files, mut said) = (vec![], vec![]);
    let mut signed = [vec![], vec![]];
    for number in 0..RESPONSES {
        let mut response = parties.response(Mode::Unsolicited);
        let person = &mut response.assertion.person;
        person.name_id = format!("x{}x", words(&mut random, false));
        person.attributes = (0..random.usize(..5))
            .map(|one| {
                let values: Vec<_> =
                    (0..random.usize(..4)).map(|_| words(&mut random, true)).collect();
                let values: Vec<_> = values.iter().map(String::as_str).collect();
                Attribute::new(&format!("{one}{}", words(&mut random, false)), &values)
            })
            .collect();
        let person = person.clone();
        let shapes = [Signed::Response, Signed::Assertion, Signed::Both];
        let shape = Shape { signed: shapes[number % 3], encrypted: false };
        let document = parties.sealing(shape).seal(&response)?;
        let file = checker.file(&format!("random-{number}.xml"), document.as_bytes())?;
        if shape.signed != Signed::Assertion {
            signed[0].push(file.clone());
        }
        if shape.signed != Signed::Response {
            signed[1].push(file.clone());
        }
        files.push(file);
        said.push(person);
    }
    xmlsec.verify(&signed[0], "Response").with_context(|| format!("seed {seed}"))?;
    xmlsec.verify(&signed[1], "Assertion").with_context(|| format!("seed {seed}"))?;
    let (all_accepted, lines) = checker.check(Mode::Unsolicited, &files)?;
    for (line, person) in lines.into_iter().zip(said) {
        ensure!(line.accepted, "seed {seed}: {:?} {:?}", line.error, person);
        ensure!(line.name_id.as_ref() == Some(&person.name_id), "seed {seed}: {line:?}");
        let attributes = person.attributes.into_iter().map(|one| (one.name, one.values)).collect();
        ensure!(line.attributes == Some(attributes), "seed {seed}: {line:?}");
    }
    ensure!(all_accepted);
    Ok(())
}

#[test]
fn names_that_libxml2_reads_in_another_way_than_our_parser_are_refused() -> anyhow::Result<()> {
    let parties = Parties::new()?;
    let checker = Checker::new(&parties)?;
    // what is a default namespace to our parser, is an attribute or part of a name to libxml2
    for (number, text) in [
        "<a:b xmlns:a=\"urn:a\" a:xmlns=\"urn:x\"><c></c></a:b>",
        "<b :xmlns=\"urn:x\"><c></c></b>",
        "<b a:xmlns=\"urn:x\"><c></c></b>",
        "<:b></:b>",
    ]
    .into_iter()
    .enumerate()
    {
        let file = checker.file(&format!("name-{number}.xml"), text.as_bytes())?;
        ensure!(exclusive_canonical_form(&file)? == text.as_bytes(), "{text}");
        let (_, lines) = checker.check(Mode::Unsolicited, &[file])?;
        let error = lines[0].error.as_deref().unwrap_or_default();
        ensure!(error.starts_with("NotXml"), "{text}: {error}");
    }
    Ok(())
}

/// Text of all kinds of characters.
fn words(random: &mut Rng, any_white_space: bool) -> String {
    const CHARACTERS: &[char] = &[
        'a',
        'Z',
        '0',
        ' ',
        '&',
        '<',
        '>',
        '"',
        '\'',
        ';',
        '#',
        ']',
        '-',
        '\u{e9}',
        '\u{1f511}',
        '\u{2028}',
        '\u{a0}',
        '\u{fffd}',
        '\u{301}',
        '\\',
        '%',
    ];
    const WHITE_SPACE: &[char] = &['\t', '\n', '\r'];
    (0..random.usize(..12))
        .map(|_| match random.u8(..10) {
            0 if any_white_space => WHITE_SPACE[random.usize(..WHITE_SPACE.len())],
            _ => CHARACTERS[random.usize(..CHARACTERS.len())],
        })
        .collect()
}

const PREFIXES: &[&str] = &["", "a", "b", "xs", "A", "z"];
const NAMESPACES: &[&str] = &["urn:1", "urn:2", "http://example.com/ns", "urn:10"];
/// Pieces of text as they stand in a document, and of attributes' values between quotes.
const TEXTS: &[&str] = &[
    "text",
    " ",
    "\n\t ",
    "&amp;",
    "&lt;",
    "&gt;",
    ">",
    "\"",
    "'",
    "&quot;",
    "&apos;",
    "&#13;",
    "&#x9;",
    "&#10;",
    "\r\n",
    "\r",
    "<![CDATA[<&>]]>",
    "<![CDATA[]]>",
    "<!-- a comment -->",
    "<?pi  data ?>",
    "<?pi?>",
    "\u{e9}\u{1f511}",
    "&#x1F511;",
];
const VALUES: &[&str] = &[
    "value",
    " ",
    "\n",
    "\t",
    "\r\n",
    "&amp;",
    "&lt;",
    "&gt;",
    ">",
    "&quot;",
    "&apos;",
    "&#13;",
    "&#9;",
    "&#xA;",
    "&#32;",
    "\u{e9}",
    "&#x1F511;",
];

/// A document in the making.
struct Generator<'r> {
    random: &'r mut Rng,
    text: String,
    ids: usize,
    /// What each of `PREFIXES` stands for here: a place in `NAMESPACES`.
    scope: Vec<[Option<usize>; PREFIXES.len()]>,
}

impl<'r> Generator<'r> {
    fn new(random: &'r mut Rng) -> Self {
        Self { random, text: String::new(), ids: 0, scope: vec![[None; PREFIXES.len()]] }
    }

    /// One with a signature to be filled in, and what its references name: IDs and PrefixLists.
    fn document(mut self) -> (String, Vec<(String, Vec<&'static str>)>) {
        self.text.push_str("<root>");
        while self.ids < SUBTREES {
            self.element(0);
        }
        let references: Vec<_> = (0..SUBTREES)
            .map(|_| (format!("e{}", self.random.usize(..self.ids)), self.prefix_list()))
            .collect();
        let mut info = String::new();
        for (id, prefixes) in &references {
            let list = prefixes.join(" ");
            let inclusive = if list.is_empty() {
                String::new()
            } else {
                format!(
                    "<ec:InclusiveNamespaces xmlns:ec=\"http://www.w3.org/2001/10/xml-exc-c14n#\" \
                     PrefixList=\"{list}\"/>"
                )
            };
            // Writing to a String can't fail.
            let _ = write!(
                info,
                "<Reference URI=\"#{id}\"><Transforms><Transform \
                 Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\">{inclusive}</Transform>\
                 </Transforms><DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha256\"/>\
                 <DigestValue/></Reference>"
            );
        }
        let text = self.text;
        let document = format!(
            "{text}<Signature xmlns=\"http://www.w3.org/2000/09/xmldsig#\"><SignedInfo>\
             <CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"/>\
             <SignatureMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256\"/>\
             {info}</SignedInfo><SignatureValue/></Signature></root>"
        );
        (document, references)
    }

    fn prefix_list(&mut self) -> Vec<&'static str> {
        const LISTED: &[&str] = &["#default", "a", "b", "xs", "A", "z", "nowhere"];
        let count = if self.random.bool() { 0 } else { self.random.usize(1..4) };
        let mut list: Vec<_> = (0..count).map(|_| self.one_of(LISTED)).collect();
        list.sort_unstable();
        list.dedup();
        list
    }

    fn one_of(&mut self, from: &[&'static str]) -> &'static str {
        from[self.random.usize(..from.len())]
    }

    fn element(&mut self, depth: usize) {
        let mut scope = self.scope.last().copied().unwrap_or_default();
        let mut declared = [false; PREFIXES.len()];
        let mut attributes = vec![];
        for _ in 0..self.random.usize(..3) {
            let prefix = self.random.usize(..PREFIXES.len());
            if std::mem::replace(&mut declared[prefix], true) {
                continue;
            }
            let namespace = self.random.usize(..NAMESPACES.len());
            if prefix == 0 && self.random.bool() {
                scope[0] = None;
                attributes.push("xmlns=\"\"".to_owned());
            } else {
                scope[prefix] = Some(namespace);
                let name = if prefix == 0 {
                    "xmlns".into()
                } else {
                    format!("xmlns:{}", PREFIXES[prefix])
                };
                attributes.push(format!("{name}=\"{}\"", NAMESPACES[namespace]));
            }
        }
        if self.random.u8(..10) < 7 {
            attributes.push(format!("xml:id=\"e{}\"", self.ids));
            self.ids += 1;
        }
        let mut taken = vec![];
        for _ in 0..self.random.usize(..4) {
            let name = self.one_of(&["k", "l", "K"]);
            let prefix = self.random.usize(..PREFIXES.len());
            // a bare attribute is in no namespace, whatever the default is
            let Some(namespace) = (if prefix == 0 { Some(usize::MAX) } else { scope[prefix] })
            else {
                continue;
            };
            if !taken.contains(&(namespace, name)) {
                taken.push((namespace, name));
                let name = qualified(prefix, name);
                let quote = if self.random.bool() { '"' } else { '\'' };
                let value: String =
                    (0..self.random.usize(..4)).map(|_| self.one_of(VALUES)).collect();
                attributes.push(format!("{name} = {quote}{value}{quote}"));
            }
        }
        self.random.shuffle(&mut attributes);
        let usable: Vec<usize> =
            (0..PREFIXES.len()).filter(|prefix| *prefix == 0 || scope[*prefix].is_some()).collect();
        let prefix = usable[self.random.usize(..usable.len())];
        let name = qualified(prefix, self.one_of(&["x", "y", "Z"]));
        self.text.push_str(&format!("<{name}"));
        for attribute in attributes {
            let space = self.one_of(&[" ", "\n", "  "]);
            self.text.push_str(space);
            self.text.push_str(&attribute);
        }
        if self.random.u8(..5) == 0 {
            self.text.push_str("/>");
            return;
        }
        self.text.push('>');
        self.scope.push(scope);
        for _ in 0..self.random.usize(..5) {
            if depth < 6 && self.random.bool() {
                self.element(depth + 1);
            } else {
                let piece = self.one_of(TEXTS);
                self.text.push_str(piece);
            }
        }
        self.scope.pop();
        self.text.push_str(&format!("</{name} >"));
    }
}

fn qualified(prefix: usize, name: &str) -> String {
    if prefix == 0 { name.to_owned() } else { format!("{}:{name}", PREFIXES[prefix]) }
}
