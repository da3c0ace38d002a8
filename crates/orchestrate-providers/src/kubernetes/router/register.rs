//! Making a release known, and forgetting it.

use std::collections::{BTreeMap, BTreeSet};

use orchestrate_core::ports::{Close, Deregister, PortError, PortResult, Register};

use super::route;
use super::service::{self, Role};
use super::traffic::Traffic;
use crate::kubernetes::anchor::{self, Known, Slots, Told};
use crate::kubernetes::api::Kind;
use crate::kubernetes::names::Track;
use crate::kubernetes::provider::deployed;
use crate::kubernetes::site::Site;

pub(super) async fn register(site: &Site, request: &Register) -> PortResult<()> {
    let placement = &request.placement;
    let before = anchor::claim(site, request.fence).await?;
    if let Some(other) = before.slots.get(&placement.slot).filter(|known| known.release != placement.release)
        && Traffic::look(site).await?.weight(site, placement.slot, other) > 0
    {
        return Err(has_traffic(&other.version.to_string(), "replaced"));
    }
    let rolls =
        deployed(site).await?.iter().any(|one| one.placement == *placement && one.track == Track::Rolling);
    let backends: BTreeMap<String, Told> = request
        .backends
        .iter()
        .map(|backend| {
            let instances = u32::try_from(backend.instances.len()).unwrap_or(u32::MAX);
            (backend.process.clone(), Told { listen: backend.listen, instances })
        })
        .collect();
    for (process, told) in &backends {
        service::ensure_front(site, process, told.listen.port()).await?;
        if site.settings.route.is_some() {
            let track = if rolls { Track::Rolling } else { Track::Slot(placement.slot) };
            service::ensure_beside(site, track, process, told.listen.port()).await?;
        }
    }
    anchor::write(site, request.fence, |slots| {
        let same = slots.get(&placement.slot).filter(|known| known.release == placement.release);
        let (used, left_at) = same.map_or((false, None), |known| (known.used, known.left_at));
        let known = Known {
            release: placement.release,
            version: placement.version.clone(),
            rolls,
            used,
            left_at,
            backends: backends.clone(),
        };
        slots.insert(placement.slot, known);
        Ok(())
    })
    .await?;
    Ok(())
}

pub(super) async fn deregister(site: &Site, request: &Deregister) -> PortResult<()> {
    let before = anchor::claim(site, request.fence).await?;
    let known = before.slots.get(&request.slot).filter(|known| known.release == request.release);
    let Some(known) = known else { return Ok(()) };
    if Traffic::look(site).await?.weight(site, request.slot, known) > 0 {
        return Err(has_traffic(&known.version.to_string(), "forgotten"));
    }
    let after = anchor::write(site, request.fence, |slots| {
        slots.retain(|slot, known| *slot != request.slot || known.release != request.release);
        Ok(())
    });
    remove_unused(site, &after.await?.slots).await
}

fn has_traffic(version: &str, what: &str) -> PortError {
    PortError::failed(format!("{version} has traffic, so it is not {what}"))
}

/// Services that nobody who is known is asked at any more.
async fn remove_unused(site: &Site, slots: &Slots) -> PortResult<()> {
    let processes: BTreeSet<&String> = slots.values().flat_map(|known| known.backends.keys()).collect();
    let beside: BTreeSet<String> = slots
        .iter()
        .flat_map(|(slot, known)| {
            known.backends.keys().map(|process| site.names.beside(known.track(*slot), process))
        })
        .collect();
    for (process, front) in service::all(site, Role::Front).await? {
        if !processes.contains(&process) {
            site.cluster.delete(Kind::Service, &front.object).await?;
        }
    }
    for (name, service) in service::all(site, Role::Beside).await? {
        if !beside.contains(&name) {
            site.cluster.delete(Kind::Service, &service.object).await?;
        }
    }
    Ok(())
}

/// The fence is kept: who was here before must not come back.
pub(super) async fn close(site: &Site, request: &Close) -> PortResult<()> {
    anchor::claim(site, request.fence).await?;
    let fronts = service::all(site, Role::Front).await?;
    if let Some(name) = &site.settings.route
        && site.cluster.get(Kind::HttpRoute, name).await?.is_some()
    {
        let processes: Vec<String> = fronts.keys().cloned().collect();
        route::share(site, name, &processes, None).await?;
    }
    anchor::write(site, request.fence, |slots| {
        slots.clear();
        Ok(())
    })
    .await?;
    remove_unused(site, &Slots::new()).await
}
