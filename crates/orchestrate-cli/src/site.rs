//! Which home on which machine this is: what an environment's records say of where it runs, if several machines share them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use orchestrate_core::database::Site;
use orchestrate_core::release::Digest;
use orchestrate_core::secrets::SecretKey;
use orchestrate_core::{Error, Result};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::home::Home;

const FILE: &str = "site.json";

/// What tells this home from its copies: they are on another machine, or at another place and in another file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    id: String,
    machine: String,
    home: PathBuf,
    inode: u64,
}

impl Kept {
    /// A home that was moved, or put back from a backup, stays what it is; a copy beside it does not.
    fn is_of(&self, machine: &str, home: &Home, inode: u64) -> bool {
        self.machine == machine && (self.home == home.directory() || self.inode == inode)
    }
}

/// The site of this home; a home that is new, or a copy of another one, becomes a site of its own.
pub fn of(home: &Home) -> Result<Site> {
    let kept = match read(home)? {
        Some(kept) => kept,
        None => made(home)?,
    };
    Ok(Site { id: kept.id, host: crate::host::name(), home: home.directory().display().to_string() })
}

/// None if it is not there, or is of another home.
fn read(home: &Home) -> Result<Option<Kept>> {
    let path = home.path(FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(unusable(home, cause)),
    };
    let kept: Kept = serde_json::from_slice(&bytes).map_err(|cause| unusable(home, cause.into()))?;
    let inode = fs::metadata(&path).map_err(|cause| unusable(home, cause))?.ino();
    Ok(kept.is_of(&machine(), home, inode).then_some(kept))
}

/// Two commands may be the first at the same time: one makes it, the other one finds it.
fn made(home: &Home) -> Result<Kept> {
    let cannot = |cause: io::Error| unusable(home, cause);
    let lock = File::open(home.directory()).map_err(cannot)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|cause| cannot(cause.into()))?;
    if let Some(kept) = read(home)? {
        return Ok(kept);
    }
    let id = SecretKey::generate()?.fingerprint();
    write(home, id).map_err(cannot)
}

fn write(home: &Home, id: String) -> io::Result<Kept> {
    let (path, fresh) = (home.path(FILE), home.path("site.json.new"));
    // Left by a program that was killed here.
    let _ = fs::remove_file(&fresh);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    let kept =
        Kept { id, machine: machine(), home: home.directory().to_owned(), inode: file.metadata()?.ino() };
    file.write_all(&serde_json::to_vec(&kept)?)?;
    file.sync_all()?;
    fs::rename(&fresh, &path)?;
    File::open(home.directory())?.sync_all()?;
    Ok(kept)
}

/// The machine, the same over restarts. Its own number is told to nobody; where it has none, the home has to be enough.
fn machine() -> String {
    let number = ["/etc/machine-id", "/var/lib/dbus/machine-id"].iter().find_map(|path| fs::read(path).ok());
    number.map_or_else(String::new, |number| {
        Digest::of(&[b"orchestrate ", number.trim_ascii()].concat()).to_string()
    })
}

fn unusable(home: &Home, cause: io::Error) -> Error {
    let path = home.path(FILE);
    Error::failed(
        "ORC-0419",
        format!("which home this is, is kept in {}, which cannot be used", path.display()),
    )
    .hint(format!(
        "check its owner and mode; or remove it, then environments that ran here have to be adopted: rm {}",
        path.display()
    ))
    .source(cause)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;

    fn home(at: &Path) -> Home {
        fs::create_dir_all(at).unwrap();
        fs::set_permissions(at, fs::Permissions::from_mode(0o700)).unwrap();
        Home::locate(Some(at)).unwrap()
    }

    #[test]
    fn a_home_is_the_same_wherever_it_is_moved_and_a_copy_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let (first, moved, copy) =
            (directory.path().join("a"), directory.path().join("b"), directory.path().join("c"));
        let id = of(&home(&first)).unwrap().id;
        assert_eq!(of(&home(&first)).unwrap().id, id);
        fs::rename(&first, &moved).unwrap();
        assert_eq!(of(&home(&moved)).unwrap().id, id, "moved");
        home(&copy);
        fs::copy(moved.join(FILE), copy.join(FILE)).unwrap();
        let copied = of(&home(&copy)).unwrap().id;
        assert_ne!(copied, id, "copied");
        assert_eq!(of(&home(&moved)).unwrap().id, id, "the one that was copied stays what it is");
        assert_eq!(of(&home(&copy)).unwrap().id, copied);
    }

    #[test]
    fn a_home_on_another_machine_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let here = home(&directory.path().join("a"));
        let id = of(&here).unwrap().id;
        let text = fs::read_to_string(here.path(FILE)).unwrap();
        let elsewhere = text.replace(&machine(), "another machine");
        // In place, so that file and path are the same, as on the clone of a disk.
        fs::write(here.path(FILE), elsewhere).unwrap();
        assert_ne!(of(&here).unwrap().id, id);
    }

    #[test]
    fn what_cannot_be_read_is_said_and_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let here = home(&directory.path().join("a"));
        fs::write(here.path(FILE), "{").unwrap();
        assert_eq!(of(&here).unwrap_err().code(), "ORC-0419");
        assert_eq!(fs::read_to_string(here.path(FILE)).unwrap(), "{");
    }

    #[test]
    fn many_that_come_first_agree() {
        let directory = tempfile::tempdir().unwrap();
        let here = home(&directory.path().join("a"));
        let ids: Vec<String> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| of(&here).unwrap().id)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}
