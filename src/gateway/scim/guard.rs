//! What each directory may take of this server: how many requests a second, how many at once, and
//! only one of them a costly one. And who was let in just now, for writes.

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
/// Requests of a directory that are under way at once; the others wait.
const AT_ONCE: usize = 32;
/// Refusals of a directory that are written down, per minute and at once.
const REFUSALS: (u32, u32) = (60, 60);
/// How many large bodies are in memory at once, of all directories.
const LARGE: usize = 4;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a token is taken for good without another look, by a write: its commit looks again.
const TRUST: Duration = Duration::from_secs(1);

/// Who calls, once the token was found right.
#[derive(Clone)]
pub(super) struct Caller {
    pub access: Access,
    /// The directory's own base URL, without a slash at the end.
    pub base: String,
    seats: Arc<Seats>,
    large: Arc<Semaphore>,
}

/// The right to be costly, until it is dropped.
pub(super) type Place = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Guard(Arc<Inner>);

struct Inner {
    requests: DefaultKeyedRateLimiter<Uuid>,
    refusals: DefaultKeyedRateLimiter<Uuid>,
    seats: Mutex<HashMap<Uuid, Weak<Seats>>>,
    large: Arc<Semaphore>,
    known: Mutex<Known>,
}

/// Who was let in, and when.
struct Known {
    held: HashMap<Key, (Instant, Access)>,
    swept: Instant,
}

/// The places of one directory.
struct Seats {
    any: Arc<Semaphore>,
    costly: Arc<Semaphore>,
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
            seats: Mutex::default(),
            large: Arc::new(Semaphore::new(LARGE)),
            known: Mutex::new(Known { held: HashMap::new(), swept: Instant::now() }),
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
        let seats = self.seats(access.directory());
        Caller { access, base, seats, large: self.0.large.clone() }
    }

    /// Who holds this token, if they were let in just now.
    pub fn known(&self, key: &Key, now: Instant) -> Option<Access> {
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, access) = known.held.get(key)?;
        (now.duration_since(*since) < TRUST).then(|| access.clone())
    }

    pub fn remember(&self, key: Key, access: Access, now: Instant) {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(known.swept) >= TRUST {
            known.held.retain(|_, (since, _)| now.duration_since(*since) < TRUST);
            known.swept = now;
        }
        known.held.insert(key, (now, access));
    }

    fn seats(&self, directory: Uuid) -> Arc<Seats> {
        let mut all = self.0.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seats) = all.get(&directory).and_then(Weak::upgrade) {
            return seats;
        }
        all.retain(|_, seats| seats.strong_count() > 0);
        let seats = Arc::new(Seats {
            any: Arc::new(Semaphore::new(AT_ONCE)),
            costly: Arc::new(Semaphore::new(1)),
        });
        all.insert(directory, Arc::downgrade(&seats));
        seats
    }
}

impl Caller {
    /// Wait for one of the directory's places.
    pub async fn seat(&self) -> Result<OwnedSemaphorePermit> {
        acquire(&self.seats.any).await
    }

    /// Wait for the directory's turn to do something costly.
    pub async fn turn(&self) -> Result<Place> {
        Ok((acquire(&self.seats.costly).await?, None))
    }

    /// Wait for the directory's turn, and for a place for a large body.
    pub async fn large(&self) -> Result<Place> {
        let (turn, _) = self.turn().await?;
        Ok((turn, Some(acquire(&self.large).await?)))
    }
}

async fn acquire(semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    match timeout(PATIENCE, semaphore.clone().acquire_owned()).await {
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
        let (first, second) = (guard.seats(busy), guard.seats(busy));
        let turn = acquire(&first.costly).await.unwrap();
        assert!(second.costly.try_acquire().is_err());
        drop(acquire(&guard.seats(other).costly).await.unwrap());
        drop(turn);
        drop(acquire(&second.costly).await.unwrap());
        let seats = acquire(&first.any).await.unwrap();
        assert_eq!(second.any.available_permits(), AT_ONCE - 1);
        drop(seats);
    }
}
