//! Authorization codes and refresh tokens: each is used once, and a second use ends the session.

use jiff::Timestamp;
use uuid::Uuid;

use super::Ledger;
use crate::ledger::{
    Code, Hash, Once, RefreshToken, Result, Standing,
    db::{Tx, query, query_as},
};

type CodeRow = (Uuid, String, String, String, Option<String>, String, i64, bool);

impl Ledger {
    /// Issue an authorization code for a session. `false` if the session has ended.
    pub async fn issue_code(&self, hash: Hash, code: &Code, expires_at: Timestamp) -> Result<bool> {
        let mut tx = self.db.write.passing().await?;
        let issued = query(
            "INSERT INTO codes (hash, session_id, client_id, redirect_uri, challenge, nonce, scope,
                 expires_at)
             SELECT $1, id, $2, $3, $4, $5, $6, $7 FROM sessions WHERE id = $8",
        )
        .bind(&hash[..])
        .bind(&code.client)
        .bind(&code.redirect_uri)
        .bind(&code.challenge)
        .bind(&code.nonce)
        .bind(&code.scope)
        .bind(expires_at.as_second())
        .bind(code.session)
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(issued > 0)
    }

    /// Use a code. Whoever presents it wrongly has used it too: `grant` looks at what it was issued
    /// for and at who holds the session, and says by which hash a refresh token comes with it.
    pub async fn use_code<E>(
        &self,
        hash: Hash,
        now: Timestamp,
        grant: impl FnOnce(&Code, &Standing) -> Result<Option<Hash>, E>,
    ) -> Result<Once<Result<(Code, Standing), E>>> {
        let mut tx = self.begin().await?;
        let row: Option<CodeRow> = query_as(
            "SELECT session_id, client_id, redirect_uri, challenge, nonce, scope, expires_at, used
             FROM codes WHERE hash = $1",
        )
        .bind(&hash[..])
        .fetch_optional(&mut tx)
        .await?;
        let Some((session, client, redirect_uri, challenge, nonce, scope, expires_at, used)) = row
        else {
            return Ok(Once::Unknown);
        };
        if used {
            let ended = end_session(&mut tx, session).await?;
            tx.commit().await?;
            return Ok(ended);
        }
        query("UPDATE codes SET used = true WHERE hash = $1")
            .bind(&hash[..])
            .execute(&mut tx)
            .await?;
        // nobody else writes now, so what the readers see is how it is
        let standing = self.standing_of_session(session, now).await?;
        let outcome = match standing.filter(|_| expires_at > now.as_second()) {
            None => Once::Unknown,
            Some(standing) => {
                let code = Code { session, client, redirect_uri, challenge, nonce, scope };
                Once::Fresh(match grant(&code, &standing) {
                    Err(refused) => Err(refused),
                    Ok(refresh) => {
                        if let Some(hash) = refresh {
                            issue(&mut tx, hash, session, &code.client, &code.scope, now).await?;
                        }
                        Ok((code, standing))
                    }
                })
            }
        };
        tx.commit().await?;
        Ok(outcome)
    }

    /// Use a refresh token that was issued to `client`, and issue `next` in its place, if `permit`
    /// finds nothing against it. It stays as it is where it is another client's, where whoever
    /// holds the session has no access for now, and where it isn't permitted.
    pub async fn rotate_refresh_token<E>(
        &self,
        hash: Hash,
        client: &str,
        next: Hash,
        now: Timestamp,
        permit: impl FnOnce(&RefreshToken, &Standing) -> Result<(), E>,
    ) -> Result<Once<Result<(RefreshToken, Standing), E>>> {
        let mut tx = self.begin().await?;
        let row: Option<(Uuid, String, bool)> = query_as(
            "SELECT session_id, scope, used FROM refresh_tokens WHERE hash = $1 AND client_id = $2",
        )
        .bind(&hash[..])
        .bind(client)
        .fetch_optional(&mut tx)
        .await?;
        let Some((session, scope, used)) = row else { return Ok(Once::Unknown) };
        if used {
            let ended = end_session(&mut tx, session).await?;
            tx.commit().await?;
            return Ok(ended);
        }
        // nobody else writes now, so what the readers see is how it is
        let Some(standing) = self.standing_of_session(session, now).await? else {
            return Ok(Once::Unknown);
        };
        let token = RefreshToken { session, client: client.to_owned(), scope };
        if let Err(refused) = permit(&token, &standing) {
            return Ok(Once::Fresh(Err(refused)));
        }
        query("UPDATE refresh_tokens SET used = true WHERE hash = $1")
            .bind(&hash[..])
            .execute(&mut tx)
            .await?;
        issue(&mut tx, next, session, client, &token.scope, now).await?;
        tx.commit().await?;
        Ok(Once::Fresh(Ok((token, standing))))
    }

    /// Revoke a refresh token that was issued to `client`, with every other one that this client
    /// has of the same session (RFC 7009, section 2.1).
    pub async fn revoke_refresh_token(&self, hash: Hash, client: &str) -> Result<()> {
        query(
            "DELETE FROM refresh_tokens WHERE client_id = $1 AND session_id = (
                 SELECT session_id FROM refresh_tokens WHERE hash = $2 AND client_id = $1)",
        )
        .bind(client)
        .bind(&hash[..])
        .write(&self.db.write)
        .await?;
        Ok(())
    }
}

async fn issue(
    tx: &mut Tx,
    hash: Hash,
    session: Uuid,
    client: &str,
    scope: &str,
    now: Timestamp,
) -> Result<()> {
    query(
        "INSERT INTO refresh_tokens (hash, session_id, client_id, scope, issued_at)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(&hash[..])
    .bind(session)
    .bind(client)
    .bind(scope)
    .bind(now.as_second())
    .execute(tx)
    .await?;
    Ok(())
}

async fn end_session<T>(tx: &mut Tx, session: Uuid) -> Result<Once<T>> {
    let whose: Option<(String, Uuid)> = query_as(
        "SELECT i.organization_id, coalesce(i.person_id, i.id) FROM sessions s
         JOIN identities i ON i.id = s.identity_id WHERE s.id = $1",
    )
    .bind(session)
    .fetch_optional(&mut *tx)
    .await?;
    query("DELETE FROM sessions WHERE id = $1").bind(session).execute(tx).await?;
    Ok(whose
        .map_or(Once::Unknown, |(organization, subject)| Once::Reused { organization, subject }))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::ledger::fixture::{Acme, asserted, fresh};

    fn code(session: Uuid) -> Code {
        Code {
            session,
            client: "kubernetes".into(),
            redirect_uri: "http://127.0.0.1:1/".into(),
            challenge: "challenge".into(),
            nonce: Some("nonce".into()),
            scope: "openid".into(),
        }
    }

    /// Use a code without a refresh token coming with it.
    async fn redeem(acme: &Acme, hash: Hash, now: Timestamp) -> Once<Code> {
        let grant = |_: &Code, _: &Standing| Ok::<_, Infallible>(None);
        match acme.ledger.use_code(hash, now, grant).await.unwrap() {
            Once::Fresh(Ok((code, _))) => Once::Fresh(code),
            Once::Reused { organization, subject } => Once::Reused { organization, subject },
            Once::Unknown => Once::Unknown,
        }
    }

    /// The first refresh token of a session.
    async fn first_token(acme: &Acme, session: Uuid) -> Hash {
        let (hash, refresh) = (fresh(), fresh());
        assert!(acme.ledger.issue_code(hash, &code(session), acme.later(60)).await.unwrap());
        let grant = |_: &Code, _: &Standing| Ok::<_, Infallible>(Some(refresh));
        let used = acme.ledger.use_code(hash, acme.now, grant).await.unwrap();
        assert!(matches!(used, Once::Fresh(Ok(_))));
        refresh
    }

    async fn rotate(acme: &Acme, from: Hash, client: &str, to: Hash) -> Once<RefreshToken> {
        let permit = |_: &RefreshToken, _: &Standing| Ok::<_, Infallible>(());
        let ledger = &acme.ledger;
        match ledger.rotate_refresh_token(from, client, to, acme.now, permit).await.unwrap() {
            Once::Fresh(Ok((token, _))) => Once::Fresh(token),
            Once::Reused { organization, subject } => Once::Reused { organization, subject },
            Once::Unknown => Once::Unknown,
        }
    }

    #[tokio::test]
    async fn a_code_is_used_once_and_a_second_use_ends_the_session() {
        let acme = Acme::new().await;
        let session = acme.sign_in(&asserted("ada")).await.unwrap();
        let hash = fresh();
        assert!(acme.ledger.issue_code(hash, &code(session), acme.later(60)).await.unwrap());
        assert_eq!(redeem(&acme, hash, acme.now).await, Once::Fresh(code(session)));
        assert!(acme.stands(session).await);
        let again = redeem(&acme, hash, acme.now).await;
        assert_eq!(again, Once::Reused { organization: "id-acme".into(), subject: acme.ada });
        assert!(!acme.stands(session).await);
        assert_eq!(redeem(&acme, hash, acme.now).await, Once::Unknown);
    }

    #[tokio::test]
    async fn a_code_expires_and_ends_with_its_session() {
        let acme = Acme::new().await;
        let session = acme.sign_in(&asserted("ada")).await.unwrap();
        let (late, orphan) = (fresh(), fresh());
        for hash in [late, orphan] {
            acme.ledger.issue_code(hash, &code(session), acme.later(60)).await.unwrap();
        }
        assert_eq!(redeem(&acme, late, acme.later(60)).await, Once::Unknown);
        acme.ledger.end_session(session, session).await.unwrap();
        assert_eq!(redeem(&acme, orphan, acme.now).await, Once::Unknown);
        assert!(!acme.ledger.issue_code(fresh(), &code(session), acme.later(60)).await.unwrap());
    }

    #[tokio::test]
    async fn a_code_that_is_presented_wrongly_is_used_too() {
        let acme = Acme::new().await;
        let session = acme.sign_in(&asserted("ada")).await.unwrap();
        let hash = fresh();
        acme.ledger.issue_code(hash, &code(session), acme.later(60)).await.unwrap();
        let refuse = |_: &Code, _: &Standing| Err("wrong verifier");
        let used = acme.ledger.use_code(hash, acme.now, refuse).await.unwrap();
        assert!(matches!(used, Once::Fresh(Err("wrong verifier"))));
        assert!(matches!(redeem(&acme, hash, acme.now).await, Once::Reused { .. }));
    }

    #[tokio::test]
    async fn a_refresh_token_is_replaced_at_each_use_and_a_stolen_one_ends_the_session() {
        let acme = Acme::new().await;
        let session = acme.sign_in(&asserted("ada")).await.unwrap();
        let first = first_token(&acme, session).await;
        let (second, third) = (fresh(), fresh());
        let token = RefreshToken { session, client: "kubernetes".into(), scope: "openid".into() };
        assert_eq!(rotate(&acme, first, "argocd", second).await, Once::Unknown, "another's");
        assert_eq!(rotate(&acme, first, "kubernetes", second).await, Once::Fresh(token.clone()));
        assert_eq!(rotate(&acme, second, "kubernetes", third).await, Once::Fresh(token));
        let reused = rotate(&acme, first, "kubernetes", fresh()).await;
        assert!(matches!(reused, Once::Reused { .. }));
        assert!(!acme.stands(session).await);
        assert_eq!(rotate(&acme, third, "kubernetes", fresh()).await, Once::Unknown);
    }

    #[tokio::test]
    async fn a_revoked_refresh_token_takes_its_relatives_along() {
        let acme = Acme::new().await;
        let session = acme.sign_in(&asserted("ada")).await.unwrap();
        let first = first_token(&acme, session).await;
        rotate(&acme, first, "kubernetes", fresh()).await;
        acme.ledger.revoke_refresh_token(first, "argocd").await.unwrap();
        let clients = async || {
            let sessions = acme.ledger.sessions_beside(session, acme.now).await.unwrap();
            sessions.into_iter().flat_map(|s| s.clients).collect::<Vec<_>>()
        };
        assert_eq!(clients().await, ["kubernetes"]);
        acme.ledger.revoke_refresh_token(first, "kubernetes").await.unwrap();
        assert!(clients().await.is_empty());
        assert!(acme.stands(session).await);
    }
}
