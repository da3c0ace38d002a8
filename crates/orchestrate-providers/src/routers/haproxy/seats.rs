//! Which server of HAProxy stands for which instance.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use orchestrate_core::environment::RouterSettings;
use orchestrate_core::ports::{Backend, Placement, PortError, PortResult, Probe};
use orchestrate_core::time::Span;
use tokio::task::JoinSet;

use super::book::{Lane, Mark, Placed, Seat};
use super::change::Scene;
use super::check::{missing_backend, too_few_servers};
use super::look::{Look, Server};
use super::{counts, tell};
use crate::witness::http;

/// How long an instance may take to answer just before it gets traffic.
const LAST_LOOK: Span = Span::from_secs(1);

/// What a registration left behind.
pub(super) struct Seating {
    /// Backend and server of the instances that are left out.
    pub leaving: Vec<(String, String)>,
}

/// The backend of each process type, as the settings say.
pub(super) fn backends(
    settings: &RouterSettings,
    wanted: &[Backend],
) -> PortResult<BTreeMap<String, String>> {
    let named = wanted.iter().map(|backend| match settings.backends.get(&backend.process) {
        Some(name) => Ok((backend.process.clone(), name.clone())),
        None => Err(PortError::failed(format!(
            "`router.backends` names no backend of HAProxy for `{}`",
            backend.process
        ))
        .detail("name it in the config file, and apply that: orchestrate env apply")),
    });
    named.collect()
}

/// Gives each instance a server of its slot. One that has a server keeps it, and so what was counted of it.
pub(super) fn seat(
    scene: &mut Scene,
    placement: &Placement,
    wanted: &[Backend],
    names: &BTreeMap<String, String>,
) -> PortResult<Seating> {
    let before = scene.kept.book.in_slot(placement.slot).cloned();
    let mut carried = before.as_ref().map_or_else(Vec::new, |before| before.carried.clone());
    let (mut lanes, mut leaving) = (Vec::new(), Vec::new());
    for backend in wanted {
        let name = &names[&backend.process];
        if !scene.look.backends.contains_key(name) {
            return Err(missing_backend(name));
        }
        let old = before.as_ref().and_then(|placed| placed.lanes.iter().find(|lane| lane.backend == *name));
        let seats = assigned(&scene.look, placement, backend, name, old)?;
        for (server, seat) in old.into_iter().flat_map(|lane| &lane.seats) {
            if seats.get(server).is_none_or(|new| new.address != seat.address) {
                carried.push(counts::mark(seat, scene.look.server(name, server), &scene.look.process));
                leaving.push((name.clone(), server.clone()));
            }
        }
        lanes.push(Lane {
            process: backend.process.clone(),
            backend: name.clone(),
            listen: backend.listen,
            health_check: backend.health_check.clone(),
            seats,
        });
    }
    let weight = before.map_or(0, |before| before.weight);
    let slots = &mut scene.kept.book.slots;
    slots.retain(|placed| placed.placement.slot != placement.slot);
    slots.push(Placed { placement: placement.clone(), weight, lanes, carried: counts::added(carried) });
    slots.sort_by_key(|placed| placed.placement.slot);
    Ok(Seating { leaving })
}

fn assigned(
    look: &Look,
    placement: &Placement,
    backend: &Backend,
    name: &str,
    old: Option<&Lane>,
) -> PortResult<BTreeMap<String, Seat>> {
    let kept = |instance: &str, address: SocketAddr| {
        let mut seats = old.into_iter().flat_map(|lane| &lane.seats);
        seats.find(|(server, seat)| {
            seat.instance == instance && seat.address == address && look.server(name, server).is_some()
        })
    };
    let mut seats = BTreeMap::new();
    let mut standing = Vec::new();
    for (instance, address) in &backend.instances {
        match kept(instance, *address) {
            Some((server, seat)) => drop(seats.insert(server.clone(), seat.clone())),
            None => standing.push((instance, *address)),
        }
    }
    let taken: BTreeSet<String> = seats.keys().cloned().collect();
    let free: Vec<&Server> =
        look.servers(name, placement.slot).filter(|server| !taken.contains(&server.name)).collect();
    if free.len() < standing.len() {
        return Err(too_few_servers(name, placement.slot, taken.len() + free.len(), backend.instances.len()));
    }
    for ((instance, address), server) in standing.into_iter().zip(free) {
        let from = Mark { process: look.process.clone(), requests: server.requests, errors: server.errors };
        seats.insert(server.name.clone(), Seat { instance: instance.clone(), address, from });
    }
    Ok(seats)
}

/// How many instances of a process type HAProxy sees well, and which answer just now; and what may help where some do not.
pub(super) async fn ready(placed: &Placed, look: &Look, process: &str) -> (u32, Option<String>) {
    let Some(lane) = placed.lanes.iter().find(|lane| lane.process == process) else { return (0, None) };
    let mut looks = JoinSet::new();
    let mut out = None;
    for (name, server) in tell::seated(placed, look, &lane.backend) {
        match server {
            Some(server) if server.is_healthy() => {
                looks.spawn(answers(server.address, lane.health_check.clone()));
            }
            Some(server) if server.is_out() => {
                out = Some(format!(
                    "somebody took {0}/{name} out; bring it back with HAProxy's command: set server {0}/{name} state ready",
                    lane.backend
                ));
            }
            Some(_) => {}
            None => {
                out =
                    Some("HAProxy was started anew; the daemon tells it again what runs, so try again".into())
            }
        }
    }
    let ready = looks.join_all().await.into_iter().filter(|ready| *ready).count();
    (u32::try_from(ready).unwrap_or(u32::MAX), out)
}

async fn answers(address: Option<SocketAddr>, check: orchestrate_core::environment::HealthCheck) -> bool {
    let Some(address) = address else { return false };
    let probe = Probe {
        address,
        method: "GET".into(),
        path: check.path,
        headers: BTreeMap::new(),
        body: None,
        timeout: check.timeout.min(LAST_LOOK),
    };
    http::request(&probe).await.is_ok_and(|answer| answer.status == check.expected_status)
}
