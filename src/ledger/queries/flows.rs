//! Sign-ins under way. A flow belongs to the browser that began it, goes to one connection, is
//! answered once, and is finished once: by who has both that browser's cookie and what the browser
//! that brought the answer was given.

use jiff::Timestamp;
use uuid::Uuid;

use super::Ledger;
use crate::ledger::{
    Answered, Asserted, Awaited, Error, Flow, Hash, Result, Route,
    db::{Tx, query, query_as},
};

/// Refused answers to one flow.
const MAX_REFUSALS: i64 = 5;

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
        let mut tx = self.db.write.passing().await?;
        query("INSERT INTO flows (id, browser, request, expires_at) VALUES ($1, $2, $3, $4)")
            .bind(id)
            .bind(&browser[..])
            .bind(request)
            .bind(expires_at.as_second())
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(id)
    }

    /// The flow of this browser, as long as it waits for somebody to say who they are.
    pub async fn flow(&self, id: Uuid, browser: Hash, now: Timestamp) -> Result<Option<Flow>> {
        let flow: Option<(Uuid, Option<String>)> = query_as(
            "SELECT id, request FROM flows
             WHERE id = $1 AND browser = $2 AND expires_at > $3 AND asserted IS NULL",
        )
        .bind(id)
        .bind(&browser[..])
        .bind(now.as_second())
        .fetch_optional(&self.db.read)
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
        let mut tx = self.db.write.passing().await?;
        let routed = query(
            "UPDATE flows SET organization_id = c.organization_id, connection = c.name,
                 state = $1, challenge = $2
             FROM (SELECT organization_id, name FROM connections
                   WHERE organization_id = $3 AND name = $4 AND NOT withdrawn) c
             WHERE id = $5 AND browser = $6 AND expires_at > $7 AND asserted IS NULL",
        )
        .bind(&state[..])
        .bind(challenge)
        .bind(&route.organization)
        .bind(&route.connection)
        .bind(id)
        .bind(&browser[..])
        .bind(now.as_second())
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(routed > 0)
    }

    /// End a flow that needs no answer. `false`: it has ended already, or has its answer.
    pub async fn end_flow(&self, id: Uuid, now: Timestamp) -> Result<bool> {
        let ended =
            query("DELETE FROM flows WHERE id = $1 AND expires_at > $2 AND asserted IS NULL")
                .bind(id)
                .bind(now.as_second())
                .write(&self.db.write)
                .await?;
        Ok(ended > 0)
    }

    /// The flow that awaits an answer with this state.
    pub async fn awaited(&self, state: Hash, now: Timestamp) -> Result<Option<Awaited>> {
        let row: Option<(Uuid, Vec<u8>, String, String, String)> = query_as(
            "SELECT id, browser, organization_id, connection, challenge FROM flows
             WHERE state = $1 AND expires_at > $2 AND asserted IS NULL",
        )
        .bind(&state[..])
        .bind(now.as_second())
        .fetch_optional(&self.db.read)
        .await?;
        row.map(|(id, browser, organization, connection, challenge)| {
            let browser = browser.try_into().map_err(|_| Error::Corrupt("flow"))?;
            Ok(Awaited { id, state, browser, organization, connection, challenge })
        })
        .transpose()
    }

    /// Count an answer to a flow that was refused. After the fifth the flow is over.
    pub async fn refuse_answer(&self, awaited: &Awaited) -> Result<()> {
        let mut tx = self.begin().await?;
        query("UPDATE flows SET refusals = refusals + 1 WHERE id = $1 AND state = $2")
            .bind(awaited.id)
            .bind(&awaited.state[..])
            .execute(&mut tx)
            .await?;
        query("DELETE FROM flows WHERE id = $1 AND refusals >= $2")
            .bind(awaited.id)
            .bind(MAX_REFUSALS)
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Take the answer to a flow, once. `seen` is the assertion that must not have been presented
    /// before, and until when that must be known; `continuation` is what the browser that brought
    /// the answer is given. `false`: the flow no longer awaits an answer with this state, having
    /// perhaps been sent elsewhere while the answer was verified, or the assertion is not new.
    pub async fn answer_flow(
        &self,
        awaited: &Awaited,
        seen: Option<(Hash, Timestamp)>,
        asserted: &Asserted,
        continuation: Hash,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.db.write.passing().await?;
        if let Some((hash, until)) = seen
            && !see(&mut tx, hash, until).await?
        {
            return Ok(false);
        }
        let answered = query(
            "UPDATE flows SET state = NULL, challenge = NULL, asserted = $1, continuation = $2
             WHERE id = $3 AND state = $4 AND asserted IS NULL AND expires_at > $5",
        )
        .bind(to_json(asserted)?)
        .bind(&continuation[..])
        .bind(awaited.id)
        .bind(&awaited.state[..])
        .bind(now.as_second())
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(answered > 0)
    }

    /// Keep an answer that nobody here asked for, for the browser that brought it. `false`: the
    /// assertion is not new.
    pub async fn answer_unasked(
        &self,
        seen: (Hash, Timestamp),
        asserted: &Asserted,
        (browser, continuation): (Hash, Hash),
        expires_at: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.db.write.passing().await?;
        if !see(&mut tx, seen.0, seen.1).await? {
            return Ok(false);
        }
        query(
            "INSERT INTO flows (id, browser, organization_id, connection, asserted, continuation,
                 expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(Uuid::new_v4())
        .bind(&browser[..])
        .bind(&asserted.organization)
        .bind(&asserted.connection)
        .bind(to_json(asserted)?)
        .bind(&continuation[..])
        .bind(expires_at.as_second())
        .execute(&mut tx)
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
        let mut tx = self.db.write.passing().await?;
        let row: Option<(Option<String>, String)> = query_as(
            "DELETE FROM flows
             WHERE continuation = $1 AND browser = $2 AND expires_at > $3 AND asserted IS NOT NULL
             RETURNING request, asserted",
        )
        .bind(&continuation[..])
        .bind(&browser[..])
        .bind(now.as_second())
        .fetch_optional(&mut tx)
        .await?;
        tx.commit().await?;
        row.map(|(request, asserted)| {
            let asserted =
                serde_json::from_str(&asserted).map_err(|_| Error::Corrupt("assertion"))?;
            Ok(Answered { request, asserted })
        })
        .transpose()
    }
}

/// Whether the assertion is presented for the first time.
async fn see(tx: &mut Tx, hash: Hash, until: Timestamp) -> Result<bool> {
    let first = query(
        "INSERT INTO seen_assertions (hash, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    )
    .bind(&hash[..])
    .bind(until.as_second().saturating_add(1)) // fractions of a second are cut
    .execute(tx)
    .await?;
    Ok(first > 0)
}

fn to_json(asserted: &Asserted) -> Result<String> {
    serde_json::to_string(asserted).map_err(|_| Error::Corrupt("assertion"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fixture::{ACME, Acme, COMPANY, asserted, fresh};

    fn company() -> Route {
        Route { organization: ACME.into(), namespace: "acme".into(), connection: COMPANY.into() }
    }

    /// A flow of `browser` that awaits an answer with the returned state.
    async fn sent(acme: &Acme, browser: Hash) -> Hash {
        let id = acme.ledger.begin_flow(browser, Some("{}"), acme.later(900)).await.unwrap();
        let state = fresh();
        let route = company();
        let sent = acme.ledger.route_flow(id, browser, &route, state, "request", acme.now).await;
        assert!(sent.unwrap());
        state
    }

    #[tokio::test]
    async fn only_the_browser_that_began_finishes_and_only_with_what_the_answer_brought() {
        let acme = Acme::new().await;
        let (browser, continuation) = (fresh(), fresh());
        let state = sent(&acme, browser).await;
        let awaited = acme.ledger.awaited(state, acme.now).await.unwrap().unwrap();
        assert_eq!((awaited.browser, awaited.challenge.as_str()), (browser, "request"));
        let ada = asserted("ada");
        let answer = async |continuation| {
            acme.ledger.answer_flow(&awaited, None, &ada, continuation, acme.now).await.unwrap()
        };
        assert!(answer(continuation).await);
        assert!(!answer(fresh()).await, "it is answered once");
        assert_eq!(acme.ledger.awaited(state, acme.now).await.unwrap(), None);
        let finish = async |c, b| acme.ledger.finish_flow(c, b, acme.now).await.unwrap();
        assert_eq!(finish(continuation, fresh()).await, None, "another browser");
        assert_eq!(finish(fresh(), browser).await, None, "another answer");
        let answered = finish(continuation, browser).await.unwrap();
        assert_eq!((answered.asserted, answered.request.as_deref()), (ada, Some("{}")));
        assert_eq!(finish(continuation, browser).await, None, "it is finished once");
    }

    #[tokio::test]
    async fn an_assertion_is_taken_once() {
        let acme = Acme::new().await;
        let seen = (fresh(), acme.later(300));
        for (fits, times) in [(true, "first"), (false, "second")] {
            let state = sent(&acme, fresh()).await;
            let awaited = acme.ledger.awaited(state, acme.now).await.unwrap().unwrap();
            let ada = asserted("ada");
            let took = acme.ledger.answer_flow(&awaited, Some(seen), &ada, fresh(), acme.now).await;
            assert_eq!(took.unwrap(), fits, "{times}");
        }
        let hashes = (fresh(), fresh());
        let ada = asserted("ada");
        let unasked = acme.ledger.answer_unasked(seen, &ada, hashes, acme.later(9)).await;
        assert!(!unasked.unwrap());
    }

    #[tokio::test]
    async fn a_flow_ends_with_its_time_and_with_its_connection() {
        let acme = Acme::new().await;
        let (browser, continuation) = (fresh(), fresh());
        let state = sent(&acme, browser).await;
        assert!(acme.ledger.awaited(state, acme.later(899)).await.unwrap().is_some());
        assert_eq!(acme.ledger.awaited(state, acme.later(900)).await.unwrap(), None);
        let awaited = acme.ledger.awaited(state, acme.now).await.unwrap().unwrap();
        let ada = asserted("ada");
        let answered = acme.ledger.answer_flow(&awaited, None, &ada, continuation, acme.now).await;
        assert!(answered.unwrap());
        acme.ledger.delete_connection(ACME, COMPANY).await.unwrap();
        acme.publish(acme.rules()).await;
        let finished = acme.ledger.finish_flow(continuation, browser, acme.now).await.unwrap();
        assert_eq!(finished, None);
    }

    #[tokio::test]
    async fn an_answer_doesnt_reach_a_flow_that_was_sent_elsewhere_meanwhile() {
        let acme = Acme::new().await;
        acme.connect("second").await;
        let (browser, first, second) = (fresh(), fresh(), fresh());
        let id = acme.ledger.begin_flow(browser, None, acme.later(900)).await.unwrap();
        let send = async |connection: &str, state| {
            let route = Route { connection: connection.into(), ..company() };
            let sent = acme.ledger.route_flow(id, browser, &route, state, "r", acme.now).await;
            assert!(sent.unwrap());
            acme.ledger.awaited(state, acme.now).await.unwrap().unwrap()
        };
        let answer = async |awaited, asserted: &Asserted| {
            acme.ledger.answer_flow(awaited, None, asserted, fresh(), acme.now).await.unwrap()
        };
        // an answer of the first connection is being verified while the flow goes to the second
        let slow = send(COMPANY, first).await;
        let awaited = send("second", second).await;
        assert!(!answer(&slow, &asserted("ada")).await);
        let ada = Asserted { connection: "second".into(), ..asserted("ada") };
        assert!(answer(&awaited, &ada).await);
    }

    #[tokio::test]
    async fn a_flow_ends_after_some_answers_that_are_refused() {
        let acme = Acme::new().await;
        let state = sent(&acme, fresh()).await;
        for refused in 0..MAX_REFUSALS {
            let awaited = acme.ledger.awaited(state, acme.now).await.unwrap();
            let awaited = awaited.unwrap_or_else(|| panic!("after {refused}"));
            acme.ledger.refuse_answer(&awaited).await.unwrap();
        }
        assert_eq!(acme.ledger.awaited(state, acme.now).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_flow_is_shown_and_sent_for_its_own_browser_alone() {
        let acme = Acme::new().await;
        let browser = fresh();
        let id = acme.ledger.begin_flow(browser, None, acme.later(900)).await.unwrap();
        assert!(acme.ledger.flow(id, browser, acme.now).await.unwrap().is_some());
        assert_eq!(acme.ledger.flow(id, fresh(), acme.now).await.unwrap(), None);
        let send = async |browser, state| {
            acme.ledger.route_flow(id, browser, &company(), state, "r", acme.now).await.unwrap()
        };
        assert!(!send(fresh(), fresh()).await);
        let (first, second) = (fresh(), fresh());
        assert!(send(browser, first).await && send(browser, second).await);
        assert_eq!(acme.ledger.awaited(first, acme.now).await.unwrap(), None, "sent anew");
        assert!(acme.ledger.awaited(second, acme.now).await.unwrap().is_some());
        acme.ledger.withdraw_connection(ACME, COMPANY).await.unwrap();
        assert!(!send(browser, fresh()).await, "nobody signs in by it now");
    }

    #[tokio::test]
    async fn what_has_expired_is_forgotten() {
        let acme = Acme::new().await;
        let (hash, browser) = (fresh(), fresh());
        let take = async || {
            let state = sent(&acme, browser).await;
            let awaited = acme.ledger.awaited(state, acme.now).await.unwrap().unwrap();
            let seen = Some((hash, acme.later(300)));
            acme.ledger.answer_flow(&awaited, seen, &asserted("ada"), fresh(), acme.now).await
        };
        assert!(take().await.unwrap());
        let session = acme.sign_in(&asserted("ada")).await.unwrap();
        acme.ledger.purge_expired(acme.later(299)).await.unwrap();
        assert!(!take().await.unwrap() && acme.stands(session).await);
        acme.ledger.purge_expired(acme.later(3600)).await.unwrap();
        assert!(take().await.unwrap() && !acme.stands(session).await);
    }
}
