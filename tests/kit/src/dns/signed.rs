//! Signatures over a zone's records (DNSSEC), good and bad ones.

use std::time::Duration;

use anyhow::Context;
use hickory_server::proto::{
    dnssec::{
        Algorithm, DnssecSigner, SigningKey,
        crypto::EcdsaSigningKey,
        rdata::{DNSKEY, DNSSECRData, RRSIG},
    },
    rr::{DNSClass, Name, RData, Record, RecordSet},
};
use time::OffsetDateTime;

use super::{Dns, TTL};

const HOUR: Duration = Duration::from_secs(3600);

/// The key of a zone, which is both of its keys in one.
pub struct ZoneKey {
    zone: Name,
    signer: DnssecSigner,
    dnskey: DNSKEY,
}

impl ZoneKey {
    /// Makes one for `zone`.
    ///
    /// # Errors
    /// If it is no name, or no key can be made.
    pub fn new(zone: &str) -> anyhow::Result<Self> {
        let zone = Name::from_ascii(format!("{}.", zone.trim_end_matches('.')))?;
        let algorithm = Algorithm::ECDSAP256SHA256;
        let key = EcdsaSigningKey::generate_pkcs8(algorithm)?;
        let key = EcdsaSigningKey::from_pkcs8(&key, algorithm)?;
        let dnskey = DNSKEY::from_key(&key.to_public_key()?);
        let signer = DnssecSigner::new(dnskey.clone(), Box::new(key), zone.clone(), HOUR);
        Ok(Self { zone, signer, dnskey })
    }

    /// The key as a line of a file of trust anchors.
    pub fn trust_anchor(&self) -> String {
        format!("{} IN DNSKEY {}\n", self.zone, self.dnskey)
    }

    /// Publishes the key, signed by itself.
    ///
    /// # Errors
    /// If it can't sign.
    pub fn publish(&self, dns: &Dns) -> anyhow::Result<()> {
        dns.set(&self.zone.to_ascii(), self.records()?)
    }

    /// The key, signed by itself.
    ///
    /// # Errors
    /// If it can't sign.
    pub fn records(&self) -> anyhow::Result<Vec<RData>> {
        let key = RData::DNSSEC(DNSSECRData::DNSKEY(self.dnskey.clone()));
        let signature = self.sign(&self.zone.to_ascii(), std::slice::from_ref(&key), HOUR / 2)?;
        Ok(vec![key, signature])
    }

    /// A signature over these records of `name` that holds for an hour, which began so long ago.
    ///
    /// # Errors
    /// If `name` is no name, there are no records, or the key can't sign.
    pub fn sign(&self, name: &str, records: &[RData], ago: Duration) -> anyhow::Result<RData> {
        let name = Name::from_ascii(format!("{}.", name.trim_end_matches('.')))?;
        let first = records.first().context("nothing to sign")?;
        let mut set = RecordSet::with_ttl(name.clone(), first.record_type(), TTL);
        let records = records.iter().cloned();
        set.set_records(records.map(|data| Record::from_rdata(name.clone(), TTL, data)).collect());
        let began = OffsetDateTime::now_utc() - ago;
        let signature = RRSIG::from_rrset(&set, DNSClass::IN, began, &self.signer)?;
        Ok(RData::DNSSEC(DNSSECRData::RRSIG(signature)))
    }
}
