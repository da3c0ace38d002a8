//! Keeps what runs, and what the router knows, equal to what is recorded: after restarts, and when instances change.

use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::slot_tending::{self, Told};

use crate::Daemon;

pub(crate) async fn keep(daemon: Arc<Daemon>) {
    let mut instances = daemon.options.instances_changed.clone();
    let mut router = daemon.options.router_changed.clone();
    let mut told = Told::default();
    loop {
        let settled =
            match slot_tending::reconcile(&daemon.options.db, &daemon.options.ports, &mut told).await {
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
