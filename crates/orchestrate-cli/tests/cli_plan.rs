//! What a dry run shows can be run exactly as it is.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use support::Scene;

#[test]
fn the_command_that_a_dry_run_ends_with_runs_that_plan_once() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    let shown = scene.typed("deploy rollback --env production --dry-run").ok();
    let command =
        shown.stdout.lines().last().unwrap().trim().strip_prefix("orchestrate ").unwrap().to_owned();
    assert!(command.contains(" --force --plan p1-"), "{command}");
    scene.typed(&command).ok().prints("rolled back production from 1.1.0 to 1.0.0");
    assert_eq!(scene.answers(), "1.0.0");

    scene.typed("deploy rollback --env production --undo").ok();
    scene.json(&command).ends(1).says("ORC-0141");
    assert_eq!(scene.answers(), "1.1.0");
}

#[test]
fn what_is_no_token_is_a_mistake_of_usage() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    for token in ["p1-12", "latest", "p2-0000000000000000000000000000000000000000000000000000000000000000"] {
        let line = format!("deploy rollback --env production --force --plan {token}");
        scene.typed(&line).ends(2).says("is not a plan token");
    }
    scene.typed("deploy rollback --env production --dry-run --plan p1-12").ends(2);
}
