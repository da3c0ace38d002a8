//! The figures of DORA, as <https://dora.dev/guides/dora-metrics-four-keys/> defines them.

use serde::Serialize;

use super::spread::Spread;
use super::{DeploymentFact, Facts, Period};
use crate::deployment::DeploymentStatus;

/// Software delivery performance. Only what reached users counts: a deployment that failed before it had traffic needed nobody.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Dora {
    /// Deployments that went live.
    pub deployments: usize,
    /// The same a day, since the first deployment ever if that was within the period. None for an empty period.
    pub deployments_per_day: Option<f64>,
    /// From commit to live, where the time of the commit is known.
    pub lead_time: Option<Spread>,
    /// Deployments that went live and were taken back, or failed after it.
    pub failed: usize,
    /// `failed` of `deployments`, from 0 to 1. None without a deployment.
    pub change_failure_rate: Option<f64>,
    /// From live to restored, of those that failed and were put right.
    pub recovery_time: Option<Spread>,
}

impl Dora {
    pub(super) fn of(period: Period, facts: &[&Facts]) -> Self {
        let live: Vec<&DeploymentFact> = facts
            .iter()
            .flat_map(|facts| &facts.deployments)
            .filter(|fact| fact.went_live_at.is_some_and(|live| period.contains(live)))
            .collect();
        let failed: Vec<_> = live.iter().filter(|fact| needed_somebody(fact)).collect();
        let days = period.from(facts.iter().filter_map(|facts| facts.first).min()).days();
        // Two in the first minute are two on the first day.
        let whole_days = if days > 0.0 { days.max(1.0) } else { days };
        let count = |facts: usize, of: f64| (of > 0.0).then(|| facts as f64 / of);
        Self {
            deployments: live.len(),
            deployments_per_day: count(live.len(), whole_days),
            lead_time: Spread::of(live.iter().filter_map(|fact| lead_time(fact)).collect()),
            failed: failed.len(),
            change_failure_rate: count(failed.len(), live.len() as f64),
            recovery_time: Spread::of(failed.iter().filter_map(|fact| recovery_time(fact)).collect()),
        }
    }
}

fn needed_somebody(fact: &DeploymentFact) -> bool {
    match fact.status {
        DeploymentStatus::RolledBack | DeploymentStatus::Failed | DeploymentStatus::TimedOut => true,
        DeploymentStatus::Pending
        | DeploymentStatus::Validating
        | DeploymentStatus::InProgress
        | DeploymentStatus::Completed => false,
    }
}

/// None as well where the clock of who committed was ahead.
fn lead_time(fact: &DeploymentFact) -> Option<u64> {
    let (committed, live) = fact.committed_at.zip(fact.went_live_at)?;
    (committed <= live).then(|| live.millis_since(committed))
}

/// One that was undone by itself ended when it had been.
fn recovery_time(fact: &DeploymentFact) -> Option<u64> {
    let restored = fact.rolled_back_at.or(fact.completed_at)?;
    fact.went_live_at.map(|live| restored.millis_since(live))
}
