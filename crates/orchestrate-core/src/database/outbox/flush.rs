//! Notices that are attempted now, because a person says so.

use crate::database::sql::query;
use crate::database::{Database, audit, commit};
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// Which notices to attempt now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Those that wait.
    Pending,
    /// Those that were given up on, too.
    Dead,
    /// This one, given up on or not.
    One(i64),
}

impl Database {
    /// Makes notices due at once. Refused where the one that is named is not there, or was accepted.
    pub async fn flush_notices(&self, which: Flush, actor: &str, now: Timestamp) -> Result<u64> {
        let (dead, one) = match which {
            Flush::Pending => (false, None),
            Flush::Dead => (true, None),
            Flush::One(id) => (true, Some(id)),
        };
        let mut tx = self.begin().await?;
        let done = query(
            "UPDATE outbox SET attempts = CASE WHEN status = 'dead' THEN 0 ELSE attempts END, status = 'pending', \
             next_attempt_at = NULL, wished_until = NULL \
             WHERE (status = 'pending' OR (status = 'dead' AND $1 = 1)) AND (id = $2 OR CAST($2 AS BIGINT) IS NULL)",
        )
        .bind(i64::from(dead))
        .bind(one)
        .execute(&mut tx)
        .await?;
        if let Some(id) = one.filter(|_| done == 0) {
            tx.rollback().await?;
            return Err(self.not_flushed(id).await?);
        }
        if done > 0 {
            let detail = serde_json::json!({ "notices": done, "dead": dead, "id": one });
            audit::record_of_all(&mut tx, now, actor, "notices_flushed", &detail);
        }
        commit(tx).await?;
        Ok(done)
    }

    async fn not_flushed(&self, id: i64) -> Result<Error> {
        let row = query("SELECT delivered_at FROM outbox WHERE id = $1")
            .bind(id)
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        let message = match row {
            Some(row) => {
                let at = row.opt_time("delivered_at")?.map_or_else(String::new, |at| format!(" at {at}"));
                format!("notice {id} was accepted already{at}")
            }
            None => format!("there is no notice {id}"),
        };
        Ok(Error::refused("ORC-0134", message)
            .hint("see those that were not accepted: orchestrate notify status --dead"))
    }
}
