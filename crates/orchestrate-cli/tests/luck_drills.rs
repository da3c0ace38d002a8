//! A drill is cut off in its middle: what was live is live again by itself, and it counts for nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod luck;

use std::time::Instant;

use luck::processes::{Kind, kill_and_wait};
use luck::{Load, Scene, until};
use serde_json::{Value, json};

const DRILL: [&str; 4] = ["deploy", "drill", "--env", "production"];

/// 1.1.0 is live; 1.0.0 takes its time to say who it is, so that a drill has a middle.
fn scene(warm_for: &str) -> Scene {
    let mut scene = Scene::new();
    scene.configure(|settings| {
        settings["strategy"]["warm_for"] = json!(warm_for);
        settings["drill"] = json!({ "production": true });
        settings["health_check"]["timeout"] = json!("5s");
        settings["variables"]["VERSION_AFTER"] = json!("1500");
        settings["variables"]["HEALTHY_AFTER"] = json!("1500");
    });
    scene.deploy("1.0.0").ok();
    scene.service("VERSION_AFTER", "0");
    scene.service("HEALTHY_AFTER", "0");
    scene.deploy("1.1.0").ok();
    if warm_for == "0s" {
        until("1.0.0 is stopped", || (scene.instances().len() == 2).then_some(()));
    }
    scene
}

fn rows(scene: &Scene, of: &str) -> Vec<Value> {
    let rows = scene.run(&["deploy", of, "--env", "production", "--format", "json"]).ok().json();
    rows.as_array().unwrap().clone()
}

/// The daemon has put it back, and nothing but the drill itself tells of it.
fn is_put_back(scene: &Scene, history: &[Value]) {
    until("it is put back", || scene.status()["operation"].is_null().then_some(()));
    assert_eq!(scene.records_are_true(), "1.1.0");
    assert_eq!(scene.status()["holds"], json!([]));
    assert_eq!(rows(scene, "rollbacks"), Vec::<Value>::new());
    assert_eq!(rows(scene, "history"), history);
    let drill = rows(scene, "drills").remove(0);
    assert_eq!(drill["status"], "failed", "{drill}");
    assert!(drill["error_message"].as_str().unwrap().contains("interrupted"), "{drill}");
}

#[test]
fn a_drill_that_is_killed_while_the_traffic_is_away_comes_back_by_itself() {
    let scene = scene("15m");
    let history = rows(&scene, "history");
    let load = Load::start(scene.address, 8);
    let mut command = scene.begin(&DRILL);
    command.await_line("switch all traffic to 1.0.0");
    load.await_version("1.0.0");
    command.kill();
    load.await_version("1.1.0");
    is_put_back(&scene, &history);
    load.await_answers(100);
    load.stop().lost_nothing();
    assert_eq!(scene.instances().len(), 4, "what was warm is warm");
    // And a whole one goes well.
    scene.run(&DRILL).ok();
    assert_eq!(scene.rollback().ok().json()["path"], "warm");
}

#[test]
fn a_drill_beside_what_is_live_that_is_killed_leaves_nothing_behind() {
    let scene = scene("0s");
    let history = rows(&scene, "history");
    let (began, load) = (Instant::now(), Load::start(scene.address, 8));
    let mut command = scene.begin(&DRILL);
    command.await_line("start 1.0.0");
    until("it runs", || (scene.instances().len() == 4).then_some(()));
    command.kill();
    is_put_back(&scene, &history);
    until("what was started is stopped", || (scene.instances().len() == 2).then_some(()));
    load.stop().lost_nothing().nobody_got("1.0.0", began, Instant::now());
}

/// The command and whoever would finish what it left, both at once.
#[test]
fn a_drill_is_put_back_by_the_next_daemon() {
    let scene = scene("15m");
    let history = rows(&scene, "history");
    let load = Load::start(scene.address, 8);
    let mut command = scene.begin(&DRILL);
    command.await_line("switch all traffic to 1.0.0");
    load.await_version("1.0.0");
    kill_and_wait(&[scene.pid(Kind::Daemon).unwrap()]);
    command.kill();
    scene.run(&["daemon", "start"]).ok();
    load.await_version("1.1.0");
    is_put_back(&scene, &history);
    load.stop().lost_nothing();
}

/// It forgets what it was not told to keep; whoever drills sees to it that the end is right.
#[test]
fn a_proxy_that_is_killed_during_a_drill_ends_where_it_began() {
    let scene = scene("15m");
    let mut command = scene.begin(&DRILL);
    command.await_line("switch all traffic to 1.0.0");
    kill_and_wait(&[scene.pid(Kind::Proxy).unwrap()]);
    let ran = command.end();
    assert!([0, 3].contains(&ran.code), "{ran:?}");
    until("it is over", || scene.status()["operation"].is_null().then_some(()));
    assert_eq!(scene.records_are_true(), "1.1.0");
    assert_eq!(rows(&scene, "rollbacks"), Vec::<Value>::new());
}
