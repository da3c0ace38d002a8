//! A provider and a router that share one world in memory, for tests: they do what is asked, can be made to fail at any
//! call, and panic when core breaks an invariant.

mod faults;
mod hooks;
mod invariants;
mod provider;
mod request;
mod router;
mod routes;
mod surroundings;
mod witness;

pub use faults::{Fault, Gate, Kind, When};
pub use request::{contents, to_deploy};
pub use routes::Routes;
pub use surroundings::{FakeHost, Remarks, SteppedClock};

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::database::Database;
use crate::name::{EnvironmentName, Fence, ReleaseId, Version};
use crate::ports::{InstanceState, Memory, Placement, PortError, PortErrorKind, PortResult, Ports};
use crate::release::{Digest, Release};
use crate::slot::Slot;
use crate::time::Span;
use faults::Faults;

/// The world; clones are handles to the same one.
#[derive(Clone)]
pub struct World {
    state: Arc<Mutex<State>>,
    crashed: watch::Sender<bool>,
    pub clock: Arc<SteppedClock>,
    pub host: Arc<FakeHost>,
    pub remarks: Arc<Remarks>,
}

/// Everything that is so outside the database.
#[derive(Clone, Default)]
struct State {
    db: Option<Database>,
    sites: BTreeMap<EnvironmentName, Site>,
    releases: BTreeMap<ReleaseId, Release>,
    faults: Faults,
    calls: Vec<Call>,
    gaps_allowed: bool,
    rough: bool,
    never_healthy: BTreeSet<Version>,
    wrong_answer: BTreeSet<Version>,
    drift: BTreeMap<Version, Vec<String>>,
    memory: Option<Memory>,
    missing: BTreeSet<Digest>,
    hooks: hooks::Hooks,
    /// The most instances of one process type that ran together.
    most: BTreeMap<String, usize>,
    sights: witness::Sights,
    next_port: u16,
}

/// One environment, as the provider and the router each know it.
#[derive(Clone, Default)]
struct Site {
    provider_fence: Option<Fence>,
    router_fence: Option<Fence>,
    instances: BTreeMap<String, Running>,
    routed: BTreeMap<Slot, Routed>,
}

#[derive(Clone)]
struct Running {
    placement: Placement,
    process: String,
    address: Option<SocketAddr>,
    state: InstanceState,
    restarts: u32,
    last_exit: Option<String>,
}

/// A slot as the router knows it.
#[derive(Clone)]
struct Routed {
    placement: Placement,
    weight: u8,
    /// By process type: the live address and the instances.
    backends: BTreeMap<String, (SocketAddr, BTreeSet<String>)>,
    /// Whether it ever had traffic since it was placed.
    served: bool,
}

/// One call, as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub kind: Kind,
    pub slot: Option<Slot>,
    pub version: Option<Version>,
}

impl World {
    /// An empty world; what a release consists of is read from `db`, as a real provider does.
    pub fn new(db: &Database) -> Self {
        let state = State { db: Some(db.clone()), next_port: 20_000, ..State::default() };
        Self::of(state)
    }

    /// A world without a database behind it, whose releases are [made known](Self::know): nobody plans in it.
    pub fn alone() -> Self {
        Self::of(State { next_port: 20_000, gaps_allowed: true, rough: true, ..State::default() })
    }

    /// Seals a release in a world that is alone.
    pub fn know(&self, release: Release) {
        self.lock().releases.insert(release.id, release);
    }

    fn of(state: State) -> Self {
        Self {
            state: Arc::new(Mutex::new(state)),
            crashed: watch::Sender::new(false),
            clock: Arc::default(),
            host: Arc::default(),
            remarks: Arc::default(),
        }
    }

    /// Another world in the same state, without faults, beside a copy of its database.
    pub fn fork(&self, db: &Database) -> Self {
        let mut state = self.lock().clone();
        (state.db, state.faults, state.calls) = (Some(db.clone()), Faults::default(), Vec::new());
        let fork = Self::of(state);
        fork.clock.set(self.clock.read());
        fork
    }

    /// What core needs of it.
    pub fn ports(&self) -> Ports {
        Ports {
            provider: Arc::new(self.clone()),
            router: Arc::new(self.clone()),
            witness: Arc::new(self.clone()),
            clock: Arc::clone(&self.clock) as _,
            host: Arc::clone(&self.host) as _,
            progress: Arc::clone(&self.remarks) as _,
            lease_ttl: Span::from_secs(60),
        }
    }

    /// The ports of a program that was started after the one before it died.
    pub fn reborn(&self) -> Ports {
        self.crashed.send_replace(false);
        self.lock().faults = Faults::default();
        self.host.next_program();
        self.ports()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes calls go wrong.
    pub fn fault(&self, when: When, times: usize, fault: Fault) {
        self.lock().faults.add(when, times, fault);
    }

    pub fn forget_faults(&self) {
        self.lock().faults = Faults::default();
    }

    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// Forgets what happened so far.
    pub fn forget_calls(&self) {
        let mut state = self.lock();
        state.calls.clear();
        state.most.clear();
    }

    /// The most instances of a process type that ran together.
    pub fn most_running(&self, process: &str) -> usize {
        self.lock().most.get(process).copied().unwrap_or(0)
    }

    /// Runs until the future is done, or until a fault of the world kills its program: then it is dropped where it is.
    pub async fn until_crash<T>(&self, program: impl Future<Output = T>) -> Option<T> {
        let mut crashed = self.crashed.subscribe();
        tokio::select! {
            biased;
            _ = crashed.wait_for(|crashed| *crashed) => None,
            done = program => Some(done),
        }
    }

    /// `recreate` and the end of an environment leave users without a release for a while.
    pub fn allow_gaps(&self) {
        self.lock().gaps_allowed = true;
    }

    /// Instances may end, and other programs may act, between what a program sees and what it does about it.
    pub fn be_rough(&self) {
        self.lock().rough = true;
    }

    pub fn never_healthy(&self, version: &Version) {
        self.lock().never_healthy.insert(version.clone());
    }

    pub fn healthy_again(&self, version: &Version) {
        self.lock().never_healthy.remove(version);
    }

    /// The live address is answered wrongly while this version has the traffic.
    pub fn answers_wrongly(&self, version: &Version) {
        self.lock().wrong_answer.insert(version.clone());
    }

    /// Somebody changed what runs for this version.
    pub fn drifts(&self, version: &Version, changes: &[&str]) {
        let changes = changes.iter().map(ToString::to_string).collect();
        self.lock().drift.insert(version.clone(), changes);
    }

    /// What the machine has left, and each instance has.
    pub fn memory_is(&self, memory: Memory) {
        self.lock().memory = Some(memory);
    }

    pub fn answers_rightly(&self, version: &Version) {
        self.lock().wrong_answer.remove(version);
    }

    pub fn lose_artifact(&self, digest: &Digest) {
        self.lock().missing.insert(digest.clone());
    }

    /// It is here again, as after it was taken in anew.
    pub fn take_in(&self, digest: &Digest) {
        self.lock().missing.remove(digest);
    }

    /// Puts every instance of a version into a state, e.g. unhealthy.
    pub fn put_instances(&self, version: &Version, to: InstanceState) {
        for running in self.lock().sites.values_mut().flat_map(|site| site.instances.values_mut()) {
            if running.placement.version == *version {
                running.state = to;
            }
        }
    }

    /// One instance of a version ended by itself and was started again.
    pub fn crash_once(&self, version: &Version, exit: &str) {
        let mut state = self.lock();
        let mut all = state.sites.values_mut().flat_map(|site| site.instances.values_mut());
        if let Some(running) = all.find(|running| running.placement.version == *version) {
            running.restarts += 1;
            running.last_exit = Some(exit.to_owned());
        }
    }

    /// Every instance with an address is at another one from now on.
    pub fn move_instances(&self, version: &Version) {
        for running in self.lock().sites.values_mut().flat_map(|site| site.instances.values_mut()) {
            if running.placement.version == *version {
                running.address = running.address.map(|at| (at.ip(), at.port() + 10_000).into());
            }
        }
    }

    /// Makes a version's instances vanish, as after a loss of power.
    pub fn lose_instances(&self, version: &Version) {
        for site in self.lock().sites.values_mut() {
            site.instances.retain(|_, running| running.placement.version != *version);
        }
    }

    /// The same for those without an address.
    pub fn lose_worker(&self, version: &Version) {
        for site in self.lock().sites.values_mut() {
            site.instances
                .retain(|_, running| running.placement.version != *version || running.address.is_some());
        }
    }

    /// The router's state is lost.
    pub fn forget_routes(&self) {
        self.lock().sites.values_mut().for_each(|site| site.routed.clear());
    }

    /// What an instance needs to be well: never for those that never are.
    pub fn recover(&self, version: &Version) {
        if !self.lock().never_healthy.contains(version) {
            self.put_instances(version, InstanceState::Ready);
        }
    }

    /// The version that has the traffic, asked of the router without a call.
    pub fn live(&self, environment: &EnvironmentName) -> Option<(Slot, ReleaseId, Version)> {
        let state = self.lock();
        let routed = state.sites.get(environment)?.routed.values().find(|routed| routed.weight > 0)?;
        let Placement { slot, release, version, .. } = &routed.placement;
        Some((*slot, *release, version.clone()))
    }

    /// Everything that the router knows, with its share of the traffic in percent.
    pub fn shares(&self, environment: &EnvironmentName) -> Vec<(Slot, ReleaseId, Version, u8)> {
        let state = self.lock();
        let routed = state.sites.get(environment).into_iter().flat_map(|site| site.routed.values());
        routed
            .map(|there| {
                let Placement { slot, release, version, .. } = &there.placement;
                (*slot, *release, version.clone(), there.weight)
            })
            .collect()
    }

    /// The slots that the router knows.
    pub fn routed(&self, environment: &EnvironmentName) -> Vec<Slot> {
        self.lock().sites.get(environment).map_or_else(Vec::new, |site| site.routed.keys().copied().collect())
    }

    /// The instances that run, as `slot-process-number@version`.
    pub fn running(&self, environment: &EnvironmentName) -> Vec<String> {
        let state = self.lock();
        let Some(site) = state.sites.get(environment) else { return Vec::new() };
        site.instances.iter().map(|(id, running)| format!("{id}@{}", running.placement.version)).collect()
    }

    async fn release(&self, id: ReleaseId) -> PortResult<Release> {
        let db = {
            let state = self.lock();
            if let Some(release) = state.releases.get(&id) {
                return Ok(release.clone());
            }
            state.db.clone()
        };
        let found = match db {
            Some(db) => db.release(id).await.map_err(|error| PortError::failed(error.to_string()))?,
            None => None,
        };
        let release = found
            .ok_or_else(|| PortError::new(PortErrorKind::Missing, format!("release {id} is not known")))?;
        self.lock().releases.insert(id, release.clone());
        Ok(release)
    }

    /// Notes the call, lets faults happen around its effect, and looks at the invariants after it.
    async fn call<T>(&self, call: Call, effect: impl FnOnce(&mut State) -> PortResult<T>) -> PortResult<T> {
        self.clock.advance(Span::from_millis(1));
        let (kind, slot) = (call.kind, call.slot);
        let fault = {
            let mut state = self.lock();
            state.calls.push(call);
            let number = state.calls.len();
            state.faults.pick(kind, number)
        };
        match fault {
            None => self.apply(effect),
            Some(Fault::Fail(kind)) => Err(PortError::new(kind, "a fault was injected")),
            Some(Fault::LoseAnswer) => {
                self.apply(effect)?;
                Err(PortError::unreachable("the answer was lost"))
            }
            Some(Fault::CrashBefore) => self.crash().await,
            Some(Fault::CrashAfter) => {
                let _ = self.apply(effect);
                self.crash().await
            }
            Some(Fault::Hold(gate)) => {
                gate.pass().await;
                self.apply(effect)
            }
            Some(Fault::Sicken) => {
                self.lock().sicken(slot);
                self.apply(effect)
            }
        }
    }

    fn apply<T>(&self, effect: impl FnOnce(&mut State) -> PortResult<T>) -> PortResult<T> {
        let mut state = self.lock();
        let before = state.sites.clone();
        let result = effect(&mut state);
        state.count();
        invariants::look(&before, &state);
        result
    }

    async fn crash<T>(&self) -> T {
        self.crashed.send_replace(true);
        std::future::pending().await
    }
}

impl State {
    fn count(&mut self) {
        let mut running: BTreeMap<String, usize> = BTreeMap::new();
        for one in self.sites.values().flat_map(|site| site.instances.values()) {
            *running.entry(one.process.clone()).or_default() += 1;
        }
        for (process, count) in running {
            let most = self.most.entry(process).or_default();
            *most = count.max(*most);
        }
    }

    fn site(&mut self, environment: &EnvironmentName) -> &mut Site {
        self.sites.entry(environment.clone()).or_default()
    }

    fn sicken(&mut self, slot: Option<Slot>) {
        for running in self.sites.values_mut().flat_map(|site| site.instances.values_mut()) {
            if Some(running.placement.slot) == slot {
                running.state = InstanceState::Unhealthy;
            }
        }
    }
}

impl Site {
    fn has_traffic(&self, placement: &Placement) -> bool {
        self.routed
            .get(&placement.slot)
            .is_some_and(|there| there.placement == *placement && there.weight > 0)
    }

    /// Ready instances of a process type that the router knows in a slot.
    fn healthy(&self, routed: &Routed, process: &str) -> u32 {
        let Some((_, ids)) = routed.backends.get(process) else { return 0 };
        let ready = |id: &&String| {
            self.instances.get(*id).is_some_and(|running| {
                running.state == InstanceState::Ready && running.placement == routed.placement
            })
        };
        u32::try_from(ids.iter().filter(ready).count()).unwrap_or(u32::MAX)
    }
}

/// Refuses a fence older than one that was seen.
fn admit(seen: &mut Option<Fence>, fence: Fence) -> PortResult<()> {
    match seen {
        Some(newest) if fence < *newest => Err(PortError::new(
            PortErrorKind::Fenced,
            format!("fence {fence} is older than {newest}: a newer operation has been here"),
        )),
        _ => {
            *seen = Some(fence);
            Ok(())
        }
    }
}
