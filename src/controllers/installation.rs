//! The installation key: one Secret in the operator's namespace, made once, and never made anew
//! for a ledger that knows another.

use std::time::Duration;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{MANAGER, Nudge, Nudges, Result, chain};
use crate::{
    api::meta,
    keys::{self, InstallationKey, KeySlot},
    ledger::Ledger,
};

/// The Secret's name, and the key of its data.
const SECRET: &str = "rollcall-installation-key";
const DATA: &str = "key";

/// How often a missing key is looked for.
const AGAIN: Duration = Duration::from_secs(10);

pub struct Installation {
    secrets: Api<Secret>,
    ledger: Ledger,
    key: KeySlot,
    missing: String,
}

impl Installation {
    /// `key` is where the key is put once it is known.
    pub fn new(client: Client, ledger: Ledger, namespace: &str, key: KeySlot) -> Self {
        Self {
            secrets: Api::namespaced(client, namespace),
            ledger,
            key,
            missing: format!(
                "The Secret {namespace}/{SECRET} isn't the one that this ledger was made with: \
                 ask the platform team to restore it from backup. Until then nothing is changed."
            ),
        }
    }

    pub fn key(&self) -> Option<&InstallationKey> {
        self.key.get()
    }

    /// What to tell people while the key is missing.
    pub fn missing(&self) -> Option<&str> {
        self.key.get().is_none().then_some(self.missing.as_str())
    }

    /// Read the key, or make it for a ledger that has none yet.
    pub async fn look(&self) -> Result<()> {
        let check = self.ledger.installation_check().await?;
        let mut found = read(self.secrets.get_opt(SECRET).await?);
        if found.is_none() && check.is_none() {
            found = read(self.make().await?);
        }
        let Some(key) = found else {
            error!("{}", self.missing);
            return Ok(());
        };
        let check = match check {
            Some(check) => check,
            None => self.ledger.tie_to_installation(&key.check()).await?,
        };
        if key.made(&check) {
            self.key.set(key);
        } else {
            error!("{}", self.missing);
        }
        Ok(())
    }

    /// Returns the Secret that there is now, ours or that of who was faster.
    async fn make(&self) -> Result<Option<Secret>> {
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(SECRET.into()),
                labels: Some([(meta::MANAGED_BY.to_owned(), MANAGER.to_owned())].into()),
                ..ObjectMeta::default()
            },
            data: Some([(DATA.to_owned(), ByteString(keys::random()?.to_vec()))].into()),
            immutable: Some(true),
            ..Secret::default()
        };
        match self.secrets.create(&PostParams::default(), &secret).await {
            Ok(_) => info!(secret = SECRET, "made the installation key: back it up"),
            Err(kube::Error::Api(error)) if error.is_already_exists() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.secrets.get_opt(SECRET).await?)
    }

    /// Look until there is a key, then wake everybody.
    pub async fn keep_looking(&self, nudges: &Nudges, stop: CancellationToken) {
        while self.key.get().is_none() {
            if stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
                return;
            }
            if let Err(error) = self.look().await {
                warn!(error = %chain(&error), "installation key not read");
            }
            if self.key.get().is_some() {
                nudges.send(Nudge::All);
            }
        }
    }
}

fn read(secret: Option<Secret>) -> Option<InstallationKey> {
    InstallationKey::new(&secret?.data?.get(DATA)?.0)
}
