//! Conditions: their names and reasons, which users script against, and the one way to set them.

use std::borrow::Cow;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

/// Condition types.
pub mod kind {
    pub const READY: &str = "Ready";
    pub const RECONCILING: &str = "Reconciling";
    pub const STALLED: &str = "Stalled";
    pub const ACCEPTED: &str = "Accepted";
    pub const RESOLVED_REFS: &str = "ResolvedRefs";
    pub const VERIFIED: &str = "Verified";
    pub const DOMAINS_VERIFIED: &str = "DomainsVerified";
    pub const CONFIGURED: &str = "Configured";
    pub const CERTIFICATE_EXPIRING: &str = "CertificateExpiring";
    pub const SYNCED: &str = "Synced";
    pub const REMOVAL_BLOCKED: &str = "RemovalBlocked";
    pub const GROUP_FOUND: &str = "GroupFound";
    pub const PERMISSIONS_APPLIED: &str = "PermissionsApplied";
}

macro_rules! reasons {
    ($($name:ident = $text:literal,)*) => {
        $(pub const $name: &str = $text;)*
        /// All of them: what README has to explain.
        pub const ALL: &[&str] = &[$($text),*];
    };
}

/// Condition reasons.
#[rustfmt::skip]
pub mod reason {
    reasons! {
        // every kind
        READY = "Ready",
        SUSPENDED = "Suspended",
        ACCEPTED = "Accepted",
        CLASS_NOT_FOUND = "ClassNotFound",
        NOT_ALLOWED_BY_CLASS = "NotAllowedByClass",
        RESOLVED_REFS = "ResolvedRefs",
        INSTALLATION_KEY_MISSING = "InstallationKeyMissing",
        // IdentityClass
        DUPLICATE_DEFAULT = "DuplicateDefault",
        // VerifiedDomain
        NOT_A_DOMAIN = "NotADomain",
        PUBLIC_SUFFIX = "PublicSuffix",
        SPECIAL_USE = "SpecialUse",
        FREE_MAIL_DOMAIN = "FreeMailDomain",
        DUPLICATE = "Duplicate",
        RECORD_FOUND = "RecordFound",
        RECORD_MISSING_IN_GRACE = "RecordMissingInGrace",
        AWAITING_RECORD = "AwaitingRecord",
        VALUE_MISMATCH = "ValueMismatch",
        WILDCARD_ANSWER = "WildcardAnswer",
        CHALLENGE_EXPIRED = "ChallengeExpired",
        DOMAIN_CONFLICT = "DomainConflict",
        RECORD_LOST = "RecordLost",
        PROOF_EXPIRED = "ProofExpired",
        LOOKUP_FAILED = "LookupFailed",
        // SsoConnection; the first two of IdentityClass, too
        SECRET_NOT_FOUND = "SecretNotFound",
        SECRET_TYPE_NOT_ALLOWED = "SecretTypeNotAllowed",
        DIRECTORY_NOT_FOUND = "DirectoryNotFound",
        DIRECTORY_AMBIGUOUS = "DirectoryAmbiguous",
        DOMAIN_NOT_FOUND = "DomainNotFound",
        ALL_VERIFIED = "AllVerified",
        SOME_VERIFIED = "SomeVerified",
        NONE_VERIFIED = "NoneVerified",
        CONFIGURED = "Configured",
        METADATA_UNREACHABLE = "MetadataUnreachable",
        METADATA_INVALID = "MetadataInvalid",
        NO_SIGNING_CERTIFICATE = "NoSigningCertificate",
        CERTIFICATES_EXPIRED = "CertificatesExpired",
        CERTIFICATE_EXPIRING = "CertificateExpiring",
        DISCOVERY_FAILED = "DiscoveryFailed",
        CONNECTION_CONFLICT = "ConnectionConflict",
        // DirectorySync
        AWAITING_FIRST_REQUEST = "AwaitingFirstRequest",
        CONNECTED = "Connected",
        SECRET_CONFLICT = "SecretConflict",
        IN_SYNC = "InSync",
        NOTHING_YET = "NothingYet",
        THRESHOLD_EXCEEDED = "ThresholdExceeded",
        // DirectoryTeam
        ROLE_NOT_GRANTABLE = "RoleNotGrantable",
        NAMESPACE_NOT_OURS = "NamespaceNotOurs",
        SCOPE_NOT_ALLOWED = "ScopeNotAllowed",
        DIRECTORY_SYNC_NOT_FOUND = "DirectorySyncNotFound",
        ROLE_NOT_FOUND = "RoleNotFound",
        NAMESPACE_NOT_FOUND = "NamespaceNotFound",
        FOUND = "Found",
        NOT_FOUND = "NotFound",
        AMBIGUOUS = "Ambiguous",
        APPLIED = "Applied",
        NO_PERMISSIONS = "NoPermissions",
        PARTIALLY_APPLIED = "PartiallyApplied",
        FORBIDDEN = "Forbidden",
    }
}

/// The three values of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    True,
    False,
    Unknown,
}

impl Truth {
    fn as_str(self) -> &'static str {
        match self {
            Truth::True => "True",
            Truth::False => "False",
            Truth::Unknown => "Unknown",
        }
    }
}

/// What a condition says: its value, a reason for scripts, a message for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub truth: Truth,
    pub reason: Cow<'static, str>,
    pub message: String,
}

impl Verdict {
    pub fn yes(reason: &'static str, message: impl Into<String>) -> Self {
        Self { truth: Truth::True, reason: reason.into(), message: message.into() }
    }

    pub fn no(reason: &'static str, message: impl Into<String>) -> Self {
        Self { truth: Truth::False, reason: reason.into(), message: message.into() }
    }

    pub fn unknown(reason: &'static str, message: impl Into<String>) -> Self {
        Self { truth: Truth::Unknown, reason: reason.into(), message: message.into() }
    }

    /// What `condition` said already.
    pub fn kept(condition: &Condition) -> Self {
        let truth = match condition.status.as_str() {
            "True" => Truth::True,
            "False" => Truth::False,
            _ => Truth::Unknown,
        };
        let reason = condition.reason.clone().into();
        Self { truth, reason, message: condition.message.clone() }
    }

    pub fn is_yes(&self) -> bool {
        self.truth == Truth::True
    }
}

/// What an object that is not ready is waiting for (kstatus).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// For nothing: all is well, or suspended.
    No,
    /// For something outside: a DNS record, the company IdP.
    Outside,
    /// For somebody to edit something.
    Edit,
}

/// The conditions of one pass, built anew each time, always all of them.
pub struct Conditions<'a> {
    old: &'a [Condition],
    generation: Option<i64>,
    now: &'a Time,
    new: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    pub fn new(old: &'a [Condition], generation: Option<i64>, now: &'a Time) -> Self {
        Self { old, generation, now, new: vec![] }
    }

    /// Add one. `lastTransitionTime` moves only where the value changed.
    pub fn set(&mut self, type_: &str, verdict: &Verdict) {
        let status = verdict.truth.as_str();
        let since = find(self.old, type_).filter(|c| c.status == status);
        self.new.push(Condition {
            type_: type_.into(),
            status: status.into(),
            reason: verdict.reason.to_string(),
            message: verdict.message.clone(),
            observed_generation: self.generation,
            last_transition_time: since.map_or(self.now, |c| &c.last_transition_time).clone(),
        });
    }

    /// Add `Ready`, and `Reconciling` or `Stalled` where it applies; the list is complete then.
    pub fn ready(mut self, ready: &Verdict, waiting: Waiting) -> Vec<Condition> {
        self.set(kind::READY, ready);
        let because = Verdict { truth: Truth::True, ..ready.clone() };
        match waiting {
            Waiting::No => {}
            Waiting::Outside => self.set(kind::RECONCILING, &because),
            Waiting::Edit => self.set(kind::STALLED, &because),
        }
        self.new
    }
}

/// Ready is what all of `parts` together say: the first that isn't True, else `message`.
pub fn all_of(parts: &[&Verdict], message: impl Into<String>) -> Verdict {
    match parts.iter().find(|v| !v.is_yes()) {
        Some(v) => Verdict { truth: Truth::False, ..(*v).clone() },
        None => Verdict::yes(reason::READY, message),
    }
}

pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// The reason of a condition, empty where there is none.
pub fn reason_of<'a>(conditions: &'a [Condition], type_: &str) -> &'a str {
    find(conditions, type_).map_or("", |c| &c.reason)
}

/// The API keeps whole seconds. So must we, or we would never equal what we read back.
pub fn whole_seconds(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn transition_time_moves_only_with_the_value() {
        let pass = |old: &[Condition], now, verdict: &Verdict| {
            let now = at(now);
            let mut c = Conditions::new(old, Some(now.0.as_second()), &now);
            c.set(kind::VERIFIED, verdict);
            c.new
        };
        let first = pass(&[], 1, &Verdict::no(reason::AWAITING_RECORD, ""));
        let second = pass(&first, 2, &Verdict::no(reason::VALUE_MISMATCH, ""));
        assert_eq!(second[0].last_transition_time, at(1));
        assert_eq!(second[0].reason, reason::VALUE_MISMATCH);
        assert_eq!(second[0].observed_generation, Some(2));
        let third = pass(&second, 3, &Verdict::yes(reason::RECORD_FOUND, ""));
        assert_eq!(third[0].last_transition_time, at(3));
    }

    #[test]
    fn negative_conditions_are_there_only_while_true() {
        let now = at(1);
        let build = |ready: Verdict, waiting| {
            let c = Conditions::new(&[], None, &now).ready(&ready, waiting);
            c.into_iter().map(|c| c.type_).collect::<Vec<_>>()
        };
        assert_eq!(build(Verdict::yes(reason::READY, ""), Waiting::No), [kind::READY]);
        let waits = Verdict::no(reason::AWAITING_RECORD, "");
        assert_eq!(build(waits.clone(), Waiting::Outside), [kind::READY, kind::RECONCILING]);
        assert_eq!(build(waits, Waiting::Edit), [kind::READY, kind::STALLED]);
    }

    #[test]
    fn ready_names_the_first_thing_that_is_wrong() {
        let fine = Verdict::yes(reason::ACCEPTED, "");
        let wrong = Verdict::no(reason::RECORD_LOST, "publish it again");
        assert_eq!(all_of(&[&fine, &wrong], "").reason, reason::RECORD_LOST);
        assert!(all_of(&[&fine], "").is_yes());
    }
}
