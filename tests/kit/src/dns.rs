//! An authoritative DNS server for whatever names a test needs, which can also answer wrongly or not
//! at all. It serves on one loopback port, UDP and TCP, for every zone at once.

pub mod internet;
pub mod liar;
mod names;
pub mod signed;

use std::{
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use hickory_server::{
    Server,
    net::{runtime::Time, xfer::Protocol},
    proto::{
        op::{Header, HeaderCounts, Metadata, ResponseCode},
        rr::{
            LowerName, Name, RData, Record,
            rdata::{A, AAAA, CNAME, NS, SOA, TXT},
        },
    },
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};

use rustls::ServerConfig;

use self::names::{Answer, Names, Referral};
use crate::{background::background, process::free_port};

/// Nothing is to be cached: tests change records all the time.
const TTL: u32 = 0;
const TCP_TIMEOUT: Duration = Duration::from_secs(10);
const TCP_RESPONSES: usize = 64;

/// How questions for a name, and for those below it, are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// With the truth.
    #[default]
    Normal,
    /// SERVFAIL: what a validating resolver says of a forged answer, too.
    ServFail,
    /// REFUSED.
    Refused,
    /// NXDOMAIN, whatever there is.
    NxDomain,
    /// Not at all.
    Silent,
    /// Over UDP empty and marked as truncated; over TCP with the truth.
    Truncated,
    /// Empty and marked as truncated, over TCP as well.
    TruncatedAlways,
    /// As an attacker who doesn't see the question: with the wrong message id.
    WrongId,
    /// As a server that doesn't have the zone that it was said to have.
    Lame,
    /// With the truth, so many milliseconds later.
    Late(u64),
}

/// A running DNS server, ended when dropped.
pub struct Dns {
    address: SocketAddr,
    shared: Arc<Shared>,
    // Serves until it is dropped.
    server: Server<Handler>,
}

impl Dns {
    /// Starts one that knows no name.
    ///
    /// # Errors
    /// If no port can be had.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], free_port()?)))
    }

    /// Starts this many, each at a loopback address of its own (127.0.0.1, 127.0.0.2, ..) and all at
    /// the same port, as name servers are.
    ///
    /// # Errors
    /// If no port can be had.
    pub fn start_many(number: u8) -> anyhow::Result<Vec<Self>> {
        let port = free_port()?;
        (1..=number)
            .map(|last| Self::start_at(SocketAddr::from(([127, 0, 0, last], port))))
            .collect()
    }

    fn start_at(address: SocketAddr) -> anyhow::Result<Self> {
        let udp = UdpSocket::bind(address).with_context(|| format!("binding {address}/udp"))?;
        let tcp = TcpListener::bind(address).with_context(|| format!("binding {address}/tcp"))?;
        udp.set_nonblocking(true).context("setting up UDP")?;
        tcp.set_nonblocking(true).context("setting up TCP")?;

        let shared = Arc::new(Shared::default());
        let _runtime = background().enter();
        let mut server = Server::new(Handler(Arc::clone(&shared)));
        server.register_socket(tokio::net::UdpSocket::from_std(udp).context("setting up UDP")?);
        let tcp = tokio::net::TcpListener::from_std(tcp).context("setting up TCP")?;
        server.register_listener(tcp, TCP_TIMEOUT, TCP_RESPONSES);
        Ok(Self { address, shared, server })
    }

    /// Listens for DNS over TLS as well; returns where.
    ///
    /// # Errors
    /// If no port can be had.
    pub fn listen_tls(&mut self, config: Arc<ServerConfig>) -> anyhow::Result<SocketAddr> {
        let tls = TcpListener::bind(("127.0.0.1", 0)).context("binding")?;
        tls.set_nonblocking(true).context("setting up TLS")?;
        let address = tls.local_addr()?;
        let _runtime = background().enter();
        let tls = tokio::net::TcpListener::from_std(tls).context("setting up TLS")?;
        self.server.register_tls_listener_with_tls_config(tls, TCP_TIMEOUT, config)?;
        Ok(address)
    }

    /// Where it listens, UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives `name` these TXT records, each of several strings, instead of those it has. A name
    /// `*.acme.com` is a wildcard.
    ///
    /// # Errors
    /// If `name` is no name, or a string is longer than 255 bytes.
    pub fn set_txt(&self, name: &str, records: Vec<Vec<String>>) -> anyhow::Result<()> {
        let long = records.iter().flatten().find(|string| string.len() > 255);
        anyhow::ensure!(long.is_none(), "longer than the 255 bytes of a TXT string: {long:?}");
        self.set(name, records.into_iter().map(|strings| RData::TXT(TXT::new(strings))).collect())
    }

    /// Makes `name` an alias of `target`.
    ///
    /// # Errors
    /// If one of them is no name.
    pub fn set_cname(&self, name: &str, target: &str) -> anyhow::Result<()> {
        self.set(name, vec![RData::CNAME(CNAME(Name::from(lower(target)?)))])
    }

    /// Gives `name` these records, of any type, instead of those it has. None: the name is there,
    /// with nothing.
    ///
    /// # Errors
    /// If `name` is no name.
    pub fn set(&self, name: &str, records: Vec<RData>) -> anyhow::Result<()> {
        let name = lower(name)?;
        self.shared.write().set(name, records);
        Ok(())
    }

    /// Leaves `zone` to other servers: questions for it and all below it are answered by their names,
    /// and by those of their addresses that are given.
    ///
    /// # Errors
    /// If `zone` or a server's name is no name.
    pub fn delegate(&self, zone: &str, servers: &[(&str, Option<IpAddr>)]) -> anyhow::Result<()> {
        let zone = lower(zone)?;
        let owner = Name::from(zone.clone());
        let mut referral = Referral::default();
        for (name, address) in servers {
            let name = Name::from(lower(name)?);
            let data = RData::NS(NS(name.clone()));
            referral.servers.push(Record::from_rdata(owner.clone(), TTL, data));
            let glue = address.map(|address| match address {
                IpAddr::V4(four) => RData::A(A(four)),
                IpAddr::V6(six) => RData::AAAA(AAAA(six)),
            });
            referral.glue.extend(glue.map(|glue| Record::from_rdata(name, TTL, glue)));
        }
        self.shared.write().delegations.insert(zone, referral);
        Ok(())
    }

    /// Takes `name` and its records away.
    ///
    /// # Errors
    /// If `name` is no name.
    pub fn remove(&self, name: &str) -> anyhow::Result<()> {
        let name = lower(name)?;
        self.shared.write().remove(&name);
        Ok(())
    }

    /// How questions for `name` and all below it are answered from now on; where modes are set for
    /// several, the closest counts. `.` is the whole world.
    ///
    /// # Errors
    /// If `name` is no name.
    pub fn set_mode(&self, name: &str, mode: Mode) -> anyhow::Result<()> {
        let name = lower(name)?;
        self.shared.write().modes.insert(name, mode);
        Ok(())
    }

    /// For how many seconds resolvers may remember that there is nothing; none at first.
    pub fn set_negative_ttl(&self, seconds: u32) {
        self.shared.negative_ttl.store(seconds, Ordering::Relaxed);
    }

    /// How many questions it has been asked, those it didn't answer included.
    pub fn queries(&self) -> u64 {
        self.shared.queries.load(Ordering::Relaxed)
    }
}

fn lower(name: &str) -> anyhow::Result<LowerName> {
    let mut name = Name::from_ascii(name).with_context(|| format!("{name:?} is no DNS name"))?;
    name.set_fqdn(true);
    Ok(LowerName::from(name))
}

#[derive(Default)]
struct Shared {
    names: RwLock<Names>,
    queries: AtomicU64,
    negative_ttl: AtomicU32,
}

impl Shared {
    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Names> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The SOA of a negative answer: that of the registrable-looking name above `name`.
fn start_of_authority(name: &LowerName, ttl: u32) -> Record {
    let zone = Name::from(name.clone()).trim_to(2);
    let server = Name::from_ascii("ns.kit.test.").unwrap_or_default();
    let soa = SOA::new(server.clone(), server, 1, 3600, 600, 86400, ttl);
    Record::from_rdata(zone, ttl, RData::SOA(soa))
}

struct Handler(Arc<Shared>);

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        self.0.queries.fetch_add(1, Ordering::Relaxed);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        // to whoever wants a resolver it is one
        metadata.recursion_available = metadata.recursion_desired;
        let mut soa = None;
        let mut answer = Answer::default();
        match request.request_info() {
            Err(_) => answer.code = ResponseCode::FormErr,
            Ok(info) => {
                let name = info.query.name();
                let (mode, truth) = {
                    let names = self.0.names.read().unwrap_or_else(PoisonError::into_inner);
                    (names.mode(name), names.answer(name, info.query.query_type()))
                };
                match mode {
                    Mode::Silent => return nothing_sent(metadata),
                    Mode::ServFail => answer.code = ResponseCode::ServFail,
                    Mode::Refused => answer.code = ResponseCode::Refused,
                    Mode::NxDomain => answer.code = ResponseCode::NXDomain,
                    Mode::TruncatedAlways => metadata.truncation = true,
                    Mode::Truncated if request.protocol() == Protocol::Udp => {
                        metadata.truncation = true;
                    }
                    Mode::Lame => metadata.authoritative = false,
                    Mode::Late(milliseconds) => {
                        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                        answer = truth;
                    }
                    Mode::Normal | Mode::Truncated => answer = truth,
                    Mode::WrongId => {
                        metadata.id = metadata.id.wrapping_add(1);
                        answer = truth;
                    }
                }
                if answer.referral.is_some() {
                    metadata.authoritative = false;
                }
                let negative =
                    answer.records.is_empty() && metadata.authoritative && !metadata.truncation;
                if negative && matches!(answer.code, ResponseCode::NoError | ResponseCode::NXDomain)
                {
                    soa =
                        Some(start_of_authority(name, self.0.negative_ttl.load(Ordering::Relaxed)));
                }
            }
        }
        metadata.response_code = answer.code;
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &request.edns {
            builder.edns(edns);
        }
        let referral = answer.referral.unwrap_or_default();
        let (records, servers, glue) = (&answer.records, &referral.servers, &referral.glue);
        let message = builder.build(metadata, records, servers, &soa, glue);
        // A client that is gone is no concern of ours.
        response.send_response(message).await.unwrap_or_else(|_| nothing_sent(metadata))
    }
}

fn nothing_sent(metadata: Metadata) -> ResponseInfo {
    ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
}
