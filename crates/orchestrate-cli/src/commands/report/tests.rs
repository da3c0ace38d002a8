use std::str::FromStr as _;

use orchestrate_core::deployment::DeploymentStatus;
use orchestrate_core::drill::DrillStatus;
use orchestrate_core::environment::EnvironmentType;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::report::{DeploymentFact, DrillFact, Facts, RollbackFact};
use orchestrate_core::rollback_event::{RollbackPath, RollbackStatus, RollbackType, Trigger};

use super::*;
use crate::args::Moment;

const NASTY: &str = "<script>|`x`\u{1b}[2J";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn report() -> Report {
    let deployment = DeploymentFact {
        status: DeploymentStatus::RolledBack,
        started_at: at("2026-11-02T10:00:00Z"),
        completed_at: Some(at("2026-11-02T10:01:00Z")),
        went_live_at: Some(at("2026-11-02T10:00:30Z")),
        committed_at: Some(at("2026-11-02T08:00:30Z")),
        rolled_back_at: Some(at("2026-11-02T10:20:30Z")),
        broke_glass: false,
    };
    let rollback = RollbackFact {
        rollback_type: RollbackType::BlueGreenSwitch,
        trigger: Trigger::Manual,
        path: RollbackPath::Warm,
        status: RollbackStatus::Completed,
        reason: Some(NASTY.to_owned()),
        started_at: at("2026-11-02T10:20:29Z"),
        completed_at: Some(at("2026-11-02T10:20:30Z")),
        went_live_at: Some(at("2026-11-02T10:00:30Z")),
        undoes: false,
        broke_glass: false,
    };
    let facts = |name: &str, kind, deployments, rollbacks| Facts {
        environment: EnvironmentName::new(name).unwrap(),
        kind,
        first: Some(at("2026-01-01T00:00:00Z")),
        deployments,
        rollbacks,
        drills: vec![],
    };
    let period = Period { since: at("2026-11-01T00:00:00Z"), until: at("2026-11-11T00:00:00Z") };
    let drill = DrillFact {
        path: RollbackPath::Warm,
        status: DrillStatus::Completed,
        started_at: at("2026-11-03T10:00:00Z"),
        duration_ms: Some(21),
    };
    let mut production = facts("production", EnvironmentType::Production, vec![deployment], vec![rollback]);
    production.drills.push(drill);
    Report::of(period, &[production, facts("quiet", EnvironmentType::Staging, vec![], vec![])])
}

fn printer() -> Printer {
    use clap::Parser as _;
    let cli = crate::args::Cli::parse_from(["orchestrate", "report", "--all", "--color", "never"]);
    Printer::new(&cli.global, cli.format())
}

#[test]
fn the_table_has_each_environment_and_all_together() {
    insta::assert_snapshot!(text::of(&report(), &printer()));
}

#[test]
fn the_markdown_cannot_be_broken_by_a_reason() {
    let text = markdown::of(&report());
    let row = text.lines().find(|line| line.starts_with("| by reason")).unwrap();
    assert_eq!(row, r"| by reason |  | 1 \<script\>\|\`x\`�\[2J |");
}

#[test]
fn the_csv_has_a_line_an_environment() {
    let text = csv::of(&report()).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    let names: Vec<&str> = lines.iter().map(|line| line[0]).collect();
    assert_eq!(names, ["environment", "production", "quiet"]);
    let column = |name: &str| lines[0].iter().position(|head| *head == name).unwrap();
    assert_eq!(lines[1][column("recovery_time_p50_ms")], "1200000");
    assert_eq!(lines[1][column("lead_time_p50_ms")], "7200000");
    assert_eq!(lines[1][column("change_failure_rate")], "1.0");
    // No figure is no zero.
    assert_eq!(lines[2][column("change_failure_rate")], "");
}

#[test]
fn the_page_is_whole_and_harmless() {
    let page = html::of(&report()).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    assert!(!page.contains("<script") && page.contains("&#60;script&#62;"), "{page}");
    assert!(!page.contains("http://") && !page.contains("https://"), "it loads something");
    assert_eq!(page.matches("<svg").count(), 6);
    assert!(page.contains("2026-11-02: 1 (1 failed or taken back)"));
}

#[test]
fn a_line_of_bars_is_no_wider_than_it_may_be() {
    assert_eq!(text::sparkline(&[0, 1, 2, 8], 45), "·▁▂█");
    assert_eq!(text::sparkline(&[1; 90], 45).chars().count(), 45);
    assert_eq!(text::sparkline(&[0; 91], 45).chars().count(), 31);
    assert_eq!(text::sparkline(&[], 45), "");
}

#[test]
fn a_moment_is_a_span_a_day_or_an_instant() {
    let now = at("2026-11-28T00:00:00Z");
    for (typed, meant) in [
        ("36h", "2026-11-26T12:00:00Z"),
        ("2026-09-01", "2026-09-01T00:00:00Z"),
        ("2026-09-01T10:00:00+02:00", "2026-09-01T08:00:00Z"),
    ] {
        assert_eq!(Moment::from_str(typed).unwrap().before(now), at(meant), "{typed}");
    }
    for wrong in ["", "yesterday", "2026-13-01", "90", "-1d"] {
        assert!(Moment::from_str(wrong).unwrap_err().contains("90d"), "{wrong}");
    }
}
