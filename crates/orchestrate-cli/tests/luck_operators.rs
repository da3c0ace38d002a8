//! An operator dies in the middle of an operation: whoever shares its state goes on without anybody unlocking anything.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod luck;

use std::time::{Duration, Instant};

use luck::cluster::Cluster;
use luck::processes::{alive, signal};
use luck::{Load, Scene, until};
use rustix::process::Signal;
use serde_json::json;

const TTL: Duration = Duration::from_secs(4);
/// The daemon looks this often, and the rest of the operation takes its time on a busy machine.
const NOTICED: Duration = Duration::from_secs(3);

fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.configure(|settings| settings["strategy"]["warm_for"] = json!("0s"));
    scene.variable("ORCHESTRATE_LEASE_TTL", "4s");
    scene.deploy("1.0.0").ok();
    scene.service("HEALTHY_AFTER", "300");
    scene
}

/// From its death until its operation had ended.
fn left_open_for(scene: &Scene, command: luck::Running) -> Duration {
    let died = Instant::now();
    command.kill();
    let last_words = until("the operation ends", || {
        let status = scene.status();
        status["operation"].is_null().then(|| died.elapsed())
    });
    assert_eq!(scene.records_are_true(), "1.1.0");
    last_words
}

#[test]
fn a_dead_operator_of_another_machine_loses_its_lease_when_its_time_is_up() {
    let scene = scene();
    let load = Load::start(scene.address, 8);
    let args = scene.deploy_args("1.1.0");
    let mut command = scene.begin_elsewhere("elsewhere", &args);
    command.await_line("start 1.1.0");
    let status = scene.status();
    assert!(status["operation"]["by"].as_str().unwrap().contains("elsewhere"), "{status}");
    // It lives for all that can be seen from here, so nobody takes its lease.
    let refused = scene.run(&["deploy", "resume", "--env", "production"]).ends(1);
    refused.says("ORC-0110").says("on elsewhere");
    let open = left_open_for(&scene, command);
    eprintln!("taken over after {open:?} of a lease of {TTL:?}");
    assert!(open < TTL + NOTICED, "it was open for {open:?}");
    load.stop().lost_nothing();
}

#[test]
fn a_dead_operator_of_this_machine_is_seen_to_be_dead() {
    let scene = scene();
    let load = Load::start(scene.address, 8);
    let mut command = scene.begin_deploy("1.1.0");
    command.await_line("start 1.1.0");
    let open = left_open_for(&scene, command);
    eprintln!("taken over after {open:?} of a lease of {TTL:?}");
    assert!(open < TTL, "it was open for {open:?}");
    load.stop().lost_nothing();
}

/// While the trigger sleeps, the command can be caught in the middle of its transaction.
const SLOW_DEPLOYMENTS: &str = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
     'BEGIN PERFORM pg_sleep(2); RETURN NEW; END'; \
     CREATE TRIGGER slow BEFORE INSERT ON operations FOR EACH ROW WHEN (NEW.kind = 'deploy') EXECUTE FUNCTION slow()";
const SLEEPS: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";

#[test]
fn who_falls_asleep_in_a_transaction_keeps_nobody_from_postgresql() {
    let cluster = Cluster::start();
    let mut scene = Scene::new();
    scene.variable("ORCHESTRATE_DATABASE_URL", &cluster.url());
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    let load = Load::start(scene.address, 8);
    cluster.sql(SLOW_DEPLOYMENTS);
    let sleeper = scene.begin_deploy("1.2.0");
    until("it is in its transaction", || (cluster.sql(SLEEPS) != "0").then_some(()));
    signal(sleeper.pid(), Signal::STOP);
    // It waits for the transaction at first, and gets its turn without anybody's help.
    scene.rollback().ok();
    assert!(alive(sleeper.pid()));
    assert_eq!(scene.records_are_true(), "1.0.0");
    signal(sleeper.pid(), Signal::CONT);
    let ran = sleeper.end();
    assert_eq!(ran.code, 3, "{ran:?}");
    ran.says("ORC-0423");
    assert_eq!(scene.records_are_true(), "1.0.0");
    load.stop().lost_nothing();
}
