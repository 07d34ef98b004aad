//! Domains and their records, for a terminal and for a zone file.

use std::fmt::Write as _;

use crate::{
    api::{
        Challenge, VerifiedDomain,
        conditions::{find, kind},
    },
    cli::printable,
};

/// How long resolvers may remember the record (RFC 1035, 3.2.1), in seconds: short, so that a
/// correction is seen soon.
const TTL: u32 = 300;
/// The longest string in a record (RFC 1035, 3.3).
const LONGEST_STRING: usize = 255;

/// How far a domain is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub verified: bool,
    /// Only an edit helps: waiting doesn't.
    pub stalled: bool,
    /// The reason of `Verified`, and its message.
    pub says: Option<(String, String)>,
}

impl State {
    pub fn of(object: &VerifiedDomain) -> Self {
        let conditions = object.status.as_ref().map_or(&[][..], |s| &s.conditions);
        let is_true = |type_| find(conditions, type_).is_some_and(|c| c.status == "True");
        let verified = find(conditions, kind::VERIFIED);
        Self {
            verified: is_true(kind::VERIFIED),
            stalled: is_true(kind::STALLED),
            says: verified.map(|c| (c.reason.clone(), c.message.clone())),
        }
    }

    /// As one line.
    pub fn line(&self, object: &VerifiedDomain) -> String {
        let domain = printable(&object.spec.domain);
        match &self.says {
            None => format!("{domain}: nothing is known yet"),
            Some((reason, message)) => {
                format!("{domain}: {}: {}", printable(reason), printable(message))
            }
        }
    }
}

/// What is asked of DNS for a domain; none before Rollcall has told it.
pub fn challenge(object: &VerifiedDomain) -> Option<&Challenge> {
    object.status.as_ref()?.challenge.as_ref()
}

/// Each domain, how far it is, and its record; then the records as lines of a zone file.
pub fn tell(objects: &[VerifiedDomain]) -> String {
    let mut text = String::new();
    let mut zone = String::new();
    for object in objects {
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        line(State::of(object).line(object));
        if let Some(challenge) = challenge(object) {
            for (name, value) in [
                ("Name", &challenge.record_name),
                ("Type", &challenge.record_type),
                ("Value", &challenge.record_value),
            ] {
                line(format!("    {name:<6} {}", printable(value)));
            }
            zone.push_str(&zone_line(challenge));
            zone.push('\n');
        }
        line(String::new());
    }
    if !zone.is_empty() {
        text.push_str("As lines of a zone file:\n\n");
        text.push_str(&zone);
    }
    text
}

/// A record as a zone file has it (RFC 1035, 5.1).
fn zone_line(challenge: &Challenge) -> String {
    let mut line = String::new();
    for byte in challenge.record_name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => line.push(byte.into()),
            other => escape(&mut line, other),
        }
    }
    write!(line, ". {TTL} IN TXT").expect("writing to a string does not fail");
    for string in challenge.record_value.as_bytes().chunks(LONGEST_STRING) {
        line.push_str(" \"");
        for &byte in string {
            match byte {
                b'"' | b'\\' => line.extend(['\\', byte.into()]),
                b' '..=b'~' => line.push(byte.into()),
                other => escape(&mut line, other),
            }
        }
        line.push('"');
    }
    line
}

fn escape(line: &mut String, byte: u8) {
    write!(line, "\\{byte:03}").expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(domain: &str, verified: (&str, &str, &str), value: &str) -> VerifiedDomain {
        let (status, reason, message) = verified;
        let condition = |type_: &str, status: &str| {
            json!({
                "type": type_, "status": status, "reason": reason, "message": message,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        };
        serde_json::from_value(json!({
            "apiVersion": "rollcall.dev/v1alpha1", "kind": "VerifiedDomain",
            "metadata": { "name": "d" }, "spec": { "domain": domain },
            "status": {
                "challenge": {
                    "recordName": format!("_rollcall-challenge.{domain}"), "recordType": "TXT",
                    "recordValue": value,
                },
                "conditions": [condition("Verified", status)],
            },
        }))
        .unwrap()
    }

    #[test]
    fn each_domain_is_listed_with_a_record_to_copy_and_a_line_for_the_zone() {
        let told = tell(&[
            object(
                "acme.com",
                ("False", "AwaitingRecord", "Publish it."),
                "rollcall-verification=1",
            ),
            object("acme.io", ("True", "RecordFound", "acme.io is verified."), "x"),
        ]);
        let expected = "\
acme.com: AwaitingRecord: Publish it.
    Name   _rollcall-challenge.acme.com
    Type   TXT
    Value  rollcall-verification=1

acme.io: RecordFound: acme.io is verified.
    Name   _rollcall-challenge.acme.io
    Type   TXT
    Value  x

As lines of a zone file:

_rollcall-challenge.acme.com. 300 IN TXT \"rollcall-verification=1\"
_rollcall-challenge.acme.io. 300 IN TXT \"x\"
";
        assert_eq!(told, expected);
    }

    #[test]
    fn a_zone_line_holds_whatever_a_value_is() {
        let line = |value: &str| zone_line(challenge(&object("a.b", ("", "", ""), value)).unwrap());
        let strings = |value: &str| line(value).split_once(" TXT ").unwrap().1.to_owned();
        assert_eq!(strings(r#"a"b\c;d"#), r#""a\"b\\c;d""#);
        assert_eq!(strings("é\n\u{7f}"), r#""\195\169\010\127""#);
        let long = "x".repeat(300);
        assert_eq!(strings(&long), format!("\"{}\" \"{}\"", &long[..255], &long[255..]));
        let odd = challenge(&object("a\n$INCLUDE", ("", "", ""), "v")).unwrap().clone();
        assert!(zone_line(&odd).starts_with(r"_rollcall-challenge.a\010\036INCLUDE. 300"));
    }

    #[test]
    fn nothing_in_a_status_steers_the_terminal() {
        let hostile = object("acme.com\u{1b}[2J", ("False", "R\r", "m\u{202e}"), "v\nName   x");
        let told = tell(&[hostile]);
        assert!(!told.contains(['\u{1b}', '\r', '\u{202e}']), "{told}");
        assert_eq!(told.lines().count(), 8, "{told}");
    }

    #[test]
    fn what_rollcall_hasnt_looked_at_says_so() {
        let mut object = object("acme.com", ("", "", ""), "");
        object.status = None;
        assert_eq!(tell(&[object]), "acme.com: nothing is known yet\n\n");
    }
}
