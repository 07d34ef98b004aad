//! A PostgreSQL of Debian's, on a free port of this machine, in a folder of its own. Nothing of it
//! touches the one that the package may have started.

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use rustix::{
    io::Errno,
    process::{Pid, Signal, getuid, kill_process},
};
use tokio::sync::OnceCell;

use crate::{
    parts,
    process::{Process, free_port},
    scratch::Scratch,
    tls::Authority,
    wait::until,
};

/// Who may do anything in it.
const USER: &str = "postgres";
/// Who owns the databases and may do nothing else: Rollcall.
const OWNER: &str = "rollcall";
/// What the files of its certificate are called.
const SERVER: &str = "server";
const READY: Duration = Duration::from_secs(60);

/// How much a power failure may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// Nothing: as it is meant to run.
    Waited,
    /// Everything: for tests, which are not about the disk.
    Forgotten,
}

/// A running server. It ends when it is dropped, and with this process.
pub struct Postgres {
    /// The CA of its certificate, which is for `localhost` and 127.0.0.1.
    pub ca_file: PathBuf,
    process: Process,
    port: u16,
    scratch: Scratch,
    disk: Disk,
}

impl Postgres {
    /// The one that all tests of this process share.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub async fn shared() -> anyhow::Result<&'static Self> {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED.get_or_try_init(|| Self::start(Disk::Forgotten)).await
    }

    /// Starts one that is empty.
    ///
    /// # Errors
    /// If it isn't installed (`make parts`), or isn't ready in time.
    pub async fn start(disk: Disk) -> anyhow::Result<Self> {
        let scratch = Scratch::take("postgres")?;
        let (user, group) = account()?;
        chown(scratch.path(), Some(user), Some(group)).context("handing over a folder")?;
        let mut init = as_account(&parts::postgres("initdb")?);
        init.arg("--pgdata").arg(scratch.path().join("data"));
        // another locale than C, so that nothing comes to rely on that one
        init.args(["--username", USER, "--auth=trust", "--no-sync", "--encoding=UTF8"]);
        init.arg("--locale=C.UTF-8");
        let made = init.current_dir(scratch.path()).output().context("running initdb")?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let authority = Authority::new()?;
        let ca_file = scratch.path().join("ca.crt");
        authority.write_ca(&ca_file)?;
        let localhost = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        authority.issue(&["localhost"], &localhost)?.write(scratch.path(), SERVER)?;
        for file in ["crt", "key"] {
            let file = scratch.path().join(SERVER).with_extension(file);
            // it takes no key that others may read
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
                .and_then(|()| chown(&file, Some(user), Some(group)))
                .context("handing over a certificate")?;
        }
        let port = free_port()?;
        let process = serve(&scratch, port, disk)?;
        let server = Self { ca_file, process, port, scratch, disk };
        server.ready().await?;
        run(&format!("CREATE ROLE {OWNER} LOGIN"), &server.url(USER, "postgres"))?;
        Ok(server)
    }

    /// Lets it have the files of its log that a server has which has run for a while, and uses again:
    /// to make a new one keeps all who write waiting, for as long as 16 MiB take to reach the disk.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn run_in(&self) -> anyhow::Result<()> {
        let files = "SELECT count(pg_logical_emit_message(false, '', '')), count(pg_switch_wal())
             FROM generate_series(1, 16)";
        for sql in [files, "CHECKPOINT"] {
            run(sql, &self.url(USER, "postgres"))?;
        }
        Ok(())
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let ready = until("PostgreSQL to be ready", READY, async || {
            run("SELECT 1", &self.url(USER, "postgres")).map(Some)
        });
        tokio::select! {
            ready = ready => ready.map(drop),
            died = self.process.dies() => died,
        }
    }

    /// Ends the server as a crash would, and starts it again on what it left.
    ///
    /// # Errors
    /// If it doesn't end, or isn't ready in time.
    pub async fn crash(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::QUIT)?; // without a checkpoint, so that it recovers
        self.process.wait_for_exit(READY).await?;
        self.process = serve(&self.scratch, self.port, self.disk)?;
        self.ready().await
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        match kill_process(id.context("the server's id")?, signal) {
            // it has ended already
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error).context("signalling PostgreSQL"),
        }
    }

    /// Makes an empty database, which goes with what is returned.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn database(&self) -> anyhow::Result<Database> {
        self.database_with("")
    }

    /// The same, with these options of `CREATE DATABASE`.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn database_with(&self, options: &str) -> anyhow::Result<Database> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("rollcall_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let server = self.url(USER, "postgres");
        create(&name, options, &server)?;
        Ok(Database { url: self.url(OWNER, &name), server, name })
    }

    fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }
}

impl Drop for Postgres {
    /// The process is asked to end next, but that would wait for its clients.
    fn drop(&mut self) {
        if let Err(error) = self.signal(Signal::INT) {
            eprintln!("kit: {error:#}");
        }
    }
}

/// A database of its own. It goes when this is dropped, whoever is still connected to it.
pub struct Database {
    /// Where it is, for Rollcall.
    pub url: String,
    server: String,
    name: String,
}

impl Database {
    /// One for a test that runs on either ledger: none, and so a file, unless
    /// `ROLLCALL_TEST_LEDGER=postgres` asks for it.
    ///
    /// # Errors
    /// As [`Postgres::shared`] and [`Postgres::database`], or if the variable says something else.
    pub async fn asked_for() -> anyhow::Result<Option<Self>> {
        match env::var("ROLLCALL_TEST_LEDGER").as_deref() {
            Ok("postgres") => Postgres::shared().await?.database().map(Some),
            Ok("sqlite") | Err(_) => Ok(None),
            Ok(other) => bail!("ROLLCALL_TEST_LEDGER={other}: it is sqlite or postgres"),
        }
    }

    /// Runs SQL as Rollcall's user, and returns the values it gives.
    ///
    /// # Errors
    /// If the server refuses it.
    pub fn run(&self, sql: &str) -> anyhow::Result<String> {
        run(sql, &self.url)
    }

    /// Writes a backup of it to a file.
    ///
    /// # Errors
    /// If `pg_dump` fails: with what it said.
    pub fn back_up(&self, file: &Path) -> anyhow::Result<()> {
        let mut dump = Command::new(parts::postgres("pg_dump")?);
        output(dump.arg("--no-owner").arg("--file").arg(file).arg(&self.url)).map(drop)
    }

    /// Makes it what it was at a backup.
    ///
    /// # Errors
    /// If the server refuses any of it.
    pub fn restore(&self, file: &Path) -> anyhow::Result<()> {
        self.empty()?;
        output(psql()?.arg("--single-transaction").arg("--file").arg(file).arg(&self.url)).map(drop)
    }

    /// Makes it as it was made, with nothing in it.
    ///
    /// # Errors
    /// If the server refuses, as where somebody is connected to it.
    pub fn empty(&self) -> anyhow::Result<()> {
        run(&format!("DROP DATABASE {}", self.name), &self.server)?;
        create(&self.name, "", &self.server)
    }

    /// What ends every connection that is in a transaction, as the server does where a program dies.
    pub fn cut(&self) -> impl Fn() -> anyhow::Result<()> + Send + use<> {
        let url = self.url.clone();
        let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
             WHERE datname = current_database() AND state = 'idle in transaction'";
        move || {
            let ended = run(end, &url)?;
            ensure!(!ended.is_empty() && ended.lines().all(|line| line == "t"), "{ended:?}");
            Ok(())
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        if let Err(error) = run(&drop, &self.server) {
            eprintln!("kit: {error:#}");
        }
    }
}

fn create(name: &str, options: &str, server: &str) -> anyhow::Result<()> {
    run(&format!("CREATE DATABASE {name} OWNER {OWNER} {options}"), server).map(drop)
}

fn run(sql: &str, url: &str) -> anyhow::Result<String> {
    output(psql()?.args(["--tuples-only", "--no-align", "--command", sql, url]))
}

fn psql() -> anyhow::Result<Command> {
    let mut psql = Command::new(parts::postgres("psql")?);
    psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]);
    Ok(psql)
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

fn serve(scratch: &Scratch, port: u16, disk: Disk) -> anyhow::Result<Process> {
    let mut serve = as_account(&parts::postgres("postgres")?);
    serve.arg("-D").arg(scratch.path().join("data")).current_dir(scratch.path());
    let port = format!("port={port}");
    let file = |ext: &str| scratch.path().join(SERVER).with_extension(ext);
    let certificate = format!("ssl_cert_file={}", file("crt").display());
    let key = format!("ssl_key_file={}", file("key").display());
    let address = [
        "ssl=on",
        &certificate,
        &key,
        "listen_addresses=127.0.0.1,127.0.0.2",
        &port,
        "unix_socket_directories=",
    ];
    let disk: &[&str] = match disk {
        Disk::Waited => &[],
        Disk::Forgotten => &["fsync=off", "full_page_writes=off"],
    };
    for setting in address.iter().chain(disk).chain(&["max_connections=400"]) {
        serve.args(["-c", setting]);
    }
    Process::spawn(&serve, &scratch.path().join("log"))
}

/// PostgreSQL is never root: where we are, it is who the package made for it.
fn as_account(program: &Path) -> Command {
    if !getuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    // it ends with us; the kernel forgets that where a process becomes somebody else
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--pdeathsig", "INT", "--"]);
    command.arg(program);
    command
}

/// The ids of the user and the group it runs as.
fn account() -> anyhow::Result<(u32, u32)> {
    if !getuid().is_root() {
        return Ok((getuid().as_raw(), rustix::process::getgid().as_raw()));
    }
    let passwd = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
    let ids = passwd.lines().find_map(|line| {
        let mut fields = line.strip_prefix(USER)?.strip_prefix(':')?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    ids.with_context(|| format!("there is no user {USER}: Debian's package postgresql makes it"))
}
