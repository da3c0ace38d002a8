//! Waiting for the instances of a slot to become ready, and seeing early when they will not.

use std::sync::Arc;

use orchestrate_core::ports::{AwaitHealthy, Instance, InstanceState, PortError, PortErrorKind, PortResult};
use tokio::time::{Instant, timeout_at};

use super::keeper::Keeper;
use super::shared::Shared;

/// An instance that ends by itself twice in a row is not going to stay.
const CRASH_LOOP: u32 = 2;
const LINES_OF_OUTPUT: usize = 10;

pub(super) async fn await_healthy(shared: &Shared, request: &AwaitHealthy) -> PortResult<Vec<Instance>> {
    let begun = Instant::now();
    let deadline = begun + request.deadline.duration();
    let spec = timeout_at(deadline, shared.spec(request.placement.release)).await.unwrap_or_else(|_| {
        Err(PortError::new(
            PortErrorKind::TimedOut,
            format!("release {} is not known in time", request.placement.release),
        ))
    })?;
    let wanted: Vec<String> = spec
        .wanted(request.processes, request.counts.as_ref())
        .map(|wanted| instance_id(request.placement.slot.as_str(), wanted.process, wanted.number))
        .collect();
    let mut pulse = shared.pulse.subscribe();
    for keeper in keepers(shared, request, &wanted)? {
        keeper.check_now();
    }
    loop {
        pulse.mark_unchanged();
        // Looked up each time: another request may stop or replace them.
        let keepers = keepers(shared, request, &wanted)?;
        let waiting: Vec<&Arc<Keeper>> = keepers.iter().filter(|keeper| !is_ready(keeper, begun)).collect();
        let Some(first) = waiting.first() else {
            return Ok(keepers.iter().map(|keeper| keeper.instance()).collect());
        };
        if let Some(error) = waiting.iter().find_map(|keeper| hopeless(shared, keeper)) {
            return Err(error);
        }
        if timeout_at(deadline, pulse.changed()).await.is_err() {
            return Err(too_late(shared, first, request));
        }
    }
}

/// How instances are called: unique in their environment.
pub(crate) fn instance_id(slot: &str, process: &str, number: u32) -> String {
    format!("{slot}-{process}-{number}")
}

fn keepers(shared: &Shared, request: &AwaitHealthy, wanted: &[String]) -> PortResult<Vec<Arc<Keeper>>> {
    let placement = &request.placement;
    let mut here = shared.keepers_in(&placement.environment, placement.slot);
    here.retain(|keeper| keeper.placement.release == placement.release && wanted.contains(&keeper.id));
    let missing = wanted.iter().find(|id| !here.iter().any(|keeper| keeper.id == **id));
    match (missing, here.iter().find(|keeper| keeper.is_stopping())) {
        (None, None) => Ok(here),
        (Some(id), _) => Err(PortError::new(
            PortErrorKind::NotReady,
            format!("{id} of {} does not run in {}", placement.version, placement.environment),
        )),
        (None, Some(keeper)) => {
            Err(PortError::new(PortErrorKind::NotReady, format!("{} is being stopped", keeper.id)))
        }
    }
}

/// Ready, and seen so since the question was put.
fn is_ready(keeper: &Keeper, since: Instant) -> bool {
    let status = keeper.status();
    status.state == InstanceState::Ready
        && (!keeper.routed || status.seen_ready.is_some_and(|seen| seen >= since))
}

fn hopeless(shared: &Shared, keeper: &Keeper) -> Option<PortError> {
    let status = keeper.status();
    if status.state == InstanceState::Ready {
        return None;
    }
    let last_exit = status.last_exit.unwrap_or_default();
    let message = if let Some(why) = status.cannot_start {
        format!("{} of {} cannot be started: {why}", keeper.id, keeper.placement.version)
    } else if status.exits_in_row >= CRASH_LOOP {
        format!("{} of {} does not stay up: it {last_exit}", keeper.id, keeper.placement.version)
    } else {
        return None;
    };
    Some(with_output(PortError::failed(message), shared, keeper))
}

fn too_late(shared: &Shared, keeper: &Keeper, request: &AwaitHealthy) -> PortError {
    let status = keeper.status();
    let why = [status.last_miss, status.last_exit.map(|exit| format!("it {exit}"))];
    let why: Vec<String> = why.into_iter().flatten().collect();
    let why = if why.is_empty() { "it was not seen ready".to_owned() } else { why.join("; ") };
    let (version, deadline) = (&keeper.placement.version, request.deadline);
    let message = format!("{} of {version} is not ready after {deadline}: {why}", keeper.id);
    with_output(PortError::new(PortErrorKind::TimedOut, message), shared, keeper)
}

fn with_output(error: PortError, shared: &Shared, keeper: &Keeper) -> PortError {
    match keeper.last_output(shared, LINES_OF_OUTPUT) {
        lines if lines.is_empty() => error,
        lines => error.detail(lines.join("\n")),
    }
}
