//! What is fuzzed, and what must hold for whatever comes. The seeds go through the same functions in
//! `tests/it/fuzz_seeds.rs`, on a stable compiler.
//!
//! The seeds of responses were signed and encrypted by xmlsec1, so that they speak for somebody else's
//! understanding of the standards: in the styles of Okta (`okta.xml`), Entra (`entra.xml`), Keycloak
//! and Google (`google.xml`), with elliptic curves, and encrypted with AES-GCM and AES-CBC. The
//! decryption key beside them is nobody's. Those of DNS answers are what Knot served of zones that
//! BIND had signed; `records-rrsig` is what a fuzzer made of one.

mod redirect;
mod scim;

use std::sync::LazyLock;
use std::time::Duration;

use hickory_net::proto::{op::Message, rr::Name};
use jiff::Timestamp;
use rollcall::dns::{self, Failure, Reply, Role};
use rollcall::saml::{
    self, DecryptionKey, Expected, Refusal, ServiceProvider, TrustedIdp, metadata,
};

pub use redirect::redirect;
pub use scim::scim;

const NOW: &str = "2026-03-01T12:01:00Z";

static IDP: LazyLock<TrustedIdp> = LazyLock::new(|| {
    let document = include_bytes!("../seeds/metadata/response-seeds.xml");
    TrustedIdp::new(&metadata::parse(document, now()).expect("the metadata of the seeds is good"))
});
static KEYS: LazyLock<[DecryptionKey; 1]> = LazyLock::new(|| {
    let key = include_bytes!("../seeds/decryption-key.pem");
    [DecryptionKey::new(key).expect("the key of the seeds is good")]
});

fn now() -> Timestamp {
    NOW.parse().expect("it is a time")
}

/// A response signs in the person that the seeds' identity provider signed, or nobody.
pub fn response(data: &[u8]) -> Result<(), Refusal> {
    let expected = Expected {
        idp: &IDP,
        sp: ServiceProvider {
            entity_id: "urn:sp",
            acs_url: "https://sp/acs",
            decryption_keys: &*KEYS,
        },
        request: None,
        now: now(),
        skew: Duration::from_secs(60),
    };
    let assertion = saml::verify(data, &expected)?;
    assert_eq!(assertion.issuer, "urn:idp");
    assert_eq!(assertion.id, "id1");
    assert_eq!(assertion.name_id.value, "ada@acme.com");
    let values = assertion.attributes.iter().map(|attribute| &attribute.values[..]);
    assert!(values.eq([["Ada & \r \u{fc} \u{1f600} >"]]));
    Ok(())
}

/// Metadata that is read keeps its own promises, and its certificates can be tried.
pub fn metadata(data: &[u8]) -> Result<(), metadata::MetadataError> {
    let idp = metadata::parse(data, now())?;
    assert!((1..=1024).contains(&idp.entity_id.chars().count()));
    assert!(!idp.entity_id.chars().any(char::is_control));
    assert!(idp.sign_on_url.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://")));
    assert!((1..=16).contains(&idp.certificates.len()));
    assert!(idp.valid_until.is_none_or(|until| until > now()));
    TrustedIdp::new(&idp);
    Ok(())
}

/// What a DNS server sends is believed only of the name that was asked for and of zones on the way
/// down to it, and only so much of it. Returns what it says as one who serves each of these zones, and
/// as a resolver.
pub fn dns(data: &[u8]) -> [Result<Reply, Failure>; 4] {
    let Ok(message) = Message::from_vec(data) else {
        return [const { Err(Failure::Malformed) }; 4];
    };
    let Some(question) = message.queries.first() else {
        return [const { Err(Failure::Malformed) }; 4];
    };
    let zones = [".", "example.", "acme.example."].map(|zone| Name::from_ascii(zone).unwrap());
    let [root, registry, company] = zones.each_ref().map(Role::ServerOf);
    [root, registry, company, Role::Resolver].map(|role| {
        let reply = Reply::read(&message, question, role)?;
        match &reply {
            Reply::Records => assert!(dns::texts(&message, question.name()).len() <= 64),
            Reply::Referral(below) => {
                let Role::ServerOf(zone) = role else { panic!("a resolver refers to nobody") };
                assert!(below.zone != *zone && zone.zone_of(&below.zone));
                assert!(below.zone.zone_of(question.name()));
                assert!((1..=6).contains(&below.servers.len()));
                for (name, addresses) in &below.servers {
                    assert!(addresses.len() <= 2);
                    assert!(addresses.is_empty() || zone.zone_of(name));
                }
            }
            Reply::Alias(_) | Reply::NoData(_) | Reply::NxDomain(_) => {}
        }
        let kept = dns::keep_relevant(message.clone(), question)?;
        assert!(kept.all_sections().count() <= 100);
        // what is thrown away has told nothing, but for where others are
        if !matches!(reply, Reply::Referral(_)) {
            assert_eq!(Reply::read(&kept, question, role).as_ref(), Ok(&reply));
        }
        Ok(reply)
    })
}
