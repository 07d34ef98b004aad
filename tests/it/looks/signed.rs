//! DNSSEC: what a zone's owner signed is believed, and what was changed since isn't.

use std::time::Duration;

use hickory_net::proto::rr::{RData, rdata::TXT};
use rollcall::dns::{Answer, DomainName, Examination, Examiner, Look};
use rollcall_kit::dns::{Dns, Mode as Manner, signed::ZoneKey};

use super::{RECORD, VALUE, anchors, asking, settings, walking};

const HALF_AN_HOUR: Duration = Duration::from_secs(1800);

struct Zone {
    dns: Dns,
    key: ZoneKey,
}

impl Zone {
    fn start() -> Self {
        let dns = Dns::start().unwrap();
        let key = ZoneKey::new("acme.example").unwrap();
        key.publish(&dns).unwrap();
        Self { dns, key }
    }

    /// What is seen by somebody who trusts this key for acme.example.
    async fn seen_trusting(&self, key: &ZoneKey) -> Examination {
        let file = anchors(&key.trust_anchor());
        let domain = DomainName::parse("acme.example").unwrap();
        let look = Look { domain: &domain, expected: VALUE, allow_private: true, renewing: true };
        let [walked, asked] = [walking(self.dns.address()), asking(&[self.dns.address()])]
            .map(|mode| Examiner::new(&settings(mode, file.path())).unwrap());
        let walked = walked.examine(&look).await;
        assert_eq!(asked.examine(&look).await.answer, walked.answer);
        walked
    }

    async fn seen(&self) -> Examination {
        self.seen_trusting(&self.key).await
    }
}

fn txt(value: &str) -> RData {
    RData::TXT(TXT::new(vec![value.into()]))
}

#[tokio::test]
async fn what_is_signed_is_believed_and_what_is_not_is_bogus() {
    let zone = Zone::start();
    let good = zone.key.sign(RECORD, &[txt(VALUE)], HALF_AN_HOUR).unwrap();
    zone.dns.set(RECORD, vec![txt(VALUE), good.clone()]).unwrap();
    assert_eq!(zone.seen().await.answer, Answer::Match);

    let stranger = ZoneKey::new("acme.example").unwrap();
    let other_key = stranger.sign(RECORD, &[txt(VALUE)], HALF_AN_HOUR).unwrap();
    let expired = zone.key.sign(RECORD, &[txt(VALUE)], 4 * HALF_AN_HOUR).unwrap();
    let other_name = zone.key.sign("x.acme.example", &[txt(VALUE)], HALF_AN_HOUR).unwrap();
    for (records, how) in [
        (vec![txt(VALUE)], "unsigned"),
        (vec![txt("changed"), good.clone()], "changed"),
        (vec![txt(VALUE), txt("added"), good.clone()], "added to"),
        (vec![txt(VALUE), other_key], "signed by another key"),
        (vec![txt(VALUE), expired], "signed too long ago"),
        (vec![txt(VALUE), other_name], "signed for another name"),
    ] {
        zone.dns.set(RECORD, records).unwrap();
        let looked = zone.seen().await;
        assert_eq!(looked.answer, Answer::Bogus, "{how}: {looked:?}");
        assert!(looked.explanation.contains("mend the zone's signatures"), "{how}");
    }
    // absence must be proved as well
    zone.dns.remove(RECORD).unwrap();
    let looked = zone.seen().await;
    assert_eq!(looked.answer, Answer::Bogus);
    assert!(!looked.answer.is_definite_absence());

    zone.dns.set(RECORD, vec![txt(VALUE), good]).unwrap();
    assert_eq!(zone.seen_trusting(&stranger).await.answer, Answer::Bogus);
}

#[tokio::test]
async fn keys_that_can_not_be_had_are_no_forgery() {
    let zone = Zone::start();
    let good = zone.key.sign(RECORD, &[txt(VALUE)], HALF_AN_HOUR).unwrap();
    zone.dns.set(RECORD, vec![txt(VALUE), good]).unwrap();
    zone.dns.set_mode("acme.example", Manner::ServFail).unwrap();
    zone.dns.set_mode(RECORD, Manner::Normal).unwrap();
    let looked = zone.seen().await;
    assert_eq!(looked.answer, Answer::ServFail);
    assert!(looked.explanation.contains("keys"), "{}", looked.explanation);
    zone.dns.set_mode("acme.example", Manner::Normal).unwrap();
    assert_eq!(zone.seen().await.answer, Answer::Match);
}

#[tokio::test]
async fn what_no_trusted_key_is_above_is_not_validated() {
    let zone = Zone::start();
    zone.dns.set(RECORD, vec![txt(VALUE)]).unwrap();
    let elsewhere = ZoneKey::new("other.example").unwrap();
    assert_eq!(zone.seen_trusting(&elsewhere).await.answer, Answer::Match);
}

#[test]
fn a_file_that_is_no_list_of_keys_is_refused() {
    for text in ["acme.example IN A 192.0.2.1", "acme.example IN DNSKEY 257 3 13 !!", "\u{0}x"] {
        let file = anchors(text);
        let settings = settings(asking(&[([127, 0, 0, 1], 1).into()]), file.path());
        assert!(Examiner::new(&settings).is_err(), "{text:?}");
    }
    let missing = std::path::Path::new("/nowhere/at/all");
    let settings = settings(asking(&[([127, 0, 0, 1], 1).into()]), missing);
    assert!(Examiner::new(&settings).is_err());
}
