//! Moving the traffic: by the selectors of the Services, or by the weights of an HTTPRoute.

use std::collections::BTreeMap;

use orchestrate_core::name::Fence;
use orchestrate_core::ports::{Placement, PortError, PortErrorKind, PortResult, Switch};
use orchestrate_core::time::Timestamp;
use orchestrate_core::traffic::{Shift, TrafficRules};

use super::route;
use super::service::{Service, key};
use super::share::{self, Side};
use super::traffic::{Traffic, ready, who};
use crate::kubernetes::anchor::{self, Anchor, Known};
use crate::kubernetes::api::Kind;
use crate::kubernetes::fault::Fault;
use crate::kubernetes::names::Track;
use crate::kubernetes::provider::deployed;
use crate::kubernetes::site::Site;
use crate::kubernetes::stop::forget_previous;

/// How often it is read anew where somebody else writes.
const ROUNDS: u32 = 10;

pub(super) async fn switch(site: &Site, request: &Switch) -> PortResult<()> {
    let (placement, fence) = (&request.placement, request.fence);
    let anchor = anchor::claim(site, fence).await?;
    let known = known(&anchor, placement)?.clone();
    enough(site, placement, &request.needs).await?;
    let traffic = Traffic::look(site).await?;
    // Nothing is asked to be ready: what is recorded is put back, and what a person did is not undone by that.
    if let Some(front) = traffic.fronts.values().find(|front| front.is_changed(&site.names))
        && request.needs.is_empty()
    {
        let error = PortError::failed(format!(
            "the selector of the Service {} was changed by hand, and is left as it is",
            front.name()
        ));
        return Err(match front.put_back(site) {
            Some(command) => error.detail(format!("put it back: {command}")),
            None => error,
        });
    }
    anchor::write(site, fence, |slots| {
        if let Some(known) = slots.get_mut(&placement.slot) {
            (known.used, known.left_at) = (true, None);
        }
        Ok(())
    })
    .await?;
    for (process, front) in &traffic.fronts {
        match known.backends.get(process) {
            Some(told) => {
                let (track, port) = (known.track(placement.slot), told.listen.port());
                point(site, front, Some(track), Some(placement), Some(port), fence).await?;
            }
            // What the release has not is not to be had of the one before.
            None => point(site, front, None, None, None, fence).await?,
        }
    }
    if let Some(name) = &site.settings.route
        && site.cluster.get(Kind::HttpRoute, name).await?.is_some()
    {
        let processes: Vec<String> = traffic.fronts.keys().cloned().collect();
        route::share(site, name, &processes, None).await?;
    }
    if known.rolls {
        keep_place(site, placement).await?;
    }
    note_who_left(site, fence, &[placement]).await
}

/// From now on a stop of the release is one, and does not give its place back to the release before.
async fn keep_place(site: &Site, placement: &Placement) -> PortResult<()> {
    for one in deployed(site).await?.iter().filter(|one| one.placement == *placement) {
        if one.previous.is_some() {
            forget_previous(site, one).await?;
        }
    }
    Ok(())
}

/// From now on a drain of everybody else is counted.
async fn note_who_left(site: &Site, fence: Fence, stay: &[&Placement]) -> PortResult<()> {
    let now = Timestamp::system_now();
    anchor::write(site, fence, |slots| {
        let left = slots.iter_mut().filter(|(slot, _)| !stay.iter().any(|stays| stays.slot == **slot));
        for (_, known) in left.filter(|(_, known)| known.used && known.left_at.is_none()) {
            known.left_at = Some(now);
        }
        Ok(())
    })
    .await?;
    Ok(())
}

/// Has the Service select this track, or nobody.
pub(super) async fn point(
    site: &Site,
    front: &Service,
    track: Option<Track>,
    placement: Option<&Placement>,
    port: Option<u16>,
    fence: Fence,
) -> PortResult<()> {
    write(site, front, fence, |front| front.pointed(&site.names, track, placement.map(key), port)).await
}

/// Only on top of what was read; where somebody else was faster, the fence is looked at again before another try.
pub(super) async fn write(
    site: &Site,
    front: &Service,
    fence: Fence,
    change: impl Fn(&Service) -> Service,
) -> PortResult<()> {
    let mut front = front.clone();
    for _ in 0..ROUNDS {
        let changed = change(&front);
        if changed.object == front.object {
            return Ok(());
        }
        match site.cluster.replace(Kind::Service, &changed.object).await {
            Ok(_) => return Ok(()),
            Err(Fault::Refused(refusal)) if refusal.is_conflict() => {}
            Err(fault) => return Err(fault.into()),
        }
        anchor::claim(site, fence).await?;
        let there = site.cluster.get(Kind::Service, front.name()).await?;
        front.object = there.ok_or_else(|| {
            PortError::new(PortErrorKind::Missing, format!("the Service {} was deleted", front.name()))
        })?;
    }
    Err(PortError::unreachable(format!(
        "the Service {} is written by somebody else all the time",
        front.name()
    )))
}

pub(super) async fn shift(site: &Site, request: &Shift) -> PortResult<()> {
    let (placement, rest, fence) = (&request.placement, &request.rest, request.fence);
    let anchor = anchor::claim(site, fence).await?;
    let (target, other) = (known(&anchor, placement)?.clone(), known(&anchor, rest)?.clone());
    if request.weight > 0 {
        enough(site, placement, &request.needs).await?;
    }
    if request.rules != TrafficRules::default() {
        return Err(PortError::failed("a cluster cannot keep users with one release of a canary")
            .detail("take `sticky` and `force_header` out of the strategy"));
    }
    let traffic = Traffic::look(site).await?;
    let processes: Vec<String> = target.backends.keys().cloned().collect();
    let leads_to = |placement: &Placement, known: &Known| {
        processes.iter().all(|process| traffic.points_at(site, process, placement.slot, known))
    };
    let (at_rest, at_target) = (leads_to(rest, &other), leads_to(placement, &target));
    // With pods an operation may have ended between one Service and the next.
    let is_between = processes.iter().all(|process| {
        traffic.points_at(site, process, rest.slot, &other)
            || traffic.points_at(site, process, placement.slot, &target)
            || traffic
                .fronts
                .get(process)
                .is_some_and(|front| share::is_between(front, site, placement, rest))
    });
    let is_theirs = at_rest || at_target || (is_between && site.settings.route.is_none());
    if !is_theirs {
        let process = processes.first().map(String::as_str).unwrap_or_default();
        return Err(PortError::failed(format!(
            "neither {} nor {} has the traffic, but {}",
            placement.version,
            rest.version,
            who(site, &traffic, &anchor, process)
        )));
    }
    let staying: Vec<&Placement> = match request.weight {
        0 => vec![rest],
        100.. => vec![placement],
        _ => vec![placement, rest],
    };
    anchor::write(site, fence, |slots| {
        for stays in &staying {
            if let Some(known) = slots.get_mut(&stays.slot) {
                (known.used, known.left_at) = (true, None);
            }
        }
        Ok(())
    })
    .await?;
    match &site.settings.route {
        Some(name) => {
            // The selectors stay where they are; the other one of the two gets its share beside them.
            let weight = request.weight.min(100);
            let (beside, weight) = match at_rest {
                true => (target.track(placement.slot), weight),
                false => (other.track(rest.slot), 100 - weight),
            };
            route::share(site, name, &processes, Some((beside, weight)).filter(|_| weight > 0)).await?;
        }
        None => {
            let sides = [(placement, &target), (rest, &other)];
            let [one, two] = sides.map(|(placement, known)| Side { placement, known });
            share::by_pods(site, request, &traffic, one, two).await?;
        }
    }
    note_who_left(site, fence, &staying).await
}

fn known<'a>(anchor: &'a Anchor, placement: &Placement) -> PortResult<&'a Known> {
    anchor.placed(placement).ok_or_else(|| {
        let (version, slot) = (&placement.version, placement.slot);
        PortError::new(PortErrorKind::Missing, format!("{version} is not known in the {slot} slot"))
    })
}

async fn enough(site: &Site, placement: &Placement, needs: &BTreeMap<String, u32>) -> PortResult<()> {
    if needs.is_empty() {
        return Ok(());
    }
    let (pods, _) = site.cluster.list(Kind::Pod, &site.names.selector_of(placement)).await?;
    for (process, needed) in needs {
        let ready = ready(site, &pods, placement.slot, placement.release, process).len();
        if ready < *needed as usize {
            return Err(PortError::new(
                PortErrorKind::NotReady,
                format!("only {ready} of {needed} pods of {process} of {} are ready", placement.version),
            ));
        }
    }
    Ok(())
}
