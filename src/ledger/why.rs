//! The plain types of `rollcall why`: somebody's way to access, link by link.

use jiff::Timestamp;

use super::{Admit, Claim, Grant};

/// How people of a domain come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayIn {
    /// Canonical.
    pub domain: String,
    /// The organization's own claim to it; `None` without a VerifiedDomain.
    pub claim: Option<Claim>,
    /// The connection that signs in people of this domain.
    pub connection: Option<Door>,
    /// The organization's connections, whatever their domains.
    pub connections: Vec<String>,
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
    /// The groups that the person is directly in, by name.
    pub groups: Vec<GroupReach>,
    /// The teams that the person is in now, by name, with what they may do where.
    pub teams: Vec<(String, Vec<Grant>)>,
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
