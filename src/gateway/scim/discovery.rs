//! What this server can do, for clients that ask (RFC 7644 section 4, RFC 7643 sections 5 to 7).
//! It says no more than is there.

use std::sync::LazyLock;

use axum::{
    extract::{Path, Request},
    http::StatusCode,
};
use scim_v2::{models::scim_schema::get_schemas, schema_urns};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Json,
    error::{Error, Result},
    guard::Caller,
    request::{MAX_PAGE, PAGE},
    resource::{ENTERPRISE_USER, GROUP, Kind, USER},
    shown::List,
};

/// The schemas of RFC 7643 section 8.7, without what isn't here: passwords.
static SCHEMAS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let schemas = get_schemas(vec!["user", "group", "enterprise_user"]).unwrap_or_default();
    let schemas = schemas.into_iter().filter_map(|schema| serde_json::to_value(schema).ok());
    schemas.map(honest).collect()
});

fn honest(mut schema: Value) -> Value {
    let id = schema["id"].as_str().unwrap_or_default().to_owned();
    if let Some(attributes) = schema["attributes"].as_array_mut() {
        attributes.retain(|attribute| attribute["name"] != "password");
        for attribute in attributes {
            // without a name nobody finds it
            if id == schema_urns::GROUP && attribute["name"] == "displayName" {
                attribute["required"] = true.into();
            }
        }
    }
    schema["schemas"] = json!([schema_urns::SCHEMA]);
    schema
}

pub(super) async fn service_provider_config(caller: Caller) -> Json<Value> {
    Json(json!({
        "schemas": [schema_urns::SERVICE_PROVIDER_CONFIG],
        "patch": {"supported": true},
        "bulk": {"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": true, "maxResults": MAX_PAGE},
        "changePassword": {"supported": false},
        "sort": {"supported": false},
        "etag": {"supported": true},
        // RFC 9865
        "pagination": {
            "cursor": false,
            "index": true,
            "defaultPaginationMethod": "index",
            "defaultPageSize": PAGE,
            "maxPageSize": MAX_PAGE,
        },
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "Bearer token",
            "description": "The token of this directory, from its Secret",
            "specUri": "https://www.rfc-editor.org/rfc/rfc6750",
            "primary": true,
        }],
        "meta": {
            "resourceType": "ServiceProviderConfig",
            "location": format!("{}/ServiceProviderConfig", caller.base),
        },
    }))
}

fn resource_type(kind: &Kind, caller: &Caller) -> Value {
    let mut described = json!({
        "schemas": [schema_urns::RESOURCE_TYPE],
        "id": kind.name,
        "name": kind.name,
        "endpoint": kind.endpoint,
        "schema": kind.schema,
        "meta": {
            "resourceType": "ResourceType",
            "location": format!("{}/ResourceTypes/{}", caller.base, kind.name),
        },
    });
    if kind.name == USER.name {
        described["schemaExtensions"] = json!([{"schema": ENTERPRISE_USER, "required": false}]);
    }
    described
}

fn schema(schema: &Value, caller: &Caller) -> Value {
    let mut schema = schema.clone();
    let id = schema["id"].as_str().unwrap_or_default();
    let location = format!("{}/Schemas/{id}", caller.base);
    schema["meta"] = json!({"resourceType": "Schema", "location": location});
    schema
}

#[derive(Deserialize)]
pub(super) struct Named {
    id: String,
}

pub(super) async fn resource_types(caller: Caller, request: Request) -> Result<Json<List<Value>>> {
    refuse_filter(&request)?;
    let kinds = [USER, GROUP].iter().map(|kind| resource_type(kind, &caller)).collect();
    Ok(List::new(2, 1, kinds))
}

pub(super) async fn one_resource_type(
    caller: Caller,
    Path(named): Path<Named>,
) -> Result<Json<Value>> {
    let kind = [USER, GROUP].into_iter().find(|kind| kind.name.eq_ignore_ascii_case(&named.id));
    kind.map(|kind| Json(resource_type(&kind, &caller))).ok_or_else(Error::not_found)
}

pub(super) async fn schemas(caller: Caller, request: Request) -> Result<Json<List<Value>>> {
    refuse_filter(&request)?;
    let schemas: Vec<Value> = SCHEMAS.iter().map(|known| schema(known, &caller)).collect();
    Ok(List::new(3, 1, schemas))
}

pub(super) async fn one_schema(caller: Caller, Path(named): Path<Named>) -> Result<Json<Value>> {
    let is =
        |known: &&Value| known["id"].as_str().is_some_and(|id| id.eq_ignore_ascii_case(&named.id));
    let known = SCHEMAS.iter().find(is).ok_or_else(Error::not_found)?;
    Ok(Json(schema(known, &caller)))
}

/// These lists can't be filtered, and a client that tries must not take all for some (RFC 7644
/// section 4).
fn refuse_filter(request: &Request) -> Result<()> {
    let query = request.uri().query().unwrap_or_default();
    if url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "filter") {
        return Err(Error::new(StatusCode::FORBIDDEN, "this list can't be filtered"));
    }
    Ok(())
}
