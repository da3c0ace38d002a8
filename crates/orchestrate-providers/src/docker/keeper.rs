//! One instance as the provider's verbs see it: its status, and the orders that its task (`keep`) obeys.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orchestrate_core::ports::{Instance, InstanceState, Placement, PortError};
use orchestrate_core::time::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::follow::follow;
use super::keep::keep;
use super::shared::Shared;
use crate::process::book::InstanceEntry;
use crate::process::output::TAIL_BYTES;
use crate::process::shared::loopback;

/// In the book: nobody has seen yet when the container began to run.
pub(super) fn not_seen() -> Timestamp {
    Timestamp::from_millis(0)
}

pub(super) struct Keeper {
    pub id: String,
    pub placement: Placement,
    pub process: String,
    pub number: u32,
    pub routed: bool,
    pub status: watch::Sender<Status>,
    pub orders: watch::Sender<Order>,
    pub check_now: Notify,
    /// Something happened to its container.
    pub look_now: Notify,
    pub restart_now: Notify,
    /// Held by who makes its container, or takes it away.
    pub making: tokio::sync::Mutex<()>,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// An instance as its keeper sees it.
#[derive(Clone, Debug)]
pub(super) struct Status {
    pub state: InstanceState,
    /// The name of its container.
    pub container: String,
    pub pid: Option<u32>,
    pub port: Option<u16>,
    pub restarts: u32,
    /// How often the engine itself had started the container again when it was last seen.
    pub engine_restarts: u32,
    pub started_at: Timestamp,
    /// When the run that is known began, as the engine says it; none was seen yet otherwise.
    pub run: Option<Timestamp>,
    pub last_exit: Option<String>,
    /// How often it ended by itself without ever running long in between.
    pub exits_in_row: u32,
    /// It cannot be started at all, and why.
    pub cannot_start: Option<String>,
    /// It could not be stopped, and why.
    pub cannot_stop: Option<PortError>,
    /// Its image's own check says how it is.
    pub by_engine: bool,
    /// When the newest successful check was begun.
    pub seen_ready: Option<Instant>,
    pub last_miss: Option<String>,
    /// Checks that were made of this run.
    pub checks: u64,
    /// With which status it ended, as the engine announced it.
    pub announced_end: Option<i64>,
    /// Whether the engine has ever said how it is.
    pub looked: bool,
    /// Where in its log its output begins.
    pub output_from: u64,
    /// Its container ended for good.
    pub ended: bool,
    /// All of its output was written down.
    pub output_done: bool,
    /// It does not run and will not.
    pub gone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Order {
    Run,
    Stop(Duration),
}

impl Keeper {
    /// Takes over an instance that stands in the book; what it lacks is made by its task.
    pub fn begin(
        shared: &Arc<Shared>,
        placement: Placement,
        id: String,
        entry: &InstanceEntry,
        adopted: bool,
    ) -> Arc<Self> {
        let log = shared.log(&placement, &entry.process, entry.number);
        let written = std::fs::metadata(log).map_or(0, |about| about.len());
        let status = Status {
            state: InstanceState::Starting,
            container: entry.token.clone(),
            pid: None,
            port: entry.port,
            restarts: entry.restarts,
            engine_restarts: entry.run,
            started_at: if entry.started_at == not_seen() {
                Timestamp::system_now()
            } else {
                entry.started_at
            },
            run: Some(entry.started_at).filter(|run| *run != not_seen()),
            last_exit: entry.last_exit.clone(),
            exits_in_row: 0,
            cannot_start: None,
            cannot_stop: None,
            by_engine: false,
            seen_ready: None,
            last_miss: None,
            checks: 0,
            announced_end: None,
            looked: false,
            output_from: if adopted { written.saturating_sub(TAIL_BYTES) } else { written },
            ended: false,
            output_done: false,
            gone: false,
        };
        let patience = shared.stop_timeout(&placement);
        let keeper = Arc::new(Self {
            id,
            placement,
            process: entry.process.clone(),
            number: entry.number,
            routed: entry.port.is_some(),
            status: watch::Sender::new(status),
            orders: watch::Sender::new(if entry.stopping { Order::Stop(patience) } else { Order::Run }),
            check_now: Notify::new(),
            look_now: Notify::new(),
            restart_now: Notify::new(),
            making: tokio::sync::Mutex::default(),
            tasks: Mutex::default(),
        });
        shared.add_keeper(Arc::clone(&keeper));
        let tasks = [
            tokio::spawn(keep(Arc::clone(shared), Arc::clone(&keeper))).abort_handle(),
            tokio::spawn(follow(Arc::clone(shared), Arc::clone(&keeper))).abort_handle(),
        ];
        keeper.tasks.lock().unwrap_or_else(PoisonError::into_inner).extend(tasks);
        shared.changes.send_modify(|count| *count += 1);
        keeper
    }

    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    pub fn instance(&self) -> Instance {
        let status = self.status();
        Instance {
            id: self.id.clone(),
            placement: self.placement.clone(),
            process: self.process.clone(),
            address: status.port.map(loopback),
            pid: status.pid,
            state: status.state,
            restarts: status.restarts,
            started_at: status.started_at,
            last_exit: status.last_exit,
        }
    }

    pub fn check_now(&self) {
        self.check_now.notify_one();
    }

    /// Ends a pause before a restart, and forgives the exits so far.
    pub fn restart_now(&self, shared: &Shared) {
        if self.status.borrow().state == InstanceState::BackingOff {
            self.note(shared, |status| status.exits_in_row = 0);
            self.restart_now.notify_one();
        }
    }

    pub fn order_stop(&self, patience: Duration) {
        self.status.send_modify(|status| status.cannot_stop = None);
        self.orders.send_replace(Order::Stop(patience));
        self.restart_now.notify_one();
    }

    pub fn is_stopping(&self) -> bool {
        *self.orders.borrow() != Order::Run
    }

    /// Returns once it is to be stopped, with the time that it may take.
    pub async fn stop_order(&self) -> Duration {
        let mut orders = self.orders.subscribe();
        match orders.wait_for(|order| *order != Order::Run).await.map(|order| *order) {
            Ok(Order::Stop(patience)) => patience,
            Ok(Order::Run) | Err(_) => std::future::pending().await,
        }
    }

    /// Returns once nothing of the instance runs, or it is known why it still does.
    pub async fn gone(&self) -> Result<(), PortError> {
        let mut changes = self.status.subscribe();
        let ended = changes.wait_for(|status| status.gone || status.cannot_stop.is_some()).await;
        match ended {
            Ok(status) if status.gone => Ok(()),
            Ok(status) => status.cannot_stop.clone().map_or(Ok(()), Err),
            // The sender lives in `self`, so this cannot be.
            Err(_) => Ok(()),
        }
    }

    /// Returns once its health was checked, or it ended.
    pub async fn looked_at(&self) {
        let looked =
            |status: &Status| status.checks > 0 || status.gone || status.state != InstanceState::Starting;
        let _ = self.status.subscribe().wait_for(looked).await;
    }

    /// Lets go of the instance, which keeps running.
    pub fn let_go(&self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }

    pub fn note(&self, shared: &Shared, change: impl FnOnce(&mut Status)) {
        let before = self.instance();
        self.status.send_modify(change);
        if self.instance() != before || self.status.borrow().gone {
            shared.changes.send_modify(|count| *count += 1);
        }
        shared.pulse.send_modify(|count| *count += 1);
    }
}
