//! Operations, their journals, and the two transactions around them: `begin` and `conclude` build on these.

use super::row::{Row, to_json};
use super::sql::query;
use super::{Database, Tx, commit, leases};
use crate::error::Result;
use crate::execute::journal::{Entry, StepEvent};
use crate::hooks::HookRun;
use crate::name::{DeploymentId, EnvironmentName, Fence, OperationId, RollbackId};
use crate::plan::{OperationKind, Plan};
use crate::time::Timestamp;
use crate::trace::Traceparent;

/// How an operation stands on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationStatus {
    Open,
    Completed,
    Undone,
    NeedsAttention,
}

impl OperationStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Completed => "completed",
            Self::Undone => "undone",
            Self::NeedsAttention => "needs_attention",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Open, Self::Completed, Self::Undone, Self::NeedsAttention]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationRecord {
    pub id: OperationId,
    pub environment: EnvironmentName,
    pub kind: OperationKind,
    pub deployment: DeploymentId,
    pub rollback: Option<RollbackId>,
    pub plan: Plan,
    pub fence: Fence,
    pub status: OperationStatus,
    pub error_message: Option<String>,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// The span of whoever asked for it.
    pub traceparent: Option<Traceparent>,
}

impl Database {
    /// The operation that keeps others out of the environment, if there is one.
    pub async fn open_operation(&self, environment: &EnvironmentName) -> Result<Option<OperationRecord>> {
        let row = query(
            "SELECT * FROM operations WHERE environment = $1 AND status IN ('open', 'needs_attention')",
        )
        .bind(environment.to_string())
        .fetch_optional(&mut *self.connection().await?)
        .await?;
        row.as_ref().map(read).transpose()
    }

    pub async fn list_open_operations(&self) -> Result<Vec<OperationRecord>> {
        let rows = query("SELECT * FROM operations WHERE status IN ('open', 'needs_attention')")
            .fetch_all(&mut *self.connection().await?)
            .await?;
        rows.iter().map(read).collect()
    }

    pub async fn operation(&self, id: OperationId) -> Result<Option<OperationRecord>> {
        let row = query("SELECT * FROM operations WHERE id = $1")
            .bind(id.0)
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The journal, oldest entry first.
    pub async fn journal(&self, operation: OperationId) -> Result<Vec<Entry>> {
        let rows = query("SELECT * FROM journal WHERE operation_id = $1 ORDER BY seq")
            .bind(operation.0)
            .fetch_all(&mut *self.connection().await?)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Entry {
                    step: usize::try_from(row.int("step")?).unwrap_or(usize::MAX),
                    event: row.parsed("event", StepEvent::parse)?,
                    detail: row.opt_text("detail")?,
                    at: row.time("at")?,
                })
            })
            .collect()
    }

    /// Adds to the journal, durably, if the caller still holds the lease.
    pub(crate) async fn append_journal(
        &self,
        operation: &OperationRecord,
        first_seq: usize,
        entries: &[Entry],
        hooks: &[HookRun],
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        leases::check(&mut tx, &operation.environment, operation.fence).await?;
        write_journal(&mut tx, operation.id, first_seq, entries).await?;
        write_hooks(&mut tx, operation, hooks).await?;
        commit(tx).await
    }
}

pub(crate) async fn write_journal(
    tx: &mut Tx,
    operation: OperationId,
    first_seq: usize,
    entries: &[Entry],
) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    // One statement, however many entries: each costs a hand-over to the database's thread.
    let rows = (0..entries.len()).map(|row| {
        let at = |column| row * 6 + column;
        format!("(${}, ${}, ${}, ${}, ${}, ${})", at(1), at(2), at(3), at(4), at(5), at(6))
    });
    let rows = rows.collect::<Vec<_>>().join(", ");
    let sql = format!("INSERT INTO journal (operation_id, seq, step, event, detail, at) VALUES {rows}");
    let mut query = query(sql);
    for (offset, entry) in entries.iter().enumerate() {
        query = query
            .bind(operation.0)
            .bind(number(first_seq + offset))
            .bind(number(entry.step))
            .bind(entry.event.as_str())
            .bind(entry.detail.clone())
            .bind(entry.at.to_string());
    }
    query.execute(tx).await?;
    Ok(())
}

/// Records what became of hooks with what they were run for: the rollback, else the deployment.
pub(crate) async fn write_hooks(tx: &mut Tx, operation: &OperationRecord, hooks: &[HookRun]) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let (table, id) = match operation.rollback {
        Some(rollback) => ("deployment_rollback_events", rollback.0),
        None => ("deployments", operation.deployment.0),
    };
    let row = query(format!("SELECT hooks FROM {table} WHERE id = $1")).bind(id).fetch_one(tx).await?;
    let mut known: Vec<HookRun> = row.json("hooks")?;
    hooks.iter().for_each(|ran| ran.clone().add_to(&mut known));
    let set = query(format!("UPDATE {table} SET hooks = $2 WHERE id = $1"));
    set.bind(id).bind(to_json(&known)?).execute(tx).await?;
    Ok(())
}

fn number(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) struct NewOperation<'a> {
    pub environment: &'a EnvironmentName,
    pub deployment: DeploymentId,
    pub rollback: Option<RollbackId>,
    pub plan: &'a Plan,
    pub fence: Fence,
    /// The span of whoever asks.
    pub traceparent: Option<Traceparent>,
    pub now: Timestamp,
}

/// Records an open operation and binds the lease to it.
pub(crate) async fn create(tx: &mut Tx, new: NewOperation<'_>) -> Result<OperationRecord> {
    let row = query(
        "INSERT INTO operations (environment, kind, deployment_id, rollback_id, plan, fence, status, started_at, traceparent) \
         VALUES ($1, $2, $3, $4, $5, $6, 'open', $7, $8) RETURNING id",
    )
    .bind(new.environment.to_string())
    .bind(new.plan.kind().as_str())
    .bind(new.deployment.0)
    .bind(new.rollback.map(|id| id.0))
    .bind(to_json(new.plan)?)
    .bind(new.fence.0)
    .bind(new.now.to_string())
    .bind(new.traceparent.map(|parent| parent.to_string()))
    .fetch_one(tx)
    .await?;
    let id = OperationId(row.int("id")?);
    leases::bind(tx, new.environment, id).await?;
    Ok(OperationRecord {
        id,
        environment: new.environment.clone(),
        kind: new.plan.kind(),
        deployment: new.deployment,
        rollback: new.rollback,
        plan: new.plan.clone(),
        fence: new.fence,
        status: OperationStatus::Open,
        error_message: None,
        started_at: new.now,
        ended_at: None,
        traceparent: new.traceparent,
    })
}

pub(crate) async fn set_status(
    tx: &mut Tx,
    id: OperationId,
    status: OperationStatus,
    error: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    query("UPDATE operations SET status = $2, error_message = $3, ended_at = $4 WHERE id = $1")
        .bind(id.0)
        .bind(status.as_str())
        .bind(error.map(str::to_owned))
        .bind(now.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

/// Puts an operation that is carried on under a new fence.
pub(crate) async fn set_fence(tx: &mut Tx, id: OperationId, fence: Fence) -> Result<()> {
    query("UPDATE operations SET fence = $2, status = 'open' WHERE id = $1")
        .bind(id.0)
        .bind(fence.0)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) fn read(row: &Row) -> Result<OperationRecord> {
    Ok(OperationRecord {
        id: OperationId(row.int("id")?),
        environment: row.environment("environment")?,
        kind: row.parsed("kind", OperationKind::parse)?,
        deployment: DeploymentId(row.int("deployment_id")?),
        rollback: row.opt_int("rollback_id")?.map(RollbackId),
        plan: row.json("plan")?,
        fence: Fence(row.int("fence")?),
        status: row.parsed("status", OperationStatus::parse)?,
        error_message: row.opt_text("error_message")?,
        started_at: row.time("started_at")?,
        ended_at: row.opt_time("ended_at")?,
        traceparent: row.opt_text("traceparent")?.as_deref().and_then(Traceparent::parse),
    })
}
