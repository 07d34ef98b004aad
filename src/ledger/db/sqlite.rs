//! SQLite: one writer, a few readers, WAL. `synchronous=FULL`, so that a deactivation that was
//! answered survives a loss of power; the steps of a sign-in wait for the disk once, when it has led
//! to a session.

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{Db, Pool, Searcher, Writer, pool::Opener};
use crate::ledger::{Error, Result};

pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/ledger/migrations/sqlite");

/// How long a statement waits for the other process, but for one that begins to write: see
/// [`begin_write`].
const BUSY: Duration = Duration::from_secs(10);
/// How long to wait for a connection.
const WAIT: Duration = Duration::from_secs(30);
const READERS: usize = 4;
const SEARCHERS: usize = 4;
/// How many rows of a search are read ahead: one may have a megabyte.
const AHEAD: usize = 2;
/// How many of SQLite's steps of a search lie between two looks at the clock.
const STEPS: i32 = 10_000;

/// SQL that begins a transaction that may write, and holds the lock from its start, or doesn't wait
/// for it: SQLite would look for it ten times a second, and a process that writes much is hardly ever
/// found at rest. See [`Tx::begin`](super::Tx::begin).
macro_rules! begin_write {
    ($synchronous:literal) => {
        concat!("PRAGMA busy_timeout = 0; PRAGMA synchronous = ", $synchronous, "; BEGIN IMMEDIATE")
    };
}

/// SQL that begins a transaction: one that reads; one that may write; the same, whose commit isn't
/// waited for.
pub const SNAPSHOT: &str = "BEGIN";
pub const WRITE: &str = begin_write!("FULL");
pub const PASSING: &str = begin_write!("NORMAL");

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
}

/// Make the file where there is none, and bring it up to date.
pub async fn migrate(path: &Path) -> Result<()> {
    let lock = lock(path).await?;
    let mut migrating = options(path).create_if_missing(true).connect().await?;
    MIGRATIONS.run(&mut migrating).await?;
    migrating.close().await?;
    drop(lock);
    Ok(())
}

pub async fn open(path: &Path) -> Result<Db> {
    let options = options(path);
    let pool = |most, options| Pool::open(Opener::Sqlite(options), most, WAIT);
    let write = Writer(pool(1, options.clone()).await?);
    let options = options.read_only(true);
    let read = pool(READERS, options.clone()).await?;
    let search = Searcher(pool(SEARCHERS, options.row_buffer_size(AHEAD)).await?);
    Ok(Db { read, search, write })
}

/// Held while migrating: SQLite itself has no lock that spans a migration.
async fn lock(path: &Path) -> Result<File> {
    let path = path.with_extension("lock");
    let locked = tokio::task::spawn_blocking({
        let path = path.clone();
        move || {
            let file = File::create(&path)?;
            file.lock()?;
            Ok(file)
        }
    });
    locked.await.map_err(std::io::Error::other).flatten().map_err(|e| Error::File(path, e))
}

/// Let statements run no longer than `limit` from now; it replaces that of the search before.
pub async fn break_off_after(search: &mut SqliteConnection, limit: Duration) -> Result<()> {
    let end = Instant::now() + limit;
    search.lock_handle().await?.set_progress_handler(STEPS, move || Instant::now() < end);
    Ok(())
}
