//! What is done beside deployments: another key, a backup, a restore. Cut off or on a full disk at any effect, it leaves a home
//! that reads all its secrets and says what is live, and does it the next time.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::json;

use super::panel::{Panel, Visit};
use super::sweep::{seconds, shuffled};
use crate::luck::Scene;

pub fn chores() {
    let mut scene = Scene::new();
    let mut panel = Panel::new(&mut scene);
    scene.variable("PROD_DB_PASSWORD", "hunter2");
    scene.configure(|settings| settings["secrets"] = json!({ "DB_PASSWORD": "${PROD_DB_PASSWORD}" }));
    scene.deploy("1.0.0").ok();
    let backup = scene.path("backup.db").display().to_string();
    for chore in
        [vec!["secrets", "rotate"], vec!["db", "backup", &backup, "--force"], vec!["db", "restore", &backup]]
    {
        disturb(&scene, &mut panel, &chore);
    }
}

fn disturb(scene: &Scene, panel: &mut Panel, chore: &[&str]) {
    make_way(scene, chore);
    panel.trace();
    scene.run(chore).ok();
    let visits = panel.trace_no_more();
    go_on(scene, chore);
    let began = Instant::now();
    for rule in shuffled(rules(&visits), 11) {
        if !seconds().is_zero() && began.elapsed() > seconds() / 3 {
            return;
        }
        println!("{chore:?}: {rule}");
        make_way(scene, chore);
        panel.arm(std::slice::from_ref(&rule));
        let ran = scene.run(chore);
        panel.disarm();
        go_on(scene, chore);
        assert!(panel.has_fired(0), "{rule}: {ran:?}");
        if ran.code != -1 {
            assert!([1, 3].contains(&ran.code), "{rule}: {ran:?}");
            assert!(ran.stderr.contains("[ORC-") && !ran.stderr.contains("ORC-0070"), "{rule}: {ran:?}");
            let says = ["space", "full"].iter().any(|word| ran.stderr.contains(word));
            assert!(says, "{rule}: it does not say that the disk is full: {ran:?}");
        }
        nothing_is_lost(scene, &rule);
        make_way(scene, chore);
        scene.run(chore).ok();
        go_on(scene, chore);
        nothing_is_lost(scene, &rule);
    }
}

/// A restore wants the daemon to be away.
fn make_way(scene: &Scene, chore: &[&str]) {
    if chore.contains(&"restore") {
        scene.run(&["daemon", "stop"]).ok();
    }
}

fn go_on(scene: &Scene, chore: &[&str]) {
    if chore.contains(&"restore") {
        scene.run(&["daemon", "start"]).ok();
    }
}

#[track_caller]
fn nothing_is_lost(scene: &Scene, rule: &str) {
    let secrets = scene.run(&["secrets", "list", "--env", "production", "--format", "json"]).ok().json();
    let rows = secrets.as_array().unwrap();
    assert!(!rows.is_empty() && rows.iter().all(|row| row["readable"] == true), "{rule}: {secrets}");
    assert_eq!(scene.status()["live"]["version"], "1.0.0", "{rule}");
    assert_eq!(scene.answering(), "1.0.0", "{rule}");
    scene.run(&["db", "check"]).ok();
}

fn rules(visits: &BTreeSet<Visit>) -> Vec<String> {
    let mut rules = Vec::new();
    for visit in visits.iter().filter(|visit| visit.program == "command") {
        let files = ["key/", "backup/", "restore/"].iter().any(|area| visit.point.starts_with(area));
        if files || visit.point == "database/commit" {
            let rule = |action| format!("command:{}={action}@{}", visit.point, visit.number);
            rules.extend(["kill", "kill-after", "full"].map(rule));
        }
    }
    rules
}
