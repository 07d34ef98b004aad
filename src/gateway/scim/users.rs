//! `/Users` (RFC 7644 section 3, RFC 7643 section 4.1).

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
    filter, meta, parse, patch,
    projection::Projection,
    request::{Body, Caller, Id, MAX_BODY, Query},
    resource::{self, Object, USER},
};
use crate::{
    email::Email,
    gateway::Gateway,
    ledger::scim::{PersonFields, PersonFilter, StoredPerson},
};

pub(super) async fn create(
    State(gateway): State<Gateway>,
    caller: Caller,
    query: Query,
    Body(body): Body,
) -> Result<Response> {
    let (resource, fields) = read(body, Some(true))?;
    let now = Timestamp::now();
    let id = gateway.ledger.create_person(&caller.access, &fields, now).await?;
    let times = (now, now);
    let shown = show(&caller, &query.projection, resource, id, times, None);
    Ok(Created(format!("{}/Users/{id}", caller.base), shown).into_response())
}

pub(super) async fn get(
    State(gateway): State<Gateway>,
    caller: Caller,
    Id(id): Id,
    query: Query,
) -> Result<Json<Object>> {
    let person = gateway.ledger.person(&caller.access, id).await?.ok_or_else(Error::not_found)?;
    Ok(Json(show_stored(&caller, &query.projection, &person)?))
}

pub(super) async fn find(
    State(gateway): State<Gateway>,
    caller: Caller,
    query: Query,
) -> Result<Json<List<Object>>> {
    let wanted = query.filter.as_deref().map_or(Ok(PersonFilter::All), filter::people)?;
    let page = gateway.ledger.find_people(&caller.access, &wanted, query.window()).await?;
    let people = page.items.iter().map(|person| show_stored(&caller, &query.projection, person));
    Ok(List::new(page.total, query.start_index, people.collect::<Result<_>>()?))
}

/// What a PUT leaves out is unset, but for `active`: nobody comes back by omission.
pub(super) async fn replace(
    State(gateway): State<Gateway>,
    caller: Caller,
    Id(id): Id,
    query: Query,
    Body(body): Body,
) -> Result<Json<Object>> {
    let change = |person: &StoredPerson| {
        let (resource, fields) = read(body.clone(), Some(person.active))?;
        Ok::<_, Error>((resource != parse(&person.attributes)?).then_some(fields))
    };
    let (now, access) = (Timestamp::now(), &caller.access);
    let person = gateway.ledger.change_person(access, id, "user.replace", now, change).await?;
    Ok(Json(show_stored(&caller, &query.projection, &person)?))
}

pub(super) async fn patch(
    State(gateway): State<Gateway>,
    caller: Caller,
    Id(id): Id,
    query: Query,
    Body(body): Body,
) -> Result<Json<Object>> {
    let operations = patch::operations(body)?;
    let change = |person: &StoredPerson| {
        let before = parse(&person.attributes)?;
        let mut patched = before.clone();
        patch::apply(&USER, &mut patched, &operations)?;
        let (resource, fields) = read(patched, None)?;
        Ok::<_, Error>((resource != before).then_some(fields))
    };
    let (now, access) = (Timestamp::now(), &caller.access);
    let person = gateway.ledger.change_person(access, id, "user.patch", now, change).await?;
    Ok(Json(show_stored(&caller, &query.projection, &person)?))
}

pub(super) async fn delete(
    State(gateway): State<Gateway>,
    caller: Caller,
    Id(id): Id,
) -> Result<StatusCode> {
    gateway.ledger.delete_person(&caller.access, id, Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a client says of a person. Where it says nothing of `active`, it is `otherwise`.
fn read(body: Object, otherwise: Option<bool>) -> Result<(Object, PersonFields)> {
    let mut resource = USER.tidy(body)?;
    let active = resource.get("active").and_then(Value::as_bool).or(otherwise);
    let active = active.ok_or_else(|| Error::value("active must be true or false"))?;
    resource.insert("active".into(), active.into());
    let fields = PersonFields {
        user_name: resource::name_of(&resource, "userName")?
            .ok_or_else(|| Error::value("userName is missing"))?,
        external_id: resource::name_of(&resource, "externalId")?,
        email: email(&resource),
        active,
        attributes: Value::Object(resource.clone()).to_string(),
    };
    if fields.attributes.len() > MAX_BODY {
        return Err(Error::value(format!("the user has more than {MAX_BODY} bytes")));
    }
    Ok((resource, fields))
}

/// The primary address, or the only one; in the way of writing of asserted ones, where it is an
/// address at all. Of several none may stand for the person unless it is said which: somebody may
/// be let in by it.
fn email(resource: &Object) -> Option<String> {
    let emails = resource.get("emails")?.as_array()?;
    let address = |email: &Value| {
        let written = email.get("value")?.as_str()?;
        Some(Email::parse(written).map_or_else(|| written.to_ascii_lowercase(), |email| email.text))
    };
    match (emails.iter().find(|email| resource::is_primary(email)), &emails[..]) {
        (Some(email), _) | (None, [email]) => address(email),
        (None, _) => None,
    }
}

fn show_stored(caller: &Caller, projection: &Projection, person: &StoredPerson) -> Result<Object> {
    let resource = parse(&person.attributes)?;
    let times = (person.created_at, person.updated_at);
    let groups = projection.wants(&USER, "groups").then(|| {
        let shown = person.groups.iter().map(|group| {
            json!({
                "value": group.id,
                "$ref": format!("{}/Groups/{}", caller.base, group.id),
                "display": group.display_name,
                "type": "direct",
            })
        });
        shown.collect::<Vec<_>>()
    });
    Ok(show(caller, projection, resource, person.id, times, groups))
}

fn show(
    caller: &Caller,
    projection: &Projection,
    mut resource: Object,
    id: Uuid,
    times: (Timestamp, Timestamp),
    groups: Option<Vec<Value>>,
) -> Object {
    resource.insert("id".into(), id.to_string().into());
    resource.insert("meta".into(), meta(&USER, caller, id, times));
    if let Some(groups) = groups.filter(|groups| !groups.is_empty()) {
        resource.insert("groups".into(), groups.into());
    }
    projection.apply(&USER, resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_primary_or_the_only_address_stands_for_somebody() {
        let of = |emails: Value| email(json!({ "emails": emails }).as_object().unwrap());
        let address = Some("ann@acme.com".to_owned());
        let ann = json!({ "value": "Ann@Acme.COM", "primary": true });
        let other = json!({ "value": "other@acme.com" });
        assert_eq!(of(json!([other, ann])), address);
        assert_eq!(of(json!([{ "value": "ann@acme.com" }])), address);
        assert_eq!(of(json!([other, { "value": "ann@acme.com" }])), None, "none is primary");
        assert_eq!(of(json!([{ "primary": true }, other])), None, "the primary one is empty");
        assert_eq!(of(json!([])), None);
        // a Kelvin sign is no K
        assert_eq!(of(json!([{ "value": "\u{212a}im@acme.com" }])).unwrap(), "\u{212a}im@acme.com");
    }
}
