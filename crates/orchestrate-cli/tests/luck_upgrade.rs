//! Another program takes over daemon and proxy, and whoever is served does not notice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod luck;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use luck::processes::{self, Kind};
use luck::streams::{Stream, slow_download, slow_upload, tunnel};
use luck::{Load, Scene, pause, until};
use serde_json::{Value, json};

/// Users that come with a new connection each time, and are answered.
struct Comers {
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    came: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Comers {
    fn start(address: SocketAddr) -> Self {
        let (stop, refused, came): (Arc<AtomicBool>, Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let (stopped, no, yes) = (Arc::clone(&stop), Arc::clone(&refused), Arc::clone(&came));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match TcpStream::connect_timeout(&address, Duration::from_secs(10)) {
                    Ok(_) => yes.fetch_add(1, Ordering::Relaxed),
                    Err(_) => no.fetch_add(1, Ordering::Relaxed),
                };
                pause(Duration::from_micros(500));
            }
        });
        Self { stop, refused, came, thread: Some(thread) }
    }

    /// Ends them; nobody was refused.
    #[track_caller]
    fn all_were_taken(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        let (refused, came) = (self.refused.load(Ordering::Relaxed), self.came.load(Ordering::Relaxed));
        assert!(came > 100, "only {came} came");
        assert_eq!(refused, 0, "of {} connections so many were refused", came + refused);
    }
}

fn daemon_status(scene: &Scene) -> Value {
    scene.run(&["daemon", "status", "--format", "json"]).ok().json()
}

fn pids(scene: &Scene) -> (u64, u64) {
    let status = daemon_status(scene);
    (status["daemon"]["pid"].as_u64().unwrap(), status["proxy"]["pid"].as_u64().unwrap())
}

fn instance_pids(scene: &Scene) -> Vec<u32> {
    scene.instances().iter().map(|instance| instance.pid).collect()
}

/// Those that were taken over from finish what they have, and end.
fn elders_end(scene: &Scene) {
    let proxies = || scene.processes().iter().filter(|process| process.kind == Kind::Proxy).count();
    until("the elders end", || (proxies() == 1).then_some(()));
}

#[track_caller]
fn echoing(streams: &mut [Stream]) {
    assert!(streams.iter_mut().all(|stream| stream.echoes("still here")), "a websocket was lost");
}

#[test]
fn twenty_times_in_a_row_another_program_takes_over_and_nothing_is_lost() {
    let mut scene = Scene::with_two_releases();
    let programs = [scene.copy("one"), scene.copy("two")];
    let (load, comers) = (Load::start(scene.address, 8), Comers::start(scene.address));
    let mut websockets = vec![tunnel(scene.address)];
    let running = instance_pids(&scene);
    let mut before = pids(&scene);
    for round in 0..20 {
        scene.program = programs[round % 2].clone();
        let slow = [
            slow_upload(scene.address, 8, Duration::from_millis(20)),
            slow_download(scene.address, 8, Duration::from_millis(20)),
        ];
        scene.run(&["daemon", "restart"]).ok();
        let now = pids(&scene);
        assert!(now.0 != before.0 && now.1 != before.1, "round {round}: {before:?}, then {now:?}");
        before = now;
        echoing(&mut websockets);
        load.await_answers(20);
        slow.into_iter().for_each(|one| one.join().unwrap());
        if round % 5 == 0 {
            websockets.push(tunnel(scene.address));
        }
    }
    assert_eq!(instance_pids(&scene), running, "the instances are the same processes");
    load.stop().lost_nothing();
    comers.all_were_taken();
    echoing(&mut websockets);
    drop(websockets);
    elders_end(&scene);
    scene.rollback().ok();
    assert!(scene.records_are_true().contains("1.0.0"));
}

#[test]
fn a_program_of_another_version_says_who_runs_and_what_to_type() {
    let mut scene = Scene::with_two_releases();
    scene.program = scene.of_version("9.8.7");
    scene
        .run(&["deploy", "status", "-e", "production"])
        .ok()
        .says("to have this one take over: orchestrate daemon restart");
    let silent = scene.run(&["deploy", "status", "-e", "production", "--format", "json"]).ok();
    assert_eq!(silent.stderr, "", "scripts are not told");
    scene.run(&["daemon", "restart"]).ok();
    let status = daemon_status(&scene);
    assert_eq!(
        (&status["daemon"]["version"], &status["proxy"]["version"]),
        (&json!("9.8.7"), &json!("9.8.7"))
    );
    let told = scene.run(&["deploy", "status", "-e", "production"]).ok();
    assert!(!told.stderr.contains("take over"), "{}", told.stderr);
    let audit = scene.run(&["audit", "list", "--format", "json"]).ok();
    assert!(audit.stdout.contains("daemon_restarted"), "{}", audit.stdout);
}

#[test]
fn where_the_new_proxy_does_not_come_up_the_old_one_goes_on_and_it_is_said() {
    let mut scene = Scene::with_two_releases();
    let (load, comers) = (Load::start(scene.address, 8), Comers::start(scene.address));
    let before = pids(&scene);
    scene.program = scene.copy("other");
    // The daemon passes it on, and the proxy does not understand it.
    scene.variable("ORCHESTRATE_PROXY_THREADS", "none");
    scene.run(&["daemon", "restart"]).ends(3).says("the proxy goes on as the program before");
    let after = pids(&scene);
    assert!(after.0 != before.0 && after.1 == before.1, "{before:?}, then {after:?}");
    scene.rollback().ok();
    load.await_version("1.0.0");
    scene.variables.clear();
    scene.run(&["daemon", "restart"]).ok();
    assert_ne!(pids(&scene).1, before.1);
    load.stop().lost_nothing();
    comers.all_were_taken();
    elders_end(&scene);
    scene.records_are_true();
}

#[test]
fn a_deployment_that_is_under_way_is_finished_across_a_restart() {
    let mut scene = Scene::with_two_releases();
    scene.service("HEALTHY_AFTER", "1500");
    let load = Load::start(scene.address, 8);
    let mut deploy = scene.begin_deploy("1.2.0");
    until("its instances start", || (scene.instances().len() == 4).then_some(()));
    scene.program = scene.copy("other");
    assert!(deploy.is_running());
    scene.run(&["daemon", "restart"]).ok();
    deploy.end().ok();
    load.await_version("1.2.0");
    scene.rollback().ok();
    load.stop().lost_nothing();
    elders_end(&scene);
    assert!(scene.records_are_true().contains("1.1.0"));
}

#[test]
fn killed_at_any_moment_of_a_restart_somebody_serves_and_the_next_one_succeeds() {
    let mut scene = Scene::with_two_releases();
    let programs = [scene.copy("one"), scene.copy("two")];
    let comers = Comers::start(scene.address);
    for round in 0..16_usize {
        scene.program = programs[round % 2].clone();
        let before: Vec<u32> = scene.processes().iter().map(|process| process.pid).collect();
        let restart = scene.begin(&["daemon", "restart"]);
        pause(Duration::from_millis(40 * (round as u64 / 4) + 10));
        // Both of one kind would close the sockets, which is not what can be survived.
        let victim = [Kind::Daemon, Kind::Proxy, Kind::Command, Kind::Daemon][round % 4];
        let mut victims: Vec<u32> = scene
            .processes()
            .iter()
            .filter(|process| process.kind == victim)
            .map(|process| process.pid)
            .collect();
        if round % 4 == 3 {
            victims.retain(|pid| !before.contains(pid));
        } else {
            victims.truncate(1);
        }
        victims.into_iter().for_each(processes::kill);
        let _ = restart.end();
        scene.run(&["daemon", "restart"]).ok();
        assert!(!scene.answering().is_empty());
    }
    comers.all_were_taken();
    scene.rollback().ok();
    elders_end(&scene);
    assert!(scene.records_are_true().contains("1.0.0"));
}

#[test]
fn a_daemon_whose_program_file_was_replaced_still_starts_a_proxy() {
    let mut scene = Scene::new();
    scene.program = scene.copy("orchestrate");
    scene.deploy("1.0.0").ok();
    let comers = Comers::start(scene.address);
    // As an installation does it: a new file under the old name.
    std::fs::copy(&scene.program, scene.path("new")).unwrap();
    std::fs::rename(scene.path("new"), &scene.program).unwrap();
    let before = pids(&scene);
    processes::kill(u32::try_from(before.1).unwrap());
    until("another proxy serves", || {
        let pid = daemon_status(&scene)["proxy"]["pid"].as_u64();
        pid.filter(|pid| *pid != before.1)
    });
    assert!(scene.answering().contains("1.0.0"));
    comers.all_were_taken();
}

#[test]
fn no_connection_is_refused_while_the_proxy_is_killed_again_and_again() {
    let scene = Scene::with_two_releases();
    let comers = Comers::start(scene.address);
    for _ in 0..20 {
        let before = pids(&scene).1;
        processes::kill(u32::try_from(before).unwrap());
        // Whoever comes now waits for the next proxy, and is answered by it.
        assert!(scene.answering().contains("1.1.0"));
        until("another proxy serves", || {
            daemon_status(&scene)["proxy"]["pid"].as_u64().filter(|pid| *pid != before)
        });
    }
    comers.all_were_taken();
    scene.records_are_true();
}
