use jiff::ToSpan;
use rollcall_kit::wait::until;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;
use crate::{keys::LENGTH, ledger::tests::ledger};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn days(days: i64) -> Timestamp {
    at(days * 86_400)
}

fn pair(id: &str, purpose: Purpose, active_at: Timestamp) -> KeyPair {
    KeyPair {
        id: id.into(),
        purpose,
        sealed: vec![],
        public: vec![],
        created_at: active_at,
        active_at,
        retired_at: None,
        expires_at: None,
    }
}

fn slot() -> KeySlot {
    let slot = KeySlot::default();
    slot.set(InstallationKey::new(&[7; LENGTH]).unwrap());
    slot
}

#[test]
fn the_first_key_of_a_purpose_is_used_at_once() {
    let due = due(&[], &Purpose::IdToken, days(5)).unwrap();
    assert_eq!(due.active_at, days(5));
    assert!(due.last.is_none());
}

#[test]
fn an_id_token_key_is_followed_after_30_days_by_one_that_is_published_a_day_before() {
    let first = [pair("a", Purpose::IdToken, days(0))];
    assert!(due(&first, &Purpose::IdToken, at(29 * 86_400 - 1)).is_none());
    let next = due(&first, &Purpose::IdToken, days(29)).unwrap();
    assert_eq!(next.active_at, days(30));
    let last = next.last.unwrap();
    assert_eq!(last.id, "a");
    assert_eq!(last.retired_at, Some(days(30)));
    let longest = 65.minutes();
    assert_eq!(last.expires_at, Some(days(30) + longest), "until its last token has expired");
    let both = [last, pair("b", Purpose::IdToken, days(30))];
    assert!(due(&both, &Purpose::IdToken, days(29)).is_none(), "it is made once");
    assert!(due(&both, &Purpose::IdToken, days(58)).is_none());
    assert_eq!(due(&both, &Purpose::IdToken, days(59)).unwrap().last.unwrap().id, "b");
}

#[test]
fn a_key_that_is_late_is_published_as_long_before_as_any_other() {
    let first = [pair("a", Purpose::IdToken, days(0))];
    let next = due(&first, &Purpose::IdToken, days(100)).unwrap();
    assert_eq!(next.active_at, days(101));
    assert_eq!(next.last.unwrap().retired_at, Some(days(101)));
}

#[test]
fn saml_keys_are_followed_after_two_years_and_published_90_days_before() {
    let encryption = of("acme");
    for (purpose, behind) in [(Purpose::SamlSigning, 1), (encryption, 365)] {
        let first = [pair("a", purpose.clone(), days(0))];
        assert!(due(&first, &purpose, days(639)).is_none());
        let next = due(&first, &purpose, days(640)).unwrap();
        assert_eq!(next.active_at, days(730));
        assert_eq!(next.last.unwrap().expires_at, Some(days(730 + behind)));
    }
}

#[tokio::test]
async fn a_new_key_is_published_before_it_is_used_and_the_old_one_after() {
    let (_dir, ledger) = ledger().await;
    let keys = Keys::new(ledger, slot());
    let begun = Timestamp::now();
    let day = |day: i64| begun + (24 * day).hours();
    let first = keys.read(&Purpose::IdToken, begun).await.unwrap();
    let first = first.active(begun).unwrap().id.clone();
    let ring = keys.read(&Purpose::IdToken, day(29)).await.unwrap();
    let ids = |now| ring.published(now).map(|key| key.id.clone()).collect::<Vec<_>>();
    let [old, new] = &ids(day(29))[..] else { panic!("{:?}", ids(day(29))) };
    assert_eq!(*old, first);
    let active = |now| &ring.active(now).unwrap().id;
    assert_eq!(active(day(30) - 1.second()), old);
    assert_eq!(active(day(30)), new);
    assert_eq!(ids(day(30) + 64.minutes()).len(), 2, "tokens of the old one are about");
    assert_eq!(ids(day(30) + 66.minutes()), std::slice::from_ref(new));
}

#[tokio::test]
async fn gateways_that_begin_at_once_use_the_same_keys() {
    let (_dir, ledger) = ledger().await;
    let [a, b] = [(); 2].map(|()| Keys::new(ledger.clone(), slot()));
    let (a, b) = tokio::join!(a.ring(&Purpose::IdToken), b.ring(&Purpose::IdToken));
    let now = Timestamp::now();
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.active(now).unwrap().id, b.active(now).unwrap().id);
    assert_eq!(ledger.keys(&Purpose::IdToken, now).await.unwrap().len(), 1);
}

#[tokio::test]
async fn each_organization_has_encryption_keys_of_its_own() {
    let (_dir, ledger) = ledger().await;
    let now = Timestamp::now();
    let (acme, globex) = (of("acme"), of("globex"));
    for organization in ["acme", "globex"] {
        ledger.name_organization(organization, organization, now).await.unwrap();
    }
    let keys = Keys::new(ledger.clone(), slot());
    let ids = async |purpose: &Purpose| {
        let ring = keys.read(purpose, now).await.unwrap();
        ring.0.iter().map(|key| key.id.clone()).collect::<Vec<_>>()
    };
    let (ours, theirs) = (ids(&acme).await, ids(&globex).await);
    assert_eq!((ours.len(), theirs.len()), (1, 1));
    assert_ne!(ours, theirs);
    assert_eq!(ids(&acme).await, ours, "it is made once");
    // nor does a key open for another organization, if its row is moved there
    let moved =
        KeyPair { purpose: globex.clone(), ..ledger.keys(&acme, now).await.unwrap().remove(0) };
    assert!(open(slot().get().unwrap(), moved).is_none());
    // and an organization that isn't known gets none
    assert!(matches!(keys.ring(&of("nobody")).await, Err(Unavailable::Ledger(_))));
}

fn of(organization: &str) -> Purpose {
    Purpose::SamlEncryption(organization.into())
}

#[test]
fn a_saml_key_has_a_certificate_of_its_own() {
    let (pkcs8, certificate) = generate(&Purpose::SamlSigning).unwrap();
    let (_, certificate) = X509Certificate::from_der(&certificate).unwrap();
    let pair = aws_lc_rs::rsa::KeyPair::from_pkcs8(&pkcs8).unwrap();
    assert_eq!(pair.public_modulus_len(), 384);
    let public = pair.public_key().as_ref();
    assert_eq!(certificate.public_key().subject_public_key.data, public);
}

#[tokio::test]
async fn all_keys_are_made_and_what_has_expired_is_forgotten_without_any_request() {
    let (_dir, ledger) = ledger().await;
    let now = Timestamp::now();
    let old = KeyPair { expires_at: Some(now), ..pair("old", Purpose::IdToken, now - 1.hour()) };
    let new = pair("new", Purpose::IdToken, now);
    assert!(ledger.add_key(&old, None).await.unwrap());
    assert!(ledger.add_key(&new, Some(&old)).await.unwrap());
    let keeping = tokio::spawn(Keys::new(ledger.clone(), slot()).keep());
    let done = async || {
        let (tokens, saml) = (&Purpose::IdToken, &Purpose::SamlSigning);
        let tokens = ledger.keys(tokens, Timestamp::UNIX_EPOCH).await?;
        let saml = ledger.keys(saml, Timestamp::UNIX_EPOCH).await?;
        Ok((tokens.len() == 1 && tokens[0].id == "new" && saml.len() == 1).then_some(()))
    };
    until("the keys", Duration::from_secs(60), done).await.unwrap();
    keeping.abort();
}

#[tokio::test]
async fn without_the_installation_key_there_are_no_keys_and_with_another_neither() {
    let (_dir, ledger) = ledger().await;
    let without = Keys::new(ledger.clone(), KeySlot::default());
    let refused = without.ring(&Purpose::IdToken).await.err().unwrap();
    assert!(matches!(refused, Unavailable::NoInstallationKey));
    Keys::new(ledger.clone(), slot()).ring(&Purpose::IdToken).await.unwrap();
    let other = KeySlot::default();
    other.set(InstallationKey::new(&[8; LENGTH]).unwrap());
    let refused = Keys::new(ledger, other).ring(&Purpose::IdToken).await.err().unwrap();
    assert!(matches!(refused, Unavailable::NoKey(_)));
}
