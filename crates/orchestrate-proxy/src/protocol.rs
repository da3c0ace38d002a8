//! The words of the control socket: one JSON value a line, each request answered by one reply, in order.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use orchestrate_core::name::{EnvironmentName, ReleaseId};
use orchestrate_core::ports::{
    Close, Deregister, Drain, Drained, PortError, Register, ReleaseCounts, RouterView, Switch,
};
use orchestrate_core::slot::Slot;
use orchestrate_core::traffic::Shift;
use serde::{Deserialize, Serialize};

use crate::stats::ReleaseStats;

/// The longest line that is read.
pub(crate) const LINE: u64 = 8 * 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    Hello,
    Observe(EnvironmentName),
    Register(Register),
    Switch(Switch),
    Shift(Shift),
    Drain(Drain),
    Deregister(Deregister),
    Close(Close),
    Persisted,
    Stats,
    Counts(EnvironmentName),
    /// From here on the connection carries [`Held`] messages and listening sockets.
    Hold,
    Shutdown,
    /// An heir takes over: changes wait, and the state is the heir's, until [`Request::Retire`] or the end of the connection.
    Yield,
    /// The heir serves: no connection is taken any more, and what is under way is finished.
    Retire,
    /// To one that has retired: answered once idle connections had their time and have ended.
    Quiet,
    /// To one that has retired: a [`Request::Drain`] of what it still has in flight.
    DrainRest(Drain),
    /// To one that has retired: waits for what it has in flight to instances that the registration leaves out.
    RegisterRest(Register),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Hello(Hello),
    View { view: RouterView, token: String },
    Switched { token: String },
    Drained(Drained),
    Stats(Vec<ReleaseStats>),
    Counts(Vec<ReleaseCounts>),
    Done,
    Refused(PortError),
    Yielded(Legacy),
}

/// What an heir is told beside the state file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Legacy {
    /// Proofs hold whichever of the two is asked.
    pub token: String,
    /// The instances that were seen ready.
    pub healthy: Vec<Seen>,
}

/// An instance, by the release and the slot that it serves in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub environment: EnvironmentName,
    pub slot: Slot,
    pub release: ReleaseId,
    pub instance: String,
}

/// What the proxy says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub pid: u32,
    pub program_version: String,
    /// Shown to the proxy in a request's `orchestrate-prove` header, it makes the answer name its release.
    pub token: String,
    pub threads: usize,
    /// Open listening addresses.
    pub listening: Vec<SocketAddr>,
    /// Addresses that could not be opened, and why; the proxy tries again every second.
    pub unbound: BTreeMap<SocketAddr, String>,
    /// Where the state file was moved that could not be read at the start.
    pub set_aside: Option<String>,
}

/// What accompanies listening sockets on their way to a holder or an heir.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Held {
    /// The socket travels with this message.
    Open(SocketAddr),
    Closed(SocketAddr),
    /// All sockets there are have been sent.
    Complete,
}
