//! Keeps the router's knowledge equal to what is recorded: after its restart, and when instances change.

use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::slot_tending;

use crate::Daemon;

pub(crate) async fn keep(daemon: Arc<Daemon>) {
    let mut instances = daemon.options.instances_changed.clone();
    let mut router = daemon.options.router_changed.clone();
    loop {
        let settled = match slot_tending::reconcile(&daemon.options.db, &daemon.options.ports).await {
            Ok(settled) => settled,
            Err(error) => {
                tracing::warn!("the router could not be told what runs: {}", error.full_message());
                false
            }
        };
        let again = Duration::from_secs(if settled { 15 } else { 1 });
        tokio::select! {
            () = tokio::time::sleep(again) => {}
            changed = instances.changed() => if changed.is_err() { return },
            changed = router.changed() => if changed.is_err() { return },
        }
    }
}
