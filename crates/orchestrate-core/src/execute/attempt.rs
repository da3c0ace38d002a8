//! One step and its second tries; and, where it fails for good, whether the operation is finished or put back.

use std::time::Duration;

use super::journal::{StepEvent, StepState};
use super::{Failure, LastSwitch, Operation, Outcome, hook, perform, undo};
use crate::database::Database;
use crate::error::Result;
use crate::hooks::HookRun;
use crate::name::EnvironmentName;
use crate::plan::{OperationKind, Place, Step};
use crate::ports::{PortError, PortErrorKind, Ports, Processes};

/// Marks that a newer operation has been here.
pub(super) struct Fenced;

/// Tries a step, again where a second try may help: the proof of a live answer, and calls that got no answer.
pub(super) async fn attempt(
    ports: &Ports,
    operation: &Operation,
    step: &Step,
    ran: &mut Option<HookRun>,
) -> std::result::Result<Option<String>, std::result::Result<Failure, Fenced>> {
    const PAUSES: [u64; 5] = [20, 50, 100, 250, 500];
    /// Who let a whole time limit pass is not asked again after this: it hangs, and its users with it.
    const PATIENCE: Duration = Duration::from_secs(1);
    let began = std::time::Instant::now();
    let release = operation.release_of(step);
    let (mut pauses, mut started_again) = (PAUSES.iter(), false);
    loop {
        let done = async {
            if let Step::Hook(place, hook) = step {
                return hook::run(ports, operation, (release, place), *hook, ran).await;
            }
            if step.takes_away()
                && let Some(last) = LastSwitch::of(operation)
            {
                Box::pin(last.keep(ports)).await?;
            }
            perform(ports, operation.environment(), operation.record.fence, release, step).await?;
            Ok(None)
        };
        let error = match done.await {
            Ok(said) => return Ok(said),
            Err(error) => error,
        };
        let again = match (error.kind, step) {
            (PortErrorKind::Fenced, _) => return Err(Err(Fenced)),
            (PortErrorKind::TimedOut, Step::ProveLive(_) | Step::ProveShare(_)) => began.elapsed() < PATIENCE,
            // What was started is gone, as after a loss of power: waiting for it would never end.
            (PortErrorKind::NotReady, Step::AwaitHealthy(place, processes)) if !started_again => {
                started_again = true;
                let start = Step::Start(place.clone(), *processes);
                let (environment, fence) = (operation.environment(), operation.record.fence);
                perform(ports, environment, fence, release, &start).await.is_ok()
            }
            (_, Step::ProveLive(place))
                if !started_again && operation.record.plan.kind() == OperationKind::Rollback =>
            {
                started_again = start_what_is_gone(ports, operation, place).await;
                true
            }
            (PortErrorKind::Unreachable, _) | (_, Step::ProveLive(_) | Step::ProveShare(_)) => true,
            _ => false,
        };
        match pauses.next() {
            Some(pause) if again => tokio::time::sleep(Duration::from_millis(*pause)).await,
            _ => return Err(Ok(Failure::from(error))),
        }
    }
}

/// After a loss of power nothing runs of what an operation found running, and while it is open nobody else starts it.
/// Whether it was gone, and is there again.
pub(super) async fn start_what_is_gone(ports: &Ports, operation: &Operation, place: &Place) -> bool {
    let environment = operation.environment();
    let placement = place.placement(environment);
    let Ok(instances) = ports.provider.instances(environment).await else { return false };
    if instances.iter().any(|instance| instance.placement == placement) {
        return false;
    }
    for step in
        [Step::Start(place.clone(), Processes::All), Step::AwaitHealthy(place.clone(), Processes::All)]
    {
        let release = operation.release_of(&step);
        if perform(ports, environment, operation.record.fence, release, &step).await.is_err() {
            return false;
        }
    }
    true
}

/// Decides by what the router says, because the answer to a switch may have been lost. `None`: go on.
pub(super) async fn after_failure(
    db: &Database,
    ports: &Ports,
    operation: &mut Operation,
    index: usize,
    failure: Failure,
) -> Result<Option<Outcome>> {
    let steps = operation.record.plan.steps();
    let switch = steps.iter().position(|step| matches!(step, Step::SwitchTraffic(_)));
    let began = switch.is_some_and(|switch| operation.states[switch] != StepState::Pending);
    if !began {
        return Box::pin(undo::undo(db, ports, operation, failure)).await.map(Some);
    }
    let failed_step = steps[index].clone();
    // Of a step that moves traffic it is asked whether that came about; of the others, where the target stands.
    let target = match &failed_step {
        Step::SwitchTraffic(place) => place.clone(),
        _ => operation.record.plan.target().clone(),
    };
    let moved = match share_of(ports, operation.environment(), &target).await {
        Ok(share) => share == 100,
        Err(error) => {
            let message =
                format!("{}; and the proxy does not say where the traffic is: {error}", failure.message);
            return Ok(Some(Outcome::NeedsAttention(Failure { message, ..failure })));
        }
    };
    match (moved, &failed_step, operation.record.plan.kind()) {
        (false, _, _) => Box::pin(undo::undo(db, ports, operation, failure)).await.map(Some),
        (true, Step::SwitchTraffic(_), _) => {
            // The switch came about, only its answer was lost.
            operation.note(index, StepEvent::Started, None, ports.clock.now())?;
            operation.note(index, StepEvent::Done, failed_step.milestone(), ports.clock.now())?;
            Ok(None)
        }
        (true, _, OperationKind::Drill) => {
            Box::pin(undo::undo(db, ports, operation, failure)).await.map(Some)
        }
        (true, _, OperationKind::Deploy | OperationKind::Promote) => {
            hook::on_failure(ports, operation, false).await;
            Ok(Some(Outcome::Condemned(failure)))
        }
        (true, _, OperationKind::Rollback | OperationKind::Stop) => {
            Ok(Some(Outcome::NeedsAttention(failure)))
        }
    }
}

/// Asks the router how much of the traffic the place has, in percent; for a while if it does not answer.
pub(crate) async fn share_of(
    ports: &Ports,
    environment: &EnvironmentName,
    place: &Place,
) -> std::result::Result<u8, PortError> {
    const PAUSES: [u64; 6] = [50, 100, 200, 400, 800, 1600];
    let mut pauses = PAUSES.iter();
    loop {
        match ports.router.observe(environment).await {
            Ok(view) => {
                return Ok(view.placed(place.slot, place.release).map_or(0, |there| there.weight));
            }
            Err(error) => match pauses.next() {
                Some(pause) => tokio::time::sleep(Duration::from_millis(*pause)).await,
                None => return Err(error),
            },
        }
    }
}
