//! Directories: made, deleted, taken up again.

use jiff::Timestamp;
use uuid::Uuid;

use super::{Ledger, note_change, seconds};
use crate::ledger::{
    AuditLine, Directory, Error, Globs, Result, Token, Topic,
    db::{Tx, query, query_as, query_scalar},
};

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    first_request_at: Option<i64>,
    changed_at: Option<i64>,
    users: i64,
    groups: i64,
    rotation: Option<String>,
}

impl Ledger {
    /// The directory of the organization's DirectorySync `name`, where it has one.
    pub async fn directory(&self, organization: &str, name: &str) -> Result<Option<Directory>> {
        get(&mut self.db.read.begin().await?, organization, name).await
    }

    /// The names and ids of the organization's directories, in the order of their names.
    pub async fn directories(&self, organization: &str) -> Result<Vec<(String, Uuid)>> {
        query_as(
            "SELECT name, id FROM directories WHERE organization_id = $1 AND deleted_at IS NULL
             ORDER BY name",
        )
        .bind(organization)
        .fetch_all(&self.db.read)
        .await
    }

    /// Make the directory of a DirectorySync. One that was deleted under the same name less than
    /// the time kept ago is taken up with its people and groups, but without its tokens.
    pub async fn make_directory(
        &self,
        organization: &str,
        name: &str,
        now: Timestamp,
    ) -> Result<Directory> {
        let mut tx = self.begin().await?;
        let deleted: Option<bool> = query_scalar(
            "SELECT deleted_at IS NOT NULL FROM directories WHERE organization_id = $1 AND name = $2",
        )
        .bind(organization)
        .bind(name)
        .fetch_optional(&mut tx)
        .await?;
        match deleted {
            None => tell(&mut tx, organization, "directory.create", name, now).await?,
            Some(true) => tell(&mut tx, organization, "directory.restore", name, now).await?,
            Some(false) => {}
        }
        query(
            "INSERT INTO directories (id, organization_id, name, created_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (organization_id, name) DO UPDATE SET deleted_at = NULL",
        )
        .bind(Uuid::now_v7())
        .bind(organization)
        .bind(name)
        .bind(now.as_second())
        .execute(&mut tx)
        .await?;
        note_change(&mut tx, Topic::Directory, organization, name).await?;
        let directory = get(&mut tx, organization, name).await?;
        tx.commit().await?;
        directory.ok_or(Error::Corrupt("directory"))
    }

    /// Let teams stand for the groups of these names alone. Whether that is new.
    pub async fn put_globs(&self, directory: Uuid, globs: &Globs) -> Result<bool> {
        let text = serde_json::to_string(globs).map_err(|_| Error::Corrupt("globs"))?;
        let known = query_scalar("SELECT globs = $1 FROM directories WHERE id = $2");
        if known.bind(&text).bind(directory).fetch_optional(&self.db.read).await? == Some(true) {
            return Ok(false);
        }
        let put = query("UPDATE directories SET globs = $1 WHERE id = $2");
        put.bind(text).bind(directory).write(&self.db.write).await?;
        Ok(true)
    }

    /// End the directory's token and everyone's access, at once. People and groups are kept for
    /// [`Ledger::purge_directories`].
    pub async fn delete_directory(
        &self,
        organization: &str,
        name: &str,
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        let ended: Option<Uuid> = query_scalar(
            "UPDATE directories SET deleted_at = $1, first_request_at = NULL
             WHERE organization_id = $2 AND name = $3 AND deleted_at IS NULL RETURNING id",
        )
        .bind(now.as_second())
        .bind(organization)
        .bind(name)
        .fetch_optional(&mut tx)
        .await?;
        if let Some(id) = ended {
            #[cfg(test)]
            super::scim::crash_point(id, "sessions");
            query("DELETE FROM directory_tokens WHERE directory_id = $1")
                .bind(id)
                .execute(&mut tx)
                .await?;
            #[cfg(test)]
            super::scim::crash_point(id, "tokens");
            note_change(&mut tx, Topic::Directory, organization, name).await?;
            #[cfg(test)]
            super::scim::crash_point(id, "change");
            tell(&mut tx, organization, "directory.delete", name, now).await?;
            #[cfg(test)]
            super::scim::crash_point(id, "audit line");
        }
        tx.commit().await?;
        Ok(())
    }

    /// Forget the directories that were deleted before `before`, with their people and groups; a
    /// few at a time, so that others get to write in between. From the first on, one that is made
    /// under the same name is another.
    pub async fn purge_directories(&self, before: Timestamp) -> Result<u64> {
        self.put_away(before).await?;
        let deleted = query_scalar("SELECT id FROM directories WHERE deleted_at < $1");
        let deleted: Vec<Uuid> = deleted.bind(before.as_second()).fetch_all(&self.db.read).await?;
        for directory in &deleted {
            for (_point, some) in [
                (
                    "identities",
                    "DELETE FROM identities WHERE id IN (
                         SELECT id FROM identities WHERE directory_id = $1 LIMIT 500)",
                ),
                (
                    "people",
                    "DELETE FROM people WHERE id IN (
                         SELECT id FROM people WHERE directory_id = $1 LIMIT 500)",
                ),
                (
                    "groups",
                    "DELETE FROM directory_groups WHERE id IN (
                         SELECT id FROM directory_groups WHERE directory_id = $1 LIMIT 500)",
                ),
                ("directory", "DELETE FROM directories WHERE id = $1"),
            ] {
                while query(some).bind(*directory).write(&self.db.write).await? > 0 {
                    #[cfg(test)]
                    super::scim::crash_point(*directory, _point);
                }
            }
        }
        Ok(u64::try_from(deleted.len()).unwrap_or(u64::MAX))
    }

    /// Let nobody take up, under its name, a directory of which only a part is left: no
    /// DirectorySync can be called so.
    async fn put_away(&self, before: Timestamp) -> Result<()> {
        let mut tx = self.begin().await?;
        let put_away: Vec<(Uuid, String, String)> = query_as(
            "UPDATE directories SET name = name || '/' || deleted_at
             WHERE deleted_at < $1 AND name NOT LIKE '%/%' RETURNING id, organization_id, name",
        )
        .bind(before.as_second())
        .fetch_all(&mut tx)
        .await?;
        for (_id, organization, name) in put_away {
            #[cfg(test)]
            super::scim::crash_point(_id, "name");
            let name = name.split('/').next().unwrap_or_default();
            tell(&mut tx, &organization, "directory.purge", name, Timestamp::now()).await?;
            #[cfg(test)]
            super::scim::crash_point(_id, "purge line");
        }
        tx.commit().await
    }
}

/// Write to the audit log what becomes of a directory, in the transaction that does it.
pub(super) async fn tell(
    tx: &mut Tx,
    organization: &str,
    action: &str,
    name: &str,
    now: Timestamp,
) -> Result<()> {
    let line = AuditLine {
        at: now,
        actor: "rollcall".into(),
        action: action.into(),
        subject: name.into(),
        detail: None,
        reference: None,
    };
    super::audit::write(tx, organization, &line).await
}

async fn get(tx: &mut Tx, organization: &str, name: &str) -> Result<Option<Directory>> {
    let row: Option<Row> = query_as(
        "SELECT id, first_request_at, changed_at, rotation,
             (SELECT count(*) FROM people p WHERE p.directory_id = d.id) AS users,
             (SELECT count(*) FROM directory_groups g WHERE g.directory_id = d.id) AS groups
         FROM directories d
         WHERE organization_id = $1 AND name = $2 AND deleted_at IS NULL",
    )
    .bind(organization)
    .bind(name)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let tokens: Vec<(Uuid, Option<i64>)> =
        query_as("SELECT id, ends_at FROM directory_tokens WHERE directory_id = $1")
            .bind(row.id)
            .fetch_all(&mut *tx)
            .await?;
    let token = |(id, ends_at): (Uuid, Option<i64>)| {
        Ok(Token { id, ends_at: ends_at.map(seconds).transpose()? })
    };
    Ok(Some(Directory {
        id: row.id,
        first_request_at: row.first_request_at.map(seconds).transpose()?,
        changed_at: row.changed_at.map(seconds).transpose()?,
        users: row.users,
        groups: row.groups,
        tokens: tokens.into_iter().map(token).collect::<Result<_>>()?,
        rotation: row.rotation,
    }))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::{Arc, Mutex, PoisonError},
    };

    use super::*;
    use crate::ledger::{
        fixture::{ACME, Acme, asserted, group},
        queries::tests::{Place, ledger},
        watch_writes,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[tokio::test]
    async fn a_directory_made_again_is_the_same_one_without_its_tokens() {
        let (_dir, ledger) = ledger().await;
        ledger.name_organization("a", "acme", Timestamp::UNIX_EPOCH).await.unwrap();
        ledger.make_directory("a", "okta", at(1)).await.unwrap();
        let first = ledger.directory("a", "okta").await.unwrap().unwrap();
        let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
        ledger.replace_token(first.id, one, b"h1", at(2)).await.unwrap();
        ledger.replace_token(first.id, two, b"h2", at(3)).await.unwrap();
        let tokens = ledger.directory("a", "okta").await.unwrap().unwrap().tokens;
        assert_eq!(tokens, [Token { id: two, ends_at: None }]);

        ledger.delete_directory("a", "okta", at(4)).await.unwrap();
        assert_eq!(ledger.directory("a", "okta").await.unwrap(), None);
        ledger.make_directory("a", "okta", at(5)).await.unwrap();
        let again = ledger.directory("a", "okta").await.unwrap().unwrap();
        assert_eq!((again.id, again.tokens), (first.id, vec![]));
    }

    #[tokio::test]
    async fn a_directory_that_is_being_forgotten_is_not_taken_up_in_part() {
        let (_dir, ledger) = ledger().await;
        ledger.name_organization("a", "acme", Timestamp::UNIX_EPOCH).await.unwrap();
        let first = ledger.make_directory("a", "okta", at(1)).await.unwrap().id;
        ledger.delete_directory("a", "okta", at(4)).await.unwrap();
        ledger.put_away(at(5)).await.unwrap();
        let second = ledger.make_directory("a", "okta", at(6)).await.unwrap().id;
        assert_ne!(second, first);
        // a purge that was interrupted goes on
        assert_eq!(ledger.purge_directories(at(5)).await.unwrap(), 1);
        assert_eq!(ledger.directory("a", "okta").await.unwrap().unwrap().id, second);
    }

    #[tokio::test]
    async fn a_deleted_directory_is_forgotten_when_its_time_is_over() {
        let (_dir, ledger) = ledger().await;
        ledger.name_organization("a", "acme", Timestamp::UNIX_EPOCH).await.unwrap();
        ledger.make_directory("a", "okta", at(1)).await.unwrap();
        let first = ledger.directory("a", "okta").await.unwrap().unwrap();
        ledger.delete_directory("a", "okta", at(4)).await.unwrap();
        assert_eq!(ledger.purge_directories(at(4)).await.unwrap(), 0);
        assert_eq!(ledger.purge_directories(at(5)).await.unwrap(), 1);
        ledger.make_directory("a", "okta", at(6)).await.unwrap();
        assert_ne!(ledger.directory("a", "okta").await.unwrap().unwrap().id, first.id);
    }

    #[tokio::test]
    async fn a_directory_that_is_being_forgotten_is_not_taken_up_by_one_of_its_name() {
        let acme = Acme::new().await;
        acme.sign_in(&asserted("ada")).await.unwrap();
        acme.ledger.delete_directory(ACME, "okta", acme.now).await.unwrap();
        // interrupted as soon as anything of it may be gone
        acme.ledger.put_away(acme.later(1)).await.unwrap();
        let other = acme.ledger.make_directory(ACME, "okta", acme.later(2)).await.unwrap();
        assert!(other.id != acme.directory && other.users == 0);
        for forgotten in [1, 0] {
            assert_eq!(acme.ledger.purge_directories(acme.later(1)).await.unwrap(), forgotten);
        }
        assert_eq!(acme.ledger.directory(ACME, "okta").await.unwrap(), Some(other));
        for table in ["people", "identities"] {
            let left = query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")));
            let left: i64 = left.fetch_one(&acme.ledger.db.read).await.unwrap();
            assert_eq!(left, 0, "{table}");
        }
    }

    #[tokio::test]
    async fn the_audit_log_tells_what_becomes_of_a_directory() {
        let acme = Acme::new().await;
        acme.ledger.make_directory(ACME, "okta", acme.now).await.unwrap();
        acme.ledger.delete_directory(ACME, "okta", acme.now).await.unwrap();
        acme.ledger.delete_directory(ACME, "okta", acme.now).await.unwrap();
        acme.ledger.make_directory(ACME, "okta", acme.now).await.unwrap();
        acme.ledger.end_organization(ACME, acme.now).await.unwrap();
        acme.ledger.purge_directories(acme.later(1)).await.unwrap();
        let audit = acme.ledger.audit_for_tests().await;
        let told: Vec<_> = audit.iter().filter(|(_, actor, ..)| actor == "rollcall").collect();
        assert!(told.iter().all(|(organization, .., name)| organization == ACME && name == "okta"));
        let told: Vec<_> = told.iter().map(|(_, _, action, _)| action.as_str()).collect();
        let (create, restore) = ("directory.create", "directory.restore");
        let (delete, purge) = ("directory.delete", "directory.purge");
        assert_eq!(told, [create, delete, restore, delete, purge]);
    }

    /// What forgetting a directory passes.
    const FORGETTING: [&str; 6] =
        ["name", "purge line", "identities", "people", "groups", "directory"];

    #[tokio::test]
    async fn a_crash_anywhere_in_forgetting_a_directory_leaves_all_of_it_or_what_is_forgotten_next()
    {
        for (number, crash) in FORGETTING.into_iter().enumerate() {
            let acme = Acme::new().await;
            acme.sign_in(&asserted("ada")).await.unwrap();
            let fields = group("Ops");
            let members = [acme.ada];
            let made = acme.ledger.create_group(&acme.scim, &fields, &members, acme.now);
            made.await.unwrap();
            acme.ledger.delete_directory(ACME, "okta", acme.now).await.unwrap();
            let passed = Arc::new(Mutex::new(vec![]));
            let to = passed.clone();
            watch_writes(acme.directory, move |point| {
                let mut passed = to.lock().unwrap_or_else(PoisonError::into_inner);
                let again = passed.contains(&crash);
                passed.push(point);
                assert!(again || point != crash, "it ends here");
            });
            let (ledger, before) = (acme.ledger.clone(), acme.later(1));
            let forget = async || acme.ledger.purge_directories(before).await.unwrap();
            let ended = tokio::spawn(async move { ledger.purge_directories(before).await }).await;
            assert!(ended.unwrap_err().is_panic(), "{crash}");
            let passed = passed.lock().unwrap_or_else(PoisonError::into_inner).clone();
            assert_eq!(passed, FORGETTING[..=number]);

            let made = acme.ledger.make_directory(ACME, "okta", acme.later(2)).await.unwrap();
            let purges = async || {
                let audit = acme.ledger.audit_for_tests().await.into_iter();
                audit.filter(|(_, _, action, _)| action == "directory.purge").count()
            };
            if made.id == acme.directory {
                assert!(number < 2, "nothing is on the disk before {crash}");
                assert_eq!((made.users, made.groups, purges().await), (2, 1, 0), "{crash}");
                acme.ledger.delete_directory(ACME, "okta", acme.now).await.unwrap();
            } else {
                assert!(number >= 2, "no part is on the disk at {crash}");
                assert_eq!((made.users, made.groups, purges().await), (0, 0, 1), "{crash}");
            }
            assert_eq!(forget().await, u64::from(crash != "directory"), "{crash}");
            assert_eq!((forget().await, purges().await), (0, 1), "{crash}");
            for table in ["identities", "people", "directory_groups", "memberships"] {
                let left = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
                let left: i64 = query_scalar(left).fetch_one(&acme.ledger.db.read).await.unwrap();
                assert_eq!(left, 0, "{table} after a crash at {crash}");
            }
        }
    }

    /// What the deletion of a directory passes.
    const POINTS: [&str; 4] = ["sessions", "tokens", "change", "audit line"];

    #[tokio::test]
    async fn a_crash_anywhere_in_the_deletion_of_a_directory_leaves_all_or_nothing() {
        let acme = Acme::new().await;
        let session = acme.sign_in(&asserted("ada")).await.unwrap();
        let state = async |ledger: &Ledger| {
            let stands = ledger.standing_of_session(session, acme.now).await.unwrap();
            let open = ledger.scim_access("acme", "okta", b"token").await.unwrap();
            let directory = ledger.directory(ACME, "okta").await.unwrap();
            let (audit, change) = (ledger.audit_for_tests().await, ledger.latest_change().await);
            (stands.is_some(), open.is_some(), directory, audit, change.unwrap())
        };
        let before = state(&acme.ledger).await;
        assert!(before.0 && before.1);
        let delete = async || acme.ledger.delete_directory(ACME, "okta", acme.now).await;
        let passed = Arc::new(Mutex::new(vec![]));
        match &acme.place {
            Place::File(folder) => {
                let (from, to) = (folder.path().to_owned(), passed.clone());
                watch_writes(acme.directory, move |point| {
                    let copy = tempfile::tempdir().unwrap();
                    for file in ["ledger.db", "ledger.db-wal"] {
                        fs::copy(from.join(file), copy.path().join(file)).unwrap();
                    }
                    to.lock().unwrap().push((point, copy));
                });
                delete().await.unwrap();
                let copies = std::mem::take(&mut *passed.lock().unwrap());
                assert_eq!(copies.iter().map(|(point, _)| *point).collect::<Vec<_>>(), POINTS);
                for (point, copy) in copies {
                    let ledger = Ledger::open(&copy.path().join("ledger.db").into()).await.unwrap();
                    assert_eq!(state(&ledger).await, before, "{point}");
                }
            }
            Place::Postgres(database) => {
                let (cut, at) = (database.cut(), Arc::new(Mutex::new("")));
                let wanted = at.clone();
                // the server sees the program end there
                watch_writes(acme.directory, move |point| {
                    if *wanted.lock().unwrap() == point {
                        cut().unwrap();
                    }
                });
                for point in POINTS {
                    *at.lock().unwrap() = point;
                    assert!(delete().await.is_err(), "{point}");
                    assert_eq!(state(&acme.ledger).await, before, "{point}");
                }
                *at.lock().unwrap() = "";
                delete().await.unwrap();
            }
        }
        let (stands, open, directory, ..) = state(&acme.ledger).await;
        assert!(!stands && !open && directory.is_none());
    }
}
