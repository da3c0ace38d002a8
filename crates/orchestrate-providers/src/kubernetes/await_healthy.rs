//! Waiting until the cluster has a release ready, told by it as it happens; and seeing early when it never will be.

use std::time::Duration;

use orchestrate_core::ports::{AwaitHealthy, Instance, Placement, PortError, PortErrorKind, PortResult};
use tokio::time::Instant;

use super::api::Kind;
use super::follow::{Follow, in_time};
use super::live::{self, Deployed};
use super::names::PROCESS;
use super::object::{Object, Objects};
use super::objects::{CONTAINER, Release};
use super::provider::Shared;
use super::site::Site;
use crate::spec::RunSpec;

/// A container that ended by itself so often is not going to stay.
const CRASH_LOOP: u32 = 2;
const LINES_OF_OUTPUT: u32 = 10;
/// Which template a pod was made of; the cluster sets it.
const TEMPLATE: &str = "pod-template-hash";
/// A cluster that grows by itself may find a place for a pod within this.
const NO_PLACE: Duration = Duration::from_secs(20);

/// One process type that is waited for.
struct Wanted {
    process: String,
    deployment: String,
    count: u32,
}

pub(super) async fn await_healthy(shared: &Shared, request: &AwaitHealthy) -> PortResult<Vec<Instance>> {
    let deadline = Instant::now() + request.deadline.duration();
    let spec = shared.specs.run_spec(request.placement.release).await?;
    let site = shared.site(&request.placement.environment, Some(&spec)).await?;
    let wanted = wanted(&site, &spec, request);
    let selector = site.names.selector();
    let mut deployments = Follow::begin(&site.cluster, Kind::Deployment, selector.clone());
    let mut pods = Follow::begin(&site.cluster, Kind::Pod, selector);
    let mut last = "nothing was seen of it".to_owned();
    loop {
        let both = async { Ok((deployments.now().await?, pods.now().await?)) };
        match in_time(both, deadline).await {
            Some(Ok((deployments, pods))) => match judge(&site, request, &wanted, &deployments, &pods) {
                Verdict::Ready(instances) => return Ok(instances),
                Verdict::Hopeless(hopeless) => return Err(hopeless.told(&site).await),
                Verdict::Waiting(why) => last = why,
            },
            Some(Err::<_, PortError>(error)) if error.kind == PortErrorKind::Unreachable => {
                last = error.message
            }
            Some(Err(error)) => return Err(error),
            None => return Err(too_late(request, &last)),
        }
        let changed = async {
            tokio::select! {
                () = deployments.changed() => {}
                () = pods.changed() => {}
                // Nobody tells that time passes.
                () = tokio::time::sleep(NO_PLACE / 4) => {}
            }
        };
        if in_time(changed, deadline).await.is_none() {
            return Err(too_late(request, &last));
        }
    }
}

fn wanted(site: &Site, spec: &RunSpec, request: &AwaitHealthy) -> Vec<Wanted> {
    let release = Release { names: &site.names, spec, placement: &request.placement };
    let meant = spec.processes.iter().filter(|(_, kind)| request.processes.includes(kind.listen));
    let all = meant.map(|(process, kind)| {
        let counts = request.counts.as_ref();
        let most = counts.map_or(kind.instances, |counts| counts.get(process).copied().unwrap_or(0));
        let deployment = site.names.deployment(release.track(), process);
        Wanted { process: process.clone(), deployment, count: kind.instances.min(most) }
    });
    all.filter(|one| one.count > 0).collect()
}

enum Verdict {
    Ready(Vec<Instance>),
    Hopeless(Hopeless),
    /// With who is not ready yet.
    Waiting(String),
}

/// Why it will never be, and whose output may say more.
struct Hopeless {
    error: PortError,
    pod: Option<(String, bool)>,
}

impl Hopeless {
    fn of(message: String) -> Self {
        Self { error: PortError::failed(message), pod: None }
    }

    async fn told(self, site: &Site) -> PortError {
        let Some((pod, previous)) = self.pod else { return self.error };
        let query = format!("container={CONTAINER}&tailLines={LINES_OF_OUTPUT}&previous={previous}");
        match site.cluster.log(&pod, &query).await {
            Ok(log) if !log.trim().is_empty() => self.error.detail(log.trim_end().to_owned()),
            Ok(_) | Err(_) => self.error,
        }
    }
}

fn judge(
    site: &Site,
    request: &AwaitHealthy,
    wanted: &[Wanted],
    deployments: &Objects,
    pods: &Objects,
) -> Verdict {
    let placement = &request.placement;
    let environment = &site.names.environment;
    let mut there = Vec::new();
    for one in wanted {
        let found = deployments.get(&one.deployment).filter(|object| !object.is_leaving()).cloned();
        match found.and_then(|object| Deployed::read(object, environment)) {
            Some(deployed) if deployed.placement == *placement => there.push(deployed),
            Some(_) | None => return Verdict::Hopeless(not_there(placement, one)),
        }
    }
    let pods: Vec<Object> = pods.values().cloned().collect();
    let mut instances = live::instances(&there, &pods, environment);
    instances.retain(|one| one.placement == *placement);
    let mut waiting = None;
    for (one, deployed) in wanted.iter().zip(&there) {
        let Err(why) = settled(&deployed.object, one.count) else { continue };
        if let Some(hopeless) = hopeless(placement, one, deployed, &pods) {
            return Verdict::Hopeless(hopeless);
        }
        let who = (1..=one.count as usize).map(|number| live::id(placement, &one.process, number));
        let ready = |id: &String| {
            instances
                .iter()
                .any(|found| found.id == *id && found.state == orchestrate_core::ports::InstanceState::Ready)
        };
        let who: Vec<String> = who.filter(|id| !ready(id)).collect();
        let who = if who.is_empty() { one.process.clone() } else { who.join(", ") };
        waiting.get_or_insert(format!("{who} of {} {why}", placement.version));
    }
    if let Some(why) = waiting {
        return Verdict::Waiting(why);
    }
    let mut numbers = std::collections::BTreeMap::new();
    instances.retain(|instance| {
        let number: &mut u32 = numbers.entry(instance.process.clone()).or_default();
        *number += 1;
        wanted.iter().any(|one| one.process == instance.process && *number <= one.count)
    });
    // The list of pods may be a moment older than that of the Deployments.
    match instances.iter().find(|one| one.state != orchestrate_core::ports::InstanceState::Ready) {
        Some(one) => Verdict::Waiting(format!("{} of {} is not ready", one.id, placement.version)),
        None => Verdict::Ready(instances),
    }
}

/// Whether the controller took notice, and has so many of this very template available and nothing of another one.
fn settled(deployment: &Object, count: u32) -> Result<(), String> {
    let seen = deployment.number("/status/observedGeneration") >= deployment.number("/metadata/generation");
    let updated = deployment.count("/status/updatedReplicas");
    let (all, ready) = (deployment.count("/status/replicas"), deployment.count("/status/availableReplicas"));
    if !seen {
        Err("was not yet taken notice of by the cluster".into())
    } else if updated < count || ready < count {
        Err(format!("is not ready: {} of {count} are", ready.min(updated)))
    } else if all > updated {
        Err(format!("waits for {} of the release before to go", all - updated))
    } else {
        Ok(())
    }
}

fn not_there(placement: &Placement, one: &Wanted) -> Hopeless {
    let message = format!(
        "{} of {} does not run in {}: the Deployment {} is not there, or is another release",
        live::id(placement, &one.process, 1),
        placement.version,
        placement.environment,
        one.deployment
    );
    Hopeless { error: PortError::new(PortErrorKind::NotReady, message), pod: None }
}

fn hopeless(placement: &Placement, one: &Wanted, deployed: &Deployed, pods: &[Object]) -> Option<Hopeless> {
    let version = &placement.version;
    if let Some((true, failure)) = deployed.object.condition("ReplicaFailure") {
        let why = failure.text("/message").unwrap_or("no reason was given");
        return Some(Hopeless::of(format!(
            "the cluster makes no pod of {} of {version}: {why}",
            one.process
        )));
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
    numbered.into_iter().find_map(|(index, pod)| {
        let id =
            format!("{} of {version} (pod {})", live::id(placement, &one.process, index + 1), pod.name());
        hopeless_pod(&id, pod)
    })
}

fn image(object: &Object, containers: &str) -> Option<String> {
    let ours = object.items(containers).find(|one| one.text("/name") == Some(CONTAINER))?;
    ours.text("/image").map(str::to_owned)
}

fn hopeless_pod(id: &str, pod: &Object) -> Option<Hopeless> {
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
    let container = live::container(pod)?;
    let reason = container.text("/state/waiting/reason").unwrap_or_default();
    let said = container.text("/state/waiting/message").unwrap_or_default();
    match reason {
        "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" => {
            let image = container.text("/image").unwrap_or_default();
            return Some(Hopeless::of(format!("{id} cannot get its image {image} ({reason}): {said}")));
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            return Some(Hopeless::of(format!("{id} cannot be started ({reason}): {said}")));
        }
        _ => {}
    }
    let restarts = container.count("/restartCount");
    if reason == "CrashLoopBackOff" || restarts >= CRASH_LOOP {
        let how = live::last_exit(&container).unwrap_or_else(|| "ended".into());
        let message = format!("{id} does not stay: it {how}, and was started {restarts} times again");
        let error = match live::last_words(&container) {
            Some(words) => PortError::failed(message).detail(words),
            None => PortError::failed(message),
        };
        return Some(Hopeless { error, pod: Some((pod.name().to_owned(), restarts > 0)) });
    }
    None
}

fn too_late(request: &AwaitHealthy, last: &str) -> PortError {
    PortError::new(PortErrorKind::TimedOut, format!("{last}, after {}", request.deadline)).detail(
        "see what the cluster says: kubectl describe pods -l app.kubernetes.io/managed-by=orchestrate",
    )
}
