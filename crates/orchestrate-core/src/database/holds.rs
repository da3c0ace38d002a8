//! Holds: versions that must not be deployed here, nor gone back to.

use serde::Serialize;

use super::audit::{self, Entry};
use super::sql::query;
use super::{Database, Tx, commit, environments, outbox};
use crate::error::{Error, Result};
use crate::name::{EnvironmentName, RollbackId, Version};
use crate::notification::{NoticeKind, Told};
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HoldRecord {
    pub version: Version,
    pub reason: String,
    pub since: Timestamp,
    pub actor: String,
}

impl Database {
    pub async fn list_holds(&self, environment: &EnvironmentName) -> Result<Vec<HoldRecord>> {
        let rows = query("SELECT * FROM holds WHERE environment = $1 ORDER BY since DESC")
            .bind(environment.to_string())
            .fetch_all(&mut *self.connection().await?)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(HoldRecord {
                    version: row.version("version")?,
                    reason: row.text("reason")?,
                    since: row.time("since")?,
                    actor: row.text("actor")?,
                })
            })
            .collect()
    }

    pub async fn find_hold(
        &self,
        environment: &EnvironmentName,
        version: &Version,
    ) -> Result<Option<HoldRecord>> {
        Ok(self.list_holds(environment).await?.into_iter().find(|hold| hold.version == *version))
    }

    /// Forbids a version. A hold that is there already keeps its reason and its time, and is refused.
    pub async fn hold(
        &self,
        environment: &EnvironmentName,
        version: &Version,
        actor: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        if !put(&mut tx, environment, version, actor, reason, None, now).await? {
            return Err(Error::refused("ORC-0111", format!("{version} is held in {environment} already"))
                .hint(format!(
                    "lift it with: orchestrate deploy unhold {version} --env {environment} --reason TEXT"
                )));
        }
        let detail = serde_json::json!({ "version": version });
        let entry = Entry { at: now, environment, actor, action: "hold_set", reason: Some(reason), detail };
        audit::record(&mut tx, entry);
        tell_of(&mut tx, environment, NoticeKind::HoldSet, version, actor, Some(reason), now).await?;
        commit(tx).await
    }

    /// Lifts a hold; refused where there is none.
    pub async fn unhold(
        &self,
        environment: &EnvironmentName,
        version: &Version,
        actor: &str,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        if !remove(&mut tx, environment, version).await? {
            return Err(Error::refused("ORC-0112", format!("{version} is not held in {environment}"))
                .hint(format!("see what is: orchestrate deploy status --env {environment}")));
        }
        let detail = serde_json::json!({ "version": version });
        let entry = Entry { at: now, environment, actor, action: "hold_lifted", reason, detail };
        audit::record(&mut tx, entry);
        tell_of(&mut tx, environment, NoticeKind::HoldLifted, version, actor, reason, now).await?;
        commit(tx).await
    }
}

/// Of what a person does; a rollback's own hold is part of what its notice tells.
async fn tell_of(
    tx: &mut Tx,
    environment: &EnvironmentName,
    kind: NoticeKind,
    version: &Version,
    actor: &str,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    let Some(record) = environments::fetch(tx, environment).await? else { return Ok(()) };
    let (version, actor, reason) = (version.clone(), actor.to_owned(), reason.map(str::to_owned));
    outbox::tell(tx, &record, kind, Told::Hold { version, actor, reason }, None, now).await
}

/// Sets a hold; false if the version was held already.
pub(crate) async fn put(
    tx: &mut Tx,
    environment: &EnvironmentName,
    version: &Version,
    actor: &str,
    reason: &str,
    rollback: Option<RollbackId>,
    now: Timestamp,
) -> Result<bool> {
    let changed = query(
        "INSERT INTO holds (environment, version, reason, actor, since, rollback_id) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (environment, version) DO NOTHING",
    )
    .bind(environment.to_string())
    .bind(version.to_string())
    .bind(reason.to_owned())
    .bind(actor.to_owned())
    .bind(now.to_string())
    .bind(rollback.map(|id| id.0))
    .execute(tx)
    .await?;
    Ok(changed == 1)
}

pub(crate) async fn is_held(tx: &mut Tx, environment: &EnvironmentName, version: &Version) -> Result<bool> {
    let row = query("SELECT version FROM holds WHERE environment = $1 AND version = $2")
        .bind(environment.to_string())
        .bind(version.to_string())
        .fetch_optional(tx)
        .await?;
    Ok(row.is_some())
}

pub(crate) async fn remove(tx: &mut Tx, environment: &EnvironmentName, version: &Version) -> Result<bool> {
    let changed = query("DELETE FROM holds WHERE environment = $1 AND version = $2")
        .bind(environment.to_string())
        .bind(version.to_string())
        .execute(tx)
        .await?;
    Ok(changed == 1)
}

/// Lifts the hold that a rollback set, where that rollback is taken back.
pub(crate) async fn remove_of_rollback(tx: &mut Tx, rollback: RollbackId) -> Result<()> {
    query("DELETE FROM holds WHERE rollback_id = $1").bind(rollback.0).execute(tx).await?;
    Ok(())
}
