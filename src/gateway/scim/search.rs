//! `POST /.search` over users and groups together (RFC 7644 section 3.4.3).

use axum::extract::State;

use super::{
    Json,
    error::Result,
    groups,
    guard::Caller,
    request::Asked,
    resource::{GROUP, USER},
    shown::{List, Resource},
    users,
};
use crate::{
    gateway::Gateway,
    ledger::scim::{Condition, Window},
};

/// Users come first, then groups. An attribute that only one of them has is had by no other: a
/// filter that one kind can't be asked leads to the other kind alone.
pub(super) async fn everywhere(
    State(gateway): State<Gateway>,
    caller: Caller,
    Asked(query): Asked,
) -> Result<Json<List<Resource>>> {
    let (people, groups) = match (query.condition(&USER), query.condition(&GROUP)) {
        (Err(refused), Err(_)) => return Err(refused),
        (people, groups) => {
            let none = |_| Condition::Const(false);
            (people.unwrap_or_else(none), groups.unwrap_or_else(none))
        }
    };
    caller.turn().await?;
    let (ledger, access, projection) = (&gateway.ledger, &caller.access, &query.projection);
    let window = query.window();
    let users = ledger.find_people(access, &people, window).await?;
    let mut found = Vec::new();
    let mut bytes = window.bytes;
    for person in &users.items {
        bytes = bytes.saturating_sub(person.attributes.len());
        found.push(users::show(&caller, projection, person)?.resource);
    }
    // groups begin where the users end, on a page that has room for all of its users
    let shown = i64::try_from(found.len()).unwrap_or(i64::MAX);
    let whole = shown == (users.total - window.offset).clamp(0, window.limit);
    let rest = Window {
        offset: (window.offset - users.total).max(0),
        limit: if whole { window.limit - shown } else { 0 },
        bytes,
    };
    let members = projection.wants(&GROUP, "members");
    let page = ledger.find_groups(access, &groups, rest, members).await?;
    for group in page.items {
        found.push(groups::show(&caller, projection, group)?.resource);
    }
    Ok(List::new(users.total + page.total, query.start_index, found))
}
