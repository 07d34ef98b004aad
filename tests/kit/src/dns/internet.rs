//! A little internet of Debian's programs: a root, the registry `example` and the zones of companies,
//! signed by BIND's tools and served by Knot, each at an address of its own.

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use tokio::net::TcpStream;

use crate::{
    parts,
    process::{Process, free_port},
    wait::until,
};

const READY: Duration = Duration::from_secs(20);
/// Where those of the root are, of the registry, and of everybody else.
const ROOT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const REGISTRY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 12);
const COMPANIES: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 13);

/// How a zone is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// As it should be; absence is denied by hashes (NSEC3).
    Good,
    /// As it should have been yesterday.
    Expired,
    /// Not at all, as its parent says, too.
    Unsigned,
}

/// A zone right below `example`, with these lines of a zone file.
pub struct Company<'a> {
    pub zone: &'a str,
    pub signing: Signing,
    pub records: &'a str,
}

/// The running servers, ended when dropped.
pub struct Internet {
    root: SocketAddr,
    anchor: String,
    _servers: Vec<Process>,
}

impl Internet {
    /// Signs the zones and starts the servers. Everything it writes goes into `folder`.
    ///
    /// # Errors
    /// If a program isn't there (`make parts`), or doesn't take the zones.
    pub async fn start(folder: &Path, companies: &[Company<'_>]) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let signer = Signer { folder };
        let mut delegations = String::new();
        for Company { zone, signing, records } in companies {
            signer.write(zone, records)?;
            signer.sign(zone, *signing, &["-3", "-"])?;
            writeln!(delegations, "{zone}. NS ns.{zone}.\nns.{zone}. A {COMPANIES}")?;
        }
        signer.write("example", &delegations)?;
        // as registries do: what isn't signed isn't denied one by one
        signer.sign("example", Signing::Good, &["-3", "-", "-A"])?;
        let registry = format!("example. NS ns.example.\nns.example. A {REGISTRY}\n");
        signer.write(".", &registry)?;
        // the internet's root denies by names (NSEC), too
        let key = signer.sign(".", Signing::Good, &[])?.context("the root isn't signed")?;

        let port = free_port()?;
        let all: Vec<_> = companies.iter().map(|company| company.zone).collect();
        let mut servers = Vec::new();
        for (address, zones) in [(ROOT, &["."][..]), (REGISTRY, &["example"]), (COMPANIES, &all)] {
            let own = folder.join(address.to_string());
            fs::create_dir(&own)?;
            let mut config = format!(
                "server:\n  rundir: {own:?}\n  listen: {address}@{port}\n\
                 database:\n  storage: {own:?}\n\
                 log:\n- target: stderr\n  any: warning\nzone:\n"
            );
            for zone in zones {
                let file = signer.file(zone, "served");
                writeln!(config, "- domain: {zone:?}\n  file: {file:?}")?;
            }
            let file = own.join("knot.conf");
            fs::write(&file, config)?;
            let mut command = Command::new(program("knotd")?);
            command.arg("--config").arg(&file);
            let process = Process::spawn(&command, &own.join("knot.log"))?;
            let ready = until("Knot to listen", READY, async || {
                TcpStream::connect((address, port)).await?;
                Ok(Some(()))
            });
            tokio::select! {
                ready = ready => ready.with_context(|| process.log_tail())?,
                died = process.dies() => died?,
            }
            servers.push(process);
        }
        let anchor = fs::read_to_string(key)?;
        let anchor = anchor.lines().filter(|line| !line.starts_with(';')).collect();
        let root = SocketAddr::new(IpAddr::V4(ROOT), port);
        Ok(Self { root, anchor, _servers: servers })
    }

    /// Where the root server is; the others are at the same port.
    pub fn root(&self) -> SocketAddr {
        self.root
    }

    /// The root's key, as a line of a file of trust anchors.
    pub fn trust_anchor(&self) -> &str {
        &self.anchor
    }
}

/// BIND's own tools in a folder of zones and keys.
struct Signer<'a> {
    folder: &'a Path,
}

impl Signer<'_> {
    fn file(&self, zone: &str, what: &str) -> PathBuf {
        self.folder.join(format!("{}.{what}", if zone == "." { "root" } else { zone }))
    }

    /// Writes a zone file: the start of the zone, its name server, and these records.
    fn write(&self, zone: &str, records: &str) -> anyhow::Result<()> {
        let dot = if zone == "." { "." } else { &format!("{zone}.") };
        let server = if zone == "." { "ns." } else { &format!("ns.{zone}.") };
        let address = match zone {
            "." => ROOT,
            "example" => REGISTRY,
            _ => COMPANIES,
        };
        let text = format!(
            "$TTL 60\n$ORIGIN {dot}\n@ SOA {server} hostmaster.{server} 1 3600 600 86400 60\n\
             @ NS {server}\n{server} A {address}\n{records}\n"
        );
        Ok(fs::write(self.file(zone, "zone"), text)?)
    }

    /// Makes what is served of a zone file; returns the file with the zone's key.
    fn sign(&self, zone: &str, how: Signing, more: &[&str]) -> anyhow::Result<Option<PathBuf>> {
        let (from, to) = (self.file(zone, "zone"), self.file(zone, "served"));
        if how == Signing::Unsigned {
            fs::copy(from, to)?;
            return Ok(None);
        }
        let mut keygen = Command::new(program("dnssec-keygen")?);
        keygen.args(["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", zone]);
        let key = self.run(keygen)?;
        let valid: &[&str] = match how {
            // -P: its own check of what it did would refuse
            Signing::Expired => &["-P", "-s", "now-172800", "-e", "now-86400"],
            Signing::Good | Signing::Unsigned => &["-s", "now-3600", "-e", "now+86400"],
        };
        let mut sign = Command::new(program("dnssec-signzone")?);
        // one key for everything; smart signing finds it; the children's DS records come from theirs
        sign.args(["-z", "-S", "-g", "-o", zone]).args(valid).args(more);
        sign.arg("-f").arg(&to).arg(&from);
        self.run(sign)?;
        Ok(Some(self.folder.join(format!("{}.key", key.trim()))))
    }

    fn run(&self, mut command: Command) -> anyhow::Result<String> {
        let output =
            command.current_dir(self.folder).output().with_context(|| format!("{command:?}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// A program of theirs; servers are where not everybody looks.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    let server = Path::new("/usr/sbin").join(name);
    if server.is_file() { Ok(server) } else { parts::installed(name) }
}
