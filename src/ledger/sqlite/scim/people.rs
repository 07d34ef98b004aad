//! The people of a directory, as its SCIM client sees them.

use jiff::Timestamp;
use serde::Deserialize;
use sqlx::{FromRow, QueryBuilder, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::{Access, Page, Refused, Window, finish};
use crate::ledger::{
    Error, Result,
    sqlite::{Ledger, seconds},
};

/// What a client says of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonFields {
    pub user_name: String,
    pub external_id: Option<String>,
    /// The primary one, or the only one, with ASCII in lower case.
    pub email: Option<String>,
    pub active: bool,
    /// The SCIM resource without id, meta and groups: a JSON object.
    pub attributes: String,
}

/// A person as they are kept.
#[derive(Clone, Debug)]
pub struct StoredPerson {
    pub id: Uuid,
    /// The SCIM resource without id, meta and groups: a JSON object.
    pub attributes: String,
    pub active: bool,
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// In the order of their names.
    pub groups: Vec<GroupOfPerson>,
}

/// A group that a person is a member of.
#[derive(Clone, Debug, Deserialize)]
pub struct GroupOfPerson {
    pub id: Uuid,
    pub display_name: String,
}

/// Which people are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersonFilter {
    All,
    /// What was asked for can't be anyone's.
    Nobody,
    Id(Uuid),
    /// Without regard to case.
    UserName(String),
    ExternalId(String),
    /// Any of the person's addresses, without regard to case.
    Email(String),
    Active(bool),
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    attributes: String,
    active: bool,
    version: i64,
    created_at: i64,
    updated_at: i64,
    groups: String,
}

impl TryFrom<Row> for StoredPerson {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: row.id,
            attributes: row.attributes,
            active: row.active,
            version: row.version,
            created_at: seconds(row.created_at)?,
            updated_at: seconds(row.updated_at)?,
            groups: serde_json::from_str(&row.groups).map_err(|_| Error::Corrupt("groups"))?,
        })
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT p.id, p.attributes, p.active, p.version, p.created_at, p.updated_at,
                 (SELECT json_group_array(json_object(
                      'id', lower(hex(g.id)), 'display_name', g.display_name)
                      ORDER BY g.display_name, g.id)
                  FROM memberships m JOIN directory_groups g ON g.id = m.group_id
                  WHERE m.person_id = p.id) AS groups
             FROM people p WHERE p.directory_id = ",
            $rest
        )
    };
}

impl Ledger {
    /// Add a person to the directory.
    pub async fn create_person(
        &self,
        access: &Access,
        fields: &PersonFields,
        now: Timestamp,
    ) -> Result<Uuid, Refused> {
        let id = Uuid::now_v7();
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO people (id, directory_id, user_name, user_name_key, external_id, email,
                 active, active_since, attributes, created_at, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?8, ?8)",
        )
        .bind(id)
        .bind(access.directory())
        .bind(&fields.user_name)
        .bind(key(&fields.user_name))
        .bind(&fields.external_id)
        .bind(&fields.email)
        .bind(fields.active)
        .bind(now.as_second())
        .bind(&fields.attributes)
        .execute(&mut *tx)
        .await
        .map_err(taken)?;
        finish(&mut tx, access, "user.create", id, now).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// One person of the directory.
    pub async fn person(&self, access: &Access, id: Uuid) -> Result<Option<StoredPerson>> {
        read(&mut *self.read.acquire().await?, access, id).await
    }

    /// The people that `filter` names, in the order of their userNames.
    pub async fn find_people(
        &self,
        access: &Access,
        filter: &PersonFilter,
        window: Window,
    ) -> Result<Page<StoredPerson>> {
        // one transaction, so that the total fits the page
        let mut tx = self.read.begin().await?;
        let mut count = QueryBuilder::new("SELECT count(*) FROM people p WHERE p.directory_id = ");
        narrow(&mut count, access, filter);
        let total = count.build_query_scalar().fetch_one(&mut *tx).await?;
        if window.limit == 0 || window.offset >= total {
            return Ok(Page { total, items: Vec::new() });
        }
        let mut rows = rows(access, filter, window);
        let rows: Vec<Row> = rows.build_query_as().fetch_all(&mut *tx).await?;
        let items = rows.into_iter().map(StoredPerson::try_from).collect::<Result<_>>()?;
        Ok(Page { total, items })
    }

    /// Change a person. `change` says what they are to become, or `None` to leave them as they
    /// are, and then nothing at all is written. It is called before the write lock is taken, and
    /// again under it only where somebody else was faster.
    pub async fn change_person<E: From<Refused>>(
        &self,
        access: &Access,
        id: Uuid,
        action: &'static str,
        now: Timestamp,
        change: impl Fn(&StoredPerson) -> Result<Option<PersonFields>, E>,
    ) -> Result<StoredPerson, E> {
        let found = self.person(access, id).await.map_err(Refused::from)?;
        let mut person = found.ok_or(Refused::NotFound)?;
        let Some(mut fields) = change(&person)? else { return Ok(person) };
        let mut tx = self.begin().await.map_err(Refused::from)?;
        while !write(&mut tx, access, &person, &fields, now).await? {
            let found = read(&mut tx, access, id).await.map_err(Refused::from)?;
            person = found.ok_or(Refused::NotFound)?;
            match change(&person)? {
                Some(now_wanted) => fields = now_wanted,
                None => return Ok(person),
            }
        }
        finish(&mut tx, access, action, id, now).await?;
        tx.commit().await.map_err(Refused::from)?;
        Ok(StoredPerson {
            attributes: fields.attributes,
            active: fields.active,
            version: person.version + 1,
            updated_at: now,
            ..person
        })
    }

    /// Remove a person from the directory, and so from their groups.
    pub async fn delete_person(
        &self,
        access: &Access,
        id: Uuid,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let mut tx = self.begin().await?;
        let gone = sqlx::query("DELETE FROM people WHERE id = ? AND directory_id = ?")
            .bind(id)
            .bind(access.directory())
            .execute(&mut *tx)
            .await?;
        if gone.rows_affected() == 0 {
            return Err(Refused::NotFound);
        }
        finish(&mut tx, access, "user.delete", id, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Those of `ids` that are nobody in the directory, in the order given.
    pub async fn not_people(&self, access: &Access, ids: &[Uuid]) -> Result<Vec<Uuid>> {
        Ok(sqlx::query_scalar(
            "SELECT unhex(j.value) FROM json_each(?) j WHERE NOT EXISTS
                 (SELECT 1 FROM people WHERE id = unhex(j.value) AND directory_id = ?)
             ORDER BY j.key",
        )
        .bind(super::groups::json_array(ids))
        .bind(access.directory())
        .fetch_all(&self.read)
        .await?)
    }
}

async fn read(
    reader: &mut SqliteConnection,
    access: &Access,
    id: Uuid,
) -> Result<Option<StoredPerson>> {
    let row: Option<Row> = sqlx::query_as(select!("? AND p.id = ?"))
        .bind(access.directory())
        .bind(id)
        .fetch_optional(reader)
        .await?;
    row.map(StoredPerson::try_from).transpose()
}

/// Make `person` what `fields` say; `false` where they are no longer the version that was read.
async fn write(
    tx: &mut SqliteConnection,
    access: &Access,
    person: &StoredPerson,
    fields: &PersonFields,
    now: Timestamp,
) -> Result<bool, Refused> {
    let written = sqlx::query(
        "UPDATE people SET user_name = ?, user_name_key = ?, external_id = ?, email = ?,
             active_since = CASE WHEN active = ?5 THEN active_since ELSE ?6 END, active = ?5,
             attributes = ?7, version = version + 1, updated_at = ?6
         WHERE id = ?8 AND directory_id = ?9 AND version = ?10",
    )
    .bind(&fields.user_name)
    .bind(key(&fields.user_name))
    .bind(&fields.external_id)
    .bind(&fields.email)
    .bind(fields.active)
    .bind(now.as_second())
    .bind(&fields.attributes)
    .bind(person.id)
    .bind(access.directory())
    .bind(person.version)
    .execute(tx)
    .await
    .map_err(taken)?;
    Ok(written.rows_affected() > 0)
}

fn rows(access: &Access, filter: &PersonFilter, window: Window) -> QueryBuilder<Sqlite> {
    let mut rows = QueryBuilder::new(select!(""));
    narrow(&mut rows, access, filter);
    rows.push(match filter {
        PersonFilter::All | PersonFilter::Active(_) => " ORDER BY p.user_name_key",
        // few rows: with the plus, SQLite takes the filter's index and sorts, instead of walking
        // the whole directory in order
        _ => " ORDER BY +p.user_name_key",
    });
    rows.push(" LIMIT ").push_bind(window.limit).push(" OFFSET ").push_bind(window.offset);
    rows
}

/// The rest of a query on `people p` that ends in `p.directory_id = `.
fn narrow(query: &mut QueryBuilder<Sqlite>, access: &Access, filter: &PersonFilter) {
    query.push_bind(access.directory());
    match filter {
        PersonFilter::All => {}
        PersonFilter::Nobody => {
            query.push(" AND 0");
        }
        PersonFilter::Id(id) => {
            query.push(" AND p.id = ").push_bind(*id);
        }
        PersonFilter::UserName(name) => {
            query.push(" AND p.user_name_key = ").push_bind(key(name));
        }
        PersonFilter::ExternalId(id) => {
            query.push(" AND p.external_id = ").push_bind(id.clone());
        }
        PersonFilter::Email(address) => {
            // the index has the primary address alone
            query.push(" AND (p.email = ").push_bind(address.to_lowercase());
            query.push(
                " OR EXISTS (SELECT 1 FROM json_each(p.attributes, '$.emails') e
                     WHERE lower(e.value ->> '$.value') = ",
            );
            query.push_bind(address.to_lowercase()).push("))");
        }
        PersonFilter::Active(active) => {
            query.push(" AND p.active = ").push_bind(*active);
        }
    }
}

/// What makes a userName unique: it has no case (RFC 7643 section 4.1.1).
fn key(user_name: &str) -> String {
    user_name.to_lowercase()
}

fn taken(error: sqlx::Error) -> Refused {
    match error.as_database_error() {
        Some(e) if e.is_unique_violation() => Refused::UserNameTaken,
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Row as _};

    use super::*;
    use crate::ledger::tests::ledger;

    #[tokio::test]
    async fn finding_a_person_does_not_read_the_whole_directory() {
        let (_dir, ledger) = ledger().await;
        let access = Access::for_tests();
        for (filter, index) in [
            (PersonFilter::Id(Uuid::nil()), "sqlite_autoindex_people_1 (id=?)"),
            (PersonFilter::UserName("a".into()), "(directory_id=? AND user_name_key=?)"),
            (PersonFilter::ExternalId("a".into()), "(directory_id=? AND external_id=?)"),
        ] {
            let query = rows(&access, &filter, Window { offset: 0, limit: 9 });
            let plan =
                sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", query.sql().as_str())))
                    .fetch_all(&ledger.read)
                    .await
                    .unwrap();
            let plan: Vec<String> = plan.iter().map(|step| step.get(3)).collect();
            assert!(plan[0].ends_with(index), "{filter:?}: {plan:?}");
        }
    }
}
