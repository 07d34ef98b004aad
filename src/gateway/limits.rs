//! How often one may ask: by address for all that belongs to signing in, by person for the address
//! they type, by address for what is refused and for unknown tokens of directories, and by connection
//! for answers that nobody awaits.
//! Each gateway counts by itself.

use std::{
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use governor::{DefaultKeyedRateLimiter, Quota, clock::Clock};
use serde_json::json;

use super::{Gateway, address::ClientAddress, pages, problem::Advice, secret};

/// Of one address, per second and at once. An office of thousands may be behind one: a sign-in
/// takes some 8 requests, a refresh one, so that 75 people a minute may sign in from one address,
/// and 3,000 programs refresh their tokens every 5 minutes.
const ADDRESS: (u32, u32) = (10, 200);
/// Of one typed address from one address, per minute and at once. Not by the typed address alone:
/// anybody could then keep anybody out.
const PERSON: (u32, u32) = (10, 10);
/// Refused requests of one address, per minute and at once: anybody can make one, and each leaves a
/// line in the audit log, which is kept for long.
const REFUSED: (u32, u32) = (30, 60);
/// Answers that nobody awaits and that leave a line in the audit log, of one connection, per minute
/// and at once: anybody can send them, from wherever they like.
const UNASKED: (u32, u32) = (1, 10);
/// Tokens of directories that nobody was let in with lately, of one address, per minute and at once.
const STRANGERS: (u32, u32) = (30, 60);
/// How often those who are back at zero are forgotten.
const SWEEP: Duration = Duration::from_secs(10);

/// The counters. Cheap to clone.
#[derive(Clone)]
pub(super) struct Limits(Arc<Counters>);

struct Counters {
    addresses: Counter<IpAddr>,
    refused: Counter<IpAddr>,
    strangers: Counter<IpAddr>,
    unasked: Counter<(String, String)>,
    people: Counter<(Option<IpAddr>, [u8; 32])>,
}

/// Somebody asks too often, and may ask again after so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany(Duration);

impl Limits {
    pub fn new() -> Self {
        let nonzero = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let address = Quota::per_second(nonzero(ADDRESS.0)).allow_burst(nonzero(ADDRESS.1));
        let per_minute = |(n, burst)| Quota::per_minute(nonzero(n)).allow_burst(nonzero(burst));
        Self(Arc::new(Counters {
            addresses: Counter::new(address),
            refused: Counter::new(per_minute(REFUSED)),
            strangers: Counter::new(per_minute(STRANGERS)),
            unasked: Counter::new(per_minute(UNASKED)),
            people: Counter::new(per_minute(PERSON)),
        }))
    }

    /// Count a request from there.
    fn address(&self, address: ClientAddress) -> Result<(), TooMany> {
        self.0.addresses.count(&address.network())
    }

    /// Count that somebody typed this e-mail address there.
    pub fn person(&self, address: Option<ClientAddress>, email: &str) -> Result<(), TooMany> {
        // a hash, so that what is typed takes no more room than this
        let email = secret::hash(&email.trim().to_lowercase());
        self.0.people.count(&(address.map(ClientAddress::network), email))
    }
}

tokio::task_local! {
    /// The counters, and where the request comes from that the task answers.
    static CALLER: (Limits, ClientAddress);
}

/// Count that the request that this task answers is refused.
pub(super) fn refusal() -> Result<(), TooMany> {
    count(|limits| &limits.0.refused)
}

/// Count that the request that this task answers has the token of a directory that nobody was let in
/// with lately.
pub(super) fn stranger() -> Result<(), TooMany> {
    count(|limits| &limits.0.strangers)
}

/// Count the request that this task answers by its address.
fn count(counter: impl Fn(&Limits) -> &Counter<IpAddr>) -> Result<(), TooMany> {
    let count =
        |(limits, address): &(Limits, ClientAddress)| counter(limits).count(&address.network());
    // without an address nobody is at the other end
    CALLER.try_with(count).unwrap_or(Ok(()))
}

/// Count an answer that nobody awaits, for a connection of this organization, if it has one.
pub(super) fn unasked(organization: Option<&str>, connection: &str) -> Result<(), TooMany> {
    let key = (organization.unwrap_or_default().to_owned(), connection.to_owned());
    CALLER.try_with(|(limits, _)| limits.0.unasked.count(&key)).unwrap_or(Ok(()))
}

/// What one kind of key did lately.
struct Counter<K: Clone + Eq + Hash> {
    limiter: DefaultKeyedRateLimiter<K>,
    swept: Mutex<Instant>,
}

impl<K: Clone + Eq + Hash> Counter<K> {
    fn new(quota: Quota) -> Self {
        Self { limiter: DefaultKeyedRateLimiter::keyed(quota), swept: Mutex::new(Instant::now()) }
    }

    fn count(&self, key: &K) -> Result<(), TooMany> {
        self.sweep(Instant::now());
        let counted = self.limiter.check_key(key);
        counted.map_err(|until| TooMany(until.wait_time_from(self.limiter.clock().now())))
    }

    /// Keeps the memory to what comes in between two sweeps, whoever thinks up addresses.
    fn sweep(&self, now: Instant) {
        let Ok(mut swept) = self.swept.try_lock() else { return };
        if now.duration_since(*swept) >= SWEEP {
            *swept = now;
            self.limiter.retain_recent();
        }
    }
}

impl TooMany {
    /// For a person.
    pub fn page(self, gateway: &Gateway) -> Response {
        self.respond(pages::problem(gateway, Advice::TooMany, None, None))
    }

    /// For a program (RFC 6749, section 5.2, has no error of its own for it).
    fn json(self) -> Response {
        self.respond(Json(json!({
            "error": "temporarily_unavailable",
            "error_description": "too many requests from this address: try again after the time that Retry-After says",
        })))
    }

    fn respond(self, body: impl IntoResponse) -> Response {
        let seconds = self.0.as_secs() + 1; // rounded up
        let headers = [(header::RETRY_AFTER, seconds.to_string())];
        (StatusCode::TOO_MANY_REQUESTS, headers, body).into_response()
    }
}

/// Count what belongs to signing in, and refuse what is too much.
pub(super) async fn limit(
    State((gateway, limits)): State<(Gateway, Limits)>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let program = path.starts_with("/oauth2/") && path != "/oauth2/authorize";
    let limited = ["/sign-in", "/sso/", "/oauth2/"].iter().any(|start| path.starts_with(start));
    // the address is that of the socket: without one nobody is at the other end
    let address = request.extensions().get::<ClientAddress>().copied();
    if let Some(address) = address.filter(|_| limited)
        && let Err(refused) = limits.address(address)
    {
        return if program { refused.json() } else { refused.page(&gateway) };
    }
    request.extensions_mut().insert(limits.clone());
    match address {
        Some(address) => CALLER.scope((limits, address), next.run(request)).await,
        None => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_are_back_at_zero_are_forgotten() {
        // back at zero after a nanosecond
        let quota = Quota::with_period(Duration::from_nanos(1)).unwrap();
        let counter = Counter::new(quota);
        for key in 0..1000 {
            counter.count(&key).unwrap();
        }
        assert_eq!(counter.limiter.len(), 1000);
        counter.sweep(Instant::now());
        assert_eq!(counter.limiter.len(), 1000, "not at every request");
        counter.sweep(Instant::now() + SWEEP);
        assert_eq!(counter.limiter.len(), 0);
    }

    #[tokio::test]
    async fn strangers_are_counted_by_address() {
        let limits = Limits::new();
        let from = async |address: &str| {
            let address = ClientAddress::from(address.parse::<IpAddr>().unwrap());
            CALLER.scope((limits.clone(), address), async { stranger() }).await
        };
        for _ in 0..STRANGERS.1 {
            from("192.0.2.1").await.unwrap();
        }
        from("192.0.2.1").await.unwrap_err();
        from("192.0.2.2").await.unwrap();
        assert_eq!(stranger(), Ok(()), "nobody is at the other end");
    }

    #[test]
    fn a_person_is_counted_by_address_and_without_regard_to_case() {
        let limits = Limits::new();
        let at = |text: &str| Some(ClientAddress::from(text.parse::<IpAddr>().unwrap()));
        for _ in 0..PERSON.1 {
            limits.person(at("192.0.2.1"), "ada@acme.com").unwrap();
        }
        let TooMany(wait) = limits.person(at("192.0.2.1"), " Ada@ACME.com").unwrap_err();
        assert!(wait <= Duration::from_secs(6), "{wait:?}");
        limits.person(at("192.0.2.2"), "ada@acme.com").unwrap();
        limits.person(at("192.0.2.1"), "bob@acme.com").unwrap();
    }
}
