//! A query for both databases: its text, with `$1` for the first value bound, and its values.

use std::marker::PhantomData;

use futures::TryStreamExt;
use sqlx::{
    FromRow, Postgres, SqlSafeStr, SqlStr, Sqlite,
    postgres::{PgArguments, PgRow},
    query_as_with, query_with,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::{
    Dialect, On, Tx, Value, Writer,
    pool::{To, answered},
    value,
};
use crate::ledger::Result;

/// What a row can be read as: a tuple, or what derives [`FromRow`].
pub trait Row: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}
impl<T> Row for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{}

/// The text of a query.
pub enum Text {
    Both(SqlStr),
    /// Where the databases have different words for the same.
    Each {
        sqlite: &'static str,
        postgres: &'static str,
    },
}

impl<T: SqlSafeStr> From<T> for Text {
    fn from(text: T) -> Self {
        Self::Both(text.into_sql_str())
    }
}

impl Text {
    fn of(self, dialect: Dialect) -> SqlStr {
        match (self, dialect) {
            (Self::Both(text), _) => text,
            (Self::Each { sqlite, .. }, Dialect::Sqlite) => sqlite.into_sql_str(),
            (Self::Each { postgres, .. }, Dialect::Postgres) => postgres.into_sql_str(),
        }
    }
}

/// A query whose rows nobody reads.
pub struct Query {
    text: Text,
    values: Vec<Value>,
}

/// A query whose rows are read as `R`.
pub struct QueryAs<R> {
    query: Query,
    rows: PhantomData<fn() -> R>,
}

/// A query of whose rows the first column is read.
pub struct QueryScalar<T>(QueryAs<(T,)>);

pub fn query(text: impl Into<Text>) -> Query {
    Query::new(text, vec![])
}

pub fn query_as<R: Row>(text: impl Into<Text>) -> QueryAs<R> {
    query(text).read_as()
}

pub fn query_scalar<T>(text: impl Into<Text>) -> QueryScalar<T>
where
    (T,): Row,
{
    QueryScalar(query_as(text))
}

impl Query {
    pub(super) fn new(text: impl Into<Text>, values: Vec<Value>) -> Self {
        Self { text: text.into(), values }
    }

    pub(super) fn read_as<R: Row>(self) -> QueryAs<R> {
        QueryAs { query: self, rows: PhantomData }
    }

    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Returns how many rows were written.
    pub async fn execute(self, on: impl Into<On<'_>>) -> Result<u64> {
        let mut using = on.into().connection().await?;
        let done = match &mut using.connection().to {
            To::Sqlite(connection) => self.sqlite()?.execute(connection).await?.rows_affected(),
            To::Postgres(connection) => {
                answered(self.postgres()?.execute(connection)).await?.rows_affected()
            }
        };
        using.answered();
        Ok(done)
    }

    /// A write of one statement. Returns how many rows were written.
    pub async fn write(self, writer: &Writer) -> Result<u64> {
        let mut tx = writer.begin().await?;
        let written = self.execute(&mut tx).await?;
        tx.commit().await?;
        Ok(written)
    }

    fn sqlite(self) -> Result<sqlx::query::Query<'static, Sqlite, SqliteArguments>> {
        Ok(query_with(self.text.of(Dialect::Sqlite), value::sqlite(self.values)?))
    }

    fn postgres(self) -> Result<sqlx::query::Query<'static, Postgres, PgArguments>> {
        Ok(query_with(self.text.of(Dialect::Postgres), value::postgres(self.values)?))
    }
}

/// The three ways to read rows.
macro_rules! fetch {
    ($($fetch:ident -> $rows:ty;)*) => {$(
        pub async fn $fetch(self, on: impl Into<On<'_>>) -> Result<$rows> {
            let mut using = on.into().connection().await?;
            let rows = match &mut using.connection().to {
                To::Sqlite(connection) => self.sqlite()?.$fetch(connection).await?,
                To::Postgres(connection) => {
                    answered(self.postgres()?.$fetch(connection)).await?
                }
            };
            using.answered();
            Ok(rows)
        }
    )*};
}

impl<R: Row> QueryAs<R> {
    pub fn bind(self, value: impl Into<Value>) -> Self {
        Self { query: self.query.bind(value), ..self }
    }

    fetch! {
        fetch_all -> Vec<R>;
        fetch_one -> R;
        fetch_optional -> Option<R>;
    }

    /// Read row after row, as long as `take` says that it wants another: where all together may be
    /// more than fits into memory.
    pub async fn fetch_while(
        self,
        tx: &mut Tx,
        mut take: impl FnMut(R) -> Result<bool>,
    ) -> Result<()> {
        match &mut tx.connection().to {
            To::Sqlite(connection) => {
                let query = self.sqlite()?;
                let mut rows = query.fetch(connection);
                while let Some(row) = rows.try_next().await? {
                    if !take(row)? {
                        break;
                    }
                }
            }
            To::Postgres(connection) => {
                let query = self.postgres()?;
                let mut rows = query.fetch(connection);
                while let Some(row) = answered(rows.try_next()).await? {
                    if !take(row)? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn sqlite(self) -> Result<sqlx::query::QueryAs<'static, Sqlite, R, SqliteArguments>> {
        let Query { text, values } = self.query;
        Ok(query_as_with(text.of(Dialect::Sqlite), value::sqlite(values)?))
    }

    fn postgres(self) -> Result<sqlx::query::QueryAs<'static, Postgres, R, PgArguments>> {
        let Query { text, values } = self.query;
        Ok(query_as_with(text.of(Dialect::Postgres), value::postgres(values)?))
    }
}

impl<T> QueryScalar<T>
where
    (T,): Row,
{
    pub fn bind(self, value: impl Into<Value>) -> Self {
        Self(self.0.bind(value))
    }

    pub async fn fetch_all(self, on: impl Into<On<'_>>) -> Result<Vec<T>> {
        Ok(self.0.fetch_all(on).await?.into_iter().map(|(value,)| value).collect())
    }

    pub async fn fetch_one(self, on: impl Into<On<'_>>) -> Result<T> {
        Ok(self.0.fetch_one(on).await?.0)
    }

    pub async fn fetch_optional(self, on: impl Into<On<'_>>) -> Result<Option<T>> {
        Ok(self.0.fetch_optional(on).await?.map(|(value,)| value))
    }
}
