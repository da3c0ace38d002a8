//! The daemon's tasks. Each looks at the database for its work, when it is rung or when something is due.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orchestrate_core::Result;
use orchestrate_core::slot_tending::{self, Leaving};
use orchestrate_core::time::Timestamp;
use tokio::net::UnixDatagram;
use tokio::task::JoinSet;

use crate::lanes::Lanes;
use crate::{
    Daemon, care, drills, groups, hooks, interrupted, metrics, outbox, prune, readiness, reconcile, rollouts,
    traces, verdicts,
};

/// However quiet it is, each task looks again after this long: another host may share the database.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(15);

pub(crate) fn start(daemon: &Arc<Daemon>, wake: UnixDatagram) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(listen(Arc::clone(daemon), wake));
    tasks.spawn(care::keep(Arc::clone(daemon)));
    tasks.spawn(reconcile::keep(Arc::clone(daemon)));
    tasks.spawn(interrupted::finish(Arc::clone(daemon)));
    tasks.spawn(groups::finish(Arc::clone(daemon)));
    tasks.spawn(verdicts::watch(Arc::clone(daemon)));
    tasks.spawn(rollouts::advance(Arc::clone(daemon)));
    tasks.spawn(tend_slots(Arc::clone(daemon)));
    tasks.spawn(prune::keep_few(Arc::clone(daemon)));
    tasks.spawn(hooks::forget(Arc::clone(daemon)));
    tasks.spawn(readiness::watch(Arc::clone(daemon)));
    tasks.spawn(drills::keep(Arc::clone(daemon)));
    tasks.spawn(metrics::serve(Arc::clone(daemon)));
    tasks.spawn(outbox::deliver(Arc::clone(daemon)));
    tasks.spawn(traces::tell(Arc::clone(daemon)));
    tasks
}

async fn listen(daemon: Arc<Daemon>, wake: UnixDatagram) {
    let mut byte = [0; 1];
    while wake.recv(&mut byte).await.is_ok() {
        daemon.bell.ring();
    }
}

/// Each slot on its own: a long drain in one environment delays nothing in another.
async fn tend_slots(daemon: Arc<Daemon>) {
    let (mut lanes, parked) = (Lanes::new(), Arc::new(Parked::default()));
    loop {
        let next = match leaving(&daemon).await {
            Ok(slots) => {
                let now = daemon.options.ports.clock.now();
                let next = slots.iter().filter_map(|slot| slot.due(now)).min();
                parked.keep(&slots);
                for slot in slots.into_iter().filter(|slot| !slot.waits(now) || !parked.has(slot)) {
                    let key = (slot.placement.environment.clone(), slot.placement.slot);
                    lanes.start(key, || tend_slot(Arc::clone(&daemon), Arc::clone(&parked), slot));
                }
                next
            }
            Err(error) => {
                tracing::warn!("slots cannot be read: {}", error.full_message());
                None
            }
        };
        let pause = until(next, daemon.options.ports.clock.now());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = daemon.bell.slots.notified() => {}
            () = lanes.freed() => {}
        }
    }
}

async fn leaving(daemon: &Daemon) -> Result<Vec<Leaving>> {
    let care = daemon.care().await?;
    let mut slots = slot_tending::leaving(&daemon.options.db).await?;
    slots.retain(|slot| care.is_for(&slot.placement.environment));
    Ok(slots)
}

async fn tend_slot(daemon: Arc<Daemon>, parked: Arc<Parked>, slot: Leaving) {
    match slot_tending::tend_one(&daemon.options.db, &daemon.options.ports, &slot).await {
        Ok(true) => parked.add(slot),
        Ok(false) => {}
        Err(error) => tracing::warn!("a slot could not be looked after: {}", error.full_message()),
    }
}

/// Warm slots with which nothing is to be done until their time ends: there may be hundreds, for days.
#[derive(Default)]
struct Parked(Mutex<HashSet<Leaving>>);

impl Parked {
    fn slots(&self) -> MutexGuard<'_, HashSet<Leaving>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, slot: &Leaving) -> bool {
        self.slots().contains(slot)
    }

    fn add(&self, slot: Leaving) {
        self.slots().insert(slot);
    }

    /// Whatever is otherwise than it was is looked at again.
    fn keep(&self, there: &[Leaving]) {
        let there: HashSet<&Leaving> = there.iter().collect();
        self.slots().retain(|slot| there.contains(slot));
    }
}

/// The time until `next`, at most [`LOOK_AGAIN`].
pub(crate) fn until(next: Option<Timestamp>, now: Timestamp) -> Duration {
    next.map_or(LOOK_AGAIN, |next| Duration::from_millis(next.millis_since(now))).min(LOOK_AGAIN)
}
