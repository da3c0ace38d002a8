//! What core needs of the world: a provider, a router, a notifier, a witness and a clock. All on one screen each.
//!
//! The requests are plain data with serde, because the same words travel over the daemon's and the proxy's sockets.
//! Every call *ensures a fact*: it may be repeated after a crash, and then changes nothing.

mod counts;
mod witness;

pub(crate) use counts::share;
pub use counts::{Bucket, ReleaseCounts, Tally};
pub use witness::{Answer, CountLines, Elsewhere, Ended, Lines, Metric, OneOff, Probe, Witness};

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::environment::HealthCheck;
use crate::hooks::Hook;
use crate::name::{EnvironmentName, Fence, ReleaseId, Version};
use crate::release::{Artifact, Digest};
use crate::secrets::SecretText;
use crate::slot::Slot;
use crate::time::{Span, Timestamp};
use crate::traffic::Shift;

/// Puts instances somewhere and keeps them running.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Makes sure the release can be started as it was sealed: its artifact is here byte for byte, its secrets can be read.
    async fn fetch(&self, request: &Fetch) -> PortResult<()>;
    /// Makes sure the wanted instances of the release run in the slot; other releases in that slot are stopped first.
    async fn start(&self, request: &StartRequest) -> PortResult<Vec<Instance>>;
    /// Waits until every instance of the slot is ready, or says why that will not be.
    async fn await_healthy(&self, request: &AwaitHealthy) -> PortResult<Vec<Instance>>;
    /// Makes sure the instances named do not run: SIGTERM, then SIGKILL after the release's `stop_timeout`.
    async fn stop(&self, request: &StopRequest) -> PortResult<()>;
    /// Runs a command of a release in its directory, and says how it ended; told again, not run again, for the same
    /// deployment or rollback.
    async fn hook(&self, request: &HookRequest) -> PortResult<Ended>;
    /// Removes what was kept of hooks whose deployments and rollbacks ended; who keeps nothing has nothing to remove.
    async fn forget_hooks(&self, _request: &ForgetHooks) -> PortResult<()> {
        Ok(())
    }
    /// Removes a sealed artifact that no release needs; false if it is not here, or was taken in again just now.
    async fn discard(&self, artifact: &Digest) -> PortResult<bool>;
    /// What runs in the environment now.
    async fn instances(&self, environment: &EnvironmentName) -> PortResult<Vec<Instance>>;
}

/// Decides who gets traffic. Refuses a fence older than it has seen in the environment.
#[async_trait]
pub trait Router: Send + Sync {
    /// Makes the slot's instances known at its addresses, without traffic; opens addresses that are not open yet.
    async fn register(&self, request: &Register) -> PortResult<()>;
    /// Gives all traffic of the environment to the slot, atomically; refuses if fewer instances are ready than needed.
    async fn switch(&self, request: &Switch) -> PortResult<()>;
    /// Shares the traffic between two slots, atomically; refuses if fewer instances are ready than needed.
    async fn shift(&self, request: &Shift) -> PortResult<()>;
    /// Returns once everything switched so far outlives a loss of power.
    async fn persisted(&self) -> PortResult<()>;
    /// Who has traffic, asked of the router itself.
    async fn observe(&self, environment: &EnvironmentName) -> PortResult<RouterView>;
    /// What each release of the environment has answered so far, those that left their slot among them.
    async fn counts(&self, environment: &EnvironmentName) -> PortResult<Vec<ReleaseCounts>>;
    /// Asks the live address, as a user would, and reports which release answered.
    async fn prove(&self, request: &Prove) -> PortResult<Proof>;
    /// Returns once nothing is in flight to the slot, at the latest after `deadline`, when it cuts what is left.
    async fn drain(&self, request: &Drain) -> PortResult<Drained>;
    /// Forgets the slot, and closes addresses that no slot uses any more. A slot with traffic is refused.
    async fn deregister(&self, request: &Deregister) -> PortResult<()>;
    /// Forgets the whole environment, traffic or not, and closes its addresses.
    async fn close(&self, request: &Close) -> PortResult<()>;
}

/// Tells people. A failed delivery is retried by the outbox, never by the caller.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Makes one attempt; `secret` signs it where the channel has one.
    async fn deliver(&self, notice: &Notice, secret: Option<&SecretText>) -> Result<(), DeliveryError>;
}

/// Time, as an argument.
#[async_trait]
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
    /// How long it ran: unlike `now` it neither jumps nor goes back, and means nothing to another program.
    fn running_for(&self) -> Span;
    async fn sleep(&self, span: Span);
}

/// One release in one slot of one environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

impl Fetch {
    pub fn of(release: &crate::release::Release) -> Self {
        Self { release: release.id, artifact: release.contents.artifact.digest.clone() }
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
    /// The number of ready instances of a process type.
    pub fn healthy(&self, process: &str) -> u32 {
        self.backends.iter().find(|backend| backend.process == process).map_or(0, |backend| backend.healthy)
    }
}

/// Something to tell people, as it lies in the outbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The idempotency key: the same for every attempt to deliver it.
    pub key: String,
    /// Where to, as it was configured when the notice was written.
    pub channel: crate::notification::Channel,
    pub kind: crate::notification::NoticeKind,
    pub created_at: Timestamp,
    /// The body, as JSON.
    pub payload: serde_json::Value,
}

/// Why a notice was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryError {
    pub message: String,
    /// False where another attempt cannot help, e.g. after status 400.
    pub retry: bool,
    /// The receiver's own wish, e.g. `Retry-After`.
    pub retry_after: Option<Span>,
}

pub type PortResult<T> = Result<T, PortError>;

/// Why a provider or a router did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortError {
    pub kind: PortErrorKind,
    pub message: String,
    /// What may help, for people: the last lines of an instance's output, a command to type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortErrorKind {
    /// A newer operation has been here: stop at once.
    Fenced,
    /// Fewer ready instances than needed.
    NotReady,
    /// It did not become so within its time.
    TimedOut,
    /// The sealed artifact, or another thing that was named, is not there or is not what it was.
    Missing,
    /// It was understood and cannot be done.
    Failed,
    /// No answer: whether it was done is not known.
    Unreachable,
}

impl PortError {
    pub fn new(kind: PortErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), detail: None }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(PortErrorKind::Failed, message)
    }

    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(PortErrorKind::Unreachable, message)
    }

    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PortError {}

/// Takes an artifact in at seal time. Kept apart from [`Provider`] because it runs beside the user's files.
#[async_trait]
pub trait ArtifactSource: Send + Sync {
    /// Copies the version's artifact into the store, once, and says what it is.
    async fn take_in(&self, version: &Version) -> Result<Artifact, crate::error::Error>;
}

/// This machine and its programs, as far as leases need them.
pub trait Host: Send + Sync {
    /// This very program, as it is told in a lease.
    fn holder(&self, actor: &str) -> crate::database::Holder;
    /// Whether the holder still runs; `None` if that cannot be known from here (another machine).
    fn runs(&self, holder: &crate::database::Holder) -> Option<bool>;
}

/// Told of each step, for people who wait.
pub trait Progress: Send + Sync {
    fn started(&self, step: &crate::plan::Step);
    fn done(&self, step: &crate::plan::Step, took: Span);
    fn remark(&self, text: &str);
}

/// Nobody waits.
pub struct Silent;

impl Progress for Silent {
    fn started(&self, _: &crate::plan::Step) {}
    fn done(&self, _: &crate::plan::Step, _: Span) {}
    fn remark(&self, _: &str) {}
}

/// Everything that carrying out an operation needs.
#[derive(Clone)]
pub struct Ports {
    pub provider: Arc<dyn Provider>,
    pub router: Arc<dyn Router>,
    pub witness: Arc<dyn Witness>,
    pub clock: Arc<dyn Clock>,
    pub host: Arc<dyn Host>,
    pub progress: Arc<dyn Progress>,
    /// How long a lease lasts without being renewed.
    pub lease_ttl: Span,
}

/// The system's clock.
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::system_now()
    }

    fn running_for(&self) -> Span {
        static BEGAN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        let elapsed = BEGAN.get_or_init(std::time::Instant::now).elapsed();
        Span::from_millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    async fn sleep(&self, span: Span) {
        tokio::time::sleep(span.duration()).await;
    }
}
