//! PostgreSQL goes away and comes back in the middle of an operation: it is finished or undone, and nobody types `unlock`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod luck;

use std::time::Duration;

use luck::cluster::Cluster;
use luck::scene::ROLLBACK;
use luck::{Load, Ran, Running, Scene, pause, until};
use rustix::process::Signal;
use serde_json::json;

/// How long the server is away; the operations take a second and a half by themselves.
const AWAY: Duration = Duration::from_secs(3);

/// 1.1.0 is live, and what is started needs so long to become healthy.
fn scene(cluster: &Cluster, healthy_after: &str) -> Scene {
    let mut scene = Scene::new();
    scene.variable("ORCHESTRATE_DATABASE_URL", &cluster.url());
    scene.configure(|settings| settings["strategy"]["warm_for"] = json!("0s"));
    scene.service("HEALTHY_AFTER", healthy_after);
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    until("1.0.0 is cold", || (scene.instances().len() == 2).then_some(()));
    scene
}

/// In the middle: the new instances run and are not healthy yet.
fn caught(scene: &Scene, args: &[&str]) -> Running {
    let mut running = scene.begin(args);
    until("its instances start", || (scene.instances().len() == 4).then_some(()));
    assert!(running.is_running());
    running
}

/// However it ended for the command: the records are true, one of the two is live, and the next one works.
#[track_caller]
fn ended_well(scene: &Scene, load: Load, ran: &Ran, one_of: [&str; 2]) {
    assert!([0, 3, 4].contains(&ran.code), "{ran:?}");
    assert!(ran.code == 0 || ran.stderr.contains("ORC-"), "it says what is going on: {ran:?}");
    let live = scene.records_are_true();
    assert!(one_of.contains(&live.as_str()), "{live} is live; {ran:?}");
    if ran.code == 0 {
        assert_eq!(live, one_of[0], "it said that it was done: {ran:?}");
    }
    load.stop().lost_nothing();
    let open = scene.run(&["doctor"]).ok();
    assert!(open.stdout.contains("none is open"), "{}", open.stdout);
    scene.deploy("1.9.0").ok();
    assert_eq!(scene.records_are_true(), "1.9.0");
}

fn away(cluster: &Cluster, how: &str) {
    cluster.stop(how);
    pause(AWAY);
    cluster.start_again();
}

#[test]
fn stopped_in_the_middle_of_a_deployment_and_started_again() {
    for how in ["fast", "immediate"] {
        let cluster = Cluster::start();
        let scene = scene(&cluster, "1500");
        let load = Load::start(scene.address, 8);
        let args = scene.deploy_args("1.2.0");
        let deploy = caught(&scene, &args);
        away(&cluster, how);
        ended_well(&scene, load, &deploy.end(), ["1.2.0", "1.1.0"]);
    }
}

#[test]
fn stopped_in_the_middle_of_a_rollback_and_started_again() {
    for how in ["fast", "immediate"] {
        let cluster = Cluster::start();
        let scene = scene(&cluster, "1500");
        let load = Load::start(scene.address, 8);
        let rollback = caught(&scene, &ROLLBACK);
        away(&cluster, how);
        ended_well(&scene, load, &rollback.end(), ["1.0.0", "1.1.0"]);
    }
}

#[test]
fn stopped_in_the_middle_of_a_bake_and_started_again() {
    let cluster = Cluster::start();
    let mut scene = scene(&cluster, "0");
    scene.configure(|settings| settings["verify"]["bake"] = json!("2s"));
    let load = Load::start(scene.address, 8);
    let deploy = scene.begin_deploy("1.2.0");
    load.await_version("1.2.0");
    away(&cluster, "fast");
    let ran = deploy.end();
    until("the bake ends", || {
        let latest = scene.status()["latest"].clone();
        (latest["version"] == "1.2.0" && latest["status"] == "completed").then_some(())
    });
    ended_well(&scene, load, &ran, ["1.2.0", "1.2.0"]);
}

#[test]
fn asleep_for_seconds_in_the_middle_of_a_deployment() {
    let cluster = Cluster::start();
    let scene = scene(&cluster, "1500");
    let load = Load::start(scene.address, 8);
    let args = scene.deploy_args("1.2.0");
    let deploy = caught(&scene, &args);
    cluster.signal(Signal::STOP);
    pause(AWAY);
    cluster.signal(Signal::CONT);
    ended_well(&scene, load, &deploy.end(), ["1.2.0", "1.1.0"]);
}

#[test]
fn connections_are_cut_again_and_again_in_the_middle_of_a_deployment_and_of_a_rollback() {
    const CUT: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                       WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
    let cluster = Cluster::start();
    let scene = scene(&cluster, "1500");
    let load = Load::start(scene.address, 8);
    let args = scene.deploy_args("1.2.0");
    let mut deploy = caught(&scene, &args);
    while deploy.is_running() {
        cluster.sql(CUT);
        pause(Duration::from_millis(200));
    }
    let ran = deploy.end();
    assert!([0, 3, 4].contains(&ran.code), "{ran:?}");
    let before = scene.records_are_true();
    assert!(["1.2.0", "1.1.0"].contains(&before.as_str()));
    let mut rollback = scene.begin(&ROLLBACK);
    for _ in 0..10 {
        cluster.sql(CUT);
        pause(Duration::from_millis(100));
        rollback.is_running();
    }
    let ran = rollback.end();
    let target = if before == "1.2.0" { "1.1.0" } else { "1.0.0" };
    assert!([0, 1, 3, 4].contains(&ran.code), "{ran:?}");
    let live = scene.records_are_true();
    assert!(live == before || live == target, "{live}; {ran:?}");
    load.stop().lost_nothing();
}
