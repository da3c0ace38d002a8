//! The report for a spreadsheet: one line an environment, times in milliseconds, shares from 0 to 1.

use orchestrate_core::report::{Figures, Report, Spread};
use orchestrate_core::{Error, Result};
use serde::Serialize;

#[derive(Serialize)]
struct Row {
    environment: String,
    r#type: String,
    since: String,
    until: String,
    deployments: usize,
    deployments_completed: usize,
    deployments_failed: usize,
    deployments_timed_out: usize,
    deployments_rolled_back: usize,
    deployments_by_broken_glass: usize,
    rollbacks: usize,
    rollbacks_completed: usize,
    rollbacks_failed: usize,
    rollbacks_needing_attention: usize,
    rollbacks_by_broken_glass: usize,
    rollback_success_rate: Option<f64>,
    rollback_warm_rate: Option<f64>,
    warm_p50_ms: Option<u64>,
    warm_p95_ms: Option<u64>,
    warm_max_ms: Option<u64>,
    cold_p50_ms: Option<u64>,
    cold_p95_ms: Option<u64>,
    cold_max_ms: Option<u64>,
    time_to_restore_p50_ms: Option<u64>,
    went_live: usize,
    deployments_per_day: Option<f64>,
    lead_time_p50_ms: Option<u64>,
    change_failure_rate: Option<f64>,
    recovery_time_p50_ms: Option<u64>,
    drills: usize,
    drills_completed: usize,
    drills_failed: usize,
    drill_success_rate: Option<f64>,
    drill_warm_p50_ms: Option<u64>,
    drill_cold_p50_ms: Option<u64>,
}

pub fn of(report: &Report) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for part in &report.environments {
        let row = row(report, part.environment.to_string(), part.kind.to_string(), &part.figures);
        writer.serialize(row).map_err(unwritten)?;
    }
    let bytes = writer.into_inner().map_err(unwritten)?;
    String::from_utf8(bytes).map_err(unwritten)
}

/// It is written to memory, where nothing is in its way.
fn unwritten(error: impl std::fmt::Display) -> Error {
    Error::bug(format!("the report cannot be written as CSV: {error}"))
}

fn row(report: &Report, environment: String, kind: String, figures: &Figures) -> Row {
    let Figures { deployments, rollbacks, drills, dora, .. } = figures;
    let (warm, cold) = (rollbacks.by_path.get("warm"), rollbacks.by_path.get("cold"));
    let p50 = |spread: Option<Spread>| spread.map(|spread| spread.p50_ms);
    Row {
        environment,
        r#type: kind,
        since: report.period.since.to_string(),
        until: report.period.until.to_string(),
        deployments: deployments.total,
        deployments_completed: deployments.completed,
        deployments_failed: deployments.failed,
        deployments_timed_out: deployments.timed_out,
        deployments_rolled_back: deployments.rolled_back,
        deployments_by_broken_glass: deployments.broke_glass,
        rollbacks: rollbacks.total,
        rollbacks_completed: rollbacks.completed,
        rollbacks_failed: rollbacks.failed,
        rollbacks_needing_attention: rollbacks.needs_attention,
        rollbacks_by_broken_glass: rollbacks.broke_glass,
        rollback_success_rate: rollbacks.success_rate,
        rollback_warm_rate: rollbacks.warm_rate,
        warm_p50_ms: warm.map(|spread| spread.p50_ms),
        warm_p95_ms: warm.map(|spread| spread.p95_ms),
        warm_max_ms: warm.map(|spread| spread.max_ms),
        cold_p50_ms: cold.map(|spread| spread.p50_ms),
        cold_p95_ms: cold.map(|spread| spread.p95_ms),
        cold_max_ms: cold.map(|spread| spread.max_ms),
        time_to_restore_p50_ms: p50(rollbacks.time_to_restore),
        went_live: dora.deployments,
        deployments_per_day: dora.deployments_per_day,
        lead_time_p50_ms: p50(dora.lead_time),
        change_failure_rate: dora.change_failure_rate,
        recovery_time_p50_ms: p50(dora.recovery_time),
        drills: drills.total,
        drills_completed: drills.completed,
        drills_failed: drills.failed,
        drill_success_rate: drills.success_rate,
        drill_warm_p50_ms: p50(drills.by_path.get("warm").copied()),
        drill_cold_p50_ms: p50(drills.by_path.get("cold").copied()),
    }
}
