//! The tokens of whoever is signed in, in a file that only they can read: one for each issuer and
//! client, under `$XDG_CACHE_HOME/rollcall/tokens` or `~/.cache/rollcall/tokens`.
//!
//! A file that others could read, or that is somebody else's, is refused: whoever could read it has
//! the tokens, whoever could write it could sign somebody in as themselves.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::oidc::{Settings, sha256};

/// Why the cache can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no place for tokens: set HOME")]
    NoHome,
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} belongs to somebody else: delete it, and sign in again", .0.display())]
    Foreign(PathBuf),
    #[error("others can get at {} (mode {mode:04o}), so what is in it isn't safe: delete it, and sign in again", .path.display())]
    Open { path: PathBuf, mode: u32 },
}

/// What is kept. It has no `Debug`.
#[derive(Clone, Deserialize, Serialize)]
pub struct Entry {
    pub issuer: String,
    pub client: String,
    pub subject: String,
    pub id_token: String,
    pub access_token: Option<String>,
    pub refresh_token: Option<String>,
    /// When the ID token expires, in seconds since 1970.
    pub expires_at: i64,
}

/// The place of one entry.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    name: String,
    issuer: String,
    client: String,
}

/// Whoever holds it is the only one who changes the entry. The kernel lets go of it when the process
/// ends, however it ends.
pub struct Locked {
    cache: Cache,
    _lock: File,
}

impl Cache {
    /// The entry's place for these settings, by the environment.
    ///
    /// # Errors
    /// There is no home.
    pub fn of(settings: &Settings) -> Result<Self, Error> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let root = absolute("XDG_CACHE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
            .ok_or(Error::NoHome)?;
        Ok(Self::in_folder(root.join("rollcall/tokens"), settings))
    }

    fn in_folder(folder: PathBuf, settings: &Settings) -> Self {
        let (issuer, client) = (settings.issuer.clone(), settings.client.clone());
        let hash = sha256(&format!("{issuer}\n{client}"));
        let name = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { folder, name, issuer, client }
    }

    fn file(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!("{}.{suffix}", self.name))
    }

    /// The entry. What can't be read as one is none: it is written anew at the next sign-in.
    ///
    /// # Errors
    /// Others can get at it.
    pub fn read(&self) -> Result<Option<Entry>, Error> {
        let path = self.file("json");
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Io { path, source }),
        };
        let io = |source| Error::Io { path: path.clone(), source };
        let folder = self.folder.symlink_metadata().map_err(io)?;
        private(&self.folder, &folder)?;
        private(&path, &file.metadata().map_err(io)?)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let entry: Option<Entry> = serde_json::from_slice(&bytes).ok();
        Ok(entry.filter(|entry| entry.issuer == self.issuer && entry.client == self.client))
    }

    /// Waits until nobody else changes the entry. It blocks.
    ///
    /// # Errors
    /// The folder can't be made, or others can get at it.
    pub fn lock(&self) -> Result<Locked, Error> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.folder).map_err(io(&self.folder))?;
        let folder = self.folder.symlink_metadata().map_err(io(&self.folder))?;
        private(&self.folder, &folder)?;
        let path = self.file("lock");
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(&path).map_err(io(&path))?;
        lock.lock().map_err(io(&path))?;
        Ok(Locked { cache: self.clone(), _lock: lock })
    }
}

impl Locked {
    /// As [`Cache::read`].
    ///
    /// # Errors
    /// As there.
    pub fn read(&self) -> Result<Option<Entry>, Error> {
        self.cache.read()
    }

    /// Replaces the entry at once: a reader sees the old one or the new one.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, entry: &Entry) -> Result<(), Error> {
        let new = self.cache.file("new");
        let write = || {
            // one that a crash left behind: nobody else writes while we hold the lock
            absent_is_fine(std::fs::remove_file(&new))?;
            let mut options = OpenOptions::new();
            let mut file = options.create_new(true).write(true).mode(0o600).open(&new)?;
            file.write_all(&serde_json::to_vec(entry)?)?;
            std::fs::rename(&new, self.cache.file("json"))
        };
        write().map_err(|source| Error::Io { path: new.clone(), source })
    }

    /// Forgets the entry, whatever is there.
    ///
    /// # Errors
    /// It can't be deleted.
    pub fn remove(&self) -> Result<(), Error> {
        let path = self.cache.file("json");
        absent_is_fine(std::fs::remove_file(&path)).map_err(|source| Error::Io { path, source })
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn private(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(Error::Foreign(path.to_owned()));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::Open { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    fn cache(folder: &Path) -> Cache {
        let settings = Settings {
            issuer: "https://login.example".into(),
            client: "kubernetes".into(),
            ca: None,
        };
        Cache::in_folder(folder.join("rollcall/tokens"), &settings)
    }

    fn entry() -> Entry {
        Entry {
            issuer: "https://login.example".into(),
            client: "kubernetes".into(),
            subject: "ada".into(),
            id_token: "id".into(),
            access_token: None,
            refresh_token: Some("refresh".into()),
            expires_at: 1,
        }
    }

    #[test]
    fn only_the_owner_can_get_at_what_is_written() {
        let root = tempfile::tempdir().unwrap();
        let cache = cache(root.path());
        assert!(cache.read().unwrap().is_none());
        let locked = cache.lock().unwrap();
        write(cache.file("new"), "left by a crash").unwrap();
        locked.write(&entry()).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o7777;
        assert_eq!(mode(&cache.folder), 0o700);
        for suffix in ["json", "lock"] {
            assert_eq!(mode(&cache.file(suffix)), 0o600, "{suffix}");
        }
        assert!(!cache.file("new").exists());
        assert_eq!(cache.read().unwrap().unwrap().refresh_token.as_deref(), Some("refresh"));
        locked.remove().unwrap();
        locked.remove().unwrap();
        assert!(cache.read().unwrap().is_none());
    }

    #[test]
    fn what_others_can_get_at_is_refused_until_it_is_deleted() {
        let root = tempfile::tempdir().unwrap();
        let cache = cache(root.path());
        cache.lock().unwrap().write(&entry()).unwrap();
        let file = cache.file("json");
        for mode in [0o644, 0o640, 0o602] {
            set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert!(matches!(cache.read(), Err(Error::Open { .. })), "{mode:o}");
        }
        set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        set_permissions(&cache.folder, Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(cache.read(), Err(Error::Open { .. })));
        assert!(matches!(cache.lock(), Err(Error::Open { .. })));
    }

    #[test]
    fn somebody_elses_file_is_refused() {
        // everybody has a view of a file that is root's; root makes one for somebody else
        let root = tempfile::tempdir().unwrap();
        let other = root.path().join("other");
        write(&other, "{}").unwrap();
        let path = match std::os::unix::fs::chown(&other, Some(12_345), None) {
            Ok(()) => other,
            Err(_) => PathBuf::from("/etc/passwd"),
        };
        let refused = private(&path, &path.metadata().unwrap());
        assert!(matches!(refused, Err(Error::Foreign(_))));
    }

    #[test]
    fn nonsense_and_anothers_entry_are_no_entry() {
        let root = tempfile::tempdir().unwrap();
        let cache = cache(root.path());
        let locked = cache.lock().unwrap();
        locked.write(&Entry { client: "argocd".into(), ..entry() }).unwrap();
        assert!(cache.read().unwrap().is_none());
        for nonsense in ["", "{", "[]", "{\"id_token\": 1}", "\u{0}"] {
            write(cache.file("json"), nonsense).unwrap();
            assert!(cache.read().unwrap().is_none(), "{nonsense:?}");
        }
        locked.write(&entry()).unwrap();
        assert!(cache.read().unwrap().is_some());
    }
}
