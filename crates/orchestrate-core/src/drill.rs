//! One rehearsal of a rollback, as it is recorded and told.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::{DrillId, EnvironmentName, ReleaseId, Version};
use crate::rollback_event::{Phase, RollbackPath, text_enum};
use crate::time::Timestamp;

text_enum! {
    DrillStatus {
        InProgress = "in_progress",
        /// The target was shown to be able to serve, and what was live is live.
        Completed = "completed",
        /// It was not shown; users are served as before.
        Failed = "failed",
        /// It was given up before it showed anything, because something else was wanted; users are served as before.
        GivenUp = "given_up",
        /// It could not be put back.
        NeedsAttention = "needs_attention",
    }
}

text_enum! {
    /// Who or what asked for it.
    DrillTrigger { Manual = "manual", Scheduled = "scheduled" }
}

/// A drill as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    pub id: DrillId,
    pub environment: EnvironmentName,
    /// What was live before it, and is after it.
    pub live_version: Version,
    /// Where a rollback would have gone to.
    pub target_version: Version,
    pub path: RollbackPath,
    pub status: DrillStatus,
    pub error_message: Option<String>,
    pub started_at: Timestamp,
    pub completed_at: Option<Timestamp>,
    pub duration_ms: Option<u64>,
    pub actor: String,
    pub reason: Option<String>,
    pub trigger: DrillTrigger,
    pub phases: Vec<Phase>,
}

/// What a drill is recorded with before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDrill<'a> {
    pub environment: &'a EnvironmentName,
    pub live: (ReleaseId, &'a Version),
    pub target: (ReleaseId, &'a Version),
    pub path: RollbackPath,
    pub started_at: Timestamp,
    pub actor: &'a str,
    pub reason: Option<&'a str>,
    pub trigger: DrillTrigger,
}

impl Drill {
    /// What a rollback would have taken of it, in milliseconds; none where it did not come that far.
    pub fn way_there(&self) -> Option<u64> {
        const BACK: [&str; 4] = ["switch_back", "prove_back", "drain", "stop"];
        let there = self.phases.iter().filter(|phase| !BACK.contains(&phase.name.as_str()));
        (self.status == DrillStatus::Completed).then(|| there.map(|phase| phase.ms).sum())
    }

    /// Why a rollback is not to be relied on until another drill went well; none after a good one.
    pub fn problem(&self) -> Option<String> {
        match self.status {
            DrillStatus::InProgress | DrillStatus::Completed | DrillStatus::GivenUp => None,
            DrillStatus::Failed | DrillStatus::NeedsAttention => {
                let why = self.error_message.as_deref().unwrap_or("no reason is recorded");
                Some(format!(
                    "drill {} of a rollback to {} failed at {}: {why}",
                    self.id,
                    self.target_version,
                    self.completed_at.unwrap_or(self.started_at)
                ))
            }
        }
    }
}
