//! Giving back what was sealed: every byte is hashed on its way, and what differs is named and refused.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use orchestrate_core::failpoint;
use orchestrate_core::ports::{PortError, PortResult};
use orchestrate_core::release::Digest;
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use super::listing::{Entry, Listing};
use super::{ArtifactStore, error};

/// What a start needs beside the copy: its logs and its files.
const SPARE: u64 = 1 << 20;

/// Bytes that are free on the disk of a path, for whoever is not root.
pub fn free_space(path: &Path) -> rustix::io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

impl ArtifactStore {
    /// Reads the whole artifact and holds it against its digest. Blocks.
    pub fn verify(&self, digest: &Digest) -> PortResult<()> {
        let listing = self.sealed(digest)?;
        differs(&listing, &self.tree_path(digest)).map_or(Ok(()), |what| Err(error::changed(digest, &what)))
    }

    /// Whether the disk takes a copy of so many bytes. Blocks.
    pub fn has_room_for(&self, size: u64) -> PortResult<()> {
        // A disk that cannot be asked is no reason to refuse.
        let Ok(free) = free_space(&self.directory) else { return Ok(()) };
        let wanted = size.saturating_add(SPARE);
        if free >= wanted {
            return Ok(());
        }
        Err(PortError::failed(format!(
            "a start copies it, and the disk of the home has {} MiB free where {} MiB are wanted",
            free >> 20,
            wanted.div_ceil(1 << 20)
        ))
        .detail("free some space on it"))
    }

    /// Makes a writable copy in `destination`, which must not exist, hashing on the way. Blocks.
    ///
    /// After an error nothing is left at `destination`.
    pub fn materialise(&self, digest: &Digest, destination: &Path) -> PortResult<()> {
        let listing = self.sealed(digest)?;
        let copied = copy(digest, &listing, &self.tree_path(digest), destination);
        if copied.is_err() {
            let _ = fs::remove_dir_all(destination);
        }
        copied
    }

    /// Whether all that was sealed lies unchanged in `directory`, whatever else does. Blocks.
    pub fn is_intact(&self, digest: &Digest, directory: &Path) -> PortResult<bool> {
        Ok(differs(&self.sealed(digest)?, directory).is_none())
    }

    /// The listing, once it is known to be the digest's own.
    fn sealed(&self, digest: &Digest) -> PortResult<Listing> {
        let text = match fs::read(self.listing_path(digest)) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Err(error::absent(digest)),
            Err(cause) => {
                return Err(error::changed(digest, &format!("its listing cannot be read: {cause}")));
            }
        };
        let listing = std::str::from_utf8(&text).ok().and_then(Listing::decode);
        match listing {
            Some(listing) if Digest::of(&text) == *digest => Ok(listing),
            _ => Err(error::changed(digest, "its listing differs")),
        }
    }
}

/// What is not as listed, in words.
fn differs(listing: &Listing, tree: &Path) -> Option<String> {
    listing.entries.iter().find_map(|(name, entry)| {
        let path = tree.join(OsStr::from_bytes(name));
        let same = match entry {
            Entry::Directory => fs::symlink_metadata(&path).is_ok_and(|about| about.is_dir()),
            Entry::Link { target } => {
                fs::read_link(&path).is_ok_and(|there| there.as_os_str().as_bytes() == target)
            }
            Entry::File { executable, size, content } => match open(&path) {
                Err(cause) => {
                    return Some(format!("`{}` cannot be read: {cause}", String::from_utf8_lossy(name)));
                }
                Ok(file) => {
                    let mode = file.metadata().map(|about| about.permissions().mode()).unwrap_or(0);
                    let read = transfer(file, &mut io::sink());
                    (mode & 0o100 != 0) == *executable
                        && read.is_ok_and(|read| read == (*size, content.clone()))
                }
            },
        };
        (!same).then(|| format!("`{}` differs", String::from_utf8_lossy(name)))
    })
}

fn copy(digest: &Digest, listing: &Listing, tree: &Path, destination: &Path) -> PortResult<()> {
    let failed = |path: &Path, cause: io::Error| error::copy_failed(path, &cause);
    fs::DirBuilder::new().mode(0o700).create(destination).map_err(|cause| failed(destination, cause))?;
    for (name, entry) in &listing.entries {
        let path = destination.join(OsStr::from_bytes(name));
        match entry {
            Entry::Directory => fs::create_dir(&path).map_err(|cause| failed(&path, cause))?,
            Entry::Link { target } => {
                symlink(OsStr::from_bytes(target), &path).map_err(|cause| failed(&path, cause))?;
            }
            Entry::File { executable, size, content } => {
                let source = open(&tree.join(OsStr::from_bytes(name)))
                    .map_err(|cause| changed(digest, name, &format!("cannot be read: {cause}")))?;
                let mode = if *executable { 0o755 } else { 0o644 };
                let mut target = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(mode)
                    .open(&path)
                    .map_err(|cause| failed(&path, cause))?;
                let read = failpoint!("working-copy/write", transfer(source, &mut target))
                    .map_err(|cause| failed(&path, cause))?;
                if read != (*size, content.clone()) {
                    return Err(changed(digest, name, "differs"));
                }
            }
        }
    }
    Ok(())
}

fn changed(digest: &Digest, name: &[u8], how: &str) -> orchestrate_core::ports::PortError {
    error::changed(digest, &format!("`{}` {how}", String::from_utf8_lossy(name)))
}

/// Never follows a link: a file of the store that became one is not what was sealed.
fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = OpenOptions::new().read(true).custom_flags(i32::try_from(flags).unwrap_or(0)).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a file")) }
}

/// Size and digest of what went through.
fn transfer(mut from: File, to: &mut impl Write) -> io::Result<(u64, Digest)> {
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 256 * 1024]);
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok((size, Digest::from_bytes(&hash.finalize()))),
            Ok(read) => read,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(cause),
        };
        size += read as u64;
        hash.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
    }
}
