//! The world as a provider.

use std::net::SocketAddr;

use async_trait::async_trait;

use super::invariants::{Touch, assert_journaled, assert_may_stop};
use super::{Call, Kind, Running, State, World, admit};
use crate::name::EnvironmentName;
use crate::ports::{
    AwaitHealthy, Counts, Ended, Fetch, ForgetHooks, HookRequest, Instance, InstanceState, Memory, Placement,
    PortError, PortErrorKind, PortResult, Processes, Provider, StartRequest, StopRequest,
};
use crate::release::{Digest, Release};
use crate::time::Timestamp;

impl Call {
    pub(super) fn at(kind: Kind, placement: &Placement) -> Self {
        Self { kind, slot: Some(placement.slot), version: Some(placement.version.clone()) }
    }

    pub(super) const fn plain(kind: Kind) -> Self {
        Self { kind, slot: None, version: None }
    }
}

#[async_trait]
impl Provider for World {
    async fn fetch(&self, request: &Fetch) -> PortResult<()> {
        self.call(Call::plain(Kind::Fetch), |state| {
            let artifact = &request.artifact;
            if state.missing.contains(artifact) {
                return Err(PortError::new(
                    PortErrorKind::Missing,
                    format!("the artifact {} is not here", artifact.short()),
                ));
            }
            Ok(())
        })
        .await
    }

    async fn start(&self, request: &StartRequest) -> PortResult<Vec<Instance>> {
        let release = self.release(request.placement.release).await?;
        assert_journaled(self, &request.placement, request.fence, Touch::Standing).await;
        self.call(Call::at(Kind::Start, &request.placement), |state| start(state, request, &release)).await
    }

    async fn await_healthy(&self, request: &AwaitHealthy) -> PortResult<Vec<Instance>> {
        let release = self.release(request.placement.release).await?;
        self.call(Call::at(Kind::AwaitHealthy, &request.placement), |state| {
            await_healthy(state, request, &release)
        })
        .await
    }

    async fn stop(&self, request: &StopRequest) -> PortResult<()> {
        let planned = assert_journaled(self, &request.placement, request.fence, Touch::Leaving).await;
        let release = self.release(request.placement.release).await?;
        let kept: Vec<String> = match &request.counts {
            Some(counts) => {
                let kept = wanted(&release, request.processes, Some(counts), request.placement.slot);
                kept.into_iter().map(|(id, ..)| id).collect()
            }
            None => Vec::new(),
        };
        self.call(Call::at(Kind::Stop, &request.placement), |state| {
            admit(&mut state.site(&request.placement.environment).provider_fence, request.fence)?;
            if request.processes.are_routed() && request.counts.is_none() {
                assert_may_stop(state, &request.placement, planned);
            }
            let site = state.site(&request.placement.environment);
            site.instances.retain(|id, running| {
                running.placement != request.placement
                    || !request.processes.includes(running.address)
                    || kept.contains(id)
            });
            Ok(())
        })
        .await
    }

    async fn hook(&self, request: &HookRequest) -> PortResult<Ended> {
        self.call(Call::at(Kind::Hook, &request.placement), |state| super::hooks::run(state, request)).await
    }

    async fn forget_hooks(&self, request: &ForgetHooks) -> PortResult<()> {
        self.call(Call::plain(Kind::ForgetHooks), |state| super::hooks::forget(state, request)).await
    }

    async fn discard(&self, artifact: &Digest) -> PortResult<bool> {
        self.call(Call::plain(Kind::Discard), |state| Ok(state.missing.insert(artifact.clone()))).await
    }

    async fn instances(&self, environment: &EnvironmentName) -> PortResult<Vec<Instance>> {
        self.call(Call::plain(Kind::Instances), |state| Ok(list(state, environment, |_| true))).await
    }

    async fn drift(&self, placement: &Placement, _: Processes) -> PortResult<Vec<String>> {
        let version = placement.version.clone();
        self.call(Call::at(Kind::Drift, placement), move |state| {
            Ok(state.drift.get(&version).cloned().unwrap_or_default())
        })
        .await
    }

    async fn memory(&self, _: &Placement) -> PortResult<Option<Memory>> {
        Ok(self.lock().memory.clone())
    }
}

fn wanted(
    release: &Release,
    request: Processes,
    counts: Option<&Counts>,
    slot: crate::slot::Slot,
) -> Vec<(String, String, bool)> {
    let most = |name: &str| counts.map_or(u32::MAX, |counts| counts.get(name).copied().unwrap_or(0));
    let types = release.contents.processes.iter().filter(|(_, process)| request.includes(process.listen));
    types
        .flat_map(|(name, process)| {
            (1..=process.instances.min(most(name)))
                .map(move |n| (format!("{slot}-{name}-{n}"), name.clone(), process.listen.is_some()))
        })
        .collect()
}

fn start(state: &mut State, request: &StartRequest, release: &Release) -> PortResult<Vec<Instance>> {
    let placement = &request.placement;
    admit(&mut state.site(&placement.environment).provider_fence, request.fence)?;
    let others: Vec<Placement> = state
        .site(&placement.environment)
        .instances
        .values()
        .map(|running| running.placement.clone())
        .filter(|other| other.slot == placement.slot && other.release != placement.release)
        .collect();
    if let Some(other) = others.first().filter(|_| state.db.is_some()) {
        panic!("{} is in the way of {}: its requests get no time to end", other.version, placement.version);
    }
    let sick = state.never_healthy.contains(&placement.version);
    let mut port = state.next_port;
    let site = state.site(&placement.environment);
    site.instances.retain(|_, running| {
        running.placement.slot != placement.slot || running.placement.release == placement.release
    });
    for (id, process, routed) in wanted(release, request.processes, request.counts.as_ref(), placement.slot) {
        // What runs and is merely sick is left as it is: a start ensures that it runs.
        let there = site.instances.entry(id).or_insert_with(|| {
            port += 1;
            Running {
                placement: placement.clone(),
                process,
                address: routed.then(|| SocketAddr::from(([127, 0, 0, 1], port))),
                state: InstanceState::Ready,
                restarts: 0,
                last_exit: None,
            }
        });
        if there.state == InstanceState::BackingOff {
            there.state = InstanceState::Ready;
        }
        if sick {
            there.state = InstanceState::Starting;
        }
    }
    state.next_port = port;
    Ok(list(state, &placement.environment, |running| running.placement == *placement))
}

fn await_healthy(state: &mut State, request: &AwaitHealthy, release: &Release) -> PortResult<Vec<Instance>> {
    let AwaitHealthy { placement, processes, counts, deadline } = request;
    let site = state.site(&placement.environment);
    let ids = wanted(release, *processes, counts.as_ref(), placement.slot);
    for (id, ..) in &ids {
        match site.instances.get(id).filter(|running| running.placement == *placement) {
            None => {
                let message = format!("{id} of {} does not run", placement.version);
                return Err(PortError::new(PortErrorKind::NotReady, message));
            }
            Some(running) if running.state != InstanceState::Ready => {
                let message = format!("{id} of {} is not ready after {deadline}", placement.version);
                return Err(PortError::new(PortErrorKind::TimedOut, message).detail("address in use"));
            }
            Some(_) => {}
        }
    }
    let listed = list(state, &placement.environment, |running| running.placement == *placement);
    Ok(listed.into_iter().filter(|one| ids.iter().any(|(id, ..)| *id == one.id)).collect())
}

fn list(state: &State, environment: &EnvironmentName, meant: impl Fn(&Running) -> bool) -> Vec<Instance> {
    let Some(site) = state.sites.get(environment) else { return Vec::new() };
    site.instances
        .iter()
        .filter(|(_, running)| meant(running))
        .map(|(id, running)| Instance {
            id: id.clone(),
            placement: running.placement.clone(),
            process: running.process.clone(),
            address: running.address,
            pid: Some(1),
            state: running.state,
            restarts: running.restarts,
            started_at: Timestamp::from_millis(0),
            last_exit: running.last_exit.clone(),
        })
        .collect()
}
