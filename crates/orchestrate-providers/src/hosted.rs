//! A provider as the daemon hosts it: beside what core asks, what the daemon itself needs.

use async_trait::async_trait;
use orchestrate_core::ports::{CountLines, Ended, Lines, OneOff, PortError, PortResult, Provider};
use tokio::sync::watch;

/// Lives in the daemon. What it runs outlives it, and the next one adopts it.
#[async_trait]
pub trait Hosted: Provider {
    /// Changes whenever an instance changes its state, ends, is started again, or gets another address.
    fn subscribe(&self) -> watch::Receiver<u64>;
    /// Runs a command once, as an instance of its release would run, and waits for its end.
    async fn run_once(&self, command: &OneOff) -> PortResult<Ended>;
    /// Counts the lines of a release's output that match, since its instances were started.
    async fn count_lines(&self, request: &CountLines) -> PortResult<Lines>;
    /// Stops and forgets all instances that this home has here, whatever their fence. Nothing can be started after that.
    async fn stop_everything(&self) -> PortResult<()>;
}

/// Carries work with effects to its end, even if whoever asked for it is gone; `who` does it.
pub(crate) async fn whole<R: Send + 'static>(
    who: &'static str,
    work: impl Future<Output = PortResult<R>> + Send + 'static,
) -> PortResult<R> {
    let ended = tokio::spawn(work).await;
    ended.unwrap_or_else(|cause| Err(PortError::failed(format!("a task of the {who} ended early: {cause}"))))
}
