//! Deployments and rollbacks lose no request, whatever kind of request it is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod luck;

use std::time::{Duration, Instant};

use luck::streams::{get, large_upload, slow_download, slow_upload, tunnel};
use luck::{Load, Scene, pause, until};
use serde_json::json;

#[test]
fn eight_users_lose_nothing_while_versions_go_back_and_forth() {
    back_and_forth(8, "15m", "warm");
}

#[test]
fn sixty_four_users_lose_nothing_while_versions_go_back_and_forth() {
    back_and_forth(64, "15m", "warm");
}

#[test]
fn sixty_four_users_lose_nothing_by_cold_rollbacks() {
    back_and_forth(64, "0s", "cold");
}

fn back_and_forth(users: u32, warm_for: &str, path: &str) {
    let mut scene = Scene::new();
    scene.configure(|settings| settings["strategy"]["warm_for"] = json!(warm_for));
    scene.deploy("1.0.0").ok();
    let load = Load::start(scene.address, users);
    let mut windows = Vec::new();
    for bad in ["1.1.0", "1.2.0", "1.3.0"] {
        scene.deploy(bad).ok();
        load.await_version(bad);
        if path == "cold" {
            until("1.0.0 is stopped", || (scene.instances().len() == 2).then_some(()));
        }
        let event = scene.rollback().ok().json();
        let returned = Instant::now();
        assert_eq!((&event["path"], &event["target_version"]), (&json!(path), &json!("1.0.0")), "{event}");
        load.await_answers(usize::try_from(users).unwrap() * 3);
        windows.push((bad, returned, Instant::now()));
        // And forward again, which is a rollback too.
        let undone = scene.run(&["deploy", "rollback", "-e", "production", "--undo"]);
        undone.ok();
        load.await_version(bad);
        scene.rollback().ok();
        load.await_version("1.0.0");
    }
    let report = load.stop().lost_nothing().somebody_got("1.0.0");
    let report = windows
        .into_iter()
        .fold(report, |report, (bad, from, to)| report.somebody_got(bad).nobody_got(bad, from, to));
    assert!(report.longest() < Duration::from_secs(2), "somebody waited {:?}", report.longest());
    assert_eq!(scene.records_are_true(), "1.0.0");
}

#[test]
fn slow_and_large_bodies_pass_whole_through_a_deployment_and_a_rollback() {
    let mut scene = Scene::new();
    scene.configure(|settings| settings["strategy"]["warm_for"] = json!("0s"));
    scene.deploy("1.0.0").ok();
    for version in ["1.1.0", "1.2.0"] {
        let slow = [
            slow_upload(scene.address, 20, Duration::from_millis(100)),
            slow_download(scene.address, 20, Duration::from_millis(100)),
        ];
        scene.deploy(version).ok();
        large_upload(scene.address, 48 << 20);
        let more = [
            slow_upload(scene.address, 10, Duration::from_millis(100)),
            slow_download(scene.address, 10, Duration::from_millis(100)),
        ];
        scene.rollback().ok();
        large_upload(scene.address, 48 << 20);
        slow.into_iter().chain(more).for_each(|user| user.join().unwrap());
    }
    assert_eq!(scene.records_are_true(), "1.0.0");
}

#[test]
fn an_open_websocket_gets_its_drain_time_and_not_more() {
    let mut scene = Scene::new();
    scene.configure(|settings| {
        settings["strategy"]["warm_for"] = json!("0s");
        settings["drain"] = json!("3s");
    });
    scene.deploy("1.0.0").ok();
    let mut socket = tunnel(scene.address);
    scene.deploy("1.1.0").ok();
    let switched = Instant::now();
    assert_eq!(get(scene.address, "/version").unwrap(), "1.1.0");
    while switched.elapsed() < Duration::from_millis(2000) {
        assert!(socket.echoes("still here"), "closed {:?} after the switch", switched.elapsed());
        pause(Duration::from_millis(100));
    }
    until("the drain ends it", || (!socket.echoes("and now")).then_some(()));
    let closed = switched.elapsed();
    assert!(closed < Duration::from_secs(6), "closed only {closed:?} after the switch");
    assert_eq!(scene.records_are_true(), "1.1.0");
}

#[test]
fn an_open_websocket_lives_on_while_its_release_is_warm() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    let mut socket = tunnel(scene.address);
    scene.deploy("1.1.0").ok();
    assert!(socket.echoes("after the deployment"));
    scene.rollback().ok();
    assert!(socket.echoes("after the rollback"));
    assert_eq!(scene.records_are_true(), "1.0.0");
}

#[test]
fn a_release_that_hangs_is_noticed_in_about_a_second_and_one_that_is_slow_is_not() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    let load = Load::start(scene.address, 8);
    scene.service("VERSION_AFTER", "60000");
    let asked = Instant::now();
    scene.deploy("1.1.0").ends(3).says("no answer from").says("within 1s");
    assert!(asked.elapsed() < Duration::from_secs(4), "it took {:?}", asked.elapsed());
    assert_eq!(scene.status()["live"]["version"], "1.0.0");
    // More than half of the time limit, so that a second request is on its way when the first one is answered.
    scene.service("VERSION_AFTER", "700");
    scene.deploy("1.2.0").ok();
    // Whoever needs longer says so.
    scene.configure(|settings| settings["health_check"]["timeout"] = json!("5s"));
    scene.service("VERSION_AFTER", "1500");
    scene.deploy("1.3.0").ok();
    assert_eq!(scene.records_are_true(), "1.3.0");
    load.stop().lost_nothing();
}
