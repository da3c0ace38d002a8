//! Whether a rollback would work is known before it is needed, and people hear when that is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Scene, until};

/// What `env list` says of a rollback in production.
fn rollback(scene: &Scene) -> Value {
    scene.run(&["env", "list", "--format", "json"]).ok().json()[0]["rollback"].clone()
}

#[test]
fn what_would_be_missing_at_night_is_told_by_day() {
    let mut scene = Scene::new();
    let told = scene.home.with_file_name("told");
    let tell = format!("cat >> '{}'", told.display());
    scene.config["notifications"] = json!([
        { "type": "command", "command": ["sh", "-c", tell], "on": ["readiness_lost", "readiness_back"] },
    ]);
    scene
        .configure(|environment| environment["strategy"] = json!({ "type": "blue_green", "warm_for": "0s" }));
    scene.write_config();
    scene.deploy("1.0.0").ok();
    until("there is nothing to go back to yet", || (rollback(&scene)["ready"] == false).then_some(()));
    scene.run(&["env", "list"]).ok().prints("nothing older");
    scene.deploy("1.1.0").ok();
    let ready = until("it is ready, and cold", || {
        Some(rollback(&scene)).filter(|found| found["ready"] == true && found["path"] == "cold")
    });
    assert_eq!(ready["target_version"], "1.0.0");

    // Somebody cleans up where nobody should.
    let of = |version: &str| {
        let artifacts = fs::read_dir(scene.home.join("artifacts")).unwrap().flatten();
        let mut files = artifacts.map(|entry| entry.path().join("tree/serve"));
        files
            .find(|file| fs::read_to_string(file).is_ok_and(|text| text.contains(&format!("# {version}\n"))))
            .unwrap()
    };
    let (file, aside) = (of("1.0.0"), scene.home.with_file_name("aside"));
    fs::rename(&file, &aside).unwrap();
    // Once an hour it is read in whole, and when a daemon starts.
    scene.run(&["daemon", "stop"]).ok();
    scene.run(&["daemon", "start"]).ok();
    let lost = until("it is lost", || Some(rollback(&scene)).filter(|found| found["ready"] == false));
    assert!(lost["blockers"][0].as_str().unwrap().contains("1.0.0 cannot be restored"), "{lost}");
    scene.run(&["env", "list"]).ok().prints("NOT READY: 1.0.0");
    scene.run(&["doctor"]).ends(1).prints("production cannot go back to 1.0.0");
    until("it was told", || {
        fs::read_to_string(&told).is_ok_and(|text| text.contains("readiness.lost")).then_some(())
    });

    fs::rename(&aside, &file).unwrap();
    until("it is back", || (rollback(&scene)["ready"] == true).then_some(()));
    let notices = until("that was told, too", || {
        let text = fs::read_to_string(&told).unwrap();
        text.contains("readiness.back").then_some(text)
    });
    let notices: Vec<Value> =
        serde_json::Deserializer::from_str(&notices).into_iter().collect::<Result<_, _>>().unwrap();
    let kinds: Vec<&str> = notices.iter().map(|notice| notice["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["readiness.lost", "readiness.back"]);
    assert_eq!(notices[1]["data"]["text"], "sample in production: a rollback to 1.0.0 would work again");
    let trail = scene.run(&["audit", "list", "--format", "json"]).ok().json();
    let actions: Vec<&str> =
        trail.as_array().unwrap().iter().filter_map(|row| row["action"].as_str()).collect();
    assert!(actions.contains(&"readiness_lost") && actions.contains(&"readiness_back"), "{actions:?}");
    scene.run(&["doctor"]).prints("nothing is known to be in the way of one");
}

#[test]
fn a_release_that_wants_more_memory_than_there_is_is_warned_of() {
    let mut scene = Scene::new();
    scene.configure(|environment| {
        environment["strategy"] = json!({ "type": "blue_green", "warm_for": "0s" });
        // More than any machine has, and not used at all.
        environment["processes"]["hog"] =
            json!({ "command": ["sleep", "1000"], "limits": { "memory": "65536GiB" } });
    });
    scene.deploy("1.0.0").ok();
    // What runs of a process type says what it needs, whatever it may have.
    scene.deploy("1.1.0").ok();
    let cold = until("it is cold", || {
        Some(rollback(&scene)).filter(|found| found["ready"] == true && found["path"] == "cold")
    });
    assert_eq!(cold["warnings"], json!([]), "{cold}");
    scene.configure(|environment| {
        environment["processes"].as_object_mut().unwrap().remove("hog");
    });
    scene.deploy("1.2.0").ok();
    scene.run(&["deploy", "hold", "1.1.0", "--env", "production", "--reason", "slow"]).ok();
    // A daemon looks when it starts, and not for a minute where nobody deploys.
    scene.run(&["daemon", "restart"]).ok();
    let warned = until("it is warned of", || {
        Some(rollback(&scene)).filter(|found| {
            found["target_version"] == "1.0.0"
                && found["warnings"].as_array().is_some_and(|all| all.len() == 1)
        })
    });
    assert_eq!(warned["ready"], true, "{warned}");
    let text = "starting 1.0.0 takes about 65536 GiB of memory, and there is about ";
    assert!(warned["warnings"][0].as_str().unwrap().starts_with(text), "{warned}");
    scene.typed("deploy status --env production").ok().prints(&format!("warning: {text}"));
    scene.typed("deploy rollback --env production --dry-run").prints(&format!("may go wrong:\n  - {text}"));
    scene.run(&["env", "list"]).ok().prints("ready: 1.0.0, cold, with a warning");
    scene.run(&["doctor"]).ok().prints("production may not be able to go back");
}
