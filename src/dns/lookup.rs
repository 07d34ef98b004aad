//! TXT look-ups, by asking resolvers. What the world answers is a value; nothing here is an error.

use std::{net::SocketAddr, time::Duration};

use hickory_resolver::{
    TokioResolver,
    config::{
        ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ServerOrderingStrategy,
    },
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RData},
    },
};

/// How long one try may take, and how many there are for each server.
const TRY: Duration = Duration::from_secs(3);
const TRIES: usize = 2;
/// How long a look-up may take in all.
const DEADLINE: Duration = Duration::from_secs(10);

/// What the DNS says of a name's TXT records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The records, in the order of their text. The strings of one record are joined
    /// (RFC 7208, 3.3); records never are.
    Records(Vec<String>),
    /// The name exists, without TXT records (RFC 2308, 2.2).
    NoData,
    /// The name does not exist (RFC 8020).
    NxDomain,
    /// Nobody knows: no verdict can be based on it.
    Failed(Failure),
}

/// Why a look-up gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("the name servers of the domain failed (SERVFAIL)")]
    ServFail,
    #[error("the name servers refused to answer")]
    Refused,
    #[error("no name server answered in time")]
    Timeout,
    #[error("the answer made no sense")]
    Malformed,
    #[error("no name server could be reached")]
    Unreachable,
}

/// Asks recursive resolvers. Nothing is cached here.
#[derive(Clone)]
pub struct Resolver(TokioResolver);

impl Resolver {
    /// Ask `servers`, or those of the system's configuration where none are given.
    ///
    /// # Errors
    /// The system's configuration can't be read.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, NetError> {
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            let config = ResolverConfig::from_parts(None, vec![], name_servers(servers));
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.cache_size = 0; // a record just published must be seen at the next look
        options.use_hosts_file = ResolveHosts::Never;
        options.ndots = 0;
        options.timeout = TRY;
        options.attempts = TRIES;
        options.edns0 = true;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        Ok(Self(builder.build()?))
    }

    /// The TXT records of `name`. Takes at most ten seconds.
    pub async fn txt(&self, name: &str) -> Found {
        let Ok(mut name) = Name::from_ascii(name) else { return Found::NxDomain };
        name.set_fqdn(true); // or the system's search list would be tried
        match tokio::time::timeout(DEADLINE, self.0.txt_lookup(name)).await {
            Err(_) => Found::Failed(Failure::Timeout),
            Ok(Err(error)) => absence(&error),
            Ok(Ok(found)) => {
                let mut records: Vec<_> = found
                    .answers()
                    .iter()
                    .filter_map(|record| match &record.data {
                        RData::TXT(txt) => Some(joined(&txt.txt_data)),
                        _ => None,
                    })
                    .collect();
                records.sort_unstable();
                if records.is_empty() { Found::NoData } else { Found::Records(records) }
            }
        }
    }
}

fn name_servers(servers: &[SocketAddr]) -> Vec<NameServerConfig> {
    let at = |server: &SocketAddr| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut c| {
            c.port = server.port();
            c
        });
        NameServerConfig::new(server.ip(), true, connections.into())
    };
    servers.iter().map(at).collect()
}

fn joined(strings: &[Box<[u8]>]) -> String {
    String::from_utf8_lossy(&strings.concat()).into_owned()
}

/// Only what a server said in so many words is an absence.
fn absence(error: &NetError) -> Found {
    let failure = match error {
        NetError::Dns(DnsError::NoRecordsFound(no)) => match no.response_code {
            ResponseCode::NXDomain => return Found::NxDomain,
            // without an SOA it is a referral or a broken server, not an answer (RFC 2308, 2.2)
            ResponseCode::NoError if no.soa.is_some() => return Found::NoData,
            ResponseCode::ServFail => Failure::ServFail,
            ResponseCode::Refused => Failure::Refused,
            _ => Failure::Malformed,
        },
        NetError::Dns(DnsError::ResponseCode(code)) => match *code {
            ResponseCode::ServFail => Failure::ServFail,
            ResponseCode::Refused => Failure::Refused,
            _ => Failure::Malformed,
        },
        NetError::Timeout => Failure::Timeout,
        NetError::NoConnections | NetError::Io(_) | NetError::Busy => Failure::Unreachable,
        _ => Failure::Malformed,
    };
    Found::Failed(failure)
}
