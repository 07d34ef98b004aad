use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::*;
use crate::saml::fixtures::*;

fn check(xml: &str) -> Result<Assertion, Refusal> {
    let idp = trusted(&[&KEY.certificate]);
    let keys = [DecryptionKey::new(&OTHER_KEY.pkcs8).unwrap()];
    verify(xml.as_bytes(), &expected(&idp, &keys))
}

/// What is changed, in what is signed then, and the refusal it leads to: its name, and a part of
/// what it says.
type Case<'a> = (&'a str, &'a str, &'a str, &'a str);

/// Each case is refused for its own reason, whatever was signed.
fn refused(cases: &[Case<'_>]) {
    for (from, to, name, says) in cases {
        for signed in ALL_WAYS {
            let xml = edited(signed, |xml| {
                assert!(xml.contains(from), "{from} isn't there to be changed");
                xml.replacen(from, to, 1)
            });
            let refusal = check(&xml).expect_err(to);
            assert_eq!(refusal.name(), *name, "{signed:?} {to}: {refusal}");
            assert!(refusal.to_string().contains(says), "{signed:?} {to}: {refusal}");
        }
    }
}

#[test]
fn a_good_response_says_who_it_is() {
    for signed in ALL_WAYS {
        let assertion = check(&good(signed)).unwrap();
        assert_eq!((assertion.id.as_str(), assertion.issuer.as_str()), ("_a", IDP));
        assert_eq!(assertion.name_id.value, "ada@acme.com");
        assert_eq!(assertion.session_index.as_deref(), Some("_s"));
        assert_eq!(assertion.authn_instant, at("2026-03-01T11:59:00Z"));
        assert_eq!(assertion.session_expires_at, None);
        // the bearer's five minutes, and the skew
        assert_eq!(assertion.expires_at, at("2026-03-01T12:06:00Z"));
        let [email, groups] = &assertion.attributes[..] else { panic!("{assertion:?}") };
        assert_eq!(
            (email.name.as_str(), &email.values[..]),
            ("email", &["Ada@Acme.com".into()][..])
        );
        assert_eq!(groups.values, ["a & b", "c"]);
        assert_eq!(groups.friendly_name.as_deref(), Some("g"));
    }
}

#[test]
fn only_the_metadata_says_whose_signature_counts() {
    let xml = good(Signed::Both);
    let check = |certificates: &[&[u8]], now| {
        let idp = trusted(certificates);
        verify(xml.as_bytes(), &Expected { now: at(now), ..expected(&idp, &[]) })
    };
    let refusal = check(&[], NOW).unwrap_err();
    assert_eq!(refusal, Refusal::NoUsableKey { unusable: 0, expired: 0 });
    let refusal = check(&[b"nonsense"], NOW).unwrap_err();
    assert_eq!(refusal, Refusal::NoUsableKey { unusable: 1, expired: 0 });
    let refusal = check(&[&OTHER_KEY.certificate], NOW).unwrap_err();
    assert_eq!(refusal.name(), "WrongSignature", "{refusal}");
    assert!(check(&[&OTHER_KEY.certificate, &KEY.certificate], NOW).is_ok(), "a rollover");
    let refusal = check(&[&KEY.certificate], "2026-03-02T12:00:01Z").unwrap_err();
    assert_eq!(refusal, Refusal::NoUsableKey { unusable: 0, expired: 1 });
}

#[test]
fn keys_of_both_kinds_sign() {
    for p384 in [false, true] {
        let (xml, certificate) = signed_by_curve(p384);
        let (one, mixed) = (trusted(&[&certificate]), trusted(&[&KEY.certificate, &certificate]));
        verify(xml.as_bytes(), &expected(&one, &[])).unwrap();
        verify(xml.as_bytes(), &expected(&mixed, &[])).unwrap();
        let refusal = check(&xml).unwrap_err();
        assert!(refusal.to_string().contains("(0 tried"), "{refusal}");
    }
    for hash in ["384", "512"] {
        let method = format!("http://www.w3.org/2001/04/xmldsig-more#rsa-sha{hash}");
        let space = if hash == "384" { "xmldsig-more" } else { "xmlenc" };
        let digest = format!("http://www.w3.org/2001/04/{space}#sha{hash}");
        let signer = Signer { method: &method, digest: &digest, ..Signer::default() };
        check(&signed_with(Signed::Both, &signer, &response(&assertion()))).unwrap();
    }
}

#[test]
fn listed_prefixes_are_signed_too() {
    let signer = Signer { prefixes: "xs #default samlp", ..Signer::default() };
    for signed in ALL_WAYS {
        check(&signed_with(signed, &signer, &response(&assertion()))).unwrap();
    }
}

#[test]
fn what_is_changed_after_signing_is_refused() {
    for signed in ALL_WAYS {
        let xml = good(signed);
        let refusal = check(&xml.replace("ada@acme.com", "eve@acme.com")).unwrap_err();
        assert_eq!(refusal.name(), "WrongDigest");
        let refusal = check(&xml.replace("<ds:DigestValue>", "<ds:DigestValue>AAAA")).unwrap_err();
        assert_eq!(refusal.name(), "WrongSignature");
        let refusal =
            check(&xml.replace("<ds:SignatureValue>", "<ds:SignatureValue>A")).unwrap_err();
        assert_eq!(refusal.name(), "BadBase64");
    }
    let unsigned = response(&assertion()).replace("[[_a]]", "").replace("[[_r]]", "");
    assert_eq!(check(&unsigned).unwrap_err(), Refusal::Unsigned);
    // a good signature of the one doesn't make up for a bad one of the other
    let both = good(Signed::Both);
    let (_, last) = both.rsplit_once("<ds:SignatureValue>").unwrap();
    let broken = both.replace(last, &last.replacen(|c: char| c.is_ascii_lowercase(), "0", 1));
    assert_eq!(check(&broken).unwrap_err().name(), "WrongDigest");
}

/// Signatures made with the right key, of a kind that isn't accepted.
#[test]
fn only_one_kind_of_signature_is_accepted() {
    let c14n = "\"http://www.w3.org/2001/10/xml-exc-c14n#\"";
    let reference = "<ds:Reference URI=\"#_";
    let transform =
        r#"<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:Transform>"#;
    let cases: &[Case<'_>] = &[
        ("xmldsig-more#rsa-sha256", "x#y", "UnacceptedAlgorithm", "SignatureMethod"),
        (
            "2001/04/xmldsig-more#rsa-sha256",
            "2000/09/xmldsig#rsa-sha1",
            "UnacceptedAlgorithm",
            "SignatureMethod \"http://www.w3.org/2000/09/xmldsig#rsa-sha1\"",
        ),
        ("xmldsig-more#rsa-sha256", "xmldsig-more#hmac-sha256", "UnacceptedAlgorithm", "hmac"),
        ("xmldsig-more#rsa-sha256", "xmldsig-more#ecdsa-sha256", "WrongSignature", "P-256"),
        ("2001/04/xmlenc#sha256", "2000/09/xmldsig#sha1", "UnacceptedAlgorithm", "DigestMethod"),
        (
            c14n,
            "\"http://www.w3.org/TR/2001/REC-xml-c14n-20010315\"",
            "UnacceptedAlgorithm",
            "CanonicalizationMethod",
        ),
        (transform, "", "WrongTransforms", "enveloped-signature\"]"),
        (
            "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
            "http://www.w3.org/TR/1999/REC-xslt-19991116",
            "WrongTransforms",
            "xslt",
        ),
        (
            "<ds:Transforms>",
            "<ds:Transforms><ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xpath-19991116\"/>",
            "WrongTransforms",
            "xpath",
        ),
        (reference, "<ds:Reference URI=\"", "WrongReference", "must refer"),
        (reference, "<ds:Reference URI=\"#xpointer(/)", "WrongReference", "xpointer"),
        (reference, "<ds:Reference URI=\"http://evil.example/", "WrongReference", "evil"),
        (reference, "<ds:Reference Type=\"x\" URI=\"#_", "UnexpectedAttribute", "Type"),
        (reference, "<ds:Reference xmlns:a=\"a\" a:URI=\"#_", "UnexpectedAttribute", "URI"),
        ("<ds:SignedInfo>", "<ds:SignedInfo Id=\"_i\">", "UnexpectedAttribute", "Id"),
        (
            "<ds:KeyInfo>",
            "<ds:KeyInfo><ds:RetrievalMethod URI=\"#x\"/>",
            "UnexpectedElement",
            "ds:RetrievalMethod",
        ),
        ("</ds:KeyInfo>", "</ds:KeyInfo><ds:Object/>", "UnexpectedElement", "ds:Object"),
        (
            "<ds:SignatureValue>",
            "<ds:SignedInfo/><ds:SignatureValue>",
            "UnexpectedElement",
            "ds:SignedInfo",
        ),
        ("</ds:Reference>", "</ds:Reference><ds:Reference/>", "UnexpectedElement", "ds:Reference"),
        (
            "rsa-sha256\"/>",
            "rsa-sha256\"><ds:HMACOutputLength>1</ds:HMACOutputLength></ds:SignatureMethod>",
            "UnexpectedElement",
            "HMACOutputLength",
        ),
    ];
    for (from, to, name, says) in cases {
        let edit = |signature: String| {
            assert!(signature.contains(from), "{from} isn't there to be changed");
            signature.replacen(from, to, 1)
        };
        let method = if to.contains("hmac") { to } else { &Signer::default().method };
        let signer = Signer { edit: &edit, method, ..Signer::default() };
        let signer = if to.contains("hmac") {
            Signer {
                method: "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256",
                edit: &|s| s,
                ..signer
            }
        } else {
            signer
        };
        for signed in ALL_WAYS {
            let xml = signed_with(signed, &signer, &response(&assertion()));
            let refusal = check(&xml).expect_err(to);
            assert_eq!(refusal.name(), *name, "{to}: {refusal}");
            assert!(refusal.to_string().contains(says), "{to}: {refusal}");
        }
    }
    let many = (0..65).map(|i| format!("p{i} ")).collect::<String>();
    let signer = Signer { prefixes: &many, ..Signer::default() };
    let refusal = check(&signed_with(Signed::Both, &signer, &response(&assertion()))).unwrap_err();
    assert!(refusal.to_string().contains("PrefixList"), "{refusal}");
}

#[test]
fn nothing_stands_where_it_does_not_belong() {
    let hidden = format!(r#"<saml:Assertion xmlns:saml="{SAML}" ID="_b"/>"#);
    let extensions =
        |inside: &str| format!("<samlp:Extensions>{inside}</samlp:Extensions><samlp:Status>");
    let (wrapped, foreign_id, remark) = (
        extensions(&hidden),
        extensions("<x xmlns=\"urn:x\" ID=\"_a\"/>"),
        extensions("<x xmlns=\"urn:x\"><!-- --></x>"),
    );
    let in_data = format!("Recipient=\"{ACS}\">{hidden}</saml:SubjectConfirmationData>");
    let two = format!("{hidden}</samlp:Response>");
    let value = format!("<saml:AttributeValue>{hidden}</saml:AttributeValue>");
    let advice = format!("<saml:Advice>{hidden}</saml:Advice><saml:AuthnStatement");
    let data = format!("Recipient=\"{ACS}\"/>");
    refused(&[
        ("<samlp:Status>", &wrapped, "UnexpectedElement", "saml:Assertion in samlp:Extensions"),
        ("<samlp:Status>", &foreign_id, "UnexpectedAttribute", "ID"),
        ("<samlp:Status>", &remark, "CommentOrInstruction", "samlp:Extensions"),
        (&data, &in_data, "UnexpectedElement", "in saml:SubjectConfirmationData"),
        ("</samlp:Response>", &two, "MissingElement", "saml:Issuer is missing in saml:Assertion"),
        (
            "<saml:AttributeValue>c</saml:AttributeValue>",
            &value,
            "UnexpectedElement",
            "saml:Assertion",
        ),
        ("<saml:AuthnStatement", &advice, "UnexpectedElement", "saml:Advice"),
        ("<samlp:Status>", "<x/><samlp:Status>", "UnexpectedElement", "x in samlp:Response"),
        ("<samlp:Status>", "text<samlp:Status>", "UnexpectedText", "samlp:Response"),
        ("ID=\"_a\"", "ID=\"_a\" xml:id=\"_b\"", "UnexpectedAttribute", "id of"),
        ("ID=\"_a\"", "ID=\"_a\" id=\"_b\"", "UnexpectedAttribute", "id on saml:Assertion"),
        ("ID=\"_a\"", "ID=\"_a\" xmlns:n=\"n\" n:ID=\"_b\"", "UnexpectedAttribute", "ID of \"n\""),
        ("ada@", "ada<!-- -->@", "CommentOrInstruction", "saml:NameID"),
        ("ada@", "ada<?x?>@", "CommentOrInstruction", "saml:NameID"),
        ("ada@acme.com", "ada<b/>", "UnexpectedElement", "b in saml:NameID"),
        ("<samlp:Response ", "<!-- --><samlp:Response ", "CommentOrInstruction", "the document"),
        ("UTF-8", "ISO-8859-1", "NotUtf8", "UTF-8"),
        ("<saml:Subject>", "<saml:Subject><saml:EncryptedID/>", "EncryptedId", "whole assertion"),
        (
            "<saml:AttributeStatement>",
            "<saml:AttributeStatement><saml:EncryptedAttribute/>",
            "EncryptedAttribute",
            "whole assertion",
        ),
    ]);
}

#[test]
fn an_id_is_plain_and_there_once() {
    for signed in ALL_WAYS {
        let id = |id: &str| check(&good(signed).replace("ID=\"_r\"", &format!("ID=\"{id}\"")));
        assert_eq!(id("_a").unwrap_err(), Refusal::DuplicateId { found: "_a".into() });
        for bad in ["", " _r", "_\u{e9}", &"a".repeat(257)] {
            assert_eq!(id(bad).unwrap_err().name(), "BadId", "{bad}");
        }
    }
}

const EMAIL_ADDRESS: &str = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress";
const PERSISTENT: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent";

#[test]
fn a_persistent_name_may_say_whose_and_for_whom_it_is() {
    for qualifiers in [
        String::new(),
        format!("\" NameQualifier=\"{IDP}"),
        format!("\" NameQualifier=\"{IDP}\" SPNameQualifier=\"{SP}"),
    ] {
        let named = format!("{PERSISTENT}{qualifiers}");
        let xml = edited(Signed::Both, |xml| xml.replace(EMAIL_ADDRESS, &named));
        assert_eq!(check(&xml).unwrap().name_id.value, "ada@acme.com", "{qualifiers}");
    }
    // of other formats it says nothing
    let named = format!("{EMAIL_ADDRESS}\" NameQualifier=\"acme.com");
    assert!(check(&edited(Signed::Both, |xml| xml.replace(EMAIL_ADDRESS, &named))).is_ok());
}

#[test]
fn every_rule_of_the_protocol_is_kept() {
    let bearer = "urn:oasis:names:tc:SAML:2.0:cm:bearer";
    let recipient = format!("Recipient=\"{ACS}\"");
    let destination = format!("Destination=\"{ACS}\"");
    let audience = format!("<saml:Audience>{SP}</saml:Audience>");
    let restriction = format!("<saml:AudienceRestriction>{audience}</saml:AudienceRestriction>");
    let two = format!(
        "{restriction}<saml:AudienceRestriction><saml:Audience>urn:other</saml:Audience></saml:AudienceRestriction>"
    );
    let issuer = format!("<saml:Issuer>{IDP}");
    let response_issuer = format!("\">{IDP}</saml:Issuer>[[_r]]");
    let success = "urn:oasis:names:tc:SAML:2.0:status:Success\"/>";
    let denied = r#"urn:oasis:names:tc:SAML:2.0:status:Responder"><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:AuthnFailed"/></samlp:StatusCode><samlp:StatusMessage>No&#xA;way</samlp:StatusMessage>"#;
    let request = format!("InResponseTo=\"{REQUEST}\"");
    let data_request = format!("<saml:SubjectConfirmationData {request}");
    let long = format!(">{}<", "a".repeat(1025));
    let qualified = |name: &str, value: &str| format!("{PERSISTENT}\" {name}=\"{value}");
    refused(&[
        ("Version=\"2.0\"", "Version=\"1.1\"", "WrongVersion", "samlp:Response, found \"1.1\""),
        ("ID=\"_a\" Version=\"2.0\"", "ID=\"_a\" Version=\"\"", "WrongVersion", "saml:Assertion"),
        ("IssueInstant=\"2026", "IssueInstant=\"x", "BadTime", "IssueInstant of samlp:Response"),
        (success, denied, "StatusNotSuccess", r#"refused: Responder / AuthnFailed: "No\nway""#),
        (&issuer, "<saml:Issuer>urn:evil", "WrongIssuer", "saml:Assertion, found \"urn:evil"),
        (&response_issuer, "\">urn:evil</saml:Issuer>[[_r]]", "WrongIssuer", "of samlp:Response"),
        (&destination, "Destination=\"https://evil\"", "WrongRecipient", "Destination"),
        (&recipient, "Recipient=\"https://evil\"", "WrongRecipient", "Recipient"),
        (&recipient, "", "WrongRecipient", "found nothing"),
        (&request, "InResponseTo=\"_x\"", "WrongRequest", "samlp:Response, found \"_x\""),
        (&request, "", "WrongRequest", "samlp:Response, found nothing"),
        (
            &data_request,
            "<saml:SubjectConfirmationData InResponseTo=\"_x\"",
            "WrongRequest",
            "saml:SubjectConfirmationData",
        ),
        (&data_request, "<saml:SubjectConfirmationData", "WrongRequest", "found nothing"),
        (&audience, "<saml:Audience>urn:other</saml:Audience>", "WrongAudience", "urn:other"),
        (&audience, "", "WrongAudience", "[]"),
        (&restriction, "", "MissingElement", "saml:AudienceRestriction"),
        (&restriction, &two, "WrongAudience", "urn:other"),
        (&restriction, "<saml:Condition/>", "UnknownCondition", "saml:Condition"),
        ("T11:55:00Z", "T12:01:01Z", "TooEarly", "NotBefore of saml:Conditions"),
        ("T12:10:00Z", "T11:59:00Z", "TooLate", "NotOnOrAfter of saml:Conditions"),
        ("T12:05:00Z", "T11:59:00Z", "TooLate", "saml:SubjectConfirmationData"),
        ("T12:05:00Z", "", "BadTime", "\"2026-03-01\""),
        (" NotOnOrAfter=\"2026-03-01T12:05:00Z\"", "", "MissingAttribute", "NotOnOrAfter"),
        (
            "Recipient=",
            "NotBefore=\"2020-01-01T00:00:00Z\" Recipient=",
            "UnexpectedAttribute",
            "NotBefore",
        ),
        (
            "SessionIndex",
            "SessionNotOnOrAfter=\"2026-03-01T11:59:00Z\" SessionIndex",
            "TooLate",
            "SessionNotOnOrAfter",
        ),
        (bearer, "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches", "NotBearer", "bearer"),
        (
            "SAML:1.1:nameid-format:emailAddress",
            "SAML:2.0:nameid-format:transient",
            "TransientNameId",
            "lasting",
        ),
        (">ada@acme.com<", "><", "BadNameId", "empty"),
        (">ada@acme.com<", ">ada@acme.com&#xA0;<", "BadNameId", "white space"),
        (">ada@acme.com<", ">ada&#x9;@acme.com<", "BadNameId", "nobody sees"),
        (">ada@acme.com<", ">ada&#x200B;@acme.com<", "BadNameId", "nobody sees"),
        (">ada@acme.com<", ">&#xFEFF;ada@acme.com<", "BadNameId", "nobody sees"),
        (EMAIL_ADDRESS, &qualified("NameQualifier", "urn:b"), "WrongQualifier", " NameQualifier"),
        (EMAIL_ADDRESS, &qualified("SPNameQualifier", IDP), "WrongQualifier", " SPNameQualifier"),
        (">ada@acme.com<", &long, "BadNameId", "1024"),
        ("AuthnInstant=\"2026-03-01T11:59:00Z\"", "", "MissingAttribute", "AuthnInstant"),
        ("Name=\"groups\"", "", "MissingAttribute", "Name"),
    ]);

    let without = |from: &str, to: &str| {
        edited(Signed::Both, |xml| {
            let (before, rest) = xml.split_once(from).unwrap();
            let (_, after) = rest.split_once(to).unwrap();
            format!("{before}{after}")
        })
    };
    let refusal = check(&without("<saml:AuthnStatement", "</saml:AuthnStatement>")).unwrap_err();
    assert!(refusal.to_string().contains("saml:AuthnStatement is missing"), "{refusal}");
    let refusal = check(&without("<saml:SubjectConfirmation ", "</saml:SubjectConfirmation>"));
    assert_eq!(refusal.unwrap_err(), Refusal::NotBearer);
    // an unsigned response may leave its destination out; a signed one may not
    for signed in ALL_WAYS {
        let result = check(&edited(signed, |xml| xml.replace(&destination, "")));
        assert_eq!(result.is_ok(), signed == Signed::Assertion, "{result:?}");
    }
    let (head, _) = response("")
        .split_once("</samlp:Response>")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let empty = Signer::default().sign(&format!("{head}</samlp:Response>"), "_r");
    assert_eq!(check(&empty).unwrap_err(), Refusal::NotOneAssertion { found: 0 });
}

#[test]
fn what_identity_providers_add_is_understood() {
    let key = r#"<samlp:Extensions><k:KeyInfo xmlns:k="urn:keycloak:ext:key:1.0" MessageSigningKeyId="x"/></samlp:Extensions><samlp:Status>"#;
    for (from, to) in [
        ("<samlp:Status>", key),
        ("<saml:Conditions ", "<saml:Conditions\n "),
        (
            "<saml:AudienceRestriction>",
            "<saml:OneTimeUse/><saml:ProxyRestriction Count=\"1\"/><saml:AudienceRestriction>",
        ),
        ("<saml:Audience>", "<saml:Audience>urn:other</saml:Audience><saml:Audience>\n "),
        (
            " Version=\"2.0\"",
            " Version=\"2.0\" Consent=\"urn:oasis:names:tc:SAML:2.0:consent:unspecified\"",
        ),
        ("<saml:AuthnContext>", "<saml:SubjectLocality Address=\"::1\"/><saml:AuthnContext>"),
        (
            "FriendlyName=\"g\"",
            "xmlns:a=\"http://schemas.xmlsoap.org/ws/2009/09/identity/claims\" a:OriginalIssuer=\"x\"",
        ),
        (
            "<saml:AttributeValue>c<",
            "<saml:AttributeValue><saml:NameID>x</saml:NameID></saml:AttributeValue><saml:AttributeValue>c<",
        ),
        (
            "<saml:AttributeValue>c<",
            "<saml:AttributeValue><x xmlns=\"x\">y</x></saml:AttributeValue><saml:AttributeValue><![CDATA[c]]><",
        ),
        ("SessionIndex", "SessionNotOnOrAfter=\"2026-03-01T20:00:00Z\" SessionIndex"),
    ] {
        for signed in ALL_WAYS {
            let xml = edited(signed, |xml| xml.replacen(from, to, 1));
            let assertion = check(&xml).unwrap_or_else(|refusal| panic!("{to}: {refusal}"));
            assert_eq!(assertion.attributes[1].values, ["a & b", "c"], "{to}");
        }
    }
    // a name in several pieces is one name
    let xml = edited(Signed::Both, |xml| {
        xml.replace("ada@acme.com", "ada@acme.com<![CDATA[.evil]]>.org")
    });
    assert_eq!(check(&xml).unwrap().name_id.value, "ada@acme.com.evil.org");
}

#[test]
fn one_good_bearer_confirmation_is_enough_and_all_say_how_long_to_remember() {
    let other = format!(
        r#"<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData InResponseTo="_other" NotOnOrAfter="2026-03-01T12:08:00Z" Recipient="{ACS}"/></saml:SubjectConfirmation><saml:SubjectConfirmation "#
    );
    let xml = edited(Signed::Both, |xml| xml.replacen("<saml:SubjectConfirmation ", &other, 1));
    assert_eq!(check(&xml).unwrap().expires_at, at("2026-03-01T12:09:00Z"));
}

#[test]
fn a_response_nobody_asked_for_is_accepted_only_where_that_is_expected() {
    let idp = trusted(&[&KEY.certificate]);
    let unasked = Expected { request: None, ..expected(&idp, &[]) };
    let xml = edited(Signed::Both, |xml| xml.replace(&format!("InResponseTo=\"{REQUEST}\""), ""));
    verify(xml.as_bytes(), &unasked).unwrap();
    assert_eq!(check(&xml).unwrap_err().name(), "WrongRequest");
    let refusal = verify(good(Signed::Both).as_bytes(), &unasked).unwrap_err();
    assert_eq!(refusal.name(), "NoSuchRequest");
}

#[test]
fn the_clocks_may_differ_by_the_skew_and_no_more() {
    let idp = trusted(&[&KEY.certificate]);
    let xml = good(Signed::Assertion);
    for (now, skew, expect) in [
        ("2026-03-01T11:54:00Z", 60, None),
        ("2026-03-01T11:53:59Z", 60, Some("TooEarly")),
        ("2026-03-01T12:05:59Z", 60, None),
        ("2026-03-01T12:06:00Z", 60, Some("TooLate")),
        ("2026-03-01T12:04:59Z", 0, None),
        ("2026-03-01T12:05:00Z", 0, Some("TooLate")),
        ("2026-03-01T11:55:00Z", 0, None),
    ] {
        let expected =
            Expected { now: at(now), skew: Duration::from_secs(skew), ..expected(&idp, &[]) };
        let refusal = verify(xml.as_bytes(), &expected).err();
        assert_eq!(refusal.as_ref().map(Refusal::name), expect, "{now} {skew} {refusal:?}");
    }
}

const NOT_DECRYPTED: Refusal = Refusal::NotDecrypted { plaintext: None };

#[test]
fn who_chooses_the_ciphertext_of_cbc_learns_nothing_of_the_plaintext_by_how_it_is_refused() {
    let refusal = |plaintext: &str, key| {
        let how = Encryption { cbc: true, ..GCM };
        let response = response(&encrypted(plaintext, key, how));
        check(&Signer::default().sign(&response, "_r")).unwrap_err()
    };
    let unreadable = refusal("?", &KEY);
    let plain = assertion().replace("[[_a]]", "");
    for (plaintext, in_full) in [
        ("nonsense".to_owned(), "NotXml: "),
        ("<!DOCTYPE x>".into(), "HasDtd: "),
        ("<secret/>".into(), "NotTheElement: expected a SAML 2.0 Assertion, found secret"),
        (plain.replace("Version=\"2.0\"", "Version=\"secret\""), "WrongVersion: "),
        (plain.replace(IDP, "https://secret.example"), "WrongIssuer: "),
    ] {
        let refused = refusal(&plaintext, &OTHER_KEY);
        assert_eq!(refused.name(), unreadable.name(), "{plaintext}");
        assert_eq!(refused.to_string(), unreadable.to_string(), "{plaintext}");
        let told = refused.in_full();
        assert!(told.contains(&format!("of what was decrypted: {in_full}")), "{told}");
    }
}

#[test]
fn encrypted_assertions_are_opened_and_then_checked_like_others() {
    let inner = |signed| {
        let xml = if signed { Signer::default().sign(&assertion(), "_a") } else { assertion() };
        xml.replace("[[_a]]", "")
    };
    let outer = |signed, inside: &str| {
        let xml = response(inside);
        if signed { Signer::default().sign(&xml, "_r") } else { xml.replace("[[_r]]", "") }
    };
    let mut seen = BTreeSet::new();
    for (response_signed, assertion_signed) in
        [(true, false), (false, true), (true, true), (false, false)]
    {
        for cbc in [false, true] {
            for (oaep_sha256, key_beside) in [(false, false), (true, true)] {
                let how = Encryption { cbc, oaep_sha256, key_beside };
                let inside = encrypted(&inner(assertion_signed), &OTHER_KEY, how);
                let result = check(&outer(response_signed, &inside));
                match (response_signed, assertion_signed, cbc) {
                    (false, _, true) => assert_eq!(result.unwrap_err(), Refusal::CbcUnsigned),
                    (false, false, false) => assert_eq!(result.unwrap_err(), Refusal::Unsigned),
                    _ => {
                        seen.insert((response_signed, assertion_signed, cbc));
                        assert_eq!(result.unwrap().name_id.value, "ada@acme.com");
                    }
                }
            }
        }
    }
    assert_eq!(seen.len(), 5);

    let refusal = |inside: &str| check(&outer(false, inside)).unwrap_err();
    let good = encrypted(&inner(true), &OTHER_KEY, GCM);
    assert_eq!(refusal(&encrypted(&inner(true), &KEY, GCM)), NOT_DECRYPTED);
    let (before, after) = good.rsplit_once("CipherValue>").unwrap();
    let changed = format!(
        "{}AAAA</xenc:CipherValue>{after}",
        before.trim_end_matches(|c| c != '=').trim_end_matches('=')
    );
    assert!(matches!(refusal(&changed), NOT_DECRYPTED | Refusal::BadBase64 { .. }));
    let idp = trusted(&[&KEY.certificate]);
    let keyless = verify(outer(true, &good).as_bytes(), &expected(&idp, &[]));
    assert_eq!(keyless.unwrap_err(), Refusal::NoDecryptionKey);
    let changed = inner(true).replace("ada@", "eve@");
    assert_eq!(refusal(&encrypted(&changed, &OTHER_KEY, GCM)).name(), "WrongDigest");
    let twice = inner(true).replace("ID=\"_a\"", "ID=\"_r\"");
    assert_eq!(refusal(&encrypted(&twice, &OTHER_KEY, GCM)).name(), "DuplicateId");
    let other = "<Response xmlns=\"urn:oasis:names:tc:SAML:2.0:protocol\"/>";
    assert_eq!(refusal(&encrypted(other, &OTHER_KEY, GCM)).name(), "NotTheElement");
    assert_eq!(refusal(&encrypted("nonsense", &OTHER_KEY, GCM)).name(), "NotXml");
    for (from, to, says) in [
        ("xmlenc#rsa-oaep-mgf1p", "xmlenc#rsa-1_5", "rsa-1_5"),
        ("xmldsig#sha1", "xmlenc#sha256", "with"),
        ("xmlenc11#aes256-gcm", "xmlenc#tripledes-cbc", "tripledes"),
        ("xmlenc#Element", "xmlenc#Content", "Type"),
    ] {
        let refusal = refusal(&good.replacen(from, to, 1));
        assert_eq!(refusal.name(), "UnacceptedEncryption");
        assert!(refusal.to_string().contains(says), "{refusal}");
    }
    // as Microsoft's security token service says which key it is for
    let microsoft = r#"<ds:KeyInfo><o:SecurityTokenReference xmlns:o="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"><ds:X509Data><ds:X509IssuerSerial><ds:X509IssuerName>CN=a</ds:X509IssuerName><ds:X509SerialNumber>1</ds:X509SerialNumber></ds:X509IssuerSerial></ds:X509Data></o:SecurityTokenReference></ds:KeyInfo><xenc:CipherData>"#;
    check(&outer(false, &good.replacen("<xenc:CipherData>", microsoft, 1))).unwrap();
    let (_, key) = good.split_once("<xenc:EncryptedKey").unwrap();
    let (key, _) = key.split_once("</xenc:EncryptedKey>").unwrap();
    let key = format!("<xenc:EncryptedKey{key}</xenc:EncryptedKey>");
    assert_eq!(refusal(&good.replace(&key, "")).name(), "MissingElement");
    let many: String = (0..5).map(|i| key.replace("_k", &format!("_k{i}"))).collect();
    assert_eq!(refusal(&good.replace(&key, &many)).name(), "UnacceptedEncryption");
}

#[test]
fn the_form_field_is_base64_of_a_bounded_size() {
    let encoded = BASE64_STANDARD.encode("<a/>");
    let (start, end) = encoded.split_at(3);
    assert_eq!(decode(&format!(" {start}\r\n{end}\n")).unwrap(), b"<a/>");
    assert_eq!(decode("<a/>"), Err(Refusal::NotBase64));
    let limit = xml::RESPONSE.bytes;
    assert!(decode(&BASE64_STANDARD.encode(vec![0; limit])).is_ok());
    assert_eq!(decode(&BASE64_STANDARD.encode(vec![0; limit + 1])).unwrap_err().name(), "TooLarge");
    assert_eq!(decode(&" ".repeat(2 * limit + 1)).unwrap_err().name(), "TooLarge");
    let refusal = check(&" ".repeat(limit + 1)).unwrap_err();
    assert_eq!(refusal.name(), "TooLarge");
    assert_eq!(check(&"<a>".repeat(33)).unwrap_err(), Refusal::TooComplex);
    assert_eq!(check("<a>").unwrap_err(), Refusal::NotXml);
    assert_eq!(check("<!DOCTYPE a><a/>").unwrap_err(), Refusal::HasDtd);
    let refusal = verify(b"\xff", &expected(&trusted(&[]), &[])).unwrap_err();
    assert_eq!(refusal, Refusal::NotUtf8);
}

/// An unoptimised build is some 20 times slower than what is promised: 50 ms.
#[test]
fn large_hostile_responses_are_refused_in_little_time() {
    let value = "<saml:AttributeValue>x</saml:AttributeValue>";
    let with = |inside: String| {
        good(Signed::Both).replace("<saml:AttributeValue>c</saml:AttributeValue>", &inside)
    };
    let limit = xml::RESPONSE.bytes;
    for xml in [
        with(value.repeat(4800)),
        with(
            "<saml:AttributeValue>".to_owned()
                + &"&amp;".repeat(limit / 6)
                + "</saml:AttributeValue>",
        ),
        with(value.repeat(12_000)),
        good(Signed::Both).replace(
            "<ds:KeyInfo>",
            &("<ds:KeyInfo>".to_owned() + &"<ds:KeyName>a</ds:KeyName>".repeat(4000)),
        ),
        good(Signed::Both).replace(
            "<samlp:Status>",
            &("<samlp:Extensions>".to_owned()
                + &"<x xmlns='u'/>".repeat(1000)
                + "</samlp:Extensions><samlp:Status>"),
        ),
        "<a>".repeat(limit / 3),
    ] {
        let start = Instant::now();
        let refusal = check(&xml).unwrap_err();
        let took = start.elapsed();
        println!("{took:?} {} bytes {refusal}", xml.len());
        assert!(took < Duration::from_secs(1), "{took:?} {refusal}");
    }
}

/// 150 groups and more come through.
#[test]
fn someone_in_many_groups_can_sign_in() {
    let group = |i: usize| {
        format!(
            r#"<saml:AttributeValue xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xs="http://www.w3.org/2001/XMLSchema" xsi:type="xs:string">cn=group-{i},ou=groups,dc=acme,dc=com</saml:AttributeValue>"#
        )
    };
    for count in [150, 500] {
        let groups: String = (0..count).map(group).collect();
        let xml = edited(Signed::Both, |xml| {
            xml.replace("<saml:AttributeValue>c</saml:AttributeValue>", &groups)
        });
        assert_eq!(check(&xml).unwrap().attributes[1].values.len(), count + 1);
    }
}

/// Elements of good responses of two people, put into, beside and in place of one another, and
/// characters changed at random: whoever comes out of it is one of the two, as they were signed.
#[test]
fn mutations_make_no_other_person() {
    const THREADS: u64 = 4;
    const MUTATIONS: usize = 100_000 / 4;
    let idp = trusted(&[&KEY.certificate]);
    let expected = expected(&idp, &[]);
    let eve = |xml: String| xml.replace("ada@acme.com", "eve@acme.com").replace("Ada@", "Eve@");
    let good: Vec<Response> = ALL_WAYS
        .iter()
        .flat_map(|way| [edited(*way, |xml| xml), edited(*way, eve)])
        .map(Response::new)
        .collect();
    let check = |xml: &str| verify(xml.as_bytes(), &expected);
    let people: Vec<_> = good.iter().map(|response| check(&response.xml).unwrap()).collect();
    let run = |seed: u64| {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut outcomes = BTreeMap::new();
        for _ in 0..MUTATIONS {
            let mutant = mutant(&good, &mut random);
            let outcome = match check(&mutant) {
                Ok(person) => {
                    assert!(people.contains(&person), "{mutant}");
                    "accepted"
                }
                Err(refusal) => refusal.name(),
            };
            *outcomes.entry(outcome).or_insert(0) += 1;
        }
        outcomes
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|seed| scope.spawn(move || run(seed))).collect();
        for thread in threads {
            let outcomes = thread.join().unwrap();
            println!("{outcomes:?}");
            // an element in its own place, or white space in a tag, changes nothing
            assert!(outcomes["accepted"] > 0 && outcomes["WrongDigest"] > 0);
            assert!(outcomes.len() > 10, "{outcomes:?}");
        }
    });
}

struct Response {
    xml: String,
    /// Where its elements are.
    elements: Vec<std::ops::Range<usize>>,
}

impl Response {
    fn new(xml: String) -> Self {
        let document = roxmltree::Document::parse(&xml).unwrap();
        let elements = document.descendants().filter(Node::is_element).map(|node| node.range());
        let elements = elements.collect();
        drop(document);
        Self { xml, elements }
    }

    fn element(&self, random: &mut fastrand::Rng) -> std::ops::Range<usize> {
        self.elements[random.usize(0..self.elements.len())].clone()
    }
}

fn mutant(good: &[Response], random: &mut fastrand::Rng) -> String {
    let [own, other] = [(); 2].map(|()| &good[random.usize(0..good.len())]);
    let piece = &other.xml[other.element(random)];
    let place = own.element(random);
    let mut text = own.xml.clone();
    match random.u8(0..6) {
        0 => text.replace_range(place, ""),
        1 => text.insert_str(place.start, piece),
        2 => text.insert_str(place.end, piece),
        3 => {
            // before its end tag, as the last child
            let end = place.start + text[place].rfind('<').unwrap_or_default();
            text.insert_str(end, piece);
        }
        4 => {
            // the same element of the other
            let name = |text: &str| xml::qualified_name(text, 1).to_owned();
            let own_name = name(&text[place.clone()]);
            let mut others = other.elements.iter().map(|range| &other.xml[range.clone()]);
            text.replace_range(place, others.find(|text| name(text) == own_name).unwrap_or(piece));
        }
        _ => {}
    }
    for _ in 0..random.usize(0..2) {
        let at = random.usize(0..text.len());
        if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
            let with = [" ", "\n", "<", ">", "\"", "&", "/", "#", "A", "e", "0", ":"];
            text.replace_range(at..=at, with[random.usize(0..with.len())]);
        }
    }
    text
}
