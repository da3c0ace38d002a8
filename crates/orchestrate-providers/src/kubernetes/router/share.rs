//! Two releases share the traffic by numbers of pods: one Service selects whoever is let in of both, and each pod is let in or
//! out by a label of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use orchestrate_core::name::Fence;
use orchestrate_core::ports::{Placement, PortError, PortErrorKind, PortResult};
use orchestrate_core::traffic::Shift;
use serde_json::json;
use tokio::time::Instant;

use super::endpoints;
use super::mix::Mix;
use super::service::{self, Service, Shares, key};
use super::switch::{point, write};
use super::traffic::{Traffic, ready};
use crate::kubernetes::anchor::Known;
use crate::kubernetes::api::Kind;
use crate::kubernetes::fault::Fault;
use crate::kubernetes::live;
use crate::kubernetes::names::{IN, OUT, SHARE};
use crate::kubernetes::object::Object;
use crate::kubernetes::provider::deployed;
use crate::kubernetes::site::Site;

/// How long the cluster may take to have a pod behind a Service that it is let in to.
const LET_IN_WITHIN: Duration = Duration::from_secs(15);

/// One of the two that share.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub placement: &'a Placement,
    pub known: &'a Known,
}

/// Whether the two share the requests of the Service already.
pub(super) fn is_between(front: &Service, site: &Site, target: &Placement, rest: &Placement) -> bool {
    front.shares(&site.names).is_some_and(|shares| {
        let both = [key(target), key(rest)];
        both.contains(&shares.target) && both.contains(&shares.rest)
    })
}

pub(super) async fn by_pods(
    site: &Site,
    request: &Shift,
    traffic: &Traffic,
    target: Side<'_>,
    rest: Side<'_>,
) -> PortResult<()> {
    let all_to = match request.weight {
        0 => Some(rest),
        1..100 => None,
        100.. => Some(target),
    };
    for (process, front) in &traffic.fronts {
        let Some(told) = target.known.backends.get(process) else { continue };
        match all_to {
            Some(side) => {
                let (track, port) = (side.known.track(side.placement.slot), told.listen.port());
                point(site, front, Some(track), Some(side.placement), Some(port), request.fence).await?;
            }
            None => {
                let track = target.known.track(target.placement.slot);
                service::ensure_beside(site, track, process, told.listen.port()).await?;
                let asked = request.needs.get(process).copied().unwrap_or(told.instances);
                let before = rest.known.backends.get(process).map_or(0, |told| told.instances);
                share(site, front, request, [target, rest], asked.max(before) as usize).await?;
            }
        }
    }
    Ok(())
}

/// Who is let in comes before who is let out, so that there are never fewer than both have to be.
async fn share(
    site: &Site,
    front: &Service,
    request: &Shift,
    [target, rest]: [Side<'_>; 2],
    least: usize,
) -> PortResult<()> {
    let process = &front.process;
    let sides = [target, rest];
    can_be_shared(site, process, &sides).await?;
    let (pods, _) = site.cluster.list(Kind::Pod, &site.names.selector()).await?;
    let of = |side: &Side<'_>| ready(site, &pods, side.placement.slot, side.placement.release, process);
    let (of_target, of_rest) = (of(&target), of(&rest));
    let mix = Mix::nearest(request.weight, of_target.len(), of_rest.len(), least)
        .ok_or_else(|| too_few(process, &sides, [of_target.len(), of_rest.len()], least))?;
    let mut wanted: BTreeMap<&str, &str> = BTreeMap::new();
    wanted.extend(let_in(of_target, mix.target));
    wanted.extend(let_in(of_rest, mix.rest));
    // What is not ready yet is not to come in by itself later on, beyond what was asked for.
    for pod in pods.iter().filter(|pod| is_of(pod, site, process, &sides)) {
        wanted.entry(pod.name()).or_insert(OUT);
    }
    let shares = Shares {
        target: key(target.placement),
        rest: key(rest.placement),
        weight: request.weight,
        target_pods: mix.target,
        rest_pods: mix.rest,
        least,
    };
    let labelled = |label: &str| -> Vec<&Object> {
        let differs =
            |pod: &&Object| wanted.get(pod.name()) == Some(&label) && pod.label(SHARE) != Some(label);
        pods.iter().filter(differs).collect()
    };
    let is_shared = front.shares(&site.names).is_some();
    if is_shared {
        // Whoever is late is seen here, before anybody is let in or out.
        note(site, front, &shares, request.fence).await?;
    }
    mark(site, &labelled(IN), IN).await?;
    if is_shared {
        let names: Vec<&str> =
            wanted.iter().filter(|(_, label)| **label == IN).map(|(name, _)| *name).collect();
        await_behind(site, front, &names).await?;
    }
    mark(site, &labelled(OUT), OUT).await?;
    if is_shared { Ok(()) } else { note(site, front, &shares, request.fence).await }
}

async fn note(site: &Site, front: &Service, shares: &Shares, fence: Fence) -> PortResult<()> {
    write(site, front, fence, |front| front.shared(&site.names, shares)).await
}

fn is_of(pod: &Object, site: &Site, process: &str, sides: &[Side<'_>]) -> bool {
    let of_process = pod.annotation(crate::kubernetes::names::PROCESS) == Some(process);
    let placement = live::placement(pod, &site.names.environment).filter(|_| of_process);
    placement.is_some_and(|there| sides.iter().any(|side| *side.placement == there)) && live::counts(pod)
}

/// Those who are in stay in before others come; of them the oldest.
fn let_in(mut pods: Vec<&Object>, count: usize) -> impl Iterator<Item = (&str, &'static str)> {
    pods.sort_by_key(|pod| (pod.label(SHARE) != Some(IN), live::created(pod), pod.name().to_owned()));
    pods.into_iter().enumerate().map(move |(at, pod)| (pod.name(), if at < count { IN } else { OUT }))
}

async fn mark(site: &Site, pods: &[&Object], label: &str) -> PortResult<()> {
    for pod in pods {
        let patch = json!({ "metadata": { "labels": { SHARE: label } } });
        match site.cluster.merge(Kind::Pod, pod.name(), &patch).await {
            Ok(_) => {}
            // Another one takes its place, and is let in.
            Err(Fault::Refused(refusal)) if refusal.is_missing() => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    Ok(())
}

async fn await_behind(site: &Site, front: &Service, names: &[&str]) -> PortResult<()> {
    let deadline = Instant::now() + LET_IN_WITHIN;
    let there = endpoints::until(site, front.name(), deadline, |behind| {
        names.iter().all(|name| behind.iter().any(|one| one == name)).then_some(())
    });
    there.await?.ok_or_else(|| {
        let message = format!("not everybody who is let in is behind the Service {}", front.name());
        PortError::new(PortErrorKind::TimedOut, message)
    })
}

/// A pod that comes later must be let in by itself, so each release must have been started like that.
async fn can_be_shared(site: &Site, process: &str, sides: &[Side<'_>]) -> PortResult<()> {
    let all = deployed(site).await?;
    for side in sides {
        let found = all.iter().find(|one| one.placement == *side.placement && one.process == process);
        let template = found.and_then(|one| one.object.0.pointer("/spec/template/metadata/labels"));
        if template.and_then(|labels| labels.get(SHARE)).and_then(|label| label.as_str()) != Some(IN) {
            let version = &side.placement.version;
            return Err(PortError::failed(format!(
                "{version} was not started as one that can share the traffic by numbers of pods"
            ))
            .detail(
                "deploy with --strategy blue_green this time, or name a route: `kubernetes: { route: NAME }`",
            ));
        }
    }
    Ok(())
}

fn too_few(process: &str, [target, rest]: &[Side<'_>; 2], ready: [usize; 2], least: usize) -> PortError {
    PortError::new(
        PortErrorKind::NotReady,
        format!(
            "{} pods of {process} of {} and {} of {} are ready, and {least} are needed",
            ready[0], target.placement.version, ready[1], rest.placement.version
        ),
    )
}

/// What a side of a shared Service gets now, in percent: what was asked for, as long as the pods are what that came to.
pub(super) fn percent(
    site: &Site,
    shares: &Shares,
    pods: &[Object],
    process: &str,
    slot: orchestrate_core::slot::Slot,
    known: &Known,
) -> u32 {
    let own = format!("{slot}/{}", known.release.0);
    let is_target = own == shares.target;
    if !is_target && own != shares.rest {
        return 0;
    }
    let ready_of = |key: &str| {
        let of = move |pod: &&Object| {
            let there = live::placement(pod, &site.names.environment);
            there.is_some_and(|there| service::key(&there) == key)
                && pod.annotation(crate::kubernetes::names::PROCESS) == Some(process)
                && live::is_ready(pod)
        };
        let all: Vec<&Object> = pods.iter().filter(of).collect();
        (all.iter().filter(|pod| pod.label(SHARE) == Some(IN)).count(), all.len())
    };
    let ((target, of_target), (rest, of_rest)) = (ready_of(&shares.target), ready_of(&shares.rest));
    let is = Mix { target, rest };
    let of_target = match (target, rest) {
        (0, _) => 0,
        (_, 0) => 100,
        _ if Mix::nearest(shares.weight, of_target, of_rest, shares.least) == Some(is) => {
            u32::from(shares.weight)
        }
        _ => u32::from(is.percent()),
    };
    if is_target { of_target } else { 100 - of_target }
}
