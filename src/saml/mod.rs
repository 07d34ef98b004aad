//! SAML 2.0, with us as the service provider. Here: what its documents have in common, which is how
//! they write times and name elements.
//!
//! A response is looked at in this order, and everything that doesn't belong is refused, never
//! skipped: [`xml`] reads it, one strict parse for all; [`shape`] holds it against the list of what
//! may stand where; [`signature`] checks who vouches for it, over the text that [`c14n`] makes;
//! [`encryption`] opens it; [`response`] applies the rules of the protocol and reads the
//! [`assertion`] from the very node whose digest was checked. What goes wrong is a [`refusal`].

pub mod assertion;
pub mod c14n;
mod encryption;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod metadata;
pub mod refusal;
pub mod request;
pub mod response;
pub mod service_provider;
mod shape;
pub mod signature;
mod xml;

use std::time::Duration;

use jiff::fmt::temporal::Pieces;
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Timestamp};

pub use assertion::{Assertion, Attribute, NameId};
pub use encryption::{BadKey, DecryptionKey};
pub use refusal::Refusal;
pub use response::{Expected, ServiceProvider, decode, verify};
pub use signature::TrustedIdp;

const SAML: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const SAMLP: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
const MD: &str = "urn:oasis:names:tc:SAML:2.0:metadata";
const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
const DSIG11: &str = "http://www.w3.org/2009/xmldsig11#";
const XENC: &str = "http://www.w3.org/2001/04/xmlenc#";
const XENC11: &str = "http://www.w3.org/2009/xmlenc11#";
const EXC_C14N: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";

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
