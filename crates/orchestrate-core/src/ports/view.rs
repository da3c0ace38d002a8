//! What a router says of itself.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::name::{Fence, ReleaseId, Version};
use crate::slot::Slot;

/// What the router knows of one environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterView {
    /// The newest fence it has seen here.
    pub fence: Option<Fence>,
    pub slots: Vec<SlotView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotView {
    pub slot: Slot,
    pub release: ReleaseId,
    pub version: Version,
    /// Its share of the traffic, in percent.
    pub weight: u8,
    pub in_flight: u64,
    pub backends: Vec<BackendView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendView {
    pub process: String,
    pub listen: SocketAddr,
    pub instances: u32,
    pub healthy: u32,
    /// Where the instances listen themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<SocketAddr>,
}

impl RouterView {
    /// The slot that has the traffic, or most of it, if one has any.
    pub fn live(&self) -> Option<&SlotView> {
        self.slots.iter().filter(|slot| slot.weight > 0).max_by_key(|slot| slot.weight)
    }

    pub fn slot(&self, slot: Slot) -> Option<&SlotView> {
        self.slots.iter().find(|view| view.slot == slot)
    }

    /// The slot, if it is this release that the router knows there.
    pub fn placed(&self, slot: Slot, release: ReleaseId) -> Option<&SlotView> {
        self.slot(slot).filter(|view| view.release == release)
    }
}

impl SlotView {
    /// The number of instances of a process type that the router knows, ready or not.
    pub fn known(&self, process: &str) -> u32 {
        self.backends.iter().find(|backend| backend.process == process).map_or(0, |backend| backend.instances)
    }

    /// The number of ready instances of a process type.
    pub fn healthy(&self, process: &str) -> u32 {
        self.backends.iter().find(|backend| backend.process == process).map_or(0, |backend| backend.healthy)
    }
}
