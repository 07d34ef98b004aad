//! Sign-ins under way. A flow belongs to the browser that began it, goes to one connection, is
//! answered once, and is finished once: by who has both that browser's cookie and what the browser
//! that brought the answer was given.

use jiff::Timestamp;
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::Ledger;
use crate::ledger::{Answered, Asserted, Awaited, Error, Flow, Hash, Result, Route};

impl Ledger {
    /// Begin a sign-in in the browser with this cookie. `request` is where it shall lead, if not
    /// to the landing page.
    pub async fn begin_flow(
        &self,
        browser: Hash,
        request: Option<&str>,
        expires_at: Timestamp,
    ) -> Result<Uuid> {
        let id = Uuid::new_v4();
        sqlx::query("INSERT INTO flows (id, browser, request, expires_at) VALUES (?, ?, ?, ?)")
            .bind(id)
            .bind(&browser[..])
            .bind(request)
            .bind(expires_at.as_second())
            .execute(&self.write)
            .await?;
        Ok(id)
    }

    /// The flow of this browser, as long as it waits for somebody to say who they are.
    pub async fn flow(&self, id: Uuid, browser: Hash, now: Timestamp) -> Result<Option<Flow>> {
        let flow: Option<(Uuid, Option<String>)> = sqlx::query_as(
            "SELECT id, request FROM flows
             WHERE id = ? AND browser = ? AND expires_at > ? AND asserted IS NULL",
        )
        .bind(id)
        .bind(&browser[..])
        .bind(now.as_second())
        .fetch_optional(&self.read)
        .await?;
        Ok(flow.map(|(id, request)| Flow { id, request }))
    }

    /// Send a flow to a connection, under a fresh state. One that was sent before is sent anew, and
    /// its earlier answer is no longer awaited. `false` if this browser has no such flow.
    pub async fn route_flow(
        &self,
        id: Uuid,
        browser: Hash,
        route: &Route,
        state: Hash,
        challenge: &str,
        now: Timestamp,
    ) -> Result<bool> {
        let routed = sqlx::query(
            "UPDATE flows SET organization_id = c.organization_id, connection = c.name,
                 state = ?, challenge = ?
             FROM (SELECT organization_id, name FROM connections
                   WHERE organization_id = ? AND name = ? AND withdrawn = 0) c
             WHERE id = ? AND browser = ? AND expires_at > ? AND asserted IS NULL",
        )
        .bind(&state[..])
        .bind(challenge)
        .bind(&route.organization)
        .bind(&route.connection)
        .bind(id)
        .bind(&browser[..])
        .bind(now.as_second())
        .execute(&self.write)
        .await?;
        Ok(routed.rows_affected() > 0)
    }

    /// The flow that awaits an answer with this state.
    pub async fn awaited(&self, state: Hash, now: Timestamp) -> Result<Option<Awaited>> {
        let row: Option<(Uuid, Vec<u8>, String, String, String)> = sqlx::query_as(
            "SELECT id, browser, organization_id, connection, challenge FROM flows
             WHERE state = ? AND expires_at > ? AND asserted IS NULL",
        )
        .bind(&state[..])
        .bind(now.as_second())
        .fetch_optional(&self.read)
        .await?;
        row.map(|(id, browser, organization, connection, challenge)| {
            let browser = browser.try_into().map_err(|_| Error::Corrupt("flow"))?;
            Ok(Awaited { id, browser, organization, connection, challenge })
        })
        .transpose()
    }

    /// Take the answer to a flow, once. `seen` is the assertion that must not have been presented
    /// before, and until when that must be known; `continuation` is what the browser that brought
    /// the answer is given. `false`: the flow is no longer awaited, or the assertion is not new.
    pub async fn answer_flow(
        &self,
        flow: Uuid,
        seen: Option<(Hash, Timestamp)>,
        asserted: &Asserted,
        continuation: Hash,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        if let Some((hash, until)) = seen
            && !see(&mut tx, hash, until).await?
        {
            return Ok(false);
        }
        let answered = sqlx::query(
            "UPDATE flows SET state = NULL, challenge = NULL, asserted = ?, continuation = ?
             WHERE id = ? AND state IS NOT NULL AND asserted IS NULL AND expires_at > ?",
        )
        .bind(to_json(asserted)?)
        .bind(&continuation[..])
        .bind(flow)
        .bind(now.as_second())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(answered.rows_affected() > 0)
    }

    /// Keep an answer that nobody here asked for, for the browser that brought it. `false`: the
    /// assertion is not new.
    pub async fn answer_unasked(
        &self,
        route: &Route,
        seen: (Hash, Timestamp),
        asserted: &Asserted,
        (browser, continuation): (Hash, Hash),
        expires_at: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        if !see(&mut tx, seen.0, seen.1).await? {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO flows (id, browser, organization_id, connection, asserted, continuation,
                 expires_at)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(Uuid::new_v4())
        .bind(&browser[..])
        .bind(&route.organization)
        .bind(&route.connection)
        .bind(to_json(asserted)?)
        .bind(&continuation[..])
        .bind(expires_at.as_second())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Finish a flow, once: for the browser that began it, with what the browser that brought the
    /// answer was given. Anybody else finishes nothing, and leaves it as it is.
    pub async fn finish_flow(
        &self,
        continuation: Hash,
        browser: Hash,
        now: Timestamp,
    ) -> Result<Option<Answered>> {
        let row: Option<(Option<String>, String, String, String)> = sqlx::query_as(
            "DELETE FROM flows
             WHERE continuation = ? AND browser = ? AND expires_at > ? AND asserted IS NOT NULL
             RETURNING request, organization_id, connection, asserted",
        )
        .bind(&continuation[..])
        .bind(&browser[..])
        .bind(now.as_second())
        .fetch_optional(&self.write)
        .await?;
        row.map(|(request, organization, connection, asserted)| {
            let asserted =
                serde_json::from_str(&asserted).map_err(|_| Error::Corrupt("assertion"))?;
            Ok(Answered { request, organization, connection, asserted })
        })
        .transpose()
    }
}

/// Whether the assertion is presented for the first time.
async fn see(tx: &mut SqliteConnection, hash: Hash, until: Timestamp) -> Result<bool> {
    let first = sqlx::query(
        "INSERT INTO seen_assertions (hash, expires_at) VALUES (?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(&hash[..])
    .bind(until.as_second().saturating_add(1)) // fractions of a second are cut
    .execute(tx)
    .await?;
    Ok(first.rows_affected() > 0)
}

fn to_json(asserted: &Asserted) -> Result<String> {
    serde_json::to_string(asserted).map_err(|_| Error::Corrupt("assertion"))
}
