//! Keeps what runs, and what the router knows, equal to what is recorded: after restarts, and when instances change.

use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::Result;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::slot_tending::{self, Told};

use crate::Daemon;
use crate::lanes::Lanes;

/// How soon a new environment, or one whose name came back, is looked after.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Each environment on its own: a service that is slow to start delays no other.
pub(crate) async fn keep(daemon: Arc<Daemon>) {
    let mut lanes = Lanes::new();
    loop {
        match in_care(&daemon).await {
            Ok(names) => {
                for name in names {
                    lanes.start(name.clone(), keep_one(Arc::clone(&daemon), name));
                }
            }
            Err(error) => tracing::warn!("environments cannot be read: {}", error.full_message()),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = daemon.bell.environments.notified() => {}
            () = lanes.freed() => {}
        }
    }
}

async fn in_care(daemon: &Daemon) -> Result<Vec<EnvironmentName>> {
    let care = daemon.care().await?;
    let records = daemon.options.db.list_environments().await?.into_iter();
    Ok(records.map(|record| record.environment.name).filter(|name| care.is_for(name)).collect())
}

/// Until the environment is deleted, or another daemon looks after it.
async fn keep_one(daemon: Arc<Daemon>, name: EnvironmentName) {
    let (db, ports) = (&daemon.options.db, &daemon.options.ports);
    let mut instances = daemon.options.instances_changed.clone();
    let mut router = daemon.options.router_changed.clone();
    let mut told = Told::default();
    loop {
        let settled = match slot_tending::reconcile(db, ports, &mut told, &name).await {
            Ok(settled) => settled,
            Err(error) => {
                tracing::warn!("the router could not be told what runs in {name}: {}", error.full_message());
                false
            }
        };
        if daemon.site().is_some() {
            // What was warm on the site before this one may have to go.
            daemon.bell.slots.notify_one();
        }
        let again = Duration::from_secs(if settled { 15 } else { 1 });
        tokio::select! {
            () = tokio::time::sleep(again) => {}
            changed = instances.changed() => if changed.is_err() { return },
            changed = router.changed() => if changed.is_err() { return },
        }
        if db.environment(&name).await.is_err_and(|error| error.code() == "ORC-0101")
            || daemon.care().await.is_ok_and(|care| !care.is_for(&name))
        {
            return;
        }
    }
}
