//! One instance as the supervisor's verbs see it: its status, and the orders that its task (`keep`) obeys.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orchestrate_core::ports::{Instance, InstanceState, Placement};
use orchestrate_core::time::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::book::InstanceEntry;
use super::keep::keep;
use super::output::last_lines;
use super::running::Running;
use super::shared::{Shared, loopback};

pub(super) struct Keeper {
    pub id: String,
    pub placement: Placement,
    pub process: String,
    pub number: u32,
    pub routed: bool,
    pub status: watch::Sender<Status>,
    pub orders: watch::Sender<Order>,
    pub check_now: Notify,
    pub restart_now: Notify,
    task: Mutex<Option<AbortHandle>>,
}

/// An instance as its keeper sees it.
#[derive(Clone, Debug)]
pub(super) struct Status {
    pub state: InstanceState,
    pub pid: Option<u32>,
    pub port: Option<u16>,
    pub restarts: u32,
    pub started_at: Timestamp,
    pub last_exit: Option<String>,
    /// How often it ended by itself without ever running long in between.
    pub exits_in_row: u32,
    /// It cannot be started at all, and why.
    pub cannot_start: Option<String>,
    /// When the newest successful check was begun.
    pub seen_ready: Option<Instant>,
    pub last_miss: Option<String>,
    /// Checks that were made of this run.
    pub checks: u64,
    /// Where the output of this run begins in its log, and that of the run before.
    pub output_from: u64,
    pub earlier_output_from: Option<u64>,
    /// It does not run and will not.
    pub gone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Order {
    Run,
    Stop(Duration),
}

/// A process in hand, with the place in its log where its output begins.
pub(super) struct Held {
    pub running: Running,
    pub output_from: u64,
    /// It was found running, and may have been ready for long.
    pub adopted: bool,
}

impl Keeper {
    /// Takes over an instance that stands in the book. Without a process it is started.
    pub fn begin(
        shared: &Arc<Shared>,
        placement: Placement,
        id: String,
        entry: &InstanceEntry,
        held: Option<Held>,
    ) -> Arc<Self> {
        let patience = shared.stop_timeout(&placement);
        let status = Status {
            state: InstanceState::Starting,
            pid: held.as_ref().map(|held| held.running.mark.pid),
            port: entry.port,
            restarts: entry.restarts,
            started_at: entry.started_at,
            last_exit: entry.last_exit.clone(),
            exits_in_row: 0,
            cannot_start: None,
            seen_ready: None,
            last_miss: None,
            checks: 0,
            output_from: held.as_ref().map_or(0, |held| held.output_from),
            earlier_output_from: None,
            gone: false,
        };
        let keeper = Arc::new(Self {
            id,
            placement,
            process: entry.process.clone(),
            number: entry.number,
            routed: entry.port.is_some(),
            status: watch::Sender::new(status),
            orders: watch::Sender::new(if entry.stopping { Order::Stop(patience) } else { Order::Run }),
            check_now: Notify::new(),
            restart_now: Notify::new(),
            task: Mutex::default(),
        });
        shared.add_keeper(Arc::clone(&keeper));
        let task = tokio::spawn(keep(Arc::clone(shared), Arc::clone(&keeper), held));
        *keeper.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
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

    /// Its last output. That of a run that goes on may be nothing yet, so the one before counts too.
    pub fn last_output(&self, shared: &Shared, lines: usize) -> Vec<String> {
        let status = self.status();
        let earlier = status.pid.and(status.earlier_output_from);
        self.output_since(shared, earlier.unwrap_or(status.output_from), lines)
    }

    pub fn output_since(&self, shared: &Shared, from: u64, lines: usize) -> Vec<String> {
        last_lines(&shared.log(&self.placement, &self.process, self.number), from, lines)
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
        self.orders.send_replace(Order::Stop(patience));
    }

    pub fn is_stopping(&self) -> bool {
        *self.orders.borrow() != Order::Run
    }

    /// Returns once nothing of the instance runs.
    pub async fn gone(&self) {
        // The sender lives in `self`, so this cannot fail.
        let _ = self.status.subscribe().wait_for(|status| status.gone).await;
    }

    /// Returns once its health was checked, or it ended.
    pub async fn looked_at(&self) {
        let looked =
            |status: &Status| status.checks > 0 || status.gone || status.state != InstanceState::Starting;
        let _ = self.status.subscribe().wait_for(looked).await;
    }

    /// Lets go of the instance, which keeps running.
    pub fn let_go(&self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
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
