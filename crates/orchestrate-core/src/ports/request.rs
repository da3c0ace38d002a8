//! What providers and routers are asked, and what they answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::environment::HealthCheck;
use crate::hooks::Hook;
use crate::name::{EnvironmentName, Fence, ReleaseId, Version};
use crate::release::Digest;
use crate::slot::Slot;
use crate::time::{Span, Timestamp};

/// One release in one slot of one environment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Placement {
    pub environment: EnvironmentName,
    pub slot: Slot,
    pub release: ReleaseId,
    pub version: Version,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    pub release: ReleaseId,
    pub artifact: Digest,
    /// Of the artifact, in bytes, where it is known: a start copies it.
    #[serde(default)]
    pub size: u64,
}

impl Fetch {
    pub fn of(release: &crate::release::Release) -> Self {
        let artifact = &release.contents.artifact;
        Self { release: release.id, artifact: artifact.digest.clone(), size: artifact.size }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartRequest {
    pub placement: Placement,
    pub processes: Processes,
    /// Only so many of each process type, the first ones; what runs beyond them is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    pub fence: Fence,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitHealthy {
    pub placement: Placement,
    pub processes: Processes,
    /// Only so many of each process type, the first ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// The whole wait; after it the call fails with [`PortErrorKind::TimedOut`].
    pub deadline: Span,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRequest {
    pub placement: Placement,
    pub processes: Processes,
    /// All but so many of each process type, the first ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    pub fence: Fence,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRequest {
    pub placement: Placement,
    /// What it belongs to, however many operations that takes: `d7` is deployment 7, `r3` rollback 3.
    pub of: String,
    pub hook: Hook,
    pub command: Vec<String>,
    pub timeout: Span,
    pub fence: Fence,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetHooks {
    pub environment: EnvironmentName,
    /// What goes on and may ask again, as a hook is asked for with it.
    pub but: Option<String>,
    pub fence: Fence,
}

/// Instances by process type.
pub type Counts = BTreeMap<String, u32>;

/// Which process types of a release are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Processes {
    All,
    /// Those without a `listen` address: they work without traffic, so only the live release runs them.
    Unrouted,
    /// Those with one: what a release runs while it is on its way to be live.
    Routed,
}

impl Processes {
    pub fn includes(self, listen: Option<SocketAddr>) -> bool {
        match self {
            Self::All => true,
            Self::Unrouted => listen.is_none(),
            Self::Routed => listen.is_some(),
        }
    }

    /// Whether it is about instances that get traffic.
    pub const fn are_routed(self) -> bool {
        match self {
            Self::All | Self::Routed => true,
            Self::Unrouted => false,
        }
    }
}

/// One running copy of one process type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Unique in the environment, e.g. `blue-web-1`.
    pub id: String,
    pub placement: Placement,
    pub process: String,
    /// Where it listens, if it is routed.
    pub address: Option<SocketAddr>,
    pub pid: Option<u32>,
    pub state: InstanceState,
    /// How often it was started again after it ended by itself.
    pub restarts: u32,
    pub started_at: Timestamp,
    /// How it ended the last time, e.g. `exited with status 1: address in use`.
    pub last_exit: Option<String>,
}

/// Memory of a machine that instances run on, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// For more than what runs there.
    pub available: u64,
    /// What one instance of each process type of the environment has for itself, at most.
    pub used: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    Starting,
    Ready,
    Unhealthy,
    /// Ended by itself; it is started again after a pause.
    BackingOff,
    Stopping,
}

/// The instances of one process type of a slot, as the router needs them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    pub process: String,
    pub listen: SocketAddr,
    /// Instance id and address; each was seen ready just now.
    pub instances: BTreeMap<String, SocketAddr>,
    pub health_check: HealthCheck,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    pub placement: Placement,
    pub backends: Vec<Backend>,
    /// How long requests in flight to instances that are left out may take to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Span>,
    pub fence: Fence,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    pub placement: Placement,
    /// How many instances of each routed process type must be ready.
    pub needs: BTreeMap<String, u32>,
    pub fence: Fence,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prove {
    pub placement: Placement,
    /// The live address of a routed process type.
    pub listen: SocketAddr,
    pub path: String,
    pub expected_status: u16,
    /// Text that the body must contain, with `{version}` filled in.
    pub contains: Option<String>,
    pub timeout: Span,
    /// While two releases share the traffic: makes the request one of those that this release answers.
    #[serde(default)]
    pub directed: bool,
}

/// What a live answer showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub release: ReleaseId,
    pub version: Version,
    pub status: u16,
    pub micros: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    pub placement: Placement,
    pub deadline: Span,
    pub fence: Fence,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Requests that were still in flight at the deadline and were cut.
    pub cut: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deregister {
    pub environment: EnvironmentName,
    pub slot: Slot,
    pub release: ReleaseId,
    pub fence: Fence,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Close {
    pub environment: EnvironmentName,
    pub fence: Fence,
}
