//! A place for one release's instances beside another's.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::{ReleaseId, Version};
use crate::time::Timestamp;

/// Two places an environment, so that never more than two releases take up the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    Blue,
    Green,
}

impl Slot {
    pub const ALL: [Self; 2] = [Self::Blue, Self::Green];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }

    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|slot| slot.as_str() == text)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a slot is for, as recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    /// It has the traffic.
    Live,
    /// Still running, without traffic, until `until`.
    Warm,
    /// To be drained and stopped by the daemon.
    Retiring,
    /// Being filled by an open operation.
    Filling,
    /// On its way to be live: it waits beside what is live, with a share of the traffic or with none yet.
    Staged,
}

impl SlotState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Warm => "warm",
            Self::Retiring => "retiring",
            Self::Filling => "filling",
            Self::Staged => "staged",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Live, Self::Warm, Self::Retiring, Self::Filling, Self::Staged]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// A slot that is in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRecord {
    pub slot: Slot,
    pub release: ReleaseId,
    pub version: Version,
    pub state: SlotState,
    pub since: Timestamp,
    /// When a warm period ends.
    pub until: Option<Timestamp>,
}
