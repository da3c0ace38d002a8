//! The world as a router.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::invariants::{Touch, assert_journaled, assert_needs};
use super::{Call, Kind, Routed, Site, State, World, admit};
use crate::name::EnvironmentName;
use crate::ports::{
    BackendView, Close, Deregister, Drain, Drained, InstanceState, Placement, PortError, PortErrorKind,
    PortResult, Proof, Prove, Register, ReleaseCounts, Router, RouterView, SlotView, Switch,
};
use crate::traffic::Shift;

#[async_trait]
impl Router for World {
    async fn register(&self, request: &Register) -> PortResult<()> {
        let planned = assert_journaled(self, &request.placement, request.fence, Touch::Standing).await;
        self.call(Call::at(Kind::Register, &request.placement), |state| register(state, request, planned))
            .await
    }

    async fn switch(&self, request: &Switch) -> PortResult<()> {
        let release = self.release(request.placement.release).await?;
        let planned = assert_journaled(self, &request.placement, request.fence, Touch::Standing).await;
        assert_needs(request, &release, planned);
        self.call(Call::at(Kind::Switch, &request.placement), |state| switch(state, request)).await
    }

    async fn shift(&self, request: &Shift) -> PortResult<()> {
        self.release(request.placement.release).await?;
        self.release(request.rest.release).await?;
        assert_journaled(self, &request.placement, request.fence, Touch::Standing).await;
        self.call(Call::at(Kind::Shift, &request.placement), |state| shift(state, request)).await
    }

    async fn persisted(&self) -> PortResult<()> {
        self.call(Call::plain(Kind::Persisted), |_| Ok(())).await
    }

    async fn observe(&self, environment: &EnvironmentName) -> PortResult<RouterView> {
        self.call(Call::plain(Kind::Observe), |state| Ok(view(state.site(environment)))).await
    }

    async fn counts(&self, environment: &EnvironmentName) -> PortResult<Vec<ReleaseCounts>> {
        self.counted(environment)
    }

    async fn prove(&self, request: &Prove) -> PortResult<Proof> {
        self.call(Call::at(Kind::Prove, &request.placement), |state| prove(state, request)).await
    }

    async fn drain(&self, request: &Drain) -> PortResult<Drained> {
        assert_journaled(self, &request.placement, request.fence, Touch::Leaving).await;
        self.call(Call::at(Kind::Drain, &request.placement), |state| {
            let rough = state.rough;
            let site = state.site(&request.placement.environment);
            admit(&mut site.router_fence, request.fence)?;
            if rough && site.has_traffic(&request.placement) {
                return Err(PortError::failed("it has traffic; switch away from it first"));
            }
            assert!(
                !site.has_traffic(&request.placement),
                "{} is drained while it has the traffic",
                request.placement.version
            );
            Ok(Drained { cut: 0 })
        })
        .await
    }

    async fn close(&self, request: &Close) -> PortResult<()> {
        let call = Call { kind: Kind::Close, slot: None, version: None };
        self.call(call, |state| {
            let site = state.site(&request.environment);
            admit(&mut site.router_fence, request.fence)?;
            site.routed.clear();
            Ok(())
        })
        .await
    }

    async fn deregister(&self, request: &Deregister) -> PortResult<()> {
        let call = Call { kind: Kind::Deregister, slot: Some(request.slot), version: None };
        self.call(call, |state| {
            let site = state.site(&request.environment);
            admit(&mut site.router_fence, request.fence)?;
            let there =
                site.routed.get(&request.slot).filter(|there| there.placement.release == request.release);
            match there {
                Some(there) if there.weight > 0 => Err(PortError::failed(format!(
                    "slot {} has {} % of the traffic; switch away from it first",
                    request.slot, there.weight
                ))),
                Some(_) => {
                    site.routed.remove(&request.slot);
                    Ok(())
                }
                None => Ok(()),
            }
        })
        .await
    }
}

fn register(state: &mut State, request: &Register, planned: bool) -> PortResult<()> {
    let placement = &request.placement;
    let rough = state.rough;
    let site = state.site(&placement.environment);
    admit(&mut site.router_fence, request.fence)?;
    let there = site.routed.get(&placement.slot);
    if let Some(there) = there.filter(|there| there.placement.release != placement.release)
        && there.weight > 0
    {
        return Err(PortError::failed(format!(
            "slot {} serves {} with {} % of the traffic; switch away from it first",
            placement.slot, there.placement.version, there.weight
        )));
    }
    let same = there.filter(|there| there.placement == *placement);
    let (weight, served) = same.map_or((0, false), |same| (same.weight, same.served));
    let mut backends = BTreeMap::new();
    for backend in &request.backends {
        for id in backend.instances.keys() {
            let ready = site.instances.get(id).is_some_and(|running| {
                running.placement == *placement && (running.state == InstanceState::Ready || !planned)
            });
            assert!(rough || ready, "{id} of {} was registered and is not ready", placement.version);
        }
        let ids = backend.instances.keys().cloned().collect();
        backends.insert(backend.process.clone(), (backend.listen, ids));
    }
    let routed = Routed { placement: placement.clone(), weight, backends, served };
    site.routed.insert(placement.slot, routed);
    Ok(())
}

fn switch(state: &mut State, request: &Switch) -> PortResult<()> {
    let placement = &request.placement;
    let site = state.site(&placement.environment);
    admit(&mut site.router_fence, request.fence)?;
    let target = site.routed.get(&placement.slot).filter(|there| there.placement == *placement);
    let target = target.ok_or_else(|| {
        let message = format!("{} is not registered in {}", placement.version, placement.slot);
        PortError::new(PortErrorKind::Missing, message)
    })?;
    enough(site, target, &request.needs)?;
    for (slot, routed) in &mut site.routed {
        routed.weight = if *slot == placement.slot { 100 } else { 0 };
        routed.served |= *slot == placement.slot;
    }
    Ok(())
}

fn enough(site: &Site, target: &Routed, needs: &BTreeMap<String, u32>) -> PortResult<()> {
    for (process, needed) in needs {
        let ready = site.healthy(target, process);
        if ready < *needed {
            let version = &target.placement.version;
            let message = format!("{version} has {ready} of {needed} instances of `{process}` ready");
            return Err(PortError::new(PortErrorKind::NotReady, message));
        }
    }
    Ok(())
}

fn shift(state: &mut State, request: &Shift) -> PortResult<()> {
    let Shift { placement, weight, rest, needs, .. } = request;
    let site = state.site(&placement.environment);
    admit(&mut site.router_fence, request.fence)?;
    for wanted in [placement, rest] {
        if site.routed.get(&wanted.slot).is_none_or(|there| there.placement != *wanted) {
            let message = format!("{} is not registered in {}", wanted.version, wanted.slot);
            return Err(PortError::new(PortErrorKind::Missing, message));
        }
    }
    if *weight > 0 {
        enough(site, &site.routed[&placement.slot], needs)?;
    }
    for (slot, routed) in &mut site.routed {
        routed.weight = if *slot == placement.slot { *weight } else { 100 - *weight };
        routed.served |= routed.weight > 0;
    }
    Ok(())
}

fn prove(state: &mut State, request: &Prove) -> PortResult<Proof> {
    let wrong = state.wrong_answer.clone();
    let site = state.site(&request.placement.environment);
    let asked = |routed: &&Routed| {
        if request.directed { routed.placement == request.placement } else { routed.weight > 0 }
    };
    let live = site.routed.values().find(asked);
    let live = live.ok_or_else(|| PortError::failed("nobody answers at the live address"))?;
    let Placement { release, version, .. } = live.placement.clone();
    let process = live.backends.iter().find(|(_, (listen, _))| *listen == request.listen);
    let (process, _) = process.ok_or_else(|| PortError::failed(format!("{} is closed", request.listen)))?;
    if site.healthy(live, process) == 0 || wrong.contains(&version) {
        return Err(PortError::failed(format!("{version} answered with status 500")));
    }
    if live.placement != request.placement {
        return Err(PortError::failed(format!("answered by {version}")));
    }
    Ok(Proof { release, version, status: request.expected_status, micros: 100 })
}

fn view(site: &Site) -> RouterView {
    let slots = site.routed.values().map(|routed| SlotView {
        slot: routed.placement.slot,
        release: routed.placement.release,
        version: routed.placement.version.clone(),
        weight: routed.weight,
        in_flight: 0,
        backends: routed
            .backends
            .iter()
            .map(|(process, (listen, ids))| BackendView {
                process: process.clone(),
                listen: *listen,
                instances: u32::try_from(ids.len()).unwrap_or(u32::MAX),
                healthy: site.healthy(routed, process),
                addresses: Vec::new(),
            })
            .collect(),
    });
    RouterView { fence: site.router_fence, slots: slots.collect() }
}
