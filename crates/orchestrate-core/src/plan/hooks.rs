//! Where the commands of a release stand among the steps.

use super::rollback::Situation;
use super::{Place, Plan, Step};
use crate::hooks::Hook;
use crate::release::Release;

/// Before anything is started or stopped for it, and once it answered.
pub(super) fn around_deployment(plan: Plan, release: &Release) -> Plan {
    after_promotion(before_deployment(plan, release), release)
}

/// Only before it: the release does not get all of the traffic yet.
pub(super) fn before_deployment(mut plan: Plan, release: &Release) -> Plan {
    let target = plan.target.clone();
    put_first(&mut plan.steps, release, &target, Hook::PreDeploy);
    plan
}

/// Once the release has all of the traffic.
pub(super) fn after_promotion(mut plan: Plan, release: &Release) -> Plan {
    if plan.halt.is_none() {
        let target = plan.target.clone();
        put_last(&mut plan.steps, release, &target, Hook::PostDeploy);
    }
    plan
}

/// The commands of the release that is left, because only that knows what it did. Going forward again, as `--undo`
/// does, leaves nothing to take back.
pub(super) fn around_rollback(mut plan: Plan, situation: &Situation, target: &Release) -> Plan {
    let Some(place) = plan.from.clone() else { return plan };
    let live = situation.live.iter().map(|(release, _)| release);
    let current = situation.current.iter().map(|(_, release)| release);
    let Some(left) = live.chain(current).find(|release| release.id == place.release) else { return plan };
    // What never had all of the traffic is newer than all that did.
    let place_of = |release: &Release| release.lineage.unwrap_or(i64::MAX);
    if left.id == target.id || place_of(left) < place_of(target) {
        return plan;
    }
    put_first(&mut plan.steps, left, &place, Hook::PreRollback);
    put_last(&mut plan.steps, left, &place, Hook::PostRollback);
    plan
}

/// After the look at the artifact, which changes nothing.
fn put_first(steps: &mut Vec<Step>, release: &Release, place: &Place, hook: Hook) {
    if release.contents.hooks.contains_key(&hook) {
        let at = usize::from(matches!(steps.first(), Some(Step::Fetch(_))));
        steps.insert(at, Step::Hook(place.clone(), hook));
    }
}

fn put_last(steps: &mut Vec<Step>, release: &Release, place: &Place, hook: Hook) {
    if release.contents.hooks.contains_key(&hook) {
        steps.push(Step::Hook(place.clone(), hook));
    }
}
