//! What users may rely on of the look at a challenge record, without a cluster: what counts as
//! proof, what never does, and what they are told.

mod delegations;
mod internet;
mod liars;
mod signed;
mod typed;

use std::{io::Write, net::SocketAddr, path::Path, time::Duration};

use rollcall::dns::{Answer, DomainName, Examination, Examiner, Look, Mode, Settings};
use rollcall_kit::dns::{Dns, Mode as Manner};
use tempfile::NamedTempFile;

const VALUE: &str = "rollcall-verification=0123456789abcdef0123456789abcdef01234567";
const RECORD: &str = "_rollcall-challenge.acme.example";

/// Trust these DNSKEY records, as lines of a zone file.
fn anchors(lines: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(lines.as_bytes()).unwrap();
    file
}

fn settings(mode: Mode, anchors: &Path) -> Settings {
    Settings { mode, trust_anchors: Some(anchors.to_owned()) }
}

/// From these roots on, as zones delegate.
fn walking(root: SocketAddr) -> Mode {
    Mode::Authoritative { roots: vec![root], port: root.port() }
}

fn asking(resolvers: &[SocketAddr]) -> Mode {
    Mode::Recursive { servers: resolvers.to_vec(), tls: None }
}

async fn examine(mode: Mode, domain: &str) -> Examination {
    let anchors = anchors("");
    let examiner = Examiner::new(&settings(mode, anchors.path())).unwrap();
    let domain = DomainName::parse(domain).unwrap();
    let look = Look { domain: &domain, expected: VALUE, allow_private: true, renewing: false };
    examiner.examine(&look).await
}

fn one(value: &str) -> Vec<Vec<String>> {
    vec![vec![value.to_owned()]]
}

/// Looks at acme.example, whose whole world is `dns`.
async fn seen(dns: &Dns) -> Examination {
    examine(walking(dns.address()), "acme.example").await
}

#[tokio::test]
async fn the_value_as_one_record_proves_and_nothing_else_does() {
    let dns = Dns::start().unwrap();
    let (first, second) = VALUE.split_at(30);
    let many: Vec<_> = (0..63).map(|n| vec![format!("other {n}")]).collect();
    for (records, answer, said) in [
        (one(VALUE), Answer::Match, "is published"),
        (vec![vec!["spf".into()], vec![VALUE.into()]], Answer::Match, "is published"),
        // strings of one record belong together
        (vec![vec![first.into(), second.into()]], Answer::Match, "is published"),
        (vec![vec![second.into()], vec![first.into()]], Answer::Mismatch, "split over two records"),
        (one(&format!("\"{VALUE}\"")), Answer::Mismatch, "has quotes"),
        (one(&format!(" {VALUE} ")), Answer::Mismatch, "quotes or spaces"),
        (one("something else"), Answer::Mismatch, "its value is \"something else\""),
        (one(&VALUE.to_uppercase()), Answer::Mismatch, "its value is \"ROLLCALL"),
        (one(&format!("{VALUE}0")), Answer::Mismatch, "change it to"),
        (one("\u{1b}[2J\n"), Answer::Mismatch, "\\u{1b}[2J\\n"),
        (one(&"ü".repeat(100)), Answer::Mismatch, &format!("\"{}…\"", "ü".repeat(64))),
        ([one(VALUE), many.clone()].concat(), Answer::Match, "is published"),
        (vec![], Answer::NoData, "publish a TXT record _rollcall-challenge.acme.example with"),
    ] {
        dns.set_txt(RECORD, records).unwrap();
        let looked = seen(&dns).await;
        assert_eq!(looked.answer, answer, "{}", looked.explanation);
        assert!(looked.explanation.contains(said), "{}", looked.explanation);
    }
    dns.remove(RECORD).unwrap();
    assert_eq!(seen(&dns).await.answer, Answer::NxDomain);
    // more than anybody needs
    dns.set_txt(RECORD, [one(VALUE), many, one("one more")].concat()).unwrap();
    assert_eq!(seen(&dns).await.answer, Answer::Malformed);
}

#[tokio::test]
async fn a_misplaced_value_is_found_and_told() {
    let dns = Dns::start().unwrap();
    for (misplaced, said) in [
        ("acme.example", "published at acme.example itself: move it to"),
        (
            "_rollcall-challenge.acme.example.acme.example",
            "Enter _rollcall-challenge as the name there",
        ),
    ] {
        dns.set_txt(misplaced, one(VALUE)).unwrap();
        let looked = seen(&dns).await;
        assert!(looked.answer.is_definite_absence(), "{looked:?}");
        assert!(looked.explanation.contains(said), "{}", looked.explanation);
        dns.remove(misplaced).unwrap();
    }
    dns.set_txt("*.acme.example", one("v=spf1 -all")).unwrap();
    let looked = seen(&dns).await;
    assert_eq!(looked.answer, Answer::Mismatch);
    assert!(looked.explanation.contains("A wildcard record answers"), "{}", looked.explanation);
}

#[tokio::test]
async fn a_wildcard_that_shows_the_value_proves_nothing() {
    let dns = Dns::start().unwrap();
    dns.set_txt("*.acme.example", one(VALUE)).unwrap();
    let looked = seen(&dns).await;
    assert_eq!(looked.answer, Answer::Wildcard);
    assert!(!looked.answer.is_definite_absence());
    // by an alias, too
    dns.set_cname("*.acme.example", "proof.other.example").unwrap();
    dns.set_txt("proof.other.example", one(VALUE)).unwrap();
    assert_eq!(seen(&dns).await.answer, Answer::Wildcard);
    // one with something else does no harm
    dns.set_txt("*.acme.example", one("v=spf1 -all")).unwrap();
    dns.set_txt(RECORD, one(VALUE)).unwrap();
    assert_eq!(seen(&dns).await.answer, Answer::Match);
    // and where none can be ruled out, nothing is proved
    dns.set_mode("acme.example", Manner::ServFail).unwrap();
    dns.set_mode(RECORD, Manner::Normal).unwrap();
    let looked = seen(&dns).await;
    assert_eq!(looked.answer, Answer::ServFail);
    assert!(looked.explanation.contains("whether a wildcard"), "{}", looked.explanation);
}

#[tokio::test]
async fn aliases_are_followed_eight_times_and_not_in_circles() {
    let dns = Dns::start().unwrap();
    let hop = |n: usize| format!("hop{n}.other.example");
    dns.set_cname(RECORD, &hop(1)).unwrap();
    for n in 1..8 {
        dns.set_cname(&hop(n), &hop(n + 1)).unwrap();
    }
    dns.set_txt(&hop(8), one(VALUE)).unwrap();
    assert_eq!(seen(&dns).await.answer, Answer::Match);
    dns.set_txt(&hop(8), one("other")).unwrap();
    let looked = seen(&dns).await;
    assert_eq!(looked.answer, Answer::Mismatch);
    assert!(looked.explanation.contains("hop8.other.example, which"), "{}", looked.explanation);

    dns.set_cname(&hop(8), &hop(9)).unwrap();
    dns.set_txt(&hop(9), one(VALUE)).unwrap();
    assert_eq!(seen(&dns).await.answer, Answer::TooManyCnames);
    for back in [hop(3), RECORD.to_owned()] {
        dns.set_cname(&hop(5), &back).unwrap();
        assert_eq!(seen(&dns).await.answer, Answer::CnameLoop);
    }
    dns.set_cname(RECORD, "gone.other.example").unwrap();
    let looked = seen(&dns).await;
    assert_eq!(looked.answer, Answer::NxDomain);
    let said = "an alias of gone.other.example, and there is no TXT record there";
    assert!(looked.explanation.contains(said), "{}", looked.explanation);
}

#[tokio::test]
async fn what_servers_answer_is_told_apart_and_only_absence_is_absence() {
    let dns = Dns::start().unwrap();
    dns.set_txt(RECORD, one(VALUE)).unwrap();
    for (manner, answer) in [
        (Manner::Normal, Answer::Match),
        (Manner::Truncated, Answer::Match), // the whole of it comes over TCP
        (Manner::Late(1200), Answer::Match),
        (Manner::NxDomain, Answer::NxDomain),
        (Manner::ServFail, Answer::ServFail),
        (Manner::Refused, Answer::Refused),
        (Manner::Lame, Answer::Refused),
        (Manner::Silent, Answer::Timeout),
        (Manner::TruncatedAlways, Answer::Malformed),
        (Manner::WrongId, Answer::Malformed),
    ] {
        dns.set_mode("acme.example", manner).unwrap();
        let looked = seen(&dns).await;
        assert_eq!(looked.answer, answer, "{manner:?}: {looked:?}");
        assert_eq!(looked.answer.is_definite_absence(), manner == Manner::NxDomain);
    }
}

#[tokio::test]
async fn a_standing_proof_is_renewed_by_one_question() {
    let dns = Dns::start().unwrap();
    dns.set_txt(RECORD, one(VALUE)).unwrap();
    let anchors = anchors("");
    let examiner = Examiner::new(&settings(walking(dns.address()), anchors.path())).unwrap();
    let domain = DomainName::parse("acme.example").unwrap();
    let mut look = Look { domain: &domain, expected: VALUE, allow_private: false, renewing: true };
    assert_eq!(examiner.examine(&look).await.answer, Answer::Match);
    assert_eq!(dns.queries(), 1);
    // what is gone is looked into as ever
    dns.remove(RECORD).unwrap();
    assert_eq!(examiner.examine(&look).await.answer, Answer::NxDomain);
    // to somebody who doesn't know the value nothing is proved
    dns.set_txt(RECORD, one("")).unwrap();
    look.expected = "";
    look.renewing = false;
    let looked = examiner.examine(&look).await;
    assert_ne!(looked.answer, Answer::Match);
}

#[tokio::test]
async fn resolvers_are_asked_one_after_the_other_and_given_time_to_forget() {
    let servers = Dns::start_many(2).unwrap();
    let resolvers: Vec<_> = servers.iter().map(Dns::address).collect();
    servers[0].set_mode(".", Manner::ServFail).unwrap();
    servers[1].set_txt(RECORD, one(VALUE)).unwrap();
    let looked = examine(asking(&resolvers), "acme.example").await;
    assert_eq!(looked.answer, Answer::Match);
    assert_eq!(looked.wait_at_least, None);
    servers[1].remove(RECORD).unwrap();
    servers[1].set_negative_ttl(300);
    let looked = examine(asking(&resolvers), "acme.example").await;
    assert_eq!(looked.answer, Answer::NxDomain);
    assert_eq!(looked.wait_at_least, Some(Duration::from_secs(300)));
    // who asks the zone's own servers has nobody to wait for
    assert_eq!(examine(walking(resolvers[1]), "acme.example").await.wait_at_least, None);
    servers[1].set_mode(".", Manner::Refused).unwrap();
    let looked = examine(asking(&resolvers), "acme.example").await;
    assert_eq!(looked.answer, Answer::Refused);
    let said = "127.0.0.1 fails (SERVFAIL) and 127.0.0.2 refuses to answer";
    assert!(looked.explanation.contains(said), "{}", looked.explanation);
}
