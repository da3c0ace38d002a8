//! What deployments and rollbacks came to over a time: counts, durations, and the four figures of DORA.
//!
//! Pure: facts go in, figures come out. The definitions are those of <https://dora.dev/guides/dora-metrics-four-keys/>,
//! and docs/report.md says how each is taken from the records.

mod dora;
mod figures;
mod spread;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use dora::Dora;
pub use figures::{Day, Deployments, Drills, Figures, Reason, Rollbacks};
pub use spread::Spread;

use crate::deployment::DeploymentStatus;
use crate::drill::DrillStatus;
use crate::environment::EnvironmentType;
use crate::name::EnvironmentName;
use crate::rollback_event::{RollbackPath, RollbackStatus, RollbackType, Trigger};
use crate::time::Timestamp;

const DAY_MS: u64 = 86_400_000;

/// From its first instant up to its last, which is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Period {
    pub since: Timestamp,
    pub until: Timestamp,
}

impl Period {
    /// Days, and parts of one.
    pub fn days(&self) -> f64 {
        self.until.millis_since(self.since) as f64 / DAY_MS as f64
    }

    pub fn contains(&self, time: Timestamp) -> bool {
        self.since <= time && time < self.until
    }

    /// The same without the time before `first`, when nothing had begun yet.
    #[must_use]
    fn from(self, first: Option<Timestamp>) -> Self {
        Self { since: first.map_or(self.since, |first| first.clamp(self.since, self.until)), ..self }
    }
}

/// A deployment, as far as a report wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentFact {
    pub status: DeploymentStatus,
    pub started_at: Timestamp,
    pub completed_at: Option<Timestamp>,
    pub went_live_at: Option<Timestamp>,
    /// The time of its commit, where it came from git.
    pub committed_at: Option<Timestamp>,
    /// When a rollback of it had completed.
    pub rolled_back_at: Option<Timestamp>,
    /// Whether somebody broke the glass for it.
    pub broke_glass: bool,
}

/// A rollback, as far as a report wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollbackFact {
    pub rollback_type: RollbackType,
    pub trigger: Trigger,
    pub path: RollbackPath,
    pub status: RollbackStatus,
    pub reason: Option<String>,
    pub started_at: Timestamp,
    pub completed_at: Option<Timestamp>,
    /// When the deployment that it took back had gone live.
    pub went_live_at: Option<Timestamp>,
    /// Whether it took another rollback back.
    pub undoes: bool,
    /// Whether somebody broke the glass for it.
    pub broke_glass: bool,
}

/// A drill, as far as a report wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillFact {
    pub path: RollbackPath,
    pub status: DrillStatus,
    pub started_at: Timestamp,
    pub duration_ms: Option<u64>,
}

/// What happened in one environment in a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub environment: EnvironmentName,
    pub kind: EnvironmentType,
    /// When its first deployment ever began.
    pub first: Option<Timestamp>,
    pub deployments: Vec<DeploymentFact>,
    pub rollbacks: Vec<RollbackFact>,
    pub drills: Vec<DrillFact>,
}

/// One environment's part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    pub environment: EnvironmentName,
    #[serde(rename = "type")]
    pub kind: EnvironmentType,
    #[serde(flatten)]
    pub figures: Figures,
}

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub period: Period,
    pub environments: Vec<Part>,
    /// Of all of them together; `dora` is of those of type `production` only.
    pub total: Figures,
}

impl Report {
    pub fn of(period: Period, facts: &[Facts]) -> Self {
        let part = |facts: &Facts| Part {
            environment: facts.environment.clone(),
            kind: facts.kind,
            figures: Figures::of(period, std::slice::from_ref(facts), |_| true),
        };
        let production = |facts: &Facts| facts.kind == EnvironmentType::Production;
        Self {
            period,
            environments: facts.iter().map(part).collect(),
            total: Figures::of(period, facts, production),
        }
    }
}
