//! Keeps logs small while the instances go on writing to them: no line is lost, and no instance is told.
//!
//! The oldest part is copied to `.1` and then cut off in front, which the file system does without touching the end
//! that the instance appends to. Where it cannot (tmpfs, for one), the whole file is copied and emptied.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::lines::Counted;
use super::shared::blocking;

/// How much output is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// The size at which the older part of a log is set aside.
    pub bytes: u64,
    /// How many such parts are kept.
    pub parts: u32,
    /// How often sizes are looked at.
    pub check_every: Duration,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { bytes: 10 << 20, parts: 5, check_every: Duration::from_secs(1) }
    }
}

/// Never returns. `written` says which logs are written to, which are others only after one of the `changes`.
pub(crate) async fn keep_small(
    limits: LogLimits,
    mut changes: watch::Receiver<u64>,
    counted: Arc<Counted>,
    written: impl Fn() -> Vec<PathBuf>,
) {
    let mut tick = interval(limits.check_every.max(Duration::from_millis(10)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    changes.mark_changed();
    let mut logs: Vec<(PathBuf, Growth)> = Vec::new();
    loop {
        tick.tick().await;
        if changes.has_changed().unwrap_or_default() {
            changes.mark_unchanged();
            // Both slots may run the same version, into the same log.
            let mut written: HashSet<PathBuf> = written().into_iter().collect();
            logs.retain(|(log, _)| written.remove(log));
            logs.extend(written.into_iter().map(|log| (log, Growth::default())));
        }
        for (log, growth) in &mut logs {
            if !growth.is_due()
                || growth.seen(fs::metadata(&*log).map_or(0, |about| about.len())) < limits.bytes
            {
                continue;
            }
            let (path, counted) = (log.clone(), Arc::clone(&counted));
            let rotated = blocking(move || {
                let _still = counted.keep_still();
                Ok(rotate(&path, limits))
            })
            .await;
            if let Ok(Err(cause)) = rotated {
                tracing::warn!(log = %log.display(), %cause, "a log cannot be rotated");
            }
        }
    }
}

/// How a log grows. One that does not is looked at less often: there may be hundreds of them, and each costs a look.
#[derive(Debug, Default)]
struct Growth {
    bytes: u64,
    /// So many looks are left out between two.
    pause: u32,
    left: u32,
}

impl Growth {
    const LONGEST_PAUSE: u32 = 7;

    fn is_due(&mut self) -> bool {
        let due = self.left == 0;
        self.left = self.left.saturating_sub(1);
        due
    }

    /// Returns the size.
    fn seen(&mut self, bytes: u64) -> u64 {
        self.pause = if bytes == self.bytes { (self.pause * 2 + 1).min(Self::LONGEST_PAUSE) } else { 0 };
        (self.bytes, self.left) = (bytes, self.pause);
        bytes
    }
}

/// Sets parts aside until the log is smaller than the limit.
pub(crate) fn rotate(log: &Path, limits: LogLimits) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(log)?;
    loop {
        let about = file.metadata()?;
        if about.len() < limits.bytes {
            return Ok(());
        }
        make_room(log, limits.parts)?;
        let block = about.blksize().max(1);
        let part = limits.bytes / block * block;
        // The range that is cut off must be of whole blocks and must not reach the end.
        let cut = if part > 0 && part < about.len() { part } else { (about.len() - 1) / block * block };
        if cut > 0 {
            copy_to_first(&file, log, cut)?;
            match fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, cut) {
                Ok(()) => continue,
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
                Err(cause) => return Err(cause.into()),
            }
        }
        return copy_and_empty(&file, log);
    }
}

/// Moves every part one number up; the oldest one goes.
fn make_room(log: &Path, parts: u32) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        _ => Ok(()),
    };
    gone(fs::remove_file(part(log, parts.max(1))))?;
    for number in (1..parts).rev() {
        gone(fs::rename(part(log, number), part(log, number + 1)))?;
    }
    Ok(())
}

/// Where a part that was set aside is; the newest has the number 1.
pub(crate) fn part(log: &Path, number: u32) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn first_part(log: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(part(log, 1))
}

fn copy_to_first(file: &File, log: &Path, length: u64) -> io::Result<()> {
    let mut from = file;
    from.seek(SeekFrom::Start(0))?;
    let copied = first_part(log).and_then(|mut to| io::copy(&mut from.take(length), &mut to));
    match copied {
        Ok(copied) if copied == length => Ok(()),
        other => {
            let _ = fs::remove_file(part(log, 1));
            other.and(Err(io::Error::other("the log became shorter while it was copied")))
        }
    }
}

/// Copies to the very end, and empties the log in the moment in which nothing new has come.
fn copy_and_empty(file: &File, log: &Path) -> io::Result<()> {
    let to = first_part(log)?;
    let (mut copied, mut buffer) = (0, vec![0; 256 * 1024]);
    loop {
        match file.read_at(&mut buffer, copied)? {
            0 => break,
            read => {
                to.write_all_at(&buffer[..read], copied)?;
                copied += read as u64;
            }
        }
    }
    file.set_len(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const SMALL: LogLimits = LogLimits { bytes: 16 * 1024, parts: 400, check_every: Duration::from_secs(1) };

    /// All parts of a log, oldest first.
    fn whole(log: &Path, parts: u32) -> String {
        let older = (1..=parts).rev().map(|number| fs::read_to_string(part(log, number)).unwrap_or_default());
        older.chain([fs::read_to_string(log).unwrap()]).collect()
    }

    #[test]
    fn no_line_is_lost_while_somebody_writes() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("web.1.log");
        let mut writer = OpenOptions::new().append(true).create(true).open(&log).unwrap();
        let lines = 60_000;
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || (0..lines).for_each(|n| writeln!(writer, "line {n}").unwrap()));
            while !writing.is_finished() {
                rotate(&log, SMALL).unwrap();
            }
        });
        rotate(&log, SMALL).unwrap();
        assert!(part(&log, 2).exists(), "nothing was rotated");
        assert!(fs::metadata(&log).unwrap().len() < SMALL.bytes);
        let expected: String = (0..lines).map(|n| format!("line {n}\n")).collect();
        assert!(whole(&log, SMALL.parts) == expected, "the parts are not what was written");
    }

    #[test]
    fn only_so_many_parts_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("web.1.log");
        let limits = LogLimits { parts: 2, ..SMALL };
        for _ in 0..5 {
            OpenOptions::new()
                .append(true)
                .create(true)
                .open(&log)
                .unwrap()
                .write_all(&[b'x'; 20_000])
                .unwrap();
            rotate(&log, limits).unwrap();
        }
        assert!(part(&log, 1).exists() && part(&log, 2).exists() && !part(&log, 3).exists());
    }

    #[test]
    fn where_the_front_cannot_be_cut_off_the_whole_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("web.1.log");
        let mut writer = OpenOptions::new().append(true).create(true).open(&log).unwrap();
        writeln!(writer, "before").unwrap();
        copy_and_empty(&OpenOptions::new().read(true).write(true).open(&log).unwrap(), &log).unwrap();
        writeln!(writer, "after").unwrap();
        assert_eq!(fs::read_to_string(part(&log, 1)).unwrap(), "before\n");
        assert_eq!(fs::read_to_string(&log).unwrap(), "after\n");
    }

    /// At which of so many looks a log is looked at, whose size is `bytes` by then.
    fn looks(growth: &mut Growth, count: u64, bytes: impl Fn(u64) -> u64) -> Vec<u64> {
        let look = |number: &u64| {
            let due = growth.is_due();
            if due {
                growth.seen(bytes(*number));
            }
            due
        };
        (0..count).filter(look).collect()
    }

    #[test]
    fn what_grows_is_looked_at_each_time_and_what_does_not_less_often() {
        let mut growth = Growth::default();
        assert_eq!(looks(&mut growth, 4, |number| 100 * (number + 1)), [0, 1, 2, 3]);
        assert_eq!(looks(&mut growth, 40, |_| 400), [0, 2, 6, 14, 22, 30, 38]);
        assert_eq!(looks(&mut growth, 12, |number| 500 + number), [6, 7, 8, 9, 10, 11]);
    }
}
