//! One command at a time for each slot, and for the traffic of each environment, whichever program runs it.
//!
//! The lock is a file of the home. What it holds names the command that runs: one that a killed program left is ended
//! before the next one begins.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::Duration;

use orchestrate_core::ports::{PortError, PortResult};
use rustix::fs::{FlockOperation, flock};

use crate::process::{Mark, Running, blocking};

/// How long a command that was left may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(1);

/// Held for as long as it lives.
pub struct Turn {
    file: File,
}

impl Turn {
    /// Waits until it is our turn.
    pub async fn take(path: PathBuf) -> PortResult<Self> {
        let (turn, left) = blocking(move || {
            let failed = |cause: std::io::Error| {
                PortError::failed(format!("{} cannot be locked: {cause}", path.display()))
            };
            if let Some(directory) = path.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
            }
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(failed)?;
            flock(&file, FlockOperation::LockExclusive).map_err(|cause| failed(cause.into()))?;
            let mut text = String::new();
            let read = file.read_to_string(&mut text);
            let left: Option<Mark> = read.ok().and_then(|_| serde_json::from_str(&text).ok());
            Ok((Self { file }, left))
        })
        .await?;
        if let Some(left) = left.and_then(|mark| Running::hold(mark).ok().flatten()) {
            tracing::warn!(pid = left.mark.pid, "a command that a killed program left is ended");
            left.end_group(PATIENCE).await;
        }
        Ok(turn)
    }

    /// Writes down which command runs. It lasts for one boot only, as the command does, so it need not be on disk.
    pub(crate) fn note(&self, mark: Mark) {
        let write = || -> std::io::Result<()> {
            let mut file = &self.file;
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(&serde_json::to_vec(&mark)?)
        };
        if let Err(error) = write() {
            tracing::warn!(%error, "it is not written down which command runs");
        }
    }
}
