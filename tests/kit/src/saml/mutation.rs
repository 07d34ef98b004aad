//! Random changes to a document, of the kinds that attackers and bad lines make: bytes, tokens,
//! attributes, and whole subtrees that move.

use std::ops::Range;

use fastrand::Rng;
use roxmltree::Document;

/// What is put in at random: what XML, SAML and signatures give a meaning to.
const TOKENS: &[&str] = &[
    "",
    " ",
    "\n",
    "<",
    ">",
    "/>",
    "\"",
    "&amp;",
    "&#97;",
    "<!---->",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<?x y?>",
    "admin@acme.example",
    "Assertion",
    "Response",
    "Signature",
    "NameID",
    "ID=\"_a\"",
    "xmlns=\"\"",
    "xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:protocol\"",
    "xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:assertion\"",
    "<saml:NameID>admin@acme.example</saml:NameID>",
    "<saml:Advice>",
    "</saml:Advice>",
    "<ds:Object>",
    "</ds:Object>",
    "http://www.w3.org/2000/09/xmldsig#sha1",
    "http://www.w3.org/2000/09/xmldsig#hmac-sha1",
    "http://www.w3.org/TR/1999/REC-xpath-19991116",
    "2000-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
];

/// A good document and another, both taken apart once.
pub struct Subject {
    document: Parts,
    /// What an attacker has besides: perhaps a good response of their own.
    donor: Parts,
}

struct Parts {
    text: String,
    elements: Vec<Range<usize>>,
    attributes: Vec<Range<usize>>,
    values: Vec<Range<usize>>,
}

impl Subject {
    /// Takes a document apart, and one whose parts are put into it.
    ///
    /// # Errors
    /// If one isn't well-formed.
    pub fn new(document: &str, donor: &str) -> anyhow::Result<Self> {
        Ok(Self { document: Parts::new(document)?, donor: Parts::new(donor)? })
    }

    /// The document with one to three random changes. It may be what it was, by chance.
    pub fn mutated(&self, random: &mut Rng) -> Vec<u8> {
        let mut bytes = self.change(random);
        for _ in 0..random.usize(..3) {
            // what follows doesn't know where things are any more
            blind(&mut bytes, random);
        }
        bytes
    }

    fn change(&self, random: &mut Rng) -> Vec<u8> {
        let Parts { text, elements, attributes, values } = &self.document;
        let from = if random.bool() { &self.document } else { &self.donor };
        let changed = match random.u8(..9) {
            0 => {
                // one subtree moves to where another begins or ends
                let (moved, to) = (pick(random, elements), pick(random, elements));
                let at = if random.bool() { to.start } else { to.end };
                let subtree = &text[moved.clone()];
                if at <= moved.start {
                    splice(&splice(text, moved.clone(), ""), at..at, subtree)
                } else if at >= moved.end {
                    splice(&splice(text, at..at, subtree), moved.clone(), "")
                } else {
                    splice(text, at..at, subtree) // into itself: it stays, too
                }
            }
            1 => {
                // a subtree beside another one, in its place, or inside it
                let (copied, to) = (pick(random, &from.elements), pick(random, elements));
                let inside = text[to.clone()].find('>').map_or(to.start, |tag| to.start + tag + 1);
                let place = match random.u8(..4) {
                    0 => to.start..to.start,
                    1 => to.end..to.end,
                    2 => inside..inside,
                    _ => to,
                };
                splice(text, place, &from.text[copied])
            }
            2 => splice(text, pick(random, elements), ""),
            3 => splice(text, pick(random, attributes), ""),
            4 => splice(text, pick(random, attributes), &from.text[pick(random, &from.attributes)]),
            5 => splice(text, pick(random, values), &from.text[pick(random, &from.values)]),
            6 => splice(text, pick(random, values), token(random)),
            7 => {
                let at = pick(random, attributes).start;
                splice(text, at..at, &format!("{} ", token(random)))
            }
            _ => {
                let mut bytes = text.clone().into_bytes();
                blind(&mut bytes, random);
                return bytes;
            }
        };
        changed.into_bytes()
    }
}

impl Parts {
    fn new(document: &str) -> anyhow::Result<Self> {
        let parsed = Document::parse(document)?;
        let elements = || parsed.descendants().filter(roxmltree::Node::is_element);
        let attributes = || elements().flat_map(|node| node.attributes());
        Ok(Self {
            text: document.to_owned(),
            elements: elements().map(|node| node.range()).collect(),
            attributes: attributes().map(|attribute| attribute.range()).collect(),
            values: attributes().map(|attribute| attribute.range_value()).collect(),
        })
    }
}

fn pick(random: &mut Rng, from: &[Range<usize>]) -> Range<usize> {
    random.choice(from).cloned().unwrap_or(0..0)
}

/// A change anywhere, whatever is there.
fn blind(bytes: &mut Vec<u8>, random: &mut Rng) {
    let at = random.usize(..bytes.len().max(1));
    let end = (at + random.usize(..40)).min(bytes.len());
    match random.u8(..5) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.u8(..8);
            }
        }
        1 => {
            bytes.splice(at..end, token(random).bytes());
        }
        2 => {
            bytes.splice(at.min(bytes.len())..at.min(bytes.len()), token(random).bytes());
        }
        3 => {
            bytes.drain(at.min(end)..end);
        }
        _ => {
            let copy = bytes[at.min(end)..end].to_vec();
            let to = random.usize(..=bytes.len());
            bytes.splice(to..to, copy);
        }
    }
}

fn token(random: &mut Rng) -> &'static str {
    TOKENS[random.usize(..TOKENS.len())]
}

fn splice(text: &str, place: Range<usize>, new: &str) -> String {
    format!("{}{new}{}", &text[..place.start], &text[place.end..])
}
