//! The plain types of `rollcall why`: somebody's way to access, link by link.

use jiff::Timestamp;

use super::{Admit, Claim, Grant, Loss};

/// How people of a domain come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayIn {
    /// Canonical.
    pub domain: String,
    /// The organization's own claim to it; `None` without a VerifiedDomain.
    pub claim: Option<ClaimState>,
    /// The connection that signs in people of this domain.
    pub connection: Option<Door>,
    /// The organization's connections, whatever their domains.
    pub connections: Vec<String>,
}

/// How a claim to a domain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimState {
    Owned,
    /// Owned, and the record is missing since then.
    Missing(Timestamp),
    /// Proved, after another organization.
    Conflict,
    /// Proved once.
    Lost(Loss),
    Unproved,
}

impl From<&Claim> for ClaimState {
    fn from(claim: &Claim) -> Self {
        match (claim.owns, claim.missing_since, claim.lost) {
            (true, None, _) => Self::Owned,
            (true, Some(since), _) => Self::Missing(since),
            _ if claim.proved_at.is_some() => Self::Conflict,
            (_, _, Some(loss)) => Self::Lost(loss),
            _ => Self::Unproved,
        }
    }
}

/// A connection, as far as it lets somebody in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    pub name: String,
    /// Whether nobody signs in by it for now.
    pub withdrawn: bool,
    pub admit: Admit,
    /// The name of the directory in which people are looked up.
    pub directory: Option<String>,
}

/// Somebody's groups and what they come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// When anything of the person last changed.
    pub changed_at: Timestamp,
    /// What the company IdP calls them, once they have signed in by the connection.
    pub subject: Option<String>,
    /// Why nobody signs in as this person by the connection, if so.
    pub obstacle: Option<Obstacle>,
    /// The groups that the person is directly in, by name.
    pub groups: Vec<GroupReach>,
    /// The teams that the person is in now, by name, with what they may do where.
    pub teams: Vec<(String, Vec<Grant>)>,
}

/// Why nobody signs in as somebody whom the directory has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The directory says nothing of what the connection matches people by: this.
    Without(&'static str),
    /// Another has the same of it.
    Several(&'static str, String),
    /// Their address is another's, by the directory.
    AddressOfAnother(String),
}

/// A group, and the teams that stand for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupReach {
    pub name: String,
    /// Whether the directory lets no team stand for it.
    pub left_out: bool,
    /// Each with whether it is accepted.
    pub teams: Vec<(String, bool)>,
}
