//! Waiting until the cluster has a release ready, told by it as it happens; and seeing early when it never will be.

use orchestrate_core::ports::{AwaitHealthy, Instance, PortError, PortErrorKind, PortResult};
use tokio::time::Instant;

use super::api::Kind;
use super::follow::{Follow, in_time};
use super::hopeless::{Hopeless, NO_PLACE, Stuck, Wanted, hopeless, not_there};
use super::live::{self, Deployed};
use super::object::{Object, Objects};
use super::objects::Release;
use super::provider::Shared;
use super::site::Site;
use crate::spec::RunSpec;

pub(super) async fn await_healthy(shared: &Shared, request: &AwaitHealthy) -> PortResult<Vec<Instance>> {
    let deadline = Instant::now() + request.deadline.duration();
    let spec = shared.specs.run_spec(request.placement.release).await?;
    let site = shared.site(&request.placement.environment, Some(&spec)).await?;
    let wanted = wanted(&site, &spec, request);
    let selector = site.names.selector();
    let mut deployments = Follow::begin(&site.cluster, Kind::Deployment, selector.clone());
    let mut pods = Follow::begin(&site.cluster, Kind::Pod, selector);
    let (mut last, mut stuck) = ("nothing was seen of it".to_owned(), Stuck::default());
    loop {
        let both = async { Ok((deployments.now().await?, pods.now().await?)) };
        match in_time(both, deadline).await {
            Some(Ok((deployments, pods))) => {
                match judge(&site, request, &wanted, (&deployments, &pods), &mut stuck) {
                    Verdict::Ready(instances) => return Ok(instances),
                    Verdict::Hopeless(hopeless) => return Err(hopeless.told(&site).await),
                    Verdict::Waiting(why) => last = why,
                }
            }
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

fn judge(
    site: &Site,
    request: &AwaitHealthy,
    wanted: &[Wanted],
    (deployments, pods): (&Objects, &Objects),
    stuck: &mut Stuck,
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
        match hopeless(placement, one, deployed, &pods, stuck) {
            Some(hopeless) if hopeless.for_now => {
                waiting.get_or_insert(hopeless.error.message);
                continue;
            }
            Some(hopeless) => return Verdict::Hopeless(hopeless),
            None => {}
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
    let updated = deployment.count("/status/updatedReplicas");
    let (all, ready) = (deployment.count("/status/replicas"), deployment.count("/status/availableReplicas"));
    if !is_seen(deployment) {
        Err("was not yet taken notice of by the cluster".into())
    } else if updated < count || ready < count {
        Err(format!("is not ready: {} of {count} are", ready.min(updated)))
    } else if all > updated {
        Err(format!("waits for {} of the release before to go", all - updated))
    } else {
        Ok(())
    }
}

pub(super) fn is_seen(deployment: &Object) -> bool {
    deployment.number("/status/observedGeneration") >= deployment.number("/metadata/generation")
}

fn too_late(request: &AwaitHealthy, last: &str) -> PortError {
    PortError::new(PortErrorKind::TimedOut, format!("{last}, after {}", request.deadline)).detail(
        "see what the cluster says: kubectl describe pods -l app.kubernetes.io/managed-by=orchestrate",
    )
}
