//! DNSSEC: what a zone's owner signed is believed, and what was changed since isn't.

use std::time::Duration;

use hickory_net::proto::{
    dnssec::rdata::{DNSSECRData, NSEC},
    op::{Message, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{CNAME, NS, NULL, SOA, TXT},
    },
};
use rollcall::dns::{Answer, DomainName, Examination, Examiner, Look};
use rollcall_kit::dns::{Dns, Mode as Manner, liar::Liar, signed::ZoneKey};

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

fn name(name: &str) -> Name {
    Name::from_ascii(name).unwrap()
}

fn nsec(next: &str, types: &[RecordType]) -> RData {
    RData::DNSSEC(DNSSECRData::NSEC(NSEC::new(name(next), types.iter().copied())))
}

/// A record of this name, and its signature if somebody signs it.
fn record(owner: &str, data: &RData, by: Option<&ZoneKey>) -> Vec<Record> {
    let sign = |key: &ZoneKey| key.sign(owner, std::slice::from_ref(data), HALF_AN_HOUR).unwrap();
    let all = std::iter::once(data.clone()).chain(by.map(sign));
    all.map(|data| Record::from_rdata(name(owner), 0, data)).collect()
}

fn empty(question: &Message) -> Message {
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.authoritative = true;
    answer.add_queries(question.queries.iter().cloned());
    answer
}

/// What is seen where everything is answered by `lie`, by somebody who trusts these keys.
async fn told(
    lie: impl Fn(&Message, bool) -> Vec<Vec<u8>> + Send + Sync + 'static,
    trusted: &str,
) -> Examination {
    let liar = Liar::start(lie).unwrap();
    let file = anchors(trusted);
    let examiner = Examiner::new(&settings(walking(liar.address()), file.path())).unwrap();
    let domain = DomainName::parse("acme.example").unwrap();
    let look = Look { domain: &domain, expected: VALUE, allow_private: true, renewing: true };
    examiner.examine(&look).await
}

#[tokio::test]
async fn a_denial_by_another_zone_takes_nothing() {
    let registry = ZoneKey::new("example").unwrap();
    let stranger = ZoneKey::new("aaa.example").unwrap();
    let trusted = [registry.trust_anchor(), stranger.trust_anchor()].concat();
    let keys = |key: &ZoneKey, zone: &str| -> Vec<_> {
        let keys = key.records().unwrap().into_iter();
        keys.map(|data| Record::from_rdata(name(zone), 0, data)).collect()
    };
    let all = nsec("zzz.example.", &[RecordType::NSEC, RecordType::RRSIG]);
    let cut = [RecordType::NS, RecordType::NSEC, RecordType::RRSIG];
    let soa = RData::SOA(SOA::new(name("example."), name("example."), 1, 1, 1, 1, 1));
    let unsigned = [
        record("example.", &soa, Some(&registry)),
        record("aab.example.", &nsec("aac.example.", &cut), Some(&registry)),
    ]
    .concat();
    let server = RData::NS(NS(name("ns.aab.example.")));
    for (denial, answer, whose) in [
        (record("aaa.example.", &all, Some(&registry)), Answer::NxDomain, "the zone's own"),
        (record("aaa.example.", &all, Some(&stranger)), Answer::Bogus, "another signed zone's"),
        (record("aab.example.", &all, None), Answer::Bogus, "an unsigned zone's"),
    ] {
        let registry = keys(&registry, "example.");
        let stranger = keys(&stranger, "aaa.example.");
        let (unsigned, server) = (unsigned.clone(), record("aab.example.", &server, None));
        let lie = move |question: &Message, _| {
            let mut said = empty(question);
            let query = &question.queries[0];
            let name = query.name().to_lowercase().to_ascii();
            match (name.as_str(), query.query_type()) {
                ("example.", RecordType::DNSKEY) => said.answers = registry.clone(),
                ("aaa.example.", RecordType::DNSKEY) => said.answers = stranger.clone(),
                ("aab.example.", RecordType::NS) => said.answers = server.clone(),
                ("aab.example.", RecordType::DS) => said.authorities = unsigned.clone(),
                _ => {
                    said.metadata.response_code = ResponseCode::NXDomain;
                    said.authorities = denial.clone();
                }
            }
            vec![said.to_vec().unwrap()]
        };
        let looked = told(lie, &trusted).await;
        assert_eq!(looked.answer, answer, "{whose}: {looked:#?}");
    }
}

/// What a DNAME to this name is, which hickory knows no more of.
fn dname(target: &str) -> RData {
    let rdata = NULL::with(name(target).to_bytes().unwrap());
    RData::Unknown { code: RecordType::DNAME, rdata }
}

#[tokio::test]
async fn an_alias_is_believed_that_a_signed_dname_makes_and_no_other() {
    let key = ZoneKey::new("acme.example").unwrap();
    let stranger = ZoneKey::new("acme.example").unwrap();
    let (here, there) = ("branch.acme.example.", "leaf.acme.example.");
    let made = dname(there);
    let signed = record(here, &made, Some(&key));
    let mut two = signed.clone();
    two.extend(record(here, &dname("evil.example."), None));
    for (dname, alias, answer, how) in [
        (signed.clone(), "proof.leaf.acme.example.", Answer::Match, "as it is"),
        (signed.clone(), "other.leaf.acme.example.", Answer::Bogus, "to another name"),
        (signed.clone(), there, Answer::Bogus, "to the DNAME's own target"),
        (signed[..1].to_vec(), "proof.leaf.acme.example.", Answer::Bogus, "unsigned"),
        (signed[1..].to_vec(), "proof.leaf.acme.example.", Answer::Bogus, "without the DNAME"),
        (record(here, &made, Some(&stranger)), "proof.leaf.acme.example.", Answer::Bogus, "forged"),
        (two, "proof.leaf.acme.example.", Answer::Bogus, "with another DNAME beside it"),
    ] {
        let keys: Vec<_> = key.records().unwrap();
        let keys: Vec<_> =
            keys.into_iter().map(|d| Record::from_rdata(name("acme.example."), 0, d)).collect();
        let first = RData::CNAME(CNAME(name("proof.branch.acme.example.")));
        let first = record(RECORD, &first, Some(&key));
        let value = txt(VALUE);
        let value = |owner| record(owner, &value, Some(&key));
        let values = [value("proof.leaf.acme.example"), value("other.leaf.acme.example")].concat();
        let second = RData::CNAME(CNAME(name(alias)));
        let second = record("proof.branch.acme.example.", &second, None);
        let lie = move |question: &Message, _| {
            let mut said = empty(question);
            let query = &question.queries[0];
            let asked = query.name().to_lowercase().to_ascii();
            said.answers = match (asked.trim_end_matches('.'), query.query_type()) {
                ("acme.example", RecordType::DNSKEY) => keys.clone(),
                (RECORD, _) => first.clone(),
                ("proof.branch.acme.example", _) => [dname.clone(), second.clone()].concat(),
                (other, _) => {
                    let of = |record: &&Record| record.name == name(&format!("{other}."));
                    values.iter().filter(of).cloned().collect()
                }
            };
            vec![said.to_vec().unwrap()]
        };
        let looked = told(lie, &key.trust_anchor()).await;
        // to names beside the challenge name nothing is said, of which nobody knows what to think
        let looked = looked.answer;
        assert_eq!(looked, answer, "{how}");
    }
}

#[tokio::test]
async fn a_maze_of_denials_is_left_soon() {
    let key = ZoneKey::new("acme.example").unwrap();
    let soa = RData::SOA(SOA::new(name("acme.example."), name("acme.example."), 1, 1, 1, 1, 0));
    let mut maze = record("acme.example.", &soa, None);
    for n in 0..97 {
        // each has the zone that it belongs to sought, where it is denied by all of them
        maze.extend(record(&format!("n{n}.acme.example."), &nsec("z.acme.example.", &[]), None));
    }
    let lie = move |question: &Message, tcp: bool| {
        let mut said = empty(question);
        said.metadata.truncation = !tcp;
        if tcp {
            said.authorities = maze.clone();
        }
        vec![said.to_vec().unwrap()]
    };
    let looked = told(lie, &key.trust_anchor()).await;
    assert_eq!(looked.answer, Answer::Malformed, "{looked:#?}");
    assert!(looked.steps.len() < 20, "{looked:#?}");
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
