//! `deploy drill` on a real service: there and back while it is warm, beside it while it is cold; what comes of it is on
//! record, and nothing else changes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use support::load::Load;
use support::{Scene, until};

/// Two releases in a production where drills are allowed.
fn scene(warm_for: &str) -> Scene {
    let mut scene = Scene::new();
    scene.configure(|production| {
        production["strategy"]["warm_for"] = json!(warm_for);
        production["drill"] = json!({ "production": true });
    });
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    scene
}

/// Everything that a drill must leave as it is.
fn history(scene: &Scene) -> [Value; 4] {
    let status = scene.status();
    let mut report = scene.typed("report --env production --since 30d --format json").ok().json();
    // By the time of day that the report ends at.
    report["environments"][0]["dora"]["deployments_per_day"].take();
    [
        scene.json("deploy history --env production").ok().json(),
        json!([status["live"], status["latest"], status["holds"]]),
        report["environments"][0]["dora"].clone(),
        report["environments"][0]["rollbacks"].clone(),
    ]
}

fn phases(drill: &Value) -> Vec<&str> {
    drill["phases"].as_array().unwrap().iter().map(|phase| phase["name"].as_str().unwrap()).collect()
}

#[test]
fn a_rollback_is_rehearsed_under_load_and_what_it_took_is_on_record() {
    let scene = scene("15m");
    let before = history(&scene);
    scene
        .typed("deploy drill --env production --dry-run")
        .ok()
        .prints("drill of a rollback of production from 1.1.0 to 1.0.0 (warm)")
        .prints("switch all traffic to 1.0.0 in blue");
    assert_eq!(scene.json("deploy drills --env production").ok().json(), json!([]));

    let load = Load::start(scene.address, "/version", 8);
    let drill = scene.json("deploy drill --env production --reason sunday").ok().json();
    load.await_more(100);
    let report = load.end();
    assert_eq!(report.failed, Vec::<String>::new(), "a drill loses no request");
    assert!(report.served.keys().all(|said| ["1.0.0", "1.1.0"].contains(&said.trim())), "{report:?}");

    assert_eq!(
        [&drill["status"], &drill["path"], &drill["trigger"], &drill["actor"], &drill["reason"]],
        ["completed", "warm", "manual", "alice@desk", "sunday"]
    );
    assert_eq!([&drill["live_version"], &drill["target_version"]], ["1.1.0", "1.0.0"]);
    assert_eq!(phases(&drill), ["switch_there", "prove_there", "switch_back", "prove_back"]);
    assert_eq!(scene.answers(), "1.1.0");
    assert_eq!(history(&scene), before);
    assert_eq!(scene.json("deploy drills --env production").ok().json(), json!([drill]));
    assert_eq!(scene.status()["drill"], drill);
    scene.typed("deploy status --env production").ok().prints("latest drill: 1 to 1.0.0 (warm, manual)");
    let trail = scene.json("audit list --env production --limit 2").ok().json();
    assert_eq!([&trail[1]["action"], &trail[0]["action"]], ["drill_started", "drill_completed"]);
    // The real thing goes on as if nothing had been.
    assert_eq!(scene.rollback().ok().json()["path"], "warm");
}

#[test]
fn what_is_cold_is_started_beside_what_is_live_and_stopped_again() {
    let scene = scene("0s");
    until("1.0.0 is stopped", || (scene.status()["traffic"].as_array().unwrap().len() == 1).then_some(()));
    let before = history(&scene);
    let load = Load::start(scene.address, "/version", 4);
    let ran = scene.typed("deploy drill --env production").ok();
    ran.prints("rehearsed a rollback of production to 1.0.0").prints("1.1.0 is live, as before");
    let report = load.end();
    assert_eq!(report.failed, Vec::<String>::new());
    assert!(report.served.keys().all(|said| said.trim() == "1.1.0"), "it got no traffic: {report:?}");
    let drill = scene.status()["drill"].clone();
    assert_eq!(drill["path"], "cold");
    assert_eq!(phases(&drill), ["fetch", "start", "await_healthy", "drain", "stop"]);
    assert_eq!(history(&scene), before);
    assert_eq!(scene.status()["traffic"].as_array().unwrap().len(), 1);
    // It is known from then on how long the real thing takes.
    assert!(scene.status()["rollback"]["estimated_ms"].is_u64(), "{}", scene.status()["rollback"]);
}

#[test]
fn production_has_to_allow_it_and_a_place_is_needed() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    let error = scene.json("deploy drill --env production").ends(1).error();
    assert_eq!(error["code"], "ORC-0192");
    assert!(error["hint"].as_str().unwrap().contains("orchestrate env apply"), "{error}");
    scene.json("deploy drill --env production --dry-run").ends(1);
    scene.configure(|production| production["drill"] = json!({ "production": true }));
    scene.typed("env apply").ok();
    scene.typed("deploy drill --env production").ok();
    // Out of every window is out of the question.
    scene.configure(|production| {
        let day = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        // The first of January 1970 was a Thursday; the day after tomorrow is far enough.
        let later = day[usize::try_from((now / 86_400 + 3 + 2) % 7).unwrap()];
        production["windows"] = json!([{ "days": [later], "from": "10:00", "to": "11:00" }]);
    });
    scene.typed("env apply").ok();
    scene
        .typed("deploy drill --env production")
        .ends(1)
        .says("ORC-0195")
        .says("no deployment window is open");
    assert_eq!(scene.status()["drill"]["id"], 1);
}

#[test]
fn a_drill_that_fails_is_put_back_told_and_a_problem_until_the_next_good_one() {
    let mut scene = scene("0s");
    let told = scene.home.with_file_name("told");
    let tell = format!("cat >> '{}'", told.display());
    scene.config["notifications"] = json!([{ "type": "command", "command": ["sh", "-c", tell] }]);
    scene.write_config();
    scene.typed("env apply").ok();
    until("1.0.0 is stopped", || (scene.status()["traffic"].as_array().unwrap().len() == 1).then_some(()));
    // Somebody cleans up where nobody should.
    let (file, aside) = (artifact(&scene, "1.0.0"), scene.home.with_file_name("aside"));
    fs::rename(&file, &aside).unwrap();
    let error = scene.json("deploy drill --env production").ends(3).error();
    assert_eq!(error["code"], "ORC-0197");
    assert!(error["message"].as_str().unwrap().contains("users are served as before"), "{error}");
    assert_eq!(scene.answers(), "1.1.0");
    fs::rename(&aside, &file).unwrap();

    // The rollback would work again, but the last word of a drill is that it did not.
    let problems = || {
        let listed = scene.json("env list").ok().json();
        listed[0]["rollback"]["problems"].as_array().cloned().unwrap_or_default()
    };
    until("it is a problem", || (problems().len() == 1).then_some(()));
    until("it is told", || {
        fs::read_to_string(&told).is_ok_and(|text| text.contains("drill.failed")).then_some(())
    });
    until("it is ready otherwise", || {
        scene.typed("env list").ok().stdout.contains("DRILL FAILED: 1.0.0").then_some(())
    });
    scene.typed("doctor").ends(1).prints("production: drill 1 of a rollback to 1.0.0 failed at");

    scene.typed("deploy drill --env production").ok();
    until("it is over", || problems().is_empty().then_some(()));
    assert!(!fs::read_to_string(&told).unwrap().contains("drill.completed"), "nobody asked for it");
    assert!(!fs::read_to_string(&told).unwrap().contains("rollback."), "a drill is no rollback");
}

/// The program of a release in the store.
fn artifact(scene: &Scene, version: &str) -> PathBuf {
    let artifacts = fs::read_dir(scene.home.join("artifacts")).unwrap().flatten();
    let mut files = artifacts.map(|entry| entry.path().join("tree/serve"));
    let of =
        |file: &PathBuf| fs::read_to_string(file).is_ok_and(|text| text.contains(&format!("# {version}\n")));
    files.find(of).unwrap()
}

/// The shortest schedule that there is: it comes within a minute.
#[test]
fn the_daemon_drills_by_its_schedule() {
    let mut scene = Scene::new();
    scene.configure(|production| {
        production["drill"] =
            json!({ "production": true, "schedule": "* * * * *", "time_zone": "Europe/Berlin" });
    });
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    let drills = || scene.json("deploy drills --env production").ok().json();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(100);
    let drill = loop {
        let newest = drills()[0].clone();
        if newest["status"].as_str().is_some_and(|status| status != "in_progress") {
            break newest;
        }
        assert!(std::time::Instant::now() < deadline, "no drill by itself: {}", drills());
        support::pause(std::time::Duration::from_millis(200));
    };
    assert_eq!(
        [&drill["status"], &drill["trigger"], &drill["actor"]],
        ["completed", "scheduled", "orchestrate"]
    );
    assert_eq!(scene.answers(), "1.1.0");
}
