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
use hickory_net::proto::{
    op::{Message, Query},
    rr::{Name, RecordType},
};
use moka::sync::Cache;

use super::{
    pace::Pace,
    reply::{Delegation, Failure, Reply, Role, Said, prefer_four},
    trip::{Server, Trip, plain},
    wire::Wire,
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

impl Heard {
    fn referral(&self) -> Option<&Delegation> {
        match &self.said {
            Ok((Reply::Referral(delegation), _)) => Some(delegation),
            _ => None,
        }
    }
}

impl Found {
    /// The first proper answer, or why there is none. A referral that is still here is none: had most
    /// servers given it, it would have been followed.
    pub fn first(&self) -> Result<&(Reply, Arc<Message>), Failure> {
        let mut why = Failure::NoAddress;
        for heard in &self.heard {
            match &heard.said {
                Ok((Reply::Referral(_), _)) => why = why.min(Failure::Lame),
                Ok(said) => return Ok(said),
                Err(failure) => why = why.min(*failure),
            }
        }
        Err(why)
    }
}

pub struct Walker {
    wire: Wire,
    roots: Arc<Zone>,
    /// Where the servers that a zone names listen.
    port: u16,
    zones: Cache<Name, Arc<Zone>>,
    per_zone: Pace<Name>,
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
        Self {
            wire,
            roots: Arc::new(Zone { name: Name::root(), servers, until: Instant::now() }),
            port,
            zones: Cache::new(DELEGATIONS),
            per_zone: Pace::new(rate, burst),
        }
    }

    /// Walk down to the zone that answers for `name`, and hear one of its servers, or all of them
    /// if none answers.
    pub async fn find(&self, trip: &Trip, name: &Name, kind: RecordType) -> Found {
        self.find_nested(trip, name, kind, NESTED).await
    }

    /// Hear the other servers of that zone, too; or those of one below it, if most of them say that
    /// it has servers of its own.
    pub async fn hear_the_others(&self, trip: &Trip, found: &mut Found, question: &Query) {
        for _ in 0..DEEPEST {
            let Some(zone) = found.zone.clone().filter(|zone| !is_registry(&zone.name)) else {
                return;
            };
            self.hear_rest(trip, &zone, &mut found.heard, question).await;
            found.complete = true;
            // one of the servers has a zone below this one, too, and another knows who has it
            let Some(delegation) = agreed(&zone, &found.heard) else { return };
            let below = self.enter(trip, &delegation, NESTED).await;
            *found = Found { zone: Some(below), heard: Vec::new(), complete: false };
        }
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
                let mut heard = self.hear_one(trip, &zone, &question).await;
                let Some(delegation) = heard.iter().find_map(Heard::referral).cloned() else {
                    return Found { zone: Some(zone), heard, complete: false };
                };
                // An organization's servers may be anybody's, and each may have been forgotten, or
                // be lied for: one alone leads nowhere.
                let delegation = if is_registry(&zone.name) {
                    delegation
                } else {
                    self.hear_rest(trip, &zone, &mut heard, &question).await;
                    match agreed(&zone, &heard) {
                        Some(delegation) => delegation,
                        None => return Found { zone: Some(zone), heard, complete: true },
                    }
                };
                zone = self.enter(trip, &delegation, nested).await;
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
        // what one look had no questions left for isn't to be missed by the next
        if entered.servers.iter().all(|server| !server.addresses.is_empty()) {
            self.zones.insert(zone, Arc::clone(&entered));
        }
        entered
    }

    /// Where a name server is, by its own zone's word.
    async fn addresses(&self, trip: &Trip, name: &Name, nested: u8) -> Vec<IpAddr> {
        if !trip.may_seek_server() {
            return Vec::new();
        }
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

    /// Ask those servers of a zone that haven't been heard yet.
    async fn hear_rest(&self, trip: &Trip, zone: &Zone, heard: &mut Vec<Heard>, question: &Query) {
        let unheard = |server: &&Server| heard.iter().all(|h| h.server != server.label());
        let others = zone.servers.iter().filter(unheard);
        let asked: Vec<_> = others.map(|server| self.ask(trip, zone, server, question)).collect();
        heard.extend(join_all(asked).await);
    }

    async fn ask(&self, trip: &Trip, zone: &Zone, server: &Server, question: &Query) -> Heard {
        // everybody's looks pass through a registry's
        if !is_registry(&zone.name) {
            self.per_zone.turn(&zone.name).await;
        }
        let role = Role::ServerOf(&zone.name);
        Heard { server: server.label(), said: self.wire.ask(trip, server, question, role).await }
    }
}

/// Whether a zone is the root or a registry's: below it everybody has a zone, and it is no
/// organization's own.
fn is_registry(zone: &Name) -> bool {
    let name = plain(zone);
    let suffix = psl::suffix(name.as_bytes());
    let registry = |suffix: psl::Suffix<'_>| {
        // what is listed as private is some company's, like github.io
        suffix.as_bytes() == name.as_bytes() && suffix.typ() != Some(psl::Type::Private)
    };
    zone.is_root() || suffix.is_some_and(registry)
}

/// The zone below, with its servers, to which more than half of those that were heard point; they are
/// half of all servers at least.
///
/// A server that has the lower zone as well answers instead of pointing to itself: it counts as one
/// that does where all the lower zone's servers are the upper one's, too. Were others among them, a
/// single liar could name the honest servers together with many of his own.
fn agreed(zone: &Zone, heard: &[Heard]) -> Option<Delegation> {
    let answering = heard.iter().filter(|heard| heard.said.is_ok()).count();
    if 2 * answering < heard.len() {
        return None;
    }
    let known = |name: &Name| zone.servers.iter().find(|known| known.name.as_ref() == Some(name));
    heard.iter().filter_map(Heard::referral).find_map(|candidate| {
        let within = candidate.servers.iter().all(|(name, _)| known(name).is_some());
        let has_both = |heard: &Heard| {
            let mut servers = candidate.servers.iter();
            within && heard.said.is_ok() && servers.any(|(name, _)| plain(name) == heard.server)
        };
        let same: Vec<_> = heard
            .iter()
            .filter_map(Heard::referral)
            .filter(|other| other.zone == candidate.zone && other.servers == candidate.servers)
            .collect();
        let both = heard.iter().filter(|heard| heard.referral().is_none() && has_both(heard));
        if 2 * (same.len() + both.count()) <= answering {
            return None;
        }
        let mut delegation = candidate.clone();
        for (name, addresses) in &mut delegation.servers {
            // where they were just heard, whatever a single one says
            if let Some(server) = known(name).filter(|_| within) {
                *addresses = server.addresses.iter().map(SocketAddr::ip).collect();
            }
        }
        delegation.lasts = same.iter().map(|other| other.lasts).min().unwrap_or_default();
        Some(delegation)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_told_from_organizations() {
        for (zone, registry) in [
            (".", true),
            ("com.", true),
            ("CO.UK.", true),
            ("example.", true),
            ("acme.com.", false),
            ("acme.co.uk.", false),
            ("acme.example.", false),
            ("github.io.", false),
        ] {
            assert_eq!(is_registry(&Name::from_ascii(zone).unwrap()), registry, "{zone}");
        }
    }
}
