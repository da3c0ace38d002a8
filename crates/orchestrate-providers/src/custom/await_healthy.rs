//! Waiting until the instances of a release are ready, as its commands see it.

use orchestrate_core::ports::{AwaitHealthy, Instance, InstanceState, PortError, PortErrorKind, PortResult};
use orchestrate_core::time::{Span, Timestamp};
use tokio::time::{Instant, sleep, timeout_at};

use super::answer;
use super::call::{Surroundings, settings, who};
use super::request::{Named, Verb, wanted};
use crate::spec::RunSpec;

/// An instance that ended by itself twice in a row is not going to stay.
const CRASH_LOOP: u32 = 2;

pub async fn await_healthy(around: &Surroundings, request: &AwaitHealthy) -> PortResult<Vec<Instance>> {
    let deadline = Instant::now() + request.deadline.duration();
    let mut last = "no command was through by then".to_owned();
    let mut detail = None;
    let mut who_waits = request.placement.slot.to_string();
    let wait = async {
        let spec = around.spec(request.placement.release).await?;
        let wanted = wanted(&spec, &request.placement, request.processes, request.counts.as_ref());
        if let Some(first) = wanted.first() {
            who_waits.clone_from(&first.id);
        }
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Span::from_millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
            let seen = look(around, &spec, request, &wanted, left).await;
            match seen.and_then(|instances| judge(&spec, &wanted, instances)) {
                Ok(Seen::Ready(instances)) => return Ok(instances),
                Ok(Seen::Waiting(id, why)) => (who_waits, last) = (id, why),
                Err(error) if may_pass(error.kind) => (last, detail) = (error.message, error.detail),
                Err(error) => return Err(error),
            }
            sleep(spec.health_check.interval.duration()).await;
        }
    };
    if let Ok(ended) = timeout_at(deadline, wait).await {
        return ended;
    }
    let (version, deadline) = (&request.placement.version, request.deadline);
    let message = format!("{who_waits} of {version} is not ready after {deadline}: {last}");
    let error = PortError::new(PortErrorKind::TimedOut, message);
    Err(match detail {
        Some(detail) => error.detail(detail),
        None => error,
    })
}

/// Whether another look may see something better.
const fn may_pass(kind: PortErrorKind) -> bool {
    match kind {
        PortErrorKind::NotReady | PortErrorKind::TimedOut | PortErrorKind::Unreachable => true,
        PortErrorKind::Fenced | PortErrorKind::Missing | PortErrorKind::Failed => false,
    }
}

async fn look(
    around: &Surroundings,
    spec: &RunSpec,
    request: &AwaitHealthy,
    wanted: &[Named],
    left: Span,
) -> PortResult<Vec<Instance>> {
    let placement = &request.placement;
    let custom = settings(spec)?;
    let mut verb = if custom.health.is_empty() { Verb::Status } else { Verb::Health };
    let ask = |verb| {
        around.ask(verb, spec, placement, None, Some(left), |request| request.instances = wanted.to_vec())
    };
    let mut answer = ask(verb).await?;
    if verb == Verb::Health && answer.instances.is_none() {
        // `health` says that all is well; `status` says who that is.
        verb = Verb::Status;
        answer = ask(verb).await?;
    }
    let who = who(verb, verb.command(custom), placement);
    let told = answer.instances.unwrap_or_default();
    if let Some(other) = answer::of_another_version(&told, placement).first() {
        return Err(PortError::new(PortErrorKind::NotReady, other.clone()));
    }
    let entry = around.book.entry(&placement.environment).await?;
    let since = entry.placed(placement).map_or_else(Timestamp::system_now, |placed| placed.since);
    answer::instances(told, spec, placement, since, &who)
}

enum Seen {
    Ready(Vec<Instance>),
    /// Who is not ready, and why.
    Waiting(String, String),
}

fn judge(spec: &RunSpec, wanted: &[Named], mut instances: Vec<Instance>) -> PortResult<Seen> {
    instances.retain(|instance| wanted.iter().any(|wanted| wanted.id == instance.id));
    let proxied = settings(spec)?.switch.is_empty();
    for wanted in wanted {
        let Some(instance) = instances.iter().find(|instance| instance.id == wanted.id) else {
            return Ok(Seen::Waiting(wanted.id.clone(), "nobody tells of it".into()));
        };
        let exit = instance.last_exit.as_ref().map(|exit| format!("it {exit}"));
        if instance.state == InstanceState::BackingOff && instance.restarts >= CRASH_LOOP {
            let exit = exit.unwrap_or_else(|| "ends again and again".into());
            let version = &instance.placement.version;
            return Err(PortError::failed(format!("{} of {version} does not stay up: {exit}", instance.id)));
        }
        if instance.state != InstanceState::Ready {
            let state = serde_json::to_string(&instance.state).unwrap_or_default();
            let state = format!("it is {}", state.trim_matches('"'));
            return Ok(Seen::Waiting(wanted.id.clone(), exit.unwrap_or(state)));
        }
        let routed = spec.processes.get(&wanted.process).is_some_and(|kind| kind.listen.is_some());
        if routed && proxied && instance.address.is_none() {
            return Err(PortError::failed(format!(
                "{} is ready, and its command gave no `address` for the proxy to send requests to",
                instance.id
            ))
            .detail("give an `address`, or a `custom.switch` command that moves the traffic itself"));
        }
    }
    Ok(Seen::Ready(instances))
}
