//! The groups of a directory, as its SCIM client sees them. A group may have 100,000 members: they are
//! read only where somebody asks for them.

use futures::FutureExt;
use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    Access, Condition, Members, MembersOfGroup, Page, Refused, SEARCH, Window, differences,
    line::{Line, let_in, line_where, written},
    members::{change_members, members_of, tell_above},
    size,
    writer::Made,
};
use crate::ledger::{
    Error, Result, Topic,
    db::{Builder, Dialect, On, Tx, query, query_as, too_long},
    queries::{Ledger, seconds},
};

/// How many bytes of a page a member takes.
const MEMBER: usize = 36;

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
    pub members: Option<MembersOfGroup>,
}

/// A group after a change that was asked for.
#[derive(Debug)]
pub struct ChangedGroup {
    /// As it is now, without its members.
    pub group: StoredGroup,
    /// How many left it.
    pub left: usize,
}

/// What becomes of a group.
#[derive(Clone, Debug, Default)]
pub struct GroupChange {
    /// `None`: they stay.
    pub fields: Option<GroupFields>,
    /// Made only while the group is what the change was made of, even if only members change.
    pub exact: bool,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    attributes: String,
    version: i64,
    created_at: i64,
    updated_at: i64,
}

impl TryFrom<Row> for StoredGroup {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: row.id,
            attributes: row.attributes,
            version: row.version,
            created_at: seconds(row.created_at)?,
            updated_at: seconds(row.updated_at)?,
            members: None,
        })
    }
}

const GROUPS: &str = "SELECT g.id, g.attributes, g.version, g.created_at, g.updated_at
     FROM directory_groups g WHERE g.directory_id = ";

impl Ledger {
    /// Add a group with these members to the directory; its id, and who is in it. Whoever isn't of
    /// the directory is left out: see [`Ledger::strangers`].
    pub async fn create_group(
        &self,
        access: &Access,
        fields: &GroupFields,
        members: impl IntoIterator<Item = &Uuid>,
        now: Timestamp,
    ) -> Result<(Uuid, MembersOfGroup), Refused> {
        let (id, fields) = (Uuid::now_v7(), fields.clone());
        let members = Members { add: members.into_iter().copied().collect(), ..Members::default() };
        let create = self.writer.write(access, now, (fields, members), move |tx, access, input| {
            async move {
                let (fields, members) = input;
                insert(tx, access, id, fields, now).await?;
                let moved = change_members(tx, access, id, members, false).await?;
                let detail = format!("{}{}", fields.display_name, moved.tell());
                let by = size::of_group(&fields.attributes) + moved.growth();
                let (action, topic) = ("group.create", Topic::Directory);
                let line = Line { action, subject: id, detail: &detail, topic, by, now };
                let effect = line.write(tx, access).await?;
                Ok(((id, moved.joined), Some(effect)))
            }
            .boxed()
        });
        create.await
    }

    /// One group of the directory, with its members if they are wanted.
    pub async fn group(
        &self,
        access: &Access,
        id: Uuid,
        with_members: bool,
    ) -> Result<Option<StoredGroup>> {
        let dialect = self.db.dialect();
        if !with_members {
            return read(&self.db.read, dialect, access, id).await;
        }
        // what may take long keeps nobody from being let in
        let mut tx = self.db.search.begin_within(SEARCH).await?;
        let Some(mut group) = read(&mut tx, dialect, access, id).await? else { return Ok(None) };
        group.members = Some(members_of(&mut tx, id).await.map_err(too_long)?);
        Ok(Some(group))
    }

    /// The groups that fulfil `condition`, in the order of their names.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`] where there are too many to look at.
    pub async fn find_groups(
        &self,
        access: &Access,
        condition: &Condition,
        window: Window,
        with_members: bool,
    ) -> Result<Page<StoredGroup>> {
        let dialect = self.db.dialect();
        if condition.names_one() && !with_members {
            let all = Window { offset: 0, limit: 1, ..window };
            let rows = rows(dialect, access, condition, all).build::<Row>();
            let found: Vec<_> = rows.fetch_all(&self.db.read).await?;
            let found = found.into_iter().map(StoredGroup::try_from).collect::<Result<_>>()?;
            return Ok(Page::of_all(found, window));
        }
        // one transaction, so that the total fits the page
        let tx = self.db.search.begin_within(SEARCH).await?;
        find(tx, dialect, access, condition, window, with_members).await.map_err(too_long)
    }

    /// Change a group and its members. `change` says what it is to become; it is called again where
    /// somebody else was faster. Where nothing changes, nothing at all is written. Whoever isn't of
    /// the directory is left out: see [`Ledger::strangers`].
    pub async fn change_group<E: From<Refused>>(
        &self,
        access: &Access,
        id: Uuid,
        action: &'static str,
        now: Timestamp,
        members: &Members,
        change: impl Fn(&StoredGroup) -> Result<GroupChange, E>,
    ) -> Result<ChangedGroup, E> {
        loop {
            let found = self.group(access, id, false).await.map_err(Refused::from)?;
            let mut group = found.ok_or(Refused::NotFound)?;
            let change = change(&group)?;
            if change.fields.is_none() && members.stay() {
                access.still_open(&self.db.read).await?;
                return Ok(ChangedGroup { group, left: 0 });
            }
            let new = change.fields.as_ref().map(|fields| fields.attributes.clone());
            let planned = Planned {
                id,
                version: group.version,
                action,
                detail: new.as_ref().map(|new| differences(&group.attributes, new)),
                grows: new
                    .as_ref()
                    .map_or(0, |new| size::of_group(new) - size::of_group(&group.attributes)),
                change,
                members: members.clone(),
                now,
            };
            let work = self.writer.write(access, now, planned, |tx, access, planned| {
                planned.write(tx, access).boxed()
            });
            let (written, left) = work.await?;
            match written {
                Written::Nothing => {
                    access.still_open(&self.db.read).await?;
                    return Ok(ChangedGroup { group, left });
                }
                Written::Version(version) => {
                    group.attributes = new.unwrap_or(group.attributes);
                    group.version = version;
                    group.updated_at = now;
                    return Ok(ChangedGroup { group, left });
                }
                Written::Stale => {}
            }
        }
    }

    /// Remove a group from the directory; `false` where it is no longer at `version`, where one is
    /// given.
    pub async fn delete_group(
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
    with_members: bool,
) -> Result<Page<StoredGroup>> {
    let mut count =
        Builder::new(dialect, "SELECT count(*) FROM directory_groups g WHERE g.directory_id = ");
    narrow(&mut count, access, condition);
    let (total,): (i64,) = count.build().fetch_one(&mut tx).await?;
    if window.limit == 0 || window.offset >= total {
        return Ok(Page { total, items: Vec::new() });
    }
    let rows: Vec<Row> =
        rows(dialect, access, condition, window).build().fetch_all(&mut tx).await?;
    let mut items = Vec::new();
    for row in rows {
        let mut group = StoredGroup::try_from(row)?;
        let mut weight = group.attributes.len();
        if with_members {
            // one group at a time: all of a page may be more than fits into memory
            let members = members_of(&mut tx, group.id).await?;
            weight += (members.people.len() + members.groups.len()) * MEMBER;
            group.members = Some(members);
        }
        if !window.admits(items.is_empty(), weight) {
            break;
        }
        items.push(group);
    }
    Ok(Page { total, items })
}

fn rows(dialect: Dialect, access: &Access, condition: &Condition, window: Window) -> Builder {
    let mut rows = Builder::new(dialect, GROUPS);
    narrow(&mut rows, access, condition);
    if condition.is_selective() {
        // see people
        rows.push_each(" ORDER BY +g.display_name, g.id", " ORDER BY g.display_name || '', g.id");
    } else {
        rows.push(" ORDER BY g.display_name, g.id");
    }
    rows.push(" LIMIT ").push_bind(window.limit).push(" OFFSET ").push_bind(window.offset);
    rows
}

async fn read(
    reader: impl Into<On<'_>>,
    dialect: Dialect,
    access: &Access,
    id: Uuid,
) -> Result<Option<StoredGroup>> {
    let mut row = Builder::new(dialect, GROUPS);
    row.push_bind(access.directory()).push(" AND g.id = ").push_bind(id);
    let row: Option<Row> = row.build().fetch_optional(reader).await?;
    row.map(StoredGroup::try_from).transpose()
}

pub(super) async fn insert(
    tx: &mut Tx,
    access: &Access,
    id: Uuid,
    fields: &GroupFields,
    now: Timestamp,
) -> Result<(), Refused> {
    query(
        "INSERT INTO directory_groups (id, directory_id, display_name, external_id, attributes,
             created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6)",
    )
    .bind(id)
    .bind(access.directory())
    .bind(&fields.display_name)
    .bind(&fields.external_id)
    .bind(&fields.attributes)
    .bind(now.as_second())
    .execute(tx)
    .await?;
    Ok(())
}

/// A change of a group, and what it was made of.
struct Planned {
    id: Uuid,
    version: i64,
    change: GroupChange,
    members: Members,
    action: &'static str,
    /// What changes but members, for the audit log.
    detail: Option<String>,
    /// By how many bytes what the group says of itself grows.
    grows: i64,
    now: Timestamp,
}

/// What became of a change.
#[derive(Clone, Copy)]
enum Written {
    Version(i64),
    /// Everything was so already.
    Nothing,
    /// The group is no longer what the change was made of.
    Stale,
}

impl Planned {
    /// Returns also how many left.
    async fn write(&self, tx: &mut Tx, access: &Access) -> Made<(Written, usize)> {
        let Self { id, change: GroupChange { fields, exact }, .. } = self;
        let found: Option<(i64, bool, bool)> = query_as(
            "SELECT version, EXISTS (SELECT 1 FROM subgroups WHERE member_id = g.id),
                 EXISTS (SELECT 1 FROM subgroups WHERE group_id = g.id)
             FROM directory_groups g WHERE id = $1 AND directory_id = $2",
        )
        .bind(*id)
        .bind(access.directory())
        .fetch_optional(&mut *tx)
        .await?;
        let (version, in_groups, nests) = found.ok_or(Refused::NotFound)?;
        if version != self.version && (fields.is_some() || *exact) {
            return Ok(((Written::Stale, 0), None));
        }
        let moved = change_members(tx, access, *id, &self.members, nests).await?;
        if fields.is_none() && moved.nobody() {
            return Ok(((Written::Nothing, 0), None));
        }
        if in_groups && !moved.nobody() {
            tell_above(tx, access, *id).await?;
            #[cfg(test)]
            super::crash::point(*id, "groups above");
        }
        let detail = format!("{} {}", moved.tell(), self.detail.as_deref().unwrap_or_default());
        let by = self.grows + moved.growth();
        let (action, detail) = (self.action, detail.trim());
        let topic = if fields.is_some() { Topic::Directory } else { Topic::People };
        let line = Line { action, subject: *id, detail, topic, by, now: self.now };
        let written = match fields {
            None => {
                let text = written!(
                    "UPDATE directory_groups SET version = version + 1, updated_at = $1
                     WHERE id = $10 AND directory_id = $8"
                );
                line.of(text, access).bind(*id)
            }
            Some(fields) => {
                let text = written!(
                    "UPDATE directory_groups SET version = version + 1, updated_at = $1,
                         display_name = $11, external_id = $12, attributes = $13
                     WHERE id = $10 AND directory_id = $8"
                );
                let text = line.of(text, access).bind(*id).bind(&fields.display_name);
                text.bind(&fields.external_id).bind(&fields.attributes)
            }
        };
        let effect = line.effect(written.fetch_optional(tx).await?).ok_or(Refused::Closed)?;
        #[cfg(test)]
        super::crash::point(*id, "audit line");
        Ok(((Written::Version(version + 1), moved.left.len()), Some(effect)))
    }
}

/// Remove a group; `false` where it is at another version.
async fn delete(
    tx: &mut Tx,
    access: &Access,
    id: Uuid,
    version: Option<i64>,
    now: Timestamp,
) -> Made<bool> {
    let found: Option<(i64, String, String, i64, bool)> = query_as(
        "SELECT version, display_name, attributes,
             (SELECT count(*) FROM memberships WHERE group_id = g.id)
                 + (SELECT count(*) FROM subgroups WHERE group_id = g.id OR member_id = g.id),
             EXISTS (SELECT 1 FROM subgroups WHERE member_id = g.id)
         FROM directory_groups g WHERE id = $1 AND directory_id = $2",
    )
    .bind(id)
    .bind(access.directory())
    .fetch_optional(&mut *tx)
    .await?;
    let (found, name, attributes, memberships, in_groups) = found.ok_or(Refused::NotFound)?;
    if version.is_some_and(|version| version != found) {
        return Ok((false, None));
    }
    if in_groups {
        tell_above(tx, access, id).await?;
        // the groups that it is in change with it
        query(
            "UPDATE directory_groups SET version = version + 1, updated_at = $1
             WHERE directory_id = $2 AND id <> $3
                 AND id IN (SELECT group_id FROM subgroups WHERE member_id = $3)",
        )
        .bind(now.as_second())
        .bind(access.directory())
        .bind(id)
        .execute(&mut *tx)
        .await?;
    }
    let by = -(size::of_group(&attributes) + size::of_memberships(memberships));
    let (action, topic) = ("group.delete", Topic::Directory);
    let line = Line { action, subject: id, detail: &name, topic, by, now };
    let text = written!("DELETE FROM directory_groups WHERE id = $10 AND directory_id = $8");
    let from = line.of(text, access).bind(id).fetch_optional(tx).await?;
    Ok((true, Some(line.effect(from).ok_or(Refused::Closed)?)))
}

/// The rest of a query on `directory_groups g` that ends in `g.directory_id = `.
fn narrow(query: &mut Builder, access: &Access, condition: &Condition) {
    query.push_bind(access.directory());
    if *condition != Condition::Const(true) {
        query.push(" AND ");
        condition.push(query, "g", access.directory());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ledger::{
        Selector, Topic,
        fixture::{group, person},
        tests::{Place, ledger},
    };

    pub const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    /// How many members each of two adds.
    const EACH: usize = 20;

    pub async fn directory() -> (Place, Ledger, Access) {
        let (place, ledger) = ledger().await;
        ledger.name_organization("a", "acme", NOW).await.unwrap();
        let id = ledger.make_directory("a", "okta", NOW).await.unwrap().id;
        ledger.replace_token(id, Uuid::now_v7(), b"token", NOW).await.unwrap();
        let access = ledger.scim_access("acme", "okta", b"token").await.unwrap().unwrap();
        (place, ledger, access)
    }

    #[tokio::test]
    async fn what_two_processes_change_at_once_is_all_kept_and_all_seen_in_order() {
        let (place, ledger, access) = directory().await;
        let other = Ledger::open(&place.location()).await.unwrap();
        let mut people = Vec::new();
        for number in 0..2 * EACH {
            let person = person(&number.to_string(), true);
            people.push(ledger.create_person(&access, &person, NOW).await.unwrap());
        }
        let (group, _) = ledger.create_group(&access, &group("all"), &[], NOW).await.unwrap();
        let selector = Selector::Id(group.to_string());
        ledger.put_team("a", "all", access.directory(), &selector, true).await.unwrap();
        let add = async |ledger: &Ledger, people: &[Uuid]| {
            for (number, person) in people.iter().enumerate() {
                let members = Members { add: BTreeSet::from([*person]), ..Members::default() };
                let exact = number % 2 == 0;
                let change = |_: &StoredGroup| {
                    Ok::<_, Refused>(GroupChange { exact, ..GroupChange::default() })
                };
                let changed = ledger.change_group(&access, group, "test", NOW, &members, change);
                changed.await.unwrap();
            }
        };
        // who looks for changes misses none, though each only looks at what comes after the last
        let watch = async || {
            let mut seq = 0;
            let mut version = 0;
            while version < 1 + 2 * EACH as i64 {
                for change in ledger.changes_since(seq).await.unwrap() {
                    seq = change.seq;
                    if change.topic == Topic::Members {
                        let seen = ledger.group(&access, group, false).await.unwrap().unwrap();
                        version = seen.version;
                    }
                }
                tokio::task::yield_now().await;
            }
        };
        let both =
            async { tokio::join!(add(&ledger, &people[..EACH]), add(&other, &people[EACH..])) };
        tokio::time::timeout(std::time::Duration::from_secs(60), async {
            tokio::join!(both, watch())
        })
        .await
        .expect("every change is seen");
        let group = ledger.group(&access, group, true).await.unwrap().unwrap();
        let mut members = group.members.unwrap().people;
        members.sort();
        people.sort();
        assert_eq!((members, group.version), (people, 1 + 2 * EACH as i64));
    }

    #[tokio::test]
    async fn a_page_of_groups_with_members_ends_where_there_is_no_more_room() {
        let (_place, ledger, access) = directory().await;
        for name in ["a", "b", "c"] {
            let (inner, _) = ledger.create_group(&access, &group(name), &[], NOW).await.unwrap();
            let outer = group(&format!("{name}{name}"));
            ledger.create_group(&access, &outer, &[inner], NOW).await.unwrap();
        }
        let page = async |bytes, with_members| {
            let window = Window { offset: 0, limit: 10, bytes };
            let all = Condition::Const(true);
            let page = ledger.find_groups(&access, &all, window, with_members).await.unwrap();
            assert_eq!(page.total, 6);
            page.items.iter().map(|group| group.members.is_some()).collect::<Vec<_>>()
        };
        assert_eq!(page(1000, false).await, [false; 6]);
        assert_eq!(page(1000, true).await, [true; 6]);
        assert_eq!(page(2 + 38 + 2, true).await, [true; 3]);
        assert_eq!(page(0, true).await, [true; 1], "one comes in any case");
    }
}
