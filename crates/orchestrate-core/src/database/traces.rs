//! Which operations are still to be told as traces, what each is made of, and what became of it.

use super::sql::query;
use super::{Database, OperationRecord, operations};
use crate::error::Result;
use crate::name::{DeploymentId, EnvironmentName, OperationId};
use crate::time::Timestamp;
use crate::trace::Traced;

/// What became of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceState {
    /// The collector has it.
    Sent,
    /// The collector said that it will never accept it.
    Refused,
    /// Whoever asked for the operation is not traced.
    Unwanted,
}

impl TraceState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Refused => "refused",
            Self::Unwanted => "unwanted",
        }
    }
}

/// How many traces wait, and how many were refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct TraceCount {
    pub waiting: i64,
    pub refused: i64,
}

const UNTOLD: &str = "trace IS NULL AND status IN ('completed', 'undone')";

impl Database {
    /// Operations that ended after this and were not told yet, oldest first; of these environments only, if some are named.
    pub async fn untold_operations(
        &self,
        of: Option<&[EnvironmentName]>,
        ended_after: Timestamp,
        limit: i64,
    ) -> Result<Vec<OperationRecord>> {
        let among = among(of, 3);
        let sql = format!(
            "SELECT * FROM operations WHERE {UNTOLD} AND ended_at > $1 {among} ORDER BY ended_at, id LIMIT $2"
        );
        let wanted = query(sql).bind(ended_after.to_string()).bind(limit);
        let wanted = of.into_iter().flatten().fold(wanted, |query, name| query.bind(name.to_string()));
        let rows = wanted.fetch_all(&mut *self.connection().await?).await?;
        rows.iter().map(operations::read).collect()
    }

    /// Those of operations that ended after this.
    pub async fn count_traces(
        &self,
        of: Option<&[EnvironmentName]>,
        ended_after: Timestamp,
    ) -> Result<TraceCount> {
        let among = among(of, 2);
        let sql = format!(
            "SELECT COALESCE(SUM(CASE WHEN {UNTOLD} THEN 1 ELSE 0 END), 0) AS waiting, \
             COALESCE(SUM(CASE WHEN trace = 'refused' THEN 1 ELSE 0 END), 0) AS refused \
             FROM operations WHERE ended_at > $1 {among}"
        );
        let wanted = query(sql).bind(ended_after.to_string());
        let wanted = of.into_iter().flatten().fold(wanted, |query, name| query.bind(name.to_string()));
        let row = wanted.fetch_one(&mut *self.connection().await?).await?;
        Ok(TraceCount { waiting: row.int("waiting")?, refused: row.int("refused")? })
    }

    /// All that is recorded of an operation, for its trace.
    pub async fn traced(&self, operation: OperationRecord) -> Result<Traced> {
        let environment = self.find_environment(&operation.environment).await?;
        let rollback = match operation.rollback {
            Some(id) => self.get_deployment_rollback_event(id).await?,
            None => None,
        };
        let deployed_by = match &rollback {
            Some(event) => self.deployed_by(event.deployment_id).await?,
            None => None,
        };
        Ok(Traced {
            journal: self.journal(operation.id).await?,
            service: environment.map(|record| record.environment.service),
            deployment: self.deployment(operation.deployment).await?,
            rollback,
            deployed_by,
            operation,
        })
    }

    /// Records what became of a trace for good.
    pub async fn trace_told(&self, id: OperationId, state: TraceState, error: Option<&str>) -> Result<()> {
        query("UPDATE operations SET trace = $2, trace_error = $3 WHERE id = $1")
            .bind(id.0)
            .bind(state.as_str())
            .bind(error.map(str::to_owned))
            .execute(&mut *self.connection().await?)
            .await?;
        Ok(())
    }

    async fn deployed_by(&self, deployment: DeploymentId) -> Result<Option<OperationRecord>> {
        let row = query(
            "SELECT * FROM operations WHERE deployment_id = $1 AND kind IN ('deploy', 'promote') ORDER BY id DESC LIMIT 1",
        )
        .bind(deployment.0)
        .fetch_optional(&mut *self.connection().await?)
        .await?;
        row.as_ref().map(operations::read).transpose()
    }

    /// The records of traces, for tests: the number of each operation with what became of it.
    #[cfg(any(test, feature = "fakes"))]
    pub async fn trace_states(&self) -> Result<Vec<(OperationId, Option<String>, Option<String>)>> {
        let rows = query("SELECT id, trace, trace_error FROM operations ORDER BY id")
            .fetch_all(&mut *self.connection().await?)
            .await?;
        let states = rows.iter().map(|row| {
            Ok((OperationId(row.int("id")?), row.opt_text("trace")?, row.opt_text("trace_error")?))
        });
        states.collect()
    }
}

fn among(of: Option<&[EnvironmentName]>, first: usize) -> String {
    let Some(names) = of else { return String::new() };
    let places: Vec<String> = (0..names.len()).map(|index| format!("${}", first + index)).collect();
    // An empty list is no SQL.
    if places.is_empty() { "AND 1 = 0".into() } else { format!("AND environment IN ({})", places.join(", ")) }
}
