//! The words of the control socket: one JSON value a line, each request answered by one reply, in order.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{
    Close, Deregister, Drain, Drained, PortError, Register, ReleaseCounts, RouterView, Switch,
};
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
