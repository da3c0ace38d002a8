//! Counts and durations of a period.

use std::collections::BTreeMap;

use serde::Serialize;

use super::dora::Dora;
use super::spread::Spread;
use super::{DAY_MS, DeploymentFact, DrillFact, Facts, Period, RollbackFact};
use crate::deployment::DeploymentStatus;
use crate::drill::DrillStatus;
use crate::rollback_event::{RollbackPath, RollbackStatus};
use crate::time::Timestamp;

/// What happened in one environment, or in several.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    pub deployments: Deployments,
    pub rollbacks: Rollbacks,
    pub drills: Drills,
    pub dora: Dora,
    /// One for each day in UTC, the first and the last of which may be cut short.
    pub days: Vec<Day>,
}

/// By how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Deployments {
    pub total: usize,
    pub completed: usize,
    pub failed: usize,
    pub timed_out: usize,
    pub rolled_back: usize,
    /// Not ended yet.
    pub open: usize,
    /// Those for which somebody overrode the policies.
    pub broke_glass: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rollbacks {
    pub total: usize,
    pub completed: usize,
    pub failed: usize,
    pub needs_attention: usize,
    /// Completed ones of those that ended, from 0 to 1. None if none ended.
    pub success_rate: Option<f64>,
    /// Completed ones that found their target running, of those that moved traffic, from 0 to 1.
    pub warm_rate: Option<f64>,
    /// Those that took another rollback back.
    pub undone: usize,
    /// Those for which somebody overrode the policies.
    pub broke_glass: usize,
    pub by_type: BTreeMap<&'static str, usize>,
    pub by_trigger: BTreeMap<&'static str, usize>,
    /// The most frequent first.
    pub by_reason: Vec<Reason>,
    /// How long completed ones took.
    pub by_path: BTreeMap<&'static str, Spread>,
    /// From the bad release going live to the service being restored.
    pub time_to_restore: Option<Spread>,
}

/// Rehearsals. They count for nothing else.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Drills {
    pub total: usize,
    pub completed: usize,
    pub failed: usize,
    pub given_up: usize,
    pub needs_attention: usize,
    /// Completed ones of those that came to a verdict, from 0 to 1. None if none did.
    pub success_rate: Option<f64>,
    /// How long completed ones took, the way back included.
    pub by_path: BTreeMap<&'static str, Spread>,
}

/// Why rollbacks were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// None where nobody gave one.
    pub reason: Option<String>,
    pub count: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Day {
    /// `2026-11-28`.
    pub day: String,
    /// Deployments that began.
    pub deployments: usize,
    /// Those of them that failed or were taken back.
    pub failed: usize,
    /// Rollbacks that began.
    pub rollbacks: usize,
}

impl Figures {
    /// Of all of `facts`; the figures of DORA are of those only that `matters` picks.
    pub(super) fn of(period: Period, facts: &[Facts], matters: impl Fn(&Facts) -> bool) -> Self {
        let begun = |fact: &&DeploymentFact| period.contains(fact.started_at);
        let deployments: Vec<_> = facts.iter().flat_map(|facts| &facts.deployments).filter(begun).collect();
        let rollbacks: Vec<_> = facts
            .iter()
            .flat_map(|facts| &facts.rollbacks)
            .filter(|fact| period.contains(fact.started_at))
            .collect();
        let matter: Vec<&Facts> = facts.iter().filter(|facts| matters(facts)).collect();
        Self {
            days: days(period, &deployments, &rollbacks),
            deployments: Deployments::of(&deployments),
            rollbacks: Rollbacks::of(&rollbacks),
            drills: Drills::of(period, facts),
            dora: Dora::of(period, &matter),
        }
    }
}

impl Deployments {
    fn of(facts: &[&DeploymentFact]) -> Self {
        let broke_glass = facts.iter().filter(|fact| fact.broke_glass).count();
        let mut counts = Self { total: facts.len(), broke_glass, ..Self::default() };
        for fact in facts {
            *match fact.status {
                DeploymentStatus::Completed => &mut counts.completed,
                DeploymentStatus::Failed => &mut counts.failed,
                DeploymentStatus::TimedOut => &mut counts.timed_out,
                DeploymentStatus::RolledBack => &mut counts.rolled_back,
                DeploymentStatus::Pending | DeploymentStatus::Validating | DeploymentStatus::InProgress => {
                    &mut counts.open
                }
            } += 1;
        }
        counts
    }
}

impl Rollbacks {
    fn of(facts: &[&RollbackFact]) -> Self {
        let with = |status| facts.iter().filter(|fact| fact.status == status).count();
        let [completed, failed, needs_attention] =
            [RollbackStatus::Completed, RollbackStatus::Failed, RollbackStatus::NeedsAttention].map(with);
        let ended = completed + failed + needs_attention;
        let done: Vec<&RollbackFact> =
            facts.iter().copied().filter(|fact| fact.status == RollbackStatus::Completed).collect();
        let by = |path| done.iter().filter(|fact| fact.path == path).count();
        let (warm, moved) = (by(RollbackPath::Warm), by(RollbackPath::Warm) + by(RollbackPath::Cold));
        Self {
            total: facts.len(),
            completed,
            failed,
            needs_attention,
            success_rate: share(completed, ended),
            warm_rate: share(warm, moved),
            broke_glass: facts.iter().filter(|fact| fact.broke_glass).count(),
            undone: done.iter().filter(|fact| fact.undoes).count(),
            by_type: counted(facts.iter().map(|fact| fact.rollback_type.as_str())),
            by_trigger: counted(facts.iter().map(|fact| fact.trigger.as_str())),
            by_reason: reasons(facts),
            by_path: by_path(&done),
            // What goes forward again restores nothing.
            time_to_restore: Spread::of(
                done.iter().filter(|fact| !fact.undoes).filter_map(|fact| to_restore(fact)).collect(),
            ),
        }
    }
}

impl Drills {
    fn of(period: Period, facts: &[Facts]) -> Self {
        let begun = facts.iter().flat_map(|facts| &facts.drills);
        let begun: Vec<&DrillFact> = begun.filter(|fact| period.contains(fact.started_at)).collect();
        let with = |status| begun.iter().filter(|fact| fact.status == status).count();
        let [completed, failed, needs_attention] =
            [DrillStatus::Completed, DrillStatus::Failed, DrillStatus::NeedsAttention].map(with);
        let done = begun.iter().filter(|fact| fact.status == DrillStatus::Completed);
        let mut times: BTreeMap<&'static str, Vec<u64>> = BTreeMap::new();
        for (fact, ms) in done.filter_map(|fact| Some((fact, fact.duration_ms?))) {
            times.entry(fact.path.as_str()).or_default().push(ms);
        }
        Self {
            total: begun.len(),
            completed,
            failed,
            given_up: with(DrillStatus::GivenUp),
            needs_attention,
            success_rate: share(completed, completed + failed + needs_attention),
            by_path: spreads(times),
        }
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn counted(names: impl Iterator<Item = &'static str>) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

fn reasons(facts: &[&RollbackFact]) -> Vec<Reason> {
    let mut counts: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    for fact in facts {
        *counts.entry(fact.reason.as_deref()).or_default() += 1;
    }
    let reason = |(reason, count): (Option<&str>, usize)| Reason { reason: reason.map(str::to_owned), count };
    let mut reasons: Vec<Reason> = counts.into_iter().map(reason).collect();
    // Stable, so that equal ones keep the order of the alphabet.
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
    reasons
}

fn by_path(done: &[&RollbackFact]) -> BTreeMap<&'static str, Spread> {
    let mut times: BTreeMap<&'static str, Vec<u64>> = BTreeMap::new();
    for fact in done {
        if let Some(end) = fact.completed_at {
            times.entry(fact.path.as_str()).or_default().push(end.millis_since(fact.started_at));
        }
    }
    spreads(times)
}

fn spreads(times: BTreeMap<&'static str, Vec<u64>>) -> BTreeMap<&'static str, Spread> {
    times.into_iter().filter_map(|(path, times)| Some((path, Spread::of(times)?))).collect()
}

fn to_restore(fact: &RollbackFact) -> Option<u64> {
    let (live, restored) = fact.went_live_at.zip(fact.completed_at)?;
    Some(restored.millis_since(live))
}

fn days(period: Period, deployments: &[&DeploymentFact], rollbacks: &[&RollbackFact]) -> Vec<Day> {
    let number = |time: Timestamp| time.as_millis().div_euclid(DAY_MS.cast_signed());
    let first = number(period.since);
    let last = Timestamp::from_millis(period.until.as_millis() - 1);
    let mut days: Vec<Day> = (first..=number(last)).map(day).collect();
    let index = |time: Timestamp| usize::try_from(number(time) - first).ok();
    for fact in deployments {
        if let Some(day) = index(fact.started_at).and_then(|index| days.get_mut(index)) {
            day.deployments += 1;
            day.failed += usize::from(matches!(
                fact.status,
                DeploymentStatus::Failed | DeploymentStatus::TimedOut | DeploymentStatus::RolledBack
            ));
        }
    }
    for fact in rollbacks {
        if let Some(day) = index(fact.started_at).and_then(|index| days.get_mut(index)) {
            day.rollbacks += 1;
        }
    }
    days
}

fn day(number: i64) -> Day {
    Day { day: Timestamp::from_millis(number * DAY_MS.cast_signed()).date(), ..Day::default() }
}
