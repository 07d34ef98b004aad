//! The queries, as methods of [`Ledger`]: one file per subject.

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
mod member_counts;
mod nesting;
mod people;
mod removals;
pub mod scim;
mod teams;
mod tokens;
mod why;

pub use access::TOKEN_SECONDS;
pub use directory_tokens::Rotation;

use std::sync::Arc;

use jiff::Timestamp;

use self::member_counts::MemberCounts;
use super::{
    Change, Error, Location, Published, Result, Thing, Topic,
    db::{Db, Dialect, Text, Tx, can_hold, query, query_as, query_scalar},
};

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    db: Db,
    writer: scim::Writer,
    member_counts: Arc<MemberCounts>,
}

impl Ledger {
    /// Open the database, making it where it is a file that isn't there, and bring it up to date.
    /// Several processes may do this at the same time.
    pub async fn open(location: &Location) -> Result<Self> {
        Ok(Self::new(Db::open(location).await?))
    }

    /// Open a database that others serve, as it is.
    ///
    /// # Errors
    ///
    /// [`Error::Older`] and [`Error::Newer`] where another version of this program serves it.
    pub async fn open_as_it_is(location: &Location) -> Result<Self> {
        Ok(Self::new(Db::open_as_it_is(location).await?))
    }

    fn new(db: Db) -> Self {
        let writer = scim::Writer::start(db.write.clone());
        Self { db, writer, member_counts: Arc::default() }
    }

    /// The same ledger, in which SCIM lets no organization's directories hold more than so many bytes.
    #[must_use]
    pub fn with_directory_limit(self, bytes: i64) -> Self {
        Self { writer: self.writer.with_limit(bytes), ..self }
    }

    /// Whether several controllers may be at work on it, of which one must be chosen.
    pub fn is_shared(&self) -> bool {
        self.db.dialect() == Dialect::Postgres
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        query("SELECT 1").execute(&self.db.read).await?;
        Ok(())
    }

    /// Write everything out and let go of the database.
    pub async fn close(&self) {
        self.db.close().await;
    }

    /// A transaction that may write.
    async fn begin(&self) -> Result<Tx> {
        self.db.write.begin().await
    }

    /// What proves which installation key this ledger was made with; `None` for a new ledger.
    pub async fn installation_check(&self) -> Result<Option<Vec<u8>>> {
        let check = query_scalar("SELECT key_check FROM installation");
        check.fetch_optional(&self.db.read).await
    }

    /// Tie this ledger to an installation key, once and for all. Returns what it is tied to.
    pub async fn tie_to_installation(&self, check: &[u8]) -> Result<Vec<u8>> {
        let mut tx = self.begin().await?;
        query("INSERT INTO installation (id, key_check) VALUES (1, $1) ON CONFLICT DO NOTHING")
            .bind(check)
            .execute(&mut tx)
            .await?;
        let tied = query_scalar("SELECT key_check FROM installation").fetch_one(&mut tx);
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
        let over: Vec<String> = query_scalar(
            "UPDATE organizations SET name = NULL WHERE name = $1 AND id <> $2 RETURNING id",
        )
        .bind(name)
        .bind(id)
        .fetch_all(&mut tx)
        .await?;
        for old in &over {
            end(&mut tx, old, now).await?;
        }
        query(
            "INSERT INTO organizations (id, name) VALUES ($1, $2)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name",
        )
        .bind(id)
        .bind(name)
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// The id of the organization in the namespace `name`.
    pub async fn organization_named(&self, name: &str) -> Result<Option<String>> {
        if !can_hold(name) {
            return Ok(None);
        }
        let id = query_scalar("SELECT id FROM organizations WHERE name = $1");
        id.bind(name).fetch_optional(&self.db.read).await
    }

    /// The namespace of the organization with this id.
    pub async fn namespace_of(&self, id: &str) -> Result<Option<String>> {
        let name = query_scalar("SELECT name FROM organizations WHERE id = $1").bind(id);
        let name: Option<Option<String>> = name.fetch_optional(&self.db.read).await?;
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
                query_as(query).fetch_all(&self.db.read).await?;
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
        query("UPDATE organizations SET name = NULL WHERE id = $1")
            .bind(id)
            .execute(&mut tx)
            .await?;
        end(&mut tx, id, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The number of the newest change.
    pub async fn latest_change(&self) -> Result<i64> {
        let seq = query_scalar("SELECT coalesce(max(seq), 0) FROM changes");
        seq.fetch_one(&self.db.read).await
    }

    /// Forget the changes of groups up to `seq`, which whoever starts anew doesn't ask for.
    pub async fn forget_changes(&self, seq: i64) -> Result<()> {
        let forget = query("DELETE FROM changes WHERE topic IN ($1, $2) AND seq <= $3");
        let forget = forget.bind(topic_name(Topic::Group)).bind(topic_name(Topic::Members));
        forget.bind(seq).write(&self.db.write).await?;
        Ok(())
    }

    /// What changed after `seq`, oldest first.
    pub async fn changes_since(&self, seq: i64) -> Result<Vec<Change>> {
        let rows: Vec<(i64, String, Option<String>, String)> = query_as(
            "SELECT c.seq, c.topic, o.name, c.name
             FROM changes c LEFT JOIN organizations o ON o.id = c.organization_id
             WHERE c.seq > $1 ORDER BY c.seq",
        )
        .bind(seq)
        .fetch_all(&self.db.read)
        .await?;
        let known = rows.into_iter().filter_map(|(seq, topic, organization, name)| {
            // of a topic that is unknown a newer version tells its like, while both are at work
            Some(Change { seq, topic: parse_topic(&topic)?, organization, name })
        });
        Ok(known.collect())
    }
}

/// Take from an organization all that gives anybody anything. Its people and groups are kept for
/// [`Ledger::purge_directories`].
async fn end(tx: &mut Tx, id: &str, now: Timestamp) -> Result<()> {
    // connections first: with them go all sessions, of which each domain would seek its own
    query("DELETE FROM connections WHERE organization_id = $1").bind(id).execute(&mut *tx).await?;
    let claimed: Vec<(String, bool)> =
        query_as("DELETE FROM domains WHERE organization_id = $1 RETURNING domain, owns")
            .bind(id)
            .fetch_all(&mut *tx)
            .await?;
    for (domain, _) in claimed.iter().filter(|(_, owns)| *owns) {
        domains::pass_on(tx, id, domain).await?;
    }
    for statement in [
        "DELETE FROM teams WHERE organization_id = $1",
        "DELETE FROM directory_tokens
         WHERE directory_id IN (SELECT id FROM directories WHERE organization_id = $1)",
    ] {
        query(statement).bind(id).execute(&mut *tx).await?;
    }
    let ended: Vec<String> = query_scalar(
        "UPDATE directories SET deleted_at = $1, first_request_at = NULL
         WHERE organization_id = $2 AND deleted_at IS NULL RETURNING name",
    )
    .bind(now.as_second())
    .bind(id)
    .fetch_all(&mut *tx)
    .await?;
    for name in ended {
        directories::tell(tx, id, "directory.delete", &name, now).await?;
    }
    Ok(())
}

/// Tell the other side, in the transaction that makes the change.
async fn note_change(tx: &mut Tx, topic: Topic, organization: &str, name: &str) -> Result<()> {
    query(Text::Each {
        // a row in the way is replaced
        sqlite: "INSERT INTO changes (topic, organization_id, name) VALUES ($1, $2, $3)",
        postgres: "INSERT INTO changes (topic, organization_id, name) VALUES ($1, $2, $3)
             ON CONFLICT (topic, organization_id, name) DO UPDATE SET seq = excluded.seq",
    })
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
        Topic::People => "people",
        Topic::Group => "group",
        Topic::Members => "members",
        Topic::Connection => "connection",
    }
}

fn parse_topic(name: &str) -> Option<Topic> {
    Topic::ALL.into_iter().find(|topic| topic_name(*topic) == name)
}

fn seconds(at: i64) -> Result<Timestamp> {
    Timestamp::from_second(at).map_err(|_| Error::Corrupt("time"))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use rollcall_kit::{
        postgres::{Database, Disk, Postgres},
        tls::Authority,
    };
    use tokio::time::timeout;

    use super::*;
    use crate::ledger::{AuditLine, Proof};

    impl Ledger {
        /// While it is there, nobody else writes.
        pub async fn begin_for_tests(&self) -> impl Send + use<> {
            self.begin().await.unwrap()
        }

        /// The audit log: organization, actor, action, subject.
        pub async fn audit_for_tests(&self) -> Vec<(String, String, String, String)> {
            let audit = "SELECT organization_id, actor, action, subject FROM audit ORDER BY seq";
            query_as(audit).fetch_all(&self.db.read).await.unwrap()
        }

        /// Has the database refuse people and groups whose attributes have `unkept` in them, as it
        /// might what we don't know of.
        pub async fn refuse_some_for_tests(&self) {
            let refuse = match self.db.dialect() {
                Dialect::Sqlite => {
                    "CREATE TRIGGER people_kept BEFORE UPDATE OF attributes ON people
                     WHEN instr(new.attributes, 'unkept') BEGIN SELECT RAISE(ABORT, 'no'); END;
                     CREATE TRIGGER groups_kept BEFORE UPDATE OF attributes ON directory_groups
                     WHEN instr(new.attributes, 'unkept') BEGIN SELECT RAISE(ABORT, 'no'); END"
                }
                Dialect::Postgres => {
                    "ALTER TABLE people ADD CHECK (instr(attributes, 'unkept') = 0);
                     ALTER TABLE directory_groups ADD CHECK (instr(attributes, 'unkept') = 0)"
                }
            };
            let mut tx = self.begin().await.unwrap();
            tx.run(refuse).await.unwrap();
            tx.commit().await.unwrap();
        }
    }

    /// Where a test's ledger is. What is there goes with it.
    pub enum Place {
        File(tempfile::TempDir),
        Postgres(Database),
    }

    impl Place {
        /// An empty one: on PostgreSQL where `ROLLCALL_TEST_LEDGER=postgres` says so.
        pub async fn new() -> Self {
            match Database::asked_for().await.unwrap() {
                Some(database) => Self::Postgres(database),
                None => Self::File(tempfile::tempdir().unwrap()),
            }
        }

        pub fn location(&self) -> Location {
            match self {
                Self::File(folder) => folder.path().join("ledger.db").into(),
                Self::Postgres(database) => database.url.parse().unwrap(),
            }
        }
    }

    /// A ledger of its own, which goes with the first of the pair.
    pub async fn ledger() -> (Place, Ledger) {
        let place = Place::new().await;
        let ledger = Ledger::open(&place.location()).await.unwrap();
        (place, ledger)
    }

    #[tokio::test]
    async fn several_processes_may_open_a_new_ledger_at_once() {
        let place = Place::new().await;
        let location = place.location();
        let open = || Ledger::open(&location);
        let opened = tokio::join!(open(), open(), open(), open());
        for ledger in [opened.0, opened.1, opened.2, opened.3] {
            ledger.unwrap().ping().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_ledger_that_is_newer_than_the_program_is_refused() {
        let (place, ledger) = ledger().await;
        let newer = "INSERT INTO _sqlx_migrations
                 (version, description, success, checksum, execution_time)
             VALUES (9999, 'newer', true, $1, 0)";
        query(newer).bind(&b"checksum"[..]).write(&ledger.db.write).await.unwrap();
        assert!(matches!(Ledger::open(&place.location()).await, Err(Error::Newer)));
        assert!(matches!(Ledger::open_as_it_is(&place.location()).await, Err(Error::Newer)));
    }

    #[tokio::test]
    async fn whoever_only_looks_at_a_ledger_neither_makes_nor_migrates_it() {
        let (place, ledger) = ledger().await;
        let location = place.location();
        Ledger::open_as_it_is(&location).await.unwrap().ping().await.unwrap();
        let last = "DELETE FROM _sqlx_migrations
             WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
        query(last).write(&ledger.db.write).await.unwrap();
        let migrations = async || -> i64 {
            let count = query_scalar("SELECT count(*) FROM _sqlx_migrations");
            count.fetch_one(&ledger.db.read).await.unwrap()
        };
        let before = migrations().await;
        assert!(matches!(Ledger::open_as_it_is(&location).await, Err(Error::Older)));
        assert_eq!(migrations().await, before);
        let empty = Place::new().await;
        assert!(Ledger::open_as_it_is(&empty.location()).await.is_err());
        if let Place::File(folder) = &empty {
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[tokio::test]
    async fn what_is_waited_for_is_on_the_disk_whatever_was_interrupted_before() {
        let (_place, ledger) = ledger().await;
        let mode = async |tx: &mut Tx| -> String {
            let mode = query_scalar(Text::Each {
                sqlite: "SELECT CASE synchronous WHEN 1 THEN 'off' WHEN 2 THEN 'on' END
                     FROM pragma_synchronous",
                postgres: "SELECT current_setting('synchronous_commit')",
            });
            mode.fetch_one(tx).await.unwrap()
        };
        let mut passing = ledger.db.write.passing().await.unwrap();
        assert_eq!(mode(&mut passing).await, "off");
        drop(passing);
        for _ in 0..3 {
            let mut tx = ledger.begin().await.unwrap();
            assert_eq!(mode(&mut tx).await, "on");
            tx.commit().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_beginning_that_is_interrupted_leaves_no_lock_behind() {
        let (place, ledger) = ledger().await;
        let other = Ledger::open(&place.location()).await.unwrap();
        for _ in 0..5 {
            let held = ledger.begin().await.unwrap();
            let waiting = timeout(Duration::from_millis(50), other.begin()).await;
            assert!(waiting.is_err(), "there is one writer at a time");
            held.commit().await.unwrap();
            for ledger in [&ledger, &other] {
                let tx = timeout(Duration::from_secs(4), ledger.begin()).await;
                tx.expect("nobody holds the lock").unwrap().commit().await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn whoever_writes_all_the_time_keeps_no_other_process_from_writing() {
        let (place, ledger) = ledger().await;
        let other = Ledger::open(&place.location()).await.unwrap();
        let busy = tokio::spawn(async move {
            loop {
                let tx = ledger.begin().await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
                tx.commit().await.unwrap();
            }
        });
        let write = async |id: &str| {
            other.name_organization(id, id, Timestamp::UNIX_EPOCH).await.unwrap();
        };
        // in a database that is found at rest for less than a hundredth of the time
        let all = async {
            for id in ["a", "b", "c", "d", "e"] {
                write(id).await;
            }
        };
        timeout(Duration::from_secs(15), all).await.unwrap();
        busy.abort();
    }

    #[tokio::test]
    async fn whoever_hangs_up_in_the_midst_of_a_query_takes_no_connection_along() {
        let (_place, ledger) = ledger().await;
        let long = || {
            let count = query_scalar::<i64>(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
                 SELECT count(*) FROM n",
            );
            count.bind(300_000_i64).fetch_one(&ledger.db.read)
        };
        for left in 0..20_u64 {
            let hung_up = timeout(Duration::from_millis(left % 3), long()).await;
            assert!(hung_up.is_err(), "that takes longer");
            // and what they asked is answered to nobody else
            let one = query_scalar("SELECT $1 + 0").bind(7_i64);
            let one: i64 = one.fetch_one(&ledger.db.read).await.unwrap();
            assert_eq!(one, 7);
        }
        ledger.close().await;
        assert!(ledger.ping().await.is_err());
    }

    #[tokio::test]
    async fn a_text_that_not_every_database_can_hold_is_in_none() {
        let (_place, ledger) = ledger().await;
        let now = Timestamp::UNIX_EPOCH;
        let refused = ledger.name_organization("id\0", "acme", now).await;
        assert!(matches!(refused, Err(Error::Nul)));
        assert_eq!(ledger.organization_named("acme\0").await.unwrap(), None);
        assert_eq!(ledger.open_connection("acme\0", "okta\0").await.unwrap(), None);
        assert!(ledger.scim_access("acme", "okta\0", b"").await.unwrap().is_none());
        assert!(ledger.clients_named("argocd\0").await.unwrap().is_empty());
        // what somebody tried is told of all the same
        ledger.name_organization("id", "acme", now).await.unwrap();
        let line = AuditLine {
            at: now,
            actor: "saml:okta".into(),
            action: "sign-in.refused".into(),
            subject: "a\0b".into(),
            detail: Some("\0".into()),
            reference: None,
        };
        ledger.audit("id", &line).await.unwrap();
        assert_eq!(ledger.audit_log("acme", None, 1).await.unwrap()[0].subject, "a\u{fffd}b");
    }

    #[tokio::test]
    async fn a_database_is_spoken_to_only_if_its_certificate_is_what_the_url_asks_for() {
        let server = Postgres::shared().await.unwrap();
        let database = server.database().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("ca.crt");
        Authority::new().unwrap().write_ca(&other).unwrap();
        let open = async |host: &str, root: &std::path::Path| {
            let verified = format!("sslmode=verify-full&sslrootcert={}", root.display());
            let url = database.url.replace("sslmode=disable", &verified);
            Ledger::open(&url.replace("127.0.0.1", host).parse().unwrap()).await
        };
        open("localhost", &server.ca_file).await.unwrap().ping().await.unwrap();
        for (host, root) in [("localhost", &other), ("127.0.0.2", &server.ca_file)] {
            let refused = open(host, root).await.err().map(|error| format!("{error} {error:?}"));
            assert!(refused.is_some_and(|why| why.contains("ertificate")), "{host}");
        }
    }

    #[tokio::test]
    async fn a_writer_that_hangs_or_loses_its_server_stops_nobody_for_long() {
        let mut server = Postgres::start(Disk::Waited).await.unwrap();
        let database = server.database().unwrap();
        let location = database.url.parse().unwrap();
        let (one, two) =
            (Ledger::open(&location).await.unwrap(), Ledger::open(&location).await.unwrap());
        assert!(one.is_shared());
        let mut hanging = one.begin().await.unwrap();
        two.name_organization("id", "acme", Timestamp::UNIX_EPOCH).await.unwrap();
        let too_late = query("UPDATE organizations SET name = 'late'").execute(&mut hanging);
        assert!(too_late.await.is_err());
        drop(hanging);
        one.name_organization("id", "acme-2", Timestamp::UNIX_EPOCH).await.unwrap();
        server.crash().await.unwrap();
        for ledger in [&one, &two] {
            // what was open is broken, each connection once
            let mut failed = 0;
            while let Err(error) =
                ledger.name_organization("id", "acme", Timestamp::UNIX_EPOCH).await
            {
                failed += 1;
                assert!(failed < 4, "{error}");
            }
            ledger.ping().await.unwrap();
        }
        assert_eq!(two.namespace_of("id").await.unwrap().as_deref(), Some("acme"));
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
        // a newer version has others
        let unknown =
            query("INSERT INTO changes (topic, organization_id, name) VALUES ('x', '', '')");
        unknown.write(&ledger.db.write).await.unwrap();
        assert_eq!(ledger.changes_since(2).await.unwrap().len(), 1);
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
