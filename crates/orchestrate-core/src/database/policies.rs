//! What policies ask of the history; only where one is set.

use super::Database;
use super::sql::query;
use crate::error::Result;
use crate::name::{EnvironmentName, ReleaseId};
use crate::release::Release;
use crate::time::{Span, Timestamp};

impl Database {
    /// How many releases lie between one and an older one, the newer one counted; none where it is not older.
    pub(crate) async fn count_releases_back(&self, from: &Release, target: &Release) -> Result<u32> {
        let row = query(
            "SELECT COUNT(*) AS n FROM releases WHERE environment = $1 AND lineage > $2 AND lineage <= $3",
        )
        .bind(target.environment.to_string())
        .bind(target.lineage.unwrap_or(i64::MAX))
        .bind(from.lineage.unwrap_or(i64::MAX))
        .fetch_one(&mut *self.connection().await?)
        .await?;
        Ok(u32::try_from(row.int("n")?).unwrap_or(u32::MAX))
    }

    /// When something else took the place of a release, last; none while nothing did.
    pub(crate) async fn left_at(
        &self,
        environment: &EnvironmentName,
        release: ReleaseId,
    ) -> Result<Option<Timestamp>> {
        let row = query(
            "WITH lives (release_id, at) AS ( \
             SELECT release_id, went_live_at FROM deployments \
             WHERE environment = $1 AND went_live_at IS NOT NULL \
             UNION ALL SELECT target_release_id, completed_at FROM deployment_rollback_events \
             WHERE environment = $1 AND status = 'completed' AND path <> 'none') \
             SELECT MIN(at) AS left_at FROM lives WHERE release_id <> $2 \
             AND at > (SELECT MAX(at) FROM lives WHERE release_id = $2)",
        )
        .bind(environment.to_string())
        .bind(release.0)
        .fetch_one(&mut *self.connection().await?)
        .await?;
        row.opt_time("left_at")
    }

    /// How many rollbacks people asked for within a time before now.
    pub(crate) async fn count_manual_rollbacks(
        &self,
        environment: &EnvironmentName,
        within: Span,
        now: Timestamp,
    ) -> Result<u32> {
        let since = Timestamp::from_millis(now.as_millis().saturating_sub_unsigned(within.as_millis()));
        let row = query(
            "SELECT COUNT(*) AS n FROM deployment_rollback_events WHERE environment = $1 AND started_at > $2 \
             AND triggered_by IN ('manual', 'api')",
        )
        .bind(environment.to_string())
        .bind(since.to_string())
        .fetch_one(&mut *self.connection().await?)
        .await?;
        Ok(u32::try_from(row.int("n")?).unwrap_or(u32::MAX))
    }
}
