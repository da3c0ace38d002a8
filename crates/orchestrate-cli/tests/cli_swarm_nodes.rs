//! A service on a swarm of three nodes, of which one is lost: the service goes on, and every verb works without it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeSet;

use orchestrate_testkit::docker::{Nodes, Registry};
use serde_json::json;
use support::{Scene, until};

/// The daemon runs on a machine that is none of the nodes, and asks the first one.
struct Cluster {
    scene: Scene,
    nodes: Nodes,
    image: String,
    _registry: Registry,
}

impl Cluster {
    fn new() -> Self {
        let nodes = Nodes::start();
        let registry = Registry::at(&nodes.gateway);
        let image = format!("{}:{}/shop", nodes.gateway, registry.port);
        let mut scene = Scene::new();
        scene.variable("DOCKER_HOST", &nodes.engines[0].host);
        scene.config["service"] = json!("shop");
        scene.config["release"] = json!({ "image": format!("{image}:{{version}}") });
        scene.configure(|production| {
            production["provider"] = json!("swarm");
            production["health_check"]["deadline"] = json!("60s");
            let web = production["processes"]["web"].as_object_mut().unwrap();
            web.remove("command");
            web.insert("instances".into(), json!(3));
        });
        Self { scene, nodes, image, _registry: registry }
    }

    fn deploy(&self, version: &str) {
        let tag = format!("{}:{version}", self.image);
        self.nodes.engines[0].build(&tag, &format!("LABEL of={version}"));
        self.nodes.engines[0].docker(&["push", "--quiet", &tag]);
        self.scene.typed(&format!("deploy --env production --version {version}")).ok();
        assert_eq!(self.scene.answers(), version);
    }

    fn docker(&self, words: &[&str]) -> String {
        self.nodes.engines[0].docker(words)
    }

    fn services(&self) -> Vec<String> {
        self.docker(&["service", "ls", "--format", "{{.Name}}"]).lines().map(str::to_owned).collect()
    }

    /// The nodes on which instances run, as far as the swarm knows.
    fn used(&self) -> BTreeSet<String> {
        let mut nodes = BTreeSet::new();
        for service in self.services() {
            let tasks =
                self.docker(&["service", "ps", "--filter", "desired-state=running", "--quiet", &service]);
            for task in tasks.lines() {
                nodes.insert(self.docker(&["inspect", "--type", "task", "--format", "{{.NodeID}}", task]));
            }
        }
        nodes
    }

    fn all_are_ready(&self) -> bool {
        let status = self.scene.status();
        let traffic = status["traffic"].as_array().unwrap();
        traffic.iter().all(|slot| slot["healthy"] == slot["instances"] && slot["instances"] == 3)
    }
}

#[test]
fn a_node_is_lost_and_the_service_goes_on_goes_back_and_is_deployed_again() {
    let cluster = Cluster::new();
    cluster.deploy("1.0.0");
    cluster.deploy("1.1.0");
    assert_eq!(cluster.used().len(), 3, "a node that nobody uses would prove nothing");
    until("all are ready", || cluster.all_are_ready().then_some(()));

    cluster.nodes.lose(3);
    // From the first moment on, others answer.
    until("users are served", || cluster.scene.get("/version").is_ok_and(|got| got.0 == 200).then_some(()));
    until("the swarm has moved what ran there", || {
        (cluster.used().len() == 2 && cluster.all_are_ready()).then_some(())
    });
    assert_eq!(cluster.scene.answers(), "1.1.0");
    let rolled = cluster.scene.rollback().ok().json();
    assert_eq!((&rolled["path"], cluster.scene.answers().as_str()), (&json!("warm"), "1.0.0"));

    // What has a task on the lost node is taken away like everything else.
    cluster.deploy("1.2.0");
    assert_eq!(cluster.services().len(), 6, "three live ones, and three warm ones");
    cluster.scene.typed("daemon stop --all").ok();
    assert_eq!(cluster.services(), [""; 0]);
}
