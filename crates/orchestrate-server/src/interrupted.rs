//! Operations whose program is gone are finished or undone here.

use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::database::OperationRecord;
use orchestrate_core::{DeploymentExecutor, Result};

use crate::Daemon;
use crate::lanes::Lanes;

/// How soon the daemon notices that a command was killed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Each on its own: what waits for its health check in one environment delays no other.
pub(crate) async fn finish(daemon: Arc<Daemon>) {
    let mut lanes = Lanes::new();
    loop {
        match left_open(&daemon).await {
            Ok(operations) => {
                for operation in operations {
                    lanes.start(operation.environment.clone(), || finish_one(Arc::clone(&daemon), operation));
                }
            }
            Err(error) => tracing::warn!("open operations cannot be read: {}", error.full_message()),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = daemon.bell.operations.notified() => {}
            () = lanes.freed() => {}
        }
    }
}

async fn left_open(daemon: &Daemon) -> Result<Vec<OperationRecord>> {
    let mut operations = daemon.options.db.list_open_operations().await?;
    if operations.is_empty() {
        return Ok(operations);
    }
    let care = daemon.care().await?;
    operations.retain(|operation| care.is_for(&operation.environment));
    Ok(operations)
}

async fn finish_one(daemon: Arc<Daemon>, operation: OperationRecord) {
    let executor = DeploymentExecutor::new(daemon.options.db.clone(), daemon.options.ports.clone());
    match executor.is_left_open(&operation).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => {
            tracing::warn!("a lease cannot be read: {}", error.full_message());
            return;
        }
    }
    tracing::info!(
        "finishing the {} that was left open in {}",
        operation.kind.as_str(),
        operation.environment
    );
    match executor.resume_by_itself(&operation.environment, "daemon").await {
        Ok(resumed) => {
            tracing::info!("ended: {resumed:?}");
            daemon.bell.ring();
        }
        Err(error) => {
            tracing::warn!("it could not be finished: {}", error.full_message());
            // A full disk would make a busy loop of this.
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }
}
