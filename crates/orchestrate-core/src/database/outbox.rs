//! The outbox: notices written with what they tell of, delivered afterwards, at least once.

mod flush;
mod tell;

pub use flush::Flush;
pub use tell::NewNotice;
pub(crate) use tell::{Words, say, tell};

use super::row::{Row, to_json};
use super::sql::query;
use super::{Database, audit, commit};
use crate::error::Result;
use crate::name::{EnvironmentName, RollbackId};
use crate::notification::NoticeKind;
use crate::ports::{Notice, Receipt};
use crate::time::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// The first notice that waits in each lane, found by one look into the index a lane, however many wait behind it. Older
/// programs wrote notices without a lane, which wait for nobody.
const HEADS: &str = "WITH RECURSIVE lanes(lane) AS ( \
     SELECT MIN(lane) FROM outbox WHERE status = 'pending' \
     UNION ALL \
     SELECT (SELECT MIN(p.lane) FROM outbox p WHERE p.status = 'pending' AND p.lane > lanes.lane) \
     FROM lanes WHERE lanes.lane IS NOT NULL), \
     heads(id) AS ( \
     SELECT (SELECT MIN(p.id) FROM outbox p WHERE p.status = 'pending' AND p.lane = lanes.lane) \
     FROM lanes WHERE lanes.lane IS NOT NULL \
     UNION ALL SELECT id FROM outbox WHERE status = 'pending' AND lane IS NULL)";

/// Its time has come. What was said newly in a lane is a reason to try its head again, if it was left alone for a while and
/// the receiver itself did not ask for a pause. `$1` is now, `$2` is [`LEFT_ALONE`] ago.
const DUE: &str = "(o.next_attempt_at IS NULL OR o.next_attempt_at <= $1 \
     OR (o.attempted_at <= $2 AND (o.wished_until IS NULL OR o.wished_until <= $1) \
         AND o.attempted_at < (SELECT n.created_at FROM outbox n WHERE n.lane = o.lane AND n.status = 'pending' \
                               ORDER BY n.id DESC LIMIT 1)))";

/// So that a receiver that is down costs the same however much there is to tell.
const LEFT_ALONE: Duration = Duration::from_secs(30);

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

/// An attempt that was not accepted.
#[derive(Clone, Debug)]
pub struct FailedAttempt<'a> {
    pub error: &'a str,
    /// Without another attempt the notice is given up on.
    pub next: Option<Timestamp>,
    /// Whether the receiver itself named the time of the next one.
    pub wished: bool,
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
    /// The first notice of each lane, if its time has come; oldest first.
    pub async fn due_notices(&self, now: Timestamp, limit: i64) -> Result<Vec<OutboxRecord>> {
        let sql = format!(
            "{HEADS} SELECT o.* FROM heads JOIN outbox o ON o.id = heads.id WHERE {DUE} ORDER BY o.id LIMIT $3"
        );
        let rows = query(sql)
            .bind(now.to_string())
            .bind(left_alone(now))
            .bind(limit)
            .fetch_all(&mut *self.connection().await?)
            .await?;
        rows.iter().map(read).collect()
    }

    /// When the next notice is due, if any is pending.
    pub async fn next_notice_at(&self) -> Result<Option<Timestamp>> {
        let sql = format!(
            "{HEADS} SELECT MIN(COALESCE(o.next_attempt_at, o.created_at)) AS at FROM heads JOIN outbox o ON o.id = heads.id"
        );
        let row = query(sql).fetch_one(&mut *self.connection().await?).await?;
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

    /// Those that were given up on, newest first.
    pub async fn list_dead_notices(&self, limit: i64) -> Result<Vec<OutboxRecord>> {
        let rows = query("SELECT * FROM outbox WHERE status = 'dead' ORDER BY id DESC LIMIT $1")
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
        let sql = format!(
            "{HEADS} SELECT o.id FROM heads JOIN outbox o ON o.id = heads.id WHERE {DUE} AND o.id = $3"
        );
        let row = query(sql)
            .bind(now.to_string())
            .bind(left_alone(now))
            .bind(id)
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

    /// Records an attempt that was not accepted.
    pub async fn notice_failed(&self, id: i64, failed: FailedAttempt<'_>, now: Timestamp) -> Result<()> {
        let FailedAttempt { error, next, wished } = failed;
        let mut tx = self.begin().await?;
        let status = if next.is_some() { OutboxStatus::Pending } else { OutboxStatus::Dead };
        let pending = query(
            "UPDATE outbox SET status = $2, attempts = attempts + 1, last_error = $3, next_attempt_at = $4, \
             wished_until = $5, attempted_at = $6 WHERE id = $1 AND status = 'pending'",
        )
        .bind(id)
        .bind(status.as_str())
        .bind(error.to_owned())
        .bind(next.map(|t| t.to_string()))
        .bind(next.filter(|_| wished).map(|t| t.to_string()))
        .bind(now.to_string())
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

fn left_alone(now: Timestamp) -> String {
    let ago = i64::try_from(LEFT_ALONE.as_millis()).unwrap_or(0);
    Timestamp::from_millis(now.as_millis() - ago).to_string()
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
