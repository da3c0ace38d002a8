//! Rehearsals of rollbacks, and whose turn a scheduled one is.

use super::row::{Row, to_json};
use super::sql::query;
use super::{Database, Tx};
use crate::drill::{Drill, DrillStatus, DrillTrigger, NewDrill};
use crate::error::{Error, Result};
use crate::name::{DrillId, EnvironmentName, OperationId};
use crate::rollback_event::{Phase, RollbackPath};
use crate::time::Timestamp;

impl Database {
    /// The newest first.
    pub async fn list_drills(&self, environment: &EnvironmentName, limit: i64) -> Result<Vec<Drill>> {
        let rows = query("SELECT * FROM drills WHERE environment = $1 ORDER BY id DESC LIMIT $2")
            .bind(environment.to_string())
            .bind(limit)
            .fetch_all(&mut *self.connection().await?)
            .await?;
        rows.iter().map(read).collect()
    }

    /// The newest one that came to a verdict.
    pub async fn last_drill(&self, environment: &EnvironmentName) -> Result<Option<Drill>> {
        let row = query(
            "SELECT * FROM drills WHERE environment = $1 AND status NOT IN ('in_progress', 'given_up') ORDER BY id DESC LIMIT 1",
        )
        .bind(environment.to_string())
        .fetch_optional(&mut *self.connection().await?)
        .await?;
        row.as_ref().map(read).transpose()
    }

    /// Says that somebody waits for the end of a drill.
    pub(crate) async fn want_end_of_drill(&self, operation: OperationId, actor: &str) -> Result<()> {
        query("UPDATE drills SET wanted_by = $2 WHERE operation_id = $1 AND wanted_by IS NULL")
            .bind(operation.0)
            .bind(actor.to_owned())
            .execute(&mut *self.connection().await?)
            .await?;
        Ok(())
    }

    /// Who waits for its end.
    pub(crate) async fn end_of_drill_wanted_by(&self, operation: OperationId) -> Result<Option<String>> {
        let row = query("SELECT wanted_by FROM drills WHERE operation_id = $1")
            .bind(operation.0)
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        row.map_or(Ok(None), |row| row.opt_text("wanted_by"))
    }

    /// Takes up a time of the schedule; false where that was done, here or by another daemon.
    pub async fn take_drill_turn(&self, environment: &EnvironmentName, due: Timestamp) -> Result<bool> {
        let taken = query(
            "INSERT INTO drill_turns (environment, due_at) VALUES ($1, $2) ON CONFLICT (environment) DO UPDATE \
             SET due_at = excluded.due_at WHERE drill_turns.due_at < excluded.due_at",
        )
        .bind(environment.to_string())
        .bind(due.to_string())
        .execute(&mut *self.connection().await?)
        .await?;
        Ok(taken == 1)
    }
}

pub(crate) async fn create(tx: &mut Tx, operation: OperationId, new: &NewDrill<'_>) -> Result<Drill> {
    let row = query(
        "INSERT INTO drills (environment, operation_id, live_version, live_release_id, target_version, \
         target_release_id, path, status, triggered_by, actor, reason, started_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'in_progress', $8, $9, $10, $11) RETURNING *",
    )
    .bind(new.environment.to_string())
    .bind(operation.0)
    .bind(new.live.1.to_string())
    .bind(new.live.0.0)
    .bind(new.target.1.to_string())
    .bind(new.target.0.0)
    .bind(new.path.as_str())
    .bind(new.trigger.as_str())
    .bind(new.actor.to_owned())
    .bind(new.reason.map(str::to_owned))
    .bind(new.started_at.to_string())
    .fetch_one(tx)
    .await?;
    read(&row)
}

/// The drill that an operation carries out.
pub(crate) async fn of_operation(tx: &mut Tx, operation: OperationId) -> Result<Drill> {
    let row =
        query("SELECT * FROM drills WHERE operation_id = $1").bind(operation.0).fetch_optional(tx).await?;
    row.as_ref().map_or_else(|| Err(Error::bug("a drill that is not recorded")), read)
}

/// Writes down how it stands by now.
pub(crate) async fn put(tx: &mut Tx, drill: &Drill) -> Result<()> {
    query(
        "UPDATE drills SET status = $2, error_message = $3, completed_at = $4, duration_ms = $5, phases = $6 \
         WHERE id = $1",
    )
    .bind(drill.id.0)
    .bind(drill.status.as_str())
    .bind(drill.error_message.clone())
    .bind(drill.completed_at.map(|time| time.to_string()))
    .bind(drill.duration_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX)))
    .bind(to_json(&drill.phases)?)
    .execute(tx)
    .await?;
    Ok(())
}

fn read(row: &Row) -> Result<Drill> {
    let phases: Vec<Phase> = row.json("phases")?;
    Ok(Drill {
        id: DrillId(row.int("id")?),
        environment: row.environment("environment")?,
        live_version: row.version("live_version")?,
        target_version: row.version("target_version")?,
        path: row.parsed("path", RollbackPath::parse)?,
        status: row.parsed("status", DrillStatus::parse)?,
        error_message: row.opt_text("error_message")?,
        started_at: row.time("started_at")?,
        completed_at: row.opt_time("completed_at")?,
        duration_ms: row.opt_int("duration_ms")?.map(|ms| u64::try_from(ms).unwrap_or(0)),
        actor: row.text("actor")?,
        reason: row.opt_text("reason")?,
        trigger: row.parsed("triggered_by", DrillTrigger::parse)?,
        phases,
    })
}
