//! Good responses in number, for measuring: of the sizes that companies send.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{
    Attribute, Person, ServiceProvider,
    keys::Signer,
    response::{Response, Sealing},
    signature::Profile,
};

/// How long they are good: longer than measuring takes.
const LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// A kind of response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// About 4 KB, the assertion signed.
    Small,
    /// About 6 KB, response and assertion signed.
    DoublySigned,
    /// About 30 KB with 150 groups, the response signed.
    ManyGroups,
}

impl Size {
    pub const ALL: [Self; 3] = [Self::Small, Self::DoublySigned, Self::ManyGroups];

    /// What it is called in a table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Small => "4 KB",
            Self::DoublySigned => "6 KB, signed twice",
            Self::ManyGroups => "30 KB, 150 groups",
        }
    }

    /// Whether the response has a signature of its own.
    pub fn response_signed(self) -> bool {
        self != Self::Small
    }

    /// Whether the assertion has.
    pub fn assertion_signed(self) -> bool {
        self != Self::ManyGroups
    }
}

/// Makes `count` responses, no two alike, each good for an hour from `now`.
///
/// # Errors
/// If they can't be signed.
pub fn documents(
    count: usize,
    size: Size,
    signer: &Arc<Signer>,
    issuer: &str,
    sp: &ServiceProvider,
    now: Timestamp,
) -> anyhow::Result<Vec<String>> {
    let profile = Profile::new(signer);
    let sealing = Sealing {
        assertion: size.assertion_signed().then(|| profile.clone()),
        response: size.response_signed().then_some(profile),
        ..Sealing::default()
    };
    let document = |number: usize| {
        let mut response = Response::new(issuer, sp, &person(number, size), now);
        let assertion = &mut response.assertion;
        assertion.not_on_or_after = Some(now + LIFETIME);
        assertion.confirmation.not_on_or_after = Some(now + LIFETIME);
        sealing.seal(&response)
    };
    (0..count).map(document).collect()
}

fn person(number: usize, size: Size) -> Person {
    let mut person = Person::new(
        &format!("subject-{number:06}"),
        &format!("person{number}@acme.example"),
        &format!("Person {number}"),
    );
    let groups: Vec<String> = match size {
        Size::ManyGroups => (0..150)
            .map(|group| {
                format!(
                    "CN=team-{group:03}-members-of-the-platform-and-its-services,OU=Groups,\
                     OU=Engineering,OU=Europe,DC=corp,DC=acme,DC=example"
                )
            })
            .collect(),
        _ => (0..6).map(|group| format!("team-{group}")).collect(),
    };
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    person.attributes.truncate(2);
    person.attributes.push(Attribute::new("groups", &groups));
    person
}
