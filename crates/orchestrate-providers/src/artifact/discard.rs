//! Removing an artifact that no release needs any more.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use orchestrate_core::failpoint;
use orchestrate_core::ports::{PortError, PortResult};
use orchestrate_core::release::Digest;

use super::ArtifactStore;
use super::incoming::turn;

/// What was taken in so shortly ago may be about to be deployed.
const FRESH: Duration = Duration::from_secs(60 * 60);

impl ArtifactStore {
    /// Whether it was here, and is gone. Blocks.
    ///
    /// Who takes it in at the same time either makes it fresh before this looks, or finds it gone and brings its own.
    pub fn discard(&self, digest: &Digest) -> PortResult<bool> {
        let failed =
            |cause: io::Error| PortError::failed(format!("{} cannot be removed: {cause}", digest.short()));
        let place = self.directory.join(digest.as_str());
        // Under this name, what a crash leaves of it is cleared like a place that was never finished.
        let leaving = self.directory.join(format!("{}gone-{digest}", super::incoming::PREFIX));
        {
            let _turn = turn(&self.directory).map_err(failed)?;
            let taken_in = match fs::metadata(&place).and_then(|about| about.modified()) {
                Ok(at) => at,
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(cause) => return Err(failed(cause)),
            };
            if SystemTime::now().duration_since(taken_in).is_ok_and(|age| age < FRESH) {
                return Ok(false);
            }
            failpoint!("artifact/discard", fs::rename(&place, &leaving)).map_err(failed)?;
        }
        // Sealed directories are read-only, so who is not root must open them first.
        unlock(&leaving).and_then(|()| fs::remove_dir_all(&leaving)).map_err(failed)?;
        Ok(true)
    }

    /// Says that it is about to be used; false if it is not here, whole.
    pub(super) fn touch(&self, digest: &Digest) -> io::Result<bool> {
        let _turn = turn(&self.directory)?;
        if self.verify(digest).is_err() {
            return Ok(false);
        }
        let place = fs::File::open(self.directory.join(digest.as_str()))?;
        failpoint!("artifact/touch", place.set_modified(SystemTime::now()))?;
        Ok(true)
    }
}

fn unlock(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unlock(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{ArtifactLimits, ArtifactStore};

    #[test]
    fn only_what_was_not_taken_in_just_now_goes_and_comes_back_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("shop");
        fs::write(&file, "#!/bin/sh\n").unwrap();
        let store = ArtifactStore::new(&dir.path().join("home"), ArtifactLimits::default());
        let digest = store.take_in_path(&file, None).unwrap().digest;
        assert_eq!(store.discard(&digest), Ok(false), "it is fresh");
        assert!(store.verify(&digest).is_ok());
        let place = dir.path().join("home/artifacts").join(digest.as_str());
        let old = SystemTime::now() - FRESH - FRESH;
        fs::File::open(&place).unwrap().set_modified(old).unwrap();
        store.take_in_path(&file, None).unwrap();
        assert_eq!(store.discard(&digest), Ok(false), "it was taken in again");
        fs::File::open(&place).unwrap().set_modified(old).unwrap();
        assert_eq!(store.discard(&digest), Ok(true));
        assert_eq!(store.discard(&digest), Ok(false));
        assert!(store.verify(&digest).is_err());
        assert_eq!(store.take_in_path(&file, None).unwrap().digest, digest);
        assert!(store.verify(&digest).is_ok());
    }
}
