//! What is bound to a query, the same for both databases.

use serde_json::json;
use sqlx::{Arguments, error::BoxDynError, postgres::PgArguments, sqlite::SqliteArguments};
use uuid::Uuid;

use crate::ledger::{Error, Result};

/// A value of one of the types that columns have. `None` is SQL's NULL of that type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bool(Option<bool>),
    Int(Option<i64>),
    Float(Option<f64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
    Id(Option<Uuid>),
    Ids(Ids),
    Ints(Vec<i64>),
    Texts(Vec<&'static str>),
}

/// Ids, however many, as one value: `uuid[]` in PostgreSQL; in SQLite JSON, for `unhex(value)` of
/// `json_each`.
#[derive(Clone, Debug, PartialEq)]
pub struct Ids(pub Vec<Uuid>);

impl Ids {
    fn json(&self) -> String {
        let mut json = String::with_capacity(self.0.len() * 35 + 2);
        json.push('[');
        for (i, id) in self.0.iter().enumerate() {
            if i > 0 {
                json.push(',');
            }
            json.push('"');
            json.push_str(id.simple().encode_lower(&mut Uuid::encode_buffer()));
            json.push('"');
        }
        json.push(']');
        json
    }
}

/// Let these be bound, and what may be missing of them.
macro_rules! bound {
    ($($from:ty => $value:ident($made:expr);)*) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$value(Some($made(value)))
            }
        }
        impl From<Option<$from>> for Value {
            fn from(value: Option<$from>) -> Self {
                Self::$value(value.map($made))
            }
        }
    )*};
}
bound! {
    bool => Bool(bool::from);
    i64 => Int(i64::from);
    u32 => Int(i64::from);
    f64 => Float(f64::from);
    String => Text(String::from);
    &String => Text(String::from);
    &str => Text(String::from);
    Vec<u8> => Bytes(Vec::from);
    &Vec<u8> => Bytes(Vec::clone);
    &[u8] => Bytes(Vec::from);
    Uuid => Id(Uuid::from);
}

impl From<&Option<String>> for Value {
    fn from(value: &Option<String>) -> Self {
        Self::Text(value.clone())
    }
}

impl From<&Option<Vec<u8>>> for Value {
    fn from(value: &Option<Vec<u8>>) -> Self {
        Self::Bytes(value.clone())
    }
}

/// One value, for `json_each` or `unnest`.
impl From<Vec<i64>> for Value {
    fn from(numbers: Vec<i64>) -> Self {
        Self::Ints(numbers)
    }
}

/// The same.
impl From<Vec<&'static str>> for Value {
    fn from(texts: Vec<&'static str>) -> Self {
        Self::Texts(texts)
    }
}

impl From<Ids> for Value {
    fn from(ids: Ids) -> Self {
        Self::Ids(ids)
    }
}

/// Whether a text can be in either database: PostgreSQL has no room for U+0000.
pub fn can_hold(text: &str) -> bool {
    !text.contains('\0')
}

pub(super) fn sqlite(values: Vec<Value>) -> Result<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        add_sqlite(&mut arguments, checked(value)?).map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

pub(super) fn postgres(values: Vec<Value>) -> Result<PgArguments> {
    let mut arguments = PgArguments::default();
    for value in values {
        add_postgres(&mut arguments, checked(value)?).map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

fn checked(value: Value) -> Result<Value> {
    match &value {
        Value::Text(Some(text)) if !can_hold(text) => Err(Error::Nul),
        _ => Ok(value),
    }
}

fn add_sqlite(arguments: &mut SqliteArguments, value: Value) -> Result<(), BoxDynError> {
    match value {
        Value::Bool(value) => arguments.add(value),
        Value::Int(value) => arguments.add(value),
        Value::Float(value) => arguments.add(value),
        Value::Text(value) => arguments.add(value),
        Value::Bytes(value) => arguments.add(value),
        Value::Id(value) => arguments.add(value),
        Value::Ids(ids) => arguments.add(ids.json()),
        Value::Ints(numbers) => arguments.add(json!(numbers).to_string()),
        Value::Texts(texts) => arguments.add(json!(texts).to_string()),
    }
}

fn add_postgres(arguments: &mut PgArguments, value: Value) -> Result<(), BoxDynError> {
    match value {
        Value::Bool(value) => arguments.add(value),
        Value::Int(value) => arguments.add(value),
        Value::Float(value) => arguments.add(value),
        Value::Text(value) => arguments.add(value),
        Value::Bytes(value) => arguments.add(value),
        Value::Id(value) => arguments.add(value),
        Value::Ids(ids) => arguments.add(ids.0),
        Value::Ints(numbers) => arguments.add(numbers),
        Value::Texts(texts) => arguments.add(texts),
    }
}
