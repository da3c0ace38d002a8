//! The repair of an operation that failed before traffic moved: what it started is stopped, what it stopped is started.

use std::collections::BTreeMap;
use std::time::Duration;

use super::attempt::start_what_is_gone;
use super::journal::{StepEvent, StepState};
use super::last_switch::{forgetful, is_kept};
use super::step::{grow, perform, shift, shrink};
use super::{Failure, Operation, Outcome, share_of};
use crate::database::Database;
use crate::error::Result;
use crate::name::{EnvironmentName, Fence};
use crate::plan::{Place, Step};
use crate::ports::{
    AwaitHealthy, Counts, Deregister, Drain, Placement, PortErrorKind, PortResult, Ports, Processes,
    StopRequest,
};
use crate::release::Release;
use crate::time::Span;

/// How long what was ready before may take to show that it still is.
const READY_WITHIN: Span = Span::from_millis(500);

pub(super) async fn undo(
    db: &Database,
    ports: &Ports,
    operation: &mut Operation,
    because: Failure,
) -> Result<Outcome> {
    for index in (0..operation.record.plan.steps().len()).rev() {
        if matches!(operation.states[index], StepState::Pending | StepState::Undone) {
            continue;
        }
        let step = operation.record.plan.steps()[index].clone();
        operation.note(index, StepEvent::UndoStarted, None, ports.clock.now())?;
        if changes_something(operation, &step) {
            operation.flush(db).await?;
        }
        match undo_step_patiently(ports, operation, &step).await {
            Ok(()) => operation.note(index, StepEvent::Undone, None, ports.clock.now())?,
            Err(error) if error.kind == PortErrorKind::Fenced => {
                return Err(crate::database::lease_lost(operation.environment()));
            }
            Err(error) => {
                operation.note(
                    index,
                    StepEvent::UndoFailed,
                    Some(error.message.clone()),
                    ports.clock.now(),
                )?;
                let message = format!("{}; and it could not be put back: {}", because.message, error.message);
                return Ok(Outcome::NeedsAttention(Failure { message, ..because }));
            }
        }
    }
    super::hook::on_failure(ports, operation, true).await;
    Ok(Outcome::Undone(because))
}

fn changes_something(operation: &Operation, step: &Step) -> bool {
    match step {
        Step::SwitchTraffic(_) => operation.record.plan.returns_to().is_some(),
        Step::Start(..)
        | Step::Grow(..)
        | Step::Shrink(..)
        | Step::ShiftTraffic(..)
        | Step::Stop(..)
        | Step::Close(_) => true,
        Step::Fetch(_)
        | Step::AwaitHealthy(..)
        | Step::Wait(..)
        | Step::ProveShare(_)
        | Step::ProveLive(_)
        | Step::Hook(..)
        | Step::Drain(_) => false,
    }
}

async fn undo_step_patiently(ports: &Ports, operation: &Operation, step: &Step) -> PortResult<()> {
    const PAUSES: [u64; 4] = [50, 200, 500, 1000];
    let mut pauses = PAUSES.iter();
    loop {
        match undo_step(ports, operation, step).await {
            Err(error) if error.kind != PortErrorKind::Fenced => match pauses.next() {
                Some(pause) => tokio::time::sleep(Duration::from_millis(*pause)).await,
                None => return Err(error),
            },
            result => return result,
        }
    }
}

async fn undo_step(ports: &Ports, operation: &Operation, step: &Step) -> PortResult<()> {
    let environment = operation.environment();
    let (fence, place) = (operation.record.fence, step.place());
    match step {
        Step::Start(_, processes) => take_away(ports, operation, step, *processes).await,
        Step::Grow(_, _, was) if was.values().any(|count| *count > 0) => {
            leave(ports, place.placement(environment), operation.release_of(step), was, fence).await
        }
        Step::Grow(..) => take_away(ports, operation, step, Processes::All).await,
        Step::Shrink(_, _, was) => {
            grow(ports, place.placement(environment), operation.release_of(step), was, fence).await
        }
        // However few are ready by now: what shares the traffic had this much of it before.
        Step::ShiftTraffic(_, share) => {
            let before = shift(environment, place, share, share.was, BTreeMap::new(), fence);
            ports.router.shift(&before).await?;
            stays(ports, environment, place, share.was).await
        }
        // It was in the way or sick, and had no traffic to lose.
        Step::Stop(place, _) if !operation.was_live(place) => Ok(()),
        Step::Stop(_, processes) => {
            let release = operation.release_of(step);
            for again in
                [Step::Start(place.clone(), *processes), Step::AwaitHealthy(place.clone(), *processes)]
            {
                perform(ports, environment, fence, release, &again).await?;
            }
            Ok(())
        }
        // Its instances run and are known again by now; they get their traffic back.
        Step::Close(place) => {
            let release = operation.release_of(step);
            for again in
                [Step::AwaitHealthy(place.clone(), Processes::All), Step::SwitchTraffic(place.clone())]
            {
                perform(ports, environment, fence, release, &again).await?;
            }
            stays(ports, environment, place, 100).await
        }
        Step::SwitchTraffic(_) => match operation.record.plan.returns_to() {
            Some(before) => return_to(ports, operation, before).await,
            None => Ok(()),
        },
        Step::Fetch(_)
        | Step::AwaitHealthy(..)
        | Step::Wait(..)
        | Step::ProveShare(_)
        | Step::ProveLive(_)
        | Step::Hook(..)
        | Step::Drain(_) => Ok(()),
    }
}

/// All of the traffic is where it was before a drill. What cannot serve it does not get it: then it stays where it is
/// served, and a person is needed.
async fn return_to(ports: &Ports, operation: &Operation, before: &Place) -> PortResult<()> {
    let (environment, fence) = (operation.environment(), operation.record.fence);
    if share_of(ports, environment, before).await? < 100 {
        let again = Step::SwitchTraffic(before.clone());
        match perform(ports, environment, fence, operation.release_of(&again), &again).await {
            Err(error) if error.kind == PortErrorKind::NotReady => {
                if !start_what_is_gone(ports, operation, before).await {
                    return Err(error);
                }
                perform(ports, environment, fence, operation.release_of(&again), &again).await?;
            }
            result => result?,
        }
    }
    stays(ports, environment, before, 100).await
}

/// Leaves what there was before a batch, if that much is ready to carry the share that it had then. If it is not, all of it
/// stays until the first batch goes, when nothing of it has traffic any more: what serves comes before `max_surge`.
async fn leave(
    ports: &Ports,
    placement: Placement,
    release: &Release,
    was: &Counts,
    fence: Fence,
) -> PortResult<()> {
    let (processes, counts, deadline) = (Processes::All, Some(was.clone()), READY_WITHIN);
    let wait = AwaitHealthy { placement: placement.clone(), processes, counts, deadline };
    match ports.provider.await_healthy(&wait).await {
        Ok(_) => shrink(ports, placement, release, was, fence).await,
        Err(error) if error.kind == PortErrorKind::Fenced => Err(error),
        Err(_) => Ok(()),
    }
}

/// What is put back next relies on it.
async fn stays(ports: &Ports, environment: &EnvironmentName, place: &Place, weight: u8) -> PortResult<()> {
    if is_kept(ports, environment, place, weight).await? { Ok(()) } else { Err(forgetful()) }
}

/// Stops what a step started, and has the router forget it.
async fn take_away(
    ports: &Ports,
    operation: &Operation,
    step: &Step,
    processes: Processes,
) -> PortResult<()> {
    let (environment, fence, place) = (operation.environment(), operation.record.fence, step.place());
    let placement = place.placement(environment);
    if processes.are_routed() {
        // What has the traffic is never stopped, whatever was to be repaired about it.
        if share_of(ports, environment, place).await? > 0 {
            return Ok(());
        }
        // It may have had a share of it just now.
        let deadline = operation.release_of(step).contents.settings.drain;
        ports.router.drain(&Drain { placement: placement.clone(), deadline, fence }).await?;
        let (slot, release) = (placement.slot, placement.release);
        ports
            .router
            .deregister(&Deregister { environment: environment.clone(), slot, release, fence })
            .await?;
    }
    ports.provider.stop(&StopRequest { placement, processes, fence, counts: None }).await
}
