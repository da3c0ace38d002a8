//! A key in a file: 32 bytes, readable by its owner only. Beside it, for as long as a rotation takes, the next one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use orchestrate_core::secrets::{KeyRing, SecretKey};
use orchestrate_core::{Error, Result, failpoint};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// What a file is read up to, to see that it is no key.
const MOST_BYTES: u64 = 4096;

pub fn is_there(path: &Path) -> bool {
    path.exists()
}

/// Where the next key is while secrets are being sealed anew with it.
pub fn next(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".next");
    path.with_file_name(name)
}

/// The key, and the next one where there is one. Whichever was first: one of the two opens every secret.
pub fn read(path: &Path) -> Result<KeyRing> {
    // In this order: a rotation that ends between the two looks leaves the next key in place of the first.
    let coming = read_one(&next(path)).ok();
    match (read_one(path), coming) {
        (Ok(key), Some(coming)) => Ok(KeyRing::new(key).and(coming)),
        (Ok(key), None) => Ok(KeyRing::new(key)),
        (Err(error), _) => Err(error),
    }
}

pub fn read_one(path: &Path) -> Result<SecretKey> {
    // Without waiting: somebody may have put a pipe there.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => {
            Error::refused("ORC-0219", format!("the key {} is missing", path.display()))
                .hint(
                    "restore it from a backup, or mount what it is on; if it is lost for good: orchestrate secrets rotate \
                     --skip-unreadable, and deploy again",
                )
                .source(cause)
        }
        _ => unusable(path, cause),
    })?;
    // Of what was opened, not of what has the name by now.
    check_private(&file.metadata().map_err(|cause| unusable(path, cause))?, path)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(|cause| unusable(path, cause))?;
    SecretKey::from_bytes(&bytes).map_err(|_| {
        Error::usage(
            "ORC-0210",
            format!("the key {} has {} bytes instead of 32", path.display(), bytes.len()),
        )
        .hint("restore the file from a backup; without it the sealed secrets cannot be read")
    })
}

fn check_private(about: &fs::Metadata, path: &Path) -> Result<()> {
    let refused = |why: &str, hint: String| {
        Err(Error::refused("ORC-0205", format!("the key {} {why}", path.display())).hint(hint))
    };
    if !about.is_file() {
        return refused("is not a file", "name the file with the key: ORCHESTRATE_KEY_FILE".to_owned());
    }
    if ![rustix::process::geteuid().as_raw(), 0].contains(&about.uid()) {
        return refused("belongs to another user", format!("make it yours: chown $USER {}", path.display()));
    }
    if about.mode() & 0o077 != 0 {
        return refused("is open to other users", format!("make it private: chmod 600 {}", path.display()));
    }
    Ok(())
}

/// Made on first use. Written beside and linked without overwriting, so that two programs that come first agree.
pub fn create(path: &Path) -> Result<KeyRing> {
    let key = SecretKey::generate()?;
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    let link = || failpoint!("key/link", fs::hard_link(&fresh, path));
    let written = write(&fresh, key.as_bytes()).and_then(|()| match link() {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => Err(cause),
        _ => sync_directory(path),
    });
    let _ = fs::remove_file(&fresh);
    written.map_err(|cause| unusable(path, cause))?;
    read(path)
}

/// Whole and on disk before this returns, in place of what was there.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    let rename = || failpoint!("key/rename", fs::rename(&fresh, path));
    let replaced = write(&fresh, bytes).and_then(|()| rename());
    if replaced.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    replaced.and_then(|()| sync_directory(path))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Left by a program that had this pid before.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    failpoint!("key/write", file.write_all(bytes))?;
    failpoint!("key/sync", file.sync_all())
}

pub fn sync_directory(of: &Path) -> io::Result<()> {
    let directory = of.parent().unwrap_or(of);
    failpoint!("key/sync-directory", File::open(directory).and_then(|directory| directory.sync_all()))
}

pub fn unusable(path: &Path, cause: io::Error) -> Error {
    Error::failed("ORC-0404", format!("the key {} cannot be read or made", path.display()))
        .hint("check the owner and mode of its directory, and the space on its disk")
        .source(cause)
}
