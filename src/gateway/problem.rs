//! What goes wrong before somebody's eyes: the page says in plain words what to do and carries a
//! reference; the audit log has, under that reference, what exactly it was.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;

use super::{Gateway, limits, pages, secret::NoRandomness};
use crate::{
    keys,
    ledger::{self, AuditLine},
};

/// What somebody is told. The page is the same for whoever it could tell apart from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// The link or form is too old, was used, or belongs to another browser.
    StartAgain,
    /// Their company's login, or what it said, is not as it must be: their administrator's matter.
    AskAdministrator,
    /// They are not, or no longer, let in.
    NotAdmitted,
    /// The request itself is wrong: the program that sent them here is to blame.
    BadRequest,
    TooMany,
    /// Nothing anybody did.
    TryLater,
}

/// Why a page can't be shown as asked for.
#[derive(Debug)]
pub(super) struct Problem {
    pub advice: Advice,
    /// Which rule, what was expected, what came: for the audit log. Nothing secret.
    pub detail: String,
    /// Whose matter it is: the organization's id.
    pub organization: Option<String>,
    /// By what they came: `saml:<connection>`, `oidc:<connection>`, `client:<id>`, `gateway`.
    pub actor: String,
    /// Whom it is about, where that is known.
    pub subject: String,
    /// Whether it came of an answer that nobody awaits, which anybody can send.
    unasked: bool,
}

impl Problem {
    pub fn new(advice: Advice, detail: impl Into<String>) -> Self {
        Self {
            advice,
            detail: detail.into(),
            organization: None,
            actor: "gateway".into(),
            subject: String::new(),
            unasked: false,
        }
    }

    /// Of this organization (by id), coming by this way.
    pub fn of(mut self, organization: &str, actor: impl Into<String>) -> Self {
        self.organization = Some(organization.to_owned());
        self.actor = actor.into();
        self
    }

    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// Of an answer that nobody awaits. Few of them are kept in the audit log: enough for an
    /// administrator to see that they come.
    pub fn unasked(mut self) -> Self {
        self.unasked = true;
        self
    }

    /// Keep it in the audit log, and show the page. Who is refused too often is told that instead.
    pub async fn respond(self, gateway: &Gateway) -> Response {
        if let Err(too_many) = limits::refusal() {
            return too_many.page(gateway);
        }
        if self.unasked && limits::unasked(self.organization.as_deref(), &self.actor).is_err() {
            let page = pages::problem(gateway, self.advice, None, None);
            return (self.advice.status(), page).into_response();
        }
        let reference = reference();
        let line = AuditLine {
            at: Timestamp::now(),
            actor: self.actor,
            action: "sign-in.refused".into(),
            subject: self.subject,
            detail: Some(self.detail),
            reference: Some(reference.clone()),
        };
        // what it was may name somebody: the log doesn't
        tracing::warn!(reference, advice = ?self.advice, actor = line.actor, "refused");
        let organization = self.organization.unwrap_or_default();
        if let Err(error) = gateway.ledger.audit(&organization, &line).await {
            tracing::error!(%error, reference, "the audit log takes nothing");
        }
        let namespace = gateway.ledger.namespace_of(&organization).await.unwrap_or_default();
        let page = pages::problem(gateway, self.advice, namespace.as_deref(), Some(&reference));
        (self.advice.status(), page).into_response()
    }
}

impl Advice {
    fn status(self) -> StatusCode {
        match self {
            Self::StartAgain | Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::AskAdministrator | Self::NotAdmitted => StatusCode::FORBIDDEN,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::TryLater => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<ledger::Error> for Problem {
    fn from(error: ledger::Error) -> Self {
        Self::new(Advice::TryLater, error.to_string())
    }
}

impl From<NoRandomness> for Problem {
    fn from(error: NoRandomness) -> Self {
        Self::new(Advice::TryLater, error.to_string())
    }
}

/// Short enough to be read out: 8 letters and digits of Crockford's base 32.
fn reference() -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let random = keys::random().unwrap_or_default();
    random.iter().take(8).map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}
