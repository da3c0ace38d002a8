//! Making sure that instances do not run, and clearing up after the last one of a release.

use std::collections::BTreeSet;
use std::sync::Arc;

use orchestrate_core::ports::{Placement, PortError, PortResult, Processes, StopRequest};
use tokio::task::JoinSet;

use super::await_healthy::instance_id;
use super::keeper::Keeper;
use super::shared::Shared;

pub(super) async fn stop(shared: &Arc<Shared>, request: &StopRequest) -> PortResult<()> {
    let placement = &request.placement;
    let gate = shared.gate(&placement.environment, placement.slot);
    let _turn = gate.lock().await;
    shared.accept_fence(&placement.environment, request.fence).await?;
    let mut keepers = shared.keepers_in(&placement.environment, placement.slot);
    let kept = kept(shared, request).await?;
    keepers.retain(|keeper| {
        let meant = match request.processes {
            Processes::All => true,
            Processes::Unrouted => !keeper.routed,
            Processes::Routed => keeper.routed,
        };
        keeper.placement.release == placement.release && meant && !kept.contains(&keeper.id)
    });
    stop_keepers(shared, &keepers).await?;
    if request.processes == Processes::All {
        clear_up(shared, placement).await?;
    }
    // Also where an earlier stop was done and could not be written down.
    shared.book.flush().await
}

/// The instances that stay.
async fn kept(shared: &Shared, request: &StopRequest) -> PortResult<BTreeSet<String>> {
    let Some(counts) = &request.counts else { return Ok(BTreeSet::new()) };
    let spec = shared.spec(request.placement.release).await?;
    let slot = request.placement.slot.as_str();
    let wanted = spec.wanted(request.processes, Some(counts));
    Ok(wanted.map(|wanted| instance_id(slot, wanted.process, wanted.number)).collect())
}

/// Stops all instances of all environments, every slot at its gate; nothing is started after that.
pub(super) async fn stop_everything(shared: &Arc<Shared>) -> PortResult<()> {
    let mut places: BTreeSet<_> = shared.close().into_iter().collect();
    let keepers = shared.keepers();
    places.extend(keepers.iter().map(|keeper| (keeper.placement.environment.clone(), keeper.placement.slot)));
    let mut stops = JoinSet::new();
    for (environment, slot) in places {
        let shared = Arc::clone(shared);
        stops.spawn(async move {
            let gate = shared.gate(&environment, slot);
            let _turn = gate.lock().await;
            stop_keepers(&shared, &shared.keepers_in(&environment, slot)).await
        });
    }
    let mut outcome = Ok(());
    while let Some(stopped) = stops.join_next().await {
        let stopped =
            stopped.unwrap_or_else(|cause| Err(PortError::failed(format!("a stop ended early: {cause}"))));
        outcome = outcome.and(stopped);
    }
    outcome
}

/// Stops all of them at once, and forgets them. The caller holds the gate of their slot.
pub(super) async fn stop_keepers(shared: &Arc<Shared>, keepers: &[Arc<Keeper>]) -> PortResult<()> {
    // Another may have stopped them, and started others of the same name, while the gate was awaited.
    let keepers: Vec<Arc<Keeper>> =
        keepers.iter().filter(|keeper| shared.is_current(keeper)).cloned().collect();
    if keepers.is_empty() {
        return Ok(());
    }
    let mark = |stopping: &Arc<Keeper>, record: &mut super::book::Record| {
        if let Some(entry) = record.instance_mut(&stopping.placement, &stopping.id) {
            entry.stopping = true;
        }
    };
    let marked = shared.book.update(|record| keepers.iter().for_each(|keeper| mark(keeper, record)));
    if let Err(error) = marked.await {
        // A full disk must not keep anything running.
        tracing::warn!(%error, "a stop is not recorded beforehand");
    }
    for keeper in &keepers {
        keeper.order_stop(shared.stop_timeout(&keeper.placement));
    }
    for keeper in &keepers {
        keeper.gone().await;
        shared.remove_keeper(keeper);
    }
    shared.changes.send_modify(|count| *count += 1);
    let forgotten = shared.book.update(|record| {
        for slot in &mut record.slots {
            slot.instances.retain(|id, _| {
                !keepers.iter().any(|keeper| keeper.id == *id && keeper.placement == slot.placement)
            });
        }
        record.slots.retain(|slot| !slot.instances.is_empty());
    });
    forgotten.await?;
    let mut emptied: Vec<&Placement> = keepers.iter().map(|keeper| &keeper.placement).collect();
    emptied.dedup();
    for placement in emptied {
        clear_up(shared, placement).await?;
    }
    Ok(())
}

/// Removes the working copy once nothing of the release runs in the slot.
pub(super) async fn clear_up(shared: &Arc<Shared>, placement: &Placement) -> PortResult<()> {
    let runs = |keeper: &Arc<Keeper>| keeper.placement.release == placement.release;
    if shared.keepers_in(&placement.environment, placement.slot).iter().any(runs) {
        return Ok(());
    }
    if !shared.keepers().iter().any(runs) {
        shared.forget_spec(placement.release);
    }
    shared.remove_working_copy(placement).await.or_else(|error| {
        // It costs disk space, and the next start there replaces it; the stop itself is done.
        tracing::warn!(%error, "a working copy is left");
        Ok(())
    })
}
