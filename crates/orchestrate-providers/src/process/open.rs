//! Taking over what an earlier daemon left: instances that run are adopted, those that should run are started.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::name::{EnvironmentName, ReleaseId, Version};
use orchestrate_core::ports::Placement;
use orchestrate_core::slot::Slot;
use orchestrate_core::time::Timestamp;
use tokio::time::timeout;

use super::book::{InstanceEntry, SlotEntry};
use super::command::INSTANCE_VARIABLE;
use super::confine;
use super::keeper::{Held, Keeper};
use super::output;
use super::proc_table::{self, Bearer};
use super::running::Running;
use super::shared::{Shared, blocking};
use super::stop;
use super::working_copy;

/// How long the first look at the health of what was adopted may take.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// What is known of the time before.
pub(super) struct Before {
    /// The machine was started since; nothing that was recorded can still run.
    pub rebooted: bool,
    /// The record was lost; what runs has to be recognised by itself.
    pub damaged: bool,
    /// What has ended of these is not started again.
    pub elsewhere: BTreeSet<EnvironmentName>,
}

pub(super) async fn take_over(shared: &Arc<Shared>, before: Before) {
    if before.damaged {
        rebuild(shared).await;
    }
    if before.rebooted {
        shared.book.amend(|record| {
            let instances = record.slots.iter_mut().flat_map(|slot| slot.instances.values_mut());
            instances.for_each(|entry| entry.mark = None);
        });
    }
    let slots = shared.book.read(|record| record.slots.clone());
    let mut bearers = None;
    let mut keepers = Vec::new();
    for slot in slots {
        if before.rebooted {
            renew_working_copy(shared, &slot).await;
        }
        for (id, entry) in &slot.instances {
            let elsewhere = before.elsewhere.contains(&slot.placement.environment);
            let held =
                if before.rebooted { None } else { find(shared, &slot.placement, entry, &mut bearers) };
            if let Some(held) = &held {
                let mark = held.running.mark;
                shared.book.amend(|record| {
                    if let Some(entry) = record.instance_mut(&slot.placement, id) {
                        entry.mark = Some(mark);
                    }
                });
            }
            if held.is_none() && elsewhere {
                shared.book.amend(|record| {
                    if let Some(slot) = record.slot_mut(&slot.placement) {
                        slot.instances.remove(id);
                    }
                });
                continue;
            }
            keepers.push((
                Keeper::begin(shared, slot.placement.clone(), id.clone(), entry, held),
                entry.stopping,
            ));
        }
    }
    if let Err(error) = shared.book.update(|_| ()).await {
        tracing::warn!(%error, "what was adopted is not recorded yet");
    }
    if !before.damaged {
        clear_working_copies(shared).await;
    }
    finish_stops(shared, &keepers);
    let looked = async {
        for (keeper, _) in keepers.iter().filter(|(keeper, _)| keeper.status().pid.is_some()) {
            keeper.looked_at().await;
        }
    };
    let _ = timeout(FIRST_LOOK, looked).await;
}

/// The process of an instance: the recorded one, or a later run of it that was not recorded any more.
fn find(
    shared: &Shared,
    placement: &Placement,
    entry: &InstanceEntry,
    bearers: &mut Option<Vec<Bearer>>,
) -> Option<Held> {
    let hold = |mark| match Running::hold(mark) {
        Ok(running) => running,
        Err(cause) => {
            tracing::warn!(pid = mark.pid, %cause, "a process cannot be watched");
            None
        }
    };
    let later = || {
        let bearers = bearers.get_or_insert_with(|| proc_table::bearers(INSTANCE_VARIABLE));
        let run = |bearer: &Bearer| -> Option<u32> {
            let (token, run) = bearer.variable(INSTANCE_VARIABLE)?.rsplit_once('.')?;
            let run = run.parse().ok()?;
            let is_later = run > entry.run || (run == entry.run && entry.mark.is_none());
            (token == entry.token && is_later).then_some(run)
        };
        // The first of a run is its leader; others made groups of their own later.
        let newest = bearers.iter().filter_map(|bearer| Some((run(bearer)?, bearer)));
        let newest = newest.max_by_key(|(run, bearer)| (*run, std::cmp::Reverse(bearer.mark.started)));
        newest.and_then(|(_, bearer)| hold(bearer.mark))
    };
    let running = entry.mark.and_then(hold).or_else(later)?;
    let log = shared.log(placement, &entry.process, entry.number);
    let output_from = fs::metadata(log).map_or(0, |about| about.len().saturating_sub(output::TAIL_BYTES));
    Some(Held { running, output_from, adopted: true })
}

/// Writes the lost record again, from the names that this home's instances carry.
async fn rebuild(shared: &Arc<Shared>) {
    for bearer in proc_table::bearers(INSTANCE_VARIABLE) {
        let Some((placement, id, entry)) = recognise(shared, &bearer) else { continue };
        let Ok(spec) = shared.spec(placement.release).await else {
            tracing::warn!(pid = bearer.mark.pid, "an instance of an unknown release runs");
            continue;
        };
        if !confine::is_as_whom(&bearer, &spec, &entry.process) {
            tracing::warn!(
                pid = bearer.mark.pid,
                "a process carries the name of an instance that is not its own"
            );
            continue;
        }
        shared.book.amend(|record| {
            if record.slot_mut(&placement).is_none() {
                record.slots.push(SlotEntry {
                    placement: placement.clone(),
                    digest: spec.digest.clone(),
                    stop_timeout: spec.stop_timeout,
                    instances: BTreeMap::new(),
                });
            }
            if let Some(slot) = record.slot_mut(&placement) {
                let known = slot.instances.entry(id).or_insert_with(|| entry.clone());
                let older = |entry: &InstanceEntry| {
                    (entry.run, std::cmp::Reverse(entry.mark.map(|mark| mark.started)))
                };
                if older(known) < older(&entry) {
                    *known = entry;
                }
            }
        });
    }
}

/// Reads a name as [`Shared::new_token`] makes it: `blue-web-1.RELEASE.HOMEtoken.RUN`.
fn recognise(shared: &Shared, bearer: &Bearer) -> Option<(Placement, String, InstanceEntry)> {
    let (token, run) = bearer.variable(INSTANCE_VARIABLE)?.rsplit_once('.')?;
    let (rest, unique) = token.rsplit_once('.')?;
    let (id, release) = rest.rsplit_once('.')?;
    if !unique.starts_with(&shared.home_mark) {
        return None;
    }
    let (slot, rest) = id.split_once('-')?;
    let (process, number) = rest.rsplit_once('-')?;
    let placement = Placement {
        environment: EnvironmentName::new(bearer.variable("ORCHESTRATE_ENVIRONMENT")?).ok()?,
        slot: Slot::parse(slot)?,
        release: ReleaseId(release.parse().ok()?),
        version: Version::new(bearer.variable("ORCHESTRATE_VERSION")?).ok()?,
    };
    let entry = InstanceEntry {
        process: process.to_owned(),
        number: number.parse().ok()?,
        token: token.to_owned(),
        run: run.parse().ok()?,
        port: bearer.variable("PORT").and_then(|port| port.parse().ok()),
        mark: Some(bearer.mark),
        restarts: 0,
        started_at: Timestamp::system_now(),
        last_exit: None,
        stopping: false,
    };
    Some((placement, id.to_owned(), entry))
}

/// A loss of power may have torn it; what is whole is kept, with all that the service wrote there.
async fn renew_working_copy(shared: &Arc<Shared>, slot: &SlotEntry) {
    let (store, digest, place) =
        (Arc::clone(&shared.store), slot.digest.clone(), shared.directory(&slot.placement));
    let whole = blocking(move || store.is_intact(&digest, &place)).await;
    if whole.unwrap_or(false) {
        return;
    }
    let renewed = match shared.spec(slot.placement.release).await {
        Ok(spec) => shared.make_working_copy(&slot.placement, &spec).await,
        Err(error) => Err(error),
    };
    if let Err(error) = renewed {
        tracing::warn!(%error, version = %slot.placement.version, "its working copy cannot be renewed");
    }
}

/// Working copies that no instance runs in were left by a crash.
async fn clear_working_copies(shared: &Arc<Shared>) {
    let used: Vec<_> =
        shared.book.read(|record| record.slots.iter().map(|slot| shared.place(&slot.placement)).collect());
    let run = shared.home.join("run");
    let cleared = blocking(move || {
        for environment in fs::read_dir(run).into_iter().flatten().flatten() {
            for copy in fs::read_dir(environment.path()).into_iter().flatten().flatten() {
                if !used.contains(&copy.path()) {
                    let _ = working_copy::remove(&copy.path());
                }
            }
        }
        Ok(())
    });
    let _ = cleared.await;
}

/// Goes on with stops that a daemon's end interrupted.
fn finish_stops(shared: &Arc<Shared>, keepers: &[(Arc<Keeper>, bool)]) {
    let stopping: Vec<Arc<Keeper>> =
        keepers.iter().filter(|(_, stopping)| *stopping).map(|(keeper, _)| Arc::clone(keeper)).collect();
    for keeper in stopping {
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let gate = shared.gate(&keeper.placement.environment, keeper.placement.slot);
            let _turn = gate.lock().await;
            if let Err(error) = stop::stop_keepers(&shared, std::slice::from_ref(&keeper)).await {
                tracing::warn!(instance = %keeper.id, %error, "an interrupted stop is not recorded as done");
            }
        });
    }
}
