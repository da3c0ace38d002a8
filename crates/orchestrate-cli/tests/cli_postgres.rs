//! The main flow with its state in PostgreSQL, as several operators share it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::json;
use support::postgres::Postgres;
use support::{Scene, until};

#[test]
fn deploy_go_back_and_forth() {
    let postgres = Postgres::create();
    let mut scene = Scene::new();
    scene.variable("ORCHESTRATE_DATABASE_URL", &postgres.url());
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    assert_eq!(scene.answers(), "1.1.0");
    let refused = scene.typed("deploy rollback --env production").ends(1);
    refused.says("deployment 2 of 1.1.0 is completed; use --force to roll it back");
    let rolled = scene.rollback().ok().json();
    assert_eq!((&rolled["target_version"], &rolled["path"]), (&json!("1.0.0"), &json!("warm")));
    assert_eq!(scene.answers(), "1.0.0");
    assert_eq!(scene.json("deploy rollbacks show 1").ok().json(), rolled);
    scene.typed("deploy rollback --env production --undo").ok();
    assert_eq!(scene.answers(), "1.1.0");
    let history = scene.json("deploy history --env production").ok().json();
    let kinds: Vec<&str> =
        history.as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["rollback", "rollback", "deploy", "deploy"]);
    let status = scene.status();
    assert_eq!((&status["live"]["version"], &status["operation"]), (&json!("1.1.0"), &json!(null)));
    scene.typed("doctor").ok().prints("postgres");
    assert!(!scene.home.join("orchestrate.db").exists(), "no second database is made");
}

#[test]
fn a_bad_release_goes_back_and_survives_a_restart_of_the_daemon() {
    let postgres = Postgres::create();
    let mut scene = Scene::new();
    scene.variable("ORCHESTRATE_DATABASE_URL", &postgres.url());
    scene.deploy("1.0.0").ok();
    scene.configure(|production| production["verify"]["bake"] = json!("20s"));
    scene.behaviour("sick_after:300ms");
    let ran = scene.deploy("1.1.0").ends(3);
    ran.prints("rolled back 1.1.0 in production to 1.0.0");
    assert_eq!(scene.json("deploy rollbacks show 1").ok().json()["rollback_type"], "automatic");
    scene.typed("daemon stop").ok();
    scene.typed("daemon start").ok();
    until("it is as it was", || (scene.typed("env check production").status == 0).then_some(()));
    assert_eq!(scene.answers(), "1.0.0");
}

#[test]
fn the_url_is_an_option_too_and_its_password_is_shown_nowhere() {
    let postgres = Postgres::create();
    let scene = Scene::new();
    let url = postgres.url();
    scene.artifact("1.0.0");
    scene.run(&["deploy", "-e", "production", "--version", "1.0.0", "--database-url", &url]).ok();
    let status = ["deploy", "status", "-e", "production", "--format", "json", "--database-url", &url];
    assert_eq!(scene.run(&status).ok().json()["live"]["version"], "1.0.0");
    for pid in scene.processes() {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!line.contains("postgres://"), "anyone can read command lines: {line}");
    }
    let gone = "postgres://someone:unspoken-password@127.0.0.1:9/none";
    let refused = scene.run(&["deploy", "status", "-e", "production", "--database-url", gone]);
    assert_ne!(refused.status, 0);
    assert!(!refused.stderr.contains("unspoken-password"), "{}", refused.stderr);
    scene.run(&["daemon", "stop", "--all", "--database-url", &url]).ok();
}

#[test]
fn of_two_operators_exactly_one_wins() {
    let postgres = Postgres::create();
    let mut scene = Scene::new();
    scene.variable("ORCHESTRATE_DATABASE_URL", &postgres.url());
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        scene.deploy(version).ok();
    }
    let to = ["deploy", "rollback", "-e", "production", "--version", "1.0.0", "--force", "--format", "json"];
    let all: Vec<_> = (0..3).map(|_| scene.begin(&to)).collect();
    let ended: Vec<_> = all.into_iter().map(|running| running.end()).collect();
    let moved = ended.iter().filter(|ran| ran.status == 0 && ran.json()["path"] != "none").count();
    assert_eq!(moved, 1, "{ended:?}");
    assert_eq!(scene.answers(), "1.0.0");
}
