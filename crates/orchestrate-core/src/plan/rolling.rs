//! A release that takes over batch by batch: new instances come, traffic follows what is ready, old instances go.

use std::collections::BTreeMap;

use super::deploy::switch;
use super::{Place, Share, Step};
use crate::deployment_strategy::{Amount, Strategy};
use crate::ports::Counts;
use crate::release::Release;
use crate::traffic::TrafficRules;

/// One process type on its way from the old release to the new one.
#[derive(Clone, Debug)]
struct Part {
    routed: bool,
    /// How many the new release wants.
    wanted: u32,
    old: u32,
    new: u32,
    batch: u32,
    /// How many there may be in all.
    most: u32,
    /// How many there must be in all.
    least: u32,
}

/// The batches between two releases that get their traffic at the same addresses.
pub(super) fn batches(
    target: &Place,
    live: &Place,
    (release, before): (&Release, &Release),
    strategy: &Strategy,
) -> Vec<Step> {
    let mut parts = parts(release, before, strategy);
    let mut steps = vec![Step::Fetch(target.clone())];
    let mut weight = 0;
    while parts.values().any(|part| part.new < part.wanted) {
        let (was_new, was_old) = (news(&parts), olds(&parts));
        let grown = parts.values_mut().map(Part::grow).filter(|grown| *grown).count();
        if grown == 0 && !can_shrink(&parts, weight) {
            // A type of one instance cannot be replaced without a gap or a second one.
            parts.values_mut().for_each(Part::grow_anyway);
        }
        if news(&parts) != was_new {
            steps.push(Step::Grow(target.clone(), news(&parts), was_new));
            let share = ready_share(&parts);
            if share > weight && share < 100 {
                let (rest, rules) = (live.clone(), TrafficRules::default());
                let needs = Some(routed(&parts, news(&parts)));
                steps.push(Step::ShiftTraffic(
                    target.clone(),
                    Share { weight: share, was: weight, rest, rules, needs },
                ));
                steps.push(Step::ProveShare(target.clone()));
                weight = share;
            }
        }
        if parts.values().all(|part| part.new == part.wanted) {
            break;
        }
        parts.values_mut().for_each(|part| part.shrink(weight));
        if olds(&parts) != was_old {
            steps.push(Step::Shrink(live.clone(), olds(&parts), was_old));
        }
        steps.push(Step::Wait(target.clone(), strategy.wait.unwrap_or_default()));
    }
    steps.retain(|step| !matches!(step, Step::Wait(_, wait) if wait.is_zero()));
    // The rest of the old release goes once all of the traffic has moved.
    steps.extend(switch(target, release, true));
    steps
}

fn parts(release: &Release, before: &Release, strategy: &Strategy) -> BTreeMap<String, Part> {
    let old = |name: &str| before.contents.processes.get(name).map_or(0, |process| process.instances);
    let types = release.contents.processes.iter();
    types
        .map(|(name, process)| {
            let (wanted, old) = (process.instances, old(name));
            let part = Part {
                routed: process.listen.is_some(),
                wanted,
                old,
                new: 0,
                batch: strategy.batch.unwrap_or(Amount::Count(1)).of(wanted, true).max(1),
                most: wanted.max(old) + strategy.max_surge.unwrap_or(Amount::Count(1)).of(wanted, true),
                least: wanted.min(old)
                    - strategy.max_unavailable.unwrap_or_default().of(wanted, false).min(wanted.min(old)),
            };
            (name.clone(), part)
        })
        .collect()
}

impl Part {
    /// True if there are more by now.
    fn grow(&mut self) -> bool {
        let room = self.most.saturating_sub(self.old + self.new);
        let more = (self.wanted - self.new).min(self.batch).min(room);
        self.new += more;
        more > 0
    }

    fn grow_anyway(&mut self) {
        self.new = self.wanted.min(self.new + 1);
    }

    /// How many of the old release must stay while the new one has `weight` percent of the traffic.
    fn keep(&self, weight: u8) -> u32 {
        let floor = self.least.saturating_sub(self.new);
        let spared = self.wanted.min(self.least.max(1));
        // A share is a whole percent: what lies below one more asks for no instance of its own.
        let carried = (spared * u32::from(99 - weight.min(99))).div_ceil(100).max(1);
        let kept = if self.routed { floor.max(carried) } else { floor };
        kept.min(self.old)
    }

    fn shrink(&mut self, weight: u8) {
        self.old = self.keep(weight);
    }
}

fn can_shrink(parts: &BTreeMap<String, Part>, weight: u8) -> bool {
    parts.values().any(|part| part.keep(weight) < part.old)
}

fn news(parts: &BTreeMap<String, Part>) -> Counts {
    parts.iter().map(|(name, part)| (name.clone(), part.new)).collect()
}

fn olds(parts: &BTreeMap<String, Part>) -> Counts {
    parts.iter().map(|(name, part)| (name.clone(), part.old)).collect()
}

fn routed(parts: &BTreeMap<String, Part>, mut counts: Counts) -> Counts {
    counts.retain(|name, _| parts.get(name).is_some_and(|part| part.routed));
    counts
}

/// The share of the traffic that the new instances can carry, in percent.
fn ready_share(parts: &BTreeMap<String, Part>) -> u8 {
    let routed = parts.values().filter(|part| part.routed);
    let share = routed.map(|part| part.new * 100 / part.wanted.max(1)).min().unwrap_or(100);
    u8::try_from(share.min(100)).unwrap_or(100)
}

#[cfg(test)]
#[path = "rolling/tests.rs"]
mod tests;
