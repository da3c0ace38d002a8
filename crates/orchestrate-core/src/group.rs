//! Several environments that go back together: in which order, how far they came, and what is to be done next. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::database::Holder;
use crate::environment::DependsOn;
use crate::name::{EnvironmentName, GroupRollbackId, Version};
use crate::rollback_event::{RollbackEvent, RollbackPath, RollbackStatus, text_enum};
use crate::time::Timestamp;

/// Which part of which group's rollback a rollback is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartOf {
    pub group: GroupRollbackId,
    pub position: i64,
    /// It takes the part back, because another one failed.
    pub goes_forward: bool,
}

/// One rollback of a group, as it is recorded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupRollback {
    pub id: GroupRollbackId,
    pub group: String,
    pub status: GroupStatus,
    pub error_message: Option<String>,
    pub actor: String,
    pub reason: Option<String>,
    pub started_at: Timestamp,
    pub completed_at: Option<Timestamp>,
    pub duration_ms: Option<u64>,
    /// In the order in which they go back.
    pub parts: Vec<GroupPart>,
    #[serde(skip)]
    pub forced: bool,
    /// The program that carries it on; none once it left it to whoever comes.
    #[serde(skip)]
    pub holder: Option<Holder>,
    #[serde(skip)]
    pub renewed_at: Timestamp,
}

/// One environment of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupPart {
    pub environment: EnvironmentName,
    pub from_version: Version,
    pub target_version: Version,
    /// None until it was begun.
    pub rollback: Option<RollbackEvent>,
    /// By which it went forward again, because another part failed.
    pub undo: Option<RollbackEvent>,
    #[serde(skip)]
    pub position: i64,
}

text_enum! {
    GroupStatus {
        InProgress = "in_progress",
        Completed = "completed",
        /// A part failed, and all of them are where they were.
        Failed = "failed",
        NeedsAttention = "needs_attention",
    }
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next<'a> {
    /// This part goes back.
    Back(&'a GroupPart),
    /// This part goes forward again.
    Forward(&'a GroupPart),
    /// Its operation is open, and ends without us.
    Wait(&'a EnvironmentName),
    End(GroupStatus, Option<String>),
}

impl GroupRollback {
    /// Every environment of it.
    pub fn members(&self) -> Vec<EnvironmentName> {
        self.parts.iter().map(|part| part.environment.clone()).collect()
    }

    /// All or nothing: while nothing failed the next part goes back; once something did, the last one that went comes forward.
    pub fn next(&self) -> Next<'_> {
        let events = || self.parts.iter().flat_map(|part| [&part.rollback, &part.undo]).flatten();
        if let Some(open) = events().find(|event| is_open(event)) {
            return Next::Wait(&open.environment);
        }
        let stuck = |event: &&RollbackEvent| {
            let undid =
                self.parts.iter().any(|part| part.undo.as_ref().is_some_and(|undo| undo.id == event.id));
            event.status == RollbackStatus::NeedsAttention
                || (undid && event.status == RollbackStatus::Failed)
        };
        if let Some(stuck) = events().find(stuck) {
            return Next::End(GroupStatus::NeedsAttention, Some(why(stuck)));
        }
        let failed = events().find(|event| event.status == RollbackStatus::Failed).map(why);
        let Some(error) = self.error_message.clone().or(failed) else {
            let waiting = self.parts.iter().find(|part| part.rollback.is_none());
            return waiting.map_or(Next::End(GroupStatus::Completed, None), Next::Back);
        };
        let moved = |part: &&GroupPart| {
            let went = |event: &RollbackEvent| {
                event.status == RollbackStatus::Completed && event.path != RollbackPath::None
            };
            part.undo.is_none() && part.rollback.as_ref().is_some_and(went)
        };
        match self.parts.iter().rev().find(moved) {
            Some(part) => Next::Forward(part),
            None => Next::End(GroupStatus::Failed, Some(error)),
        }
    }
}

fn is_open(event: &RollbackEvent) -> bool {
    matches!(event.status, RollbackStatus::Pending | RollbackStatus::InProgress)
}

fn why(event: &RollbackEvent) -> String {
    let error = event.error_message.as_deref().unwrap_or("no reason is recorded");
    format!("{}: {error}", event.environment)
}

/// Who needs others goes back before them; what has no order goes by name. The members of a circle, if there is one.
pub fn in_order(
    members: &BTreeMap<EnvironmentName, DependsOn>,
) -> Result<Vec<EnvironmentName>, Vec<EnvironmentName>> {
    let mut left: BTreeSet<&EnvironmentName> = members.keys().collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let is_needed = |name: &EnvironmentName| left.iter().any(|other| members[*other].contains_key(name));
        let free: Vec<&EnvironmentName> = left.iter().copied().filter(|name| !is_needed(name)).collect();
        if free.is_empty() {
            return Err(left.into_iter().cloned().collect());
        }
        for name in free {
            left.remove(name);
            order.push(name.clone());
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests;
