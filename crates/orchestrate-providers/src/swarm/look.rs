//! What the swarm has of an environment: services, their tasks, and how those are.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::PoisonError;

use bollard::models::{Node, NodeState, Service, Task, TaskState};
use bollard::query_parameters::{ListNodesOptions, ListServicesOptionsBuilder, ListTasksOptionsBuilder};
use futures_util::future::join_all;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{Instance, InstanceState, PortResult};
use orchestrate_core::time::Timestamp;

use super::labels::{ENVIRONMENT, OWNER, Who};
use super::shared::Shared;
use super::taken_in;
use crate::docker::engine::told;
use crate::process::health;

/// How long an instance without an address must run to count as ready, in milliseconds.
const SETTLED: u64 = 1000;

/// One service of ours.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub id: String,
    pub name: String,
    pub who: Who,
    pub service: Service,
    pub instance: Instance,
    /// Why it is not ready, in words.
    pub why: Option<String>,
    /// How often a task of it ended by itself.
    pub ended: u32,
}

/// All services of the environment, with the health of what is routed asked just now.
pub(super) async fn look(shared: &Shared, environment: &EnvironmentName) -> PortResult<Vec<Seen>> {
    shared.node().await?;
    let services = services(shared, Some(environment)).await?;
    let mut tasks = tasks(shared, &services).await?;
    let looks = services.into_iter().map(|(who, service)| {
        let tasks = service.id.as_ref().and_then(|id| tasks.remove(id)).unwrap_or_default();
        one(shared, who, service, tasks)
    });
    let mut seen: Vec<Seen> = join_all(looks).await;
    seen.sort_by(|a, b| (&a.who.process, a.who.number).cmp(&(&b.who.process, b.who.number)));
    Ok(seen)
}

/// Our services, of one environment or of all; what has our mark and makes no sense is none of them.
pub(super) async fn services(
    shared: &Shared,
    environment: Option<&EnvironmentName>,
) -> PortResult<Vec<(Who, Service)>> {
    let mut labels = vec![OWNER.to_owned()];
    labels.extend(environment.map(|name| format!("{ENVIRONMENT}={name}")));
    let filters = HashMap::from([("label".to_owned(), labels)]);
    let options = ListServicesOptionsBuilder::new().filters(&filters).build();
    let found = shared.client().await?.list_services(Some(options)).await;
    let found = found.map_err(|error| told("the services of the swarm cannot be listed", &error))?;
    let who = |service: &Service| Who::read(service.spec.as_ref()?.labels.as_ref()?);
    let mut ours = Vec::new();
    for service in found {
        let Some(who) = who(&service) else { continue };
        if taken_in::is_ours(shared, &who, &service).await? {
            ours.push((who, service));
        }
    }
    Ok(ours)
}

/// By service.
pub(super) async fn tasks(
    shared: &Shared,
    services: &[(Who, Service)],
) -> PortResult<HashMap<String, Vec<Task>>> {
    let ids: Vec<String> = services.iter().filter_map(|(_, service)| service.id.clone()).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let filters = HashMap::from([("service".to_owned(), ids)]);
    let options = ListTasksOptionsBuilder::new().filters(&filters).build();
    let found = shared.client().await?.list_tasks(Some(options)).await;
    let mut all: HashMap<String, Vec<Task>> = HashMap::new();
    for task in found.map_err(|error| told("the tasks of the swarm cannot be listed", &error))? {
        all.entry(task.service_id.clone().unwrap_or_default()).or_default().push(task);
    }
    for tasks in all.values_mut() {
        tasks.sort_by(|a, b| b.created_at.cmp(&a.created_at));
    }
    Ok(all)
}

/// Whether nothing of it runs any more.
pub(super) fn is_over(task: &Task) -> bool {
    match state_of(task) {
        TaskState::COMPLETE
        | TaskState::SHUTDOWN
        | TaskState::FAILED
        | TaskState::REJECTED
        | TaskState::REMOVE
        | TaskState::ORPHANED => true,
        TaskState::NEW
        | TaskState::ALLOCATED
        | TaskState::PENDING
        | TaskState::ASSIGNED
        | TaskState::ACCEPTED
        | TaskState::PREPARING
        | TaskState::READY
        | TaskState::STARTING
        | TaskState::RUNNING => false,
    }
}

/// Whether the manager will forget it once it ended.
pub(super) fn is_being_removed(task: &Task) -> bool {
    task.desired_state == Some(TaskState::REMOVE)
}

fn state_of(task: &Task) -> TaskState {
    task.status.as_ref().and_then(|status| status.state).unwrap_or(TaskState::NEW)
}

fn wants_to_run(task: &Task) -> bool {
    !matches!(task.desired_state, Some(TaskState::SHUTDOWN | TaskState::REMOVE | TaskState::COMPLETE))
}

async fn one(shared: &Shared, who: Who, service: Service, tasks: Vec<Task>) -> Seen {
    let replicas = service.spec.as_ref().and_then(|spec| spec.mode.as_ref()?.replicated.as_ref()?.replicas);
    let current = tasks.iter().find(|task| wants_to_run(task) && !is_over(task));
    let ended: Vec<&Task> = tasks.iter().filter(|task| is_over(task)).collect();
    let last_exit = ended.first().map(|task| how_it_ended(task));
    let address = match current {
        Some(task) => address(shared, task).await,
        None => None,
    };
    let (state, why) = match current {
        _ if replicas == Some(0) => (InstanceState::Stopping, Some("it is being stopped".to_owned())),
        Some(task) => health(shared, &who, task, address, ended.len()).await,
        None if ended.is_empty() => {
            (InstanceState::Starting, Some("the swarm has not placed it yet".to_owned()))
        }
        None => (InstanceState::BackingOff, last_exit.clone()),
    };
    let status = current.and_then(|task| task.status.as_ref());
    let pid = status.and_then(|status| status.container_status.as_ref()?.pid);
    let since = status.and_then(|status| status.timestamp.clone()).or_else(|| service.created_at.clone());
    let instance = Instance {
        id: who.id(),
        placement: who.placement.clone(),
        process: who.process.clone(),
        address,
        pid: pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0),
        state,
        restarts: u32::try_from(ended.len()).unwrap_or(u32::MAX),
        started_at: time(since.as_ref()),
        last_exit,
    };
    let name = service.spec.as_ref().and_then(|spec| spec.name.clone()).unwrap_or_default();
    let ended = u32::try_from(ended.len()).unwrap_or(u32::MAX);
    Seen { id: service.id.clone().unwrap_or_default(), name, who, service, instance, why, ended }
}

async fn health(
    shared: &Shared,
    who: &Who,
    task: &Task,
    address: Option<SocketAddr>,
    ended: usize,
) -> (InstanceState, Option<String>) {
    let status = task.status.clone().unwrap_or_default();
    if state_of(task) != TaskState::RUNNING {
        let said = status.err.or(status.message).unwrap_or_default();
        let state = if ended == 0 { InstanceState::Starting } else { InstanceState::BackingOff };
        return (state, Some(format!("its task is {}: {said}", state_of(task))));
    }
    let spec = match shared.spec(who.placement.release).await {
        Ok(spec) => spec,
        Err(error) => return (InstanceState::Starting, Some(error.message)),
    };
    let id = task.id.clone().unwrap_or_default();
    let routed = spec.processes.get(&who.process).is_some_and(|process| process.listen.is_some());
    let checked = match (routed, address) {
        (false, _) => {
            let age = Timestamp::system_now().millis_since(time(status.timestamp.as_ref()));
            if age >= SETTLED { Ok(()) } else { Err("it has just been started".to_owned()) }
        }
        (true, None) => Err("it has no published port yet".to_owned()),
        (true, Some(address)) => health::check(address, &spec.health_check).await.map_err(|miss| miss.what),
    };
    let mut seen = shared.seen_ready.lock().unwrap_or_else(PoisonError::into_inner);
    match checked {
        Ok(()) => {
            seen.insert(id);
            (InstanceState::Ready, None)
        }
        Err(why) if seen.contains(&id) => (InstanceState::Unhealthy, Some(why)),
        Err(why) => (InstanceState::Starting, Some(why)),
    }
}

/// Where it listens on its node.
async fn address(shared: &Shared, task: &Task) -> Option<SocketAddr> {
    let ports = task.status.as_ref()?.port_status.as_ref()?.ports.as_ref()?;
    let port = u16::try_from(ports.first()?.published_port?).ok().filter(|port| *port > 0)?;
    let node = task.node_id.as_deref()?;
    if shared.engine.is_here() && shared.node().await.is_ok_and(|here| here == node) {
        return Some((Ipv4Addr::LOCALHOST, port).into());
    }
    let found = shared.client().await.ok()?.inspect_node(node).await.ok()?;
    Some((address_of(&found)?, port).into())
}

/// How the others reach it; a manager may know of itself only where it listens.
fn address_of(node: &Node) -> Option<IpAddr> {
    let own = node.status.as_ref().and_then(|status| status.addr.as_ref()?.parse::<IpAddr>().ok());
    let as_manager =
        node.manager_status.as_ref().and_then(|manager| manager.addr.as_ref()?.parse::<SocketAddr>().ok());
    own.filter(|address| !address.is_unspecified()).or(as_manager.map(|address| address.ip()))
}

/// The nodes that do not answer: what runs there is nobody's to end, and is run elsewhere by the swarm.
pub(super) async fn lost_nodes(shared: &Shared) -> PortResult<Vec<String>> {
    let nodes = shared.client().await?.list_nodes(None::<ListNodesOptions>).await;
    let nodes = nodes.map_err(|error| told("the nodes of the swarm cannot be listed", &error))?;
    let is_lost = |node: &Node| node.status.as_ref().and_then(|status| status.state) == Some(NodeState::DOWN);
    Ok(nodes.into_iter().filter(is_lost).filter_map(|node| node.id).collect())
}

/// In the words of the other providers.
pub(super) fn how_it_ended(task: &Task) -> String {
    let status = task.status.clone().unwrap_or_default();
    let code = status.container_status.as_ref().and_then(|container| container.exit_code);
    let said = status.err.or(status.message).unwrap_or_default();
    match (state_of(task), code) {
        (TaskState::REJECTED, _) => format!("was not started: {said}"),
        (TaskState::SHUTDOWN, _) => "was stopped".to_owned(),
        (_, Some(code)) if code > 128 => format!("was killed by signal {}", code - 128),
        (_, Some(code)) => format!("exited with status {code}"),
        (state, None) => format!("ended as {state}: {said}"),
    }
}

fn time(text: Option<&String>) -> Timestamp {
    text.and_then(|text| text.parse().ok()).unwrap_or_else(Timestamp::system_now)
}
