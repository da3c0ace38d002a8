//! One attempt to make a release live.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::deployment_strategy::StrategyKind;
use crate::environment::ProviderKind;
use crate::evidence::Evidence;
use crate::hooks::HookRun;
use crate::name::{DeploymentId, EnvironmentName, ReleaseId, Version};
use crate::time::Timestamp;

/// Where a deployment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentStatus {
    Pending,
    Validating,
    /// Being carried out, or live and not yet through its bake.
    InProgress,
    Completed,
    Failed,
    RolledBack,
    TimedOut,
}

impl DeploymentStatus {
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Validating,
        Self::InProgress,
        Self::Completed,
        Self::Failed,
        Self::RolledBack,
        Self::TimedOut,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Validating => "validating",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::TimedOut => "timed_out",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl fmt::Display for DeploymentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A deployment as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deployment {
    pub id: DeploymentId,
    pub environment: EnvironmentName,
    pub release: ReleaseId,
    pub version: Version,
    pub provider: ProviderKind,
    pub strategy: StrategyKind,
    pub status: DeploymentStatus,
    pub error_message: Option<String>,
    pub actor: String,
    pub reason: Option<String>,
    pub started_at: Timestamp,
    pub completed_at: Option<Timestamp>,
    pub went_live_at: Option<Timestamp>,
    /// The end of its bake, while it is watched.
    pub bake_until: Option<Timestamp>,
    /// What the checks found while it was watched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// Why it is not rolled back by itself although it is bad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub automatic_hold: Option<String>,
    /// The commands of the release that were run for it, with what became of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookRun>,
    /// What somebody overrode for it (`--break-glass`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<String>,
}

impl Deployment {
    pub fn duration_ms(&self) -> Option<u64> {
        self.completed_at.map(|end| end.millis_since(self.started_at))
    }
}
