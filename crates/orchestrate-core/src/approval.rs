//! Somebody else's word that a release may be deployed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::{ApprovalId, DeploymentId, EnvironmentName, ReleaseId, Version};
use crate::policy::is_same_person;
use crate::rollback_event::text_enum;
use crate::time::Timestamp;

/// A deployment that waits, or waited, to be approved. It is bound to a sealed release: another artifact or another setting
/// under the same version is another matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApprovalRequest {
    pub id: ApprovalId,
    pub environment: EnvironmentName,
    pub release: ReleaseId,
    pub version: Version,
    /// Who asks.
    pub actor: String,
    pub reason: Option<String>,
    /// How many people must approve.
    pub needed: u32,
    pub requested_at: Timestamp,
    pub expires_at: Timestamp,
    pub rejected_at: Option<Timestamp>,
    /// The deployment that was made with it; it is good for one.
    pub used_by: Option<DeploymentId>,
    pub votes: Vec<Vote>,
}

/// What one person said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Vote {
    pub actor: String,
    pub approves: bool,
    pub reason: Option<String>,
    pub at: Timestamp,
}

text_enum! {
    /// Where a request stands.
    ApprovalStatus {
        Waiting = "waiting",
        Approved = "approved",
        Rejected = "rejected",
        Expired = "expired",
        Used = "used",
    }
}

impl ApprovalRequest {
    pub fn status(&self, now: Timestamp) -> ApprovalStatus {
        if self.used_by.is_some() {
            ApprovalStatus::Used
        } else if self.rejected_at.is_some() {
            ApprovalStatus::Rejected
        } else if now >= self.expires_at {
            ApprovalStatus::Expired
        } else if self.approvals() >= self.needed {
            ApprovalStatus::Approved
        } else {
            ApprovalStatus::Waiting
        }
    }

    pub fn approvals(&self) -> u32 {
        u32::try_from(self.votes.iter().filter(|vote| vote.approves).count()).unwrap_or(u32::MAX)
    }

    /// Those that count for a deployment by this person, whose own word does not.
    pub fn approvals_but(&self, deployer: &str) -> u32 {
        let others = self.votes.iter().filter(|vote| vote.approves && !is_same_person(&vote.actor, deployer));
        u32::try_from(others.count()).unwrap_or(u32::MAX)
    }

    /// Who approved, for people.
    pub fn approvers(&self) -> String {
        let names = self.votes.iter().filter(|vote| vote.approves).map(|vote| vote.actor.as_str());
        names.collect::<Vec<_>>().join(", ")
    }

    /// Who said no, and why.
    pub fn rejection(&self) -> Option<&Vote> {
        self.votes.iter().find(|vote| !vote.approves)
    }
}
