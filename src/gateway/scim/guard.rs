//! What each organization may take of this server, however many directories it has: how many
//! requests a second, how many at once, how much memory, and only one of them a costly one. And who
//! was let in just now.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
    response::Response,
};
use governor::{DefaultKeyedRateLimiter, Quota, clock::Clock};
use http_body_util::BodyExt;
use tokio::{
    sync::{OnceCell, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use uuid::Uuid;

use super::error::{Error, Result};
use crate::ledger::scim::Access;

/// Requests of a directory, per second and at once. Entra sends 25 a second.
const OF_DIRECTORY: (u32, u32) = (500, 1000);
/// The same of all directories of an organization: two at their limit, or forty that Entra fills.
const OF_ORGANIZATION: (u32, u32) = (1000, 2000);
/// Requests of an organization that are under way at once; the others wait.
pub(super) const AT_ONCE: usize = 64;
/// Refusals of an organization that are written down, per minute and at once.
const REFUSALS: (u32, u32) = (60, 60);
/// How many large bodies are in memory at once, of all organizations.
const LARGE: usize = 4;
/// How many bytes of other bodies are in memory at once, of all organizations and of one. Parsed,
/// they may take eighty times as much.
const MEMORY: (usize, usize) = (4 << 20, 512 << 10);
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a token is taken for good without another look, by a write: its commit looks again.
const TRUST: Duration = Duration::from_secs(1);
/// How long a token that was right needn't wait among strangers' to be looked up again.
const FAMILIAR: Duration = Duration::from_secs(3600);
/// How often those who are no longer familiar are forgotten.
const SWEEP: Duration = Duration::from_secs(60);
/// How many tokens that nobody was let in with lately are looked up at once. So whoever sends
/// wrong ones, as many as they like, leaves the ledger's readers to the others, and whoever comes
/// with a right one waits no longer than a queue of short looks takes.
const STRANGERS: usize = 2;
/// The same of those from where too many came. They have a queue of their own, and aren't refused: of
/// a provider that many companies use, they have the addresses of all of them.
const CROWD: usize = 1;

/// Who calls, once the token was found right.
#[derive(Clone)]
pub(super) struct Caller {
    pub access: Access,
    /// The directory's own base URL, without a slash at the end.
    pub base: String,
    stay: Arc<Stay>,
}

/// What a request has of its organization's places until its answer is with the client.
struct Stay {
    places: Arc<Places>,
    seat: OnceCell<OwnedSemaphorePermit>,
    turn: OnceCell<OwnedSemaphorePermit>,
}

/// A part of an answer, wherever it waits for a client that reads it slowly, or never.
struct Unread {
    bytes: Bytes,
    _stay: Arc<Stay>,
}

impl AsRef<[u8]> for Unread {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A place for a large body among those of all organizations, until it is dropped.
pub(super) type Place = OwnedSemaphorePermit;
/// A share of the memory, of the organization's and of all, until it is dropped.
pub(super) type Memory = [OwnedSemaphorePermit; 2];

/// How many refusals of each status left no line of their own.
pub(super) type Unsaid = BTreeMap<u16, u64>;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Guard(Arc<Inner>);

struct Inner {
    of_directory: DefaultKeyedRateLimiter<Uuid>,
    of_organization: DefaultKeyedRateLimiter<String>,
    refusals: DefaultKeyedRateLimiter<String>,
    /// By directory.
    unsaid: Mutex<HashMap<Uuid, Unsaid>>,
    /// By organization.
    places: Mutex<HashMap<String, Weak<Places>>>,
    large: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    crowd: Arc<Semaphore>,
    known: Mutex<Known>,
}

/// Who holds a token, as far as is known without looking it up.
pub(super) enum Standing {
    /// They were let in just now.
    Trusted(Access),
    /// They were let in lately.
    Familiar,
    Stranger,
}

/// Who was let in, and when.
struct Known {
    held: HashMap<Key, (Instant, Access)>,
    swept: Instant,
}

/// The places of one organization, and the ways to those of all.
pub(super) struct Places {
    any: Arc<Semaphore>,
    costly: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    large_of_all: Arc<Semaphore>,
    memory_of_all: Arc<Semaphore>,
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
        let a_second = |(n, burst)| Quota::per_second(nonzero(n)).allow_burst(nonzero(burst));
        let a_minute = |(n, burst)| Quota::per_minute(nonzero(n)).allow_burst(nonzero(burst));
        Self(Arc::new(Inner {
            of_directory: DefaultKeyedRateLimiter::keyed(a_second(OF_DIRECTORY)),
            of_organization: DefaultKeyedRateLimiter::keyed(a_second(OF_ORGANIZATION)),
            refusals: DefaultKeyedRateLimiter::keyed(a_minute(REFUSALS)),
            unsaid: Mutex::default(),
            places: Mutex::default(),
            large: places(LARGE),
            memory: places(MEMORY.0),
            strangers: places(STRANGERS),
            crowd: places(CROWD),
            known: Mutex::new(Known { held: HashMap::new(), swept: Instant::now() }),
        }))
    }

    /// Count a request of this directory.
    pub fn count(&self, directory: Uuid, organization: &str) -> Result<()> {
        count(&self.0.of_directory, &directory)?;
        count(&self.0.of_organization, &organization.to_owned())
    }

    /// Whether one more refusal of this organization is to be written down.
    pub fn notes_refusal(&self, organization: &str) -> bool {
        self.0.refusals.check_key(&organization.to_owned()).is_ok()
    }

    /// Count a refusal of this directory that leaves no line of its own; whether it is the first since
    /// they were last told of.
    pub fn leaves_unsaid(&self, directory: Uuid, status: StatusCode) -> bool {
        let mut unsaid = self.0.unsaid.lock().unwrap_or_else(PoisonError::into_inner);
        let of_directory = unsaid.entry(directory).or_default();
        let first = of_directory.is_empty();
        *of_directory.entry(status.as_u16()).or_default() += 1;
        first
    }

    /// What is to be told of.
    pub fn unsaid(&self, directory: Uuid) -> Unsaid {
        let mut unsaid = self.0.unsaid.lock().unwrap_or_else(PoisonError::into_inner);
        unsaid.remove(&directory).unwrap_or_default()
    }

    pub fn caller(&self, access: Access, base: String) -> Caller {
        let places = self.places(access.organization());
        let stay = Stay { places, seat: OnceCell::new(), turn: OnceCell::new() };
        Caller { access, base, stay: stay.into() }
    }

    pub fn standing(&self, key: &Key, now: Instant) -> Standing {
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.held.get(key).map(|(since, access)| (now.duration_since(*since), access)) {
            Some((age, access)) if age < TRUST => Standing::Trusted(access.clone()),
            Some((age, _)) if age < FAMILIAR => Standing::Familiar,
            _ => Standing::Stranger,
        }
    }

    /// Wait until a stranger's token may be looked up, who is one of a `crowd` or not.
    pub async fn stranger(&self, crowd: bool) -> Result<OwnedSemaphorePermit> {
        acquire(if crowd { &self.0.crowd } else { &self.0.strangers }, 1).await
    }

    pub fn remember(&self, key: Key, access: Access, now: Instant) {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(known.swept) >= SWEEP {
            known.held.retain(|_, (since, _)| now.duration_since(*since) < FAMILIAR);
            known.swept = now;
        }
        known.held.insert(key, (now, access));
    }

    /// This token opens nothing any more.
    pub fn forget(&self, key: &Key) {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner).held.remove(key);
    }

    fn places(&self, organization: &str) -> Arc<Places> {
        let mut all = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(organization).and_then(Weak::upgrade) {
            return known;
        }
        all.retain(|_, known| known.strong_count() > 0);
        let made = Arc::new(Places {
            any: places(AT_ONCE),
            costly: places(1),
            memory: places(MEMORY.1),
            large_of_all: self.0.large.clone(),
            memory_of_all: self.0.memory.clone(),
        });
        all.insert(organization.to_owned(), Arc::downgrade(&made));
        made
    }
}

impl Caller {
    /// Wait for one of the organization's places.
    pub async fn seat(&self) -> Result<()> {
        self.stay.seat.get_or_try_init(|| self.stay.places.seat()).await.map(drop)
    }

    /// Wait for the organization's turn to do something costly, if the request hasn't got it already.
    /// It ends with the request: an answer may be what costs most.
    pub async fn turn(&self) -> Result<()> {
        self.stay.turn.get_or_try_init(|| self.stay.places.turn()).await.map(drop)
    }

    /// Wait for the organization's turn, and for a place for a large body.
    pub async fn large(&self) -> Result<Place> {
        self.turn().await?;
        acquire(&self.stay.places.large_of_all, 1).await
    }

    /// Wait for memory for so many bytes.
    pub async fn memory(&self, bytes: usize) -> Result<Memory> {
        self.stay.places.memory(bytes).await
    }

    /// Keep what the request has until the client has read this answer to it.
    pub fn until_read(&self, response: Response) -> Response {
        let stay = self.stay.clone();
        let keep = move |bytes| Bytes::from_owner(Unread { bytes, _stay: stay.clone() });
        response.map(|body| Body::new(body.map_frame(move |frame| frame.map_data(&keep))))
    }
}

impl Places {
    async fn seat(&self) -> Result<OwnedSemaphorePermit> {
        acquire(&self.any, 1).await
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit> {
        acquire(&self.costly, 1).await
    }

    /// Wait for memory for so many bytes. Nobody holds a part of it while they wait for the rest: two
    /// could wait for each other.
    async fn memory(&self, bytes: usize) -> Result<Memory> {
        let own = acquire(&self.memory, bytes).await?;
        Ok([own, acquire(&self.memory_of_all, bytes).await?])
    }
}

fn places(n: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(n))
}

fn count<K: Clone + Eq + Hash>(limiter: &DefaultKeyedRateLimiter<K>, key: &K) -> Result<()> {
    limiter
        .check_key(key)
        .map_err(|until| Error::too_many(until.wait_time_from(limiter.clock().now()).as_secs() + 1))
}

async fn acquire(semaphore: &Arc<Semaphore>, permits: usize) -> Result<OwnedSemaphorePermit> {
    let permits = u32::try_from(permits).unwrap_or(u32::MAX);
    match timeout(PATIENCE, semaphore.clone().acquire_many_owned(permits)).await {
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
    use futures::FutureExt;

    use super::*;

    fn refused_after(most: u32, count: impl Fn() -> Result<()>) -> u32 {
        let (n, refused) = (0..=2 * most).find_map(|n| count().err().map(|e| (n, e))).unwrap();
        assert_eq!((refused.status.as_u16(), refused.retry_after), (429, Some(1)));
        n
    }

    #[test]
    fn a_directory_that_asks_too_much_is_told_when_to_come_back_and_others_are_not() {
        let (guard, [busy, other]) = (Guard::new(), [Uuid::now_v7(), Uuid::now_v7()]);
        refused_after(OF_DIRECTORY.1, || guard.count(busy, "acme"));
        guard.count(other, "acme").unwrap();
    }

    #[test]
    fn an_organization_gets_no_more_by_having_more_directories() {
        let guard = Guard::new();
        // a new directory at each request
        let n = refused_after(OF_ORGANIZATION.1, || guard.count(Uuid::now_v7(), "acme"));
        assert!(n >= OF_ORGANIZATION.1, "{n}");
        guard.count(Uuid::now_v7(), "globex").unwrap();
        let noted = (0..10 * REFUSALS.1).filter(|_| guard.notes_refusal("acme")).count();
        assert!(noted < 2 * REFUSALS.1 as usize && guard.notes_refusal("globex"), "{noted}");
    }

    #[tokio::test]
    async fn an_organization_has_one_turn_at_a_time_and_keeps_no_other_waiting() {
        let guard = Guard::new();
        let (first, second) = (guard.places("acme"), guard.places("acme"));
        let turn = first.turn().await.unwrap();
        assert!(second.turn().now_or_never().is_none());
        drop(guard.places("globex").turn().await.unwrap());
        drop(turn);
        drop(second.turn().await.unwrap());
        let seats = acquire(&first.any, AT_ONCE).await.unwrap();
        assert!(second.seat().now_or_never().is_none());
        drop(seats);
    }

    #[tokio::test]
    async fn whoever_was_let_in_lately_waits_among_no_strangers_nor_strangers_among_a_crowd() {
        let (guard, now) = (Guard::new(), Instant::now());
        let key = |hash| Key { organization: "acme".into(), directory: "okta".into(), hash };
        let (right, wrong) = (key([1; 32]), key([2; 32]));
        let access = Access::for_tests();
        guard.remember(right.clone(), access.clone(), now);
        let standing = |key: &Key, later: Duration| match guard.standing(key, now + later) {
            Standing::Trusted(_) => "trusted",
            Standing::Familiar => "familiar",
            Standing::Stranger => "stranger",
        };
        assert_eq!(standing(&right, TRUST - Duration::from_millis(1)), "trusted");
        assert_eq!(standing(&right, TRUST), "familiar");
        assert_eq!(standing(&right, FAMILIAR - TRUST), "familiar");
        assert_eq!(standing(&right, FAMILIAR), "stranger");
        assert_eq!(standing(&wrong, TRUST), "stranger");
        // another one is remembered, later: nobody is forgotten too early, nor kept for ever
        guard.remember(wrong.clone(), access.clone(), now + FAMILIAR - TRUST);
        assert_eq!(standing(&right, TRUST), "familiar");
        guard.remember(key([3; 32]), access, now + FAMILIAR + SWEEP);
        assert_eq!(standing(&right, TRUST), "stranger");
        guard.forget(&wrong);
        assert_eq!(standing(&wrong, FAMILIAR - TRUST), "stranger");
        let crowd = guard.stranger(true).await.unwrap();
        assert!(guard.stranger(true).now_or_never().is_none());
        drop(guard.stranger(false).await.unwrap());
        drop(crowd);
        drop(guard.stranger(true).await.unwrap());
    }

    #[tokio::test]
    async fn what_one_organization_sends_leaves_memory_to_the_others() {
        let guard = Guard::new();
        let (acme, globex) = (guard.places("acme"), guard.places("globex"));
        let all = acme.memory(MEMORY.1).await.unwrap();
        assert!(acme.memory(1).now_or_never().is_none());
        drop(globex.memory(MEMORY.1).await.unwrap());
        drop(all);
        drop(acme.memory(1).await.unwrap());
        assert_eq!(guard.0.memory.available_permits(), MEMORY.0);
    }
}
