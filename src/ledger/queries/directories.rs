//! Directories: made, deleted, taken up again.

use jiff::Timestamp;
use uuid::Uuid;

use super::{Ledger, note_change, seconds};
use crate::ledger::{
    Directory, Error, Globs, Result, Token, Topic,
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
            query("DELETE FROM directory_tokens WHERE directory_id = $1")
                .bind(id)
                .execute(&mut tx)
                .await?;
            note_change(&mut tx, Topic::Directory, organization, name).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Forget the directories that were deleted before `before`, with their people and groups; a
    /// few at a time, so that others get to write in between.
    pub async fn purge_directories(&self, before: Timestamp) -> Result<u64> {
        for statement in [
            "DELETE FROM identities WHERE id IN (
                 SELECT i.id FROM identities i JOIN directories d ON d.id = i.directory_id
                 WHERE d.deleted_at < $1 LIMIT 500)",
            "DELETE FROM people WHERE id IN (
                 SELECT p.id FROM people p JOIN directories d ON d.id = p.directory_id
                 WHERE d.deleted_at < $1 LIMIT 500)",
            "DELETE FROM directory_groups WHERE id IN (
                 SELECT g.id FROM directory_groups g JOIN directories d ON d.id = g.directory_id
                 WHERE d.deleted_at < $1 LIMIT 500)",
        ] {
            let some = async || {
                let some = query(statement).bind(before.as_second()).write(&self.db.write);
                some.await
            };
            while some().await? > 0 {}
        }
        let purged = query("DELETE FROM directories WHERE deleted_at < $1")
            .bind(before.as_second())
            .write(&self.db.write)
            .await?;
        Ok(purged)
    }
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
    use super::*;
    use crate::ledger::queries::tests::ledger;

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
}
