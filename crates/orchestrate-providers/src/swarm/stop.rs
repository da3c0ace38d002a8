//! Making sure that instances do not run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::{ServiceSpec, Task};
use bollard::query_parameters::{ListContainersOptionsBuilder, UpdateServiceOptionsBuilder};
use futures_util::future::join_all;
use orchestrate_core::ports::{PortResult, Processes, StopRequest};
use tokio::time::{Instant, sleep};

use super::look::{self, Seen, is_being_removed, is_over};
use super::service::replicas;
use super::shared::{Shared, is_out_of_sequence, moved};
use super::{anchor, output, secrets};
use crate::docker::engine::{told, unless_gone};

const ATTEMPTS: usize = 20;
/// A swarm tells nobody that a task of it ended, so it is asked.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// What the swarm needs beside the time that the instance has.
const MARGIN: Duration = Duration::from_secs(30);
/// How long the manager may take to forget a task that ended.
const REAPED_WITHIN: Duration = Duration::from_secs(10);
/// How long a node may take to clear up after its task.
const CLEARED_WITHIN: Duration = Duration::from_secs(10);

pub(super) async fn stop(shared: &Arc<Shared>, request: &StopRequest) -> PortResult<()> {
    let placement = &request.placement;
    let gate = shared.gate(&placement.environment, placement.slot);
    let _turn = gate.lock().await;
    anchor::accept(shared, &placement.environment, request.fence).await?;
    let spec = shared.spec(placement.release).await?;
    let routed = |process: &str| spec.processes.get(process).is_some_and(|kind| kind.listen.is_some());
    let kept = |one: &Seen| {
        let counts = request.counts.as_ref();
        counts.is_some_and(|counts| one.who.number <= counts.get(&one.who.process).copied().unwrap_or(0))
    };
    let meant = |one: &&Seen| {
        let included = match request.processes {
            Processes::All => true,
            Processes::Routed => routed(&one.who.process),
            Processes::Unrouted => !routed(&one.who.process),
        };
        one.who.placement == *placement && included && !kept(one)
    };
    let seen = look::look(shared, &placement.environment).await?;
    let going: Vec<&Seen> = seen.iter().filter(meant).collect();
    remove(shared, &going).await?;
    if going.len() == seen.iter().filter(|one| one.who.placement == *placement).count() {
        shared.forget_spec(placement.release);
    }
    Ok(())
}

/// Stops all in the swarm that is looked after from here; another home of the database has its own there.
pub(super) async fn stop_everything(shared: &Arc<Shared>) -> PortResult<()> {
    let mut environments: Vec<_> =
        look::services(shared, None).await?.into_iter().map(|(who, _)| who.placement.environment).collect();
    environments.sort();
    environments.dedup();
    for environment in environments {
        if !shared.belongs_here(&environment).await? {
            continue;
        }
        let seen = look::look(shared, &environment).await?;
        remove(shared, &seen.iter().collect::<Vec<_>>()).await?;
    }
    Ok(())
}

/// Ends the tasks of all of them at once, each in its time, and takes the services away.
pub(super) async fn remove(shared: &Arc<Shared>, going: &[&Seen]) -> PortResult<()> {
    let ends = join_all(going.iter().map(|one| end(shared, one))).await;
    shared.changed();
    let releases: BTreeSet<_> =
        going.iter().map(|one| (&one.who.placement.environment, one.who.placement.release)).collect();
    for (environment, release) in releases {
        secrets::clear(shared, environment, release).await;
    }
    ends.into_iter().fold(Ok(()), Result::and)
}

async fn end(shared: &Arc<Shared>, one: &Seen) -> PortResult<()> {
    scale_to_nothing(shared, &one.name).await?;
    let patience = one
        .service
        .spec
        .as_ref()
        .and_then(|spec| spec.task_template.as_ref()?.container_spec.as_ref()?.stop_grace_period)
        .and_then(|nanos| u64::try_from(nanos).ok())
        .map_or(Duration::from_secs(10), Duration::from_nanos);
    let deadline = Instant::now() + patience + MARGIN;
    once_all(shared, one, is_over, deadline).await?;
    // Its last words are lost with it.
    output::copy(shared, &one.who, &one.id).await;
    // A manager crashes that is told to take a service away while it clears up after a task of it (seen with Docker 20.10).
    once_all(shared, one, |task| !is_being_removed(task), Instant::now() + REAPED_WITHIN).await?;
    let deleted = shared.client().await?.delete_service(&one.id).await;
    unless_gone(deleted).map_err(|error| told(&format!("{} cannot be taken away", one.who.id()), &error))?;
    shared.copied.lock().await.remove(&one.id);
    cleared(shared, &one.id).await
}

/// Waits until it is so with every task of the service.
async fn once_all(
    shared: &Shared,
    one: &Seen,
    is_so: impl Fn(&Task) -> bool,
    deadline: Instant,
) -> PortResult<()> {
    let services = [(one.who.clone(), one.service.clone())];
    while Instant::now() < deadline {
        let mut tasks: Vec<Task> = look::tasks(shared, &services).await?.into_values().flatten().collect();
        tasks.retain(|task| !is_so(task));
        if tasks.is_empty() {
            break;
        }
        let lost = look::lost_nodes(shared).await?;
        if tasks.iter().all(|task| task.node_id.as_ref().is_some_and(|node| lost.contains(node))) {
            break;
        }
        sleep(ASK_AGAIN).await;
    }
    Ok(())
}

async fn scale_to_nothing(shared: &Shared, name: &str) -> PortResult<()> {
    for _ in 0..ATTEMPTS {
        let Some((version, spec)) = shared.version_of(name).await? else { return Ok(()) };
        let spec = ServiceSpec { mode: Some(replicas(0)), ..spec };
        match try_update(shared, name, version, spec).await {
            Ok(()) => return Ok(()),
            Err(error) if is_out_of_sequence(&error) => {}
            Err(error) => {
                return unless_gone::<()>(Err(error))
                    .map_err(|error| told(&format!("{name} cannot be stopped"), &error));
            }
        }
    }
    Err(moved(name))
}

/// Changes a service from the version that was read.
pub(super) async fn update(shared: &Shared, name: &str, version: u64, spec: ServiceSpec) -> PortResult<()> {
    let updated = try_update(shared, name, version, spec).await;
    updated.map_err(|error| told(&format!("the service {name} cannot be changed"), &error))
}

pub(super) async fn try_update(
    shared: &Shared,
    name: &str,
    version: u64,
    spec: ServiceSpec,
) -> Result<(), bollard::errors::Error> {
    let Ok(client) = shared.client().await else {
        return Err(bollard::errors::Error::RequestTimeoutError);
    };
    let version = i32::try_from(version).unwrap_or(i32::MAX);
    let options = UpdateServiceOptionsBuilder::new().version(version).build();
    client.update_service(name, spec, options, None).await.map(drop)
}

/// Waits until nothing of it is left on this node; what other nodes clear up is not seen from here.
async fn cleared(shared: &Shared, service: &str) -> PortResult<()> {
    let label = format!("com.docker.swarm.service.id={service}");
    let filters = std::collections::HashMap::from([("label".to_owned(), vec![label])]);
    let deadline = Instant::now() + CLEARED_WITHIN;
    while Instant::now() < deadline {
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let left = shared.client().await?.list_containers(Some(options)).await;
        if left.map_err(|error| told("containers cannot be listed", &error))?.is_empty() {
            break;
        }
        sleep(ASK_AGAIN).await;
    }
    Ok(())
}
