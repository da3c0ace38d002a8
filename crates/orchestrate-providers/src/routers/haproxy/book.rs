//! What an HAProxy was told for one environment: `<home>/haproxy/ENVIRONMENT.json`, replaced by write and rename under a
//! file lock that commands and the daemon share. HAProxy itself remembers neither fences nor releases.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use orchestrate_core::environment::HealthCheck;
use orchestrate_core::name::{EnvironmentName, Fence, ReleaseId};
use orchestrate_core::ports::{Placement, PortError, PortErrorKind, PortResult};
use orchestrate_core::slot::Slot;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

const FORMAT: u32 = 1;
/// How long somebody else may hold the lock: a change takes some milliseconds.
const LOCKED: Duration = Duration::from_secs(10);
/// So many releases that left are still told apart in the counts.
const LEFT: usize = 16;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Book {
    format: u32,
    /// Which HAProxy this is about.
    pub socket: String,
    /// The process of it that was told last.
    pub told: String,
    /// The newest fence seen.
    pub fence: Option<Fence>,
    pub slots: Vec<Placed>,
    /// What releases that left their slot had answered.
    pub left: Vec<Left>,
}

/// One release in one slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Placed {
    pub placement: Placement,
    /// Its share of the traffic, in percent.
    pub weight: u8,
    pub lanes: Vec<Lane>,
    /// What its instances that are gone had answered.
    pub carried: Vec<Mark>,
}

/// The instances of one process type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lane {
    pub process: String,
    pub backend: String,
    pub listen: SocketAddr,
    pub health_check: HealthCheck,
    /// By the server of HAProxy that stands for the instance.
    pub seats: BTreeMap<String, Seat>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seat {
    pub instance: String,
    pub address: SocketAddr,
    /// What the server had counted before.
    pub from: Mark,
}

/// Counts of one HAProxy process; those of another one begin anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub process: String,
    pub requests: u64,
    pub errors: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Left {
    pub slot: Slot,
    pub release: ReleaseId,
    pub marks: Vec<Mark>,
}

impl Book {
    pub fn in_slot(&self, slot: Slot) -> Option<&Placed> {
        self.slots.iter().find(|placed| placed.placement.slot == slot)
    }

    pub fn placed(&self, placement: &Placement) -> PortResult<&Placed> {
        let there =
            self.in_slot(placement.slot).filter(|placed| placed.placement.release == placement.release);
        there.ok_or_else(|| {
            let Placement { environment, slot, release, version } = placement;
            PortError::new(
                PortErrorKind::Missing,
                format!("release {release} ({version}) is not registered in slot {slot} of {environment}"),
            )
        })
    }

    pub fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.slots.iter().flat_map(|placed| &placed.lanes)
    }

    pub fn weigh(&mut self, weight: impl Fn(Slot) -> u8) {
        self.slots.iter_mut().for_each(|placed| placed.weight = weight(placed.placement.slot));
    }

    pub fn leave(&mut self, left: Left) {
        self.left.push(left);
        let beyond = self.left.len().saturating_sub(LEFT);
        self.left.drain(..beyond);
    }

    /// Refuses an older fence than one seen before, and remembers a newer one.
    pub fn admit(&mut self, environment: &EnvironmentName, fence: Fence) -> PortResult<()> {
        if let Some(seen) = self.fence.filter(|seen| *seen > fence) {
            return Err(PortError::new(
                PortErrorKind::Fenced,
                format!("a newer operation has taken over {environment}: fence {fence} is older than {seen}"),
            ));
        }
        self.fence = Some(fence);
        Ok(())
    }
}

/// The books of all environments of a home.
#[derive(Clone, Debug)]
pub(super) struct Books {
    directory: PathBuf,
}

/// A book that nobody else can write while this is held.
pub(super) struct Kept {
    pub book: Book,
    path: PathBuf,
    written: Vec<u8>,
    _lock: File,
}

impl Books {
    pub fn new(home: &Path) -> Self {
        Self { directory: home.join("haproxy") }
    }

    fn path(&self, environment: &EnvironmentName) -> PathBuf {
        self.directory.join(format!("{environment}.json"))
    }

    /// As it was written last; who reads it does not wait for who writes.
    pub fn read(&self, environment: &EnvironmentName) -> PortResult<Book> {
        Ok(read(&self.path(environment))?.0)
    }

    /// Every one with a release in it.
    pub fn all(&self) -> Vec<(EnvironmentName, Book)> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let books = entries.filter_map(|entry| {
            let name = EnvironmentName::new(entry.file_name().to_str()?.strip_suffix(".json")?).ok()?;
            let book = self.read(&name).ok().filter(|book| !book.slots.is_empty())?;
            Some((name, book))
        });
        books.collect()
    }

    pub async fn open(&self, environment: &EnvironmentName) -> PortResult<Kept> {
        let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
        created.map_err(|error| unusable(&self.directory, &error))?;
        let lock = lock(&self.directory.join(format!("{environment}.lock")), environment).await?;
        let path = self.path(environment);
        let (book, written) = read(&path)?;
        Ok(Kept { book, path, written, _lock: lock })
    }

    /// Who else uses the backend of the same HAProxy.
    pub fn other_user(
        &self,
        environment: &EnvironmentName,
        socket: &str,
        backend: &str,
    ) -> Option<EnvironmentName> {
        let uses = |book: &Book| book.socket == socket && book.lanes().any(|lane| lane.backend == backend);
        let mut others = self.all().into_iter().filter(|(name, book)| name != environment && uses(book));
        others.next().map(|(name, _)| name)
    }

    /// Returns once what was written outlives a loss of power.
    pub async fn sync(&self, environment: &EnvironmentName) -> PortResult<()> {
        let (path, directory) = (self.path(environment), self.directory.clone());
        blocking(move || {
            match File::open(&path) {
                Ok(file) => file.sync_all().map_err(|error| unusable(&path, &error))?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(unusable(&path, &error)),
            }
            File::open(&directory)
                .and_then(|file| file.sync_all())
                .map_err(|error| unusable(&directory, &error))
        })
        .await
    }
}

impl Kept {
    /// Writes the book if it changed; it outlives this program, and a loss of power after [`Books::sync`].
    pub fn save(&mut self) -> PortResult<()> {
        self.book.format = FORMAT;
        let text = serde_json::to_vec_pretty(&self.book).map_err(|error| {
            PortError::failed(format!("{} cannot be written: {error}", self.path.display()))
        })?;
        if text != self.written {
            replace(&self.path, &text).map_err(|error| unusable(&self.path, &error))?;
            self.written = text;
        }
        Ok(())
    }
}

/// Writes beside it, and renames.
pub(super) fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension(format!("new.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text)?;
    fs::rename(&new, path)
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> PortResult<T> + Send + 'static,
) -> PortResult<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(PortError::failed(format!("a task ended early: {error}"))))
}

fn read(path: &Path) -> PortResult<(Book, Vec<u8>)> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Book::default(), Vec::new())),
        Err(error) => return Err(unusable(path, &error)),
    };
    let book: Book = serde_json::from_slice(&text).map_err(|error| unreadable(path, &error.to_string()))?;
    match book.format {
        FORMAT => Ok((book, text)),
        other => Err(unreadable(path, &format!("it has format {other}, of another version of this program"))),
    }
}

async fn lock(path: &Path, environment: &EnvironmentName) -> PortResult<File> {
    let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let file = opened.map_err(|error| unusable(path, &error))?;
    let begun = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) if begun.elapsed() < LOCKED => {
                sleep(Duration::from_millis(2)).await;
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(PortError::unreachable(format!(
                    "another program tells HAProxy about {environment} and does not end"
                ))
                .detail(format!("see which: fuser {}", path.display())));
            }
            Err(error) => return Err(unusable(path, &error.into())),
        }
    }
}

fn unusable(path: &Path, error: &io::Error) -> PortError {
    PortError::failed(format!("{} cannot be used: {error}", path.display()))
        .detail("check the owner and mode of the home, and the space on its disk")
}

fn unreadable(path: &Path, why: &str) -> PortError {
    PortError::failed(format!("{} cannot be read: {why}", path.display()))
        .detail("move it away; the daemon tells HAProxy again what is recorded")
}
