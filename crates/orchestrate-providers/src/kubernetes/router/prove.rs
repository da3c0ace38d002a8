//! A proof: everybody behind the Service is of the release, and what is asked through it answers as it should.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use orchestrate_core::ports::{PortError, PortErrorKind, PortResult, Proof, Prove};

use super::endpoints;
use super::service::{self, Role};
use super::traffic::{Traffic, who};
use crate::kubernetes::anchor;
use crate::kubernetes::api::Kind;
use crate::kubernetes::live;
use crate::kubernetes::site::Site;

/// How long the cluster may take to have everybody behind a Service after its selector was changed.
const CONVERGED_WITHIN: Duration = Duration::from_secs(15);
/// Requests for each pod: the API server picks one by chance.
const EACH: usize = 2;
const MOST: usize = 10;
/// What a person reads of an answer.
const SHOWN: usize = 100;

pub(super) async fn prove(site: &Site, request: &Prove) -> PortResult<Proof> {
    let placement = &request.placement;
    let anchor = anchor::look(site).await?;
    let missing = || {
        let (version, slot) = (&placement.version, placement.slot);
        PortError::new(PortErrorKind::Missing, format!("{version} is not known in the {slot} slot"))
    };
    let known = anchor.placed(placement).ok_or_else(missing)?;
    let listens = known.backends.iter().find(|(_, told)| told.listen == request.listen);
    let (process, _) = listens.ok_or_else(missing)?;
    let traffic = Traffic::look(site).await?;
    let points = traffic.points_at(site, process, placement.slot, known);
    let beside = request.directed && !points;
    if !points && !beside {
        let live = who(site, &traffic, &anchor, process);
        return Err(PortError::failed(format!("{live} has the traffic, not {}", placement.version)));
    }
    let alone = site.names.beside(known.track(placement.slot), process);
    let has_way_in = service::all(site, Role::Beside).await?.contains_key(&alone);
    let service = match (beside, has_way_in) {
        (false, _) => site.names.front(process),
        (true, true) => alone,
        // Staged without a share: there is nobody to ask but what is live.
        (true, false) => return staged(site, request).await,
    };
    let count = converged(site, &service, request).await?;
    let mut slowest = 0;
    let mut status = request.expected_status;
    for _ in 0..(count * EACH).clamp(1, MOST) {
        let (took, got) = ask(site, &service, request).await?;
        (slowest, status) = (took.max(slowest), got);
    }
    Ok(Proof { release: placement.release, version: placement.version.clone(), status, micros: slowest })
}

/// Returns how many pods are behind the Service, once each is one of the release.
async fn converged(site: &Site, service: &str, request: &Prove) -> PortResult<usize> {
    let placement = &request.placement;
    let deadline = tokio::time::Instant::now() + CONVERGED_WITHIN.max(request.timeout.duration());
    let mut seen = Vec::new();
    loop {
        // Pods are read after the endpoints that name them, so none of them is unknown for being new.
        let before = seen.clone();
        let found = endpoints::until(site, service, deadline, |pods| {
            seen = pods.to_vec();
            (!pods.is_empty() && pods != before).then(|| pods.to_vec())
        });
        let Some(behind) = found.await? else {
            let message = match seen.is_empty() {
                true => format!("nobody is behind the Service {service}"),
                false => format!(
                    "not everybody behind the Service {service} is {}: {}",
                    placement.version,
                    seen.join(", ")
                ),
            };
            return Err(PortError::new(PortErrorKind::TimedOut, message));
        };
        let (pods, _) = site.cluster.list(Kind::Pod, &site.names.selector_of(placement)).await?;
        let ours: BTreeSet<&str> = pods.iter().map(|pod| pod.name()).collect();
        if behind.iter().all(|name| ours.contains(name.as_str())) {
            return Ok(behind.len());
        }
    }
}

/// Without a Service of its own there is no way in; that its pods are ready is what the cluster can say.
async fn staged(site: &Site, request: &Prove) -> PortResult<Proof> {
    let placement = &request.placement;
    let (pods, _) = site.cluster.list(Kind::Pod, &site.names.selector_of(placement)).await?;
    if !pods.iter().any(live::is_ready) {
        return Err(PortError::failed(format!("no pod of {} is ready", placement.version)));
    }
    let (release, version) = (placement.release, placement.version.clone());
    Ok(Proof { release, version, status: request.expected_status, micros: 0 })
}

async fn ask(site: &Site, service: &str, request: &Prove) -> PortResult<(u64, u16)> {
    let began = Instant::now();
    let asked = site.cluster.ask(service, request.listen.port(), &request.path, request.timeout.duration());
    let version = &request.placement.version;
    let (status, body) = asked.await.map_err(|fault| {
        let error = PortError::from(fault);
        let kind = match error.kind {
            PortErrorKind::Unreachable => PortErrorKind::TimedOut,
            kind => kind,
        };
        PortError { kind, ..error }
    })?;
    let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let shown = || body.lines().next().unwrap_or_default().chars().take(SHOWN).collect::<String>();
    if status != request.expected_status {
        return Err(PortError::failed(format!(
            "{version} answered {} with status {status} instead of {}: {}",
            request.path,
            request.expected_status,
            shown()
        )));
    }
    match &request.contains {
        Some(text) if !body.contains(text.as_str()) => Err(PortError::failed(format!(
            "{} answered `{}`, in which `{text}` is not",
            request.path,
            shown()
        ))),
        Some(_) | None => Ok((took, status)),
    }
}
