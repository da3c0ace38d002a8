//! What a team has agreed on around deployments and rollbacks, and what stands in the way of one.
//!
//! A policy belongs to the environment of the day, not to a release. Automatic rollbacks are not asked: they have brakes of
//! their own, and what turned out bad must go whatever day it is.

mod freeze;
mod judge;
mod loosens;
mod window;

pub use freeze::{Freeze, Frozen, When, frozen};
pub(crate) use judge::wants_reason;
pub use judge::{Asks, Back, against_deploying, against_rolling_back, verdict};
pub use loosens::loosened;
pub use window::{ClockTime, DeployWindow, Weekday, Zone};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Span;

/// The policies of an environment. Nothing is asked for by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// How deployments are approved, where the environment's `requires_approval` says that they are.
    pub approval: Approval,
    /// When nothing new is deployed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub freezes: Vec<Freeze>,
    /// Whether a deployment and a rollback must say why.
    pub require_reason: bool,
    pub rollback: RollbackLimits,
}

/// How a deployment is approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Approval {
    /// How many people must approve; the one who deploys is never one of them.
    pub count: u32,
    /// Who may; empty: everybody who may approve at all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
    /// How long after it was asked for an approval can be given and used.
    pub valid_for: Span,
}

impl Default for Approval {
    fn default() -> Self {
        Self { count: 1, by: Vec::new(), valid_for: Span::from_secs(24 * 3600) }
    }
}

/// How far and how often people roll back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RollbackLimits {
    /// How many releases back a rollback may go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_back: Option<u32>,
    /// How long ago the target may have been left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
    /// How many rollbacks people may ask for within an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manual_at_most_per_hour: Option<u32>,
    pub in_freeze: InFreeze,
}

/// Whether a rollback is made while deployments are frozen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InFreeze {
    Freely,
    #[default]
    WithReason,
    Refused,
}

impl Policy {
    /// Whether it asks for nothing.
    pub fn is_none(policy: &Self) -> bool {
        *policy == Self::default()
    }
}

/// Whether two names are those of one person: the machine that a name was typed on does not count.
pub fn is_same_person(one: &str, other: &str) -> bool {
    person(one) == person(other)
}

/// The name without the machine.
pub(crate) fn person(name: &str) -> &str {
    name.split_once('@').map_or(name, |(person, _)| person)
}
