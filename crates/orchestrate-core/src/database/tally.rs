//! How much of what there is: numbers for metrics, counted by the database.

use super::Database;
use super::sql::query;
use crate::error::Result;
use crate::name::EnvironmentName;

/// So many deployments of an environment have this status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentCount {
    pub environment: EnvironmentName,
    pub status: String,
    pub count: i64,
}

/// So many rollbacks of an environment were of this kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollbackCount {
    pub environment: EnvironmentName,
    pub rollback_type: String,
    pub trigger: String,
    pub path: String,
    pub status: String,
    pub count: i64,
}

impl Database {
    pub async fn count_deployments(&self) -> Result<Vec<DeploymentCount>> {
        let rows = query(
            "SELECT environment, status, COUNT(*) AS n FROM deployments GROUP BY environment, status \
             ORDER BY environment, status",
        )
        .fetch_all(&mut *self.connection().await?)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(DeploymentCount {
                    environment: row.environment("environment")?,
                    status: row.text("status")?,
                    count: row.int("n")?,
                })
            })
            .collect()
    }

    pub async fn count_rollbacks(&self) -> Result<Vec<RollbackCount>> {
        let rows = query(
            "SELECT environment, rollback_type, triggered_by, path, status, COUNT(*) AS n FROM deployment_rollback_events \
             GROUP BY environment, rollback_type, triggered_by, path, status ORDER BY environment, rollback_type",
        )
        .fetch_all(&mut *self.connection().await?)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(RollbackCount {
                    environment: row.environment("environment")?,
                    rollback_type: row.text("rollback_type")?,
                    trigger: row.text("triggered_by")?,
                    path: row.text("path")?,
                    status: row.text("status")?,
                    count: row.int("n")?,
                })
            })
            .collect()
    }
}
