//! What is kept of custom environments: `<home>/custom.json`, shared by the daemon and by commands under a file lock, and
//! replaced by write, fsync, rename.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use orchestrate_core::name::{EnvironmentName, Fence};
use orchestrate_core::ports::{Backend, Placement, PortError, PortErrorKind, PortResult};
use orchestrate_core::time::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::process::{blocking, replace};

const FORMAT: u32 = 1;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    format: u32,
    pub environments: BTreeMap<EnvironmentName, Entry>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Entry {
    /// The newest fence that was seen.
    pub fence: Option<Fence>,
    /// What was started and not stopped.
    #[serde(default)]
    pub placed: Vec<Placed>,
    /// What the router was told of.
    #[serde(default)]
    pub routes: Vec<Route>,
}

/// A release in a slot, from before its first command on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Placed {
    pub placement: Placement,
    pub since: Timestamp,
    /// `deploy` was done.
    pub deployed: bool,
    /// It was stopped, and goes as soon as it has no traffic any more.
    #[serde(default)]
    pub leaving: bool,
}

/// What is registered for traffic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Route {
    pub placement: Placement,
    pub backends: Vec<Backend>,
}

/// The file. Nothing is kept in memory, because other programs change it too.
#[derive(Clone, Debug)]
pub struct Book {
    path: PathBuf,
}

impl Book {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// What is known of an environment.
    pub async fn entry(&self, environment: &EnvironmentName) -> PortResult<Entry> {
        Ok(self.record().await?.environments.remove(environment).unwrap_or_default())
    }

    pub async fn record(&self) -> PortResult<Record> {
        let book = self.clone();
        blocking(move || book.read().map_err(|cause| book.unusable(&cause))).await
    }

    /// Changes what is known of an environment under a fence that is not older than the newest one. What it says is on disk
    /// when this returns; an error of `change` leaves all but the fence as it was.
    pub async fn update<R: Send + 'static>(
        &self,
        environment: &EnvironmentName,
        fence: Fence,
        change: impl FnOnce(&mut Entry) -> PortResult<R> + Send + 'static,
    ) -> PortResult<R> {
        let (book, environment) = (self.clone(), environment.clone());
        blocking(move || {
            let _lock = book.lock().map_err(|cause| book.unusable(&cause))?;
            let mut record = book.read().map_err(|cause| book.unusable(&cause))?;
            let entry = record.environments.entry(environment.clone()).or_default();
            check(&environment, entry.fence, fence)?;
            entry.fence = Some(fence);
            let mut changed = entry.clone();
            let result = change(&mut changed);
            if result.is_ok() {
                *entry = changed;
            }
            record.format = FORMAT;
            replace(&book.path, &record).map_err(|cause| book.unusable(&cause))?;
            result
        })
        .await
    }

    /// The same without a fence: for what is stopped for good.
    pub async fn amend(
        &self,
        environment: &EnvironmentName,
        change: impl FnOnce(&mut Entry) + Send + 'static,
    ) -> PortResult<()> {
        let fence = self.entry(environment).await?.fence.unwrap_or(Fence(0));
        self.update(environment, fence, |entry| {
            change(entry);
            Ok(())
        })
        .await
    }

    fn read(&self) -> io::Result<Record> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Record::default()),
            Err(cause) => return Err(cause),
        };
        let record: Record = serde_json::from_slice(&bytes)?;
        match record.format {
            FORMAT => Ok(record),
            other => Err(io::Error::other(format!("its format is {other}, not {FORMAT}"))),
        }
    }

    fn lock(&self) -> io::Result<File> {
        let path = self.path.with_extension("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    /// A damaged book is not thrown away: its fences must not be forgotten.
    fn unusable(&self, cause: &io::Error) -> PortError {
        let path = self.path.display();
        PortError::failed(format!("{path} cannot be used: {cause}")).detail(format!(
            "it holds the fences and what was started; put back a good copy, or look at what runs and remove it: rm {path}"
        ))
    }
}

fn check(environment: &EnvironmentName, seen: Option<Fence>, fence: Fence) -> PortResult<()> {
    match seen {
        Some(seen) if seen > fence => Err(PortError::new(
            PortErrorKind::Fenced,
            format!("a newer operation works on {environment}: its fence is {seen}, this one's is {fence}"),
        )),
        _ => Ok(()),
    }
}

impl Entry {
    pub fn placed(&self, placement: &Placement) -> Option<&Placed> {
        self.placed.iter().find(|placed| placed.placement == *placement)
    }

    pub fn forget(&mut self, placement: &Placement) {
        self.placed.retain(|placed| placed.placement != *placement);
    }
}
