//! From the root down to a zone's own servers, and the question to each of them.
//!
//! Nobody in between is asked, so that no resolver's memory delays a proof, and no resolver has to be
//! trusted. Delegations are remembered for a short while; answers never are, but for those that
//! DNSSEC needs (see `dnssec`).

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{
    StreamExt,
    future::{BoxFuture, join_all},
    stream::FuturesUnordered,
};
use governor::{DefaultKeyedRateLimiter, Quota};
use hickory_net::proto::{
    op::{Message, Query},
    rr::{Name, RecordType},
};
use moka::sync::Cache;

use super::{
    reply::{Delegation, Failure, Reply, Role, Said, prefer_four},
    trip::{Server, Trip},
    wire::{Wire, nonzero},
};

/// The root servers (<https://www.iana.org/domains/root/servers>).
const ROOTS: [[u8; 4]; 13] = [
    [198, 41, 0, 4],
    [170, 247, 170, 2],
    [192, 33, 4, 12],
    [199, 7, 91, 13],
    [192, 203, 230, 10],
    [192, 5, 5, 241],
    [192, 112, 36, 4],
    [198, 97, 190, 53],
    [192, 36, 148, 17],
    [192, 58, 128, 30],
    [193, 0, 14, 129],
    [199, 7, 83, 42],
    [202, 12, 27, 33],
];
/// The same over IPv6, for clusters that have nothing else.
const ROOTS_V6: [u128; 3] = [
    0x2001_0503_ba3e_0000_0000_0000_0002_0030, // a
    0x2001_07fd_0000_0000_0000_0000_0000_0001, // k
    0x2001_0500_009f_0000_0000_0000_0000_0042, // l
];
/// How many zones lie between the root and any name that anybody uses.
const DEEPEST: usize = 12;
/// How often the name of a name server's server may have to be found to find that one.
const NESTED: u8 = 3;
/// After how long without an answer another server is asked as well.
const PATIENCE: Duration = Duration::from_millis(700);
/// How long delegations are remembered at most: those of registries, and all others.
const REMEMBERED: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(300));
const DELEGATIONS: u64 = 10_000;
/// How many questions a second the servers of one zone are asked, and how many at once.
const PER_ZONE: (u32, u32) = (50, 200);
const ZONES: usize = 10_000;

/// Who serves a zone.
#[derive(Debug)]
pub struct Zone {
    pub name: Name,
    servers: Vec<Server>,
    until: Instant,
}

/// What one server said.
#[derive(Clone, Debug)]
pub struct Heard {
    pub server: String,
    pub said: Said,
}

/// The servers of a zone, and what those said who were asked.
#[derive(Debug)]
pub struct Found {
    /// The zone that answers; none where resolvers are asked.
    pub zone: Option<Arc<Zone>>,
    pub heard: Vec<Heard>,
    /// Whether that is every server of the zone.
    pub complete: bool,
}

impl Found {
    /// The first proper answer, or why there is none.
    pub fn first(&self) -> Result<&(Reply, Arc<Message>), Failure> {
        let said = self.heard.iter().map(|heard| heard.said.as_ref());
        let mut worst = Failure::NoAddress;
        for said in said {
            match said {
                Ok(said) => return Ok(said),
                Err(failure) => worst = worst.min(*failure),
            }
        }
        Err(worst)
    }
}

pub struct Walker {
    wire: Wire,
    roots: Arc<Zone>,
    /// Where the servers that a zone names listen.
    port: u16,
    zones: Cache<Name, Arc<Zone>>,
    per_zone: DefaultKeyedRateLimiter<Name>,
}

impl Walker {
    /// Begin at `roots`, or at those of the internet where there are none.
    pub fn new(wire: Wire, roots: &[SocketAddr], port: u16) -> Self {
        let servers = match roots {
            [] => {
                let four = ROOTS.map(IpAddr::from).into_iter();
                let six = ROOTS_V6.map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits)));
                four.chain(six).map(|ip| Server::given(SocketAddr::new(ip, port))).collect()
            }
            roots => roots.iter().copied().map(Server::given).collect(),
        };
        let (rate, burst) = PER_ZONE;
        let quota = Quota::per_second(nonzero(rate)).allow_burst(nonzero(burst));
        Self {
            wire,
            roots: Arc::new(Zone { name: Name::root(), servers, until: Instant::now() }),
            port,
            zones: Cache::new(DELEGATIONS),
            per_zone: DefaultKeyedRateLimiter::keyed(quota),
        }
    }

    /// Walk down to the zone that answers for `name`, and hear one of its servers, or all of them
    /// if none answers.
    pub async fn find(&self, trip: &Trip, name: &Name, kind: RecordType) -> Found {
        self.find_nested(trip, name, kind, NESTED).await
    }

    /// Hear the other servers of that zone, too.
    pub async fn hear_the_others(&self, trip: &Trip, found: &mut Found, question: &Query) {
        // registries and the root have many servers, and are no organization's own
        let Some(zone) = found.zone.clone().filter(|zone| zone.name.num_labels() >= 2) else {
            return;
        };
        let heard = |server: &&Server| found.heard.iter().all(|h| h.server != server.label());
        let others = zone.servers.iter().filter(heard);
        let asked: Vec<_> = others.map(|server| self.ask(trip, &zone, server, question)).collect();
        found.heard.extend(join_all(asked).await);
        found.complete = true;
    }

    fn find_nested<'a>(
        &'a self,
        trip: &'a Trip,
        name: &'a Name,
        kind: RecordType,
        nested: u8,
    ) -> BoxFuture<'a, Found> {
        Box::pin(async move {
            let question = Query::query(name.clone(), kind);
            // a zone's DS records are its parent's (RFC 4035, 3.1.4.1)
            let below = if kind == RecordType::DS { name.base_name() } else { name.clone() };
            let mut zone = self.closest(&below);
            for _ in 0..DEEPEST {
                let heard = self.hear_one(trip, &zone, &question).await;
                let found = Found { zone: Some(Arc::clone(&zone)), heard, complete: false };
                match found.first() {
                    Ok((Reply::Referral(delegation), _)) => {
                        zone = self.enter(trip, delegation, nested).await;
                    }
                    _ => return found,
                }
            }
            // delegated without end
            Found { zone: Some(zone), heard: Vec::new(), complete: false }
        })
    }

    /// The closest zone at or above `name` whose servers are remembered.
    fn closest(&self, name: &Name) -> Arc<Zone> {
        let mut ancestor = name.to_lowercase();
        while !ancestor.is_root() {
            if let Some(zone) = self.zones.get(&ancestor) {
                if zone.until > Instant::now() {
                    return zone;
                }
                self.zones.invalidate(&ancestor);
            }
            ancestor = ancestor.base_name();
        }
        Arc::clone(&self.roots)
    }

    /// The servers of a delegation, with the addresses that its parent didn't tell.
    async fn enter(&self, trip: &Trip, delegation: &Delegation, nested: u8) -> Arc<Zone> {
        let zone = delegation.zone.to_lowercase();
        let servers = delegation.servers.iter().map(async |(name, glue)| {
            let addresses = if !glue.is_empty() {
                glue.clone()
            } else if zone.zone_of(name) || nested == 0 {
                Vec::new() // only the zone itself could tell
            } else {
                self.addresses(trip, name, nested - 1).await
            };
            let addresses = addresses.iter().map(|ip| SocketAddr::new(*ip, self.port)).collect();
            Server { name: Some(name.clone()), addresses, given: false }
        });
        let servers = join_all(servers).await;
        let most = if zone.num_labels() < 2 { REMEMBERED.0 } else { REMEMBERED.1 };
        let until = Instant::now() + delegation.lasts.min(most);
        let entered = Arc::new(Zone { name: zone.clone(), servers, until });
        if entered.servers.iter().any(|server| !server.addresses.is_empty()) {
            self.zones.insert(zone, Arc::clone(&entered));
        }
        entered
    }

    /// Where a name server is, by its own zone's word.
    async fn addresses(&self, trip: &Trip, name: &Name, nested: u8) -> Vec<IpAddr> {
        for kind in [RecordType::A, RecordType::AAAA] {
            let found = self.find_nested(trip, name, kind, nested).await;
            match found.first() {
                Ok((Reply::Records, message)) => {
                    let own = message.answers.iter().filter(|record| record.name == *name);
                    return prefer_four(own.filter_map(|record| record.data.ip_addr()).collect());
                }
                Ok((Reply::NoData(_), _)) => {}
                _ => return Vec::new(),
            }
        }
        Vec::new()
    }

    /// Ask the servers of a zone in any order, the next one when one fails or takes its time, until
    /// one has answered. What those said who were heard by then.
    async fn hear_one(&self, trip: &Trip, zone: &Zone, question: &Query) -> Vec<Heard> {
        let mut servers: Vec<_> = zone.servers.iter().collect();
        fastrand::shuffle(&mut servers);
        // those without an address are known to be no use
        servers.sort_by_key(|server| server.addresses.is_empty());
        let mut waiting = servers.into_iter();
        let mut asked = FuturesUnordered::new();
        let mut heard = Vec::new();
        loop {
            asked.extend(waiting.next().map(|server| self.ask(trip, zone, server, question)));
            let next = tokio::time::timeout(PATIENCE, asked.next());
            match if waiting.len() > 0 { next.await } else { Ok(asked.next().await) } {
                Ok(Some(said)) => {
                    let answered = said.said.is_ok();
                    heard.push(said);
                    if answered {
                        return heard;
                    }
                }
                Ok(None) if waiting.len() == 0 => return heard,
                Ok(None) | Err(_) => {}
            }
        }
    }

    async fn ask(&self, trip: &Trip, zone: &Zone, server: &Server, question: &Query) -> Heard {
        if zone.name.num_labels() >= 2 {
            self.per_zone.until_key_ready(&zone.name).await;
            if self.per_zone.len() > ZONES {
                self.per_zone.retain_recent();
            }
        }
        let role = Role::ServerOf(&zone.name);
        Heard { server: server.label(), said: self.wire.ask(trip, server, question, role).await }
    }
}
