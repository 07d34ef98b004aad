//! The groups of a directory and their members, as its SCIM client sees them. A group may have
//! 100,000 members: they are changed by id, and read only where somebody asks for them.

use jiff::Timestamp;
use sqlx::{FromRow, QueryBuilder, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::{Access, Page, Refused, Window, finish};
use crate::ledger::{
    Error, Result,
    sqlite::{Ledger, seconds},
};

/// What a client says of a group, apart from its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFields {
    pub display_name: String,
    pub external_id: Option<String>,
    /// The SCIM resource without id, meta and members: a JSON object.
    pub attributes: String,
}

/// A group as it is kept.
#[derive(Clone, Debug)]
pub struct StoredGroup {
    pub id: Uuid,
    /// The SCIM resource without id, meta and members: a JSON object.
    pub attributes: String,
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// `None` where they weren't asked for.
    pub members: Option<Vec<Uuid>>,
}

/// What becomes of a group's members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Nobody stays but who is in `add`.
    pub clear: bool,
    pub add: Vec<Uuid>,
    pub remove: Vec<Uuid>,
}

/// Which groups are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupFilter {
    All,
    /// What was asked for can't be any group's.
    Nothing,
    Id(Uuid),
    /// Without regard to the case of ASCII letters.
    DisplayName(String),
    ExternalId(String),
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    attributes: String,
    version: i64,
    created_at: i64,
    updated_at: i64,
    members: Option<String>,
}

impl TryFrom<Row> for StoredGroup {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let members = row.members.map(|ids| serde_json::from_str(&ids)).transpose();
        Ok(Self {
            id: row.id,
            attributes: row.attributes,
            version: row.version,
            created_at: seconds(row.created_at)?,
            updated_at: seconds(row.updated_at)?,
            members: members.map_err(|_| Error::Corrupt("members"))?,
        })
    }
}

const ALONE: &str = "SELECT g.id, g.attributes, g.version, g.created_at, g.updated_at,
         NULL AS members
     FROM directory_groups g WHERE g.directory_id = ";
const WITH_MEMBERS: &str = "SELECT g.id, g.attributes, g.version, g.created_at, g.updated_at,
         (SELECT json_group_array(lower(hex(person_id))) FROM memberships
          WHERE group_id = g.id) AS members
     FROM directory_groups g WHERE g.directory_id = ";

impl Ledger {
    /// Add a group with these members to the directory. Who isn't a person of the directory is
    /// left out: see [`Ledger::not_people`].
    pub async fn create_group(
        &self,
        access: &Access,
        fields: &GroupFields,
        members: &[Uuid],
        now: Timestamp,
    ) -> Result<Uuid, Refused> {
        let id = Uuid::now_v7();
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO directory_groups (id, directory_id, display_name, external_id, attributes,
                 created_at, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
        )
        .bind(id)
        .bind(access.directory())
        .bind(&fields.display_name)
        .bind(&fields.external_id)
        .bind(&fields.attributes)
        .bind(now.as_second())
        .execute(&mut *tx)
        .await?;
        add_members(&mut tx, access, id, members).await?;
        finish(&mut tx, access, "group.create", id, now).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// One group of the directory, with its members if they are wanted.
    pub async fn group(
        &self,
        access: &Access,
        id: Uuid,
        with_members: bool,
    ) -> Result<Option<StoredGroup>> {
        read(&mut *self.read.acquire().await?, access, id, with_members).await
    }

    /// The groups that `filter` names, in the order of their names.
    pub async fn find_groups(
        &self,
        access: &Access,
        filter: &GroupFilter,
        window: Window,
        with_members: bool,
    ) -> Result<Page<StoredGroup>> {
        // one transaction, so that the total fits the page
        let mut tx = self.read.begin().await?;
        let mut count =
            QueryBuilder::new("SELECT count(*) FROM directory_groups g WHERE g.directory_id = ");
        narrow(&mut count, access, filter);
        let total = count.build_query_scalar().fetch_one(&mut *tx).await?;
        if window.limit == 0 || window.offset >= total {
            return Ok(Page { total, items: Vec::new() });
        }
        let mut rows = QueryBuilder::new(if with_members { WITH_MEMBERS } else { ALONE });
        narrow(&mut rows, access, filter);
        rows.push(match filter {
            GroupFilter::ExternalId(_) => " ORDER BY +g.display_name, g.id", // see people
            _ => " ORDER BY g.display_name, g.id",
        });
        rows.push(" LIMIT ").push_bind(window.limit);
        rows.push(" OFFSET ").push_bind(window.offset);
        let rows: Vec<Row> = rows.build_query_as().fetch_all(&mut *tx).await?;
        let items = rows.into_iter().map(StoredGroup::try_from).collect::<Result<_>>()?;
        Ok(Page { total, items })
    }

    /// Change a group and its members. `change` says what it is to become, or `None` to leave it
    /// as it is. Where the members stay the same too, nothing at all is written. `change` is
    /// called before the write lock is taken, and again under it only where somebody else was
    /// faster. Who isn't a person of the directory is left out: see [`Ledger::not_people`].
    pub async fn change_group<E: From<Refused>>(
        &self,
        access: &Access,
        id: Uuid,
        action: &'static str,
        now: Timestamp,
        members: &Members,
        change: impl Fn(&StoredGroup) -> Result<Option<GroupFields>, E>,
    ) -> Result<StoredGroup, E> {
        let found = self.group(access, id, false).await.map_err(Refused::from)?;
        let mut group = found.ok_or(Refused::NotFound)?;
        let mut fields = change(&group)?;
        if fields.is_none() && *members == Members::default() {
            return Ok(group);
        }
        let mut tx = self.begin().await.map_err(Refused::from)?;
        let current = read(&mut tx, access, id, false).await.map_err(Refused::from)?;
        let current = current.ok_or(Refused::NotFound)?;
        if current.version != group.version {
            fields = change(&current)?;
            group = current;
        }
        let moved = change_members(&mut tx, access, id, members).await?;
        if fields.is_none() && !moved {
            return Ok(group);
        }
        write(&mut tx, &mut group, fields, now).await?;
        finish(&mut tx, access, action, id, now).await?;
        tx.commit().await.map_err(Refused::from)?;
        Ok(group)
    }

    /// Remove a group from the directory.
    pub async fn delete_group(
        &self,
        access: &Access,
        id: Uuid,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let mut tx = self.begin().await?;
        let gone = sqlx::query("DELETE FROM directory_groups WHERE id = ? AND directory_id = ?")
            .bind(id)
            .bind(access.directory())
            .execute(&mut *tx)
            .await?;
        if gone.rows_affected() == 0 {
            return Err(Refused::NotFound);
        }
        finish(&mut tx, access, "group.delete", id, now).await?;
        tx.commit().await?;
        Ok(())
    }
}

async fn read(
    reader: &mut SqliteConnection,
    access: &Access,
    id: Uuid,
    with_members: bool,
) -> Result<Option<StoredGroup>> {
    let mut row = QueryBuilder::new(if with_members { WITH_MEMBERS } else { ALONE });
    narrow(&mut row, access, &GroupFilter::Id(id));
    let row: Option<Row> = row.build_query_as().fetch_optional(reader).await?;
    row.map(StoredGroup::try_from).transpose()
}

/// The next version of `group`, with `fields` where they change too.
async fn write(
    tx: &mut SqliteConnection,
    group: &mut StoredGroup,
    fields: Option<GroupFields>,
    now: Timestamp,
) -> Result<(), Refused> {
    group.version += 1;
    group.updated_at = now;
    let query = match fields {
        None => sqlx::query("UPDATE directory_groups SET version = ?, updated_at = ? WHERE id = ?")
            .bind(group.version)
            .bind(now.as_second()),
        Some(fields) => {
            group.attributes.clone_from(&fields.attributes);
            sqlx::query(
                "UPDATE directory_groups SET version = ?, updated_at = ?, display_name = ?,
                     external_id = ?, attributes = ? WHERE id = ?",
            )
            .bind(group.version)
            .bind(now.as_second())
            .bind(fields.display_name)
            .bind(fields.external_id)
            .bind(fields.attributes)
        }
    };
    query.bind(group.id).execute(tx).await?;
    Ok(())
}

/// Whether anybody came or went.
async fn change_members(
    tx: &mut SqliteConnection,
    access: &Access,
    group: Uuid,
    members: &Members,
) -> Result<bool, Refused> {
    let mut moved = 0;
    if members.clear {
        let left = sqlx::query(
            "DELETE FROM memberships WHERE group_id = ?
             AND person_id NOT IN (SELECT unhex(value) FROM json_each(?))",
        );
        let left = left.bind(group).bind(json_array(&members.add)).execute(&mut *tx).await?;
        moved += left.rows_affected();
    } else if !members.remove.is_empty() {
        let left = sqlx::query(
            "DELETE FROM memberships WHERE group_id = ?
             AND person_id IN (SELECT unhex(value) FROM json_each(?))",
        );
        let left = left.bind(group).bind(json_array(&members.remove)).execute(&mut *tx).await?;
        moved += left.rows_affected();
    }
    moved += add_members(tx, access, group, &members.add).await?;
    Ok(moved > 0)
}

async fn add_members(
    tx: &mut SqliteConnection,
    access: &Access,
    group: Uuid,
    people: &[Uuid],
) -> Result<u64, Refused> {
    if people.is_empty() {
        return Ok(0);
    }
    let joined = sqlx::query(
        "INSERT INTO memberships (group_id, person_id)
         SELECT ?, p.id FROM json_each(?) j
         CROSS JOIN people p ON p.id = unhex(j.value) AND p.directory_id = ?
         WHERE true ON CONFLICT DO NOTHING",
    );
    let joined = joined.bind(group).bind(json_array(people)).bind(access.directory());
    Ok(joined.execute(tx).await?.rows_affected())
}

/// The rest of a query on `directory_groups g` that ends in `g.directory_id = `.
fn narrow(query: &mut QueryBuilder<Sqlite>, access: &Access, filter: &GroupFilter) {
    query.push_bind(access.directory());
    match filter {
        GroupFilter::All => {}
        GroupFilter::Nothing => {
            query.push(" AND 0");
        }
        GroupFilter::Id(id) => {
            query.push(" AND g.id = ").push_bind(*id);
        }
        GroupFilter::DisplayName(name) => {
            query.push(" AND g.display_name = ").push_bind(name.clone()).push(" COLLATE NOCASE");
        }
        GroupFilter::ExternalId(id) => {
            query.push(" AND g.external_id = ").push_bind(id.clone());
        }
    }
}

/// Ids for `unhex(value)` of `json_each`: one bound value, however many they are.
pub(super) fn json_array(ids: &[Uuid]) -> String {
    let mut json = String::with_capacity(ids.len() * 35 + 2);
    json.push('[');
    for (i, id) in ids.iter().enumerate() {
        if i > 0 {
            json.push(',');
        }
        json.push('"');
        json.push_str(id.simple().encode_lower(&mut Uuid::encode_buffer()));
        json.push('"');
    }
    json.push(']');
    json
}
