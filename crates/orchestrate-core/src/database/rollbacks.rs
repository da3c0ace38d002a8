//! Rollback events.

use super::deployments::Mark;
use super::row::{Row, to_json};
use super::sql::query;
use super::{Database, Tx, commit};
use crate::error::{Error, Result};
use crate::name::{DeploymentId, EnvironmentName, ReleaseId, RollbackId};
use crate::rollback_event::{
    Left, NewRollbackEvent, Phase, RollbackEvent, RollbackPath, RollbackStatus, RollbackType, Trigger,
};
use crate::time::Timestamp;

impl Database {
    /// Records a rollback as `pending`.
    pub async fn create_deployment_rollback_event(&self, new: &NewRollbackEvent) -> Result<RollbackEvent> {
        let mut tx = self.begin().await?;
        let event = create(&mut tx, new, RollbackStatus::Pending).await?;
        commit(tx).await?;
        Ok(event)
    }

    /// Moves a rollback to `status`; one that ends gets its `completed_at`.
    pub async fn update_deployment_rollback_status(
        &self,
        id: RollbackId,
        status: RollbackStatus,
        error_message: Option<&str>,
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        set_status(&mut tx, id, status, error_message, None, now).await?;
        commit(tx).await
    }

    pub async fn get_deployment_rollback_event(&self, id: RollbackId) -> Result<Option<RollbackEvent>> {
        let row = query("SELECT * FROM deployment_rollback_events WHERE id = $1")
            .bind(id.0)
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The newest first.
    pub async fn list_deployment_rollback_events(
        &self,
        environment: &EnvironmentName,
        limit: i64,
    ) -> Result<Vec<RollbackEvent>> {
        self.list_events(
            "SELECT * FROM deployment_rollback_events WHERE environment = $1 ORDER BY id DESC LIMIT $2",
            environment,
            limit,
        )
        .await
    }

    /// Records that every channel that wants it accepted the notice.
    pub async fn mark_deployment_rollback_notification_sent(
        &self,
        id: RollbackId,
        now: Timestamp,
    ) -> Result<()> {
        query("UPDATE deployment_rollback_events SET notification_sent = 1, updated_at = $2 WHERE id = $1")
            .bind(id.0)
            .bind(now.to_string())
            .execute(&mut *self.connection().await?)
            .await?;
        Ok(())
    }

    /// The newest completed rollback that neither was taken back nor took one back.
    pub async fn last_standing_rollback(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<RollbackEvent>> {
        let row = query(
            "SELECT * FROM deployment_rollback_events e WHERE e.environment = $1 AND e.status = 'completed' \
             AND e.undoes_id IS NULL AND NOT EXISTS (SELECT 1 FROM deployment_rollback_events u \
             WHERE u.undoes_id = e.id AND u.status = 'completed') ORDER BY e.id DESC LIMIT 1",
        )
        .bind(environment.to_string())
        .fetch_optional(&mut *self.connection().await?)
        .await?;
        row.as_ref().map(read).transpose()
    }

    async fn list_events(
        &self,
        sql: &'static str,
        environment: &EnvironmentName,
        limit: i64,
    ) -> Result<Vec<RollbackEvent>> {
        let rows = query(sql)
            .bind(environment.to_string())
            .bind(limit)
            .fetch_all(&mut *self.connection().await?)
            .await?;
        rows.iter().map(read).collect()
    }

    /// The completed ones, newest first.
    pub async fn list_completed_rollbacks(
        &self,
        environment: &EnvironmentName,
        limit: i64,
    ) -> Result<Vec<RollbackEvent>> {
        self.list_events(
            "SELECT * FROM deployment_rollback_events WHERE environment = $1 AND status = 'completed' \
             ORDER BY id DESC LIMIT $2",
            environment,
            limit,
        )
        .await
    }

    /// The automatic ones, newest first.
    pub async fn list_automatic_rollbacks(
        &self,
        environment: &EnvironmentName,
        limit: i64,
    ) -> Result<Vec<RollbackEvent>> {
        self.list_events(
            "SELECT * FROM deployment_rollback_events WHERE environment = $1 AND rollback_type = 'automatic' \
             ORDER BY id DESC LIMIT $2",
            environment,
            limit,
        )
        .await
    }

    /// The rollback that ended a deployment, if one did.
    pub async fn rollback_of_deployment(&self, deployment: DeploymentId) -> Result<Option<RollbackEvent>> {
        let row = query(
            "SELECT * FROM deployment_rollback_events WHERE deployment_id = $1 ORDER BY id DESC LIMIT 1",
        )
        .bind(deployment.0)
        .fetch_optional(&mut *self.connection().await?)
        .await?;
        row.as_ref().map(read).transpose()
    }
}

pub(crate) async fn create(
    tx: &mut Tx,
    new: &NewRollbackEvent,
    status: RollbackStatus,
) -> Result<RollbackEvent> {
    let row = query(
        "INSERT INTO deployment_rollback_events (deployment_id, environment, from_version, from_release_id, \
         target_version, target_release_id, rollback_type, path, actor, reason, triggered_by, undoes_id, \
         started_at, created_at, updated_at, status, evidence) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $13, $14, $15) RETURNING *",
    )
    .bind(new.deployment_id.0)
    .bind(new.environment.to_string())
    .bind(new.from_version.to_string())
    .bind(new.from_release.0)
    .bind(new.target_version.to_string())
    .bind(new.target_release.0)
    .bind(new.rollback_type.as_str())
    .bind(new.path.as_str())
    .bind(new.actor.clone())
    .bind(new.reason.clone())
    .bind(new.trigger.as_str())
    .bind(new.undoes.map(|id| id.0))
    .bind(new.started_at.to_string())
    .bind(status.as_str())
    .bind(to_json(&new.evidence)?)
    .fetch_one(tx)
    .await?;
    read(&row)
}

pub(crate) async fn set_status(
    tx: &mut Tx,
    id: RollbackId,
    status: RollbackStatus,
    error_message: Option<&str>,
    phases: Option<&[Phase]>,
    now: Timestamp,
) -> Result<()> {
    let ended = match status {
        RollbackStatus::Completed | RollbackStatus::Failed => Some(now.to_string()),
        RollbackStatus::Pending | RollbackStatus::InProgress | RollbackStatus::NeedsAttention => None,
    };
    let changed = query(
        "UPDATE deployment_rollback_events SET status = $2, error_message = $3, completed_at = $4, \
         phases = COALESCE($5, phases), updated_at = $6 WHERE id = $1",
    )
    .bind(id.0)
    .bind(status.as_str())
    .bind(error_message.map(str::to_owned))
    .bind(ended)
    .bind(phases.map(|phases| to_json(&phases)).transpose()?)
    .bind(now.to_string())
    .execute(tx)
    .await?;
    if changed == 1 { Ok(()) } else { Err(Error::refused("ORC-0113", format!("there is no rollback {id}"))) }
}

/// Records that the way to the target changed from warm to cold.
pub(crate) async fn set_path(
    tx: &mut Tx,
    id: RollbackId,
    kind: RollbackType,
    path: RollbackPath,
) -> Result<()> {
    query("UPDATE deployment_rollback_events SET rollback_type = $2, path = $3 WHERE id = $1")
        .bind(id.0)
        .bind(kind.as_str())
        .bind(path.as_str())
        .execute(tx)
        .await?;
    Ok(())
}

/// The deployment that was live before a rollback; of events of older programs, the one that was rolled back.
pub(crate) async fn deployment_left_by(tx: &mut Tx, id: RollbackId) -> Result<Option<DeploymentId>> {
    let row = query(
        "SELECT COALESCE(left_deployment_id, deployment_id) AS left_id FROM deployment_rollback_events \
         WHERE id = $1",
    )
    .bind(id.0)
    .fetch_optional(tx)
    .await?;
    row.map(|row| row.int("left_id").map(DeploymentId)).transpose()
}

/// Records the change of data that a person let it cross.
pub(crate) async fn set_crossed(tx: &mut Tx, id: RollbackId, crossed: &str) -> Result<()> {
    query("UPDATE deployment_rollback_events SET crossed = $2 WHERE id = $1")
        .bind(id.0)
        .bind(crossed.to_owned())
        .execute(tx)
        .await?;
    Ok(())
}

/// Records what somebody overrode for it.
pub(crate) async fn set_break_glass(tx: &mut Tx, id: RollbackId, overrode: &str) -> Result<()> {
    query("UPDATE deployment_rollback_events SET break_glass = $2 WHERE id = $1")
        .bind(id.0)
        .bind(overrode.to_owned())
        .execute(tx)
        .await?;
    Ok(())
}

/// Records what was live before, and how the deployments stood that the rollback changes.
pub(crate) async fn set_left(tx: &mut Tx, id: RollbackId, left: Option<Left>, marks: &[Mark]) -> Result<()> {
    query(
        "UPDATE deployment_rollback_events SET left_release_id = $2, left_deployment_id = $3, marks = $4 \
         WHERE id = $1",
    )
    .bind(id.0)
    .bind(left.map(|left| left.release.0))
    .bind(left.map(|left| left.deployment.0))
    .bind(to_json(&marks)?)
    .execute(tx)
    .await?;
    Ok(())
}

/// How the deployments stood before a rollback changed them.
pub(crate) async fn marks(tx: &mut Tx, id: RollbackId) -> Result<Vec<Mark>> {
    let row =
        query("SELECT marks FROM deployment_rollback_events WHERE id = $1").bind(id.0).fetch_one(tx).await?;
    row.json("marks")
}

fn left(row: &Row) -> Result<Option<Left>> {
    let (release, deployment) = (row.opt_int("left_release_id")?, row.opt_int("left_deployment_id")?);
    Ok(release.zip(deployment).map(|(release, deployment)| Left {
        release: ReleaseId(release),
        deployment: DeploymentId(deployment),
    }))
}

pub(crate) fn read(row: &Row) -> Result<RollbackEvent> {
    let (started_at, completed_at) = (row.time("started_at")?, row.opt_time("completed_at")?);
    let target = row.version("target_version")?;
    Ok(RollbackEvent {
        id: RollbackId(row.int("id")?),
        deployment_id: DeploymentId(row.int("deployment_id")?),
        environment: row.environment("environment")?,
        from_version: row.version("from_version")?,
        target_version: target,
        rollback_type: row.parsed("rollback_type", RollbackType::parse)?,
        status: row.parsed("status", RollbackStatus::parse)?,
        error_message: row.opt_text("error_message")?,
        started_at,
        completed_at,
        duration_ms: completed_at.map(|end| end.millis_since(started_at)),
        notification_sent: row.int("notification_sent")? == 1,
        actor: row.text("actor")?,
        reason: row.opt_text("reason")?,
        trigger: row.parsed("triggered_by", Trigger::parse)?,
        path: row.parsed("path", RollbackPath::parse)?,
        phases: row.json("phases")?,
        from_release: row.opt_int("from_release_id")?.map(ReleaseId),
        target_release: row.opt_int("target_release_id")?.map(ReleaseId),
        left: left(row)?,
        evidence: row.json("evidence")?,
        hooks: row.json("hooks")?,
        crossed: row.opt_text("crossed")?,
        break_glass: row.opt_text("break_glass")?,
        undoes: row.opt_int("undoes_id")?.map(RollbackId),
    })
}
