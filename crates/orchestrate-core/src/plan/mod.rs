//! Pure decisions: what an operation will do, from what is known; or a refusal that says what to type instead.

pub mod brakes;
pub mod canary;
pub mod deploy;
pub mod drill;
mod hooks;
pub mod previous;
pub mod retention;
pub mod rollback;
mod rolling;
mod step;
pub mod token;

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
    /// Rehearses a rollback, and ends where it began.
    Drill,
    /// Takes an environment down (`env stop`).
    Stop,
}

impl OperationKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::Drill => "drill",
            Self::Stop => "stop",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Deploy, Self::Promote, Self::Rollback, Self::Drill, Self::Stop]
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

    /// Where traffic has to be again if the operation comes to nothing after it moved; none where it is finished then.
    pub(crate) const fn returns_to(&self) -> Option<&Place> {
        match self.kind {
            OperationKind::Drill => self.from.as_ref(),
            OperationKind::Deploy
            | OperationKind::Promote
            | OperationKind::Rollback
            | OperationKind::Stop => None,
        }
    }

    /// What a record calls the time that a step took.
    pub(crate) fn phase(&self, step: &Step) -> &'static str {
        let back = self.returns_to() == Some(step.place());
        match (self.kind, step) {
            (OperationKind::Drill, Step::SwitchTraffic(_)) if back => "switch_back",
            (OperationKind::Drill, Step::SwitchTraffic(_)) => "switch_there",
            (OperationKind::Drill, Step::ProveLive(_)) if back => "prove_back",
            (OperationKind::Drill, Step::ProveLive(_)) => "prove_there",
            _ => step.name(),
        }
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
