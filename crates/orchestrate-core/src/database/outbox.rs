//! The outbox: notices written with what they tell of, delivered afterwards, at least once.

use super::row::{Row, to_json};
use super::sql::query;
use super::{Database, EnvironmentRecord, Tx, audit, commit};
use crate::error::Result;
use crate::name::{EnvironmentName, RollbackId};
use crate::notification::{Channel, NoticeKind, Told};
use crate::ports::{Notice, Receipt};
use crate::time::Timestamp;
use serde::Serialize;

/// Where a notice stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxStatus {
    Pending,
    Delivered,
    /// Given up on: the receiver said that it will never accept it.
    Dead,
}

impl OutboxStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Delivered, Self::Dead].into_iter().find(|status| status.as_str() == text)
    }
}

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

#[derive(Clone, Debug)]
pub struct OutboxRecord {
    pub id: i64,
    pub notice: Notice,
    pub environment: Option<EnvironmentName>,
    pub rollback: Option<RollbackId>,
    pub status: OutboxStatus,
    pub attempts: u32,
    pub next_attempt_at: Option<Timestamp>,
    pub last_error: Option<String>,
    pub delivered_at: Option<Timestamp>,
    pub subject: Option<String>,
}

impl Database {
    pub async fn enqueue_notice(&self, notice: &NewNotice) -> Result<()> {
        let mut tx = self.begin().await?;
        enqueue(&mut tx, notice).await?;
        commit(tx).await
    }

    /// The notices whose time has come, oldest first.
    pub async fn due_notices(&self, now: Timestamp, limit: i64) -> Result<Vec<OutboxRecord>> {
        let rows = query(
            "SELECT * FROM outbox WHERE status = 'pending' AND (next_attempt_at IS NULL OR next_attempt_at <= $1) \
             ORDER BY id LIMIT $2",
        )
        .bind(now.to_string())
        .bind(limit)
        .fetch_all(&mut *self.connection().await?)
        .await?;
        rows.iter().map(read).collect()
    }

    /// When the next notice is due, if any is pending.
    pub async fn next_notice_at(&self) -> Result<Option<Timestamp>> {
        let row = query(
            "SELECT MIN(COALESCE(next_attempt_at, created_at)) AS at FROM outbox WHERE status = 'pending'",
        )
        .fetch_one(&mut *self.connection().await?)
        .await?;
        row.opt_time("at")
    }

    /// The newest first.
    pub async fn list_notices(&self, limit: i64) -> Result<Vec<OutboxRecord>> {
        let rows = query("SELECT * FROM outbox ORDER BY id DESC LIMIT $1")
            .bind(limit)
            .fetch_all(&mut *self.connection().await?)
            .await?;
        rows.iter().map(read).collect()
    }

    /// How many notices stand where.
    pub async fn count_notices(&self) -> Result<Vec<(OutboxStatus, i64)>> {
        let rows = query("SELECT status, COUNT(*) AS n FROM outbox GROUP BY status ORDER BY status")
            .fetch_all(&mut *self.connection().await?)
            .await?;
        rows.iter().map(|row| Ok((row.parsed("status", OutboxStatus::parse)?, row.int("n")?))).collect()
    }

    /// Makes every pending notice due at once; with `dead`, those that were given up on too.
    pub async fn flush_notices(&self, dead: bool, actor: &str, now: Timestamp) -> Result<u64> {
        let mut tx = self.begin().await?;
        let done = query(
            "UPDATE outbox SET status = 'pending', next_attempt_at = NULL \
             WHERE status = 'pending' OR (status = 'dead' AND $1 = 1)",
        )
        .bind(i64::from(dead))
        .execute(&mut tx)
        .await?;
        if done > 0 {
            let detail = serde_json::json!({ "notices": done, "dead": dead });
            audit::record_of_all(&mut tx, now, actor, "notices_flushed", &detail);
        }
        commit(tx).await?;
        Ok(done)
    }

    /// Records an accepted notice, and on its rollback that it was sent, once all its notices were.
    pub async fn notice_delivered(
        &self,
        id: i64,
        rollback: Option<RollbackId>,
        receipt: Option<&Receipt>,
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        query(
            "UPDATE outbox SET status = 'delivered', attempts = attempts + 1, delivered_at = $2, last_error = NULL, \
             receipt = $3 WHERE id = $1",
        )
        .bind(id)
        .bind(now.to_string())
        .bind(receipt.map(|receipt| receipt.0.clone()))
        .execute(&mut tx)
        .await?;
        if let Some(rollback) = rollback {
            query(
                "UPDATE deployment_rollback_events SET notification_sent = 1, updated_at = $2 WHERE id = $1 \
                 AND NOT EXISTS (SELECT 1 FROM outbox WHERE rollback_id = $1 AND status <> 'delivered')",
            )
            .bind(rollback.0)
            .bind(now.to_string())
            .execute(&mut tx)
            .await?;
        }
        commit(tx).await
    }

    /// The first message about the same operation that the same channel accepted.
    pub async fn thread_of(&self, record: &OutboxRecord) -> Result<Option<Receipt>> {
        let Some(subject) = &record.subject else { return Ok(None) };
        let row = query(
            "SELECT receipt FROM outbox WHERE subject = $1 AND channel = $2 AND receipt IS NOT NULL AND id < $3 \
             ORDER BY id LIMIT 1",
        )
        .bind(subject.clone())
        .bind(to_json(&record.notice.channel)?)
        .bind(record.id)
        .fetch_optional(&mut *self.connection().await?)
        .await?;
        row.map(|row| row.text("receipt").map(Receipt)).transpose()
    }

    /// Whether a notice still waits to be delivered now, as the records say in this moment.
    pub async fn is_due(&self, id: i64, now: Timestamp) -> Result<bool> {
        let row = query(
            "SELECT id FROM outbox WHERE id = $1 AND status = 'pending' AND (next_attempt_at IS NULL OR next_attempt_at <= $2)",
        )
        .bind(id)
        .bind(now.to_string())
        .fetch_optional(&mut *self.connection().await?)
        .await?;
        Ok(row.is_some())
    }

    /// Says why nobody delivers a notice yet; it counts as no attempt.
    pub async fn notice_waits(&self, id: i64, why: &str) -> Result<()> {
        query(
            "UPDATE outbox SET last_error = $2 WHERE id = $1 AND status = 'pending' AND last_error IS NULL",
        )
        .bind(id)
        .bind(why.to_owned())
        .execute(&mut *self.connection().await?)
        .await?;
        Ok(())
    }

    /// Records a failed attempt; without a next one the notice is given up on.
    pub async fn notice_failed(
        &self,
        id: i64,
        error: &str,
        next: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        let status = if next.is_some() { OutboxStatus::Pending } else { OutboxStatus::Dead };
        let pending = query(
            "UPDATE outbox SET status = $2, attempts = attempts + 1, last_error = $3, next_attempt_at = $4 \
             WHERE id = $1 AND status = 'pending'",
        )
        .bind(id)
        .bind(status.as_str())
        .bind(error.to_owned())
        .bind(next.map(|t| t.to_string()))
        .execute(&mut tx)
        .await?;
        // Somebody else may have delivered it meanwhile, if this program slept.
        if pending == 0 {
            return tx.rollback().await;
        }
        if next.is_none() {
            let detail = serde_json::json!({ "notice": id, "error": error });
            audit::record_of_all(&mut tx, now, "orchestrate", "notice_given_up", &detail);
        }
        commit(tx).await
    }
}

pub(crate) async fn enqueue(tx: &mut Tx, notice: &NewNotice) -> Result<()> {
    query(
        "INSERT INTO outbox (notice_key, environment, kind, channel, payload, rollback_id, subject, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (notice_key) DO NOTHING",
    )
    .bind(notice.key.clone())
    .bind(notice.environment.as_ref().map(ToString::to_string))
    .bind(notice.kind.as_str())
    .bind(to_json(&notice.channel)?)
    .bind(notice.payload.to_string())
    .bind(notice.rollback.map(|id| id.0))
    .bind(notice.subject.clone())
    .bind(notice.now.to_string())
    .execute(tx)
    .await?;
    Ok(())
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
    for (index, channel) in environment.channels.iter().enumerate().filter(|(_, channel)| channel.wants(kind))
    {
        let notice = NewNotice {
            key: format!("{}-{}-{}-{index}", told.key(kind), environment.environment.name, now.as_millis()),
            environment: Some(environment.environment.name.clone()),
            kind,
            channel: channel.clone(),
            payload: told.payload(kind, environment)?,
            rollback,
            subject: told.subject(),
            now,
        };
        enqueue(tx, &notice).await?;
    }
    Ok(())
}

fn read(row: &Row) -> Result<OutboxRecord> {
    Ok(OutboxRecord {
        id: row.int("id")?,
        notice: Notice {
            key: row.text("notice_key")?,
            channel: row.json("channel")?,
            kind: row.parsed("kind", NoticeKind::parse)?,
            created_at: row.time("created_at")?,
            payload: row.json("payload")?,
            thread: None,
        },
        environment: row.opt_text("environment")?.map(EnvironmentName::new).transpose()?,
        rollback: row.opt_int("rollback_id")?.map(RollbackId),
        status: row.parsed("status", OutboxStatus::parse)?,
        attempts: u32::try_from(row.int("attempts")?).unwrap_or(u32::MAX),
        next_attempt_at: row.opt_time("next_attempt_at")?,
        last_error: row.opt_text("last_error")?,
        delivered_at: row.opt_time("delivered_at")?,
        subject: row.opt_text("subject")?,
    })
}
