//! What core asks about a release that is live: one request, one command, its output, a metric. A finding is never
//! decided here; what answers only says what it saw.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Placement, PortError, PortResult};
use crate::time::{Span, Timestamp};

/// Sees what a release does. Every call ends within its own `timeout`, with [`TimedOut`](super::PortErrorKind::TimedOut)
/// if it must.
#[async_trait]
pub trait Witness: Send + Sync {
    /// Makes one request to one instance, and reads its answer.
    async fn request(&self, request: &Probe) -> PortResult<Answer>;
    /// Runs a command once, as an instance of the release would run: its directory, its variables, its secrets.
    async fn run(&self, command: &OneOff) -> PortResult<Ended>;
    /// Counts the lines of an instance's output that match, since the instance was started.
    async fn count_lines(&self, request: &CountLines) -> PortResult<Lines>;
    /// The value of a metric; none where the expression has none.
    async fn metric(&self, request: &Metric) -> PortResult<Option<f64>>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub address: SocketAddr,
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Option<String>,
    pub timeout: Span,
}

/// An answer, its body cut after 64 KiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
    /// From the request's first byte to the end of the answer.
    pub micros: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOff {
    pub placement: Placement,
    /// What it is called in messages.
    pub name: String,
    pub command: Vec<String>,
    /// Beside the release's own variables.
    pub variables: BTreeMap<String, String>,
    pub timeout: Span,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub success: bool,
    /// E.g. `exited with status 1`.
    pub how: String,
    /// Its exit status, unless it was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The end of what it printed.
    pub output: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountLines {
    pub placement: Placement,
    /// All process types, where there is none.
    pub process: Option<String>,
    /// A regular expression.
    pub pattern: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    pub matches: u64,
    /// The first one that matched, cut to what a person reads.
    pub first: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    pub url: String,
    pub query: String,
    /// As it was at that time; now, where there is none.
    pub at: Option<Timestamp>,
    pub timeout: Span,
}

/// Nobody to ask: commands leave the watching to the daemon.
pub struct Elsewhere;

fn elsewhere<T>() -> PortResult<T> {
    Err(PortError::unreachable("only the daemon watches releases"))
}

#[async_trait]
impl Witness for Elsewhere {
    async fn request(&self, _: &Probe) -> PortResult<Answer> {
        elsewhere()
    }

    async fn run(&self, _: &OneOff) -> PortResult<Ended> {
        elsewhere()
    }

    async fn count_lines(&self, _: &CountLines) -> PortResult<Lines> {
        elsewhere()
    }

    async fn metric(&self, _: &Metric) -> PortResult<Option<f64>> {
        elsewhere()
    }
}
