//! What a new supervisor makes of what an earlier one left, however that one ended.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use common::{WEB, World, in_time, is_alive};
use orchestrate_core::ports::InstanceState;
use orchestrate_core::time::Span;
use orchestrate_providers::process::{Supervisor, SupervisorOptions};

const SOON: Span = Span::from_secs(15);
const SLEEPER: &str = "#!/bin/sh\necho up\nexec sleep 1000\n";
const INSTANCE: &str = "/slots/0/instances/blue-work-1";

#[tokio::test]
async fn a_new_supervisor_adopts_what_runs() {
    let mut world = World::new().await;
    let release = world.release(1, WEB, 2, 1);
    world.edit(&release, |spec| {
        spec.processes.get_mut("work").unwrap().command = vec!["sleep".into(), "1000".into()]
    });
    world.start(&release, 1).await.unwrap();
    let before = world.healthy(&release, SOON).await.unwrap();
    world.open().await;
    let after = world.instances().await;
    assert_eq!(after, before, "same pids, same addresses, ready from the first look on");

    let pid = after[0].pid.unwrap();
    kill(pid);
    let restarted = world.until(|now| now[0].restarts == 1 && now[0].state == InstanceState::Ready).await;
    assert_ne!(restarted[0].pid, Some(pid));
    assert_eq!(restarted[0].address, before[0].address);
    world.stop(&release, 1).await.unwrap();
    assert!(before.iter().all(|instance| !is_alive(instance.pid.unwrap())));
}

#[tokio::test]
async fn what_died_meanwhile_is_started_again() {
    let mut world = World::new().await;
    let release = world.release(1, SLEEPER, 0, 1);
    let pid = world.start(&release, 1).await.unwrap()[0].pid.unwrap();
    world.close();
    kill(pid);
    world.open().await;
    let now = world.until(|now| now[0].pid.is_some_and(|now| now != pid)).await;
    assert_eq!(now[0].restarts, 1);
    world.stop(&release, 1).await.unwrap();
}

#[tokio::test]
async fn a_process_that_was_not_recorded_any_more_is_found_by_its_name() {
    let mut world = World::new().await;
    let release = world.release(1, SLEEPER, 0, 1);
    let pid = world.start(&release, 1).await.unwrap()[0].pid.unwrap();
    // As if the daemon had died between the fork and the record.
    world.close();
    world.edit_record(|record| record.pointer_mut(INSTANCE).unwrap()["mark"] = serde_json::Value::Null);
    world.open().await;
    assert_eq!(world.instances().await[0].pid, Some(pid));

    // The same in a restart, of which the record knows the run before.
    kill(pid);
    let next = world.until(|now| now[0].restarts == 1 && now[0].pid.is_some()).await[0].pid;
    let (ready, mark) = (next, serde_json::json!({"pid": pid, "started": 1}));
    world.until(|now| now[0].state == InstanceState::Ready).await;
    world.close();
    world.edit_record(|record| {
        let entry = record.pointer_mut(INSTANCE).unwrap();
        entry["run"] = 0.into();
        entry["mark"] = mark;
    });
    world.open().await;
    assert_eq!(world.instances().await[0].pid, ready);
    world.stop(&release, 1).await.unwrap();
    assert!(!is_alive(ready.unwrap()));
}

#[tokio::test]
async fn an_intent_without_any_process_is_started() {
    let mut world = World::new().await;
    let release = world.release(1, SLEEPER, 0, 1);
    let pid = world.start(&release, 1).await.unwrap()[0].pid.unwrap();
    world.close();
    kill(pid);
    world.edit_record(|record| record.pointer_mut(INSTANCE).unwrap()["mark"] = serde_json::Value::Null);
    world.open().await;
    world.healthy(&release, SOON).await.unwrap();
    world.stop(&release, 1).await.unwrap();
}

#[tokio::test]
async fn a_pid_that_now_means_another_process_is_never_signalled() {
    let mut world = World::new().await;
    let release = world.release(1, SLEEPER, 0, 1);
    let pid = world.start(&release, 1).await.unwrap()[0].pid.unwrap();
    world.close();
    kill(pid);
    let bystander = Bystander::new();
    world.edit_record(|record| {
        // Only its start time tells it from the instance.
        record.pointer_mut(INSTANCE).unwrap()["mark"] =
            serde_json::json!({"pid": bystander.0.id(), "started": start_time(bystander.0.id()) - 1});
    });
    world.open().await;
    let now = world.healthy(&release, SOON).await.unwrap();
    assert_ne!(now[0].pid, Some(bystander.0.id()));
    world.stop(&release, 1).await.unwrap();
    assert!(is_alive(bystander.0.id()));
}

#[tokio::test]
async fn after_a_boot_everything_that_should_run_is_started_from_its_working_copy() {
    let mut world = World::new().await;
    let release = world.release(1, "#!/bin/sh\necho once >> starts\nexec sleep 1000\n", 0, 1);
    let pid = world.start(&release, 1).await.unwrap()[0].pid.unwrap();
    world.healthy(&release, SOON).await.unwrap();
    world.close();
    kill(pid);
    let bystander = Bystander::new();
    let started = start_time(bystander.0.id());
    world.edit_record(|record| {
        record["boot"] = "another".into();
        // After a boot even pid and start time may be met again.
        record.pointer_mut(INSTANCE).unwrap()["mark"] =
            serde_json::json!({"pid": bystander.0.id(), "started": started});
    });
    world.open().await;
    let now = world.healthy(&release, SOON).await.unwrap();
    assert_ne!(now[0].pid, Some(bystander.0.id()));
    let starts = fs::read_to_string(world.home.path().join("run/production/blue-1/starts")).unwrap();
    assert_eq!(starts, "once\nonce\n", "what the service wrote is still there");

    // A working copy that the loss of power tore is replaced.
    world.close();
    kill(now[0].pid.unwrap());
    fs::write(world.home.path().join("run/production/blue-1/run"), "").unwrap();
    world.edit_record(|record| record["boot"] = "another".into());
    world.open().await;
    world.healthy(&release, SOON).await.unwrap();
    let starts = fs::read_to_string(world.home.path().join("run/production/blue-1/starts")).unwrap();
    assert_eq!(starts, "once\n");
    world.stop(&release, 1).await.unwrap();
    assert!(is_alive(bystander.0.id()));
}

#[tokio::test]
async fn a_stop_that_a_crash_interrupted_goes_on() {
    let mut world = World::new().await;
    let release = world.release(1, SLEEPER, 0, 1);
    let pid = world.start(&release, 1).await.unwrap()[0].pid.unwrap();
    world.close();
    world.edit_record(|record| record.pointer_mut(INSTANCE).unwrap()["stopping"] = true.into());
    world.open().await;
    world.until(|now| now.is_empty()).await;
    assert!(!is_alive(pid));
    // And a start that comes meanwhile waits for it.
    let pid = world.start(&release, 1).await.unwrap()[0].pid.unwrap();
    world.close();
    world.edit_record(|record| record.pointer_mut(INSTANCE).unwrap()["stopping"] = true.into());
    world.open().await;
    let fresh = world.start(&release, 1).await.unwrap();
    assert!(fresh.len() == 1 && fresh[0].pid != Some(pid) && !is_alive(pid));
    world.healthy(&release, SOON).await.unwrap();
    world.stop(&release, 1).await.unwrap();
}

#[tokio::test]
async fn a_damaged_record_is_moved_aside_and_what_runs_is_adopted() {
    let mut world = World::new().await;
    let release = world.release(1, WEB, 1, 1);
    world.edit(&release, |spec| {
        spec.processes.get_mut("work").unwrap().command = vec!["sleep".into(), "1000".into()]
    });
    world.start(&release, 3).await.unwrap();
    let before = world.healthy(&release, SOON).await.unwrap();
    let path = world.home.path().join("instances.json");
    let whole = fs::read(&path).unwrap();
    for length in [0, 1, whole.len() / 3, whole.len() / 2, whole.len() - 2] {
        world.close();
        fs::write(&path, &whole[..length]).unwrap();
        let supervisor = world.open().await;
        assert!(supervisor.warnings()[0].contains("damaged"), "{:?}", supervisor.warnings());
        drop(supervisor);
        let after = world.instances().await;
        let facts = |all: &[orchestrate_core::ports::Instance]| -> Vec<_> {
            all.iter().map(|i| (i.id.clone(), i.pid, i.address, i.placement.clone(), i.state)).collect()
        };
        assert_eq!(facts(&after), facts(&before), "cut to {length} bytes");
    }
    let aside = fs::read_dir(world.home.path()).unwrap().flatten();
    let aside = aside.filter(|entry| entry.file_name().to_string_lossy().contains("damaged")).count();
    assert_eq!(aside, 5);
    world.stop(&release, 3).await.unwrap();
    assert!(before.iter().all(|instance| !is_alive(instance.pid.unwrap())));
}

#[tokio::test]
async fn a_home_has_one_supervisor() {
    let world = World::new().await;
    let options =
        SupervisorOptions::new(world.home.path().to_path_buf(), world.store.clone(), world.specs.clone());
    let error = in_time(Supervisor::open(options)).await.err().unwrap();
    assert_eq!(error.code(), "ORC-0320");
}

#[tokio::test]
async fn a_working_copy_that_nothing_runs_in_is_cleared() {
    let mut world = World::new().await;
    world.close();
    let left = world.home.path().join("run/production/green-7");
    fs::create_dir_all(&left).unwrap();
    world.open().await;
    assert!(!left.exists());
}

/// A process that is none of the supervisor's business.
struct Bystander(Child);

impl Bystander {
    fn new() -> Self {
        let mut command = Command::new("sleep");
        command.arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).unwrap();
    }
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn start_time(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat[stat.rfind(')').unwrap() + 1..].split_ascii_whitespace().nth(19).unwrap().parse().unwrap()
}
