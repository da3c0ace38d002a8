//! The errors ORC-0301 to ORC-0307, each made in one place.

use std::io;
use std::path::Path;

use orchestrate_core::Error;
use orchestrate_core::ports::{PortError, PortErrorKind};
use orchestrate_core::release::Digest;

/// The artifact's own path cannot be read; where it is not there, names what is.
pub(super) fn unreadable(path: &Path, cause: io::Error) -> Error {
    if cause.kind() != io::ErrorKind::NotFound {
        return Error::usage("ORC-0301", format!("artifact {} cannot be read", path.display())).source(cause);
    }
    let missing = Error::usage("ORC-0301", format!("artifact {} does not exist", path.display()));
    let Some(parent) =
        path.parent().map(|parent| if parent == Path::new("") { Path::new(".") } else { parent })
    else {
        return missing;
    };
    let names: Vec<String> = match parent.read_dir() {
        Ok(entries) => {
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        }
        Err(_) => {
            return missing
                .hint(format!("there is no directory {} either; build it first", parent.display()));
        }
    };
    let wanted = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match nearest(&wanted, names) {
        near if near.is_empty() => {
            missing.hint(format!("{} is empty; build the artifact first", parent.display()))
        }
        near => missing.hint(format!("in {} there is: {}", parent.display(), near.join(", "))),
    }
}

/// The five names most like `wanted`, best first.
pub(super) fn nearest(wanted: &str, mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names.sort_by_cached_key(|name| strsim::damerau_levenshtein(wanted, name));
    names.truncate(5);
    names
}

/// The artifact is there and cannot be used: corrupt, truncated, of an unknown kind.
pub(super) fn unusable(origin: &str, why: &str) -> Error {
    Error::usage("ORC-0302", format!("artifact {origin} cannot be unpacked: {why}"))
}

pub(super) fn corrupt(origin: &str, cause: &io::Error) -> Error {
    unusable(origin, &format!("it is truncated or corrupt ({cause})")).hint("build or copy it again")
}

pub(super) fn malicious(origin: &str, entry: &str, why: &str) -> Error {
    Error::usage("ORC-0303", format!("artifact {origin} is refused: its entry `{entry}` {why}"))
        .hint("an artifact must stay inside its own directory; rebuild it without this entry")
}

pub(super) fn too_large(origin: &str, what: &str) -> Error {
    Error::usage("ORC-0304", format!("artifact {origin} is too large: it unpacks to more than {what}"))
        .hint("make the artifact smaller, or raise the limit for artifacts")
}

pub(super) fn git(message: impl Into<String>) -> Error {
    Error::usage("ORC-0305", message)
}

/// The store itself cannot be written.
pub(super) fn store(path: &Path, cause: io::Error) -> Error {
    let hint = match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space on the disk of the home"
        }
        _ => "check the owner and the mode of the home directory",
    };
    Error::failed("ORC-0307", format!("the artifact store cannot write {}", path.display()))
        .source(cause)
        .hint(hint)
}

/// What is kept is not what was sealed.
pub(super) fn changed(digest: &Digest, what: &str) -> PortError {
    PortError::new(
        PortErrorKind::Missing,
        format!("artifact {} is not what was sealed: {what} (ORC-0306)", digest.short()),
    )
    .detail("take the same artifact in again, or choose another release")
}

pub(super) fn absent(digest: &Digest) -> PortError {
    PortError::new(
        PortErrorKind::Missing,
        format!("artifact {} is not in the store (ORC-0306)", digest.short()),
    )
    .detail("take the same artifact in again, or choose another release")
}

pub(super) fn copy_failed(path: &Path, cause: &io::Error) -> PortError {
    PortError::failed(format!("the working copy cannot write {}: {cause} (ORC-0307)", path.display()))
}
