//! Responses (saml-core-2.0-os, section 3.3): what one says, as plain data, and how it is written,
//! signed and encrypted.

use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{
    ASSERTION, PROTOCOL, Person, ServiceProvider,
    encryption::Encryption,
    signature::Profile,
    xml::{self, Edit, attribute, text},
};

/// Status of a response that signs somebody in.
pub const SUCCESS: &str = "urn:oasis:names:tc:SAML:2.0:status:Success";
/// The confirmation method of the web browser profile.
pub const BEARER: &str = "urn:oasis:names:tc:SAML:2.0:cm:bearer";
/// As most identity providers have it.
const LIFETIME: SignedDuration = SignedDuration::from_mins(5);

/// A response with one assertion. What is `None` isn't written.
#[derive(Clone, Debug)]
pub struct Response {
    pub id: String,
    pub issued: Timestamp,
    pub destination: Option<String>,
    pub in_response_to: Option<String>,
    pub issuer: Option<String>,
    pub status: String,
    pub assertion: Assertion,
}

/// What an assertion says.
#[derive(Clone, Debug)]
pub struct Assertion {
    pub id: String,
    pub issued: Timestamp,
    pub issuer: String,
    pub person: Person,
    pub confirmation: Confirmation,
    pub not_before: Option<Timestamp>,
    pub not_on_or_after: Option<Timestamp>,
    /// One restriction for each list.
    pub audiences: Vec<Vec<String>>,
    pub session_not_on_or_after: Option<Timestamp>,
}

/// The one SubjectConfirmation.
#[derive(Clone, Debug)]
pub struct Confirmation {
    pub method: String,
    pub in_response_to: Option<String>,
    pub not_before: Option<Timestamp>,
    pub not_on_or_after: Option<Timestamp>,
    pub recipient: Option<String>,
}

/// A time as SAML writes it, in whole seconds.
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// An ID that was never used before.
pub fn new_id() -> String {
    format!("_{}", Uuid::new_v4().simple())
}

impl Response {
    /// A good one that answers no request, from the identity provider `issuer`, for five minutes.
    pub fn new(issuer: &str, sp: &ServiceProvider, person: &Person, now: Timestamp) -> Self {
        Self {
            id: new_id(),
            issued: now,
            destination: Some(sp.acs.clone()),
            in_response_to: None,
            issuer: Some(issuer.to_owned()),
            status: SUCCESS.to_owned(),
            assertion: Assertion {
                id: new_id(),
                issued: now,
                issuer: issuer.to_owned(),
                person: person.clone(),
                confirmation: Confirmation {
                    method: BEARER.to_owned(),
                    in_response_to: None,
                    not_before: None,
                    not_on_or_after: Some(now + LIFETIME),
                    recipient: Some(sp.acs.clone()),
                },
                not_before: Some(now - SignedDuration::from_secs(30)),
                not_on_or_after: Some(now + LIFETIME),
                audiences: vec![vec![sp.entity_id.clone()]],
                session_not_on_or_after: Some(now + SignedDuration::from_hours(8)),
            },
        }
    }

    /// The same as an answer to a request.
    #[must_use]
    pub fn answering(mut self, request: &str) -> Self {
        self.in_response_to = Some(request.to_owned());
        self.assertion.confirmation.in_response_to = Some(request.to_owned());
        self
    }

    /// Its text, unsigned, around the text of an assertion.
    pub fn around(&self, assertion: &str) -> String {
        let issuer = self.issuer.as_ref().map_or_else(String::new, |issuer| {
            format!("<saml:Issuer xmlns:saml=\"{ASSERTION}\">{}</saml:Issuer>", text(issuer))
        });
        format!(
            "<samlp:Response xmlns:samlp=\"{PROTOCOL}\"{}{}{}{} Version=\"2.0\">{issuer}\
             <samlp:Status><samlp:StatusCode{}></samlp:StatusCode></samlp:Status>\
             {assertion}</samlp:Response>",
            attribute("Destination", self.destination.as_deref()),
            attribute("ID", Some(&self.id)),
            attribute("InResponseTo", self.in_response_to.as_deref()),
            attribute("IssueInstant", Some(&time(self.issued))),
            attribute("Value", Some(&self.status)),
        )
    }
}

impl Assertion {
    /// Its text, unsigned.
    pub fn xml(&self) -> String {
        format!(
            "<saml:Assertion xmlns:saml=\"{ASSERTION}\"{}{} Version=\"2.0\">\
             <saml:Issuer>{}</saml:Issuer>{}{}{}{}</saml:Assertion>",
            attribute("ID", Some(&self.id)),
            attribute("IssueInstant", Some(&time(self.issued))),
            text(&self.issuer),
            self.subject(),
            self.conditions(),
            self.statement(),
            self.attributes(),
        )
    }

    fn subject(&self) -> String {
        let format = Some(self.person.format.as_str()).filter(|format| !format.is_empty());
        let confirmation = &self.confirmation;
        let instant = |at: Option<Timestamp>| at.map(time);
        format!(
            "<saml:Subject><saml:NameID{}>{}</saml:NameID><saml:SubjectConfirmation{}>\
             <saml:SubjectConfirmationData{}{}{}{}></saml:SubjectConfirmationData>\
             </saml:SubjectConfirmation></saml:Subject>",
            attribute("Format", format),
            text(&self.person.name_id),
            attribute("Method", Some(&confirmation.method)),
            attribute("InResponseTo", confirmation.in_response_to.as_deref()),
            attribute("NotBefore", instant(confirmation.not_before).as_deref()),
            attribute("NotOnOrAfter", instant(confirmation.not_on_or_after).as_deref()),
            attribute("Recipient", confirmation.recipient.as_deref()),
        )
    }

    fn conditions(&self) -> String {
        let mut restrictions = String::new();
        for audiences in &self.audiences {
            restrictions.push_str("<saml:AudienceRestriction>");
            for audience in audiences {
                // Writing to a String can't fail.
                let _ = write!(restrictions, "<saml:Audience>{}</saml:Audience>", text(audience));
            }
            restrictions.push_str("</saml:AudienceRestriction>");
        }
        format!(
            "<saml:Conditions{}{}>{restrictions}</saml:Conditions>",
            attribute("NotBefore", self.not_before.map(time).as_deref()),
            attribute("NotOnOrAfter", self.not_on_or_after.map(time).as_deref()),
        )
    }

    fn statement(&self) -> String {
        format!(
            "<saml:AuthnStatement{}{}{}><saml:AuthnContext><saml:AuthnContextClassRef>\
             urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport\
             </saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>",
            attribute("AuthnInstant", Some(&time(self.issued))),
            attribute("SessionIndex", Some(&self.id)),
            attribute("SessionNotOnOrAfter", self.session_not_on_or_after.map(time).as_deref()),
        )
    }

    fn attributes(&self) -> String {
        if self.person.attributes.is_empty() {
            return String::new();
        }
        let mut written = String::from("<saml:AttributeStatement>");
        for one in &self.person.attributes {
            let format = Some(one.name_format.as_str()).filter(|format| !format.is_empty());
            written.push_str("<saml:Attribute");
            written.push_str(&attribute("Name", Some(&one.name)));
            written.push_str(&attribute("NameFormat", format));
            written.push('>');
            for value in &one.values {
                // Writing to a String can't fail.
                let _ =
                    write!(written, "<saml:AttributeValue>{}</saml:AttributeValue>", text(value));
            }
            written.push_str("</saml:Attribute>");
        }
        written + "</saml:AttributeStatement>"
    }
}

/// How a response is signed and encrypted, with hooks between the steps. Where an edit comes before
/// a signature, it must leave the canonical form.
#[derive(Clone, Default)]
pub struct Sealing {
    pub assertion: Option<Profile>,
    pub encryption: Option<Encryption>,
    pub response: Option<Profile>,
    /// Changes the assertion before it is signed.
    pub plain_assertion: Option<Edit>,
    /// Changes it afterwards, before it is encrypted.
    pub signed_assertion: Option<Edit>,
    /// Changes the response before it is signed.
    pub plain_response: Option<Edit>,
    /// Changes it afterwards.
    pub signed_response: Option<Edit>,
}

impl Sealing {
    /// The document of a response.
    ///
    /// # Errors
    /// If an edit fails, or a key doesn't fit.
    pub fn seal(&self, response: &Response) -> anyhow::Result<String> {
        let mut assertion = xml::apply(self.plain_assertion.as_ref(), response.assertion.xml())?;
        if let Some(profile) = &self.assertion {
            assertion = profile.sign(&assertion)?;
        }
        assertion = xml::apply(self.signed_assertion.as_ref(), assertion)?;
        if let Some(encryption) = &self.encryption {
            assertion = encryption.encrypt(&assertion)?;
        }
        let mut document = xml::apply(self.plain_response.as_ref(), response.around(&assertion))?;
        if let Some(profile) = &self.response {
            document = profile.sign(&document)?;
        }
        xml::apply(self.signed_response.as_ref(), document)
    }
}
