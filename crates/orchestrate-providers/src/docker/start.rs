//! Making sure that the wanted instances of a release run in a slot.

use std::sync::Arc;

use futures_util::future::join_all;
use orchestrate_core::ports::{Instance, Placement, PortError, PortResult, Processes, StartRequest};

use super::await_healthy::instance_id;
use super::container::{self, Failure};
use super::keeper::{Keeper, not_seen};
use super::shared::Shared;
use super::stop;
use crate::process::book::{InstanceEntry, Record, SlotEntry};
use crate::spec::RunSpec;

const PORTS_TRIED: u32 = 5;

type Named = (String, InstanceEntry);

pub(super) async fn start(shared: &Arc<Shared>, request: &StartRequest) -> PortResult<Vec<Instance>> {
    let placement = &request.placement;
    let gate = shared.gate(&placement.environment, placement.slot);
    let _turn = gate.lock().await;
    shared.may_start()?;
    shared.book.accept_fence(&placement.environment, request.fence).await?;
    let spec = shared.spec(placement.release).await?;
    clear_slot(shared, placement).await?;
    let here = shared.keepers_in(&placement.environment, placement.slot);
    let missing: Vec<String> = spec
        .wanted(request.processes, request.counts.as_ref())
        .map(|wanted| instance_id(placement.slot.as_str(), wanted.process, wanted.number))
        .filter(|id| !here.iter().any(|keeper| keeper.id == *id))
        .collect();
    for keeper in &here {
        keeper.restart_now(shared);
    }
    if !missing.is_empty() {
        // Clearing the slot may have taken long; whoever came meanwhile has the say.
        shared.book.check_fence(&placement.environment, request.fence)?;
        start_missing(shared, placement, &spec, &missing).await?;
    }
    // Also where an earlier start was done and could not be written down.
    shared.book.flush().await?;
    let now = shared.keepers_in(&placement.environment, placement.slot);
    Ok(now.iter().map(|keeper| keeper.instance()).collect())
}

/// Stops what is in the slot and must not be: another release, or what was being stopped when a daemon ended.
async fn clear_slot(shared: &Arc<Shared>, placement: &Placement) -> PortResult<()> {
    let mut leftovers = shared.keepers_in(&placement.environment, placement.slot);
    leftovers.retain(|keeper| keeper.placement != *placement || keeper.is_stopping());
    stop::stop_keepers(shared, &leftovers).await?;
    shared.book.amend(|record| {
        let other = |entry: &SlotEntry| {
            let there = &entry.placement;
            there.environment == placement.environment && there.slot == placement.slot && there != placement
        };
        record.slots.retain(|entry| !other(entry));
    });
    Ok(())
}

/// Writes the instances down, has their containers made, all at once, and hands them to their keepers.
async fn start_missing(
    shared: &Arc<Shared>,
    placement: &Placement,
    spec: &Arc<RunSpec>,
    missing: &[String],
) -> PortResult<()> {
    shared.engine.client().await?;
    let intended = shared.book.update(|record| intend(shared, record, placement, spec, missing)).await;
    let entries = match intended {
        Ok(Ok(entries)) => entries,
        Ok(Err(error)) | Err(error) => {
            forget(shared, placement, missing).await;
            return Err(error);
        }
    };
    shared.hear();
    let launches = entries.into_iter().map(|(id, entry)| launch(shared, placement, spec, id, entry));
    let (mut failed, mut failure) = (Vec::new(), None);
    for launched in join_all(launches).await {
        match launched {
            Ok((id, entry)) => drop(Keeper::begin(shared, placement.clone(), id, &entry, false)),
            Err((id, error)) => {
                failed.push(id);
                failure.get_or_insert(error);
            }
        }
    }
    forget(shared, placement, &failed).await;
    failure.map_or(Ok(()), Err)
}

async fn launch(
    shared: &Arc<Shared>,
    placement: &Placement,
    spec: &Arc<RunSpec>,
    id: String,
    mut entry: InstanceEntry,
) -> Result<Named, (String, PortError)> {
    let mut last = None;
    for _ in 0..PORTS_TRIED {
        match container::launch(shared, spec, placement, &entry).await {
            Ok(()) => return Ok((id, entry)),
            Err(Failure::Other(error)) => return Err((id, error)),
            Err(Failure::PortTaken(error)) => last = Some(error),
        }
        match another_port(shared, placement, &id).await {
            Ok(renewed) => entry = renewed,
            Err(error) => return Err((id, error)),
        }
    }
    let error = last.unwrap_or_else(|| PortError::failed("no port was tried"));
    Err((id, error))
}

async fn another_port(shared: &Arc<Shared>, placement: &Placement, id: &str) -> PortResult<InstanceEntry> {
    let renewed = shared.book.update(|record| {
        let port = shared.free_port(record)?;
        let entry = record.instance_mut(placement, id);
        let entry = entry.ok_or_else(|| PortError::failed(format!("{id} is no longer wanted")))?;
        entry.port = Some(port);
        Ok(entry.clone())
    });
    renewed.await?
}

fn intend(
    shared: &Shared,
    record: &mut Record,
    placement: &Placement,
    spec: &RunSpec,
    missing: &[String],
) -> PortResult<Vec<Named>> {
    if record.slot_mut(placement).is_none() {
        record.slots.push(SlotEntry {
            placement: placement.clone(),
            digest: spec.digest.clone(),
            stop_timeout: spec.stop_timeout,
            instances: Default::default(),
        });
    }
    let mut entries = Vec::new();
    for wanted in spec.wanted(Processes::All, None) {
        let id = instance_id(placement.slot.as_str(), wanted.process, wanted.number);
        if !missing.contains(&id) {
            continue;
        }
        let entry = InstanceEntry {
            process: wanted.process.to_owned(),
            number: wanted.number,
            token: shared.new_name(&placement.environment, &id),
            run: 0,
            port: wanted.listen.map(|_| shared.free_port(record)).transpose()?,
            mark: None,
            restarts: 0,
            started_at: not_seen(),
            last_exit: None,
            stopping: false,
        };
        if let Some(slot) = record.slot_mut(placement) {
            slot.instances.insert(id.clone(), entry.clone());
        }
        entries.push((id, entry));
    }
    Ok(entries)
}

/// Takes back what was written down and did not come to be.
async fn forget(shared: &Shared, placement: &Placement, ids: &[String]) {
    if ids.is_empty() {
        return;
    }
    let forgotten = shared.book.update(|record| {
        if let Some(slot) = record.slot_mut(placement) {
            slot.instances.retain(|id, _| !ids.contains(id));
        }
        record.slots.retain(|slot| slot.placement != *placement || !slot.instances.is_empty());
    });
    if let Err(error) = forgotten.await {
        tracing::warn!(%error, "instances that were not started are still recorded");
    }
}
