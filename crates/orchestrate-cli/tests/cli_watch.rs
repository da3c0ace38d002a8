//! Looking on while things change.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::{Scene, until};

fn interrupt(child: &mut std::process::Child) -> Option<i32> {
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    until("it ends", || child.try_wait().unwrap()).code()
}

#[test]
fn in_a_pipe_every_change_is_a_line_and_ctrl_c_is_no_failure() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    let path = scene.work.join("watched");
    let mut watch = scene
        .command(&["deploy", "status", "--env", "production", "--watch"])
        .stdout(fs::File::create(&path).unwrap())
        .spawn()
        .unwrap();
    let seen = |text: &str| {
        until(text, || fs::read_to_string(&path).unwrap().contains(text).then_some(()));
    };
    seen("1.0.0 is live in blue");
    scene.deploy("1.1.0").ok();
    seen("1.1.0 is live in green");
    scene.rollback().ok();
    seen("1.1.0 held: rollback 1");
    assert_eq!(interrupt(&mut watch), Some(0));
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().map(|line| line.split_once(" UTC ").unwrap().1).collect();
    assert!(lines.windows(2).all(|two| two[0] != two[1]), "a line is a change: {text}");
    assert!(!text.contains('\x1b'), "{text}");
}

#[test]
fn on_a_terminal_it_is_redrawn_with_what_ends_by_itself() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    let path = scene.work.join("drawn");
    // `script` of util-linux makes a terminal and writes down what is drawn on it.
    let line = format!("{} deploy status --env production --watch", support::scene::PROGRAM);
    let mut terminal = Command::new("script")
        .args(["-qefc", &line])
        .arg(&path)
        .current_dir(&scene.work)
        .env("ORCHESTRATE_HOME", &scene.home)
        .env("HOME", &scene.work)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let redrawn = || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        (text.matches("1.0.0 stays warm for another 14 min").count() > 2).then_some(text)
    };
    let text = until("it is redrawn", redrawn);
    assert!(text.contains("\x1b[H") && text.contains("Ctrl-C ends this"), "{text}");
    // What a person types: the terminal makes a signal of it.
    std::io::Write::write_all(terminal.stdin.as_mut().unwrap(), b"\x03").unwrap();
    let ended = until("it ends", || terminal.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
}
