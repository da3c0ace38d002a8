//! Where the instances' output goes: straight into a file, so that it does not need the daemon to be there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use orchestrate_core::confinement::Confinement;
use orchestrate_core::name::{EnvironmentName, Version};

use super::confine::{self, Identity};

/// How much is read from the end to find the last lines.
pub(super) const TAIL_BYTES: u64 = 16 * 1024;
const LONGEST_LINE: usize = 400;

/// The file that holds what instance `number` of a process type wrote last; older parts end in `.1`, `.2`, ….
///
/// All parts in order, oldest first, are what it wrote byte for byte; a line may go over from one part to the next.
pub fn log_path(
    home: &Path,
    environment: &EnvironmentName,
    version: &Version,
    process: &str,
    number: u32,
) -> PathBuf {
    let directory = home.join("logs").join(environment.as_str()).join(version.as_str());
    directory.join(format!("{process}.{number}.log"))
}

/// Opens it for both output streams, and says how long it was. It belongs to whoever writes it, who may want to open it
/// again as `/dev/stdout`.
pub(crate) fn open(path: &Path, writer: &Confinement) -> io::Result<(File, u64)> {
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let other = confine::identity(writer).ok().flatten().filter(Identity::is_other);
    if let Some(other) = other {
        fchown(&file, Some(other.uid), Some(other.gid))?;
    }
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// The last `count` lines written after `from`, long ones cut.
pub(crate) fn last_lines(path: &Path, from: u64, count: usize) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        // A shorter file was rotated since; all of it is newer.
        let from = if length < from { 0 } else { from };
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<String> =
        text.lines().rev().filter(|line| !line.trim().is_empty()).take(count).map(cut).collect();
    lines.reverse();
    lines
}

fn cut(line: &str) -> String {
    line.trim_end().chars().take(LONGEST_LINE).collect()
}
