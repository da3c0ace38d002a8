//! Waiting for instances to become ready, and seeing early when they will not.

use orchestrate_core::ports::{AwaitHealthy, Instance, InstanceState, PortError, PortErrorKind, PortResult};
use tokio::time::{Duration, Instant, sleep};

use super::look::{self, Seen};
use super::output;
use super::shared::Shared;

/// An instance that ends by itself twice in a row is not going to stay.
const CRASH_LOOP: u32 = 2;
const LINES_OF_OUTPUT: usize = 10;
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

pub(super) async fn await_healthy(shared: &Shared, request: &AwaitHealthy) -> PortResult<Vec<Instance>> {
    let (placement, deadline) = (&request.placement, Instant::now() + request.deadline.duration());
    let spec = shared.spec(placement.release).await?;
    let wanted: Vec<String> = spec
        .wanted(request.processes, request.counts.as_ref())
        .map(|one| format!("{}-{}-{}", placement.slot, one.process, one.number))
        .collect();
    let pause = spec.health_check.interval.duration().min(LONGEST_PAUSE);
    loop {
        let seen = look::look(shared, &placement.environment).await?;
        let here: Vec<&Seen> = seen
            .iter()
            .filter(|one| one.who.placement == *placement && wanted.contains(&one.instance.id))
            .collect();
        if let Some(missing) = wanted.iter().find(|id| !here.iter().any(|one| one.instance.id == **id)) {
            let message =
                format!("{missing} of {} does not run in {}", placement.version, placement.environment);
            return Err(PortError::new(PortErrorKind::NotReady, message));
        }
        let Some(first) = here.iter().find(|one| one.instance.state != InstanceState::Ready) else {
            return Ok(here.into_iter().map(|one| one.instance.clone()).collect());
        };
        if let Some(one) = here.iter().find(|one| is_hopeless(one)) {
            let how = one.instance.last_exit.clone().unwrap_or_default();
            let message = format!("{} of {} does not stay up: it {how}", one.instance.id, placement.version);
            return Err(with_output(shared, one, PortError::failed(message)).await);
        }
        if Instant::now() >= deadline {
            let why = first.why.clone().unwrap_or_else(|| "it was not seen ready".to_owned());
            let message = format!(
                "{} of {} is not ready after {}: {why}",
                first.instance.id, placement.version, request.deadline
            );
            let error = PortError::new(PortErrorKind::TimedOut, message);
            return Err(with_output(shared, first, error).await);
        }
        sleep(pause.min(deadline - Instant::now())).await;
    }
}

fn is_hopeless(one: &Seen) -> bool {
    one.instance.state != InstanceState::Ready && one.ended >= CRASH_LOOP
}

async fn with_output(shared: &Shared, one: &Seen, error: PortError) -> PortError {
    match output::last_lines(shared, &one.id, LINES_OF_OUTPUT).await {
        lines if lines.is_empty() => error,
        lines => error.detail(lines.join("\n")),
    }
}
