//! A command that dies, is stopped, or is given up in the middle: traffic goes on, and what is recorded stays true.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod luck;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use luck::processes::{Kind, alive, kill_and_wait, signal};
use luck::{Load, Running, Scene, pause, until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// What a deployment says, one line after each thing that it did.
const DEPLOYMENT: [&str; 7] = [
    "deploying",
    "taking the artifact in",
    "check the sealed",
    "start ",
    "wait until",
    "switch all",
    "see the live",
];
const COLD_ROLLBACK: [&str; 5] = ["check the sealed", "start ", "wait until", "switch all", "see the live"];
const ROLLBACK: [&str; 5] = ["deploy", "rollback", "--env", "production", "--force"];

/// 1.0.0 is live, and whatever lost its traffic is stopped, so that every rollback is a cold one.
fn cold_scene() -> Scene {
    let mut scene = Scene::new();
    scene.configure(|settings| settings["strategy"]["warm_for"] = json!("0s"));
    scene.deploy("1.0.0").ok();
    scene
}

/// The live version, which is one of these, with the records of how it came to be.
#[track_caller]
fn is_ended(scene: &Scene, before: &str, after: &str) -> String {
    let live = scene.records_are_true();
    assert!(live == before || live == after, "{live} is live, neither {before} nor {after}");
    let history = scene.run(&["deploy", "history", "--env", "production", "--format", "json"]).ok().json();
    for row in history.as_array().unwrap() {
        let status = row["status"].as_str().unwrap();
        assert!(["completed", "failed", "rolled_back"].contains(&status), "{row}");
        if row["kind"] == "deploy" && row["version"] == after {
            assert_eq!(status == "completed", live == after, "{live} is live, but {row}");
        }
    }
    live
}

#[test]
fn a_deployment_killed_after_any_of_its_steps_is_ended_by_the_daemon() {
    let mut scene = cold_scene();
    scene.service("HEALTHY_AFTER", "200");
    let load = Load::start(scene.address, 8);
    let mut live = "1.0.0".to_owned();
    for (number, line) in DEPLOYMENT.iter().enumerate() {
        let version = format!("1.1.{number}");
        let mut command = scene.begin_deploy(&version);
        command.await_line(line);
        command.kill();
        live = is_ended(&scene, &live, &version);
        load.await_version(&live);
    }
    assert!(live != "1.0.0", "not one of them was finished");
    load.stop().lost_nothing();
}

#[test]
fn a_rollback_killed_after_any_of_its_steps_is_ended_by_the_daemon() {
    let mut scene = cold_scene();
    scene.service("HEALTHY_AFTER", "200");
    let load = Load::start(scene.address, 8);
    for (number, line) in COLD_ROLLBACK.iter().enumerate() {
        let version = format!("1.1.{number}");
        scene.deploy(&version).ok();
        assert_eq!(scene.records_are_true(), version);
        let mut command = scene.begin(&ROLLBACK);
        command.await_line(line);
        command.kill();
        let live = scene.records_are_true();
        assert_eq!(live, "1.0.0", "a rollback that was begun is finished");
        load.await_version(&live);
    }
    load.stop().lost_nothing();
}

#[test]
fn commands_killed_at_any_moment_leave_nothing_half_done() {
    let scene = cold_scene();
    let load = Load::start(scene.address, 8);
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    eprintln!("the moments follow from {seed}");
    let mut random = u64::try_from(seed & 0xffff_ffff).unwrap() | 1;
    let mut live = "1.0.0".to_owned();
    for number in 0..14 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = Duration::from_millis((random >> 33) % 400);
        let version = format!("2.0.{number}");
        let goes_back = number % 2 == 1 && live != "1.0.0";
        let command = if goes_back { scene.begin(&ROLLBACK) } else { scene.begin_deploy(&version) };
        pause(moment);
        command.kill();
        let before = live.clone();
        live = scene.records_are_true();
        let moved = if goes_back { "an earlier version" } else { version.as_str() };
        eprintln!("killed after {moment:?} on the way from {before} to {moved}: {live} is live");
        assert!(goes_back || live == before || live == version, "{live} came from nowhere");
        load.await_version(&live);
    }
    load.stop().lost_nothing();
}

#[test]
fn a_deployment_whose_command_and_daemon_were_killed_is_ended_by_resume() {
    let mut scene = cold_scene();
    scene.service("HEALTHY_AFTER", "2000");
    let load = Load::start(scene.address, 8);
    let mut command = scene.begin_deploy("1.1.0");
    command.await_line("start 1.1.0");
    kill_and_wait(&[scene.pid(Kind::Daemon).unwrap()]);
    command.kill();
    // The command may have started another daemon before it died.
    scene.pid(Kind::Daemon).iter().for_each(|pid| kill_and_wait(&[*pid]));
    assert_eq!(scene.status()["operation"]["kind"], "deploy");
    scene.run(&["deploy", "resume", "--env", "production"]).ok();
    assert_eq!(scene.records_are_true(), "1.1.0");
    load.await_version("1.1.0");
    let again = scene.run(&["deploy", "resume", "--env", "production"]).ends(1);
    again.says("there is no interrupted operation");
    load.stop().lost_nothing();
}

#[test]
fn ctrl_c_puts_a_deployment_back() {
    for way in [Signal::INT, Signal::TERM] {
        let mut scene = cold_scene();
        scene.service("HEALTHY_AFTER", "5000");
        let load = Load::start(scene.address, 8);
        let mut command = scene.begin_deploy("1.1.0");
        command.await_line("start 1.1.0");
        let asked = Instant::now();
        signal(command.pid(), way);
        let ran = command.end().ends(3).says("it was interrupted").says("it was put back").says("1.1.0");
        assert!(asked.elapsed() < Duration::from_secs(3), "it took {:?}: {ran:?}", asked.elapsed());
        assert_eq!(is_ended(&scene, "1.0.0", "1.1.0"), "1.0.0");
        load.stop().lost_nothing().nobody_got("1.1.0", asked, Instant::now());
        // And nothing stands in the way of the next one.
        scene.service("HEALTHY_AFTER", "0");
        scene.deploy("1.2.0").ok();
        assert_eq!(scene.records_are_true(), "1.2.0");
    }
}

#[test]
fn ctrl_c_puts_a_cold_rollback_back() {
    let mut scene = Scene::new();
    scene.configure(|settings| settings["strategy"]["warm_for"] = json!("0s"));
    scene.service("HEALTHY_AFTER", "3000");
    scene.deploy("1.0.0").ok();
    scene.service("HEALTHY_AFTER", "0");
    scene.deploy("1.1.0").ok();
    assert_eq!(scene.records_are_true(), "1.1.0");
    let load = Load::start(scene.address, 8);
    let mut command = scene.begin(&ROLLBACK);
    command.await_line("start 1.0.0");
    signal(command.pid(), Signal::INT);
    command.end().ends(3).says("was put back; users are served as before: it was interrupted");
    assert_eq!(scene.records_are_true(), "1.1.0");
    load.stop().lost_nothing();
    scene.rollback().ok();
    assert_eq!(scene.records_are_true(), "1.0.0");
}

#[test]
fn a_second_ctrl_c_ends_the_command_at_once_and_the_daemon_puts_back() {
    let mut scene = cold_scene();
    scene.service("HEALTHY_AFTER", "8000");
    scene.service("STOPS_AFTER", "2500");
    let load = Load::start(scene.address, 8);
    let mut command = scene.begin_deploy("1.1.0");
    command.await_line("start 1.1.0");
    signal(command.pid(), Signal::INT);
    pause(Duration::from_millis(300));
    assert!(command.is_running(), "the new instances take 2.5 s to stop");
    let asked = Instant::now();
    signal(command.pid(), Signal::INT);
    command.end().ends(130).says("the daemon");
    assert!(asked.elapsed() < Duration::from_secs(1), "it took {:?}", asked.elapsed());
    assert_eq!(is_ended(&scene, "1.0.0", "1.1.0"), "1.0.0");
    load.stop().lost_nothing();
}

/// Everything that is recorded of operations, but not the refusals: that the sleeper was refused is on record, too.
fn records(scene: &Scene) -> Vec<Value> {
    let lists: [&[&str]; 3] = [
        &["deploy", "history", "--env", "production", "--format", "json"],
        &["deploy", "rollbacks", "--env", "production", "--format", "json"],
        &["audit", "list", "--env", "production", "--format", "json"],
    ];
    let happened = |args: &&[&str]| {
        let Value::Array(mut rows) = scene.run(args).ok().json() else { panic!("no list: {args:?}") };
        rows.retain(|row| row["action"] != "refused");
        Value::Array(rows)
    };
    lists.iter().map(happened).collect()
}

/// Stops a command, as a laptop that goes to sleep, until its operation was ended by the daemon.
fn oversleeps(scene: &Scene, command: &mut Running, line: &str) {
    command.await_line(line);
    signal(command.pid(), Signal::STOP);
    // In the middle of a write it would hold SQLite's lock, and keep everybody waiting.
    while !scene.can_write() {
        signal(command.pid(), Signal::CONT);
        pause(Duration::from_millis(20));
        signal(command.pid(), Signal::STOP);
    }
    scene.await_quiet();
    assert!(alive(command.pid()));
}

#[test]
fn a_command_that_oversleeps_its_lease_does_nothing_more() {
    let mut scene = Scene::new();
    scene.configure(|settings| settings["strategy"]["warm_for"] = json!("0s"));
    scene.variable("ORCHESTRATE_LEASE_TTL", "2s");
    scene.deploy("1.0.0").ok();
    scene.service("HEALTHY_AFTER", "4000");
    let load = Load::start(scene.address, 8);
    let mut sleeper = scene.begin_deploy("1.1.0");
    oversleeps(&scene, &mut sleeper, "start 1.1.0");
    assert_eq!(is_ended(&scene, "1.0.0", "1.1.0"), "1.1.0");
    // The world moves on, so that whatever the sleeper still did would be seen.
    scene.service("HEALTHY_AFTER", "0");
    scene.deploy("1.2.0").ok();
    assert_eq!(scene.records_are_true(), "1.2.0");
    let before = records(&scene);
    signal(sleeper.pid(), Signal::CONT);
    let ran = sleeper.end();
    assert!(ran.code == 4, "what it had begun was not nothing: {ran:?}");
    ran.says("ORC-0107").says("another operation took over");
    assert_eq!(records(&scene), before);
    assert_eq!(scene.records_are_true(), "1.2.0");
    load.stop().lost_nothing();
}

#[test]
fn a_rollback_that_oversleeps_its_lease_does_nothing_more() {
    let mut scene = Scene::new();
    scene.configure(|settings| settings["strategy"]["warm_for"] = json!("0s"));
    scene.variable("ORCHESTRATE_LEASE_TTL", "1s");
    scene.service("HEALTHY_AFTER", "4000");
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    assert_eq!(scene.records_are_true(), "1.1.0");
    let load = Load::start(scene.address, 8);
    let mut sleeper = scene.begin(&ROLLBACK);
    oversleeps(&scene, &mut sleeper, "start 1.0.0");
    assert_eq!(scene.records_are_true(), "1.0.0");
    scene.deploy("1.2.0").ok();
    assert_eq!(scene.records_are_true(), "1.2.0");
    let before = records(&scene);
    signal(sleeper.pid(), Signal::CONT);
    let ran = sleeper.end();
    assert!(ran.code == 4, "{ran:?}");
    ran.says("another operation took over");
    assert_eq!(records(&scene), before);
    assert_eq!(scene.records_are_true(), "1.2.0");
    load.stop().lost_nothing();
}

#[test]
fn a_living_command_keeps_its_lease() {
    let mut scene = Scene::new();
    scene.variable("ORCHESTRATE_LEASE_TTL", "1s");
    scene.deploy("1.0.0").ok();
    scene.service("HEALTHY_AFTER", "4000");
    let command = scene.begin_deploy("1.1.0");
    until("it is on its way", || (!scene.status()["operation"].is_null()).then_some(()));
    let refused = scene.run(&["deploy", "resume", "--env", "production"]).ends(1);
    refused.says("production");
    scene.deploy("1.2.0").ends(1);
    command.end().ok();
    assert_eq!(scene.records_are_true(), "1.1.0");
}
