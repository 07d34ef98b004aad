//! PostgreSQL: one writer of all processes at a time, by an advisory lock that a transaction holds
//! until after its commit is seen. No process that hangs or dies keeps it for long: the server ends
//! what it began.

use std::time::Duration;

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqlSafeStr, postgres::PgConnectOptions};

use super::{Db, Pool, Searcher, Writer, pool::Opener};
use crate::ledger::{Error, Result};

pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/ledger/migrations/postgres");

const READERS: usize = 6;
const SEARCHERS: usize = 4;
/// One waits at the server for the lock that the other has.
const WRITERS: usize = 2;
/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// What the server ends by itself, on connections that read and on those that write.
const READ: &str = "SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '5s';
    SET default_transaction_read_only = on";
const WRITE: &str = "SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '5s';
    SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off'";

/// SQL that begins a transaction that may write, once no other may. The number is ours alone: advisory
/// locks are a database's, and a database serves one installation.
macro_rules! begin_write {
    ($also:literal) => {
        concat!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
            $also,
            "; SELECT pg_advisory_xact_lock(8245921731)"
        )
    };
}

/// SQL that begins a transaction: one that reads; one that may write; the same, whose commit isn't
/// waited for.
pub const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
pub const BEGIN: &str = begin_write!("");
pub const PASSING: &str = begin_write!("; SET LOCAL synchronous_commit TO off");

/// Bring it up to date.
pub async fn migrate(options: PgConnectOptions) -> Result<()> {
    let mut migrating = options.connect().await?;
    let (encoding,): (String,) =
        sqlx::query_as("SHOW server_encoding").fetch_one(&mut migrating).await?;
    if encoding != "UTF8" {
        return Err(Error::Address("its database isn't in UTF8"));
    }
    MIGRATIONS.run(&mut migrating).await?;
    Ok(migrating.close().await?)
}

pub async fn open(options: PgConnectOptions) -> Result<Db> {
    let pool =
        |most, settings| Pool::open(Opener::Postgres(options.clone(), settings), most, CONNECT);
    Ok(Db {
        read: pool(READERS, READ).await?,
        search: Searcher(pool(SEARCHERS, READ).await?),
        write: Writer(pool(WRITERS, WRITE).await?),
    })
}

pub fn snapshot_within(limit: Duration) -> impl SqlSafeStr {
    let limit = limit.as_millis();
    AssertSqlSafe(format!("{SNAPSHOT}; SET LOCAL statement_timeout = {limit}"))
}
