//! Manifests of the user's own: read at a deployment and sealed with it, and from then on the same objects whenever the release
//! is started, with our image, our names and our marks put into them.

mod merge;
mod pick;
mod read;
mod refer;

pub use read::{Found, read};

pub(super) use merge::{Ours, deployment, job_pod};
pub(super) use pick::{PORT, Workload, check, workload};
pub(super) use refer::{Renamed, refers};

/// Under names that begin so the secrets of a release have what is in Secrets of the user's, and no variable.
pub(super) const IN_SECRETS: &str = "manifest/";
