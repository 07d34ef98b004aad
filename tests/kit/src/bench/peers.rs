//! Rollcall's SCIM beside that of others, one server after another, each in one process, and asked the
//! same by the same client: scim2-server keeps what it is told in memory alone, saml-jackson in a
//! PostgreSQL that syncs to the disk, as Rollcall's ledger does. Rollcall alone speaks TLS and limits
//! how much one directory may ask for: there each connection pushes to a directory of its own, with the
//! others all push to one.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, ensure};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Setting, machine,
    push::{self, CONNECTIONS, Pushed},
    report::{Aim, Table},
};
use crate::{
    parts,
    postgres::{Disk, Postgres},
    process::{Process, free_port},
    scim::Scim,
    wait::until,
};

/// How many users there are at most: about a minute's for the slowest.
const USERS: usize = 8_000;
/// How many of them are added to a group at once: saml-jackson takes none along with a new group.
const MEMBERS: usize = 100;
/// How often one more is added or removed.
const CHANGES: usize = 100;
const READY: Duration = Duration::from_secs(60);

const SCIM2_SERVER: &str = include_str!("../../comparators/scim2-server/serve.py");
const SAML_JACKSON: &str = include_str!("../../comparators/saml-jackson/serve.mjs");

/// Measures all three, with `size` users if that isn't too many. Rollcall is asked by `clients`, and
/// has done nothing yet.
///
/// # Errors
/// If something fails to work.
pub async fn measure(
    setting: &Setting,
    clients: &[Scim],
    size: usize,
    table: &mut Table,
) -> anyhow::Result<()> {
    let size = size.clamp(2 * CONNECTIONS, USERS);
    let folder = setting.scratch.path();
    let how = "TLS, synced to the disk";
    load(["Rollcall", how], setting.gateway(), clients, size, table).await?;
    let peer = Peer::scim2_server(folder).await?;
    peer.load(["scim2-server", "HTTP, in memory alone"], size, table).await?;
    drop(peer);
    let server = Postgres::start(Disk::Waited).await?;
    server.run_in()?;
    let database = server.database()?;
    let peer = Peer::saml_jackson(folder, &database.url).await?;
    let how = "HTTP, synced by PostgreSQL";
    peer.load(["saml-jackson", how], size, table).await
}

/// Pushes users, then makes a group of those of the first client.
async fn load(
    [name, how]: [&str; 2],
    process: u32,
    clients: &[Scim],
    size: usize,
    table: &mut Table,
) -> anyhow::Result<()> {
    println!("==> scim: {name}, {size} users");
    let Pushed { ids, times, rate } = push::users(clients, "beside", size).await?;
    let title = format!("{name} ({how}), {size} users on {CONNECTIONS} connections");
    table.row(&title, rate, "/s", Aim::None);
    table.times(&format!("{name}, one user"), times, Aim::None);

    let scim = &clients[0];
    let path = format!("Groups/{}", scim.create_group("Everybody", &[]).await?);
    let (one, members) = ids[0].split_first().context("no users")?;
    for members in members.chunks(MEMBERS) {
        let add = push::patch(push::add(members.iter().map(String::as_str)));
        push::insist(scim, Method::PATCH, &path, &add).await?;
    }
    let times = push::one_member(scim, &path, one, CHANGES).await?;
    let what = format!("{name}, one member beside {} added or removed", members.len());
    table.times(&what, times, Aim::None);
    let (_, most) = machine::memory(process)?;
    let title = format!("{name}, resident memory at its peak, PostgreSQL's aside");
    table.row(&title, most, "MiB", Aim::None);
    Ok(())
}

/// Another's server. It ends when it is dropped.
struct Peer {
    process: Process,
    directory: Directory,
}

/// What an identity provider is told.
#[derive(Deserialize)]
struct Directory {
    endpoint: String,
    token: String,
}

impl Directory {
    fn client(&self) -> anyhow::Result<Scim> {
        Scim::plain(&self.endpoint, &self.token)
    }
}

impl Peer {
    async fn scim2_server(folder: &Path) -> anyhow::Result<Self> {
        let port = free_port()?;
        let endpoint = format!("http://127.0.0.1:{port}/v2");
        let directory = Directory { endpoint, token: "bench".into() };
        let mut python = Command::new(parts::installed("python3")?);
        python.args(["-c", SCIM2_SERVER]);
        python.env("PYTHONPATH", parts::folder("scim2-server")?);
        python.env("PORT", port.to_string()).env("TOKEN", &directory.token);
        let process = Process::spawn(&python, &folder.join("scim2-server.log"))?;
        let scim = directory.client()?;
        let answers = until("scim2-server to answer", READY, async || {
            let (status, answer) = scim.send(Method::GET, "Users", &Value::Null).await?;
            ensure!(status.is_success(), "{status}: {answer}");
            Ok(Some(()))
        });
        tokio::select! {
            answers = answers => answers?,
            died = process.dies() => died?,
        }
        Ok(Self { process, directory })
    }

    /// The script is handed over as an argument, since Node.js then finds packages in its folder.
    async fn saml_jackson(folder: &Path, database: &str) -> anyhow::Result<Self> {
        let mut node = Command::new(parts::installed("node")?);
        node.args(["--input-type=module", "--eval", SAML_JACKSON]);
        node.current_dir(parts::folder("saml-jackson")?);
        node.env("PORT", free_port()?.to_string()).env("DATABASE", database);
        let process = Process::spawn(&node, &folder.join("saml-jackson.log"))?;
        let tells = until("saml-jackson to tell its address", READY, async || {
            let log = std::fs::read_to_string(process.log())?;
            let told = log.lines().find(|line| line.starts_with('{'));
            Ok(told.map(serde_json::from_str).transpose()?)
        });
        let directory = tokio::select! {
            directory = tells => directory?,
            died = process.dies() => died?,
        };
        Ok(Self { process, directory })
    }

    async fn load(&self, name: [&str; 2], size: usize, table: &mut Table) -> anyhow::Result<()> {
        let clients = (0..CONNECTIONS).map(|_| self.directory.client());
        let clients = clients.collect::<anyhow::Result<Vec<_>>>()?;
        tokio::select! {
            measured = load(name, self.process.id(), &clients, size, table) => measured,
            died = self.process.dies() => died,
        }
    }
}
