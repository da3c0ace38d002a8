//! What a release declares of its data, and what a rollback makes of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use support::Scene;

#[test]
fn a_rollback_does_not_cross_what_the_artifact_says_cannot_be_taken_back() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.artifact("1.1.0");
    scene.write("dist/1.1.0/orchestrate-release.yaml", "irreversible: drops column email\n");
    scene.typed("deploy --env production --version 1.1.0").ok();
    let dry = scene.typed("deploy rollback -e production --force --dry-run").ok();
    dry.prints("1.1.0 cannot be taken back: drops column email");
    let refused = scene.typed("deploy rollback -e production --force").ends(1);
    refused.says("[ORC-0140]").says("--force --reason TEXT");
    assert_eq!(scene.answers(), "1.1.0");
    scene.typed("deploy status -e production").ok().prints("not ready").prints("drops column email");
    scene.run(&["deploy", "rollback", "-e", "production", "--force", "--reason", "it is still there"]).ok();
    assert_eq!(scene.answers(), "1.0.0");
    let event = scene.json("deploy rollbacks show 1").ok().json();
    assert_eq!(event["crossed"], "1.1.0 cannot be taken back: drops column email", "{event}");
}

#[test]
fn what_is_declared_must_be_readable_and_said_once() {
    let mut scene = Scene::new();
    scene.artifact("1.0.0");
    let file = "dist/1.0.0/orchestrate-release.yaml";
    scene.write(file, "schema: { reads: [5, 3], writes: 4 }\n");
    let deploy = "deploy --env production --version 1.0.0";
    scene.typed(deploy).ends(2).says("[ORC-0228]").says("orchestrate-release.yaml:1:1");
    scene.write(file, "schema: { reads: [3, 5], writes: 5 }\n");
    scene.config["release"]["schema"] = serde_json::json!({ "reads": [3, 4], "writes": 4 });
    scene.write_config();
    scene.typed(deploy).ends(2).says("`schema` differs").says("[ORC-0232]");
    scene.config["release"]["schema"] = serde_json::json!({ "reads": [3, 5], "writes": 5 });
    scene.write_config();
    scene.typed(deploy).ok();
}
