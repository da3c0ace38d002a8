//! Rolling deployments with the real program: batch by batch, back again, and no request lost.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::{Value, json};
use support::load::Load;
use support::{Scene, until};

fn shares(status: &Value) -> Vec<(String, u64)> {
    let rows = status["traffic"].as_array().unwrap().iter();
    rows.map(|row| (row["version"].as_str().unwrap().to_owned(), row["weight"].as_u64().unwrap())).collect()
}

fn is(of: &[(&str, u64)]) -> Vec<(String, u64)> {
    of.iter().map(|(version, weight)| ((*version).to_owned(), *weight)).collect()
}

/// 1.0.0 is live with four instances, replaced one at a time.
fn rolling() -> Scene {
    let mut scene = Scene::new();
    scene.configure(|production| {
        production["processes"]["web"]["instances"] = json!(4);
        production["strategy"] = json!({ "type": "rolling" });
        production["health_check"]["deadline"] = json!("2s");
    });
    scene.deploy("1.0.0").ok();
    scene
}

#[test]
fn a_rolling_deployment_replaces_every_instance_and_loses_no_request() {
    let scene = rolling();
    let load = Load::start(scene.address, "/version", 8);
    scene.deploy("1.1.0").ok().says("give 25 % of the traffic to 1.1.0");
    load.await_more(50);
    let report = load.end();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    until("the old instances are gone", || {
        let status = scene.status();
        (shares(&status) == is(&[("1.1.0", 100)])).then_some(())
    });
    assert_eq!(scene.status()["traffic"][0]["healthy"], json!(4));
    let load = Load::start(scene.address, "/version", 8);
    assert_eq!(scene.rollback().ok().json()["path"], "cold");
    load.await_more(50);
    let report = load.end();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!(scene.answers(), "1.0.0");
}

#[test]
fn an_instance_that_dies_in_the_middle_of_a_batch_puts_the_batches_before_it_back() {
    let scene = rolling();
    // The third instance of the new release does not come up.
    let serve = format!("exec '{}' sample-service", support::scene::PROGRAM);
    scene.script(
        "dist/1.1.0/serve",
        &format!("case $ORCHESTRATE_INSTANCE in *-web-3*) exit 7;; esac\n{serve}"),
    );
    let load = Load::start(scene.address, "/version", 8);
    scene.typed("deploy --env production --version 1.1.0").ends(3).says("users are served as before");
    load.await_more(50);
    let report = load.end();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert!(report.served.contains_key("1.1.0"), "two batches had traffic");
    let status = scene.status();
    assert_eq!(shares(&status), is(&[("1.0.0", 100)]));
    assert_eq!(
        (&status["traffic"][0]["healthy"], &status["latest"]["status"]),
        (&json!(4), &json!("failed"))
    );
}
