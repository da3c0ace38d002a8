//! A release is restored whole, as it was sealed: never with today's config, today's secrets or today's files.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::json;
use support::{Scene, until};

/// Answers `/env/NAME` with the variable, and `/file` with what is in `data` beside it.
const SERVER: &str = r#"
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        text = "ok"
        if self.path == "/version": text = os.environ["ORCHESTRATE_VERSION"]
        if self.path.startswith("/env/"): text = os.environ.get(self.path[5:], "(not set)")
        if self.path == "/file": text = open("data").read()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.configure(|production| {
        production["processes"]["web"]["command"] = json!(["python3", "server.py"]);
        production["processes"]["web"]["instances"] = json!(1);
        production["variables"] = json!({ "LOG_LEVEL": "info", "OLD_ONE": "here" });
        production["secrets"] = json!({ "DB_PASSWORD": "${PROD_DB_PASSWORD}" });
    });
    scene.variable("PROD_DB_PASSWORD", "the first password");
    release(&scene, "1.0.0", "data of 1.0.0");
    scene.typed("deploy --env production --version 1.0.0").ok();
    scene
}

fn release(scene: &Scene, version: &str, data: &str) {
    scene.write(&format!("dist/{version}/server.py"), SERVER);
    scene.write(&format!("dist/{version}/data"), data);
}

#[track_caller]
fn answers(scene: &Scene, expected: &[(&str, &str)]) {
    for (path, text) in expected {
        assert_eq!(scene.get(path).unwrap(), (200, (*text).to_owned()), "{path}");
    }
}

const FIRST: &[(&str, &str)] = &[
    ("/version", "1.0.0"),
    ("/env/LOG_LEVEL", "info"),
    ("/env/OLD_ONE", "here"),
    ("/env/NEW_ONE", "(not set)"),
    ("/env/DB_PASSWORD", "the first password"),
    ("/file", "data of 1.0.0"),
];

const SECOND: &[(&str, &str)] = &[
    ("/version", "1.1.0"),
    ("/env/LOG_LEVEL", "debug"),
    ("/env/OLD_ONE", "(not set)"),
    ("/env/NEW_ONE", "there"),
    ("/env/DB_PASSWORD", "the second password"),
    ("/file", "data of 1.1.0"),
];

/// A second release in which everything is different, with none kept warm, so that a rollback starts the first anew.
fn second(scene: &mut Scene) {
    scene.configure(|production| {
        production["strategy"]["warm_for"] = json!("0s");
        production["variables"] = json!({ "LOG_LEVEL": "debug", "NEW_ONE": "there" });
        production["processes"]["web"]["command"] = json!(["python3", "-u", "server.py"]);
        production["processes"]["web"]["instances"] = json!(2);
    });
    scene.variable("PROD_DB_PASSWORD", "the second password");
    release(scene, "1.1.0", "data of 1.1.0");
    scene.typed("deploy --env production --version 1.1.0").ok();
    answers(scene, SECOND);
    until("the first release is stopped", || {
        (scene.status()["traffic"].as_array().unwrap().len() == 1).then_some(())
    });
}

#[test]
fn variables_secrets_settings_and_files_come_back() {
    let mut scene = scene();
    answers(&scene, FIRST);
    second(&mut scene);
    // What is on the disk, in the config file and in the environment by now must not matter.
    release(&scene, "1.0.0", "somebody built it again");
    fs::remove_dir_all(scene.work.join("dist/1.1.0")).unwrap();
    scene.variable("PROD_DB_PASSWORD", "a third password");
    scene.configure(|production| production["variables"] = json!({ "LOG_LEVEL": "trace" }));
    scene.typed("env apply").ok();

    let rolled = scene.rollback().ok().json();
    assert_eq!((&rolled["path"], &rolled["rollback_type"]), (&json!("cold"), &json!("previous")));
    answers(&scene, FIRST);
    assert_eq!(scene.status()["traffic"][0]["instances"], 1, "as many as it had");
    scene.typed("deploy rollback --env production --undo").ok();
    answers(&scene, SECOND);
    assert_eq!(scene.status()["traffic"][0]["instances"], 2);
}

#[test]
fn a_rollback_needs_neither_the_config_file_nor_its_variables() {
    let mut scene = scene();
    second(&mut scene);
    scene.write("orchestrate.yaml", "service: [ broken");
    scene.rollback().ok();
    answers(&scene, FIRST);
    fs::remove_file(scene.work.join("orchestrate.yaml")).unwrap();
    scene.typed("deploy rollback --env production --undo").ok();
    answers(&scene, SECOND);
}

/// The file `data` of a release in the home's store.
fn sealed(scene: &Scene, text: &str) -> PathBuf {
    let artifacts = fs::read_dir(scene.home.join("artifacts")).unwrap().flatten();
    let mut files = artifacts.map(|entry| entry.path().join("tree/data"));
    files.find(|path| fs::read_to_string(path).is_ok_and(|found| found == text)).unwrap()
}

#[test]
fn a_release_that_was_tampered_with_is_refused_before_anything_is_touched() {
    let mut scene = scene();
    second(&mut scene);
    let data = sealed(&scene, "data of 1.0.0");
    fs::set_permissions(data.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&data, "data of 1.0.1").unwrap();

    let before = scene.status();
    let pids = scene.processes();
    let refused = scene.json("deploy rollback --env production --force").ends(1).error();
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("1.0.0") && message.contains("data"), "it names the file: {refused}");
    assert!(refused["hint"].is_string(), "{refused}");
    answers(&scene, SECOND);
    assert_eq!(scene.processes(), pids, "nothing was started or stopped");
    let after = scene.status();
    assert_eq!((&after["live"], &after["traffic"]), (&before["live"], &before["traffic"]));
    assert!(after["operation"].is_null());
    assert!(
        scene.json("deploy rollback --env production --version 1.0.0 --force").ends(1).error()["code"]
            .is_string()
    );

    let candidates = scene.json("deploy candidates --env production").ok().json();
    let old = candidates.as_array().unwrap().iter().find(|one| one["version"] == "1.0.0").unwrap();
    assert_eq!(old["ready"], false, "{candidates}");
    assert!(old["why_not"].as_str().unwrap().contains("data"), "{candidates}");
    let plan = scene.json("deploy rollback --env production --force --dry-run").ok().json();
    assert_eq!(plan["blockers"].as_array().unwrap().len(), 1, "{plan}");
}

#[test]
fn a_release_whose_artifact_is_gone_is_refused_too() {
    let mut scene = scene();
    second(&mut scene);
    let tree = sealed(&scene, "data of 1.0.0").parent().unwrap().to_owned();
    let artifact = tree.parent().unwrap().to_owned();
    fs::rename(&artifact, scene.work.join("taken away")).unwrap();
    scene.rollback().ends(1);
    answers(&scene, SECOND);
    fs::rename(scene.work.join("taken away"), artifact).unwrap();
    scene.rollback().ok();
    answers(&scene, FIRST);
}
