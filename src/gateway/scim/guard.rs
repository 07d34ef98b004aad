//! What each directory may take of this server: how many requests a second, and that only one of
//! its requests at a time is a costly one. And who was let in just now, for writes.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use axum::{extract::FromRequestParts, http::request::Parts};
use governor::{DefaultKeyedRateLimiter, Quota, clock::Clock};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use uuid::Uuid;

use super::error::{Error, Result};
use crate::ledger::scim::Access;

/// Requests of a directory, per second and at once. Entra sends 25 a second.
const REQUESTS: (u32, u32) = (500, 1000);
/// Refusals of a directory that are written down, per minute and at once.
const REFUSALS: (u32, u32) = (60, 60);
/// How many large bodies are in memory at once, of all directories.
const LARGE: usize = 4;
/// How long a costly request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a token is taken for good without another look, by a write: its commit looks again.
const TRUST: Duration = Duration::from_secs(1);
/// From how many on those who were let in are forgotten when their time is over.
const KNOWN: usize = 1000;

/// Who calls, once the token was found right.
#[derive(Clone)]
pub(super) struct Caller {
    pub access: Access,
    /// The directory's own base URL, without a slash at the end.
    pub base: String,
    guard: Guard,
}

/// The right to be costly, until it is dropped.
pub(super) type Place = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Guard(Arc<Inner>);

struct Inner {
    requests: DefaultKeyedRateLimiter<Uuid>,
    refusals: DefaultKeyedRateLimiter<Uuid>,
    turns: Mutex<HashMap<Uuid, Weak<Semaphore>>>,
    large: Arc<Semaphore>,
    known: Mutex<HashMap<Key, (Instant, Access)>>,
}

/// Whose token it is said to be, and its hash.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub organization: String,
    pub directory: String,
    pub hash: [u8; 32],
}

impl Guard {
    pub fn new() -> Self {
        let nonzero = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let requests = Quota::per_second(nonzero(REQUESTS.0)).allow_burst(nonzero(REQUESTS.1));
        let refusals = Quota::per_minute(nonzero(REFUSALS.0)).allow_burst(nonzero(REFUSALS.1));
        Self(Arc::new(Inner {
            requests: DefaultKeyedRateLimiter::keyed(requests),
            refusals: DefaultKeyedRateLimiter::keyed(refusals),
            turns: Mutex::default(),
            large: Arc::new(Semaphore::new(LARGE)),
            known: Mutex::default(),
        }))
    }

    /// Count a request of this directory.
    pub fn count(&self, directory: Uuid) -> Result<()> {
        let requests = &self.0.requests;
        requests.check_key(&directory).map_err(|until| {
            Error::too_many(until.wait_time_from(requests.clock().now()).as_secs() + 1)
        })
    }

    /// Whether one more refusal of this directory is to be written down.
    pub fn notes_refusal(&self, directory: Uuid) -> bool {
        self.0.refusals.check_key(&directory).is_ok()
    }

    pub fn caller(&self, access: Access, base: String) -> Caller {
        Caller { access, base, guard: self.clone() }
    }

    /// Who holds this token, if they were let in just now.
    pub fn known(&self, key: &Key, now: Instant) -> Option<Access> {
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, access) = known.get(key)?;
        (now.duration_since(*since) < TRUST).then(|| access.clone())
    }

    pub fn remember(&self, key: Key, access: Access, now: Instant) {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN {
            known.retain(|_, (since, _)| now.duration_since(*since) < TRUST);
        }
        known.insert(key, (now, access));
    }

    fn turns(&self, directory: Uuid) -> Arc<Semaphore> {
        let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = turns.get(&directory).and_then(Weak::upgrade) {
            return turns;
        }
        turns.retain(|_, turns| turns.strong_count() > 0);
        let one = Arc::new(Semaphore::new(1));
        turns.insert(directory, Arc::downgrade(&one));
        one
    }
}

impl Caller {
    /// Wait for the directory's turn to do something costly.
    pub async fn turn(&self) -> Result<Place> {
        Ok((acquire(self.guard.turns(self.access.directory())).await?, None))
    }

    /// Wait for the directory's turn, and for a place for a large body.
    pub async fn large(&self) -> Result<Place> {
        let (turn, _) = self.turn().await?;
        Ok((turn, Some(acquire(self.guard.0.large.clone()).await?)))
    }
}

async fn acquire(semaphore: Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    match timeout(PATIENCE, semaphore.acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(Error::too_many(PATIENCE.as_secs())),
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        parts.extensions.get::<Self>().cloned().ok_or_else(Error::unauthorized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_asks_too_much_is_told_when_to_come_back_and_others_are_not() {
        let (guard, [busy, other]) = (Guard::new(), [Uuid::now_v7(), Uuid::now_v7()]);
        let refused = (0..=2 * REQUESTS.1).find_map(|_| guard.count(busy).err()).unwrap();
        assert_eq!((refused.status.as_u16(), refused.retry_after), (429, Some(1)));
        guard.count(other).unwrap();
    }

    #[tokio::test]
    async fn a_directory_has_one_turn_at_a_time_and_keeps_no_other_waiting() {
        let (guard, [busy, other]) = (Guard::new(), [Uuid::now_v7(), Uuid::now_v7()]);
        let turn = acquire(guard.turns(busy)).await.unwrap();
        assert!(guard.turns(busy).try_acquire_owned().is_err());
        acquire(guard.turns(other)).await.unwrap();
        drop(turn);
        acquire(guard.turns(busy)).await.unwrap();
    }
}
