//! What PATCH operations do to the members of a group: sets of ids, so that a large group need
//! never be read (RFC 7644 section 3.5.2).

use std::{collections::BTreeSet, fmt};

use scim_v2::filter::{AttrExp, AttrPath, CompValue, CompareOp, PatchPath, ValFilter};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};
use uuid::Uuid;

use super::{
    body::Room,
    error::{Error, Result},
    filter::resource_id,
    patch::{Op, Operation, Unread},
    resource::GROUP,
};
use crate::ledger::scim::Members;

/// How a value without a path may name them, too.
const MEMBERS_BY_URN: &str = "urn:ietf:params:scim:schemas:core:2.0:Group:members";

/// How many that can't be members are named.
pub(super) const NAMED: usize = 10;

/// What a value of `members` says. The same id twice is said once.
#[derive(Debug, Default)]
pub(super) struct Stated {
    pub ids: BTreeSet<Uuid>,
    pub strangers: Strangers,
}

/// Who can't be a member.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Strangers {
    /// The first few, cut short.
    pub named: Vec<String>,
    pub all: usize,
}

impl Strangers {
    fn add(&mut self, id: &str) {
        self.all += 1;
        self.name(&id.escape_debug().take(40).collect::<String>());
    }

    /// Name one who is counted already.
    pub fn name(&mut self, id: &str) {
        if self.named.len() < NAMED {
            self.named.push(id.to_owned());
        }
    }

    fn join(&mut self, others: Self) {
        self.all += others.all;
        self.named.extend(others.named);
        self.named.truncate(NAMED);
    }
}

/// Read a value of `members`: a list of objects, or one.
pub(super) fn stated(value: &RawValue) -> Result<Stated> {
    serde_json::from_str(value.get()).map_err(|_| {
        Error::value("members must be a list of objects, each with a value, which is a string")
    })
}

impl Stated {
    fn say(&mut self, id: &str) {
        match resource_id(id) {
            Some(id) => drop(self.ids.insert(id)),
            None => self.strangers.add(id),
        }
    }
}

impl<'de> Deserialize<'de> for Stated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Stated;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("members")
            }

            fn visit_unit<E>(self) -> Result<Stated, E> {
                Ok(Stated::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Stated, A::Error> {
                let mut stated = Stated::default();
                while let Some(Member(id)) = seq.next_element()? {
                    stated.say(&id);
                }
                Ok(stated)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Stated, A::Error> {
                let mut stated = Stated::default();
                stated.say(&member_id(map)?);
                Ok(stated)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// The `value` of one member.
struct Member(String);

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Member;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Member, A::Error> {
                member_id(map).map(Member)
            }
        }
        deserializer.deserialize_map(Read)
    }
}

fn member_id<'de, A: MapAccess<'de>>(mut map: A) -> Result<String, A::Error> {
    let mut id = None;
    while let Some(name) = map.next_key::<String>()? {
        if !name.eq_ignore_ascii_case("value") {
            map.next_value::<IgnoredAny>()?;
        } else if id.replace(map.next_value()?).is_some() {
            return Err(A::Error::duplicate_field("value"));
        }
    }
    id.ok_or_else(|| A::Error::missing_field("value"))
}

/// What a PATCH of a group says: what becomes of its members, who can't be one, and the rest, which
/// is refused where one operation of all is.
pub(super) struct Split {
    pub members: Members,
    pub strangers: Strangers,
    pub rest: Result<Vec<Operation>>,
}

/// Take what concerns members out of `operations`, in order, as one change.
pub(super) fn split(operations: Vec<Result<Unread<'_>>>) -> Split {
    let mut change = Change::default();
    let mut rest = Ok(Vec::new());
    let mut room = Room::new();
    for operation in operations {
        let taken = match operation {
            Ok(operation) => change.take(operation, &mut room),
            Err(refusal) => Err(change.unread(refusal)),
        };
        match taken {
            Ok(others) => drop(rest.as_mut().map(|rest: &mut Vec<_>| rest.extend(others))),
            Err(refusal) => rest = rest.and(Err(refusal)),
        }
    }
    let Change { clear, add, remove, strangers } = change;
    Split { members: Members { clear, add, remove, leave_only: false }, strangers, rest }
}

/// The net effect of the operations so far.
#[derive(Default)]
struct Change {
    clear: bool,
    add: BTreeSet<Uuid>,
    remove: BTreeSet<Uuid>,
    strangers: Strangers,
}

impl Change {
    /// Take what concerns members; what else the operation does is returned.
    fn take(&mut self, operation: Unread<'_>, room: &mut Room) -> Result<Option<Operation>> {
        let Some(path) = &operation.path else {
            let mut attributes = operation.attributes().map_err(|refusal| self.unread(refusal))?;
            for name in ["members", MEMBERS_BY_URN] {
                if let Some(members) = attributes.take(name) {
                    self.on_all(operation.op, Some(members))?;
                }
            }
            let value = Some(Value::Object(attributes.object(room)?));
            return Ok(Some(Operation { op: operation.op, path: None, value }));
        };
        match &path.parsed {
            PatchPath::Attr(path) if is_members(path) => {
                if path.sub_attr.is_some() {
                    return Err(Error::path("members are named as members[value eq \"id\"]"));
                }
                self.on_all(operation.op, operation.value)?;
            }
            PatchPath::Value(path) if is_members(&path.attr) => {
                if operation.op != Op::Remove || path.sub_attr.is_some() {
                    return Err(Error::mutability("a member"));
                }
                let mut chosen = Stated::default();
                chosen_ids(&path.filter, &mut chosen)?;
                self.remove(chosen.ids);
            }
            _ => return operation.read(room).map(Some),
        }
        Ok(None)
    }

    /// An operation on `members`, without a choice among them.
    fn on_all(&mut self, op: Op, value: Option<&RawValue>) -> Result<()> {
        let stated = value.map(stated).transpose().map_err(|refusal| self.unread(refusal))?;
        let Stated { ids, strangers } = stated.unwrap_or_default();
        match op {
            Op::Remove if value.is_none_or(|value| value.get() == "null") => self.clear(),
            // Entra says here which ones
            Op::Remove => self.remove(ids),
            Op::Add | Op::Replace => {
                if op == Op::Replace {
                    self.clear();
                }
                self.strangers.join(strangers);
                self.remove.retain(|id| !ids.contains(id));
                self.add.extend(ids);
            }
        }
        Ok(())
    }

    /// An operation that can't be read may say who comes back after all were removed: then nobody
    /// is removed but by name.
    fn unread(&mut self, refusal: Error) -> Error {
        self.clear = false;
        refusal
    }

    fn clear(&mut self) {
        *self = Self { clear: true, ..Self::default() };
    }

    fn remove(&mut self, ids: BTreeSet<Uuid>) {
        self.add.retain(|id| !ids.contains(id));
        self.remove.extend(ids);
    }
}

fn is_members(path: &AttrPath) -> bool {
    path.uri.as_ref().is_none_or(|uri| uri.eq_ignore_ascii_case(GROUP.schema))
        && path.name.eq_ignore_ascii_case("members")
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

    fn split_up(operations: Value) -> Split {
        let body = json!({"Operations": operations}).to_string();
        split(patch::operations(serde_json::from_str(&body).unwrap()).unwrap())
    }

    fn uuids(ids: &[&str]) -> BTreeSet<Uuid> {
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
            let Split { members, strangers, .. } = split_up(operations.clone());
            let (add, remove) = (uuids(&added), uuids(&removed));
            let wanted = Members { clear, add, remove, leave_only: false };
            assert_eq!((members, strangers), (wanted, Strangers::default()), "{operations}");
        }
    }

    #[test]
    fn what_is_not_an_id_is_named_and_cut_short() {
        let long = "x".repeat(1_000);
        let operations = json!([{"op": "add", "path": "members", "value": [{"value": long}]}]);
        let strangers = split_up(operations).strangers;
        assert_eq!((strangers.named, strangers.all), (vec!["x".repeat(40)], 1));
    }

    #[test]
    fn other_attributes_are_left_to_others() {
        let operations = json!([
            {"op": "replace", "value": {"displayName": "x", "members": [{"value": ANN}]}},
            {"op": "replace", "path": "displayName", "value": "y"},
        ]);
        assert_eq!(split_up(operations).rest.unwrap().len(), 2);
    }

    #[test]
    fn nonsense_about_members_is_refused() {
        for operation in [
            json!({"op": "add", "path": "members", "value": "x"}),
            json!({"op": "add", "path": "members", "value": ["x"]}),
            json!({"op": "add", "path": "members", "value": [{"value": 1}]}),
            json!({"op": "add", "path": "members", "value": [{}]}),
            json!({"op": "add", "path": "members", "value": [{"value": ANN, "Value": BOB}]}),
            json!({"op": "add", "value": {"members": [], "Members": []}}),
            json!({"op": "add", "path": "members.value", "value": "x"}),
            json!({"op": "replace", "path": "members[value eq \"x\"]", "value": {"value": "y"}}),
            json!({"op": "remove", "path": "members[display eq \"x\"]"}),
            json!({"op": "remove", "path": "members[not (value eq \"x\")]"}),
            json!({"op": "remove", "path": "members[value eq \"x\"].value"}),
        ] {
            assert!(split_up(json!([operation])).rest.is_err(), "{operation}");
        }
    }
}
