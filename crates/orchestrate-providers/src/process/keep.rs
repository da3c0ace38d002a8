//! The task that keeps one instance running: watches it, checks its health, starts it again with growing pauses, ends
//! it when told.

use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::environment::HealthCheck;
use orchestrate_core::ports::{InstanceState, PortError, PortErrorKind, PortResult};
use orchestrate_core::time::Timestamp;
use tokio::time::{Instant, sleep};

use super::health;
use super::keeper::{Held, Keeper, Order};
use super::running::Ending;
use super::shared::{Shared, is_free, loopback};

/// How long an instance without an address must run to count as ready.
const SETTLED: Duration = Duration::from_secs(1);
/// The shortest pause between the checks of an instance that is ready.
const CALM_INTERVAL: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// The longest pause while nobody listens yet: a refused connection costs microseconds, and people wait.
const LONGEST_REFUSED: Duration = Duration::from_millis(10);
const FAILURES_TO_UNHEALTHY: u32 = 3;
/// What shells exit with where a command does not exist or cannot be run.
const NO_SUCH_COMMAND: [i32; 2] = [126, 127];

enum Outcome {
    Stopped,
    EndedByItself,
}

/// Ends only once the instance was told to stop, and is gone.
pub(super) async fn keep(shared: Arc<Shared>, keeper: Arc<Keeper>, mut held: Option<Held>) {
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
        shared.make_working_copy(&keeper.placement, &spec).await?;
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
        PortResult::Ok(entry.clone())
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
            InstanceState::Starting if refused => ramp.min(interval).min(LONGEST_REFUSED),
            InstanceState::Starting => interval,
            // One miss may be chance; whether it is shows soon.
            InstanceState::Ready if failures > 0 => interval.max(CALM_INTERVAL / 10),
            InstanceState::Ready
            | InstanceState::Unhealthy
            | InstanceState::BackingOff
            | InstanceState::Stopping => interval.max(CALM_INTERVAL),
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
