//! Connections that wait to be used again. A database is asked whether it is still there only where
//! that isn't known: a question for each query that is answered would cost as much as the query.

use std::{future::Future, time::Duration};

use deadpool::{
    Runtime,
    managed::{
        self, Metrics, Object, PoolError, QueueMode, RecycleError, RecycleResult, TimeoutType,
    },
};
use sqlx::{
    ConnectOptions, Connection as _, Executor, PgConnection, SqlSafeStr, SqlStr, SqliteConnection,
    postgres::PgConnectOptions, raw_sql, sqlite::SqliteConnectOptions,
};
use tokio::time::timeout;

use super::{Dialect, Tx, postgres, sqlite};
use crate::ledger::{Error, Result};

/// A connection that nobody used for so long is tried before it is.
const STALE: Duration = Duration::from_secs(1);
/// How long it may take to answer then, or to be done with what it was left in.
const SETTLED: Duration = Duration::from_secs(5);
/// How long to wait for an answer: longer than the server lets any statement take. Whoever doesn't
/// answer by then is gone, without a word.
const ANSWER: Duration = Duration::from_secs(40);
/// A connection that is so old is replaced: what it has in memory has grown, and maybe another server
/// has its database's name by now.
const OLD: Duration = Duration::from_secs(30 * 60);

/// Connections of one kind. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    of: managed::Pool<Opener>,
    dialect: Dialect,
    /// How long to wait for a connection.
    patience: Duration,
}

/// How to open connections.
pub enum Opener {
    Sqlite(SqliteConnectOptions),
    /// With the statements that each begins with.
    Postgres(PgConnectOptions, &'static str),
}

/// A connection while somebody has it. Dropped, it is back in its pool.
pub type Connection = Object<Opener>;

/// A connection, and what is known of it.
pub struct Known {
    pub to: To,
    /// Whether whatever it was asked has been answered, and it is in no transaction.
    pub free: bool,
}

pub enum To {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Pool {
    /// At most so many connections, of which the first is opened at once; whoever wants one waits
    /// `patience` for it.
    pub(super) async fn open(opener: Opener, most: usize, patience: Duration) -> Result<Self> {
        let dialect = match opener {
            Opener::Sqlite(_) => Dialect::Sqlite,
            Opener::Postgres(..) => Dialect::Postgres,
        };
        let of = managed::Pool::builder(opener)
            .max_size(most)
            .queue_mode(QueueMode::Lifo) // the one whose memory is warm
            .runtime(Runtime::Tokio1)
            .recycle_timeout(Some(SETTLED))
            .build()
            .map_err(|error| sqlx::Error::Configuration(error.into()))?;
        let pool = Self { of, dialect, patience };
        drop(pool.get().await?);
        Ok(pool)
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(super) async fn get(&self) -> Result<Connection> {
        // all together: of a server that is gone, each connection would be tried in turn
        let found = timeout(self.patience, self.of.get()).await;
        let found = found.unwrap_or(Err(PoolError::Timeout(TimeoutType::Wait)));
        found.map_err(|error| {
            Error::Sql(match error {
                PoolError::Backend(error) => error,
                PoolError::Timeout(_) => sqlx::Error::PoolTimedOut,
                // the last two don't come up: there is a runtime, and no hook
                PoolError::Closed
                | PoolError::NoRuntimeSpecified
                | PoolError::PostCreateHook(_) => sqlx::Error::PoolClosed,
            })
        })
    }

    /// Several reads that fit together: they see one state of the database.
    pub async fn begin(&self) -> Result<Tx> {
        let begin = match self.dialect {
            Dialect::Sqlite => sqlite::SNAPSHOT,
            Dialect::Postgres => postgres::SNAPSHOT,
        };
        Tx::begin(self.get().await?, begin).await
    }

    /// Let go of the connections that wait. Others are let go of when they come back.
    pub(super) async fn close(&self) {
        let waiting = self.of.retain(|_, _| false).removed;
        self.of.close();
        for known in waiting {
            let closed = match known.to {
                To::Sqlite(connection) => connection.close().await,
                To::Postgres(connection) => connection.close().await,
            };
            if let Err(error) = closed {
                tracing::debug!(%error, "a connection was gone before it was closed");
            }
        }
    }
}

impl Known {
    async fn ping(&mut self) -> sqlx::Result<()> {
        match &mut self.to {
            To::Sqlite(connection) => connection.ping().await,
            To::Postgres(connection) => connection.ping().await,
        }
    }

    /// Run statements that neither take nor return anything.
    pub async fn run(&mut self, statements: SqlStr) -> Result<()> {
        let run = raw_sql(statements);
        match &mut self.to {
            To::Sqlite(connection) => run.execute(connection).await.map(|_| ())?,
            To::Postgres(connection) => answered(run.execute(connection)).await.map(|_| ())?,
        }
        Ok(())
    }
}

/// Give a connection back to its pool that somebody left in the midst of what they did: as soon as it
/// has answered, and what they began is undone; if that takes long, it is closed, which undoes as well.
pub fn give_back(mut connection: Connection, in_transaction: bool) {
    // without a runtime nobody is left who would use it
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    runtime.spawn(async move {
        let settled = async {
            match in_transaction {
                true => connection.run("ROLLBACK".into_sql_str()).await,
                false => Ok(connection.ping().await?),
            }
        };
        match timeout(SETTLED, settled).await {
            Ok(Ok(())) => connection.free = true,
            _ => drop(Object::take(connection)),
        }
    });
}

/// What the server answers, if it does in time.
pub async fn answered<T>(answer: impl Future<Output = sqlx::Result<T>>) -> Result<T> {
    match timeout(ANSWER, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::Sql(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))),
    }
}

impl managed::Manager for Opener {
    type Type = Known;
    type Error = sqlx::Error;

    async fn create(&self) -> sqlx::Result<Known> {
        let to = match self {
            Self::Sqlite(options) => To::Sqlite(options.connect().await?),
            Self::Postgres(options, settings) => {
                let mut connection = options.connect().await?;
                connection.execute(*settings).await?;
                To::Postgres(connection)
            }
        };
        Ok(Known { to, free: true })
    }

    async fn recycle(&self, known: &mut Known, its: &Metrics) -> RecycleResult<sqlx::Error> {
        if !known.free || its.age() > OLD {
            return Err(RecycleError::message("it is replaced"));
        }
        if its.last_used() > STALE {
            known.ping().await?;
        }
        Ok(())
    }
}
