use super::*;

const MINUTE: i64 = 60_000;
const DAY: i64 = 1_440 * MINUTE;

/// Minutes after the beginning of 2026-11-01.
fn at(minutes: i64) -> Timestamp {
    let start: Timestamp = "2026-11-01T00:00:00.000Z".parse().unwrap();
    Timestamp::from_millis(start.as_millis() + minutes * MINUTE)
}

fn ten_days() -> Period {
    Period { since: at(0), until: at(10 * DAY / MINUTE) }
}

fn deployed(minutes: i64) -> DeploymentFact {
    DeploymentFact {
        status: DeploymentStatus::Completed,
        started_at: at(minutes),
        completed_at: Some(at(minutes + 2)),
        went_live_at: Some(at(minutes + 1)),
        committed_at: None,
        rolled_back_at: None,
        broke_glass: false,
    }
}

fn rolled_back(minutes: i64, millis: i64) -> RollbackFact {
    RollbackFact {
        rollback_type: RollbackType::BlueGreenSwitch,
        trigger: Trigger::Manual,
        path: RollbackPath::Warm,
        status: RollbackStatus::Completed,
        reason: None,
        started_at: at(minutes),
        completed_at: Some(Timestamp::from_millis(at(minutes).as_millis() + millis)),
        went_live_at: Some(at(minutes - 10)),
        undoes: false,
        broke_glass: false,
    }
}

fn facts(deployments: Vec<DeploymentFact>, rollbacks: Vec<RollbackFact>) -> Facts {
    let first = deployments.first().map(|fact| fact.started_at);
    let environment = EnvironmentName::new("production").unwrap();
    Facts { environment, kind: EnvironmentType::Production, first, deployments, rollbacks, drills: vec![] }
}

fn figures(facts: Facts) -> Figures {
    Report::of(ten_days(), &[facts]).total
}

#[test]
fn nothing_gives_no_figure_rather_than_a_wrong_one() {
    let figures = figures(facts(vec![], vec![]));
    assert_eq!(figures.dora.change_failure_rate, None);
    assert_eq!(figures.dora.deployments_per_day, Some(0.0));
    assert_eq!((figures.rollbacks.success_rate, figures.rollbacks.warm_rate), (None, None));
    assert_eq!(figures.rollbacks.time_to_restore, None);
    assert_eq!(figures.days.len(), 10);
    let empty = Period { since: at(0), until: at(0) };
    assert_eq!(Report::of(empty, &[]).total.dora.deployments_per_day, None);
}

#[test]
fn a_percentile_is_one_of_the_values() {
    let spread = Spread::of((1..=100).rev().collect()).unwrap();
    assert_eq!((spread.count, spread.p50_ms, spread.p95_ms, spread.max_ms), (100, 50, 95, 100));
    let one = Spread::of(vec![7]).unwrap();
    assert_eq!((one.p50_ms, one.p95_ms, one.max_ms), (7, 7, 7));
}

#[test]
fn a_change_fails_only_if_it_reached_users() {
    let taken_back = DeploymentFact {
        status: DeploymentStatus::RolledBack,
        rolled_back_at: Some(at(131)),
        ..deployed(100)
    };
    // Undone by itself after the switch; and one that never got there.
    let undone = DeploymentFact { status: DeploymentStatus::Failed, ..deployed(200) };
    let never = DeploymentFact { went_live_at: None, status: DeploymentStatus::Failed, ..deployed(300) };
    let figures = figures(facts(vec![deployed(0), taken_back, undone, never, deployed(400)], vec![]));
    assert_eq!((figures.dora.deployments, figures.dora.failed), (4, 2));
    assert_eq!(figures.dora.change_failure_rate, Some(0.5));
    let recovery = figures.dora.recovery_time.unwrap();
    assert_eq!((recovery.count, recovery.p50_ms, recovery.max_ms), (2, 60_000, 30 * 60_000));
    let Deployments { total, completed, failed, rolled_back, .. } = figures.deployments;
    assert_eq!((total, completed, failed, rolled_back), (5, 2, 2, 1));
}

#[test]
fn frequency_counts_from_the_first_deployment_ever() {
    let day = DAY / MINUTE;
    let young = facts(vec![deployed(5 * day), deployed(6 * day)], vec![]);
    assert_eq!(figures(young.clone()).dora.deployments_per_day, Some(2.0 / 5.0));
    let old = Facts { first: Some(at(-100 * day)), ..young };
    assert_eq!(figures(old).dora.deployments_per_day, Some(2.0 / 10.0));
}

#[test]
fn lead_time_is_from_commit_to_live_where_it_is_known() {
    let known = DeploymentFact { committed_at: Some(at(-59)), ..deployed(0) };
    let ahead = DeploymentFact { committed_at: Some(at(1_000)), ..deployed(10) };
    let lead = figures(facts(vec![known, ahead, deployed(20)], vec![])).dora.lead_time.unwrap();
    assert_eq!((lead.count, lead.p50_ms), (1, 60 * 60_000));
}

#[test]
fn rollbacks_are_counted_by_what_they_were() {
    let cold =
        RollbackFact { path: RollbackPath::Cold, reason: Some("prices".into()), ..rolled_back(20, 4_000) };
    let by_itself = RollbackFact {
        rollback_type: RollbackType::Automatic,
        trigger: Trigger::Watch,
        reason: Some("prices".into()),
        ..rolled_back(30, 50)
    };
    let undo = RollbackFact { undoes: true, broke_glass: true, ..rolled_back(40, 40) };
    let failed = RollbackFact { status: RollbackStatus::Failed, ..rolled_back(50, 9_000) };
    let open = RollbackFact { status: RollbackStatus::InProgress, completed_at: None, ..rolled_back(60, 0) };
    let rollbacks =
        figures(facts(vec![], vec![rolled_back(10, 30), cold, by_itself, undo, failed, open])).rollbacks;
    assert_eq!((rollbacks.total, rollbacks.completed, rollbacks.failed, rollbacks.undone), (6, 4, 1, 1));
    assert_eq!(rollbacks.broke_glass, 1);
    assert_eq!(rollbacks.success_rate, Some(0.8));
    assert_eq!(rollbacks.warm_rate, Some(0.75));
    assert_eq!(rollbacks.by_type["automatic"], 1);
    assert_eq!(rollbacks.by_trigger["manual"], 5);
    assert_eq!(rollbacks.by_path["warm"], Spread { count: 3, p50_ms: 40, p95_ms: 50, max_ms: 50 });
    assert_eq!(rollbacks.by_path["cold"].max_ms, 4_000);
    let reasons: Vec<_> =
        rollbacks.by_reason.iter().map(|reason| (reason.reason.as_deref(), reason.count)).collect();
    assert_eq!(reasons, [(None, 4), (Some("prices"), 2)]);
    // What goes forward again restores nothing.
    assert_eq!(rollbacks.time_to_restore.unwrap().count, 3);
    assert_eq!(rollbacks.time_to_restore.unwrap().max_ms, 604_000);
}

#[test]
fn days_are_those_of_utc_and_none_is_left_out() {
    let period = Period { since: at(30), until: at(2 * DAY / MINUTE + 30) };
    let facts = facts(vec![deployed(29), deployed(31), deployed(1_500)], vec![rolled_back(1_510, 5)]);
    let days = Report::of(period, &[facts]).total.days;
    let days: Vec<_> = days.iter().map(|day| (day.day.as_str(), day.deployments, day.rollbacks)).collect();
    assert_eq!(days, [("2026-11-01", 1, 0), ("2026-11-02", 1, 1), ("2026-11-03", 0, 0)]);
}

#[test]
fn the_total_takes_the_figures_of_dora_from_production_only() {
    let production = facts(vec![deployed(0)], vec![]);
    let staging = Facts { kind: EnvironmentType::Staging, ..facts(vec![deployed(0), deployed(9)], vec![]) };
    let report = Report::of(ten_days(), &[production, staging]);
    assert_eq!((report.total.deployments.total, report.total.dora.deployments), (3, 1));
    assert_eq!(report.environments[1].figures.dora.deployments, 2);
}

#[test]
fn drills_are_counted_apart_and_change_no_other_figure() {
    let drilled = |status, ms| DrillFact {
        path: RollbackPath::Warm,
        status,
        started_at: at(30),
        duration_ms: Some(ms),
    };
    let without = facts(vec![deployed(5)], vec![rolled_back(20, 100)]);
    let mut with = without.clone();
    with.drills = vec![
        drilled(DrillStatus::Completed, 20),
        drilled(DrillStatus::Completed, 40),
        drilled(DrillStatus::Completed, 30),
        drilled(DrillStatus::Failed, 9_000),
        DrillFact { started_at: at(-5), ..drilled(DrillStatus::Failed, 1) },
    ];
    let (before, figures) = (figures(without), figures(with));
    let drills = figures.drills;
    assert_eq!((drills.total, drills.completed, drills.failed), (4, 3, 1));
    assert_eq!((drills.success_rate, drills.by_path["warm"].p50_ms), (Some(0.75), 30));
    assert_eq!((figures.dora, figures.rollbacks, figures.days), (before.dora, before.rollbacks, before.days));
    assert_eq!(before.drills, Drills::default());
}
