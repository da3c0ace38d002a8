//! The start: routes from the state file, sockets from the parent, and what is left is bound.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::watch;

use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::Placement;
use orchestrate_core::traffic::TrafficRules;

use super::{Known, Registry, State};
use crate::data::{Shared, WorkerHandle};
use crate::handover::Elders;
use crate::listeners::Listeners;
use crate::rules::Rules;
use crate::saved::{Saved, SavedPlaced, Saver};
use crate::table::Table;

impl Registry {
    /// Must be called inside the control's runtime, for the health checks.
    pub fn restore(
        shared: Arc<Shared>,
        workers: Vec<WorkerHandle>,
        saver: Saver,
        (saved, set_aside): (Saved, Option<PathBuf>),
        inherited: BTreeMap<SocketAddr, OwnedFd>,
    ) -> Self {
        let state = State {
            known: BTreeMap::new(),
            listeners: Listeners::new(inherited),
            unbound: BTreeMap::new(),
            next_instance: 0,
        };
        let set_aside = set_aside.map(|path| path.display().to_string());
        let registry = Self {
            shared,
            workers,
            saver,
            state: Mutex::new(state),
            set_aside,
            changes: Arc::default(),
            elders: Elders::default(),
            lingers_until: OnceLock::new(),
            asked: watch::Sender::new(0),
            end: Mutex::default(),
        };
        {
            let state = &mut *registry.lock();
            for (name, environment) in saved.environments {
                let mut known = Known::new(name.clone());
                known.fence = environment.fence;
                state.known.insert(name.clone(), known);
                for placed in &environment.placed {
                    let SavedPlaced { placement, weight, backends } = placed;
                    state.place(placement, backends, Some((*weight).min(100)), registry.shared.threads);
                }
                state.restore_rules(&name, environment.rules);
                // Only now: who is let in while a slot is missing would find nothing that has the traffic.
                for placed in &environment.placed {
                    for backend in &placed.backends {
                        registry.bind_again(state, &placed.placement, backend.listen, &backend.process);
                    }
                }
            }
            // Without a readable state, the sockets wait for the routes to be registered again.
            if registry.set_aside.is_none() {
                state.listeners.forget_inherited();
            }
        }
        registry
    }

    fn bind_again(&self, state: &mut State, placement: &Placement, address: SocketAddr, process: &str) {
        if state.listeners.owner(address).is_some() {
            return;
        }
        let prepared = state.listeners.prepare(address);
        let opened = prepared.and_then(|socket| self.open(state, placement, address, process, socket));
        match opened {
            Ok(()) => drop(state.unbound.remove(&address)),
            Err(error) => {
                if state.unbound.insert(address, error.message.clone()).is_none() {
                    tracing::error!(%error, "a route is not served");
                }
            }
        }
    }

    /// Tries again to open what could not be opened; true once nothing is left.
    pub fn bind_unbound(&self) -> bool {
        let state = &mut *self.lock();
        if state.unbound.is_empty() {
            return true;
        }
        let tables: Vec<_> = state.known.values().map(Known::table).collect();
        for placed in tables.iter().flat_map(|table| &table.placed) {
            for lane in placed.lanes.iter() {
                self.bind_again(state, &placed.placement, lane.listen, &lane.process);
            }
        }
        state.unbound.is_empty()
    }
}

impl State {
    /// What was taken once is taken again; without it the weights stand all the same.
    fn restore_rules(&mut self, name: &EnvironmentName, told: Option<TrafficRules>) {
        if let (Some(known), Some(Ok(rules))) = (self.known.get(name), told.map(Rules::new)) {
            known.environment.swap(Table { placed: known.table().placed.clone(), rules: Some(rules) });
        }
    }
}
