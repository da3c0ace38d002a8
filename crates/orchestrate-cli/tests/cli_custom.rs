//! Commands of the user's with the real program: what they run is deployed and rolled back like everything else.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
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
        production["hooks"] = json!({ "pre_deploy": { "command": ["./hook"] } });
    });
    scene
}

/// Two programs: what runs, and what runs it.
fn artifact(scene: &Scene, version: &str) {
    scene.artifact(version);
    let ops = scene.script(&format!("dist/{version}/ops"), "");
    fs::write(ops, OPS).unwrap();
    scene
        .script(&format!("dist/{version}/hook"), "echo \"hook of $ORCHESTRATE_VERSION\" >> \"$STATE.hooks\"");
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
    let hooks = fs::read_to_string(scene.home.with_file_name("state.hooks")).unwrap();
    assert_eq!(hooks, "hook of 1.0.0\nhook of 1.1.0\n");
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

/// Sends each connection to the first instance of whoever has the traffic then, as the file says it.
fn front(scene: &Scene, traffic: PathBuf) {
    let listener = TcpListener::bind(scene.address).unwrap();
    std::thread::spawn(move || {
        for user in listener.incoming().flatten() {
            let shares = fs::read(&traffic).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
            let share = shares.as_ref().and_then(|shares| shares.get(0));
            let address =
                share.and_then(|share| share["instances"][0]["address"].as_str().map(str::to_owned));
            std::thread::spawn(move || {
                let Some(Ok(instance)) = address.map(TcpStream::connect) else { return };
                let (mut from, mut to) = (user.try_clone().unwrap(), instance.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
                let (mut from, mut to) = (instance, user);
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    });
}

/// A scene in which a command moves the traffic.
fn switching() -> (Scene, PathBuf) {
    let mut scene = scene();
    let traffic = scene.home.with_file_name("traffic");
    scene.configure(|production| {
        production["custom"]["switch"] = json!(["./ops"]);
        production["processes"] = json!({ "web": { "instances": 2 } });
        production["variables"]["TRAFFIC"] = json!(traffic.to_str().unwrap());
    });
    front(&scene, traffic.clone());
    (scene, traffic)
}

fn live(traffic: &Path) -> Vec<String> {
    let shares: Value = serde_json::from_slice(&fs::read(traffic).unwrap()).unwrap();
    shares.as_array().unwrap().iter().map(|share| share["version"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_command_that_moves_the_traffic_is_deployed_with_and_rolled_back() {
    let (scene, traffic) = switching();
    deploy(&scene, "1.0.0").ok();
    assert_eq!((scene.answers().as_str(), live(&traffic)), ("1.0.0", vec!["1.0.0".to_owned()]));
    deploy(&scene, "1.1.0").ok();
    assert_eq!(scene.answers(), "1.1.0");
    let status = scene.status();
    let shares: Vec<_> =
        status["traffic"].as_array().unwrap().iter().map(|row| (&row["version"], &row["weight"])).collect();
    assert!(shares.contains(&(&json!("1.1.0"), &json!(100))), "{shares:?}");
    let event = scene.rollback().ok().json();
    assert_eq!((&event["target_version"], &event["path"]), (&json!("1.0.0"), &json!("warm")));
    assert_eq!((scene.answers().as_str(), live(&traffic)), ("1.0.0", vec!["1.0.0".to_owned()]));
    scene.typed("env check production").ok();
    scene.typed("env stop production --yes").ok();
    assert_eq!(live(&traffic), [""; 0]);
}

#[test]
fn a_switch_that_fails_leaves_users_where_they_are() {
    let (mut scene, traffic) = switching();
    deploy(&scene, "1.0.0").ok();
    artifact(&scene, "1.1.0");
    scene.script("dist/1.1.0/switch", "echo 'throttled' >&2; exit 3");
    scene.configure(|production| production["custom"]["switch"] = json!(["./switch"]));
    let ran = scene.typed("deploy --env production --version 1.1.0").ends(3);
    ran.says("`./switch` (switch of 1.1.0)").says("users are served as before");
    assert_eq!((scene.answers().as_str(), live(&traffic)), ("1.0.0", vec!["1.0.0".to_owned()]));
}

fn rows(ran: &support::Ran) -> Vec<(String, Option<bool>)> {
    let rows = ran.json();
    let row = |row: &Value| (row["what"].as_str().unwrap().to_owned(), row["holds"].as_bool());
    rows.as_array().unwrap().iter().map(row).collect()
}

#[test]
fn commands_are_held_against_the_protocol() {
    let scene = scene();
    artifact(&scene, "1.0.0");
    let ran = scene.json("provider check --env production --version 1.0.0").ok();
    let found = rows(&ran);
    assert!(found.iter().all(|(_, holds)| *holds != Some(false)), "{}", ran.stdout);
    assert_eq!(found.iter().filter(|(_, holds)| holds.is_none()).count(), 1, "only the switch is not there");
    assert!(found.len() >= 12, "{found:?}");
    scene.typed("env list").ok();
    assert_eq!(fs::read_dir(scene.home.with_file_name("state")).unwrap().count(), 0, "nothing of it is left");
    scene
        .typed("provider check --env production --version 1.0.0")
        .ok()
        .prints("nothing is left after a stop");
}

#[test]
fn a_check_finds_what_does_not_hold_and_cleans_up() {
    let scene = scene();
    artifact(&scene, "1.0.0");
    // `status` tells of everything in every slot, and `stop` does only half of it.
    let ops = OPS
        .replace("if state and (state[\"slot\"], state[\"release\"]) == (ask[\"slot\"], ask[\"release\"])", "if state")
        .replace("    for one in ask[\"instances\"]:\n        file = path(ask[\"environment\"], one[\"id\"])\n        state,", "    for one in ask[\"instances\"][:1]:\n        file = path(ask[\"environment\"], one[\"id\"])\n        state,");
    assert_ne!(ops, OPS);
    fs::write(scene.work.join("dist/1.0.0/ops"), ops).unwrap();
    let ran = scene.json("provider check --env production --version 1.0.0").ends(1);
    let failed: Vec<String> =
        rows(&ran).into_iter().filter(|(_, holds)| *holds == Some(false)).map(|(what, _)| what).collect();
    assert_eq!(
        failed,
        ["status of the other slot does not tell of it", "nothing is left after a stop"],
        "{}",
        ran.stdout
    );
    scene.script("dist/1.1.0/ops", "echo hello");
    scene.typed("provider check --env production --version 1.1.0").ends(1).prints("it printed `hello`");
    // What only half a stop left is this test's to end.
    fs::write(scene.work.join("dist/1.0.0/ops"), OPS).unwrap();
    scene.typed("provider check --env production --version 1.0.0").ends(1);
    scene.typed("provider check --env production --version 1.0.0").ok();
}

#[test]
fn a_check_moves_the_traffic_only_when_it_may_and_gives_it_back() {
    let (scene, traffic) = switching();
    deploy(&scene, "1.0.0").ok();
    artifact(&scene, "1.1.0");
    let ran = scene.json("provider check --env production --version 1.1.0").ok();
    assert!(rows(&ran).contains(&("switch gives it all traffic".to_owned(), None)), "{}", ran.stdout);
    assert_eq!(live(&traffic), ["1.0.0"]);
    let ran = scene.json("provider check --env production --version 1.1.0 --yes").ok();
    for what in ["switch gives it all traffic", "switch back takes all traffic from it"] {
        assert!(rows(&ran).contains(&(what.to_owned(), Some(true))), "{}", ran.stdout);
    }
    assert_eq!((scene.answers().as_str(), live(&traffic)), ("1.0.0", vec!["1.0.0".to_owned()]));
    deploy(&scene, "1.1.0").ok();
    scene
        .typed("provider check --env production --version 1.1.0")
        .ends(1)
        .says("both slots of production are used");
    let mut other = Scene::new();
    other.configure(|production| production["rollback"] = json!({ "automatic": true }));
    other
        .typed("provider check --env production --version 1.0.0")
        .ends(1)
        .says("the provider of production is `process`");
}
