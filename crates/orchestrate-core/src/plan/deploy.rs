//! How a new release takes over, by strategy.

use super::hooks::{around_deployment, before_deployment};
use super::{Afterwards, OperationKind, Place, Plan, Step, canary, rolling};
use crate::deployment_strategy::{Strategy, StrategyKind};
use crate::error::{Error, Result};
use crate::ports::Processes;
use crate::release::Release;
use crate::rollout::Course;
use crate::slot::{Slot, SlotRecord, SlotState};

/// What a deployment is planned from.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    pub release: &'a Release,
    /// What is live, and where.
    pub live: Option<(&'a Release, Slot)>,
    /// Where the traffic goes although nothing is recorded as live there, as after a restore.
    pub served: Option<Slot>,
    pub slots: &'a [SlotRecord],
    pub strategy: &'a Strategy,
    /// It is only staged: the traffic stays where it is.
    pub no_switch: bool,
}

/// The plan by which `release` goes live; it goes into the slot that is not live.
pub fn plan(situation: &Situation<'_>) -> Result<Plan> {
    let live = situation.live.map(|(release, slot)| Place::of(release, slot));
    let taken = live.as_ref().map(|place| place.slot).or(situation.served);
    let slot = taken.map_or_else(|| free_slot(situation.slots), Slot::other);
    let target = Place::of(situation.release, slot);
    let routed = touches_traffic(situation.release, situation.live.map(|(release, _)| release));
    let afterwards = Afterwards::KeepWarm(situation.strategy.warm_for);
    if let Some((live, course)) = staged(situation)? {
        let (mut steps, halt) = canary::begin(&target, &live, course);
        make_room(&mut steps, &target, situation.slots, routed);
        let (kind, from, halt) = (OperationKind::Deploy, Some(live), Some(halt));
        let plan = Plan { kind, target, from, steps, afterwards, halt };
        return Ok(before_deployment(plan, situation.release));
    }
    let (mut steps, afterwards) = match situation.strategy.kind {
        // A canary with nothing to share the traffic with takes all of it.
        StrategyKind::BlueGreen | StrategyKind::Canary => {
            (beside(&target, situation.release, routed), afterwards)
        }
        StrategyKind::Recreate => {
            let mut steps = beside(&target, situation.release, routed);
            if let Some(live) = &live {
                // The artifact is checked before the old release is stopped for it.
                steps.insert(1, Step::Stop(live.clone(), Processes::All));
            }
            (steps, Afterwards::Retire)
        }
        // One call says what is wanted, and the engine goes there batch by batch.
        StrategyKind::Rolling if situation.release.contents.settings.engine.rolls => {
            (beside(&target, situation.release, routed), Afterwards::Retire)
        }
        StrategyKind::Rolling => match situation.live.filter(|_| routed) {
            Some((before, slot)) => {
                canary::must_share(situation.release, before)?;
                let live = Place::of(before, slot);
                let releases = (situation.release, before);
                (rolling::batches(&target, &live, releases, situation.strategy), Afterwards::Retire)
            }
            None => (beside(&target, situation.release, routed), Afterwards::Retire),
        },
    };
    make_room(&mut steps, &target, situation.slots, routed);
    let plan = Plan { kind: OperationKind::Deploy, target, from: live, steps, afterwards, halt: None };
    Ok(around_deployment(plan, situation.release))
}

/// What the release shares the traffic with and how it goes on, if it stops short of taking all of it.
fn staged(situation: &Situation<'_>) -> Result<Option<(Place, Course)>> {
    let Some(course) = canary::course(situation.strategy, situation.no_switch)? else { return Ok(None) };
    let release = situation.release;
    let has_routed = |release: &Release| release.contents.routed().next().is_some();
    match situation.live.filter(|(live, _)| has_routed(release) && has_routed(live)) {
        Some((live, slot)) => {
            if course.after(0) < 100 {
                canary::must_share(release, live)?;
            }
            Ok(Some((Place::of(live, slot), course)))
        }
        None if situation.no_switch => Err(Error::refused(
            "ORC-0154",
            format!(
                "nothing that gets traffic is live in {}, so there is nothing to switch from",
                release.environment
            ),
        )
        .hint("deploy it without --no-switch")),
        None => Ok(None),
    }
}

/// Another release in the target's slot gets its drain time before it goes: it may still have requests in flight.
pub(super) fn make_room(steps: &mut Vec<Step>, target: &Place, slots: &[SlotRecord], routed: bool) {
    let other = |record: &&SlotRecord| record.slot == target.slot && record.release != target.release;
    let Some(record) = slots.iter().find(other) else { return };
    let place = Place { slot: record.slot, release: record.release, version: record.version.clone() };
    steps.insert(1, Step::Stop(place.clone(), Processes::All));
    if routed {
        steps.insert(1, Step::Drain(place));
    }
}

/// Start it, see it ready, give it the traffic, see it answer.
pub(super) fn beside(target: &Place, release: &Release, routed: bool) -> Vec<Step> {
    let mut steps = vec![
        Step::Fetch(target.clone()),
        Step::Start(target.clone(), Processes::All),
        Step::AwaitHealthy(target.clone(), Processes::All),
    ];
    steps.extend(switch(target, release, routed));
    steps
}

/// Give it the traffic and see it answer.
pub(super) fn switch(target: &Place, release: &Release, routed: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    if routed {
        steps.push(Step::SwitchTraffic(target.clone()));
    }
    if release.contents.routed().next().is_some() {
        steps.push(Step::ProveLive(target.clone()));
    }
    steps
}

pub(super) fn touches_traffic(target: &Release, from: Option<&Release>) -> bool {
    let routed = |release: &Release| release.contents.routed().next().is_some();
    routed(target) || from.is_some_and(routed)
}

/// With nothing live: an empty slot, else the one that is on its way out.
pub(super) fn free_slot(slots: &[SlotRecord]) -> Slot {
    let taken = |slot: Slot| slots.iter().find(|record| record.slot == slot);
    Slot::ALL
        .into_iter()
        .find(|slot| taken(*slot).is_none())
        .or_else(|| {
            Slot::ALL.into_iter().find(|slot| taken(*slot).is_some_and(|r| r.state != SlotState::Live))
        })
        .unwrap_or(Slot::Blue)
}
