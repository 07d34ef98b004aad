//! A query that is put together from pieces: every value is bound, under the next number.

use std::fmt::{Display, Write};

use sqlx::AssertSqlSafe;

use super::{
    Dialect, Row, Value,
    query::{Query, QueryAs},
};

pub struct Builder {
    dialect: Dialect,
    text: String,
    values: Vec<Value>,
}

impl Builder {
    pub fn new(dialect: Dialect, text: &str) -> Self {
        Self { dialect, text: text.to_owned(), values: Vec::new() }
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Append SQL, which must be one of our own texts.
    pub fn push(&mut self, text: impl Display) -> &mut Self {
        let _ = write!(self.text, "{text}"); // a String takes whatever is written
        self
    }

    /// Append whichever of two SQL texts the database understands.
    pub fn push_each(&mut self, sqlite: &'static str, postgres: &'static str) -> &mut Self {
        self.push(match self.dialect {
            Dialect::Sqlite => sqlite,
            Dialect::Postgres => postgres,
        })
    }

    pub fn push_bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        let number = self.values.len();
        self.push(format_args!("${number}"))
    }

    /// How the database would go about it.
    #[cfg(test)]
    pub fn explain<R: Row>(mut self) -> QueryAs<R> {
        let explain = match self.dialect {
            Dialect::Sqlite => "EXPLAIN QUERY PLAN ",
            Dialect::Postgres => "EXPLAIN ",
        };
        self.text.insert_str(0, explain);
        self.build()
    }

    pub fn build<R: Row>(self) -> QueryAs<R> {
        Query::new(AssertSqlSafe(self.text), self.values).read_as()
    }
}
