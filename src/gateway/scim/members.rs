//! What PATCH operations do to the members of a group: sets of ids, so that a large group need
//! never be read (RFC 7644 section 3.5.2).

use std::collections::BTreeSet;

use scim_v2::filter::{AttrExp, AttrPath, CompValue, CompareOp, PatchPath, ValFilter};
use serde_json::Value;
use uuid::Uuid;

use super::{
    error::{Error, Result},
    filter::resource_id,
    patch::{Op, Operation},
    resource::{self, GROUP, Object},
};
use crate::ledger::scim::Members;

/// What a value of `members` says. The same id twice is said once.
#[derive(Debug, Default)]
pub(super) struct Stated {
    pub ids: BTreeSet<Uuid>,
    /// What can't be an id, cut short, to be named in the refusal.
    pub not_ids: Vec<String>,
}

/// Read a value of `members`.
pub(super) fn stated(value: Option<&Value>) -> Result<Stated> {
    let mut stated = Stated::default();
    let members = match value {
        None | Some(Value::Null) => return Ok(stated),
        Some(Value::Array(members)) => members.as_slice(),
        Some(one @ Value::Object(_)) => std::slice::from_ref(one),
        Some(_) => return Err(Error::value("members must be a list of objects")),
    };
    for member in members {
        let id = member.as_object().and_then(|member| resource::get(member, "value"));
        let Some(Value::String(id)) = id else {
            return Err(Error::value("each of members must be an object with a value, a string"));
        };
        stated.say(id);
    }
    Ok(stated)
}

impl Stated {
    fn say(&mut self, id: &str) {
        match resource_id(id) {
            Some(id) => drop(self.ids.insert(id)),
            None => self.not_ids.push(id.escape_debug().take(40).collect()),
        }
    }
}

/// Take what concerns members out of `operations`, in order, as one change; with it what can't be
/// the id of a new member.
pub(super) fn take(operations: &mut Vec<Operation>) -> Result<(Members, Vec<String>)> {
    let mut change = Change::default();
    let mut rest = Vec::with_capacity(operations.len());
    for mut operation in operations.drain(..) {
        match &operation.path {
            Some(path) => match &path.parsed {
                PatchPath::Attr(path) if is_members(path) => {
                    if path.sub_attr.is_some() {
                        return Err(Error::path("members are named as members[value eq \"id\"]"));
                    }
                    change.on_all(operation.op, operation.value.as_ref())?;
                }
                PatchPath::Value(path) if is_members(&path.attr) => {
                    if operation.op != Op::Remove || path.sub_attr.is_some() {
                        return Err(Error::mutability("a member"));
                    }
                    let mut chosen = Stated::default();
                    chosen_ids(&path.filter, &mut chosen)?;
                    change.remove(chosen.ids);
                }
                _ => rest.push(operation),
            },
            None => {
                if let Some(Value::Object(attributes)) = &mut operation.value {
                    let members = take_members(attributes);
                    if let Some(members) = members {
                        change.on_all(operation.op, Some(&members))?;
                    }
                }
                rest.push(operation);
            }
        }
    }
    *operations = rest;
    let Change { clear, add, remove, not_ids } = change;
    let (add, remove) = (add.into_iter().collect(), remove.into_iter().collect());
    Ok((Members { clear, add, remove }, not_ids))
}

/// The net effect of the operations so far.
#[derive(Default)]
struct Change {
    clear: bool,
    add: BTreeSet<Uuid>,
    remove: BTreeSet<Uuid>,
    not_ids: Vec<String>,
}

impl Change {
    /// An operation on `members`, without a choice among them.
    fn on_all(&mut self, op: Op, value: Option<&Value>) -> Result<()> {
        let Stated { ids, not_ids } = stated(value)?;
        match op {
            Op::Remove if value.is_none_or(Value::is_null) => self.clear(),
            // Entra says here which ones
            Op::Remove => self.remove(ids),
            Op::Add | Op::Replace => {
                if op == Op::Replace {
                    self.clear();
                }
                self.not_ids.extend(not_ids);
                self.remove = &self.remove - &ids;
                self.add.extend(ids);
            }
        }
        Ok(())
    }

    fn clear(&mut self) {
        *self = Self { clear: true, ..Self::default() };
    }

    fn remove(&mut self, ids: BTreeSet<Uuid>) {
        self.add = &self.add - &ids;
        self.remove.extend(ids);
    }
}

fn is_members(path: &AttrPath) -> bool {
    path.uri.as_ref().is_none_or(|uri| uri.eq_ignore_ascii_case(GROUP.schema))
        && path.name.eq_ignore_ascii_case("members")
}

fn take_members(attributes: &mut Object) -> Option<Value> {
    resource::find(attributes, "members").and_then(|key| attributes.remove(&key))
}

/// `value eq "id"`, several of them with `or`.
fn chosen_ids(choice: &ValFilter, chosen: &mut Stated) -> Result<()> {
    match choice {
        ValFilter::Attr(AttrExp::Comparison(path, CompareOp::Eq, CompValue::Str(id)))
            if path.name.eq_ignore_ascii_case("value") && path.sub_attr.is_none() =>
        {
            chosen.say(id);
            Ok(())
        }
        ValFilter::Or(several) => several.iter().try_for_each(|one| chosen_ids(one, chosen)),
        _ => Err(Error::path("members are chosen as members[value eq \"id\"]")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::patch, *};

    const ANN: &str = "01890000-0000-7000-8000-00000000000a";
    const BOB: &str = "01890000-0000-7000-8000-00000000000b";

    fn take_from(operations: Value) -> Result<(Members, Vec<String>, usize)> {
        let Value::Object(body) = json!({"Operations": operations}) else { unreachable!() };
        let mut operations = patch::operations(body)?;
        let (members, not_ids) = take(&mut operations)?;
        Ok((members, not_ids, operations.len()))
    }

    fn uuids(ids: &[&str]) -> Vec<Uuid> {
        ids.iter().map(|id| id.parse().unwrap()).collect()
    }

    #[test]
    fn operations_on_members_add_up_in_order() {
        let add = |id: &str| json!({"op": "add", "path": "members", "value": [{"value": id}]});
        let remove =
            |id: &str| json!({"op": "Remove", "path": format!("members[value eq \"{id}\"]")});
        let replace = |id: &str| json!({"op": "replace", "value": {"Members": [{"value": id}]}});
        for (operations, clear, added, removed) in [
            (json!([add(ANN), add(BOB), add(ANN)]), false, vec![ANN, BOB], vec![]),
            (json!([add(ANN), remove(ANN)]), false, vec![], vec![ANN]),
            (json!([remove(ANN), add(ANN)]), false, vec![ANN], vec![]),
            (json!([add(ANN), replace(BOB)]), true, vec![BOB], vec![]),
            (json!([replace(ANN), add(BOB)]), true, vec![ANN, BOB], vec![]),
            (json!([add(ANN), {"op": "remove", "path": "MEMBERS"}]), true, vec![], vec![]),
            (
                json!([{"op": "remove", "path": "members", "value": [{"value": ANN}]}]),
                false,
                vec![],
                vec![ANN],
            ),
            (
                json!([{"op": "remove",
                    "path": format!("members[value eq \"{ANN}\" or value eq \"{BOB}\"]")}]),
                false,
                vec![],
                vec![ANN, BOB],
            ),
            (json!([{"op": "replace", "path": "members", "value": []}]), true, vec![], vec![]),
        ] {
            let (members, not_ids, _) = take_from(operations.clone()).unwrap();
            let wanted = Members { clear, add: uuids(&added), remove: uuids(&removed) };
            assert_eq!((members, not_ids), (wanted, vec![]), "{operations}");
        }
    }

    #[test]
    fn what_is_not_an_id_is_named_and_cut_short() {
        let long = "x".repeat(1_000);
        let operations = json!([{"op": "add", "path": "members", "value": [{"value": long}]}]);
        assert_eq!(take_from(operations).unwrap().1, ["x".repeat(40)]);
    }

    #[test]
    fn other_attributes_are_left_to_others() {
        let operations = json!([
            {"op": "replace", "value": {"displayName": "x", "members": [{"value": ANN}]}},
            {"op": "replace", "path": "displayName", "value": "y"},
        ]);
        assert_eq!(take_from(operations).unwrap().2, 2);
    }

    #[test]
    fn nonsense_about_members_is_refused() {
        for operation in [
            json!({"op": "add", "path": "members", "value": "x"}),
            json!({"op": "add", "path": "members", "value": ["x"]}),
            json!({"op": "add", "path": "members", "value": [{"value": 1}]}),
            json!({"op": "add", "path": "members", "value": [{}]}),
            json!({"op": "add", "path": "members.value", "value": "x"}),
            json!({"op": "replace", "path": "members[value eq \"x\"]", "value": {"value": "y"}}),
            json!({"op": "remove", "path": "members[display eq \"x\"]"}),
            json!({"op": "remove", "path": "members[not (value eq \"x\")]"}),
            json!({"op": "remove", "path": "members[value eq \"x\"].value"}),
        ] {
            assert!(take_from(json!([operation])).is_err(), "{operation}");
        }
    }
}
