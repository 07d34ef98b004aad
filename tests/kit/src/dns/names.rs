//! What the DNS server knows, and the truthful answers that follow from it.

use std::{collections::HashMap, iter};

use hickory_server::proto::{
    dnssec::rdata::DNSSECRData,
    op::ResponseCode,
    rr::{LowerName, Name, RData, Record, RecordType, rdata::CNAME},
};

use super::{Mode, TTL};

/// As in a resolver: further than this no chain of aliases is followed.
const LONGEST_ALIAS_CHAIN: usize = 8;

/// What is known, by name.
#[derive(Default)]
pub(super) struct Names {
    records: HashMap<LowerName, Vec<RData>>,
    /// For each name how many of `records` are at or below it.
    at_or_below: HashMap<LowerName, usize>,
    pub(super) modes: HashMap<LowerName, Mode>,
    /// The zones that others serve.
    pub(super) delegations: HashMap<LowerName, Referral>,
}

/// Who serves a zone: NS records, and the addresses of those servers.
#[derive(Clone, Debug, Default)]
pub(super) struct Referral {
    pub(super) servers: Vec<Record>,
    pub(super) glue: Vec<Record>,
}

/// A truthful answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) code: ResponseCode,
    pub(super) records: Vec<Record>,
    pub(super) referral: Option<Referral>,
}

impl Names {
    pub(super) fn set(&mut self, name: LowerName, records: Vec<RData>) {
        if self.records.insert(name.clone(), records).is_none() {
            for ancestor in with_ancestors(&name) {
                *self.at_or_below.entry(ancestor).or_default() += 1;
            }
        }
    }

    pub(super) fn remove(&mut self, name: &LowerName) {
        if self.records.remove(name).is_none() {
            return;
        }
        for ancestor in with_ancestors(name) {
            if let Some(count) = self.at_or_below.get_mut(&ancestor) {
                *count -= 1;
                if *count == 0 {
                    self.at_or_below.remove(&ancestor);
                }
            }
        }
    }

    pub(super) fn mode(&self, name: &LowerName) -> Mode {
        with_ancestors(name)
            .find_map(|ancestor| self.modes.get(&ancestor).copied())
            .unwrap_or_default()
    }

    pub(super) fn answer(&self, name: &LowerName, kind: RecordType) -> Answer {
        let mut answer = Answer::default();
        // the DS records of a zone are its parent's
        let above = usize::from(kind == RecordType::DS);
        answer.referral =
            with_ancestors(name).skip(above).find_map(|z| self.delegations.get(&z).cloned());
        if answer.referral.is_some() {
            return answer;
        }
        let mut name = name.clone();
        for _ in 0..LONGEST_ALIAS_CHAIN {
            let Some(found) = self.find(&name) else {
                answer.code = ResponseCode::NXDomain;
                break;
            };
            let owner = Name::from(name.clone());
            let record = |data: &RData| Record::from_rdata(owner.clone(), TTL, data.clone());
            let alias = found.iter().find_map(|data| match data {
                RData::CNAME(CNAME(target)) if kind != RecordType::CNAME => Some((data, target)),
                _ => None,
            });
            let Some((data, target)) = alias else {
                let wanted = found.iter().filter(|data| signs_or_is(data, kind));
                answer.records.extend(wanted.map(record));
                break;
            };
            answer.records.push(record(data));
            name = LowerName::from(target.clone());
        }
        answer
    }

    /// The records of a name; `None` if there is no such name (RFC 4592 for wildcards: one counts
    /// only where the name that was asked for, and those between, don't exist).
    fn find(&self, name: &LowerName) -> Option<&[RData]> {
        if let Some(records) = self.records.get(name) {
            return Some(records);
        }
        if self.at_or_below.contains_key(name) {
            return Some(&[]);
        }
        let encloser = with_ancestors(name)
            .skip(1)
            .find(|ancestor| ancestor.is_root() || self.at_or_below.contains_key(ancestor))?;
        let wildcard = Name::from_ascii("*").ok()?.append_domain(&Name::from(encloser)).ok()?;
        self.records.get(&LowerName::from(wildcard)).map(Vec::as_slice)
    }
}

/// Whether a record is of this type, or a signature of one that is.
fn signs_or_is(data: &RData, kind: RecordType) -> bool {
    match data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => signature.input().type_covered == kind,
        data => data.record_type() == kind,
    }
}

/// The name, its parent, and so on to the root.
fn with_ancestors(name: &LowerName) -> impl Iterator<Item = LowerName> {
    iter::successors(Some(name.clone()), |name| (!name.is_root()).then(|| name.base_name()))
}
