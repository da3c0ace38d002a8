//! A service in containers, with the real program and a real engine: the same commands, and the same promises.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use orchestrate_testkit::docker::{Engine, Registry};
use serde_json::{Value, json};
use support::load::Load;
use support::{Scene, until};

/// A scene whose service is an image of the engine.
struct Harbour {
    scene: Scene,
    engine: &'static Engine,
    name: String,
}

impl Harbour {
    fn new(name: &str) -> Self {
        Self::of(name, &format!("test-{name}-{}", std::process::id()))
    }

    fn of(name: &str, image: &str) -> Self {
        let engine = Engine::shared();
        let mut scene = Scene::new();
        scene.variable("DOCKER_HOST", &engine.host);
        scene.config["service"] = json!(name);
        scene.config["release"] = json!({ "image": format!("{image}:{{version}}") });
        scene.configure(|production| {
            production["provider"] = json!("docker");
            production["processes"]["web"].as_object_mut().unwrap().remove("command");
        });
        Self { scene, engine, name: image.to_owned() }
    }

    fn build(&self, version: &str, line: &str) -> String {
        self.engine.build(
            &format!("{}:{version}", self.name),
            &format!("LABEL of={version} in={}\n{line}", self.name),
        )
    }

    #[track_caller]
    fn deploy(&self, version: &str) -> support::Ran {
        self.scene.typed(&format!("deploy --env production --version {version}"))
    }

    /// The containers of this scene: they carry its version, and the mark of its home.
    fn containers(&self) -> Vec<String> {
        let home = self.scene.home.canonicalize().unwrap();
        let mark = orchestrate_providers::docker::home_mark(&home);
        self.engine.labelled(&format!("dev.orchestrate.home={mark}"))
    }

    /// Waits until only the live release has containers.
    fn await_alone(&self, count: usize) {
        until("the release that was left is gone", || (self.containers().len() == count).then_some(()));
    }
}

impl Drop for Harbour {
    fn drop(&mut self) {
        // While the engine is asked about it, the scene still stands.
        let _ = self.scene.command(&["daemon", "stop", "--all"]).output();
        for name in self.containers() {
            let _ = self.engine.try_docker(&["rm", "--force", &name]);
        }
        let images = self.engine.try_docker(&["image", "ls", "--quiet", &self.name]).unwrap_or_default();
        for image in images.lines() {
            let _ = self.engine.try_docker(&["image", "rm", "--force", image]);
        }
    }
}

#[test]
fn a_release_in_containers_is_deployed_rolled_back_warm_and_cold_and_no_request_is_lost() {
    let mut harbour = Harbour::new("whole");
    for version in ["1.0.0", "1.1.0"] {
        harbour.build(version, "");
    }
    harbour.deploy("1.0.0").ok();
    assert_eq!(harbour.scene.answers(), "1.0.0");
    let load = Load::start(harbour.scene.address, "/version", 8);
    harbour.deploy("1.1.0").ok();
    load.await_more(50);
    let status = harbour.scene.status();
    assert_eq!(status["traffic"][0]["version"], "1.1.0");
    assert_eq!(
        (&status["traffic"][0]["healthy"], &status["traffic"][0]["instances"]),
        (&json!(2), &json!(2))
    );
    let rolled = harbour.scene.rollback().ok().json();
    assert_eq!((&rolled["path"], harbour.scene.answers().as_str()), (&json!("warm"), "1.0.0"));
    load.await_more(50);
    let report = load.end();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    harbour.scene.typed("logs --env production --version 1.1.0").ok().prints("listening on 8080");
    let text = harbour.scene.typed("deploy status --env production").ok();
    text.prints("1.0.0");

    // From now on what was left is stopped at once.
    harbour.scene.configure(|production| production["strategy"]["warm_for"] = json!("0s"));
    harbour.build("1.2.0", "");
    harbour.deploy("1.2.0").ok();
    harbour.await_alone(2);
    let load = Load::start(harbour.scene.address, "/version", 8);
    let rolled = harbour.scene.rollback().ok().json();
    assert_eq!((&rolled["path"], harbour.scene.answers().as_str()), (&json!("cold"), "1.0.0"));
    load.await_more(50);
    let report = load.end();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    harbour.scene.typed("daemon stop --all").ok();
    assert_eq!(harbour.containers(), [""; 0]);
}

#[test]
fn users_are_served_while_no_daemon_is_there_and_the_next_one_adopts_the_containers() {
    let harbour = Harbour::new("adopted");
    harbour.build("1.0.0", "");
    harbour.deploy("1.0.0").ok();
    let before = harbour.containers();
    let load = Load::start(harbour.scene.address, "/version", 4);
    let daemon = harbour.scene.json("daemon status").ok().json();
    let pid = i32::try_from(daemon["daemon"]["pid"].as_i64().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    load.await_more(50);
    let status = until("the next daemon has looked", || {
        let status = harbour.scene.status();
        (status["traffic"][0]["healthy"] == json!(2)).then_some(status)
    });
    assert_eq!(status["traffic"][0]["version"], "1.0.0");
    load.await_more(50);
    let report = load.end();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!(harbour.containers(), before);
}

#[test]
fn a_rollback_runs_what_was_sealed_and_is_refused_before_anything_is_touched_where_that_is_gone() {
    let mut harbour = Harbour::new("sealed");
    harbour.scene.configure(|production| production["strategy"]["warm_for"] = json!("0s"));
    let sealed = harbour.build("1.0.0", "");
    harbour.deploy("1.0.0").ok();
    harbour.build("1.1.0", "");
    harbour.deploy("1.1.0").ok();
    harbour.await_alone(2);
    // The tag means an image by now that does not even start.
    harbour.build("1.0.0", "CMD [\"crash\"]");
    let rolled = harbour.scene.rollback().ok().json();
    assert_eq!((&rolled["path"], harbour.scene.answers().as_str()), (&json!("cold"), "1.0.0"));
    harbour.await_alone(2);
    for name in harbour.containers() {
        let image = harbour.engine.docker(&["inspect", "--format", "{{.Image}}", &name]);
        assert_eq!(image, format!("sha256:{sealed}"));
    }
    // Now the release before is gone altogether.
    let gone = harbour.engine.id_of(&format!("{}:1.1.0", harbour.name));
    harbour.engine.docker(&["image", "rm", "--force", &gone]);
    let (before, load) = (harbour.containers(), Load::start(harbour.scene.address, "/version", 4));
    let refused = harbour.scene.typed("deploy rollback --env production --version 1.1.0 --force").ends(1);
    refused.says("is not on this engine any more").says("ORC-0117");
    load.await_more(20);
    let report = load.end();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!((harbour.containers(), harbour.scene.answers().as_str()), (before, "1.0.0"));
}

#[test]
fn without_its_registry_a_new_version_is_refused_and_an_old_one_goes_on() {
    let mut registry = Registry::start();
    let harbour = Harbour::of("registry", &registry.name("shop"));
    for version in ["1.0.0", "1.1.0"] {
        harbour.build(version, "");
        let reference = format!("{}:{version}", harbour.name);
        harbour.engine.docker(&["push", "--quiet", &reference]);
        harbour.engine.docker(&["image", "rm", "--force", &harbour.engine.id_of(&reference)]);
    }
    harbour.deploy("1.0.0").ok();
    registry.end();
    harbour.deploy("1.1.0").ends(1).says("there is no image").says("ORC-0127");
    let skipped = harbour.scene.typed("deploy --env production --version 1.1.0 --skip-validation").ends(1);
    skipped.says("ORC-0341");
    assert_eq!(harbour.scene.answers(), "1.0.0");
    registry.begin();
    harbour.deploy("1.1.0").ok();
    assert_eq!(harbour.scene.answers(), "1.1.0");
}

#[test]
fn a_registry_that_asks_for_a_login_gets_the_one_of_the_docker_command() {
    let registry = Registry::closed();
    let mut harbour = Harbour::of("login", &registry.name("shop"));
    let config = harbour.scene.write("docker/config.json", &registry.docker_config());
    let config = config.parent().unwrap().to_str().unwrap().to_owned();
    harbour.build("1.0.0", "");
    let reference = format!("{}:1.0.0", harbour.name);
    harbour.engine.docker_as(&config, &["push", "--quiet", &reference]);
    harbour.engine.docker(&["image", "rm", "--force", &harbour.engine.id_of(&reference)]);
    harbour.scene.variable("DOCKER_CONFIG", "/nowhere");
    harbour.deploy("1.0.0").ends(1).says("no basic auth credentials").says("docker login");
    harbour.scene.variable("DOCKER_CONFIG", &config);
    harbour.deploy("1.0.0").ok();
    assert_eq!(harbour.scene.answers(), "1.0.0");
}

#[test]
fn a_crash_is_told_with_the_last_words_and_users_are_served_as_before() {
    let harbour = Harbour::new("crash");
    harbour.build("1.0.0", "");
    harbour.deploy("1.0.0").ok();
    harbour.build("1.1.0", "CMD [\"crash\"]");
    harbour.deploy("1.1.0").ends(3).says("address in use").says("users are served as before");
    assert_eq!(harbour.scene.answers(), "1.0.0");
    harbour.scene.typed("logs --env production --version 1.1.0").ok().prints("address in use");
}

#[test]
fn without_an_engine_a_deployment_is_refused_and_everything_else_works() {
    let mut harbour = Harbour::new("nowhere");
    harbour.scene.variable("DOCKER_HOST", "unix:///nowhere/docker.sock");
    let refused = harbour.deploy("1.0.0").ends(1);
    refused.says("unix:///nowhere/docker.sock").says("systemctl start docker");
    let status: Value = harbour.scene.json("daemon start").ok().json();
    assert!(status.is_object());
    harbour.scene.typed("deploy history --env production").ends(1).says("ORC-0101");
}

/// Warm there and back; then cold, in containers beside those that serve.
#[test]
fn a_drill_leaves_the_containers_as_they_were() {
    let mut harbour = Harbour::new("drilled");
    harbour.scene.configure(|production| production["drill"] = json!({ "production": true }));
    for version in ["1.0.0", "1.1.0"] {
        harbour.build(version, "");
        harbour.deploy(version).ok();
    }
    let load = Load::start(harbour.scene.address, "/version", 4);
    let mut before = harbour.containers();
    let warm = harbour.scene.json("deploy drill --env production").ok().json();
    let mut after = harbour.containers();
    before.sort();
    after.sort();
    assert_eq!((&warm["path"], after), (&json!("warm"), before));
    harbour.scene.configure(|production| production["strategy"]["warm_for"] = json!("0s"));
    harbour.build("1.2.0", "");
    harbour.deploy("1.2.0").ok();
    harbour.await_alone(2);
    until("there is room for a drill", || {
        let asked = harbour.scene.command(&["deploy", "drill", "--env", "production", "--dry-run"]).output();
        asked.is_ok_and(|asked| asked.status.success()).then_some(())
    });
    let serving = harbour.containers();
    let cold = harbour.scene.json("deploy drill --env production").ok().json();
    assert_eq!((&cold["path"], &cold["target_version"]), (&json!("cold"), &json!("1.1.0")));
    assert_eq!(harbour.containers(), serving);
    let report = load.end();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!(harbour.scene.answers(), "1.2.0");
}
