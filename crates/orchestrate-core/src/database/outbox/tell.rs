//! Writing notices, in the transaction of what they tell of.

use crate::database::row::to_json;
use crate::database::sql::query;
use crate::database::{Database, EnvironmentRecord, Tx, commit};
use crate::error::Result;
use crate::name::{EnvironmentName, RollbackId};
use crate::notification::{Channel, NoticeKind, Told};
use crate::release::Digest;
use crate::time::Timestamp;
use tokio::sync::watch;

/// A notice to be written.
#[derive(Clone, Debug)]
pub struct NewNotice {
    /// The idempotency key, the same over all attempts.
    pub key: String,
    pub environment: Option<EnvironmentName>,
    pub kind: NoticeKind,
    pub channel: Channel,
    pub payload: serde_json::Value,
    pub rollback: Option<RollbackId>,
    /// The operation that it is about, if it is about one.
    pub subject: Option<String>,
    pub now: Timestamp,
}

impl Database {
    /// Changes whenever this program has written notices, so that nobody has to look for them.
    pub fn notices_written(&self) -> watch::Receiver<u64> {
        self.source.notices()
    }

    pub async fn enqueue_notice(&self, notice: &NewNotice) -> Result<()> {
        let mut tx = self.begin().await?;
        enqueue(&mut tx, notice).await?;
        commit(tx).await
    }
}

async fn enqueue(tx: &mut Tx, notice: &NewNotice) -> Result<()> {
    query(
        "INSERT INTO outbox (notice_key, environment, kind, channel, payload, rollback_id, subject, created_at, lane) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (notice_key) DO NOTHING",
    )
    .bind(notice.key.clone())
    .bind(notice.environment.as_ref().map(ToString::to_string))
    .bind(notice.kind.as_str())
    .bind(to_json(&notice.channel)?)
    .bind(notice.payload.to_string())
    .bind(notice.rollback.map(|id| id.0))
    .bind(notice.subject.clone())
    .bind(notice.now.to_string())
    .bind(lane(notice))
    .execute(tx)
    .await?;
    tx.tells = true;
    Ok(())
}

/// Within it, notices are delivered in the order in which they were written.
fn lane(notice: &NewNotice) -> String {
    let environment = notice.environment.as_ref().map(EnvironmentName::as_str).unwrap_or_default();
    let address = notice.channel.endpoint();
    Digest::of(format!("{environment} {address}").as_bytes()).to_string()
}

/// Writes a notice for every channel that wants it.
pub(crate) async fn tell(
    tx: &mut Tx,
    environment: &EnvironmentRecord,
    kind: NoticeKind,
    told: Told,
    rollback: Option<RollbackId>,
    now: Timestamp,
) -> Result<()> {
    if !environment.tells(kind) {
        return Ok(());
    }
    let words = Words {
        key: format!("{}-{}-{}", told.key(kind), environment.environment.name, now.as_millis()),
        payload: told.payload(kind, environment)?,
        rollback,
        subject: told.subject(),
    };
    say(tx, environment, kind, words, now).await
}

/// What every channel is told alike.
pub(crate) struct Words {
    /// The beginning of the idempotency key; the number of the channel follows.
    pub key: String,
    pub payload: serde_json::Value,
    pub rollback: Option<RollbackId>,
    pub subject: Option<String>,
}

/// The same for words that are ready.
pub(crate) async fn say(
    tx: &mut Tx,
    environment: &EnvironmentRecord,
    kind: NoticeKind,
    words: Words,
    now: Timestamp,
) -> Result<()> {
    let Words { key, payload, rollback, subject } = words;
    for (index, channel) in environment.channels.iter().enumerate().filter(|(_, channel)| channel.wants(kind))
    {
        let notice = NewNotice {
            key: format!("{key}-{index}"),
            environment: Some(environment.environment.name.clone()),
            kind,
            channel: channel.clone(),
            payload: payload.clone(),
            rollback,
            subject: subject.clone(),
            now,
        };
        enqueue(tx, &notice).await?;
    }
    Ok(())
}
