//! The home and the addresses: too long, open to others, somebody else's, taken.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod luck;

use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use luck::streams::get;
use luck::{Load, Scene, within};

fn open_to(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn an_address_in_use_is_refused_before_anything_is_touched() {
    let scene = Scene::new();
    let taken = TcpListener::bind(scene.address).unwrap();
    let ran = scene.deploy("1.0.0").ends(1);
    ran.says(&scene.address.to_string()).says("ORC-");
    assert_eq!(scene.instances(), []);
    drop(taken);
    scene.deploy("1.0.0").ok();
    assert_eq!(scene.records_are_true(), "1.0.0");
}

#[test]
fn an_address_that_is_ours_is_no_obstacle_and_a_new_one_that_is_taken_is() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    let load = Load::start(scene.address, 8);
    let other = luck::scene::free_address();
    let taken = TcpListener::bind(other).unwrap();
    scene.configure(|settings| settings["processes"]["web"]["listen"] = serde_json::json!(other));
    let ran = scene.deploy("1.1.0").ends(1);
    ran.says(&other.to_string());
    assert_eq!(scene.instances().len(), 2);
    let address = scene.address;
    scene.configure(|settings| settings["processes"]["web"]["listen"] = serde_json::json!(address));
    scene.deploy("1.1.0").ok();
    assert_eq!(scene.records_are_true(), "1.1.0");
    load.stop().lost_nothing();
    drop(taken);
}

#[test]
fn an_address_taken_while_everything_was_stopped_is_told_and_taken_back_once_it_is_free() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.stop_all();
    let taken = TcpListener::bind(scene.address).unwrap();
    scene.run(&["daemon", "start"]);
    within(Duration::from_secs(10), "it is told", || {
        let logs = ["daemon.log", "proxy.log"].map(|log| std::fs::read_to_string(scene.home.join(log)));
        let address = scene.address.to_string();
        logs.into_iter().flatten().any(|log| log.contains(&address)).then_some(())
    });
    // Whoever has the address is left alone.
    assert!(!scene.run(&["doctor"]).stdout.is_empty());
    drop(taken);
    within(Duration::from_secs(20), "it answers again", || get(scene.address, "/version").ok());
    assert_eq!(scene.records_are_true(), "1.0.0");
}

#[test]
fn a_home_with_a_very_long_path_works() {
    let scene = Scene::at(&["a-directory-with-a-rather-long-name"; 6].join("/"));
    assert!(scene.home.join("daemon.sock").as_os_str().len() > 200);
    scene.deploy("1.0.0").ok();
    let load = Load::start(scene.address, 8);
    scene.deploy("1.1.0").ok();
    scene.rollback().ok();
    scene.run(&["daemon", "stop"]).ok();
    scene.run(&["daemon", "start"]).ok();
    assert_eq!(scene.records_are_true(), "1.0.0");
    load.stop().lost_nothing();
    scene.stop_all();
}

#[test]
fn a_home_that_is_open_to_others_is_refused() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    for mode in [0o755, 0o770, 0o701] {
        open_to(&scene.home, mode);
        for args in
            [&["deploy", "status", "-e", "production"][..], &luck::scene::ROLLBACK, &["daemon", "start"]]
        {
            scene.run(args).ends(1).says("ORC-0205").says("chmod 700");
        }
    }
    open_to(&scene.home, 0o700);
    assert_eq!(scene.records_are_true(), "1.0.0");
}

#[test]
fn nothing_in_the_home_is_open_to_others() {
    let mut scene = Scene::new();
    scene.configure(|settings| settings["secrets"] = serde_json::json!({ "PASSWORD": "open sesame" }));
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    for name in
        ["key", "orchestrate.db", "daemon.sock", "wake.sock", "proxy.sock", "proxy.json", "instances.json"]
    {
        let mode = std::fs::metadata(scene.home.join(name)).unwrap().mode();
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
    let clear = files(&scene.home).into_iter().filter(|path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(11).any(|window| window == b"open sesame")
    });
    assert_eq!(clear.collect::<Vec<_>>(), Vec::<PathBuf>::new(), "a secret in clear");
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(files(&entry.path())),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

#[test]
fn another_user_reads_nothing_and_reaches_nobody() {
    let mut scene = Scene::new();
    scene.configure(|settings| settings["secrets"] = serde_json::json!({ "PASSWORD": "open sesame" }));
    scene.deploy("1.0.0").ok();
    // All around the home is open, so that only the home and what is in it can keep others out.
    open_to(&scene.path(""), 0o755);
    let program = scene.path("intruder");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    open_to(&program, 0o755);
    let as_nobody = |home: &Path| {
        let mut command = Command::new("runuser");
        command.args(["-u", "nobody", "--"]).arg(&program);
        command
            .args(["--exact", "intrude", "--ignored", "--nocapture"])
            .env("INTRUDE", home)
            .current_dir("/");
        let output = command.output().expect("this test runs as root, with runuser");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(String::from_utf8_lossy(&output.stdout).contains("tried everything"), "{output:?}");
    };
    as_nobody(&scene.home);
    let binary = scene.path("orchestrate");
    std::fs::copy(env!("CARGO_BIN_EXE_orchestrate"), &binary).unwrap();
    let mut command = Command::new("runuser");
    command.args(["-u", "nobody", "--"]).arg(&binary).arg("--home").arg(&scene.home);
    let output = command.args(["deploy", "status", "-e", "production"]).current_dir("/").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("ORC-0205"), "{output:?}");
    // Even where somebody opens the home's directory by mistake, the sockets and files in it are closed.
    open_to(&scene.home, 0o755);
    as_nobody(&scene.home);
    open_to(&scene.home, 0o700);
    assert_eq!(scene.records_are_true(), "1.0.0");
}

#[test]
#[ignore = "another test runs it as another user"]
fn intrude() {
    let Some(home) = std::env::var_os("INTRUDE").map(PathBuf::from) else { return };
    for socket in ["daemon.sock", "proxy.sock"] {
        let connected = UnixStream::connect(home.join(socket));
        assert_eq!(connected.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied, "{socket}");
    }
    let wake = std::os::unix::net::UnixDatagram::unbound().unwrap();
    let rung = wake.send_to(&[1], home.join("wake.sock"));
    assert_eq!(rung.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied, "wake.sock");
    for name in ["key", "orchestrate.db", "orchestrate.db-wal", "instances.json", "proxy.json"] {
        let opened = std::fs::File::open(home.join(name)).map(|mut file| file.read(&mut [0]));
        assert_eq!(opened.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied, "{name}");
    }
    println!("tried everything");
}
