//! What a dry run shows can be run exactly as it is.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::json;
use support::scene::free_address;
use support::{Scene, until};

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

/// A target whose address somebody else has by now is not ready, and that is known beforehand.
#[test]
fn an_address_that_is_taken_is_in_the_way_of_a_cold_rollback() {
    let mut scene = Scene::new();
    scene.configure(|production| production["strategy"]["warm_for"] = json!("0s"));
    scene.deploy("1.0.0").ok();
    let (before, now) = (scene.address, free_address());
    scene.configure(|production| production["processes"]["web"]["listen"] = json!(now));
    scene.address = now;
    scene.deploy("1.1.0").ok();
    let taken = until("the address is free again", || std::net::TcpListener::bind(before).ok());
    let readiness = scene.status()["rollback"].clone();
    assert_eq!((&readiness["path"], &readiness["ready"]), (&json!("cold"), &json!(false)), "{readiness}");
    let why = readiness["blockers"][0].as_str().unwrap();
    assert!(why.contains(&format!("{before}, where `web` of 1.0.0 listens, is taken")), "{why}");
    drop(taken);
    assert_eq!(scene.status()["rollback"]["ready"], true);
    scene.rollback().ok();
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
