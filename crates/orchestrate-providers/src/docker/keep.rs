//! The task that keeps one instance running: watches its container, checks its health, starts again what the engine does
//! not start by itself, and ends it when told.

use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::ports::{InstanceState, PortError, PortErrorKind, PortResult};
use orchestrate_core::time::Timestamp;
use tokio::time::sleep;

use super::container::{self, Failure};
use super::health;
use super::keeper::{Keeper, Order, not_seen};
use super::look::{self, End, Run, Seen};
use super::shared::Shared;
use super::stop::end;
use crate::process::book::InstanceEntry;
use crate::process::shared::is_free;

/// How often the engine is asked even if it announced nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How often it is asked while it does not answer.
const ASK_AGAIN: Duration = Duration::from_millis(500);
const PORTS_TRIED: u32 = 5;
/// What shells and the engine end with where a command does not exist or cannot be run.
const NO_SUCH_COMMAND: [i64; 2] = [126, 127];

/// Ends only once the instance was told to stop, and is gone.
pub(super) async fn keep(shared: Arc<Shared>, keeper: Arc<Keeper>) {
    loop {
        let order = *keeper.orders.borrow();
        if let Order::Stop(patience) = order {
            match end(&shared, &keeper, patience).await {
                Ok(()) => break,
                Err(error) => {
                    keeper.note(&shared, |status| status.cannot_stop = Some(error));
                    // Told again, it is tried at once.
                    wait(&keeper, ASK_AGAIN * 4).await;
                    continue;
                }
            }
        }
        tokio::select! {
            biased;
            _ = keeper.stop_order() => {}
            () = live(&shared, &keeper) => {}
        }
    }
    keeper.note(&shared, |status| {
        status.pid = None;
        status.state = InstanceState::Stopping;
        status.gone = true;
    });
}

/// Looks once, and does what follows from it.
async fn live(shared: &Arc<Shared>, keeper: &Arc<Keeper>) {
    let container = keeper.status.borrow().container.clone();
    match look::look(shared, &container).await {
        Ok(Seen::Running(run)) => attend(shared, keeper, run).await,
        Ok(Seen::Restarting(end)) => {
            note_end(shared, keeper, &end).await;
            tokio::select! { () = keeper.look_now.notified() => {}, () = sleep(ASK_AGAIN) => {} }
        }
        Ok(Seen::Ended(end)) => {
            note_end(shared, keeper, &end).await;
            again(shared, keeper, true).await;
        }
        Ok(Seen::Missing) => {
            note_gone(shared, keeper, "was removed by somebody else".into(), None, 1);
            again(shared, keeper, false).await;
        }
        Err(error) => {
            keeper.note(shared, |status| status.last_miss = Some(error.message));
            tokio::select! { () = keeper.look_now.notified() => {}, () = sleep(ASK_AGAIN) => {} }
        }
    }
}

/// Watches one run until it is over.
async fn attend(shared: &Arc<Shared>, keeper: &Arc<Keeper>, run: Run) {
    note_run(shared, keeper, &run).await;
    tokio::select! {
        () = until_over(shared, keeper, &run) => {}
        () = health::watch(shared, keeper, run.started_at) => {}
    }
}

async fn until_over(shared: &Arc<Shared>, keeper: &Arc<Keeper>, run: &Run) {
    let container = keeper.status.borrow().container.clone();
    health::note_of_image(shared, keeper, &run.health).await;
    loop {
        tokio::select! { () = keeper.look_now.notified() => {}, () = sleep(LOOK_AGAIN) => {} }
        match look::look(shared, &container).await {
            Ok(Seen::Running(now)) if now.started_at == run.started_at => {
                health::note_of_image(shared, keeper, &now.health).await;
            }
            Ok(Seen::Running(_) | Seen::Restarting(_) | Seen::Ended(_) | Seen::Missing) => return,
            // The container may run on without its engine; its own health shows.
            Err(error) => keeper.note(shared, |status| status.last_miss = Some(error.message)),
        }
    }
}

/// Takes note of a run that was not seen before, and of the end of the one before it.
async fn note_run(shared: &Arc<Shared>, keeper: &Keeper, run: &Run) {
    let before = keeper.status();
    let is_new = before.run != Some(run.started_at);
    let is_again = is_new && before.run.is_some();
    let times = run.engine_restarts.saturating_sub(before.engine_restarts).max(1);
    keeper.note(shared, |status| {
        status.looked = true;
        status.pid = run.pid;
        status.engine_restarts = run.engine_restarts;
        status.cannot_start = None;
        let announced = status.announced_end.take();
        if !is_new {
            return;
        }
        (status.run, status.started_at) = (Some(run.started_at), run.started_at);
        (status.seen_ready, status.last_miss, status.checks) = (None, None, 0);
        if is_again {
            status.restarts += times;
            if status.state != InstanceState::BackingOff {
                status.last_exit = Some(announced.map_or_else(|| "ended".to_owned(), look::exited));
                status.exits_in_row += times;
            }
        }
        status.state = InstanceState::Starting;
    });
    if is_new {
        write_down(shared, keeper).await;
    }
}

/// Takes note of an end, once, with the last line of what it wrote.
async fn note_end(shared: &Arc<Shared>, keeper: &Keeper, end: &End) {
    let before = keeper.status();
    let times = end.engine_restarts.saturating_sub(before.engine_restarts);
    if times == 0 && before.state == InstanceState::BackingOff {
        return;
    }
    let mut how = end.how.clone();
    if let Some(line) = look::last_lines(shared, &before.container, 1).await.pop() {
        how = format!("{how}: {line}");
    }
    let hopeless = NO_SUCH_COMMAND.contains(&end.status).then(|| format!("it {how}"));
    keeper.note(shared, |status| {
        status.restarts += times.saturating_sub(1);
        status.engine_restarts = end.engine_restarts;
        status.announced_end = None;
    });
    note_gone(shared, keeper, how, hopeless, times.max(1));
    write_down(shared, keeper).await;
}

fn note_gone(shared: &Shared, keeper: &Keeper, how: String, cannot_start: Option<String>, times: u32) {
    tracing::warn!(environment = %keeper.placement.environment, version = %keeper.placement.version,
        instance = %keeper.id, "the instance {how}");
    let ran = Timestamp::system_now().millis_since(keeper.status.borrow().started_at);
    let forgiven = u128::from(ran) >= shared.restart.forgiven_after.as_millis()
        && keeper.status.borrow().state != InstanceState::BackingOff;
    keeper.note(shared, |status| {
        status.looked = true;
        status.state = InstanceState::BackingOff;
        status.pid = None;
        status.exits_in_row = if forgiven { times } else { status.exits_in_row + times };
        status.cannot_start = cannot_start;
        status.last_exit = Some(how);
    });
}

/// Starts it again after a pause, the longer the more often it ended.
async fn again(shared: &Arc<Shared>, keeper: &Arc<Keeper>, is_there: bool) {
    let doublings = keeper.status.borrow().exits_in_row.saturating_sub(1).min(20);
    let pause = (shared.restart.first_pause * 2_u32.pow(doublings)).min(shared.restart.longest_pause);
    wait(keeper, pause).await;
    let (shared, keeper) = (Arc::clone(shared), Arc::clone(keeper));
    // What is half started when the order to stop comes must still be known.
    let done = tokio::spawn(async move {
        if let Err(error) = relaunch(&shared, &keeper, is_there).await {
            // What does not answer may do so next time; what was understood and failed will fail again.
            let hopeless = matches!(error.kind, PortErrorKind::Failed | PortErrorKind::Missing);
            let why = format!("was not started: {}", error.message);
            note_gone(&shared, &keeper, why, hopeless.then_some(error.message), 1);
        }
    });
    let _ = done.await;
}

async fn wait(keeper: &Keeper, pause: Duration) {
    tokio::select! { () = keeper.restart_now.notified() => {}, () = sleep(pause) => {} }
}

async fn relaunch(shared: &Arc<Shared>, keeper: &Keeper, is_there: bool) -> PortResult<()> {
    let _making = keeper.making.lock().await;
    if keeper.is_stopping() {
        return Ok(());
    }
    let before = keeper.status();
    if is_there && container::start(shared, &before.container).await.is_ok() {
        return Ok(());
    }
    container::remove(shared, &before.container).await?;
    let spec = shared.spec(keeper.placement.release).await?;
    for _ in 0..PORTS_TRIED {
        let entry = renew(shared, keeper).await?;
        match container::launch(shared, &spec, &keeper.placement, &entry).await {
            Ok(()) => return Ok(()),
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::PortTaken(error)) => tracing::info!(%error, "another port is tried"),
        }
    }
    Err(PortError::failed("every port that was tried was taken by somebody else"))
}

/// A container of a new name, with the port that it had, if that is still free; on disk before it is made.
async fn renew(shared: &Arc<Shared>, keeper: &Keeper) -> PortResult<InstanceEntry> {
    let name = shared.new_name(&keeper.placement.environment, &keeper.id);
    let renewed = shared.book.update(|record| {
        let port = record.instance_mut(&keeper.placement, &keeper.id).and_then(|entry| entry.port);
        let port = match port {
            Some(port) if !is_free(port) => Some(shared.free_port(record)?),
            port => port,
        };
        let gone = || PortError::failed(format!("{} is no longer wanted", keeper.id));
        let entry = record.instance_mut(&keeper.placement, &keeper.id).ok_or_else(gone)?;
        (entry.token, entry.port, entry.run) = (name, port, 0);
        Ok::<_, PortError>(entry.clone())
    });
    let entry: InstanceEntry = renewed.await??;
    keeper.note(shared, |status| {
        status.container = entry.token.clone();
        status.port = entry.port;
        status.engine_restarts = 0;
    });
    Ok(entry)
}

async fn write_down(shared: &Arc<Shared>, keeper: &Keeper) {
    let status = keeper.status();
    let written = shared.book.update(|record| {
        if let Some(entry) = record.instance_mut(&keeper.placement, &keeper.id) {
            entry.restarts = status.restarts;
            entry.run = status.engine_restarts;
            entry.started_at = status.run.unwrap_or_else(not_seen);
            entry.last_exit = status.last_exit.clone();
        }
    });
    if let Err(error) = written.await {
        // A full disk is no reason to leave a service down.
        tracing::warn!(instance = %keeper.id, %error, "how the instance is could not be recorded");
    }
}
