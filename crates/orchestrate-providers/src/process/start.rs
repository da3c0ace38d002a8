//! Making sure that the wanted instances of a release run in a slot.

use std::sync::Arc;

use orchestrate_core::ports::{Instance, Placement, PortResult, Processes, StartRequest};
use orchestrate_core::time::Timestamp;

use super::await_healthy::instance_id;
use super::book::{InstanceEntry, Record, SlotEntry};
use super::command;
use super::keeper::Keeper;
use super::proc_table::Mark;
use super::shared::Shared;
use super::stop;
use crate::spec::RunSpec;

pub(super) async fn start(shared: &Arc<Shared>, request: &StartRequest) -> PortResult<Vec<Instance>> {
    let placement = &request.placement;
    let gate = shared.gate(&placement.environment, placement.slot);
    let _turn = gate.lock().await;
    shared.may_start()?;
    shared.accept_fence(&placement.environment, request.fence).await?;
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
        if here.is_empty() {
            shared.make_working_copy(placement, &spec).await?;
        }
        let directory = shared.directory(placement);
        for process in spec.processes.keys().filter(|process| is_meant(&spec, process, request.processes)) {
            command::find_program(&spec, process, &directory)?;
        }
        // The copy may have taken long; whoever came meanwhile has the say.
        shared.check_fence(&placement.environment, request.fence)?;
        start_missing(shared, placement, &spec, &missing).await?;
    }
    // Also where an earlier start was done and could not be written down.
    shared.book.flush().await?;
    Ok(shared
        .keepers_in(&placement.environment, placement.slot)
        .iter()
        .map(|keeper| keeper.instance())
        .collect())
}

fn is_meant(spec: &RunSpec, process: &str, processes: Processes) -> bool {
    spec.processes.get(process).is_some_and(|kind| processes.includes(kind.listen))
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

/// Writes the instances down, spawns them, writes down what they became.
async fn start_missing(
    shared: &Arc<Shared>,
    placement: &Placement,
    spec: &Arc<RunSpec>,
    missing: &[String],
) -> PortResult<()> {
    let intended = shared.book.update(|record| intend(shared, record, placement, spec, missing));
    let entries = match intended.await {
        Ok(Ok(entries)) => entries,
        Ok(Err(error)) | Err(error) => {
            forget(shared, placement, missing).await;
            return Err(error);
        }
    };
    let mut held = Vec::new();
    let mut failure = None;
    for (id, entry) in entries {
        match shared.spawn(spec, placement, entry.clone()).await {
            Ok(process) => held.push((id, entry, process)),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    let marks: Vec<(String, Mark)> =
        held.iter().map(|(id, _, held)| (id.clone(), held.running.mark)).collect();
    let unstarted: Vec<String> =
        missing.iter().filter(|id| !marks.iter().any(|(started, _)| started == *id)).cloned().collect();
    forget(shared, placement, &unstarted).await;
    for (id, entry, held) in held {
        Keeper::begin(shared, placement.clone(), id, &entry, Some(held));
    }
    let recorded = shared.book.update(|record| {
        for (id, mark) in marks {
            if let Some(entry) = record.instance_mut(placement, &id) {
                entry.mark = Some(mark);
            }
        }
    });
    recorded.await?;
    failure.map_or(Ok(()), Err)
}

fn intend(
    shared: &Shared,
    record: &mut Record,
    placement: &Placement,
    spec: &RunSpec,
    missing: &[String],
) -> PortResult<Vec<(String, InstanceEntry)>> {
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
            token: shared.new_token(&id, placement.release),
            run: 0,
            port: wanted.listen.map(|_| shared.free_port(record)).transpose()?,
            mark: None,
            restarts: 0,
            started_at: Timestamp::system_now(),
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
