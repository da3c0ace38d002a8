//! What a report reads: a few columns of many rows.

use std::collections::BTreeMap;

use super::Database;
use super::row::{Row, damaged};
use super::sql::query;
use crate::deployment::DeploymentStatus;
use crate::drill::DrillStatus;
use crate::environment::EnvironmentSettings;
use crate::error::Result;
use crate::name::EnvironmentName;
use crate::report::{DeploymentFact, DrillFact, Facts, Period, Report, RollbackFact};
use crate::rollback_event::{RollbackPath, RollbackStatus, RollbackType, Trigger};

/// A deployment counts where it began or went live in the period.
const DEPLOYMENTS: &str = "SELECT d.environment, d.status, d.started_at, d.completed_at, d.went_live_at, d.break_glass, r.committed_at, \
     (SELECT MAX(e.completed_at) FROM deployment_rollback_events e WHERE e.deployment_id = d.id \
     AND e.status = 'completed' AND e.undoes_id IS NULL) AS rolled_back_at \
     FROM deployments d JOIN releases r ON r.id = d.release_id \
     WHERE ((d.started_at >= $1 AND d.started_at < $2) OR (d.went_live_at >= $1 AND d.went_live_at < $2)) \
     AND ($3 = '' OR d.environment = $3) ORDER BY d.id";

const ROLLBACKS: &str = "SELECT e.environment, e.rollback_type, e.triggered_by, e.path, e.status, e.reason, e.started_at, \
     e.completed_at, e.undoes_id, e.break_glass, d.went_live_at FROM deployment_rollback_events e \
     JOIN deployments d ON d.id = e.deployment_id WHERE e.started_at >= $1 AND e.started_at < $2 \
     AND ($3 = '' OR e.environment = $3) ORDER BY e.id";

const DRILLS: &str = "SELECT environment, path, status, started_at, duration_ms FROM drills \
     WHERE started_at >= $1 AND started_at < $2 AND ($3 = '' OR environment = $3) ORDER BY id";

/// Deleted environments had their history, too.
const ENVIRONMENTS: &str = "SELECT n.name, n.settings, \
     (SELECT MIN(d.started_at) FROM deployments d WHERE d.environment = n.name) AS first \
     FROM environments n WHERE $1 = '' OR n.name = $1 ORDER BY n.name";

impl Database {
    /// What happened in `period` in one environment, or in all. An environment that was deleted counts among all as long as
    /// something happened in it then.
    pub async fn report(&self, environment: Option<&EnvironmentName>, period: Period) -> Result<Report> {
        let mut connection = self.connection().await?;
        let name = environment.map_or_else(String::new, ToString::to_string);
        let mut facts = BTreeMap::new();
        for row in query(ENVIRONMENTS).bind(name.clone()).fetch_all(&mut connection).await? {
            facts.insert(row.text("name")?, none_yet(&row)?);
        }
        let read = |sql: &'static str| {
            let period = [period.since, period.until].map(|time| time.to_string());
            let query = period.into_iter().fold(query(sql), super::sql::Query::bind);
            query.bind(name.clone())
        };
        for row in read(DEPLOYMENTS).fetch_all(&mut connection).await? {
            of(&mut facts, &row)?.deployments.push(deployment(&row)?);
        }
        for row in read(ROLLBACKS).fetch_all(&mut connection).await? {
            of(&mut facts, &row)?.rollbacks.push(rollback(&row)?);
        }
        for row in read(DRILLS).fetch_all(&mut connection).await? {
            of(&mut facts, &row)?.drills.push(drill(&row)?);
        }
        drop(connection);
        let facts: Vec<Facts> = facts.into_values().collect();
        Ok(Report::of(period, &facts))
    }
}

fn none_yet(row: &Row) -> Result<Facts> {
    let settings: EnvironmentSettings = row.json("settings")?;
    Ok(Facts {
        environment: row.environment("name")?,
        kind: settings.kind,
        first: row.opt_time("first")?,
        deployments: Vec::new(),
        rollbacks: Vec::new(),
        drills: Vec::new(),
    })
}

fn of<'a>(facts: &'a mut BTreeMap<String, Facts>, row: &Row) -> Result<&'a mut Facts> {
    let name = row.text("environment")?;
    facts.get_mut(&name).ok_or_else(|| damaged(format!("{name} is no environment")))
}

fn deployment(row: &Row) -> Result<DeploymentFact> {
    Ok(DeploymentFact {
        status: row.parsed("status", DeploymentStatus::parse)?,
        started_at: row.time("started_at")?,
        completed_at: row.opt_time("completed_at")?,
        went_live_at: row.opt_time("went_live_at")?,
        committed_at: row.opt_time("committed_at")?,
        rolled_back_at: row.opt_time("rolled_back_at")?,
        broke_glass: row.opt_text("break_glass")?.is_some(),
    })
}

fn drill(row: &Row) -> Result<DrillFact> {
    Ok(DrillFact {
        path: row.parsed("path", RollbackPath::parse)?,
        status: row.parsed("status", DrillStatus::parse)?,
        started_at: row.time("started_at")?,
        duration_ms: row.opt_int("duration_ms")?.map(|ms| u64::try_from(ms).unwrap_or(0)),
    })
}

fn rollback(row: &Row) -> Result<RollbackFact> {
    Ok(RollbackFact {
        rollback_type: row.parsed("rollback_type", RollbackType::parse)?,
        trigger: row.parsed("triggered_by", Trigger::parse)?,
        path: row.parsed("path", RollbackPath::parse)?,
        status: row.parsed("status", RollbackStatus::parse)?,
        reason: row.opt_text("reason")?,
        started_at: row.time("started_at")?,
        completed_at: row.opt_time("completed_at")?,
        went_live_at: row.opt_time("went_live_at")?,
        undoes: row.opt_int("undoes_id")?.is_some(),
        broke_glass: row.opt_text("break_glass")?.is_some(),
    })
}
