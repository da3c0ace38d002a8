//! Answers that take too long: against a limit, and beside the release before.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::{Value, json};
use support::Scene;
use support::load::Load;

/// 1.0.0 is live and takes `before` for an answer; what is deployed next is judged by `latency`.
fn judged_by(before: &str, latency: &Value) -> Scene {
    let mut scene = Scene::new();
    scene.behaviour(before);
    scene.deploy("1.0.0").ok();
    scene.configure(|production| {
        production["verify"]["bake"] = json!("60s");
        production["verify"]["latency"] = latency.clone();
    });
    scene
}

/// Deploys 1.1.0, wants it to have gone back by itself, and returns what spoke against it.
fn against(scene: &Scene) -> Value {
    let load = Load::start(scene.address, "/", 8);
    load.await_more(100);
    scene.artifact("1.1.0");
    let deployment = scene.json("deploy --env production --version 1.1.0").ends(3).json();
    assert_eq!(deployment["status"], "rolled_back", "{deployment}");
    assert!(load.end().failed.is_empty());
    assert_eq!(scene.answers(), "1.0.0");
    let evidence = deployment["rollback"]["evidence"].as_array().unwrap();
    evidence.iter().find(|one| one["finding"] == "bad").unwrap().clone()
}

#[test]
fn one_that_answers_slower_than_its_limit_is_taken_back() {
    let mut scene = judged_by("good", &json!({ "p95": "50ms" }));
    scene.behaviour("slow:150ms");
    let found = against(&scene);
    assert_eq!((&found["check"], &found["limit"]), (&json!("latency_p95"), &json!(50.0)), "{found}");
    assert!(found["requests"].as_u64().unwrap() >= 50, "{found}");
    // The proxy counts in steps of at most 25 %.
    assert!((110.0..=400.0).contains(&found["value"].as_f64().unwrap()), "{found}");
}

#[test]
fn one_that_answers_so_many_times_slower_than_the_release_before_is_taken_back() {
    let mut scene = judged_by("slow:20ms", &json!({ "worse_by": 2 }));
    scene.behaviour("slow:150ms");
    let found = against(&scene);
    assert!(found["check"].as_str().unwrap().starts_with("latency"), "{found}");
    assert!((15.0..=80.0).contains(&found["before"].as_f64().unwrap()), "{found}");
}

#[test]
fn one_that_is_as_slow_as_the_release_before_is_good() {
    let mut scene = judged_by("slow:150ms", &json!({ "p95": "50ms", "worse_by": 2 }));
    scene.configure(|production| production["verify"]["bake"] = json!("2s"));
    let load = Load::start(scene.address, "/", 8);
    load.await_more(100);
    scene.artifact("1.1.0");
    let deployment = scene.json("deploy --env production --version 1.1.0").ok().json();
    assert_eq!(deployment["status"], "completed", "{deployment}");
    assert!(load.end().failed.is_empty());
}
