//! Who works on the state file: one proxy at a time, by a lock.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::options::ProxyError;
use crate::saved;

/// How soon a state is taken back that an heir had.
const AGAIN: Duration = Duration::from_millis(10);

pub(crate) struct Tenure {
    state: PathBuf,
    lock: Mutex<Option<File>>,
}

impl Tenure {
    pub fn take(state: &Path) -> Result<Self, ProxyError> {
        let lock = saved::lock(state)?;
        Ok(Self { state: state.to_owned(), lock: Mutex::new(Some(lock)) })
    }

    /// Whether the state is this proxy's, and with it the socket: an heir takes the one before it makes the other.
    pub fn is_held(&self) -> bool {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub fn release(&self) {
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns once nobody else has it; the kernel takes it from a process that dies.
    pub async fn take_back(&self) {
        let mut told = false;
        let lock = loop {
            match saved::lock(&self.state) {
                Ok(lock) => break lock,
                Err(error) if !told => tracing::warn!(%error, "the state is not free yet"),
                Err(_) => {}
            }
            told = true;
            tokio::time::sleep(AGAIN).await;
        };
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
    }
}
