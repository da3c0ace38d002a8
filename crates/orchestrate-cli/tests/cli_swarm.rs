//! A service on a swarm of one node, with the real program: the same commands, the same promises, and hands that change things.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use orchestrate_testkit::docker::Engine;
use serde_json::json;
use support::load::Load;
use support::{Scene, until};

/// A scene whose service is an image on a swarm.
struct Hive {
    scene: Scene,
    engine: &'static Engine,
    name: String,
}

impl Hive {
    fn new(name: &str) -> Self {
        let engine = Engine::swarm();
        let mut scene = Scene::new();
        scene.variable("DOCKER_HOST", &engine.host);
        let image = format!("test-hive-{name}-{}", std::process::id());
        scene.config["service"] = json!(name);
        scene.config["release"] = json!({ "image": format!("{image}:{{version}}") });
        scene.configure(|production| {
            production["provider"] = json!("swarm");
            production["processes"]["web"].as_object_mut().unwrap().remove("command");
        });
        Self { scene, engine, name: image }
    }

    fn build(&self, version: &str) {
        self.engine
            .build(&format!("{}:{version}", self.name), &format!("LABEL of={version} in={}", self.name));
    }

    #[track_caller]
    fn deploy(&self, version: &str) -> support::Ran {
        self.scene.typed(&format!("deploy --env production --version {version}"))
    }

    /// The services of this scene, which carry the mark of its home.
    fn services(&self) -> Vec<String> {
        let home = self.scene.home.canonicalize().unwrap();
        let filter =
            format!("label=dev.orchestrate.owner={}", orchestrate_providers::docker::home_mark(&home));
        let listed = self.engine.docker(&["service", "ls", "--filter", &filter, "--format", "{{.Name}}"]);
        listed.lines().map(str::to_owned).collect()
    }
}

impl Drop for Hive {
    fn drop(&mut self) {
        // While the swarm is asked about it, the scene still stands.
        let _ = self.scene.command(&["daemon", "stop", "--all"]).output();
        for name in self.services() {
            let _ = self.engine.try_docker(&["service", "rm", &name]);
        }
        let images = self.engine.try_docker(&["image", "ls", "--quiet", &self.name]).unwrap_or_default();
        for image in images.lines() {
            let _ = self.engine.try_docker(&["image", "rm", "--force", image]);
        }
    }
}

#[test]
fn a_release_on_a_swarm_is_deployed_rolled_back_warm_and_rolling_and_no_request_is_lost() {
    let mut hive = Hive::new("whole");
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        hive.build(version);
    }
    hive.deploy("1.0.0").ok();
    assert_eq!(hive.scene.answers(), "1.0.0");
    assert_eq!(hive.services().len(), 2, "a service for each instance");
    let load = Load::start(hive.scene.address, "/version", 4);
    hive.deploy("1.1.0").ok();
    load.await_more(20);
    let rolled = hive.scene.rollback().ok().json();
    assert_eq!((&rolled["path"], hive.scene.answers().as_str()), (&json!("warm"), "1.0.0"));
    load.await_more(20);

    hive.scene.configure(|production| production["strategy"] = json!({ "type": "rolling", "batch": 1 }));
    hive.deploy("1.2.0").ok();
    load.await_more(20);
    let rolled = hive.scene.rollback().ok().json();
    assert_eq!((&rolled["path"], hive.scene.answers().as_str()), (&json!("cold"), "1.0.0"));
    load.await_more(20);
    let report = load.end();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    hive.scene.typed("logs --env production --version 1.0.0").ok().prints("listening on 8080");
    hive.scene.typed("daemon stop --all").ok();
    assert_eq!(hive.services(), [""; 0]);
}

#[test]
fn what_docker_service_rollback_did_is_shown_on_record_left_alone_and_overwritten_only_with_force() {
    let hive = Hive::new("drift");
    for version in ["1.0.0", "1.1.0"] {
        hive.build(version);
    }
    hive.deploy("1.0.0").ok();
    let service = hive.services().remove(0);
    hive.engine.docker(&["service", "update", "--detach", "--env-add", "EXTRA=1", &service]);
    let status = until("it is seen", || {
        let status = hive.scene.status();
        status["drift"].is_array().then_some(status)
    });
    assert!(status["drift"][0].as_str().unwrap().contains("EXTRA"), "{}", status["drift"]);
    let text = hive.scene.typed("deploy status --env production").ok();
    text.prints("somebody changed what runs: variables of blue-web-1 were changed: EXTRA");
    hive.deploy("1.1.0").ends(1).says("ORC-0166").says("--version 1.1.0 --force");
    until("it is on record", || {
        let trail = hive.scene.json("audit list --env production").ok().json();
        trail.as_array().unwrap().iter().any(|record| record["action"] == "drift_seen").then_some(())
    });

    // Whoever did it takes it back, with the engine's own word for that.
    hive.engine.docker(&["service", "rollback", "--detach", &service]);
    until("it is as it was", || hive.scene.status()["drift"].is_null().then_some(()));
    hive.deploy("1.1.0").ok();
    assert_eq!(hive.scene.answers(), "1.1.0");
}
