//! The people of a directory, as its SCIM client sees them.

use futures::FutureExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    Access, Condition, Page, Refused, SEARCH, Window,
    condition::Index,
    differences,
    line::{Line, let_in, line_where, written},
    size,
    writer::Made,
};
use crate::ledger::{
    Error, Result, Topic,
    db::{Builder, Dialect, QueryScalar, Text, Tx, query, query_as, too_long},
    queries::{Ledger, seconds},
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
    /// In the order of their names; the 1,000 oldest of them, so that nobody is too costly to show.
    pub groups: Vec<GroupOfPerson>,
}

/// A group that a person is a member of.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct GroupOfPerson {
    pub id: Uuid,
    pub display_name: String,
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

/// SQL: people, with their groups as JSON, the oldest of them where they are in very many; in
/// SQLite's words, and PostgreSQL's.
macro_rules! select {
    (sqlite $rest:literal) => {
        concat!(
            "SELECT p.id, p.attributes, p.active, p.version, p.created_at, p.updated_at,
                 (SELECT json_group_array(json_object(
                      'id', lower(hex(g.id)), 'display_name', g.display_name)
                      ORDER BY g.display_name, g.id)
                  FROM (SELECT group_id FROM memberships WHERE person_id = p.id
                      ORDER BY group_id LIMIT 1000) m
                  JOIN directory_groups g ON g.id = m.group_id) AS groups
             FROM people p WHERE ",
            $rest
        )
    };
    (postgres $rest:literal) => {
        concat!(
            "SELECT p.id, p.attributes, p.active, p.version, p.created_at, p.updated_at,
                 (SELECT coalesce(json_agg(json_build_object(
                      'id', g.id, 'display_name', g.display_name)
                      ORDER BY g.display_name, g.id)::text, '[]')
                  FROM (SELECT group_id FROM memberships WHERE person_id = p.id
                      ORDER BY group_id LIMIT 1000) m
                  JOIN directory_groups g ON g.id = m.group_id) AS groups
             FROM people p WHERE ",
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
        let (id, fields) = (Uuid::now_v7(), fields.clone());
        let create = self.writer.write(access, now, fields, move |tx, access, fields| {
            insert(tx, access, id, fields, now).boxed()
        });
        create.await?.then_some(id).ok_or(Refused::UserNameTaken)
    }

    /// One person of the directory.
    pub async fn person(&self, access: &Access, id: Uuid) -> Result<Option<StoredPerson>> {
        let row: Option<Row> = query_as(Text::Each {
            sqlite: select!(sqlite "p.directory_id = $1 AND p.id = $2"),
            postgres: select!(postgres "p.directory_id = $1 AND p.id = $2"),
        })
        .bind(access.directory())
        .bind(id)
        .fetch_optional(&self.db.read)
        .await?;
        row.map(StoredPerson::try_from).transpose()
    }

    /// The people who fulfil `condition`, in the order of their userNames.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`] where there are too many to look at.
    pub async fn find_people(
        &self,
        access: &Access,
        condition: &Condition,
        window: Window,
    ) -> Result<Page<StoredPerson>> {
        let dialect = self.db.dialect();
        if condition.names_one() {
            let all = Window { offset: 0, limit: 1, ..window };
            let rows = rows(dialect, access, condition, all).build::<Row>();
            let found: Vec<_> = rows.fetch_all(&self.db.read).await?;
            let found = found.into_iter().map(StoredPerson::try_from).collect::<Result<_>>()?;
            return Ok(Page::of_all(found, window));
        }
        // one transaction, so that the total fits the page
        let tx = self.db.search.begin_within(SEARCH).await?;
        find(tx, dialect, access, condition, window).await.map_err(too_long)
    }

    /// Change a person. `change` says what they are to become, or `None` to leave them as they are,
    /// and then nothing at all is written. It is called again where somebody else was faster.
    pub async fn change_person<E: From<Refused>>(
        &self,
        access: &Access,
        id: Uuid,
        action: &'static str,
        now: Timestamp,
        change: impl Fn(&StoredPerson) -> Result<Option<PersonFields>, E>,
    ) -> Result<StoredPerson, E> {
        loop {
            let found = self.person(access, id).await.map_err(Refused::from)?;
            let person = found.ok_or(Refused::NotFound)?;
            let Some(fields) = change(&person)? else {
                access.still_open(&self.db.read).await?;
                return Ok(person);
            };
            let detail = differences(&person.attributes, &fields.attributes);
            let by =
                size::of_person(&fields) - size::of_kept_person(&person.attributes, person.active);
            let (version, input) = (person.version, (fields.clone(), detail));
            let write = self.writer.write(access, now, input, move |tx, access, input| {
                let (fields, detail) = input;
                let topic = Topic::People;
                let line = Line { action, subject: id, detail, topic, by, now };
                write(tx, access, line, version, fields).boxed()
            });
            if write.await? {
                return Ok(StoredPerson {
                    attributes: fields.attributes,
                    active: fields.active,
                    version: version + 1,
                    updated_at: now,
                    ..person
                });
            }
        }
    }

    /// Remove a person from the directory, and so from their groups; `false` where they are no longer
    /// at `version`, where one is given.
    pub async fn delete_person(
        &self,
        access: &Access,
        id: Uuid,
        version: Option<i64>,
        now: Timestamp,
    ) -> Result<bool, Refused> {
        let delete = self.writer.write(access, now, (), move |tx, access, ()| {
            delete(tx, access, id, version, now).boxed()
        });
        delete.await
    }
}

async fn find(
    mut tx: Tx,
    dialect: Dialect,
    access: &Access,
    condition: &Condition,
    mut window: Window,
) -> Result<Page<StoredPerson>> {
    let mut count = Builder::new(dialect, "SELECT count(*) FROM people p WHERE ");
    narrow(&mut count, access, condition);
    let (total,): (i64,) = count.build().fetch_one(&mut tx).await?;
    if window.limit == 0 || window.offset >= total {
        return Ok(Page { total, items: Vec::new() });
    }
    let rows = rows(dialect, access, condition, window).build::<Row>();
    let mut items = Vec::new();
    let take = |row: Row| {
        let room = window.admits(items.is_empty(), row.attributes.len() + row.groups.len());
        if room {
            items.push(row.try_into()?);
        }
        Ok(room)
    };
    rows.fetch_while(&mut tx, take).await?;
    Ok(Page { total, items })
}

/// Add a person; `false` where another has the userName, as where a request is repeated. The database
/// isn't left to refuse that: everybody's writes would have to be made again.
pub(super) async fn insert(
    tx: &mut Tx,
    access: &Access,
    id: Uuid,
    fields: &PersonFields,
    now: Timestamp,
) -> Made<bool> {
    let (action, subject, detail) = ("user.create", id, fields.user_name.as_str());
    let (topic, by) = (Topic::People, size::of_person(fields));
    let text = written!(
        "INSERT INTO people (id, directory_id, user_name, user_name_key, external_id, email,
             active, active_since, attributes, created_at, updated_at)
         SELECT $10, $8, $11, $12, $13, $14, $15, $1, $16, $1, $1 WHERE true",
        " ON CONFLICT (directory_id, user_name_key) DO NOTHING"
    );
    let line = Line { action, subject, detail, topic, by, now };
    let from = person(&line, text, access, fields).fetch_optional(&mut *tx).await?;
    made(tx, access, &line, from).await
}

/// Make the person what `fields` say; `false` where they are no longer at this version.
async fn write(
    tx: &mut Tx,
    access: &Access,
    line: Line<'_>,
    version: i64,
    fields: &PersonFields,
) -> Made<bool> {
    let text = written!(
        "UPDATE people SET user_name = $11, user_name_key = $12, external_id = $13, email = $14,
             active_since = CASE WHEN active = $15 THEN active_since ELSE $1 END, active = $15,
             attributes = $16, version = version + 1, updated_at = $1
         WHERE id = $10 AND directory_id = $8 AND version = $17"
    );
    let written = person(&line, text, access, fields).bind(version);
    let from = written.fetch_optional(&mut *tx).await.map_err(taken)?;
    #[cfg(test)]
    super::crash::point(line.subject, "audit line");
    made(tx, access, &line, from).await
}

/// Whether something was written, as its line tells; if not, the caller must be let in still.
async fn made(tx: &mut Tx, access: &Access, line: &Line<'_>, from: Option<i64>) -> Made<bool> {
    let effect = line.effect(from);
    if effect.is_none() {
        access.still_open(tx).await?;
    }
    Ok((effect.is_some(), effect))
}

/// What is [`written!`] of a person, with the line: `$10` is their id, `$11` to `$16` what is said of
/// them.
fn person(line: &Line<'_>, text: Text, access: &Access, fields: &PersonFields) -> QueryScalar<i64> {
    let id = line.subject;
    line.of(text, access)
        .bind(id)
        .bind(&fields.user_name)
        .bind(key(&fields.user_name))
        .bind(&fields.external_id)
        .bind(&fields.email)
        .bind(fields.active)
        .bind(&fields.attributes)
}

/// Remove a person; `false` where they are at another version.
async fn delete(
    tx: &mut Tx,
    access: &Access,
    id: Uuid,
    version: Option<i64>,
    now: Timestamp,
) -> Made<bool> {
    let found: Option<(i64, String, String, bool, i64)> = query_as(
        "SELECT version, user_name, attributes, active,
             (SELECT count(*) FROM memberships WHERE person_id = p.id)
         FROM people p WHERE id = $1 AND directory_id = $2",
    )
    .bind(id)
    .bind(access.directory())
    .fetch_optional(&mut *tx)
    .await?;
    let (found, name, attributes, active, groups) = found.ok_or(Refused::NotFound)?;
    if version.is_some_and(|version| version != found) {
        return Ok((false, None));
    }
    if groups > 0 {
        // they change with whoever leaves them
        query(
            "UPDATE directory_groups SET version = version + 1, updated_at = $1
             WHERE directory_id = $2
                 AND id IN (SELECT group_id FROM memberships WHERE person_id = $3)",
        )
        .bind(now.as_second())
        .bind(access.directory())
        .bind(id)
        .execute(&mut *tx)
        .await?;
    }
    let by = -(size::of_kept_person(&attributes, active) + size::of_memberships(groups));
    let (action, topic) = ("user.delete", Topic::People);
    let line = Line { action, subject: id, detail: &name, topic, by, now };
    let text = written!("DELETE FROM people WHERE id = $10 AND directory_id = $8");
    let from = line.of(text, access).bind(id).fetch_optional(tx).await?;
    Ok((true, Some(line.effect(from).ok_or(Refused::Closed)?)))
}

fn rows(dialect: Dialect, access: &Access, condition: &Condition, window: Window) -> Builder {
    let mut rows = Builder::new(
        dialect,
        match dialect {
            Dialect::Sqlite => select!(sqlite ""),
            Dialect::Postgres => select!(postgres ""),
        },
    );
    narrow(&mut rows, access, condition);
    if condition.is_selective() {
        // few rows: take the condition's index and sort, instead of walking the whole directory in
        // order, for which there is no index so
        rows.push_each(" ORDER BY +p.user_name_key", " ORDER BY p.user_name_key || ''");
    } else {
        rows.push(" ORDER BY p.user_name_key");
    }
    rows.push(" LIMIT ").push_bind(window.limit).push(" OFFSET ").push_bind(window.offset);
    rows
}

/// The rest of a query on `people p` that ends in `WHERE `.
fn narrow(query: &mut Builder, access: &Access, condition: &Condition) {
    match condition.index() {
        // with the plus, SQLite begins with the addresses, and not with everybody
        Some(Index::Addresses) => query.push_each("+p.directory_id = ", "p.directory_id = "),
        _ => query.push("p.directory_id = "),
    };
    query.push_bind(access.directory());
    if *condition != Condition::Const(true) {
        query.push(" AND ");
        condition.push(query, "p", access.directory());
    }
}

/// What makes a userName unique: it has no case (RFC 7643 section 4.1.1).
fn key(user_name: &str) -> String {
    user_name.to_lowercase()
}

fn taken(error: Error) -> Refused {
    match &error {
        Error::Sql(sqlx::Error::Database(e)) if e.is_unique_violation() => Refused::UserNameTaken,
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Field, List, Op},
        *,
    };
    use crate::ledger::{
        fixture::{Acme, person},
        tests::ledger,
    };

    #[tokio::test]
    async fn of_a_page_no_more_is_read_than_there_is_room_for() {
        let acme = Acme::new().await;
        let fields = person("zoe", true);
        acme.ledger.create_person(&acme.scim, &fields, acme.now).await.unwrap();
        // whoever comes to read Zoe fails
        let mut tx = acme.ledger.begin().await.unwrap();
        tx.run(
            "ALTER TABLE people RENAME TO everybody;
             CREATE VIEW people AS SELECT directory_id, user_name_key, attributes, active,
                 CASE WHEN user_name_key NOT LIKE 'zoe%' THEN id END AS id,
                 version, created_at, updated_at FROM everybody",
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        let page = async |bytes| {
            let window = Window { offset: 0, limit: 9, bytes };
            acme.ledger.find_people(&acme.scim, &Condition::Const(true), window).await
        };
        assert!(page(9_999).await.is_err());
        let page = page(1).await.unwrap();
        assert_eq!((page.total, page.items.len()), (3, 1));
    }

    /// How a userName is found, in each database's words.
    const USER_NAME: (&str, &str) =
        ("(directory_id=? AND user_name_key=?)", "people_directory_id_user_name_key_key");

    #[tokio::test]
    async fn finding_a_person_does_not_read_the_whole_directory() {
        let (_dir, ledger) = ledger().await;
        let access = Access::for_tests();
        let is = |field| Condition::Text(field, Op::Eq, "a".into());
        let of = |list: &str, inner| {
            Condition::Element(List::Values(format!("$.\"{list}\"")), Box::new(inner))
        };
        let value = is(Field::OfValue("$.\"value\"".into()));
        let work = is(Field::OfValue("$.\"type\"".into()));
        let active = Condition::Flag(Field::Active, true);
        // many may have one externalId, or address: no search among them where everybody reads
        assert!(is(Field::UserName).names_one());
        assert!(Condition::All(vec![is(Field::ExternalId), is(Field::UserName)]).names_one());
        for many in [is(Field::ExternalId), of("emails", value.clone()), active.clone()] {
            assert!(!many.names_one(), "{many:?}");
        }
        for (condition, sqlite, postgres) in [
            (
                Condition::IsId(Field::Id, Some(Uuid::nil())),
                "autoindex_people_1 (id=?)",
                "people_pkey",
            ),
            (is(Field::UserName), USER_NAME.0, USER_NAME.1),
            (is(Field::ExternalId), "(directory_id=? AND external_id=?)", "people_external_id"),
            (Condition::All(vec![active, is(Field::UserName)]), USER_NAME.0, USER_NAME.1),
            (of("emails", value.clone()), "autoindex_people_1 (id=?)", "addresses_pkey"),
            (
                of("emails", Condition::All(vec![work, value])),
                "autoindex_people_1 (id=?)",
                "addresses_pkey",
            ),
        ] {
            assert!(condition.is_selective(), "{condition:?}");
            let window = Window { offset: 0, limit: 9, bytes: 9 };
            let dialect = ledger.db.dialect();
            let query = rows(dialect, &access, &condition, window);
            let mut tx = ledger.db.read.begin().await.unwrap();
            match dialect {
                Dialect::Sqlite => {
                    let plan = query.explain::<(i64, i64, i64, String)>().fetch_all(&mut tx);
                    let first = &plan.await.unwrap()[0].3;
                    assert!(first.ends_with(sqlite), "{condition:?}: {first}");
                }
                Dialect::Postgres => {
                    // of so few, it would rather read them all
                    tx.run("SET LOCAL enable_seqscan = off").await.unwrap();
                    let plan = query.explain::<(String,)>().fetch_all(&mut tx).await.unwrap();
                    let plan: Vec<_> = plan.into_iter().map(|(line,)| line).collect();
                    let uses = |line: &String| line.contains(postgres);
                    assert!(plan.iter().any(uses), "{condition:?}: {plan:#?}");
                }
            }
        }
    }
}
