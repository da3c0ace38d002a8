//! What is kept of hooks, so that none is run twice, is forgotten once the operation that ran them has ended.

use std::collections::HashMap;
use std::sync::Arc;

use orchestrate_core::Result;
use orchestrate_core::execute::forget_hooks;
use orchestrate_core::name::{EnvironmentName, Fence};

use crate::Daemon;
use crate::tasks::LOOK_AGAIN;

/// Every operation has a fence of its own, so there is nothing to forget under one that was seen.
pub(crate) async fn forget(daemon: Arc<Daemon>) {
    let mut forgot: HashMap<EnvironmentName, Fence> = HashMap::new();
    loop {
        if let Err(error) = look(&daemon, &mut forgot).await {
            tracing::warn!("what is kept of hooks could not be looked at: {}", error.full_message());
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = daemon.bell.hooks.notified() => {}
        }
    }
}

async fn look(daemon: &Daemon, forgot: &mut HashMap<EnvironmentName, Fence>) -> Result<()> {
    let (db, ports) = (&daemon.options.db, &daemon.options.ports);
    let care = daemon.care().await?;
    for (name, fence) in db.list_fences().await? {
        let Some(fence) = fence.filter(|_| care.is_for(&name)) else { continue };
        if forgot.get(&name) == Some(&fence) {
            continue;
        }
        if let Some(fence) = forget_hooks(db, ports, &name).await? {
            forgot.insert(name, fence);
        }
    }
    Ok(())
}
