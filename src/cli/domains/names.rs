//! Domains as people paste them, and the names of their objects.

use std::fmt::Write as _;

use aws_lc_rs::digest;

use crate::{
    cli::printable,
    dns::{Claimable, DomainName},
};

/// The longest name of an object that can be a label's value, too.
const LONGEST: usize = 63;
/// How much of a name too long is kept, before a hyphen and what tells it from others.
const KEPT: usize = 52;

/// The domains in what was typed, each once, in that order.
///
/// # Errors
/// What is wrong with each of those that can't be claimed under any class, one line for each.
pub fn read(typed: &[String]) -> Result<Vec<DomainName>, String> {
    let separates = |c: char| c == ',' || c == ';' || c.is_whitespace();
    let (mut names, mut wrong) = (Vec::new(), Vec::new());
    for text in typed.iter().flat_map(|text| text.split(separates)).filter(|t| !t.is_empty()) {
        let name = DomainName::parse(text).map_err(|error| error.to_string());
        let checked = name.and_then(|name| match Claimable::by_any_class(&name) {
            Ok(()) => Ok(name),
            Err(refusal) => Err(refusal.to_string()),
        });
        match checked {
            Ok(name) if names.contains(&name) => {}
            Ok(name) => names.push(name),
            Err(says) => wrong.push(format!("{}: {says}", printable(text))),
        }
    }
    match (wrong.is_empty(), names.is_empty()) {
        (false, _) => Err(wrong.join("\n")),
        (true, true) => Err("name at least one domain, like acme.com".into()),
        (true, false) => Ok(names),
    }
}

/// The name of a domain's object: always the same, another for each domain, and readable. A dot is
/// a hyphen, a hyphen is two.
pub fn object_name(domain: &DomainName) -> String {
    let name = domain.as_str().replace('-', "--").replace('.', "-");
    if name.len() <= LONGEST {
        return name;
    }
    let digest = digest::digest(&digest::SHA256, domain.as_str().as_bytes());
    let mut short = name[..KEPT].trim_end_matches('-').to_owned();
    short.push('-');
    for byte in &digest.as_ref()[..(LONGEST - KEPT - 1) / 2] {
        write!(short, "{byte:02x}").expect("writing to a string does not fail");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_texts(typed: &[&str]) -> Result<Vec<String>, String> {
        let typed: Vec<_> = typed.iter().map(|&text| text.to_owned()).collect();
        read(&typed).map(|names| names.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn domains_are_taken_as_people_paste_them() {
        let pasted = ["acme.com,acme.io", " ACME.com;\n bücher.example\t", ",mail.acme.com,"];
        let expected = ["acme.com", "acme.io", "xn--bcher-kva.example", "mail.acme.com"];
        assert_eq!(read_texts(&pasted).unwrap(), expected);
    }

    #[test]
    fn one_that_is_wrong_refuses_all_and_each_says_why() {
        let wrong =
            read_texts(&["acme.com", "ada@acme.io,co.uk", "gmail.com\u{1b}[2J", "gmail.com"]);
        let wrong = wrong.unwrap_err();
        let lines: Vec<_> = wrong.lines().collect();
        assert_eq!(lines.len(), 4, "{wrong}");
        assert!(lines[0].contains("write the domain alone, acme.io"), "{wrong}");
        assert!(lines[1].starts_with("co.uk: anybody may register"), "{wrong}");
        assert!(lines[2].starts_with("gmail.com\\u{1b}[2J: "), "{wrong}");
        assert!(lines[3].contains("anybody gets a mailbox there"), "{wrong}");
        assert!(read_texts(&["", ", ,"]).unwrap_err().contains("at least one"));
    }

    #[test]
    fn each_domain_has_an_object_name_of_its_own_that_stays() {
        let named = |text: &str| object_name(&DomainName::parse(text).unwrap());
        assert_eq!(named("acme.com"), "acme-com");
        assert_eq!(named("acme-labs.example"), "acme--labs-example");
        assert_ne!(named("acme-co.uk"), named("acme.co.uk"));
        assert_eq!(named("bücher.example"), "xn----bcher--kva-example");
        let long = |label: &str| named(&format!("{label}.{}.example", "a".repeat(60)));
        assert_eq!(long("x"), long("x"));
        assert_ne!(long("x"), long("y"));
        for label in ["x", "a-b-c", "b-".repeat(30).trim_end_matches('-')] {
            let name = long(label);
            assert!(name.len() <= LONGEST && !name.ends_with('-'), "{name}");
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(name.chars().all(fits), "{name}");
        }
    }
}
