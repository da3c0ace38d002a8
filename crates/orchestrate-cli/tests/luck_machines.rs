//! Two machines with a home each share one PostgreSQL: each looks after what is its own, and one takes over when the other is gone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod luck;

use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use luck::cluster::Cluster;
use luck::machine::Machine;
use luck::processes::{Kind, kill_and_wait, signal};
use luck::scene::ROLLBACK;
use luck::{PATIENCE, Scene, pause, until};
use orchestrate_testkit::{Answer, WebhookReceiver};
use rustix::process::Signal;
use serde_json::{Value, json};

const TTL: Duration = Duration::from_secs(2);

/// Two homes on two machines, and the server that both reach by their own cable.
struct Two {
    alpha: Scene,
    beta: Scene,
    cluster: Cluster,
}

impl Two {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl Fn(&mut Scene)) -> Self {
        let machines = [Machine::new("alpha"), Machine::new("beta")];
        let gateways: Vec<IpAddr> = machines.iter().map(Machine::gateway).collect();
        let cluster = Cluster::start_at(&gateways, &[], |_| {});
        let [alpha, beta] = machines.map(|machine| {
            let mut scene = Scene::new();
            scene.variable("ORCHESTRATE_DATABASE_URL", &cluster.url_at(machine.gateway()));
            scene.variable("ORCHESTRATE_LEASE_TTL", "2s");
            scene.machine = Some(machine);
            change(&mut scene);
            scene
        });
        Self { alpha, beta, cluster }
    }
}

fn machine(scene: &Scene) -> &Machine {
    scene.machine.as_ref().unwrap()
}

/// Every process of the scene, as if the machine had lost its power.
fn power_off(scene: &Scene) {
    let pids: Vec<u32> = scene.processes().iter().map(|process| process.pid).collect();
    kill_and_wait(&pids);
}

fn send_to_programs(scene: &Scene, sent: Signal) {
    let programs =
        scene.processes().into_iter().filter(|process| matches!(process.kind, Kind::Daemon | Kind::Command));
    programs.for_each(|process| signal(process.pid, sent));
}

fn in_production(words: &'static str) -> Vec<&'static str> {
    words.split(' ').collect()
}

fn actions(scene: &Scene) -> Vec<String> {
    let all = scene.run(&["audit", "list", "--env", "production", "--format", "json"]).ok().json();
    all.as_array().unwrap().iter().map(|record| record["action"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_environment_is_changed_only_where_it_runs() {
    let Two { alpha, beta, cluster: _cluster } = Two::new();
    alpha.deploy("1.0.0").ok();
    alpha.deploy("1.1.0").ok();
    assert_eq!(alpha.records_are_true(), "1.1.0");
    assert!(alpha.status().get("elsewhere").is_none());

    // Looking works, says what cannot be seen, and starts nothing.
    let status = beta.status();
    let home = alpha.home.to_str().unwrap();
    assert_eq!((&status["elsewhere"]["host"], &status["elsewhere"]["home"]), (&json!("alpha"), &json!(home)));
    assert_eq!(status["elsewhere"]["alive"], true, "{status}");
    assert_eq!(
        (&status["live"]["version"], &status["traffic"][0]["weight"]),
        (&json!("1.1.0"), &Value::Null)
    );
    assert_eq!(status["rollback"]["ready"], false);
    for words in [
        "deploy status --env production",
        "deploy history --env production",
        "deploy rollbacks --env production",
        "env list",
        "env show production",
        "audit list --env production",
        "notify status",
        "doctor",
    ] {
        beta.run(&in_production(words)).ok();
    }
    beta.run(&in_production("env check production")).ends(1);
    beta.run(&in_production("logs --env production")).ends(1).says("the output of production is on alpha");
    let dry = beta.run(&in_production("deploy rollback --env production --force --dry-run")).ok();
    assert!(dry.stdout.contains("production runs on alpha"), "{}", dry.stdout);
    assert_eq!(beta.processes(), []);

    // What would change it does not.
    let deploy = beta.deploy_args("1.2.0");
    beta.run(&deploy)
        .ends(1)
        .says("ORC-0162")
        .says("production runs on alpha")
        .says("type the same on alpha")
        .says(home);
    for words in [
        "deploy rollback --env production --force",
        "deploy promote --env production",
        "deploy resume --env production",
        "deploy hold 1.1.0 --env production --reason bad",
        "deploy unhold 1.1.0 --env production --reason good",
        "env stop production --yes",
        "env delete production",
        "env prune production",
        "env apply",
    ] {
        beta.run(&in_production(words)).ends(1).says("ORC-0162");
    }
    assert!(actions(&alpha).iter().any(|action| action.contains("refused")), "refusals are on record");
    assert_eq!(beta.processes(), [], "nothing was started for a refusal");

    // A daemon leaves alone what is not its own.
    let before = alpha.instances();
    beta.run(&["daemon", "start"]).ok();
    pause(TTL * 2);
    assert_eq!(alpha.instances(), before);
    assert_eq!(beta.instances(), []);
    alpha.rollback().ok();
    assert_eq!(alpha.records_are_true(), "1.0.0");
    assert!(
        !std::fs::read_to_string(beta.home.join("daemon.log")).unwrap().contains("1.0.0"),
        "beta did something"
    );
}

#[test]
fn who_is_gone_is_taken_over_from_and_has_no_say_when_it_comes_back() {
    let Two { alpha, beta, cluster: _cluster } = Two::new();
    alpha.deploy("1.0.0").ok();
    alpha.deploy("1.1.0").ok();
    let adopt = ["env", "adopt", "production"];
    beta.run(&adopt).ends(1).says("ORC-0163").says("on alpha").says("--force");
    power_off(&alpha);
    let died = Instant::now();
    until("alpha counts as dead", || (beta.status()["elsewhere"]["alive"] == false).then_some(()));
    assert!(died.elapsed() < TTL + Duration::from_secs(2), "{:?}", died.elapsed());
    let adopted = beta.run(&["env", "adopt", "production", "--format", "json"]).ok().json();
    assert_eq!((&adopted["from"]["host"], &adopted["to"]["host"]), (&json!("alpha"), &json!("beta")));
    assert!(actions(&beta).contains(&"environment_adopted".to_owned()));
    beta.run(&adopt).ends(1).says("ORC-0164").says("it runs here already");
    // The artifacts are in alpha's home; a version that is deployed again is taken in again.
    beta.deploy("1.2.0").ok();
    assert_eq!(beta.records_are_true(), "1.2.0");

    alpha.run(&["daemon", "start"]).ok();
    alpha.run(&alpha.deploy_args("1.3.0")).ends(1).says("ORC-0162").says("production runs on beta");
    alpha.run(&ROLLBACK).ends(1).says("ORC-0162");
    pause(TTL);
    assert_eq!(alpha.instances(), [], "it starts nothing that is not its own any more");
    beta.deploy("1.3.0").ok();
    beta.rollback().ok();
    assert_eq!(beta.records_are_true(), "1.2.0");
}

#[test]
fn who_sleeps_past_its_lease_has_no_effect() {
    let Two { mut alpha, beta, cluster: _cluster } = Two::new();
    alpha.deploy("1.0.0").ok();
    alpha.service("HEALTHY_AFTER", "1500");
    let mut sleeper = alpha.begin_deploy("1.1.0");
    sleeper.await_line("start 1.1.0");
    send_to_programs(&alpha, Signal::STOP);
    until("alpha counts as dead", || (beta.status()["elsewhere"]["alive"] == false).then_some(()));
    beta.run(&["env", "adopt", "production"]).ok();
    // What alpha had begun is undone or finished by beta, as far as it can.
    until("nobody holds the lease", || {
        let operation = &beta.status()["operation"];
        (operation.is_null() || operation["status"] == "needs_attention").then_some(())
    });
    let records = |scene: &Scene| {
        let history =
            scene.run(&["deploy", "history", "--env", "production", "--format", "json"]).ok().json();
        let mut actions = actions(scene);
        actions.retain(|action| action != "refused");
        (history, actions)
    };
    let before = records(&beta);
    send_to_programs(&alpha, Signal::CONT);
    let ran = sleeper.end();
    assert_ne!(ran.code, 0, "{ran:?}");
    // The last is for a command that was stopped in the middle of a write.
    assert!(["ORC-0107", "ORC-0162", "ORC-0423"].iter().any(|code| ran.stderr.contains(code)), "{ran:?}");
    pause(TTL);
    let after = records(&beta);
    assert_eq!(before, after, "{ran:?}");
}

#[test]
fn a_cable_that_is_pulled_in_the_middle_delays_and_breaks_nothing() {
    let Two { mut alpha, beta, cluster: _cluster } = Two::new();
    alpha.deploy("1.0.0").ok();
    alpha.service("HEALTHY_AFTER", "1500");
    let mut deploy = alpha.begin_deploy("1.1.0");
    deploy.await_line("start 1.1.0");
    machine(&alpha).unplug();
    until("alpha counts as dead", || (beta.status()["elsewhere"]["alive"] == false).then_some(()));
    machine(&alpha).plug_in();
    let ran = deploy.end();
    // Its lease ran out meanwhile; the daemon beside it may have finished what it began.
    assert!([0, 3, 4].contains(&ran.code) || ran.stderr.contains("ORC-0107"), "{ran:?}");
    let live = alpha.records_are_true();
    assert!(["1.0.0", "1.1.0"].contains(&live.as_str()));
    alpha.deploy("1.2.0").ok();
    assert_eq!(alpha.records_are_true(), "1.2.0");
    until("alpha is alive again", || (beta.status()["elsewhere"]["alive"] == true).then_some(()));
}

/// A receiver of ours, on a thread of its own.
fn receiver(at: IpAddr) -> (WebhookReceiver, tokio::runtime::Handle, tokio::sync::oneshot::Sender<()>) {
    let (sender, started) = mpsc::channel();
    let (end, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let receiver = runtime.block_on(WebhookReceiver::start_at(SocketAddr::new(at, 0))).unwrap();
        sender.send((receiver, runtime.handle().clone())).unwrap();
        let _ = runtime.block_on(ended);
    });
    let (receiver, handle) = started.recv().unwrap();
    (receiver, handle, end)
}

#[test]
fn each_notice_is_sent_once_and_in_order_whoever_sends_it() {
    let keys = tempfile::tempdir().unwrap();
    let key = keys.path().join("key");
    let two = Two::with(|scene| scene.variable("ORCHESTRATE_KEY_FILE", key.to_str().unwrap()));
    let Two { mut alpha, beta, cluster } = two;
    let (receiver, runtime, _end) = receiver(machine(&alpha).gateway());
    alpha.notifications = json!([{ "type": "webhook", "url": receiver.url() }]);
    alpha.write_config();
    alpha.deploy("1.0.0").ok();
    beta.run(&["daemon", "start"]).ok();
    let arrived = |count| runtime.block_on(receiver.await_received(count, PATIENCE)).unwrap();
    arrived(1);
    for _ in 0..10 {
        alpha.run(&["notify", "test", "--env", "production"]).ok();
        beta.run(&["notify", "test", "--env", "production"]).ok();
    }
    let all = arrived(21);
    let mut ids: Vec<&str> = all.iter().map(|one| one.header("webhook-id")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 21, "each is sent once");
    until("the last one is recorded, too", || {
        let open = cluster.sql("SELECT count(*) FROM outbox WHERE status <> 'delivered'");
        (open == "0").then_some(())
    });
    assert_eq!(cluster.sql("SELECT count(*) FROM outbox WHERE attempts <> 1"), "0");
    let written = cluster.sql("SELECT string_agg(notice_key, ' ' ORDER BY id) FROM outbox");
    let sent: Vec<&str> = all.iter().map(|one| one.header("webhook-id")).collect();
    assert_eq!(sent.join(" "), written, "in the order in which they were written");

    // A daemon that dies in the middle of a delivery is taken over from within its time.
    receiver.answer(Answer::After(Duration::from_secs(9)));
    alpha.run(&["notify", "test", "--env", "production"]).ok();
    arrived(22);
    let holder = cluster
        .sql("SELECT s.host FROM duties d JOIN sites s ON s.id = d.site WHERE d.duty LIKE 'channel/%'");
    let (dead, left) = if holder == "alpha" { (&alpha, &beta) } else { (&beta, &alpha) };
    receiver.answer(Answer::Status(200));
    power_off(dead);
    let died = Instant::now();
    let again = arrived(23);
    assert!(died.elapsed() < TTL + Duration::from_secs(3), "{:?}", died.elapsed());
    assert_eq!(again[21].header("webhook-id"), again[22].header("webhook-id"), "the same key");
    until("it is recorded", || {
        (cluster.sql("SELECT count(*) FROM outbox WHERE status = 'pending'") == "0").then_some(())
    });
    left.run(&["notify", "status"]).ok();
}

#[test]
fn who_has_not_the_key_sends_nothing_and_seals_nothing() {
    let Two { mut alpha, mut beta, cluster } = Two::new();
    let (receiver, runtime, _end) = receiver(machine(&alpha).gateway());
    alpha.notifications = json!([{ "type": "webhook", "url": receiver.url() }]);
    alpha.write_config();
    alpha.deploy("1.0.0").ok();
    runtime.block_on(receiver.await_received(1, PATIENCE)).unwrap();
    alpha.run(&["daemon", "stop"]).ok();
    beta.run(&["daemon", "start"]).ok();
    beta.run(&["notify", "test", "--env", "production"]).ok();
    let waits = until("why it waits is said", || {
        let status = beta.run(&["notify", "status", "--format", "json"]).ok().json();
        status["notices"][0]["last_error"].as_str().map(str::to_owned)
    });
    assert!(waits.contains("beta cannot deliver it") && waits.contains("key"), "{waits}");
    assert_eq!(cluster.sql("SELECT attempts FROM outbox ORDER BY id DESC LIMIT 1"), "0", "it is no attempt");
    assert_eq!(receiver.received().len(), 1);
    // Beta's own environment, with a secret of its own, would be sealed with another key.
    beta.notifications = json!([{ "type": "webhook", "url": receiver.url(), "secret": "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" }]);
    beta.write_config();
    beta.run(&beta.deploy_args("1.0.0")).ends(1);
    alpha.run(&["daemon", "start"]).ok();
    let all = runtime.block_on(receiver.await_received(2, PATIENCE)).unwrap();
    assert_eq!(all.len(), 2);
}
