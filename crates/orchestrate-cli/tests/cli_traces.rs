//! Operations told as traces: read by OpenTelemetry's own schema, told again after a kill, and in nobody's way.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use orchestrate_testkit::{Answer, Received};
use serde_json::Value;
use support::scene::free_address;
use support::{Receiver, Scene, until};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Where the definitions are that OpenTelemetry publishes: they come with the crate that we write them by.
fn definitions() -> PathBuf {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "opentelemetry-proto").unwrap();
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
    manifest.with_file_name("src/proto/opentelemetry-proto")
}

/// What a request says to Google's reader of protobuf, by the definitions that OpenTelemetry publishes.
fn read(received: &Received) -> String {
    let proto = definitions();
    let proto = proto.display();
    let mut protoc = Command::new("protoc")
        .arg("--decode=opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest")
        .arg(format!("--proto_path={proto}"))
        .arg(format!("{proto}/opentelemetry/proto/collector/trace/v1/trace_service.proto"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("protoc is installed: scripts/install-test-tools");
    protoc.stdin.take().unwrap().write_all(&received.body).unwrap();
    let output = protoc.wait_with_output().unwrap();
    assert!(output.status.success(), "{received:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // What the definitions do not know is printed by its number.
    let unknown = text.lines().find(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit()));
    assert_eq!(unknown, None, "{text}");
    text
}

/// The spans of a request, the operation's own first.
fn spans(text: &str) -> Vec<&str> {
    text.split("    spans {").skip(1).collect()
}

/// A value of a span itself, as it is printed.
fn field<'a>(span: &'a str, name: &str) -> &'a str {
    let line = span.lines().find_map(|line| line.strip_prefix(&format!("      {name}: ")));
    line.unwrap_or_default().trim_matches('"')
}

fn attribute<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let rest = text.split_once(&format!("key: \"{name}\""))?.1;
    let value = rest.split_once("_value: ")?.1.lines().next()?;
    Some(value.trim_matches('"'))
}

fn names(text: &str) -> Vec<&str> {
    spans(text).iter().map(|span| field(span, "name")).collect()
}

fn telling(address: SocketAddr) -> Scene {
    let mut scene = Scene::new();
    scene.variable(ENDPOINT, &format!("http://{address}"));
    scene
}

fn traces(scene: &Scene) -> Value {
    scene.json("daemon status").ok().json()["traces"].clone()
}

#[track_caller]
fn waits(scene: &Scene, count: i64) -> Value {
    until(&format!("{count} wait"), || Some(traces(scene)).filter(|traces| traces["waiting"] == count))
}

#[test]
fn each_operation_is_a_trace_with_a_span_a_step() {
    let collector = Receiver::start(None);
    let mut scene = telling(collector.on().address());
    scene
        .variable("OTEL_EXPORTER_OTLP_HEADERS", "api-key=let%20me%20in")
        .variable("OTEL_SERVICE_NAME", "ship");
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    // A pipeline whose numbers can be read: ABCDEFGHIJKLMNOP, abcdefgh.
    scene.variable("TRACEPARENT", "00-4142434445464748494a4b4c4d4e4f50-6162636465666768-01");
    scene.rollback().ok();
    let received = collector.receives(3);
    let request = &received[2];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/traces"));
    assert_eq!(request.header("content-type"), "application/x-protobuf");
    assert_eq!(request.header("api-key"), "let me in");

    let deployed = read(&received[1]);
    let root = spans(&deployed)[0];
    assert_eq!(attribute(&deployed, "service.name"), Some("ship"));
    assert_eq!(field(root, "parent_span_id"), "");
    let steps = ["deploy production", "fetch", "start", "await_healthy", "switch_traffic", "prove_live"];
    assert_eq!(names(&deployed), steps);

    let text = read(request);
    assert_eq!(names(&text), ["rollback production", "switch_traffic", "prove_live"]);
    let all = spans(&text);
    assert_eq!(
        (field(all[0], "trace_id"), field(all[0], "parent_span_id")),
        ("ABCDEFGHIJKLMNOP", "abcdefgh")
    );
    for step in &all[1..] {
        assert_eq!(field(step, "trace_id"), "ABCDEFGHIJKLMNOP");
        assert_eq!(field(step, "parent_span_id"), field(all[0], "span_id"));
    }
    let linked = all[0].split_once("links {").unwrap().1;
    assert!(linked.contains(&format!("trace_id: \"{}\"", field(root, "trace_id"))), "{linked}\n{root}");
    for (name, value) in [
        ("deployment.environment.name", "production"),
        ("deployment.id", "2"),
        ("deployment.status", "succeeded"),
        ("orchestrate.service", "sample"),
        ("orchestrate.version", "1.0.0"),
        ("orchestrate.from_version", "1.1.0"),
        ("orchestrate.rollback.path", "warm"),
        ("orchestrate.actor", "alice@desk"),
    ] {
        assert_eq!(attribute(all[0], name), Some(value), "{name}");
    }
    waits(&scene, 0);
    scene.run(&["doctor"]).ok().prints("are sent to http://127.0.0.1");
}

#[test]
fn a_deployment_that_failed_is_an_error_and_a_caller_that_is_not_traced_is_left_out() {
    let collector = Receiver::start(None);
    let mut scene = telling(collector.on().address());
    scene.variable("DB_PASSWORD", "hunter2hunter2");
    scene.configure(|production| {
        production["secrets"] = serde_json::json!({ "DB_PASSWORD": "${DB_PASSWORD}" });
        production["health_check"]["deadline"] = "500ms".into();
    });
    scene.variable("TRACEPARENT", "00-4142434445464748494a4b4c4d4e4f50-6162636465666768-00");
    scene.deploy("1.0.0").ok();
    scene.variable("TRACEPARENT", "what is this");
    scene.behaviour("never_healthy");
    scene.deploy("1.1.0").ends(3);
    let text = read(&collector.receives(1)[0]);
    let all = spans(&text);
    let of = |name: &str| *all.iter().find(|span| field(span, "name") == name).unwrap();
    for failed in [all[0], of("await_healthy")] {
        assert!(failed.contains("code: STATUS_CODE_ERROR") && failed.contains("message: \""), "{failed}");
    }
    assert_eq!(attribute(all[0], "error.type"), Some("await_healthy"));
    assert_eq!(attribute(all[0], "deployment.status"), Some("failed"));
    assert!(!of("undo start").contains("STATUS_CODE_ERROR"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    waits(&scene, 0);
    assert_eq!(collector.on().received().len(), 1, "the first one was not to be traced");
}

#[test]
fn a_daemon_that_is_killed_before_it_noted_it_tells_the_same_trace_again() {
    let collector = Receiver::start(None);
    let scene = telling(collector.on().address());
    collector.on().answer_next([Answer::After(Duration::from_secs(600))]);
    scene.deploy("1.0.0").ok();
    collector.receives(1);
    let pid = scene.json("daemon status").ok().json()["daemon"]["pid"].as_i64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    until("it is gone", || scene.json("daemon status").json()["daemon"].is_null().then_some(()));
    scene.run(&["daemon", "start"]).ok();
    let received = collector.receives(2);
    assert_eq!(read(&received[0]), read(&received[1]));
    waits(&scene, 0);
    scene.run(&["daemon", "restart"]).ok();
    scene.deploy("1.1.0").ok();
    collector.receives(3);
    waits(&scene, 0);
    assert_eq!(collector.on().received().len(), 3, "each that was noted was told once");
}

#[test]
fn a_collector_that_is_away_is_in_nobodys_way_and_gets_everything_later() {
    let address = free_address();
    let scene = telling(address);
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    scene.rollback().ok();
    let told = until("it is known", || Some(traces(&scene)).filter(|traces| traces["error"].is_string()));
    assert!(told["next_attempt_at"].is_string(), "{told}");
    waits(&scene, 3);
    scene.run(&["doctor"]).ends(1).prints("3 operations wait: http://127.0.0.1");
    scene.run(&["daemon", "stop"]).ok();
    let collector = Receiver::start(Some(address));
    scene.run(&["daemon", "start"]).ok();
    let received = collector.receives(3);
    let told: Vec<String> = received.iter().map(read).collect();
    let roots: Vec<&str> = told.iter().map(|text| names(text)[0]).collect();
    assert_eq!(roots, ["deploy production", "deploy production", "rollback production"]);
    waits(&scene, 0);
}

#[test]
fn settings_that_cannot_be_used_are_told_and_stop_nothing() {
    let mut scene = Scene::new();
    scene.variable(ENDPOINT, "collector.example:4318");
    scene.deploy("1.0.0").ok();
    let why = traces(&scene)["error"].as_str().unwrap().to_owned();
    assert!(why.contains("needs http or https"), "{why}");
    scene.run(&["doctor"]).ends(1).prints("are sent nowhere: the endpoint needs http or https");

    // A path that the collector does not have concerns all traces, and loses none.
    let collector = Receiver::start(None);
    collector.on().answer(Answer::Status(404));
    scene.variable(ENDPOINT, "");
    let endpoint = format!("http://{}/v1/trace", collector.on().address());
    scene.variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &endpoint);
    scene.run(&["daemon", "restart"]).ok();
    until("it was refused", || {
        traces(&scene)["error"].as_str().is_some_and(|why| why.contains("404")).then_some(())
    });
    assert_eq!(collector.on().received()[0].path, "/v1/trace");
    scene.rollback();
    waits(&scene, 1);
    collector.on().answer(Answer::Status(200));
    scene.run(&["daemon", "restart"]).ok();
    waits(&scene, 0);

    scene.variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "");
    scene.run(&["daemon", "restart"]).ok();
    assert_eq!(traces(&scene), Value::Null);
    assert!(!scene.run(&["doctor"]).ok().stdout.contains("traces"));
}
