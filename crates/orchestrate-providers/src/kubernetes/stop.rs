//! Stopping: a Deployment is deleted, and its pods are seen to be gone. A release that rolled over another one gives it its
//! place back, as long as that is remembered.

use std::time::Duration;

use orchestrate_core::ports::{Placement, PortError, PortErrorKind, PortResult, Processes, StopRequest};
use serde_json::json;
use tokio::time::Instant;

use super::anchor;
use super::api::{Amended, Kind};
use super::fault::Fault;
use super::follow;
use super::live::{self, Deployed, Previous};
use super::manifests::{PORT, refers};
use super::names::{PROCESS, Track};
use super::object::Object;
use super::objects::{CONTENTS, FENCE, PREVIOUS, Release};
use super::provider::{Shared, deployed};
use super::site::Site;
use super::start::{apply, apply_contents, await_seen, scaled};

/// How much longer than its time to end a pod may be there: its node has to say so.
const LAG: Duration = Duration::from_secs(60);
/// Of a pod that does not say how long it may take to end.
const USUAL_GRACE: u64 = 30;
/// A pod with less of this goes first.
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

pub(super) async fn stop(shared: &Shared, request: &StopRequest) -> PortResult<()> {
    let placement = &request.placement;
    let site = shared.site_of(placement).await?;
    anchor::claim(&site, request.fence).await?;
    let meant = |one: &Deployed| includes(request.processes, one.routed);
    let all: Vec<Deployed> = deployed(&site).await?.into_iter().filter(meant).collect();
    let mut patience = Duration::ZERO;
    for one in &all {
        if one.placement == *placement {
            anchor::claim(&site, request.fence).await?;
            patience = stop_one(shared, &site, one, request).await?.max(patience);
        } else if one.previous.as_ref().is_some_and(|over| *over == Previous::of(placement)) {
            // What took its place stays.
            forget_previous(&site, one).await?;
        }
    }
    let left = match &request.counts {
        Some(_) => return Ok(()),
        None => processes_of(&site, request).await?,
    };
    await_gone(&site, placement, &left.iter().map(String::as_str).collect::<Vec<_>>(), patience).await?;
    clean(&site, request.fence.0).await
}

fn includes(processes: Processes, routed: bool) -> bool {
    match processes {
        Processes::All => true,
        Processes::Routed => routed,
        Processes::Unrouted => !routed,
    }
}

/// Returns how long something else may take to come before this goes.
async fn stop_one(
    shared: &Shared,
    site: &Site,
    one: &Deployed,
    request: &StopRequest,
) -> PortResult<Duration> {
    let stay = request.counts.as_ref().map_or(0, |counts| counts.get(&one.process).copied().unwrap_or(0));
    if stay > 0 {
        if stay < one.instances {
            shrink(site, one, stay).await?;
        }
        return Ok(Duration::ZERO);
    }
    match &one.previous {
        Some(previous) if one.track == Track::Rolling => {
            give_back(shared, site, one, previous, request).await
        }
        Some(_) | None => remove(site, one).await.map(|()| Duration::ZERO),
    }
}

/// The oldest pods stay.
async fn shrink(site: &Site, one: &Deployed, stay: u32) -> PortResult<()> {
    let mut pods = pods_of(site, &one.placement, &one.process).await?;
    pods.sort_by_key(|pod| (live::created(pod), pod.name().to_owned()));
    for pod in pods.iter().skip(stay as usize) {
        let cheap = json!({ "metadata": { "annotations": { COST: "-1" } } });
        match site.cluster.merge(Kind::Pod, pod.name(), &cheap).await {
            Ok(_) => {}
            Err(Fault::Refused(refusal)) if refusal.is_missing() => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    site.cluster.merge(Kind::Deployment, one.object.name(), &scaled(stay)).await?;
    let (selector, process) = (site.names.selector_of(&one.placement), one.process.clone());
    let few = |pods: &super::object::Objects| {
        let there = pods.values().filter(|pod| pod.annotation(PROCESS) == Some(&process)).count();
        (there <= stay as usize).then_some(())
    };
    let deadline = Instant::now() + grace(&pods) + LAG;
    follow::until(&site.cluster, Kind::Pod, selector, deadline, few)
        .await?
        .ok_or_else(|| still_there(&one.placement, &pods))
}

async fn pods_of(site: &Site, placement: &Placement, process: &str) -> PortResult<Vec<Object>> {
    let (pods, _) = site.cluster.list(Kind::Pod, &site.names.selector_of(placement)).await?;
    Ok(pods.into_iter().filter(|pod| live::counts(pod) && pod.annotation(PROCESS) == Some(process)).collect())
}

/// The release before gets its sealed template back.
async fn give_back(
    shared: &Shared,
    site: &Site,
    one: &Deployed,
    previous: &Previous,
    request: &StopRequest,
) -> PortResult<Duration> {
    let placement = previous.placement(&site.names.environment);
    let spec = shared.specs.run_spec(placement.release).await?;
    let release = Release { names: &site.names, spec: &spec, placement: &placement };
    let Some(kind) = spec.processes.get(&one.process) else {
        return remove(site, one).await.map(|()| Duration::ZERO);
    };
    apply_contents(site, &release, request.fence.0).await?;
    // Nothing is behind what was put back: it is as it was before.
    let applied = apply(site, &release, &one.process, kind.instances, Some(None), request.fence).await?;
    await_seen(site, &[applied]).await;
    Ok(spec.health_check.deadline.duration())
}

/// What took its place stays from now on, whoever is stopped.
pub(super) async fn forget_previous(site: &Site, one: &Deployed) -> PortResult<()> {
    let forgotten = site.cluster.amend(Kind::Deployment, one.object.name(), |there| {
        let still = there.filter(|there| there.annotation(PREVIOUS) == one.object.annotation(PREVIOUS));
        Ok(still.map(|there| {
            let mut object = there.clone();
            object.annotate(PREVIOUS, None);
            Amended::Changed(object)
        }))
    });
    forgotten.await?;
    Ok(())
}

pub(super) async fn remove(site: &Site, one: &Deployed) -> PortResult<()> {
    site.cluster.delete(Kind::Deployment, &one.object).await?;
    Ok(())
}

/// The process types that pods of the release are there of, and that were meant.
async fn processes_of(site: &Site, request: &StopRequest) -> PortResult<Vec<String>> {
    let (pods, _) = site.cluster.list(Kind::Pod, &site.names.selector_of(&request.placement)).await?;
    // A container of a routed process type has a port by which Services find it.
    let meant = pods.iter().filter(|pod| {
        let mut ports = pod.items("/spec/containers").flat_map(|one| one.items("/ports").collect::<Vec<_>>());
        includes(request.processes, ports.any(|port| port.text("/name") == Some(PORT)))
    });
    let mut names: Vec<String> = meant.filter_map(|pod| pod.annotation(PROCESS)).map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Returns once no pod of these process types of the release is left.
pub(super) async fn await_gone(
    site: &Site,
    placement: &Placement,
    processes: &[&str],
    patience: Duration,
) -> PortResult<()> {
    if processes.is_empty() {
        return Ok(());
    }
    let selector = site.names.selector_of(placement);
    let (pods, _) = site.cluster.list(Kind::Pod, &selector).await?;
    let deadline = Instant::now() + grace(&pods) + LAG + patience;
    let mut last = Vec::new();
    let gone = follow::until(&site.cluster, Kind::Pod, selector, deadline, |pods| {
        let meant = |pod: &&Object| pod.annotation(PROCESS).is_some_and(|one| processes.contains(&one));
        last = pods.values().filter(meant).cloned().collect();
        last.is_empty().then_some(())
    });
    gone.await?.ok_or_else(|| still_there(placement, &last))
}

fn grace(pods: &[Object]) -> Duration {
    let longest = pods
        .iter()
        .filter_map(|pod| pod.number("/spec/terminationGracePeriodSeconds"))
        .filter_map(|seconds| u64::try_from(seconds).ok())
        .max();
    Duration::from_secs(longest.unwrap_or(USUAL_GRACE))
}

fn still_there(placement: &Placement, pods: &[Object]) -> PortError {
    let names: Vec<&str> = pods.iter().map(Object::name).collect();
    let node = pods.iter().find_map(|pod| pod.text("/spec/nodeName")).unwrap_or("none");
    PortError::new(
        PortErrorKind::TimedOut,
        format!(
            "pods of {} in {} do not end: {} (node {node}); is the node lost?",
            placement.version,
            placement.environment,
            names.join(", ")
        ),
    )
    .detail(format!("if it is: kubectl delete pod --force {}", names.join(" ")))
}

/// Variables and secrets that nothing refers to any more. What was asked for under a newer fence, or is asked for in this
/// moment, stays.
async fn clean(site: &Site, fence: i64) -> PortResult<()> {
    let selector = format!("{},{CONTENTS}=true", site.names.selector());
    let mut unused = Vec::new();
    for kind in [Kind::ConfigMap, Kind::Secret] {
        let (items, _) = site.cluster.list(kind, &selector).await?;
        unused.extend(items.into_iter().map(|item| (kind, item)));
    }
    if unused.is_empty() {
        return Ok(());
    }
    let mut users: Vec<Object> = deployed(site).await?.into_iter().map(|one| one.object).collect();
    users.extend(site.cluster.list(Kind::Pod, &site.names.selector()).await?.0);
    for (kind, item) in unused {
        let older =
            item.annotation(FENCE).and_then(|text| text.parse::<i64>().ok()).is_none_or(|one| one <= fence);
        if older && !users.iter().any(|user| refers(&user.0["spec"], kind == Kind::Secret, item.name())) {
            site.cluster.delete_unchanged(kind, &item).await?;
        }
    }
    Ok(())
}
