//! Filters (RFC 7644 section 3.4.2.2). On a list they become typed conditions that the ledger
//! binds; in a PATCH path they choose among the values of one attribute.

use scim_v2::filter::{AttrExp, AttrPath, CompValue, CompareOp, Filter, ValFilter};
use serde_json::Value;
use uuid::Uuid;

use super::{
    error::{Error, Result},
    resource::{self, GROUP, Kind, USER},
};
use crate::ledger::scim::{GroupFilter, PersonFilter};

/// Which people a client asks for.
pub(super) fn people(text: &str) -> Result<PersonFilter> {
    let (path, value) = equality(&USER, text)?;
    let sub = path.sub_attr.as_deref().map(str::to_ascii_lowercase);
    Ok(match (path.name.to_ascii_lowercase().as_str(), sub.as_deref(), value) {
        ("id", None, CompValue::Str(id)) => {
            resource_id(&id).map_or(PersonFilter::Nobody, PersonFilter::Id)
        }
        ("username", None, CompValue::Str(name)) => PersonFilter::UserName(name),
        ("externalid", None, CompValue::Str(id)) => PersonFilter::ExternalId(id),
        ("emails", None | Some("value"), CompValue::Str(address)) => PersonFilter::Email(address),
        ("active", None, CompValue::True) => PersonFilter::Active(true),
        ("active", None, CompValue::False) => PersonFilter::Active(false),
        ("active", None, CompValue::Str(text)) => {
            let active = resource::flag(&text.into());
            PersonFilter::Active(active.ok_or_else(|| unsupported(&USER))?)
        }
        _ => return Err(unsupported(&USER)),
    })
}

/// Which groups a client asks for.
pub(super) fn groups(text: &str) -> Result<GroupFilter> {
    let (path, value) = equality(&GROUP, text)?;
    let CompValue::Str(value) = value else { return Err(unsupported(&GROUP)) };
    Ok(match (path.name.to_ascii_lowercase().as_str(), &path.sub_attr) {
        ("id", None) => resource_id(&value).map_or(GroupFilter::Nothing, GroupFilter::Id),
        ("displayname", None) => GroupFilter::DisplayName(value),
        ("externalid", None) => GroupFilter::ExternalId(value),
        _ => return Err(unsupported(&GROUP)),
    })
}

/// An id as we write it, and nothing else that a UUID may be written as.
pub(super) fn resource_id(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

/// The one form of filter there is so far.
fn equality(kind: &Kind, text: &str) -> Result<(AttrPath, CompValue)> {
    let filter: Filter =
        text.parse().map_err(|_| Error::filter("the filter can't be read as one of RFC 7644"))?;
    match filter {
        Filter::Attr(AttrExp::Comparison(path, CompareOp::Eq, value))
            if path.uri.as_ref().is_none_or(|uri| uri.eq_ignore_ascii_case(kind.schema)) =>
        {
            if matches!(&value, CompValue::Str(text) if text.contains('\0')) {
                return Err(Error::filter("the filter has a NUL character"));
            }
            Ok((path, value))
        }
        _ => Err(unsupported(kind)),
    }
}

fn unsupported(kind: &Kind) -> Error {
    let attributes = match kind.name {
        "User" => "userName, externalId, id, emails.value or active",
        _ => "displayName, externalId or id",
    };
    Error::filter(format!("{} can be filtered by {attributes}, with eq and one value", kind.name))
}

/// Whether a value of a multi-valued attribute is one that `filter` chooses. A simple value is its
/// own `value`.
pub(super) fn chooses(filter: &ValFilter, element: &Value) -> bool {
    match filter {
        ValFilter::Attr(AttrExp::Present(path)) => sub_attribute(path, element).is_some(),
        ValFilter::Attr(AttrExp::Comparison(path, op, wanted)) => {
            compare(sub_attribute(path, element), op, wanted)
        }
        ValFilter::Not(inner) => !chooses(inner, element),
        ValFilter::And(all) => all.iter().all(|inner| chooses(inner, element)),
        ValFilter::Or(any) => any.iter().any(|inner| chooses(inner, element)),
    }
}

fn sub_attribute<'a>(path: &AttrPath, element: &'a Value) -> Option<&'a Value> {
    match element {
        Value::Object(object) => resource::get(object, &path.name),
        simple if path.name.eq_ignore_ascii_case("value") => Some(simple),
        _ => None,
    }
}

/// Strings compare without regard to case, as sub-attributes do unless their schema says otherwise.
fn compare(found: Option<&Value>, op: &CompareOp, wanted: &CompValue) -> bool {
    let order = match (found, wanted) {
        (None | Some(Value::Null), CompValue::Null) => Some(std::cmp::Ordering::Equal),
        (Some(Value::String(found)), CompValue::Str(wanted)) => {
            let (found, wanted) = (found.to_lowercase(), wanted.to_lowercase());
            match op {
                CompareOp::Co => return found.contains(&wanted),
                CompareOp::Sw => return found.starts_with(&wanted),
                CompareOp::Ew => return found.ends_with(&wanted),
                _ => Some(found.cmp(&wanted)),
            }
        }
        (Some(Value::Number(found)), CompValue::Number(wanted)) => {
            found.as_f64().zip(wanted.as_f64()).and_then(|(f, w)| f.partial_cmp(&w))
        }
        (Some(found), CompValue::True) => resource::flag(found).map(|found| found.cmp(&true)),
        (Some(found), CompValue::False) => resource::flag(found).map(|found| found.cmp(&false)),
        (Some(found @ Value::Bool(_)), CompValue::Str(wanted)) => {
            let wanted = resource::flag(&wanted.as_str().into());
            resource::flag(found).zip(wanted).map(|(found, wanted)| found.cmp(&wanted))
        }
        _ => None,
    };
    match op {
        CompareOp::Eq => order.is_some_and(std::cmp::Ordering::is_eq),
        CompareOp::Ne => order.is_none_or(std::cmp::Ordering::is_ne),
        CompareOp::Gt => order.is_some_and(std::cmp::Ordering::is_gt),
        CompareOp::Ge => order.is_some_and(std::cmp::Ordering::is_ge),
        CompareOp::Lt => order.is_some_and(std::cmp::Ordering::is_lt),
        CompareOp::Le => order.is_some_and(std::cmp::Ordering::is_le),
        CompareOp::Co | CompareOp::Sw | CompareOp::Ew => false,
    }
}

#[cfg(test)]
mod tests {
    use scim_v2::filter::PatchPath;
    use serde_json::json;

    use super::*;

    #[test]
    fn attributes_and_operators_have_no_case() {
        for text in [
            r#"userName eq "Ann""#,
            r#"USERNAME EQ "Ann""#,
            r#"urn:ietf:params:scim:schemas:core:2.0:User:userName eq "Ann""#,
        ] {
            assert_eq!(people(text).unwrap(), PersonFilter::UserName("Ann".into()), "{text}");
        }
        let emails = PersonFilter::Email("a@b".into());
        assert_eq!(people(r#"emails eq "a@b""#).unwrap(), emails);
        assert_eq!(people(r#"emails.value eq "a@b""#).unwrap(), emails);
        assert_eq!(people("active eq true").unwrap(), PersonFilter::Active(true));
        assert_eq!(people(r#"active eq "False""#).unwrap(), PersonFilter::Active(false));
        assert_eq!(
            groups(r#"displayname eq "Ops""#).unwrap(),
            GroupFilter::DisplayName("Ops".into())
        );
    }

    #[test]
    fn an_id_that_is_none_is_nobodys() {
        assert_eq!(people(r#"id eq "1""#).unwrap(), PersonFilter::Nobody);
        assert_eq!(groups(r#"id eq "{}""#).unwrap(), GroupFilter::Nothing);
    }

    #[test]
    fn a_filter_that_is_not_supported_is_refused() {
        for text in [
            "",
            "userName",
            "userName eq",
            "userName eq 1",
            "userName pr",
            r#"userName sw "a""#,
            r#"userName eq "a" and active eq true"#,
            r#"not (userName eq "a")"#,
            r#"emails[type eq "work"]"#,
            r#"password eq "a""#,
            r#"userName eq "a'; DROP TABLE people" --"#,
            r#"name.givenName eq "a""#,
            r#"urn:other:userName eq "a""#,
            r#"userName eq "a\u0000""#,
            &"(".repeat(100_000),
            &format!("{}userName pr{}", "not (".repeat(1_000), ")".repeat(1_000)),
        ] {
            let shown = &text[..text.len().min(40)];
            let error = people(text).expect_err(shown);
            assert_eq!(error.scim_type, Some(scim_v2::models::errors::ScimType::InvalidFilter));
            assert!(groups(text).is_err(), "{shown}");
        }
    }

    #[test]
    fn a_value_path_chooses_among_values() {
        let element = json!({"type": "Work", "value": "a@b", "primary": true, "rank": 2});
        for (filter, chosen) in [
            (r#"type eq "work""#, true),
            (r#"type ne "work""#, false),
            (r#"TYPE eq "home""#, false),
            ("primary eq true", true),
            (r#"primary eq "True""#, true),
            ("primary eq false", false),
            (r#"type eq "work" and value co "@""#, true),
            (r#"type eq "home" or value ew "B""#, true),
            (r#"not (value sw "a")"#, false),
            ("rank gt 1", true),
            ("rank le 1", false),
            ("display pr", false),
            ("display eq null", true),
        ] {
            let Ok(PatchPath::Value(path)) = format!("emails[{filter}]").parse() else {
                panic!("{filter}")
            };
            assert_eq!(chooses(&path.filter, &element), chosen, "{filter}");
        }
    }
}
