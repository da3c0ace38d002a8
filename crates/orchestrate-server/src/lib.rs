//! The daemon: hosts the provider of this host, delivers the outbox, ends warm periods, watches what bakes, and
//! finishes what was interrupted. It knows the ports, never the adapters behind them.

mod care;
mod drills;
mod groups;
mod hooks;
mod interrupted;
mod lanes;
mod metrics;
mod outbox;
mod prune;
mod readiness;
mod reconcile;
mod rollouts;
mod routes;
mod socket;
mod tasks;
mod traces;
mod verdicts;

pub use socket::{SocketPath, connect};
pub use traces::Traces;

use std::path::PathBuf;
use std::sync::Arc;

use orchestrate_core::database::Database;
use orchestrate_core::ports::{Notifier, Ports};
use orchestrate_core::secrets::KeySource;
use orchestrate_core::time::{Span, Timestamp};
use orchestrate_core::{Error, Result};
use tokio::sync::{Notify, watch};

/// What the daemon is made of.
pub struct DaemonOptions {
    /// Where commands reach it.
    pub socket: PathBuf,
    /// Where one datagram says "look again".
    pub wake: PathBuf,
    pub db: Database,
    pub ports: Ports,
    pub notifier: Arc<dyn Notifier>,
    /// Whoever has the keys of what channels keep secret.
    pub keys: Arc<dyn KeySource>,
    /// The pause before attempt `n` of a notice, with a jitter between 0 and 1.
    pub backoff: fn(u32, f64) -> Span,
    /// Changes whenever an instance does.
    pub instances_changed: watch::Receiver<u64>,
    /// Changes whenever the router is another process than before.
    pub router_changed: watch::Receiver<u64>,
    /// What `daemon status` shows of the router's process.
    pub router_status: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// The version of this program.
    pub version: &'static str,
    /// Where Prometheus finds the metrics; nowhere without it.
    pub metrics: Option<std::net::SocketAddr>,
    /// Where operations are told as traces.
    pub traces: Traces,
}

/// Why the daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// Services and proxy go on.
    LeaveRunning,
    /// Services and proxy are to be stopped.
    StopAll,
}

/// What all tasks of the daemon share.
pub(crate) struct Daemon {
    pub options: DaemonOptions,
    pub started_at: Timestamp,
    /// Rung when something may have to be done at once.
    pub bell: Bell,
    pub verdicts: verdicts::Verdicts,
    pub telling: traces::Telling,
    pub farewell: watch::Sender<Option<Farewell>>,
}

/// One bell a task, so that a ring reaches each of them.
#[derive(Default)]
pub(crate) struct Bell {
    pub outbox: Notify,
    pub slots: Notify,
    pub operations: Notify,
    pub rollouts: Notify,
    pub verdicts: Notify,
    pub environments: Notify,
    pub care: Notify,
    pub prune: Notify,
    pub hooks: Notify,
    pub readiness: Notify,
    pub groups: Notify,
    pub drills: Notify,
    pub traces: Notify,
}

impl Bell {
    pub fn ring(&self) {
        self.care.notify_one();
        self.outbox.notify_one();
        self.slots.notify_one();
        self.operations.notify_one();
        self.rollouts.notify_one();
        self.verdicts.notify_one();
        self.environments.notify_one();
        self.prune.notify_one();
        self.hooks.notify_one();
        self.readiness.notify_one();
        self.groups.notify_one();
        self.drills.notify_one();
        self.traces.notify_one();
    }
}

/// Serves until it is told to end, and says how. `ready` is called once commands can reach it.
pub async fn run(options: DaemonOptions, ready: impl FnOnce()) -> Result<Farewell> {
    let listener = socket::listen(&options.socket)?;
    let wake = socket::datagrams(&options.wake)?;
    let (farewell, mut told) = watch::channel(None);
    let daemon = Arc::new(Daemon {
        started_at: options.ports.clock.now(),
        bell: Bell::default(),
        verdicts: verdicts::Verdicts::default(),
        telling: traces::Telling::default(),
        farewell,
        options,
    });
    care::begin(&daemon).await;
    let mut tasks = tasks::start(&daemon, wake);
    let verdicts = Arc::clone(&daemon);
    ready();
    let served = axum::serve(listener, routes::router(Arc::clone(&daemon)));
    let ended = tokio::select! {
        result = served.into_future() => {
            result.map_err(|error| Error::failed("ORC-0501", "the daemon's socket failed").source(error))?;
            Farewell::LeaveRunning
        }
        farewell = told.wait_for(Option::is_some) => {
            farewell.ok().and_then(|farewell| *farewell).unwrap_or(Farewell::LeaveRunning)
        }
    };
    tasks.shutdown().await;
    verdicts.verdicts.shutdown().await;
    care::end(&verdicts).await;
    Ok(ended)
}
