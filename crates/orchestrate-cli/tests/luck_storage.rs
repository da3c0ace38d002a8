//! The disk is full or read-only, the database is locked, damaged or newer, a state file is torn: it is said, users are
//! served all the same, and afterwards everything works.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod luck;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use luck::disk::Disk;
use luck::processes::{Kind, kill_and_wait, signal};
use luck::streams::get;
use luck::{Load, Ran, Scene, pause, until, within};
use rustix::process::Signal;

const STATUS: [&str; 4] = ["deploy", "status", "--env", "production"];

/// 1.1.0 is live and 1.0.0 is warm.
fn scene_at(home: &str) -> Scene {
    let scene = Scene::at(home);
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    scene
}

/// Done, refused, or failed and put back, with a reason that a person can act on.
#[track_caller]
fn is_clear(ran: &Ran) {
    let told = ran.stderr.contains("[ORC-") || ran.stderr.contains("\"ORC-");
    assert!(ran.code == 0 || ([1, 3].contains(&ran.code) && told), "{ran:?}");
    assert!(!ran.stderr.contains("ORC-0070"), "a full disk is no bug: {}", ran.stderr);
}

#[test]
fn on_a_full_disk_users_are_served_and_a_rollback_says_what_is_wrong() {
    let disk = Disk::new();
    let mut scene = Scene::at(&disk.home());
    // One that writes nothing: a service that ends because it cannot write its log is none of our business.
    let quiet = serde_json::json!([env!("CARGO_BIN_EXE_orchestrate"), "sample-service"]);
    scene.configure(|settings| settings["processes"]["web"]["command"] = quiet);
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    let load = Load::start(scene.address, 8);
    // What is left of the log could be written over, and it would not be noticed how full the disk is.
    scene.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    disk.fill_but(0);
    is_clear(&scene.run(&STATUS));
    let ran = scene.rollback().ends(3);
    is_clear(&ran);
    ran.says("ORC-0407").says("full");
    assert_eq!(scene.answering(), "1.1.0");
    // An instance that dies meanwhile comes back: its restart needs no record.
    let victim = scene.instances().into_iter().find(|process| process.version == "1.1.0").unwrap();
    kill_and_wait(&[victim.pid]);
    luck::until("it is back", || {
        let back = |process: &luck::processes::Process| process.instance == victim.instance;
        scene.instances().iter().any(back).then_some(())
    });
    disk.clear();
    scene.rollback().ok();
    assert_eq!(scene.records_are_true(), "1.0.0");
    let failed = load.stop().seen.iter().filter(|seen| seen.answer.is_err()).count();
    assert!(failed <= 8, "{failed} were lost, more than the killed instance can have had in hand");
    scene.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    disk.fill_but(0);
    scene.stop_all();
}

#[test]
fn a_deployment_onto_an_almost_full_disk_is_done_or_put_back() {
    let disk = Disk::new();
    let mut scene = Scene::at(&disk.home());
    scene.configure(|settings| settings["strategy"]["warm_for"] = serde_json::json!("0s"));
    scene.deploy("1.0.0").ok();
    let load = Load::start(scene.address, 8);
    let mut live = "1.0.0".to_owned();
    for (number, kib) in [0, 4, 8, 16, 24, 32, 48, 64, 96, 128, 256].into_iter().enumerate() {
        scene.sql("PRAGMA wal_checkpoint(TRUNCATE)");
        disk.fill_but(kib << 10);
        let version = format!("1.1.{number}");
        scene.deploy(&version).ends(1).says("ORC-0127").says("64 MiB are wanted");
        let mut args = scene.deploy_args(&version);
        args.push("--skip-validation");
        let ran = scene.run(&args);
        assert!(["1.0.0", &live, &version].contains(&scene.answering().as_str()));
        disk.clear();
        is_clear(&ran);
        let now = scene.records_are_true();
        let expected = if ran.code == 0 { &version } else { &live };
        // What failed for want of space at its very end may be finished by the daemon, once there is some.
        assert!(now == *expected || now == version, "{now} with {kib} KiB free: {ran:?}");
        live = now;
    }
    load.stop().lost_nothing();
    scene.deploy("2.0.0").ok();
    assert_eq!(scene.records_are_true(), "2.0.0");
}

#[test]
fn in_a_read_only_home_users_are_served_and_nothing_is_half_done() {
    let disk = Disk::new();
    let mut scene = scene_at(&disk.home());
    let load = Load::start(scene.address, 8);
    let (home, view) = (scene.home.clone(), disk.read_only_view());
    scene.home = view.home();
    for ran in [scene.run(&STATUS), scene.rollback(), scene.deploy("1.2.0")] {
        is_clear(&ran.ends(3).says("ORC-0404").says("read-only"));
    }
    scene.home = home;
    assert_eq!(scene.records_are_true(), "1.1.0");
    load.stop().lost_nothing();
    scene.rollback().ok();
    assert_eq!(scene.records_are_true(), "1.0.0");
    scene.stop_all();
    disk.remount("ro");
    for args in [&["daemon", "start"][..], &STATUS, &luck::scene::ROLLBACK] {
        is_clear(&scene.run(args).ends(3).says("ORC-0404"));
    }
    disk.remount("rw");
    scene.run(&["daemon", "start"]).ok();
    within(Duration::from_secs(5), "it answers", || get(scene.address, "/version").ok());
    assert_eq!(scene.records_are_true(), "1.0.0");
}

#[test]
fn a_locked_database_is_said_in_time() {
    let scene = scene_at("home");
    let load = Load::start(scene.address, 8);
    let lock = scene.lock_database();
    scene.run(&STATUS).ok();
    let asked = Instant::now();
    let ran = scene.rollback().ends(3);
    assert!(asked.elapsed() < Duration::from_secs(12), "only after {:?}", asked.elapsed());
    ran.says("ORC-0401").says(&format!("the database is locked by process {}", std::process::id()));
    assert_eq!(scene.answering(), "1.1.0");
    drop(lock);
    scene.rollback().ok();
    assert_eq!(scene.records_are_true(), "1.0.0");
    load.stop().lost_nothing();
}

#[test]
fn who_was_stopped_with_the_databases_lock_is_named_and_may_be_woken_or_killed() {
    let scene = scene_at("home");
    for (signals, live) in [(&[Signal::CONT, Signal::KILL][..], "1.0.0"), (&[Signal::KILL][..], "1.1.0")] {
        let holder = scene.lock_database_elsewhere();
        signal(holder.pid(), Signal::STOP);
        let ran = scene.run(&["deploy", "hold", "9.9.9", "--env", "production", "--reason", "test"]).ends(3);
        let pid = holder.pid();
        ran.says("ORC-0401")
            .says(&format!("process {pid}"))
            .says("stopped in the middle of a write")
            .says(&format!("kill -CONT {pid}"));
        signals.iter().for_each(|each| signal(pid, *each));
        until("the lock is free", || scene.can_write().then_some(()));
        let direction = if live == "1.0.0" { "--force" } else { "--undo" };
        scene.run(&["deploy", "rollback", "--env", "production", direction]).ok();
        assert_eq!(scene.records_are_true(), live);
    }
}

#[test]
fn a_database_that_is_locked_in_the_middle_of_a_deployment_delays_it_only() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    let load = Load::start(scene.address, 8);
    for (hold, version) in [(2, "1.1.0"), (8, "1.2.0")] {
        scene.service("HEALTHY_AFTER", "1000");
        let before = scene.answering();
        let mut command = scene.begin_deploy(version);
        command.await_line(&format!("start {version}"));
        let lock = scene.lock_database();
        pause(Duration::from_secs(hold));
        drop(lock);
        let ran = command.end();
        is_clear(&ran);
        let live = scene.records_are_true();
        assert!(live == version || live == before, "{live} after {ran:?}");
        assert!(ran.code != 0 || live == version, "{live} after {ran:?}");
    }
    load.stop().lost_nothing();
}

#[test]
fn a_damaged_database_is_said_and_left_alone() {
    let scene = scene_at("home");
    let load = Load::start(scene.address, 8);
    scene.run(&["daemon", "stop"]).ok();
    scene.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    let path = scene.home.join("orchestrate.db");
    let whole = fs::read(&path).unwrap();
    for from in [0, 100, 4096] {
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        let garbage = vec![0x5a; if from == 0 { 100 } else { whole.len() - from }];
        file.write_all_at(&garbage, from as u64).unwrap();
        let damaged = fs::read(&path).unwrap();
        for args in [&STATUS[..], &luck::scene::ROLLBACK, &["deploy", "history", "-e", "production"]] {
            scene.run(args).ends(3).says("ORC-0402").says("damaged");
        }
        assert!(fs::read(&path).unwrap() == damaged, "a damaged file was written to");
        for side in ["orchestrate.db-wal", "orchestrate.db-shm"] {
            let _ = fs::remove_file(scene.home.join(side));
        }
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(scene.answering(), "1.1.0");
    scene.run(&["daemon", "start"]).ok();
    scene.rollback().ok();
    assert_eq!(scene.records_are_true(), "1.0.0");
    load.stop().lost_nothing();
}

#[test]
fn a_newer_schema_is_refused() {
    let scene = scene_at("home");
    scene.run(&["daemon", "stop"]).ok();
    scene.sql(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (999, 'of a later release', 1, x'00', 0)",
    );
    for args in [&STATUS[..], &luck::scene::ROLLBACK] {
        scene.run(args).ends(1).says("ORC-0403").says("schema 999");
    }
    scene.run(&["daemon", "start"]).says("ORC-0403");
    assert_eq!(scene.answering(), "1.1.0");
    scene.sql("DELETE FROM _sqlx_migrations WHERE version = 999");
    scene.run(&["daemon", "start"]).ok();
    assert_eq!(scene.records_are_true(), "1.1.0");
}

/// Cuts a file short at several lengths; `between` says what dies before that.
fn torn(name: &str, dies: impl Fn(&Scene)) {
    for part in [0, 1, 50, 99] {
        let scene = scene_at("home");
        dies(&scene);
        let path = scene.home.join(name);
        let whole = fs::metadata(&path).unwrap().len();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(whole * part / 100).unwrap();
        scene.run(&["daemon", "start"]).ok();
        within(Duration::from_secs(5), "the live version answers", || {
            get(scene.address, "/version").ok().filter(|version| version == "1.1.0")
        });
        assert_eq!(scene.records_are_true(), "1.1.0", "{name} cut to {part} %");
        scene.rollback().ok();
        assert_eq!(scene.records_are_true(), "1.0.0", "{name} cut to {part} %");
    }
}

fn everything(scene: &Scene) {
    kill_and_wait(&[scene.pid(Kind::Daemon).unwrap()]);
    kill_and_wait(&scene.processes().iter().map(|process| process.pid).collect::<Vec<_>>());
}

#[test]
fn a_torn_state_of_the_proxy_is_recovered_from() {
    torn("proxy.json", everything);
}

#[test]
fn a_torn_record_of_instances_is_recovered_from() {
    torn("instances.json", everything);
}

#[test]
fn torn_files_are_recovered_from_while_services_run() {
    for name in ["proxy.json", "instances.json"] {
        let scene = scene_at("home");
        let before = scene.instances();
        kill_and_wait(&[scene.pid(Kind::Daemon).unwrap()]);
        kill_and_wait(&[scene.pid(Kind::Proxy).unwrap()]);
        fs::write(scene.home.join(name), "{\"format\": 1, \"fen").unwrap();
        scene.run(&["daemon", "start"]).ok();
        within(Duration::from_secs(5), "the live version answers", || get(scene.address, "/version").ok());
        assert_eq!(scene.records_are_true(), "1.1.0", "{name}");
        assert_eq!(scene.instances(), before, "{name}: instances were restarted");
        let logs = ["daemon.log", "proxy.log"].map(|log| fs::read_to_string(scene.home.join(log)));
        let logs = logs.into_iter().flatten().collect::<String>();
        assert!(logs.contains(name), "it is not said that {name} was damaged: {logs}");
    }
}
