//! The tokens that open a directory: one at a time, and while it is rotated the one before.

use jiff::Timestamp;
use uuid::Uuid;

use super::Ledger;
use crate::ledger::{
    Result,
    db::{Tx, query},
};

/// What becomes of the token before.
#[derive(Clone, Copy, Debug)]
pub struct Rotation<'a> {
    /// The token that the company IdP has.
    pub held: Uuid,
    /// Until when it still opens the directory, if it doesn't end earlier already.
    pub ends_at: Timestamp,
    /// The request that is met by the rotation.
    pub request: Option<&'a str>,
}

impl Ledger {
    /// Let `hash` alone open the directory: the tokens before it end at once.
    pub async fn replace_token(
        &self,
        directory: Uuid,
        token: Uuid,
        hash: &[u8],
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        for statement in [
            "DELETE FROM directory_tokens WHERE directory_id = $1",
            // nobody has called with the new one yet
            "UPDATE directories SET first_request_at = NULL WHERE id = $1",
        ] {
            query(statement).bind(directory).execute(&mut tx).await?;
        }
        insert(&mut tx, directory, token, hash, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Let `hash` open the directory beside the token that the company IdP has. All others end at
    /// once: none but those two is in anybody's hands.
    pub async fn rotate_token(
        &self,
        directory: Uuid,
        token: Uuid,
        hash: &[u8],
        Rotation { held, ends_at, request }: Rotation<'_>,
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        query("DELETE FROM directory_tokens WHERE directory_id = $1 AND id <> $2")
            .bind(directory)
            .bind(held)
            .execute(&mut tx)
            .await?;
        query(
            "UPDATE directory_tokens SET ends_at = CASE WHEN ends_at < $1 THEN ends_at ELSE $1 END
             WHERE id = $2",
        )
        .bind(ends_at.as_second())
        .bind(held)
        .execute(&mut tx)
        .await?;
        insert(&mut tx, directory, token, hash, now).await?;
        query("UPDATE directories SET rotation = $1 WHERE id = $2")
            .bind(request)
            .bind(directory)
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// The request for a new token is met.
    pub async fn met_rotation(&self, directory: Uuid, request: Option<&str>) -> Result<()> {
        query("UPDATE directories SET rotation = $1 WHERE id = $2")
            .bind(request)
            .bind(directory)
            .write(&self.db.write)
            .await?;
        Ok(())
    }

    /// No token opens the directory any more.
    pub async fn delete_tokens(&self, directory: Uuid) -> Result<()> {
        query("DELETE FROM directory_tokens WHERE directory_id = $1")
            .bind(directory)
            .write(&self.db.write)
            .await?;
        Ok(())
    }

    /// Forget the tokens whose time is over.
    pub async fn forget_tokens(&self, directory: Uuid, now: Timestamp) -> Result<()> {
        query("DELETE FROM directory_tokens WHERE directory_id = $1 AND ends_at <= $2")
            .bind(directory)
            .bind(now.as_second())
            .write(&self.db.write)
            .await?;
        Ok(())
    }
}

async fn insert(
    tx: &mut Tx,
    directory: Uuid,
    token: Uuid,
    hash: &[u8],
    now: Timestamp,
) -> Result<()> {
    query(
        "INSERT INTO directory_tokens (id, directory_id, hash, created_at) VALUES ($1, $2, $3, $4)",
    )
    .bind(token)
    .bind(directory)
    .bind(hash)
    .bind(now.as_second())
    .execute(tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fixture::{ACME, Acme};

    #[tokio::test]
    async fn a_rotated_token_opens_until_its_end_and_no_third_one_does() {
        let acme = Acme::new().await;
        let tokens = async || acme.ledger.directory(ACME, "okta").await.unwrap().unwrap().tokens;
        let opens = async |hash: &[u8]| {
            acme.ledger.scim_access("acme", "okta", hash).await.unwrap().is_some()
        };
        let first = tokens().await[0].id;
        let rotate = async |held, hash: &'static [u8], ends_at| {
            let (id, token) = (acme.directory, Uuid::now_v7());
            let rotation = Rotation { held, ends_at, request: None };
            acme.ledger.rotate_token(id, token, hash, rotation, acme.now).await.unwrap();
            token
        };
        let far = Timestamp::from_second(4_000_000_000).unwrap();
        // interrupted before anybody was given the second, it is done again
        rotate(first, b"second", far).await;
        let third = rotate(first, b"third", Timestamp::MAX).await;
        assert!(opens(b"token").await && opens(b"third").await && !opens(b"second").await);
        let ends: Vec<_> = tokens().await.into_iter().map(|t| (t.id, t.ends_at)).collect();
        assert!(ends.contains(&(first, Some(far))) && ends.contains(&(third, None)), "{ends:?}");
        // once more: the first one ends, whatever time it had left; the third has none left
        rotate(third, b"fourth", acme.now).await;
        assert!(!opens(b"token").await && !opens(b"third").await && opens(b"fourth").await);
        acme.ledger.forget_tokens(acme.directory, acme.now).await.unwrap();
        assert_eq!(tokens().await.len(), 1);
    }
}
