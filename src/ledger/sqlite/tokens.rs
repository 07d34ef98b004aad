//! Authorization codes and refresh tokens: each is used once, and a second use ends the session.

use jiff::Timestamp;
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::Ledger;
use crate::ledger::{Code, Hash, Once, RefreshToken, Result};

impl Ledger {
    /// Issue an authorization code for a session. `false` if the session has ended.
    pub async fn issue_code(&self, hash: Hash, code: &Code, expires_at: Timestamp) -> Result<bool> {
        let issued = sqlx::query(
            "INSERT INTO codes (hash, session_id, client_id, redirect_uri, challenge, nonce, scope,
                 expires_at)
             SELECT ?, id, ?, ?, ?, ?, ?, ? FROM sessions WHERE id = ?",
        )
        .bind(&hash[..])
        .bind(&code.client)
        .bind(&code.redirect_uri)
        .bind(&code.challenge)
        .bind(&code.nonce)
        .bind(&code.scope)
        .bind(expires_at.as_second())
        .bind(code.session)
        .execute(&self.write)
        .await?;
        Ok(issued.rows_affected() > 0)
    }

    /// Use a code. Whoever presents it wrongly has used it too.
    pub async fn use_code(&self, hash: Hash, now: Timestamp) -> Result<Once<Code>> {
        let mut tx = self.begin().await?;
        let row: Option<(Uuid, String, String, String, Option<String>, String, i64, bool)> =
            sqlx::query_as(
                "SELECT session_id, client_id, redirect_uri, challenge, nonce, scope, expires_at,
                     used
                 FROM codes WHERE hash = ?",
            )
            .bind(&hash[..])
            .fetch_optional(&mut *tx)
            .await?;
        let Some((session, client, redirect_uri, challenge, nonce, scope, expires_at, used)) = row
        else {
            return Ok(Once::Unknown);
        };
        let outcome = if used {
            end_session(&mut tx, session).await?
        } else {
            sqlx::query("UPDATE codes SET used = 1 WHERE hash = ?")
                .bind(&hash[..])
                .execute(&mut *tx)
                .await?;
            if expires_at > now.as_second() {
                Once::Fresh(Code { session, client, redirect_uri, challenge, nonce, scope })
            } else {
                Once::Unknown
            }
        };
        tx.commit().await?;
        Ok(outcome)
    }

    /// Issue the first refresh token of a client. `false` if the session has ended.
    pub async fn issue_refresh_token(
        &self,
        hash: Hash,
        token: &RefreshToken,
        now: Timestamp,
    ) -> Result<bool> {
        issue(&mut *self.write.acquire().await?, hash, token, now).await
    }

    /// Use a refresh token that was issued to `client`, and issue `next` in its place. One of
    /// another client is unknown to this one, and stays as it is.
    pub async fn rotate_refresh_token(
        &self,
        hash: Hash,
        client: &str,
        next: Hash,
        now: Timestamp,
    ) -> Result<Once<RefreshToken>> {
        let mut tx = self.begin().await?;
        let row: Option<(Uuid, String, bool)> = sqlx::query_as(
            "SELECT session_id, scope, used FROM refresh_tokens WHERE hash = ? AND client_id = ?",
        )
        .bind(&hash[..])
        .bind(client)
        .fetch_optional(&mut *tx)
        .await?;
        let Some((session, scope, used)) = row else { return Ok(Once::Unknown) };
        let outcome = if used {
            end_session(&mut tx, session).await?
        } else {
            sqlx::query("UPDATE refresh_tokens SET used = 1 WHERE hash = ?")
                .bind(&hash[..])
                .execute(&mut *tx)
                .await?;
            let token = RefreshToken { session, client: client.to_owned(), scope };
            issue(&mut tx, next, &token, now).await?;
            Once::Fresh(token)
        };
        tx.commit().await?;
        Ok(outcome)
    }

    /// Revoke a refresh token that was issued to `client`, with every other one that this client
    /// has of the same session (RFC 7009, section 2.1).
    pub async fn revoke_refresh_token(&self, hash: Hash, client: &str) -> Result<()> {
        sqlx::query(
            "DELETE FROM refresh_tokens WHERE client_id = ?1 AND session_id = (
                 SELECT session_id FROM refresh_tokens WHERE hash = ?2 AND client_id = ?1)",
        )
        .bind(client)
        .bind(&hash[..])
        .execute(&self.write)
        .await?;
        Ok(())
    }
}

async fn issue(
    tx: &mut SqliteConnection,
    hash: Hash,
    token: &RefreshToken,
    now: Timestamp,
) -> Result<bool> {
    let issued = sqlx::query(
        "INSERT INTO refresh_tokens (hash, session_id, client_id, scope, issued_at)
         SELECT ?, id, ?, ?, ? FROM sessions WHERE id = ?",
    )
    .bind(&hash[..])
    .bind(&token.client)
    .bind(&token.scope)
    .bind(now.as_second())
    .bind(token.session)
    .execute(tx)
    .await?;
    Ok(issued.rows_affected() > 0)
}

async fn end_session<T>(tx: &mut SqliteConnection, session: Uuid) -> Result<Once<T>> {
    let whose: Option<(String, Uuid)> = sqlx::query_as(
        "SELECT i.organization_id, coalesce(i.person_id, i.id) FROM sessions s
         JOIN identities i ON i.id = s.identity_id WHERE s.id = ?",
    )
    .bind(session)
    .fetch_optional(&mut *tx)
    .await?;
    sqlx::query("DELETE FROM sessions WHERE id = ?").bind(session).execute(tx).await?;
    Ok(whose
        .map_or(Once::Unknown, |(organization, subject)| Once::Reused { organization, subject }))
}
