//! Keeps one instance running: watches it, checks its health, starts it again with growing pauses, ends it when told.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orchestrate_core::environment::HealthCheck;
use orchestrate_core::ports::{Instance, InstanceState, Placement, PortError, PortErrorKind, PortResult};
use orchestrate_core::time::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::book::InstanceEntry;
use super::health;
use super::output::last_lines;
use super::running::{Ending, Running};
use super::shared::{Shared, is_free, loopback};

/// How long an instance without an address must run to count as ready.
const SETTLED: Duration = Duration::from_secs(1);
/// The shortest pause between the checks of an instance that is ready.
const CALM_INTERVAL: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const FAILURES_TO_UNHEALTHY: u32 = 3;
/// What shells exit with where a command does not exist or cannot be run.
const NO_SUCH_COMMAND: [i32; 2] = [126, 127];

pub(super) struct Keeper {
    pub id: String,
    pub placement: Placement,
    pub process: String,
    pub number: u32,
    pub routed: bool,
    status: watch::Sender<Status>,
    orders: watch::Sender<Order>,
    check_now: Notify,
    restart_now: Notify,
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
enum Order {
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

enum Outcome {
    Stopped,
    EndedByItself,
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

    fn output_since(&self, shared: &Shared, from: u64, lines: usize) -> Vec<String> {
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

    fn note(&self, shared: &Shared, change: impl FnOnce(&mut Status)) {
        let before = self.instance();
        self.status.send_modify(change);
        if self.instance() != before || self.status.borrow().gone {
            shared.changes.send_modify(|count| *count += 1);
        }
        shared.pulse.send_modify(|count| *count += 1);
    }
}

async fn keep(shared: Arc<Shared>, keeper: Arc<Keeper>, mut held: Option<Held>) {
    loop {
        let outcome = match held.take() {
            Some(held) => attend(&shared, &keeper, held).await,
            None if keeper.is_stopping() => Outcome::Stopped,
            None => match relaunch(&shared, &keeper).await {
                Ok(started) => {
                    held = Some(started);
                    continue;
                }
                Err(error) => {
                    // What does not answer may do so next time; what was understood and failed will fail again.
                    let hopeless = matches!(error.kind, PortErrorKind::Failed | PortErrorKind::Missing);
                    let why = format!("was not started: {}", error.message);
                    note_end(&shared, &keeper, why, hopeless.then_some(error.message), false);
                    Outcome::EndedByItself
                }
            },
        };
        match outcome {
            Outcome::Stopped => break,
            Outcome::EndedByItself => pause(&shared, &keeper).await,
        }
    }
    keeper.note(&shared, |status| {
        status.pid = None;
        status.state = InstanceState::Stopping;
        status.gone = true;
    });
}

fn note_end(shared: &Shared, keeper: &Keeper, why: String, cannot_start: Option<String>, forgiven: bool) {
    tracing::warn!(environment = %keeper.placement.environment, version = %keeper.placement.version,
        instance = %keeper.id, "the instance {why}");
    keeper.note(shared, |status| {
        status.state = InstanceState::BackingOff;
        status.pid = None;
        status.exits_in_row = if forgiven { 1 } else { status.exits_in_row + 1 };
        status.cannot_start = cannot_start;
        status.last_exit = Some(why);
    });
}

/// Waits before a restart, the longer the more often it ended.
async fn pause(shared: &Shared, keeper: &Keeper) {
    let doublings = keeper.status.borrow().exits_in_row.saturating_sub(1).min(20);
    let pause = (shared.restart.first_pause * 2_u32.pow(doublings)).min(shared.restart.longest_pause);
    tokio::select! {
        () = sleep(pause) => {}
        () = keeper.restart_now.notified() => {}
        _ = stop_order(keeper) => {}
    }
}

async fn stop_order(keeper: &Keeper) -> Duration {
    let mut orders = keeper.orders.subscribe();
    match orders.wait_for(|order| *order != Order::Run).await.map(|order| *order) {
        Ok(Order::Stop(patience)) => patience,
        Ok(Order::Run) | Err(_) => std::future::pending().await,
    }
}

/// Starts the instance again; its working copy is the one it had.
async fn relaunch(shared: &Arc<Shared>, keeper: &Keeper) -> PortResult<Held> {
    let spec = shared.spec(keeper.placement.release).await?;
    if !shared.directory(&keeper.placement).is_dir() {
        shared.make_working_copy(&keeper.placement, &spec.digest).await?;
    }
    // Not yet on disk, and need not be: should we die now, the token in the record finds the process.
    let entry = shared.book.amend(|record| {
        let port = record.instance_mut(&keeper.placement, &keeper.id).and_then(|entry| entry.port);
        let port = match port {
            Some(port) if !is_free(port) => Some(shared.free_port(record)?),
            port => port,
        };
        let gone = || PortError::failed(format!("{} is no longer wanted", keeper.id));
        let entry = record.instance_mut(&keeper.placement, &keeper.id).ok_or_else(gone)?;
        entry.port = port;
        entry.run += 1;
        Ok(entry.clone())
    })?;
    let port = entry.port;
    let held = shared.spawn(&spec, &keeper.placement, entry).await?;
    keeper.note(shared, |status| {
        status.state = InstanceState::Starting;
        status.pid = Some(held.running.mark.pid);
        status.port = port;
        status.restarts += 1;
        status.started_at = Timestamp::system_now();
        status.cannot_start = None;
        status.earlier_output_from = Some(status.output_from);
        status.output_from = held.output_from;
    });
    let status = keeper.status();
    let written = shared.book.update(|record| {
        if let Some(entry) = record.instance_mut(&keeper.placement, &keeper.id) {
            entry.mark = Some(held.running.mark);
            entry.restarts = status.restarts;
            entry.started_at = status.started_at;
            entry.last_exit = status.last_exit.clone();
        }
    });
    if let Err(error) = written.await {
        // A full disk is no reason to leave a service down.
        tracing::warn!(instance = %keeper.id, %error, "a restart is not recorded");
    }
    Ok(held)
}

/// Watches a process until it ended, with all its group.
async fn attend(shared: &Arc<Shared>, keeper: &Keeper, held: Held) -> Outcome {
    let (running, began) = (&held.running, Instant::now());
    keeper.note(shared, |status| {
        status.seen_ready = None;
        status.last_miss = None;
        status.checks = 0;
    });
    let stopped = tokio::select! {
        biased;
        patience = stop_order(keeper) => Some(patience),
        () = running.ended() => None,
        () = watch_health(shared, keeper, held.adopted) => None,
    };
    if let Some(patience) = stopped {
        keeper.note(shared, |status| status.state = InstanceState::Stopping);
        running.end_group(patience).await;
        return Outcome::Stopped;
    }
    let ending = running.how_it_ended();
    let mut why = ending
        .map_or_else(|| "ended while another daemon watched it".to_owned(), |ending| ending.to_string());
    if let Some(line) = keeper.output_since(shared, held.output_from, 1).pop() {
        why = format!("{why}: {line}");
    }
    let hopeless = matches!(ending, Some(Ending::Exited(status)) if NO_SUCH_COMMAND.contains(&status));
    let cannot_start = hopeless.then(|| format!("it {why}"));
    note_end(shared, keeper, why, cannot_start, began.elapsed() >= shared.restart.forgiven_after);
    // Its children may still hold its port.
    running.end_group(shared.restart.orphan_patience).await;
    Outcome::EndedByItself
}

/// Never returns.
async fn watch_health(shared: &Arc<Shared>, keeper: &Keeper, adopted: bool) {
    let Some(address) = keeper.status.borrow().port.map(loopback) else {
        let age = Timestamp::system_now().millis_since(keeper.status.borrow().started_at);
        if !adopted || u128::from(age) < SETTLED.as_millis() {
            sleep(SETTLED).await;
        }
        keeper.note(shared, |status| {
            status.state = InstanceState::Ready;
            status.checks += 1;
        });
        return std::future::pending().await;
    };
    let check = settings(shared, keeper).await;
    let (mut failures, mut ramp) = (0, FIRST_PAUSE);
    loop {
        let begun = Instant::now();
        let seen = health::check(address, &check).await;
        failures = if seen.is_ok() { 0 } else { failures + 1 };
        let refused = seen.as_ref().is_err_and(|miss| miss.refused);
        keeper.note(shared, |status| {
            status.checks += 1;
            match seen {
                Ok(()) => (status.state, status.seen_ready) = (InstanceState::Ready, Some(begun)),
                Err(miss) => {
                    status.last_miss = Some(miss.what);
                    if status.state == InstanceState::Ready && failures >= FAILURES_TO_UNHEALTHY {
                        status.state = InstanceState::Unhealthy;
                    }
                }
            }
        });
        let interval = check.interval.duration();
        let pause = match keeper.status.borrow().state {
            InstanceState::Starting if refused => ramp.min(interval),
            InstanceState::Starting => interval,
            _ => interval.max(CALM_INTERVAL),
        };
        ramp = ramp.saturating_mul(2);
        tokio::select! {
            () = sleep(pause.max(Duration::from_millis(1))) => {}
            () = keeper.check_now.notified() => {}
        }
    }
}

/// How its health is checked; asked again for as long as nobody can say.
async fn settings(shared: &Shared, keeper: &Keeper) -> HealthCheck {
    loop {
        match shared.spec(keeper.placement.release).await {
            Ok(spec) => return spec.health_check.clone(),
            Err(error) => {
                tracing::warn!(instance = %keeper.id, %error, "its health cannot be checked yet");
                keeper.note(shared, |status| status.last_miss = Some(error.message));
                sleep(CALM_INTERVAL).await;
            }
        }
    }
}
