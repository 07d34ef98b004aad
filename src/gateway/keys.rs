//! The gateway's own key pairs: made on schedule, each published before it is used and for as long
//! as what was made with it may be about. They are in the ledger, sealed with the installation key,
//! so that every gateway has the same ones.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::problem::{Advice, Problem};
use crate::{
    keys::{InstallationKey, KeySlot},
    ledger::{self, KeyPair, Ledger, Purpose},
    saml::{
        DecryptionKey,
        service_provider::{NewKey, SigningKey},
    },
};

/// What the installation itself has keys for. An organization's are made when they are first asked
/// for.
const PURPOSES: [Purpose; 2] = [Purpose::IdToken, Purpose::SamlSigning];
/// How long a gateway goes by what it read: far shorter than a key is published before its use.
const FRESH: Duration = Duration::from_secs(60);
/// How often the installation key is looked for until it is known.
const AGAIN: Duration = Duration::from_secs(2);
/// How often what has expired is forgotten.
const PURGE: Duration = Duration::from_secs(3600);
/// How long a token may live, with some clock skew: as long its key is published after its last use.
const LONGEST_TOKEN: SignedDuration = SignedDuration::from_mins(65);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Why there is no key to be had. It passes.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unavailable {
    #[error("the installation key isn't known yet")]
    NoInstallationKey,
    #[error("the ledger holds no {0} that the installation key opens")]
    NoKey(&'static str),
    #[error("a {0} can't be made")]
    NotMade(&'static str),
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        Self::new(Advice::TryLater, error.to_string())
    }
}

/// A key pair, opened. It has no `Debug`.
pub(super) struct OpenKey {
    pub id: String,
    pub private: Private,
    /// DER: the public key of an ID-token key, the certificate of a SAML key.
    pub public: Vec<u8>,
    active_at: Timestamp,
    expires_at: Option<Timestamp>,
}

/// A private key, ready for use: to parse one takes longer than to use it.
pub(super) enum Private {
    IdToken(EcdsaKeyPair),
    SamlSigning(SigningKey),
    SamlEncryption(DecryptionKey),
}

/// The key pairs of one purpose, the oldest first.
pub(super) struct Keyring(Vec<OpenKey>);

impl Keyring {
    /// The one to use now.
    pub fn active(&self, now: Timestamp) -> Option<&OpenKey> {
        self.0.iter().rfind(|key| key.active_at <= now)
    }

    /// The one to use now, and those to come.
    pub fn present_and_next(&self, now: Timestamp) -> impl Iterator<Item = &OpenKey> {
        let active = self.0.iter().rposition(|key| key.active_at <= now);
        self.0.iter().skip(active.unwrap_or(0))
    }

    /// Those that others know or shall know: what was made with an earlier one is good still.
    pub fn published(&self, now: Timestamp) -> impl Iterator<Item = &OpenKey> {
        self.0.iter().filter(move |key| key.expires_at.is_none_or(|at| at > now))
    }
}

/// The gateway's key pairs, as read from the ledger a moment ago. Cheap to clone.
#[derive(Clone)]
pub(super) struct Keys(Arc<Shared>);

struct Shared {
    ledger: Ledger,
    key: KeySlot,
    views: RwLock<HashMap<Purpose, Arc<View>>>,
    /// Held by who makes a key, which keeps a processor busy.
    making: Mutex<()>,
}

/// The key pairs of one purpose, as they were last read, and when.
#[derive(Default)]
struct View {
    last: RwLock<Option<(Instant, Arc<Keyring>)>>,
    /// Held by who reads or makes them: the others wait for what comes of it.
    reading: Mutex<()>,
}

impl View {
    fn fresh(&self) -> Option<Arc<Keyring>> {
        let last = self.last.read().unwrap_or_else(PoisonError::into_inner);
        let (at, ring) = last.as_ref()?;
        (at.elapsed() < FRESH).then(|| ring.clone())
    }
}

impl Keys {
    pub fn new(ledger: Ledger, key: KeySlot) -> Self {
        let (views, making) = (RwLock::default(), Mutex::default());
        Self(Arc::new(Shared { ledger, key, views, making }))
    }

    /// The key pairs of this purpose. The first is made where there is none.
    pub async fn ring(&self, purpose: &Purpose) -> Result<Arc<Keyring>, Unavailable> {
        let view = self.view(purpose);
        if let Some(ring) = view.fresh() {
            return Ok(ring);
        }
        let _reading = view.reading.lock().await;
        if let Some(ring) = view.fresh() {
            return Ok(ring);
        }
        let ring = self.read(purpose, Timestamp::now()).await?;
        *view.last.write().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), ring.clone()));
        Ok(ring)
    }

    fn view(&self, purpose: &Purpose) -> Arc<View> {
        let views = self.0.views.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = views.get(purpose) {
            return view.clone();
        }
        drop(views);
        let mut views = self.0.views.write().unwrap_or_else(PoisonError::into_inner);
        // those that nobody waits for and that would be read again anyway
        views.retain(|_, view| Arc::strong_count(view) > 1 || view.fresh().is_some());
        views.entry(purpose.clone()).or_default().clone()
    }

    /// Read the key pairs of a purpose, and make what is due.
    async fn read(&self, purpose: &Purpose, now: Timestamp) -> Result<Arc<Keyring>, Unavailable> {
        let Shared { ledger, key, .. } = &*self.0;
        let installation = key.get().ok_or(Unavailable::NoInstallationKey)?;
        let mut pairs = ledger.keys(purpose, now).await?;
        if let Some(due) = due(&pairs, purpose, now) {
            let _making = self.0.making.lock().await;
            let next = make(installation, purpose, due.active_at, now).await?;
            // where another gateway was faster, its key is as good
            ledger.add_key(&next, due.last.as_ref()).await?;
            pairs = ledger.keys(purpose, now).await?;
        }
        let ring = Keyring(pairs.into_iter().filter_map(|pair| open(installation, pair)).collect());
        if ring.active(now).is_none() {
            return Err(Unavailable::NoKey(name(purpose)));
        }
        Ok(Arc::new(ring))
    }

    /// Make keys when they are due, and have the ledger forget what has expired, for as long as
    /// this is polled.
    pub async fn keep(self) {
        let mut told = String::new();
        let mut purged: Option<Instant> = None;
        loop {
            let mut problem = String::new();
            for purpose in &PURPOSES {
                if let Err(error) = self.ring(purpose).await {
                    problem = error.to_string();
                }
            }
            if purged.is_none_or(|at| at.elapsed() >= PURGE) {
                purged = Some(Instant::now());
                if let Err(error) = self.0.ledger.purge_expired(Timestamp::now()).await {
                    tracing::warn!(%error, "what is over was not forgotten");
                }
            }
            if !problem.is_empty() && problem != told {
                tracing::warn!(problem, "the gateway's keys are not kept");
            }
            told = problem;
            let known = self.0.key.get().is_some();
            tokio::time::sleep(if known { FRESH } else { AGAIN }).await;
        }
    }
}

/// A key pair to be made.
#[derive(Clone, PartialEq, Eq)]
struct Due {
    active_at: Timestamp,
    /// The one it follows, with when that ends.
    last: Option<KeyPair>,
}

/// When keys of a purpose are replaced.
struct Schedule {
    /// How long one is used.
    lifetime: SignedDuration,
    /// How long it is published before.
    ahead: SignedDuration,
    /// How long it is published after.
    behind: SignedDuration,
}

fn schedule(purpose: &Purpose) -> Schedule {
    match purpose {
        Purpose::IdToken => Schedule { lifetime: DAY * 30, ahead: DAY, behind: LONGEST_TOKEN },
        // administrators copy certificates by hand, and late
        Purpose::SamlSigning => Schedule { lifetime: DAY * 730, ahead: DAY * 90, behind: DAY },
        Purpose::SamlEncryption(_) => {
            Schedule { lifetime: DAY * 730, ahead: DAY * 90, behind: DAY * 365 }
        }
    }
}

/// The key pair that is to be made now beside these of its purpose, if any.
fn due(pairs: &[KeyPair], purpose: &Purpose, now: Timestamp) -> Option<Due> {
    let Some(last) = pairs.iter().max_by_key(|pair| (pair.active_at, &pair.id)) else {
        return Some(Due { active_at: now, last: None });
    };
    let Schedule { lifetime, ahead, behind } = schedule(purpose);
    let later = |at: Timestamp, by| at.checked_add(by).unwrap_or(Timestamp::MAX);
    let soonest = later(now, ahead);
    let ends = later(last.active_at, lifetime);
    (ends <= soonest).then(|| Due {
        active_at: soonest,
        last: Some(KeyPair {
            retired_at: Some(soonest),
            expires_at: Some(later(soonest, behind)),
            ..last.clone()
        }),
    })
}

async fn make(
    installation: &InstallationKey,
    purpose: &Purpose,
    active_at: Timestamp,
    now: Timestamp,
) -> Result<KeyPair, Unavailable> {
    let not_made = || Unavailable::NotMade(name(purpose));
    // an RSA key takes a good part of a second
    let wanted = purpose.clone();
    let made = tokio::task::spawn_blocking(move || generate(&wanted)).await.ok().flatten();
    let (private, public) = made.ok_or_else(not_made)?;
    let id = Uuid::now_v7().to_string();
    let sealed = installation.seal(&label(purpose, &id), &private).map_err(|_| not_made())?;
    let purpose = purpose.clone();
    let (created_at, retired_at, expires_at) = (now, None, None);
    Ok(KeyPair { id, purpose, sealed, public, created_at, active_at, retired_at, expires_at })
}

/// A private key, PKCS#8, and what is public of it, DER.
fn generate(purpose: &Purpose) -> Option<(Vec<u8>, Vec<u8>)> {
    match purpose {
        Purpose::IdToken => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok()?;
            let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).ok()?;
            Some((pair.to_pkcs8v1().ok()?.as_ref().to_vec(), public.as_ref().to_vec()))
        }
        Purpose::SamlSigning | Purpose::SamlEncryption(_) => {
            let NewKey { pkcs8, certificate } =
                NewKey::generate(&format!("Rollcall {}", name(purpose))).ok()?;
            Some((pkcs8, certificate))
        }
    }
}

fn open(installation: &InstallationKey, pair: KeyPair) -> Option<OpenKey> {
    let KeyPair { id, purpose, sealed, public, active_at, expires_at, .. } = pair;
    let private = installation.unseal(&label(&purpose, &id), &sealed);
    let private = private.and_then(|pkcs8| match purpose {
        Purpose::IdToken => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8);
            pair.ok().map(Private::IdToken)
        }
        Purpose::SamlSigning => SigningKey::new(&pkcs8).ok().map(Private::SamlSigning),
        Purpose::SamlEncryption(_) => DecryptionKey::new(&pkcs8).ok().map(Private::SamlEncryption),
    });
    let Some(private) = private else {
        tracing::error!(id, "a key of the ledger doesn't open with the installation key");
        return None;
    };
    Some(OpenKey { id, private, public, active_at, expires_at })
}

fn label(purpose: &Purpose, id: &str) -> String {
    match purpose {
        Purpose::IdToken | Purpose::SamlSigning => format!("{} {id}", name(purpose)),
        Purpose::SamlEncryption(organization) => {
            format!("{} {organization} {id}", name(purpose))
        }
    }
}

fn name(purpose: &Purpose) -> &'static str {
    match purpose {
        Purpose::IdToken => "ID-token key",
        Purpose::SamlSigning => "SAML signing key",
        Purpose::SamlEncryption(_) => "SAML encryption key",
    }
}

#[cfg(test)]
mod tests;
