//! SAML 2.0. Here: how its documents are read, all of them by one strict parse, since a document
//! that two parsers understand differently is how signatures are got around; and how they write
//! times.
//!
//! Documents come from outside, so what they may cost is settled by one pass over the bytes before
//! anything is built: 2 MiB of the worst kind take less than 50 ms, and no stack grows with depth.

pub mod metadata;

use std::time::Duration;

use k8s_openapi::jiff::fmt::temporal::Pieces;
use k8s_openapi::jiff::tz::{Offset, TimeZone};
use k8s_openapi::jiff::{Span, Timestamp};
use roxmltree::{Document, Node};

/// Markup of all kinds: `<` anywhere. It bounds the nodes.
const MAX_MARKUP: usize = 20_000;
/// `=` anywhere. It bounds the attributes.
const MAX_EQUALS: usize = 20_000;
const MAX_DEPTH: usize = 64;
/// Attributes of one tag, its namespace declarations among them.
const MAX_ATTRIBUTES: usize = 64;
/// Namespace declarations in force at one place; the parser copies them for every tag that adds one.
const MAX_NAMESPACES_IN_SCOPE: usize = 64;
const MAX_NAMESPACES: usize = 2_000;
/// Bytes of one namespace declaration, prefix and name: the parser compares them many times.
const MAX_NAMESPACE: usize = 256;

/// Why a document isn't read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum XmlError {
    /// Not UTF-8, whatever its XML declaration says: the one encoding that is read.
    NotUtf8,
    /// It has a document type declaration, the home of entities and their attacks.
    HasDtd,
    TooComplex,
    /// Not well-formed, or its namespaces aren't.
    NotXml,
}

/// The text of a document; a byte order mark is no part of it.
fn text(bytes: &[u8]) -> Result<&str, XmlError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|_| XmlError::NotUtf8)
}

/// The document of a text of at most 2 MiB.
fn document(text: &str) -> Result<Document<'_>, XmlError> {
    bounded(text.as_bytes())?;
    Document::parse(text).map_err(|error| match error {
        roxmltree::Error::DtdDetected => XmlError::HasDtd,
        _ => XmlError::NotXml,
    })
}

/// Refuses what would be expensive to parse. It finds tags as the parser does, in any text that
/// the parser accepts; of others it may think what it likes, for the parser stops at their fault.
fn bounded(text: &[u8]) -> Result<(), XmlError> {
    let count = |byte| text.iter().filter(|b| **b == byte).count();
    if count(b'<') > MAX_MARKUP || count(b'=') > MAX_EQUALS {
        return Err(XmlError::TooComplex);
    }
    let mut rest = text;
    let mut in_scope = vec![0]; // namespace declarations in force, for each open element
    let mut namespaces = 0;
    while let Some(start) = rest.iter().position(|b| *b == b'<') {
        rest = &rest[start..];
        let length = match rest {
            [b'<', b'!', b'-', b'-', ..] => end(rest, 4, b"-->"),
            [b'<', b'?', ..] => end(rest, 2, b"?>"),
            _ if rest.starts_with(b"<![CDATA[") => end(rest, 9, b"]]>"),
            [b'<', b'!', ..] => return Err(XmlError::HasDtd),
            [b'<', b'/', ..] => {
                in_scope.pop();
                end(rest, 2, b">")
            }
            _ => {
                let tag = Tag::read(rest)?;
                namespaces += tag.namespaces;
                let here = in_scope.last().unwrap_or(&0) + tag.namespaces;
                if here > MAX_NAMESPACES_IN_SCOPE || namespaces > MAX_NAMESPACES {
                    return Err(XmlError::TooComplex);
                }
                if !tag.empty {
                    in_scope.push(here);
                }
                tag.length
            }
        };
        if in_scope.len() > MAX_DEPTH + 1 {
            return Err(XmlError::TooComplex);
        }
        rest = &rest[length..];
    }
    Ok(())
}

/// Where the first `mark` at or after `from` ends; the text's end if there is none.
fn end(text: &[u8], from: usize, mark: &[u8]) -> usize {
    let found = text[from..].windows(mark.len()).position(|window| window == mark);
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
        let mut attributes = 0;
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
                    if name.starts_with(b"xmlns") {
                        tag.namespaces += 1;
                        if name.len() + (at - value) > MAX_NAMESPACE {
                            return Err(XmlError::TooComplex);
                        }
                    }
                }
                _ => {}
            }
        }
        if attributes > MAX_ATTRIBUTES { Err(XmlError::TooComplex) } else { Ok(tag) }
    }
}

/// `name` of ` name = `, and of `Tag name=`.
fn attribute_name(before: &[u8]) -> &[u8] {
    let before = before.trim_ascii_end();
    let before = before.strip_suffix(b"=").unwrap_or(before).trim_ascii_end();
    before.rsplit(u8::is_ascii_whitespace).next().unwrap_or(before)
}

/// The child elements of this name.
fn children<'a, 'i: 'a>(
    node: Node<'a, 'i>,
    name: (&'static str, &'static str),
) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.has_tag_name(name))
}

/// The value of the attribute of this name and no namespace. (`Node::attribute` of a bare name
/// takes the first of any namespace, so that a foreign one could stand in for SAML's own.)
fn attribute<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    let mut own = node.attributes().filter(|attribute| attribute.namespace().is_none());
    own.find(|attribute| attribute.name() == name).map(|attribute| attribute.value())
}

/// All the text of an element: a comment in its middle doesn't end it. `None` if it has elements.
fn content(node: Node<'_, '_>) -> Option<String> {
    if node.children().any(|child| child.is_element()) {
        return None;
    }
    Some(node.children().filter(Node::is_text).filter_map(|child| child.text()).collect())
}

/// An `xs:dateTime` (XML Schema part 2, section 3.2.7). One without a zone is UTC, as SAML's must
/// be (saml-core-2.0-os, section 1.3.3); one at the end of the year 9999 is the last there is.
fn timestamp(text: &str) -> Option<Timestamp> {
    let text = text.trim_ascii();
    let allowed = |b: u8| b.is_ascii_digit() || b"-:.TZ+".contains(&b);
    if !text.bytes().all(allowed) || text.find('-') != Some(4) {
        return None; // jiff reads more forms than XML Schema has
    }
    let pieces = Pieces::parse(text).ok()?;
    let time = pieces.date().to_datetime(pieces.time()?);
    let offset = pieces.to_numeric_offset().unwrap_or(Offset::UTC);
    Some(offset.to_timestamp(time).unwrap_or(Timestamp::MAX))
}

/// An `xs:duration` (XML Schema part 2, section 3.2.6) that isn't negative; its years and months
/// are those that follow `from`.
fn duration(text: &str, from: Timestamp) -> Option<Duration> {
    let text = text.trim_ascii();
    let allowed = |b: u8| b.is_ascii_digit() || b"PYMDTHS.".contains(&b);
    if !text.bytes().all(allowed) || !text.starts_with('P') {
        return None; // jiff reads more forms than XML Schema has
    }
    let span: Span = text.parse().ok()?;
    match span.to_duration(from.to_zoned(TimeZone::UTC).datetime()) {
        Ok(duration) => duration.try_into().ok(),
        Err(_) => Some(Duration::MAX), // ends after the calendar does
    }
}

#[cfg(test)]
mod tests;
