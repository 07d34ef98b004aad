//! The DNS server answers as it was told to, over UDP and TCP, on the wire.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use hickory_server::proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use rollcall_kit::dns::{Dns, Mode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

const ID: u16 = 4711;
const SOON: Duration = Duration::from_secs(5);
/// Long enough for an answer that isn't held back.
const SILENCE: Duration = Duration::from_millis(300);

fn question(name: &str, kind: RecordType) -> anyhow::Result<Vec<u8>> {
    let mut message = Message::new(ID, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name)?, kind));
    message.to_vec().context("encoding the question")
}

async fn udp(server: SocketAddr, name: &str, kind: RecordType) -> anyhow::Result<Message> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.send_to(&question(name, kind)?, server).await?;
    let mut answer = [0; 4096];
    let length = timeout(SOON, socket.recv(&mut answer)).await??;
    Message::from_vec(&answer[..length]).context("decoding the answer")
}

async fn tcp(server: SocketAddr, name: &str) -> anyhow::Result<Message> {
    let question = question(name, RecordType::TXT)?;
    let mut stream = TcpStream::connect(server).await?;
    stream.write_u16(u16::try_from(question.len())?).await?;
    stream.write_all(&question).await?;
    let mut answer = vec![0; timeout(SOON, stream.read_u16()).await??.into()];
    timeout(SOON, stream.read_exact(&mut answer)).await??;
    Message::from_vec(&answer).context("decoding the answer")
}

async fn txt(dns: &Dns, name: &str) -> anyhow::Result<Message> {
    udp(dns.address(), name, RecordType::TXT).await
}

fn texts(message: &Message) -> Vec<String> {
    message
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::TXT(txt) => Some(txt.to_string()),
            _ => None,
        })
        .collect()
}

fn one(text: &str) -> Vec<Vec<String>> {
    vec![vec![text.to_owned()]]
}

#[tokio::test]
async fn records_are_answered_and_what_is_not_there_is_denied() -> anyhow::Result<()> {
    let dns = Dns::start()?;
    let long = "x".repeat(255);
    dns.set_txt(
        "_rollcall-challenge.Acme.com",
        vec![vec!["one".into()], vec![long.clone(), "two".into()]],
    )?;
    let answer = txt(&dns, "_ROLLCALL-challenge.acme.com.").await?;
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert_eq!(texts(&answer), ["one".to_owned(), format!("{long}two")]);
    assert!(answer.metadata.authoritative);

    // The name above it is there, and has nothing; others aren't.
    for (name, code) in [
        ("acme.com.", ResponseCode::NoError),
        ("www.acme.com.", ResponseCode::NXDomain),
        ("example.org.", ResponseCode::NXDomain),
    ] {
        let answer = txt(&dns, name).await?;
        assert_eq!(answer.metadata.response_code, code, "{name}");
        assert!(answer.answers.is_empty());
        assert!(matches!(answer.authorities[0].data, RData::SOA(_)), "{name}");
    }
    let other_type = udp(dns.address(), "_rollcall-challenge.acme.com.", RecordType::A).await?;
    assert_eq!(other_type.metadata.response_code, ResponseCode::NoError);
    assert!(other_type.answers.is_empty());
    assert_eq!(dns.queries(), 5);

    dns.remove("_rollcall-challenge.acme.com")?;
    assert_eq!(txt(&dns, "acme.com.").await?.metadata.response_code, ResponseCode::NXDomain);
    Ok(())
}

#[tokio::test]
async fn wildcards_and_aliases_work_as_in_real_zones() -> anyhow::Result<()> {
    let dns = Dns::start()?;
    dns.set_txt("*.acme.com", one("any"))?;
    dns.set_txt("host.acme.com", one("own"))?;
    assert_eq!(texts(&txt(&dns, "a.b.acme.com.").await?), ["any"]);
    assert_eq!(texts(&txt(&dns, "host.acme.com.").await?), ["own"]);
    let below = txt(&dns, "below.host.acme.com.").await?;
    assert_eq!(below.metadata.response_code, ResponseCode::NXDomain);

    dns.set_cname("_challenge.globex.com", "proof.acme.net")?;
    dns.set_txt("proof.acme.net", one("proof"))?;
    let answer = txt(&dns, "_challenge.globex.com.").await?;
    assert_eq!(answer.answers.len(), 2);
    assert_eq!(texts(&answer), ["proof"]);
    Ok(())
}

#[tokio::test]
async fn a_mode_holds_for_a_name_and_all_below_it() -> anyhow::Result<()> {
    let dns = Dns::start()?;
    dns.set_txt("a.acme.com", one("here"))?;
    dns.set_txt("b.acme.com", one("here"))?;
    dns.set_mode("acme.com", Mode::ServFail)?;
    dns.set_mode("b.acme.com", Mode::Normal)?;
    assert_eq!(txt(&dns, "a.acme.com.").await?.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(texts(&txt(&dns, "b.acme.com.").await?), ["here"]);

    for (mode, code) in
        [(Mode::Refused, ResponseCode::Refused), (Mode::NxDomain, ResponseCode::NXDomain)]
    {
        dns.set_mode(".", mode)?;
        assert_eq!(txt(&dns, "globex.com.").await?.metadata.response_code, code);
    }

    dns.set_mode("acme.com", Mode::Truncated)?;
    let short = txt(&dns, "a.acme.com.").await?;
    assert!(short.metadata.truncation && short.answers.is_empty());
    assert_eq!(texts(&tcp(dns.address(), "a.acme.com.").await?), ["here"]);

    dns.set_mode("acme.com", Mode::WrongId)?;
    assert_ne!(txt(&dns, "a.acme.com.").await?.metadata.id, ID);

    dns.set_mode("acme.com", Mode::Lame)?;
    let lame = txt(&dns, "a.acme.com.").await?;
    assert!(!lame.metadata.authoritative && lame.answers.is_empty() && lame.authorities.is_empty());

    dns.set_mode("acme.com", Mode::Silent)?;
    let asked = dns.queries();
    assert!(timeout(SILENCE, txt(&dns, "a.acme.com.")).await.is_err());
    assert_eq!(dns.queries(), asked + 1);
    Ok(())
}

#[tokio::test]
async fn what_is_delegated_is_answered_by_who_has_it() -> anyhow::Result<()> {
    let dns = Dns::start()?;
    dns.set_txt("a.acme.com", one("not ours to tell"))?;
    let at = Some([192, 0, 2, 1].into());
    dns.delegate("acme.com", &[("ns1.acme.com", at), ("ns2.acme.net", None)])?;
    for name in ["acme.com.", "a.acme.com."] {
        let referral = txt(&dns, name).await?;
        assert!(!referral.metadata.authoritative && referral.answers.is_empty(), "{name}");
        assert_eq!((referral.authorities.len(), referral.additionals.len()), (2, 1), "{name}");
    }
    // but for its DS records, which are the parent's
    let ds = udp(dns.address(), "acme.com.", RecordType::DS).await?;
    assert!(ds.metadata.authoritative);
    Ok(())
}
