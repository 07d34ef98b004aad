//! Numbers that would be given back as others: what is kept has the precision of a 64-bit integer or
//! float (RFC 8259 section 6), and attributes we don't know are kept as they came.

use std::iter;

/// Whether a number in this JSON wouldn't survive.
pub(super) fn altered(json: &str) -> bool {
    numbers(json).any(|number| {
        let kept = serde_json::from_str::<serde_json::Number>(number);
        let kept = kept.ok().and_then(|kept| decimal(&kept.to_string()));
        kept.is_none() || kept != decimal(number)
    })
}

/// The numbers of a JSON text.
fn numbers(json: &str) -> impl Iterator<Item = &str> {
    let mut rest = json;
    iter::from_fn(move || {
        loop {
            let start = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit())?;
            rest = &rest[start..];
            if rest.starts_with('"') {
                rest = &rest[string(rest)..];
                continue;
            }
            let end = rest.find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c)));
            let (number, after) = rest.split_at(end.unwrap_or(rest.len()));
            rest = after;
            return Some(number);
        }
    })
}

/// How long the string literal is that `text` begins with.
pub(super) fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The one written form of a number: whether it is negative, its digits without zeros at the ends,
/// and the power of ten of the last one. `None`: its exponent is beyond all bounds.
fn decimal(number: &str) -> Option<(bool, String, i64)> {
    let (negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number),
    };
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some((false, String::new(), 0));
    }
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    let places = i64::try_from(fraction.len()).ok()?;
    let exponent = exponent.parse::<i64>().ok()?.checked_add(zeros)?.checked_sub(places)?;
    Some((negative, significant.to_owned(), exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_kept_or_refused_and_never_altered() {
        for kept in [
            "0",
            "-0",
            "0.0",
            "0e99999999999999999999",
            "7",
            "-7",
            "44.5",
            "0.1",
            "1e2",
            "1E+2",
            "100.00",
            "1.5e-7",
            "1e308",
            "9223372036854775807",
            "18446744073709551615",
            "-9223372036854775808",
            "1000000000000000000000000",
            r#""12345678901234567890123""#,
            r#""\"12345678901234567890123""#,
            "null",
            "[]",
            r#"{"a1234567890123456789012345": [1, {"b": -2.5}]}"#,
        ] {
            assert!(!altered(kept), "{kept}");
        }
        for altered in [
            "12345678901234567890123",
            "-12345678901234567890123",
            "18446744073709551617",
            "0.1000000000000000055",
            "3.14159265358979323846264338",
            "5e-400",
            "1.00000000000000000001",
            r#"{"a": "x\"", "b": [1, 12345678901234567890123]}"#,
            r#"["\\", 12345678901234567890123]"#,
        ] {
            assert!(super::altered(altered), "{altered}");
        }
    }
}
