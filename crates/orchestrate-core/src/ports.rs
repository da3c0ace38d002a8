//! What core needs of the world: a provider, a router, a notifier, a witness and a clock. All on one screen each.
//!
//! The requests are plain data with serde, because the same words travel over the daemon's and the proxy's sockets.
//! Every call *ensures a fact*: it may be repeated after a crash, and then changes nothing.

mod counts;
mod error;
mod request;
mod view;
mod witness;

pub(crate) use counts::share;
pub use counts::{Bucket, ReleaseCounts, Tally};
pub use error::{PortError, PortErrorKind, PortResult};
pub use request::{
    AwaitHealthy, Backend, Close, Counts, Deregister, Drain, Drained, Fetch, ForgetHooks, HookRequest,
    Instance, InstanceState, Memory, Placement, Processes, Proof, Prove, Register, StartRequest, StopRequest,
    Switch,
};
pub use view::{BackendView, RouterView, SlotView};
pub use witness::{Answer, CountLines, Elsewhere, Ended, Lines, Metric, OneOff, Probe, Witness};

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::name::{EnvironmentName, Version};
use crate::release::{Artifact, Digest};
use crate::secrets::SecretText;
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
    /// What somebody else changed of what runs for the release, in words for people; where only we can change it, nothing.
    /// [`Processes::All`] is for what is live, with what sends it its traffic; [`Processes::Routed`] for what waits to be.
    async fn drift(&self, _placement: &Placement, _of: Processes) -> PortResult<Vec<String>> {
        Ok(Vec::new())
    }
    /// The memory where instances of the release would be started; nothing where an engine elsewhere finds a place for them.
    async fn memory(&self, _placement: &Placement) -> PortResult<Option<Memory>> {
        Ok(None)
    }
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
    /// Returns once nothing is in flight to the slot, at the latest after `deadline`, when it cuts what is left. Nothing is cut where the slot
    /// has traffic by then, or a newer fence was seen.
    async fn drain(&self, request: &Drain) -> PortResult<Drained>;
    /// Forgets the slot, and closes addresses that no slot uses any more. A slot with traffic is refused.
    async fn deregister(&self, request: &Deregister) -> PortResult<()>;
    /// Forgets the whole environment, traffic or not, and closes its addresses.
    async fn close(&self, request: &Close) -> PortResult<()>;
}

/// Tells people. A failed delivery is retried by the outbox, never by the caller.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Makes one attempt; `secret` signs it, or lets it in, where the channel has one. What the receiver calls the message is
    /// returned where later ones of the same operation can hang on it.
    async fn deliver(
        &self,
        notice: &Notice,
        secret: Option<&SecretText>,
    ) -> Result<Option<Receipt>, DeliveryError>;
}

/// Takes the traces of operations that have ended. What it takes twice is the same.
#[async_trait]
pub trait Tracer: Send + Sync {
    /// Makes one attempt.
    async fn export(&self, trace: &crate::trace::Trace) -> Result<(), DeliveryError>;
}

/// Time, as an argument.
#[async_trait]
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
    /// How long it ran: unlike `now` it neither jumps nor goes back, and means nothing to another program.
    fn running_for(&self) -> Span;
    async fn sleep(&self, span: Span);
}

/// A message by its receiver's own name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt(pub String);

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
    /// The first message of the same operation in the same channel, where later ones hang on it.
    pub thread: Option<Receipt>,
}

/// Why a notice or a trace was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryError {
    pub message: String,
    /// False where another attempt cannot help, e.g. after status 400.
    pub retry: bool,
    /// The receiver's own wish, e.g. `Retry-After`.
    pub retry_after: Option<Span>,
}

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
    /// The home of this program, where several share a database; environments of one home are left alone by the others.
    fn site(&self) -> Option<crate::database::Site> {
        None
    }
    /// Why nothing could listen at an address of this machine; `None` where it could, or where that cannot be known.
    fn taken(&self, _: std::net::SocketAddr) -> Option<String> {
        None
    }
    /// The span that this program works for, if whoever started it is traced.
    fn traceparent(&self) -> Option<crate::trace::Traceparent> {
        None
    }
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
