//! The weights of an HTTPRoute: wherever it sends requests to a Service that users ask, another one may get a share beside it.

use std::collections::BTreeMap;

use orchestrate_core::ports::{PortError, PortErrorKind, PortResult};
use serde_json::{Value, json};

use crate::kubernetes::api::{Amended, Kind};
use crate::kubernetes::names::Track;
use crate::kubernetes::object::Object;
use crate::kubernetes::site::Site;

/// Who gets how much beside the Service that users ask: a track, and its share in percent.
pub(super) type Beside = Option<(Track, u8)>;

/// Has the route share between the process types' own Services and those of the track.
pub(super) async fn share(site: &Site, name: &str, processes: &[String], beside: Beside) -> PortResult<()> {
    let changed = site.cluster.amend(Kind::HttpRoute, name, |there| {
        let there = there.ok_or_else(|| missing(name))?;
        let mut route = there.clone();
        let mut found = false;
        for rule in route.0.pointer_mut("/spec/rules").and_then(Value::as_array_mut).into_iter().flatten() {
            for process in processes {
                found |= share_rule(site, rule, process, beside);
            }
        }
        if !found && beside.is_some() {
            return Err(leads_nowhere(site, name, processes));
        }
        Ok(if route == *there { None } else { Some(Amended::Changed(route)) })
    });
    changed.await?;
    Ok(())
}

/// True if the rule is about the process type at all.
fn share_rule(site: &Site, rule: &mut Value, process: &str, beside: Beside) -> bool {
    let front = site.names.front(process);
    let ours = tracks(site, process);
    let Some(backends) = rule.get_mut("backendRefs").and_then(Value::as_array_mut) else { return false };
    let Some(at) = backends.iter().position(|one| one["name"] == front.as_str()) else { return false };
    backends.retain(|one| !one["name"].as_str().is_some_and(|name| ours.contains_key(name)));
    let at = at.min(backends.len().saturating_sub(1));
    let at = backends.iter().position(|one| one["name"] == front.as_str()).unwrap_or(at);
    match beside {
        None => backends[at]["weight"] = json!(1),
        Some((track, weight)) => {
            let mut other = backends[at].clone();
            other["name"] = site.names.beside(track, process).into();
            other["weight"] = weight.into();
            backends[at]["weight"] = (100 - weight.min(100)).into();
            backends.insert(at + 1, other);
        }
    }
    true
}

/// The Services of single tracks, by name.
fn tracks(site: &Site, process: &str) -> BTreeMap<String, Track> {
    use orchestrate_core::slot::Slot;
    let all = [Track::Slot(Slot::Blue), Track::Slot(Slot::Green), Track::Rolling];
    all.into_iter().map(|track| (site.names.beside(track, process), track)).collect()
}

/// What the route says now, of the first of its rules that is about the process type.
pub(super) async fn shared(site: &Site, name: &str, process: &str) -> PortResult<Beside> {
    let Some(route) = site.cluster.get(Kind::HttpRoute, name).await? else { return Ok(None) };
    let front = site.names.front(process);
    let ours = tracks(site, process);
    let about = |rule: &Object| rule.items("/backendRefs").any(|one| one.text("/name") == Some(&front));
    let Some(rule) = route.items("/spec/rules").find(about) else { return Ok(None) };
    let weight = |one: &Object| u64::from(one.0.get("weight").map_or(1, |_| one.count("/weight")));
    let (mut front_weight, mut beside) = (0, None);
    for one in rule.items("/backendRefs") {
        match one.text("/name") {
            Some(name) if name == front => front_weight = weight(&one),
            Some(name) => beside = ours.get(name).map(|track| (*track, weight(&one))).or(beside),
            None => {}
        }
    }
    Ok(beside.map(|(track, weight)| {
        let percent = (weight * 100).checked_div(weight + front_weight).unwrap_or(0);
        (track, u8::try_from(percent).unwrap_or(100))
    }))
}

fn missing(name: &str) -> PortError {
    PortError::new(
        PortErrorKind::Missing,
        format!("the HTTPRoute {name} is not there, or the cluster has no Gateway API"),
    )
    .detail(format!(
        "look at it: kubectl get httproute {name}; without the Gateway API leave `route` out, then shares go by numbers of pods"
    ))
}

fn leads_nowhere(site: &Site, name: &str, processes: &[String]) -> PortError {
    let fronts: Vec<String> = processes.iter().map(|process| site.names.front(process)).collect();
    PortError::failed(format!("no rule of the HTTPRoute {name} sends requests to {}", fronts.join(", ")))
        .detail("name that Service in one of its backendRefs")
}
