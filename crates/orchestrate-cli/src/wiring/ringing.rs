//! The daemon hears of the notices that a command writes: soon where the command goes on, and at its end at the latest. Not
//! at once, because what it would do then is done beside an operation that somebody waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::daemon_client::DaemonClient;

/// Longer than a warm rollback takes.
const SOON: Duration = Duration::from_millis(250);

pub(super) struct Ringing {
    daemon: DaemonClient,
    written: watch::Receiver<u64>,
    /// How many transactions with notices it has heard of.
    heard: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Ringing {
    pub fn start(daemon: DaemonClient, written: watch::Receiver<u64>) -> Self {
        let heard = Arc::new(AtomicU64::new(*written.borrow()));
        let task = tokio::spawn(ring_soon(daemon.clone(), written.clone(), Arc::clone(&heard)));
        Self { daemon, written, heard, task }
    }

    /// Somebody rang for all that was written so far.
    pub fn is_done(&self) {
        self.heard.store(*self.written.borrow(), Ordering::Relaxed);
    }
}

async fn ring_soon(daemon: DaemonClient, mut written: watch::Receiver<u64>, heard: Arc<AtomicU64>) {
    while written.changed().await.is_ok() {
        tokio::time::sleep(SOON).await;
        let count = *written.borrow_and_update();
        if heard.swap(count, Ordering::Relaxed) != count {
            daemon.ring();
        }
    }
}

impl Drop for Ringing {
    fn drop(&mut self) {
        self.task.abort();
        if self.heard.load(Ordering::Relaxed) != *self.written.borrow() {
            self.daemon.ring();
        }
    }
}
