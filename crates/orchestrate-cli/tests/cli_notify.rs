//! Notices: signed, recorded first and delivered after, never in the way of a rollback, and never lost.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use orchestrate_testkit::{Answer, Received};
use serde_json::{Value, json};
use sha2::Sha256;
use support::scene::free_address;
use support::{Receiver, Scene, until};

const SECRET: &str = "whsec_bm90IGEgc2VjcmV0IGF0IGFsbCwganVzdCBhIHRlc3Q=";

/// A scene that tells a receiver at this address.
fn scene(address: SocketAddr, on: &[&str]) -> Scene {
    let mut scene = Scene::new();
    scene.variable("HOOK_SECRET", SECRET);
    scene.config["notifications"] = json!([
        { "type": "webhook", "url": format!("http://{address}/hook"), "secret": "${HOOK_SECRET}", "on": on }
    ]);
    scene.write_config();
    scene
}

fn body(received: &Received) -> Value {
    serde_json::from_slice(&received.body).unwrap()
}

#[track_caller]
fn is_signed(received: &Received) {
    let key = STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    let (id, at) = (received.header("webhook-id"), received.header("webhook-timestamp"));
    assert!(!id.is_empty() && !at.is_empty(), "{received:?}");
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(&received.body);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(received.header("webhook-signature"), expected);
}

fn event(scene: &Scene, id: u32) -> Value {
    scene.json(&format!("deploy rollbacks show {id}")).ok().json()
}

#[track_caller]
fn all_sent(scene: &Scene, id: u32) {
    until("the record says that it was accepted", || {
        (event(scene, id)["notification_sent"] == true).then_some(())
    });
}

#[test]
fn a_rollback_is_told_once_signed_and_with_its_record() {
    let receiver = Receiver::start(None);
    let scene = scene(receiver.on().address(), &["rollback"]);
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    let rolled = scene.json("deploy rollback -e production --force --reason leaks").ok().json();
    let received = receiver.receives(1);
    is_signed(&received[0]);
    assert_eq!((received[0].method.as_str(), received[0].path.as_str()), ("POST", "/hook"));
    let told = body(&received[0]);
    let notice = if told["data"].is_object() { &told["data"] } else { &told };
    assert_eq!(notice["service"], "sample", "{told}");
    for field in
        ["id", "environment", "from_version", "target_version", "rollback_type", "actor", "reason", "path"]
    {
        assert_eq!(notice[field], rolled[field], "{field}: {told}");
    }
    let text = notice["text"].as_str().unwrap();
    assert!(text.contains("was rolled back from 1.1.0 to 1.0.0 by alice@desk: leaks"), "{text}");
    all_sent(&scene, 1);
    scene.typed("daemon stop").ok();
    scene.typed("daemon start").ok();
    scene.typed("notify flush --dead").ok();
    assert_eq!(receiver.on().received().len(), 1, "only rollbacks were wanted, and each is told once");
}

#[test]
fn a_channel_hears_what_it_asked_for() {
    let receiver = Receiver::start(None);
    let mut scene = scene(receiver.on().address(), &[]);
    scene.deploy("1.0.0").ok();
    let first = receiver.receives(1);
    assert!(first[0].header("webhook-id").starts_with("deployment-"), "{:?}", first[0]);
    scene.behaviour("crash_at_start");
    scene.deploy("1.1.0").ends(3);
    let second = receiver.receives(2);
    let id = second[1].header("webhook-id");
    assert!(id.starts_with("deployment_failed-"), "{id}");
    assert!(String::from_utf8_lossy(&second[1].body).contains("crash at its start"));
    let ids: std::collections::BTreeSet<&str> = second.iter().map(|one| one.header("webhook-id")).collect();
    assert_eq!(ids.len(), 2, "each has its own key");
    second.iter().for_each(is_signed);
}

#[test]
fn a_receiver_that_is_down_delays_nothing_and_misses_nothing() {
    let address = free_address();
    let scene = scene(address, &["rollback"]);
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    let rolled = scene.rollback().ok().json();
    assert_eq!(rolled["notification_sent"], false);
    let pending = until("an attempt failed", || {
        let status = scene.json("notify status").ok().json();
        (status["notices"][0]["attempts"].as_u64() >= Some(1)).then_some(status)
    });
    assert_eq!((&pending["pending"], &pending["delivered"]), (&json!(1), &json!(0)));
    assert_eq!(event(&scene, 1)["notification_sent"], false);
    let shown = scene.typed("notify status").ok().prints("1 pending, 0 delivered, 0 given up on");
    assert!(!shown.stdout.contains("/hook"), "the path of a webhook is often a credential: {}", shown.stdout);

    scene.typed("daemon stop").ok();
    let receiver = Receiver::start(Some(address));
    scene.typed("daemon start").ok();
    scene.typed("notify flush").ok().prints("1 notice now");
    let received = receiver.receives(1);
    is_signed(&received[0]);
    all_sent(&scene, 1);
    assert_eq!(scene.json("notify status").ok().json()["pending"], 0);
    assert_eq!(receiver.on().received().len(), 1);
}

#[test]
fn a_slow_receiver_does_not_hold_a_rollback_up() {
    let receiver = Receiver::start(None);
    let scene = scene(receiver.on().address(), &["rollback"]);
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    receiver.on().answer(Answer::After(Duration::from_secs(8)));
    let began = Instant::now();
    scene.rollback().ok();
    scene.json("deploy rollback -e production --undo").ok();
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    receiver.receives(1);
    assert_eq!(event(&scene, 1)["notification_sent"], false, "asked is not accepted");
    all_sent(&scene, 1);
}

#[test]
fn an_error_of_the_receiver_changes_no_verdict_and_is_tried_again() {
    let receiver = Receiver::start(None);
    let scene = scene(receiver.on().address(), &["rollback"]);
    receiver.on().answer_next([Answer::Status(500), Answer::Drop]);
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    assert_eq!(scene.rollback().ok().json()["status"], "completed");
    receiver.receives(1);
    let after = |count: u64| {
        until("the attempt is recorded", || {
            let status = scene.json("notify status").ok().json();
            (status["notices"][0]["attempts"].as_u64() >= Some(count)).then_some(status)
        })
    };
    let failed = after(1);
    assert!(failed["notices"][0]["last_error"].as_str().unwrap().contains("500"), "{failed}");
    assert_eq!(event(&scene, 1)["notification_sent"], false);
    scene.typed("notify flush").ok();
    after(2);
    scene.typed("notify flush").ok();
    let received = receiver.receives(3);
    let ids: std::collections::BTreeSet<&str> = received.iter().map(|one| one.header("webhook-id")).collect();
    assert_eq!(ids.len(), 1, "the same key each time, so that the receiver can tell");
    all_sent(&scene, 1);
}

#[test]
fn a_test_notice_reaches_every_channel() {
    let receiver = Receiver::start(None);
    let scene = scene(receiver.on().address(), &["rollback"]);
    scene.typed("notify test --env production").ends(1).says("no environment production");
    scene.typed("env apply").ok();
    scene.typed("notify test --env production").ok().prints("queued 1 test notice;");
    let received = receiver.receives(1);
    is_signed(&received[0]);
    assert!(String::from_utf8_lossy(&received[0].body).contains("a test notice of sample in production"));
    until("it is delivered", || (scene.json("notify status").ok().json()["delivered"] == 1).then_some(()));
    scene.typed("notify status").ok().prints("test").prints("delivered");
}

#[test]
fn without_channels_there_is_nothing_to_test() {
    let scene = Scene::new();
    scene.typed("env apply").ok();
    scene.typed("notify test --env production").ends(1).says("has no notification channels");
    scene.typed("notify status").ok().prints("0 pending, 0 delivered, 0 given up on");
    scene.typed("notify flush").ok();
}

#[test]
fn a_slack_thread_tells_an_operation_from_its_beginning_to_its_end() {
    let receiver = Receiver::start(None);
    receiver.on().answer(Answer::Full {
        status: 200,
        headers: Vec::new(),
        body: r#"{"ok":true,"ts":"17.1"}"#.into(),
    });
    let mut scene = Scene::new();
    scene.variable("SLACK_TOKEN", "xoxb-hunter2");
    let kinds = ["rollback_started", "rollback", "hold_set", "hold_lifted"];
    scene.config["notifications"] = json!([
        { "type": "slack", "url": receiver.on().url(), "token": "${SLACK_TOKEN}", "channel": "#deploys", "on": kinds,
          "environments": ["production"], "template": "{{ kind }} in {{ environment }}" },
    ]);
    scene.write_config();
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    scene.rollback().ok();
    scene.run(&["deploy", "unhold", "1.1.0", "--env", "production", "--reason", "mended"]).ok();
    scene.run(&["deploy", "hold", "1.1.0", "--env", "production", "--reason", "not quite"]).ok();
    let told: Vec<(String, Value)> = receiver
        .receives(4)
        .iter()
        .map(|request| {
            assert_eq!(request.header("authorization"), "Bearer xoxb-hunter2");
            (body(request)["text"].as_str().unwrap().to_owned(), body(request)["thread_ts"].clone())
        })
        .collect();
    let of = |kind: &str| format!("{kind} in production");
    let wanted = [
        (of("rollback_started"), Value::Null),
        (of("rollback"), json!("17.1")),
        (of("hold_lifted"), Value::Null),
        (of("hold_set"), Value::Null),
    ];
    assert_eq!(told, wanted);
    all_sent(&scene, 1);
    let status = scene.run(&["notify", "status"]).ok();
    assert!(!status.stdout.contains("hunter2"), "{status:?}");
}

#[test]
fn a_command_is_told_and_one_that_fails_is_tried_again() {
    let mut scene = Scene::new();
    let out = scene.home.with_file_name("told");
    let tell =
        format!("cat >> '{0}'; test -e '{0}.again' || {{ touch '{0}.again'; exit 1; }}", out.display());
    scene.config["notifications"] =
        json!([{ "type": "command", "command": ["sh", "-c", tell], "on": ["deployment"] }]);
    scene.write_config();
    scene.deploy("1.0.0").ok();
    until("it was told", || out.exists().then_some(()));
    let failed = until("the first attempt counts", || {
        let status = scene.run(&["notify", "status", "--format", "json"]).ok().json();
        (status["notices"][0]["attempts"] == 1).then_some(status)
    });
    assert!(failed["notices"][0]["last_error"].as_str().unwrap().contains("exit status: 1"), "{failed}");
    assert_eq!(failed["notices"][0]["to"], "sh");
    scene.run(&["notify", "flush"]).ok();
    until("it is accepted", || {
        let status = scene.run(&["notify", "status", "--format", "json"]).ok().json();
        (status["delivered"] == 1).then_some(())
    });
    let told = std::fs::read_to_string(&out).unwrap();
    let notices: Vec<Value> =
        serde_json::Deserializer::from_str(&told).into_iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(notices.len(), 2);
    assert_eq!(notices[0], notices[1], "the same notice with the same key");
    assert_eq!(notices[0]["data"]["first"], true);
}

#[test]
fn a_notice_that_was_given_up_on_is_listed_and_sent_again() {
    let receiver = Receiver::start(None);
    let scene = scene(receiver.on().address(), &["rollback"]);
    receiver.on().answer_next([Answer::Status(410)]);
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    scene.rollback().ok();
    let dead = until("it is given up on", || {
        let status = scene.json("notify status --dead").ok().json();
        (status["dead"] == 1).then(|| status["notices"][0].clone())
    });
    assert_eq!((&dead["status"], &dead["type"]), (&json!("dead"), &json!("webhook")));
    let id = dead["id"].as_i64().unwrap();
    scene.typed("notify status --dead").ok().prints(&id.to_string()).prints("410");
    scene.typed("notify flush --id 4711").ends(1).says("there is no notice 4711");
    scene.typed(&format!("notify flush --id {id}")).ok().prints("1 notice now");
    all_sent(&scene, 1);
    scene.typed(&format!("notify flush --id {id}")).ends(1).says("was accepted already");
    assert_eq!(receiver.on().received().len(), 2);
    assert_eq!(scene.json("notify status --dead").ok().json()["notices"], json!([]));
}

#[test]
fn a_template_that_cannot_be_used_is_refused_before_anything_is_done() {
    let mut scene = scene(free_address(), &["rollback"]);
    scene.config["notifications"][0]["template"] = json!("{{ service }}\nat {{ target }}");
    scene.write_config();
    scene.typed("env apply").ends(2).says("line 2, column 7: no notice has a `target`");
}
