//! A transaction of either database. Unless it is committed, nothing of it stays.
//!
//! sqlx's own may be interrupted (as by a client that hangs up) after its beginning was sent, and then
//! leaves the connection in it, with the lock: this one is there before anything is sent.

use std::time::{Duration, Instant};

use sqlx::SqlSafeStr;
use tokio::time::sleep;

use super::{
    is_locked,
    pool::{Connection, give_back},
};
use crate::ledger::Result;

/// How long a lock that another process has is waited for, and how often it is looked for.
const LOCKED: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(1);

pub struct Tx {
    /// `None` once it has ended.
    connection: Option<Connection>,
}

impl Tx {
    /// `begin` begins it, and may have more statements: they are run again while another process has
    /// the lock that they need.
    pub(super) async fn begin(mut connection: Connection, begin: impl SqlSafeStr) -> Result<Self> {
        connection.free = false;
        let mut tx = Self { connection: Some(connection) };
        let (begin, since) = (begin.into_sql_str(), Instant::now());
        loop {
            match tx.connection().run(begin.clone()).await {
                Err(error) if is_locked(&error) && since.elapsed() < LOCKED => sleep(AGAIN).await,
                begun => return begun.map(|()| tx),
            }
        }
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        // only `commit` and `drop` take it, and they are the last that is done with this
        self.connection.as_mut().expect("a transaction that hasn't ended")
    }

    /// Run statements that neither take nor return anything, in one go.
    pub async fn run(&mut self, statements: &'static str) -> Result<()> {
        self.connection().run(statements.into_sql_str()).await
    }

    pub async fn commit(mut self) -> Result<()> {
        self.run("COMMIT").await?;
        self.connection().free = true;
        self.connection = None; // back to its pool
        Ok(())
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            give_back(connection, true);
        }
    }
}
