//! Exclusive XML Canonicalization 1.0 without comments (<https://www.w3.org/TR/xml-exc-c14n/>) of an
//! element with all that is in it: the text that signatures are made over.

use roxmltree::{Attribute, Node, NodeType};

use super::xml;

/// A namespace declaration that has been written: prefix ("" for the default) and name ("" for none).
type Declared<'a> = (&'a str, &'a str);

/// Appends the canonical form of `apex` to `out`.
///
/// `without` is left out with all that is in it: the signature, for the enveloped-signature
/// transform (xmldsig-core, section 6.6.4). `inclusive` is the PrefixList: prefixes that are
/// declared wherever they are in force, whether used or not; "#default" is the one without a name.
pub fn canonicalize<'a, 'i: 'a>(
    apex: Node<'a, 'i>,
    without: Option<Node<'_, '_>>,
    inclusive: &[&'a str],
    out: &mut Vec<u8>,
) {
    let mut writer = Writer {
        text: apex.document().input_text(),
        inclusive,
        declared: vec![],
        open: vec![],
        attributes: vec![],
        out,
    };
    // no recursion: how deeply a document is nested is for its author to say
    let mut next = Some(apex);
    while let Some(node) = next {
        let left_out = without.is_some_and(|without| without == node);
        if node.is_element() && !left_out {
            writer.start(node);
            if let Some(child) = node.first_child() {
                next = Some(child);
                continue;
            }
            writer.end(node);
        } else if !left_out {
            writer.leaf(node);
        }
        // on to what follows: a sibling, else a sibling of the nearest ancestor that has one
        let mut done = node;
        next = loop {
            if done == apex {
                break None;
            }
            if let Some(sibling) = done.next_sibling() {
                break Some(sibling);
            }
            let Some(parent) = done.parent() else { break None };
            writer.end(parent);
            done = parent;
        };
    }
}

struct Writer<'a, 'i, 'o> {
    /// The document as it came, where the prefixes are.
    text: &'a str,
    inclusive: &'o [&'a str],
    /// What the open elements declare, from the outermost to the innermost.
    declared: Vec<Declared<'a>>,
    /// How many declarations there were before each open element.
    open: Vec<usize>,
    /// Kept for its memory.
    attributes: Vec<(&'a str, Attribute<'a, 'i>)>,
    out: &'o mut Vec<u8>,
}

impl<'a, 'i: 'a> Writer<'a, 'i, '_> {
    fn start(&mut self, node: Node<'a, 'i>) {
        let before = self.declared.len();
        self.open.push(before);
        let name = xml::qualified_name(self.text, node.range().start + 1);
        self.out.push(b'<');
        self.out.extend_from_slice(name.as_bytes());

        self.declare(prefix(name), node.tag_name().namespace().unwrap_or_default());
        self.attributes.clear();
        for attribute in node.attributes() {
            let name = xml::qualified_name(self.text, attribute.range().start);
            let namespace = attribute.namespace().unwrap_or_default();
            if !prefix(name).is_empty() {
                self.declare(prefix(name), namespace);
            }
            self.attributes.push((name, attribute));
        }
        // what declares nothing has what is in force around it, where that was written
        let listed = if self.open.len() == 1 || declares(node) { self.inclusive } else { &[] };
        for listed in listed {
            let (prefix, namespace) = match *listed {
                "#default" => ("", Some(node.default_namespace().unwrap_or_default())),
                listed => (listed, node.lookup_namespace_uri(Some(listed))),
            };
            if let Some(namespace) = namespace {
                self.declare(prefix, namespace);
            }
        }

        self.declared[before..].sort_unstable();
        for at in before..self.declared.len() {
            let (prefix, namespace) = self.declared[at];
            self.out.extend_from_slice(b" xmlns");
            if !prefix.is_empty() {
                self.out.push(b':');
                self.out.extend_from_slice(prefix.as_bytes());
            }
            self.value(namespace);
        }
        let mut attributes = std::mem::take(&mut self.attributes);
        attributes.sort_unstable_by_key(|(_, attribute)| {
            (attribute.namespace().unwrap_or_default(), attribute.name())
        });
        for (name, attribute) in &attributes {
            self.out.push(b' ');
            self.out.extend_from_slice(name.as_bytes());
            self.value(attribute.value());
        }
        self.attributes = attributes;
        self.out.push(b'>');
    }

    fn end(&mut self, node: Node<'a, 'i>) {
        if let Some(before) = self.open.pop() {
            self.declared.truncate(before);
        }
        self.out.extend_from_slice(b"</");
        let name = xml::qualified_name(self.text, node.range().start + 1);
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'>');
    }

    /// Text, a processing instruction, or a comment, which isn't written.
    fn leaf(&mut self, node: Node<'a, 'i>) {
        match node.node_type() {
            NodeType::Text => escape(node.text().unwrap_or_default(), in_text, self.out),
            NodeType::PI => {
                let Some(instruction) = node.pi() else { return };
                self.out.extend_from_slice(b"<?");
                self.out.extend_from_slice(instruction.target.as_bytes());
                if let Some(value) = instruction.value {
                    self.out.push(b' ');
                    let carriage_return = |byte| (byte == b'\r').then_some("&#xD;");
                    escape(value, carriage_return, self.out);
                }
                self.out.extend_from_slice(b"?>");
            }
            NodeType::Comment | NodeType::Element | NodeType::Root => {}
        }
    }

    /// Declares a prefix that is used, unless what is written around it already says the same.
    fn declare(&mut self, prefix: &'a str, namespace: &'a str) {
        if prefix == "xml" {
            return; // stands for its namespace without being declared
        }
        let mut outwards = self.declared.iter().rev();
        let in_force = outwards.find(|(declared, _)| *declared == prefix).map(|found| found.1);
        let none = prefix.is_empty().then_some("");
        if in_force.or(none) != Some(namespace) {
            self.declared.push((prefix, namespace));
        }
    }

    fn value(&mut self, value: &str) {
        self.out.extend_from_slice(b"=\"");
        escape(value, in_value, self.out);
        self.out.push(b'"');
    }
}

/// Text as it is written in an element.
pub(super) fn text(text: &str) -> String {
    escaped(text, in_text)
}

/// Text as it is written between the quotes of an attribute.
pub(super) fn value(text: &str) -> String {
    escaped(text, in_value)
}

fn escaped(text: &str, reference: impl Fn(u8) -> Option<&'static str>) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match u8::try_from(c).ok().and_then(&reference) {
            Some(reference) => out.push_str(reference),
            None => out.push(c),
        }
        out
    })
}

/// Whether other namespaces are in force in an element than around it.
fn declares(node: Node<'_, '_>) -> bool {
    node.parent_element().is_none_or(|parent| !node.namespaces().eq(parent.namespaces()))
}

fn prefix(name: &str) -> &str {
    name.split_once(':').map_or("", |(prefix, _)| prefix)
}

fn in_text(byte: u8) -> Option<&'static str> {
    match byte {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'\r' => Some("&#xD;"),
        _ => None,
    }
}

fn in_value(byte: u8) -> Option<&'static str> {
    match byte {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'"' => Some("&quot;"),
        b'\t' => Some("&#x9;"),
        b'\n' => Some("&#xA;"),
        b'\r' => Some("&#xD;"),
        _ => None,
    }
}

fn escape(text: &str, reference: impl Fn(u8) -> Option<&'static str>, out: &mut Vec<u8>) {
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate() {
        if let Some(reference) = reference(byte) {
            out.extend_from_slice(&text.as_bytes()[written..at]);
            out.extend_from_slice(reference.as_bytes());
            written = at + 1;
        }
    }
    out.extend_from_slice(&text.as_bytes()[written..]);
}

#[cfg(test)]
mod tests;
