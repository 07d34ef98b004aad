//! From the root down: who is asked, and what if they disagree, don't answer, or lead astray.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use futures::future::join_all;
use rollcall::dns::{Answer, DomainName, Examiner, Look};
use rollcall_kit::dns::{Dns, Mode as Manner};

use super::{RECORD, VALUE, anchors, examine, one, settings, walking};

const NS1: &str = "ns1.acme.example";
const NS2: &str = "ns2.acme.example";

fn ip(of: &Dns) -> Option<IpAddr> {
    Some(of.address().ip())
}

/// A root at the first address, which leaves acme.example to the others.
fn acme(servers: u8) -> Vec<Dns> {
    let all = Dns::start_many(servers + 1).unwrap();
    let names: Vec<_> = (1..=servers).map(|n| format!("ns{n}.acme.example")).collect();
    let zone: Vec<_> = names.iter().map(String::as_str).zip(all[1..].iter().map(ip)).collect();
    all[0].delegate("acme.example", &zone).unwrap();
    all
}

fn publish(servers: &[Dns]) {
    for server in servers {
        server.set_txt(RECORD, one(VALUE)).unwrap();
    }
}

#[tokio::test]
async fn a_zones_own_servers_are_asked_and_a_dead_one_does_no_harm() {
    let servers = acme(2);
    publish(&servers[1..]);
    // what the root says of names it has given away doesn't count
    servers[0].set_txt(RECORD, one("the root's own")).unwrap();
    let looked = examine(walking(servers[0].address()), "acme.example").await;
    assert_eq!(looked.answer, Answer::Match, "{looked:?}");
    for dead in [Manner::Silent, Manner::ServFail, Manner::Refused] {
        servers[1].set_mode(".", dead).unwrap();
        let looked = examine(walking(servers[0].address()), "acme.example").await;
        assert_eq!(looked.answer, Answer::Match, "{looked:?}");
    }
    servers[2].set_mode(".", Manner::Silent).unwrap();
    let looked = examine(walking(servers[0].address()), "acme.example").await;
    assert_eq!(looked.answer, Answer::Refused);
    let said = "ns1.acme.example refuses to answer and ns2.acme.example doesn't answer in time";
    assert!(looked.explanation.contains(said), "{}", looked.explanation);
}

#[tokio::test]
async fn one_server_of_three_proves_nothing_and_takes_nothing() {
    let servers = acme(3);
    publish(&servers[1..2]);
    let root = servers[0].address();
    let looked = examine(walking(root), "acme.example").await;
    assert_eq!(looked.answer, Answer::Inconsistent);
    let said = "visible at ns1.acme.example and not yet at ns2.acme.example and ns3.acme.example";
    assert!(looked.explanation.contains(said), "{}", looked.explanation);
    publish(&servers[2..3]);
    assert_eq!(examine(walking(root), "acme.example").await.answer, Answer::Match);
    // two of three are silent: one's word isn't enough, whatever it says
    for silent in &servers[2..] {
        silent.set_mode(".", Manner::Silent).unwrap();
    }
    assert_eq!(examine(walking(root), "acme.example").await.answer, Answer::Timeout);
    servers[1].remove(RECORD).unwrap();
    assert_eq!(examine(walking(root), "acme.example").await.answer, Answer::Timeout);
}

#[tokio::test]
async fn a_standing_proof_is_renewed_by_as_many_servers_as_prove_one() {
    let servers = acme(3);
    publish(&servers[1..3]);
    let anchors = anchors("");
    let root = walking(servers[0].address());
    let examiner = Examiner::new(&settings(root, anchors.path())).unwrap();
    let domain = DomainName::parse("acme.example").unwrap();
    let look = Look { domain: &domain, expected: VALUE, allow_private: true, renewing: true };
    let queries = || servers[1..].iter().map(Dns::queries).sum::<u64>();
    assert_eq!(examiner.examine(&look).await.answer, Answer::Match);
    assert_eq!(queries(), 3, "one question to each");
    // one that still shows it, whichever is heard first, renews nothing and loses nothing
    servers[2].remove(RECORD).unwrap();
    for _ in 0..10 {
        assert_eq!(examiner.examine(&look).await.answer, Answer::Inconsistent);
    }
    // what the record is an alias of may be anybody's: that no wildcard leads there is looked into
    for server in &servers[1..] {
        server.set_cname("*.acme.example", "proof.acme.example").unwrap();
        server.set_txt("proof.acme.example", one(VALUE)).unwrap();
        server.remove(RECORD).unwrap();
    }
    assert_eq!(examiner.examine(&look).await.answer, Answer::Wildcard);
}

#[tokio::test]
async fn a_zones_servers_are_asked_so_much_and_a_crowd_of_looks_delays_no_other_zone() {
    let servers = Dns::start_many(3).unwrap();
    for (zone, server) in [("acme.example", 1), ("other.example", 2)] {
        let name = format!("ns1.{zone}");
        servers[0].delegate(zone, &[(&name, ip(&servers[server]))]).unwrap();
        let record = format!("_rollcall-challenge.{zone}");
        servers[server].set_txt(&record, one(VALUE)).unwrap();
    }
    let anchors = anchors("");
    let root = walking(servers[0].address());
    let examiner = Examiner::new(&settings(root, anchors.path())).unwrap();
    let examine = async |domain: &str| {
        let domain = DomainName::parse(domain).unwrap();
        let look = Look { domain: &domain, expected: VALUE, allow_private: true, renewing: false };
        examiner.examine(&look).await
    };
    // as many looks at once as one organization has, at names that aren't there
    let begun = Instant::now();
    let crowd = join_all((0..8).map(async |member| {
        let mut looks = 0;
        while servers[1].queries() < 300 {
            looks += 1;
            examine(&format!("x{member}-{looks}.acme.example")).await;
        }
    }));
    let others = async {
        // the burst is spent, and the crowd waits
        while servers[1].queries() < 200 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let beside = examine("other.example").await;
        assert_eq!(beside.answer, Answer::Match);
        assert!(servers[1].queries() < 300, "it waited for the crowd");
        // who looks for something in the crowded zone has its turn among them
        let among = examine("acme.example").await;
        assert_eq!(among.answer, Answer::Match, "{among:?}");
    };
    tokio::join!(crowd, others);
    // 200 at once, then 50 a second; a question that is lost is repeated without a turn
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1500), "300 questions within {took:?}");
}

#[tokio::test]
async fn explanations_do_not_change_with_the_order_of_the_servers() {
    let servers = acme(3);
    publish(&servers[1..2]);
    servers[2].set_mode(".", Manner::Refused).unwrap();
    let root = servers[0].address();
    let first = examine(walking(root), "acme.example").await.explanation;
    for _ in 0..10 {
        assert_eq!(examine(walking(root), "acme.example").await.explanation, first);
    }
}

#[tokio::test]
async fn a_broken_delegation_is_told() {
    let servers = acme(2);
    for server in &servers[1..] {
        server.set_mode(".", Manner::Refused).unwrap();
    }
    let root = servers[0].address();
    let looked = examine(walking(root), "acme.example").await;
    assert_eq!(looked.answer, Answer::Refused);
    assert!(looked.explanation.contains("its delegation is broken"), "{}", looked.explanation);
    // a name server whose address only the zone itself could tell, or nobody
    servers[0].delegate("acme.example", &[(NS1, None), ("ns.nowhere.example", None)]).unwrap();
    let looked = examine(walking(root), "acme.example").await;
    assert_eq!(looked.answer, Answer::Unreachable);
    assert!(looked.explanation.contains("it has no known address"), "{}", looked.explanation);
    // nobody listens there
    let nobody = Some(IpAddr::from([127, 0, 0, 77]));
    servers[0].delegate("acme.example", &[(NS1, nobody)]).unwrap();
    let looked = examine(walking(root), "acme.example").await;
    assert_eq!(looked.answer, Answer::Unreachable, "{looked:?}");
}

#[tokio::test]
async fn name_servers_of_other_zones_are_found_and_their_aliases_too() {
    let servers = Dns::start_many(3).unwrap();
    let root = &servers[0];
    root.delegate("acme.example", &[("ns1.provider.example", None)]).unwrap();
    root.delegate("provider.example", &[("ns1.provider.example", ip(&servers[1]))]).unwrap();
    root.delegate("proofs.example", &[("ns1.proofs.example", ip(&servers[2]))]).unwrap();
    let four = |dns: &Dns| match dns.address().ip() {
        IpAddr::V4(four) => four,
        IpAddr::V6(_) => unreachable!("they are at 127.0.0.0/8"),
    };
    use hickory_net::proto::rr::{RData, rdata::A};
    servers[1].set("ns1.provider.example", vec![RData::A(A(four(&servers[1])))]).unwrap();
    servers[1].set_cname(RECORD, "acme.proofs.example").unwrap();
    servers[2].set_txt("acme.proofs.example", one(VALUE)).unwrap();
    let looked = examine(walking(root.address()), "acme.example").await;
    assert_eq!(looked.answer, Answer::Match, "{looked:?}");
}

#[tokio::test]
async fn inner_addresses_are_not_asked_unless_the_class_allows_it() {
    let servers = acme(2);
    publish(&servers[1..]);
    let anchors = super::anchors("");
    let settings = super::settings(walking(servers[0].address()), anchors.path());
    let examiner = rollcall::dns::Examiner::new(&settings).unwrap();
    let domain = rollcall::dns::DomainName::parse("acme.example").unwrap();
    let mut look = rollcall::dns::Look {
        domain: &domain,
        expected: VALUE,
        allow_private: true,
        renewing: false,
    };
    assert_eq!(examiner.examine(&look).await.answer, Answer::Match);
    let asked = servers[1].queries() + servers[2].queries();
    // whatever was found out for those who may
    look.allow_private = false;
    let looked = examiner.examine(&look).await;
    assert_eq!(looked.answer, Answer::Unreachable);
    assert!(looked.explanation.contains("at a private address"), "{}", looked.explanation);
    assert_eq!(servers[1].queries() + servers[2].queries(), asked);
    // a metadata service is never asked
    servers[0].delegate("other.example", &[(NS1, Some([169, 254, 169, 254].into()))]).unwrap();
    let looked = examine(walking(servers[0].address()), "other.example").await;
    assert_eq!(looked.answer, Answer::Unreachable);
}

#[tokio::test]
async fn a_zone_can_neither_lead_in_circles_nor_flood_others() {
    let servers = Dns::start_many(2).unwrap();
    let (root, evil) = (&servers[0], &servers[1]);
    let at = walking(root.address());
    root.delegate("acme.example", &[("ns.acme.example", ip(evil))]).unwrap();
    // name servers of zones whose name servers are in zones whose name servers ..
    root.delegate("a.example", &[("ns.b.example", None)]).unwrap();
    root.delegate("b.example", &[("ns.a.example", None)]).unwrap();
    evil.delegate("_rollcall-challenge.acme.example", &[("ns.a.example", None)]).unwrap();
    assert_eq!(examine(at.clone(), "acme.example").await.answer, Answer::Unreachable);
    assert!(root.queries() < 30, "{}", root.queries());

    // a hundred name servers, all of them somebody else's
    let before = root.queries();
    let names: Vec<_> = (0..100).map(|n| format!("ns{n}.victim.example")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), None)).collect();
    evil.delegate("_rollcall-challenge.acme.example", &many).unwrap();
    assert_eq!(examine(at.clone(), "acme.example").await.answer, Answer::Unreachable);
    assert!(root.queries() - before < 30, "{}", root.queries() - before);

    // down and down
    let before = evil.queries();
    let deep = format!("{}acme.example", "a.".repeat(60));
    for labels in 1..60 {
        let zone = format!("{}acme.example", "a.".repeat(labels));
        evil.delegate(&zone, &[("ns.acme.example", ip(evil))]).unwrap();
    }
    let looked = examine(at, &deep).await;
    assert!(!looked.answer.is_definite_absence(), "{looked:?}");
    assert!(evil.queries() - before < 30, "{}", evil.queries() - before);
}

#[tokio::test]
async fn a_zone_below_is_asked_at_its_own_servers_even_where_one_has_both() {
    let servers = acme(2);
    // ns2 knows who has eng.acme.example: ns1, which is asked for both
    servers[2].delegate("eng.acme.example", &[("ns1.acme.example", ip(&servers[1]))]).unwrap();
    servers[1].set_txt("_rollcall-challenge.eng.acme.example", one(VALUE)).unwrap();
    for _ in 0..6 {
        let looked = examine(walking(servers[0].address()), "eng.acme.example").await;
        assert_eq!(looked.answer, Answer::Match, "{looked:?}");
    }
    servers[1].remove("_rollcall-challenge.eng.acme.example").unwrap();
    for _ in 0..6 {
        let looked = examine(walking(servers[0].address()), "eng.acme.example").await;
        assert_eq!(looked.answer, Answer::NxDomain, "{looked:?}");
    }
}

#[tokio::test]
async fn a_zone_can_not_use_up_what_another_organizations_servers_are_asked() {
    let servers = Dns::start_many(2).unwrap();
    let (root, victim) = (&servers[0], &servers[1]);
    root.delegate("victim.example", &[("ns1.victim.example", ip(victim))]).unwrap();
    // six servers, each in a zone that says it has six servers that are the victim's
    let six = |of: &dyn Fn(usize) -> String| (1..=6).map(of).collect::<Vec<_>>();
    let nowhere = |names: &[String], zone: &str| {
        let servers: Vec<_> = names.iter().map(|name| (name.as_str(), None)).collect();
        root.delegate(zone, &servers).unwrap();
    };
    nowhere(&six(&|n| format!("ns.evil{n}.example")), "acme.example");
    for n in 1..=6 {
        let names = six(&|m| format!("random{n}{m}.victim.example"));
        nowhere(&names, &format!("evil{n}.example"));
    }
    let looked = examine(walking(root.address()), "acme.example").await;
    assert_eq!(looked.answer, Answer::Unreachable, "{looked:?}");
    let of_victim = |step: &&rollcall::dns::Step| step.server.starts_with("ns1.victim.example");
    let asked = looked.steps.iter().filter(of_victim).count();
    assert!((1..=12).contains(&asked), "{looked:#?}");
}

#[tokio::test]
async fn one_server_of_three_can_not_send_the_look_elsewhere() {
    let all = Dns::start_many(5).unwrap();
    let (root, honest, liar, evil) = (&all[0], &all[1..3], &all[3], &all[4]);
    let zone = [(NS1, ip(&all[1])), (NS2, ip(&all[2])), ("ns3.acme.example", ip(liar))];
    root.delegate("acme.example", &zone).unwrap();
    let evils: Vec<_> = (1..=3).map(|n| format!("evil{n}.acme.example")).collect();
    let evils: Vec<_> = evils.iter().map(|name| (name.as_str(), ip(evil))).collect();
    let mixed = [&[(NS1, ip(evil)), (NS2, ip(evil))][..], &evils[..]].concat();
    let both = [(NS1, ip(evil)), ("ns3.acme.example", ip(evil))];
    // to servers of his own; to the honest ones and more of his own; to honest ones, at his address
    for servers in [&evils[..], &mixed, &both] {
        liar.delegate(RECORD, servers).unwrap();
        let anchors = super::anchors("");
        let settings = super::settings(walking(root.address()), anchors.path());
        let examiner = rollcall::dns::Examiner::new(&settings).unwrap();
        let domain = rollcall::dns::DomainName::parse("acme.example").unwrap();
        let look = rollcall::dns::Look {
            domain: &domain,
            expected: VALUE,
            allow_private: true,
            renewing: false,
        };
        // whichever server is asked first, and with whatever is remembered from the last time
        publish(&all[4..]);
        for _ in 0..6 {
            let looked = examiner.examine(&look).await;
            assert_ne!(looked.answer, Answer::Match, "{looked:?}");
        }
        // nor does it take a proof away
        evil.remove(RECORD).unwrap();
        publish(honest);
        for _ in 0..6 {
            let looked = examiner.examine(&look).await;
            assert!(!looked.answer.is_definite_absence(), "{looked:?}");
        }
        for server in honest {
            server.remove(RECORD).unwrap();
        }
    }
    assert_eq!(evil.queries(), 0);
    // what most of them leave to others is theirs
    for server in honest {
        server.delegate(RECORD, &evils).unwrap();
    }
    liar.delegate(RECORD, &zone).unwrap();
    publish(&all[4..]);
    for _ in 0..6 {
        let looked = examine(walking(root.address()), "acme.example").await;
        assert_eq!(looked.answer, Answer::Match, "{looked:?}");
    }
}

#[tokio::test]
async fn an_unknown_domain_is_told_from_a_missing_record() {
    let servers = Dns::start_many(3).unwrap();
    servers[0].delegate("example", &[("a.nic.example", ip(&servers[1]))]).unwrap();
    let root: SocketAddr = servers[0].address();
    let looked = examine(walking(root), "acme.example").await;
    assert_eq!(looked.answer, Answer::NxDomain);
    assert!(looked.explanation.contains("The registry of .example"), "{}", looked.explanation);
    servers[1].delegate("acme.example", &[(NS1, ip(&servers[2])), (NS2, None)]).unwrap();
    let looked = examine(walking(root), "acme.example").await;
    assert_eq!(looked.answer, Answer::NxDomain);
    assert!(looked.explanation.contains("There is no TXT record"), "{}", looked.explanation);
}
