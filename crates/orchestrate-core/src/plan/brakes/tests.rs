//! Brakes, over random histories: whatever happened before, automation comes to rest.

use proptest::prelude::{Just, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::deployment::DeploymentStatus;
use crate::deployment_strategy::StrategyKind;
use crate::environment::ProviderKind;
use crate::name::{DeploymentId, EnvironmentName, ReleaseId};
use crate::rollback_event::{RollbackPath, Trigger};

const NOW: i64 = 1_800_000_000_000;

fn version(number: i64) -> Version {
    Version::new(format!("1.{number}")).unwrap()
}

fn bad(release: i64, of_version: i64) -> Deployment {
    Deployment {
        id: DeploymentId(99),
        environment: EnvironmentName::new("production").unwrap(),
        release: ReleaseId(release),
        version: version(of_version),
        provider: ProviderKind::Process,
        strategy: StrategyKind::BlueGreen,
        status: DeploymentStatus::Failed,
        error_message: Some("bad".into()),
        actor: "ada".into(),
        reason: None,
        started_at: Timestamp::from_millis(NOW),
        completed_at: None,
        went_live_at: None,
        bake_until: None,
        evidence: Vec::new(),
        automatic_hold: None,
        hooks: Vec::new(),
        break_glass: None,
    }
}

/// An automatic rollback from one release to another, so many seconds ago.
fn event(id: i64, from: i64, target: i64, seconds_ago: i64) -> RollbackEvent {
    let at = Timestamp::from_millis(NOW - seconds_ago * 1000);
    RollbackEvent {
        id: RollbackId(id),
        deployment_id: DeploymentId(id),
        environment: EnvironmentName::new("production").unwrap(),
        from_version: version(from),
        target_version: version(target),
        rollback_type: RollbackType::Automatic,
        status: RollbackStatus::Completed,
        error_message: None,
        started_at: at,
        completed_at: Some(at),
        duration_ms: Some(0),
        notification_sent: false,
        actor: "orchestrate".into(),
        reason: None,
        trigger: Trigger::Verification,
        path: RollbackPath::Warm,
        phases: Vec::new(),
        from_release: Some(ReleaseId(from)),
        target_release: Some(ReleaseId(target)),
        left: None,
        evidence: Vec::new(),
        hooks: Vec::new(),
        undoes: None,
        crossed: None,
        break_glass: None,
    }
}

fn decide(policy: &RollbackPolicy, bad: &Deployment, newest_first: &[RollbackEvent]) -> Option<Brake> {
    let history = History { newest: newest_first.first(), automatic: newest_first };
    brake(policy, bad, &history, Timestamp::from_millis(NOW))
}

#[test]
fn nothing_holds_the_first_one() {
    assert_eq!(decide(&RollbackPolicy::default(), &bad(2, 2), &[]), None);
}

#[test]
fn where_somebody_went_back_to_is_never_left_by_itself() {
    let mut manual = event(7, 3, 2, 86_400 * 30);
    manual.rollback_type = RollbackType::Previous;
    let found = decide(&RollbackPolicy::default(), &bad(2, 2), &[manual.clone()]);
    assert_eq!(found, Some(Brake::OfARollback(RollbackId(7))));
    manual.status = RollbackStatus::Failed;
    assert_eq!(decide(&RollbackPolicy::default(), &bad(2, 2), &[manual]), None, "it did not come about");
}

#[test]
fn a_release_is_rolled_back_by_itself_once_however_long_ago() {
    let mut old = event(1, 2, 1, 86_400 * 400);
    for status in [RollbackStatus::Completed, RollbackStatus::Failed, RollbackStatus::NeedsAttention] {
        old.status = status;
        let found = decide(&RollbackPolicy::default(), &bad(2, 2), &[old.clone()]);
        assert_eq!(found, Some(Brake::OncePerRelease(RollbackId(1))), "{status}");
    }
}

#[test]
fn a_version_that_comes_back_with_other_settings_goes_to_and_fro() {
    let found = decide(&RollbackPolicy::default(), &bad(4, 2), &[event(1, 2, 1, 7_200)]);
    assert_eq!(found, Some(Brake::FlipFlop(version(2), RollbackId(1))));
    assert_eq!(found.unwrap().to_string(), "1.2 came back after rollback 1: it goes to and fro");
    let yesterday = event(1, 2, 1, 25 * 3600);
    assert_eq!(decide(&RollbackPolicy::default(), &bad(4, 2), &[yesterday]), None);
}

#[test]
fn there_are_only_so_many_within_an_hour() {
    let events = [event(3, 4, 1, 60), event(2, 3, 1, 1_000), event(1, 2, 1, 3_599)];
    let found = decide(&RollbackPolicy::default(), &bad(5, 5), &events);
    assert_eq!(found, Some(Brake::TooMany { within_the_hour: 3, at_most: 3 }));
    let more = RollbackPolicy { at_most_per_hour: 4, ..RollbackPolicy::default() };
    assert_eq!(decide(&more, &bad(5, 5), &events), None);
    let events = [event(3, 4, 1, 60), event(2, 3, 1, 1_000), event(1, 2, 1, 3_600)];
    assert_eq!(decide(&RollbackPolicy::default(), &bad(5, 5), &events), None, "the hour is over");
}

#[test]
fn a_cool_down_holds_for_its_time() {
    let policy = RollbackPolicy { cool_down: Span::from_secs(300), ..RollbackPolicy::default() };
    let found = decide(&policy, &bad(3, 3), &[event(1, 2, 1, 299)]);
    assert_eq!(found, Some(Brake::CoolDown { since: RollbackId(1), cool_down: Span::from_secs(300) }));
    assert_eq!(decide(&policy, &bad(3, 3), &[event(1, 2, 1, 300)]), None);
    // A clock that went back holds longer, never shorter.
    assert!(decide(&policy, &bad(3, 3), &[event(1, 2, 1, -50_000)]).is_some());
}

proptest! {
    /// A machine that deploys bad releases without end, as fast or as slowly as it likes, old ones or new ones.
    #[test]
    fn automation_comes_to_rest(
        deploys in proptest::collection::vec((0_i64..12, prop_oneof![Just(0_i64), 1..4_000_i64], any::<bool>()), 1..80),
        at_most_per_hour in 1_u32..5,
        cool_down in 0_u64..600,
    ) {
        let policy = RollbackPolicy { automatic: true, at_most_per_hour, cool_down: Span::from_secs(cool_down) };
        let (mut now, mut events): (i64, Vec<RollbackEvent>) = (NOW, Vec::new());
        for (release, seconds, completes) in deploys {
            now += seconds * 1000;
            let history = History {
                newest: events.iter().find(|event| event.status == RollbackStatus::Completed),
                automatic: &events,
            };
            // Three contents go by one version.
            let bad = bad(release, release / 3);
            if brake(&policy, &bad, &history, Timestamp::from_millis(now)).is_some() {
                continue;
            }
            let mut new = event(events.len() as i64 + 1, release / 3, 100, 0);
            new.from_release = Some(ReleaseId(release));
            (new.started_at, new.completed_at) = (Timestamp::from_millis(now), Some(Timestamp::from_millis(now)));
            new.status = if completes { RollbackStatus::Completed } else { RollbackStatus::Failed };
            events.insert(0, new);
        }
        let mut left: Vec<_> = events.iter().map(|event| event.from_release).collect();
        left.sort();
        let all = left.len();
        left.dedup();
        prop_assert_eq!(left.len(), all, "a release went back twice by itself");
        for event in &events {
            let hour = |other: &&RollbackEvent| {
                other.started_at <= event.started_at && event.started_at.millis_since(other.started_at) < 3_600_000
            };
            prop_assert!(events.iter().filter(hour).count() <= at_most_per_hour as usize);
        }
        for pair in events.windows(2) {
            prop_assert!(pair[0].started_at.millis_since(pair[1].started_at) >= cool_down * 1000);
        }
    }

    /// What is decided depends on nothing but what it is given, and never panics.
    #[test]
    fn any_history_is_decided(
        rows in proptest::collection::vec((0_i64..5, 0_i64..5, -10_000_i64..100_000), 0..20),
        at_most_per_hour in 0_u32..5,
    ) {
        let policy = RollbackPolicy { at_most_per_hour, ..RollbackPolicy::default() };
        let events: Vec<_> =
            rows.iter().enumerate().map(|(id, (from, to, ago))| event(id as i64, *from, *to, *ago)).collect();
        let first = decide(&policy, &bad(2, 2), &events);
        prop_assert_eq!(&first, &decide(&policy, &bad(2, 2), &events));
        if at_most_per_hour == 0 {
            prop_assert!(first.is_some());
        }
    }
}
