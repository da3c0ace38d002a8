//! Deployments and where they stand.

use serde::{Deserialize, Serialize};

use super::row::{Row, to_json};
use super::sql::query;
use super::{Database, Tx};
use crate::deployment::{Deployment, DeploymentStatus};
use crate::deployment_strategy::StrategyKind;
use crate::environment::ProviderKind;
use crate::error::Result;
use crate::evidence::Evidence;
use crate::name::{DeploymentId, EnvironmentName, ReleaseId, RollbackId, Version};
use crate::post_deploy_verification::Marks;
use crate::release::Contents;
use crate::time::Timestamp;

/// What a deployment is recorded with before it starts.
#[derive(Clone, Debug)]
pub(crate) struct NewDeployment<'a> {
    pub environment: &'a EnvironmentName,
    pub release: ReleaseId,
    pub version: &'a Version,
    pub provider: ProviderKind,
    pub strategy: StrategyKind,
    pub actor: &'a str,
    pub reason: Option<&'a str>,
    /// Where the router's counts stand, for a release that will be watched.
    pub marks: Option<&'a Marks>,
    pub now: Timestamp,
}

impl Database {
    pub async fn deployment(&self, id: DeploymentId) -> Result<Option<Deployment>> {
        let row = query("SELECT * FROM deployments WHERE id = $1")
            .bind(id.0)
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The current deployment: the newest one that was not rolled back, nor passed by a rollback to further back.
    pub async fn current_deployment(&self, environment: &EnvironmentName) -> Result<Option<Deployment>> {
        let row = query(
            "SELECT * FROM deployments WHERE environment = $1 AND status <> 'rolled_back' \
             AND passed_by_rollback_id IS NULL ORDER BY id DESC LIMIT 1",
        )
        .bind(environment.to_string())
        .fetch_optional(&mut *self.connection().await?)
        .await?;
        row.as_ref().map(read).transpose()
    }

    /// The newest first.
    pub async fn list_deployments(
        &self,
        environment: &EnvironmentName,
        limit: i64,
    ) -> Result<Vec<Deployment>> {
        let rows = query("SELECT * FROM deployments WHERE environment = $1 ORDER BY id DESC LIMIT $2")
            .bind(environment.to_string())
            .bind(limit)
            .fetch_all(&mut *self.connection().await?)
            .await?;
        rows.iter().map(read).collect()
    }

    /// The newest deployment by which the release went live.
    pub async fn deployment_of_release(&self, release: ReleaseId) -> Result<Option<Deployment>> {
        let row = query(
            "SELECT * FROM deployments WHERE release_id = $1 AND went_live_at IS NOT NULL ORDER BY id DESC LIMIT 1",
        )
        .bind(release.0)
        .fetch_optional(&mut *self.connection().await?)
        .await?;
        row.as_ref().map(read).transpose()
    }

    /// Where the router's counts stood when the deployment began.
    pub(crate) async fn marks_of_deployment(&self, id: DeploymentId) -> Result<Option<Marks>> {
        let row = query("SELECT marks FROM deployments WHERE id = $1 AND marks IS NOT NULL")
            .bind(id.0)
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        row.map(|row| row.json("marks")).transpose()
    }

    /// What its checks said so far, while it is watched.
    pub async fn checks_of_deployment(&self, id: DeploymentId) -> Result<Vec<Evidence>> {
        let row = query("SELECT checks FROM deployments WHERE id = $1")
            .bind(id.0)
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        row.map_or_else(|| Ok(Vec::new()), |row| row.json("checks"))
    }

    /// Records what its checks say so far; nothing, once it is decided.
    pub(crate) async fn record_checks(&self, id: DeploymentId, checks: &[Evidence]) -> Result<()> {
        query("UPDATE deployments SET checks = $2 WHERE id = $1 AND status = 'in_progress'")
            .bind(id.0)
            .bind(to_json(&checks)?)
            .execute(&mut *self.connection().await?)
            .await?;
        Ok(())
    }

    /// The deployments that are live and still watched.
    pub async fn list_baking(&self) -> Result<Vec<Deployment>> {
        let rows = query("SELECT * FROM deployments WHERE bake_until IS NOT NULL AND status = 'in_progress'")
            .fetch_all(&mut *self.connection().await?)
            .await?;
        rows.iter().map(read).collect()
    }
}

pub(crate) async fn fetch(tx: &mut Tx, id: DeploymentId) -> Result<Deployment> {
    read(&query("SELECT * FROM deployments WHERE id = $1").bind(id.0).fetch_one(tx).await?)
}

/// Whether nothing had gone live in the environment before this one.
pub(crate) async fn is_first(tx: &mut Tx, deployment: &Deployment) -> Result<bool> {
    let row = query(
        "SELECT id FROM deployments WHERE environment = $1 AND id < $2 AND went_live_at IS NOT NULL \
         ORDER BY id DESC LIMIT 1",
    )
    .bind(deployment.environment.to_string())
    .bind(deployment.id.0)
    .fetch_optional(tx)
    .await?;
    Ok(row.is_none())
}

pub(crate) async fn create(tx: &mut Tx, new: NewDeployment<'_>) -> Result<DeploymentId> {
    let row = query(
        "INSERT INTO deployments (environment, release_id, version, provider, strategy, status, actor, reason, \
         marks, started_at, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, 'in_progress', $6, $7, $8, $9, $9, $9) RETURNING id",
    )
    .bind(new.environment.to_string())
    .bind(new.release.0)
    .bind(new.version.to_string())
    .bind(new.provider.as_str())
    .bind(new.strategy.as_str())
    .bind(new.actor.to_owned())
    .bind(new.reason.map(str::to_owned))
    .bind(new.marks.map(to_json).transpose()?)
    .bind(new.now.to_string())
    .fetch_one(tx)
    .await?;
    Ok(DeploymentId(row.int("id")?))
}

/// Records what somebody overrode for it, last.
pub(crate) async fn set_break_glass(tx: &mut Tx, id: DeploymentId, overrode: &str) -> Result<()> {
    query("UPDATE deployments SET break_glass = $2 WHERE id = $1")
        .bind(id.0)
        .bind(overrode.to_owned())
        .execute(tx)
        .await?;
    Ok(())
}

/// Ends a deployment, or ends its bake.
pub(crate) async fn end(
    tx: &mut Tx,
    id: DeploymentId,
    status: DeploymentStatus,
    error: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    query(
        "UPDATE deployments SET status = $2, error_message = $3, completed_at = $4, \
         updated_at = $4, bake_until = NULL WHERE id = $1",
    )
    .bind(id.0)
    .bind(status.as_str())
    .bind(error.map(str::to_owned))
    .bind(now.to_string())
    .execute(tx)
    .await?;
    Ok(())
}

/// Records what the checks found.
pub(crate) async fn set_evidence(
    tx: &mut Tx,
    id: DeploymentId,
    evidence: &[Evidence],
    now: Timestamp,
) -> Result<()> {
    query("UPDATE deployments SET evidence = $2, updated_at = $3 WHERE id = $1")
        .bind(id.0)
        .bind(to_json(&evidence)?)
        .bind(now.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

/// What was found of it says nothing about what comes now: another share of the traffic.
pub(crate) async fn forget_findings(tx: &mut Tx, id: DeploymentId, now: Timestamp) -> Result<()> {
    query(
        "UPDATE deployments SET evidence = '[]', checks = '[]', automatic_hold = NULL, updated_at = $2 WHERE id = $1",
    )
        .bind(id.0)
        .bind(now.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

/// Records why it is not rolled back by itself; false if that was recorded before.
pub(crate) async fn hold_automatic(tx: &mut Tx, id: DeploymentId, why: &str, now: Timestamp) -> Result<bool> {
    let changed = query(
        "UPDATE deployments SET automatic_hold = $2, updated_at = $3 WHERE id = $1 AND automatic_hold IS NULL",
    )
    .bind(id.0)
    .bind(why.to_owned())
    .bind(now.to_string())
    .execute(tx)
    .await?;
    Ok(changed == 1)
}

/// Changes the status alone: a deployment keeps the time at which it ended.
pub(crate) async fn set_status(
    tx: &mut Tx,
    id: DeploymentId,
    status: DeploymentStatus,
    now: Timestamp,
) -> Result<()> {
    query("UPDATE deployments SET status = $2, updated_at = $3, bake_until = NULL WHERE id = $1")
        .bind(id.0)
        .bind(status.as_str())
        .bind(now.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

/// A deployment that was rolled back or passed stands again, as good or as bad as it was.
pub(crate) async fn reinstate(tx: &mut Tx, id: DeploymentId, now: Timestamp) -> Result<()> {
    query(
        "UPDATE deployments SET status = CASE WHEN error_message IS NULL THEN 'completed' ELSE 'failed' END, \
         completed_at = COALESCE(completed_at, $2), passed_by_rollback_id = NULL, updated_at = $2 \
         WHERE id = $1 AND (status = 'rolled_back' OR passed_by_rollback_id IS NOT NULL)",
    )
    .bind(id.0)
    .bind(now.to_string())
    .execute(tx)
    .await?;
    Ok(())
}

pub(crate) async fn went_live(
    tx: &mut Tx,
    id: DeploymentId,
    bake_until: Option<Timestamp>,
    now: Timestamp,
) -> Result<()> {
    query(
        "UPDATE deployments SET went_live_at = $2, bake_until = $3, updated_at = $2, status = 'in_progress', \
         error_message = NULL, completed_at = NULL, evidence = '[]', checks = '[]', automatic_hold = NULL WHERE id = $1",
    )
    .bind(id.0)
    .bind(now.to_string())
    .bind(bake_until.map(|t| t.to_string()))
    .execute(tx)
    .await?;
    Ok(())
}

/// A newer deployment took over while this one was still watched: it ends, but its release stays unproven.
pub(crate) async fn end_older_bakes(
    tx: &mut Tx,
    environment: &EnvironmentName,
    now: Timestamp,
) -> Result<()> {
    query(
        "UPDATE deployments SET status = 'completed', completed_at = $2, updated_at = $2, bake_until = NULL \
         WHERE environment = $1 AND status = 'in_progress' AND bake_until IS NOT NULL",
    )
    .bind(environment.to_string())
    .bind(now.to_string())
    .execute(tx)
    .await?;
    Ok(())
}

/// Marks those between the target and the one that is rolled back, so that "current" follows what is live.
pub(crate) async fn pass(
    tx: &mut Tx,
    environment: &EnvironmentName,
    newer_than: DeploymentId,
    by: RollbackId,
) -> Result<()> {
    query(
        "UPDATE deployments SET passed_by_rollback_id = $3, bake_until = NULL, \
         status = CASE WHEN status = 'in_progress' THEN 'completed' ELSE status END WHERE environment = $1 AND id > $2 \
         AND status <> 'rolled_back' AND passed_by_rollback_id IS NULL",
    )
    .bind(environment.to_string())
    .bind(newer_than.0)
    .bind(by.0)
    .execute(tx)
    .await?;
    Ok(())
}

/// How a deployment stood before a rollback changed that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub deployment: DeploymentId,
    pub status: DeploymentStatus,
    pub passed_by: Option<i64>,
}

/// How those stand that a rollback from `left` to `standing` changes.
pub(crate) async fn marks(
    tx: &mut Tx,
    environment: &EnvironmentName,
    left: DeploymentId,
    standing: DeploymentId,
) -> Result<Vec<Mark>> {
    let two = query("SELECT id, status, passed_by_rollback_id FROM deployments WHERE id IN ($1, $2)")
        .bind(left.0)
        .bind(standing.0)
        .fetch_all(tx)
        .await?;
    let newer = query(
        "SELECT id, status, passed_by_rollback_id FROM deployments WHERE environment = $1 AND id > $2 \
         AND status <> 'rolled_back' AND passed_by_rollback_id IS NULL AND id <> $3",
    )
    .bind(environment.to_string())
    .bind(standing.0)
    .bind(left.0)
    .fetch_all(tx)
    .await?;
    let mark = |row: &Row| {
        Ok(Mark {
            deployment: DeploymentId(row.int("id")?),
            status: row.parsed("status", DeploymentStatus::parse)?,
            passed_by: row.opt_int("passed_by_rollback_id")?,
        })
    };
    two.iter().chain(&newer).map(mark).collect()
}

/// Each deployment stands again as it was marked; only what is live can go on with its bake.
pub(crate) async fn restore(tx: &mut Tx, marks: &[Mark], now: Timestamp) -> Result<()> {
    for mark in marks {
        let status = match mark.status {
            DeploymentStatus::InProgress => DeploymentStatus::Completed,
            DeploymentStatus::Pending
            | DeploymentStatus::Validating
            | DeploymentStatus::Completed
            | DeploymentStatus::Failed
            | DeploymentStatus::RolledBack
            | DeploymentStatus::TimedOut => mark.status,
        };
        query(
            "UPDATE deployments SET status = $2, passed_by_rollback_id = $3, \
             completed_at = COALESCE(completed_at, $4), updated_at = $4 WHERE id = $1",
        )
        .bind(mark.deployment.0)
        .bind(status.as_str())
        .bind(mark.passed_by)
        .bind(now.to_string())
        .execute(tx)
        .await?;
    }
    Ok(())
}

/// Starts the bake of a deployment that is live once more, as long as its release was sealed with.
pub(crate) async fn bake_again(tx: &mut Tx, id: DeploymentId, now: Timestamp) -> Result<()> {
    let row = query(
        "SELECT r.contents AS contents FROM deployments d JOIN releases r ON r.id = d.release_id WHERE d.id = $1",
    )
    .bind(id.0)
    .fetch_one(tx)
    .await?;
    let contents: Contents = row.json("contents")?;
    let until = now.plus(contents.settings.verify.bake.duration());
    query(
        "UPDATE deployments SET status = 'in_progress', bake_until = $2, completed_at = NULL, checks = '[]', automatic_hold = NULL, \
         updated_at = $3 WHERE id = $1",
    )
    .bind(id.0)
    .bind(until.to_string())
    .bind(now.to_string())
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes the marks of a rollback away again.
pub(crate) async fn unpass(tx: &mut Tx, by: RollbackId) -> Result<()> {
    query("UPDATE deployments SET passed_by_rollback_id = NULL WHERE passed_by_rollback_id = $1")
        .bind(by.0)
        .execute(tx)
        .await?;
    Ok(())
}

/// The newest deployment by which the release went live.
pub(crate) async fn latest_live_of(tx: &mut Tx, release: ReleaseId) -> Result<Option<DeploymentId>> {
    let row = query(
        "SELECT id FROM deployments WHERE release_id = $1 AND went_live_at IS NOT NULL ORDER BY id DESC LIMIT 1",
    )
    .bind(release.0)
    .fetch_optional(tx)
    .await?;
    row.map(|row| row.int("id").map(DeploymentId)).transpose()
}

fn read(row: &Row) -> Result<Deployment> {
    Ok(Deployment {
        id: DeploymentId(row.int("id")?),
        environment: row.environment("environment")?,
        release: ReleaseId(row.int("release_id")?),
        version: row.version("version")?,
        provider: row.parsed("provider", parse_provider)?,
        strategy: row.parsed("strategy", parse_strategy)?,
        status: row.parsed("status", DeploymentStatus::parse)?,
        error_message: row.opt_text("error_message")?,
        actor: row.text("actor")?,
        reason: row.opt_text("reason")?,
        started_at: row.time("started_at")?,
        completed_at: row.opt_time("completed_at")?,
        went_live_at: row.opt_time("went_live_at")?,
        bake_until: row.opt_time("bake_until")?,
        evidence: row.json("evidence")?,
        automatic_hold: row.opt_text("automatic_hold")?,
        hooks: row.json("hooks")?,
        break_glass: row.opt_text("break_glass")?,
    })
}

fn parse_provider(text: &str) -> Option<ProviderKind> {
    serde_json::from_value(text.into()).ok()
}

fn parse_strategy(text: &str) -> Option<StrategyKind> {
    serde_json::from_value(text.into()).ok()
}
