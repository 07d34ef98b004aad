//! What one server's message means for one question, read as from somebody who may lie.

use std::{collections::HashSet, net::IpAddr, sync::Arc, time::Duration};

use hickory_net::proto::{
    dnssec::rdata::DNSSECRData,
    op::{Message, MessageType, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType, rdata::TXT},
};

/// How many TXT records one name may have.
const MOST_TEXTS: usize = 64;
/// How many records of a message may matter. An honest answer has a dozen or two that do; each one
/// more is work for whoever checks signatures (KeyTrap).
const MOST_RECORDS: usize = 100;
/// How many NSEC or NSEC3 records may deny something. An honest denial has up to three (RFC 5155,
/// 7.2); each one more has the chain of trust above it sought.
const MOST_DENIALS: usize = 8;
/// How many name servers of a zone are asked, and at how many addresses each. More would let a zone
/// have others flooded (NXNSAttack, RFC 9520).
const MOST_SERVERS: usize = 6;
pub(super) const MOST_ADDRESSES: usize = 2;

/// Why a server gave no answer, what tells most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Failure {
    /// REFUSED, NOTAUTH.
    #[error("refuses to answer")]
    Refused,
    #[error("is not responsible for the zone")]
    Lame,
    #[error("fails (SERVFAIL)")]
    ServFail,
    #[error("gives no proper answer")]
    Malformed,
    #[error("doesn't answer in time")]
    Timeout,
    #[error("can't be reached")]
    Unreachable,
    /// Where this organization's servers may not be.
    #[error("isn't asked, for it is at a private address")]
    Private,
    #[error("can't be asked, for it has no known address")]
    NoAddress,
}

/// Where the one who is asked stands.
#[derive(Clone, Copy, Debug)]
pub enum Role<'a> {
    /// It serves this zone, as far as its parent knows.
    ServerOf(&'a Name),
    /// It finds answers elsewhere.
    Resolver,
}

/// What a message says. It speaks of nothing but the name that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// There are records of the type.
    Records,
    /// The name is an alias of another one.
    Alias(Name),
    /// The name has no records of the type. How long a resolver remembers that.
    NoData(Duration),
    /// There is no such name. How long a resolver remembers that.
    NxDomain(Duration),
    /// Others serve a zone that is further down.
    Referral(Delegation),
}

/// What a server said: what it means, and those of its records that matter.
pub type Said = Result<(Reply, Arc<Message>), Failure>;

/// Who serves a zone, as its parent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    pub zone: Name,
    /// The servers in the order of their names, with those addresses that the parent may speak of.
    pub servers: Vec<(Name, Vec<IpAddr>)>,
    pub lasts: Duration,
}

impl Reply {
    /// Read `message` as the reply to `question`.
    ///
    /// # Errors
    /// It is no answer to it; what it is instead.
    pub fn read(message: &Message, question: &Query, role: Role<'_>) -> Result<Self, Failure> {
        let metadata = &message.metadata;
        if metadata.message_type != MessageType::Response
            || metadata.truncation
            || message.queries != [question.clone()]
        {
            return Err(Failure::Malformed);
        }
        let code = match metadata.response_code {
            code @ (ResponseCode::NoError | ResponseCode::NXDomain) => code,
            ResponseCode::ServFail => return Err(Failure::ServFail),
            ResponseCode::Refused | ResponseCode::NotAuth => return Err(Failure::Refused),
            _ => return Err(Failure::Malformed),
        };
        let (name, kind) = (question.name(), question.query_type());
        let speaks = match role {
            Role::ServerOf(_) => metadata.authoritative,
            Role::Resolver => metadata.recursion_available,
        };
        let own = || internet(&message.answers).filter(|record| record.name == *name);
        if own().any(|record| record.record_type() == kind) {
            return if !speaks {
                Err(Failure::Lame)
            } else if own().filter(|record| record.record_type() == kind).count() > MOST_TEXTS {
                Err(Failure::Malformed)
            } else {
                Ok(Self::Records)
            };
        }
        let mut aliases = own().filter_map(|record| match &record.data {
            RData::CNAME(target) => Some(&target.0),
            _ => None,
        });
        if let Some(target) = aliases.next() {
            return match (speaks, aliases.all(|other| other == target)) {
                (false, _) => Err(Failure::Lame),
                (true, false) => Err(Failure::Malformed),
                (true, true) => Ok(Self::Alias(target.clone())),
            };
        }
        let start = start_of_authority(message, name, role);
        match (code, start, speaks) {
            (ResponseCode::NXDomain, start, true) => Ok(Self::NxDomain(start.unwrap_or_default())),
            (ResponseCode::NoError, Some(remembered), true) => Ok(Self::NoData(remembered)),
            (ResponseCode::NoError, None, _) => referral(message, name, role),
            _ => Err(Failure::Lame),
        }
    }
}

/// Records of other classes say nothing here.
fn internet(records: &[Record]) -> impl Iterator<Item = &Record> {
    records.iter().filter(|record| record.dns_class == DNSClass::IN)
}

/// How long the absence is remembered, by an SOA that may speak of `name` (RFC 2308, 5).
fn start_of_authority(message: &Message, name: &Name, role: Role<'_>) -> Option<Duration> {
    internet(&message.authorities).find_map(|record| match &record.data {
        RData::SOA(soa)
            if record.name.zone_of(name)
                && match role {
                    Role::ServerOf(zone) => zone.zone_of(&record.name),
                    Role::Resolver => true,
                } =>
        {
            Some(Duration::from_secs(record.ttl.min(soa.minimum).into()))
        }
        _ => None,
    })
}

/// A referral leads down, towards the name, or it is none.
fn referral(message: &Message, name: &Name, role: Role<'_>) -> Result<Reply, Failure> {
    let Role::ServerOf(parent) = role else { return Err(Failure::Malformed) };
    let mut below = internet(&message.authorities).filter(|record| {
        let zone = &record.name;
        record.record_type() == RecordType::NS
            && zone != parent
            && parent.zone_of(zone)
            && zone.zone_of(name)
    });
    let Some(first) = below.next() else {
        // neither the zone's own nor anybody's below: a server that doesn't have the zone says
        // nothing, or points back up
        let own = message.metadata.authoritative;
        return Err(if own { Failure::Malformed } else { Failure::Lame });
    };
    let zone = first.name.clone();
    let mut servers: Vec<_> = std::iter::once(first)
        .chain(below.filter(|record| record.name == zone))
        .filter_map(|record| match &record.data {
            RData::NS(server) => Some(server.0.to_lowercase()),
            _ => None,
        })
        .collect();
    servers.sort_unstable();
    servers.dedup();
    servers.truncate(MOST_SERVERS);
    let with_glue = |server: Name| {
        // of names that aren't below it, the parent knows no better than anybody
        let speaks = parent.zone_of(&server);
        let glue = internet(&message.additionals);
        let glue = glue.filter(|record| speaks && record.name == server);
        let addresses = glue.filter_map(|record| record.data.ip_addr());
        let addresses = prefer_four(addresses.collect());
        (server, addresses)
    };
    Ok(Reply::Referral(Delegation {
        zone,
        lasts: Duration::from_secs(first.ttl.into()),
        servers: servers.into_iter().map(with_glue).collect(),
    }))
}

/// Keep of a message what speaks of the question: the records of its name, the DNAME that an alias may
/// follow from, what denies them, and their signatures. The rest may be long, and of anything.
///
/// # Errors
/// There is an unreasonable number of them.
pub fn keep_relevant(mut message: Message, question: &Query) -> Result<Message, Failure> {
    let (name, kind) = (question.name(), question.query_type());
    message.answers.retain(|record| {
        let of = signed_type(&record.data);
        let wanted = match of {
            RecordType::DNAME => record.name.zone_of(name) && record.name != *name,
            of => record.name == *name && (of == kind || of == RecordType::CNAME),
        };
        record.dns_class == DNSClass::IN && wanted
    });
    // A denial by another zone is none, whether that zone is signed or not. hickory believes
    // either, and its search for the name that encloses the one in question counts on never being
    // shown one.
    message.authorities.retain(|record| {
        let denies = match signed_type(&record.data) {
            RecordType::SOA => record.name.zone_of(name),
            RecordType::NSEC => true,
            RecordType::NSEC3 => record.name.base_name().zone_of(name),
            _ => false,
        };
        let ours = signer(&record.data).is_none_or(|signer| signer.zone_of(name));
        record.dns_class == DNSClass::IN && denies && ours
    });
    let signed: HashSet<_> = message
        .authorities
        .iter()
        .filter(|record| signer(&record.data).is_some_and(|signer| signer.zone_of(&record.name)))
        .map(|record| (record.name.clone(), signed_type(&record.data)))
        .collect();
    let denial =
        |record: &Record| matches!(record.record_type(), RecordType::NSEC | RecordType::NSEC3);
    message.authorities.retain(|record| {
        !denial(record) || signed.contains(&(record.name.clone(), record.record_type()))
    });
    if message.authorities.iter().filter(|record| denial(record)).count() > MOST_DENIALS {
        return Err(Failure::Malformed);
    }
    message.additionals.clear();
    let kept = message.answers.len() + message.authorities.len();
    if kept > MOST_RECORDS { Err(Failure::Malformed) } else { Ok(message) }
}

/// The type of a record, or of the records that it signs.
pub(super) fn signed_type(data: &RData) -> RecordType {
    match data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => signature.input().type_covered,
        data => data.record_type(),
    }
}

/// Which zone signed, where the record is a signature.
fn signer(data: &RData) -> Option<&Name> {
    match data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => Some(&signature.input().signer_name),
        _ => None,
    }
}

/// A few of them, IPv4 first: clusters without IPv6 to the outside are common.
pub(super) fn prefer_four(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(MOST_ADDRESSES);
    addresses
}

/// The TXT records of `name`, in the order of their text. The strings of one record are joined
/// (RFC 7208, 3.3); records never are.
pub fn texts(message: &Message, name: &Name) -> Vec<String> {
    let joined = |txt: &TXT| String::from_utf8_lossy(&txt.txt_data.concat()).into_owned();
    let own = internet(&message.answers).filter(|record| record.name == *name);
    let mut texts: Vec<_> = own
        .filter_map(|record| match &record.data {
            RData::TXT(txt) => Some(joined(txt)),
            _ => None,
        })
        .collect();
    texts.sort_unstable();
    texts
}

#[cfg(test)]
mod tests {
    use hickory_net::proto::dnssec::rdata::NSEC;
    use rollcall_kit::dns::signed::ZoneKey;

    use super::*;

    #[test]
    fn a_denial_of_unreasonably_many_records_is_none() {
        let name = |text: &str| Name::from_ascii(text).unwrap();
        let key = ZoneKey::new("acme.example").unwrap();
        let question = Query::query(name("_rollcall-challenge.acme.example."), RecordType::TXT);
        let mut message = Message::query();
        for n in 0..=MOST_DENIALS {
            let owner = format!("n{n}.acme.example.");
            let nsec = NSEC::new(name("z.acme.example."), []);
            let nsec = RData::DNSSEC(DNSSECRData::NSEC(nsec));
            let signature = key.sign(&owner, std::slice::from_ref(&nsec), Duration::ZERO).unwrap();
            let before = keep_relevant(message.clone(), &question).unwrap();
            assert_eq!(before.authorities.len(), 2 * n);
            for data in [nsec, signature] {
                message.add_authority(Record::from_rdata(name(&owner), 0, data));
            }
        }
        assert_eq!(keep_relevant(message, &question).err(), Some(Failure::Malformed));
    }
}
