//! What the proxy tells of itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use orchestrate_core::name::{EnvironmentName, ReleaseId, Version};
use orchestrate_core::ports::{BackendView, ReleaseCounts, RouterView, SlotView};
use orchestrate_core::slot::Slot;

use super::{Known, Registry};
use crate::protocol::Hello;
use crate::stats::{Counters, ReleaseStats};
use crate::table::Placed;

impl Registry {
    pub fn hello(&self) -> Hello {
        let state = self.lock();
        Hello {
            pid: std::process::id(),
            program_version: self.shared.version.to_owned(),
            token: self.token().to_owned(),
            threads: self.shared.threads,
            listening: state.listeners.addresses(),
            unbound: state.unbound.clone(),
            set_aside: self.set_aside.clone(),
        }
    }

    /// What serves in the environment; nothing, if it is not known.
    pub fn observe(&self, environment: &EnvironmentName) -> RouterView {
        let state = self.lock();
        let Some(known) = state.known.get(environment) else { return RouterView::default() };
        let slots = known.table().placed.iter().map(|placed| slot_view(placed)).collect();
        RouterView { fence: known.fence, slots }
    }

    /// What each release of the environment has answered; nothing, if it is not known.
    pub fn counts(&self, environment: &EnvironmentName) -> Vec<ReleaseCounts> {
        let state = self.lock();
        let Some(known) = state.known.get(environment) else { return Vec::new() };
        let row = |(key, (_, counters)): (&(Slot, ReleaseId), &(Version, Arc<Counters>))| {
            let (slot, release) = *key;
            ReleaseCounts { slot, release, tally: counters.tally() }
        };
        known.counters.iter().map(row).collect()
    }

    pub fn stats(&self) -> Vec<ReleaseStats> {
        self.lock().known.values().flat_map(Known::stats).collect()
    }
}

fn slot_view(placed: &Placed) -> SlotView {
    let backends = placed.lanes.iter().map(|lane| BackendView {
        process: lane.process.to_string(),
        listen: lane.listen,
        instances: u32::try_from(lane.instances.len()).unwrap_or(u32::MAX),
        healthy: lane.healthy(),
        addresses: lane.instances.iter().map(|instance| instance.address).collect(),
    });
    SlotView {
        slot: placed.placement.slot,
        release: placed.placement.release,
        version: placed.placement.version.clone(),
        weight: placed.weight,
        in_flight: placed.load.in_flight.load(Ordering::SeqCst),
        backends: backends.collect(),
    }
}

impl Known {
    fn stats(&self) -> Vec<ReleaseStats> {
        let rows = self.counters.iter().map(|((slot, release), (version, counters))| {
            let placed = self.in_slot(*slot).filter(|placed| placed.placement.release == *release);
            ReleaseStats {
                environment: self.environment.name.clone(),
                slot: *slot,
                release: *release,
                version: version.clone(),
                weight: placed.as_ref().map_or(0, |placed| placed.weight),
                in_flight: placed.map_or(0, |placed| placed.load.in_flight.load(Ordering::SeqCst)),
                requests: counters.requests(),
                statuses: counters.statuses(),
                latency: counters.latency(),
            }
        });
        rows.collect()
    }
}
