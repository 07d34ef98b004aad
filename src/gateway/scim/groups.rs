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
    precondition::Precondition,
    projection::Projection,
    request::{Asked, Id, Query},
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

pub(super) async fn get(
    State(gateway): State<Gateway>,
    caller: Caller,
    Id(id): Id,
    query: Query,
    precondition: Precondition,
) -> Result<Response> {
    if precondition.is_there() {
        let group = gateway.ledger.group(&caller.access, id, false).await?;
        let tag = shown::tag(group.ok_or_else(Error::not_found)?.version);
        if precondition.has(&tag) {
            return Ok(shown::not_modified(tag));
        }
    }
    let costly = query.projection.wants(&GROUP, "members");
    let _turn = if costly { Some(caller.places.turn().await?) } else { None };
    Ok(one(&gateway, &caller, &query.projection, id).await?.into_response())
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
pub(super) async fn replace(
    State(gateway): State<Gateway>,
    caller: Caller,
    Id(id): Id,
    query: Query,
    precondition: Precondition,
    body: Body<LARGE>,
) -> Result<Shown> {
    let (Stated { ids, strangers }, fields) = read_body(body.fields()?)?;
    let refusal = refusal(&gateway, &caller, &ids, strangers).await?;
    let members = Members { clear: true, add: ids, ..Members::default() };
    let change = |group: &StoredGroup| {
        precondition.check(&shown::tag(group.version))?;
        changed(&precondition, group, fields.clone())
    };
    change_group(&gateway, &caller, id, "group.replace", members, refusal, change).await?;
    one(&gateway, &caller, &query.projection, id).await
}

/// Answers 204, so that nobody need read a large group, unless the client says what it wants to
/// see (RFC 7644 section 3.5.2).
pub(super) async fn patch(
    State(gateway): State<Gateway>,
    caller: Caller,
    Id(id): Id,
    query: Query,
    precondition: Precondition,
    body: Body<LARGE>,
) -> Result<Response> {
    let operations = patch::operations(body.fields()?)?;
    let Split { members, strangers, rest } = members::split(operations)?;
    let refusal = refusal(&gateway, &caller, &members.add, strangers).await?;
    let change = |group: &StoredGroup| {
        precondition.check(&shown::tag(group.version))?;
        let mut patched = parse(&group.attributes)?;
        patch::apply(&GROUP, &mut patched, &rest)?;
        changed(&precondition, group, read(patched)?)
    };
    let group =
        change_group(&gateway, &caller, id, "group.patch", members, refusal, change).await?;
    if query.projection.asks() {
        return Ok(one(&gateway, &caller, &query.projection, id).await?.into_response());
    }
    let headers = [(axum::http::header::ETAG, shown::tag(group.version))];
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

pub(super) async fn delete(
    State(gateway): State<Gateway>,
    caller: Caller,
    Id(id): Id,
    precondition: Precondition,
) -> Result<StatusCode> {
    let (ledger, access) = (&gateway.ledger, &caller.access);
    loop {
        let mut version = None;
        if precondition.is_there() {
            let group = ledger.group(access, id, false).await?.ok_or_else(Error::not_found)?;
            precondition.check(&shown::tag(group.version))?;
            version = Some(group.version);
        }
        if ledger.delete_group(access, id, version, Timestamp::now()).await? {
            return Ok(StatusCode::NO_CONTENT);
        }
    }
}

/// Change a group. Where the change is refused for whom it adds, those whom it removes leave all the
/// same: that somebody unknown shall come keeps nobody in.
async fn change_group(
    gateway: &Gateway,
    caller: &Caller,
    id: Uuid,
    action: &'static str,
    members: Members,
    refusal: Option<Error>,
    change: impl Fn(&StoredGroup) -> Result<GroupChange>,
) -> Result<StoredGroup> {
    let (ledger, access, now) = (&gateway.ledger, &caller.access, Timestamp::now());
    let Some(refusal) = refusal else {
        return ledger.change_group(access, id, action, now, &members, change).await;
    };
    let leave =
        |group: &StoredGroup| change(group).map(|change| GroupChange { fields: None, ..change });
    let leaving = Members { leave_only: true, ..members };
    ledger.change_group(access, id, action, now, &leaving, leave).await?;
    Err(refusal)
}

/// What is to be written, if anything but members is.
fn changed(
    precondition: &Precondition,
    group: &StoredGroup,
    (resource, fields): (Object, GroupFields),
) -> Result<GroupChange> {
    Ok(GroupChange {
        fields: (resource != parse(&group.attributes)?).then_some(fields),
        exact: precondition.is_there(),
    })
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
