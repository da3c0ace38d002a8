//! What an operation told the router last about the traffic. A router that is killed in that moment starts again without
//! it, and answers as if nothing had been asked: before anything relies on it, it is seen to be on disk.

use std::time::Duration;

use super::journal::StepState;
use super::{Operation, Outcome, perform};
use crate::name::{EnvironmentName, Fence};
use crate::plan::{Place, Step};
use crate::ports::{PortError, PortErrorKind, PortResult, Ports};
use crate::release::Release;

/// A switch or a shift that was done, to be done again if it was lost.
#[derive(Clone, Debug)]
pub(crate) struct LastSwitch {
    environment: EnvironmentName,
    fence: Fence,
    release: Release,
    step: Step,
    weight: u8,
}

impl LastSwitch {
    /// None, where nothing was done about the traffic so far.
    pub fn of(operation: &Operation) -> Option<Self> {
        let steps = operation.record.plan.steps().iter().zip(&operation.states).rev();
        let mut done = steps.filter(|(_, state)| **state == StepState::Done).map(|(step, _)| step);
        let (step, weight) = done.find_map(|step| Some((step, step.weight()?)))?;
        Some(Self {
            environment: operation.environment().clone(),
            fence: operation.record.fence,
            release: operation.release_of(step).clone(),
            step: step.clone(),
            weight,
        })
    }

    /// Returns once it outlives the router; what the router forgot is done again.
    pub async fn keep(&self, ports: &Ports) -> PortResult<()> {
        const ATTEMPTS: u32 = 3;
        for _ in 0..ATTEMPTS {
            if is_kept(ports, &self.environment, self.step.place(), self.weight).await? {
                return Ok(());
            }
            match perform(ports, &self.environment, self.fence, &self.release, &self.step).await {
                // A newer operation decides where the traffic is.
                Err(error) if error.kind == PortErrorKind::Fenced => return Ok(()),
                result => result?,
            }
        }
        Err(forgetful())
    }
}

/// For a caller that tries again.
pub(super) fn forgetful() -> PortError {
    PortError::unreachable("the proxy was started again and forgot its traffic")
}

/// Whether the router has it on disk that the place has so much of the traffic.
pub(super) async fn is_kept(
    ports: &Ports,
    environment: &EnvironmentName,
    place: &Place,
    weight: u8,
) -> PortResult<bool> {
    ports.router.persisted().await?;
    let view = ports.router.observe(environment).await?;
    Ok(view.placed(place.slot, place.release).is_some_and(|there| there.weight == weight))
}

impl Outcome {
    /// What is relied on from now on: nothing, where the operation was put back or waits for a person.
    pub(crate) fn last_switch(&self, operation: &Operation) -> Option<LastSwitch> {
        match self {
            Self::Completed | Self::Condemned(_) => LastSwitch::of(operation),
            Self::Undone(_) | Self::NeedsAttention(_) => None,
        }
    }
}

/// Returns once the traffic is as it was switched last, over a loss of power. A proxy that died in this moment is waited
/// for: whoever keeps it starts it again, and it may have forgotten the switch.
pub(crate) async fn keep_traffic(ports: &Ports, last: Option<&LastSwitch>) -> PortResult<()> {
    const PAUSES: [u64; 7] = [50, 100, 200, 400, 800, 1600, 1600];
    let mut pauses = PAUSES.iter();
    loop {
        let kept = match last {
            Some(last) => last.keep(ports).await,
            None => ports.router.persisted().await,
        };
        match (kept, pauses.next()) {
            (Err(error), Some(pause)) if error.kind == PortErrorKind::Unreachable => {
                tokio::time::sleep(Duration::from_millis(*pause)).await;
            }
            (kept, _) => return kept,
        }
    }
}
