//! Why a release will never be ready, seen before its deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use orchestrate_core::ports::{Placement, PortError, PortErrorKind};
use tokio::time::Instant;

use super::await_healthy::is_seen;
use super::live::{self, Deployed};
use super::names::PROCESS;
use super::object::Object;
use super::security::{self, Denial};
use super::site::Site;

/// A container that ended by itself so often is not going to stay.
const CRASH_LOOP: u32 = 2;
/// The same of what is beside ours, or before it: that may wait for something in this way.
const CRASH_LOOP_BESIDE: u32 = 5;
const LINES_OF_OUTPUT: u32 = 10;
/// Which template a pod was made of; the cluster sets it.
const TEMPLATE: &str = "pod-template-hash";
/// A cluster that grows by itself may find a place for a pod within this.
pub(super) const NO_PLACE: Duration = Duration::from_secs(20);
/// A node that cannot start a container tries again after ten seconds or so, and may have by then what it had not: a ConfigMap, the
/// time of a busy runtime.
const STUCK: Duration = Duration::from_secs(25);

/// One process type that is waited for.
pub(super) struct Wanted {
    pub process: String,
    pub deployment: String,
    pub count: u32,
}

/// Why it will never be, and whose output may say more.
pub(super) struct Hopeless {
    pub error: PortError,
    pod: Option<Printed>,
    /// The node tries again, and that has not gone on for long: it may come right by itself.
    pub for_now: bool,
}

/// A container whose output is asked for.
struct Printed {
    pod: String,
    container: String,
    /// Of the one before, which ended.
    previous: bool,
}

impl Hopeless {
    fn of(message: String) -> Self {
        Self { error: PortError::failed(message), pod: None, for_now: false }
    }

    fn advised(self, advice: &str) -> Self {
        Self { error: self.error.detail(advice.to_owned()), ..self }
    }

    pub async fn told(self, site: &Site) -> PortError {
        let Some(Printed { pod, container, previous }) = self.pod else { return self.error };
        let query = format!("container={container}&tailLines={LINES_OF_OUTPUT}&previous={previous}");
        match site.cluster.log(&pod, &query).await {
            Ok(log) if !log.trim().is_empty() => self.error.detail(log.trim_end().to_owned()),
            Ok(_) | Err(_) => self.error,
        }
    }
}

/// Since when which containers could not be started, by pod and container.
#[derive(Default)]
pub(super) struct Stuck(BTreeMap<(String, String), Instant>);

impl Stuck {
    /// Whether to try again has not helped.
    fn for_long(&mut self, (pod, container): (&str, &str), now: Instant) -> bool {
        let since = *self.0.entry((pod.to_owned(), container.to_owned())).or_insert(now);
        now.saturating_duration_since(since) >= STUCK
    }

    fn goes_on(&mut self, (pod, container): (&str, &str)) {
        self.0.remove(&(pod.to_owned(), container.to_owned()));
    }
}

pub(super) fn not_there(placement: &Placement, one: &Wanted) -> Hopeless {
    let message = format!(
        "{} of {} does not run in {}: the Deployment {} is not there, or is another release",
        live::id(placement, &one.process, 1),
        placement.version,
        placement.environment,
        one.deployment
    );
    Hopeless { error: PortError::new(PortErrorKind::NotReady, message), pod: None, for_now: false }
}

pub(super) fn hopeless(
    placement: &Placement,
    one: &Wanted,
    deployed: &Deployed,
    pods: &[Object],
    stuck: &mut Stuck,
) -> Option<Hopeless> {
    let version = &placement.version;
    // Before the controller took notice, what it says is about what was there before.
    if is_seen(&deployed.object)
        && let Some((true, failure)) = deployed.object.condition("ReplicaFailure")
    {
        let why = failure.text("/message").unwrap_or("no reason was given");
        let message = format!("the cluster makes no pod of {} of {version}: {why}", one.process);
        return Some(Hopeless::of(message).advised(Denial::read(why).advice()));
    }
    let ours = |pod: &&Object| {
        live::counts(pod)
            && live::placement(pod, &placement.environment).as_ref() == Some(placement)
            && pod.annotation(PROCESS) == Some(&one.process)
    };
    let mut pods: Vec<&Object> = pods.iter().filter(ours).collect();
    pods.sort_by_key(|pod| (live::created(pod), pod.name().to_owned()));
    // After somebody changed it by hand, pods of another template are on their way out under the same labels.
    let newest = pods.last().and_then(|pod| pod.label(TEMPLATE)).map(str::to_owned);
    let image = image(&deployed.object, "/spec/template/spec/containers");
    pods.retain(|pod| {
        pod.label(TEMPLATE) == newest.as_deref() && self::image(pod, "/spec/containers") == image
    });
    let numbered = pods.iter().enumerate().filter(|(_, pod)| !live::is_ready(pod));
    let mut found: Vec<Hopeless> = Vec::new();
    found.extend(numbered.filter_map(|(index, pod)| {
        let id =
            format!("{} of {version} (pod {})", live::id(placement, &one.process, index + 1), pod.name());
        hopeless_pod(&id, pod, stuck)
    }));
    found.into_iter().min_by_key(|one| one.for_now)
}

fn image(object: &Object, containers: &str) -> Option<String> {
    let ours = object.items(containers).find(|one| one.text("/name") == Some(live::container_of(object)))?;
    ours.text("/image").map(str::to_owned)
}

/// What keeps a pod from running, if its node or the scheduler says so.
pub(super) fn hopeless_pod(id: &str, pod: &Object, stuck: &mut Stuck) -> Option<Hopeless> {
    if let Some((false, told)) = pod.condition("PodScheduled")
        && told.text("/reason") == Some("Unschedulable")
    {
        let since = told.text("/lastTransitionTime").and_then(|text| text.parse().ok());
        let since = since.unwrap_or_else(|| live::created(pod));
        let waited = orchestrate_core::time::Timestamp::system_now().millis_since(since);
        let message = told.text("/message").unwrap_or("no node takes it");
        return (waited >= u64::try_from(NO_PLACE.as_millis()).unwrap_or(u64::MAX))
            .then(|| Hopeless::of(format!("{id} finds no place in the cluster: {message}")));
    }
    // What is beside our container, or before it, may keep it from getting ready as well.
    let all = pod.items("/status/initContainerStatuses").chain(pod.items("/status/containerStatuses"));
    all.into_iter().find_map(|container| hopeless_container(id, pod, &container, stuck))
}

fn hopeless_container(id: &str, pod: &Object, container: &Object, stuck: &mut Stuck) -> Option<Hopeless> {
    let name = container.text("/name").unwrap_or_default();
    let is_ours = name == live::container_of(pod);
    let id = &if is_ours { id.to_owned() } else { format!("the container {name} of {id}") };
    let reason = container.text("/state/waiting/reason").unwrap_or_default();
    let said = container.text("/state/waiting/message").unwrap_or_default();
    match reason {
        "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" => {
            let image = container.text("/image").unwrap_or_default();
            return Some(Hopeless::of(format!("{id} cannot get its image {image} ({reason}): {said}")));
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            let hopeless = Hopeless::of(format!("{id} cannot be started ({reason}): {said}"));
            return Some(match security::is_root(said) {
                true => hopeless.advised("name a user: `kubernetes: { security: { run_as_user: 1001 } }`"),
                false => {
                    Hopeless { for_now: !stuck.for_long((pod.name(), name), Instant::now()), ..hopeless }
                }
            });
        }
        "" => stuck.goes_on((pod.name(), name)),
        _ => {}
    }
    let restarts = container.count("/restartCount");
    let loops = match is_ours {
        true => reason == "CrashLoopBackOff" || restarts >= CRASH_LOOP,
        false => restarts >= CRASH_LOOP_BESIDE,
    };
    if loops {
        let how = live::last_exit(container).unwrap_or_else(|| "ended".into());
        let message = format!("{id} does not stay: it {how}, and was started {restarts} times again");
        let error = match live::last_words(container) {
            Some(words) => PortError::failed(message).detail(words),
            None => PortError::failed(message),
        };
        let (pod, container) = (pod.name().to_owned(), name.to_owned());
        let pod = Some(Printed { pod, container, previous: restarts > 0 });
        return Some(Hopeless { error, pod, for_now: false });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_cannot_be_started_may_be_by_another_try() {
        let (mut stuck, begin) = (Stuck::default(), Instant::now());
        let who = ("web-1", "main");
        assert!(!stuck.for_long(who, begin));
        assert!(!stuck.for_long(who, begin + STUCK / 2));
        assert!(stuck.for_long(who, begin + STUCK));
        stuck.goes_on(who);
        assert!(!stuck.for_long(who, begin + STUCK), "it ran in between");
    }

    #[test]
    fn only_what_is_sure_is_told_as_the_end() {
        let mut stuck = Stuck::default();
        let mut judged = |reason: &str| {
            let waiting =
                json!({ "name": "main", "state": { "waiting": { "reason": reason, "message": "so" } } });
            let pod = Object(json!({
                "metadata": { "name": "web-1" },
                "status": { "containerStatuses": [waiting] },
            }));
            hopeless_pod("web", &pod, &mut stuck).map(|hopeless| hopeless.for_now)
        };
        assert_eq!(judged("CreateContainerConfigError"), Some(true));
        assert_eq!(judged("CreateContainerError"), Some(true));
        assert_eq!(judged("ErrImageNeverPull"), Some(false));
        assert_eq!(judged("CrashLoopBackOff"), Some(false));
        assert_eq!(judged("ContainerCreating"), None);
    }
}
