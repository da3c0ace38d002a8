//! Old releases go, and nothing that is needed goes with them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::json;
use support::Scene;

/// The sealed artifacts of the home.
fn artifacts(scene: &Scene) -> Vec<PathBuf> {
    let entries = fs::read_dir(scene.home.join("artifacts")).unwrap().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.join("listing").exists()).collect()
}

/// As if they had been taken in yesterday.
fn grow_old(scene: &Scene) {
    for artifact in artifacts(scene) {
        let yesterday = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
        fs::File::open(artifact).unwrap().set_modified(yesterday).unwrap();
    }
}

#[test]
fn a_dry_run_tells_what_goes_and_pruning_removes_it() {
    let mut scene = Scene::new();
    for version in ["1.0.0", "1.1.0", "1.2.0", "1.3.0"] {
        scene.deploy(version).ok();
    }
    scene.typed("env prune production").ends(1).says("[ORC-0143]");
    scene.configure(|production| production["retention"] = json!({ "keep": 2 }));
    scene.typed("env apply").ok();
    grow_old(&scene);
    let dry = scene.typed("env prune production --dry-run").ok();
    dry.prints("2 would be pruned; nothing was changed; 2 stay reachable by rollback");
    assert_eq!(artifacts(&scene).len(), 4);

    let by_flag = scene.typed("env prune --env production --dry-run").ok();
    by_flag.prints("2 would be pruned; nothing was changed");
    scene.typed("env prune --dry-run").ends(2);
    let pruned = scene.json("env prune production").ok().json();
    assert_eq!(pruned["releases"][0]["kept"], "live", "{pruned}");
    assert_eq!(pruned["releases"][3]["kept"], json!(null), "{pruned}");
    assert_eq!((&pruned["removed"], artifacts(&scene).len()), (&json!(2), 2), "{pruned}");
    let refused = scene.typed("deploy rollback -e production --version 1.0.0 --force").ends(1);
    refused.says("1.0.0 was pruned in production at 20").says("[ORC-0142]");
    scene.typed("deploy candidates -e production").ok().prints("was pruned at");
    scene.rollback().ok();
    assert_eq!(scene.answers(), "1.2.0");
    scene.deploy("1.0.0").ok();
    assert_eq!(scene.answers(), "1.0.0");
}

#[test]
fn the_daemon_prunes_by_itself_after_a_deployment() {
    let mut scene = Scene::new();
    scene.configure(|production| production["retention"] = json!({ "keep": 1 }));
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        scene.deploy(version).ok();
    }
    let pruned = || {
        let candidates = scene.json("deploy candidates -e production").ok().json();
        candidates[2]["why_not"].as_str().filter(|why| why.starts_with("was pruned")).map(|_| ())
    };
    support::until("1.0.0 is pruned", pruned);
    assert_eq!(artifacts(&scene).len(), 3, "what was just taken in is left");
}
