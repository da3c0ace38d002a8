//! The home: the directory where everything of one host is kept, private to its owner.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

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
        self.check_way()?;
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

    /// Nobody else may have put it where it is, nor be able to put another one there.
    fn check_way(&self) -> Result<()> {
        let path = self.directory.display();
        let refused = |why: String| {
            Error::refused("ORC-0205", format!("the home {path} {why}"))
                .hint("name another home with --home, in a directory of your own")
        };
        let trusted = |uid: u32| uid == 0 || uid == rustix::process::geteuid().as_raw();
        if let Ok(found) = std::fs::symlink_metadata(&self.directory)
            && found.is_symlink()
            && !trusted(found.uid())
        {
            return Err(refused("is a link that belongs to another user".into()));
        }
        for above in self.directory.ancestors().skip(1) {
            let Ok(found) = std::fs::metadata(above) else { continue };
            let (open, sticky) =
                (found.permissions().mode() & 0o002 != 0, found.permissions().mode() & 0o1000 != 0);
            if open && !sticky {
                return Err(refused(format!("is in {}, which everybody may write to", above.display())));
            }
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
        let never_a_link = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .custom_flags(never_a_link)
            .open(path)
    }

    pub fn proxy_socket(&self) -> PathBuf {
        self.path("proxy.sock")
    }

    pub fn proxy_state(&self) -> PathBuf {
        self.path("proxy.json")
    }
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
