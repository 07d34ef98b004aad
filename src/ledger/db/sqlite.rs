//! SQLite: one writer, a few readers, WAL. `synchronous=FULL`, so that a deactivation that was
//! answered survives a loss of power; the steps of a sign-in wait for the disk once, when it has led
//! to a session.

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions, Connection, Executor, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Db, Pool, Tx, Writer};
use crate::ledger::{Error, Result};

pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/ledger/migrations/sqlite");

/// How long a statement waits for the other process's writer.
const BUSY: Duration = Duration::from_secs(10);
const READERS: u32 = 4;
const SEARCHERS: u32 = 4;
/// How many rows of a search are read ahead: one may have a megabyte.
const AHEAD: usize = 2;
/// How many of SQLite's steps of a search lie between two looks at the clock.
const STEPS: i32 = 10_000;

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
    let pool = |most| SqlitePoolOptions::new().max_connections(most).test_before_acquire(false);
    let write = pool(1)
        // wherever `passing` was interrupted
        .before_acquire(|writer, _| {
            Box::pin(async { writer.execute("PRAGMA synchronous = FULL").await.map(|_| true) })
        })
        .connect_with(options.clone())
        .await?;
    let options = options.read_only(true);
    let read = pool(READERS).connect_with(options.clone()).await?;
    let search = pool(SEARCHERS).connect_with(options.row_buffer_size(AHEAD)).await?;
    Ok(Db {
        read: Pool::Sqlite(read),
        search: Pool::Sqlite(search),
        write: Writer(Pool::Sqlite(write)),
    })
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

pub async fn passing(writer: &SqlitePool) -> Result<Tx> {
    Ok(Tx::Sqlite(writer.begin_with("PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE").await?))
}

pub async fn snapshot_within(searchers: &SqlitePool, limit: Duration) -> Result<Tx> {
    let mut tx = searchers.begin().await?;
    let end = Instant::now() + limit;
    // replaces that of the search before
    tx.lock_handle().await?.set_progress_handler(STEPS, move || Instant::now() < end);
    Ok(Tx::Sqlite(tx))
}
