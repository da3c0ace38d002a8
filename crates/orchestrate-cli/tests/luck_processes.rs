//! The daemon, the proxy, the instances or all of them die: the rest goes on, and what is missing comes back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod luck;

use std::time::{Duration, Instant};

use luck::processes::{Kind, Process, kill, kill_and_wait};
use luck::streams::get;
use luck::{Load, Scene, until, within};
use orchestrate_testkit::WebhookReceiver;
use serde_json::json;

#[test]
fn a_killed_daemon_is_not_missed_and_the_next_one_adopts_what_runs() {
    let scene = Scene::with_two_releases();
    let before = scene.instances();
    let (daemon, proxy) = (scene.pid(Kind::Daemon).unwrap(), scene.pid(Kind::Proxy).unwrap());
    let load = Load::start(scene.address, 8);
    kill_and_wait(&[daemon]);
    load.await_answers(200);
    get(scene.address, "/say?nobody-watches-me").unwrap();
    assert_eq!(scene.pid(Kind::Daemon), None, "nothing asked for a daemon yet");
    // A rollback needs nobody but the proxy, and brings a daemon back for what follows it.
    scene.rollback().ok();
    load.await_version("1.0.0");
    until("a daemon runs again", || scene.pid(Kind::Daemon).filter(|pid| *pid != daemon));
    get(scene.address, "/say?somebody-watches-me").unwrap();
    assert_eq!(scene.instances(), before, "instances were restarted");
    assert_eq!(scene.pid(Kind::Proxy), Some(proxy));
    assert_eq!(scene.records_are_true(), "1.0.0");
    for (version, word) in [("1.1.0", "nobody-watches-me"), ("1.0.0", "somebody-watches-me")] {
        until("the output is logged", || {
            let logs = scene.run(&["logs", "--env", "production", "--version", version]).ok();
            logs.stdout.contains(word).then_some(())
        });
    }
    // Adopted is not only seen: one that dies is started again.
    let victim = scene.instances().into_iter().find(|process| process.version == "1.0.0").unwrap();
    kill_and_wait(&[victim.pid]);
    until("it is back", || {
        let again = |process: &Process| process.instance == victim.instance && process.pid != victim.pid;
        scene.instances().iter().any(again).then_some(())
    });
    load.await_answers(100);
    drop(load);
    assert_eq!(scene.records_are_true(), "1.0.0");
}

#[test]
fn a_daemon_killed_in_the_middle_of_a_deployment_delays_it_only() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    let before = scene.instances();
    scene.service("HEALTHY_AFTER", "2000");
    let load = Load::start(scene.address, 8);
    let mut command = scene.begin_deploy("1.1.0");
    command.await_line("start 1.1.0");
    let started = scene.instances();
    assert_eq!(started.len(), 4);
    kill_and_wait(&[scene.pid(Kind::Daemon).unwrap()]);
    command.end().ok();
    assert_eq!(scene.records_are_true(), "1.1.0");
    assert_eq!(scene.instances(), started, "instances were restarted");
    assert!(before.iter().all(|process| started.contains(process)));
    load.stop().lost_nothing();
}

#[test]
fn notices_are_delivered_by_the_next_daemon() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut scene = Scene::new();
    let receiver = luck::scene::free_address();
    scene.notifications = json!([
        { "type": "webhook", "url": format!("http://{receiver}/hook"), "on": ["rollback", "deployment"] }
    ]);
    scene.write_config();
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    let event = scene.rollback().ok().json();
    kill_and_wait(&[scene.pid(Kind::Daemon).unwrap()]);
    let id = event["id"].to_string();
    let show = ["deploy", "rollbacks", "show", &id, "--format", "json"];
    assert_eq!(scene.run(&show).ok().json()["notification_sent"], false);
    let received = runtime.block_on(async {
        let hook = WebhookReceiver::start_at(receiver).await.unwrap();
        scene.run(&["daemon", "start"]).ok();
        scene.run(&["notify", "flush"]).ok();
        hook.await_received(3, luck::PATIENCE).await.unwrap()
    });
    let said: Vec<String> =
        received.iter().map(|notice| String::from_utf8_lossy(&notice.body).into_owned()).collect();
    assert!(said.iter().any(|body| body.contains("rollback") && body.contains("1.1.0")), "{said:?}");
    until("it is recorded", || (scene.run(&show).ok().json()["notification_sent"] == true).then_some(()));
}

#[test]
fn a_killed_proxy_refuses_nobody() {
    let scene = Scene::with_two_releases();
    let before = scene.instances();
    let load = Load::start(scene.address, 8);
    for _ in 0..3 {
        let proxy = scene.pid(Kind::Proxy).unwrap();
        let killed = Instant::now();
        kill(proxy);
        let mut back = None;
        // In the gap, and as often as there is time for: nobody is refused, they only wait.
        while killed.elapsed() < Duration::from_secs(1) {
            let asked = Instant::now();
            let answer = get(scene.address, "/version").unwrap_or_else(|error| {
                let of_the_dead = asked.duration_since(killed) < Duration::from_millis(5);
                assert!(of_the_dead && error.to_string().contains("reset"), "{error} {:?}", killed.elapsed());
                "1.1.0".to_owned()
            });
            assert_eq!(answer, "1.1.0");
            assert!(asked.elapsed() < Duration::from_secs(1), "waited {:?}", asked.elapsed());
            if back.is_none() {
                back = Some(killed.elapsed());
                let status = scene.run(&["daemon", "status", "--format", "json"]).ok().json();
                assert_ne!(status["proxy"]["pid"], proxy, "a process that is no more is shown");
            }
        }
        eprintln!("the first answer came {:?} after the kill", back.unwrap());
        until("another proxy runs", || scene.pid(Kind::Proxy).filter(|pid| *pid != proxy));
    }
    assert_eq!(scene.instances(), before, "instances were restarted");
    assert_eq!(scene.records_are_true(), "1.1.0");
    let report = load.stop();
    let failed: Vec<_> = report.seen.iter().filter_map(|seen| seen.answer.as_ref().err()).collect();
    assert!(!failed.iter().any(|error| error.contains("cannot connect")), "refused: {failed:?}");
    // Whose request was in the dead one's hands has lost it: one each at most.
    assert!(failed.len() <= 3 * 8, "{} requests were lost: {failed:?}", failed.len());
    // The weights are as they were, and can be changed as before.
    scene.rollback().ok();
    assert_eq!(scene.records_are_true(), "1.0.0");
}

#[test]
fn a_proxy_killed_in_the_middle_of_a_deployment_delays_it_only() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.service("HEALTHY_AFTER", "1000");
    let mut command = scene.begin_deploy("1.1.0");
    command.await_line("start 1.1.0");
    kill_and_wait(&[scene.pid(Kind::Proxy).unwrap()]);
    command.end().ok();
    assert_eq!(scene.records_are_true(), "1.1.0");
}

#[test]
fn a_killed_daemon_and_a_killed_proxy_come_back_with_the_next_command() {
    for next in [["daemon", "start"].as_slice(), &luck::scene::ROLLBACK] {
        let scene = Scene::with_two_releases();
        let before = scene.instances();
        // The daemon first, or it would replace the proxy.
        kill_and_wait(&[scene.pid(Kind::Daemon).unwrap()]);
        kill_and_wait(&[scene.pid(Kind::Proxy).unwrap()]);
        assert!(get(scene.address, "/").is_err());
        scene.run(next).ok();
        assert_eq!(scene.answering(), if next[0] == "daemon" { "1.1.0" } else { "1.0.0" });
        assert_eq!(scene.records_are_true(), scene.answering());
        assert_eq!(scene.instances(), before, "instances were restarted");
    }
}

#[test]
fn a_killed_instance_is_restarted_while_the_other_one_serves() {
    let mut scene = Scene::new();
    scene.service("HEALTHY_AFTER", "1000");
    scene.deploy("1.0.0").ok();
    let load = Load::start(scene.address, 8);
    let [victim, other] = <[Process; 2]>::try_from(scene.instances()).unwrap();
    kill_and_wait(&[victim.pid]);
    let gone = Instant::now();
    let mut asked = 0;
    while gone.elapsed() < Duration::from_millis(800) {
        let answer = get(scene.address, "/").expect("the other one answers");
        assert!(answer.contains(&format!("pid {}\n", other.pid)), "{answer}");
        asked += 1;
    }
    assert!(asked > 5);
    until("the new one serves", || {
        let answer = get(scene.address, "/").unwrap();
        (answer.contains(&victim.instance) && !answer.contains(&format!("pid {}\n", victim.pid)))
            .then_some(())
    });
    // Ends with growing pauses between them: the fifth restart is not as quick as the first.
    let mut pauses = Vec::new();
    for _ in 0..4 {
        let now = || scene.instances().into_iter().find(|process| process.instance == victim.instance);
        let pid = until("it runs", now).pid;
        kill_and_wait(&[pid]);
        let died = Instant::now();
        until("it is started again", || now().filter(|process| process.pid != pid));
        pauses.push(died.elapsed());
    }
    assert!(pauses[3] > pauses[0] * 2, "{pauses:?}");
    assert_eq!(scene.records_are_true(), "1.0.0");
    let failed = load.stop().seen.iter().filter(|seen| seen.answer.is_err()).count();
    assert!(failed <= 5 * 8, "{failed} requests were lost, more than a dying instance can have had in hand");
}

#[test]
fn after_the_death_of_everything_only_what_is_recorded_comes_back() {
    let scene = Scene::with_two_releases();
    let all: Vec<u32> = scene.processes().iter().map(|process| process.pid).collect();
    kill_and_wait(&[scene.pid(Kind::Daemon).unwrap()]);
    kill_and_wait(&all);
    assert_eq!(scene.processes(), []);
    comes_back(&scene);
}

/// Pids mean nothing after a reboot: whoever has them now is left alone.
#[test]
fn after_a_reboot_the_recorded_pids_belong_to_others() {
    let scene = Scene::with_two_releases();
    let all: Vec<u32> = scene.processes().iter().map(|process| process.pid).collect();
    kill_and_wait(&[scene.pid(Kind::Daemon).unwrap()]);
    kill_and_wait(&all);
    let mut innocent = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", innocent.id())).unwrap();
    let started: u64 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap();
    let path = scene.home.join("instances.json");
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    record["boot"] = json!("another boot");
    for slot in record["slots"].as_array_mut().unwrap() {
        for instance in slot["instances"].as_object_mut().unwrap().values_mut() {
            instance["mark"] = json!({ "pid": innocent.id(), "started": started });
        }
    }
    std::fs::write(&path, record.to_string()).unwrap();
    comes_back(&scene);
    scene.stop_all();
    let lives = innocent.try_wait().unwrap().is_none();
    innocent.kill().unwrap();
    innocent.wait().unwrap();
    assert!(lives, "a process of somebody else was stopped");
}

fn comes_back(scene: &Scene) {
    scene.run(&["daemon", "start"]).ok();
    within(Duration::from_secs(5), "the live version answers", || {
        get(scene.address, "/version").ok().filter(|version| version == "1.1.0")
    });
    let load = Load::start(scene.address, 8);
    assert_eq!(scene.records_are_true(), "1.1.0");
    scene.rollback().ok();
    load.await_version("1.0.0");
    assert_eq!(scene.records_are_true(), "1.0.0");
    load.stop().lost_nothing();
}
