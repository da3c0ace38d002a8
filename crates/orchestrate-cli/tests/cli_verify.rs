//! Releases that start well and are bad all the same: seen by their answers, by smoke tests, by what they print and by
//! metrics; and the brakes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::scene::get;
use support::{Scene, pause, until};

/// 1.0.0 is live and good; what is deployed next is judged by `verify`.
fn good_under(verify: &Value) -> Scene {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.configure(|production| {
        let settings = verify.as_object().unwrap();
        settings.iter().for_each(|(key, value)| production["verify"][key] = value.clone());
    });
    scene
}

/// Deploys 1.1.0, wants it to have gone back, and returns the rollback.
#[track_caller]
fn goes_back(scene: &Scene) -> Value {
    scene.artifact("1.1.0");
    let deployment = scene.json("deploy --env production --version 1.1.0").ends(3).json();
    assert_eq!(deployment["status"], "rolled_back", "{deployment}");
    assert_eq!(scene.answers(), "1.0.0");
    let id = deployment["rollback"]["id"].as_u64().unwrap();
    scene.json(&format!("deploy rollbacks show {id}")).ok().json()
}

#[track_caller]
fn condemning(rollback: &Value) -> &Value {
    let evidence = rollback["evidence"].as_array().unwrap_or_else(|| panic!("no evidence: {rollback}"));
    evidence.iter().find(|one| one["finding"] == "bad").unwrap()
}

/// One answer of the front page.
struct Answer {
    at: Instant,
    status: u16,
    version: String,
}

/// Asks for the front page at a steady rate from a few threads, until `done`.
fn ask_steadily(scene: &Scene, per_second: u32, done: impl FnOnce()) -> Vec<Answer> {
    const USERS: u32 = 4;
    let (address, stop) = (scene.address, std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        let ask = || {
            let (begun, mut answers) = (Instant::now(), Vec::new());
            for number in 0_u32.. {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                let (status, body) = get(address, "/").expect("no request is lost");
                let version = body.split([' ', ',']).nth(1).unwrap_or_default().to_owned();
                answers.push(Answer { at: Instant::now(), status, version });
                let next = Duration::from_secs(1) * (number + 1) * USERS / per_second;
                pause(next.saturating_sub(begun.elapsed()));
            }
            answers
        };
        let users: Vec<_> = (0..USERS).map(|_| scope.spawn(ask)).collect();
        done();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let mut all: Vec<Answer> = users.into_iter().flat_map(|user| user.join().unwrap()).collect();
        all.sort_by_key(|answer| answer.at);
        all
    })
}

#[test]
fn forty_percent_of_errors_at_500_requests_a_second_are_left_within_a_second() {
    let mut scene = good_under(&json!({ "bake": "60s", "max_error_rate": "1%" }));
    scene.behaviour("errors:40");
    let mut rollback = Value::Null;
    let answers = ask_steadily(&scene, 500, || rollback = goes_back(&scene));
    let bad: Vec<&Answer> = answers.iter().filter(|answer| answer.version == "1.1.0").collect();
    let telling = bad.get(49).expect("fifty answers are the least that can tell");
    let (first, last) = (telling.at, bad.last().unwrap().at);
    assert!(last - first < Duration::from_secs(1), "{:?} after the fiftieth answer", last - first);
    assert!(answers.iter().filter(|answer| answer.version == "1.0.0").all(|answer| answer.status == 200));
    let found = condemning(&rollback);
    assert_eq!((&found["check"], &found["limit"]), (&json!("error_rate"), &json!(1.0)));
    assert!((35.0..=45.0).contains(&found["value"].as_f64().unwrap()), "{found}");
    assert!(found["requests"].as_u64().unwrap() >= 50);
    assert_eq!((&rollback["path"], &rollback["rollback_type"]), (&json!("warm"), &json!("automatic")));
    let shown = scene.typed("deploy rollbacks show 1").ok();
    shown.prints("error_rate").prints("answers were errors, more than the 1% allowed");
}

#[test]
fn a_canary_with_errors_is_taken_back_at_its_first_step() {
    let mut scene = good_under(&json!({ "bake": "60s", "max_error_rate": "1%" }));
    scene.configure(|production| {
        production["strategy"] = json!({ "type": "canary", "steps": [20], "wait": "60s" });
    });
    scene.behaviour("errors:40");
    scene.artifact("1.1.0");
    let mut rollbacks = json!([]);
    let answers = ask_steadily(&scene, 500, || {
        scene.typed("deploy --env production --version 1.1.0").ok();
        rollbacks = until("it is taken back", || {
            let found = scene.json("deploy rollbacks --env production").ok().json();
            (found[0]["status"] == "completed").then_some(found)
        });
    });
    assert_eq!(condemning(&rollbacks[0])["check"], "error_rate", "{rollbacks}");
    assert_eq!((&rollbacks[0]["path"], &rollbacks[0]["target_version"]), (&json!("warm"), &json!("1.0.0")));
    let bad = answers.iter().filter(|answer| answer.version == "1.1.0").count();
    assert!((50..500).contains(&bad), "{bad} answers by the canary");
    assert!(answers.iter().filter(|answer| answer.version == "1.0.0").all(|answer| answer.status == 200));
    assert_eq!(scene.answers(), "1.0.0");
}

#[test]
fn errors_that_were_there_before_do_not_condemn_the_release_that_finds_them() {
    let mut scene = Scene::new();
    // A dependency is down: every release answers with errors.
    scene.behaviour("errors:40");
    scene.deploy("1.0.0").ok();
    scene.configure(|production| {
        production["verify"]["bake"] = json!("2s");
        production["verify"]["max_error_rate"] = json!("1%");
    });
    scene.artifact("1.1.0");
    let mut deployment = Value::Null;
    for _ in 0..100 {
        get(scene.address, "/").unwrap();
    }
    ask_steadily(&scene, 300, || {
        deployment = scene.json("deploy --env production --version 1.1.0").ok().json();
    });
    assert_eq!(deployment["status"], "completed", "{deployment}");
    let evidence = deployment["evidence"].as_array().unwrap();
    let found = evidence.iter().find(|one| one["check"] == "error_rate").unwrap();
    assert_eq!(found["finding"], "good", "{found}");
    assert!((35.0..=45.0).contains(&found["before"].as_f64().unwrap()), "{found}");
}

#[test]
fn one_that_is_well_and_fails_elsewhere_is_seen_by_a_smoke_test() {
    let page =
        json!({ "name": "front-page", "http": { "path": "/", "expect": { "contains": "{version}" } } });
    let mut scene = good_under(&json!({ "bake": "60s", "smoke": [page] }));
    scene.behaviour("errors:100");
    let begun = Instant::now();
    let rollback = goes_back(&scene);
    assert!(begun.elapsed() < Duration::from_secs(30), "the bake is not waited for");
    let found = condemning(&rollback);
    assert_eq!(found["check"], "smoke front-page");
    let text = found["text"].as_str().unwrap();
    assert!(text.contains("GET / of green-web-1 answered 500 instead of 200"), "{text}");
}

#[test]
fn a_smoke_test_that_hangs_is_ended_with_all_that_it_started() {
    let hangs = json!({ "name": "hangs", "command": ["./smoke"], "timeout": "300ms" });
    let scene = good_under(&json!({ "bake": "60s", "smoke": [hangs] }));
    scene.artifact("1.1.0");
    let asleep = "sleep 3000 & sleep 3001";
    scene.script(
        "dist/1.1.0/smoke",
        &format!("echo \"asking $ORCHESTRATE_ADDRESS of $ORCHESTRATE_VERSION\"\n{asleep}"),
    );
    let deployment = scene.json("deploy --env production --version 1.1.0").ends(3).json();
    let why = deployment["error_message"].as_str().unwrap();
    assert!(why.contains("`./smoke` did not end within 300ms and was ended: asking 127.0.0.1:"), "{why}");
    assert!(why.contains("of 1.1.0"), "{why}");
    let sleepers = || {
        let line = |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let asleep = |pid: &u32| String::from_utf8_lossy(&line(pid)).contains("sleep");
        scene.processes().into_iter().filter(asleep).count()
    };
    until("nobody sleeps any more", || (sleepers() == 0).then_some(()));
}

#[test]
fn a_smoke_test_by_command_has_the_secrets_and_its_success_proves() {
    let command = json!({ "name": "asks", "command": ["./smoke"] });
    let mut scene = good_under(&json!({ "bake": "1s", "smoke": [command] }));
    scene.configure(|production| production["secrets"] = json!({ "TOKEN": "${TOKEN}" }));
    scene.variable("TOKEN", "s3cret");
    scene.artifact("1.1.0");
    scene.script("dist/1.1.0/smoke", "test \"$TOKEN\" = s3cret && test -x ./serve");
    let deployment = scene.json("deploy --env production --version 1.1.0").ok().json();
    assert_eq!(deployment["status"], "completed");
    let evidence = deployment["evidence"].as_array().unwrap();
    let found = evidence.iter().find(|one| one["check"] == "smoke asks").unwrap();
    assert_eq!(
        (&found["finding"], &found["text"]),
        (&json!("good"), &json!("`./smoke` exited with status 0"))
    );
}

#[test]
fn what_it_prints_condemns_it() {
    let pattern = json!({ "name": "this-is", "pattern": "^this is 1\\.1", "at_most": 0 });
    let scene = good_under(&json!({ "bake": "60s", "logs": [pattern] }));
    let rollback = goes_back(&scene);
    let found = condemning(&rollback);
    assert_eq!((&found["check"], &found["limit"]), (&json!("log this-is"), &json!(0.0)));
    assert!(found["text"].as_str().unwrap().ends_with(": this is 1.1.0"), "{found}");
}

#[test]
fn a_detached_deployment_is_watched_on_through_the_death_of_the_daemon() {
    let mut scene = good_under(&json!({ "bake": "60s", "max_error_rate": "1%" }));
    scene.behaviour("errors:40");
    scene.artifact("1.1.0");
    let begun = Instant::now();
    let deployment = scene.json("deploy --env production --version 1.1.0 --detach").ok().json();
    assert!(begun.elapsed() < Duration::from_secs(30), "it does not wait for the bake");
    assert_eq!(deployment["status"], "in_progress", "{deployment}");
    assert!(deployment["bake_until"].is_string());
    let pid = scene.json("daemon status").ok().json()["daemon"]["pid"].as_u64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    until("it is gone", || rustix::process::test_kill_process(pid).is_err().then_some(()));
    // It answers badly while nobody watches.
    for _ in 0..100 {
        get(scene.address, "/").unwrap();
    }
    assert_eq!(scene.status()["live"]["version"], "1.1.0");
    scene.typed("daemon start").ok();
    until("the next daemon takes it back", || (scene.status()["live"]["version"] == "1.0.0").then_some(()));
    assert_eq!(scene.answers(), "1.0.0");
    let rollback = scene.json("deploy rollbacks --env production").ok().json()[0].clone();
    assert_eq!(condemning(&rollback)["check"], "error_rate", "{rollback}");
}

#[test]
fn a_detached_deployment_says_who_goes_on() {
    let scene = good_under(&json!({ "bake": "60s" }));
    scene.artifact("1.1.0");
    let ran = scene.typed("deploy --env production --version 1.1.0 --detach").ok();
    let ran = ran.prints("it is live and not proven yet; the daemon goes on watching it until ");
    ran.prints("and rolls it back if it turns out bad; see: orchestrate deploy status --env production");
}

#[test]
fn where_people_are_only_told_it_stays_live_and_says_why() {
    let page = json!({ "name": "front-page", "http": { "path": "/" }, "on_bad": "notify" });
    let mut scene = good_under(&json!({ "bake": "1s", "smoke": [page] }));
    scene.behaviour("errors:100");
    let ran = scene.deploy("1.1.0").ends(4);
    ran.says("failed and is live all the same").says("`on_bad` is `notify` for smoke front-page");
    let status = scene.status();
    assert_eq!(
        (&status["live"]["version"], &status["latest"]["status"]),
        (&json!("1.1.0"), &json!("failed"))
    );
    assert_eq!(status["latest"]["automatic_hold"], "`on_bad` is `notify` for smoke front-page");
    let words = scene.typed("deploy status --env production").ok();
    words.prints("smoke front-page: bad: ").prints("not rolled back by itself: `on_bad` is `notify`");
    // The next daemon leaves it alone, too.
    scene.typed("daemon stop").ok();
    scene.typed("daemon start").ok();
    scene.typed("env check production").ok();
    assert_eq!(scene.json("deploy rollbacks --env production").ok().json(), json!([]));
}

#[test]
fn the_fourth_bad_release_within_an_hour_stays_and_is_told() {
    let page = json!({ "name": "front-page", "http": { "path": "/" } });
    let mut scene = good_under(&json!({ "bake": "60s", "smoke": [page] }));
    scene.behaviour("errors:100");
    for version in ["1.1.0", "1.2.0", "1.3.0"] {
        scene.deploy(version).ends(3);
    }
    let ran = scene.deploy("1.4.0").ends(4);
    ran.says("there were 3 automatic rollbacks here within an hour (`rollback.at_most_per_hour: 3`)");
    assert_eq!(scene.status()["live"]["version"], "1.4.0");
    let audit = scene.json("audit list --env production").ok().stdout;
    assert!(audit.contains("automatic_rollback_held"), "{audit}");
    scene.typed("deploy rollback --env production").ok();
    assert_eq!(scene.answers(), "1.0.0");
}
