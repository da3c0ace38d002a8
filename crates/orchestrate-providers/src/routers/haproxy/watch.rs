//! Notices that an HAProxy was started anew, so that it is told again at once what it forgot.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::HaproxyRouter;
use super::client::Client;
use super::look::Look;

/// HAProxy tells nobody that it was started, so it is asked; that costs it some 50 µs.
const EVERY: Duration = Duration::from_secs(1);

/// Which HAProxy was seen at each socket.
#[derive(Default)]
pub(super) struct Watch {
    seen: Mutex<BTreeMap<String, String>>,
    changes: watch::Sender<u64>,
}

impl Watch {
    /// Tells who waits, if it is not the one that was there before.
    pub fn saw(&self, socket: &str, process: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.insert(socket.to_owned(), process.to_owned());
        drop(seen);
        if before.is_some_and(|before| before != process) {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    fn sockets(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

impl HaproxyRouter {
    /// Changes whenever an HAProxy that was asked before is another one.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.watch.changes.subscribe()
    }

    /// Looks every second at each HAProxy that was asked before, for ever.
    pub async fn keep_watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(EVERY).await;
            for socket in self.watch.sockets() {
                // One that is away is asked again; what is wrong with it is told by who needs it.
                if let Ok(look) = Look::at(Client::new(&socket), []).await {
                    self.watch.saw(&socket, &look.process);
                }
            }
        }
    }
}
