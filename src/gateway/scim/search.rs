//! `POST /.search` over users and groups together (RFC 7644 section 3.4.3).

use axum::extract::State;

use super::{
    Json,
    error::Result,
    groups,
    guard::Caller,
    request::Asked,
    resource::GROUP,
    shown::{List, Resource},
    users,
};
use crate::{gateway::Gateway, ledger::scim::Window};

/// Users come first, then groups.
pub(super) async fn everywhere(
    State(gateway): State<Gateway>,
    caller: Caller,
    Asked(query): Asked,
) -> Result<Json<List<Resource>>> {
    let (people, groups) = query.conditions()?;
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
