//! The checks before a deployment: alone, and as what refuses one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::net::TcpListener;
use std::process::Command;

use serde_json::{Value, json};
use support::Scene;

const VALIDATE: &str = "deploy validate --env production --version 1.0.0";

/// The finding of the check with this name.
#[track_caller]
fn finding(scene: &Scene, name: &str) -> Value {
    let ran = scene.json(VALIDATE);
    let results = ran.json();
    let results = results.as_array().unwrap();
    let all_passed = results.iter().all(|result| result["passed"] == true);
    assert_eq!(ran.status, if all_passed { 0 } else { 1 }, "{ran:?}");
    results.iter().find(|result| result["name"] == name).unwrap_or_else(|| panic!("{results:?}")).clone()
}

/// It fails in `validate`, and a deployment is refused with nothing done.
#[track_caller]
fn refuses(scene: &Scene, name: &str, message: &str) {
    let found = finding(scene, name);
    assert_eq!(found["passed"], false, "{found}");
    assert!(found["message"].as_str().unwrap().contains(message), "{found}");
    let deploy = ["deploy", "--env", "production", "--version", "1.0.0", "--format", "json"];
    let refused = scene.run(&deploy).ends(1).error();
    assert!(refused["message"].as_str().unwrap().contains(message), "{refused}");
    assert!(scene.get("/").is_err() || scene.status()["live"].is_null(), "nothing was deployed");
}

#[test]
fn all_is_well_with_a_good_release() {
    let scene = Scene::new();
    scene.artifact("1.0.0");
    let results = scene.json(VALIDATE).ok().json();
    for result in results.as_array().unwrap() {
        assert_eq!(result["passed"], true, "{result}");
    }
    for name in ["artifact", "environment reachable", "no other operation", "deployment window", "disk space"]
    {
        assert!(results.as_array().unwrap().iter().any(|one| one["name"] == name), "{name}: {results}");
    }
    scene.typed(VALIDATE).ok().prints("artifact").prints("dist/1.0.0");
    scene.typed("deploy validate --env production").ok();
    assert!(scene.get("/").is_err(), "validating deploys nothing");
}

#[test]
fn a_missing_artifact() {
    let scene = Scene::new();
    refuses(&scene, "artifact", "dist/1.0.0 does not exist");
}

#[test]
fn an_address_that_somebody_else_has() {
    let scene = Scene::new();
    scene.artifact("1.0.0");
    let _other = TcpListener::bind(scene.address).unwrap();
    let found = finding(&scene, "address of web");
    assert_eq!(found["passed"], false, "{found}");
    assert!(found["hint"].as_str().unwrap().contains("ss -ltnp"), "{found}");
    scene.deploy("1.0.0").ends(1).says(&format!("{} cannot be used: Address already in use", scene.address));
}

#[test]
fn our_own_address_is_no_obstacle() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    assert_eq!(finding(&scene, "address of web")["message"], format!("{} is ours", scene.address));
}

/// Windows of which none is open now: one of two minutes, twelve hours away.
/// Two environments cannot have one address: better known before the place for the new release is cleared.
#[test]
fn the_address_of_another_environment_is_told() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    let production = scene.config["environments"]["production"].take();
    scene.config["environments"] = json!({ "staging": production });
    scene.write("orchestrate.yaml", &scene.config.to_string());
    scene.artifact("1.1.0");
    let validated = scene.typed("deploy validate --env staging --version 1.1.0");
    validated.ends(1).prints(&format!("{} belongs to production", scene.address));
    scene.typed("deploy --env staging --version 1.1.0").ends(1).says("belongs to production");
    assert_eq!(scene.answers(), "1.0.0");
}

fn closed() -> Value {
    let at = |moment: &str| {
        let output = Command::new("date").args(["-u", "-d", moment, "+%H:%M"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    json!([{ "from": at("+720 minutes"), "to": at("+722 minutes") }])
}

#[test]
fn a_closed_window() {
    let mut scene = Scene::new();
    scene.artifact("1.0.0");
    scene.configure(|production| production["windows"] = closed());
    refuses(&scene, "deployment window", "no deployment window is open at 20");
    scene.typed("deploy --env production --version 1.0.0 --skip-validation").ok();
    assert_eq!(scene.answers(), "1.0.0");
    scene.configure(|production| production["windows"] = json!([{ "from": "00:00", "to": "24:00" }]));
    assert_eq!(finding(&scene, "deployment window")["passed"], true);
}

#[test]
fn a_rollback_is_possible_at_any_time() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    scene.configure(|production| production["windows"] = closed());
    scene.typed("env apply").ok();
    scene.rollback().ok();
    assert_eq!(scene.answers(), "1.0.0");
}

#[test]
fn a_check_of_the_users_own() {
    let mut scene = Scene::new();
    scene.artifact("1.0.0");
    let script = "echo scanning $ORCHESTRATE_VERSION for $ORCHESTRATE_ENVIRONMENT; test -e clean";
    scene.configure(|production| {
        production["checks"] = json!([{ "name": "scan", "command": ["sh", "-c", script] }]);
    });
    refuses(&scene, "scan", "scanning 1.0.0 for production");
    scene.deploy("1.0.0").ends(1).says("scan: exit status: 1").says("--skip-validation");
    // It runs beside the config file.
    scene.write("clean", "");
    assert_eq!(finding(&scene, "scan")["message"], "passed");
    scene.deploy("1.0.0").ok();
}

#[test]
fn a_check_that_takes_too_long_or_does_not_exist() {
    let mut scene = Scene::new();
    scene.artifact("1.0.0");
    scene.configure(|production| {
        production["checks"] = json!([
            { "name": "slow", "command": ["sleep", "60"], "timeout": "50ms" },
            { "name": "gone", "command": ["./no-such-program"] },
        ]);
    });
    refuses(&scene, "slow", "it took longer than 50ms");
    refuses(&scene, "gone", "./no-such-program cannot be run");
    assert_eq!(scene.processes().len(), 0, "what was cut short does not go on");
}

#[test]
fn every_obstacle_is_named_at_once() {
    let mut scene = Scene::new();
    scene.configure(|production| {
        production["checks"] = json!([{ "name": "tests", "command": ["false"] }]);
    });
    scene
        .typed("deploy --env production --version 1.0.0")
        .ends(1)
        .says("does not exist")
        .says("tests: exit status: 1");
}
