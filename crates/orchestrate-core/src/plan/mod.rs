//! Pure decisions: what an operation will do, from what is known; or a refusal that says what to type instead.

pub mod brakes;
pub mod canary;
pub mod deploy;
mod hooks;
pub mod previous;
pub mod retention;
pub mod rollback;
mod rolling;
pub mod token;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::deployment_strategy::StrategyKind;
use crate::hooks::Hook;
use crate::name::{ReleaseId, Version};
use crate::ports::{Counts, Placement, Processes};
use crate::release::Release;
use crate::rollout::Course;
use crate::slot::{Slot, SlotRecord};
use crate::time::Span;
use crate::traffic::TrafficRules;

/// What kind of operation a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    Deploy,
    /// Takes a release that is being rolled out on, to its next share or to all of the traffic.
    Promote,
    Rollback,
    /// Takes an environment down (`env stop`).
    Stop,
}

impl OperationKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::Stop => "stop",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Deploy, Self::Promote, Self::Rollback, Self::Stop]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// One journaled action. It ensures a fact, so that it may run twice; it never toggles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The sealed artifact is here, byte for byte.
    Fetch(Place),
    /// The instances run.
    Start(Place, Processes),
    /// They are ready, and the router knows them.
    AwaitHealthy(Place, Processes),
    /// So many of each process type are ready, and the router knows them; so many there were before.
    Grow(Place, Counts, Counts),
    /// Only so many of each process type still run, and nothing was in flight to the others; so many there were before.
    Shrink(Place, Counts, Counts),
    /// So much time has passed.
    Wait(Place, Span),
    /// They have their share of the traffic, and what is live has the rest.
    ShiftTraffic(Place, Share),
    /// Through the live address they answered, whatever their share.
    ProveShare(Place),
    /// All traffic goes to them.
    SwitchTraffic(Place),
    /// The live address was answered by them.
    ProveLive(Place),
    /// Nothing is in flight to them, and the router has forgotten them.
    Drain(Place),
    /// Nobody asks for the environment any more: the router has forgotten it.
    Close(Place),
    /// They do not run.
    Stop(Place, Processes),
    /// The command of the release has been run, once in this operation.
    Hook(Place, Hook),
}

/// How two releases share the traffic, and what was so before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// In percent.
    pub weight: u8,
    pub was: u8,
    /// What gets the rest.
    pub rest: Place,
    pub rules: TrafficRules,
    /// How many must be ready; none: as many as the release wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<Counts>,
}

/// A release in a slot; the environment is the plan's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub slot: Slot,
    pub release: ReleaseId,
    pub version: Version,
}

impl Place {
    pub fn of(release: &Release, slot: Slot) -> Self {
        Self { slot, release: release.id, version: release.version.clone() }
    }

    pub fn placement(&self, environment: &crate::name::EnvironmentName) -> Placement {
        Placement {
            environment: environment.clone(),
            slot: self.slot,
            release: self.release,
            version: self.version.clone(),
        }
    }
}

impl Step {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Fetch(_) => "fetch",
            Self::Start(..) => "start",
            Self::AwaitHealthy(..) => "await_healthy",
            Self::Grow(..) => "grow",
            Self::Shrink(..) => "shrink",
            Self::Wait(..) => "wait",
            Self::ShiftTraffic(..) => "shift_traffic",
            Self::ProveShare(_) => "prove_share",
            Self::SwitchTraffic(_) => "switch_traffic",
            Self::ProveLive(_) => "prove_live",
            Self::Drain(_) => "drain",
            Self::Close(_) => "close",
            Self::Stop(..) => "stop",
            Self::Hook(_, hook) => hook.as_str(),
        }
    }

    /// Whether performing it changes the world, so that its `Started` must be on disk first.
    pub const fn has_effect(&self) -> bool {
        match self {
            Self::Fetch(_) | Self::Wait(..) | Self::ProveShare(_) | Self::ProveLive(_) => false,
            Self::Start(..)
            | Self::Grow(..)
            | Self::Shrink(..)
            | Self::AwaitHealthy(..)
            | Self::ShiftTraffic(..)
            | Self::SwitchTraffic(_)
            | Self::Drain(_)
            | Self::Close(_)
            | Self::Stop(..)
            | Self::Hook(..) => true,
        }
    }

    /// The share of the traffic, in percent, that it gives its place.
    pub const fn weight(&self) -> Option<u8> {
        match self {
            Self::SwitchTraffic(_) => Some(100),
            Self::ShiftTraffic(_, share) => Some(share.weight),
            Self::Fetch(_)
            | Self::Hook(..)
            | Self::Start(..)
            | Self::AwaitHealthy(..)
            | Self::Grow(..)
            | Self::Shrink(..)
            | Self::Wait(..)
            | Self::ProveShare(_)
            | Self::ProveLive(_)
            | Self::Drain(_)
            | Self::Close(_)
            | Self::Stop(..) => None,
        }
    }

    /// Whether what could answer requests before cannot do so afterwards.
    pub const fn takes_away(&self) -> bool {
        match self {
            Self::Shrink(..) | Self::Drain(_) | Self::Stop(..) => true,
            Self::Fetch(_)
            | Self::Hook(..)
            | Self::Start(..)
            | Self::AwaitHealthy(..)
            | Self::Grow(..)
            | Self::Wait(..)
            | Self::ShiftTraffic(..)
            | Self::ProveShare(_)
            | Self::SwitchTraffic(_)
            | Self::ProveLive(_)
            | Self::Close(_) => false,
        }
    }

    /// What the journal says once it is done, where that changes what a failure means.
    pub fn milestone(&self) -> Option<String> {
        match self {
            Self::SwitchTraffic(place) => Some(format!(
                "the point of no return: all traffic is at {}, and what comes is finished, not undone",
                place.version
            )),
            Self::Fetch(_)
            | Self::Hook(..)
            | Self::Start(..)
            | Self::AwaitHealthy(..)
            | Self::Grow(..)
            | Self::Shrink(..)
            | Self::Wait(..)
            | Self::ShiftTraffic(..)
            | Self::ProveShare(_)
            | Self::ProveLive(_)
            | Self::Drain(_)
            | Self::Close(_)
            | Self::Stop(..) => None,
        }
    }

    pub const fn place(&self) -> &Place {
        match self {
            Self::Fetch(place)
            | Self::Start(place, _)
            | Self::AwaitHealthy(place, _)
            | Self::Grow(place, ..)
            | Self::Shrink(place, ..)
            | Self::Wait(place, _)
            | Self::ShiftTraffic(place, _)
            | Self::ProveShare(place)
            | Self::SwitchTraffic(place)
            | Self::ProveLive(place)
            | Self::Drain(place)
            | Self::Close(place)
            | Self::Stop(place, _)
            | Self::Hook(place, _) => place,
        }
    }
}

impl Step {
    /// Whether it starts instances that get traffic.
    pub const fn starts(&self) -> bool {
        match self {
            Self::Start(_, processes) => processes.are_routed(),
            Self::Grow(..) => true,
            Self::Fetch(_)
            | Self::AwaitHealthy(..)
            | Self::Shrink(..)
            | Self::Hook(..)
            | Self::Wait(..)
            | Self::ShiftTraffic(..)
            | Self::ProveShare(_)
            | Self::SwitchTraffic(_)
            | Self::ProveLive(_)
            | Self::Drain(_)
            | Self::Close(_)
            | Self::Stop(..) => false,
        }
    }
}

fn listed(counts: &Counts) -> String {
    let each: Vec<String> = counts.iter().map(|(process, count)| format!("{count} {process}")).collect();
    each.join(", ")
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { slot, version, .. } = self.place();
        match self {
            Self::Fetch(_) => write!(f, "check the sealed artifact of {version}"),
            Self::Start(_, Processes::All | Processes::Routed) => write!(f, "start {version} in {slot}"),
            Self::Start(_, Processes::Unrouted) => write!(f, "start the workers of {version} in {slot}"),
            Self::AwaitHealthy(_, Processes::All | Processes::Routed) => {
                write!(f, "wait until {version} is ready")
            }
            Self::AwaitHealthy(_, Processes::Unrouted) => {
                write!(f, "wait until the workers of {version} are ready")
            }
            Self::Grow(_, to, _) => write!(f, "have {} of {version} ready in {slot}", listed(to)),
            Self::Shrink(_, to, _) => write!(f, "leave {} of {version} in {slot}", listed(to)),
            Self::Wait(_, span) => write!(f, "wait {span}"),
            Self::ShiftTraffic(_, Share { weight: 0, .. }) => write!(f, "keep {version} without traffic"),
            Self::ShiftTraffic(_, Share { weight, .. }) => {
                write!(f, "give {weight} % of the traffic to {version} in {slot}")
            }
            Self::ProveShare(_) => write!(f, "see {version} answer through the live address"),
            Self::SwitchTraffic(_) => write!(f, "switch all traffic to {version} in {slot}"),
            Self::ProveLive(_) => write!(f, "see the live address answered by {version}"),
            Self::Drain(_) => write!(f, "let the requests in flight to {version} end"),
            Self::Close(_) => write!(f, "take no more requests"),
            Self::Hook(_, hook) => write!(f, "run {hook} of {version}"),
            Self::Stop(_, Processes::All | Processes::Routed) => write!(f, "stop {version} in {slot}"),
            Self::Stop(_, Processes::Unrouted) => write!(f, "stop the workers of {version} in {slot}"),
        }
    }
}

/// What becomes of the release that was live before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Afterwards {
    /// It stays warm for this long.
    KeepWarm(Span),
    /// It is drained and stopped.
    Retire,
}

/// What an operation does. Only the functions of this module make one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    kind: OperationKind,
    target: Place,
    from: Option<Place>,
    steps: Vec<Step>,
    afterwards: Afterwards,
    /// Where it stops short of all traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    halt: Option<Halt>,
}

/// A release stays beside what is live, and this is how it goes on from there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    /// The share that it has by then, in percent.
    pub weight: u8,
    pub course: Course,
}

impl Plan {
    pub const fn kind(&self) -> OperationKind {
        self.kind
    }

    pub const fn target(&self) -> &Place {
        &self.target
    }

    pub const fn from(&self) -> Option<&Place> {
        self.from.as_ref()
    }

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub const fn afterwards(&self) -> Afterwards {
        self.afterwards
    }

    pub const fn halt(&self) -> Option<&Halt> {
        self.halt.as_ref()
    }

    /// What was in the target's slot before, and is made to leave it: another release, or the target itself, sick.
    pub(crate) fn occupant(&self) -> Option<&Place> {
        self.steps.iter().find_map(|step| match step {
            Step::Stop(place, _) if place.slot == self.target.slot => Some(place),
            _ => None,
        })
    }

    /// Whether this is a mere switch to what runs already.
    pub fn is_warm(&self) -> bool {
        let first = self.steps.iter().find(|step| !matches!(step, Step::Hook(..)));
        matches!(first, Some(Step::SwitchTraffic(_)))
    }

    /// Takes everything of an environment down, in the order given.
    pub fn stop(live: Place, others: impl IntoIterator<Item = Place>) -> Self {
        let mut steps = vec![Step::Close(live.clone()), Step::Stop(live.clone(), Processes::All)];
        steps.extend(others.into_iter().map(|place| Step::Stop(place, Processes::All)));
        Self {
            kind: OperationKind::Stop,
            from: None,
            target: live,
            steps,
            afterwards: Afterwards::Retire,
            halt: None,
        }
    }

    /// What is deployed serves already: nothing but the proof of it.
    pub(crate) fn keep(live: Place, routed: bool) -> Self {
        let steps = if routed { vec![Step::ProveLive(live.clone())] } else { Vec::new() };
        Self {
            kind: OperationKind::Deploy,
            from: None,
            target: live,
            steps,
            afterwards: Afterwards::Retire,
            halt: None,
        }
    }

    /// What is deployed should serve already, but does not: it is started beside itself, and then takes over.
    pub(crate) fn restore(
        live: Place,
        release: &Release,
        strategy: StrategyKind,
        slots: &[SlotRecord],
    ) -> Self {
        let routed = release.contents.routed().next().is_some();
        let target = Place { slot: live.slot.other(), ..live.clone() };
        let mut steps = deploy::beside(&target, release, routed);
        if strategy == StrategyKind::Recreate {
            steps.insert(1, Step::Stop(live.clone(), Processes::All));
        }
        deploy::make_room(&mut steps, &target, slots, routed);
        let afterwards = Afterwards::Retire;
        Self { kind: OperationKind::Deploy, from: Some(live), target, steps, afterwards, halt: None }
    }
}

#[cfg(test)]
mod tests;
