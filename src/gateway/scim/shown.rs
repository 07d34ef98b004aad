//! Resources and lists as a client gets to see them. Members, of whom there may be 100,000, are
//! written as they are needed.

use std::fmt::Display;

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use scim_v2::schema_urns;
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Json,
    error::Result,
    guard::Caller,
    projection::Projection,
    resource::{GROUP, Kind, Object, USER},
};
use crate::ledger::scim::MembersOfGroup;

/// What of a resource the client wants to see.
#[derive(Debug)]
pub(super) struct Resource {
    attributes: Object,
    members: Option<MemberList>,
}

/// What is shown of each member.
#[derive(Debug)]
struct MemberList {
    members: MembersOfGroup,
    base: String,
    value: bool,
    kind: bool,
    reference: bool,
}

/// Where a resource is, and which version of it this is.
pub(super) struct Shown {
    pub status: StatusCode,
    pub location: String,
    pub tag: String,
    pub resource: Resource,
}

impl Resource {
    pub fn new(kind: &Kind, projection: &Projection, attributes: Object) -> Self {
        Self { attributes: projection.apply(kind, attributes), members: None }
    }

    pub fn with_members(
        mut self,
        projection: &Projection,
        caller: &Caller,
        members: MembersOfGroup,
    ) -> Self {
        let none = members.people.is_empty() && members.groups.is_empty();
        if !none && projection.wants(&GROUP, "members") {
            let wants = |sub| projection.wants_sub(&GROUP, "members", sub);
            self.members = Some(MemberList {
                members,
                base: caller.base.clone(),
                value: wants("value"),
                kind: wants("type"),
                reference: wants("$ref"),
            });
        }
        self
    }
}

impl Serialize for Resource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.attributes {
            map.serialize_entry(name, value)?;
        }
        if let Some(members) = &self.members {
            map.serialize_entry("members", members)?;
        }
        map.end()
    }
}

impl Serialize for MemberList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let MembersOfGroup { people, groups } = &self.members;
        let mut list = serializer.serialize_seq(Some(people.len() + groups.len()))?;
        for (ids, kind) in [(people, &USER), (groups, &GROUP)] {
            for id in ids {
                list.serialize_element(&Member { list: self, id, kind })?;
            }
        }
        list.end()
    }
}

struct Member<'a> {
    list: &'a MemberList,
    id: &'a Uuid,
    kind: &'a Kind,
}

impl Serialize for Member<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { list, id, kind } = self;
        let mut map = serializer.serialize_map(None)?;
        if list.value {
            map.serialize_entry("value", id)?;
        }
        if list.reference {
            let reference = format_args!("{}{}/{id}", list.base, kind.endpoint).to_string();
            map.serialize_entry("$ref", &reference)?;
        }
        if list.kind {
            map.serialize_entry("type", kind.name)?;
        }
        map.end()
    }
}

impl IntoResponse for Shown {
    fn into_response(self) -> Response {
        let headers = [(header::LOCATION, self.location), (header::ETAG, self.tag)];
        (self.status, headers, Json(self.resource)).into_response()
    }
}

/// That the client has this version already.
pub(super) fn not_modified(tag: String) -> Response {
    (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response()
}

/// A page of a list (RFC 7644 section 3.4.2).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List<T> {
    schemas: [&'static str; 1],
    total_results: i64,
    start_index: i64,
    items_per_page: usize,
    #[serde(rename = "Resources")]
    resources: Vec<T>,
}

impl<T> List<T> {
    pub fn new(total_results: i64, start_index: i64, resources: Vec<T>) -> Json<Self> {
        let schemas = [schema_urns::LIST_RESPONSE];
        let items_per_page = resources.len();
        Json(Self { schemas, total_results, start_index, items_per_page, resources })
    }
}

/// The version of a resource as an entity tag.
pub(super) fn tag(version: impl Display) -> String {
    format!("W/\"{version}\"")
}

pub(super) fn location(kind: &Kind, caller: &Caller, id: Uuid) -> String {
    format!("{}{}/{id}", caller.base, kind.endpoint)
}

/// RFC 7643 section 3.1.
pub(super) fn meta(
    kind: &Kind,
    location: &str,
    (created, modified): (Timestamp, Timestamp),
    tag: &str,
) -> Value {
    let whole_seconds =
        |at: Timestamp| Timestamp::from_second(at.as_second()).unwrap_or(at).to_string();
    json!({
        "resourceType": kind.name,
        "created": whole_seconds(created),
        "lastModified": whole_seconds(modified),
        "location": location,
        "version": tag,
    })
}
