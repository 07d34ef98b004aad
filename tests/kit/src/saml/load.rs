//! Good responses in number, for measuring: of the sizes that companies send.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use jiff::Timestamp;

use super::{
    Attribute, Person, ServiceProvider,
    keys::Signer,
    response::{Response, Sealing},
    signature::Profile,
};

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

/// Writes `count` responses to `folder`, no two alike, each good for five minutes from `now`.
/// Returns the files.
///
/// # Errors
/// If they can't be signed or written.
pub fn write(
    folder: &Path,
    count: usize,
    size: Size,
    signer: &Arc<Signer>,
    issuer: &str,
    sp: &ServiceProvider,
    now: Timestamp,
) -> anyhow::Result<Vec<PathBuf>> {
    let profile = Profile::new(signer);
    let sealing = Sealing {
        assertion: (size != Size::ManyGroups).then(|| profile.clone()),
        response: (size != Size::Small).then_some(profile),
        ..Sealing::default()
    };
    let file = |number: usize| {
        let person = person(number, size);
        let path = folder.join(format!("{size:?}-{number}.xml"));
        let document = sealing.seal(&Response::new(issuer, sp, &person, now))?;
        fs::write(&path, document).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    };
    (0..count).map(file).collect()
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
