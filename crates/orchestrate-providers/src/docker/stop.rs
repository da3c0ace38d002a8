//! Making sure that instances do not run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::StopContainerOptionsBuilder;
use futures_util::future::join_all;
use orchestrate_core::ports::{InstanceState, PortResult, Processes, StopRequest};
use tokio::time::timeout;

use super::await_healthy::instance_id;
use super::container;
use super::engine::{told, unless_gone};
use super::keeper::Keeper;
use super::shared::Shared;
use crate::process::book::Record;

/// How long its last output may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// What the engine needs beside the time that the container has.
const MARGIN: Duration = Duration::from_secs(60);

pub(super) async fn stop(shared: &Arc<Shared>, request: &StopRequest) -> PortResult<()> {
    let placement = &request.placement;
    let gate = shared.gate(&placement.environment, placement.slot);
    let _turn = gate.lock().await;
    shared.book.accept_fence(&placement.environment, request.fence).await?;
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
    let stops = places.into_iter().map(|(environment, slot)| async move {
        let gate = shared.gate(&environment, slot);
        let _turn = gate.lock().await;
        stop_keepers(shared, &shared.keepers_in(&environment, slot)).await
    });
    join_all(stops).await.into_iter().fold(Ok(()), Result::and)
}

/// Stops all of them at once, and forgets those that are gone. The caller holds the gate of their slot.
pub(super) async fn stop_keepers(shared: &Arc<Shared>, keepers: &[Arc<Keeper>]) -> PortResult<()> {
    if keepers.is_empty() {
        return Ok(());
    }
    let mark = |stopping: &Arc<Keeper>, record: &mut Record| {
        if let Some(entry) = record.instance_mut(&stopping.placement, &stopping.id) {
            entry.stopping = true;
        }
    };
    let marked = shared.book.update(|record| keepers.iter().for_each(|keeper| mark(keeper, record)));
    if let Err(error) = marked.await {
        // A full disk must not keep anything running.
        tracing::warn!(%error, "a stop is not recorded beforehand");
    }
    for keeper in keepers {
        keeper.order_stop(shared.stop_timeout(&keeper.placement));
    }
    let (mut gone, mut outcome) = (Vec::new(), Ok(()));
    for keeper in keepers {
        match keeper.gone().await {
            Ok(()) => gone.push(keeper),
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    for keeper in &gone {
        shared.remove_keeper(keeper);
        shared.forget_spec(keeper.placement.release);
    }
    shared.changes.send_modify(|count| *count += 1);
    let forgotten = shared.book.update(|record| {
        for slot in &mut record.slots {
            slot.instances.retain(|id, _| {
                !gone.iter().any(|keeper| keeper.id == *id && keeper.placement == slot.placement)
            });
        }
        record.slots.retain(|slot| !slot.instances.is_empty());
    });
    forgotten.await.and(outcome)
}

/// Has the engine end an instance's container, waits for its last words, and takes it away.
pub(super) async fn end(shared: &Arc<Shared>, keeper: &Keeper, patience: Duration) -> PortResult<()> {
    let _making = keeper.making.lock().await;
    keeper.note(shared, |status| status.state = InstanceState::Stopping);
    let container = keeper.status.borrow().container.clone();
    let client = shared.engine.client().await?.with_timeout(patience + MARGIN);
    let seconds = i32::try_from(patience.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
    let options = StopContainerOptionsBuilder::new().t(seconds).build();
    let stopped = unless_gone(client.stop_container(&container, Some(options)).await);
    stopped.map_err(|error| told(&format!("{} cannot be stopped", keeper.id), &error))?;
    keeper.status.send_modify(|status| status.ended = true);
    let mut words = keeper.status.subscribe();
    let _ = timeout(LAST_WORDS, words.wait_for(|status| status.output_done)).await;
    container::remove(shared, &container).await
}
