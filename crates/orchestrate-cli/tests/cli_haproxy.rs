//! Releases behind an HAProxy that the user has already, with the real program and Debian's HAProxy.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::haproxy::Haproxy;
use support::load::Load;
use support::{Scene, until};

fn shares(status: &Value) -> Vec<(String, u64, u64)> {
    let rows = status["traffic"].as_array().unwrap().iter();
    let shares = rows.map(|row| {
        (
            row["version"].as_str().unwrap().to_owned(),
            row["weight"].as_u64().unwrap(),
            row["healthy"].as_u64().unwrap(),
        )
    });
    let mut shares: Vec<_> = shares.collect();
    shares.sort();
    shares
}

fn is(of: &[(&str, u64, u64)]) -> Vec<(String, u64, u64)> {
    of.iter().map(|(version, weight, healthy)| ((*version).to_owned(), *weight, *healthy)).collect()
}

/// 1.1.0 is live, 1.0.0 warm.
fn two_releases(keeps_state: bool) -> (Scene, Haproxy) {
    let mut scene = Scene::new();
    let haproxy = Haproxy::before(&mut scene, keeps_state);
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    (scene, haproxy)
}

#[test]
fn releases_come_and_go_back_behind_it_and_no_request_is_lost() {
    let mut scene = Scene::new();
    let _haproxy = Haproxy::before(&mut scene, true);
    scene.deploy("1.0.0").ok();
    assert_eq!(scene.answers(), "1.0.0");
    let load = Load::start(scene.address, "/version", 4);
    scene.deploy("1.1.0").ok();
    load.await_more(50);
    assert_eq!(shares(&scene.status()), is(&[("1.0.0", 0, 2), ("1.1.0", 100, 2)]));
    for (path, version) in [("warm", "1.0.0"), ("warm", "1.1.0"), ("warm", "1.0.0")] {
        let command = if version == "1.1.0" {
            "deploy rollback --env production --undo --force"
        } else {
            "deploy rollback --env production --force"
        };
        let rolled = scene.json(command).ok().json();
        assert_eq!((&rolled["path"], scene.answers().as_str()), (&json!(path), version));
        load.await_more(50);
    }
    let report = load.end();
    assert!(
        report.failed.is_empty(),
        "{} of {:?}: {:?}",
        report.failed.len(),
        report.served,
        report.failed.first()
    );
    assert!(report.served.contains_key("1.0.0") && report.served.contains_key("1.1.0"));
    assert_eq!(shares(&scene.status()), is(&[("1.0.0", 100, 2), ("1.1.0", 0, 2)]));
}

#[test]
fn one_that_was_restarted_between_two_commands_is_told_again_within_seconds() {
    let (scene, mut haproxy) = two_releases(false);
    haproxy.kill();
    haproxy.run();
    let begun = Instant::now();
    until("users are answered again", || {
        scene.get("/version").ok().filter(|answer| answer.1.trim() == "1.1.0")
    });
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(8), "the daemon looked only after {took:?}");
    until("what is warm is known again", || {
        (shares(&scene.status()) == is(&[("1.0.0", 0, 2), ("1.1.0", 100, 2)])).then_some(())
    });
    assert_eq!(scene.rollback().ok().json()["path"], "warm");
    assert_eq!(scene.answers(), "1.0.0");
}

#[test]
fn with_its_state_file_a_restart_changes_nothing() {
    let (scene, mut haproxy) = two_releases(true);
    haproxy.kill();
    haproxy.run();
    assert_eq!(scene.answers(), "1.1.0");
    assert_eq!(scene.rollback().ok().json()["path"], "warm");
    haproxy.kill();
    haproxy.run();
    assert_eq!(scene.answers(), "1.0.0");
}

#[test]
fn a_release_that_is_rolled_out_in_batches_has_its_share_and_loses_no_request() {
    let mut scene = Scene::new();
    let _haproxy = Haproxy::before(&mut scene, true);
    scene.configure(|production| {
        production["processes"]["web"]["instances"] = json!(4);
        production["strategy"] = json!({ "type": "rolling" });
    });
    scene.deploy("1.0.0").ok();
    let load = Load::start(scene.address, "/version", 4);
    scene.deploy("1.1.0").ok().says("give 25 % of the traffic to 1.1.0");
    load.await_more(50);
    let report = load.end();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    until("the old instances are gone", || {
        (shares(&scene.status()) == is(&[("1.1.0", 100, 4)])).then_some(())
    });
}

#[test]
fn a_canary_has_its_share_and_is_taken_to_the_end() {
    let mut scene = Scene::new();
    let mut haproxy = Haproxy::before(&mut scene, false);
    scene.configure(|production| {
        production["strategy"] =
            json!({ "type": "canary", "steps": [10, 50], "wait": "10m", "warm_for": "15m" });
    });
    scene.deploy("1.0.0").ok();
    let load = Load::start(scene.address, "/version", 4);
    scene.deploy("1.1.0").ok();
    assert_eq!(shares(&scene.status()), is(&[("1.0.0", 90, 2), ("1.1.0", 10, 2)]));
    load.await_more(200);
    let report = load.end();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    let (old, new) = (report.served["1.0.0"], report.served["1.1.0"]);
    assert!(new > 0 && new < old, "{new} of 1.1.0 beside {old} of 1.0.0");
    haproxy.kill();
    haproxy.run();
    until("both are known again", || {
        (shares(&scene.status()) == is(&[("1.0.0", 90, 2), ("1.1.0", 10, 2)])).then_some(())
    });
    scene.typed("deploy promote --env production --all").ok();
    assert_eq!(scene.answers(), "1.1.0");
    assert_eq!(shares(&scene.status()), is(&[("1.0.0", 0, 2), ("1.1.0", 100, 2)]));
}

#[test]
fn the_router_of_what_runs_cannot_be_changed() {
    let (mut scene, _haproxy) = two_releases(true);
    let router = scene.config["environments"]["production"]["router"].take();
    scene.configure(|production| drop(production.as_object_mut().unwrap().remove("router")));
    scene.typed("env apply").ends(1).says("ORC-0520").says("orchestrate env stop production");
    scene.artifact("1.2.0");
    scene.typed("deploy --env production --version 1.2.0").ends(1).says("ORC-0520");
    assert_eq!(scene.answers(), "1.1.0");
    scene.configure(|production| production["router"] = router.clone());
    scene.typed("env stop production --yes").ok();
    assert_eq!(scene.get("/version").unwrap().0, 503, "HAProxy has nobody to ask");
}

#[test]
fn what_is_missing_is_said_before_anything_is_done() {
    let mut scene = Scene::new();
    let mut haproxy = Haproxy::before(&mut scene, true);
    scene.artifact("1.0.0");
    let line = "deploy validate --env production --version 1.0.0";
    scene.typed("env apply").ok();
    scene.typed(line).ok().prints("haproxy").prints("HAProxy listens on");
    haproxy.edit("backend shop", "backend store");
    scene
        .deploy("1.0.0")
        .ends(1)
        .says("HAProxy has no backend `shop`")
        .says("ORC-0522")
        .says("server-template blue 1-10 127.0.0.1:1 disabled");
    scene.typed(line).ends(1).prints("HAProxy has no backend `shop`");
    haproxy.kill();
    scene.deploy("1.0.0").ends(1).says("ORC-0521").says("systemctl status haproxy");
    scene.typed(line).ends(1).prints("HAProxy does not listen on");
}

#[test]
fn a_drill_goes_there_and_back_behind_it_and_no_request_is_lost() {
    let mut scene = Scene::new();
    scene.configure(|production| production["drill"] = json!({ "production": true }));
    let _haproxy = Haproxy::before(&mut scene, true);
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    let load = Load::start(scene.address, "/version", 4);
    for _ in 0..3 {
        let drill = scene.json("deploy drill --env production").ok().json();
        assert_eq!((&drill["path"], &drill["status"]), (&json!("warm"), &json!("completed")));
        load.await_more(20);
    }
    let report = load.end();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!(scene.answers(), "1.1.0");
    assert_eq!(shares(&scene.status()), is(&[("1.0.0", 0, 2), ("1.1.0", 100, 2)]));
}
