//! Tells operations that have ended to a collector of traces: at least once, oldest first, and in nobody's way. What is told is
//! read from the records, so nothing is lost while the collector, or this daemon, is not there.

use std::sync::{Arc, Mutex, PoisonError};

use orchestrate_core::Result;
use orchestrate_core::database::{OperationRecord, TraceState};
use orchestrate_core::failpoint;
use orchestrate_core::name::OperationId;
use orchestrate_core::ports::{DeliveryError, Tracer};
use orchestrate_core::time::{Span, Timestamp};
use orchestrate_core::trace::Trace;

use crate::Daemon;
use crate::outbox::jitter;
use crate::tasks::until;

/// What ended longer ago is not told any more: most collectors would not take it.
const WITHIN_DAYS: i64 = 7;
const BATCH: i64 = 50;
/// What has ended since is a reason to ask a collector again that was left alone for this long.
const LEFT_ALONE: Span = Span::from_secs(30);

/// Where operations are told as traces.
pub enum Traces {
    Off,
    /// They are wanted, but it cannot be read where.
    Unusable(String),
    To {
        tracer: Arc<dyn Tracer>,
        /// For people.
        place: String,
    },
}

/// How it goes, for whoever asks.
#[derive(Default)]
pub(crate) struct Telling(Mutex<Option<Waiting>>);

/// The collector did not take what was told.
#[derive(Clone, Debug)]
struct Waiting {
    since: Timestamp,
    attempts: u32,
    error: String,
    attempted_at: Timestamp,
    next: Timestamp,
    /// The collector itself named the time of the next attempt.
    wished: bool,
}

impl Waiting {
    fn is_over(&self, now: Timestamp, news: bool) -> bool {
        let left_alone = now.millis_since(self.attempted_at) >= LEFT_ALONE.as_millis();
        now >= self.next || (news && left_alone && !self.wished)
    }
}

impl Telling {
    fn now(&self) -> Option<Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn becomes(&self, waiting: Option<Waiting>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = waiting;
    }
}

pub(crate) async fn tell(daemon: Arc<Daemon>) {
    let tracer = match &daemon.options.traces {
        Traces::To { tracer, place } => {
            tracing::info!("operations are told as traces to {place}");
            Arc::clone(tracer)
        }
        Traces::Unusable(why) => {
            tracing::error!("operations are not told as traces: {why}");
            return std::future::pending().await;
        }
        Traces::Off => return std::future::pending().await,
    };
    let mut news = false;
    loop {
        let (waiting, now) = (daemon.telling.now(), daemon.options.ports.clock.now());
        if waiting.as_ref().is_none_or(|waiting| waiting.is_over(now, news)) {
            let told = tell_all(&daemon, &*tracer).await;
            let before = daemon.telling.now();
            daemon.telling.becomes(told.err().map(|failed| failed.after(before, &daemon)));
        }
        let next = daemon.telling.now().map(|waiting| waiting.next);
        news = tokio::select! {
            () = tokio::time::sleep(until(next, daemon.options.ports.clock.now())) => false,
            () = daemon.bell.traces.notified() => true,
        };
    }
}

/// Why it cannot go on now.
struct Failed {
    /// Spreads the attempts of several daemons.
    about: i64,
    error: String,
    retry_after: Option<Span>,
}

impl From<orchestrate_core::Error> for Failed {
    fn from(error: orchestrate_core::Error) -> Self {
        Self { about: 0, error: error.full_message(), retry_after: None }
    }
}

impl Failed {
    fn after(self, before: Option<Waiting>, daemon: &Daemon) -> Waiting {
        let now = daemon.options.ports.clock.now();
        let attempts = before.as_ref().map_or(0, |before| before.attempts) + 1;
        let back_off = || (daemon.options.backoff)(attempts, jitter(self.about, attempts));
        let pause = self.retry_after.unwrap_or_else(back_off);
        tracing::warn!("operations could not be told as traces (attempt {attempts}): {}", self.error);
        Waiting {
            since: before.map_or(now, |before| before.since),
            attempts,
            attempted_at: now,
            next: now.plus(pause.duration()),
            wished: self.retry_after.is_some(),
            error: self.error,
        }
    }
}

async fn tell_all(daemon: &Daemon, tracer: &dyn Tracer) -> Result<(), Failed> {
    let db = &daemon.options.db;
    let of = daemon.care().await?.names();
    loop {
        let operations = db.untold_operations(of.as_deref(), oldest(daemon), BATCH).await?;
        if operations.is_empty() {
            return Ok(());
        }
        for operation in operations {
            tell_one(daemon, tracer, operation).await?;
        }
    }
}

async fn tell_one(daemon: &Daemon, tracer: &dyn Tracer, operation: OperationRecord) -> Result<(), Failed> {
    let (db, id) = (&daemon.options.db, operation.id);
    let traced = match db.traced(operation).await {
        Ok(traced) => traced,
        // It will never be read, and nothing behind it waits for that.
        Err(error) if error.code() == "ORC-0402" => return given_up(daemon, id, &error.full_message()).await,
        Err(error) => return Err(error.into()),
    };
    let Some(trace) = Trace::of(&traced) else {
        return Ok(db.trace_told(id, TraceState::Unwanted, None).await?);
    };
    match failpoint!("traces/export", tracer.export(&trace).await) {
        Ok(()) => db.trace_told(id, TraceState::Sent, None).await?,
        Err(DeliveryError { message, retry: false, .. }) => given_up(daemon, id, &message).await?,
        Err(DeliveryError { message: error, retry_after, .. }) => {
            return Err(Failed { about: id.0, error, retry_after });
        }
    }
    // Whatever went wrong before, it goes again.
    daemon.telling.becomes(None);
    Ok(())
}

async fn given_up(daemon: &Daemon, id: OperationId, why: &str) -> Result<(), Failed> {
    tracing::warn!("the trace of operation {id} is given up: {why}");
    Ok(daemon.options.db.trace_told(id, TraceState::Refused, Some(why)).await?)
}

fn oldest(daemon: &Daemon) -> Timestamp {
    let now = daemon.options.ports.clock.now().as_millis();
    Timestamp::from_millis(now - WITHIN_DAYS * 86_400_000)
}

/// How it stands, as `daemon status` and `doctor` show it.
pub(crate) async fn status(daemon: &Daemon) -> serde_json::Value {
    match &daemon.options.traces {
        Traces::Off => serde_json::Value::Null,
        Traces::Unusable(why) => serde_json::json!({ "to": null, "error": why }),
        Traces::To { place, .. } => {
            let count = count(daemon).await.unwrap_or_default();
            let waiting = daemon.telling.now();
            let waiting = waiting.as_ref();
            serde_json::json!({
                "to": place,
                "waiting": count.waiting,
                "refused": count.refused,
                "error": waiting.map(|waiting| &waiting.error),
                "since": waiting.map(|waiting| waiting.since),
                "next_attempt_at": waiting.map(|waiting| waiting.next),
            })
        }
    }
}

async fn count(daemon: &Daemon) -> Result<orchestrate_core::database::TraceCount> {
    let of = daemon.care().await?.names();
    daemon.options.db.count_traces(of.as_deref(), oldest(daemon)).await
}

#[cfg(test)]
mod tests;
