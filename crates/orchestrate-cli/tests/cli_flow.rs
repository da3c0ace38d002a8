//! The way of a person through the tool: every command, in the order in which one meets it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::{Value, json};
use support::Scene;

#[test]
fn init_writes_a_config_file_that_works_and_never_overwrites_one() {
    let scene = Scene::empty();
    let written =
        scene.typed("init --service sample").ok().prints("wrote orchestrate.yaml for service sample");
    assert!(written.stderr.is_empty(), "{}", written.stderr);
    let template = std::fs::read_to_string(scene.work.join("orchestrate.yaml")).unwrap();
    assert!(template.starts_with("# yaml-language-server: $schema=./orchestrate.schema.json\n"));
    let schema = std::fs::read(scene.work.join("orchestrate.schema.json")).unwrap();
    let schema: Value = serde_json::from_slice(&schema).unwrap();
    assert!(schema["properties"]["environments"].is_object(), "{schema}");

    scene.typed("init").ends(1).says("orchestrate.yaml is there already").says("--force");
    assert_eq!(std::fs::read_to_string(scene.work.join("orchestrate.yaml")).unwrap(), template);

    // As written, but for the address and the artifact, which differ from machine to machine.
    let config = template
        .replace("127.0.0.1:8080", &scene.address.to_string())
        .replace("dist/sample-{version}.tar.gz", "dist/{version}")
        .replace("./sample", "./serve")
        .replace("bake: 30s", "bake: 200ms");
    scene.write("orchestrate.yaml", &config);
    scene.artifact("1.0.0");
    scene.typed("deploy validate --env production --version 1.0.0").ok();
    scene.deploy("1.0.0").ok();
    assert_eq!(scene.answers(), "1.0.0");
    scene.typed("init --force").ok();
    assert_ne!(std::fs::read_to_string(scene.work.join("orchestrate.yaml")).unwrap(), config);
}

#[test]
fn environments_come_from_the_config_file_and_go_when_nothing_runs() {
    let scene = Scene::new();
    assert_eq!(scene.json("env list").ok().json(), json!([]));
    scene.typed("env list").ok().prints("there are no environments yet");
    scene.typed("env apply").ok().prints("applied production");
    scene.typed("env apply").ok().prints("unchanged production");
    scene.typed("env list").ok().prints("production  sample");
    assert_eq!(
        scene.json("env list").ok().json(),
        json!([{
            "name": "production", "service": "sample", "type": "production", "provider": "process",
            "strategy": "blue_green", "live": null, "url": format!("http://{}", scene.address), "rollback": null,
        }])
    );
    let shown = scene.json("env show production").ok().json();
    assert_eq!(shown["settings"]["variables"], json!({ "LOG_LEVEL": "info" }));

    scene.deploy("1.0.0").ok();
    scene.typed("env check production").ok().prints("2 of 2 ready").prints("goes to 1.0.0");
    scene.typed("env delete production").ends(1).says("env stop production");
    assert_eq!(scene.answers(), "1.0.0");

    scene.typed("env stop production").ok().prints("stopped 1.0.0 in production");
    assert!(scene.get("/").is_err(), "nobody listens any more");
    assert!(scene.status()["live"].is_null());
    scene.typed("env delete production").ok().prints("deleted environment production");
    assert_eq!(scene.json("env list").ok().json(), json!([]));
    scene.typed("env show production").ends(1).says("there is no environment production");
}

#[test]
fn an_environment_can_be_made_without_a_config_file() {
    let scene = Scene::empty();
    let address = scene.address.to_string();
    let create = [
        "env",
        "create",
        "lab",
        "--service",
        "sample",
        "--listen",
        &address,
        "--instances",
        "1",
        "--",
        "./serve",
    ];
    scene.run(&create).ok().prints("created environment lab");
    scene.run(&create).ends(1).says("environment lab is there already");
    scene.artifact("1.0.0");
    scene.typed("deploy --env lab --version 1.0.0").ends(2).says("there is no artifact to deploy");
    scene.typed("deploy --env lab --version 1.0.0 --artifact dist/1.0.0").ok();
    assert_eq!(scene.answers(), "1.0.0");
    let status = scene.json("deploy status --env lab").ok().json();
    assert_eq!(status["traffic"][0]["instances"], 1);
}

#[test]
fn deploy_and_go_back_and_forth() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    scene.deploy("1.2.0").ok();
    assert_eq!(scene.answers(), "1.2.0");

    let before = scene.status();
    let plan = scene.json("deploy rollback -e production --force --dry-run").ok().json();
    assert_eq!((&plan["from_version"], &plan["target_version"]), (&json!("1.2.0"), &json!("1.1.0")));
    assert_eq!((&plan["path"], &plan["blockers"]), (&json!("warm"), &json!([])));
    assert_eq!(scene.status(), before, "a dry run changes nothing");
    assert_eq!(scene.json("deploy rollbacks -e production").ok().json(), json!([]));

    let rolled = scene.typed("deploy rollback --env production --force --reason leaks").ok();
    let rolled = rolled.prints("rolled back production from 1.2.0 to 1.1.0 in ");
    rolled.prints("the live address was answered by 1.1.0").prints("1.2.0 is held now");
    assert_eq!(scene.answers(), "1.1.0");
    assert_eq!(scene.json("deploy rollbacks show 1").ok().json()["reason"], "leaks");
    scene.typed("deploy rollbacks show 1").ok().prints("1.2.0").prints("leaks").prints("prove_live");
    scene.typed("deploy rollbacks show 99").ends(1).says("99");

    let undone = scene.json("deploy rollback --env production --undo").ok().json();
    assert_eq!((&undone["target_version"], &undone["path"]), (&json!("1.2.0"), &json!("warm")));
    assert_eq!(scene.answers(), "1.2.0");
    assert_eq!(scene.status()["holds"], json!([]), "what was taken back is not held any more");

    // By now 1.0.0 has been stopped: there are two slots.
    let specific = scene.json("deploy rollback -e production --version 1.0.0 --force").ok().json();
    assert_eq!((&specific["rollback_type"], &specific["path"]), (&json!("specific"), &json!("cold")));
    assert_eq!(scene.answers(), "1.0.0");
    let none = scene.json("deploy rollback --env production --force").ends(1).error();
    assert_eq!(none["code"], "ORC-0102");
    assert_eq!(scene.answers(), "1.0.0");
}

#[test]
fn a_second_rollback_goes_further_back_and_only_undo_goes_forward() {
    let scene = Scene::new();
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        scene.deploy(version).ok();
    }
    assert_eq!(scene.rollback().ok().json()["target_version"], "1.1.0");
    assert_eq!(scene.rollback().ok().json()["target_version"], "1.0.0");
    scene.rollback().ends(1);
    assert_eq!(scene.answers(), "1.0.0");
    assert_eq!(scene.json("deploy rollback -e production --undo").ok().json()["target_version"], "1.1.0");
    assert_eq!(scene.answers(), "1.1.0");
}

#[test]
fn a_rollback_of_a_failed_deployment_stays_where_users_are_and_needs_no_force() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.behaviour("crash_at_start");
    scene.deploy("1.1.0").ends(3);
    let rolled = scene.typed("deploy rollback --env production").ok();
    rolled.prints("1.0.0 is live in production already and healthy; 1.1.0 is rolled back");
    let event = scene.json("deploy rollbacks show 1").ok().json();
    assert_eq!((&event["path"], &event["status"]), (&json!("none"), &json!("completed")));
    assert_eq!(scene.answers(), "1.0.0");
}

#[test]
fn what_was_left_is_held_until_the_hold_is_lifted() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    scene.rollback().ok();
    scene.deploy("1.1.0").ends(1).says("1.1.0 is held in production since").says("deploy unhold 1.1.0");
    scene.typed("deploy rollback --env production --version 1.1.0").ends(1);
    scene.typed("deploy unhold 1.1.0 --env production --reason mended").ok();
    scene.deploy("1.1.0").ok();
    assert_eq!(scene.answers(), "1.1.0");
    scene.typed("deploy hold 1.0.0 --env production").ends(2).says("a hold needs a reason");
    scene.typed("deploy hold 1.0.0 --env production --reason leaks").ok();
    scene.rollback().ends(1).says("there is no good release before 1.1.0");
    let candidates = scene.json("deploy candidates --env production").ok().json();
    let held = candidates.as_array().unwrap().iter().find(|one| one["version"] == "1.0.0").unwrap();
    assert_eq!(held["why_not"], "is held: leaks", "{candidates}");
    scene.typed("deploy rollback -e production --version 1.0.0 --force").ok();
    assert_eq!(scene.answers(), "1.0.0");
}

#[test]
fn the_same_content_again_restarts_nothing() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.typed("deploy --env production --version 1.0.0").ok().prints("nothing was restarted");
    assert_eq!(scene.status()["traffic"].as_array().unwrap().len(), 1);
}

#[test]
fn diff_shows_what_would_change_and_changes_nothing() {
    let mut scene = Scene::new();
    scene.artifact("1.0.0");
    let first = scene.typed("deploy diff --env production --version 1.0.0").ok();
    first.prints("nothing is live in production: all of 1.0.0 would be new");
    scene.deploy("1.0.0").ok();
    scene.artifact("1.1.0");
    scene.configure(|production| production["variables"] = json!({ "LOG_LEVEL": "debug", "NEW": "1" }));
    let before = scene.status();
    let diff = scene.json("deploy diff --env production --version 1.1.0").ok().json();
    assert_eq!((&diff["from"], &diff["to"]), (&json!("1.0.0"), &json!("1.1.0")));
    let differences = diff["differences"].as_array().unwrap();
    let of = |what: &str| differences.iter().find(|one| one["what"].as_str().unwrap().contains(what));
    assert_eq!(of("LOG_LEVEL").unwrap()["from"], "info", "{diff}");
    assert_eq!(of("LOG_LEVEL").unwrap()["to"], "debug");
    assert!(of("NEW").unwrap()["from"].is_null());
    assert!(of("artifact").is_some());
    scene.typed("deploy diff --env production --version 1.1.0").ok().prints("DIFFERS").prints("debug");
    assert_eq!(scene.status(), before);
}
