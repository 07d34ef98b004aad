//! A transaction of either database. Unless it is committed, nothing of it stays.

use std::{future::Future, time::Duration};

use sqlx::{
    PgConnection, Postgres, SqlSafeStr, SqlStr, Sqlite, Transaction, pool::PoolConnection, raw_sql,
};

use crate::ledger::{Error, Result};

/// How long to wait for an answer: longer than the server lets any statement take. Whoever doesn't
/// answer by then is gone, without a word.
const ANSWER: Duration = Duration::from_secs(40);

pub enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(PostgresTx),
}

impl Tx {
    pub async fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => Ok(tx.commit().await?),
            Self::Postgres(tx) => tx.commit().await,
        }
    }

    /// Run statements that neither take nor return anything, in one go.
    pub async fn run(&mut self, statements: &'static str) -> Result<()> {
        match self {
            Self::Sqlite(tx) => {
                raw_sql(statements).execute(&mut **tx).await?;
            }
            Self::Postgres(tx) => {
                answered(raw_sql(statements).execute(tx.connection())).await?;
            }
        }
        Ok(())
    }
}

/// A transaction of PostgreSQL. sqlx's own may be interrupted (as by a client that hangs up) after
/// its beginning was sent, and then leaves the connection in it, with the lock: this one is there
/// before anything is sent.
pub struct PostgresTx {
    /// `None` once it has ended.
    connection: Option<PoolConnection<Postgres>>,
}

/// How long undoing may take; longer, and the connection is closed, which undoes as well.
const UNDO: Duration = Duration::from_secs(5);

impl PostgresTx {
    /// `begin` begins it, and may have more statements.
    pub(super) async fn begin(
        connection: PoolConnection<Postgres>,
        begin: impl SqlSafeStr,
    ) -> Result<Self> {
        let begin: SqlStr = begin.into_sql_str();
        let mut tx = Self { connection: Some(connection) };
        answered(raw_sql(begin).execute(tx.connection())).await?;
        Ok(tx)
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        // only `commit` and `drop` take it, and they are the last that is done with this
        self.connection.as_mut().expect("a transaction that hasn't ended")
    }

    async fn commit(mut self) -> Result<()> {
        answered(raw_sql("COMMIT").execute(self.connection())).await?;
        self.connection = None; // back to its pool
        Ok(())
    }
}

impl Drop for PostgresTx {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        // without a runtime nobody is left who would use the connection: it is closed with the pool
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let undone = tokio::time::timeout(UNDO, raw_sql("ROLLBACK").execute(&mut *connection));
            if !matches!(undone.await, Ok(Ok(_))) {
                connection.close_on_drop();
            }
        });
    }
}

/// What the server answers, if it does in time.
pub async fn answered<T>(answer: impl Future<Output = sqlx::Result<T>>) -> Result<T> {
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::Sql(silent())),
    }
}

pub fn silent() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}
