//! Sealed releases and their lineage: the order in which they first went live.

use std::collections::BTreeSet;

use super::audit::{self, Entry};
use super::row::{Row, to_json};
use super::sql::query;
use super::{Database, Tx};
use crate::error::Result;
use crate::name::{EnvironmentName, ReleaseId, Version};
use crate::release::{Contents, Digest, Hold, Release};
use crate::time::Timestamp;

/// A release with the hold on its version, if there is one, and whether a deployment of it stands.
pub(super) const SELECT: &str = "SELECT r.*, h.reason AS hold_reason, h.since AS hold_since, h.actor AS hold_actor, \
     (SELECT COUNT(*) FROM deployments d WHERE d.release_id = r.id AND d.went_live_at IS NOT NULL \
     AND d.status <> 'rolled_back' AND d.passed_by_rollback_id IS NULL) AS standing \
     FROM releases r LEFT JOIN holds h ON h.environment = r.environment AND h.version = r.version ";

impl Database {
    pub async fn release(&self, id: ReleaseId) -> Result<Option<Release>> {
        let sql = join(SELECT, "WHERE r.id = $1");
        let row = query(sql).bind(id.0).fetch_optional(&mut *self.connection().await?).await?;
        row.as_ref().map(read).transpose()
    }

    /// The releases that went live, newest in lineage first, from below `below` (exclusive) if it is given.
    pub async fn list_lineage(
        &self,
        environment: &EnvironmentName,
        below: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Release>> {
        let sql =
            join(SELECT, "WHERE r.environment = $1 AND r.lineage < $2 ORDER BY r.lineage DESC LIMIT $3");
        let rows = query(sql)
            .bind(environment.to_string())
            .bind(below.unwrap_or(i64::MAX))
            .bind(limit)
            .fetch_all(&mut *self.connection().await?)
            .await?;
        rows.iter().map(read).collect()
    }

    /// The newest release that an automatic rollback may take: one that a rollback passed over since is left out.
    pub async fn newest_standing_release(
        &self,
        environment: &EnvironmentName,
        below: Option<i64>,
        unlike: Option<&Digest>,
    ) -> Result<Option<Release>> {
        let sql = join(
            SELECT,
            "WHERE r.environment = $1 AND r.lineage < $2 AND r.proven_at IS NOT NULL AND r.pruned_at IS NULL AND h.version IS NULL \
             AND r.content_digest <> $3 AND EXISTS (SELECT 1 FROM deployments s WHERE s.release_id = r.id \
             AND s.went_live_at IS NOT NULL AND s.status <> 'rolled_back' AND s.passed_by_rollback_id IS NULL) \
             ORDER BY r.lineage DESC LIMIT 1",
        );
        let row = query(sql)
            .bind(environment.to_string())
            .bind(below.unwrap_or(i64::MAX))
            .bind(unlike.map_or_else(String::new, ToString::to_string))
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The releases that a rollback without a version may take, newest in lineage first.
    pub async fn list_good_releases(
        &self,
        environment: &EnvironmentName,
        below: Option<i64>,
        unlike: Option<&Digest>,
        limit: i64,
    ) -> Result<Vec<Release>> {
        let sql = join(
            SELECT,
            "WHERE r.environment = $1 AND r.lineage < $2 AND r.proven_at IS NOT NULL AND r.pruned_at IS NULL AND h.version IS NULL \
             AND r.content_digest <> $3 ORDER BY r.lineage DESC LIMIT $4",
        );
        let rows = query(sql)
            .bind(environment.to_string())
            .bind(below.unwrap_or(i64::MAX))
            .bind(unlike.map_or_else(String::new, ToString::to_string))
            .bind(limit)
            .fetch_all(&mut *self.connection().await?)
            .await?;
        rows.iter().map(read).collect()
    }

    /// The releases of an environment that proved good, pruned ones among them.
    pub async fn proven_releases(&self, environment: &EnvironmentName) -> Result<BTreeSet<ReleaseId>> {
        let rows = query("SELECT id FROM releases WHERE environment = $1 AND proven_at IS NOT NULL")
            .bind(environment.to_string())
            .fetch_all(&mut *self.connection().await?)
            .await?;
        rows.iter().map(|row| row.int("id").map(ReleaseId)).collect()
    }

    /// The releases that went live after the given one last did, in no order.
    pub async fn list_live_since(
        &self,
        environment: &EnvironmentName,
        release: ReleaseId,
    ) -> Result<Vec<Release>> {
        let sql = join(
            SELECT,
            "WHERE r.id IN (SELECT s.release_id FROM deployments s WHERE s.environment = $1 \
             AND s.went_live_at IS NOT NULL AND s.id > COALESCE((SELECT MAX(t.id) FROM deployments t \
             WHERE t.release_id = $2 AND t.went_live_at IS NOT NULL), 0))",
        );
        let rows = query(sql)
            .bind(environment.to_string())
            .bind(release.0)
            .fetch_all(&mut *self.connection().await?)
            .await?;
        rows.iter().map(read).collect()
    }

    /// The newest release of a version, preferring one that was live.
    pub async fn find_release(
        &self,
        environment: &EnvironmentName,
        version: &Version,
    ) -> Result<Option<Release>> {
        let sql = join(
            SELECT,
            "WHERE r.environment = $1 AND r.version = $2 ORDER BY COALESCE(r.lineage, -1) DESC, r.id DESC LIMIT 1",
        );
        let row = query(sql)
            .bind(environment.to_string())
            .bind(version.to_string())
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// Those of an environment that are not pruned, in no order.
    pub async fn list_kept_releases(&self, environment: &EnvironmentName) -> Result<Vec<Release>> {
        let sql = join(SELECT, "WHERE r.environment = $1 AND r.pruned_at IS NULL");
        let rows = query(sql).bind(environment.to_string()).fetch_all(&mut *self.connection().await?).await?;
        rows.iter().map(read).collect()
    }

    /// The artifacts of an environment's pruned releases; others may still use them.
    pub async fn list_pruned_artifacts(&self, environment: &EnvironmentName) -> Result<Vec<Digest>> {
        let rows = query(
            "SELECT DISTINCT artifact_digest FROM releases WHERE environment = $1 AND pruned_at IS NOT NULL",
        )
        .bind(environment.to_string())
        .fetch_all(&mut *self.connection().await?)
        .await?;
        let digest = |row: &Row| Digest::try_from(row.text("artifact_digest")?).map_err(super::row::damaged);
        rows.iter().map(digest).collect()
    }

    /// Whether some release of any environment that is not pruned needs the artifact.
    pub async fn artifact_in_use(&self, digest: &Digest) -> Result<bool> {
        let row =
            query("SELECT COUNT(*) AS n FROM releases WHERE artifact_digest = $1 AND pruned_at IS NULL")
                .bind(digest.to_string())
                .fetch_one(&mut *self.connection().await?)
                .await?;
        Ok(row.int("n")? > 0)
    }
}

pub(super) fn join(select: &str, rest: &str) -> String {
    let mut sql = String::with_capacity(select.len() + rest.len());
    sql.push_str(select);
    sql.push_str(rest);
    sql
}

/// Seals a release, or finds the one that is the same in version and contents.
pub(crate) async fn seal(
    tx: &mut Tx,
    environment: &EnvironmentName,
    version: &Version,
    contents: &Contents,
    actor: &str,
    now: Timestamp,
) -> Result<ReleaseId> {
    let digest = contents.digest();
    let same =
        query("SELECT id FROM releases WHERE environment = $1 AND version = $2 AND content_digest = $3")
            .bind(environment.to_string())
            .bind(version.to_string())
            .bind(digest.to_string())
            .fetch_optional(tx)
            .await?;
    if let Some(row) = same {
        let id = ReleaseId(row.int("id")?);
        // Its artifact was just taken in again.
        set_pruned(tx, id, None).await?;
        return Ok(id);
    }
    let row = query(
        "INSERT INTO releases (environment, version, artifact_digest, content_digest, contents, sealed_at, \
         committed_at) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id",
    )
    .bind(environment.to_string())
    .bind(version.to_string())
    .bind(contents.artifact.digest.to_string())
    .bind(digest.to_string())
    .bind(to_json(contents)?)
    .bind(now.to_string())
    .bind(contents.artifact.committed_at.map(|at| at.to_string()))
    .fetch_one(tx)
    .await?;
    let id = ReleaseId(row.int("id")?);
    let (artifact, action) = (&contents.artifact, "release_sealed");
    let detail = serde_json::json!({
        "release": id, "version": version, "content": digest, "artifact": artifact.digest, "origin": artifact.origin,
    });
    audit::record(tx, Entry { at: now, environment, actor, action, reason: None, detail });
    Ok(id)
}

/// Gives the release its place in the lineage, the first time it goes live.
pub(crate) async fn enter_lineage(
    tx: &mut Tx,
    environment: &EnvironmentName,
    release: ReleaseId,
) -> Result<()> {
    query(
        "UPDATE releases SET lineage = (SELECT lineage + 1 FROM environments WHERE name = $1) \
         WHERE id = $2 AND lineage IS NULL",
    )
    .bind(environment.to_string())
    .bind(release.0)
    .execute(tx)
    .await?;
    query(
        "UPDATE environments SET lineage = (SELECT COALESCE(MAX(lineage), 0) FROM releases WHERE environment = $1) \
         WHERE name = $1",
    )
    .bind(environment.to_string())
    .execute(tx)
    .await?;
    Ok(())
}

/// Marks a release as pruned, or as kept again.
pub(crate) async fn set_pruned(tx: &mut Tx, release: ReleaseId, since: Option<Timestamp>) -> Result<()> {
    query("UPDATE releases SET pruned_at = $2 WHERE id = $1")
        .bind(release.0)
        .bind(since.map(|since| since.to_string()))
        .execute(tx)
        .await?;
    Ok(())
}

pub(crate) async fn mark_proven(tx: &mut Tx, release: ReleaseId, now: Timestamp) -> Result<()> {
    query("UPDATE releases SET proven_at = $2 WHERE id = $1 AND proven_at IS NULL")
        .bind(release.0)
        .bind(now.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) fn read(row: &Row) -> Result<Release> {
    let hold = match (row.opt_text("hold_reason")?, row.opt_time("hold_since")?, row.opt_text("hold_actor")?)
    {
        (Some(reason), Some(since), Some(actor)) => Some(Hold { reason, since, actor }),
        _ => None,
    };
    Ok(Release {
        id: ReleaseId(row.int("id")?),
        environment: row.environment("environment")?,
        version: row.version("version")?,
        contents: row.json("contents")?,
        content_digest: Digest::try_from(row.text("content_digest")?).map_err(super::row::damaged)?,
        sealed_at: row.time("sealed_at")?,
        lineage: row.opt_int("lineage")?,
        proven_at: row.opt_time("proven_at")?,
        hold,
        stands: row.int("standing")? > 0,
        pruned_at: row.opt_time("pruned_at")?,
    })
}

/// What was sealed, and the digest that it had then.
pub(super) fn read_sealed(row: &Row) -> Result<(Contents, Digest)> {
    let digest = Digest::try_from(row.text("content_digest")?).map_err(super::row::damaged)?;
    Ok((row.json("contents")?, digest))
}
