//! Where answers come from: the zones' own servers, or recursive resolvers.

use std::{net::SocketAddr, path::PathBuf};

use hickory_net::proto::{
    op::Query,
    rr::{Name, RecordType},
};
use rustls::{ClientConfig, pki_types::ServerName};
use rustls_platform_verifier::ConfigVerifierExt;

use super::{
    reply::Role,
    trip::{Server, Trip},
    walk::{Found, Heard, Walker},
    wire::Wire,
};

/// Where DNS servers listen, and where over TLS (RFC 7858).
pub const PORT: u16 = 53;
pub const TLS_PORT: u16 = 853;

/// How domains are looked up.
#[derive(Clone, Debug)]
pub struct Settings {
    pub mode: Mode,
    /// A file of DNSKEY records to trust instead of those of the internet's root. What none of them
    /// is above isn't validated.
    pub trust_anchors: Option<PathBuf>,
}

/// Who is asked.
#[derive(Clone, Debug)]
pub enum Mode {
    /// The zones' own servers.
    Authoritative {
        /// Where to begin instead of the internet's root servers.
        roots: Vec<SocketAddr>,
        /// Where the servers listen that a zone names.
        port: u16,
    },
    /// Resolvers that find the answers, and remember them.
    Recursive {
        /// The first that answers counts. The system's where empty.
        servers: Vec<SocketAddr>,
        /// By which name their certificates must go, if they are asked over TLS.
        tls: Option<String>,
    },
}

/// Why the settings are no good.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("{file:?} can't be read: {error}")]
    File { file: PathBuf, error: std::io::Error },
    #[error("{file:?} is no list of DNSKEY records: {error}")]
    TrustAnchors { file: PathBuf, error: String },
    #[error("/etc/resolv.conf names no resolver, and none is given")]
    NoResolver,
    #[error("{0} is no name that a certificate can be for")]
    NotAName(String),
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] rustls::Error),
}

pub enum Source {
    Walker(Walker),
    Resolvers(Wire, Vec<Server>),
}

impl Source {
    /// # Errors
    /// The resolvers aren't known, or TLS to them isn't possible.
    pub fn new(mode: &Mode) -> Result<Self, SettingsError> {
        Ok(match mode {
            Mode::Authoritative { roots, port } => {
                Self::Walker(Walker::new(Wire::new(false, None), roots, *port))
            }
            Mode::Recursive { servers, tls } => {
                let tls = tls.as_ref().map(|name| {
                    let server = ServerName::try_from(name.clone());
                    let server = server.map_err(|_| SettingsError::NotAName(name.clone()))?;
                    Ok::<_, SettingsError>((server, ClientConfig::with_platform_verifier()?))
                });
                let servers = if servers.is_empty() { system()? } else { servers.clone() };
                let servers = servers.into_iter().map(Server::given).collect();
                Self::Resolvers(Wire::new(true, tls.transpose()?), servers)
            }
        })
    }

    /// Ask for `name`'s records: whoever is quickest of those who know, or all of them if none
    /// answers. In the end everybody who was asked has been heard.
    pub async fn find(&self, trip: &Trip, name: &Name, kind: RecordType) -> Found {
        match self {
            Self::Walker(walker) => walker.find(trip, name, kind).await,
            Self::Resolvers(wire, servers) => {
                let question = Query::query(name.clone(), kind);
                let mut heard = Vec::new();
                for server in servers {
                    let said = wire.ask(trip, server, &question, Role::Resolver).await;
                    let answered = said.is_ok();
                    heard.push(Heard { server: server.label(), said });
                    if answered {
                        break;
                    }
                }
                Found { zone: None, heard, complete: false }
            }
        }
    }

    /// Ask the zone's other servers, too. One resolver is enough: they all ask the same servers.
    pub async fn hear_the_others(&self, trip: &Trip, found: &mut Found, question: &Query) {
        if let Self::Walker(walker) = self {
            walker.hear_the_others(trip, found, question).await;
        }
    }

    /// Whether who is asked remembers absence.
    pub fn remembers(&self) -> bool {
        matches!(self, Self::Resolvers(..))
    }
}

/// The resolvers of this machine.
fn system() -> Result<Vec<SocketAddr>, SettingsError> {
    let file = PathBuf::from("/etc/resolv.conf");
    let text = std::fs::read(&file).map_err(|error| SettingsError::File { file, error })?;
    let config = resolv_conf::Config::parse(text).map_err(|_| SettingsError::NoResolver)?;
    let servers = config.nameservers.into_iter();
    let servers: Vec<_> = servers.map(|ip| SocketAddr::new(ip.into(), PORT)).collect();
    if servers.is_empty() { Err(SettingsError::NoResolver) } else { Ok(servers) }
}
