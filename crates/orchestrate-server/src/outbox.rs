//! Delivers notices: at least once, each channel in order, and no channel waits for another. Of the daemons that share a
//! database one at a time delivers to a channel.

mod turn;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use orchestrate_core::database::{FailedAttempt, OutboxRecord};
use orchestrate_core::failpoint;
use orchestrate_core::notification::{SECRET_SCOPE, SecretRef};
use orchestrate_core::ports::{DeliveryError, Notice};
use orchestrate_core::secrets::SecretText;
use orchestrate_core::time::Span;
use orchestrate_core::{Error, Result};
use tokio::task::JoinSet;

use crate::Daemon;
use crate::tasks::until;
use turn::{Taken, Turn};

/// After this many attempts, some days, a notice is given up on; `notify flush` sends it again.
const MOST_ATTEMPTS: u32 = 100;
const BATCH: i64 = 100;
/// Until it is looked again whether another daemon is done with a channel.
const LEFT_TO_OTHERS: Span = Span::from_secs(1);

pub(crate) async fn deliver(daemon: Arc<Daemon>) {
    let busy = Arc::new(Mutex::new(HashSet::new()));
    let mut deliveries = JoinSet::new();
    let mut written = daemon.options.db.notices_written();
    loop {
        let next = match hand_out(&daemon, &busy, &mut deliveries).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!("the outbox cannot be read: {}", error.full_message());
                None
            }
        };
        let mut pause = until(next, daemon.options.ports.clock.now());
        if daemon.site().is_some() {
            // Another daemon may have died with a delivery, which rings no bell here.
            pause = pause.min(daemon.options.ports.lease_ttl.duration() / 3);
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = daemon.bell.outbox.notified() => {}
            // By this program: a verdict of its own, for example.
            Ok(()) = written.changed() => {}
            Some(_) = deliveries.join_next() => {}
        }
    }
}

type Busy = Arc<Mutex<HashSet<String>>>;

/// Starts one delivery for each channel that has something due and is not being delivered to.
async fn hand_out(
    daemon: &Arc<Daemon>,
    busy: &Busy,
    deliveries: &mut JoinSet<()>,
) -> Result<Option<orchestrate_core::time::Timestamp>> {
    let db = &daemon.options.db;
    let mut waiting = false;
    for record in db.due_notices(daemon.options.ports.clock.now(), BATCH).await? {
        let address = record.notice.channel.endpoint();
        if !busy.lock().unwrap_or_else(PoisonError::into_inner).insert(address.clone()) {
            waiting = true;
            continue;
        }
        let (daemon, busy) = (Arc::clone(daemon), Arc::clone(busy));
        deliveries.spawn(async move {
            deliver_one(&daemon, &record).await;
            busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&address);
        });
    }
    // What waits for its channel is handed out when that delivery ends.
    if waiting || !deliveries.is_empty() { Ok(None) } else { db.next_notice_at().await }
}

async fn deliver_one(daemon: &Daemon, record: &OutboxRecord) {
    let opened = opened(daemon, record).await;
    let Some(site) = daemon.site() else { return attempt(daemon, record, opened).await };
    // Who has not the key leaves it to the others.
    if let Err(error) = &opened {
        return leave(daemon, record, error).await;
    }
    let turn = Turn::of(daemon, &site, &record.notice.channel);
    match turn.take(record).await {
        Ok(Taken::Here) => turn.keep_during(attempt(daemon, record, opened)).await,
        Ok(Taken::Done) => {}
        Ok(Taken::ByAnother) => daemon.options.ports.clock.sleep(LEFT_TO_OTHERS).await,
        Err(error) => not_recorded(daemon, &error).await,
    }
}

/// Says so with the notice, where people look, and looks again later.
async fn leave(daemon: &Daemon, record: &OutboxRecord, error: &Error) {
    let message = error.full_message();
    tracing::warn!("notice {} is left to a daemon with the key: {message}", record.notice.key);
    let why = format!("{} cannot deliver it: {message}", daemon.options.ports.host.holder("daemon").host);
    if let Err(error) = daemon.options.db.notice_waits(record.id, &why).await {
        tracing::warn!("that could not be recorded: {}", error.full_message());
    }
    daemon.options.ports.clock.sleep(Span::from_secs(15)).await;
}

async fn attempt(daemon: &Daemon, record: &OutboxRecord, opened: Result<(Notice, Option<SecretText>)>) {
    let (db, now) = (&daemon.options.db, || daemon.options.ports.clock.now());
    let result = match opened {
        Ok((notice, secret)) => {
            failpoint!("outbox/deliver", daemon.options.notifier.deliver(&notice, secret.as_ref()).await)
        }
        Err(error) => Err(DeliveryError { message: error.full_message(), retry: true, retry_after: None }),
    };
    let recorded = match result {
        Ok(receipt) => db.notice_delivered(record.id, record.rollback, receipt.as_ref(), now()).await,
        Err(error) => {
            let attempt = record.attempts + 1;
            let pause = error
                .retry_after
                .unwrap_or_else(|| (daemon.options.backoff)(attempt, jitter(record.id, attempt)));
            let next = (error.retry && attempt < MOST_ATTEMPTS).then(|| now().plus(pause.duration()));
            tracing::warn!(
                "notice {} was not accepted (attempt {attempt}): {}",
                record.notice.key,
                error.message
            );
            let failed = FailedAttempt { error: &error.message, next, wished: error.retry_after.is_some() };
            db.notice_failed(record.id, failed, now()).await
        }
    };
    if let Err(error) = recorded {
        not_recorded(daemon, &error).await;
    }
}

async fn not_recorded(daemon: &Daemon, error: &Error) {
    tracing::warn!("a delivery could not be recorded, it will be repeated: {}", error.full_message());
    // Without this pause a full disk would make a busy loop of sending the same notice.
    daemon.options.ports.clock.sleep(Span::from_secs(5)).await;
}

/// The notice with the whole URL of its channel and the message that it hangs on, and the channel's secret.
async fn opened(daemon: &Daemon, record: &OutboxRecord) -> Result<(Notice, Option<SecretText>)> {
    let mut notice = record.notice.clone();
    if notice.channel.via.has_threads() {
        notice.thread = daemon.options.db.thread_of(record).await?;
    }
    let secret = kept(daemon, notice.channel.secret.as_ref()).await?;
    if let Some(whole) = kept(daemon, notice.channel.address.as_ref()).await? {
        notice.channel = notice.channel.addressed(&whole);
    }
    Ok((notice, secret))
}

async fn kept(daemon: &Daemon, reference: Option<&SecretRef>) -> Result<Option<SecretText>> {
    let Some(SecretRef { name, version }) = reference else { return Ok(None) };
    daemon.options.db.secret(&*daemon.options.keys, SECRET_SCOPE, name, *version).await.map(Some)
}

/// Spreads attempts without a source of randomness: different for each notice and attempt, the same on replay.
pub(crate) fn jitter(id: i64, attempt: u32) -> f64 {
    let mixed = id.unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(attempt % 64);
    f64::from(u32::try_from(mixed >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
