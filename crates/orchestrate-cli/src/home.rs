//! The home: the directory where everything of one host is kept, private to its owner.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use orchestrate_core::secrets::SecretKey;
use orchestrate_core::{Error, Result};

#[derive(Clone, Debug)]
pub struct Home {
    directory: PathBuf,
}

impl Home {
    /// `--home`, or the place that the XDG convention names. Nothing is created yet.
    pub fn locate(given: Option<&Path>) -> Result<Self> {
        let directory = match given {
            Some(path) => path.to_owned(),
            None => default_directory()?,
        };
        let directory = std::path::absolute(&directory)
            .map_err(|error| Error::usage("ORC-0204", "the home has no usable path").source(error))?;
        Ok(Self { directory })
    }

    /// Creates it, readable by its owner only; one that others may read is refused, because it holds secrets.
    pub fn prepare(&self) -> Result<()> {
        let unusable = |error: std::io::Error| {
            Error::failed("ORC-0404", format!("the home {} cannot be used", self.directory.display()))
                .hint("check its owner, its mode and the space on its disk, or name another with --home")
                .source(error)
        };
        match std::fs::metadata(&self.directory) {
            Ok(found) if !found.is_dir() => {
                return Err(Error::usage(
                    "ORC-0204",
                    format!("the home {} is not a directory", self.directory.display()),
                )
                .hint("name another with --home"));
            }
            Ok(found) => self.check_private(&found)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&self.directory)
                    .map_err(unusable)?;
            }
            Err(error) => return Err(unusable(error)),
        }
        Ok(())
    }

    fn check_private(&self, found: &std::fs::Metadata) -> Result<()> {
        let (mode, path) = (found.permissions().mode() & 0o777, self.directory.display());
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(Error::refused("ORC-0205", format!("the home {path} belongs to another user"))
                .hint("run orchestrate as that user, or name another home with --home"));
        }
        if mode & 0o077 != 0 {
            return Err(Error::refused(
                "ORC-0205",
                format!("the home {path} is open to other users (mode {mode:03o})"),
            )
            .hint(format!("make it private: chmod 700 {path}")));
        }
        Ok(())
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn database(&self) -> PathBuf {
        self.path("orchestrate.db")
    }

    pub fn daemon_socket(&self) -> PathBuf {
        self.path("daemon.sock")
    }

    pub fn wake_socket(&self) -> PathBuf {
        self.path("wake.sock")
    }

    pub fn daemon_log(&self) -> PathBuf {
        self.path("daemon.log")
    }

    /// Opens a log of a background process for adding to it, and puts a large one aside first.
    pub fn open_log(&self, name: &str) -> std::io::Result<std::fs::File> {
        const LARGE: u64 = 10 << 20;
        let path = self.path(name);
        if std::fs::metadata(&path).is_ok_and(|found| found.len() > LARGE) {
            std::fs::rename(&path, self.path(&format!("{name}.1")))?;
        }
        std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)
    }

    pub fn proxy_socket(&self) -> PathBuf {
        self.path("proxy.sock")
    }

    pub fn proxy_state(&self) -> PathBuf {
        self.path("proxy.json")
    }

    /// Where the key of the home's secrets is; `ORCHESTRATE_KEY_FILE` names another place.
    pub fn key_file(&self) -> PathBuf {
        std::env::var_os("ORCHESTRATE_KEY_FILE").map_or_else(|| self.path("key"), PathBuf::from)
    }

    /// The key, made on first use: only who seals secrets asks for it in this way.
    pub fn key_or_new(&self) -> Result<SecretKey> {
        let path = self.key_file();
        if path.exists() { self.key() } else { create_key(&path) }
    }

    /// The key of the home's secrets.
    pub fn key(&self) -> Result<SecretKey> {
        let path = self.key_file();
        match std::fs::read(&path) {
            Ok(bytes) => {
                let mode = std::fs::metadata(&path).map_or(0, |found| found.permissions().mode() & 0o077);
                if mode != 0 {
                    return Err(Error::refused(
                        "ORC-0205",
                        format!("the key {} is open to other users", path.display()),
                    )
                    .hint(format!("make it private: chmod 600 {}", path.display())));
                }
                SecretKey::from_bytes(&bytes)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::refused("ORC-0219", format!("the key {} is missing", path.display()))
                    .hint("restore it from a backup; without it the sealed secrets cannot be read")
                    .source(error))
            }
            Err(error) => Err(unreadable_key(&path, error)),
        }
    }
}

/// Written beside and renamed without overwriting, so that two programs that come first agree on one key.
fn create_key(path: &Path) -> Result<SecretKey> {
    let key = SecretKey::generate()?;
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| file.write_all(key.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| match std::fs::hard_link(&fresh, path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        });
    let _ = std::fs::remove_file(&fresh);
    written.map_err(|error| unreadable_key(path, error))?;
    let bytes = std::fs::read(path).map_err(|error| unreadable_key(path, error))?;
    SecretKey::from_bytes(&bytes)
}

fn unreadable_key(path: &Path, error: std::io::Error) -> Error {
    Error::failed("ORC-0404", format!("the key {} cannot be read or made", path.display()))
        .hint("check the owner and mode of the home, and the space on its disk")
        .source(error)
}

fn default_directory() -> Result<PathBuf> {
    if let Some(state) = std::env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(state).join("orchestrate"));
    }
    match std::env::var_os("HOME").filter(|path| !path.is_empty()) {
        Some(home) => Ok(PathBuf::from(home).join(".local/state/orchestrate")),
        None => Err(Error::usage("ORC-0204", "there is no home directory to keep the state in")
            .hint("name one with --home DIR or ORCHESTRATE_HOME")),
    }
}
