//! What a look at a domain's challenge record came to.

use std::time::Duration;

/// What the DNS says of the challenge record. Only [`Match`](Answer::Match) proves anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The expected value is published at the challenge name, and nothing speaks against it.
    Match,
    /// There are TXT records at the challenge name, but none has the expected value.
    Mismatch,
    /// The challenge name exists, without TXT records (RFC 2308, 2.2).
    NoData,
    /// The challenge name does not exist (RFC 8020).
    NxDomain,
    /// The zone's servers disagree: too few of them show the record, too many to say it is gone.
    Inconsistent,
    /// A wildcard answers for the challenge name: nobody published it there.
    Wildcard,
    /// The aliases lead back to where they began.
    CnameLoop,
    /// There are more aliases behind one another than are followed.
    TooManyCnames,
    /// DNSSEC says that the answer is forged, or the zone is signed wrongly.
    Bogus,
    /// The servers failed (SERVFAIL).
    ServFail,
    /// The servers won't answer for this zone: REFUSED, NOTAUTH, or they point elsewhere.
    Refused,
    /// No server answered in time.
    Timeout,
    /// What came was no answer to the question.
    Malformed,
    /// There is no server that may be asked, or none could be reached.
    Unreachable,
}

impl Answer {
    /// Every answer.
    pub const ALL: [Self; 14] = [
        Self::Match,
        Self::Mismatch,
        Self::NoData,
        Self::NxDomain,
        Self::Inconsistent,
        Self::Wildcard,
        Self::CnameLoop,
        Self::TooManyCnames,
        Self::Bogus,
        Self::ServFail,
        Self::Refused,
        Self::Timeout,
        Self::Malformed,
        Self::Unreachable,
    ];

    /// Whether the zone's servers said in so many words that the record isn't there. Nothing else
    /// may ever take a proof away.
    ///
    /// A wildcard and aliases that lead nowhere are not absence: whoever had the record there finds
    /// that something is wrong with it, and the proof expires like any that can't be renewed.
    pub fn is_definite_absence(self) -> bool {
        matches!(self, Self::Mismatch | Self::NoData | Self::NxDomain)
    }

    /// A fixed name, for metric labels and the reasons of events.
    pub fn label(self) -> &'static str {
        match self {
            Self::Match => "Match",
            Self::Mismatch => "Mismatch",
            Self::NoData => "NoData",
            Self::NxDomain => "NxDomain",
            Self::Inconsistent => "Inconsistent",
            Self::Wildcard => "Wildcard",
            Self::CnameLoop => "CnameLoop",
            Self::TooManyCnames => "TooManyCnames",
            Self::Bogus => "Bogus",
            Self::ServFail => "ServFail",
            Self::Refused => "Refused",
            Self::Timeout => "Timeout",
            Self::Malformed => "Malformed",
            Self::Unreachable => "Unreachable",
        }
    }
}

/// A look: what was found, what to do about it, and what was asked on the way.
#[derive(Clone, Debug)]
pub struct Examination {
    pub answer: Answer,
    /// One or two sentences for a condition's message: what was seen, and what to do. The same for
    /// as long as the same is seen: without times, and whatever order the servers answered in.
    pub explanation: String,
    /// How long the one who was asked remembers that there was nothing: looking again sooner shows
    /// nothing new (RFC 2308). Only where recursive resolvers are asked.
    pub wait_at_least: Option<Duration>,
    /// The questions, in the order in which they were asked.
    pub steps: Vec<Step>,
}

/// One question to one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Who was asked: a name, where it has one, and an address.
    pub server: String,
    /// What: a type and a name.
    pub question: String,
    /// What came back, in words.
    pub outcome: String,
    pub took: Duration,
}
