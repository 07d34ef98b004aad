//! XML as text: escapes, and edits by the qualified names of elements. An edit that finds nothing
//! to change is an error, for the case made by it would test nothing.

use std::{ops::Range, sync::Arc};

use anyhow::{Context, ensure};

/// A change to a text.
pub type Edit = Arc<dyn Fn(&str) -> anyhow::Result<String> + Send + Sync>;

/// Makes an [`Edit`].
pub fn edit(change: impl Fn(&str) -> anyhow::Result<String> + Send + Sync + 'static) -> Edit {
    Arc::new(change)
}

/// Makes an edit if there is one.
pub(crate) fn apply(edit: Option<&Edit>, text: String) -> anyhow::Result<String> {
    edit.map_or(Ok(text.clone()), |edit| edit(&text))
}

/// Text between tags, as canonical XML writes it (xml-c14n11, section 2.3).
pub fn text(value: &str) -> String {
    let value = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    value.replace('\r', "&#xD;")
}

/// The value of an attribute, as canonical XML writes it.
pub fn value(value: &str) -> String {
    let value = value.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    value.replace('\t', "&#x9;").replace('\n', "&#xA;").replace('\r', "&#xD;")
}

/// ` name="value"`, or nothing if there is no value.
pub fn attribute(name: &str, content: Option<&str>) -> String {
    content.map_or_else(String::new, |content| format!(" {name}=\"{}\"", value(content)))
}

/// Where the first element of this qualified name is.
pub fn span(document: &str, name: &str) -> anyhow::Result<Range<usize>> {
    let start = open_tag(document, name, 0).with_context(|| format!("no element {name}"))?;
    let close = format!("</{name}>");
    let (mut depth, mut at) = (0, start);
    loop {
        let tag_end = at + document[at..].find('>').context("a tag without end")? + 1;
        if document[at..].starts_with("</") {
            depth -= 1;
        } else if !document[at..tag_end].ends_with("/>") {
            depth += 1;
        }
        if depth == 0 {
            return Ok(start..tag_end);
        }
        let next_close = document[tag_end..].find(&close).map(|found| tag_end + found);
        let next_close = next_close.with_context(|| format!("no end of {name}"))?;
        let next_open = open_tag(document, name, tag_end).unwrap_or(document.len());
        at = next_close.min(next_open);
    }
}

fn open_tag(document: &str, name: &str, from: usize) -> Option<usize> {
    let tag = format!("<{name}");
    document[from..]
        .match_indices(&tag)
        .map(|(found, _)| from + found)
        .find(|found| document[found + tag.len()..].starts_with([' ', '>', '/', '\n']))
}

/// The first element of this name.
pub fn element<'a>(document: &'a str, name: &str) -> anyhow::Result<&'a str> {
    Ok(&document[span(document, name)?])
}

/// What is between its tags.
pub fn content<'a>(document: &'a str, name: &str) -> anyhow::Result<&'a str> {
    let element = element(document, name)?;
    let start = element.find('>').context("a tag without end")? + 1;
    let end = element.rfind("</").with_context(|| format!("{name} is empty"))?;
    Ok(&element[start..end])
}

/// Takes the first element of this name away.
pub fn cut(document: &str, name: &str) -> anyhow::Result<String> {
    replace(document, name, "")
}

/// Puts `new` in the place of the first element of this name.
pub fn replace(document: &str, name: &str, new: &str) -> anyhow::Result<String> {
    let span = span(document, name)?;
    Ok(format!("{}{new}{}", &document[..span.start], &document[span.end..]))
}

/// Puts `new` before the first element of this name.
pub fn before(document: &str, name: &str, new: &str) -> anyhow::Result<String> {
    let at = span(document, name)?.start;
    Ok(format!("{}{new}{}", &document[..at], &document[at..]))
}

/// Puts `new` behind the first element of this name.
pub fn behind(document: &str, name: &str, new: &str) -> anyhow::Result<String> {
    let at = span(document, name)?.end;
    Ok(format!("{}{new}{}", &document[..at], &document[at..]))
}

/// Puts `new` at the end of the first element of this name.
pub fn append(document: &str, name: &str, new: &str) -> anyhow::Result<String> {
    let span = span(document, name)?;
    let at = document[..span.end].rfind("</").with_context(|| format!("{name} is empty"))?;
    Ok(format!("{}{new}{}", &document[..at], &document[at..]))
}

/// Puts `new` at the start of the first element of this name.
pub fn prepend(document: &str, name: &str, new: &str) -> anyhow::Result<String> {
    let start = span(document, name)?.start;
    let at = start + document[start..].find('>').context("a tag without end")? + 1;
    Ok(format!("{}{new}{}", &document[..at], &document[at..]))
}

/// Puts `new` in place of the first `old`.
pub fn swap(document: &str, old: &str, new: &str) -> anyhow::Result<String> {
    ensure!(document.contains(old), "no {old:?} to change");
    Ok(document.replacen(old, new, 1))
}

/// The value of the first attribute of this name in the document's first tag.
pub fn root_attribute<'a>(document: &'a str, name: &str) -> anyhow::Result<&'a str> {
    let tag = &document[..document.find('>').context("no tag")?];
    let mark = format!(" {name}=\"");
    let start = tag.find(&mark).with_context(|| format!("no attribute {name}"))? + mark.len();
    let length = tag[start..].find('"').context("a value without end")?;
    Ok(&tag[start..start + length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_with_their_own_kind_inside() -> anyhow::Result<()> {
        let document = "<r><ab/><a x=\"1\"><a>1</a><a/><b>2</b></a><a>3</a></r>";
        assert_eq!(element(document, "a")?, "<a x=\"1\"><a>1</a><a/><b>2</b></a>");
        assert_eq!(content(document, "b")?, "2");
        assert_eq!(cut(document, "a")?, "<r><ab/><a>3</a></r>");
        assert_eq!(
            append(document, "r", "!")?,
            format!("{}!</r>", &document[..document.len() - 4])
        );
        assert_eq!(prepend("<a x=\"1\"></a>", "a", "!")?, "<a x=\"1\">!</a>");
        assert!(cut(document, "c").is_err() && swap(document, "c", "d").is_err());
        Ok(())
    }
}
