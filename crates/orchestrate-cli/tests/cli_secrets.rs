//! A secret is in the instances, and nowhere else where anyone could read it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use support::{Ran, Scene};

const PASSWORD: &str = "correct-horse-4711-battery";
const SIGNING: &str = "signing-key-0815-staple";

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(files(&entry.path())),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[track_caller]
fn keeps_quiet(ran: &Ran) {
    for secret in [PASSWORD, SIGNING] {
        assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "{ran:?}");
    }
}

fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.config["notifications"] =
        json!([{ "type": "webhook", "url": "http://127.0.0.1:9/hook", "secret": "${HOOK_SECRET}" }]);
    scene.configure(|production| production["secrets"] = json!({ "DB_PASSWORD": "${PROD_DB_PASSWORD}" }));
    scene.variable("PROD_DB_PASSWORD", PASSWORD).variable("HOOK_SECRET", SIGNING);
    scene
}

#[test]
fn the_instances_have_it() {
    let scene = scene();
    scene.deploy("1.0.0").ok();
    let wanted = format!("DB_PASSWORD={PASSWORD}");
    let environs =
        scene.processes().into_iter().map(|pid| fs::read(format!("/proc/{pid}/environ")).unwrap_or_default());
    let with_it =
        environs.filter(|environ| environ.split(|byte| *byte == 0).any(|pair| pair == wanted.as_bytes()));
    assert_eq!(with_it.count(), 2, "both instances, and neither the daemon nor the proxy");
}

#[test]
fn no_output_no_file_and_no_command_line_shows_it() {
    let mut scene = scene();
    let lines = [
        "env apply",
        "deploy validate --env production --version 1.0.0",
        "deploy --env production --version 1.0.0 -vv",
        "deploy diff --env production --version 1.1.0",
        "deploy --env production --version 1.1.0 --format json",
        "deploy rollback --env production --force --dry-run",
        "deploy rollback --env production --force -vv",
        "deploy status --env production --format json",
        "deploy history --env production --format json",
        "deploy candidates --env production --format json",
        "deploy rollbacks --env production --format json",
        "env show production",
        "env show production --format json",
        "notify test --env production",
        "notify status --format json",
        "audit list --format json",
        "doctor --format json",
        "daemon status --format json",
        "logs --env production",
    ];
    scene.artifact("1.0.0");
    scene.artifact("1.1.0");
    for line in lines {
        keeps_quiet(&scene.typed(line).ok());
    }
    scene.behaviour("crash_at_start");
    keeps_quiet(&scene.deploy("1.2.0").ends(3));

    for pid in scene.processes() {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!contains(&line, PASSWORD) && !contains(&line, SIGNING), "pid {pid}");
    }
    // Before and after everything in memory has been written out.
    for round in ["running", "stopped"] {
        let found = files(&scene.home);
        assert!(found.iter().any(|path| path.ends_with("orchestrate.db")), "{found:?}");
        for path in found {
            let Ok(bytes) = fs::read(&path) else { continue };
            assert!(!contains(&bytes, PASSWORD), "{round}: {}", path.display());
            assert!(!contains(&bytes, SIGNING), "{round}: {}", path.display());
        }
        scene.typed("daemon stop --all").ok();
    }
}

#[test]
fn a_mistake_in_the_config_file_does_not_show_a_secret_beside_it() {
    let mut scene = scene();
    scene.configure(|production| {
        production["secrets"] = json!({ "DB_PASSWORD": PASSWORD, "PORT": SIGNING });
    });
    let ran = scene.deploy("1.0.0").ends(2);
    assert!(ran.stderr.contains("PORT"), "{ran:?}");
    keeps_quiet(&ran);
    scene.write(
        "orchestrate.yaml",
        &format!("service: s\nenvironments:\n  production:\n    secret: {{ A: {PASSWORD} }}\n    x: [\n"),
    );
    keeps_quiet(&scene.deploy("1.0.0").ends(2));
}

#[test]
fn the_home_is_closed_to_others_and_an_open_one_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let scene = scene();
    scene.deploy("1.0.0").ok();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&scene.home), 0o700);
    for name in ["key", "orchestrate.db", "daemon.sock", "proxy.sock"] {
        assert_eq!(mode(&scene.home.join(name)) & 0o077, 0, "{name}");
    }
    fs::set_permissions(&scene.home, fs::Permissions::from_mode(0o755)).unwrap();
    let refused = scene.typed("deploy status --env production").ends(1);
    fs::set_permissions(&scene.home, fs::Permissions::from_mode(0o700)).unwrap();
    refused.says("is open to other users (mode 755)").says("chmod 700");
}

#[test]
fn a_rollback_that_cannot_read_the_secrets_is_refused_before_anything_is_touched() {
    let mut scene = scene();
    scene.configure(|production| production["strategy"] = json!({ "type": "recreate" }));
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    let (key, away) = (scene.home.join("key"), scene.home.join("key.away"));
    fs::rename(&key, &away).unwrap();
    let before = scene.processes();
    let back = "deploy rollback --env production --force";
    scene.typed(back).ends(1).says("1.0.0 cannot be restored as it was sealed").says("is missing");
    let plan = scene.typed("deploy rollback --env production --force --dry-run").ok();
    assert!(plan.stdout.contains("is missing"), "{plan:?}");
    let doctor = scene.typed("doctor").ends(1);
    assert!(doctor.stdout.contains("is missing"), "{doctor:?}");
    assert_eq!(scene.processes(), before, "nothing was stopped or started");
    assert!(!key.exists(), "nobody made another key");
    fs::rename(&away, &key).unwrap();
    scene.typed(back).ok();
}
