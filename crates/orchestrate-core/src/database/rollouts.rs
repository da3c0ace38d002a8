//! Deployments that stop short of all traffic. At most one is open in an environment.

use super::row::{Row, damaged, to_json};
use super::sql::query;
use super::{Database, Tx};
use crate::error::Result;
use crate::name::{DeploymentId, EnvironmentName, ReleaseId};
use crate::plan::Halt;
use crate::rollout::Rollout;
use crate::slot::Slot;
use crate::time::Timestamp;

const SELECT: &str = "SELECT o.*, r.version AS version FROM rollouts o JOIN releases r ON r.id = o.release_id \
                      WHERE o.ended_at IS NULL";

impl Database {
    /// The deployment of the environment that has stopped short of all traffic, if there is one.
    pub async fn open_rollout(&self, environment: &EnvironmentName) -> Result<Option<Rollout>> {
        let row = query(format!("{SELECT} AND o.environment = $1"))
            .bind(environment.to_string())
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// Those of all environments.
    pub async fn list_open_rollouts(&self) -> Result<Vec<Rollout>> {
        let rows = query(SELECT).fetch_all(&mut *self.connection().await?).await?;
        rows.iter().map(read).collect()
    }
}

/// The same as it stands inside of a transaction.
pub(crate) async fn fetch_open(tx: &mut Tx, environment: &EnvironmentName) -> Result<Option<Rollout>> {
    let row = query(format!("{SELECT} AND o.environment = $1"))
        .bind(environment.to_string())
        .fetch_optional(tx)
        .await?;
    row.as_ref().map(read).transpose()
}

/// Keeps it at its share until somebody promotes it.
pub(crate) async fn pause(tx: &mut Tx, deployment: DeploymentId, why: &str) -> Result<()> {
    query("UPDATE rollouts SET paused = $2, next_at = NULL WHERE deployment_id = $1")
        .bind(deployment.0)
        .bind(why.to_owned())
        .execute(tx)
        .await?;
    Ok(())
}

/// Where a rollout stands by now: its first share, or its next one. Whoever took it on lets it go on from there.
pub(crate) async fn put(tx: &mut Tx, rollout: &Rollout) -> Result<()> {
    query(
        "INSERT INTO rollouts (deployment_id, environment, release_id, slot, course, weight, since, next_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (deployment_id) DO UPDATE SET weight = $6, since = $7, \
         next_at = $8, paused = NULL",
    )
    .bind(rollout.deployment.0)
    .bind(rollout.environment.to_string())
    .bind(rollout.release.0)
    .bind(rollout.slot.as_str())
    .bind(to_json(&rollout.course)?)
    .bind(i64::from(rollout.weight))
    .bind(rollout.since.to_string())
    .bind(rollout.next_at.map(|at| at.to_string()))
    .execute(tx)
    .await?;
    Ok(())
}

/// Whether nobody keeps it where it is.
pub(crate) async fn is_free(tx: &mut Tx, deployment: DeploymentId) -> Result<bool> {
    let row = query("SELECT paused FROM rollouts WHERE deployment_id = $1 AND ended_at IS NULL")
        .bind(deployment.0)
        .fetch_optional(tx)
        .await?;
    row.map_or(Ok(false), |row| row.opt_text("paused").map(|paused| paused.is_none()))
}

/// Whatever was being rolled out in the environment is live, rolled back or stopped. Its deployment, if there was one.
pub(crate) async fn end(
    tx: &mut Tx,
    environment: &EnvironmentName,
    now: Timestamp,
) -> Result<Option<DeploymentId>> {
    let row = query(
        "UPDATE rollouts SET ended_at = $2, next_at = NULL WHERE environment = $1 AND ended_at IS NULL \
         RETURNING deployment_id",
    )
    .bind(environment.to_string())
    .bind(now.to_string())
    .fetch_optional(tx)
    .await?;
    row.map(|row| row.int("deployment_id").map(DeploymentId)).transpose()
}

impl Rollout {
    /// Where a deployment stands once its operation has halted.
    pub(crate) fn halted(
        deployment: DeploymentId,
        environment: &EnvironmentName,
        place: crate::plan::Place,
        halt: &Halt,
        now: Timestamp,
    ) -> Self {
        let Halt { weight, course } = halt.clone();
        let next_at = (weight > 0).then(|| now.plus(course.wait.duration()));
        Self {
            deployment,
            environment: environment.clone(),
            version: place.version,
            release: place.release,
            slot: place.slot,
            course,
            weight,
            since: now,
            next_at,
            paused: None,
        }
    }
}

fn read(row: &Row) -> Result<Rollout> {
    Ok(Rollout {
        deployment: DeploymentId(row.int("deployment_id")?),
        environment: row.environment("environment")?,
        version: row.version("version")?,
        release: ReleaseId(row.int("release_id")?),
        slot: row.parsed("slot", Slot::parse)?,
        course: row.json("course")?,
        weight: u8::try_from(row.int("weight")?).map_err(|_| damaged("weight is no share"))?,
        since: row.time("since")?,
        next_at: row.opt_time("next_at")?,
        paused: row.opt_text("paused")?,
    })
}
