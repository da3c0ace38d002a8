//! Whether the instances of a release run and answer, as the provider and the router see them.

use std::time::Duration;

use super::Subject;
use crate::ports::{InstanceState, Ports};

/// What one look at the instances showed.
pub(super) enum Look {
    Good,
    /// Too few are ready, or nobody could say: bad if it stays so.
    Short(String),
    Bad(String),
    /// None of its instances runs.
    Absent(String),
}

/// How long the router may take to answer: one that hangs must not hang the watch.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

pub(super) async fn in_time<T>(call: impl Future<Output = T>) -> Result<T, tokio::time::error::Elapsed> {
    tokio::time::timeout(ANSWER_WITHIN, call).await
}

pub(super) async fn look(ports: &Ports, subject: &Subject) -> Look {
    let Subject { release, place, environment, .. } = subject;
    let bad = |id: &str, what: &str| Look::Bad(format!("{id} {what} {}", subject.during()));
    match ports.provider.instances(environment).await {
        Err(error) => return Look::Short(format!("its instances cannot be seen: {error}")),
        Ok(instances) => {
            let ours = instances
                .iter()
                .filter(|i| i.placement.slot == place.slot && i.placement.release == release.id);
            let mut ours = ours.peekable();
            if ours.peek().is_none() {
                return Look::Absent("none of its instances runs".into());
            }
            for instance in ours {
                if let (true, Some(exit)) = (instance.restarts > 0, &instance.last_exit) {
                    return bad(&instance.id, exit);
                }
                match instance.state {
                    InstanceState::Unhealthy => return bad(&instance.id, "fails its health check"),
                    InstanceState::BackingOff => return bad(&instance.id, "ended"),
                    InstanceState::Starting | InstanceState::Ready | InstanceState::Stopping => {}
                }
            }
        }
    }
    match in_time(ports.router.observe(environment)).await {
        Err(_) => Look::Short("the proxy does not answer".into()),
        Ok(Err(error)) => Look::Short(format!("the proxy does not answer: {error}")),
        Ok(Ok(view)) => {
            let slot = view.placed(place.slot, release.id);
            let short = release.contents.routed().find_map(|(name, process, _)| {
                let (healthy, known) = slot.map_or((0, 0), |slot| (slot.healthy(name), slot.known(name)));
                // What the router forgot, because it was started anew, says nothing about the release: it is told again.
                (healthy < process.instances && known >= process.instances)
                    .then(|| format!("only {healthy} of {} instances of {name} are ready", process.instances))
            });
            short.map_or(Look::Good, Look::Short)
        }
    }
}
