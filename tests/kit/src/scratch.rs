//! Folders for what a test process leaves on disk. They are used again by later processes instead of
//! being left behind: a process that is killed removes nothing, and an etcd takes 64 MiB.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;

/// An empty folder that is this process's own until the value is dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    // The kernel lets go of it when the process ends, however it ends.
    _lock: File,
}

impl Scratch {
    /// Takes the first folder of that name that no living process uses, and empties it.
    ///
    /// # Errors
    /// If the temporary folder can't be written.
    pub fn take(name: &str) -> anyhow::Result<Self> {
        let user = rustix::process::getuid().as_raw();
        let root = std::env::temp_dir().join(format!("rollcall-kit-{user}"));
        // PostgreSQL, which is never root, goes through it to a folder of its own
        DirBuilder::new()
            .recursive(true)
            .create(&root)
            .and_then(|()| fs::set_permissions(&root, fs::Permissions::from_mode(0o711)))
            .with_context(|| format!("making {}", root.display()))?;
        for number in 0.. {
            let path = root.join(format!("{name}-{number}"));
            let lock_path = root.join(format!("{name}-{number}.lock"));
            let lock = File::create(&lock_path)
                .with_context(|| format!("making {}", lock_path.display()))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("locking {}", lock_path.display()));
                }
            }
            if path.exists() {
                fs::remove_dir_all(&path)
                    .with_context(|| format!("emptying {}", path.display()))?;
            }
            // there are private keys in it
            DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .with_context(|| format!("making {}", path.display()))?;
            return Ok(Self { path, _lock: lock });
        }
        unreachable!("the numbers don't end")
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_never_shared_and_is_empty_when_taken_again() -> anyhow::Result<()> {
        let first = Scratch::take("scratch-test")?;
        let second = Scratch::take("scratch-test")?;
        assert_ne!(first.path(), second.path());
        fs::write(first.path().join("left"), "over")?;
        let path = first.path().to_owned();
        drop(first);
        let again = Scratch::take("scratch-test")?;
        assert_eq!(again.path(), path);
        assert_eq!(fs::read_dir(again.path())?.count(), 0);
        Ok(())
    }
}
