//! Whose an e-mail address is. Tokens and names in Kubernetes carry it, and somebody who may write
//! their own address at their company IdP must not come in under another's.
//!
//! The directory decides. Where it says nothing of an address, it stays with who came with it
//! first. A domain leads to one connection, so that no other connection vouches for it meanwhile.

use uuid::Uuid;

use crate::ledger::{
    Asserted, NotAdmitted, Result, Rules,
    db::{Tx, query, query_as},
};

/// Let `person`, or somebody just in time, have the address that is asserted of them, or say why
/// not. Whoever had it before, and has it no longer by the directory's word, is signed out.
pub(super) async fn take(
    tx: &mut Tx,
    rules: &Rules,
    asserted: &Asserted,
    person: Option<Uuid>,
) -> Result<Result<(), NotAdmitted>> {
    let owners = owners(tx, rules.directory, &asserted.email).await?;
    if owners.iter().any(|owner| Some(*owner) != person) {
        return Ok(Err(NotAdmitted::AddressOfAnother("by the directory")));
    }
    if owners.is_empty() {
        return Ok(if had_by_another(tx, asserted).await? {
            Err(NotAdmitted::AddressOfAnother("who signed in with it before"))
        } else {
            Ok(())
        });
    }
    query(
        "DELETE FROM sessions WHERE identity_id IN (
             SELECT id FROM identities
             WHERE organization_id = $1 AND connection = $2 AND email = $3 AND subject <> $4)",
    )
    .bind(&asserted.organization)
    .bind(&asserted.connection)
    .bind(&asserted.email)
    .bind(&asserted.subject)
    .execute(tx)
    .await?;
    Ok(Ok(()))
}

/// Whose the address, with ASCII in lower case, is by the connection's directory: the one whose userName it is, else those
/// whose primary address it is. (A second account of somebody often has the address of the first.)
pub(super) async fn owners(
    tx: &mut Tx,
    directory: Option<Uuid>,
    address: &str,
) -> Result<Vec<Uuid>> {
    // lower() of a column folds ASCII alone, as the address is
    let found: Vec<(Uuid, bool)> = query_as(
        "SELECT p.id, lower(p.user_name) = $1 AS named
         FROM people p JOIN directories d ON d.id = p.directory_id AND d.deleted_at IS NULL
         WHERE p.directory_id = $2
             AND (p.email = $1 OR (p.user_name_key = $3 AND lower(p.user_name) = $1))
         ORDER BY named DESC LIMIT 2",
    )
    .bind(address)
    .bind(directory)
    .bind(address.to_lowercase())
    .fetch_all(tx)
    .await?;
    let named = found.first().is_some_and(|(_, named)| *named);
    Ok(found.into_iter().filter(|(_, also)| *also == named).map(|(id, _)| id).collect())
}

/// Whether somebody else came with it by this connection, who hasn't been removed since.
async fn had_by_another(tx: &mut Tx, asserted: &Asserted) -> Result<bool> {
    let another: Option<(Uuid,)> = query_as(
        "SELECT id FROM identities
         WHERE organization_id = $1 AND connection = $2 AND email = $3 AND subject <> $4
             AND (person_id IS NOT NULL OR directory_id IS NULL) LIMIT 1",
    )
    .bind(&asserted.organization)
    .bind(&asserted.connection)
    .bind(&asserted.email)
    .bind(&asserted.subject)
    .fetch_optional(tx)
    .await?;
    Ok(another.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{
        Admit, Matching,
        fixture::{ACME, Acme, COMPANY, asserted},
        scim::{PersonFields, Refused},
    };

    const BY_DIRECTORY: NotAdmitted = NotAdmitted::AddressOfAnother("by the directory");
    const BEFORE: NotAdmitted = NotAdmitted::AddressOfAnother("who signed in with it before");

    /// Who is called `name`, but comes with the address of `of`.
    fn under(name: &str, of: &str) -> Asserted {
        Asserted { email: format!("{of}@acme.com"), ..asserted(name) }
    }

    impl Acme {
        /// An account of this userName and address.
        async fn account(&self, user_name: &str, email: Option<&str>) -> Uuid {
            let fields = fields(user_name, email);
            self.ledger.create_person(&self.scim, &fields, self.now).await.unwrap()
        }

        async fn rename(&self, id: Uuid, user_name: &str, email: Option<&str>) {
            let change = |_: &_| Ok::<_, Refused>(Some(fields(user_name, email)));
            let renamed = self.ledger.change_person(&self.scim, id, "test", self.now, change);
            renamed.await.unwrap();
        }

        async fn email_of(&self, session: Uuid) -> String {
            self.ledger.standing_of_session(session, self.now).await.unwrap().unwrap().email
        }
    }

    fn fields(user_name: &str, email: Option<&str>) -> PersonFields {
        PersonFields {
            user_name: user_name.into(),
            external_id: None,
            email: email.map(str::to_owned),
            active: true,
            attributes: "{}".into(),
        }
    }

    #[tokio::test]
    async fn nobody_comes_in_under_the_address_of_another_person_of_the_directory() {
        let acme = Acme::new().await;
        assert_eq!(acme.sign_in(&under("grace", "ada")).await, Err(BY_DIRECTORY), "Ada is away");
        let ada = acme.sign_in(&asserted("ada")).await.unwrap();
        assert_eq!(acme.sign_in(&under("grace", "ada")).await, Err(BY_DIRECTORY));
        // nor under her userName, nor where she isn't active
        acme.rename(acme.ada, "ada@acme.com", Some("countess@acme.com")).await;
        for of in ["ada", "countess"] {
            assert_eq!(acme.sign_in(&under("grace", of)).await, Err(BY_DIRECTORY), "{of}");
        }
        acme.set_active(acme.ada, "ada", false).await;
        assert_eq!(acme.sign_in(&under("grace", "ada")).await, Err(BY_DIRECTORY));
        // nor just in time
        acme.publish(Rules { admit: Admit::JustInTime, ..acme.rules() }).await;
        assert_eq!(acme.sign_in(&under("mallory", "ada")).await, Err(BY_DIRECTORY));
        // what nobody else has may be anybody's, such as an alias
        let alias = acme.sign_in(&under("grace", "grace.hopper")).await.unwrap();
        assert_eq!(acme.email_of(alias).await, "grace.hopper@acme.com");
        assert!(!acme.stands(ada).await);
    }

    #[tokio::test]
    async fn an_address_that_the_directory_gives_to_another_goes_with_them() {
        let acme = Acme::new().await;
        let ada = acme.sign_in(&asserted("ada")).await.unwrap();
        acme.rename(acme.ada, "ada.lovelace@acme.com", Some("ada.lovelace@acme.com")).await;
        let other = acme.account("ada@acme.com", Some("ada@acme.com")).await;
        assert!(acme.stands(ada).await, "until somebody else comes with it");
        let theirs = Asserted { subject: "sub-other".into(), ..asserted("ada") };
        let session = acme.sign_in(&theirs).await.unwrap();
        let standing = acme.ledger.standing_of_session(session, acme.now).await.unwrap().unwrap();
        assert_eq!((standing.subject, standing.email.as_str()), (other, "ada@acme.com"));
        assert!(!acme.stands(ada).await, "two people under one address");
        assert_eq!(acme.sign_in(&asserted("ada")).await, Err(BY_DIRECTORY));
        let renamed = acme.sign_in(&under("ada", "ada.lovelace")).await.unwrap();
        assert_eq!(acme.email_of(renamed).await, "ada.lovelace@acme.com");
        assert!(acme.stands(session).await);
    }

    #[tokio::test]
    async fn an_address_that_the_directory_doesnt_know_stays_with_who_came_first() {
        let acme = Acme::new().await;
        acme.publish(Rules { matching: Matching::ExternalId, ..acme.rules() }).await;
        for (id, name) in [(acme.ada, "ada"), (acme.grace, "grace")] {
            let fields =
                PersonFields { external_id: Some(format!("sub-{name}")), ..fields(name, None) };
            let change = |_: &_| Ok::<_, Refused>(Some(fields.clone()));
            acme.ledger.change_person(&acme.scim, id, "test", acme.now, change).await.unwrap();
        }
        let ada = acme.sign_in(&asserted("ada")).await.unwrap();
        assert_eq!(acme.sign_in(&under("grace", "ada")).await, Err(BEFORE));
        assert!(acme.stands(ada).await);
        assert!(acme.sign_in(&asserted("ada")).await.is_ok(), "it is hers");
        // until she comes with another, or is gone
        acme.sign_in(&under("ada", "ada.lovelace")).await.unwrap();
        acme.sign_in(&under("grace", "ada")).await.unwrap();
        assert_eq!(acme.sign_in(&asserted("ada")).await, Err(BEFORE));
        acme.ledger.delete_person(&acme.scim, acme.grace, None, acme.now).await.unwrap();
        assert!(acme.sign_in(&asserted("ada")).await.is_ok());
    }

    #[tokio::test]
    async fn who_is_admitted_just_in_time_comes_under_nobody_elses_address() {
        let acme = Acme::new().await;
        let rules = Rules { admit: Admit::JustInTime, directory: None, ..acme.rules() };
        acme.publish(rules).await;
        acme.sign_in(&asserted("mallory")).await.unwrap();
        let ada = acme.sign_in(&asserted("ada")).await.unwrap();
        assert_eq!(acme.sign_in(&under("mallory", "ada")).await, Err(BEFORE));
        assert_eq!(acme.email_of(ada).await, "ada@acme.com");
    }

    #[tokio::test]
    async fn a_second_account_with_somebodys_address_keeps_them_out_of_nothing() {
        let acme = Acme::new().await;
        acme.account("adm-ada@acme.com", Some("ada@acme.com")).await;
        assert!(acme.sign_in(&asserted("ada")).await.is_ok());
        let second =
            Asserted { sign_in_name: "adm-ada@acme.com".into(), ..under("adm-ada", "ada") };
        assert_eq!(acme.sign_in(&second).await, Err(BY_DIRECTORY));
        // of two whose userName it isn't, neither has it
        for name in ["one", "two"] {
            acme.account(&format!("{name}@acme.com"), Some("shared@acme.com")).await;
        }
        for name in ["one", "two"] {
            assert_eq!(acme.sign_in(&under(name, "shared")).await, Err(BY_DIRECTORY), "{name}");
            assert!(acme.sign_in(&asserted(name)).await.is_ok());
        }
    }

    #[tokio::test]
    async fn two_connections_vouch_for_one_person_after_each_other() {
        let acme = Acme::new().await;
        acme.sign_in(&asserted("ada")).await.unwrap();
        acme.connect("second").await;
        acme.ledger.publish_connection(ACME, COMPANY, &acme.rules(), &[]).await.unwrap();
        let domains = ["acme.com".to_owned()];
        acme.ledger.publish_connection(ACME, "second", &acme.rules(), &domains).await.unwrap();
        let by = |asserted| Asserted { connection: "second".into(), ..asserted };
        let ada = acme.sign_in(&by(asserted("ada"))).await.unwrap();
        assert_eq!(acme.email_of(ada).await, "ada@acme.com");
        assert_eq!(acme.sign_in(&by(under("grace", "ada"))).await, Err(BY_DIRECTORY));
    }
}
