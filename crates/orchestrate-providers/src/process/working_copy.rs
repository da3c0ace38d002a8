//! The directories that releases run in: in the home, or, for another user who cannot enter the home, outside of it with a
//! link at the usual place.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use orchestrate_core::failpoint;
use orchestrate_core::ports::{PortError, PortResult};

use super::confine::{self, Identity};
use crate::artifact::ArtifactStore;
use crate::spec::RunSpec;

/// Where the directories of other users are; the variable is for machines that keep such things elsewhere.
const OUTSIDE: &str = "/var/lib/orchestrate-run";
const OUTSIDE_VARIABLE: &str = "ORCHESTRATE_RUN_DIR";

/// Puts a verified copy of a release's artifact at `place`, instead of whatever was there.
pub(super) fn make(store: &ArtifactStore, spec: &RunSpec, place: &Path, mark: &str) -> PortResult<()> {
    let failed = |cause: io::Error| {
        PortError::failed(format!("the working copy {} cannot be made: {cause}", place.display()))
    };
    let part = coming(place);
    if let Some(parent) = place.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
    }
    for old in [&part, &place.to_owned()] {
        remove(old).map_err(failed)?;
    }
    let owners = owners(spec)?;
    let Some(owner) = owners.first() else {
        store.materialise(&spec.digest, &part)?;
        return failpoint!("working-copy/rename", fs::rename(&part, place)).map_err(failed);
    };
    let outside = outside(place, mark).map_err(failed)?;
    let coming = coming(&outside);
    for old in [&coming, &outside] {
        remove(old).map_err(failed)?;
    }
    // The link first: what a crash leaves outside is found by it.
    symlink(&outside, place).map_err(failed)?;
    store.materialise(&spec.digest, &coming)?;
    let mode = if owners.iter().all(|other| other.uid == owner.uid) { 0o700 } else { 0o755 };
    hand_over(&coming, owner, mode).and_then(|()| fs::rename(&coming, &outside)).map_err(failed)
}

/// Removes a working copy, also one that a link leads to.
pub(super) fn remove(place: &Path) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    };
    if let Ok(outside) = fs::read_link(place) {
        gone(fs::remove_dir_all(coming(&outside)))?;
        gone(fs::remove_dir_all(&outside))?;
        return gone(fs::remove_file(place));
    }
    gone(failpoint!("working-copy/remove", fs::remove_dir_all(place)))
}

/// Where a release at `place` really runs.
pub(super) fn real(place: PathBuf) -> PathBuf {
    fs::read_link(&place).unwrap_or(place)
}

/// Where a copy is until it is whole.
fn coming(place: &Path) -> PathBuf {
    place.with_file_name(format!(".{}.part", name(place)))
}

fn name(place: &Path) -> String {
    place.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The other users that a release runs as: its environment's first, to whom its files belong.
fn owners(spec: &RunSpec) -> PortResult<Vec<Identity>> {
    let all = [&spec.confinement].into_iter().chain(spec.processes.values().map(|kind| &kind.confinement));
    let identities = all.map(confine::identity).collect::<PortResult<Vec<_>>>()?;
    Ok(identities.into_iter().flatten().filter(Identity::is_other).collect())
}

/// A place that everybody may pass through and nobody may look around in; `mark` keeps homes apart.
fn outside(place: &Path, mark: &str) -> io::Result<PathBuf> {
    let root = std::env::var_os(OUTSIDE_VARIABLE).map_or_else(|| PathBuf::from(OUTSIDE), PathBuf::from);
    let environment = place.parent().and_then(Path::file_name).unwrap_or(OsStr::new("_"));
    let (home, environment) = (root.join(mark), root.join(mark).join(environment));
    for directory in [&root, &home, &environment] {
        match fs::DirBuilder::new().mode(0o711).create(directory) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => return Err(cause),
            // Whatever the umask made of it.
            Ok(()) => fs::set_permissions(directory, fs::Permissions::from_mode(0o711))?,
            Err(_) => {}
        }
        let about = fs::symlink_metadata(directory)?;
        let own = about.uid() == rustix::process::geteuid().as_raw();
        if !about.is_dir() || !own || about.mode() & 0o022 != 0 {
            let why = format!("{} is not a directory that only this user writes to", directory.display());
            return Err(io::Error::other(why));
        }
    }
    Ok(environment.join(name(place)))
}

/// Gives everything in the directory to its owner; the directory last, so that nobody comes in before.
fn hand_over(directory: &Path, owner: &Identity, mode: u32) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            hand_over(&entry.path(), owner, 0o755)?;
        } else {
            lchown(entry.path(), Some(owner.uid), Some(owner.gid))?;
        }
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(mode))?;
    lchown(directory, Some(owner.uid), Some(owner.gid))
}
