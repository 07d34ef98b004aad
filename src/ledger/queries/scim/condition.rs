//! What is asked of people and groups, as typed conditions, and how they become SQL: every value is
//! bound, and every name is one of ours.

use uuid::Uuid;

use crate::ledger::db::{Builder, Dialect};

/// What must be so of a person or a group. `Element` and the fields of elements go together.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    Const(bool),
    Not(Box<Condition>),
    /// One at least.
    All(Vec<Condition>),
    /// One at least.
    Any(Vec<Condition>),
    /// The field has a value, and a text that isn't empty.
    Present(Field),
    Text(Field, Op, String),
    Flag(Field, bool),
    /// Seconds since the Unix epoch.
    Time(Field, Op, f64),
    /// `None`: what was asked for can't be an id.
    IsId(Field, Option<Uuid>),
    /// One element of the list is so.
    Element(List, Box<Condition>),
}

/// How a value compares. Not equal is [`Condition::Not`] of equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Eq,
    Contains,
    StartsWith,
    EndsWith,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Id,
    /// Of people; without regard to case, of whatever letters: it is unique so.
    UserName,
    ExternalId,
    /// Of groups; compared [`without_case`].
    DisplayName,
    /// Of people.
    Active,
    Created,
    Modified,
    /// Of the kept resource, at this JSON path; compared [`without_case`].
    Kept(String),
    /// Of an element of [`List::Values`], at this JSON path; compared [`without_case`].
    OfValue(String),
    /// The id of an element of [`List::Members`] or [`List::Groups`].
    ElementId,
    /// `User` or `Group`, of an element of [`List::Members`].
    MemberType,
    /// Of an element of [`List::Groups`].
    GroupName,
}

/// A multi-valued attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum List {
    /// Of the kept resource, at this JSON path.
    Values(String),
    /// The members of a group.
    Members,
    /// The groups that a person is a member of.
    Groups,
}

/// What leads to a few people or groups: an index of their own table, or that of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Index {
    Addresses,
    Own,
}

/// A text as it is compared where case doesn't count: that of ASCII letters, for SQLite folds no
/// others, and what is an address or a name to one database is to be one to the other.
pub fn without_case(text: &str) -> String {
    text.to_ascii_lowercase()
}

/// Where the addresses of a person are kept.
const EMAILS: &str = "$.\"emails\"";
const VALUE: &str = "$.\"value\"";

impl Condition {
    /// Whether an index leads to the few that fulfil it.
    pub(super) fn is_selective(&self) -> bool {
        self.index().is_some()
    }

    /// Whether at most one fulfils it, whatever the directory holds: what is looked for so may be
    /// read where everybody reads.
    pub fn names_one(&self) -> bool {
        match self {
            Self::All(all) => all.iter().any(Self::names_one),
            Self::IsId(Field::Id, _)
            | Self::Const(false)
            | Self::Text(Field::UserName, Op::Eq, _) => true,
            _ => false,
        }
    }

    /// The index that leads to the few that fulfil it.
    pub(super) fn index(&self) -> Option<Index> {
        match self {
            Self::All(all) => all.iter().filter_map(Self::index).max(),
            Self::Any(any) => {
                let all: Option<Vec<_>> = any.iter().map(Self::index).collect();
                all?.into_iter().max()
            }
            Self::IsId(Field::Id, _) | Self::Const(false) => Some(Index::Own),
            Self::Text(Field::UserName | Field::ExternalId | Field::DisplayName, Op::Eq, _) => {
                Some(Index::Own)
            }
            Self::Element(List::Values(path), inner) if path == EMAILS => {
                inner.address().map(|_| Index::Addresses)
            }
            _ => None,
        }
    }

    /// The address that an element must have to fulfil this.
    fn address(&self) -> Option<&str> {
        match self {
            Self::Text(Field::OfValue(path), Op::Eq, value) if path == VALUE => Some(value),
            Self::All(all) => all.iter().find_map(Self::address),
            _ => None,
        }
    }

    /// Append to a query on `people p` or `directory_groups g` (`row` is `p` or `g`) of this
    /// directory. It may come out as NULL, which is false.
    pub(super) fn push(&self, query: &mut Builder, row: &'static str, directory: Uuid) {
        match self {
            Self::Const(value) => drop(query.push(value)),
            Self::Not(inner) => {
                query.push("NOT coalesce((");
                inner.push(query, row, directory);
                query.push("), false)");
            }
            Self::All(all) => join(all, " AND ", query, row, directory),
            Self::Any(any) => join(any, " OR ", query, row, directory),
            // a column that is never NULL
            Self::Present(Field::Active) => drop(query.push("true")),
            Self::Present(field) => {
                field.push_as(As::Whatever, query, row);
                query.push(" <> ''");
            }
            Self::Text(field, op, value) => text(query, row, field, *op, value),
            Self::Flag(field, value) => {
                field.push(query, row);
                query.push(" = ");
                if field.is_json() {
                    query.push_each("(", "to_jsonb(").push_bind(*value).push(")");
                } else {
                    query.push_bind(*value);
                }
            }
            Self::Time(field, op, seconds) => {
                field.push(query, row);
                query.push(op.sql()).push_bind(*seconds);
            }
            Self::IsId(_, None) => drop(query.push("false")),
            Self::IsId(field, Some(id)) => {
                query.push(if *field == Field::Id { row } else { "v" });
                query.push(".id = ").push_bind(*id);
            }
            Self::Element(list, inner) => {
                if let (List::Values(path), Some(address)) = (list, inner.address())
                    && path == EMAILS
                {
                    query.push("p.id IN (SELECT person_id FROM addresses WHERE directory_id = ");
                    query.push_bind(directory).push(" AND address = ");
                    query.push_bind(without_case(address)).push(")");
                    if matches!(**inner, Self::Text(..)) {
                        return;
                    }
                    query.push(" AND ");
                }
                query.push("EXISTS (SELECT 1 FROM ");
                list.push(query, row);
                query.push(" v WHERE ");
                inner.push(query, row, directory);
                query.push(")");
            }
        }
    }
}

fn join(
    parts: &[Condition],
    with: &'static str,
    query: &mut Builder,
    row: &'static str,
    directory: Uuid,
) {
    for (i, part) in parts.iter().enumerate() {
        query.push(if i == 0 { "(" } else { with });
        query.push("(");
        part.push(query, row, directory);
        query.push(")");
    }
    query.push(")");
}

fn text(query: &mut Builder, row: &'static str, field: &Field, op: Op, value: &str) {
    let value = match field {
        Field::UserName => value.to_lowercase(), // as its column has it
        _ => value.to_owned(),
    };
    let folds = !matches!(field, Field::UserName | Field::ExternalId);
    let folded = |query: &mut Builder| {
        query.push(if folds { "lower(" } else { "(" });
        field.push_as(As::Text, query, row);
        query.push(")");
    };
    let wanted = if folds { without_case(&value) } else { value.clone() };
    match op {
        Op::Contains | Op::StartsWith | Op::EndsWith if value.is_empty() => {
            field.push_as(As::Text, query, row);
            query.push(" IS NOT NULL");
        }
        Op::Contains => {
            query.push_each("instr(", "strpos(");
            folded(query);
            query.push(", ").push_bind(wanted).push(") > 0");
        }
        Op::StartsWith => {
            query.push("substr(");
            folded(query);
            query.push(", 1, ").push_bind(length(&wanted)).push_each("", "::int");
            query.push(") = ").push_bind(wanted);
        }
        Op::EndsWith => {
            query.push_each("substr(", "right(");
            folded(query);
            query.push_each(", -", ", ").push_bind(length(&wanted)).push_each("", "::int");
            query.push(") = ").push_bind(wanted);
        }
        // a column is found by its index, which has NOCASE in SQLite and lower() in PostgreSQL
        _ if folds && query.dialect() == Dialect::Sqlite => {
            field.push(query, row);
            query.push(op.sql()).push_bind(value).push(" COLLATE NOCASE");
        }
        _ => {
            folded(query);
            query.push(op.sql()).push_bind(wanted);
        }
    }
}

fn length(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(i64::MAX)
}

impl Op {
    /// Between two values; of those that are said with functions it says equal.
    fn sql(self) -> &'static str {
        match self {
            Self::Greater => " > ",
            Self::GreaterOrEqual => " >= ",
            Self::Less => " < ",
            Self::LessOrEqual => " <= ",
            Self::Eq | Self::Contains | Self::StartsWith | Self::EndsWith => " = ",
        }
    }
}

/// What a value of JSON is wanted as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum As {
    /// As it is: a value of SQL in SQLite, `jsonb` in PostgreSQL.
    Json,
    /// As text if it is one, with which it is compared byte by byte.
    Text,
    /// As text whatever it is.
    Whatever,
}

impl Field {
    /// Whether it is a value of JSON.
    fn is_json(&self) -> bool {
        matches!(self, Self::Kept(_) | Self::OfValue(_))
    }

    fn push(&self, query: &mut Builder, row: &'static str) {
        self.push_as(As::Json, query, row);
    }

    fn push_as(&self, as_what: As, query: &mut Builder, row: &'static str) {
        match (self, query.dialect()) {
            (Self::Id, _) => return uuid_text(query, row),
            (Self::ElementId, _) => return uuid_text(query, "v"),
            (Self::Kept(path), Dialect::Sqlite) => {
                query.push("json_extract(").push(row).push(".attributes, ");
                query.push_bind(path.clone()).push(")");
                return;
            }
            (Self::OfValue(path), Dialect::Sqlite) => {
                // anything else than an object has no attributes
                query.push("CASE v.type WHEN 'object' THEN json_extract(v.value, ");
                query.push_bind(path.clone()).push(") END");
                return;
            }
            (Self::Kept(path) | Self::OfValue(path), Dialect::Postgres) => {
                let of = if matches!(self, Self::Kept(_)) { row } else { "v" };
                let of = format!("{of}.{}", if of == "v" { "value" } else { "attributes::jsonb" });
                let only = if as_what == As::Text { " ? (@.type() == \"string\")" } else { "" };
                let path = format!("strict {path}{only}");
                query.push(if as_what == As::Json { "(" } else { "((" });
                query.push("jsonb_path_query_first(").push(of).push(", ");
                query.push_bind(path).push("::jsonpath, '{}', true)");
                query.push(match as_what {
                    As::Json => ")",
                    As::Text => " #>> '{}') COLLATE \"C\")",
                    As::Whatever => " #>> '{}'))",
                });
                return;
            }
            _ => {}
        }
        query.push(match self {
            Self::MemberType | Self::GroupName => "v.",
            _ if row == "p" => "p.",
            _ => "g.",
        });
        query.push(match self {
            Self::UserName => "user_name_key",
            Self::ExternalId => "external_id",
            Self::DisplayName => "display_name",
            Self::Active => "active",
            Self::Created => "created_at",
            Self::Modified => "updated_at",
            Self::MemberType => "kind",
            _ => "name",
        });
    }
}

/// A UUID as it is written.
fn uuid_text(query: &mut Builder, row: &'static str) {
    if query.dialect() == Dialect::Postgres {
        query.push("(").push(row).push(".id::text COLLATE \"C\")");
        return;
    }
    for (i, (from, length)) in [(1, 8), (9, 4), (13, 4), (17, 4), (21, 12)].iter().enumerate() {
        query.push(if i == 0 { "(" } else { " || '-' || " });
        query.push(format_args!("lower(substr(hex({row}.id), {from}, {length}))"));
    }
    query.push(")");
}

impl List {
    fn push(&self, query: &mut Builder, row: &'static str) {
        match self {
            Self::Values(path) if query.dialect() == Dialect::Postgres => {
                query.push("(SELECT jsonb_path_query(").push(row).push(".attributes::jsonb, ");
                query.push_bind(format!("strict {path}[*]"));
                query.push("::jsonpath, '{}', true) AS value)");
            }
            Self::Values(path) => {
                query.push("json_each(").push(row).push(".attributes, ");
                query.push_bind(path.clone()).push(")");
            }
            Self::Members => drop(query.push(
                "(SELECT person_id AS id, 'User' AS kind FROM memberships WHERE group_id = g.id
                  UNION ALL
                  SELECT member_id, 'Group' FROM subgroups WHERE group_id = g.id)",
            )),
            Self::Groups => drop(query.push(
                "(SELECT d.id, d.display_name AS name
                  FROM memberships m JOIN directory_groups d ON d.id = m.group_id
                  WHERE m.person_id = p.id)",
            )),
        }
    }
}
