//! Rollbacks of several environments together.

use super::audit;
use super::row::{Row, to_json};
use super::sql::query;
use super::{Database, Holder, Tx, commit};
use crate::error::{Error, Result};
use crate::group::{GroupPart, GroupRollback, GroupStatus, PartOf};
use crate::name::{EnvironmentName, GroupRollbackId, RollbackId, Version};
use crate::rollback_event::RollbackEvent;
use crate::time::Timestamp;

/// A rollback of a group that begins.
#[derive(Clone, Debug)]
pub(crate) struct NewGroup<'a> {
    pub group: &'a str,
    pub actor: &'a str,
    pub reason: Option<&'a str>,
    pub forced: bool,
    pub holder: &'a Holder,
    /// Environment, from, to; in order.
    pub parts: &'a [(EnvironmentName, Version, Version)],
    pub now: Timestamp,
}

impl Database {
    /// Writes down what will be done before any of it is; refused while the group goes back already.
    pub(crate) async fn begin_group(&self, new: &NewGroup<'_>) -> Result<GroupRollbackId> {
        let mut tx = self.begin().await?;
        let open = query(
            "SELECT id, actor FROM group_rollbacks WHERE group_name = $1 AND status = 'in_progress' LIMIT 1",
        );
        if let Some(row) = open.bind(new.group.to_owned()).fetch_optional(&mut tx).await? {
            let (id, actor) = (row.int("id")?, row.text("actor")?);
            let message = format!("{} goes back already: group rollback {id} by {actor}", new.group);
            return Err(Error::refused("ORC-0188", message)
                .hint(format!("see how it stands: orchestrate deploy rollbacks --group {}", new.group)));
        }
        let row = query(
            "INSERT INTO group_rollbacks (group_name, actor, reason, forced, status, started_at, holder, renewed_at) \
             VALUES ($1, $2, $3, $4, 'in_progress', $5, $6, $5) RETURNING id",
        )
        .bind(new.group.to_owned())
        .bind(new.actor.to_owned())
        .bind(new.reason.map(str::to_owned))
        .bind(i64::from(new.forced))
        .bind(new.now.to_string())
        .bind(to_json(new.holder)?)
        .fetch_one(&mut tx)
        .await?;
        let id = GroupRollbackId(row.int("id")?);
        for (position, (environment, from, target)) in (0_i64..).zip(new.parts) {
            query(
                "INSERT INTO group_rollback_parts (group_id, position, environment, from_version, target_version) \
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(id.0)
            .bind(position)
            .bind(environment.to_string())
            .bind(from.to_string())
            .bind(target.to_string())
            .execute(&mut tx)
            .await?;
        }
        let detail = serde_json::json!({ "group_rollback": id, "group": new.group, "reason": new.reason, "parts": new.parts });
        audit::record_of_all(&mut tx, new.now, new.actor, "group_rollback_started", &detail);
        commit(tx).await?;
        Ok(id)
    }

    pub async fn group_rollback(&self, id: GroupRollbackId) -> Result<Option<GroupRollback>> {
        let row = query("SELECT * FROM group_rollbacks WHERE id = $1")
            .bind(id.0)
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        match row {
            Some(row) => Ok(Some(self.with_parts(&row).await?)),
            None => Ok(None),
        }
    }

    /// The newest first.
    pub async fn list_group_rollbacks(&self, group: &str, limit: i64) -> Result<Vec<GroupRollback>> {
        let rows = query("SELECT * FROM group_rollbacks WHERE group_name = $1 ORDER BY id DESC LIMIT $2")
            .bind(group.to_owned())
            .bind(limit)
            .fetch_all(&mut *self.connection().await?)
            .await?;
        self.all_with_parts(&rows).await
    }

    /// Those that are not at their end, the oldest first.
    pub async fn list_open_group_rollbacks(&self) -> Result<Vec<GroupRollback>> {
        let rows = query(
            "SELECT * FROM group_rollbacks WHERE completed_at IS NULL AND status = 'in_progress' ORDER BY id",
        )
        .fetch_all(&mut *self.connection().await?)
        .await?;
        self.all_with_parts(&rows).await
    }

    async fn all_with_parts(&self, rows: &[Row]) -> Result<Vec<GroupRollback>> {
        let mut found = Vec::new();
        for row in rows {
            found.push(self.with_parts(row).await?);
        }
        Ok(found)
    }

    async fn with_parts(&self, row: &Row) -> Result<GroupRollback> {
        let mut group = read(row)?;
        let rows = query("SELECT * FROM group_rollback_parts WHERE group_id = $1 ORDER BY position")
            .bind(group.id.0)
            .fetch_all(&mut *self.connection().await?)
            .await?;
        for row in &rows {
            let rollback = self.event_of(row, "rollback_id").await?;
            let undo = self.event_of(row, "undo_id").await?;
            group.parts.push(GroupPart {
                environment: row.environment("environment")?,
                from_version: row.version("from_version")?,
                target_version: row.version("target_version")?,
                rollback,
                undo,
                position: row.int("position")?,
            });
        }
        Ok(group)
    }

    async fn event_of(&self, row: &Row, column: &str) -> Result<Option<RollbackEvent>> {
        match row.opt_int(column)? {
            Some(id) => self.get_deployment_rollback_event(RollbackId(id)).await,
            None => Ok(None),
        }
    }

    /// Makes it this program's own; false if another one did meanwhile.
    pub(crate) async fn take_group(
        &self,
        group: &GroupRollback,
        holder: &Holder,
        now: Timestamp,
    ) -> Result<bool> {
        let changed = query(
            "UPDATE group_rollbacks SET holder = $3, renewed_at = $4 WHERE id = $1 AND holder = $2 \
             AND status = 'in_progress'",
        )
        .bind(group.id.0)
        .bind(group.holder.as_ref().map(to_json).transpose()?.unwrap_or_default())
        .bind(to_json(holder)?)
        .bind(now.to_string())
        .execute(&mut *self.connection().await?)
        .await?;
        Ok(changed == 1)
    }

    /// Says that its program still carries it on; false if it is another's by now.
    pub(crate) async fn renew_group(
        &self,
        id: GroupRollbackId,
        holder: &Holder,
        now: Timestamp,
    ) -> Result<bool> {
        let changed = query("UPDATE group_rollbacks SET renewed_at = $3 WHERE id = $1 AND holder = $2")
            .bind(id.0)
            .bind(to_json(holder)?)
            .bind(now.to_string())
            .execute(&mut *self.connection().await?)
            .await?;
        Ok(changed == 1)
    }

    /// Leaves it to whoever comes.
    pub(crate) async fn leave_group(&self, id: GroupRollbackId, holder: &Holder) -> Result<()> {
        query("UPDATE group_rollbacks SET holder = '' WHERE id = $1 AND holder = $2")
            .bind(id.0)
            .bind(to_json(holder)?)
            .execute(&mut *self.connection().await?)
            .await?;
        Ok(())
    }

    /// Records why the parts that went are to come forward again; the first reason stays.
    pub(crate) async fn fail_group(&self, id: GroupRollbackId, why: &str) -> Result<()> {
        query("UPDATE group_rollbacks SET error_message = COALESCE(error_message, $2) WHERE id = $1")
            .bind(id.0)
            .bind(why.to_owned())
            .execute(&mut *self.connection().await?)
            .await?;
        Ok(())
    }

    pub(crate) async fn end_group(
        &self,
        group: &GroupRollback,
        status: GroupStatus,
        error: Option<&str>,
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        query("UPDATE group_rollbacks SET status = $2, error_message = $3, completed_at = $4 WHERE id = $1")
            .bind(group.id.0)
            .bind(status.as_str())
            .bind(error.map(str::to_owned))
            .bind(now.to_string())
            .execute(&mut tx)
            .await?;
        let detail = serde_json::json!({
            "group_rollback": group.id, "group": group.group, "status": status, "error": error,
        });
        audit::record_of_all(&mut tx, now, &group.actor, "group_rollback_ended", &detail);
        commit(tx).await
    }
}

/// With the beginning of a part's rollback, so that nobody who comes later begins it again.
pub(crate) async fn link(tx: &mut Tx, part: PartOf, rollback: RollbackId) -> Result<()> {
    let sql = match part.goes_forward {
        false => {
            "UPDATE group_rollback_parts SET rollback_id = $3 WHERE group_id = $1 AND position = $2 \
             AND rollback_id IS NULL"
        }
        true => {
            "UPDATE group_rollback_parts SET undo_id = $3 WHERE group_id = $1 AND position = $2 \
             AND undo_id IS NULL"
        }
    };
    let changed = query(sql).bind(part.group.0).bind(part.position).bind(rollback.0).execute(tx).await?;
    if changed == 1 {
        return Ok(());
    }
    Err(Error::refused("ORC-0188", format!("another program carries group rollback {} on", part.group)))
}

fn read(row: &Row) -> Result<GroupRollback> {
    let (started_at, completed_at) = (row.time("started_at")?, row.opt_time("completed_at")?);
    let holder = match row.text("holder")?.is_empty() {
        true => None,
        false => Some(row.json("holder")?),
    };
    Ok(GroupRollback {
        id: GroupRollbackId(row.int("id")?),
        group: row.text("group_name")?,
        status: row.parsed("status", GroupStatus::parse)?,
        error_message: row.opt_text("error_message")?,
        actor: row.text("actor")?,
        reason: row.opt_text("reason")?,
        started_at,
        completed_at,
        duration_ms: completed_at.map(|end| end.millis_since(started_at)),
        parts: Vec::new(),
        forced: row.int("forced")? == 1,
        holder,
        renewed_at: row.time("renewed_at")?,
    })
}
