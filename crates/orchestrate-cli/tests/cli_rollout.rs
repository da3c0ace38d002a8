//! Canaries and staged releases with the real program: forward in steps, back in one, and no request lost.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};
use support::load::Load;
use support::{Scene, until};

/// 1.0.0 is live, and canaries stay at each step for so long.
fn canary(wait: &str) -> Scene {
    let mut scene = Scene::new();
    scene.configure(|production| {
        production["strategy"] = json!({
            "type": "canary", "steps": [10, 50], "wait": wait, "warm_for": "15m", "force_header": "x-version",
        });
    });
    scene.deploy("1.0.0").ok();
    scene
}

fn shares(status: &Value) -> Vec<(String, u64)> {
    let rows = status["traffic"].as_array().unwrap().iter();
    rows.map(|row| (row["version"].as_str().unwrap().to_owned(), row["weight"].as_u64().unwrap())).collect()
}

fn is(of: &[(&str, u64)]) -> Vec<(String, u64)> {
    of.iter().map(|(version, weight)| ((*version).to_owned(), *weight)).collect()
}

/// What the live address answers to somebody who wants this version.
fn forced(scene: &Scene, version: &str) -> String {
    let mut stream = TcpStream::connect(scene.address).unwrap();
    let request =
        format!("GET /version HTTP/1.1\r\nhost: x\r\nx-version: {version}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_canary_is_promoted_paused_and_taken_to_the_end_by_hand() {
    let scene = canary("10m");
    let load = Load::start(scene.address, "/version", 4);
    scene.artifact("1.1.0");
    let deployed = scene.json("deploy --env production --version 1.1.0").ok().json();
    assert_eq!((&deployed["status"], &deployed["rollout"]["weight"]), (&json!("in_progress"), &json!(10)));
    let status = scene.status();
    assert_eq!(shares(&status), is(&[("1.0.0", 90), ("1.1.0", 10)]));
    assert_eq!(
        (&status["live"]["version"], &status["latest"]["point_of_no_return"]),
        (&json!("1.0.0"), &json!(null))
    );
    assert_eq!((&status["rollback"]["ready"], &status["rollback"]["path"]), (&json!(true), &json!("warm")));
    assert!(forced(&scene, "1.1.0").ends_with("1.1.0\n"), "{}", forced(&scene, "1.1.0"));
    assert!(forced(&scene, "9.9.9").starts_with("HTTP/1.1 421"), "{}", forced(&scene, "9.9.9"));
    scene.artifact("1.2.0");
    let refused = scene.json("deploy --env production --version 1.2.0").ends(1).error();
    assert_eq!(refused["code"], "ORC-0151");
    scene.typed("deploy pause --env production --reason lunch").ok().prints("paused: 1.1.0 has 10 %");
    scene.typed("deploy status --env production").ok().prints("paused: alice@desk: lunch");
    scene.typed("deploy promote --env production").ok().prints("1.1.0 has 50 % of the traffic");
    let status = scene.status();
    assert_eq!(
        (shares(&status), &status["rollout"]["paused"]),
        (is(&[("1.0.0", 50), ("1.1.0", 50)]), &json!(null))
    );
    load.await_more(100);
    scene.typed("deploy promote --env production").ok().prints("deployed");
    let status = scene.status();
    assert_eq!(shares(&status), is(&[("1.1.0", 100), ("1.0.0", 0)]));
    assert_eq!((&status["live"]["version"], &status["rollout"]), (&json!("1.1.0"), &json!(null)));
    assert!(status["latest"]["point_of_no_return"].is_string(), "{status}");
    load.await_more(50);
    let report = load.end();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!(scene.json("deploy promote --env production").ends(1).error()["code"], "ORC-0150");
    scene.rollback().ok();
    assert_eq!(scene.answers(), "1.0.0");
}

#[test]
fn a_canary_goes_on_by_itself_to_the_end_also_when_the_daemon_is_another_one() {
    let scene = canary("700ms");
    let load = Load::start(scene.address, "/version", 4);
    scene.deploy("1.1.0").ok().prints("1.1.0 has 10 % of the traffic; 50 % at");
    scene.typed("daemon stop").ok();
    scene.typed("daemon start").ok();
    until("all of the traffic", || {
        let status = scene.status();
        (status["live"]["version"] == "1.1.0" && status["rollout"].is_null()).then_some(())
    });
    let report = load.end();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!(scene.status()["latest"]["status"], "completed");
}

#[test]
fn a_rollback_of_a_canary_is_one_switch_and_needs_no_force() {
    let scene = canary("10m");
    scene.deploy("1.1.0").ok();
    let load = Load::start(scene.address, "/version", 4);
    let event = scene.json("deploy rollback --env production").ok().json();
    assert_eq!((&event["path"], &event["target_version"]), (&json!("warm"), &json!("1.0.0")));
    let phases: Vec<_> = event["phases"].as_array().unwrap().iter().map(|phase| &phase["name"]).collect();
    assert_eq!(phases, ["switch_traffic", "prove_live"]);
    load.await_more(20);
    let report = load.end();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    until("the canary is gone", || (scene.status()["traffic"].as_array().unwrap().len() == 1).then_some(()));
    assert_eq!(shares(&scene.status()), is(&[("1.0.0", 100)]));
    assert_eq!(scene.deploy("1.1.0").ends(1).stdout, "", "it is held");
}

#[test]
fn a_canary_that_turns_bad_goes_back_by_itself() {
    let mut scene = canary("10m");
    scene.behaviour("sick_after:1500ms");
    scene.deploy("1.1.0").ok();
    until("it went back", || {
        let status = scene.status();
        (status["latest"]["status"] == "rolled_back" && status["rollout"].is_null()).then_some(())
    });
    assert_eq!(scene.answers(), "1.0.0");
    let events = scene.json("deploy rollbacks --env production").ok().json();
    assert_eq!(events[0]["rollback_type"], "automatic");
}

#[test]
fn a_staged_release_is_seen_at_its_own_address_and_switched_to_by_a_promotion() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.artifact("1.1.0");
    let staged = scene.typed("deploy --env production --version 1.1.0 --no-switch").ok();
    staged.prints("1.1.0 is staged in green, without traffic; all of it when it is promoted");
    let status = scene.status();
    assert_eq!(shares(&status), is(&[("1.0.0", 100), ("1.1.0", 0)]));
    let address = status["traffic"][1]["addresses"][0].as_str().unwrap().parse().unwrap();
    assert_eq!(support::scene::get(address, "/version").unwrap(), (200, "1.1.0\n".into()));
    assert_eq!(scene.answers(), "1.0.0");
    scene.typed("deploy promote --env production").ok();
    assert_eq!(scene.answers(), "1.1.0");
    scene.artifact("1.2.0");
    let refused = scene.json("deploy --env production --version 1.2.0 --no-switch --strategy recreate");
    assert_eq!(refused.ends(2).error()["code"], "ORC-0233");
}

#[test]
fn what_crashes_while_it_is_staged_is_seen_told_and_not_promoted() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    let serve = format!("exec '{}' sample-service", support::scene::PROGRAM);
    let mark = scene.work.join("mark");
    scene.script("dist/1.1.0/serve", &format!("test -e '{}' && exit 7\n{serve}", mark.display()));
    let staged = scene.json("deploy --env production --version 1.1.0 --no-switch").ok().json();
    assert_eq!((&staged["rollout"]["weight"], staged["rollout"].get("wait")), (&json!(0), None));
    std::fs::write(&mark, "").unwrap();
    let process = |pid: &u32| std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let ours = |pid: &u32| String::from_utf8_lossy(&process(pid)).contains("ORCHESTRATE_VERSION=1.1.0");
    let pid = scene.processes().into_iter().find(ours).expect("it runs");
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    until("it is on record", || {
        let evidence = scene.status()["latest"]["evidence"].clone();
        (evidence[0]["finding"] == "bad").then_some(())
    });
    scene.typed("deploy status --env production").ok().prints("while it was staged");
    let refused = scene.json("deploy promote --env production").ends(1).error();
    assert_eq!(refused["code"], "ORC-0156", "{refused}");
    assert_eq!(shares(&scene.status()), is(&[("1.0.0", 100), ("1.1.0", 0)]));
    scene.typed("deploy rollback --env production").ok();
    assert_eq!(scene.answers(), "1.0.0");
}

#[test]
fn a_promotion_that_is_detached_leaves_the_bake_to_the_daemon() {
    let mut scene = canary("10m");
    scene.configure(|production| production["verify"]["bake"] = json!("60s"));
    scene.deploy("1.1.0").ok();
    let promoted = scene.json("deploy promote --env production --all --detach").ok().json();
    assert_eq!((&promoted["status"], &promoted["rollout"]), (&json!("in_progress"), &json!(null)));
    let status = until("the checks say something", || {
        let status = scene.status();
        (status["bake"]["checks"][0]["finding"] == "good").then_some(status)
    });
    assert_eq!(status["bake"]["checks"][0]["check"], "instances");
    assert_eq!((&status["bake"]["version"], &status["latest"]["proven"]), (&json!("1.1.0"), &json!(false)));
    assert_eq!(status["bake"]["ends_at"], status["latest"]["bake_until"]);
    scene.typed("deploy status --env production").ok().prints("instances: good").prints("not proven yet");
    let history = scene.json("deploy history --env production").ok().json();
    assert_eq!((&history[0]["proven"], &history[1]["proven"]), (&json!(false), &json!(true)));
    let candidates = scene.json("deploy candidates --env production").ok().json();
    let proven = |row: &Value| (row["version"].clone(), row["proven"].clone());
    let expected = [(json!("1.1.0"), json!(false)), (json!("1.0.0"), json!(true))];
    assert_eq!(candidates.as_array().unwrap().iter().map(proven).collect::<Vec<_>>(), expected);
}

#[test]
fn stopping_an_environment_says_which_rollout_it_ends_and_wants_to_be_told_so() {
    let scene = canary("10m");
    scene.deploy("1.1.0").ok();
    let refused = scene.json("env stop production").ends(1).error();
    assert_eq!(refused["code"], "ORC-0129");
    assert!(refused["message"].as_str().unwrap().contains("1.1.0 has 10 % of the traffic"), "{refused}");
    assert!(refused["hint"].as_str().unwrap().ends_with("orchestrate env stop production --yes"));
    assert_eq!(shares(&scene.status()), is(&[("1.0.0", 90), ("1.1.0", 10)]));
    let stopped = scene.typed("env stop production --yes").ok();
    stopped.prints("stopped 1.0.0 in production and 1.1.0, whose rollout has ended at 10 %");
    assert_eq!(scene.status()["rollout"], json!(null));
}
