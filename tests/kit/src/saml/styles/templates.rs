//! How the big identity providers write their responses.

use super::Style;
use crate::saml::encryption::Cipher;

pub(super) const ALL: &[Style] = &[
    Style {
        name: "Okta",
        template: OKTA,
        name_id: "ada@acme.example",
        attributes: &[
            ("email", &["ada@acme.example"]),
            ("firstName", &["Ada"]),
            ("groups", &["Everyone", "R&D"]),
        ],
        signs: &["Assertion", "Response"],
        cipher: None,
    },
    Style {
        name: "Okta, encrypted",
        template: OKTA,
        name_id: "ada@acme.example",
        attributes: &[
            ("email", &["ada@acme.example"]),
            ("firstName", &["Ada"]),
            ("groups", &["Everyone", "R&D"]),
        ],
        signs: &["Assertion", "Response"],
        cipher: Some(Cipher::Aes256Cbc),
    },
    Style {
        name: "Entra ID",
        template: ENTRA,
        name_id: "u1vJbHSQvMyQ5-3yZ6Cf0bqN",
        attributes: &[
            ("http://schemas.microsoft.com/identity/claims/displayname", &["Ada Lovelace"]),
            (
                "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress",
                &["ada@acme.example"],
            ),
            (
                "http://schemas.microsoft.com/ws/2008/06/identity/claims/groups",
                &["8e1a2c9d-0000-4000-8000-000000000001", "8e1a2c9d-0000-4000-8000-000000000002"],
            ),
        ],
        signs: &["Assertion"],
        cipher: None,
    },
    Style {
        name: "Keycloak",
        template: KEYCLOAK,
        name_id: "G-6e5c5a9a-8a6f-4c9d-9a59-0d9f7f1a2b3c",
        attributes: &[
            ("urn:oid:1.2.840.113549.1.9.1", &["ada@acme.example"]),
            ("Role", &["manage-account", "view-profile"]),
        ],
        signs: &["Response"],
        cipher: None,
    },
    Style {
        name: "Google Workspace",
        template: GOOGLE,
        name_id: "ada@acme.example",
        attributes: &[("email", &["ada@acme.example"]), ("firstName", &["Ada"])],
        signs: &["Response"],
        cipher: None,
    },
    Style {
        name: "JumpCloud",
        template: JUMPCLOUD,
        name_id: "ada@acme.example",
        attributes: &[("email", &["ada@acme.example"]), ("firstname", &["Ada"])],
        signs: &["Assertion"],
        cipher: None,
    },
    Style {
        name: "OneLogin",
        template: ONELOGIN,
        name_id: "ada@acme.example",
        attributes: &[
            ("User.email", &["ada@acme.example"]),
            ("User.FirstName", &["Ada"]),
            ("memberOf", &[""]),
        ],
        signs: &["Assertion", "Response"],
        cipher: None,
    },
    Style {
        name: "AD FS",
        template: ADFS,
        name_id: "ACME\\ada",
        attributes: &[
            (
                "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress",
                &["ada@acme.example"],
            ),
            ("http://schemas.xmlsoap.org/claims/Group", &["Domain Users", "Engineering"]),
        ],
        signs: &["Assertion"],
        cipher: None,
    },
    Style {
        name: "Shibboleth",
        template: SHIBBOLETH,
        name_id: "XKPD3LMTIPVJMFD3ZEU4CRLJOLTX2MGK",
        attributes: &[
            ("urn:oid:0.9.2342.19200300.100.1.3", &["ada@acme.example"]),
            ("urn:oid:2.16.840.1.113730.3.1.241", &["Ada Lovelace"]),
        ],
        signs: &["Response"],
        cipher: Some(Cipher::Aes128Gcm),
    },
    Style {
        name: "Ping",
        template: PING,
        name_id: "ada@acme.example",
        attributes: &[("email", &["ada@acme.example"]), ("name", &["Ada Lovelace"])],
        signs: &["Assertion"],
        cipher: None,
    },
    Style {
        name: "pretty-printed by hand",
        template: PRETTY,
        name_id: "ada@acme.example",
        attributes: &[("email", &["ada@acme.example"]), ("note", &["a < b &\n c > \"d\" \u{e9}"])],
        signs: &["Assertion", "Response"],
        cipher: None,
    },
];

const OKTA: &str = r#"<?xml version="1.0" encoding="UTF-8"?><saml2p:Response Destination="$ACS$" ID="$RESPONSE$"$REQUEST$ IssueInstant="$MILLISECONDS$" Version="2.0" xmlns:saml2p="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:xs="http://www.w3.org/2001/XMLSchema"><saml2:Issuer Format="urn:oasis:names:tc:SAML:2.0:nameid-format:entity" xmlns:saml2="urn:oasis:names:tc:SAML:2.0:assertion">$ISSUER$</saml2:Issuer>$SIGNATURE-RESPONSE-ds-xs$<saml2p:Status xmlns:saml2p="urn:oasis:names:tc:SAML:2.0:protocol"><saml2p:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></saml2p:Status><saml2:Assertion ID="$ASSERTION$" IssueInstant="$MILLISECONDS$" Version="2.0" xmlns:saml2="urn:oasis:names:tc:SAML:2.0:assertion" xmlns:xs="http://www.w3.org/2001/XMLSchema"><saml2:Issuer Format="urn:oasis:names:tc:SAML:2.0:nameid-format:entity">$ISSUER$</saml2:Issuer>$SIGNATURE-ASSERTION-ds-xs$<saml2:Subject xmlns:saml2="urn:oasis:names:tc:SAML:2.0:assertion"><saml2:NameID Format="urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified">ada@acme.example</saml2:NameID><saml2:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml2:SubjectConfirmationData$REQUEST$ NotOnOrAfter="$SOON$" Recipient="$ACS$"/></saml2:SubjectConfirmation></saml2:Subject><saml2:Conditions NotBefore="$EARLIER$" NotOnOrAfter="$SOON$" xmlns:saml2="urn:oasis:names:tc:SAML:2.0:assertion"><saml2:AudienceRestriction><saml2:Audience>$SP$</saml2:Audience></saml2:AudienceRestriction></saml2:Conditions><saml2:AuthnStatement AuthnInstant="$MILLISECONDS$" SessionIndex="id1763900000.1" xmlns:saml2="urn:oasis:names:tc:SAML:2.0:assertion"><saml2:AuthnContext><saml2:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport</saml2:AuthnContextClassRef></saml2:AuthnContext></saml2:AuthnStatement><saml2:AttributeStatement xmlns:saml2="urn:oasis:names:tc:SAML:2.0:assertion"><saml2:Attribute Name="email" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:unspecified"><saml2:AttributeValue xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:string">ada@acme.example</saml2:AttributeValue></saml2:Attribute><saml2:Attribute Name="firstName" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:unspecified"><saml2:AttributeValue xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:string">Ada</saml2:AttributeValue></saml2:Attribute><saml2:Attribute Name="groups" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:unspecified"><saml2:AttributeValue xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:string">Everyone</saml2:AttributeValue><saml2:AttributeValue xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:string">R&amp;D</saml2:AttributeValue></saml2:Attribute></saml2:AttributeStatement></saml2:Assertion></saml2p:Response>"#;

const ENTRA: &str = r#"<samlp:Response ID="$RESPONSE$" Version="2.0" IssueInstant="$MILLISECONDS$" Destination="$ACS$"$REQUEST$ xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"><Issuer xmlns="urn:oasis:names:tc:SAML:2.0:assertion">$ISSUER$</Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status><Assertion ID="$ASSERTION$" IssueInstant="$MILLISECONDS$" Version="2.0" xmlns="urn:oasis:names:tc:SAML:2.0:assertion"><Issuer>$ISSUER$</Issuer>$SIGNATURE-ASSERTION--$<Subject><NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">u1vJbHSQvMyQ5-3yZ6Cf0bqN</NameID><SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><SubjectConfirmationData$REQUEST$ NotOnOrAfter="$SOON$" Recipient="$ACS$"/></SubjectConfirmation></Subject><Conditions NotBefore="$EARLIER$" NotOnOrAfter="$SOON$"><AudienceRestriction><Audience>$SP$</Audience></AudienceRestriction></Conditions><AttributeStatement><Attribute Name="http://schemas.microsoft.com/identity/claims/displayname"><AttributeValue>Ada Lovelace</AttributeValue></Attribute><Attribute Name="http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress"><AttributeValue>ada@acme.example</AttributeValue></Attribute><Attribute Name="http://schemas.microsoft.com/ws/2008/06/identity/claims/groups"><AttributeValue>8e1a2c9d-0000-4000-8000-000000000001</AttributeValue><AttributeValue>8e1a2c9d-0000-4000-8000-000000000002</AttributeValue></Attribute></AttributeStatement><AuthnStatement AuthnInstant="$MILLISECONDS$" SessionIndex="$ASSERTION$"><AuthnContext><AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</AuthnContextClassRef></AuthnContext></AuthnStatement></Assertion></samlp:Response>"#;

const KEYCLOAK: &str = r#"<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" Destination="$ACS$" ID="$RESPONSE$"$REQUEST$ IssueInstant="$MILLISECONDS$" Version="2.0"><saml:Issuer>$ISSUER$</saml:Issuer>$SIGNATURE-RESPONSE-dsig-$<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status><saml:Assertion xmlns="urn:oasis:names:tc:SAML:2.0:assertion" ID="$ASSERTION$" IssueInstant="$MILLISECONDS$" Version="2.0"><saml:Issuer>$ISSUER$</saml:Issuer><saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">G-6e5c5a9a-8a6f-4c9d-9a59-0d9f7f1a2b3c</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData$REQUEST$ NotOnOrAfter="$SOON$" Recipient="$ACS$"/></saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="$EARLIER$" NotOnOrAfter="$SOON$"><saml:AudienceRestriction><saml:Audience>$SP$</saml:Audience></saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement AuthnInstant="$MILLISECONDS$" SessionIndex="0d9f7f1a::6e5c5a9a" SessionNotOnOrAfter="$LATER$"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement><saml:AttributeStatement><saml:Attribute FriendlyName="email" Name="urn:oid:1.2.840.113549.1.9.1" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri"><saml:AttributeValue xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:string">ada@acme.example</saml:AttributeValue></saml:Attribute><saml:Attribute Name="Role" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:basic"><saml:AttributeValue xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:string">manage-account</saml:AttributeValue></saml:Attribute><saml:Attribute Name="Role" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:basic"><saml:AttributeValue xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:string">view-profile</saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion></samlp:Response>"#;

const GOOGLE: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<saml2p:Response xmlns:saml2p="urn:oasis:names:tc:SAML:2.0:protocol" Destination="$ACS$" ID="$RESPONSE$"$REQUEST$ IssueInstant="$MILLISECONDS$" Version="2.0"><saml2:Issuer xmlns:saml2="urn:oasis:names:tc:SAML:2.0:assertion">$ISSUER$</saml2:Issuer>$SIGNATURE-RESPONSE-ds-$<saml2p:Status><saml2p:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></saml2p:Status><saml2:Assertion xmlns:saml2="urn:oasis:names:tc:SAML:2.0:assertion" ID="$ASSERTION$" IssueInstant="$MILLISECONDS$" Version="2.0"><saml2:Issuer>$ISSUER$</saml2:Issuer><saml2:Subject><saml2:NameID Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress">ada@acme.example</saml2:NameID><saml2:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml2:SubjectConfirmationData$REQUEST$ NotOnOrAfter="$SOON$" Recipient="$ACS$"/></saml2:SubjectConfirmation></saml2:Subject><saml2:Conditions NotBefore="$EARLIER$" NotOnOrAfter="$SOON$"><saml2:AudienceRestriction><saml2:Audience>$SP$</saml2:Audience></saml2:AudienceRestriction></saml2:Conditions><saml2:AttributeStatement><saml2:Attribute Name="email"><saml2:AttributeValue xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:anyType">ada@acme.example</saml2:AttributeValue></saml2:Attribute><saml2:Attribute Name="firstName"><saml2:AttributeValue xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:anyType">Ada</saml2:AttributeValue></saml2:Attribute></saml2:AttributeStatement><saml2:AuthnStatement AuthnInstant="$NOW$" SessionIndex="$ASSERTION$"><saml2:AuthnContext><saml2:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified</saml2:AuthnContextClassRef></saml2:AuthnContext></saml2:AuthnStatement></saml2:Assertion></saml2p:Response>"#;

const JUMPCLOUD: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="$RESPONSE$" Version="2.0" IssueInstant="$NOW$" Destination="$ACS$"$REQUEST$>
  <saml:Issuer Format="urn:oasis:names:tc:SAML:2.0:nameid-format:entity">$ISSUER$</saml:Issuer>
  <samlp:Status>
    <samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"></samlp:StatusCode>
  </samlp:Status>
  <saml:Assertion xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" Version="2.0" ID="$ASSERTION$" IssueInstant="$NOW$">
    <saml:Issuer>$ISSUER$</saml:Issuer>
    $SIGNATURE-ASSERTION-ds-$
    <saml:Subject>
      <saml:NameID Format="urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified">ada@acme.example</saml:NameID>
      <saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">
        <saml:SubjectConfirmationData NotOnOrAfter="$SOON$" Recipient="$ACS$"$REQUEST$></saml:SubjectConfirmationData>
      </saml:SubjectConfirmation>
    </saml:Subject>
    <saml:Conditions NotBefore="$EARLIER$" NotOnOrAfter="$SOON$">
      <saml:AudienceRestriction>
        <saml:Audience>$SP$</saml:Audience>
      </saml:AudienceRestriction>
    </saml:Conditions>
    <saml:AuthnStatement AuthnInstant="$NOW$" SessionNotOnOrAfter="$LATER$" SessionIndex="$ASSERTION$">
      <saml:AuthnContext>
        <saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport</saml:AuthnContextClassRef>
      </saml:AuthnContext>
    </saml:AuthnStatement>
    <saml:AttributeStatement>
      <saml:Attribute NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:basic" Name="firstname">
        <saml:AttributeValue xsi:type="xs:string">Ada</saml:AttributeValue>
      </saml:Attribute>
      <saml:Attribute NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:basic" Name="email">
        <saml:AttributeValue xsi:type="xs:string">ada@acme.example</saml:AttributeValue>
      </saml:Attribute>
    </saml:AttributeStatement>
  </saml:Assertion>
</samlp:Response>
"#;

const ONELOGIN: &str = r#"<samlp:Response xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="$RESPONSE$" Version="2.0" IssueInstant="$NOW$" Destination="$ACS$"$REQUEST$><saml:Issuer>$ISSUER$</saml:Issuer>$SIGNATURE-RESPONSE-ds-$<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status><saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" Version="2.0" ID="$ASSERTION$" IssueInstant="$NOW$"><saml:Issuer>$ISSUER$</saml:Issuer>$SIGNATURE-ASSERTION-ds-$<saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress">ada@acme.example</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData NotOnOrAfter="$SOON$" Recipient="$ACS$"$REQUEST$/></saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="$EARLIER$" NotOnOrAfter="$SOON$"><saml:AudienceRestriction><saml:Audience>$SP$</saml:Audience></saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement AuthnInstant="$NOW$" SessionNotOnOrAfter="$LATER$" SessionIndex="$ASSERTION$"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement><saml:AttributeStatement><saml:Attribute NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:basic" Name="User.FirstName"><saml:AttributeValue xsi:type="xs:string">Ada</saml:AttributeValue></saml:Attribute><saml:Attribute NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:basic" Name="memberOf"><saml:AttributeValue xsi:type="xs:string"/></saml:Attribute><saml:Attribute NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:basic" Name="User.email"><saml:AttributeValue xsi:type="xs:string">ada@acme.example</saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion></samlp:Response>"#;

const ADFS: &str = r#"<samlp:Response ID="$RESPONSE$" Version="2.0" IssueInstant="$MILLISECONDS$" Destination="$ACS$" Consent="urn:oasis:names:tc:SAML:2.0:consent:unspecified"$REQUEST$ xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"><Issuer xmlns="urn:oasis:names:tc:SAML:2.0:assertion">$ISSUER$</Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success" /></samlp:Status><Assertion ID="$ASSERTION$" IssueInstant="$MILLISECONDS$" Version="2.0" xmlns="urn:oasis:names:tc:SAML:2.0:assertion"><Issuer>$ISSUER$</Issuer>$SIGNATURE-ASSERTION-ds-$<Subject><NameID Format="urn:oasis:names:tc:SAML:1.1:nameid-format:WindowsDomainQualifiedName">ACME\ada</NameID><SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><SubjectConfirmationData$REQUEST$ NotOnOrAfter="$SOON$" Recipient="$ACS$" /></SubjectConfirmation></Subject><Conditions NotBefore="$EARLIER$" NotOnOrAfter="$SOON$"><AudienceRestriction><Audience>$SP$</Audience></AudienceRestriction></Conditions><AttributeStatement><Attribute Name="http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress"><AttributeValue>ada@acme.example</AttributeValue></Attribute><Attribute Name="http://schemas.xmlsoap.org/claims/Group"><AttributeValue>Domain Users</AttributeValue><AttributeValue>Engineering</AttributeValue></Attribute></AttributeStatement><AuthnStatement AuthnInstant="$MILLISECONDS$" SessionIndex="$ASSERTION$"><AuthnContext><AuthnContextClassRef>urn:federation:authentication:windows</AuthnContextClassRef></AuthnContext></AuthnStatement></Assertion></samlp:Response>"#;

const SHIBBOLETH: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<saml2p:Response Destination="$ACS$" ID="$RESPONSE$"$REQUEST$ IssueInstant="$MILLISECONDS$" Version="2.0" xmlns:saml2p="urn:oasis:names:tc:SAML:2.0:protocol"><saml2:Issuer xmlns:saml2="urn:oasis:names:tc:SAML:2.0:assertion">$ISSUER$</saml2:Issuer>$SIGNATURE-RESPONSE-ds-$<saml2p:Status><saml2p:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></saml2p:Status><saml2:Assertion ID="$ASSERTION$" IssueInstant="$MILLISECONDS$" Version="2.0" xmlns:saml2="urn:oasis:names:tc:SAML:2.0:assertion" xmlns:xsd="http://www.w3.org/2001/XMLSchema"><saml2:Issuer>$ISSUER$</saml2:Issuer><saml2:Subject><saml2:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent" NameQualifier="$ISSUER$" SPNameQualifier="$SP$">XKPD3LMTIPVJMFD3ZEU4CRLJOLTX2MGK</saml2:NameID><saml2:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml2:SubjectConfirmationData Address="192.0.2.7"$REQUEST$ NotOnOrAfter="$SOON$" Recipient="$ACS$"/></saml2:SubjectConfirmation></saml2:Subject><saml2:Conditions NotBefore="$EARLIER$" NotOnOrAfter="$SOON$"><saml2:AudienceRestriction><saml2:Audience>$SP$</saml2:Audience></saml2:AudienceRestriction></saml2:Conditions><saml2:AuthnStatement AuthnInstant="$MILLISECONDS$" SessionIndex="$ASSERTION$"><saml2:SubjectLocality Address="192.0.2.7"/><saml2:AuthnContext><saml2:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport</saml2:AuthnContextClassRef></saml2:AuthnContext></saml2:AuthnStatement><saml2:AttributeStatement><saml2:Attribute FriendlyName="mail" Name="urn:oid:0.9.2342.19200300.100.1.3" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri"><saml2:AttributeValue>ada@acme.example</saml2:AttributeValue></saml2:Attribute><saml2:Attribute FriendlyName="displayName" Name="urn:oid:2.16.840.1.113730.3.1.241" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri"><saml2:AttributeValue>Ada Lovelace</saml2:AttributeValue></saml2:Attribute></saml2:AttributeStatement></saml2:Assertion></saml2p:Response>"#;

const PING: &str = r#"<samlp:Response Version="2.0" ID="$RESPONSE$" IssueInstant="$MILLISECONDS$"$REQUEST$ Destination="$ACS$" xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"><saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">$ISSUER$</saml:Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status><saml:Assertion ID="$ASSERTION$" IssueInstant="$MILLISECONDS$" Version="2.0" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"><saml:Issuer>$ISSUER$</saml:Issuer>$SIGNATURE-ASSERTION-ds-$<saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified">ada@acme.example</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData Recipient="$ACS$" NotOnOrAfter="$SOON$"$REQUEST$/></saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="$EARLIER$" NotOnOrAfter="$SOON$"><saml:AudienceRestriction><saml:Audience>$SP$</saml:Audience></saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement SessionIndex="$ASSERTION$" AuthnInstant="$MILLISECONDS$"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement><saml:AttributeStatement xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><saml:Attribute Name="email" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:basic"><saml:AttributeValue xsi:type="xs:string">ada@acme.example</saml:AttributeValue></saml:Attribute><saml:Attribute Name="name" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:basic"><saml:AttributeValue xsi:type="xs:string">Ada Lovelace</saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion></samlp:Response>"#;

/// Everything that canonicalization must put right: order and quotes of attributes, references,
/// CDATA apart, namespaces declared where nobody uses them and again where they are known.
const PRETTY: &str = "<?xml version='1.0'?>
<p:Response
    xmlns:unused='urn:example:unused'   Version='2.0'
    xmlns:p='urn:oasis:names:tc:SAML:2.0:protocol'
    xmlns='urn:oasis:names:tc:SAML:2.0:assertion'
    ID='$RESPONSE$'  IssueInstant='$NOW$'
    Destination='$ACS$'$REQUEST$ >
  <Issuer >$ISSUER$</Issuer >
  $SIGNATURE-RESPONSE-ds-xs$
  <p:Status
    ><p:StatusCode Value='urn:oasis:names:tc:SAML:2.0:status:Success' /></p:Status >
  <a:Assertion xmlns:a='urn:oasis:names:tc:SAML:2.0:assertion' xmlns:xs='http://www.w3.org/2001/XMLSchema'
    Version='2.0' IssueInstant='$NOW$' ID='$ASSERTION$'>
    <Issuer>$ISSUER$</Issuer>
    $SIGNATURE-ASSERTION-ds-xs$
    <a:Subject xmlns:p='urn:oasis:names:tc:SAML:2.0:protocol'>
      <a:NameID xmlns:a='urn:oasis:names:tc:SAML:2.0:assertion'>&#97;da&#x40;acme.example</a:NameID>
      <SubjectConfirmation Method='urn:oasis:names:tc:SAML:2.0:cm:bearer'
        ><b:SubjectConfirmationData xmlns:b='urn:oasis:names:tc:SAML:2.0:assertion'
          Recipient='$ACS$'\tNotOnOrAfter='$SOON$'$REQUEST$/></SubjectConfirmation>
    </a:Subject>
    <Conditions><AudienceRestriction><Audience>$SP$</Audience></AudienceRestriction></Conditions>
    <AuthnStatement AuthnInstant='$NOW$'>
      <AuthnContext><AuthnContextClassRef>urn:example:&quot;x&quot;</AuthnContextClassRef></AuthnContext>
    </AuthnStatement>
    <AttributeStatement>
      <Attribute Name='email'><AttributeValue xmlns:i='http://www.w3.org/2001/XMLSchema-instance'
        i:type='xs:string'>ada@acme.example</AttributeValue></Attribute>
      <Attribute Name='note' FriendlyName='a\tb&#9;c&#10;&lt;d&gt;&apos;'><AttributeValue
        >a &lt; b &amp;\n c > \"d\" \u{e9}</AttributeValue></Attribute>
    </AttributeStatement>
  </a:Assertion>
</p:Response>
";
