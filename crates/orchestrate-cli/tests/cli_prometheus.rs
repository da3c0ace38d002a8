//! Releases judged by a real Prometheus, by one that has no data, and by one that is not there.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::scene::{free_address, get};
use support::{Scene, until};

/// A Prometheus that watches itself, and who is named.
struct Prometheus {
    server: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    fn start() -> Self {
        Self::watching(&[])
    }

    fn watching(others: &[SocketAddr]) -> Self {
        let (directory, address) = (tempfile::tempdir().unwrap(), free_address());
        let config = directory.path().join("prometheus.yml");
        let scrape = format!(
            "global: {{ scrape_interval: 200ms }}\nscrape_configs:\n  - job_name: self\n    static_configs: [{{ targets: [\"{address}\"] }}]\n{}",
            others
                .iter()
                .map(|other| format!(
                    "  - job_name: \"{other}\"\n    static_configs: [{{ targets: [\"{other}\"] }}]\n"
                ))
                .collect::<String>()
        );
        std::fs::write(&config, scrape).unwrap();
        let server = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is installed: scripts/install-test-tools");
        let prometheus = Self { server, address, _directory: directory };
        until("it has seen itself", || {
            let (status, body) = get(address, "/api/v1/query?query=up").ok()?;
            (status == 200 && body.contains("\"job\":\"self\"")).then_some(())
        });
        prometheus
    }

    /// The value of a query with one answer, once it has one.
    fn value(&self, query: &str) -> Option<f64> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let (_, body) = get(self.address, &format!("/api/v1/query?query={encoded}")).ok()?;
        let answer: Value = serde_json::from_str(&body).ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// 1.0.0 is live; what is deployed next is judged by these queries for a second.
fn under(url: &str, queries: &Value) -> Scene {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.configure(|production| {
        production["verify"]["bake"] = json!("1s");
        production["verify"]["prometheus"] = json!({ "url": url, "interval": "200ms", "queries": queries });
    });
    scene.artifact("1.1.0");
    scene
}

#[track_caller]
fn deploy(scene: &Scene, exit: i32) -> Value {
    scene.json("deploy --env production --version 1.1.0").ends(exit).json()
}

#[track_caller]
fn finding<'a>(deployment: &'a Value, check: &str) -> &'a Value {
    let evidence = deployment["evidence"].as_array().unwrap_or_else(|| panic!("no evidence: {deployment}"));
    evidence.iter().find(|one| one["check"] == check).unwrap_or_else(|| panic!("no {check}: {deployment}"))
}

#[test]
fn a_metric_within_its_limits_proves_and_one_that_fired_before_does_not_condemn() {
    let prometheus = Prometheus::start();
    let queries = json!([
        { "name": "up", "query": "min(up{job=\"self\"})", "at_least": 1 },
        { "name": "alarm", "query": "vector(11)", "at_most": 10 },
        { "name": "nothing", "query": "nothing_of_this_name", "at_most": 1 },
    ]);
    let scene = under(&prometheus.url(), &queries);
    let deployment = deploy(&scene, 0);
    assert_eq!(deployment["status"], "completed");
    assert_eq!(finding(&deployment, "prometheus up")["value"], 1.0);
    let alarm = finding(&deployment, "prometheus alarm");
    assert_eq!((&alarm["finding"], &alarm["before"]), (&json!("good"), &json!(11.0)), "{alarm}");
    assert_eq!(finding(&deployment, "prometheus nothing")["finding"], "no_data");
}

#[test]
fn a_metric_that_began_to_violate_its_limit_condemns() {
    let prometheus = Prometheus::start();
    let queries = json!([{ "name": "clock", "query": "time() # {version}", "at_most": 0 }]);
    let mut scene = under(&prometheus.url(), &queries);
    // The time itself: within the limit when the deployment begins, above it soon after.
    let limit = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 8;
    scene.configure(|production| {
        production["verify"]["bake"] = json!("60s");
        production["verify"]["prometheus"]["queries"][0]["at_most"] = json!(limit);
    });
    let deployment = deploy(&scene, 3);
    assert_eq!(deployment["status"], "rolled_back");
    let clock = finding(&deployment, "prometheus clock");
    assert_eq!((&clock["finding"], &clock["limit"]), (&json!("bad"), &json!(limit as f64)));
    assert_eq!(scene.answers(), "1.0.0");
}

#[test]
fn one_that_refuses_or_answers_too_much_is_no_data_with_the_reason() {
    let prometheus = Prometheus::start();
    let queries = json!([
        { "name": "wrong", "query": "sum(", "at_most": 1 },
        { "name": "many", "query": "prometheus_http_requests_total", "at_most": 1 },
    ]);
    let scene = under(&prometheus.url(), &queries);
    let deployment = deploy(&scene, 0);
    let text = |check: &str| finding(&deployment, check)["text"].as_str().unwrap().to_owned();
    assert!(text("prometheus wrong").contains("refuses the query: "), "{}", text("prometheus wrong"));
    assert!(text("prometheus many").contains("values instead of one"), "{}", text("prometheus many"));
}

#[test]
fn one_that_is_not_there_has_the_consequence_that_is_configured() {
    for (consequence, exit, status) in
        [("good", 0, "completed"), ("notify", 0, "completed"), ("bad", 3, "rolled_back")]
    {
        let query = json!([{ "name": "queue", "query": "queue", "at_most": 1, "on_no_data": consequence }]);
        let scene = under(&format!("http://{}", free_address()), &query);
        let deployment = deploy(&scene, exit);
        assert_eq!(deployment["status"], status, "{consequence}");
        let found = finding(&deployment, "prometheus queue");
        assert_eq!(found["finding"], "no_data");
        assert!(found["text"].as_str().unwrap().contains("does not answer"), "{found}");
    }
}

#[test]
fn prometheus_reads_what_the_daemon_tells() {
    let mut scene = Scene::new();
    let metrics = free_address();
    scene.variable("ORCHESTRATE_METRICS", &metrics.to_string());
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    let prometheus = Prometheus::watching(&[metrics]);
    let is = |query: &str, wanted: f64| {
        until(query, || prometheus.value(query).filter(|value| (value - wanted).abs() < 1e-9));
    };
    is("orchestrate_rollback_ready{environment=\"production\"}", 1.0);
    is("orchestrate_slot_weight{version=\"1.1.0\"}", 1.0);
    scene.answers();
    until("requests are counted", || {
        prometheus.value("sum(orchestrate_requests_total)").filter(|count| *count > 0.0)
    });
    scene.rollback().ok();
    is("orchestrate_rollbacks_total{type=\"blue_green_switch\",path=\"warm\",status=\"completed\"}", 1.0);
    is("orchestrate_slot_weight{version=\"1.0.0\"}", 1.0);
    is("orchestrate_deployments{status=\"rolled_back\"}", 1.0);
    is("orchestrate_operation_open", 0.0);
    scene.run(&["deploy", "rollback", "--env", "production", "--undo"]).ok();
    until("the next one is estimated", || prometheus.value("orchestrate_rollback_estimated_seconds"));

    // What the dashboard asks for is there.
    let (status, text) = get(metrics, "/metrics").unwrap();
    assert!(status == 200 && text.trim_end().ends_with("# EOF"), "{text}");
    let dashboard = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/grafana/orchestrate.json");
    let dashboard = std::fs::read_to_string(dashboard).unwrap();
    // Where no channel is there are no notices.
    let known = format!("{text}# TYPE orchestrate_notices ");
    for name in dashboard.split("orchestrate_").skip(1) {
        let name: String = name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let family = name.strip_suffix("_total").unwrap_or(&name);
        assert!(
            known.contains(&format!("# TYPE orchestrate_{family} ")),
            "orchestrate_{name} is told nowhere"
        );
    }
}
