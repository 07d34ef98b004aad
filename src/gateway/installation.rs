//! The installation key, for a gateway that runs beside its controller: from a file, which the
//! kubelet makes of the operator's Secret once there is one.

use std::{path::PathBuf, time::Duration};

use crate::{
    keys::{InstallationKey, KeySlot},
    ledger::{self, Ledger},
};

/// How often the file is looked at until it holds the key.
const AGAIN: Duration = Duration::from_secs(2);

/// Look into `file` until it holds the key that the ledger was made with, then put it in `slot`.
pub async fn read_key(file: PathBuf, ledger: Ledger, slot: KeySlot) {
    let mut told = String::new();
    while slot.get().is_none() {
        let problem = match look(&file, &ledger).await {
            Ok(Ok(key)) => {
                slot.set(key);
                return;
            }
            Ok(Err(problem)) => problem.to_owned(),
            Err(error) => error.to_string(),
        };
        if problem != told {
            tracing::warn!(file = %file.display(), problem, "waiting for the installation key");
            told = problem;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn look(
    file: &PathBuf,
    ledger: &Ledger,
) -> Result<Result<InstallationKey, &'static str>, ledger::Error> {
    let Ok(bytes) = tokio::fs::read(file).await else {
        return Ok(Err("it can't be read yet"));
    };
    let Some(key) = InstallationKey::new(&bytes) else {
        return Ok(Err("it doesn't hold 32 bytes"));
    };
    Ok(match ledger.installation_check().await? {
        Some(check) if key.made(&check) => Ok(key),
        Some(_) => Err("it isn't the key that the ledger was made with"),
        None => Err("the controller hasn't tied the ledger to a key yet"),
    })
}
