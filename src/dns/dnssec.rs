//! Whether an answer is what the zone's owner signed (RFC 4035). hickory does the checking; here is
//! where the keys come from, and what is told of the outcome.

use std::{
    panic::AssertUnwindSafe,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt, stream::BoxStream};
use hickory_net::{
    DnsError, NetError,
    dnssec::DnssecDnsHandle,
    proto::{
        dnssec::{Proof, TrustAnchors},
        op::{DnsRequest, DnsRequestOptions, DnsResponse, Message, Query},
        rr::{Name, RData, Record, RecordType},
        serialize::binary::BinDecodable,
        serialize::txt::trust_anchor::{Entry, Parser},
    },
    runtime::TokioRuntimeProvider,
    xfer::{DnsHandle, FirstAnswer},
};
use moka::sync::Cache;

use super::{
    reply::{Failure, Reply, signed_type},
    source::{SettingsError, Source},
    trip::Trip,
};

/// How long a zone's keys are remembered at most, how many answers, and how long each may be (bytes).
const REMEMBERED: Duration = Duration::from_secs(300);
const KEYS: u64 = 2_000;
const LONGEST: usize = 8192;
/// How many questions one check may put, remembered answers included: those are quick, but a zone
/// that leads from each to many others would keep the checker busy for ever (KeyTrap).
const QUESTIONS: usize = 150;

/// What DNSSEC says of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// It is signed as it must be, or its zone is provably unsigned, or nobody said what to trust.
    Good,
    /// It is forged, or the zone is signed wrongly.
    Bogus,
    /// Keys or proofs couldn't be had.
    Unknown(Failure),
}

/// The keys that are trusted, and those that follow from them.
pub struct Validator {
    anchors: Arc<TrustAnchors>,
    /// The names that the anchors are for.
    below: Vec<Name>,
    keys: Cache<Query, (Instant, Arc<Message>)>,
}

impl Validator {
    /// Trust the keys of `file`, or those of the internet's root.
    ///
    /// # Errors
    /// The file can't be read as DNSKEY records.
    pub fn new(file: Option<&Path>) -> Result<Self, SettingsError> {
        let (anchors, below) = match file {
            None => (TrustAnchors::default(), vec![Name::root()]),
            Some(file) => {
                let bad = |error: String| SettingsError::TrustAnchors { file: file.into(), error };
                let text = std::fs::read_to_string(file)
                    .map_err(|error| SettingsError::File { file: file.into(), error })?;
                let entries = Parser::new(text).parse().map_err(|error| bad(error.to_string()))?;
                let mut anchors = TrustAnchors::empty();
                let mut below = Vec::new();
                for entry in entries {
                    let Entry::DNSKEY(record) = entry else { continue };
                    let mut name = record.name().clone();
                    name.set_fqdn(true);
                    anchors.insert_with_name(record.data().public_key(), (&name).into());
                    below.push(name);
                }
                (anchors, below)
            }
        };
        Ok(Self { anchors: Arc::new(anchors), below, keys: Cache::new(KEYS) })
    }

    /// Check what was said to `question`. Keys are sought where answers come from.
    pub async fn check(
        self: &Arc<Self>,
        source: &Arc<Source>,
        trip: &Arc<Trip>,
        question: &Query,
        message: &Message,
    ) -> Validity {
        if !self.below.iter().any(|anchor| anchor.zone_of(question.name())) {
            return Validity::Good;
        }
        // hickory doesn't know that nobody signs an alias that a DNAME makes (RFC 6672, 5.3.3)
        if let Some((question, message)) = behind(question, message) {
            let signed = |proof| proof == Proof::Secure;
            match self.prove(source, trip, &question, &message, signed).await {
                Validity::Bogus => {} // of an unsigned zone
                validity => return validity,
            }
        }
        let good = |proof| matches!(proof, Proof::Secure | Proof::Insecure);
        self.prove(source, trip, question, message, good).await
    }

    async fn prove(
        self: &Arc<Self>,
        source: &Arc<Source>,
        trip: &Arc<Trip>,
        question: &Query,
        message: &Message,
        is_good: fn(Proof) -> bool,
    ) -> Validity {
        let chain = Chain {
            validator: Arc::clone(self),
            source: Arc::clone(source),
            trip: Arc::clone(trip),
            given: Arc::new((question.clone(), message.clone())),
            left: Arc::new(AtomicUsize::new(QUESTIONS)),
            trouble: Arc::default(),
        };
        let trouble = Arc::clone(&chain.trouble);
        let handle = DnssecDnsHandle::with_trust_anchor(chain, Arc::clone(&self.anchors));
        let mut options = DnsRequestOptions::default();
        options.use_edns = true;
        options.edns_set_dnssec_ok = true;
        let check = handle.lookup(question.clone(), options).first_answer();
        // hickory is careful, but this is much code on what strangers send
        let Ok(checked) = AssertUnwindSafe(check).catch_unwind().await else {
            return Validity::Unknown(Failure::Malformed);
        };
        let good = match checked {
            Ok(response) => response
                .answers
                .iter()
                .filter(|record| record.record_type() != RecordType::RRSIG)
                .all(|record| is_good(record.proof)),
            // NSEC3 with so many iterations that it isn't computed counts as unsigned (RFC 9276)
            Err(NetError::Dns(DnsError::Nsec { proof, .. })) => proof == Proof::Insecure,
            Err(_) => false,
        };
        let trouble = *trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (good, trouble) {
            (true, _) => Validity::Good,
            (false, Some(failure)) => Validity::Unknown(failure),
            (false, None) => Validity::Bogus,
        }
    }
}

/// The DNAME that the alias in `message` follows from, if that isn't signed and does: as a question of
/// its own, and what was said to that.
fn behind(question: &Query, message: &Message) -> Option<(Query, Message)> {
    let name = question.name();
    let of = |wanted| move |record: &&Record| signed_type(&record.data) == wanted;
    let mut alias = message.answers.iter().filter(of(RecordType::CNAME));
    let target = match (&alias.next()?.data, alias.next()) {
        (RData::CNAME(target), None) => &target.0,
        _ => return None,
    };
    let mut dnames = message.answers.iter().filter(of(RecordType::DNAME));
    let owner = &dnames.find(|record| follows(record, name, target))?.name;
    let mut only = message.clone();
    only.authorities.clear();
    only.answers.retain(|record| of(RecordType::DNAME)(&record) && record.name == *owner);
    Some((Query::query(owner.clone(), RecordType::DNAME), only))
}

/// Whether a DNAME makes `name` an alias of `target`: what is before its owner stays, and the rest is
/// replaced (RFC 6672, 2.2).
fn follows(dname: &Record, name: &Name, target: &Name) -> bool {
    // the one type of those that are looked at here which hickory doesn't read
    let RData::Unknown { rdata, .. } = &dname.data else { return false };
    let Ok(replacement) = Name::from_bytes(&rdata.anything) else { return false };
    if !dname.name.zone_of(name) || dname.name == *name {
        return false;
    }
    let kept = name.iter().count().saturating_sub(dname.name.iter().count());
    let made = Name::from_labels(name.iter().take(kept).chain(replacement.iter()));
    made.is_ok_and(|made| made == *target)
}

/// Gives the checker the answer that is checked, and finds the rest.
#[derive(Clone)]
struct Chain {
    validator: Arc<Validator>,
    source: Arc<Source>,
    trip: Arc<Trip>,
    given: Arc<(Query, Message)>,
    /// How many more questions are answered.
    left: Arc<AtomicUsize>,
    /// Why something couldn't be had, which is no forgery.
    trouble: Arc<Mutex<Option<Failure>>>,
}

impl Chain {
    async fn seek(self, question: Query) -> Result<DnsResponse, NetError> {
        // what is at hand needs no waiting, and without any no deadline is noticed
        tokio::task::yield_now().await;
        let take = |left: usize| left.checked_sub(1);
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            // as of a look that asks too much
            return self.failed(Failure::Malformed);
        }
        if question == self.given.0 {
            return Ok(DnsResponse::from_message(self.given.1.clone())?);
        }
        let keys = &self.validator.keys;
        if let Some((until, message)) = keys.get(&question)
            && until > Instant::now()
        {
            return Ok(DnsResponse::from_message((*message).clone())?);
        }
        let found = self.source.find(&self.trip, question.name(), question.query_type()).await;
        match found.first() {
            Ok((reply, message)) => {
                let lasts = match reply {
                    Reply::NoData(lasts) | Reply::NxDomain(lasts) => *lasts,
                    _ => message
                        .answers
                        .iter()
                        .map(|record| record.ttl)
                        .min()
                        .map_or(Duration::ZERO, |ttl| Duration::from_secs(ttl.into())),
                };
                let response = DnsResponse::from_message((**message).clone())?;
                if response.as_buffer().len() <= LONGEST {
                    let until = Instant::now() + lasts.min(REMEMBERED);
                    keys.insert(question, (until, Arc::clone(message)));
                }
                Ok(response)
            }
            Err(failure) => self.failed(failure),
        }
    }

    /// No answer, which is told apart from a forged one.
    fn failed(&self, failure: Failure) -> Result<DnsResponse, NetError> {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *trouble = Some(trouble.map_or(failure, |known| known.min(failure)));
        Err(NetError::Message("no answer"))
    }
}

impl DnsHandle for Chain {
    type Response = BoxStream<'static, Result<DnsResponse, NetError>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        match request.queries.first() {
            Some(question) => self.clone().seek(question.clone()).into_stream().boxed(),
            None => futures::stream::empty().boxed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_net::proto::op::OpCode;

    use super::*;
    use crate::dns::source::Mode;

    /// Everything that is asked for is at hand already.
    fn chain() -> (Chain, Query) {
        let mode = Mode::Authoritative { roots: vec![], port: 53 };
        let question = Query::query(Name::root(), RecordType::NS);
        let remembered = Query::query(Name::root(), RecordType::DS);
        let message = Message::response(0, OpCode::Query);
        let validator = Validator::new(None).unwrap();
        let until = Instant::now() + REMEMBERED;
        validator.keys.insert(remembered.clone(), (until, Arc::new(message.clone())));
        let chain = Chain {
            validator: validator.into(),
            source: Source::new(&mode).unwrap().into(),
            trip: Trip::new(false).into(),
            given: (question, message).into(),
            left: Arc::new(AtomicUsize::new(QUESTIONS)),
            trouble: Arc::default(),
        };
        (chain, remembered)
    }

    #[tokio::test]
    async fn a_check_puts_only_so_many_questions_whoever_answers_them() {
        let (chain, remembered) = chain();
        let questions = [remembered, chain.given.0.clone()];
        for question in questions.iter().cycle().take(QUESTIONS) {
            chain.clone().seek(question.clone()).await.unwrap();
        }
        assert_eq!(*chain.trouble.lock().unwrap(), None);
        for question in questions {
            chain.clone().seek(question).await.unwrap_err();
        }
        assert_eq!(*chain.trouble.lock().unwrap(), Some(Failure::Malformed));
    }

    #[tokio::test]
    async fn a_check_of_what_is_at_hand_can_be_broken_off() {
        let (chain, remembered) = chain();
        for question in [remembered, chain.given.0.clone()] {
            assert!(chain.clone().seek(question).now_or_never().is_none());
        }
    }
}
