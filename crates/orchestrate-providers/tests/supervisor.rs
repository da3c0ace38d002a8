//! The supervisor with real processes: start, health, restart, stop, fences.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;

use common::{WEB, World, is_alive, until};
use orchestrate_core::name::Fence;
use orchestrate_core::ports::{
    AwaitHealthy, InstanceState, PortErrorKind, Processes, Provider as _, StartRequest, StopRequest,
};
use orchestrate_core::time::Span;
use orchestrate_providers::Hosted as _;

const SOON: Span = Span::from_secs(15);
const SLEEPER: &str = "#!/bin/sh\necho up\nexec sleep 1000\n";

#[tokio::test]
async fn a_started_release_becomes_healthy_and_a_second_start_changes_nothing() {
    let world = World::new().await;
    let release = world.release(1, WEB, 2, 0);
    world.start(&release, 1).await.unwrap();
    let ready = world.healthy(&release, SOON).await.unwrap();
    assert_eq!(ready.iter().map(|i| i.id.as_str()).collect::<Vec<_>>(), ["blue-web-1", "blue-web-2"]);
    assert!(ready.iter().all(|instance| instance.state == InstanceState::Ready));
    let ports: Vec<u16> = ready.iter().map(|instance| instance.address.unwrap().port()).collect();
    assert!(ports[0] != ports[1] && ports.iter().all(|port| (20_000..30_000).contains(port)), "{ports:?}");

    let again = world.start(&release, 1).await.unwrap();
    assert_eq!(again, ready);
    assert_eq!(world.healthy(&release, SOON).await.unwrap(), ready);

    world.stop(&release, 1).await.unwrap();
    assert!(world.instances().await.is_empty());
    assert!(ready.iter().all(|instance| !is_alive(instance.pid.unwrap())));
    assert!(!world.home.path().join("run/production/blue-1").exists());
    world.stop(&release, 1).await.unwrap();
}

#[tokio::test]
async fn an_instance_sees_its_own_environment_and_nothing_of_ours() {
    let world = World::new().await;
    let release = world.release(1, "#!/bin/sh\nenv > seen.part; pwd >> seen.part; echo $0 $1 >> seen.part; ps -o pgid= -p $$ >> seen.part; mv seen.part seen; exec sleep 1000\n", 1, 0);
    let started = world.start(&release, 1).await.unwrap();
    let directory = world.home.path().canonicalize().unwrap().join("run/production/blue-1");
    let seen = world.line_in(&directory.join("seen")).await;
    let lines: Vec<&str> = seen.lines().collect();
    for wanted in [
        "GREETING=hello",
        "PASSWORD=hunter2",
        "ORCHESTRATE_VERSION=1.1.0",
        "ORCHESTRATE_ENVIRONMENT=production",
        &format!("PORT={}", started[0].address.unwrap().port()),
        &format!("{}/run argument", directory.display()),
        directory.to_str().unwrap(),
    ] {
        assert!(lines.contains(&wanted), "{wanted} is not in {seen}");
    }
    assert!(lines.iter().any(|line| line.starts_with("ORCHESTRATE_INSTANCE=blue-web-1.1.")), "{seen}");
    assert!(!seen.contains("CARGO"), "{seen}");
    assert_eq!(lines.last().unwrap().trim(), started[0].pid.unwrap().to_string());
    assert!(!fs::read_to_string(world.home.path().join("instances.json")).unwrap().contains("hunter2"));
    world.stop(&release, 1).await.unwrap();
}

#[tokio::test]
async fn a_crash_loop_fails_early_and_shows_the_last_output() {
    let world = World::new().await;
    let release = world.release(
        1,
        "#!/bin/sh\nfor i in 1 2 3; do echo line $i; done\necho address in use >&2\nexit 3\n",
        1,
        0,
    );
    world.start(&release, 1).await.unwrap();
    let error = world.healthy(&release, Span::from_secs(600)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Failed);
    assert!(error.message.contains("blue-web-1"), "{error}");
    assert!(error.message.contains("exited with status 3: address in use"), "{error}");
    assert_eq!(error.detail.unwrap(), "line 1\nline 2\nline 3\naddress in use");
    world.stop(&release, 1).await.unwrap();
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_an_error_of_the_start() {
    let world = World::new().await;
    let release = world.release(1, SLEEPER, 0, 1);
    let command = |text: &str| {
        world.edit(&release, |spec| spec.processes.get_mut("work").unwrap().command = vec![text.into()])
    };
    command("./missing");
    let error = world.start(&release, 1).await.unwrap_err();
    assert!(
        error.message.contains("`./missing` does not exist") && error.message.contains("blue-1"),
        "{error}"
    );
    assert!(world.instances().await.is_empty());

    let world = World::new().await;
    let release = world.release(1, SLEEPER, 0, 1);
    world.edit(&release, |spec| spec.processes.get_mut("work").unwrap().command = vec!["run".into()]);
    let error = world.start(&release, 1).await.unwrap_err();
    assert!(error.message.contains("in no directory of PATH"), "{error}");
    assert!(error.detail.unwrap().contains("`./run`"));

    let world = World::new().await;
    let release = world.release(1, "#!/no/such/interpreter\n", 0, 1);
    let error = world.start(&release, 1).await.unwrap_err();
    assert!(error.message.contains("`/no/such/interpreter` does not exist"), "{error}");
    assert!(world.instances().await.is_empty());
    assert_eq!(world.record()["slots"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn an_instance_that_dies_is_started_again_on_the_same_port() {
    let world = World::new().await;
    let release = world.release(1, WEB, 1, 0);
    world.start(&release, 1).await.unwrap();
    let before = world.healthy(&release, SOON).await.unwrap().remove(0);
    kill(before.pid.unwrap(), rustix::process::Signal::SEGV);
    let after =
        world.until(|now| now[0].restarts == 1 && now[0].state == InstanceState::Ready).await.remove(0);
    assert_ne!(after.pid, before.pid);
    assert_eq!(after.address, before.address);
    assert_eq!(after.last_exit.unwrap(), "killed by SIGSEGV: listening");
    world.healthy(&release, SOON).await.unwrap();
    world.stop(&release, 1).await.unwrap();
}

#[tokio::test]
async fn the_pause_before_a_restart_grows() {
    let world = World::new().await;
    let release = world.release(1, "#!/bin/sh\ndate +%s%N >> times\nexit 1\n", 0, 1);
    world.start(&release, 1).await.unwrap();
    world.until(|now| now[0].restarts == 4).await;
    world.stop(&release, 1).await.unwrap();
    // The working copy is gone with the stop, so the pauses are read before.
    let release = world.release(2, "#!/bin/sh\ndate +%s%N\nexit 1\n", 0, 1);
    world.start(&release, 1).await.unwrap();
    world.until(|now| now[0].restarts == 4).await;
    world.stop(&release, 1).await.unwrap();
    let log = fs::read_to_string(world.log(&release, "work")).unwrap();
    let times: Vec<u64> = log.lines().map(|line| line.parse().unwrap()).collect();
    let pauses: Vec<u64> = times.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000_000).collect();
    for (pause, least) in pauses.iter().zip([100, 200, 400]) {
        assert!(*pause >= least, "{pauses:?}");
    }
}

#[tokio::test]
async fn a_stop_kills_what_ignores_sigterm_with_its_children() {
    let world = World::new().await;
    let script = "#!/bin/sh\ntrap '' TERM\nsleep 1000 &\necho $! > child.part; mv child.part child\nwhile :; do wait; done\n";
    let release = world.release(1, script, 0, 1);
    world.edit(&release, |spec| spec.stop_timeout = Span::from_millis(300));
    let pid = world.start(&release, 1).await.unwrap()[0].pid.unwrap();
    let child: u32 =
        world.line_in(&world.home.path().join("run/production/blue-1/child")).await.parse().unwrap();
    world.stop(&release, 1).await.unwrap();
    assert!(!is_alive(pid) && !is_alive(child));
}

#[tokio::test]
async fn a_stop_waits_for_a_child_that_outlives_its_parent() {
    let world = World::new().await;
    let script = "#!/bin/sh\n(trap '' TERM; echo ready > up; sleep 0.5; echo done) &\nwait\n";
    let release = world.release(1, script, 0, 1);
    world.start(&release, 1).await.unwrap();
    world.line_in(&world.home.path().join("run/production/blue-1/up")).await;
    world.stop(&release, 1).await.unwrap();
    assert_eq!(fs::read_to_string(world.log(&release, "work")).unwrap(), "done\n");
}

#[tokio::test]
async fn what_a_dead_instance_left_behind_is_ended_before_it_is_started_again() {
    let world = World::new().await;
    let script =
        "#!/bin/sh\nif [ -e child ]; then exec sleep 1000; fi\nsleep 1000 &\necho $! > child\nkill -9 $$\n";
    let release = world.release(1, script, 0, 1);
    world.start(&release, 1).await.unwrap();
    world.until(|now| now[0].restarts == 1 && now[0].pid.is_some()).await;
    let child = world.line_in(&world.home.path().join("run/production/blue-1/child")).await;
    assert!(!is_alive(child.parse().unwrap()));
    world.stop(&release, 1).await.unwrap();
}

#[tokio::test]
async fn a_sick_instance_times_out_and_says_what_it_answered() {
    let world = World::new().await;
    let release = world.release(1, WEB, 1, 0);
    world.edit(&release, |spec| spec.health_check.expected_status = 204);
    world.start(&release, 1).await.unwrap();
    until(|| fs::read_to_string(world.log(&release, "web")).ok().filter(|text| text.contains("listening")))
        .await;
    let error = world.healthy(&release, Span::from_millis(1500)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::TimedOut);
    assert!(error.message.contains("GET / answered 200 instead of 204"), "{error}");
    assert_eq!(error.detail.as_deref(), Some("listening"));
    world.stop(&release, 1).await.unwrap();
}

#[tokio::test]
async fn a_ready_instance_that_falls_sick_is_unhealthy_until_it_recovers() {
    let world = World::new().await;
    let release = world.release(1, WEB, 1, 0);
    world.start(&release, 1).await.unwrap();
    world.healthy(&release, SOON).await.unwrap();
    let sick = world.home.path().join("run/production/blue-1/sick");
    fs::write(&sick, "").unwrap();
    world.until(|now| now[0].state == InstanceState::Unhealthy).await;
    fs::remove_file(&sick).unwrap();
    // A fresh question is answered by a fresh check, not by the state of a second ago.
    assert_eq!(world.healthy(&release, SOON).await.unwrap()[0].state, InstanceState::Ready);
    world.stop(&release, 1).await.unwrap();
}

#[tokio::test]
async fn an_older_fence_is_refused_also_by_the_next_supervisor() {
    let mut world = World::new().await;
    let release = world.release(1, SLEEPER, 0, 1);
    world.start(&release, 5).await.unwrap();
    assert_eq!(world.start(&release, 4).await.unwrap_err().kind, PortErrorKind::Fenced);
    assert_eq!(world.stop(&release, 4).await.unwrap_err().kind, PortErrorKind::Fenced);
    world.open().await;
    assert_eq!(world.stop(&release, 4).await.unwrap_err().kind, PortErrorKind::Fenced);
    assert_eq!(world.instances().await.len(), 1);
    world.stop(&release, 6).await.unwrap();
    assert_eq!(world.start(&release, 5).await.unwrap_err().kind, PortErrorKind::Fenced);
}

#[tokio::test]
async fn a_start_replaces_another_release_in_its_slot() {
    let world = World::new().await;
    let (first, second) = (world.release(1, SLEEPER, 0, 2), world.release(2, SLEEPER, 0, 1));
    let old = world.start(&first, 1).await.unwrap();
    let new = world.start(&second, 2).await.unwrap();
    assert_eq!(new.len(), 1);
    assert_eq!(new[0].placement, second);
    assert!(old.iter().all(|instance| !is_alive(instance.pid.unwrap())));
    assert!(!world.home.path().join("run/production/blue-1").exists());
    let error = world.healthy(&first, SOON).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotReady);
    world.healthy(&second, SOON).await.unwrap();
    world.stop(&second, 2).await.unwrap();
}

#[tokio::test]
async fn unrouted_processes_start_and_stop_by_themselves() {
    let world = World::new().await;
    let release = world.release(1, "#!/bin/sh\n[ -n \"$PORT\" ] && exec python3 -m http.server --bind 127.0.0.1 $PORT\nexec sleep 1000\n", 1, 2);
    let supervisor = world.supervisor();
    let (placement, fence) = (release.clone(), Fence(1));
    world.start(&release, 1).await.unwrap();
    assert_eq!(world.healthy(&release, SOON).await.unwrap().len(), 3);
    let stop =
        StopRequest { placement: placement.clone(), processes: Processes::Unrouted, fence, counts: None };
    supervisor.stop(&stop).await.unwrap();
    let left = world.instances().await;
    assert_eq!(left.iter().map(|i| i.process.as_str()).collect::<Vec<_>>(), ["web"]);
    let start =
        StartRequest { placement: placement.clone(), processes: Processes::Unrouted, fence, counts: None };
    supervisor.start(&start).await.unwrap();
    let wait = AwaitHealthy { placement, processes: Processes::Unrouted, deadline: SOON, counts: None };
    assert_eq!(supervisor.await_healthy(&wait).await.unwrap().len(), 2);
    let now = world.instances().await;
    assert!(now.iter().any(|instance| instance.pid == left[0].pid), "the routed one was left alone");
    supervisor.stop_everything().await.unwrap();
    assert!(now.iter().all(|instance| !is_alive(instance.pid.unwrap())));
    assert!(supervisor.environments().is_empty());
}

#[tokio::test]
async fn an_artifact_that_changed_in_the_store_is_not_started() {
    let world = World::new().await;
    let release = world.release(1, SLEEPER, 0, 1);
    let artifacts = world.home.path().join("artifacts");
    let kept = fs::read_dir(artifacts).unwrap().next().unwrap().unwrap().path().join("tree/run");
    let mut permissions = fs::metadata(&kept).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    fs::set_permissions(&kept, permissions).unwrap();
    fs::write(&kept, SLEEPER.replace("1000", "1001")).unwrap();
    let error = world.start(&release, 1).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Missing);
    assert!(error.message.contains("`run` differs"), "{error}");
    assert!(world.instances().await.is_empty());
    assert!(!world.home.path().join("run/production/blue-1").exists());
}

fn kill(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[tokio::test]
async fn the_log_of_a_running_instance_is_rotated_without_losing_a_line() {
    let mut world = World::new().await;
    world.close();
    world.logs.bytes = 32 * 1024;
    world.logs.parts = 200;
    world.open().await;
    let release = world.release(1, "#!/bin/sh\nseq 1 100000\necho end > end\nexec sleep 1000\n", 0, 1);
    world.start(&release, 1).await.unwrap();
    world.line_in(&world.home.path().join("run/production/blue-1/end")).await;
    let log = world.log(&release, "work");
    until(|| fs::metadata(&log).ok().filter(|about| about.len() < 32 * 1024)).await;
    world.stop(&release, 1).await.unwrap();
    let part = |number: u32| fs::read_to_string(format!("{}.{number}", log.display())).unwrap_or_default();
    let whole: String = (1..=200).rev().map(part).collect::<String>() + &fs::read_to_string(&log).unwrap();
    let expected: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    assert!(whole == expected, "{} bytes instead of {}", whole.len(), expected.len());
}

#[tokio::test]
async fn a_command_that_the_shell_does_not_find_fails_at_once() {
    let world = World::new().await;
    let release = world.release(1, "#!/bin/sh\nno-such-command\n", 1, 0);
    world.start(&release, 1).await.unwrap();
    let error = world.healthy(&release, Span::from_secs(600)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Failed);
    assert!(error.message.contains("cannot be started: it exited with status 127"), "{error}");
    assert!(error.detail.unwrap().contains("no-such-command"));
    assert_eq!(world.instances().await[0].restarts, 0);
    world.stop(&release, 1).await.unwrap();
}

#[tokio::test]
async fn a_start_goes_on_when_the_one_who_asked_is_gone() {
    let world = World::new().await;
    let release = world.release(1, SLEEPER, 0, 1);
    // Polled once, then dropped, like the request of a client that was killed.
    let request =
        StartRequest { placement: release.clone(), processes: Processes::All, fence: Fence(1), counts: None };
    let asked = tokio::time::timeout(std::time::Duration::ZERO, world.supervisor().start(&request));
    assert!(asked.await.is_err());
    world.until(|now| now.len() == 1).await;
    world.healthy(&release, SOON).await.unwrap();
    world.stop(&release, 1).await.unwrap();
}

#[tokio::test]
async fn a_home_without_space_starts_nothing_and_stops_everything() {
    let world = World::new().await;
    let (first, second) = (world.release(1, SLEEPER, 0, 1), world.release(2, SLEEPER, 0, 1));
    let pid = world.start(&first, 1).await.unwrap()[0].pid.unwrap();
    // The record cannot be replaced, as on a full disk.
    let obstacle = world.home.path().join("instances.json.next");
    fs::create_dir(&obstacle).unwrap();
    let mut green = second.clone();
    green.slot = orchestrate_core::slot::Slot::Green;
    let error = world.start(&green, 1).await.unwrap_err();
    assert!(error.message.contains("instances.json cannot be written"), "{error}");
    assert_eq!(world.instances().await.len(), 1);
    let error = world.stop(&first, 1).await.unwrap_err();
    assert!(error.message.contains("instances.json cannot be written"), "{error}");
    assert!(!is_alive(pid));
    fs::remove_dir(&obstacle).unwrap();
    // Asked again, it is also written down.
    world.stop(&first, 1).await.unwrap();
    assert_eq!(world.record()["slots"].as_array().unwrap().len(), 0);
}
