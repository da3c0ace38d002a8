//! Where the commands of a release run: a copy of its sealed artifact in the home.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use orchestrate_core::ports::{PortError, PortResult};
use orchestrate_core::release::Digest;

use crate::artifact::ArtifactStore;

/// Makes sure that the copy is there; one that is there is left as it is. Blocks.
pub fn make(store: &ArtifactStore, digest: &Digest, place: &Path) -> PortResult<()> {
    if place.is_dir() {
        return Ok(());
    }
    let failed = |cause: io::Error| PortError::failed(format!("{} cannot be made: {cause}", place.display()));
    let part = coming(place);
    if let Some(parent) = place.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
    }
    gone(&part).map_err(failed)?;
    store.materialise(digest, &part)?;
    match fs::rename(&part, place) {
        // Another command made it meanwhile.
        Err(_) if place.is_dir() => gone(&part).map_err(failed),
        renamed => renamed.map_err(failed),
    }
}

/// Removes the copy. Blocks.
pub fn remove(place: &Path) -> PortResult<()> {
    gone(place).map_err(|cause| PortError::failed(format!("{} cannot be removed: {cause}", place.display())))
}

fn gone(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Where a copy is until it is whole; everybody who makes one makes their own.
fn coming(place: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (name, count) =
        (place.file_name().unwrap_or_default().to_string_lossy(), COUNT.fetch_add(1, Ordering::Relaxed));
    place.with_file_name(format!(".{name}.{}.{count}.part", std::process::id()))
}
