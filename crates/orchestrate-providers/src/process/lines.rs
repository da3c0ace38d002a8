//! Counts lines of the instances' output that match, reading each byte once.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use orchestrate_core::ports::{CountLines, Lines, PortError, PortResult, Processes};
use regex::bytes::Regex;

use super::rotate::part;
use super::shared::{Shared, blocking};

/// More than this of an old log is not read: what matters is its end.
const MOST_BYTES: u64 = 16 << 20;
/// What a person reads of a line.
const SHOWN: usize = 200;
/// Counts that are remembered; a release that is watched has a few.
const REMEMBERED: usize = 256;

/// How far each log was read for each pattern.
#[derive(Default)]
pub(crate) struct Counted {
    cursors: Mutex<HashMap<Key, Cursor>>,
    /// Held while logs are read, and while parts of them are set aside.
    still: Mutex<()>,
}

/// A log, a pattern, and where the run began whose output is counted.
type Key = (PathBuf, String, u64);

#[derive(Clone, Default)]
struct Cursor {
    /// From the end of `newest` on, where there is such a part; else from the log's own beginning.
    read_to: u64,
    /// The newest part that was set aside by then.
    newest: Option<Part>,
    lines: Lines,
}

/// A part of a log that was set aside, to be known again when its number is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

/// A log, and where to begin in it.
pub(crate) struct Source {
    pub log: PathBuf,
    pub from: u64,
}

pub(super) async fn count(shared: &Arc<Shared>, request: &CountLines) -> PortResult<Lines> {
    let sources = sources(shared, request).await?;
    let (shared, text) = (Arc::clone(shared), request.pattern.clone());
    blocking(move || shared.counted.count_all(&sources, &text)).await
}

/// The logs of what runs in the slot; of a release that does not run any more, what it left.
async fn sources(shared: &Arc<Shared>, request: &CountLines) -> PortResult<Vec<Source>> {
    let placement = &request.placement;
    let wanted = |process: &str| request.process.as_deref().is_none_or(|wanted| wanted == process);
    let keepers = shared.keepers_in(&placement.environment, placement.slot);
    let running: Vec<Source> = keepers
        .iter()
        .filter(|keeper| keeper.placement == *placement && wanted(&keeper.process))
        .map(|keeper| {
            let status = keeper.status();
            let from = status.earlier_output_from.unwrap_or(status.output_from);
            Source { log: shared.log(placement, &keeper.process, keeper.number), from }
        })
        .collect();
    if !running.is_empty() {
        return Ok(running);
    }
    let spec = shared.spec(placement.release).await?;
    let left = spec.wanted(Processes::All, None).filter(|one| wanted(one.process));
    Ok(left.map(|one| Source { log: shared.log(placement, one.process, one.number), from: 0 }).collect())
}

impl Counted {
    /// Blocks as long as it reads.
    pub fn count_all(&self, sources: &[Source], text: &str) -> PortResult<Lines> {
        let pattern = Regex::new(text)
            .map_err(|error| PortError::failed(format!("`{text}` is not a regular expression: {error}")))?;
        let mut all = Lines::default();
        for source in sources {
            let lines = self.count(source, text, &pattern).map_err(|cause| {
                PortError::failed(format!("{} cannot be read: {cause}", source.log.display()))
            })?;
            all.matches += lines.matches;
            all.first = all.first.or(lines.first);
        }
        Ok(all)
    }

    /// What is half set aside could be read twice, or not at all.
    pub fn keep_still(&self) -> MutexGuard<'_, ()> {
        self.still.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, source: &Source, text: &str, pattern: &Regex) -> io::Result<Lines> {
        let key = (source.log.clone(), text.to_owned(), source.from);
        let _still = self.keep_still();
        let known = self.cursors.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let start = match known {
            Some(cursor) => cursor,
            None => Cursor {
                read_to: source.from,
                newest: about(&part(&source.log, 1))?,
                lines: Lines::default(),
            },
        };
        let read = read_on(&source.log, start, pattern)?;
        let mut cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        if cursors.len() >= REMEMBERED {
            cursors.clear();
        }
        cursors.insert(key, read.clone());
        Ok(read.lines)
    }
}

/// Reads whole lines only: what is being written is read with the next look. What was set aside since the last look is
/// read where it is by now.
fn read_on(log: &Path, mut cursor: Cursor, pattern: &Regex) -> io::Result<Cursor> {
    let mut pieces = set_aside_since(log, cursor.newest)?;
    let aside: u64 = pieces.iter().map(|(_, bytes)| bytes).sum();
    let length = match fs::metadata(log) {
        Ok(about) => about.len(),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(cursor),
        Err(cause) => return Err(cause),
    };
    if aside + length < cursor.read_to {
        // Somebody else emptied it; what is there by now is newer.
        cursor.read_to = aside;
    }
    cursor.read_to = cursor.read_to.max((aside + length).saturating_sub(MOST_BYTES));
    pieces.push((log.to_owned(), length));
    let mut reader = BufReader::new(one_after_another(&pieces, cursor.read_to)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            break;
        }
        cursor.read_to += u64::try_from(read).unwrap_or(0);
        see(&mut cursor.lines, line.strip_suffix(b"\n").unwrap_or(&line), pattern);
    }
    // A line that is not whole yet may begin in a part: then it is read from there the next time.
    if cursor.read_to >= aside {
        cursor.read_to -= aside;
        cursor.newest = about(&part(log, 1))?;
    }
    Ok(cursor)
}

fn see(lines: &mut Lines, line: &[u8], pattern: &Regex) {
    if pattern.is_match(line) {
        lines.matches += 1;
        let shown = || String::from_utf8_lossy(line).trim_end().chars().take(SHOWN).collect();
        lines.first.get_or_insert_with(shown);
    }
}

/// The parts that are newer than one that is known, the oldest first, with their sizes.
fn set_aside_since(log: &Path, known: Option<Part>) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut newer = Vec::new();
    for number in 1.. {
        let path = part(log, number);
        match about(&path)? {
            Some(found) if Some(found) != known => newer.push((path, found.bytes)),
            Some(_) | None => break,
        }
    }
    newer.reverse();
    Ok(newer)
}

fn about(path: &Path) -> io::Result<Option<Part>> {
    match fs::metadata(path) {
        Ok(about) => {
            let modified = (about.mtime(), about.mtime_nsec());
            Ok(Some(Part { inode: about.ino(), bytes: about.len(), modified }))
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

fn one_after_another(pieces: &[(PathBuf, u64)], mut skip: u64) -> io::Result<Box<dyn Read>> {
    let mut all: Box<dyn Read> = Box::new(io::empty());
    for (path, bytes) in pieces {
        let from = skip.min(*bytes);
        skip -= from;
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        all = Box::new(all.chain(file.take(bytes - from)));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::rotate::{LogLimits, rotate};
    use std::io::Write as _;

    #[test]
    fn each_line_is_counted_once_and_only_when_it_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("web.1.log");
        let mut file = File::create(&log).unwrap();
        let (counted, pattern) = (Counted::default(), Regex::new("panic(ked)?").unwrap());
        let source = Source { log: log.clone(), from: 7 };
        let count = || counted.count(&source, "panic", &pattern).unwrap();
        file.write_all(b"panic!\n").unwrap();
        assert_eq!(count().matches, 0, "an earlier run printed it");
        file.write_all(b"fine\nit panicked\nit pan").unwrap();
        assert_eq!(count(), Lines { matches: 1, first: Some("it panicked".into()) });
        file.write_all(b"icked again\n").unwrap();
        assert_eq!((count().matches, count().matches), (2, 2));
        file.set_len(0).unwrap();
        assert_eq!(count().matches, 2);
    }

    #[test]
    fn what_was_rotated_away_is_not_counted_again() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("web.1.log");
        std::fs::write(&log, "panic\n".repeat(10)).unwrap();
        let (counted, pattern) = (Counted::default(), Regex::new("panic").unwrap());
        let source = Source { log: log.clone(), from: 0 };
        assert_eq!(counted.count(&source, "panic", &pattern).unwrap().matches, 10);
        std::fs::write(&log, "panic\n").unwrap();
        assert_eq!(counted.count(&source, "panic", &pattern).unwrap().matches, 11);
    }

    #[test]
    fn every_line_is_counted_once_however_the_log_is_rotated_between_the_looks() {
        const SMALL: LogLimits =
            LogLimits { bytes: 16 * 1024, parts: 400, check_every: std::time::Duration::from_secs(1) };
        let pattern = Regex::new("^panic [0-9]+$").unwrap();
        // One that can cut a file off in front where there is such a place, and one that cannot.
        let in_memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        for directory in [tempfile::tempdir().unwrap(), in_memory] {
            let log = directory.path().join("web.1.log");
            let mut file = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
            let counted = Counted::default();
            let source = Source { log: log.clone(), from: 0 };
            let count = || counted.count(&source, "panic", &pattern).unwrap().matches;
            let mut printed = 0;
            for round in 0_u64..40 {
                for _ in 0..(round * 37) % 2500 {
                    printed += 1;
                    writeln!(file, "panic {printed}").unwrap();
                }
                // The end of a line comes with the next look.
                file.write_all(b"pan").unwrap();
                if round % 3 != 0 {
                    rotate(&log, SMALL).unwrap();
                }
                if round % 2 == 0 {
                    assert_eq!(count(), printed, "round {round} in {}", directory.path().display());
                }
                printed += 1;
                writeln!(file, "ic {printed}").unwrap();
            }
            assert_eq!((count(), count()), (printed, printed));
        }
    }
}
