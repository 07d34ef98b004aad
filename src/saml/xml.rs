//! How documents are read, all of them by one strict parse, since a document that two parsers
//! understand differently is how signatures are got around.
//!
//! Documents come from outside, so what they may cost is settled by one pass over the bytes before
//! anything is built: 2 MiB of the worst kind take less than 50 ms, and no stack grows with depth.

use std::borrow::Cow;

use memchr::{memchr, memmem};
use roxmltree::{Document, Node};

/// What a document may cost.
pub(super) struct Limits {
    pub bytes: usize,
    /// Markup of all kinds: `<` anywhere. It bounds the nodes.
    markup: usize,
    /// `=` anywhere. It bounds the attributes.
    equals: usize,
    depth: usize,
    /// Namespace declarations in all.
    namespaces: usize,
}

/// Metadata of one identity provider, with the claim types of an AD FS.
pub(super) const METADATA: Limits =
    Limits { bytes: 2 << 20, markup: 20_000, equals: 20_000, depth: 64, namespaces: 2_000 };

/// A response. Someone in 500 groups, each with namespace declarations of its own, comes through.
pub(super) const RESPONSE: Limits =
    Limits { bytes: 256 << 10, markup: 10_000, equals: 10_000, depth: 32, namespaces: 1_024 };

/// Attributes of one tag, its namespace declarations among them.
const MAX_ATTRIBUTES: usize = 64;
/// Namespace declarations in force at one place; the parser copies them for every tag that adds one.
const MAX_NAMESPACES_IN_SCOPE: usize = 64;
/// Bytes of one namespace declaration, prefix and name: the parser compares them many times.
const MAX_NAMESPACE: usize = 256;

/// Why a document isn't read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum XmlError {
    /// Not UTF-8, whatever its XML declaration says: the one encoding that is read.
    NotUtf8,
    /// It has a document type declaration, the home of entities and their attacks.
    HasDtd,
    TooLarge {
        found: usize,
        limit: usize,
    },
    TooComplex,
    /// Not well-formed, or its namespaces aren't.
    NotXml,
}

/// The text of a document; a byte order mark is no part of it. Its line ends are made one (XML 1.0,
/// section 2.11) before it is parsed, since the parser forgets some, and signatures are over that.
pub(super) fn text(bytes: &[u8]) -> Result<Cow<'_, str>, XmlError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| XmlError::NotUtf8)?;
    if text.contains('\r') {
        Ok(text.replace("\r\n", "\n").replace('\r', "\n").into())
    } else {
        Ok(text.into())
    }
}

/// The document of a text.
pub(super) fn document<'a>(text: &'a str, limits: &Limits) -> Result<Document<'a>, XmlError> {
    bounded(text.as_bytes(), limits)?;
    Document::parse(text).map_err(|error| match error {
        roxmltree::Error::DtdDetected => XmlError::HasDtd,
        _ => XmlError::NotXml,
    })
}

/// Refuses what would be expensive to parse. It finds tags as the parser does, in any text that
/// the parser accepts; of others it may think what it likes, for the parser stops at their fault.
fn bounded(text: &[u8], limits: &Limits) -> Result<(), XmlError> {
    if text.len() > limits.bytes {
        return Err(XmlError::TooLarge { found: text.len(), limit: limits.bytes });
    }
    let count = |byte| text.iter().filter(|b| **b == byte).count();
    if count(b'<') > limits.markup || count(b'=') > limits.equals {
        return Err(XmlError::TooComplex);
    }
    let mut rest = text;
    let mut in_scope = vec![0]; // namespace declarations in force, for each open element
    let mut namespaces = 0;
    while let Some(start) = memchr(b'<', rest) {
        rest = &rest[start..];
        let length = match rest {
            [b'<', b'!', b'-', b'-', ..] => end(rest, 4, b"-->"),
            [b'<', b'?', ..] => end(rest, 2, b"?>"),
            _ if rest.starts_with(b"<![CDATA[") => end(rest, 9, b"]]>"),
            [b'<', b'!', ..] => return Err(XmlError::HasDtd),
            [b'<', b'/', name @ ..] => {
                if !is_qualified(first_name(name)) {
                    return Err(XmlError::NotXml);
                }
                in_scope.pop();
                end(rest, 2, b">")
            }
            _ => {
                let tag = Tag::read(rest)?;
                namespaces += tag.namespaces;
                let here = in_scope.last().unwrap_or(&0) + tag.namespaces;
                if here > MAX_NAMESPACES_IN_SCOPE || namespaces > limits.namespaces {
                    return Err(XmlError::TooComplex);
                }
                if !tag.empty {
                    in_scope.push(here);
                }
                tag.length
            }
        };
        if in_scope.len() > limits.depth + 1 {
            return Err(XmlError::TooComplex);
        }
        rest = &rest[length..];
    }
    Ok(())
}

/// Where the first `mark` at or after `from` ends; the text's end if there is none.
fn end(text: &[u8], from: usize, mark: &[u8]) -> usize {
    let found = match mark {
        [byte] => memchr(*byte, &text[from..]),
        _ => memmem::find(&text[from..], mark),
    };
    found.map_or(text.len(), |at| from + at + mark.len())
}

/// What a start tag would cost.
struct Tag {
    length: usize,
    namespaces: usize,
    empty: bool,
}

impl Tag {
    fn read(text: &[u8]) -> Result<Self, XmlError> {
        let mut tag = Self { length: text.len(), namespaces: 0, empty: false };
        if !is_qualified(first_name(&text[1..])) {
            return Err(XmlError::NotXml);
        }
        let mut attributes = 0;
        let mut default_namespace = false;
        let mut at = 1;
        let mut before = at; // where what stands before the next value begins
        while let Some(byte) = text.get(at) {
            at += 1;
            match byte {
                b'>' => {
                    tag.length = at;
                    tag.empty = text[at - 2] == b'/';
                    break;
                }
                b'"' | b'\'' => {
                    let name = attribute_name(&text[before..at - 1]);
                    let value = at;
                    at = end(text, at, &[*byte]);
                    before = at;
                    attributes += 1;
                    // the parser takes any prefix's xmlns for a default namespace declaration
                    if !is_qualified(name) || name.ends_with(b":xmlns") {
                        return Err(XmlError::NotXml);
                    }
                    if name.starts_with(b"xmlns") {
                        tag.namespaces += 1;
                        if name.len() + (at - value) > MAX_NAMESPACE {
                            return Err(XmlError::TooComplex);
                        }
                        // Two faults of namespaces that the parser lets pass: a default namespace
                        // declared twice, and a prefix declared to be none.
                        let again =
                            name == b"xmlns" && std::mem::replace(&mut default_namespace, true);
                        if again || (name.starts_with(b"xmlns:") && at == value + 1) {
                            return Err(XmlError::NotXml);
                        }
                    }
                }
                _ => {}
            }
        }
        if attributes > MAX_ATTRIBUTES { Err(XmlError::TooComplex) } else { Ok(tag) }
    }
}

/// Whether a prefix and a local name are there, if there is a colon (Namespaces in XML 1.0, section
/// 4). The parser takes a prefix of no letters for none.
fn is_qualified(name: &[u8]) -> bool {
    let mut parts = name.splitn(2, |b| *b == b':');
    match (parts.next(), parts.next()) {
        (Some(prefix), Some(local)) => {
            !prefix.is_empty() && !local.is_empty() && !local.contains(&b':')
        }
        _ => true,
    }
}

/// The name that a tag begins with.
fn first_name(tag: &[u8]) -> &[u8] {
    let ends = |b: &u8| matches!(b, b'/' | b'>') || b.is_ascii_whitespace();
    &tag[..tag.iter().position(ends).unwrap_or(tag.len())]
}

/// `name` of ` name = `, and of `Tag name=`.
fn attribute_name(before: &[u8]) -> &[u8] {
    let before = before.trim_ascii_end();
    let before = before.strip_suffix(b"=").unwrap_or(before).trim_ascii_end();
    before.rsplit(u8::is_ascii_whitespace).next().unwrap_or(before)
}

/// The child elements of this name.
pub(super) fn children<'a, 'i: 'a>(
    node: Node<'a, 'i>,
    name: (&'static str, &'static str),
) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.has_tag_name(name))
}

/// The value of the attribute of this name and no namespace. (`Node::attribute` of a bare name
/// takes the first of any namespace, so that a foreign one could stand in for SAML's own.)
pub(super) fn attribute<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    let mut own = node.attributes().filter(|attribute| attribute.namespace().is_none());
    own.find(|attribute| attribute.name() == name).map(|attribute| attribute.value())
}

/// All the text of an element: a comment in its middle doesn't end it. `None` if it has elements.
pub(super) fn content(node: Node<'_, '_>) -> Option<String> {
    if node.children().any(|child| child.is_element()) {
        return None;
    }
    Some(node.children().filter(Node::is_text).filter_map(|child| child.text()).collect())
}

/// `prefix:name` of an element or attribute as it is written. The parser keeps only what a prefix
/// stands for; `start` is where the name begins in the document's text.
pub(super) fn qualified_name(text: &str, start: usize) -> &str {
    let rest = &text[start..];
    let ends = |b: u8| matches!(b, b'=' | b'/' | b'>') || b.is_ascii_whitespace();
    &rest[..rest.bytes().position(ends).unwrap_or(rest.len())]
}

/// Whether the XML declaration says another encoding than the one that is read.
pub(super) fn declares_other_encoding(text: &str) -> bool {
    let declaration = text.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>"));
    let Some((_, encoding)) = declaration.and_then(|(inside, _)| inside.split_once("encoding"))
    else {
        return false;
    };
    let value = encoding.trim_ascii_start().trim_start_matches('=').trim_ascii_start();
    !value.get(1..6).is_some_and(|name| name.eq_ignore_ascii_case("utf-8"))
        || !matches!(value.as_bytes().get(6), Some(b'"' | b'\''))
}

#[cfg(test)]
mod tests;
