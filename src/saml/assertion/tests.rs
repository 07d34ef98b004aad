use super::*;

fn says(format: &str, attributes: &[(&str, &[&str])]) -> Assertion {
    let time = Timestamp::UNIX_EPOCH;
    let attribute = |(name, values): &(&str, &[&str])| Attribute {
        name: (*name).into(),
        name_format: None,
        friendly_name: Some(format!("friendly {name}")),
        values: values.iter().map(|value| (*value).into()).collect(),
    };
    Assertion {
        id: "_a".into(),
        issuer: "urn:idp".into(),
        name_id: NameId {
            value: "Name@Acme.com".into(),
            format: Some(format.into()),
            name_qualifier: None,
            sp_name_qualifier: None,
        },
        session_index: None,
        attributes: attributes.iter().map(attribute).collect(),
        authn_instant: time,
        session_expires_at: None,
        expires_at: time,
        _verified: Verified,
    }
}

/// The e-mail and name found in what each of them sends without being told otherwise.
#[test]
fn the_big_identity_providers_need_no_setting() {
    let claims = |name| format!("http://schemas.xmlsoap.org/ws/2005/05/identity/claims/{name}");
    let (mail, given, family, upn) =
        (claims("emailaddress"), claims("givenname"), claims("surname"), claims("name"));
    let entra: &[(&str, &[&str])] = &[
        ("http://schemas.microsoft.com/identity/claims/displayname", &["Ada Lovelace"]),
        (&given, &["Ada"]),
        (&family, &["L."]),
        (&mail, &["Ada@acme.com"]),
        (&upn, &["ada@acme.onmicrosoft.com"]),
    ];
    let okta: &[(&str, &[&str])] =
        &[("firstName", &["Ada"]), ("lastName", &["Lovelace"]), ("email", &["ada@acme.com"])];
    let keycloak: &[(&str, &[&str])] = &[
        ("urn:oid:1.2.840.113549.1.9.1", &["ada@acme.com"]),
        ("urn:oid:2.5.4.42", &["Ada"]),
        ("urn:oid:2.5.4.4", &["Lovelace"]),
        ("Role", &["offline_access"]),
    ];
    let one_login: &[(&str, &[&str])] = &[
        ("User.email", &["ada@acme.com"]),
        ("User.FirstName", &["Ada"]),
        ("User.LastName", &["Lovelace"]),
    ];
    let jump_cloud: &[(&str, &[&str])] =
        &[("email", &["ada@acme.com"]), ("firstname", &["Ada"]), ("lastname", &["Lovelace"])];
    let google: &[(&str, &[&str])] = &[("Email", &["ada@acme.com"]), ("Name", &["Ada Lovelace"])];
    for attributes in [entra, okta, keycloak, one_login, jump_cloud, google] {
        let assertion = says(PERSISTENT, attributes);
        assert_eq!(assertion.email(None).as_deref(), Some("ada@acme.com"), "{attributes:?}");
        assert_eq!(assertion.display_name(None).as_deref(), Some("Ada Lovelace"), "{attributes:?}");
    }
    assert_eq!(says(EMAIL_ADDRESS, &[]).email(None).as_deref(), Some("name@acme.com"));
    assert_eq!(says(PERSISTENT, &[]).email(None), None);
    assert_eq!(says(PERSISTENT, &[]).display_name(None), None);
    assert_eq!(says(PERSISTENT, &[("sn", &["L."])]).display_name(None).as_deref(), Some("L."));
}

#[test]
fn of_several_candidates_the_order_decides_and_a_setting_decides_alone() {
    let assertion = says(
        EMAIL_ADDRESS,
        &[("mail", &["mail@acme.com"]), ("email", &["no address", "EMAIL@acme.com", "x@y.z"])],
    );
    assert_eq!(assertion.email(None).as_deref(), Some("email@acme.com"));
    assert_eq!(assertion.email(Some("mail")).as_deref(), Some("mail@acme.com"));
    assert_eq!(assertion.email(Some("friendly mail")).as_deref(), Some("mail@acme.com"));
    assert_eq!(assertion.email(Some("Mail")), None, "a setting is taken as it is written");
    assert_eq!(assertion.email(Some("none")), None);
    assert_eq!(assertion.display_name(Some("mail")).as_deref(), Some("mail@acme.com"));
}

#[test]
fn what_is_no_address_is_none() {
    for value in ["", "ada", "@acme.com", "ada@", "a@b@c", "a b@c", "a@b\u{0}c", "a@\u{a0}b"] {
        assert_eq!(email(value), None, "{value:?}");
    }
    let long = format!("{}@acme.com", "a".repeat(246));
    assert_eq!(email(&long), None);
    assert_eq!(email(" \u{130}DA@Acme.com\n").as_deref(), Some("\u{130}da@acme.com"));
    assert_eq!(display(&"a".repeat(257)), None);
}
