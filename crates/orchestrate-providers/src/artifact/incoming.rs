//! A place beside the store where a tree is written before it is moved in, whole, under its digest.
//!
//! Whoever writes there holds a lock that ends with its process, so what a crash left is told from what is in use.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use orchestrate_core::{Error, Result, failpoint};
use rustix::fs::{FlockOperation, flock, syncfs};

use super::error;
use super::listing::Listing;

pub(super) const PREFIX: &str = ".incoming-";

pub(super) struct Incoming {
    path: PathBuf,
    /// Held until this is dropped.
    _lock: File,
}

impl Incoming {
    /// Opens the store, clears what crashes left in it, and makes a new place.
    pub fn begin(store: &Path) -> Result<Self> {
        let private = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        private(store).map_err(|cause| error::store(store, cause))?;
        // Until it has its own lock, a new place cannot be told from a leftover: one after the other.
        let _turn = turn(store).map_err(|cause| error::store(store, cause))?;
        clear_leftovers(store);
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|cause| Error::bug(format!("no randomness: {cause}")))?;
        let path = store.join(format!("{PREFIX}{:016x}", u64::from_ne_bytes(random)));
        let make = || {
            fs::DirBuilder::new().mode(0o700).create(&path)?;
            fs::DirBuilder::new().mode(0o700).create(path.join("tree"))?;
            lock(&path.join("lock"), FlockOperation::NonBlockingLockExclusive)
        };
        let lock = failpoint!("artifact/create", make()).map_err(|cause| error::store(&path, cause))?;
        Ok(Self { path, _lock: lock })
    }

    pub fn tree(&self) -> PathBuf {
        self.path.join("tree")
    }

    /// A directory for other files that are gone with this place.
    pub fn scratch(&self) -> PathBuf {
        self.path.join("scratch")
    }

    /// Makes it durable and moves it to `place`. If `taken` then says that the same is there already, so much the better.
    pub fn install(self, listing: &Listing, place: &Path, taken: impl Fn() -> bool) -> Result<()> {
        let ready = self.path.join("ready");
        let put = || -> io::Result<()> {
            fs::create_dir(&ready)?;
            fs::rename(self.tree(), ready.join("tree"))?;
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o444).open(ready.join("listing"))?;
            failpoint!("artifact/listing", file.write_all(listing.encode().as_bytes()))?;
            file.sync_all()?;
            // One call for all files, instead of a disk flush for each.
            failpoint!("artifact/sync", syncfs(&file).map_err(io::Error::from))
        };
        put().map_err(|cause| error::store(&ready, cause))?;
        while let Err(cause) = failpoint!("artifact/install", fs::rename(&ready, place)) {
            if !matches!(cause.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) {
                return Err(error::store(place, cause));
            }
            if taken() {
                return Ok(());
            }
            // What is there under this digest is damaged: it gives way.
            let damaged = self.path.join("damaged");
            let _ = fs::remove_dir_all(&damaged);
            match fs::rename(place, &damaged) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(error::store(place, cause));
                }
                _ => {}
            }
        }
        let store = place.parent().unwrap_or(place);
        failpoint!("artifact/sync-directory", File::open(store).and_then(|directory| directory.sync_all()))
            .map_err(|cause| error::store(store, cause))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Err(cause) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %cause, "a temporary directory of the artifact store is left");
        }
    }
}

/// Whoever adds to the store or removes from it does so one after the other.
pub(super) fn turn(store: &Path) -> io::Result<File> {
    lock(&store.with_extension("lock"), FlockOperation::LockExclusive)
}

fn lock(path: &Path, how: FlockOperation) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    flock(&file, how)?;
    Ok(file)
}

fn clear_leftovers(store: &Path) {
    for entry in fs::read_dir(store).into_iter().flatten().flatten() {
        let is_place = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let is_busy = || {
            let lock = File::open(entry.path().join("lock"));
            lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err())
        };
        if is_place && !is_busy() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
