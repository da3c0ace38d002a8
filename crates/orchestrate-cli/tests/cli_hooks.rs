//! Commands of a release around its deployment and its rollback, with real processes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Scene, until};

/// Every hook writes its name and the version down; `more` is what it does beside.
fn hooked(more: Value) -> Scene {
    let mut scene = Scene::new();
    let diary = scene.work.join("diary").display().to_string();
    let mut hooks = json!({});
    for hook in ["pre_deploy", "post_deploy", "pre_rollback", "post_rollback", "on_failure"] {
        let more = more[hook].as_str().unwrap_or("true");
        let script = format!("echo \"$ORCHESTRATE_HOOK $ORCHESTRATE_VERSION $LOG_LEVEL\" >> {diary}; {more}");
        hooks[hook] = json!({ "command": ["sh", "-c", script], "timeout": "20s" });
    }
    scene.configure(|production| production["hooks"] = hooks);
    scene
}

fn diary(scene: &Scene) -> Vec<String> {
    let text = std::fs::read_to_string(scene.work.join("diary")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn each_hook_is_run_once_and_a_rollback_runs_those_of_the_release_that_is_left() {
    let scene = hooked(json!({}));
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    scene.rollback().ok();
    assert_eq!(scene.answers(), "1.0.0");
    let expected = [
        "pre_deploy 1.0.0 info",
        "post_deploy 1.0.0 info",
        "pre_deploy 1.1.0 info",
        "post_deploy 1.1.0 info",
        "pre_rollback 1.1.0 info",
        "post_rollback 1.1.0 info",
    ];
    assert_eq!(diary(&scene), expected);
}

#[test]
fn one_that_fails_before_traffic_changes_nothing_and_one_after_it_takes_the_release_back() {
    let mut scene =
        hooked(json!({ "pre_deploy": "[ $ORCHESTRATE_VERSION != 1.1.0 ] || { echo no table; exit 7; }" }));
    scene.deploy("1.0.0").ok();
    let before = scene.status()["traffic"].clone();
    let failed = scene.deploy("1.1.0").ends(3);
    failed
        .says("pre_deploy of 1.1.0 exited with status 7")
        .says("no table")
        .says("users are served as before");
    assert_eq!(scene.answers(), "1.0.0");
    until("all is as it was", || (scene.status()["traffic"] == before).then_some(()));
    assert_eq!(diary(&scene)[2..], ["pre_deploy 1.1.0 info", "on_failure 1.1.0 info"]);

    scene.configure(|production| {
        production["hooks"] = json!({ "post_deploy": { "command": ["sh", "-c", "echo cold; exit 1"] } });
    });
    let ran = scene.deploy("1.2.0").ends(3);
    ran.says("post_deploy of 1.2.0 exited with status 1");
    assert_eq!(scene.answers(), "1.0.0");
    scene.configure(|production| production["hooks"]["post_deploy"]["on_failure"] = json!("ignore"));
    scene.deploy("1.3.0").ok().says("it goes on all the same");
    assert_eq!(scene.answers(), "1.3.0");
}

/// A release that is bad enough to be left may be too bad to say goodbye.
#[test]
fn a_pre_rollback_that_cannot_work_is_left_out_with_the_glass_broken() {
    let scene = hooked(json!({ "pre_rollback": "exit 9" }));
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    let refused = scene.typed("deploy rollback --env production --force");
    refused.ends(3).says("pre_rollback").says("--skip-pre-rollback --break-glass");
    assert_eq!(scene.answers(), "1.1.0");
    scene.typed("deploy rollback --env production --force --skip-pre-rollback").ends(2);
    let shown = scene
        .typed("deploy rollback --env production --dry-run --skip-pre-rollback --break-glass --reason fire");
    shown
        .ok()
        .prints("pre_rollback of 1.1.0 is left out")
        .prints("--skip-pre-rollback --break-glass --reason TEXT");
    let without = [
        "deploy",
        "rollback",
        "--env",
        "production",
        "--skip-pre-rollback",
        "--break-glass",
        "--reason",
        "fire",
        "--format",
        "json",
    ];
    let event = scene.run(&without).ok().json();
    assert_eq!(scene.answers(), "1.0.0");
    assert!(event["break_glass"].as_str().unwrap().contains("pre_rollback of 1.1.0 is left out"), "{event}");
}

#[test]
fn what_became_of_each_is_on_record_and_nothing_is_left_in_the_home() {
    let scene = hooked(json!({ "post_rollback": "echo no such channel; exit 3" }));
    scene.deploy("1.0.0").ok();
    scene.artifact("1.1.0");
    let deployed = scene.json("deploy --env production --version 1.1.0").ok().json();
    let told = |hooks: &Value| -> Vec<Value> {
        let rows = hooks.as_array().unwrap().iter();
        rows.map(|row| json!([row["name"], row["status"], row["exit_code"], row["output"]])).collect()
    };
    let expected = [json!(["pre_deploy", "succeeded", 0, ""]), json!(["post_deploy", "succeeded", 0, ""])];
    assert_eq!(told(&deployed["hooks"]), expected);
    let rolled = scene.rollback().ok().json();
    let failed = json!(["post_rollback", "failed", 3, "no such channel"]);
    assert_eq!(told(&rolled["hooks"]), [json!(["pre_rollback", "succeeded", 0, ""]), failed]);
    let shown = scene.typed("deploy rollbacks show 1").ok();
    shown.prints("post_rollback").prints("failed: exited with status 3: no such channel");
    scene.typed("deploy history --env production").ok().prints("post_rollback failed");
    let kept = scene.home.join("hooks/production");
    until("it is forgotten", || (std::fs::read_dir(&kept).unwrap().count() == 0).then_some(()));
}

#[test]
fn one_that_hangs_is_ended_with_everything_that_it_started() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.configure(|production| {
        let script = "trap '' TERM; sleep 300 & sleep 300";
        production["hooks"] =
            json!({ "pre_deploy": { "command": ["sh", "-c", script], "timeout": "300ms" } });
    });
    let before = scene.processes().len();
    scene.deploy("1.1.0").ends(3).says("did not end within 300ms and was ended");
    until("all of it is gone", || (scene.processes().len() <= before).then_some(()));
    assert_eq!(scene.answers(), "1.0.0");
}

#[test]
fn an_interrupt_ends_the_hook_and_puts_back() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    let mark = scene.work.join("mark").display().to_string();
    scene.configure(|production| {
        let script = format!("echo here > {mark}; sleep 300");
        production["hooks"] = json!({ "pre_deploy": { "command": ["sh", "-c", script] } });
    });
    scene.artifact("1.1.0");
    let began = Instant::now();
    let deploy = scene.begin(&["deploy", "--env", "production", "--version", "1.1.0"]);
    until("the hook runs", || std::path::Path::new(&mark).exists().then_some(()));
    deploy.signal(rustix::process::Signal::INT);
    deploy.end().ends(3).says("it was put back");
    assert!(began.elapsed() < Duration::from_secs(60));
    assert_eq!(scene.answers(), "1.0.0");
    let sleeps = || scene.processes().iter().filter(|pid| is_sleep(**pid)).count();
    until("the hook is gone", || (sleeps() == 0).then_some(()));
}

fn is_sleep(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep")
}

#[test]
fn of_a_release_whose_worker_fails_nothing_stays() {
    for strategy in ["blue_green", "recreate"] {
        let mut scene = Scene::new();
        scene.configure(|production| {
            production["strategy"] = json!({ "type": strategy });
            production["health_check"]["deadline"] = json!("2s");
            production["processes"]["worker"] = json!({ "command": ["./work"] });
        });
        scene.artifact("1.0.0");
        scene.script("dist/1.0.0/work", "exec sleep 1000");
        scene.typed("deploy --env production --version 1.0.0").ok();
        scene.artifact("1.1.0");
        scene.script("dist/1.1.0/work", "echo no queue; exit 4");
        scene.typed("deploy --env production --version 1.1.0").ends(3).says("worker").says("no queue");
        assert_eq!(scene.answers(), "1.0.0", "{strategy}");
        let traffic = scene.status()["traffic"].clone();
        assert_eq!(traffic.as_array().unwrap().len(), 1, "{strategy}: {traffic}");
        let left = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.contains("ORCHESTRATE_VERSION=1.1.0"))
        };
        assert!(!scene.processes().iter().any(left), "{strategy}: something of it runs");
    }
}
