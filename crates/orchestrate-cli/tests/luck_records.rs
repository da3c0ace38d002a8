//! The database is copied under load, damaged, and put back; what serves users meanwhile goes on, whatever the records say.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod luck;

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::time::Duration;

use luck::disk::Disk;
use luck::streams::get;
use luck::{Load, Scene, within};

fn text(scene: &Scene, name: &str) -> String {
    scene.path(name).display().to_string()
}

#[test]
fn an_older_backup_leaves_alone_what_runs_until_a_person_accepts_it() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    let load = Load::start(scene.address, 8);
    let file = text(&scene, "monday.db");
    scene.run(&["db", "backup", &file]).ok();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    scene.run(&["db", "backup", &file]).ends(1).says("ORC-0414");
    scene.deploy("1.1.0").ok();
    scene.deploy("1.2.0").ok();
    scene.run(&["db", "restore", &file]).ends(1).says("ORC-0416").says("daemon stop");
    scene.run(&["daemon", "stop"]).ok();
    let lock = scene.lock_database();
    scene.run(&["db", "restore", &file]).ends(1).says("ORC-0416");
    drop(lock);
    let restored = scene.run(&["db", "restore", &file, "--format", "json"]).ok().json();
    assert!(restored["replaced"].as_str().unwrap().contains("orchestrate.db.replaced-2"));
    scene.run(&["daemon", "start"]).ok();
    within(Duration::from_secs(10), "the daemon says that it leaves alone what runs", || {
        let log = fs::read_to_string(scene.home.join("daemon.log")).unwrap();
        log.contains("come from a backup and are not what runs").then_some(())
    });
    scene.run(&["env", "check", "production"]).ends(1);
    scene.rollback().ends(1).says("ORC-0160");
    scene.deploy("1.3.0").ends(1).says("ORC-0160");
    assert_eq!(scene.answering(), "1.2.0");
    scene.run(&["env", "accept", "production"]).ok();
    within(Duration::from_secs(20), "what is recorded has the traffic", || {
        get(scene.address, "/version").ok().filter(|version| version == "1.0.0")
    });
    load.stop().lost_nothing();
    scene.run(&["env", "accept", "production"]).ends(1).says("ORC-0161");
    scene.deploy("1.3.0").ok();
    assert_eq!(scene.records_are_true(), "1.3.0");
    scene.run(&["db", "check"]).ok();
}

/// Of what it does not know, too: what runs goes on until something else was deployed and answers.
#[test]
fn a_backup_from_before_the_first_deployment_costs_nobody_a_request() {
    let scene = Scene::new();
    scene.run(&["env", "apply"]).ok();
    let file = text(&scene, "monday.db");
    scene.run(&["db", "backup", &file]).ok();
    scene.deploy("1.0.0").ok();
    let load = Load::start(scene.address, 8);
    scene.run(&["daemon", "stop"]).ok();
    scene.run(&["db", "restore", &file]).ok();
    scene.run(&["daemon", "start"]).ok();
    let status = scene.run(&["deploy", "status", "--env", "production"]).ok();
    assert!(status.stdout.contains("restored from a backup"), "{status:?}");
    scene.run(&["doctor"]).ends(1);
    scene.run(&["env", "accept", "production"]).ok();
    assert_eq!(scene.answering(), "1.0.0", "what ran goes on");
    scene.deploy("1.1.0").ok();
    assert_eq!(scene.answering(), "1.1.0");
    // What ran before runs on, without traffic, until its place is needed.
    scene.deploy("1.2.0").ok();
    load.stop().lost_nothing();
    assert_eq!(scene.records_are_true(), "1.2.0");
}

#[test]
fn a_damaged_database_is_replaced_by_its_backup_and_kept() {
    let scene = Scene::with_two_releases();
    let load = Load::start(scene.address, 8);
    let (file, path) = (text(&scene, "backup.db"), scene.home.join("orchestrate.db"));
    scene.run(&["db", "backup", &file]).ok();
    scene.run(&["db", "check"]).ok();
    scene.run(&["daemon", "stop"]).ok();
    let damaged = vec![0x5a; 64 << 10];
    fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&damaged, 4096).unwrap();
    scene.run(&["db", "check"]).ends(4);
    scene.run(&["db", "restore", &text(&scene, "orchestrate.yaml")]).ends(1).says("ORC-0415");
    let kept = scene.run(&["db", "restore", &file, "--format", "json"]).ok().json();
    let kept = fs::read(kept["replaced"].as_str().unwrap()).unwrap();
    assert!(kept.windows(100).any(|bytes| bytes == &damaged[..100]), "what was there is kept");
    scene.run(&["daemon", "start"]).ok();
    // The records are what runs, so nobody has to accept them.
    within(Duration::from_secs(20), "it counts again", || (scene.rollback().code == 0).then_some(()));
    assert_eq!(scene.records_are_true(), "1.0.0");
    scene.run(&["audit", "verify"]).ok();
    load.stop().lost_nothing();
}

#[test]
fn a_backup_that_has_no_room_leaves_nothing_and_takes_nothing_away() {
    let disk = Disk::new();
    let scene = Scene::at(&disk.home());
    scene.run(&["env", "apply"]).ok();
    let file = scene.home.join("backup.db").display().to_string();
    scene.run(&["db", "backup", &file]).ok();
    let before = fs::read(&file).unwrap();
    disk.fill_but(8 << 10);
    scene.run(&["db", "backup", &file, "--force"]).ends(3).says("full");
    assert!(fs::read(&file).unwrap() == before);
    assert!(
        !fs::read_dir(&scene.home)
            .unwrap()
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().contains("part-"))
    );
    disk.clear();
    scene.run(&["db", "backup", &file, "--force"]).ok();
}
