//! What people mistype, and what should never be believed: refused, with the next step, and nothing changed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::process::Command;

use serde_json::json;
use support::{Scene, until};

#[test]
fn an_unknown_environment_gets_the_nearest_one() {
    let scene = Scene::new();
    scene.artifact("1.0.0");
    let deploy = scene.typed("deploy --env prodution --version 1.0.0").ends(1);
    deploy.says("orchestrate.yaml has no environment prodution").says("did you mean production?");
    scene.typed("env apply --env prodution").ends(1).says("did you mean production?");
    scene.typed("env apply").ok();
    for line in [
        "deploy status --env prodution",
        "deploy rollback --env prodution",
        "deploy history --env prodution",
        "deploy candidates --env prodution",
        "deploy rollbacks --env prodution",
        "deploy resume --env prodution",
        "deploy hold 1.0.0 --env prodution --reason x",
        "logs --env prodution",
        "notify test --env prodution",
        "env show prodution",
        "env stop prodution",
        "env delete prodution",
        "env check prodution",
        "audit list --env prodution",
    ] {
        let ran = scene.typed(line).ends(1).says("there is no environment prodution");
        ran.says("did you mean production?");
    }
}

#[test]
fn an_unknown_version_is_answered_with_those_that_there_are() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    let refused = scene.typed("deploy rollback --env production --version 1.0").ends(1);
    refused.says("1.0 was never live in production").says("1.0.0");
    scene.typed("deploy --env production --version 3.0.0").ends(1).says("dist/3.0.0 does not exist");
    assert_eq!(scene.answers(), "1.1.0");
}

/// A terminal in Latin-1 is no reason to fall over.
#[test]
fn what_is_no_utf8_is_refused_in_words() {
    use std::os::unix::ffi::OsStringExt as _;
    let scene = Scene::new();
    let odd = std::ffi::OsString::from_vec(b"f\xfcr".to_vec());
    let ran = scene.command(&["deploy", "status", "--format", "json", "--env"]).arg(odd).output().unwrap();
    assert_eq!(ran.status.code(), Some(2), "{ran:?}");
    let line: serde_json::Value = serde_json::from_slice(&ran.stderr).unwrap();
    assert_eq!(line["error"]["code"], "ORC-0200");
}

#[test]
fn a_result_that_cannot_be_written_is_no_success() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran = scene.command(&["audit", "head", "--format", "json"]).stdout(full).output().unwrap();
    assert_eq!(ran.status.code(), Some(4), "{ran:?}");
    assert!(String::from_utf8_lossy(&ran.stderr).contains("ORC-0512"), "{ran:?}");
}

#[test]
fn names_that_are_paths_or_commands_are_refused() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    let before = scene.status();
    let long = "9".repeat(129);
    for bad in [
        "../../etc",
        "..",
        ".hidden",
        "/etc/passwd",
        "a/b",
        "a b",
        "",
        "-rf",
        "1.0\n2.0",
        "1.0;id",
        "é",
        &long,
    ] {
        let (env, version) = (format!("--env={bad}"), format!("--version={bad}"));
        scene.run(&["deploy", "-e", "production", &version]).ends(2);
        scene.run(&["deploy", "rollback", "-e", "production", "--force", &version]).ends(2);
        scene.run(&["deploy", &env, "--version", "1.0.0"]).ends(2);
        scene.run(&["deploy", "hold", "--reason", "x", "-e", "production", "--", bad]).ends(2);
        scene.run(&["logs", "-e", "production", &version]).ends(2);
        scene.run(&["env", "show", "--", bad]).ends(2);
    }
    assert_eq!(scene.status(), before);
}

/// The config file as YAML, with one line in it that the test is about.
fn yaml(scene: &Scene, top: &str, inside: &str) {
    let address = scene.address;
    let text = format!(
        "service: sample\nrelease: {{ artifact: \"dist/{{version}}\" }}\n{top}environments:\n  production:\n    processes:\n      web: \
         {{ command: [./serve], listen: \"{address}\" }}\n    health_check: {{ path: /healthz }}\n{inside}"
    );
    scene.write("orchestrate.yaml", &text);
}

#[track_caller]
fn refused(scene: &Scene, code: &str, texts: &[&str]) {
    let ran = scene.deploy("1.0.0").ends(2);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains(code), "{code}: {}", ran.stderr);
    let error = scene.json("deploy --env production --version 1.0.0").ends(2).error();
    assert_eq!(error["code"], code, "{error}");
    for text in texts {
        assert!(ran.stderr.contains(text), "not said: {text}\n{}", ran.stderr);
    }
    assert_eq!(scene.processes().len(), 0, "nothing was started");
    assert_eq!(scene.json("env list").ok().json(), json!([]), "nothing was recorded");
}

#[test]
fn mistakes_in_the_config_file_are_shown_where_they_are() {
    let scene = Scene::empty();
    yaml(&scene, "", "    drian: 5s\n");
    refused(&scene, "ORC-0224", &["orchestrate.yaml:8:5", "`drian`", "did you mean `drain`?"]);
    yaml(&scene, "", "    drain: soon\n");
    refused(&scene, "ORC-0228", &["orchestrate.yaml:8:12", "drain"]);
    yaml(&scene, "", "    variables: [1, 2]\n");
    refused(&scene, "ORC-0227", &["orchestrate.yaml:8:16", "variables"]);
    yaml(&scene, "", "    drain: 5s\n    drain: 6s\n");
    refused(&scene, "ORC-0225", &["orchestrate.yaml:9:5", "drain"]);
    yaml(&scene, "", "    secrets: { A: \"${NO_SUCH_VARIABLE}\" }\n");
    refused(&scene, "ORC-0229", &["orchestrate.yaml:8:", "NO_SUCH_VARIABLE"]);
    scene.write("orchestrate.yaml", "service: sample\n");
    refused(&scene, "ORC-0226", &["orchestrate.yaml:1:1", "`release`"]);
    scene.write("orchestrate.yaml", "service: [\n");
    refused(&scene, "ORC-0223", &["orchestrate.yaml:"]);
    scene.write("orchestrate.yaml", "");
    refused(&scene, "ORC-0223", &[]);
}

#[test]
fn a_config_file_of_ten_megabytes_is_not_read() {
    let scene = Scene::empty();
    scene.write("orchestrate.yaml", &format!("service: sample\n# {}\n", "x".repeat(10 << 20)));
    refused(&scene, "ORC-0221", &["1 MiB"]);
}

#[test]
fn a_config_file_that_was_named_must_be_there() {
    let scene = Scene::empty();
    scene.typed("deploy -e production --version 1 --config other.yaml").ends(2).says("other.yaml");
    scene.typed("deploy -e production --version 1").ends(1).says("there is no environment production");
    scene.typed("env apply").ends(2).says("there is no orchestrate.yaml here").says("orchestrate init");
}

#[test]
fn of_two_rollbacks_at_once_one_wins_and_the_other_says_who_is_at_it() {
    let mut scene = Scene::new();
    scene.configure(|production| production["health_check"]["deadline"] = json!("30s"));
    scene.configure(|production| production["strategy"]["warm_for"] = json!("0s"));
    // It takes a moment to start, so that the first rollback is still under way.
    scene.configure(|production| {
        production["processes"]["web"]["command"] =
            json!(["sh", "-c", "while [ -e ../../../hold ]; do sleep 0.05; done; exec ./serve"]);
    });
    let gate = scene.home.join("hold");
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    until("the first release is stopped", || {
        (scene.status()["traffic"].as_array().unwrap().len() == 1).then_some(())
    });
    fs::write(&gate, "").unwrap();
    let first = scene.begin(&["deploy", "rollback", "-e", "production", "--force", "--reason", "first"]);
    until("it is under way", || (!scene.status()["operation"].is_null()).then_some(()));
    scene.variable("ORCHESTRATE_ACTOR", "bob@desk");
    let second = scene.json("deploy rollback -e production --force").ends(1).error();
    let message = second["message"].as_str().unwrap();
    assert!(message.contains("alice@desk") && message.contains("since 20"), "{second}");
    let deploy = scene.json("deploy -e production --version 1.0.0").ends(1).error();
    assert!(deploy["message"].as_str().unwrap().contains("alice@desk"), "{deploy}");
    let status = scene.status();
    assert_eq!(
        (&status["operation"]["kind"], &status["operation"]["by"]),
        (&json!("rollback"), &json!("alice@desk"))
    );
    scene.typed("deploy status -e production").ok().prints("rollback to 1.0.0 by alice@desk since ");
    assert_eq!(scene.answers(), "1.1.0", "users do not notice");
    fs::remove_file(&gate).unwrap();
    first.end().ok();
    assert_eq!(scene.answers(), "1.0.0");
    assert_eq!(scene.json("deploy rollbacks -e production").ok().json().as_array().unwrap().len(), 1);
}

#[test]
fn of_many_at_the_very_same_time_exactly_one_wins() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    scene.deploy("1.2.0").ok();
    let to = ["deploy", "rollback", "-e", "production", "--version", "1.0.0", "--force", "--format", "json"];
    let all: Vec<_> = (0..4).map(|_| scene.begin(&to)).collect();
    let ended: Vec<_> = all.into_iter().map(|running| running.end()).collect();
    let moved = ended.iter().filter(|ran| ran.status == 0 && ran.json()["path"] != "none").count();
    assert_eq!(moved, 1, "{ended:?}");
    assert!(ended.iter().all(|ran| ran.status == 0 || ran.status == 1), "{ended:?}");
    assert_eq!(scene.answers(), "1.0.0");
    assert!(scene.status()["operation"].is_null());
}

#[track_caller]
fn bad_artifact(scene: &Scene, texts: &[&str]) {
    let ran = scene.typed("deploy -e production --version 1.1.0 --artifact bad.tar.gz");
    assert!([1, 2, 3].contains(&ran.status), "{ran:?}");
    for text in texts {
        assert!(ran.stderr.contains(text), "not said: {text}\n{}", ran.stderr);
    }
    assert_eq!(scene.answers(), "1.0.0");
    assert_eq!(scene.json("deploy history -e production").ok().json().as_array().unwrap().len(), 1);
}

#[test]
fn an_artifact_that_is_truncated_or_no_archive() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    bad_artifact(&scene, &["bad.tar.gz does not exist"]);
    let dist = scene.artifact("1.1.0");
    let tar = |arguments: &[&str]| {
        assert!(Command::new("tar").current_dir(&scene.work).args(arguments).status().unwrap().success());
    };
    tar(&["-czf", "good.tar.gz", "-C", dist.to_str().unwrap(), "."]);
    let whole = fs::read(scene.work.join("good.tar.gz")).unwrap();
    fs::write(scene.work.join("bad.tar.gz"), &whole[..whole.len() / 2]).unwrap();
    bad_artifact(&scene, &["bad.tar.gz"]);
    fs::write(scene.work.join("bad.tar.gz"), "this is no archive at all").unwrap();
    bad_artifact(&scene, &["bad.tar.gz"]);
    fs::write(scene.work.join("bad.tar.gz"), "").unwrap();
    bad_artifact(&scene, &["bad.tar.gz"]);
    scene.typed("deploy -e production --version 1.1.0 --artifact good.tar.gz").ok();
    assert_eq!(scene.answers(), "1.1.0");
}

#[test]
fn an_archive_that_wants_to_write_elsewhere() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    let python = r#"
import io, sys, tarfile
def add(name, **about):
    entry = tarfile.TarInfo(name)
    for key, value in about.items(): setattr(entry, key, value)
    data = b"owned" if entry.isreg() else b""
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
tar = tarfile.open("bad.tar.gz", "w:gz")
add('serve')
exec(sys.argv[1])
tar.close()
"#;
    for (what, named) in [
        ("add('../owned')", "../owned"),
        ("add('/tmp/orchestrate-owned')", "/tmp/orchestrate-owned"),
        ("add('link', type=tarfile.SYMTYPE, linkname='/etc')", "link"),
        ("add('link', type=tarfile.SYMTYPE, linkname='..'); add('link/owned')", "link"),
        ("add('device', type=tarfile.CHRTYPE, devmajor=1, devminor=3)", "device"),
    ] {
        let made = Command::new("python3").current_dir(&scene.work).args(["-c", python, what]).status();
        assert!(made.unwrap().success());
        bad_artifact(&scene, &["bad.tar.gz", named]);
    }
    assert!(!scene.work.join("owned").exists() && !fs::exists("/tmp/orchestrate-owned").unwrap());
}

#[test]
fn a_strategy_that_nobody_knows_is_refused_by_the_names_of_those_there_are() {
    Scene::empty()
        .typed("deploy -e production --version 1 --strategy rainbow")
        .ends(2)
        .says("use `recreate`, `rolling`, `blue_green` or `canary`");
}
