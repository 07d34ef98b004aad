//! Where the ledger is: a file, or a database of PostgreSQL by its URL, which may hold a password
//! and is therefore never shown.

use std::{
    convert::Infallible,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use sqlx::postgres::PgConnectOptions;
use url::Url;

use crate::ledger::{Error, Result};

/// What `ROLLCALL_LEDGER` says: `postgres://...` is PostgreSQL, anything else SQLite's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    File(PathBuf),
    Postgres(Address),
}

/// The URL of a database: `postgres://user:password@host:port/database?sslmode=verify-full`. What it
/// leaves out is taken from libpq's variables (`PGPASSWORD`, `PGSSLROOTCERT`, ...).
#[derive(Clone, PartialEq, Eq)]
pub struct Address(String);

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(..)")
    }
}

/// Parameters of the URL. Any other would be left out of account, which could be the one that asks
/// for encryption.
const PARAMETERS: [&str; 12] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

impl Address {
    /// # Errors
    ///
    /// [`Error::Address`], which says nothing of what the URL holds.
    pub(super) fn options(&self) -> Result<PgConnectOptions> {
        let url = Url::parse(&self.0).map_err(|_| Error::Address("it can't be read as a URL"))?;
        if url.query_pairs().any(|(name, _)| !PARAMETERS.contains(&&*name)) {
            return Err(Error::Address("it has a parameter that isn't known"));
        }
        let options = PgConnectOptions::from_str(&self.0)
            .map_err(|_| Error::Address("one of its parts can't be read"))?;
        Ok(options.application_name("rollcall"))
    }
}

impl FromStr for Location {
    type Err = Infallible;

    /// Takes anything: an error would show what was given.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let postgres = ["postgres:", "postgresql:"].iter().any(|scheme| text.starts_with(scheme));
        Ok(if postgres { Self::Postgres(Address(text.into())) } else { Self::File(text.into()) })
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self::File(path.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &str) -> Location {
        text.parse().unwrap()
    }

    #[test]
    fn a_path_is_a_file_and_a_url_a_database() {
        assert_eq!(
            location("/var/lib/rollcall/ledger.db"),
            Location::File("/var/lib/rollcall/ledger.db".into())
        );
        assert!(matches!(location("postgres://db/rollcall"), Location::Postgres(_)));
        assert!(matches!(location("postgresql://db/rollcall"), Location::Postgres(_)));
        assert_eq!(location("postgres.db"), Location::File("postgres.db".into()));
    }

    #[test]
    fn what_is_wrong_with_a_url_is_told_without_what_it_holds() {
        for wrong in [
            "postgres://u:secret@host:secret/db",
            "postgres://u:secret@host/db?sslmode=secret",
            "postgres://u:secret@host/db?ssl=secret",
            "postgres://u:secret@host/db?port=secret",
        ] {
            let Location::Postgres(address) = location(wrong) else { panic!("{wrong}") };
            let shown = match address.options() {
                Ok(_) => panic!("{wrong} was taken"),
                Err(error) => format!("{error} {error:?} {:?}", location(wrong)),
            };
            assert!(!shown.contains("secret"), "{shown}");
        }
        let good = "postgres://u:secret@host/db?sslmode=verify-full&sslrootcert=/ca.pem";
        let Location::Postgres(address) = location(good) else { panic!() };
        assert!(address.options().is_ok());
    }
}
