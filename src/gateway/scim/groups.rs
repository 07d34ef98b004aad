//! `/Groups` (RFC 7644 section 3, RFC 7643 section 4.2). Members are people and groups of the same
//! directory.

use std::collections::BTreeSet;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    Json,
    body::{Body, Fields, LARGE, Room},
    error::{Error, Result},
    guard::Caller,
    members::{self, NAMED, Split, Stated, Strangers},
    parse, patch,
    projection::Projection,
    request::{About, Asked, Query},
    resource::{self, GROUP, Object},
    shown::{self, List, Resource, Shown},
};
use crate::{
    gateway::Gateway,
    ledger::scim::{ChangedGroup, GroupChange, GroupFields, Members, StoredGroup},
};

pub(super) async fn create(
    State(gateway): State<Gateway>,
    caller: Caller,
    query: Query,
    body: Body<LARGE>,
) -> Result<Shown> {
    let (stated, becomes) = read_body(body.fields()?)?;
    let (Stated { ids, strangers }, (_, fields)) = (stated.unwrap_or_default(), becomes?);
    known(&gateway, &caller, &ids, strangers).await?;
    let now = Timestamp::now();
    let (id, members) = gateway.ledger.create_group(&caller.access, &fields, &ids, now).await?;
    let group = StoredGroup {
        id,
        attributes: fields.attributes,
        version: 1,
        created_at: now,
        updated_at: now,
        members: Some(members),
    };
    let shown = show(&caller, &query.projection, group)?;
    Ok(Shown { status: StatusCode::CREATED, ..shown })
}

pub(super) async fn get(about: About, query: Query) -> Result<Response> {
    let (ledger, access) = about.ledger();
    if about.precondition.is_there() {
        let group = ledger.group(access, about.id, false).await?;
        let tag = shown::tag(group.ok_or_else(Error::not_found)?.version);
        if about.precondition.has(&tag) {
            return Ok(shown::not_modified(tag));
        }
    }
    about.turn(&query.projection).await?;
    Ok(about.group(&query.projection).await?.into_response())
}

pub(super) async fn find(
    State(gateway): State<Gateway>,
    caller: Caller,
    Asked(query): Asked,
) -> Result<Json<List<Resource>>> {
    let condition = query.condition(&GROUP)?;
    let members = query.projection.wants(&GROUP, "members");
    if members || !condition.names_one() {
        caller.turn().await?;
    }
    let (access, window) = (&caller.access, query.window());
    let page = gateway.ledger.find_groups(access, &condition, window, members).await?;
    let groups = page.items.into_iter();
    let groups = groups.map(|group| Ok(show(&caller, &query.projection, group)?.resource));
    Ok(List::new(page.total, query.start_index, groups.collect::<Result<_>>()?))
}

/// A PUT says all: where it has no members, nobody is in the group any more.
pub(super) async fn replace(
    about: About,
    query: Result<Query>,
    body: Body<LARGE>,
) -> Result<Shown> {
    const ACTION: &str = "group.replace";
    let (stated, becomes) = read_body(body.fields()?)?;
    let says_who_stays = stated.is_some();
    let Stated { ids, strangers } = stated.unwrap_or_default();
    let nonsense = strangers.all > 0;
    let members = Members { clear: true, add: ids, ..Members::default() };
    let replaced = async {
        let (query, becomes) = (query?, becomes?);
        about.turn(&query.projection).await?;
        known(&about.gateway, &about.caller, &members.add, strangers).await?;
        about.change_group(ACTION, &members, |_| Ok(becomes.clone())).await?;
        Ok(query)
    };
    match replaced.await {
        // what can't be taken empties no group by what it leaves out
        Err(refusal) if !says_who_stays => Err(refusal),
        Err(refusal) => Err(about.refuse_group(refusal, ACTION, members, nonsense).await),
        Ok(query) => about.group(&query.projection).await,
    }
}

/// Answers 204, so that nobody need read a large group, unless the client says what it wants to
/// see (RFC 7644 section 3.5.2).
pub(super) async fn patch(
    about: About,
    query: Result<Query>,
    body: Body<LARGE>,
) -> Result<Response> {
    const ACTION: &str = "group.patch";
    let Split { members, strangers, rest } = members::split(patch::operations(body.fields()?)?);
    let nonsense = strangers.all > 0;
    let patched = async {
        let (query, rest) = (query?, rest?);
        if query.projection.asks() {
            about.turn(&query.projection).await?;
        }
        known(&about.gateway, &about.caller, &members.add, strangers).await?;
        let becomes = |group: &StoredGroup| {
            let mut patched = parse(&group.attributes)?;
            patch::apply(&GROUP, &mut patched, &rest)?;
            read(patched)
        };
        Ok((query, about.change_group(ACTION, &members, becomes).await?))
    };
    let (query, group) = match patched.await {
        Err(refusal) => return Err(about.refuse_group(refusal, ACTION, members, nonsense).await),
        Ok(patched) => patched,
    };
    if query.projection.asks() {
        return Ok(about.group(&query.projection).await?.into_response());
    }
    let headers = [(axum::http::header::ETAG, shown::tag(group.version))];
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

pub(super) async fn delete(about: About) -> Result<StatusCode> {
    let (ledger, access) = about.ledger();
    loop {
        let mut version = None;
        if about.precondition.is_there() {
            let group =
                ledger.group(access, about.id, false).await?.ok_or_else(Error::not_found)?;
            about.precondition.check(&shown::tag(group.version))?;
            version = Some(group.version);
        }
        if ledger.delete_group(access, about.id, version, Timestamp::now()).await? {
            return Ok(StatusCode::NO_CONTENT);
        }
    }
}

impl About {
    /// Make the group what `becomes` says, with these members.
    async fn change_group(
        &self,
        action: &'static str,
        members: &Members,
        becomes: impl Fn(&StoredGroup) -> Result<Read>,
    ) -> Result<StoredGroup> {
        let change = |group: &StoredGroup| {
            let change = self.of_members(group)?;
            let (resource, fields) = becomes(group)?;
            let changes = resource != parse(&group.attributes)?;
            Ok(GroupChange { fields: changes.then_some(fields), ..change })
        };
        let ((ledger, access), now) = (self.ledger(), Timestamp::now());
        let changed = ledger.change_group(access, self.id, action, now, members, change).await;
        changed.map(|changed| changed.group)
    }

    /// What is answered where a change of a group is refused. Those whom it removes leave all the
    /// same: that somebody unknown shall come, or a name is nonsense, keeps nobody in. But a request
    /// for another version changes nothing at all, as it asks; nor does one that is to be said again; and
    /// who names members of whom none is known (`nonsense`: also what is no id) has taken ours for
    /// somebody else's, so that nobody leaves for not being named.
    async fn refuse_group(
        &self,
        refusal: Error,
        action: &'static str,
        members: Members,
        nonsense: bool,
    ) -> Error {
        if refusal.is_for_now() {
            return refusal;
        }
        let mut leaving = Members { leave_only: true, ..members };
        let named = leaving.add.len();
        if leaving.clear && (named > 0 || nonsense) {
            let (ledger, access) = self.ledger();
            match ledger.strangers(access, &leaving.add, 0).await {
                Ok((_, unknown)) => leaving.clear = unknown < named,
                Err(error) => return error.into(),
            }
        }
        let change = |group: &StoredGroup| self.of_members(group);
        let ((ledger, access), now) = (self.ledger(), Timestamp::now());
        match ledger.change_group(access, self.id, action, now, &leaving, change).await {
            Err(other) => other,
            Ok(ChangedGroup { left: 0, .. }) => refusal,
            Ok(ChangedGroup { left, .. }) => Error {
                detail: format!("{left} left the group, nothing else was done: {}", refusal.detail),
                ..refusal
            },
        }
    }

    /// A change of members alone.
    fn of_members(&self, group: &StoredGroup) -> Result<GroupChange> {
        self.precondition.check(&shown::tag(group.version))?;
        Ok(GroupChange { fields: None, exact: self.precondition.is_there() })
    }

    /// Wait for the organization's turn where all members may be shown.
    async fn turn(&self, projection: &Projection) -> Result<()> {
        if projection.wants(&GROUP, "members") {
            self.caller.turn().await?;
        }
        Ok(())
    }

    /// The group as it is, with its members where they are wanted.
    async fn group(&self, projection: &Projection) -> Result<Shown> {
        let ((ledger, access), wanted) = (self.ledger(), projection.wants(&GROUP, "members"));
        let group = ledger.group(access, self.id, wanted).await?;
        show(&self.caller, projection, group.ok_or_else(Error::not_found)?)
    }
}

/// A tidied resource, and what it says.
type Read = (Object, GroupFields);

/// What a POST or PUT says: of the members, if it speaks of them, and of the group itself.
fn read_body(mut body: Fields<'_>) -> Result<(Option<Stated>, Result<Read>)> {
    let stated = body.take("members").map(members::stated).transpose()?;
    Ok((stated, body.object(&mut Room::new()).and_then(read)))
}

fn read(body: Object) -> Result<Read> {
    let resource = GROUP.tidy(body)?;
    let fields = GroupFields {
        display_name: resource::name_of(&resource, "displayName")?
            .ok_or_else(|| Error::value("displayName is missing"))?,
        external_id: resource::name_of(&resource, "externalId")?,
        attributes: resource::kept(&resource)?,
    };
    Ok((resource, fields))
}

/// Refuse those who can't be members, by name: other directories' people, people who were deleted.
async fn known(
    gateway: &Gateway,
    caller: &Caller,
    ids: &BTreeSet<Uuid>,
    mut strangers: Strangers,
) -> Result<()> {
    if !ids.is_empty() {
        let (named, all) = gateway.ledger.strangers(&caller.access, ids, NAMED).await?;
        named.iter().for_each(|id| strangers.name(&id.to_string()));
        strangers.all += all;
    }
    if strangers.all == 0 {
        return Ok(());
    }
    let more = match strangers.all - strangers.named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = strangers.named.join(", ");
    Err(Error::value(format!("members: nobody of this directory: {named}{more}")))
}

pub(super) fn show(caller: &Caller, projection: &Projection, group: StoredGroup) -> Result<Shown> {
    let mut resource = parse(&group.attributes)?;
    let (tag, location) = (shown::tag(group.version), shown::location(&GROUP, caller, group.id));
    let times = (group.created_at, group.updated_at);
    resource.insert("id".into(), group.id.to_string().into());
    resource.insert("meta".into(), shown::meta(&GROUP, &location, times, &tag));
    let resource = Resource::new(&GROUP, projection, resource);
    let resource = resource.with_members(projection, caller, group.members.unwrap_or_default());
    Ok(Shown { status: StatusCode::OK, location, tag, resource })
}
