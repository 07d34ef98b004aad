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
    ledger::scim::{GroupChange, GroupFields, Members, StoredGroup},
};

pub(super) async fn create(
    State(gateway): State<Gateway>,
    caller: Caller,
    query: Query,
    body: Body<LARGE>,
) -> Result<Shown> {
    let (Stated { ids, strangers }, (_, fields)) = read_body(body.fields()?)?;
    if let Some(refusal) = refusal(&gateway, &caller, &ids, strangers).await? {
        return Err(refusal);
    }
    let id = gateway.ledger.create_group(&caller.access, &fields, &ids, Timestamp::now()).await?;
    let shown = one(&gateway, &caller, &query.projection, id).await?;
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
    let costly = query.projection.wants(&GROUP, "members");
    let _turn = if costly { Some(about.caller.places.turn().await?) } else { None };
    Ok(about.group(&query.projection).await?.into_response())
}

pub(super) async fn find(
    State(gateway): State<Gateway>,
    caller: Caller,
    Asked(query): Asked,
) -> Result<Json<List<Resource>>> {
    let condition = query.condition(&GROUP)?;
    let members = query.projection.wants(&GROUP, "members");
    let costly = members || !condition.is_selective();
    let _turn = if costly { Some(caller.places.turn().await?) } else { None };
    let (access, window) = (&caller.access, query.window());
    let page = gateway.ledger.find_groups(access, &condition, window, members).await?;
    let groups = page.items.into_iter();
    let groups = groups.map(|group| Ok(show(&caller, &query.projection, group)?.resource));
    Ok(List::new(page.total, query.start_index, groups.collect::<Result<_>>()?))
}

/// A PUT says all: where it has no members, nobody is in the group any more.
pub(super) async fn replace(about: About, query: Query, body: Body<LARGE>) -> Result<Shown> {
    let (Stated { ids, strangers }, becomes) = read_body(body.fields()?)?;
    let refusal = refusal(&about.gateway, &about.caller, &ids, strangers).await?;
    let members = Members { clear: true, add: ids, ..Members::default() };
    about.change_group("group.replace", members, refusal, |_| Ok(becomes.clone())).await?;
    about.group(&query.projection).await
}

/// Answers 204, so that nobody need read a large group, unless the client says what it wants to
/// see (RFC 7644 section 3.5.2).
pub(super) async fn patch(about: About, query: Query, body: Body<LARGE>) -> Result<Response> {
    let Split { members, strangers, rest } = members::split(patch::operations(body.fields()?)?);
    let (rest, refusal) = match rest {
        Ok(rest) => (rest, refusal(&about.gateway, &about.caller, &members.add, strangers).await?),
        Err(refusal) => (Vec::new(), Some(refusal)),
    };
    let becomes = |group: &StoredGroup| {
        let mut patched = parse(&group.attributes)?;
        patch::apply(&GROUP, &mut patched, &rest)?;
        read(patched)
    };
    let group = about.change_group("group.patch", members, refusal, becomes).await?;
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
    /// Make the group what `becomes` says, with these members. Where that is refused, those whom it
    /// removes leave all the same: that somebody unknown shall come, or a name is nonsense, keeps
    /// nobody in. But a request for another version changes nothing at all, as it asks.
    async fn change_group(
        &self,
        action: &'static str,
        members: Members,
        refusal: Option<Error>,
        becomes: impl Fn(&StoredGroup) -> Result<(Object, GroupFields)>,
    ) -> Result<StoredGroup> {
        let ((ledger, access), now) = (self.ledger(), Timestamp::now());
        let change = |group: &StoredGroup| {
            let change = self.of_members(group)?;
            let (resource, fields) = becomes(group)?;
            let changes = resource != parse(&group.attributes)?;
            Ok(GroupChange { fields: changes.then_some(fields), ..change })
        };
        let made = match refusal {
            None => ledger.change_group(access, self.id, action, now, &members, change).await,
            Some(refusal) => Err(refusal),
        };
        // where the ledger fails, nothing is known to be refused: the client says all of it again
        let refusal = match made {
            Err(refusal) if !refusal.status.is_server_error() => refusal,
            made => return made,
        };
        let leaving = Members { leave_only: true, ..members };
        let change = |group: &StoredGroup| self.of_members(group);
        ledger.change_group(access, self.id, action, now, &leaving, change).await?;
        Err(refusal)
    }

    /// A change of members alone.
    fn of_members(&self, group: &StoredGroup) -> Result<GroupChange> {
        self.precondition.check(&shown::tag(group.version))?;
        Ok(GroupChange { fields: None, exact: self.precondition.is_there() })
    }

    /// The group as it is, with its members where they are wanted.
    async fn group(&self, projection: &Projection) -> Result<Shown> {
        one(&self.gateway, &self.caller, projection, self.id).await
    }
}

/// What a POST or PUT says.
fn read_body(mut body: Fields<'_>) -> Result<(Stated, (Object, GroupFields))> {
    let stated = members::stated(body.take("members"))?;
    Ok((stated, read(body.object(&mut Room::new())?)?))
}

fn read(body: Object) -> Result<(Object, GroupFields)> {
    let resource = GROUP.tidy(body)?;
    let fields = GroupFields {
        display_name: resource::name_of(&resource, "displayName")?
            .ok_or_else(|| Error::value("displayName is missing"))?,
        external_id: resource::name_of(&resource, "externalId")?,
        attributes: resource::kept(&resource)?,
    };
    Ok((resource, fields))
}

/// Name those who can't be members: other directories' people, people who were deleted.
async fn refusal(
    gateway: &Gateway,
    caller: &Caller,
    ids: &BTreeSet<Uuid>,
    mut strangers: Strangers,
) -> Result<Option<Error>> {
    if !ids.is_empty() {
        let (named, all) = gateway.ledger.strangers(&caller.access, ids, NAMED).await?;
        named.iter().for_each(|id| strangers.name(&id.to_string()));
        strangers.all += all;
    }
    if strangers.all == 0 {
        return Ok(None);
    }
    let more = match strangers.all - strangers.named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = strangers.named.join(", ");
    Ok(Some(Error::value(format!("members: nobody of this directory: {named}{more}"))))
}

/// One group, with its members where they are wanted.
async fn one(
    gateway: &Gateway,
    caller: &Caller,
    projection: &Projection,
    id: Uuid,
) -> Result<Shown> {
    let members = projection.wants(&GROUP, "members");
    let group = gateway.ledger.group(&caller.access, id, members).await?;
    show(caller, projection, group.ok_or_else(Error::not_found)?)
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
