//! Everything that has a failpoint is done once, so that none is forgotten in a corner where nobody comes by.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use super::panel::Panel;
use crate::luck::scene::free_address;
use crate::luck::{Scene, pause, until};

pub fn every_failpoint_is_come_to() {
    let named = named_in_the_source();
    assert!(named.len() > 40, "{named:?}");
    let mut scene = Scene::new();
    scene.variable("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{}", free_address()));
    let mut panel = Panel::new(&mut scene);
    panel.trace();
    configure(&mut scene);
    deploy_in_every_way(&mut scene);
    look_after_keys_and_artifacts(&mut scene);
    back_up_and_restore(&scene);
    scene.run(&["env", "stop", "production", "--yes"]).ok();
    let missing = || -> Vec<String> {
        let visited: BTreeSet<String> = panel.visits().into_iter().map(|visit| visit.point).collect();
        named.iter().filter(|name| !visited.contains(*name)).cloned().collect()
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    while !missing().is_empty() && Instant::now() < deadline {
        pause(Duration::from_millis(50));
    }
    assert_eq!(missing(), Vec::<String>::new(), "nobody came by there");
}

fn named_in_the_source() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for entry in fs::read_dir(crates).unwrap() {
        read_names(&entry.unwrap().path().join("src"), &mut names);
    }
    names
}

fn read_names(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_names(&path, names);
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("failpoint.rs") {
            let text = fs::read_to_string(&path).unwrap();
            names.extend(
                text.split("failpoint!(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()),
            );
        }
    }
}

/// With secrets, hooks, somebody to be told who does not listen, and few releases to keep.
fn configure(scene: &mut Scene) {
    scene.variable("PROD_DB_PASSWORD", "hunter2");
    let nobody = free_address();
    scene.notifications = json!([{ "type": "webhook", "url": format!("http://{nobody}/hook"), "on": ["deployment", "rollback"] }]);
    scene.configure(|settings| {
        settings["secrets"] = json!({ "DB_PASSWORD": "${PROD_DB_PASSWORD}" });
        settings["hooks"] = json!({ "pre_deploy": { "command": ["true"], "timeout": "5s" } });
        settings["retention"] = json!({ "keep": 1 });
    });
}

fn deploy_in_every_way(scene: &mut Scene) {
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    scene.rollback().ok();
    for (version, strategy) in [
        ("1.2.0", json!({ "type": "rolling", "batch": 1 })),
        ("1.3.0", json!({ "type": "canary", "steps": [50], "wait": "50ms", "warm_for": "0s" })),
        ("1.4.0", json!({ "type": "blue_green", "warm_for": "0s" })),
    ] {
        scene.configure(|settings| settings["strategy"] = strategy.clone());
        scene.deploy(version).ok();
        until("it is live and nothing else is", || {
            let status = scene.status();
            let alone = status["traffic"].as_array().unwrap().iter().all(|row| row["version"] == version);
            (alone || strategy["type"] == "rolling").then_some(())
        });
    }
}

fn look_after_keys_and_artifacts(scene: &mut Scene) {
    // A rotation that never came into use has left this.
    fs::copy(scene.home.join("key"), scene.home.join("key.next")).unwrap();
    let mut other = fs::read(scene.home.join("key.next")).unwrap();
    other[0] ^= 1;
    fs::write(scene.home.join("key.next"), other).unwrap();
    scene.run(&["secrets", "rotate"]).ok();
    for artifact in fs::read_dir(scene.home.join("artifacts")).unwrap().flatten() {
        let yesterday = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
        fs::File::open(artifact.path()).unwrap().set_modified(yesterday).unwrap();
    }
    scene.run(&["env", "prune", "production"]).ok();
    // The same again: it is there already.
    scene.run(&["deploy", "--env", "production", "--version", "1.4.0"]);
}

fn back_up_and_restore(scene: &Scene) {
    let backup = scene.path("backup.db").display().to_string();
    scene.run(&["db", "backup", &backup]).ok();
    scene.run(&["daemon", "stop"]).ok();
    scene.run(&["db", "restore", &backup]).ok();
    scene.run(&["daemon", "start"]).ok();
    until("what runs is what is recorded", || {
        (scene.run(&["env", "check", "production"]).code == 0).then_some(())
    });
}
