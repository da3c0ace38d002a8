//! Keeps the logs that output is copied into small, as the `process` provider keeps its own.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::shared::Shared;
use crate::process::LogLimits;
use crate::process::rotate::rotate;
use crate::process::shared::blocking;

/// Never returns.
pub(super) async fn keep_small(shared: Arc<Shared>, limits: LogLimits) {
    let mut tick = interval(limits.check_every.max(Duration::from_millis(10)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let keepers = shared.keepers();
        let logs = keepers.iter().map(|one| shared.log(&one.placement, &one.process, one.number));
        let mut logs: Vec<PathBuf> = logs.collect();
        // Both slots may run the same version, into the same log.
        logs.sort();
        logs.dedup();
        logs.retain(|log| fs::metadata(log).is_ok_and(|about| about.len() >= limits.bytes));
        for log in logs {
            let (path, shared) = (log.clone(), Arc::clone(&shared));
            let rotated = blocking(move || {
                let _still = shared.counted.keep_still();
                Ok(rotate(&path, limits))
            });
            if let Ok(Err(cause)) = rotated.await {
                tracing::warn!(log = %log.display(), %cause, "a log cannot be rotated");
            }
        }
    }
}
