//! Whether there is memory for what a cold rollback starts, as far as that can be known beforehand.

use crate::plan::Step;
use crate::plan::rollback::RollbackPlan;
use crate::ports::{Counts, Memory, Processes};
use crate::release::Release;

const MIB: u64 = 1 << 20;

/// Why it may not do. An estimate, so it stands in nobody's way.
pub(super) fn shortage(plan: &RollbackPlan, live: Option<&Release>, memory: &Memory) -> Option<String> {
    let needed = needed(plan, live, memory);
    (needed > memory.available).then(|| {
        format!(
            "starting {} takes about {} of memory, and there is about {} left on this machine",
            plan.target.version,
            coarse(needed),
            coarse(memory.available)
        )
    })
}

/// The most that is wanted at once, in bytes, beyond what runs now.
fn needed(plan: &RollbackPlan, live: Option<&Release>, memory: &Memory) -> u64 {
    let steps = plan.plan.iter().flat_map(|plan| plan.steps());
    let (mut now, mut most) = (0_i128, 0_i128);
    for step in steps {
        let place = step.place().release;
        // What else is in the way may run or not; it makes no room that can be relied on.
        let release = match live {
            _ if place == plan.target.id => &plan.target,
            Some(live) if place == live.id => live,
            Some(_) | None => continue,
        };
        now += change(step, release, memory);
        most = most.max(now);
    }
    u64::try_from(most).unwrap_or(0)
}

/// How much more is in use once the step is done.
fn change(step: &Step, release: &Release, memory: &Memory) -> i128 {
    match step {
        Step::Start(_, processes) => all_of(release, *processes, memory),
        Step::Stop(_, processes) => -all_of(release, *processes, memory),
        Step::Grow(_, to, was) | Step::Shrink(_, to, was) => {
            some_of(release, to, memory) - some_of(release, was, memory)
        }
        Step::Fetch(_)
        | Step::AwaitHealthy(..)
        | Step::Wait(..)
        | Step::ShiftTraffic(..)
        | Step::ProveShare(_)
        | Step::SwitchTraffic(_)
        | Step::ProveLive(_)
        | Step::Drain(_)
        | Step::Close(_)
        | Step::Hook(..) => 0,
    }
}

fn all_of(release: &Release, processes: Processes, memory: &Memory) -> i128 {
    let wanted = release.contents.processes.iter().filter(|(_, kind)| processes.includes(kind.listen));
    wanted.map(|(name, kind)| i128::from(kind.instances) * one_of(release, name, memory)).sum()
}

fn some_of(release: &Release, counts: &Counts, memory: &Memory) -> i128 {
    counts.iter().map(|(name, count)| i128::from(*count) * one_of(release, name, memory)).sum()
}

/// As much as one that runs now has, within what it may have; where none runs, all that it may have.
fn one_of(release: &Release, process: &str, memory: &Memory) -> i128 {
    let Some(kind) = release.contents.processes.get(process) else { return 0 };
    let of_containers = release.contents.settings.engine.docker.as_ref().and_then(|docker| docker.memory);
    let limit = kind.confinement.limits.memory.or(of_containers);
    let bytes = match (memory.used.get(process).copied(), limit) {
        (Some(used), Some(limit)) => used.min(limit),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => 0,
    };
    i128::from(bytes)
}

/// Two steps to the next power of two: a number that moves a little stays the same text, and is no news.
fn coarse(bytes: u64) -> String {
    let mib = (bytes / MIB).max(1);
    let power = 1 << mib.ilog2();
    let rounded = if mib >= power + power / 2 { power + power / 2 } else { power };
    match rounded {
        large if large >= 4_096 => format!("{} GiB", large / 1_024),
        small => format!("{small} MiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment_rollback::Depth;
    use crate::environment::EnvironmentSettings;
    use crate::stage::{Stage, recreate, rolling, settings, v};
    use crate::time::Span;

    const GIB: u64 = 1 << 30;

    fn cold(mut settings: EnvironmentSettings) -> EnvironmentSettings {
        settings.strategy.warm_for = Span::default();
        settings
    }

    /// 1.1 is live and uses so much for each instance; what is said of going back to 1.0.
    async fn said(settings: EnvironmentSettings, each: Option<u64>, available: u64) -> Vec<String> {
        let stage = Stage::with(settings, &[]).await;
        stage.deploy_all(&["1.0", "1.1"]).await;
        crate::slot_tending::tend(&stage.db, &stage.world.ports()).await.unwrap();
        let used = each.iter().map(|each| ("web".to_owned(), *each)).collect();
        stage.world.memory_is(Memory { available, used });
        let readiness = stage.rollback().readiness_at(&stage.environment, Depth::Glance).await.unwrap();
        assert_eq!((readiness.ready, readiness.target_version), (true, Some(v("1.0"))));
        readiness.warnings
    }

    #[tokio::test]
    async fn what_would_be_started_beside_what_runs_is_compared_with_what_is_left() {
        // Two instances.
        assert_eq!(said(cold(settings()), Some(GIB), 2 * GIB).await, Vec::<String>::new());
        let told = said(cold(settings()), Some(GIB), GIB).await;
        assert_eq!(
            told,
            ["starting 1.0 takes about 2048 MiB of memory, and there is about 1024 MiB left on this machine"]
        );
        assert_eq!(said(cold(settings()), None, 1).await, Vec::<String>::new(), "nothing is known");
        assert_eq!(said(settings(), Some(GIB), 1).await, Vec::<String>::new(), "it runs already");
    }

    #[tokio::test]
    async fn what_stops_first_makes_room() {
        assert_eq!(said(cold(recreate()), Some(GIB), 0).await, Vec::<String>::new());
        // A rolling deployment goes back in one switch, so all four of it are started beside what runs.
        assert_eq!(said(cold(rolling()), Some(GIB), 3 * GIB).await.len(), 1);
        assert_eq!(said(cold(rolling()), Some(GIB), 4 * GIB).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_limit_is_an_upper_bound_and_all_that_is_known_of_what_does_not_run() {
        let limited = || {
            let mut settings = cold(settings());
            settings.processes.get_mut("web").unwrap().confinement.limits.memory = Some(GIB);
            settings
        };
        assert_eq!(said(limited(), Some(8 * GIB), 2 * GIB).await, Vec::<String>::new());
        assert_eq!(said(limited(), None, 2 * GIB - 1).await.len(), 1);
    }

    #[test]
    fn a_little_more_is_the_same_text() {
        let of = |mib: u64| coarse(mib * MIB);
        assert_eq!((of(0), of(1), of(3)), ("1 MiB".into(), "1 MiB".into(), "3 MiB".into()));
        assert_eq!((of(700), of(767), of(768)), ("512 MiB".into(), "512 MiB".into(), "768 MiB".into()));
        assert_eq!((of(4_096), of(6_500)), ("4 GiB".into(), "6 GiB".into()));
    }
}
