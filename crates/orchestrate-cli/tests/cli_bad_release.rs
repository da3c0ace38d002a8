//! Releases that are no good: users keep what they had, and the message says what happened.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::{Value, json};
use support::load::Load;
use support::{Ran, Scene, until};

fn recreate(scene: &mut Scene) {
    scene.configure(|production| production["strategy"] = json!({ "type": "recreate" }));
}

/// Deploys a bad release under load and wants no user to have noticed.
#[track_caller]
fn unnoticed(scene: &Scene, deploy: impl FnOnce(&Scene) -> Ran) -> Ran {
    let load = Load::start(scene.address, "/version", 4);
    let ran = deploy(scene);
    load.await_more(50);
    let report = load.end();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!(report.served.keys().collect::<Vec<_>>(), ["1.0.0"], "nobody else was ever asked");
    ran
}

/// The record of the newest deployment says so, and nothing of it is left.
#[track_caller]
fn recorded(scene: &Scene, status: &str) -> Value {
    let found = scene.status();
    assert_eq!(found["latest"]["status"], status, "{found}");
    assert_eq!(found["live"]["version"], "1.0.0");
    assert!(found["operation"].is_null());
    assert_eq!(scene.answers(), "1.0.0");
    found["latest"]["error_message"].clone()
}

fn good(strategy_is_recreate: bool) -> Scene {
    let mut scene = Scene::new();
    scene.configure(|production| production["health_check"]["deadline"] = json!("1500ms"));
    if strategy_is_recreate {
        recreate(&mut scene);
    }
    scene.deploy("1.0.0").ok();
    scene
}

#[test]
fn one_that_crashes_at_its_start_never_gets_traffic() {
    let mut scene = good(false);
    scene.behaviour("crash_at_start");
    let ran = unnoticed(&scene, |scene| scene.deploy("1.1.0")).ends(3);
    assert_eq!(ran.stdout, "");
    let ran = ran.says("1.1.0").says("exited with status 3").says("told to crash at its start");
    ran.says("look at its output: orchestrate logs --env production --version 1.1.0");
    assert!(recorded(&scene, "failed").as_str().unwrap().contains("crash at its start"));
    assert_eq!(scene.status()["traffic"].as_array().unwrap().len(), 1, "it is stopped");
    scene.typed("logs --env production --version 1.1.0").ok().prints("told to crash at its start");
    let json = scene.typed("logs --env production --version 1.1.0 --format json").ok();
    let lines: Vec<serde_json::Value> =
        json.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["line"].as_str().unwrap().contains("told to crash")), "{lines:?}");
    assert!(lines.iter().all(|line| line["instance"].as_str().unwrap().starts_with("web.")), "{lines:?}");
}

#[test]
fn what_it_printed_is_set_apart_and_cannot_steer_a_terminal() {
    let scene = good(false);
    scene.script(
        "dist/1.1.0/serve",
        r"printf '\033]0;owned\007\033[31mno licence found\033[0m\n' >&2; exit 7",
    );
    let ran = scene.typed("deploy --env production --version 1.1.0").ends(3);
    let ran = ran.says("exited with status 7").says("[ORC-0124]\n  | ").says("no licence found");
    assert!(!ran.stderr.contains(['\u{1b}', '\u{7}']), "{:?}", ran.stderr);
    let history = scene.typed("deploy history --env production").ok().prints("no licence found");
    assert!(!history.stdout.contains(['\u{1b}', '\u{7}']), "{:?}", history.stdout);
    let logs = scene.typed("logs --env production --version 1.1.0").ok().prints("no licence found");
    assert!(!logs.stdout.contains(['\u{1b}', '\u{7}']), "{:?}", logs.stdout);
}

#[test]
fn one_that_never_becomes_healthy_never_gets_traffic() {
    let mut scene = good(false);
    scene.behaviour("never_healthy");
    let ran = unnoticed(&scene, |scene| scene.deploy("1.1.0")).ends(3);
    ran.says("is not ready after 1s500ms: GET /healthz answered 503 instead of 200");
    recorded(&scene, "timed_out");
}

#[test]
fn one_whose_command_does_not_exist_says_where_it_was_looked_for() {
    let mut scene = good(false);
    scene.configure(|production| production["processes"]["web"]["command"] = json!(["./srve", "now"]));
    let ran = unnoticed(&scene, |scene| scene.deploy("1.1.0")).ends(3);
    ran.says("command `./srve` does not exist; looked in ").says("users are served as before");
    recorded(&scene, "failed");
    scene.configure(|production| production["processes"]["web"]["command"] = json!(["no-such-program-here"]));
    let ran = scene.deploy("1.1.0").ends(3).says("no-such-program-here");
    assert!(ran.stderr.contains("PATH"), "{}", ran.stderr);
}

#[test]
fn one_that_runs_out_of_time_is_timed_out() {
    let mut scene = good(false);
    scene.configure(|production| production["health_check"]["deadline"] = json!("60s"));
    scene.behaviour("never_healthy");
    let ran = unnoticed(&scene, |scene| {
        scene.artifact("1.1.0");
        scene.json("deploy --env production --version 1.1.0 --timeout 1")
    });
    let error = ran.ends(3).error();
    assert!(error["message"].as_str().unwrap().contains("1s"), "{error}");
    recorded(&scene, "timed_out");
    // Such a deployment needs no --force.
    let rolled = scene.json("deploy rollback --env production").ok().json();
    assert_eq!((&rolled["path"], &rolled["target_version"]), (&json!("none"), &json!("1.0.0")));
}

#[test]
fn with_recreate_the_one_before_comes_back() {
    for (behaviour, status) in [("crash_at_start", "failed"), ("never_healthy", "timed_out")] {
        let mut scene = good(true);
        scene.behaviour(behaviour);
        scene.deploy("1.1.0").ends(3).says("1.0.0");
        recorded(&scene, status);
        assert_eq!(scene.status()["traffic"][0]["healthy"], 2, "{behaviour}");
    }
}

#[test]
fn with_recreate_a_timeout_brings_the_one_before_back() {
    let mut scene = good(true);
    scene.configure(|production| production["health_check"]["deadline"] = json!("60s"));
    scene.behaviour("never_healthy");
    scene.artifact("1.1.0");
    scene.typed("deploy --env production --version 1.1.0 --timeout 1").ends(3);
    recorded(&scene, "timed_out");
    scene.behaviour("good");
    scene.deploy("1.2.0").ok();
    assert_eq!(scene.answers(), "1.2.0");
}

#[test]
fn the_first_release_of_all_may_be_bad_too() {
    let mut scene = Scene::new();
    scene.behaviour("crash_at_start");
    scene.deploy("1.0.0").ends(3);
    assert!(scene.status()["live"].is_null());
    scene.typed("deploy rollback --env production").ends(1).says("there is no good release before 1.0.0");
    scene.behaviour("good");
    scene.deploy("1.0.1").ok();
    assert_eq!(scene.answers(), "1.0.1");
}

fn turns_sick(automatic: bool) -> Scene {
    let mut scene = good(false);
    scene.configure(|production| {
        production["verify"]["bake"] = json!("20s");
        production["rollback"] = json!({ "automatic": automatic });
    });
    scene.behaviour("sick_after:300ms");
    scene
}

#[test]
fn one_that_turns_sick_while_it_bakes_goes_back_by_itself() {
    let scene = turns_sick(true);
    scene.artifact("1.1.0");
    let ran = scene.json("deploy --env production --version 1.1.0").ends(3);
    let deployment = ran.json();
    assert_eq!(deployment["status"], "rolled_back", "{deployment}");
    let rollback = &deployment["rollback"];
    assert_eq!(rollback["rollback_type"], "automatic");
    assert_eq!(rollback["trigger"], "verification");
    assert_eq!(rollback["status"], "completed");
    assert_eq!(rollback["target_version"], "1.0.0");
    assert_eq!(rollback["path"], "warm");
    assert_eq!(rollback["deployment_id"], deployment["id"]);
    assert!(!rollback["reason"].as_str().unwrap().is_empty(), "{rollback}");
    recorded(&scene, "rolled_back");
    assert_eq!(scene.status()["holds"][0]["version"], "1.1.0");

    // One attempt: what was rolled back is not looked at again, also not by another daemon.
    scene.typed("daemon stop").ok();
    scene.typed("daemon start").ok();
    scene.typed("env check production").ok();
    assert_eq!(scene.json("deploy rollbacks --env production").ok().json().as_array().unwrap().len(), 1);
    assert_eq!(scene.answers(), "1.0.0");
}

#[test]
fn people_are_told_in_words() {
    let scene = turns_sick(true);
    let ran = scene.deploy("1.1.0").ends(3);
    let ran = ran.prints("rolled back 1.1.0 in production to 1.0.0 in ").prints("(rollback 1, warm)");
    let ran =
        ran.says("1.1.0 is live; watching it until").says("turned out bad and was rolled back to 1.0.0: ");
    ran.says("orchestrate logs --env production --version 1.1.0");
}

#[test]
fn without_automatic_rollback_it_is_only_reported() {
    let scene = turns_sick(false);
    let ran = scene.deploy("1.1.0").ends(4).says("1.1.0 to production failed and is live all the same");
    let ran = ran.says("orchestrate deploy rollback --env production");
    assert_eq!(ran.stdout, "");
    assert_eq!(scene.json("deploy rollbacks --env production").ok().json(), json!([]));
    assert_eq!(scene.status()["live"]["version"], "1.1.0");
    assert_eq!(scene.status()["latest"]["status"], "failed");
    // A failed deployment needs no --force.
    scene.typed("deploy rollback --env production").ok();
    assert_eq!(scene.answers(), "1.0.0");
}

#[test]
fn the_wait_for_the_verdict_can_be_left() {
    let mut scene = good(false);
    scene.configure(|production| production["verify"]["bake"] = json!("3s"));
    scene.artifact("1.1.0");
    let deploy = scene.begin(&["deploy", "--env", "production", "--version", "1.1.0"]);
    until("it is live", || (scene.status()["live"]["version"] == "1.1.0").then_some(()));
    deploy.signal(rustix::process::Signal::INT);
    let ran = deploy.end();
    assert_eq!(scene.answers(), "1.1.0", "{ran:?}");
    until("the daemon ends the bake", || (scene.status()["latest"]["status"] == "completed").then_some(()));
}
