//! `/Users` (RFC 7644 section 3, RFC 7643 section 4.1).

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Json,
    body::{Body, LARGE, Room},
    deactivation,
    error::{Error, Result},
    guard::Caller,
    parse, patch,
    projection::Projection,
    request::{About, Asked, Query},
    resource::{self, MAX_NAME, Object, USER},
    shown::{self, List, Resource, Shown},
};
use crate::{
    email::Email,
    gateway::Gateway,
    ledger::scim::{PersonFields, StoredPerson},
};

pub(super) async fn create(
    State(gateway): State<Gateway>,
    caller: Caller,
    query: Query,
    body: Body,
) -> Result<Shown> {
    let body = body.fields()?.object(&mut Room::new())?;
    let (_, fields) = read(body, Some(true))?;
    let now = Timestamp::now();
    let id = gateway.ledger.create_person(&caller.access, &fields, now).await?;
    let person = StoredPerson {
        id,
        attributes: fields.attributes,
        active: fields.active,
        version: 1,
        created_at: now,
        updated_at: now,
        groups: Vec::new(),
    };
    let shown = show(&caller, &query.projection, &person)?;
    Ok(Shown { status: StatusCode::CREATED, ..shown })
}

pub(super) async fn get(about: About, query: Query) -> Result<Response> {
    let (ledger, access) = about.ledger();
    let person = ledger.person(access, about.id).await?.ok_or_else(Error::not_found)?;
    let tag = tag(&person);
    if about.precondition.has(&tag) {
        return Ok(shown::not_modified(tag));
    }
    Ok(show(&about.caller, &query.projection, &person)?.into_response())
}

pub(super) async fn find(
    State(gateway): State<Gateway>,
    caller: Caller,
    Asked(query): Asked,
) -> Result<Json<List<Resource>>> {
    let condition = query.condition(&USER)?;
    if !condition.names_one() {
        caller.turn().await?;
    }
    let page = gateway.ledger.find_people(&caller.access, &condition, query.window()).await?;
    let people =
        page.items.iter().map(|person| Ok(show(&caller, &query.projection, person)?.resource));
    Ok(List::new(page.total, query.start_index, people.collect::<Result<_>>()?))
}

/// What a PUT leaves out is unset, but for `active`: nobody comes back by omission.
pub(super) async fn replace(
    about: About,
    query: Result<Query>,
    body: Body<LARGE>,
) -> Result<Shown> {
    let replaced = async {
        let (query, body) = (query?, body.fields()?.object(&mut Room::new())?);
        let becomes = |person: &StoredPerson| read(body.clone(), Some(person.active));
        let person = about.change_person("user.replace", becomes).await?;
        show(&about.caller, &query.projection, &person)
    };
    match replaced.await {
        Err(refusal) => Err(about.refuse(refusal, deactivation::by_put(body.bytes())).await),
        shown => shown,
    }
}

pub(super) async fn patch(about: About, query: Result<Query>, body: Body<LARGE>) -> Result<Shown> {
    let patched = async {
        let (query, operations) = (query?, patch::read(patch::operations(body.fields()?)?)?);
        let becomes = |person: &StoredPerson| {
            let mut patched = parse(&person.attributes)?;
            patch::apply(&USER, &mut patched, &operations)?;
            read(patched, None)
        };
        let person = about.change_person("user.patch", becomes).await?;
        show(&about.caller, &query.projection, &person)
    };
    match patched.await {
        Err(refusal) => Err(about.refuse(refusal, deactivation::by_patch(body.bytes())).await),
        shown => shown,
    }
}

pub(super) async fn delete(about: About) -> Result<StatusCode> {
    let (ledger, access) = about.ledger();
    loop {
        let mut version = None;
        if about.precondition.is_there() {
            let person = ledger.person(access, about.id).await?.ok_or_else(Error::not_found)?;
            about.precondition.check(&tag(&person))?;
            version = Some(person.version);
        }
        if ledger.delete_person(access, about.id, version, Timestamp::now()).await? {
            return Ok(StatusCode::NO_CONTENT);
        }
    }
}

impl About {
    /// Make the person what `becomes` says, if they aren't that already.
    async fn change_person(
        &self,
        action: &'static str,
        becomes: impl Fn(&StoredPerson) -> Result<(Object, PersonFields)>,
    ) -> Result<StoredPerson> {
        let change = |person: &StoredPerson| {
            self.precondition.check(&tag(person))?;
            let (resource, fields) = becomes(person)?;
            Ok((resource != parse(&person.attributes)?).then_some(fields))
        };
        let (ledger, access) = self.ledger();
        ledger.change_person(access, self.id, action, Timestamp::now(), change).await
    }

    /// What is answered where a change of a person is refused. If it `deactivates` them, that alone
    /// is made: whatever else is wrong with the request keeps nobody in. But a request for another
    /// version of them isn't for who they are now, and changes nothing at all, as it asks; nor does
    /// one that is to be said again.
    async fn refuse(&self, refusal: Error, deactivates: bool) -> Error {
        if !deactivates || refusal.is_for_now() {
            return refusal;
        }
        self.change_person("user.deactivate", deactivated).await.err().unwrap_or(refusal)
    }
}

/// The person as they are, but not active.
fn deactivated(person: &StoredPerson) -> Result<(Object, PersonFields)> {
    let mut resource = parse(&person.attributes)?;
    if person.active {
        resource.insert("active".into(), false.into());
    }
    let attributes = resource::written(&resource)?; // one byte more is no reason to stay
    let fields = fields(&resource, attributes)?;
    Ok((resource, fields))
}

/// What a client says of a person. Where it says nothing of `active`, it is `otherwise`; without
/// that nobody is active of whom it isn't said.
fn read(body: Object, otherwise: Option<bool>) -> Result<(Object, PersonFields)> {
    let mut resource = USER.tidy(body)?;
    if let (None, Some(active)) = (resource.get("active"), otherwise) {
        resource.insert("active".into(), active.into());
    }
    let long = |address: &str| address.chars().count() > MAX_NAME;
    if addresses(&resource).any(long) {
        return Err(Error::value(format!(
            "a value of emails is longer than {MAX_NAME} characters"
        )));
    }
    let fields = fields(&resource, resource::kept(&resource)?)?;
    Ok((resource, fields))
}

/// Where a person may be written to; they are found by it.
fn addresses(resource: &Object) -> impl Iterator<Item = &str> {
    let emails = resource.get("emails").and_then(Value::as_array).into_iter().flatten();
    emails.filter_map(|email| email.get("value")?.as_str())
}

/// What a tidied resource says; `attributes` is how it is written.
fn fields(resource: &Object, attributes: String) -> Result<PersonFields> {
    Ok(PersonFields {
        user_name: resource::name_of(resource, "userName")?
            .ok_or_else(|| Error::value("userName is missing"))?,
        external_id: resource::name_of(resource, "externalId")?,
        email: email(resource),
        active: resource.get("active").and_then(Value::as_bool).unwrap_or(false),
        attributes,
    })
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

/// The version of what a client sees of a person: it changes with their groups, too.
fn tag(person: &StoredPerson) -> String {
    if person.groups.is_empty() {
        return shown::tag(person.version);
    }
    let mut groups = String::new();
    for group in &person.groups {
        groups += &format!("{}{}\n", group.id, group.display_name);
    }
    let hash = digest(&SHA256, groups.as_bytes());
    let hash = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}"));
    shown::tag(format_args!("{}-{}", person.version, hash.collect::<String>()))
}

pub(super) fn show(
    caller: &Caller,
    projection: &Projection,
    person: &StoredPerson,
) -> Result<Shown> {
    let mut resource = parse(&person.attributes)?;
    let (tag, location) = (tag(person), shown::location(&USER, caller, person.id));
    let times = (person.created_at, person.updated_at);
    resource.insert("id".into(), person.id.to_string().into());
    resource.insert("meta".into(), shown::meta(&USER, &location, times, &tag));
    if !person.groups.is_empty() && projection.wants(&USER, "groups") {
        let groups = person.groups.iter().map(|group| {
            json!({
                "value": group.id,
                "$ref": format!("{}/Groups/{}", caller.base, group.id),
                "display": group.display_name,
                "type": "direct",
            })
        });
        resource.insert("groups".into(), groups.collect());
    }
    let resource = Resource::new(&USER, projection, resource);
    Ok(Shown { status: StatusCode::OK, location, tag, resource })
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
