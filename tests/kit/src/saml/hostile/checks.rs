//! Responses properly signed that say what isn't acceptable, or leave out what must be said.

use anyhow::bail;
use jiff::SignedDuration;

use super::{Cases, Mode, Shape, TextChange, Words};
use crate::saml::{
    ASSERTION, TRANSIENT,
    response::Response,
    xml::{append, before, behind, cut, edit, prepend, swap},
};

/// Longer than any clock skew.
const AGO: SignedDuration = SignedDuration::from_mins(10);
const ELSEWHERE: &str = "https://elsewhere.example/acs";

type Change = fn(&mut Response);

pub(super) fn add(cases: &mut Cases<'_>) -> anyhow::Result<()> {
    for shape in Shape::all() {
        for (name, refusal, change) in said() {
            let mut response = cases.parties.response(Mode::Unsolicited);
            change(&mut response);
            let sealing = cases.parties.sealing(shape);
            cases.add_response(name, shape, refusal, &sealing, &response, Mode::Unsolicited)?;
        }
        if shape.response_signed() {
            // a signed message must say where it is for (saml-bindings-2.0-os, section 3.5.5.2)
            let mut response = cases.parties.response(Mode::Unsolicited);
            response.destination = None;
            let (sealing, words) = (cases.parties.sealing(shape), &["destination"] as Words);
            let (name, mode) = ("no destination", Mode::Unsolicited);
            cases.add_response(name, shape, words, &sealing, &response, mode)?;
        }
        for (name, refusal, change) in answered() {
            let mut response = cases.parties.response(Mode::Answer);
            change(&mut response);
            let sealing = cases.parties.sealing(shape);
            cases.add_response(name, shape, refusal, &sealing, &response, Mode::Answer)?;
        }
        for (name, refusal, change) in written() {
            let mut sealing = cases.parties.sealing(shape);
            sealing.plain_assertion = Some(edit(change));
            cases.add(name, shape, refusal, &sealing)?;
        }
        for (name, refusal, change) in around() {
            let mut sealing = cases.parties.sealing(shape);
            sealing.plain_response = Some(edit(change));
            cases.add(name, shape, refusal, &sealing)?;
        }
    }
    Ok(())
}

/// What is wrong with what is said.
fn said() -> Vec<(&'static str, Words, Change)> {
    vec![
        ("the assertion of another issuer", &["issuer"], |r| {
            r.assertion.issuer = "https://idp.other.example/entity".into();
        }),
        ("the response of another issuer", &["issuer"], |r| {
            r.issuer = Some("https://idp.other.example/entity".into());
        }),
        ("both of another issuer", &["issuer"], |r| {
            r.assertion.issuer = "https://idp.other.example/entity".into();
            r.issuer = Some(r.assertion.issuer.clone());
        }),
        ("an issuer in another case", &["issuer"], |r| {
            r.assertion.issuer = r.assertion.issuer.to_uppercase();
        }),
        ("an empty issuer", &["issuer"], |r| r.assertion.issuer.clear()),
        ("a failed sign-in", &["refused"], |r| {
            r.status = "urn:oasis:names:tc:SAML:2.0:status:Responder".into();
        }),
        ("an unknown status", &["refused", "status"], |r| r.status = "Success".into()),
        ("another destination", &["destination"], |r| r.destination = Some(ELSEWHERE.into())),
        ("a destination that ours begins", &["destination"], |r| {
            r.destination = r.destination.as_ref().map(|acs| format!("{acs}.example"));
        }),
        ("another recipient", &["recipient"], |r| {
            r.assertion.confirmation.recipient = Some(ELSEWHERE.into());
        }),
        ("no recipient", &["recipient"], |r| r.assertion.confirmation.recipient = None),
        ("an empty recipient", &["recipient"], |r| {
            r.assertion.confirmation.recipient = Some(String::new());
        }),
        ("a response to what nobody asked", &["request"], |r| {
            r.in_response_to = Some("_never".into());
        }),
        ("a confirmation of what nobody asked", &["request"], |r| {
            r.assertion.confirmation.in_response_to = Some("_never".into());
        }),
        ("no audience", &["audience"], |r| r.assertion.audiences.clear()),
        ("an audience restriction without audience", &["audience"], |r| {
            r.assertion.audiences = vec![vec![]];
        }),
        ("another audience", &["audience"], |r| {
            r.assertion.audiences = vec![vec!["https://elsewhere.example/".into()]];
        }),
        ("an audience that ours begins", &["audience"], |r| {
            r.assertion.audiences[0][0].push_str(".example");
        }),
        ("a second restriction to another audience", &["audience"], |r| {
            r.assertion.audiences.push(vec!["https://elsewhere.example/".into()]);
        }),
        ("a first restriction to another audience", &["audience"], |r| {
            r.assertion.audiences.insert(0, vec!["https://elsewhere.example/".into()]);
        }),
        ("conditions that have expired", &["too late"], |r| {
            r.assertion.not_on_or_after = Some(r.issued - AGO);
        }),
        ("conditions for later", &["too early"], |r| {
            r.assertion.not_before = Some(r.issued + AGO);
        }),
        ("holder-of-key", &["bearer"], |r| {
            r.assertion.confirmation.method = "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key".into();
        }),
        ("sender-vouches", &["bearer"], |r| {
            r.assertion.confirmation.method =
                "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches".into();
        }),
        ("a confirmation without end", &["notonorafter"], |r| {
            r.assertion.confirmation.not_on_or_after = None;
        }),
        ("a confirmation that has expired", &["too late"], |r| {
            r.assertion.confirmation.not_on_or_after = Some(r.issued - AGO);
        }),
        ("a confirmation with NotBefore", &["notbefore"], |r| {
            r.assertion.confirmation.not_before = Some(r.issued - AGO);
        }),
        ("a session that has ended", &["sessionnotonorafter", "session"], |r| {
            r.assertion.session_not_on_or_after = Some(r.issued - AGO);
        }),
        ("a transient NameID", &["transient"], |r| r.assertion.person.format = TRANSIENT.into()),
        ("an empty NameID", &["nameid"], |r| r.assertion.person.name_id.clear()),
        ("a NameID of white space", &["nameid"], |r| r.assertion.person.name_id = " ".into()),
        ("a NameID of two lines", &["nameid"], |r| {
            r.assertion.person.name_id = "ada@acme.example\nadmin@acme.example".into();
        }),
        ("a NameID of 100 KB", &["nameid", "bytes"], |r| {
            r.assertion.person.name_id = "a".repeat(100_000);
        }),
        ("one ID for response and assertion", &["more than once"], |r| {
            r.assertion.id = r.id.clone();
        }),
        ("an ID that isn't one", &["the id"], |r| r.assertion.id = "a b".into()),
        ("an empty ID", &["the id"], |r| r.assertion.id.clear()),
    ]
}

/// What is wrong with an answer.
fn answered() -> Vec<(&'static str, Words, Change)> {
    vec![
        ("an answer to another request", &["request"], |r| *r = r.clone().answering("_other")),
        ("a response to another request", &["request"], |r| {
            r.in_response_to = Some("_other".into());
        }),
        ("a confirmation of another request", &["request"], |r| {
            r.assertion.confirmation.in_response_to = Some("_other".into());
        }),
        ("a response to no request", &["request"], |r| r.in_response_to = None),
        ("a confirmation of no request", &["request"], |r| {
            r.assertion.confirmation.in_response_to = None;
        }),
        ("an answer to nothing", &["request"], |r| {
            r.in_response_to = None;
            r.assertion.confirmation.in_response_to = None;
        }),
    ]
}

/// What is wrong with how the assertion is written.
fn written() -> Vec<(&'static str, Words, TextChange)> {
    vec![
        ("no issuer of the assertion", &["issuer"], |a| cut(a, "saml:Issuer")),
        ("no subject", &["subject"], |a| cut(a, "saml:Subject")),
        ("no NameID", &["nameid"], |a| cut(a, "saml:NameID")),
        ("two NameIDs", &["nameid"], |a| {
            behind(a, "saml:NameID", "<saml:NameID>admin@acme.example</saml:NameID>")
        }),
        ("two subjects", &["subject"], |a| {
            let other =
                "<saml:Subject><saml:NameID>admin@acme.example</saml:NameID></saml:Subject>";
            behind(a, "saml:Subject", other)
        }),
        ("a BaseID", &["baseid"], |a| before(a, "saml:NameID", "<saml:BaseID></saml:BaseID>")),
        ("an EncryptedID", &["encryptedid"], |a| {
            before(a, "saml:NameID", "<saml:EncryptedID></saml:EncryptedID>")
        }),
        ("an EncryptedAttribute", &["encryptedattribute"], |a| {
            let encrypted = "<saml:EncryptedAttribute></saml:EncryptedAttribute>";
            append(a, "saml:AttributeStatement", encrypted)
        }),
        ("an element in the NameID", &["nameid"], |a| {
            prepend(a, "saml:NameID", "<saml:Issuer></saml:Issuer>")
        }),
        ("no confirmation", &["subjectconfirmation"], |a| cut(a, "saml:SubjectConfirmation")),
        ("a confirmation without data", &["subjectconfirmationdata"], |a| {
            cut(a, "saml:SubjectConfirmationData")
        }),
        ("no conditions", &["conditions"], |a| cut(a, "saml:Conditions")),
        ("two conditions", &["conditions"], |a| {
            behind(a, "saml:Conditions", "<saml:Conditions></saml:Conditions>")
        }),
        ("an unknown condition of SAML's type", &["condition"], |a| {
            let condition = "<saml:Condition xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
                             xsi:type=\"Delegation\"></saml:Condition>";
            append(a, "saml:Conditions", condition)
        }),
        ("an unknown condition", &["condition"], |a| {
            append(a, "saml:Conditions", "<saml:OnTuesdays></saml:OnTuesdays>")
        }),
        ("a condition of another namespace", &["condition"], |a| {
            append(a, "saml:Conditions", "<x:Only xmlns:x=\"urn:example\"></x:Only>")
        }),
        ("no AuthnStatement", &["authnstatement"], |a| cut(a, "saml:AuthnStatement")),
        ("an authorization decision", &["authzdecisionstatement"], |a| {
            let decision = "<saml:AuthzDecisionStatement></saml:AuthzDecisionStatement>";
            append(a, "saml:Assertion", decision)
        }),
        ("version 1.1 of the assertion", &["version"], |a| {
            swap(a, " Version=\"2.0\"", " Version=\"1.1\"")
        }),
        ("no version of the assertion", &["version"], |a| swap(a, " Version=\"2.0\"", "")),
        ("a time that is none", &["date and time"], |a| {
            swap(a, " NotOnOrAfter=\"2", " NotOnOrAfter=\"x")
        }),
        ("text in the assertion", &["text"], |a| append(a, "saml:Assertion", "and more")),
        ("text in the conditions", &["text"], |a| append(a, "saml:Conditions", "and more")),
        ("an unknown attribute of the assertion", &["attribute"], |a| {
            swap(a, " Version=\"2.0\"", " Version=\"2.0\" Width=\"2\"")
        }),
        ("an unknown element of the assertion", &["isn't accepted"], |a| {
            append(a, "saml:Assertion", "<x:More xmlns:x=\"urn:example\"></x:More>")
        }),
        ("an element twice removed from its namespace", &["nameid"], |a| {
            // same local name, another namespace: it must not stand in for SAML's own
            let (open, close) = ("<saml:NameID", "</saml:NameID>");
            let foreign = swap(a, open, "<x:NameID xmlns:x=\"urn:example\"")?;
            swap(&foreign, close, "</x:NameID>")
        }),
        ("a NameID without namespace", &["nameid"], |a| {
            let bare = swap(a, "<saml:NameID", "<NameID")?;
            swap(&bare, "</saml:NameID>", "</NameID>")
        }),
        ("a Format of another namespace", &["attribute", "transient"], |a| {
            // the bare attribute says transient, the one that a careless look finds doesn't
            let Some((head, tail)) = a.split_once("<saml:NameID Format=\"") else {
                bail!("no Format")
            };
            let Some((format, tail)) = tail.split_once('"') else { bail!("no Format") };
            Ok(format!(
                "{head}<saml:NameID xmlns:x=\"urn:example\" Format=\"{TRANSIENT}\" \
                 x:Format=\"{format}\"{tail}"
            ))
        }),
    ]
}

/// What is wrong with the response around the assertion.
fn around() -> Vec<(&'static str, Words, TextChange)> {
    vec![
        ("no status", &["status"], |r| cut(r, "samlp:Status")),
        ("no status code", &["statuscode"], |r| cut(r, "samlp:StatusCode")),
        ("a second status", &["status"], |r| {
            let failed = "<samlp:Status><samlp:StatusCode Value=\"urn:oasis:names:tc:SAML:2.0:\
                          status:Responder\"></samlp:StatusCode></samlp:Status>";
            behind(r, "samlp:Status", failed)
        }),
        ("version 1.1 of the response", &["version"], |r| {
            swap(r, " Version=\"2.0\"", " Version=\"1.1\"")
        }),
        ("no time of the response", &["issueinstant"], |r| {
            let Some((head, tail)) = r.split_once(" IssueInstant=\"") else { bail!("no time") };
            let Some((_, tail)) = tail.split_once('"') else { bail!("no time") };
            Ok(format!("{head}{tail}"))
        }),
        ("text in the response", &["text"], |r| append(r, "samlp:Response", "and more")),
        ("an unknown element of the response", &["isn't accepted"], |r| {
            append(r, "samlp:Response", "<x:More xmlns:x=\"urn:example\"></x:More>")
        }),
        ("an unknown attribute of the response", &["attribute"], |r| {
            swap(r, " Version=\"2.0\"", " Version=\"2.0\" Width=\"2\"")
        }),
        ("no assertion", &["one assertion"], |r| {
            cut(r, "saml:EncryptedAssertion").or_else(|_| cut(r, "saml:Assertion"))
        }),
        ("an issuer inside the issuer", &["isn't accepted", "issuer"], |r| {
            let issuer = "<saml:Issuer xmlns:saml=\"";
            let wrapped =
                swap(r, issuer, &format!("<saml:Issuer xmlns:saml=\"{ASSERTION}\">{issuer}"))?;
            swap(&wrapped, "</saml:Issuer>", "</saml:Issuer></saml:Issuer>")
        }),
    ]
}
