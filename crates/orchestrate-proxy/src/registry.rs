//! What the proxy has been told: releases in slots, their weights, the newest fences. It changes the tables that the
//! data path reads, and has every change written down.

mod change;
mod end;
mod look;
mod report;
mod restore;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use orchestrate_core::name::{EnvironmentName, Fence, ReleaseId, Version};
use orchestrate_core::ports::{Backend, Placement, PortError, PortErrorKind, PortResult};
use orchestrate_core::slot::Slot;
use tokio::sync::{Notify, OwnedRwLockWriteGuard, RwLock, RwLockReadGuard, mpsc, watch};
use tokio::time::Instant;

use crate::check::Check;
use crate::data::{Shared, WorkerHandle};
use crate::handover::Elders;
use crate::listeners::{Listeners, News};
use crate::saved::{Edition, Saved, SavedEnvironment, SavedPlaced, Saver};
use crate::stats::Counters;
use crate::table::{Environment, Lane, Load, Placed, Table};

pub(crate) use change::ended;
pub(crate) use end::Ending;

pub(crate) struct Registry {
    shared: Arc<Shared>,
    workers: Vec<WorkerHandle>,
    saver: Saver,
    state: Mutex<State>,
    /// Where a state file was moved that could not be read.
    set_aside: Option<String>,
    /// Shared by changes, alone for a handover.
    changes: Arc<RwLock<()>>,
    /// Those that this proxy took over from, as long as they have something to finish.
    pub elders: Elders,
    /// Set once another proxy has taken over: when idle connections end.
    lingers_until: OnceLock<Instant>,
    /// How many questions are not answered yet.
    asked: watch::Sender<u32>,
    end: Mutex<Option<Ending>>,
}

struct State {
    known: BTreeMap<EnvironmentName, Known>,
    listeners: Listeners,
    /// Addresses of routes that could not be opened at the start.
    unbound: BTreeMap<std::net::SocketAddr, String>,
    next_instance: u64,
}

/// One environment, as the control knows it.
struct Known {
    environment: Arc<Environment>,
    fence: Option<Fence>,
    /// Told whenever something may have been changed, for the drains that wait.
    changed: Arc<Notify>,
    /// What each release answered in each slot, kept when the release leaves.
    counters: BTreeMap<(Slot, ReleaseId), (Version, Arc<Counters>)>,
    checks: HashMap<u64, Check>,
}

/// The releases that left whose counts are kept, an environment.
const REMEMBERED: usize = 32;

impl Registry {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once everything so far outlives a loss of power.
    pub async fn persisted(&self) -> PortResult<()> {
        self.saver.durable(self.saver.newest()).await
    }

    /// Listening sockets for somebody who holds them too.
    pub fn hold(&self) -> std::io::Result<mpsc::UnboundedReceiver<News>> {
        self.lock().listeners.hold()
    }

    fn save(&self, state: &State) -> Edition {
        let environments = state.known.iter().map(|(name, known)| (name.clone(), known.saved()));
        self.saver.put(&Saved::new(environments.collect()))
    }

    /// Has the state written once more: an heir may have written one that nobody uses.
    pub fn save_again(&self) {
        self.save(&self.lock());
    }

    /// A change's turn: none is made while another proxy takes over.
    pub async fn turn(&self) -> RwLockReadGuard<'_, ()> {
        self.changes.read().await
    }

    /// Waits for the changes that are under way, and keeps others waiting.
    pub async fn freeze(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.changes).write_owned().await
    }

    pub fn token(&self) -> &str {
        &self.shared.token
    }
}

impl State {
    /// The environment, made known if it is not, after a look at the fence.
    fn admit(&mut self, name: &EnvironmentName, fence: Fence) -> PortResult<&mut Known> {
        let known = self.known.entry(name.clone()).or_insert_with(|| Known::new(name.clone()));
        match known.fence {
            Some(newest) if fence < newest => Err(PortError::new(
                PortErrorKind::Fenced,
                format!("fence {fence} of {name} is older than {newest}: a newer operation has been here"),
            )),
            _ => {
                known.fence = Some(fence);
                // Whoever hears it looks under the lock, so after the change that follows.
                known.changed.notify_waiters();
                Ok(known)
            }
        }
    }
}

impl Known {
    fn new(name: EnvironmentName) -> Self {
        Self {
            environment: Arc::new(Environment::new(name)),
            fence: None,
            changed: Arc::default(),
            counters: BTreeMap::new(),
            checks: HashMap::new(),
        }
    }

    fn table(&self) -> Arc<Table> {
        self.environment.table()
    }

    fn in_slot(&self, slot: Slot) -> Option<Arc<Placed>> {
        self.table().placed.iter().find(|placed| placed.placement.slot == slot).cloned()
    }

    /// What the release is counted in: what there is of it already, `same` being its load where it is in the slot.
    fn counters(&mut self, placement: &Placement, same: Option<&Load>, threads: usize) -> Arc<Counters> {
        let key = (placement.slot, placement.release);
        let there =
            || same.map_or_else(|| Arc::new(Counters::new(threads)), |same| Arc::clone(&same.counters));
        let counters = self.counters.entry(key).or_insert_with(|| (placement.version.clone(), there()));
        let counters = Arc::clone(&counters.1);
        self.forget_oldest(key);
        counters
    }

    /// Forgets the oldest that have left; not `wanted`, which is about to be placed.
    fn forget_oldest(&mut self, wanted: (Slot, ReleaseId)) {
        let table = self.table();
        let placed = |key: &(Slot, ReleaseId)| {
            table.placed.iter().any(|placed| (placed.placement.slot, placed.placement.release) == *key)
        };
        while self.counters.len() > REMEMBERED {
            let left = self.counters.keys().filter(|key| **key != wanted && !placed(key));
            let Some(oldest) = left.min_by_key(|(_, release)| *release).copied() else { return };
            self.counters.remove(&oldest);
        }
    }

    fn saved(&self) -> SavedEnvironment {
        let table = self.table();
        let placed = table.placed.iter().map(|placed| SavedPlaced {
            placement: placed.placement.clone(),
            weight: placed.weight,
            backends: placed.lanes.iter().map(backend).collect(),
        });
        let rules = table.rules.as_ref().map(|rules| rules.told().clone());
        SavedEnvironment { fence: self.fence, placed: placed.collect(), rules }
    }
}

fn backend(lane: &Lane) -> Backend {
    Backend {
        process: lane.process.to_string(),
        listen: lane.listen,
        instances: lane.instances.iter().map(|one| (one.id.clone(), one.address)).collect(),
        health_check: lane.health_check.clone(),
    }
}
