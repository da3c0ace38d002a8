//! The daemon's tasks. Each looks at the database for its work, when it is rung or when something is due.

use std::sync::Arc;
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
    let mut lanes = Lanes::new();
    loop {
        let next = match leaving(&daemon).await {
            Ok(slots) => {
                let now = daemon.options.ports.clock.now();
                let next = slots.iter().filter_map(|slot| slot.due(now)).min();
                for slot in slots {
                    let key = (slot.placement.environment.clone(), slot.placement.slot);
                    lanes.start(key, tend_slot(Arc::clone(&daemon), slot));
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

async fn tend_slot(daemon: Arc<Daemon>, slot: Leaving) {
    if let Err(error) = slot_tending::tend_one(&daemon.options.db, &daemon.options.ports, &slot).await {
        tracing::warn!("a slot could not be looked after: {}", error.full_message());
    }
}

/// The time until `next`, at most [`LOOK_AGAIN`].
pub(crate) fn until(next: Option<Timestamp>, now: Timestamp) -> Duration {
    next.map_or(LOOK_AGAIN, |next| Duration::from_millis(next.millis_since(now))).min(LOOK_AGAIN)
}
