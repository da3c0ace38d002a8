//! What the fuzz targets in `fuzz/` call, and the tests that replay their corpora. Not an interface: it may change at any time.
#![allow(clippy::unwrap_used, reason = "a target that panics has found something")]

use std::fs;
use std::path::{Path, PathBuf};

use orchestrate_core::release::Artifact;

use crate::artifact::{ArtifactLimits, ArtifactStore};

const LIMITS: ArtifactLimits = ArtifactLimits { bytes: 1 << 20, entries: 64 };

/// An artifact that somebody else packed. Its first byte says as what it is named: `t`ar, `g`zip, z`s`td, `z`ip, or a program.
///
/// Nothing is written outside of the store. What is taken in is within its limits, has no link that leads out, and comes back as
/// it was sealed; of what is refused, nothing is left.
pub fn archive(input: &[u8]) {
    let Some((kind, packed)) = input.split_first() else { return };
    let name = match kind {
        b't' => "a.tar",
        b'g' => "a.tar.gz",
        b's' => "a.tar.zst",
        b'z' => "a.zip",
        _ => "a",
    };
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join(name);
    fs::write(&path, packed).unwrap();
    let home = room.path().join("home");
    let store = ArtifactStore::new(&home, LIMITS);
    let taken = store.take_in_path(&path, None);
    assert_eq!(names(room.path()), [name, "home"].map(PathBuf::from));
    let kept = names(&home.join("artifacts"));
    match taken {
        Ok(artifact) => {
            assert_eq!(kept, [PathBuf::from(artifact.digest.as_str())]);
            restored(&store, &artifact, &room.path().join("copy"));
        }
        Err(error) => {
            assert!(error.code().starts_with("ORC-030"), "{error:?}");
            assert_eq!(kept, Vec::<PathBuf>::new(), "{error:?}");
        }
    }
}

fn names(directory: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into()).collect();
    names.sort();
    names
}

fn restored(store: &ArtifactStore, artifact: &Artifact, copy: &Path) {
    store.verify(&artifact.digest).unwrap();
    store.materialise(&artifact.digest, copy).unwrap();
    assert!(store.is_intact(&artifact.digest, copy).unwrap());
    let root = copy.canonicalize().unwrap();
    let (mut bytes, mut entries, mut ahead) = (0, 0, vec![root.clone()]);
    while let Some(directory) = ahead.pop() {
        for name in names(&directory) {
            let path = directory.join(name);
            let about = fs::symlink_metadata(&path).unwrap();
            entries += 1;
            if about.is_dir() {
                ahead.push(path);
            } else if about.is_symlink() {
                // One that leads to nothing leads nowhere else either: the kernel has followed it as far as it goes.
                let end = path.canonicalize();
                assert!(end.is_err() || end.is_ok_and(|end| end.starts_with(&root)), "{}", path.display());
            } else {
                assert!(about.is_file());
                bytes += about.len();
            }
        }
    }
    assert_eq!(bytes, artifact.size);
    assert!(bytes <= LIMITS.bytes && entries <= LIMITS.entries, "{bytes} bytes, {entries} entries");
}

/// The supervisor's record, as a crash or somebody's editor may leave it: taken and written as the same, or moved aside whole.
pub fn instances(input: &[u8]) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("instances.json");
    fs::write(&path, input).unwrap();
    crate::process::reopen_record(&path).unwrap();
    let kept = names(home.path());
    let aside = kept.iter().find(|name| name.to_string_lossy().contains("damaged"));
    match aside {
        Some(aside) => assert_eq!(fs::read(home.path().join(aside)).unwrap(), input),
        None => assert_eq!(kept, [PathBuf::from("instances.json")]),
    }
}

#[cfg(test)]
mod tests {
    use orchestrate_testkit::replay;

    use super::{archive, instances};

    #[test]
    fn every_archive_is_refused_or_stays_inside_and_comes_back() {
        replay("archive", archive);
    }

    #[test]
    fn every_record_of_instances_is_taken_or_set_aside() {
        replay("instances", instances);
    }
}
