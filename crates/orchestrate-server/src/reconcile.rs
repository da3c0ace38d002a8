//! Keeps what runs, and what the router knows, equal to what is recorded: after restarts, and when instances change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::Result;
use orchestrate_core::name::{EnvironmentName, Fence};
use orchestrate_core::slot_tending::{self, Told, Upkeep};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::Daemon;
use crate::lanes::Lanes;

/// How soon a new environment, or one whose name came back, is looked after.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// A look at what is as it should be, and would have said if it were not.
const MAKE_SURE_EVERY: Duration = Duration::from_secs(120);
/// What could not be done yet is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The environments that are looked after, each with its fence, or with none while an operation is open. Whoever acts there raises it.
type Fences = BTreeMap<EnvironmentName, Option<Fence>>;

/// Each environment on its own: a service that is slow to start delays no other.
pub(crate) async fn keep(daemon: Arc<Daemon>) {
    let (fences, mut lanes) = (watch::Sender::new(Fences::new()), Lanes::new());
    loop {
        match in_care(&daemon).await {
            Ok(now) => {
                fences.send_if_modified(|fences| std::mem::replace(fences, now.clone()) != now);
                for name in now.into_keys() {
                    lanes.start(name.clone(), || keep_one(Arc::clone(&daemon), name, fences.subscribe()));
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

async fn in_care(daemon: &Daemon) -> Result<Fences> {
    let care = daemon.care().await?;
    let fences = daemon.options.db.list_fences().await?.into_iter();
    Ok(fences.filter(|(name, _)| care.is_for(name)).collect())
}

/// Until the environment is deleted, or another daemon looks after it.
async fn keep_one(daemon: Arc<Daemon>, name: EnvironmentName, mut fences: watch::Receiver<Fences>) {
    let (db, ports) = (&daemon.options.db, &daemon.options.ports);
    let mut instances = daemon.options.instances_changed.clone();
    let mut router = daemon.options.router_changed.clone();
    let mut told = Told::default();
    loop {
        let Some(fence) = fences.borrow_and_update().get(&name).copied() else { return };
        let kept = match slot_tending::reconcile(db, ports, &mut told, &name).await {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!("the router could not be told what runs in {name}: {}", error.full_message());
                Upkeep::Unfinished
            }
        };
        if daemon.site().is_some() {
            // What was warm on the site before this one may have to go.
            daemon.bell.slots.notify_one();
        }
        let again = Instant::now()
            + match kept {
                Upkeep::Quiet => MAKE_SURE_EVERY,
                Upkeep::Watched => LOOK_EVERY,
                Upkeep::Unfinished => TRY_AGAIN,
            };
        loop {
            tokio::select! {
                () = sleep_until(again) => break,
                changed = instances.changed() => if changed.is_err() { return },
                changed = router.changed() => if changed.is_err() { return },
                changed = fences.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    match fences.borrow_and_update().get(&name) {
                        Some(now) if *now == fence => continue,
                        Some(_) => break,
                        None => return,
                    }
                }
            }
            // It may have been in another environment.
            if kept != Upkeep::Quiet || told.differs(ports, &name).await {
                break;
            }
        }
    }
}
