//! Taking over what an earlier daemon left: what runs is adopted, what should run and does not is started.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptionsBuilder;
use futures_util::future::join_all;
use orchestrate_core::name::{EnvironmentName, ReleaseId, Version};
use orchestrate_core::ports::{Placement, PortResult};
use orchestrate_core::slot::Slot;
use tokio::time::timeout;

use super::await_healthy::instance_id;
use super::container::{self, ENVIRONMENT, HOME, NUMBER, ONCE, PORT, PROCESS, RELEASE, SLOT, VERSION};
use super::engine::told;
use super::keeper::{Keeper, not_seen};
use super::shared::Shared;
use super::{secrets, stop};
use crate::process::book::{InstanceEntry, Record, SlotEntry};

/// How long the first look at what was adopted may take.
const FIRST_LOOK: Duration = Duration::from_secs(2);

pub(super) async fn take_over(shared: &Arc<Shared>, damaged: bool) {
    if damaged && let Err(error) = rebuild(shared).await {
        tracing::warn!(%error, "what runs on the Docker engine could not be recognised");
    }
    // Where the record was lost, it is not known what else may run.
    if !damaged {
        let kept = |record: &Record| -> Vec<String> {
            record
                .slots
                .iter()
                .flat_map(|slot| slot.instances.values())
                .map(|entry| entry.token.clone())
                .collect()
        };
        secrets::sweep(shared, &shared.book.read(kept));
    }
    let mut keepers = Vec::new();
    for slot in shared.book.read(|record| record.slots.clone()) {
        for (id, entry) in &slot.instances {
            let keeper = Keeper::begin(shared, slot.placement.clone(), id.clone(), entry, true);
            keepers.push((keeper, entry.stopping));
        }
    }
    if keepers.is_empty() {
        return;
    }
    shared.hear();
    finish_stops(shared, &keepers);
    let looked = join_all(keepers.iter().map(|(keeper, _)| keeper.looked_at()));
    let _ = timeout(FIRST_LOOK, looked).await;
}

/// Goes on with stops that a daemon's end interrupted.
fn finish_stops(shared: &Arc<Shared>, keepers: &[(Arc<Keeper>, bool)]) {
    for (keeper, _) in keepers.iter().filter(|(_, stopping)| *stopping) {
        let (shared, keeper) = (Arc::clone(shared), Arc::clone(keeper));
        tokio::spawn(async move {
            let gate = shared.gate(&keeper.placement.environment, keeper.placement.slot);
            let _turn = gate.lock().await;
            if let Err(error) = stop::stop_keepers(&shared, std::slice::from_ref(&keeper)).await {
                tracing::warn!(instance = %keeper.id, %error, "an interrupted stop is not done");
            }
        });
    }
}

/// Everything of this home that the engine has, run once or not.
async fn ours(shared: &Shared) -> PortResult<Vec<ContainerSummary>> {
    let client = shared.engine.client().await?;
    let filters = HashMap::from([("label", vec![format!("{HOME}={}", shared.home_mark)])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let listed = client.list_containers(Some(options)).await;
    listed.map_err(|error| told("the containers of this home cannot be listed", &error))
}

/// Removes what earlier daemons of this home ran once and left when they were killed.
pub(super) async fn end_leftovers(shared: &Shared) {
    let running = shared.one_offs();
    for container in ours(shared).await.unwrap_or_default() {
        let is_once = container.labels.as_ref().is_some_and(|labels| labels.contains_key(ONCE));
        let Some(name) = name(&container).filter(|name| is_once && !running.contains(*name)) else {
            continue;
        };
        tracing::info!(container = name, "what an earlier daemon ran once is removed");
        if let Err(error) = container::remove(shared, name).await {
            tracing::warn!(container = name, %error, "it is left");
        }
    }
}

fn name(container: &ContainerSummary) -> Option<&str> {
    Some(container.names.as_ref()?.first()?.trim_start_matches('/'))
}

/// Writes the lost record again, from the labels of this home's containers.
async fn rebuild(shared: &Arc<Shared>) -> PortResult<()> {
    for container in ours(shared).await? {
        let Some((placement, entry)) = recognise(&container) else { continue };
        let Ok(spec) = shared.spec(placement.release).await else {
            tracing::warn!(container = entry.token, "a container of an unknown release runs");
            continue;
        };
        let id = instance_id(placement.slot.as_str(), &entry.process, entry.number);
        shared.book.amend(|record| {
            if record.slot_mut(&placement).is_none() {
                record.slots.push(SlotEntry {
                    placement: placement.clone(),
                    digest: spec.digest.clone(),
                    stop_timeout: spec.stop_timeout,
                    instances: Default::default(),
                });
            }
            if let Some(slot) = record.slot_mut(&placement) {
                slot.instances.entry(id).or_insert(entry);
            }
        });
    }
    shared.book.flush().await
}

fn recognise(container: &ContainerSummary) -> Option<(Placement, InstanceEntry)> {
    let labels = container.labels.as_ref()?;
    let placement = Placement {
        environment: EnvironmentName::new(labels.get(ENVIRONMENT)?).ok()?,
        slot: Slot::parse(labels.get(SLOT)?)?,
        release: ReleaseId(labels.get(RELEASE)?.parse().ok()?),
        version: Version::new(labels.get(VERSION)?).ok()?,
    };
    let entry = InstanceEntry {
        process: labels.get(PROCESS)?.clone(),
        number: labels.get(NUMBER)?.parse().ok()?,
        token: name(container)?.to_owned(),
        run: 0,
        port: labels.get(PORT).and_then(|port| port.parse().ok()),
        mark: None,
        restarts: 0,
        started_at: not_seen(),
        last_exit: None,
        stopping: false,
    };
    Some((placement, entry))
}
