//! Writes a tree that others describe, and believes them nothing: paths, links, counts and sizes are all checked.
//!
//! The checks are made on the map of what was written so far, never on the disk, so no link is ever followed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use orchestrate_core::Result;
use orchestrate_core::failpoint;
use orchestrate_core::release::Digest;
use sha2::{Digest as _, Sha256};

use super::listing::{Entry, Listing};
use super::{ArtifactLimits, error};

/// More than any real build has, and few enough to leave room for the home's own path below PATH_MAX.
const LONGEST_PATH: usize = 2048;
const LONGEST_NAME: usize = 255;
/// As the kernel: who follows more links than this gets an error.
const MOST_HOPS: usize = 40;
const MOST_STEPS: usize = 10_000;

/// A tree while it is written.
pub(super) struct TreeWriter {
    root: PathBuf,
    /// The artifact's name in errors.
    pub origin: String,
    pub limits: ArtifactLimits,
    entries: BTreeMap<Vec<u8>, Entry>,
    bytes: u64,
    buffer: Vec<u8>,
}

impl TreeWriter {
    /// `root` must be an empty directory that nobody else writes to.
    pub fn new(root: PathBuf, origin: String, limits: ArtifactLimits) -> Self {
        Self { root, origin, limits, entries: BTreeMap::new(), bytes: 0, buffer: vec![0; 256 * 1024] }
    }

    pub fn directory(&mut self, name: &[u8]) -> Result<()> {
        let path = self.checked(name)?;
        if path.is_empty() { Ok(()) } else { self.ensure_directory(&path, name) }
    }

    pub fn file(&mut self, name: &[u8], executable: bool, content: &mut dyn Read) -> Result<()> {
        let path = self.place(name)?;
        let place = self.on_disk(&path);
        let mode = if executable { 0o555 } else { 0o444 };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&place)
            .map_err(|cause| error::store(&place, cause))?;
        let (mut hash, mut size) = (Sha256::new(), 0);
        loop {
            let read = match content.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => return Err(self.broken(&cause)),
            };
            size += read as u64;
            self.bytes += read as u64;
            if self.bytes > self.limits.bytes {
                return Err(error::too_large(&self.origin, &format!("{} bytes", self.limits.bytes)));
            }
            hash.update(&self.buffer[..read]);
            failpoint!("artifact/write", file.write_all(&self.buffer[..read]))
                .map_err(|cause| error::store(&place, cause))?;
        }
        let content = Digest::from_bytes(&hash.finalize());
        self.entries.insert(path, Entry::File { executable, size, content });
        Ok(())
    }

    pub fn symlink(&mut self, name: &[u8], target: &[u8]) -> Result<()> {
        if target.is_empty() || target.contains(&0) || target.len() > LONGEST_PATH {
            return Err(self.refused(name, "is a link to nowhere"));
        }
        let path = self.place(name)?;
        let place = self.on_disk(&path);
        symlink(OsStr::from_bytes(target), &place).map_err(|cause| error::store(&place, cause))?;
        self.entries.insert(path, Entry::Link { target: target.to_vec() });
        Ok(())
    }

    /// A hard link becomes a copy: its target must be a file that came earlier.
    pub fn hard_link(&mut self, name: &[u8], target: &[u8]) -> Result<()> {
        let earlier = self.checked(target)?;
        let Some(Entry::File { executable, .. }) = self.entries.get(&earlier) else {
            return Err(self.refused(name, "is a hard link to what is not a file of the archive"));
        };
        let executable = *executable;
        if earlier == self.checked(name)? {
            return Ok(());
        }
        let place = self.on_disk(&earlier);
        let mut content = fs::File::open(&place).map_err(|cause| error::store(&place, cause))?;
        self.file(name, executable, &mut content)
    }

    /// Refuses an entry of a kind that no artifact needs.
    pub fn special(&self, name: &[u8]) -> orchestrate_core::Error {
        self.refused(name, "is a device, a fifo or a socket")
    }

    /// An error while reading the artifact.
    pub fn broken(&self, cause: &io::Error) -> orchestrate_core::Error {
        // The readers below us report a limit of ours as an error of their own.
        match cause.get_ref().and_then(|inner| inner.downcast_ref::<OverLimit>()) {
            Some(OverLimit) => error::too_large(&self.origin, &format!("{} bytes", self.limits.bytes)),
            None => error::corrupt(&self.origin, cause),
        }
    }

    /// Checks every link against the whole tree, and says what was written.
    pub fn finish(self) -> Result<Listing> {
        if !self.entries.values().any(|entry| matches!(entry, Entry::File { .. })) {
            return Err(error::unusable(&self.origin, "there is no file in it"));
        }
        for (path, entry) in &self.entries {
            if let Entry::Link { target } = entry
                && leaves_tree(&self.entries, path, target)
            {
                let why = format!("is a link that leaves the tree, to `{}`", String::from_utf8_lossy(target));
                return Err(self.refused(path, &why));
            }
        }
        Ok(Listing { entries: self.entries })
    }

    /// The normal form of a path inside the tree; empty for the tree itself.
    fn checked(&self, name: &[u8]) -> Result<Vec<u8>> {
        if name.starts_with(b"/") {
            return Err(self.refused(name, "has an absolute path"));
        }
        if name.contains(&0) {
            return Err(self.refused(name, "has a zero byte in its path"));
        }
        let parts: Vec<&[u8]> =
            name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
        if parts.contains(&&b".."[..]) {
            return Err(self.refused(name, "has `..` in its path"));
        }
        if name.len() > LONGEST_PATH || parts.iter().any(|part| part.len() > LONGEST_NAME) {
            return Err(error::unusable(
                &self.origin,
                "it has a path that is longer than 2048 bytes or has a part longer than 255",
            ));
        }
        Ok(parts.join(&b'/'))
    }

    /// Makes room for a file or a link: its parents are directories, and an earlier file of that name is gone.
    fn place(&mut self, name: &[u8]) -> Result<Vec<u8>> {
        let path = self.checked(name)?;
        if path.is_empty() {
            return Err(self.refused(name, "stands for the tree itself"));
        }
        if let Some(parent) = parent(&path) {
            self.ensure_directory(parent, name)?;
        }
        match self.entries.get(&path) {
            None => self.count()?,
            Some(Entry::File { .. }) => {
                let place = self.on_disk(&path);
                fs::remove_file(&place).map_err(|cause| error::store(&place, cause))?;
            }
            Some(Entry::Directory) => return Err(self.refused(name, "stands where a directory is")),
            Some(Entry::Link { .. }) => return Err(self.refused(name, "would write through a link")),
        }
        Ok(path)
    }

    fn ensure_directory(&mut self, path: &[u8], name: &[u8]) -> Result<()> {
        match self.entries.get(path) {
            Some(Entry::Directory) => return Ok(()),
            Some(Entry::Link { .. }) => return Err(self.refused(name, "would write through a link")),
            Some(Entry::File { .. }) => return Err(self.refused(name, "needs a directory where a file is")),
            None => {}
        }
        // Not recursive: a path can have a thousand parts.
        let mut missing = vec![path];
        while let Some(parent) = missing.last().and_then(|path| parent(path)) {
            match self.entries.get(parent) {
                Some(Entry::Directory) => break,
                Some(Entry::Link { .. }) => return Err(self.refused(name, "would write through a link")),
                Some(Entry::File { .. }) => {
                    return Err(self.refused(name, "needs a directory where a file is"));
                }
                None => missing.push(parent),
            }
        }
        for path in missing.into_iter().rev() {
            self.count()?;
            let place = self.on_disk(path);
            fs::create_dir(&place).map_err(|cause| error::store(&place, cause))?;
            self.entries.insert(path.to_vec(), Entry::Directory);
        }
        Ok(())
    }

    fn count(&self) -> Result<()> {
        if self.entries.len() >= self.limits.entries {
            return Err(error::too_large(&self.origin, &format!("{} files", self.limits.entries)));
        }
        Ok(())
    }

    fn on_disk(&self, path: &[u8]) -> PathBuf {
        self.root.join(Path::new(OsStr::from_bytes(path)))
    }

    fn refused(&self, name: &[u8], why: &str) -> orchestrate_core::Error {
        error::malicious(&self.origin, &String::from_utf8_lossy(name), why)
    }
}

/// Marks an [`io::Error`] that means "over the limit" rather than "corrupt".
#[derive(Debug)]
pub(super) struct OverLimit;

impl std::fmt::Display for OverLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("over the limit")
    }
}

impl std::error::Error for OverLimit {}

fn parent(path: &[u8]) -> Option<&[u8]> {
    path.iter().rposition(|byte| *byte == b'/').map(|slash| &path[..slash])
}

/// Follows a link as the kernel would, through every other link of the tree.
fn leaves_tree(entries: &BTreeMap<Vec<u8>, Entry>, link: &[u8], target: &[u8]) -> bool {
    let parts =
        |path: &[u8]| -> Vec<Vec<u8>> { path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect() };
    if target.starts_with(b"/") {
        return true;
    }
    let mut place = parent(link).map(parts).unwrap_or_default();
    let mut ahead: Vec<Vec<u8>> = parts(target).into_iter().rev().collect();
    let (mut hops, mut steps) = (0, 0);
    while let Some(part) = ahead.pop() {
        steps += 1;
        if steps > MOST_STEPS {
            return true;
        }
        match part.as_slice() {
            b"" | b"." => continue,
            b".." if place.pop().is_none() => return true,
            b".." => continue,
            _ => place.push(part),
        }
        if let Some(Entry::Link { target }) = entries.get(&place.join(&b'/')) {
            hops += 1;
            if target.starts_with(b"/") || hops > MOST_HOPS {
                return true;
            }
            place.pop();
            ahead.extend(parts(target).into_iter().rev());
        }
    }
    false
}
