//! Whether a response signs somebody in (saml-profiles-2.0-os, section 4.1.4): the rules, in the
//! order in which they are applied. Nothing is read of an assertion before its digest was checked.

use std::borrow::Cow;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use jiff::Timestamp;
use roxmltree::Node;

use super::assertion::{self, Assertion, Validity};
use super::encryption::{self, DecryptionKey};
use super::refusal::{called, quoted, shown};
use super::shape::{self, Ids};
use super::signature::{self, TrustedIdp, required};
use super::xml::{self, attribute, children, content};
use super::{DS, Refusal, SAML, SAMLP, timestamp};

/// How far the identity provider's clock may be from ours, unless a setting says otherwise.
pub const SKEW: Duration = Duration::from_secs(60);

const BEARER: &str = "urn:oasis:names:tc:SAML:2.0:cm:bearer";
const STATUS: &str = "urn:oasis:names:tc:SAML:2.0:status:";

/// Us, as one identity provider knows us.
#[derive(Clone, Copy)]
pub struct ServiceProvider<'a> {
    /// What an assertion's audience must be.
    pub entity_id: &'a str,
    /// Where responses must be meant for.
    pub acs_url: &'a str,
    /// Any of them may decrypt an assertion; none, and encrypted ones are refused.
    pub decryption_keys: &'a [DecryptionKey],
}

/// What a response is held against.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    pub idp: &'a TrustedIdp,
    pub sp: ServiceProvider<'a>,
    /// The ID of our AuthnRequest that it must answer. `None`: it must answer none, being the
    /// identity provider's own idea.
    pub request: Option<&'a str>,
    pub now: Timestamp,
    /// How far the two clocks may be apart: [`SKEW`], if nobody chose another.
    pub skew: Duration,
}

/// The XML of the field `SAMLResponse` (saml-bindings-2.0-os, section 3.5.4): base64, in which white
/// space is allowed.
///
/// # Errors
/// It is something else, or larger than a response may be.
pub fn decode(base64: &str) -> Result<Vec<u8>, Refusal> {
    let limit = xml::RESPONSE.bytes;
    if base64.len() > 2 * limit {
        return Err(Refusal::TooLarge { found: base64.len(), limit: 2 * limit });
    }
    let mut compact = base64.as_bytes().to_vec();
    compact.retain(|b| !b.is_ascii_whitespace());
    let response = BASE64_STANDARD.decode(compact).map_err(|_| Refusal::NotBase64)?;
    if response.len() > limit {
        return Err(Refusal::TooLarge { found: response.len(), limit });
    }
    Ok(response)
}

/// The assertion of a response that holds to every rule. `response` is its XML.
///
/// That an assertion is presented only once is for the caller to see to: issuer and ID are
/// remembered until [`Assertion::expires_at`].
///
/// # Errors
/// The first rule that is broken.
pub fn verify(response: &[u8], expected: &Expected<'_>) -> Result<Assertion, Refusal> {
    let mut ids = Ids::default();
    let mut buffer = vec![];
    let text = text(response)?;
    let document = xml::document(&text, &xml::RESPONSE)?;
    let response = document.root_element();
    shape::check(response, &shape::RESPONSE, &mut ids)?;

    header(response)?;
    status(response)?;
    let signed = issued_and_signed(response, expected, &mut buffer)?;
    destination(response, expected, signed)?;
    in_response_to(response, expected)?;

    let plain: Vec<_> = children(response, (SAML, "Assertion")).collect();
    let encrypted: Vec<_> = children(response, (SAML, "EncryptedAssertion")).collect();
    match (&plain[..], &encrypted[..]) {
        ([assertion], []) => {
            let trusted = Trusted::new(*assertion, signed, expected, &mut buffer)?;
            admitted(trusted, expected)
        }
        ([], [encrypted]) => {
            let plain = encryption::decrypt(*encrypted, expected.sp.decryption_keys, signed)?;
            let text = self::text(&plain.bytes).map_err(|refusal| plain.refuse(refusal))?;
            let document =
                xml::document(&text, &xml::RESPONSE).map_err(|error| plain.refuse(error))?;
            let assertion = document.root_element();
            let trusted = shape::check(assertion, &shape::ASSERTION, &mut ids)
                .and_then(|()| Trusted::new(assertion, signed, expected, &mut buffer))
                .map_err(|refusal| plain.refuse(refusal))?;
            admitted(trusted, expected)
        }
        _ => Err(Refusal::NotOneAssertion { found: plain.len() + encrypted.len() }),
    }
}

fn text(bytes: &[u8]) -> Result<Cow<'_, str>, Refusal> {
    let text = xml::text(bytes)?;
    if xml::declares_other_encoding(&text) { Err(Refusal::NotUtf8) } else { Ok(text) }
}

/// The Assertion whose digest, or that of the Response around it, was checked.
struct Trusted<'a, 'i>(Node<'a, 'i>);

impl<'a, 'i> Trusted<'a, 'i> {
    fn new(
        assertion: Node<'a, 'i>,
        in_signed_response: bool,
        expected: &Expected<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<Self, Refusal> {
        header(assertion)?;
        let signed = issued_and_signed(assertion, expected, buffer)?;
        if signed || in_signed_response { Ok(Self(assertion)) } else { Err(Refusal::Unsigned) }
    }
}

/// What a Response and an Assertion both begin with.
fn header(node: Node<'_, '_>) -> Result<(), Refusal> {
    let version = required(node, "Version")?;
    if version != "2.0" {
        return Err(Refusal::WrongVersion { element: called(node), found: shown(version) });
    }
    required(node, "ID")?;
    time(node, "IssueInstant")?;
    Ok(())
}

fn status(response: Node<'_, '_>) -> Result<(), Refusal> {
    let Some(status) = children(response, (SAMLP, "Status")).next() else { return Ok(()) };
    let mut codes = vec![];
    let mut node = status;
    while let Some(code) = children(node, (SAMLP, "StatusCode")).next() {
        codes.push(required(code, "Value")?.trim_ascii());
        node = code;
    }
    if codes.first().and_then(|code| code.strip_prefix(STATUS)) == Some("Success") {
        return Ok(());
    }
    let short = |code: &&str| shown(code.strip_prefix(STATUS).unwrap_or(code));
    let codes: Vec<_> = codes.iter().map(short).collect();
    let message = children(status, (SAMLP, "StatusMessage")).next().and_then(content);
    Err(Refusal::StatusNotSuccess {
        codes: format!("{}", codes.join(" / ").escape_debug()),
        message: message.map(|message| format!(": {:?}", shown(&message))).unwrap_or_default(),
    })
}

/// Who issued it, and whether it is signed. That the issuer is looked at first only makes for a
/// better error: nothing is believed of what isn't signed.
fn issued_and_signed(
    node: Node<'_, '_>,
    expected: &Expected<'_>,
    buffer: &mut Vec<u8>,
) -> Result<bool, Refusal> {
    if let Some(issuer) = children(node, (SAML, "Issuer")).next() {
        let issuer = content(issuer).unwrap_or_default();
        if issuer != expected.idp.entity_id {
            return Err(Refusal::WrongIssuer {
                element: called(node),
                expected: expected.idp.entity_id.clone(),
                found: shown(&issuer),
            });
        }
    }
    let Some(signature) = children(node, (DS, "Signature")).next() else { return Ok(false) };
    signature::verify(signature, node, expected.idp, expected.now, buffer)?;
    Ok(true)
}

/// saml-bindings-2.0-os, section 3.5.5.2: a signed message must say where it was meant for.
fn destination(
    response: Node<'_, '_>,
    expected: &Expected<'_>,
    signed: bool,
) -> Result<(), Refusal> {
    match attribute(response, "Destination") {
        None if !signed => Ok(()),
        found => is_acs("the Destination of samlp:Response", found, expected),
    }
}

fn is_acs(what: &'static str, found: Option<&str>, expected: &Expected<'_>) -> Result<(), Refusal> {
    if found.map(str::trim_ascii) == Some(expected.sp.acs_url) {
        return Ok(());
    }
    let expected = expected.sp.acs_url.to_owned();
    Err(Refusal::WrongRecipient { what, expected, found: quoted(found) })
}

fn in_response_to(node: Node<'_, '_>, expected: &Expected<'_>) -> Result<(), Refusal> {
    match (expected.request, attribute(node, "InResponseTo")) {
        (None, None) => Ok(()),
        (Some(request), Some(found)) if request == found => Ok(()),
        (Some(request), found) => Err(Refusal::WrongRequest {
            element: called(node),
            expected: request.to_owned(),
            found: quoted(found),
        }),
        (None, Some(found)) => {
            Err(Refusal::NoSuchRequest { element: called(node), found: shown(found) })
        }
    }
}

/// What an assertion says, if it says so now, to us, and of whoever brought it.
fn admitted(
    Trusted(assertion): Trusted<'_, '_>,
    expected: &Expected<'_>,
) -> Result<Assertion, Refusal> {
    let conditions = child(assertion, "Conditions")?;
    not_before("NotBefore of saml:Conditions", time_of(conditions, "NotBefore")?, expected)?;
    let until = time_of(conditions, "NotOnOrAfter")?;
    not_on_or_after("NotOnOrAfter of saml:Conditions", until, expected)?;
    audience(conditions, expected)?;

    let confirmed_until = confirmed(child(assertion, "Subject")?, expected)?;
    let mut session_until = None;
    let statements: Vec<_> = children(assertion, (SAML, "AuthnStatement")).collect();
    let Some(statement) = statements.first() else {
        return Err(Refusal::MissingElement {
            element: "saml:AuthnStatement".into(),
            within: called(assertion),
        });
    };
    for statement in &statements {
        time(*statement, "AuthnInstant")?;
        let until = time_of(*statement, "SessionNotOnOrAfter")?;
        not_on_or_after("SessionNotOnOrAfter of saml:AuthnStatement", until, expected)?;
        session_until = session_until.into_iter().chain(until).min();
    }

    let last = until.into_iter().chain(session_until).fold(confirmed_until, Timestamp::min);
    assertion::read(
        assertion,
        expected.sp.entity_id,
        Validity {
            authn_instant: time(*statement, "AuthnInstant")?,
            session_index: attribute(*statement, "SessionIndex").map(str::to_owned),
            session_expires_at: session_until,
            expires_at: last.checked_add(expected.skew).unwrap_or(Timestamp::MAX),
        },
    )
}

/// Each AudienceRestriction must name us, and there must be one (saml-core-2.0-os, section
/// 2.5.1.4; saml-profiles-2.0-os, section 4.1.4.2).
fn audience(conditions: Node<'_, '_>, expected: &Expected<'_>) -> Result<(), Refusal> {
    let mut restrictions = children(conditions, (SAML, "AudienceRestriction")).peekable();
    if restrictions.peek().is_none() {
        return Err(Refusal::MissingElement {
            element: "saml:AudienceRestriction".into(),
            within: called(conditions),
        });
    }
    for restriction in restrictions {
        let audiences = children(restriction, (SAML, "Audience")).filter_map(content);
        let audiences: Vec<_> =
            audiences.map(|audience| audience.trim_ascii().to_owned()).collect();
        if !audiences.iter().any(|audience| audience == expected.sp.entity_id) {
            return Err(Refusal::WrongAudience {
                expected: expected.sp.entity_id.to_owned(),
                found: shown(&format!("{audiences:?}")),
            });
        }
    }
    Ok(())
}

/// Whoever brought the assertion must be its subject: one bearer confirmation is enough
/// (saml-profiles-2.0-os, section 4.1.4.2). The first error, if none is good.
///
/// Until when one of them could be good, the others too: those are for other requests of ours.
fn confirmed(subject: Node<'_, '_>, expected: &Expected<'_>) -> Result<Timestamp, Refusal> {
    let mut good = None;
    let mut error = None;
    let mut latest = None;
    for confirmation in children(subject, (SAML, "SubjectConfirmation")) {
        if attribute(confirmation, "Method").map(str::trim_ascii) != Some(BEARER) {
            continue;
        }
        match bearer(confirmation, expected) {
            Ok(()) => good = Some(()),
            Err(refusal) => error = error.or(Some(refusal)),
        }
        for data in children(confirmation, (SAML, "SubjectConfirmationData")) {
            latest = latest.max(time_of(data, "NotOnOrAfter")?);
        }
    }
    match (good, latest) {
        (Some(()), Some(latest)) => Ok(latest),
        _ => Err(error.unwrap_or(Refusal::NotBearer)),
    }
}

fn bearer(confirmation: Node<'_, '_>, expected: &Expected<'_>) -> Result<(), Refusal> {
    let data = child(confirmation, "SubjectConfirmationData")?;
    if attribute(data, "NotBefore").is_some() {
        return Err(Refusal::UnexpectedAttribute {
            attribute: "NotBefore".into(),
            element: called(data),
        });
    }
    let recipient = attribute(data, "Recipient");
    is_acs("the Recipient of saml:SubjectConfirmationData", recipient, expected)?;
    in_response_to(data, expected)?;
    let until = time(data, "NotOnOrAfter")?;
    not_on_or_after("NotOnOrAfter of saml:SubjectConfirmationData", Some(until), expected)
}

fn not_before(
    what: &'static str,
    at: Option<Timestamp>,
    expected: &Expected<'_>,
) -> Result<(), Refusal> {
    let now = expected.now;
    let latest = now.checked_add(expected.skew).unwrap_or(Timestamp::MAX);
    match at {
        Some(at) if at > latest => Err(Refusal::TooEarly { what, at, now }),
        _ => Ok(()),
    }
}

fn not_on_or_after(
    what: &'static str,
    at: Option<Timestamp>,
    expected: &Expected<'_>,
) -> Result<(), Refusal> {
    let now = expected.now;
    let earliest = now.checked_sub(expected.skew).unwrap_or(Timestamp::MIN);
    match at {
        Some(at) if at <= earliest => Err(Refusal::TooLate { what, at, now }),
        _ => Ok(()),
    }
}

/// The time that an attribute says, which must be there.
fn time(node: Node<'_, '_>, name: &'static str) -> Result<Timestamp, Refusal> {
    let text = required(node, name)?;
    timestamp(text).ok_or_else(|| Refusal::BadTime {
        attribute: name,
        element: called(node),
        found: shown(text),
    })
}

fn time_of(node: Node<'_, '_>, name: &'static str) -> Result<Option<Timestamp>, Refusal> {
    attribute(node, name).map(|_| time(node, name)).transpose()
}

/// A child that an accepted shape has, or may have.
fn child<'a, 'i: 'a>(node: Node<'a, 'i>, name: &'static str) -> Result<Node<'a, 'i>, Refusal> {
    children(node, (SAML, name)).next().ok_or_else(|| Refusal::MissingElement {
        element: format!("saml:{name}"),
        within: called(node),
    })
}

#[cfg(test)]
mod tests;
