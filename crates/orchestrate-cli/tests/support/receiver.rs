//! A receiver of notices, or of traces, beside a test that does not wait.

use std::net::SocketAddr;
use std::sync::mpsc;

use orchestrate_testkit::{Received, WebhookReceiver};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::PATIENCE;

/// A receiver of ours, on a thread of its own.
pub struct Receiver {
    runtime: Handle,
    receiver: WebhookReceiver,
    _end: oneshot::Sender<()>,
}

impl Receiver {
    pub fn start(address: Option<SocketAddr>) -> Self {
        let (sender, started) = mpsc::channel();
        let (end, ended) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let address = address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
            let receiver = runtime.block_on(WebhookReceiver::start_at(address)).unwrap();
            sender.send((runtime.handle().clone(), receiver)).unwrap();
            let _ = runtime.block_on(ended);
        });
        let (runtime, receiver) = started.recv().unwrap();
        Self { runtime, receiver, _end: end }
    }

    pub fn on(&self) -> &WebhookReceiver {
        &self.receiver
    }

    #[track_caller]
    pub fn receives(&self, count: usize) -> Vec<Received> {
        self.runtime.block_on(self.on().await_received(count, PATIENCE)).unwrap()
    }
}
