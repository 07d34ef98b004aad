//! `rollcall people`: is somebody active, since when, in which groups and teams.

use std::fmt::Write as _;

use super::printable;
use crate::ledger::Person;

/// Tell of `people`, who were found for `who` in `organization`.
pub fn tell(people: &[Person], who: &str, organization: &str) -> String {
    if people.is_empty() {
        let who = printable(who);
        return format!("{organization} has nobody with the e-mail or user name {who}.\n");
    }
    let mut text = String::new();
    let list = |names: &[String]| {
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    for person in people {
        let state = if person.active { "active" } else { "deactivated" };
        let lines = [
            ("Person", format!("{} ({})", person.user_name, person.id)),
            ("E-mail", person.email.clone().unwrap_or_else(|| "none".into())),
            ("Directory", format!("{organization}/{}", person.directory)),
            ("State", format!("{state} since {}", person.active_since)),
            ("Groups", list(&person.groups)),
            ("Teams", list(&person.teams)),
        ];
        for (name, value) in lines {
            let value = printable(&value);
            writeln!(text, "{name:<10} {value}").expect("writing to a string does not fail");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use uuid::Uuid;

    #[test]
    fn what_a_directory_says_cannot_steer_the_terminal() {
        let eve = Person {
            id: Uuid::nil(),
            directory: "okta".into(),
            user_name: "eve\u{1b}[1A\u{1b}[2K".into(),
            email: Some("eve@acme.example\nState      active".into()),
            active: false,
            active_since: Timestamp::UNIX_EPOCH,
            groups: vec!["\u{202e}snimda".into()],
            teams: vec![],
        };
        let text = tell(&[eve], "eve", "acme");
        assert_eq!(text.lines().count(), 6, "{text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    }

    #[test]
    fn a_deactivated_person_is_shown_with_their_groups_and_no_teams() {
        let ada = Person {
            id: Uuid::nil(),
            directory: "okta".into(),
            user_name: "ada@acme.example".into(),
            email: None,
            active: false,
            active_since: Timestamp::UNIX_EPOCH,
            groups: vec!["Engineering".into()],
            teams: vec![],
        };
        let text = tell(&[ada], "ada@acme.example", "acme");
        assert!(text.contains("State      deactivated since 1970-01-01T00:00:00Z"), "{text}");
        assert!(text.contains("Groups     Engineering"), "{text}");
        assert!(text.contains("Teams      none"), "{text}");
        assert!(tell(&[], "bob", "acme").contains("nobody"));
    }
}
