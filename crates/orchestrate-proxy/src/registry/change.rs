//! The changes: register, switch, shift, drain, deregister. Each is made under one lock, and each may be repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use orchestrate_core::name::{EnvironmentName, is_plain_name};
use orchestrate_core::ports::{
    Backend, Close, Deregister, Drain, Drained, Placement, PortError, PortErrorKind, PortResult, Register,
    Switch,
};
use orchestrate_core::slot::Slot;
use orchestrate_core::traffic::Shift;

use super::{Known, Registry, State, backend};
use crate::check::Check;
use crate::data::{Command, WorkerHandle};
use crate::listeners::Target;
use crate::rules::Rules;
use crate::saved::Edition;
use crate::table::{Instance, Lane, Load, Placed, Table};

impl Registry {
    /// Returns once the registration outlives a loss of power, with the instances of the release that it leaves out.
    pub async fn register(&self, request: &Register) -> PortResult<Vec<Arc<Instance>>> {
        let leaving = self.leaving(request);
        let edition = self.register_now(request)?;
        self.saver.durable(edition).await?;
        Ok(leaving)
    }

    /// Whether the registration changes nothing about who is asked.
    pub fn is_registered(&self, request: &Register) -> bool {
        let placed = self.lock().placed(&request.placement);
        placed.is_some_and(|placed| placed.lanes.iter().map(backend).eq(request.backends.iter().cloned()))
    }

    /// The instances of the release that the registration leaves out.
    pub(super) fn leaving(&self, request: &Register) -> Vec<Arc<Instance>> {
        let placed = self.lock().placed(&request.placement);
        let stays = |one: &Arc<Instance>| {
            request.backends.iter().any(|backend| backend.instances.get(&one.id) == Some(&one.address))
        };
        let lanes = placed.iter().flat_map(|placed| placed.lanes.iter());
        lanes.flat_map(|lane| &lane.instances).filter(|one| !stays(one)).cloned().collect()
    }

    fn register_now(&self, request: &Register) -> PortResult<Edition> {
        let state = &mut *self.lock();
        let placement = &request.placement;
        let known = state.admit(&placement.environment, request.fence)?;
        if let Some(there) = known.in_slot(placement.slot)
            && there.weight > 0
            && there.placement.release != placement.release
        {
            return Err(PortError::failed(format!(
                "slot {} of {} serves {} (release {}) with {} % of the traffic; switch away from it first",
                placement.slot,
                placement.environment,
                there.placement.version,
                there.placement.release,
                there.weight
            )));
        }
        let opened = prepare_addresses(state, placement, &request.backends)?;
        state.place(placement, &request.backends, None, self.shared.threads);
        for (address, process, socket) in opened {
            self.open(state, placement, address, process, socket)?;
        }
        state.close_unused(&self.workers);
        Ok(self.save(state))
    }

    pub(super) fn open(
        &self,
        state: &mut State,
        placement: &Placement,
        address: SocketAddr,
        process: &str,
        socket: TcpListener,
    ) -> PortResult<()> {
        let Some(known) = state.known.get(&placement.environment) else { return Ok(()) };
        let target = Target { environment: Arc::clone(&known.environment), process: Arc::from(process) };
        let opened = state.listeners.open(address, socket, target, &self.workers);
        opened.map_err(|error| PortError::failed(format!("cannot listen on {address}: {error}")))
    }

    /// Gives all traffic to the slot, in one store; the writing follows behind.
    pub fn switch(&self, request: &Switch) -> PortResult<()> {
        let state = &mut *self.lock();
        let placement = &request.placement;
        let known = state.admit(&placement.environment, request.fence)?;
        enough(&*known.placed(placement)?, &request.needs)?;
        known.weigh(|slot| if slot == placement.slot { 100 } else { 0 }, None);
        self.save(state);
        Ok(())
    }

    /// Shares the traffic between two slots, in one store; the writing follows behind.
    pub fn shift(&self, request: &Shift) -> PortResult<()> {
        let rules = Rules::new(request.rules.clone())?;
        let state = &mut *self.lock();
        let Shift { placement, weight, rest, needs, .. } = request;
        let known = state.admit(&placement.environment, request.fence)?;
        if *weight > 100 || placement.slot == rest.slot {
            return Err(PortError::failed(format!(
                "{weight} % for slot {} and the rest for slot {} is no share",
                placement.slot, rest.slot
            )));
        }
        let placed = known.placed(placement)?;
        known.placed(rest)?;
        if *weight > 0 {
            enough(&placed, needs)?;
        }
        let share = |slot: Slot| match slot {
            slot if slot == placement.slot => *weight,
            slot if slot == rest.slot => 100 - *weight,
            Slot::Blue | Slot::Green => 0,
        };
        known.weigh(share, Some(rules));
        self.save(state);
        Ok(())
    }

    /// Waits until nothing is in flight to the release, and cuts what is left at the deadline. One that has traffic is
    /// refused, and so is one that gets it meanwhile, or whose environment a newer operation has come to.
    pub async fn drain(&self, request: &Drain) -> PortResult<Drained> {
        let load = {
            let state = &mut *self.lock();
            let known = state.admit(&request.placement.environment, request.fence)?;
            match known.placed(&request.placement) {
                Ok(placed) => {
                    idle(&placed, &request.placement.environment)?;
                    Arc::clone(&placed.load)
                }
                // What is not here has nothing in flight.
                Err(_) => return Ok(Drained { cut: 0 }),
            }
        };
        tokio::select! {
            biased;
            () = load.emptied() => return Ok(Drained { cut: 0 }),
            overtaken = self.overtaken(request) => return Err(overtaken),
            () = tokio::time::sleep(request.deadline.duration()) => {}
        }
        let cut = {
            let state = self.lock();
            // The lock is held over the cut, so that nobody gives the release its traffic back in between.
            state.still_drains(request)?;
            cut(&load, &self.workers)
        };
        Ok(cut_off(&load, cut).await)
    }

    /// Returns once what the drain was asked for holds no more, and says why.
    pub async fn overtaken(&self, request: &Drain) -> PortError {
        loop {
            let changed =
                self.lock().known.get(&request.placement.environment).map(|it| Arc::clone(&it.changed));
            let Some(changed) = changed else { return std::future::pending().await };
            let changed = changed.notified();
            if let Err(overtaken) = self.lock().still_drains(request) {
                return overtaken;
            }
            changed.await;
        }
    }

    /// Forgets the release; returns once that outlives a loss of power.
    pub async fn deregister(&self, request: &Deregister) -> PortResult<()> {
        let edition = self.deregister_now(request)?;
        self.saver.durable(edition).await
    }

    /// Forgets all releases of an environment and closes its addresses; its fence is kept.
    pub async fn close(&self, request: &Close) -> PortResult<()> {
        let edition = {
            let state = &mut *self.lock();
            let known = state.admit(&request.environment, request.fence)?;
            let table = known.table();
            known.environment.swap(Table::default());
            for placed in &table.placed {
                known.retire(&placed.lanes);
            }
            state.close_unused(&self.workers);
            self.save(state)
        };
        self.saver.durable(edition).await
    }

    fn deregister_now(&self, request: &Deregister) -> PortResult<Edition> {
        let state = &mut *self.lock();
        let known = state.admit(&request.environment, request.fence)?;
        if let Some(placed) = known.in_slot(request.slot)
            && placed.placement.release == request.release
        {
            idle(&placed, &request.environment)?;
            let table = known.table();
            let kept = table.placed.iter().filter(|one| one.placement.slot != request.slot).cloned();
            known.environment.swap(Table { placed: kept.collect(), rules: None });
            known.retire(&placed.lanes);
            state.close_unused(&self.workers);
        }
        Ok(self.save(state))
    }
}

/// Has what is in flight cut; how much that is.
pub(super) fn cut(load: &Arc<Load>, workers: &[WorkerHandle]) -> u64 {
    let cut = load.in_flight.load(Ordering::SeqCst);
    load.cuts.fetch_add(1, Ordering::SeqCst);
    workers.iter().for_each(|worker| worker.tell(Command::Cut(Arc::clone(load))));
    cut
}

/// Waits a little for the end of what was cut.
pub(super) async fn cut_off(load: &Load, cut: u64) -> Drained {
    // A release that gets traffic again is never empty for long; the cut was made, and that is what was asked.
    let _ = tokio::time::timeout(Duration::from_secs(1), load.emptied()).await;
    Drained { cut }
}

/// Looks whether the release may have its addresses, and makes sockets for those that are not open yet.
fn prepare_addresses<'a>(
    state: &mut State,
    placement: &Placement,
    backends: &'a [Backend],
) -> PortResult<Vec<(SocketAddr, &'a str, TcpListener)>> {
    let mut seen = BTreeSet::new();
    for backend in backends {
        let name = &backend.process;
        if !is_plain_name(name) {
            return Err(PortError::failed(format!("{name:?} is not the name of a process type")));
        }
        if !seen.insert(backend.listen) {
            return Err(PortError::failed(format!("two process types want to listen on {}", backend.listen)));
        }
        if let Some(owner) = state.listeners.owner(backend.listen)
            && (owner.environment.name != placement.environment || *owner.process != **name)
        {
            return Err(PortError::failed(format!(
                "{} belongs to process type `{}` of {}; give `{name}` of {} another address",
                backend.listen, owner.process, owner.environment.name, placement.environment
            )));
        }
    }
    let closed = backends.iter().filter(|backend| state.listeners.owner(backend.listen).is_none());
    let closed: Vec<_> = closed.collect();
    closed
        .into_iter()
        .map(|backend| Ok((backend.listen, &*backend.process, state.listeners.prepare(backend.listen)?)))
        .collect()
}

impl State {
    /// Puts the release into its slot; its weight stays, or is `weight`, or nothing.
    pub(super) fn place(
        &mut self,
        placement: &Placement,
        backends: &[Backend],
        weight: Option<u8>,
        threads: usize,
    ) {
        let Some(known) = self.known.get_mut(&placement.environment) else { return };
        let before = known.in_slot(placement.slot);
        let same = before.clone().filter(|there| there.placement.release == placement.release);
        let counters = known.counters(placement, same.as_ref().map(|same| &*same.load), threads);
        let lanes: Arc<[Lane]> =
            backends.iter().map(|backend| lane(backend, same.as_deref(), &mut self.next_instance)).collect();
        if weight.is_some() {
            // Remembered from before a restart, and seen by nobody since. What has the traffic keeps it all the same.
            let instances = lanes.iter().flat_map(|lane| &lane.instances);
            instances.for_each(|instance| instance.healthy.store(false, Ordering::Relaxed));
        }
        let placed = Placed {
            placement: placement.clone(),
            weight: weight.unwrap_or_else(|| same.as_ref().map_or(0, |same| same.weight)),
            lanes,
            load: same.map_or_else(|| Arc::new(Load::new(counters)), |same| Arc::clone(&same.load)),
        };
        let there = known.table();
        let others = there.placed.iter().filter(|one| one.placement.slot != placement.slot).cloned();
        let mut table = Table { placed: others.collect(), rules: there.rules.clone() };
        known.start_checks(&placed);
        table.placed.push(Arc::new(placed));
        table.placed.sort_by_key(|placed| placed.placement.slot);
        known.environment.swap(table);
        if let Some(before) = before {
            known.retire(&before.lanes);
        }
    }

    /// Closes addresses that no placed release has any more.
    pub(super) fn close_unused(&mut self, workers: &[WorkerHandle]) {
        let tables: Vec<_> = self.known.values().map(Known::table).collect();
        let placed = tables.iter().flat_map(|table| &table.placed);
        let used: BTreeSet<SocketAddr> =
            placed.flat_map(|placed| placed.lanes.iter().map(|lane| lane.listen)).collect();
        for address in self.listeners.addresses() {
            if !used.contains(&address) {
                self.listeners.close(address, workers);
            }
        }
        self.unbound.retain(|address, _| used.contains(address));
    }
}

/// The lane of a backend; an instance that was there before keeps its health and what it has in flight.
fn lane(backend: &Backend, before: Option<&Placed>, next: &mut u64) -> Lane {
    let old = before.and_then(|placed| placed.lane(&backend.process));
    let old: BTreeMap<&str, &Arc<Instance>> =
        old.into_iter().flat_map(|lane| &lane.instances).map(|instance| (&*instance.id, instance)).collect();
    let instances = backend.instances.iter().map(|(id, address)| {
        if let Some(same) = old.get(&**id).filter(|old| old.address == *address) {
            // The caller has just seen it ready.
            same.connected();
            same.healthy.store(true, Ordering::Relaxed);
            return Arc::clone(same);
        }
        *next += 1;
        Arc::new(Instance::new(*next, id.clone(), *address))
    });
    let instances = instances.collect();
    Lane::new(Arc::from(&*backend.process), backend.listen, instances, backend.health_check.clone())
}

/// Returns once nothing is in flight to the instances, at the latest after `limit`.
pub(crate) async fn ended(leaving: &[Arc<Instance>], limit: Duration) {
    let busy = || leaving.iter().any(|one| one.in_flight.load(Ordering::SeqCst) > 0);
    // They are out of the table by now, so there is nobody left to tell of the last request's end.
    let emptied = async {
        // One that read the table before may be about to sit down.
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if !busy() {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(limit, emptied).await;
}

/// Whether so many instances of each process type are ready.
fn enough(placed: &Placed, needs: &BTreeMap<String, u32>) -> PortResult<()> {
    for (process, needed) in needs {
        let ready = placed.lane(process).map_or(0, Lane::healthy);
        if ready < *needed {
            let Placement { version, slot, .. } = &placed.placement;
            let message =
                format!("{version} in slot {slot} has {ready} of {needed} instances of `{process}` ready");
            return Err(PortError::new(PortErrorKind::NotReady, message));
        }
    }
    Ok(())
}

impl State {
    /// The release, if it is registered.
    pub(super) fn placed(&self, placement: &Placement) -> Option<Arc<Placed>> {
        self.known.get(&placement.environment)?.placed(placement).ok()
    }

    /// Whether a drain that was begun may go on, and cut: no newer operation has come, and the release has no traffic.
    /// What has left its slot meanwhile cannot get any, so that may be cut.
    fn still_drains(&self, request: &Drain) -> PortResult<()> {
        let Drain { placement: Placement { environment, .. }, fence, .. } = request;
        let Some(known) = self.known.get(environment) else { return Ok(()) };
        if let Some(newest) = known.fence.filter(|newest| newest > fence) {
            return Err(PortError::new(
                PortErrorKind::Fenced,
                format!(
                    "the drain with fence {fence} of {environment} has ended: a newer operation, {newest}, has come"
                ),
            ));
        }
        known.placed(&request.placement).map_or(Ok(()), |placed| idle(&placed, environment))
    }
}

impl Known {
    pub(super) fn placed(&self, placement: &Placement) -> PortResult<Arc<Placed>> {
        let there = self.in_slot(placement.slot);
        there.filter(|placed| placed.placement.release == placement.release).ok_or_else(|| {
            PortError::new(
                PortErrorKind::Missing,
                format!(
                    "release {} ({}) is not registered in slot {} of {}",
                    placement.release, placement.version, placement.slot, placement.environment
                ),
            )
        })
    }

    fn weigh(&self, weight: impl Fn(Slot) -> u8, rules: Option<Arc<Rules>>) {
        let table = self.table();
        let placed = table.placed.iter().map(|placed| {
            let weight = weight(placed.placement.slot);
            Arc::new(Placed { weight, ..Placed::clone(placed) })
        });
        self.environment.swap(Table { placed: placed.collect(), rules });
    }

    fn start_checks(&mut self, placed: &Placed) {
        for lane in placed.lanes.iter() {
            for instance in &lane.instances {
                // A check that runs is replaced, because what it asks may have changed.
                let check = Check::start(Arc::clone(instance), lane.health_check.clone());
                self.checks.insert(instance.key, check);
            }
        }
    }

    /// Lets go of the instances that no release has any more.
    fn retire(&mut self, lanes: &[Lane]) {
        let table = self.table();
        let kept: BTreeSet<u64> = table
            .placed
            .iter()
            .flat_map(|placed| placed.lanes.iter())
            .flat_map(|lane| &lane.instances)
            .map(|instance| instance.key)
            .collect();
        for instance in lanes.iter().flat_map(|lane| &lane.instances) {
            if !kept.contains(&instance.key) {
                instance.gone.store(true, Ordering::Relaxed);
                self.checks.remove(&instance.key);
            }
        }
    }
}

/// What has traffic neither ends it nor is forgotten.
fn idle(placed: &Placed, environment: &EnvironmentName) -> PortResult<()> {
    let Placed { placement, weight, .. } = placed;
    if *weight == 0 {
        return Ok(());
    }
    Err(PortError::failed(format!(
        "slot {} of {environment} has {weight} % of the traffic; switch away from it first",
        placement.slot
    )))
}
