//! What must hold at every call, as DESIGN says it; a test in which it does not hold ends here.

use std::collections::BTreeMap;

use super::{Kind, Routed, Site, State, World};
use crate::execute::journal::{StepState, fold};
use crate::name::{EnvironmentName, Fence};
use crate::plan::{OperationKind, Step};
use crate::ports::{Placement, Switch};
use crate::release::Release;
use crate::slot::SlotState;

/// Whether every routed process type has all the instances that the release wants ready.
fn is_whole(state: &State, site: &Site, routed: &Routed) -> bool {
    let Some(release) = state.releases.get(&routed.placement.release) else { return false };
    let mut types = release.contents.routed();
    types.all(|(name, process, _)| site.healthy(routed, name) >= process.instances)
}

/// Whether the ready instances of every routed process type can carry the release's share of the traffic.
fn carries(state: &State, site: &Site, routed: &Routed) -> bool {
    let Some(release) = state.releases.get(&routed.placement.release) else { return false };
    let mut types = release.contents.routed();
    types.all(|(name, process, _)| {
        // A share is a whole percent, so that a third of three instances is one of them.
        let wanted = process.instances * u32::from(routed.weight);
        site.healthy(routed, name) * 100 + process.instances >= wanted.max(1)
    })
}

/// Traffic is never moved to a release that has too few ready instances for it, and they are never taken from under it.
pub(super) fn look(before: &BTreeMap<EnvironmentName, Site>, after: &State) {
    if after.gaps_allowed || after.calls.last().is_some_and(|call| call.kind == Kind::Close) {
        return;
    }
    for (name, site) in before {
        let Some(now) = after.sites.get(name) else { continue };
        let served = |site: &Site| site.routed.values().filter(|there| there.weight > 0).cloned().collect();
        let (was, is): (Vec<Routed>, Vec<Routed>) = (served(site), served(now));
        let Some(first) = was.first() else { continue };
        assert!(!is.is_empty(), "{} lost its traffic and nobody has it", first.placement.version);
        assert_eq!(is.iter().map(|there| u32::from(there.weight)).sum::<u32>(), 100, "the shares");
        let was_well = was.iter().all(|there| carries(after, site, there));
        let overloaded = is.iter().find(|there| !carries(after, now, there));
        assert!(
            !was_well || overloaded.is_none(),
            "all was well; now {} has too few ready instances for {} % of the traffic",
            overloaded.map_or("nobody", |there| there.placement.version.as_str()),
            overloaded.map_or(0, |there| there.weight)
        );
    }
}

/// What has traffic is not stopped; nor, outside of an operation, what could have it, while what has it is not whole.
pub(super) fn assert_may_stop(state: &State, placement: &Placement, planned: bool) {
    let Some(site) = state.sites.get(&placement.environment) else { return };
    if state.gaps_allowed {
        return;
    }
    let Some(routed) = site.routed.get(&placement.slot).filter(|there| there.placement == *placement) else {
        return;
    };
    assert!(routed.weight == 0, "{} is stopped while it has the traffic", placement.version);
    if !planned && routed.served && is_whole(state, site, routed) {
        let others = site.routed.values().filter(|other| other.placement.slot != placement.slot);
        let another = others.into_iter().any(|other| is_whole(state, site, other));
        assert!(another, "{} is the last healthy release, and is stopped", placement.version);
    }
}

/// Nobody may ask for less than the release wants; only what was live before may get its traffic back in any state.
pub(super) fn assert_needs(request: &Switch, release: &Release, in_operation: bool) {
    let wanted = release.contents.routed().map(|(name, process, _)| (name.to_owned(), process.instances));
    if in_operation || !request.needs.is_empty() {
        assert_eq!(request.needs, wanted.collect(), "a switch to {} needs something else", release.version);
    }
}

/// What a call may be about outside of an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Touch {
    /// It takes something down: only what is on its way out.
    Leaving,
    /// It tells the router what is recorded: not what is on its way out.
    Standing,
}

impl Touch {
    /// Whether the step has effects of this kind: that another step at the same place was begun announces nothing.
    const fn is_by(self, step: &Step) -> bool {
        match self {
            Self::Leaving => step.takes_away(),
            Self::Standing => step.has_effect(),
        }
    }
}

/// No effect without a `Started` on disk, or else only what is recorded. True inside of an operation.
pub(super) async fn assert_journaled(
    world: &World,
    placement: &Placement,
    fence: Fence,
    touch: Touch,
) -> bool {
    let (db, rough) = {
        let state = world.lock();
        (state.db.clone(), state.rough)
    };
    let Some(db) = db else { return false };
    let environment = &placement.environment;
    let open = db.open_operation(environment).await.unwrap_or_else(|error| panic!("{error:?}"));
    let lease = db.lease(environment).await.unwrap_or_else(|error| panic!("{error:?}"));
    if lease.is_none_or(|lease| lease.fence != fence) {
        // An outdated caller: refusing it is the port's own business.
        return false;
    }
    let Some(operation) = open else {
        let slots = db.slots(environment).await.unwrap_or_else(|error| panic!("{error:?}"));
        let record = slots.iter().find(|record| record.slot == placement.slot);
        let meant = record.filter(|record| record.release == placement.release).map(|record| record.state);
        let allowed = match touch {
            // Of two daemons, one may still stop what the other one stopped.
            Touch::Leaving if rough && record.is_none() => true,
            Touch::Leaving => matches!(meant, Some(SlotState::Warm | SlotState::Retiring)),
            // Or tell the router of it, who is told better at once.
            Touch::Standing if rough && matches!(meant, None | Some(SlotState::Retiring)) => true,
            Touch::Standing => matches!(meant, Some(SlotState::Warm | SlotState::Live | SlotState::Staged)),
        };
        assert!(allowed, "{} is touched outside of an operation: {record:?}", placement.version);
        return false;
    };
    let entries = db.journal(operation.id).await.unwrap_or_else(|error| panic!("{error:?}"));
    let steps = operation.plan.steps();
    let states = fold(steps.len(), &entries).unwrap_or_else(|error| panic!("{error}"));
    // That a drill is undone announces that the traffic goes back.
    let returning = operation.plan.kind() == OperationKind::Drill
        && operation.plan.from().is_some_and(|from| from.placement(environment) == *placement)
        && states.contains(&StepState::Undoing);
    let announced = returning
        || steps.iter().zip(&states).any(|(step, state)| {
            let place = step.place();
            let same = place.slot == placement.slot && place.release == placement.release;
            // What a router forgot when it was killed is done again.
            let again = rough && *state == StepState::Done;
            let begun = *state == StepState::Started && touch.is_by(step);
            same && (again || begun || *state == StepState::Undoing)
        });
    assert!(announced, "{} in {} is touched without a journal entry", placement.version, placement.slot);
    true
}
