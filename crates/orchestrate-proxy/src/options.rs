//! How a proxy is started, and the limits it works within.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// What [`crate::run`] needs to know.
#[derive(Debug)]
pub struct ProxyOptions {
    /// Where the control socket is made; readable by its owner only.
    pub socket: PathBuf,
    /// The file that the routes are kept in; a lock file lies beside it.
    pub state: PathBuf,
    /// Worker threads, each with its own event loop and its own connections to the instances.
    pub threads: usize,
    pub limits: Limits,
    /// A Unix socket on which the parent sends listening sockets, as [`crate::spawn_proxy`] does.
    pub inherit: Option<OwnedFd>,
    /// Whether to take over from the proxy that answers at `socket`, which then finishes what it has and ends.
    pub take_over: bool,
    /// What [`crate::Hello`] tells as the version of the program.
    pub version: &'static str,
}

impl ProxyOptions {
    pub fn new(socket: impl Into<PathBuf>, state: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            state: state.into(),
            threads: default_threads(),
            limits: Limits::default(),
            inherit: None,
            take_over: false,
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// One worker a core, at most four.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(4)
}

/// Timeouts and sizes. Timeouts but `connect` are kept to within half a second.
#[derive(Clone, Debug)]
pub struct Limits {
    /// To connect to an instance. Default 2 s.
    pub connect: Duration,
    /// How long a request waits where no instance of its release can be reached, each having been tried. Default 1 s.
    pub unreachable: Duration,
    /// For a client to send the whole head of a request, from its first byte. Default 10 s.
    pub header_read: Duration,
    /// How long a client's connection may lie idle between requests. Default 75 s.
    pub keep_alive: Duration,
    /// For an instance to begin its answer once it has the request. Default 5 min.
    pub response_header: Option<Duration>,
    /// How long a body may stand still, in either direction, before the request is cut. Default 10 min.
    pub stall: Option<Duration>,
    /// How long an upgraded connection may stand still. Default: for ever.
    pub tunnel_idle: Option<Duration>,
    /// How long an unused connection to an instance is kept. Default 30 s.
    pub upstream_idle: Duration,
    /// Unused connections kept to one instance, a thread. Default 64.
    pub upstream_idle_connections: usize,
    /// Client connections at a time; more wait in the socket's backlog. Default 16,384.
    pub max_connections: usize,
    /// Bytes of a request's head, its first line included. Default 32 KiB.
    pub max_header_bytes: usize,
    /// Headers of one request. Default 100.
    pub max_headers: usize,
    /// Bytes of a request's body. Default: no limit.
    pub max_body: Option<u64>,
    /// Requests at a time on one HTTP/2 connection. Default 256.
    pub max_streams: u32,
    /// What requests in flight get to end after SIGTERM. Default 30 s.
    pub shutdown: Duration,
    /// What they get once another proxy has taken over: nobody waits for them, so it may be long. Default 1 h.
    pub retire: Duration,
    /// How long idle connections wait for their next request then, before they are closed; a change waits for that. Default 2 s.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            unreachable: Duration::from_secs(1),
            header_read: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            response_header: Some(Duration::from_secs(300)),
            stall: Some(Duration::from_secs(600)),
            tunnel_idle: None,
            upstream_idle: Duration::from_secs(30),
            upstream_idle_connections: 64,
            max_connections: 16_384,
            max_header_bytes: 32 * 1024,
            max_headers: 100,
            max_body: None,
            max_streams: 256,
            shutdown: Duration::from_secs(30),
            retire: Duration::from_secs(3600),
            linger: Duration::from_secs(2),
        }
    }
}

/// Why the proxy did not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("another proxy holds `{}`; stop it first, or use another home", path.display())]
    Locked { path: PathBuf },
    #[error("cannot {what} `{}`", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot take over the listening sockets of the parent")]
    Inherit(#[source] std::io::Error),
    #[error("the proxy that runs does not hand over: {why}")]
    TakeOver { why: String },
    #[error("cannot start {what}")]
    Start {
        what: &'static str,
        #[source]
        source: std::io::Error,
    },
}

impl ProxyError {
    pub(crate) fn file(what: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }

    pub(crate) fn start(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Start { what, source }
    }
}
