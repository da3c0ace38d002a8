//! Commands of the user's with the real program: what they run is deployed and rolled back like everything else.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;

use serde_json::json;
use support::load::Load;
use support::{Scene, until};

/// Runs, looks after and ends processes as the protocol says.
const OPS: &str = include_str!("../../orchestrate-providers/tests/common/ops.py");

fn scene() -> Scene {
    let mut scene = Scene::new();
    let state = scene.home.with_file_name("state");
    fs::create_dir(&state).unwrap();
    let address = scene.address;
    scene.configure(|production| {
        let ops = || json!(["./ops"]);
        production["provider"] = json!("custom");
        production["custom"] =
            json!({ "deploy": ops(), "start": ops(), "health": ops(), "stop": ops(), "status": ops() });
        production["processes"] = json!({ "web": { "instances": 2, "listen": address } });
        production["variables"]["STATE"] = json!(state.to_str().unwrap());
    });
    scene
}

/// Two programs: what runs, and what runs it.
fn artifact(scene: &Scene, version: &str) {
    scene.artifact(version);
    let ops = scene.script(&format!("dist/{version}/ops"), "");
    fs::write(ops, OPS).unwrap();
}

fn deploy(scene: &Scene, version: &str) -> support::Ran {
    artifact(scene, version);
    scene.typed(&format!("deploy --env production --version {version}"))
}

#[test]
fn what_commands_run_is_deployed_and_rolled_back_and_no_request_is_lost() {
    let scene = scene();
    deploy(&scene, "1.0.0").ok();
    assert_eq!(scene.answers(), "1.0.0");
    let load = Load::start(scene.address, "/version", 4);
    load.await_more(50);
    deploy(&scene, "1.1.0").ok();
    load.await_more(50);
    assert_eq!(scene.answers(), "1.1.0");
    let event = scene.rollback().ok().json();
    assert_eq!((&event["target_version"], &event["path"]), (&json!("1.0.0"), &json!("warm")));
    load.await_more(50);
    let report = load.end();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!(scene.answers(), "1.0.0");
    scene.typed("env check production").ok();
    scene.typed("env stop production --yes").ok();
    until("nothing of it is left", || {
        let serving = scene.processes().into_iter().filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            line.contains("sample-service") || line.contains("keep")
        });
        (serving.count() == 0).then_some(())
    });
}

#[test]
fn a_daemon_that_is_killed_finds_everything_again() {
    let scene = scene();
    deploy(&scene, "1.0.0").ok();
    deploy(&scene, "1.1.0").ok();
    let pid = scene.json("daemon status").ok().json()["daemon"]["pid"].as_i64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(scene.answers(), "1.1.0");
    let event = scene.rollback().ok().json();
    assert_eq!((&event["target_version"], &event["path"]), (&json!("1.0.0"), &json!("warm")));
    assert_eq!(scene.answers(), "1.0.0");
}

#[test]
fn a_command_that_fails_changes_nothing_for_users_and_is_named() {
    let mut scene = scene();
    deploy(&scene, "1.0.0").ok();
    artifact(&scene, "1.1.0");
    scene.script("dist/1.1.0/start", "echo 'no quota left' >&2; exit 3");
    scene.configure(|production| production["custom"]["start"] = json!(["./start", "now"]));
    let ran = scene.typed("deploy --env production --version 1.1.0").ends(3);
    let ran = ran.says("`./start now` (start of 1.1.0)").says("exited with status 3; it printed nothing");
    ran.says("no quota left").says("users are served as before");
    assert_eq!(scene.answers(), "1.0.0");
    scene.typed("logs --env production --version 1.1.0").ok().prints("no quota left");

    artifact(&scene, "1.2.0");
    scene.script("dist/1.2.0/start", "sleep 1000");
    scene.configure(|production| production["custom"]["timeouts"] = json!({ "start": "500ms" }));
    scene
        .typed("deploy --env production --version 1.2.0")
        .ends(3)
        .says("did not end within 500ms and was ended");
    assert_eq!(scene.answers(), "1.0.0");
    // A rollback brings the commands back that the release was sealed with.
    deploy(&scene, "1.3.0").ends(3);
}
