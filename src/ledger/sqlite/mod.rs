//! The ledger on SQLite: one writer, a few readers, WAL. `synchronous=FULL`, so that a deactivation
//! that was answered survives a loss of power; the steps of a sign-in wait for the disk once, when
//! it has led to a session.

mod access;
mod admission;
mod audit;
mod clients;
mod connections;
mod directories;
mod directory_tokens;
mod domains;
mod email_owner;
#[cfg(test)]
pub(crate) mod fixture;
mod flows;
mod keys;
mod people;
mod removals;
pub mod scim;
mod teams;
mod tokens;
mod why;

pub use access::TOKEN_SECONDS;
pub use directory_tokens::Rotation;

use std::{fs::File, path::Path, time::Duration};

use jiff::Timestamp;
use sqlx::{
    Executor, Sqlite, SqliteConnection, SqlitePool, Transaction,
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Change, Error, Published, Result, Thing, Topic};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/ledger/sqlite/migrations");

/// How long a statement waits for the other process's writer.
const BUSY: Duration = Duration::from_secs(10);
const READERS: u32 = 4;
const SEARCHERS: u32 = 4;

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    read: SqlitePool,
    /// What may take long, apart from what everybody waits for.
    search: SqlitePool,
    write: SqlitePool,
    writer: scim::Writer,
}

impl Ledger {
    /// Open the database at `path`, making it where there is none, and bring it up to date. The
    /// controller and the gateway may do this at the same time.
    pub async fn open(path: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let lock = lock(path).await?;
        let pool = |most| SqlitePoolOptions::new().max_connections(most).test_before_acquire(false);
        let write = pool(1)
            // wherever `passing` was interrupted
            .before_acquire(|writer, _| {
                Box::pin(async { writer.execute("PRAGMA synchronous = FULL").await.map(|_| true) })
            })
            .connect_with(options.clone())
            .await?;
        MIGRATIONS.run(&write).await?;
        drop(lock);
        let options = options.create_if_missing(false).read_only(true);
        let read = pool(READERS).connect_with(options.clone()).await?;
        let search = pool(SEARCHERS).connect_with(options).await?;
        let writer = scim::Writer::start(write.clone());
        Ok(Self { read, search, write, writer })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.read).await?;
        Ok(())
    }

    /// Write everything out and let go of the files.
    pub async fn close(&self) {
        self.read.close().await;
        self.search.close().await;
        self.write.close().await;
    }

    /// A transaction that may write: it holds the lock from its start, so that what it reads
    /// stays true until it commits.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>> {
        Ok(self.write.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// The writer for what leads to something, and may be lost with the power until that stands: it
    /// isn't waited for the disk. What is written later and waited for takes it along, since a log
    /// (WAL) is kept up to where it was synced.
    async fn passing(&self) -> Result<PoolConnection<Sqlite>> {
        let mut writer = self.write.acquire().await?;
        writer.execute("PRAGMA synchronous = NORMAL").await?;
        Ok(writer)
    }

    /// What proves which installation key this ledger was made with; `None` for a new ledger.
    pub async fn installation_check(&self) -> Result<Option<Vec<u8>>> {
        let check = sqlx::query_scalar("SELECT key_check FROM installation");
        Ok(check.fetch_optional(&self.read).await?)
    }

    /// Tie this ledger to an installation key, once and for all. Returns what it is tied to.
    pub async fn tie_to_installation(&self, check: &[u8]) -> Result<Vec<u8>> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO installation (id, key_check) VALUES (1, ?) ON CONFLICT DO NOTHING",
        )
        .bind(check)
        .execute(&mut *tx)
        .await?;
        let tied = sqlx::query_scalar("SELECT key_check FROM installation").fetch_one(&mut *tx);
        let tied = tied.await?;
        tx.commit().await?;
        Ok(tied)
    }

    /// Make `id` the organization of the namespace `name`. Another organization that had the name
    /// is over: it owns no domain and has no connection, team or token any more.
    pub async fn name_organization(&self, id: &str, name: &str, now: Timestamp) -> Result<()> {
        if self.organization_named(name).await?.as_deref() == Some(id) {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        let over: Vec<String> = sqlx::query_scalar(
            "UPDATE organizations SET name = NULL WHERE name = ? AND id <> ? RETURNING id",
        )
        .bind(name)
        .bind(id)
        .fetch_all(&mut *tx)
        .await?;
        for old in &over {
            end(&mut tx, old, now).await?;
        }
        sqlx::query(
            "INSERT INTO organizations (id, name) VALUES (?, ?)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name",
        )
        .bind(id)
        .bind(name)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// The id of the organization in the namespace `name`.
    pub async fn organization_named(&self, name: &str) -> Result<Option<String>> {
        let id = sqlx::query_scalar("SELECT id FROM organizations WHERE name = ?");
        Ok(id.bind(name).fetch_optional(&self.read).await?)
    }

    /// The namespace of the organization with this id.
    pub async fn namespace_of(&self, id: &str) -> Result<Option<String>> {
        let name = sqlx::query_scalar("SELECT name FROM organizations WHERE id = ?").bind(id);
        let name: Option<Option<String>> = name.fetch_optional(&self.read).await?;
        Ok(name.flatten())
    }

    /// Every row that an object of the cluster stands for.
    pub async fn published(&self) -> Result<Vec<Published>> {
        let mut published = vec![];
        for (thing, query) in [
            (Thing::Organization, "SELECT id, name, '' FROM organizations WHERE name IS NOT NULL"),
            (
                Thing::Domain,
                "SELECT o.id, o.name, t.domain FROM domains t
                 JOIN organizations o ON o.id = t.organization_id WHERE o.name IS NOT NULL",
            ),
            (
                Thing::Connection,
                "SELECT o.id, o.name, t.name FROM connections t
                 JOIN organizations o ON o.id = t.organization_id WHERE o.name IS NOT NULL",
            ),
            (
                Thing::Directory,
                "SELECT o.id, o.name, t.name FROM directories t
                 JOIN organizations o ON o.id = t.organization_id
                 WHERE o.name IS NOT NULL AND t.deleted_at IS NULL",
            ),
            (
                Thing::Team,
                "SELECT o.id, o.name, t.name FROM teams t
                 JOIN organizations o ON o.id = t.organization_id WHERE o.name IS NOT NULL",
            ),
        ] {
            let rows: Vec<(String, String, String)> =
                sqlx::query_as(query).fetch_all(&self.read).await?;
            published.extend(rows.into_iter().map(|(organization, namespace, name)| Published {
                organization,
                namespace,
                thing,
                name,
            }));
        }
        Ok(published)
    }

    /// The organization's namespace is gone: it owns no domain and has no connection, team or
    /// token any more. Its people and groups are kept for [`Ledger::purge_directories`].
    pub async fn end_organization(&self, id: &str, now: Timestamp) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE organizations SET name = NULL WHERE id = ?")
            .bind(id)
            .execute(&mut *tx)
            .await?;
        end(&mut tx, id, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The number of the newest change.
    pub async fn latest_change(&self) -> Result<i64> {
        let seq = sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM changes");
        Ok(seq.fetch_one(&self.read).await?)
    }

    /// Forget the changes of groups up to `seq`, which whoever starts anew doesn't ask for.
    pub async fn forget_changes(&self, seq: i64) -> Result<()> {
        let forget = sqlx::query("DELETE FROM changes WHERE topic = ? AND seq <= ?");
        forget.bind(topic_name(Topic::Group)).bind(seq).execute(&self.write).await?;
        Ok(())
    }

    /// What changed after `seq`, oldest first.
    pub async fn changes_since(&self, seq: i64) -> Result<Vec<Change>> {
        let rows: Vec<(i64, String, Option<String>, String)> = sqlx::query_as(
            "SELECT c.seq, c.topic, o.name, c.name
             FROM changes c LEFT JOIN organizations o ON o.id = c.organization_id
             WHERE c.seq > ? ORDER BY c.seq",
        )
        .bind(seq)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter()
            .map(|(seq, topic, organization, name)| {
                Ok(Change { seq, topic: parse_topic(&topic)?, organization, name })
            })
            .collect()
    }
}

/// Take from an organization all that gives anybody anything. Its people and groups are kept for
/// [`Ledger::purge_directories`].
async fn end(tx: &mut SqliteConnection, id: &str, now: Timestamp) -> Result<()> {
    // connections first: with them go all sessions, of which each domain would seek its own
    sqlx::query("DELETE FROM connections WHERE organization_id = ?")
        .bind(id)
        .execute(&mut *tx)
        .await?;
    let claimed: Vec<(String, bool)> =
        sqlx::query_as("DELETE FROM domains WHERE organization_id = ? RETURNING domain, owns")
            .bind(id)
            .fetch_all(&mut *tx)
            .await?;
    for (domain, _) in claimed.iter().filter(|(_, owns)| *owns) {
        domains::pass_on(tx, id, domain).await?;
    }
    for statement in [
        "DELETE FROM teams WHERE organization_id = ?",
        "DELETE FROM directory_tokens
         WHERE directory_id IN (SELECT id FROM directories WHERE organization_id = ?)",
    ] {
        sqlx::query(statement).bind(id).execute(&mut *tx).await?;
    }
    sqlx::query(
        "UPDATE directories SET deleted_at = ?, first_request_at = NULL
         WHERE organization_id = ? AND deleted_at IS NULL",
    )
    .bind(now.as_second())
    .bind(id)
    .execute(&mut *tx)
    .await?;
    Ok(())
}

/// Held while migrating: SQLite itself has no lock that spans a migration.
async fn lock(path: &Path) -> Result<File> {
    let path = path.with_extension("lock");
    let locked = tokio::task::spawn_blocking({
        let path = path.clone();
        move || {
            let file = File::create(&path)?;
            file.lock()?;
            Ok(file)
        }
    });
    locked.await.map_err(std::io::Error::other).flatten().map_err(|e| Error::File(path, e))
}

/// Tell the other side, in the transaction that makes the change.
async fn note_change(
    tx: &mut SqliteConnection,
    topic: Topic,
    organization: &str,
    name: &str,
) -> Result<()> {
    sqlx::query("INSERT INTO changes (topic, organization_id, name) VALUES (?, ?, ?)")
        .bind(topic_name(topic))
        .bind(organization)
        .bind(name)
        .execute(tx)
        .await?;
    Ok(())
}

fn topic_name(topic: Topic) -> &'static str {
    match topic {
        Topic::Domain => "domain",
        Topic::Directory => "directory",
        Topic::Group => "group",
        Topic::Connection => "connection",
    }
}

fn parse_topic(name: &str) -> Result<Topic> {
    match name {
        "domain" => Ok(Topic::Domain),
        "directory" => Ok(Topic::Directory),
        "group" => Ok(Topic::Group),
        "connection" => Ok(Topic::Connection),
        _ => Err(Error::Corrupt("topic")),
    }
}

fn seconds(at: i64) -> Result<Timestamp> {
    Timestamp::from_second(at).map_err(|_| Error::Corrupt("time"))
}

#[cfg(test)]
pub(crate) mod tests {
    use sqlx::Connection;

    use super::*;
    use crate::ledger::Proof;

    impl Ledger {
        /// The audit log: organization, actor, action, subject.
        pub async fn audit_for_tests(&self) -> Vec<(String, String, String, String)> {
            let audit = "SELECT organization_id, actor, action, subject FROM audit ORDER BY seq";
            sqlx::query_as(audit).fetch_all(&self.read).await.unwrap()
        }
    }

    /// A ledger in a folder of its own, which goes with the first of the pair.
    pub async fn ledger() -> (tempfile::TempDir, Ledger) {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.db")).await.unwrap();
        (dir, ledger)
    }

    #[tokio::test]
    async fn two_processes_may_open_a_new_ledger_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        let (a, b) = tokio::join!(Ledger::open(&path), Ledger::open(&path));
        a.unwrap().ping().await.unwrap();
        b.unwrap().ping().await.unwrap();
    }

    #[tokio::test]
    async fn what_is_waited_for_is_on_the_disk_whatever_was_interrupted_before() {
        let (_dir, ledger) = ledger().await;
        let mode = async |writer: &mut SqliteConnection| -> i64 {
            sqlx::query_scalar("PRAGMA synchronous").fetch_one(writer).await.unwrap()
        };
        let (normal, full) = (1, 2);
        let mut passing = ledger.passing().await.unwrap();
        assert_eq!(mode(&mut passing).await, normal);
        let interrupted = passing.begin().await.unwrap();
        drop(interrupted);
        drop(passing);
        assert_eq!(mode(&mut *ledger.begin().await.unwrap()).await, full);
        assert_eq!(mode(&mut *ledger.write.acquire().await.unwrap()).await, full);
    }

    #[tokio::test]
    async fn an_installation_key_is_tied_once() {
        let (_dir, ledger) = ledger().await;
        assert_eq!(ledger.installation_check().await.unwrap(), None);
        assert_eq!(ledger.tie_to_installation(b"one").await.unwrap(), b"one");
        assert_eq!(ledger.tie_to_installation(b"two").await.unwrap(), b"one");
    }

    #[tokio::test]
    async fn the_same_thing_changed_twice_is_seen_once_and_later() {
        let (_dir, ledger) = ledger().await;
        ledger.name_organization("uid-1", "acme", Timestamp::UNIX_EPOCH).await.unwrap();
        let note = async |name: &str| {
            let mut tx = ledger.begin().await.unwrap();
            note_change(&mut tx, Topic::Directory, "uid-1", name).await.unwrap();
            tx.commit().await.unwrap();
        };
        note("okta").await;
        note("entra").await;
        note("okta").await;
        let changes = ledger.changes_since(0).await.unwrap();
        let seen: Vec<_> = changes.iter().map(|c| (c.seq, c.name.as_str())).collect();
        assert_eq!(seen, [(2, "entra"), (3, "okta")]);
        assert_eq!(ledger.changes_since(2).await.unwrap().len(), 1);
        assert_eq!(ledger.latest_change().await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_namespace_made_anew_inherits_nothing_and_finds_nothing_taken() {
        let (_dir, ledger) = ledger().await;
        let now = Timestamp::UNIX_EPOCH;
        for id in ["uid-1", "uid-2"] {
            ledger.name_organization(id, "acme", now).await.unwrap();
            assert_eq!(ledger.directory(id, "okta").await.unwrap(), None);
            assert!(ledger.owned_domains(id).await.unwrap().is_empty());
            ledger.make_directory(id, "okta", now).await.unwrap();
            ledger.claim(id, "acme.com", now).await.unwrap();
            let claim = ledger.record_proof(id, "acme.com", Proof::Seen, now).await.unwrap();
            assert!(claim.owns, "{id}");
        }
        assert_eq!(ledger.organization_named("acme").await.unwrap().as_deref(), Some("uid-2"));
        assert_eq!(ledger.directory("uid-1", "okta").await.unwrap(), None);
    }
}
