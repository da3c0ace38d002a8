//! Notices that an HAProxy was started anew, and tells it again what it forgot.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::name::EnvironmentName;
use tokio::sync::watch;

use super::HaproxyRouter;
use super::book::Book;
use super::client::Client;
use super::look::Look;

/// HAProxy tells nobody that it was started, so it is asked; that costs it some 50 µs.
const EVERY: Duration = Duration::from_secs(1);
/// Without one that was told anything, there is nothing to notice but the first one.
const WITHOUT: Duration = Duration::from_secs(5);

impl HaproxyRouter {
    /// Changes whenever an HAProxy was started anew.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.anew.subscribe()
    }

    /// Looks every second at each HAProxy that was told anything, whoever told it, for ever.
    pub async fn keep_watch(self: Arc<Self>) {
        let mut books = Vec::new();
        loop {
            tokio::time::sleep(if books.is_empty() { WITHOUT } else { EVERY }).await;
            books = self.books.all();
            let mut processes: BTreeMap<&str, Option<String>> = BTreeMap::new();
            for (environment, book) in &books {
                if !processes.contains_key(&*book.socket) {
                    // One that is away is asked again; what is wrong with it is told by who needs it.
                    let look = Look::at(Client::new(&book.socket), []).await;
                    processes.insert(&book.socket, look.ok().map(|look| look.process));
                }
                let process = processes.get(&*book.socket).and_then(Option::as_ref);
                if process.is_some_and(|process| *process != book.told) {
                    self.tell_again(environment, book).await;
                }
            }
        }
    }

    /// Also in the middle of an operation: what it is about to change is not changed by that.
    async fn tell_again(&self, environment: &EnvironmentName, book: &Book) {
        match self.restore(environment).await {
            Ok(()) => {
                tracing::info!("HAProxy at {} was started anew: {environment} is as it was told", book.socket)
            }
            Err(error) => {
                tracing::debug!("HAProxy was started anew and not yet told of {environment}: {error}")
            }
        }
        self.anew.send_modify(|count| *count += 1);
    }
}
