//! One look's way through the DNS: what it may still do, and what it did.

use std::{
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hickory_net::proto::{op::Query, rr::Name};

use super::{
    answer::Step,
    reply::{Failure, Reply, Said, texts},
};
use crate::fetch::Reach;

/// How many questions one look may ask in all. An honest one takes ten to thirty; a zone that has
/// others asked in its place (NXNSAttack) gets no further than this.
const QUESTIONS: usize = 80;
/// How many name servers' addresses one look may seek that their delegations don't tell. Each is asked
/// of whoever has the server's name, who need not know of the zone that names it.
const SOUGHT: usize = 12;
/// How many characters of a record's text are shown: a whole value of ours.
const SHOWN: usize = 64;
/// How many records of one answer are shown.
const MOST_SHOWN: usize = 4;

/// A server to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub name: Option<Name>,
    /// Where it is: nowhere, if nobody could tell.
    pub addresses: Vec<SocketAddr>,
    /// It was named by the operator, not by somebody's zone.
    pub given: bool,
}

impl Server {
    pub fn given(address: SocketAddr) -> Self {
        Self { name: None, addresses: vec![address], given: true }
    }

    /// What it is called in explanations: its name, else its address.
    pub fn label(&self) -> String {
        let address = || self.addresses.first().map(|at| at.ip().to_string()).unwrap_or_default();
        self.name.as_ref().map_or_else(address, plain)
    }
}

/// A name as people write it, without the final dot.
pub fn plain(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    if text == "." { text } else { text.trim_end_matches('.').to_owned() }
}

/// The state of one look.
pub struct Trip {
    reach: Reach,
    left: AtomicUsize,
    /// How many name servers' addresses it may still seek.
    unsought: AtomicUsize,
    steps: Mutex<Vec<Step>>,
}

impl Trip {
    pub fn new(allow_private: bool) -> Self {
        let reach = if allow_private { Reach::PrivateAllowed } else { Reach::PublicOnly };
        Self {
            reach,
            left: AtomicUsize::new(QUESTIONS),
            unsought: AtomicUsize::new(SOUGHT),
            steps: Mutex::default(),
        }
    }

    /// Take one question from what is left.
    ///
    /// # Errors
    /// The server may not be asked; or nothing is left, and whoever caused that is no use.
    pub fn may_ask(&self, server: &Server, address: SocketAddr) -> Result<(), Failure> {
        if !server.given && !self.reach.allows(address.ip()) {
            return Err(Failure::Private);
        }
        if take(&self.left) { Ok(()) } else { Err(Failure::Malformed) }
    }

    /// Whether one more name server's address may be sought; that is then taken from what is left.
    pub fn may_seek_server(&self) -> bool {
        take(&self.unsought)
    }

    pub fn record(
        &self,
        server: &Server,
        address: SocketAddr,
        question: &Query,
        said: &Said,
        asked: Instant,
    ) {
        let step = Step {
            server: match &server.name {
                Some(name) => format!("{} ({address})", plain(name)),
                None => address.to_string(),
            },
            question: format!("{} {}", question.query_type(), plain(question.name())),
            outcome: outcome(said, question),
            took: asked.elapsed(),
        };
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).push(step);
    }

    pub fn steps(&self) -> Vec<Step> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Take one, if there is any left.
fn take(left: &AtomicUsize) -> bool {
    let less = |left: usize| left.checked_sub(1);
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
}

fn outcome(said: &Said, question: &Query) -> String {
    let remembered = |time: &Duration| format!("remembered for {} s", time.as_secs());
    match said {
        Ok((Reply::Records, message)) => {
            let texts = texts(message, question.name());
            let some: Vec<_> = texts.iter().take(MOST_SHOWN).map(|text| shown(text)).collect();
            match texts.len() {
                0 => "records".into(),
                all if all > MOST_SHOWN => {
                    format!("{} and {} more", some.join(" "), all - MOST_SHOWN)
                }
                _ => some.join(" "),
            }
        }
        Ok((Reply::Alias(target), _)) => format!("alias of {}", plain(target)),
        Ok((Reply::NoData(time), _)) => format!("no such record, {}", remembered(time)),
        Ok((Reply::NxDomain(time), _)) => format!("no such name, {}", remembered(time)),
        Ok((Reply::Referral(below), _)) => {
            let names: Vec<_> = below.servers.iter().map(|(name, _)| plain(name)).collect();
            format!("{} is served by {}", plain(&below.zone), names.join(", "))
        }
        Err(failure) => failure.to_string(),
    }
}

/// A record's text between quotes: cut, and without what could move a terminal's cursor.
pub fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_wrote_steers_no_terminal() {
        let name = Name::from_labels([&b"\x1b[2J\n"[..], b"acme", b"example"]).unwrap();
        for text in [plain(&name), shown("\u{1b}[2J\n\u{202e}"), shown(&"\n".repeat(1000))] {
            assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
            assert!(text.len() < 400, "{text}");
        }
    }

    #[test]
    fn a_look_asks_only_so_much() {
        let trip = Trip::new(false);
        let at = SocketAddr::from(([192, 5, 5, 241], 53));
        let server = Server { name: None, addresses: vec![at], given: false };
        for _ in 0..QUESTIONS {
            assert_eq!(trip.may_ask(&server, at), Ok(()));
        }
        assert_eq!(trip.may_ask(&server, at), Err(Failure::Malformed));
    }
}
