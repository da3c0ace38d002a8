//! The routes on disk: written beside, synced, renamed, the directory synced. A thread of its own writes; changes that
//! come while it does are written together.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use orchestrate_core::failpoint;
use orchestrate_core::name::{EnvironmentName, Fence};
use orchestrate_core::ports::{Backend, Placement, PortError, PortResult};
use orchestrate_core::traffic::TrafficRules;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::options::ProxyError;

const FORMAT: u32 = 1;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub format: u32,
    pub environments: BTreeMap<EnvironmentName, SavedEnvironment>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedEnvironment {
    pub fence: Option<Fence>,
    pub placed: Vec<SavedPlaced>,
    /// While two releases share the traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<TrafficRules>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedPlaced {
    pub placement: Placement,
    pub weight: u8,
    pub backends: Vec<Backend>,
}

impl Saved {
    pub fn new(environments: BTreeMap<EnvironmentName, SavedEnvironment>) -> Self {
        Self { format: FORMAT, environments }
    }
}

/// Reads the state; a file that cannot be understood is moved aside, and its new name returned.
pub(crate) fn load(path: &Path) -> Result<(Saved, Option<PathBuf>), ProxyError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Saved::default(), None)),
        Err(error) => return Err(ProxyError::file("read the state", path)(error)),
    };
    match serde_json::from_slice::<Saved>(&bytes) {
        Ok(saved) if saved.format == FORMAT => Ok((saved, None)),
        Ok(_) | Err(_) => {
            let aside = free_name(path);
            std::fs::rename(path, &aside).map_err(ProxyError::file("move aside the state", path))?;
            tracing::error!(state = %path.display(), moved_to = %aside.display(), "the state cannot be read");
            Ok((Saved::default(), Some(aside)))
        }
    }
}

fn free_name(path: &Path) -> PathBuf {
    let name = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".corrupt-{n}"));
        PathBuf::from(name)
    };
    (1..).map(name).find(|name| !name.exists()).unwrap_or_else(|| name(0))
}

/// Hands states to the writing thread.
pub(crate) struct Saver {
    desk: Arc<Desk>,
    written: watch::Receiver<Written>,
}

struct Desk {
    pending: Mutex<Pending>,
    news: Condvar,
}

#[derive(Default)]
struct Pending {
    /// Counts the states that were handed over.
    edition: u64,
    state: Option<Vec<u8>>,
    /// It could not be written, and nobody has asked again.
    stuck: bool,
    closed: bool,
}

#[derive(Clone, Default)]
struct Written {
    edition: u64,
    /// The newest edition that could not be written, and why.
    failed: Option<(u64, String)>,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a state to write; none once there will be no more.
    fn next(&self) -> Option<(u64, Vec<u8>)> {
        let mut pending = self.lock();
        loop {
            if !pending.stuck
                && let Some(state) = pending.state.take()
            {
                return Some((pending.edition, state));
            }
            if pending.closed {
                return None;
            }
            pending = self.news.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Keeps the state until somebody asks for it, unless a newer one has come.
    fn give_back(&self, state: Vec<u8>) {
        let mut pending = self.lock();
        if pending.state.is_none() {
            pending.state = Some(state);
            pending.stuck = true;
        }
    }

    fn retry(&self) {
        self.lock().stuck = false;
        self.news.notify_one();
    }
}

impl Saver {
    pub fn start(path: PathBuf) -> Result<Self, ProxyError> {
        let desk = Arc::new(Desk { pending: Mutex::default(), news: Condvar::new() });
        let (outcome, written) = watch::channel(Written::default());
        let theirs = Arc::clone(&desk);
        std::thread::Builder::new()
            .name("state".into())
            .spawn(move || write_all(&theirs, &path, &outcome))
            .map_err(ProxyError::start("the thread that writes the state"))?;
        Ok(Self { desk, written })
    }

    /// Takes the state as it is now; returns at once.
    pub fn put(&self, state: &Saved) -> Edition {
        let mut pending = self.desk.lock();
        pending.edition += 1;
        // Names, numbers and addresses serialize always.
        pending.state = serde_json::to_vec_pretty(state).ok();
        pending.stuck = false;
        self.desk.news.notify_one();
        Edition(pending.edition)
    }

    /// The newest state that was handed over.
    pub fn newest(&self) -> Edition {
        Edition(self.desk.lock().edition)
    }

    /// Returns once the state outlives a loss of power.
    pub async fn durable(&self, edition: Edition) -> PortResult<()> {
        let mut written = self.written.clone();
        // What failed before may go now, e.g. after room was made on the disk.
        let stale = written.borrow_and_update().failed.clone();
        if written.borrow().edition < edition.0 {
            self.desk.retry();
        }
        loop {
            {
                let now = written.borrow_and_update();
                if now.edition >= edition.0 {
                    return Ok(());
                }
                if let Some((failed, why)) = &now.failed
                    && *failed >= edition.0
                    && now.failed != stale
                {
                    return Err(PortError::failed(format!("cannot write the proxy's state: {why}")));
                }
            }
            if written.changed().await.is_err() {
                return Err(PortError::failed("the proxy is ending and writes its state no more"));
            }
        }
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        self.desk.lock().closed = true;
        self.desk.news.notify_one();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edition(u64);

fn write_all(desk: &Desk, path: &Path, outcome: &watch::Sender<Written>) {
    let mut failures = 0_u64;
    while let Some((edition, state)) = desk.next() {
        match replace(path, &state) {
            Ok(()) => outcome.send_modify(|written| *written = Written { edition, failed: None }),
            Err(error) => {
                failures += 1;
                tracing::error!(%error, path = %path.display(), "cannot write the state");
                desk.give_back(state);
                let why = format!("{error} (attempt {failures})");
                outcome.send_modify(|written| written.failed = Some((edition, why)));
            }
        }
    }
}

fn replace(path: &Path, state: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    failpoint!("routes/write", file.write_all(state))?;
    failpoint!("routes/sync", file.sync_all())?;
    failpoint!("routes/rename", std::fs::rename(&temporary, path))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    failpoint!("routes/sync-directory", File::open(directory).and_then(|directory| directory.sync_all()))
}

/// Makes sure that no other proxy works on the state; held until it is dropped.
pub(crate) fn lock(state: &Path) -> Result<File, ProxyError> {
    use rustix::fs::{FlockOperation, flock};
    let mut path = state.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = open.map_err(ProxyError::file("open the lock", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ProxyError::Locked { path }),
        Err(error) => Err(ProxyError::file("lock", &path)(error.into())),
    }
}

#[cfg(test)]
mod tests;
