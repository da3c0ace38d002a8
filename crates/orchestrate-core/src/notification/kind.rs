//! What a notice can be about.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a notice is about; `on:` of a channel names these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    DeploymentStarted,
    /// A deployment went live.
    Deployment,
    DeploymentFailed,
    RollbackStarted,
    /// A rollback completed.
    Rollback,
    RollbackFailed,
    HoldSet,
    HoldLifted,
    /// A deployment waits for somebody to approve it.
    ApprovalWanted,
    /// Somebody overrode the policies; every channel is told.
    BreakGlass,
    /// A rollback would not work now.
    ReadinessLost,
    /// It would again.
    ReadinessBack,
    /// A rehearsal of a rollback went well.
    DrillCompleted,
    /// It did not; users are served as before.
    DrillFailed,
    NeedsAttention,
    /// Sent by `orchestrate notify test`.
    Test,
}

/// How it stands, as `outcome:` of a channel names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoticeOutcome {
    /// Good to know.
    Info,
    Success,
    Failure,
    /// A person is waited for.
    Attention,
}

impl NoticeOutcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Attention => "attention",
        }
    }
}

impl NoticeKind {
    pub const ALL: [Self; 16] = [
        Self::DeploymentStarted,
        Self::Deployment,
        Self::DeploymentFailed,
        Self::RollbackStarted,
        Self::Rollback,
        Self::RollbackFailed,
        Self::HoldSet,
        Self::HoldLifted,
        Self::ApprovalWanted,
        Self::BreakGlass,
        Self::ReadinessLost,
        Self::ReadinessBack,
        Self::DrillCompleted,
        Self::DrillFailed,
        Self::NeedsAttention,
        Self::Test,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeploymentStarted => "deployment_started",
            Self::Deployment => "deployment",
            Self::DeploymentFailed => "deployment_failed",
            Self::RollbackStarted => "rollback_started",
            Self::Rollback => "rollback",
            Self::RollbackFailed => "rollback_failed",
            Self::HoldSet => "hold_set",
            Self::HoldLifted => "hold_lifted",
            Self::ApprovalWanted => "approval_wanted",
            Self::BreakGlass => "break_glass",
            Self::ReadinessLost => "readiness_lost",
            Self::ReadinessBack => "readiness_back",
            Self::DrillCompleted => "drill_completed",
            Self::DrillFailed => "drill_failed",
            Self::NeedsAttention => "needs_attention",
            Self::Test => "test",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The type of the event, as receivers filter by it.
    pub const fn event_type(self) -> &'static str {
        match self {
            Self::DeploymentStarted => "deployment.started",
            Self::Deployment => "deployment.completed",
            Self::DeploymentFailed => "deployment.failed",
            Self::RollbackStarted => "rollback.started",
            Self::Rollback => "rollback.completed",
            Self::RollbackFailed => "rollback.failed",
            Self::HoldSet => "hold.set",
            Self::HoldLifted => "hold.lifted",
            Self::ApprovalWanted => "approval.wanted",
            Self::BreakGlass => "policy.overridden",
            Self::ReadinessLost => "readiness.lost",
            Self::ReadinessBack => "readiness.back",
            Self::DrillCompleted => "drill.completed",
            Self::DrillFailed => "drill.failed",
            Self::NeedsAttention => "operation.needs_attention",
            Self::Test => "notification.test",
        }
    }

    pub const fn outcome(self) -> NoticeOutcome {
        match self {
            Self::DeploymentStarted
            | Self::RollbackStarted
            | Self::HoldSet
            | Self::HoldLifted
            | Self::Test => NoticeOutcome::Info,
            Self::Deployment | Self::Rollback | Self::ReadinessBack | Self::DrillCompleted => {
                NoticeOutcome::Success
            }
            Self::DeploymentFailed | Self::RollbackFailed | Self::ReadinessLost | Self::DrillFailed => {
                NoticeOutcome::Failure
            }
            Self::ApprovalWanted | Self::BreakGlass | Self::NeedsAttention => NoticeOutcome::Attention,
        }
    }

    /// Whether it only announces what another notice tells the end of.
    pub const fn announces(self) -> bool {
        matches!(self, Self::DeploymentStarted | Self::RollbackStarted)
    }

    /// Whether only a channel whose `on:` names it is told: that all is as it should be, week after week.
    pub const fn is_routine(self) -> bool {
        matches!(self, Self::DrillCompleted)
    }
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
