//! `/Groups` (RFC 7644 section 3, RFC 7643 section 4.2). Members are people of the same directory.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Created, Json, List,
    error::{Error, Result},
    filter, members, meta, parse, patch,
    projection::Projection,
    request::{Body, Caller, Id, MAX_BODY, Query},
    resource::{self, GROUP, Object},
};
use crate::{
    gateway::Gateway,
    ledger::scim::{GroupFields, GroupFilter, Members, StoredGroup},
};

/// How many unknown members a refusal names.
const NAMED: usize = 10;

pub(super) async fn create(
    State(gateway): State<Gateway>,
    caller: Caller,
    query: Query,
    Body(mut body): Body,
) -> Result<Response> {
    let members = stated_members(&gateway, &caller, &mut body).await?;
    let (resource, fields) = read(body)?;
    let now = Timestamp::now();
    let id = gateway.ledger.create_group(&caller.access, &fields, &members, now).await?;
    let shown = show(&caller, &query.projection, resource, id, (now, now), Some(&members));
    Ok(Created(format!("{}/Groups/{id}", caller.base), shown).into_response())
}

pub(super) async fn get(
    State(gateway): State<Gateway>,
    caller: Caller,
    Id(id): Id,
    query: Query,
) -> Result<Json<Object>> {
    let members = query.projection.wants(&GROUP, "members");
    let group = gateway.ledger.group(&caller.access, id, members).await?;
    Ok(Json(show_stored(&caller, &query.projection, &group.ok_or_else(Error::not_found)?)?))
}

pub(super) async fn find(
    State(gateway): State<Gateway>,
    caller: Caller,
    query: Query,
) -> Result<Json<List<Object>>> {
    let wanted = query.filter.as_deref().map_or(Ok(GroupFilter::All), filter::groups)?;
    let members = query.projection.wants(&GROUP, "members");
    let (access, window) = (&caller.access, query.window());
    let page = gateway.ledger.find_groups(access, &wanted, window, members).await?;
    let groups = page.items.iter().map(|group| show_stored(&caller, &query.projection, group));
    Ok(List::new(page.total, query.start_index, groups.collect::<Result<_>>()?))
}

/// A PUT says all: where it has no members, nobody is in the group any more.
pub(super) async fn replace(
    State(gateway): State<Gateway>,
    caller: Caller,
    Id(id): Id,
    query: Query,
    Body(mut body): Body,
) -> Result<Json<Object>> {
    let members = stated_members(&gateway, &caller, &mut body).await?;
    let (resource, fields) = read(body)?;
    let change = |group: &StoredGroup| {
        Ok::<_, Error>((resource != parse(&group.attributes)?).then(|| fields.clone()))
    };
    let change_members = Members { clear: true, add: members, remove: Vec::new() };
    let now = Timestamp::now();
    let mut group = gateway
        .ledger
        .change_group(&caller.access, id, "group.replace", now, &change_members, change)
        .await?;
    group.members = Some(change_members.add);
    Ok(Json(show_stored(&caller, &query.projection, &group)?))
}

/// Answers 204, so that nobody need read a large group, unless the client says what it wants to
/// see (RFC 7644 section 3.5.2).
pub(super) async fn patch(
    State(gateway): State<Gateway>,
    caller: Caller,
    Id(id): Id,
    query: Query,
    Body(body): Body,
) -> Result<Response> {
    let mut operations = patch::operations(body)?;
    let (members, not_ids) = members::take(&mut operations)?;
    refuse_unknown(&gateway, &caller, &members.add, not_ids).await?;
    let change = |group: &StoredGroup| {
        let before = parse(&group.attributes)?;
        let mut patched = before.clone();
        patch::apply(&GROUP, &mut patched, &operations)?;
        let (resource, fields) = read(patched)?;
        Ok::<_, Error>((resource != before).then_some(fields))
    };
    let (now, access) = (Timestamp::now(), &caller.access);
    gateway.ledger.change_group(access, id, "group.patch", now, &members, change).await?;
    if query.projection.asks() {
        return Ok(get(State(gateway), caller, Id(id), query).await?.into_response());
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn delete(
    State(gateway): State<Gateway>,
    caller: Caller,
    Id(id): Id,
) -> Result<StatusCode> {
    gateway.ledger.delete_group(&caller.access, id, Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn read(body: Object) -> Result<(Object, GroupFields)> {
    let resource = GROUP.tidy(body)?;
    let fields = GroupFields {
        display_name: resource::name_of(&resource, "displayName")?
            .ok_or_else(|| Error::value("displayName is missing"))?,
        external_id: resource::name_of(&resource, "externalId")?,
        attributes: Value::Object(resource.clone()).to_string(),
    };
    if fields.attributes.len() > MAX_BODY {
        return Err(Error::value(format!("the group has more than {MAX_BODY} bytes")));
    }
    Ok((resource, fields))
}

/// The members that a POST or PUT states, each of them a person of the directory.
async fn stated_members(
    gateway: &Gateway,
    caller: &Caller,
    body: &mut Object,
) -> Result<Vec<Uuid>> {
    let stated = resource::find(body, "members").and_then(|key| body.remove(&key));
    let stated = members::stated(stated.as_ref())?;
    let ids: Vec<Uuid> = stated.ids.into_iter().collect();
    refuse_unknown(gateway, caller, &ids, stated.not_ids).await?;
    Ok(ids)
}

/// Name those that aren't people of this directory: groups in groups, other directories' people,
/// people who were deleted.
async fn refuse_unknown(
    gateway: &Gateway,
    caller: &Caller,
    ids: &[Uuid],
    mut unknown: Vec<String>,
) -> Result<()> {
    if !ids.is_empty() {
        let nobody = gateway.ledger.not_people(&caller.access, ids).await?;
        unknown.extend(nobody.iter().map(Uuid::to_string));
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let more = match unknown.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    unknown.truncate(NAMED);
    Err(Error::value(format!("members: no users of this directory: {}{more}", unknown.join(", "))))
}

fn show_stored(caller: &Caller, projection: &Projection, group: &StoredGroup) -> Result<Object> {
    let resource = parse(&group.attributes)?;
    let times = (group.created_at, group.updated_at);
    Ok(show(caller, projection, resource, group.id, times, group.members.as_deref()))
}

fn show(
    caller: &Caller,
    projection: &Projection,
    mut resource: Object,
    id: Uuid,
    times: (Timestamp, Timestamp),
    members: Option<&[Uuid]>,
) -> Object {
    resource.insert("id".into(), id.to_string().into());
    resource.insert("meta".into(), meta(&GROUP, caller, id, times));
    let members = members.unwrap_or_default();
    if !members.is_empty() && projection.wants(&GROUP, "members") {
        let shown = members.iter().map(|member| {
            json!({
                "value": member,
                "$ref": format!("{}/Users/{member}", caller.base),
                "type": "User",
            })
        });
        resource.insert("members".into(), shown.collect());
    }
    projection.apply(&GROUP, resource)
}
