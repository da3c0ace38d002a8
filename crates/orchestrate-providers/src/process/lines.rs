//! Counts lines of the instances' output that match, reading each byte once.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use orchestrate_core::ports::{CountLines, Lines, PortError, PortResult, Processes};
use regex::bytes::Regex;

use super::shared::{Shared, blocking};

/// More than this of an old log is not read: what matters is its end.
const MOST_BYTES: u64 = 16 << 20;
/// What a person reads of a line.
const SHOWN: usize = 200;
/// Counts that are remembered; a release that is watched has a few.
const REMEMBERED: usize = 256;

/// How far each log was read for each pattern.
#[derive(Default)]
pub(super) struct Counted(Mutex<HashMap<Key, Cursor>>);

/// A log, a pattern, and where the run began whose output is counted.
type Key = (PathBuf, String, u64);

#[derive(Clone, Default)]
struct Cursor {
    read_to: u64,
    lines: Lines,
}

/// A log, and where to begin in it.
struct Source {
    log: PathBuf,
    from: u64,
}

pub(super) async fn count(shared: &Arc<Shared>, request: &CountLines) -> PortResult<Lines> {
    let pattern = Regex::new(&request.pattern).map_err(|error| {
        PortError::failed(format!("`{}` is not a regular expression: {error}", request.pattern))
    })?;
    let sources = sources(shared, request).await?;
    let (shared, text) = (Arc::clone(shared), request.pattern.clone());
    blocking(move || {
        let mut all = Lines::default();
        for source in sources {
            let lines = shared.counted.count(&source, &text, &pattern).map_err(|cause| {
                PortError::failed(format!("{} cannot be read: {cause}", source.log.display()))
            })?;
            all.matches += lines.matches;
            all.first = all.first.or(lines.first);
        }
        Ok(all)
    })
    .await
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
    fn count(&self, source: &Source, text: &str, pattern: &Regex) -> io::Result<Lines> {
        let key = (source.log.clone(), text.to_owned(), source.from);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let start = known.unwrap_or_else(|| Cursor { read_to: source.from, lines: Lines::default() });
        let read = read_on(&source.log, start, pattern)?;
        let mut cursors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cursors.len() >= REMEMBERED {
            cursors.clear();
        }
        cursors.insert(key, read.clone());
        Ok(read.lines)
    }
}

/// Reads whole lines only: what is being written is read with the next look.
fn read_on(log: &Path, mut cursor: Cursor, pattern: &Regex) -> io::Result<Cursor> {
    let mut file = match File::open(log) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(cursor),
        Err(cause) => return Err(cause),
    };
    let length = file.metadata()?.len();
    if length < cursor.read_to {
        // Its older part was set aside; what is left is newer.
        cursor.read_to = 0;
    }
    cursor.read_to = cursor.read_to.max(length.saturating_sub(MOST_BYTES));
    file.seek(SeekFrom::Start(cursor.read_to))?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok(cursor);
        }
        cursor.read_to += u64::try_from(read).unwrap_or(0);
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        if pattern.is_match(text) {
            cursor.lines.matches += 1;
            let shown = || String::from_utf8_lossy(text).trim_end().chars().take(SHOWN).collect();
            cursor.lines.first.get_or_insert_with(shown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
}
