//! A deployment that stops short of all traffic: a canary at one of its steps, or a release that is staged without any.

mod waiting;
mod watch;

pub use watch::{Next, watch};

use serde::{Deserialize, Serialize};

use crate::name::{DeploymentId, EnvironmentName, ReleaseId, Version};
use crate::plan::Place;
use crate::slot::Slot;
use crate::time::{Span, Timestamp};
use crate::traffic::TrafficRules;

/// How a release is to come to all of the traffic; decided when it is deployed, and kept with the deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// The shares that it gets one after another, rising; the last one is 100.
    pub steps: Vec<u8>,
    /// How long it is watched at each of them.
    #[serde(default, skip_serializing_if = "is_not_waited")]
    pub wait: Span,
    /// How long the release before stays warm afterwards.
    pub warm_for: Span,
    pub rules: TrafficRules,
    /// Whether it begins without traffic and goes on only when it is told to.
    pub staged: bool,
}

fn is_not_waited(wait: &Span) -> bool {
    wait.is_zero()
}

impl Course {
    /// The share after this one; 100 is the last.
    pub fn after(&self, weight: u8) -> u8 {
        self.steps.iter().copied().find(|step| *step > weight).unwrap_or(100)
    }

    /// What the release gets first.
    pub fn first(&self) -> u8 {
        if self.staged { 0 } else { self.after(0) }
    }
}

/// Where it stands. What is live stays the release before it, until it has all of the traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rollout {
    #[serde(rename = "deployment_id")]
    pub deployment: DeploymentId,
    #[serde(skip)]
    pub environment: EnvironmentName,
    pub version: Version,
    #[serde(skip)]
    pub release: ReleaseId,
    pub slot: Slot,
    #[serde(flatten)]
    pub course: Course,
    /// Its share of the traffic, in percent.
    pub weight: u8,
    /// Since when it has this share.
    pub since: Timestamp,
    /// When the daemon takes it on; none while it waits for people.
    pub next_at: Option<Timestamp>,
    /// Who keeps it where it is, or why.
    pub paused: Option<String>,
}

impl Rollout {
    pub fn place(&self) -> Place {
        Place { slot: self.slot, release: self.release, version: self.version.clone() }
    }

    /// Whether it is the same rollout at the same share.
    pub fn is_at(&self, other: &Self) -> bool {
        self.deployment == other.deployment && self.weight == other.weight
    }

    /// The share that it gets next.
    pub fn next_weight(&self) -> u8 {
        self.course.after(self.weight)
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod course {
    use super::*;

    #[test]
    fn a_course_ends_with_all_of_the_traffic() {
        let course = Course {
            steps: vec![10, 50, 100],
            wait: Span::default(),
            warm_for: Span::default(),
            rules: TrafficRules::default(),
            staged: false,
        };
        assert_eq!([0, 10, 20, 50, 100].map(|weight| course.after(weight)), [10, 50, 50, 100, 100]);
        assert_eq!(course.first(), 10);
        assert_eq!(Course { staged: true, ..course.clone() }.first(), 0);
        assert_eq!(Course { steps: Vec::new(), ..course }.first(), 100);
    }
}
