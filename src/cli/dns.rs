//! What may be typed about looking up domains, for the controller and for `domain explain`.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, ValueEnum};

use crate::dns::{Mode, PORT, Settings, TLS_PORT};

/// How domains are looked up.
#[derive(Args, Clone, Debug)]
pub struct Dns {
    /// Who is asked for the records that prove domains.
    #[arg(long, env = "ROLLCALL_DNS_MODE", value_enum, default_value = "authoritative")]
    dns_mode: DnsMode,
    /// Recursive: the resolvers to ask, each an address with or without a port; the system's if
    /// omitted. Authoritative: the servers to begin with instead of the internet's root servers.
    #[arg(long, env = "ROLLCALL_DNS_SERVERS", value_delimiter = ',', value_parser = place)]
    dns_servers: Vec<(IpAddr, Option<u16>)>,
    /// Recursive: ask over TLS, and expect certificates for this name (or address).
    #[arg(long, env = "ROLLCALL_DNS_OVER_TLS", value_name = "NAME")]
    dns_over_tls: Option<String>,
    /// Authoritative: the port of the name servers of zones; for tests.
    #[arg(long, env = "ROLLCALL_DNS_PORT", default_value_t = PORT, hide = true)]
    dns_port: u16,
    /// A file of DNSKEY records, as in a zone file, to trust instead of those of the internet's
    /// root. Of another zone than the root, all its keys. What none of them is above isn't validated.
    #[arg(long, env = "ROLLCALL_DNS_TRUST_ANCHORS", value_name = "FILE")]
    dns_trust_anchors: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DnsMode {
    /// The zones' own name servers, beginning at the root, so that nobody's memory delays a proof.
    Authoritative,
    /// Resolvers alone, where no other name server can be reached from here.
    Recursive,
}

impl Dns {
    /// What was typed, for the looking up.
    pub fn settings(&self) -> Settings {
        let tls = &self.dns_over_tls;
        let port = if tls.is_some() { TLS_PORT } else { PORT };
        let servers = self.dns_servers.iter();
        let servers: Vec<_> =
            servers.map(|(ip, own)| SocketAddr::new(*ip, own.unwrap_or(port))).collect();
        Settings {
            mode: match self.dns_mode {
                DnsMode::Authoritative => {
                    Mode::Authoritative { roots: servers, port: self.dns_port }
                }
                DnsMode::Recursive => Mode::Recursive { servers, tls: tls.clone() },
            },
            trust_anchors: self.dns_trust_anchors.clone(),
        }
    }
}

/// An address with or without a port.
fn place(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    let with_port = text.parse().map(|at: SocketAddr| (at.ip(), Some(at.port())));
    with_port
        .or_else(|_| text.parse().map(|ip| (ip, None)))
        .map_err(|_| "write an IP address, with or without a port".into())
}
