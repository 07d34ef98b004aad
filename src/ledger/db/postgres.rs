//! PostgreSQL: one writer of all processes at a time, by an advisory lock that a transaction holds
//! until after its commit is seen. No process that hangs or dies keeps it for long: the server ends
//! what it began.

use std::time::Duration;

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, PgPool, SqlSafeStr, SqlStr,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    Db, Pool, Tx, Writer,
    transaction::{PostgresTx, silent},
};
use crate::ledger::{Error, Result};

pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/ledger/migrations/postgres");

const READERS: u32 = 6;
const SEARCHERS: u32 = 4;
/// One writes while the one before comes back to the pool.
const WRITERS: u32 = 2;
/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// A connection that nobody used for so long is tried before it is.
const STALE: Duration = Duration::from_secs(1);

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
    let pool = |most, settings: &'static str| {
        PgPoolOptions::new()
            .max_connections(most)
            .acquire_timeout(CONNECT)
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                Box::pin(async move { connection.execute(settings).await.map(drop) })
            })
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > STALE {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            // else a connection whose server is gone would be waited for as long as TCP does
            .after_release(|connection, _| {
                Box::pin(async {
                    let answers = tokio::time::timeout(CONNECT, connection.ping()).await;
                    answers.map_err(|_| silent()).flatten().map(|()| true)
                })
            })
            .connect_with(options.clone())
    };
    Ok(Db {
        read: Pool::Postgres(pool(READERS, READ).await?),
        search: Pool::Postgres(pool(SEARCHERS, READ).await?),
        write: Writer(Pool::Postgres(pool(WRITERS, WRITE).await?)),
    })
}

pub async fn write(pool: &PgPool) -> Result<Tx> {
    begin(pool, begin_write!("")).await
}

pub async fn passing(pool: &PgPool) -> Result<Tx> {
    begin(pool, begin_write!("; SET LOCAL synchronous_commit TO off")).await
}

pub async fn snapshot(pool: &PgPool, limit: Option<Duration>) -> Result<Tx> {
    const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    let begin_with: SqlStr = match limit {
        None => SNAPSHOT.into_sql_str(),
        Some(limit) => {
            let limit = limit.as_millis();
            AssertSqlSafe(format!("{SNAPSHOT}; SET LOCAL statement_timeout = {limit}"))
                .into_sql_str()
        }
    };
    begin(pool, begin_with).await
}

async fn begin(pool: &PgPool, begin: impl SqlSafeStr) -> Result<Tx> {
    Ok(Tx::Postgres(PostgresTx::begin(pool.acquire().await?, begin).await?))
}
