//! `daemon stop` and `daemon stop --all` do what they say, and say what they did.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod luck;

use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use luck::processes::{Kind, Process, alive};
use luck::streams::get;
use luck::{Load, Scene, within};

fn pids(instances: &[Process]) -> Vec<u32> {
    instances.iter().map(|process| process.pid).collect()
}

#[test]
fn stopping_the_daemon_leaves_services_and_stopping_all_leaves_nothing() {
    let scene = Scene::with_two_releases();
    let (before, proxy) = (scene.instances(), scene.pid(Kind::Proxy).unwrap());
    let load = Load::start(scene.address, 8);
    scene.run(&["daemon", "stop"]).ok();
    // It has given the home free, and may still be on its last instructions.
    within(Duration::from_secs(2), "it is gone", || scene.pid(Kind::Daemon).is_none().then_some(()));
    load.await_answers(100);
    scene.run(&["daemon", "start"]).ok();
    load.await_answers(100);
    load.stop().lost_nothing();
    assert_eq!((scene.instances(), scene.pid(Kind::Proxy)), (before.clone(), Some(proxy)));
    scene.run(&["daemon", "stop"]).ok();
    // Also where only a new daemon can stop what an earlier one left.
    scene.stop_all();
    assert!(!pids(&before).iter().any(|pid| alive(*pid)));
    assert!(get(scene.address, "/").is_err());
    scene.run(&["daemon", "start"]).ok();
    within(Duration::from_secs(5), "what was live is live again", || {
        get(scene.address, "/version").ok().filter(|version| version == "1.1.0")
    });
    assert_eq!(scene.records_are_true(), "1.1.0");
    scene.rollback().ok();
    assert_eq!(scene.records_are_true(), "1.0.0");
}

#[test]
fn stopping_all_does_not_claim_what_is_not_true() {
    let scene = Scene::with_two_releases();
    // An instance of this home that its daemon has lost: nobody stops it.
    let instance = scene.instances().remove(0);
    let environ = std::fs::read(format!("/proc/{}/environ", instance.pid)).unwrap();
    let environ = String::from_utf8(environ).unwrap();
    let mut lost = std::process::Command::new("sleep");
    lost.arg("60")
        .process_group(0)
        .env_clear()
        .envs(environ.split('\0').filter_map(|pair| pair.split_once('=')));
    let mut lost = lost.spawn().unwrap();
    let ran = scene.run(&["daemon", "stop", "--all"]);
    lost.kill().unwrap();
    lost.wait().unwrap();
    ran.ends(3).says("ORC-0504").says(&format!("pid {} left running", lost.id()));
    scene.stop_all();
}

#[test]
fn stopping_all_wins_over_a_daemon_that_is_just_starting_what_was_live() {
    let scene = Scene::with_two_releases();
    for _ in 0..3 {
        scene.stop_all();
        scene.run(&["daemon", "start"]).ok();
        scene.stop_all();
    }
    scene.run(&["daemon", "start"]).ok();
    within(Duration::from_secs(5), "it answers", || get(scene.address, "/version").ok());
    assert_eq!(scene.records_are_true(), "1.1.0");
}
