//! Which values of a multi-valued attribute a PATCH path means: `emails[type eq "work"]`.

use std::cmp::Ordering;

use scim_v2::filter::{AttrExp, AttrPath, CompValue, CompareOp, ValFilter};
use serde_json::Value;

use super::resource;
use crate::ledger::scim::without_case;

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

/// Strings compare as those of filters do: without case, unless their schema says otherwise.
fn compare(found: Option<&Value>, op: &CompareOp, wanted: &CompValue) -> bool {
    let order = match (found, wanted) {
        (None | Some(Value::Null), CompValue::Null) => Some(Ordering::Equal),
        (Some(Value::String(found)), CompValue::Str(wanted)) => {
            let (found, wanted) = (without_case(found), without_case(wanted));
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
        CompareOp::Eq => order.is_some_and(Ordering::is_eq),
        CompareOp::Ne => order.is_none_or(Ordering::is_ne),
        CompareOp::Gt => order.is_some_and(Ordering::is_gt),
        CompareOp::Ge => order.is_some_and(Ordering::is_ge),
        CompareOp::Lt => order.is_some_and(Ordering::is_lt),
        CompareOp::Le => order.is_some_and(Ordering::is_le),
        CompareOp::Co | CompareOp::Sw | CompareOp::Ew => false,
    }
}

/// How many comparisons it takes to look at one value.
pub(super) fn terms(filter: &ValFilter) -> usize {
    match filter {
        ValFilter::Attr(_) => 1,
        ValFilter::Not(inner) => terms(inner),
        ValFilter::And(several) | ValFilter::Or(several) => several.iter().map(terms).sum(),
    }
}

#[cfg(test)]
mod tests {
    use scim_v2::filter::PatchPath;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_path_chooses_among_values() {
        let element = json!(
            {"type": "Work", "value": "a@b", "primary": true, "rank": 2, "display": "\u{c4}nne"}
        );
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
            ("display eq \"\u{c4}NNE\"", true),
            ("display eq \"\u{e4}nne\"", false),
            ("note pr", false),
            ("note eq null", true),
        ] {
            let Ok(PatchPath::Value(path)) = format!("emails[{filter}]").parse() else {
                panic!("{filter}")
            };
            assert_eq!(chooses(&path.filter, &element), chosen, "{filter}");
        }
    }
}
