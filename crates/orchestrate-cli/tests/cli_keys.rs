//! The key of the secrets: where it comes from, that it can be changed while everything runs, and that a rotation which is
//! killed at any instant leaves a home that reads all its secrets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Scene, pause};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OTHER: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A service that starts only with its secret; one release at a time, so that every rollback starts instances.
fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.configure(|production| {
        production["secrets"] = json!({ "DB_PASSWORD": "${PROD_DB_PASSWORD}" });
        production["strategy"] = json!({ "type": "recreate" });
    });
    scene.variable("PROD_DB_PASSWORD", "hunter2");
    scene
}

fn list(scene: &Scene) -> Value {
    scene.json("secrets list --env production").ok().json()
}

#[track_caller]
fn all_readable(scene: &Scene) {
    let list = list(scene);
    let rows = list.as_array().unwrap();
    assert!(!rows.is_empty() && rows.iter().all(|row| row["readable"] == true), "{list}");
}

#[test]
fn a_rotation_under_a_running_daemon_is_seen_by_the_next_start_and_recorded() {
    let mut scene = scene();
    scene.deploy("1.0.0").ok();
    scene.variable("PROD_DB_PASSWORD", "hunter3");
    scene.deploy("1.1.0").ok();
    let (before, daemon) = (fs::read(scene.home.join("key")).unwrap(), daemon(&scene));
    let rotated = scene.json("secrets rotate").ok().json();
    assert_eq!((rotated["resealed"].clone(), rotated["unreadable"].clone()), (json!(2), json!([])));
    assert_ne!(fs::read(scene.home.join("key")).unwrap(), before);
    assert!(!scene.home.join("key.next").exists());

    scene.rollback().ok();
    assert_eq!(scene.answers(), "1.0.0");
    let environs =
        scene.processes().into_iter().filter_map(|pid| fs::read(format!("/proc/{pid}/environ")).ok());
    assert!(environs.into_iter().any(|all| String::from_utf8_lossy(&all).contains("DB_PASSWORD=hunter2")));
    assert_eq!(self::daemon(&scene), daemon, "nobody had to restart it");

    let rows = list(&scene);
    let of = |row: &Value| (row["name"].clone(), row["version"].clone(), row["readable"].clone());
    let wanted =
        [(json!("DB_PASSWORD"), json!(2), json!(true)), (json!("DB_PASSWORD"), json!(1), json!(true))];
    assert_eq!(rows.as_array().unwrap().iter().map(of).collect::<Vec<_>>(), wanted);
    let audit = scene.json("audit list").ok().json();
    let rotated = audit.as_array().unwrap().iter().find(|row| row["action"] == "secrets_rotated").unwrap();
    assert_eq!(
        (rotated["actor"].clone(), rotated["detail"]["resealed"].clone()),
        (json!("alice@desk"), json!(2))
    );

    // The key of before opens nothing any more.
    fs::write(scene.home.join("key"), &before).unwrap();
    assert!(list(&scene).as_array().unwrap().iter().all(|row| row["readable"] == false));
}

fn daemon(scene: &Scene) -> Value {
    scene.json("daemon status").ok().json()["daemon"]["pid"].clone()
}

#[test]
fn a_rotation_that_is_killed_at_any_instant_leaves_every_secret_readable() {
    let mut scene = scene();
    scene.configure(|production| {
        for number in 0..60 {
            production["secrets"][format!("SECRET_{number}")] = json!(format!("value {number}"));
        }
    });
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    let began = std::time::Instant::now();
    scene.typed("secrets rotate").ok();
    let whole = began.elapsed();
    let mut cut_off = 0;
    for round in 0..40_u32 {
        let rotation = scene.begin(&["secrets", "rotate"]);
        // The rounds are spread over the time that a whole one takes.
        pause(whole.mul_f64(f64::from(round) / 40.0).max(Duration::from_micros(100)));
        rotation.signal_if_it_runs(Signal::KILL);
        cut_off += usize::from(rotation.end().status != 0);
        all_readable(&scene);
    }
    assert!(cut_off > 0, "none was cut off");
    scene.rollback().ok();
    assert_eq!(scene.answers(), "1.0.0");
    scene.typed("secrets rotate").ok();
    assert!(!scene.home.join("key.next").exists());
    all_readable(&scene);
}

#[test]
fn a_command_hands_out_the_keys_and_the_daemon_asks_the_same_one() {
    let mut scene = scene();
    let vault = scene.script("vault", &format!("cat '{}'", scene.work.join("keys").display()));
    scene.write("keys", &format!("{KEY}\n"));
    scene.variable("ORCHESTRATE_KEY_COMMAND", &json!([vault]).to_string());
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    assert!(!scene.home.join("key").exists(), "no key lies in the home");
    scene.typed("doctor").ok().prints("printed by");

    // The newest comes first; what is sealed with the older one is sealed anew.
    scene.write("keys", &format!("{OTHER}\n{KEY}\n"));
    scene.typed("secrets rotate").ok();
    scene.write("keys", &format!("{OTHER}\n"));
    all_readable(&scene);
    scene.rollback().ok();
    assert_eq!(scene.answers(), "1.0.0");

    scene.typed("daemon stop").ok();
    scene.write("keys", "hunter2\n");
    let refused = scene.typed("deploy rollback --env production --force --undo");
    assert_eq!(refused.status, 1, "{refused:?}");
    assert!(refused.says("that are no key").stderr.contains("8 bytes"));
}

#[test]
fn a_place_that_was_named_once_is_found_without_its_name_and_a_relative_one_from_anywhere() {
    let mut scene = scene();
    fs::create_dir(scene.work.join("safe")).unwrap();
    scene.variable("ORCHESTRATE_KEY_FILE", "safe/key");
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    assert!(scene.work.join("safe/key").exists() && !scene.home.join("key").exists());
    scene.typed("daemon stop").ok();
    // Another shell, which knows nothing of the place; its daemon neither.
    scene.variable("ORCHESTRATE_KEY_FILE", "");
    scene.rollback().ok();
    assert_eq!(scene.answers(), "1.0.0");
    all_readable(&scene);
    scene.typed("secrets rotate").ok();
    assert!(!scene.home.join("key").exists(), "nobody made another key");
    all_readable(&scene);
    scene.variable("ORCHESTRATE_KEY_FILE", "safe/key").variable("ORCHESTRATE_KEY_COMMAND", "cat /etc/key");
    scene.typed("doctor").ends(1).prints("are both set");
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let scene = scene();
    scene.deploy("1.0.0").ok();
    fs::set_permissions(scene.home.join("key"), fs::Permissions::from_mode(0o640)).unwrap();
    scene.typed("doctor").ends(1).prints("is open to other users");
    scene.typed("secrets rotate").ends(1).says("[ORC-0205]");
}

/// It may only be away, as with a volume that is not mounted.
#[test]
fn a_key_that_is_missing_is_not_made_anew_while_secrets_are_sealed_with_it() {
    let mut scene = scene();
    scene.deploy("1.0.0").ok();
    let (key, away) = (scene.home.join("key"), scene.work.join("away"));
    fs::rename(&key, &away).unwrap();
    scene.variable("PROD_DB_PASSWORD", "hunter3");
    scene.deploy("1.1.0").ends(1).says("is missing").says("[ORC-0219]");
    assert!(!key.exists(), "another key was made");
    assert_eq!(scene.answers(), "1.0.0");
    fs::rename(&away, &key).unwrap();
    scene.deploy("1.1.0").ok();
    all_readable(&scene);
    // One that is lost for good is given up by whoever says so.
    fs::remove_file(&key).unwrap();
    scene.typed("secrets rotate").ends(1).says("[ORC-0219]").says("--skip-unreadable");
    scene.typed("secrets rotate --skip-unreadable").ok();
    scene.deploy("1.2.0").ok();
    assert_eq!(scene.answers(), "1.2.0");
}

#[test]
fn a_torn_note_of_where_the_key_is_makes_no_other_key_and_is_written_anew() {
    let mut scene = scene();
    let key = scene.work.join("elsewhere");
    scene.variable("ORCHESTRATE_KEY_FILE", key.to_str().unwrap());
    scene.deploy("1.0.0").ok();
    all_readable(&scene);
    let note = scene.home.join("key-source.json");
    let whole = fs::read(&note).unwrap();
    scene.variable("ORCHESTRATE_KEY_FILE", "");
    scene.variable("PROD_DB_PASSWORD", "hunter3");
    for length in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(&note, &whole[..length]).unwrap();
        scene.deploy("1.1.0").ends(1).says("[ORC-0237]").says("ORCHESTRATE_KEY_FILE");
        scene.typed("doctor").ends(1).prints("key-source.json").prints("ORCHESTRATE_KEY_FILE");
        assert!(!scene.home.join("key").exists(), "another key was made");
    }
    scene.variable("ORCHESTRATE_KEY_FILE", key.to_str().unwrap());
    scene.typed("doctor").ok();
    assert_eq!(fs::read(&note).unwrap(), whole);
    scene.variable("ORCHESTRATE_KEY_FILE", "");
    scene.deploy("1.1.0").ok();
    all_readable(&scene);
    scene.rollback().ok();
}
