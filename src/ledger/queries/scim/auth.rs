//! Who may speak for a directory.

use jiff::Timestamp;
use uuid::Uuid;

use super::Refused;
use crate::ledger::{
    Result, Topic,
    db::{On, can_hold, query, query_as, query_scalar},
    queries::{Ledger, note_change},
};

/// Proof that the caller holds a token of this directory. Only [`Ledger::scim_access`] makes one.
#[derive(Clone, Debug)]
pub struct Access {
    directory: Uuid,
    organization: String,
    name: String,
    token: Uuid,
    called_before: bool,
}

/// SQL: whether a token still opens its directory at a time. All three are values bound.
macro_rules! open {
    ($token:literal, $directory:literal, $now:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM directory_tokens t JOIN directories d ON d.id = t.directory_id
             WHERE t.id = ",
            $token,
            " AND d.id = ",
            $directory,
            " AND d.deleted_at IS NULL AND (t.ends_at IS NULL OR t.ends_at > ",
            $now,
            "))"
        )
    };
}
pub(super) use open;

impl Access {
    pub fn directory(&self) -> Uuid {
        self.directory
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self {
            directory: Uuid::nil(),
            organization: "acme".into(),
            name: "okta".into(),
            token: Uuid::nil(),
            called_before: true,
        }
    }

    /// The organization's id, not its namespace.
    pub fn organization(&self) -> &str {
        &self.organization
    }

    /// The name of the DirectorySync.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who it is, for the audit log: the directory, and by which of its tokens.
    pub fn actor(&self) -> String {
        format!("{}{}", self.actors(), token_tag(self.token))
    }

    /// The same, of all tokens of the directory together.
    pub fn actors(&self) -> String {
        format!("scim:{}", self.name)
    }

    pub(super) fn token(&self) -> Uuid {
        self.token
    }

    /// That the caller is let in still, for what writes nothing.
    pub(super) async fn still_open(&self, on: impl Into<On<'_>>) -> Result<(), Refused> {
        let open: bool = query_scalar(concat!("SELECT ", open!("$1", "$2", "$3")))
            .bind(self.token)
            .bind(self.directory)
            .bind(Timestamp::now().as_second())
            .fetch_one(on)
            .await?;
        if open { Ok(()) } else { Err(Refused::Closed) }
    }
}

/// What the audit log calls a token: the end of its id, which tells it from others made at that time.
pub fn token_tag(id: Uuid) -> String {
    let [.., a, b, c, d] = id.into_bytes();
    format!("#{:08x}", u32::from_be_bytes([a, b, c, d]))
}

impl Ledger {
    /// Let in who holds a token of the DirectorySync `name` of the organization in the namespace
    /// `organization`. `hash` is the token's SHA-256. `None` doesn't say what was wrong.
    pub async fn scim_access(
        &self,
        organization: &str,
        name: &str,
        hash: &[u8],
    ) -> Result<Option<Access>> {
        if !can_hold(organization) || !can_hold(name) {
            return Ok(None);
        }
        let tokens: Vec<(Uuid, String, bool, Uuid, Vec<u8>)> = query_as(
            "SELECT d.id, d.organization_id, d.first_request_at IS NOT NULL, t.id, t.hash
             FROM organizations o
             JOIN directories d ON d.organization_id = o.id AND d.deleted_at IS NULL
             JOIN directory_tokens t ON t.directory_id = d.id
             WHERE o.name = $1 AND d.name = $2 AND (t.ends_at IS NULL OR t.ends_at > $3)",
        )
        .bind(organization)
        .bind(name)
        .bind(Timestamp::now().as_second())
        .fetch_all(&self.db.read)
        .await?;
        let held = tokens.into_iter().find(|(.., stored)| {
            aws_lc_rs::constant_time::verify_slices_are_equal(stored, hash).is_ok()
        });
        Ok(held.map(|(directory, organization, called_before, token, _)| Access {
            directory,
            organization,
            name: name.to_owned(),
            token,
            called_before,
        }))
    }

    /// Keep when the directory was first called with the right token; not where that has ended since
    /// the caller was let in. Costs nothing after that.
    pub async fn note_first_request(&self, access: &mut Access, now: Timestamp) -> Result<()> {
        if access.called_before {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        let first = query(concat!(
            "UPDATE directories SET first_request_at = $1
             WHERE id = $2 AND first_request_at IS NULL AND ",
            open!("$3", "$2", "$4")
        ))
        .bind(now.as_second())
        .bind(access.directory)
        .bind(access.token)
        .bind(Timestamp::now().as_second())
        .execute(&mut tx)
        .await?;
        if first > 0 {
            note_change(&mut tx, Topic::Directory, &access.organization, &access.name).await?;
        }
        tx.commit().await?;
        access.called_before = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::ledger::{
        Rotation,
        fixture::{ACME, Acme, person},
    };

    use super::*;

    #[tokio::test]
    async fn the_audit_log_tells_by_which_of_two_tokens_somebody_wrote() {
        let acme = Acme::new().await;
        let held = acme.scim.token();
        let new: Uuid = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let ends_at = Timestamp::MAX;
        let rotation = Rotation { held, ends_at, request: None };
        acme.ledger.rotate_token(acme.directory, new, b"new", rotation, acme.now).await.unwrap();
        let other = acme.ledger.scim_access("acme", "okta", b"new").await.unwrap().unwrap();
        for (access, name) in [(&acme.scim, "zoe"), (&other, "yan")] {
            acme.ledger.create_person(access, &person(name, true), acme.now).await.unwrap();
        }
        let lines = acme.ledger.audit_log("acme", None, 2).await.unwrap();
        assert_eq!(lines[0].actor, "scim:okta#099a8057");
        let held = held.to_string();
        assert_eq!(lines[1].actor, format!("scim:okta#{}", &held[held.len() - 8..]));
    }

    #[tokio::test]
    async fn a_first_request_counts_only_while_its_token_opens_the_directory() {
        let mut acme = Acme::new().await;
        let first = async |acme: &Acme| {
            acme.ledger.directory(ACME, "okta").await.unwrap().unwrap().first_request_at
        };
        let mut late = acme.ledger.scim_access("acme", "okta", b"token").await.unwrap().unwrap();
        acme.ledger.replace_token(acme.directory, Uuid::now_v7(), b"new", acme.now).await.unwrap();
        let before = acme.ledger.latest_change().await.unwrap();
        acme.ledger.note_first_request(&mut late, acme.now).await.unwrap();
        assert_eq!(first(&acme).await, None);
        assert_eq!(acme.ledger.latest_change().await.unwrap(), before);
        acme.scim = acme.ledger.scim_access("acme", "okta", b"new").await.unwrap().unwrap();
        acme.ledger.note_first_request(&mut acme.scim, acme.now).await.unwrap();
        assert_eq!(first(&acme).await, Some(acme.now));
    }
}
