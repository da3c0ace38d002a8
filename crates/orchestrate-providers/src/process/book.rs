//! The record of what should run and what does: `<home>/instances.json`, replaced by write, fsync, rename.
//!
//! An instance is written down before it is started; the name it then carries in its environment finds it again if
//! the daemon died before its pid was written down too.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use orchestrate_core::failpoint;
use orchestrate_core::name::{EnvironmentName, Fence};
use orchestrate_core::ports::{Placement, PortError, PortResult};
use orchestrate_core::release::Digest;
use orchestrate_core::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::proc_table::Mark;

const FORMAT: u32 = 1;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    format: u32,
    /// The boot in which the marks were made.
    pub boot: String,
    /// The newest fence seen in each environment.
    pub fences: BTreeMap<EnvironmentName, Fence>,
    pub slots: Vec<SlotEntry>,
}

/// One release in one slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SlotEntry {
    pub placement: Placement,
    pub digest: Digest,
    pub stop_timeout: Span,
    /// By id, such as `blue-web-1`.
    pub instances: BTreeMap<String, InstanceEntry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct InstanceEntry {
    pub process: String,
    pub number: u32,
    /// Unique for ever; with `run` it is the name that the process carries in its environment.
    pub token: String,
    /// Counts its starts, so that a later one is told from what an earlier one left behind.
    pub run: u32,
    /// Where it listens, if it is routed.
    pub port: Option<u16>,
    pub mark: Option<Mark>,
    pub restarts: u32,
    pub started_at: Timestamp,
    pub last_exit: Option<String>,
    /// Being stopped: not to be started again.
    pub stopping: bool,
}

impl InstanceEntry {
    pub fn name_in_environment(&self) -> String {
        format!("{}.{}", self.token, self.run)
    }
}

impl Record {
    pub fn slot_mut(&mut self, placement: &Placement) -> Option<&mut SlotEntry> {
        self.slots.iter_mut().find(|entry| entry.placement == *placement)
    }

    pub fn instance_mut(&mut self, placement: &Placement, id: &str) -> Option<&mut InstanceEntry> {
        self.slot_mut(placement)?.instances.get_mut(id)
    }

    /// Ports that are given out, whether their instance runs or not.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.slots.iter().flat_map(|slot| slot.instances.values()).filter_map(|instance| instance.port)
    }
}

/// The record in memory, and its file.
pub(super) struct Book {
    path: PathBuf,
    pages: Mutex<Pages>,
    /// Which change is on disk. Held while writing, so that changes that come meanwhile are written together.
    written: tokio::sync::Mutex<u64>,
}

struct Pages {
    record: Record,
    change: u64,
}

/// What [`Book::open`] found.
pub(super) struct Opened {
    pub book: Book,
    /// Why an earlier file could not be used, and where it is now.
    pub damage: Option<String>,
}

impl Book {
    pub fn open(path: PathBuf) -> io::Result<Opened> {
        let (record, damage) = match fs::read(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => (Record::default(), None),
            Err(cause) => return Err(cause),
            Ok(bytes) => match read(&bytes) {
                Ok(record) => (record, None),
                Err(why) => {
                    let aside = move_aside(&path)?;
                    let damage =
                        format!("{} was damaged ({why}) and is now {}", path.display(), aside.display());
                    (Record::default(), Some(damage))
                }
            },
        };
        let pages = Mutex::new(Pages { record, change: 0 });
        Ok(Opened { book: Self { path, pages, written: tokio::sync::Mutex::new(0) }, damage })
    }

    pub fn read<R>(&self, look: impl FnOnce(&Record) -> R) -> R {
        look(&self.pages().record)
    }

    /// Changes the record; the change is written with the next one that is.
    pub fn amend<R>(&self, change: impl FnOnce(&mut Record) -> R) -> R {
        let mut pages = self.pages();
        pages.change += 1;
        change(&mut pages.record)
    }

    /// Changes the record, and returns once the change outlives a loss of power.
    ///
    /// After an error the change holds in memory, and is written with the next one.
    pub async fn update<R>(self: &Arc<Self>, change: impl FnOnce(&mut Record) -> R) -> PortResult<R> {
        let (result, number) = {
            let mut pages = self.pages();
            let result = change(&mut pages.record);
            pages.change += 1;
            (result, pages.change)
        };
        self.write(number).await?;
        Ok(result)
    }

    /// Returns once every change so far is on disk.
    pub async fn flush(self: &Arc<Self>) -> PortResult<()> {
        let number = self.pages().change;
        self.write(number).await
    }

    async fn write(self: &Arc<Self>, number: u64) -> PortResult<()> {
        let mut written = self.written.lock().await;
        if *written >= number {
            return Ok(());
        }
        let (record, newest) = {
            let pages = self.pages();
            (Record { format: FORMAT, ..pages.record.clone() }, pages.change)
        };
        let book = Arc::clone(self);
        let replaced = tokio::task::spawn_blocking(move || replace(&book.path, &record)).await;
        let failed = |cause: &dyn std::fmt::Display| {
            PortError::failed(format!("{} cannot be written: {cause}", self.path.display()))
        };
        replaced.map_err(|cause| failed(&cause))?.map_err(|cause| failed(&cause))?;
        *written = newest;
        Ok(())
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a record as a start does; what is taken must be written as what is taken again.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn reopen(path: &Path) -> io::Result<()> {
    let opened = Book::open(path.to_owned())?;
    if opened.damage.is_none() {
        let record = Record { format: FORMAT, ..opened.book.read(Record::clone) };
        replace(path, &record)?;
        let again = Book::open(path.to_owned())?;
        assert_eq!((again.damage.as_ref(), again.book.read(Record::clone)), (None, record));
    }
    Ok(())
}

fn read(bytes: &[u8]) -> Result<Record, String> {
    let record: Record = serde_json::from_slice(bytes).map_err(|cause| cause.to_string())?;
    if record.format == FORMAT {
        Ok(record)
    } else {
        Err(format!("its format is {}, not {FORMAT}", record.format))
    }
}

fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let stamp = Timestamp::system_now().as_millis();
    let aside = path.with_extension(format!("damaged-{stamp}.json"));
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// Whole and on disk before this returns.
pub(crate) fn replace(path: &Path, record: &impl Serialize) -> io::Result<()> {
    let next = path.with_extension("json.next");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    failpoint!("supervisor/write", file.write_all(&serde_json::to_vec_pretty(record)?))?;
    failpoint!("supervisor/sync", file.sync_all())?;
    failpoint!("supervisor/rename", fs::rename(&next, path))?;
    let directory = path.parent().unwrap_or(path);
    failpoint!("supervisor/sync-directory", File::open(directory).and_then(|directory| directory.sync_all()))
}

#[cfg(test)]
mod tests;
