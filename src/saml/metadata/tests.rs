use proptest::prelude::*;

use super::*;

const NOW: &str = "2026-03-01T00:00:00Z";
const SIGN_ON: &str = r#"<SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://idp.acme.com/sso"/>"#;
const IDP: &str =
    r#"IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol""#;

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn read(xml: &str) -> Result<IdentityProvider, MetadataError> {
    parse(xml.as_bytes(), now())
}

fn key(attributes: &str, certificates: &[&str]) -> String {
    let certificates: String =
        certificates.iter().map(|c| format!("<X509Certificate>{c}</X509Certificate>")).collect();
    format!(
        r#"<KeyDescriptor {attributes}><KeyInfo xmlns="{DS}"><X509Data>{certificates}</X509Data></KeyInfo></KeyDescriptor>"#
    )
}

fn entity(attributes: &str, content: &str) -> String {
    format!(r#"<EntityDescriptor xmlns="{MD}" {attributes}>{content}</EntityDescriptor>"#)
}

/// An entity whose identity provider has this in it.
fn idp(content: &str) -> String {
    entity(r#"entityID="urn:idp""#, &format!("<{IDP}>{content}</IDPSSODescriptor>"))
}

fn good() -> String {
    idp(&(key(r#"use="signing""#, &[UNTIL_2120]) + SIGN_ON))
}

fn not_after(idp: &IdentityProvider) -> Vec<String> {
    idp.certificates.iter().map(|c| c.not_after.to_string()[..10].to_owned()).collect()
}

#[test]
fn okta() {
    let idp = read(&format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><md:EntityDescriptor entityID="http://www.okta.com/exk1" xmlns:md="{MD}"><md:IDPSSODescriptor WantAuthnRequestsSigned="false" protocolSupportEnumeration="{SAMLP}"><md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="{DS}"><ds:X509Data><ds:X509Certificate>{}
</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor><md:NameIDFormat>urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress</md:NameIDFormat><md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="https://acme.okta.com/app/a/exk1/sso/saml"/><md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://acme.okta.com/app/a/exk1/sso/saml?x=1&amp;y=2"/></md:IDPSSODescriptor></md:EntityDescriptor>"#,
        UNTIL_2120.replace('A', "A\n        ")
    ))
    .unwrap();
    assert_eq!(idp.entity_id, "http://www.okta.com/exk1");
    assert_eq!(idp.sign_on_url, "https://acme.okta.com/app/a/exk1/sso/saml?x=1&y=2");
    assert_eq!(idp.sign_on_binding, Binding::HttpRedirect);
    assert_eq!(idp.certificates[0].sha256, SHA256_OF_2120);
    assert_eq!(not_after(&idp), ["2120-01-01"]);
    assert_eq!((idp.valid_until, idp.refresh_after), (None, None));
}

/// WS-Federation beside SAML, a signature that isn't looked at, and a rollover.
#[test]
fn entra_and_adfs() {
    let signature = format!(
        r#"<Signature xmlns="{DS}"><KeyInfo><X509Data><X509Certificate>AAAA</X509Certificate></X509Data></KeyInfo></Signature>"#
    );
    let federation = |kind: &str| {
        format!(
            r#"<RoleDescriptor xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:fed="http://docs.oasis-open.org/wsfed/federation/200706" xsi:type="fed:{kind}" protocolSupportEnumeration="http://docs.oasis-open.org/wsfed/federation/200706">{}<fed:ClaimTypesOffered>{}</fed:ClaimTypesOffered></RoleDescriptor>"#,
            key(r#"use="signing""#, &["BBBB"]),
            r#"<auth:ClaimType xmlns:auth="http://docs.oasis-open.org/wsfed/authorization/200706" Uri="http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"><auth:DisplayName>Name</auth:DisplayName></auth:ClaimType>"#.repeat(200)
        )
    };
    let (sts, app) = (federation("SecurityTokenServiceType"), federation("ApplicationServiceType"));
    let service_provider = format!(
        r#"<SPSSODescriptor protocolSupportEnumeration="{SAMLP}">{}</SPSSODescriptor>"#,
        key(r#"use="signing""#, &["CCCC"])
    );
    let keys = key(r#"use="encryption""#, &["DDDD"])
        + &key(r#"use="signing""#, &[UNTIL_2120])
        + &key(r#"use="signing""#, &[UNTIL_2110]);
    let xml = entity(
        r#"ID="_1" entityID="https://sts.windows.net/6babcaad/""#,
        &format!(
            "{signature}{sts}{app}{service_provider}<{IDP}>{keys}{SIGN_ON}</IDPSSODescriptor>"
        ),
    );
    let idp = read(&format!("\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>{xml}")).unwrap();
    assert_eq!(idp.entity_id, "https://sts.windows.net/6babcaad/");
    assert_eq!(not_after(&idp), ["2110-01-01", "2120-01-01"]);
}

#[test]
fn shibboleth_and_keycloak_wrap_one_identity_provider() {
    let xml = good().replace(
        "SAML:2.0:protocol\"",
        "SAML:1.1:protocol urn:mace:shibboleth:1.0 \n urn:oasis:names:tc:SAML:2.0:protocol\"",
    );
    let sp = entity(
        r#"entityID="urn:sp""#,
        &format!(r#"<SPSSODescriptor protocolSupportEnumeration="{SAMLP}"/>"#),
    );
    let wrap = |inner: &str| {
        format!(r#"<e:EntitiesDescriptor xmlns:e="{MD}">{inner}</e:EntitiesDescriptor>"#)
    };
    let idp = read(&wrap(&(sp.clone() + &wrap(&xml)))).unwrap();
    assert_eq!(idp.entity_id, "urn:idp");
    let several = wrap(&(xml.clone() + &wrap(&xml)));
    assert_eq!(read(&several), Err(MetadataError::SeveralIdentityProviders));
    assert_eq!(read(&wrap(&sp)), Err(MetadataError::NoIdentityProvider));
    // an entity inside something else is that something's content
    let elsewhere = entity(r#"entityID="urn:sp""#, &format!("<Extensions>{xml}</Extensions>"));
    assert_eq!(read(&elsewhere), Err(MetadataError::NoIdentityProvider));
}

/// As Google's: a key for both uses, HTTP-POST only, validUntil in milliseconds.
#[test]
fn google() {
    let xml = entity(
        r#"entityID="https://accounts.google.com/o/saml2?idpid=C0" validUntil="2031-03-01T00:00:00.000Z""#,
        &format!(
            r#"<{IDP}>{}{}</IDPSSODescriptor>"#,
            key("", &[UNTIL_2120]),
            SIGN_ON.replace("HTTP-Redirect", "HTTP-POST")
        ),
    );
    let idp = read(&xml).unwrap();
    assert_eq!(idp.sign_on_binding, Binding::HttpPost);
    assert_eq!(idp.valid_until.unwrap().to_string(), "2031-03-01T00:00:00Z");
    assert_eq!(idp.refresh_after, Some(Duration::from_secs(1826 * 86400)));
}

#[test]
fn signing_certificates_are_all_there_once_and_the_longest_lived_is_last() {
    let with = |keys: String| read(&idp(&(keys + SIGN_ON)));
    let all = with(
        key(r#"use="signing""#, &[FOREVER, UNTIL_2120, UNTIL_2120])
            + &key("", &[EXPIRED])
            + &key(r#"use="signing""#, &[UNTIL_2110, UNTIL_2120]),
    );
    assert_eq!(not_after(&all.unwrap()), ["2020-01-01", "2110-01-01", "2120-01-01", "9999-12-30"]);
    // expired ones are the caller's business
    assert_eq!(not_after(&with(key("", &[EXPIRED])).unwrap()), ["2020-01-01"]);
    // an authority isn't what assertions are signed with
    let chain = with(key("", &[AUTHORITY, ISSUED])).unwrap();
    assert_eq!(chain.certificates, with(key("", &[ISSUED])).unwrap().certificates);
    assert_eq!(with(key("", &[AUTHORITY])).unwrap().certificates.len(), 1);

    let (left, right) = UNTIL_2120.split_at(100);
    let split = with(key("", &[&format!("{left}<!-- - --> <?p i?>\n{right}")])).unwrap();
    assert_eq!(split.certificates[0].sha256, SHA256_OF_2120);

    let bad = |n| Err(MetadataError::BadCertificate(n));
    let signing = |certificates: &[&str]| with(key(r#"use="signing""#, certificates));
    assert_eq!(signing(&[UNTIL_2120, left]), bad(2));
    assert_eq!(signing(&[""]), bad(1));
    assert_eq!(signing(&["no base64!"]), bad(1));
    assert_eq!(signing(&[&format!("{left}<b/>{right}")]), bad(1));
    assert_eq!(signing(&[&BASE64_STANDARD.encode(b"no certificate")]), bad(1));
    let trailing = [BASE64_STANDARD.decode(UNTIL_2120).unwrap(), vec![0]].concat();
    assert_eq!(signing(&[&BASE64_STANDARD.encode(trailing)]), bad(1));
    assert_eq!(signing(&[UNTIL_2120; 65]), Err(MetadataError::TooManyCertificates));
    assert_eq!(signing(&[UNTIL_2120; 64]).unwrap().certificates.len(), 1);

    let none = Err(MetadataError::NoSigningCertificate);
    assert_eq!(with(key(r#"use="encryption""#, &[UNTIL_2120])), none);
    assert_eq!(with(key("", &[UNTIL_2120]).replace(DS, "urn:other")), none);
    assert_eq!(with(String::new()), none);
    let value = format!(
        r#"<KeyDescriptor><KeyInfo xmlns="{DS}"><KeyValue><RSAKeyValue/></KeyValue></KeyInfo></KeyDescriptor>"#
    );
    assert_eq!(with(value), none);
}

#[test]
fn the_earliest_time_of_all_that_encloses_the_provider_counts() {
    let with = |entities: &str, entity: &str, role: &str| {
        let xml = good()
            .replace("entityID", &format!("{entity} entityID"))
            .replace("protocolSupport", &format!("{role} protocolSupport"));
        read(&format!(r#"<EntitiesDescriptor xmlns="{MD}" {entities}>{xml}</EntitiesDescriptor>"#))
            .map(|idp| (idp.valid_until.map(|t| t.to_string()), idp.refresh_after))
    };
    let (day, march_2) = (Duration::from_secs(86400), "2026-03-02T00:00:00Z");
    let until = |t: &str| format!(r#"validUntil="{t}""#);
    let cache = |d: &str| format!(r#"cacheDuration="{d}""#);
    assert_eq!(with("", "", &cache("P1D")), Ok((None, Some(day))));
    assert_eq!(with(&cache("PT1H"), &cache("P1D"), ""), Ok((None, Some(day / 24))));
    assert_eq!(
        with(&until("2030-01-01T00:00:00Z"), "", &until(march_2)),
        Ok((Some(march_2.to_owned()), Some(day)))
    );
    assert_eq!(
        with(&cache("PT1H"), "", &until(march_2)),
        Ok((Some(march_2.to_owned()), Some(day / 24)))
    );
    assert_eq!(with(&until(NOW), &until(march_2), ""), Err(MetadataError::Expired));
    assert_eq!(with("", "", &until("2026-02-28T23:59:59Z")), Err(MetadataError::Expired));
    assert_eq!(with("", &until("soon"), ""), Err(MetadataError::BadTime));
    assert_eq!(with("", &cache("-P1D"), ""), Err(MetadataError::BadTime));
}

#[test]
fn where_people_sign_in_is_an_https_url() {
    let with = |location: &str| {
        let sign_on = SIGN_ON.replace("https://idp.acme.com/sso", location);
        read(&idp(&(key("", &[UNTIL_2120]) + &sign_on))).map(|idp| idp.sign_on_url)
    };
    assert_eq!(with(" HTTPS://idp.acme.com ").unwrap(), "HTTPS://idp.acme.com");
    let long = format!("https://idp.acme.com/{}", "x".repeat(MAX_URL));
    for bad in [
        "",
        "/sso",
        "http://idp.acme.com/",
        "javascript:alert(1)//https://",
        "https:/idp.acme.com",
        "https://",
        "https://a b/",
        "https://u@idp.acme.com/",
        "https://a\\@b/",
        "https://a/&#10;",
        "https://idp.acme.com/ü",
        &long,
    ] {
        let got = with(bad);
        // a line's end at the URL's is taken off like a blank
        let trimmed = bad.ends_with("&#10;");
        assert_eq!(got.is_ok(), trimmed, "{bad}");
        assert!(trimmed || got == Err(MetadataError::BadSignOnUrl), "{bad}");
    }
    let artifact = good().replace("HTTP-Redirect", "HTTP-Artifact");
    assert_eq!(read(&artifact), Err(MetadataError::NoSignOnService));
    // an unusable one doesn't hide a usable one
    let both = SIGN_ON.replace("https", "http") + &SIGN_ON.replace("HTTP-Redirect", "HTTP-POST");
    assert_eq!(read(&good().replace(SIGN_ON, &both)).unwrap().sign_on_binding, Binding::HttpPost);
}

#[test]
fn what_is_no_metadata_is_refused_with_what_it_is() {
    let long = "x".repeat(MAX_ENTITY_ID + 1);
    for (xml, error) in [
        ("".to_owned(), MetadataError::Empty),
        (" \n\u{feff}".trim_end_matches('\u{feff}').to_owned(), MetadataError::Empty),
        ("\u{feff}".to_owned(), MetadataError::Empty),
        (r#"{"issuer": "https://idp.acme.com"}"#.to_owned(), MetadataError::Json),
        ("<!DOCTYPE html><html><head></head></html>".to_owned(), MetadataError::Html),
        ("<HTML><br>".to_owned(), MetadataError::Html),
        ("<html xmlns='http://www.w3.org/1999/xhtml'/>".to_owned(), MetadataError::Html),
        ("<?xml version='1.0'?><!DOCTYPE HTML PUBLIC 'x'><html/>".to_owned(), MetadataError::Html),
        ("Not found".to_owned(), MetadataError::NotXml),
        (good().replace("</EntityDescriptor>", ""), MetadataError::NotXml),
        (good() + "<a/>", MetadataError::NotXml),
        (good().replace("urn:idp", "&unknown;"), MetadataError::NotXml),
        (good().replace("entityID", "x:entityID"), MetadataError::NotXml),
        (format!("<!DOCTYPE a [<!ENTITY b 'c'>]>{}", good()), MetadataError::HasDtd),
        ("<a>".repeat(100_000), MetadataError::TooComplex),
        ("<rss/>".to_owned(), MetadataError::NotSaml),
        (good().replace(MD, "urn:oasis:names:tc:SAML:1.0:metadata"), MetadataError::NotSaml),
        (good().replace(&format!(" xmlns=\"{MD}\""), ""), MetadataError::NotSaml),
        (
            good().replace("SAML:2.0:protocol", "SAML:1.1:protocol"),
            MetadataError::NoIdentityProvider,
        ),
        (good().replace("IDPSSO", "SPSSO"), MetadataError::NoIdentityProvider),
        (
            good().replace("<IDPSSODescriptor", "<IDPSSODescriptor xmlns=''"),
            MetadataError::NoIdentityProvider,
        ),
        (
            good().replace("<SingleSignOnService", "<SingleSignOnService xmlns=''"),
            MetadataError::NoSignOnService,
        ),
        (good().replace("Location", "xml:Location"), MetadataError::BadSignOnUrl),
        (good().replace("urn:idp", " "), MetadataError::BadEntityId),
        (good().replace("urn:idp", "a&#9;b"), MetadataError::BadEntityId),
        (good().replace("urn:idp", &long), MetadataError::BadEntityId),
        (good().replace("entityID", "ID"), MetadataError::BadEntityId),
    ] {
        assert_eq!(read(&xml), Err(error), "{xml:.200}");
        assert!(format!("{error:?}").starts_with(error.name()));
    }
    let utf16: Vec<u8> =
        format!("\u{feff}{}", good()).encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [&utf16[..], b"\xfe\xff\0<", b"\x30\x82\x01\xff\xfe", &[0xff; 2 << 20]] {
        assert_eq!(parse(bytes, now()), Err(MetadataError::NotUtf8));
    }
    assert_eq!(parse(&[0; 2 << 20], now()), Err(MetadataError::NotXml));
    // the bytes count, not what .NET says of them
    assert!(read(&format!("<?xml version='1.0' encoding='utf-16'?>{}", good())).is_ok());
}

proptest! {
    #[test]
    fn no_mutation_of_metadata_panics(edits in prop::collection::vec(
        (any::<prop::sample::Index>(), 0..40usize, prop::sample::select(vec![
            "", "<", ">", "/>", "\"", "'", "&", "&#0;", "&#x10FFFF;", "]]>", "<![CDATA[", "<!--",
            "-->", "<?", "?>", "<!DOCTYPE", "xmlns=\"\"", "=", "A", "\0", "\u{7ff}", "😀",
        ])), 1..6,
    )) {
        let mut xml: Vec<char> = good().chars().collect();
        for (at, length, new) in edits {
            let at = at.index(xml.len());
            let end = (at + length).min(xml.len());
            xml.splice(at..end, new.chars());
        }
        let _ = read(&xml.into_iter().collect::<String>());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, now());
        let _ = parse(&[b"<a ", &bytes[..]].concat(), now());
    }

    #[test]
    fn no_mutation_of_a_certificate_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut der = BASE64_STANDARD.decode(UNTIL_2120).unwrap();
        for (at, byte) in edits {
            let at = at.index(der.len());
            der[at] = byte;
        }
        let whole = BASE64_STANDARD.encode(&der);
        let part = BASE64_STANDARD.encode(&der[..cut.index(der.len())]);
        let _ = read(&idp(&(key("", &[&whole]) + SIGN_ON)));
        let _ = read(&idp(&(key("", &[&part]) + SIGN_ON)));
    }
}

// Certificates of throw-away keys. All but ISSUED are self-signed; all but it and AUTHORITY are
// of one subject, as in a rollover.
const UNTIL_2120: &str = "\
    MIIBPDCB46ADAgECAgIQADAKBggqhkjOPQQDAjAOMQwwCgYDVQQDDANpZHAwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMD\
    AxMDEwMDAwMDBaMA4xDDAKBgNVBAMMA2lkcDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABEYCLdv5SeKxNy1FDLJK\
    k5J/2OPdNkGAD0ctqJjCQhziuQltsfCeHa9ysmbs8hA6+6VEw4o2SdVinNAL1HcEZeWjLzAtMAwGA1UdEwEB/wQCMA\
    AwHQYDVR0OBBYEFGPgkrLYqorDQWRgI4Xh71tJbkexMAoGCCqGSM49BAMCA0gAMEUCIC3dr4oYSxrnzEaOnlitYdY0\
    7/YmAdj3C9YbXg7DtM3RAiEAhd2CY7HpqEvhfkLpdcLkKuFQHYmOoh8r0Oikov08bxc=";
const SHA256_OF_2120: &str = "dc1ec0da9f82141fc773d496d92ea25f66d318927ed1006b3ee8d6649c78d947";
const UNTIL_2110: &str = "\
    MIIBOzCB46ADAgECAgIQATAKBggqhkjOPQQDAjAOMQwwCgYDVQQDDANpZHAwIBcNMjAwMTAxMDAwMDAwWhgPMjExMD\
    AxMDEwMDAwMDBaMA4xDDAKBgNVBAMMA2lkcDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABGdkv/23kBYZ50pkRMGR\
    3zYUF46Q9Vv14zMNEg9LkLdqcjcX4MRAADZhFAMCxn9xuhC2ELlbIukN8ItZIkCLlTSjLzAtMAwGA1UdEwEB/wQCMA\
    AwHQYDVR0OBBYEFKMJmPrcabaxj53x2l3fDreT3LJUMAoGCCqGSM49BAMCA0cAMEQCIH9TITL/mFlq0H68PhJ8qylb\
    cfuRdiBfr5QdLk3hQDl/AiA3I7a/Pe+YWk+Q0lzbqlRPfBHk1d099M/LmSA+bEyUrw==";
const EXPIRED: &str = "\
    MIIBOjCB4aADAgECAgIQAjAKBggqhkjOPQQDAjAOMQwwCgYDVQQDDANpZHAwHhcNMTAwMTAxMDAwMDAwWhcNMjAwMT\
    AxMDAwMDAwWjAOMQwwCgYDVQQDDANpZHAwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASS7VsCqde0AdTqB32lUV6k\
    CWGPff4cmk3RewTgWQh+G+LAVBwijqsgYlMNM2ht2c6GkXCk2hK11NEWaGsP1wYpoy8wLTAMBgNVHRMBAf8EAjAAMB\
    0GA1UdDgQWBBTysk2kvakqcldwmA7LwRPEsFdiIzAKBggqhkjOPQQDAgNIADBFAiBPVFeWLnE09kr90xr8mlygp0F+\
    NFpVFw0zo1R41WgriwIhAKe65f1w/HebQ4ZLxj+ITcC4OpilRwhVPdQL0I8JO1SK";
const FOREVER: &str = "\
    MIIBOzCB46ADAgECAgIQAzAKBggqhkjOPQQDAjAOMQwwCgYDVQQDDANpZHAwIBcNMjAwMTAxMDAwMDAwWhgPOTk5OT\
    EyMzEyMzU5NTlaMA4xDDAKBgNVBAMMA2lkcDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABE1ndgXaos7wdzBkmI4j\
    rELccE/KvCT559NOACP64VpHbMMbMnfjjqTpA3anAawXg4FQb/gRx42y1EeiLQwQr2GjLzAtMAwGA1UdEwEB/wQCMA\
    AwHQYDVR0OBBYEFM/SbXFqRc1WliGiDWE/gJ7HDnEyMAoGCCqGSM49BAMCA0cAMEQCIDcZCulUB+Ht+vf2WvAhvZOC\
    i5GXjByOgazFj+HkTtMxAiBEWMMLnr11W1NT0A3qYR7hlwcvlWWi0oLHsiMSO1iJ7w==";
const AUTHORITY: &str = "\
    MIIBTTCB9KADAgECAgIQBDAKBggqhkjOPQQDAjANMQswCQYDVQQDDAJjYTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMD\
    EwMTAwMDAwMFowDTELMAkGA1UEAwwCY2EwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQgsCQWzCZm2RYKbDJ2irXU\
    W5VMF6W6GDSVkB8MypwrPX9Sn3mVjAaNxWdIAhd3R5f64OX/ZoJPnKvtCfdoVHxIo0IwQDAPBgNVHRMBAf8EBTADAQ\
    H/MA4GA1UdDwEB/wQEAwICBDAdBgNVHQ4EFgQUu+4hkUkp+AZa/NEy5fDJ8d65mpkwCgYIKoZIzj0EAwIDSAAwRQIg\
    W0OOPNfbo+bcFW8x7cNe9VGu2RxEy+fwgkHsp/Al3D8CIQD1TIUz8e/+hPD9ClJ6Fnitb/hg8/XK3oM/JBHeVI/63A\
    ==";
const ISSUED: &str = "\
    MIIBlTCCATugAwIBAgICEAUwCgYIKoZIzj0EAwIwDTELMAkGA1UEAwwCY2EwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMD\
    AxMDEwMDAwMDBaMBQxEjAQBgNVBAMMCWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABD6WmuLCLOQg\
    NZZLsOmZDqoDrMi4o+0o6UrQyG2m/ARHwaLb9I9uqUDUeYlOPYau41LKoBRaOPHQhn6nEEXj+7ejgYEwfzAMBgNVHR\
    MBAf8EAjAAMBoGA1UdEQQTMBGCCWxvY2FsaG9zdIcEfwAAATATBgNVHSUEDDAKBggrBgEFBQcDATAdBgNVHQ4EFgQU\
    kKoK1/boSoHpFaN+Cz8k7MX2UX8wHwYDVR0jBBgwFoAUu+4hkUkp+AZa/NEy5fDJ8d65mpkwCgYIKoZIzj0EAwIDSA\
    AwRQIhAMfWrcOoGfjiB8s061Wb3ykcx1ANFISospGZlyuV5LP2AiAISW78xW9KN1FeKp1ulceBJl9Q+15eiubtOZDa\
    nKM/3w==";
