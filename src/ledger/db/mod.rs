//! Two databases behind one set of queries: SQLite, for one process or pod, and PostgreSQL, for
//! several. A query's text is the same for both wherever they agree, and a pair of texts where they
//! don't ([`Text::Each`]).
//!
//! There is one writer at a time, on PostgreSQL as well: whatever writes holds a lock from its start
//! to its commit. So what it reads stays true until then, and changes are seen in the order of their
//! numbers.

mod builder;
mod location;
mod pool;
mod postgres;
mod query;
mod sqlite;
mod transaction;
mod value;

pub use builder::Builder;
pub use location::Location;
pub use pool::Pool;
pub use query::{Query, QueryAs, QueryScalar, Row, Text, query, query_as, query_scalar};
pub use transaction::Tx;
pub use value::{Ids, Value, can_hold};

use std::time::Duration;

use self::pool::{Connection, To, give_back};
use super::{Error, Result};

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// An open database. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    pub read: Pool,
    /// What may take long, apart from what everybody waits for.
    pub search: Searcher,
    pub write: Writer,
}

impl Db {
    /// Open the database, making it where it is a file that isn't there, and bring it up to date.
    /// Several processes may do this at the same time.
    pub async fn open(location: &Location) -> Result<Self> {
        match location {
            Location::File(path) => sqlite::migrate(path).await?,
            Location::Postgres(address) => postgres::migrate(address.options()?).await?,
        }
        Self::open_as_it_is(location).await
    }

    /// Open a database that is there and up to date.
    ///
    /// # Errors
    ///
    /// [`Error::Older`] and [`Error::Newer`] where it isn't.
    pub async fn open_as_it_is(location: &Location) -> Result<Self> {
        let (db, migrations) = match location {
            Location::File(path) => (sqlite::open(path).await?, &sqlite::MIGRATIONS),
            Location::Postgres(address) => {
                (postgres::open(address.options()?).await?, &postgres::MIGRATIONS)
            }
        };
        let applied = query_scalar("SELECT version FROM _sqlx_migrations WHERE success");
        let applied: Vec<i64> = applied.fetch_all(&db.read).await?;
        if !applied.iter().all(|version| migrations.version_exists(*version)) {
            return Err(Error::Newer);
        }
        if !migrations.iter().all(|known| applied.contains(&known.version)) {
            return Err(Error::Older);
        }
        Ok(db)
    }

    pub async fn close(&self) {
        self.read.close().await;
        self.search.0.close().await;
        self.write.0.close().await;
    }

    pub fn dialect(&self) -> Dialect {
        self.read.dialect()
    }
}

/// The connections that write. Only one of all processes does so at a time.
#[derive(Clone)]
pub struct Writer(Pool);

impl Writer {
    /// A transaction that may write: it holds the lock from its start, so that what it reads stays
    /// true until it commits.
    pub async fn begin(&self) -> Result<Tx> {
        let begin = match self.0.dialect() {
            Dialect::Sqlite => sqlite::WRITE,
            Dialect::Postgres => postgres::BEGIN,
        };
        Tx::begin(self.0.get().await?, begin).await
    }

    /// The same for what leads to something, and may be lost with the power until that stands: its
    /// commit isn't waited for. What is written later and waited for takes it along, since a log is
    /// kept up to where it was synced.
    pub async fn passing(&self) -> Result<Tx> {
        let begin = match self.0.dialect() {
            Dialect::Sqlite => sqlite::PASSING,
            Dialect::Postgres => postgres::PASSING,
        };
        Tx::begin(self.0.get().await?, begin).await
    }
}

/// The connections for what may take long.
#[derive(Clone)]
pub struct Searcher(Pool);

impl Searcher {
    /// Several reads that fit together, none of which takes longer than `limit`: it is broken off,
    /// which [`too_long`] tells from other errors.
    pub async fn begin_within(&self, limit: Duration) -> Result<Tx> {
        let mut connection = self.0.get().await?;
        match &mut connection.to {
            To::Sqlite(search) => {
                sqlite::break_off_after(search, limit).await?;
                Tx::begin(connection, sqlite::SNAPSHOT).await
            }
            To::Postgres(_) => Tx::begin(connection, postgres::snapshot_within(limit)).await,
        }
    }
}

/// What a query runs on: any of the connections of a [`Pool`], or a transaction.
pub enum On<'c> {
    Pool(&'c Pool),
    Tx(&'c mut Tx),
}

impl On<'_> {
    /// For one query of several.
    pub fn again(&mut self) -> On<'_> {
        match self {
            Self::Pool(pool) => On::Pool(pool),
            Self::Tx(tx) => On::Tx(tx),
        }
    }
}

/// The connection that a query uses.
enum Using<'c> {
    /// `None` once it has answered.
    OfPool(Option<Connection>),
    OfTx(&'c mut Tx),
}

impl<'c> On<'c> {
    async fn connection(self) -> Result<Using<'c>> {
        Ok(match self {
            Self::Tx(tx) => Using::OfTx(tx),
            Self::Pool(pool) => {
                let mut connection = pool.get().await?;
                connection.free = false;
                Using::OfPool(Some(connection))
            }
        })
    }
}

impl Using<'_> {
    fn connection(&mut self) -> &mut Connection {
        match self {
            // only `answered` and `drop` take it, and they are the last that is done with this
            Self::OfPool(connection) => connection.as_mut().expect("a query under way"),
            Self::OfTx(tx) => tx.connection(),
        }
    }

    fn answered(mut self) {
        if let Self::OfPool(connection) = &mut self
            && let Some(mut connection) = connection.take()
        {
            connection.free = true;
        }
    }
}

impl Drop for Using<'_> {
    fn drop(&mut self) {
        if let Self::OfPool(connection) = self
            && let Some(connection) = connection.take()
        {
            give_back(connection, false);
        }
    }
}

impl<'c> From<&'c Pool> for On<'c> {
    fn from(pool: &'c Pool) -> Self {
        Self::Pool(pool)
    }
}

impl<'c> From<&'c mut Tx> for On<'c> {
    fn from(tx: &'c mut Tx) -> Self {
        Self::Tx(tx)
    }
}

/// Whether another process had the lock that a statement needs.
fn is_locked(error: &Error) -> bool {
    const BUSY: i32 = 5; // SQLITE_BUSY, also while another recovers the log of one that was killed
    let Error::Sql(sqlx::Error::Database(e)) = error else { return false };
    e.code().and_then(|code| sqlite_code(&code)) == Some(BUSY)
}

/// SQLite's code of an error, without what it says in particular.
fn sqlite_code(code: &str) -> Option<i32> {
    let number = code.parse::<i32>().ok()?;
    (code.len() < 5).then_some(number & 0xff) // PostgreSQL's have five characters
}

/// Whether a statement failed for what it says: whatever else its transaction did stands, once it is
/// back at a savepoint. Otherwise the database or the way to it failed, and maybe the transaction.
pub fn concerns_one(error: &Error) -> bool {
    // SQLITE_ERROR, _TOOBIG, _CONSTRAINT, _MISMATCH
    const SQLITE: [i32; 4] = [1, 18, 19, 20];
    // of PostgreSQL the class: data, constraints, what can't be run, limits of the program
    const POSTGRES: [&str; 4] = ["22", "23", "42", "54"];
    let code = match error {
        Error::Nul | Error::Corrupt(_) => return true,
        Error::Sql(sqlx::Error::Database(e)) => e.code(),
        _ => return false,
    };
    code.is_some_and(|code| match sqlite_code(&code) {
        Some(number) => SQLITE.contains(&number),
        None => POSTGRES.iter().any(|class| code.starts_with(class)),
    })
}

/// Whether a statement can't be run for the values in it: they can't be kept, however often they come.
pub fn refuses_values(error: &Error) -> bool {
    const TOO_BIG: &str = "18"; // SQLITE_TOOBIG
    let code = match error {
        Error::Nul => return true,
        Error::Sql(sqlx::Error::Database(e)) => e.code(),
        _ => return false,
    };
    // of PostgreSQL the classes of data, and of limits of the program
    code.is_some_and(|code| {
        code == TOO_BIG || code.len() == 5 && (code.starts_with("22") || code.starts_with("54"))
    })
}

/// Tell apart what was broken off for taking too long.
pub fn too_long(error: Error) -> Error {
    const INTERRUPT: &str = "9"; // SQLITE_INTERRUPT
    const QUERY_CANCELED: &str = "57014";
    match &error {
        Error::Sql(sqlx::Error::Database(e))
            if matches!(e.code().as_deref(), Some(INTERRUPT | QUERY_CANCELED)) =>
        {
            Error::TooLong
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, error::Error as StdError, fmt};

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    #[derive(Debug)]
    struct Code(&'static str);

    impl fmt::Display for Code {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for Code {}

    impl DatabaseError for Code {
        fn message(&self) -> &str {
            self.0
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
        }

        fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    #[test]
    fn a_database_that_fails_is_told_from_one_that_refuses_a_statement() {
        let concerns_one =
            |code| concerns_one(&Error::Sql(sqlx::Error::Database(Box::new(Code(code)))));
        // constraints, malformed JSON, too large; a row of an index that is, and a cast that fails
        for refused in ["2067", "787", "1", "18", "23505", "54000", "22P02", "42883"] {
            assert!(concerns_one(refused), "{refused}");
        }
        // busy, interrupted, I/O, corrupt, full; broken off, locked out, serialization, deadlock,
        // shut down, disk full, aborted before, inside
        for failed in [
            "5", "9", "10", "11", "13", "261", "522", "57014", "55P03", "40001", "40P01", "57P01",
            "53100", "25P02", "XX000",
        ] {
            assert!(!concerns_one(failed), "{failed}");
        }
        assert!(!super::concerns_one(&Error::Sql(sqlx::Error::PoolTimedOut)));
        assert!(super::concerns_one(&Error::Nul));
    }

    #[test]
    fn a_lock_that_another_process_has_is_told_from_other_errors() {
        let is_locked = |code| is_locked(&Error::Sql(sqlx::Error::Database(Box::new(Code(code)))));
        assert!(is_locked("5") && is_locked("261"));
        for other in ["9", "19", "6", "10", "55P03", "57014", "00005"] {
            assert!(!is_locked(other), "{other}");
        }
    }

    #[test]
    fn a_value_that_no_try_makes_better_is_told_from_what_we_or_the_database_do_wrong() {
        let of_code = |code| Error::Sql(sqlx::Error::Database(Box::new(Code(code))));
        for refused in ["18", "22P02", "22P05", "54000", "54001"] {
            assert!(refuses_values(&of_code(refused)), "{refused}");
        }
        for other in ["1", "5", "13", "19", "787", "2067", "42883", "23505", "53100", "57014"] {
            assert!(!refuses_values(&of_code(other)), "{other}");
        }
        assert!(refuses_values(&Error::Nul));
        assert!(!refuses_values(&Error::Sql(sqlx::Error::PoolTimedOut)));
    }
}
