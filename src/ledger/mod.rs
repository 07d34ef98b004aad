//! The ledger: the SQL database in which the controller and the gateway meet. It holds what is true
//! (owners of domains, people, groups, memberships, the hashes of tokens); statuses in Kubernetes
//! are views of it.
//!
//! Here are the plain types; the queries are methods of [`Ledger`], one file per subject in
//! `queries/`. Which database it is, SQLite or PostgreSQL, only `db/` and the migrations know.

mod db;
mod globs;
mod queries;
mod sign_in;
mod why;

pub use db::{Location, concerns_one};
pub use globs::{Globs, Matcher};
pub use queries::{Ledger, Rotation, TOKEN_SECONDS, scim};
#[cfg(test)]
pub(crate) use queries::{fixture, scim::watch_writes, tests};
pub use sign_in::*;
pub use why::*;

use jiff::Timestamp;
use uuid::Uuid;

/// What can go wrong between us and the database. Nothing in it is a secret or a person's data.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("ledger: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("ledger: migration: {0}")]
    Migrate(sqlx::migrate::MigrateError),
    /// It has been migrated further than this program knows.
    #[error("ledger: a newer version of this program has made it, or brought it up to date")]
    Newer,
    /// This program would have to migrate it first, and wasn't asked to.
    #[error(
        "ledger: an older version of this program serves it: ask with that one, or upgrade it first"
    )]
    Older,
    /// What is wrong with the URL of a PostgreSQL database.
    #[error("ledger: the address of the PostgreSQL database: {0}")]
    Address(&'static str),
    #[error("ledger: {0}: {1}")]
    File(std::path::PathBuf, #[source] std::io::Error),
    /// A text has U+0000 in it.
    #[error("ledger: a text with a NUL character can't be kept")]
    Nul,
    /// A write that others' failure took along, or that came too late.
    #[error("ledger: a write was abandoned")]
    Abandoned,
    /// A search that no index helps, and that would keep others waiting.
    #[error("ledger: a search took too long")]
    TooLong,
    /// A row that only another program can have written.
    #[error("ledger: unreadable {0}")]
    Corrupt(&'static str),
}

impl Error {
    /// Whether the database can't keep a value, or look for it, however often it comes.
    pub fn refuses_values(&self) -> bool {
        db::refuses_values(self)
    }
}

impl From<sqlx::migrate::MigrateError> for Error {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::VersionMissing(_) => Self::Newer,
            _ => Self::Migrate(error),
        }
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A thing that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Grows with each change; never used twice.
    pub seq: i64,
    pub topic: Topic,
    /// The organization's namespace; `None` once another has its name.
    pub organization: Option<String>,
    /// Which thing of the topic: a canonical domain, the name of a DirectorySync, a group's id.
    pub name: String,
}

/// What a [`Change`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A domain got or lost its owner.
    Domain,
    /// A directory was made or deleted, got its first request, or has other groups, or one of them
    /// says something else of itself.
    Directory,
    /// A directory's people, or who is in its groups.
    People,
    /// A group came or went, or has another name or externalId.
    Group,
    /// Who counts in a group that a team stands for.
    Members,
    /// The first sign-in of a day by a connection.
    Connection,
}

impl Topic {
    pub const ALL: [Self; 6] =
        [Self::Domain, Self::Directory, Self::People, Self::Group, Self::Members, Self::Connection];

    /// Whether it only moves figures, maybe with every request.
    pub fn moves_figures(self) -> bool {
        matches!(self, Self::People | Self::Members)
    }
}

/// An organization's claim to a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// When the claim was made, its proof last ended, or the last request to look again came.
    pub claimed_at: Timestamp,
    /// When the present proof was first seen.
    pub proved_at: Option<Timestamp>,
    /// When it was last seen.
    pub seen_at: Option<Timestamp>,
    /// The first definite absence since then.
    pub missing_since: Option<Timestamp>,
    /// The last definite absence that counted.
    pub missed_at: Option<Timestamp>,
    /// How many definite absences counted since then.
    pub absences: i64,
    /// Why the last proof ended, where one did.
    pub lost: Option<Loss>,
    /// Whether this organization is the one that owns the domain.
    pub owns: bool,
    pub asked: Asked,
}

/// What its object asks of a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Whether the proof covers what is below the domain, too.
    pub include_subdomains: bool,
    /// Whether the organization may become the owner. One that is, stays.
    pub sought: bool,
    /// The last request to look again that was met.
    pub request: Option<String>,
}

/// Why a proof ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The record was definitely gone, for long enough.
    RecordLost,
    /// The proof could not be renewed, for too long.
    ProofExpired,
}

/// What a look at the DNS does to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The record was seen.
    Seen,
    /// The record of a proved claim was definitely absent.
    Missing,
    /// The proof ends.
    Lost(Loss),
}

/// A row that an object of the cluster stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The organization's id.
    pub organization: String,
    pub namespace: String,
    pub thing: Thing,
    /// The object's name; of a domain its canonical form; of an organization nothing.
    pub name: String,
}

/// What kind of thing a [`Published`] row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    Organization,
    Domain,
    Connection,
    Directory,
    Team,
}

/// The last good metadata of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Where it was read from: metadata of another source is not this connection's.
    pub source: String,
    /// Who is described: the SAML entity id or the OIDC issuer. Another one in its place vouches
    /// for nobody whom this one did.
    pub issuer: String,
    /// SAML metadata, or the OIDC discovery document, as it came.
    pub metadata: Vec<u8>,
    pub fetched_at: Timestamp,
    /// The last request to fetch it again that was met.
    pub request: Option<String>,
    /// Whether nobody signs in by it for now.
    pub withdrawn: bool,
}

/// The directory of a DirectorySync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    pub id: Uuid,
    /// The first request with the right token.
    pub first_request_at: Option<Timestamp>,
    /// The last change of people or groups.
    pub changed_at: Option<Timestamp>,
    pub users: i64,
    pub groups: i64,
    /// The tokens that open it.
    pub tokens: Vec<Token>,
    /// The last request for a new token that was met.
    pub rotation: Option<String>,
}

/// A token that opens a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: Uuid,
    /// When it ends, if another has taken its place.
    pub ends_at: Option<Timestamp>,
}

/// An imported team that was let go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The UID of the DirectoryTeam.
    pub team: String,
    pub at: Timestamp,
    /// Whether somebody approved it, so that it counts no more.
    pub approved: bool,
}

/// A directory's group.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Group {
    pub id: Uuid,
    pub display_name: String,
    pub external_id: Option<String>,
}

/// How a team names its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    Id(String),
    DisplayName(String),
    ExternalId(String),
}

/// The group that a team stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    Found {
        group: Group,
        active_members: i64,
    },
    NotFound,
    /// One of this name, for which the directory lets no team stand.
    LeftOut(String),
    /// So many of that name.
    Ambiguous(usize),
}

/// A person as `rollcall people` shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub id: Uuid,
    /// The name of the DirectorySync.
    pub directory: String,
    pub user_name: String,
    pub email: Option<String>,
    pub active: bool,
    /// When `active` last changed.
    pub active_since: Timestamp,
    /// The display names of the groups that the person is in, by other groups too; in order.
    pub groups: Vec<String>,
    /// What the person's token carries as groups, in order: `<organization>:<team>`.
    pub teams: Vec<String>,
}
