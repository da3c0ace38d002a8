//! What is in the cluster, in our words.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use orchestrate_core::name::{EnvironmentName, ReleaseId, Version};
use orchestrate_core::ports::{Instance, InstanceState, Placement};
use orchestrate_core::slot::Slot;
use orchestrate_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::manifests::PORT;
use super::names::{PROCESS, RELEASE, SLOT, TRACK, Track, VERSION};
use super::object::Object;
use super::objects::{CONTAINER, CONTAINER_OF, INSTANCES, PREVIOUS, ROUTED};

/// A Deployment of ours.
pub(super) struct Deployed {
    pub object: Object,
    pub placement: Placement,
    pub process: String,
    pub routed: bool,
    pub track: Track,
    /// How many instances were asked for.
    pub instances: u32,
    pub previous: Option<Previous>,
}

/// What a rolling release took the place of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Previous {
    pub slot: Slot,
    pub release: ReleaseId,
    pub version: Version,
}

impl Previous {
    pub fn of(placement: &Placement) -> Self {
        let Placement { slot, release, version, .. } = placement.clone();
        Self { slot, release, version }
    }

    pub fn placement(&self, environment: &EnvironmentName) -> Placement {
        let Self { slot, release, version } = self.clone();
        Placement { environment: environment.clone(), slot, release, version }
    }
}

impl Deployed {
    /// None, where its marks were taken away by hand.
    pub fn read(object: Object, environment: &EnvironmentName) -> Option<Self> {
        let placement = placement(&object, environment)?;
        Some(Self {
            process: object.annotation(PROCESS)?.to_owned(),
            routed: object.annotation(ROUTED) == Some("true"),
            track: Track::parse(object.label(TRACK)?)?,
            instances: object.annotation(INSTANCES)?.parse().ok()?,
            previous: object.annotation(PREVIOUS).and_then(|text| serde_json::from_str(text).ok()),
            placement,
            object,
        })
    }
}

/// What the marks of an object say.
pub(super) fn placement(object: &Object, environment: &EnvironmentName) -> Option<Placement> {
    Some(Placement {
        environment: environment.clone(),
        slot: Slot::parse(object.label(SLOT)?)?,
        release: ReleaseId(object.label(RELEASE)?.parse().ok()?),
        version: Version::new(object.annotation(VERSION)?).ok()?,
    })
}

/// The pods of an environment, and those that its Deployments are about to have, as instances.
pub(super) fn instances(
    deployed: &[Deployed],
    pods: &[Object],
    environment: &EnvironmentName,
) -> Vec<Instance> {
    let mut by_process: BTreeMap<(Slot, ReleaseId, String), (Placement, Vec<&Object>)> = BTreeMap::new();
    for one in deployed {
        let key = (one.placement.slot, one.placement.release, one.process.clone());
        by_process.insert(key, (one.placement.clone(), Vec::new()));
    }
    for pod in pods.iter().filter(|pod| counts(pod)) {
        let (Some(placement), Some(process)) = (placement(pod, environment), pod.annotation(PROCESS)) else {
            continue;
        };
        let key = (placement.slot, placement.release, process.to_owned());
        by_process.entry(key).or_insert_with(|| (placement, Vec::new())).1.push(pod);
    }
    let mut all = Vec::new();
    for ((slot, release, process), (placement, mut pods)) in by_process {
        // The oldest are the first ones, and go last.
        pods.sort_by_key(|pod| (created(pod), pod.name().to_owned()));
        let of = |one: &&Deployed| {
            one.placement.slot == slot && one.placement.release == release && one.process == process
        };
        let wanted = deployed.iter().find(of);
        let missing = wanted.map_or(0, |one| (one.instances as usize).saturating_sub(pods.len()));
        let there = pods.len();
        for (index, pod) in pods.into_iter().enumerate() {
            all.push(running(pod, &placement, &process, index + 1));
        }
        if let Some(wanted) = wanted {
            all.extend((0..missing).map(|index| expected(wanted, &placement, &process, there + index + 1)));
        }
    }
    all
}

/// Whether a pod is, or will be, an instance: not one that is told to go, nor one that was evicted.
pub(super) fn counts(pod: &Object) -> bool {
    !pod.is_leaving() && !matches!(pod.text("/status/phase"), Some("Failed" | "Succeeded"))
}

pub(super) fn is_ready(pod: &Object) -> bool {
    counts(pod) && pod.condition("Ready").is_some_and(|(holds, _)| holds)
}

pub(super) fn created(object: &Object) -> Timestamp {
    time(object.text("/metadata/creationTimestamp"))
}

fn time(text: Option<&str>) -> Timestamp {
    text.and_then(|text| text.parse().ok()).unwrap_or_else(|| Timestamp::from_millis(0))
}

pub(super) fn id(placement: &Placement, process: &str, number: usize) -> String {
    format!("{}-{process}-{number}", placement.slot)
}

fn running(pod: &Object, placement: &Placement, process: &str, number: usize) -> Instance {
    let container = container(pod);
    let status = |pointer: &str| container.as_ref().and_then(|one| one.text(pointer));
    Instance {
        id: id(placement, process, number),
        placement: placement.clone(),
        process: process.to_owned(),
        address: address(pod),
        pid: None,
        state: state(pod, container.as_ref()),
        restarts: container.as_ref().map_or(0, |one| one.count("/restartCount")),
        started_at: status("/state/running/startedAt").map_or_else(|| created(pod), |text| time(Some(text))),
        last_exit: container.as_ref().and_then(last_exit),
    }
}

/// The cluster was asked for it and has not made it yet.
fn expected(deployed: &Deployed, placement: &Placement, process: &str, number: usize) -> Instance {
    Instance {
        id: id(placement, process, number),
        placement: placement.clone(),
        process: process.to_owned(),
        address: None,
        pid: None,
        state: InstanceState::Starting,
        restarts: 0,
        started_at: created(&deployed.object),
        last_exit: None,
    }
}

/// The name of our container, of a pod or of a Deployment.
pub(super) fn container_of(object: &Object) -> &str {
    object.annotation(CONTAINER_OF).unwrap_or(CONTAINER)
}

/// The status of our container; others may be beside it.
pub(super) fn container(pod: &Object) -> Option<Object> {
    pod.items("/status/containerStatuses").find(|one| one.text("/name") == Some(container_of(pod)))
}

/// Where it listens, if it is routed and the cluster gave it an address.
pub(super) fn address(pod: &Object) -> Option<SocketAddr> {
    let ours = pod.items("/spec/containers").find(|one| one.text("/name") == Some(container_of(pod)))?;
    let port = ours.items("/ports").find(|one| one.text("/name") == Some(PORT))?;
    let port = u16::try_from(port.number("/containerPort")?).ok()?;
    let ip: IpAddr = pod.text("/status/podIP")?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}

fn state(pod: &Object, container: Option<&Object>) -> InstanceState {
    if pod.is_leaving() {
        return InstanceState::Stopping;
    }
    if is_ready(pod) {
        return InstanceState::Ready;
    }
    let Some(container) = container else { return InstanceState::Starting };
    let ended = container.0.pointer("/state/terminated").is_some();
    if ended || container.text("/state/waiting/reason") == Some("CrashLoopBackOff") {
        return InstanceState::BackingOff;
    }
    let ready_until = pod.condition("Ready").map(|(_, told)| time(told.text("/lastTransitionTime")));
    let runs_since = container.text("/state/running/startedAt").map(|text| time(Some(text)));
    match (ready_until, runs_since) {
        // It changed after the container began to run, so it was ready in between.
        (Some(until), Some(since)) if until > since => InstanceState::Unhealthy,
        _ => InstanceState::Starting,
    }
}

fn last_end(container: &Object) -> Option<Object> {
    let ended = ["/state/terminated", "/lastState/terminated"].into_iter();
    ended.filter_map(|pointer| container.0.pointer(pointer).cloned().map(Object)).next()
}

/// What was said of that end: one that could not even be started printed nothing.
pub(super) fn last_words(container: &Object) -> Option<String> {
    let ended = last_end(container)?;
    let words = ended.text("/message")?.trim();
    (!words.is_empty()).then(|| words.to_owned())
}

/// How the container ended the last time.
pub(super) fn last_exit(container: &Object) -> Option<String> {
    let ended = last_end(container)?;
    let how = match (ended.number("/signal").filter(|signal| *signal != 0), ended.number("/exitCode")) {
        (Some(signal), _) => format!("killed by signal {signal}"),
        // 128 and the signal's number, as shells count.
        (None, Some(137)) => "killed by signal 9".to_owned(),
        (None, Some(code)) => format!("exited with status {code}"),
        (None, None) => "ended".to_owned(),
    };
    let reason = ended.text("/reason").filter(|reason| !matches!(*reason, "Error" | "Completed"));
    Some(reason.map_or_else(|| how.clone(), |reason| format!("{how} ({reason})")))
}
