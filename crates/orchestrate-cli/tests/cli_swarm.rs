//! A service on a swarm of one node, with the real program: the same commands, the same promises, and hands that change things.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use orchestrate_testkit::docker::Engine;
use serde_json::json;
use support::load::Load;
use support::postgres::Postgres;
use support::{Scene, until};

/// A scene whose service is an image on a swarm.
struct Hive {
    scene: Scene,
    engine: &'static Engine,
    name: String,
    /// Of its database; that of its home otherwise.
    mark: Option<String>,
}

impl Hive {
    fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    fn with(name: &str, change: impl FnOnce(&mut Scene)) -> Self {
        let engine = Engine::swarm();
        let mut scene = Scene::new();
        change(&mut scene);
        scene.variable("DOCKER_HOST", &engine.host);
        let image = format!("test-hive-{name}-{}", std::process::id());
        scene.config["service"] = json!(name);
        scene.config["release"] = json!({ "image": format!("{image}:{{version}}") });
        scene.configure(|production| {
            production["provider"] = json!("swarm");
            production["processes"]["web"].as_object_mut().unwrap().remove("command");
        });
        Self { scene, engine, name: image, mark: None }
    }

    fn build(&self, version: &str) {
        self.engine
            .build(&format!("{}:{version}", self.name), &format!("LABEL of={version} in={}", self.name));
    }

    /// The containers of its instances, which are others once one was started again.
    fn containers(&self) -> Vec<String> {
        let mark = self.mark.as_ref().unwrap();
        let mut all = self.engine.labelled(&format!("dev.orchestrate.owner={mark}"));
        all.sort();
        all
    }

    #[track_caller]
    fn deploy(&self, version: &str) -> support::Ran {
        self.scene.typed(&format!("deploy --env production --version {version}"))
    }

    /// The services of this scene, which carry the mark of its home or of its database.
    fn services(&self) -> Vec<String> {
        let of_home = || orchestrate_providers::docker::home_mark(&self.scene.home.canonicalize().unwrap());
        let filter = format!("label=dev.orchestrate.owner={}", self.mark.clone().unwrap_or_else(of_home));
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

/// Warm there and back; then cold, in services beside those that serve.
#[test]
fn a_drill_leaves_the_services_as_they_were() {
    let mut hive = Hive::new("drilled");
    hive.scene.configure(|production| production["drill"] = json!({ "production": true }));
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        hive.build(version);
    }
    hive.deploy("1.0.0").ok();
    hive.deploy("1.1.0").ok();
    let load = Load::start(hive.scene.address, "/version", 4);
    let before = hive.services();
    let warm = hive.scene.json("deploy drill --env production").ok().json();
    assert_eq!((&warm["path"], hive.services()), (&json!("warm"), before));
    hive.scene.configure(|production| production["strategy"]["warm_for"] = json!("0s"));
    hive.deploy("1.2.0").ok();
    until("there is room for a drill", || {
        let asked = hive.scene.command(&["deploy", "drill", "--env", "production", "--dry-run"]).output();
        (hive.services().len() == 2 && asked.is_ok_and(|asked| asked.status.success())).then_some(())
    });
    let serving = hive.services();
    let cold = hive.scene.json("deploy drill --env production").ok().json();
    assert_eq!((&cold["path"], &cold["target_version"]), (&json!("cold"), &json!("1.1.0")));
    assert_eq!(hive.services(), serving);
    let report = load.end();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!(hive.scene.answers(), "1.2.0");
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

    // What waits warm is no target for a switch once somebody changed it.
    hive.engine.docker(&["service", "update", "--detach", "--env-add", "EXTRA=1", &service]);
    let changed = "1.0.0 was warm but somebody changed it (variables of blue-web-1 were changed: EXTRA)";
    hive.scene.typed("deploy rollback --env production --force").ok().says(changed);
    let told = hive.scene.json("deploy rollbacks --env production").ok().json();
    assert_eq!((&told[0]["path"], hive.scene.answers().as_str()), (&json!("cold"), "1.0.0"));
    assert!(hive.scene.status()["drift"].is_null());
}

/// Two homes on one database, which reach the same swarm.
fn two_homes(name: &str, postgres: &Postgres) -> (Hive, Hive) {
    let shared = |scene: &mut Scene| {
        scene.variable("ORCHESTRATE_DATABASE_URL", &postgres.url());
        scene.variable("ORCHESTRATE_LEASE_TTL", "2s");
    };
    let (mut alpha, mut beta) = (Hive::with(name, shared), Hive::with(name, shared));
    for version in ["1.0.0", "1.1.0"] {
        alpha.build(version);
        alpha.deploy(version).ok();
    }
    for hive in [&mut alpha, &mut beta] {
        hive.mark = Some(postgres.query("select id from installation"));
    }
    // They are on one machine, and the second one takes the address over.
    beta.scene.address = alpha.scene.address;
    (alpha, beta)
}

#[test]
fn a_second_home_on_the_same_database_starts_nothing_a_second_time_and_goes_on_where_it_adopts() {
    let postgres = Postgres::create();
    let (alpha, beta) = two_homes("homes", &postgres);
    let before = alpha.containers();
    assert_eq!((alpha.services().len(), before.len()), (4, 4), "two live ones, and two warm ones");

    beta.scene.typed("daemon start").ok();
    let home = alpha.scene.home.to_str().unwrap();
    beta.deploy("1.1.0").ends(1).says("ORC-0162").says(home);
    beta.scene.typed("deploy rollback --env production --force").ends(1).says("ORC-0162");
    beta.scene.typed("env adopt production").ends(1).says("ORC-0163");
    beta.scene.typed("daemon stop --all").ok();
    assert_eq!(alpha.containers(), before, "nothing of it is beta's to start or to stop");

    // The machine of the first home is lost: its daemon and its proxy, but not the swarm.
    for pid in alpha.scene.processes() {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    until("alpha counts as dead", || (beta.scene.status()["elsewhere"]["alive"] == false).then_some(()));
    assert_eq!(alpha.containers(), before, "and the other home has done nothing about it by itself");
    beta.scene.typed("env adopt production").ok();
    beta.scene.typed("daemon start").ok();
    until("users are served again", || {
        beta.scene.get("/version").is_ok_and(|got| got.0 == 200).then_some(())
    });
    assert_eq!((beta.scene.answers().as_str(), beta.containers()), ("1.1.0", before.clone()));
    until("what was warm is ready", || (beta.scene.status()["rollback"]["path"] == "warm").then_some(()));
    let rolled = beta.scene.rollback().ok().json();
    assert_eq!((&rolled["path"], beta.scene.answers().as_str()), (&json!("warm"), "1.0.0"));
    assert_eq!(beta.containers(), before);

    // The first machine comes back, and is not asked any more.
    alpha.scene.typed("daemon start").ok();
    alpha.deploy("1.1.0").ends(1).says("ORC-0162");
    alpha.scene.typed("daemon stop --all").ok();
    assert_eq!((beta.containers(), beta.scene.answers().as_str()), (before, "1.0.0"));
    beta.scene.typed("daemon stop --all").ok();
    assert_eq!(beta.services(), [""; 0]);
}
