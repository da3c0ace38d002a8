//! The whole way with the real program, in front of the API server in memory that the provider's own tests have.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[allow(dead_code, unused_imports, reason = "the provider's tests use the rest of it")]
#[path = "../../orchestrate-providers/tests/kubernetes/fake/mod.rs"]
mod fake;
mod support;

use fake::{Fake, NAMESPACE};
use serde_json::{Value, json};
use support::{Scene, until};

struct Cluster {
    fake: Fake,
    scene: Scene,
}

impl Cluster {
    /// It knows the images of some versions of the sample.
    fn new(strategy: &Value) -> Self {
        let (sender, started) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                sender.send(Fake::start().await).unwrap();
                std::future::pending::<()>().await;
            });
        });
        let fake = started.recv().unwrap();
        fake.world().images.extend(["1.0.0", "1.1.0", "1.2.0"].map(|version| format!("sample:{version}")));
        let mut scene = Scene::new();
        let kubeconfig = scene.write("kubeconfig", &fake.kubeconfig());
        scene.config["release"] = json!({ "image": "sample:{version}" });
        scene.configure(|production| {
            production["provider"] = json!("kubernetes");
            production["kubernetes"] = json!({ "kubeconfig": kubeconfig, "image_pull_policy": "Never" });
            production["processes"] = json!({
                "web": { "instances": 2, "listen": "0.0.0.0:80" },
                "worker": { "command": ["/sample", "work"] },
            });
            production["strategy"] = strategy.clone();
            production["drain"] = json!("1s");
            production["drill"] = json!({ "production": true });
            production["health_check"] = json!({ "deadline": "20s" });
        });
        Self { fake, scene }
    }

    /// The versions of the pods that are there, each once.
    fn pods(&self, process: &str) -> Vec<String> {
        let pods = self.fake.world().all("pods").into_iter();
        let of = pods.filter(|pod| pod["metadata"]["labels"]["orchestrate.dev/process"] == process);
        let mut versions: Vec<String> = of
            .map(|pod| pod["metadata"]["annotations"]["orchestrate.dev/version"].as_str().unwrap().to_owned())
            .collect();
        versions.sort();
        versions.dedup();
        versions
    }

    /// The version of each pod that users are sent to.
    fn behind(&self) -> Vec<String> {
        let world = self.fake.world();
        let slice = world.get("endpointslices", "sample-production-web-slice").unwrap();
        let ready =
            slice["endpoints"].as_array().unwrap().iter().filter(|one| one["conditions"]["ready"] == true);
        let mut versions: Vec<String> = ready
            .map(|one| world.get("pods", one["targetRef"]["name"].as_str().unwrap()).unwrap().clone())
            .map(|pod| pod["metadata"]["annotations"]["orchestrate.dev/version"].as_str().unwrap().to_owned())
            .collect();
        versions.sort();
        versions
    }

    fn answers(&self) -> String {
        let mut versions = self.behind();
        versions.dedup();
        versions.join(" and ")
    }

    #[track_caller]
    fn deploy(&self, version: &str) -> support::Ran {
        self.scene.typed(&format!("deploy --env production --version {version}"))
    }

    #[track_caller]
    fn is_only(&self, version: &str) {
        until("only the live release is there", || {
            (self.pods("web") == [version] && self.pods("worker") == [version]).then_some(())
        });
        assert_eq!(self.answers(), version);
    }
}

#[test]
fn blue_green_goes_forth_and_back_by_the_selector() {
    let cluster = Cluster::new(&json!({ "type": "blue_green", "warm_for": "15m" }));
    cluster.deploy("1.0.0").ok();
    cluster.deploy("1.1.0").ok();
    assert_eq!(cluster.answers(), "1.1.0");
    assert_eq!(cluster.pods("web"), ["1.0.0", "1.1.0"], "the one before stays warm");
    until("its workers do not", || (cluster.pods("worker") == ["1.1.0"]).then_some(()));
    let drill = cluster.scene.json("deploy drill --env production").ok().json();
    assert_eq!((&drill["path"], cluster.answers().as_str()), (&json!("warm"), "1.1.0"));
    let rolled_back = cluster.scene.rollback().ok().json();
    assert_eq!((&rolled_back["path"], cluster.answers().as_str()), (&json!("warm"), "1.0.0"));
    // A restart of the daemon changes nothing.
    cluster.scene.typed("daemon restart").ok();
    assert_eq!(cluster.scene.status()["traffic"][0]["version"], "1.0.0");
    cluster.scene.typed("env stop production").ok();
    until("nothing is left but the anchor", || {
        let world = cluster.fake.world();
        let left = |plural: &str| world.all(plural).len();
        (left("pods") + left("deployments") + left("services") == 0 && left("configmaps") == 1).then_some(())
    });
}

#[test]
fn a_drill_starts_the_target_beside_what_is_live_and_takes_it_away_again() {
    let cluster = Cluster::new(&json!({ "type": "blue_green", "warm_for": "0s" }));
    cluster.deploy("1.0.0").ok();
    cluster.deploy("1.1.0").ok();
    cluster.is_only("1.1.0");
    until("there is room for a drill", || {
        let asked = cluster.scene.command(&["deploy", "drill", "--env", "production", "--dry-run"]).output();
        asked.is_ok_and(|asked| asked.status.success()).then_some(())
    });
    let drill = cluster.scene.json("deploy drill --env production").ok().json();
    assert_eq!((&drill["path"], &drill["target_version"]), (&json!("cold"), &json!("1.0.0")));
    cluster.is_only("1.1.0");
}

#[test]
fn a_rolling_release_goes_forth_and_back_by_its_sealed_template() {
    let mut cluster = Cluster::new(&json!({ "type": "rolling" }));
    cluster.deploy("1.0.0").ok();
    cluster.is_only("1.0.0");
    cluster.deploy("1.1.0").ok();
    cluster.is_only("1.1.0");
    cluster.scene.typed("deploy drill --env production").ends(1).says("ORC-0193");
    assert_eq!(cluster.scene.rollback().ok().json()["path"], "cold");
    cluster.is_only("1.0.0");
    // One that does not get ready is put back, and users did not see it.
    cluster.scene.configure(|production| {
        production["variables"]["HEALTH"] = json!("sick");
        production["health_check"] = json!({ "deadline": "2s" });
    });
    cluster.deploy("1.2.0").ends(3).says("1.2.0");
    cluster.is_only("1.0.0");
}

#[test]
fn recreate_stops_the_one_before_first() {
    let cluster = Cluster::new(&json!({ "type": "recreate" }));
    cluster.deploy("1.0.0").ok();
    cluster.deploy("1.1.0").ok();
    cluster.is_only("1.1.0");
    cluster.scene.rollback().ok();
    cluster.is_only("1.0.0");
}

#[test]
fn what_the_cluster_does_not_take_is_refused_before_anything_is_touched() {
    let mut cluster = Cluster::new(&json!({ "type": "blue_green" }));
    cluster.deploy("1.0.0").ok();
    cluster.scene.configure(|production| production["kubernetes"]["namespace"] = json!("elsewhere"));
    let before = cluster.fake.world().all("deployments").len();
    // What is live is not in that namespace either.
    cluster.deploy("1.1.0").ends(1).says("ORC-0166");
    let forced = cluster.scene.typed("deploy --env production --version 1.1.0 --force");
    forced.ends(3).says("the namespace elsewhere is not in the cluster");
    assert_eq!(cluster.fake.world().all("deployments").len(), before);
    assert_eq!(cluster.answers(), "1.0.0");
    assert_ne!(NAMESPACE, "elsewhere");
}

impl Cluster {
    /// The weights of the route, by Service.
    fn weights(&self) -> Vec<(String, u64)> {
        let route = self.fake.world().get("httproutes", "shop").unwrap().clone();
        let backends = route["spec"]["rules"][0]["backendRefs"].as_array().unwrap().iter();
        backends
            .map(|one| (one["name"].as_str().unwrap().to_owned(), one["weight"].as_u64().unwrap_or(1)))
            .collect()
    }

    fn share(&self, version: &str) -> Option<Value> {
        let status = self.scene.status();
        let rows = status["traffic"].as_array().unwrap().clone().into_iter();
        rows.into_iter().find(|row| row["version"] == version).map(|row| row["weight"].clone())
    }
}

fn is(of: &[(&str, u64)]) -> Vec<(String, u64)> {
    of.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
}

const FRONT: &str = "sample-production-web";

#[test]
fn a_canary_gets_its_shares_by_the_weights_of_a_route() {
    let strategy = json!({ "type": "canary", "steps": [10, 50], "wait": "10m", "warm_for": "15m" });
    let mut cluster = Cluster::new(&strategy);
    cluster.scene.configure(|production| production["kubernetes"]["route"] = json!("shop"));
    cluster.fake.world().put(
        "httproutes",
        json!({
            "metadata": { "name": "shop" },
            "spec": { "rules": [{ "backendRefs": [{ "name": FRONT, "port": 80 }] }] },
        }),
    );
    cluster.deploy("1.0.0").ok();
    assert_eq!(cluster.weights(), is(&[(FRONT, 1)]));
    cluster.deploy("1.1.0").ok();
    let (blue, green) = ("sample-production-blue-web", "sample-production-green-web");
    assert_eq!(cluster.weights(), is(&[(FRONT, 90), (green, 10)]));
    assert_eq!((cluster.share("1.0.0"), cluster.share("1.1.0")), (Some(json!(90)), Some(json!(10))));
    cluster.scene.typed("deploy promote --env production").ok();
    assert_eq!(cluster.weights(), is(&[(FRONT, 50), (green, 50)]));
    cluster.scene.typed("deploy promote --env production").ok();
    assert_eq!((cluster.weights(), cluster.answers()), (is(&[(FRONT, 1)]), "1.1.0".to_owned()));
    // A canary that is given up goes back in one write.
    cluster.deploy("1.2.0").ok();
    assert_eq!(cluster.weights(), is(&[(FRONT, 90), (blue, 10)]));
    cluster.scene.rollback().ok();
    assert_eq!((cluster.weights(), cluster.answers()), (is(&[(FRONT, 1)]), "1.1.0".to_owned()));
}

#[test]
fn a_canary_without_a_route_gets_its_shares_by_numbers_of_pods() {
    let strategy = json!({ "type": "canary", "steps": [10, 50], "wait": "10m", "warm_for": "15m" });
    let cluster = Cluster::new(&strategy);
    let told = "with 2 instances of each release 10% becomes 33%, 50% is 50%";
    cluster.deploy("1.0.0").ok();
    cluster.deploy("1.1.0").ok().says(told);
    assert_eq!((cluster.share("1.0.0"), cluster.share("1.1.0")), (Some(json!(90)), Some(json!(10))));
    until("two of one and one of the other get requests", || {
        (cluster.behind() == ["1.0.0", "1.0.0", "1.1.0"]).then_some(())
    });
    cluster.scene.typed("deploy promote --env production").ok();
    until("two of each get requests", || (cluster.behind().len() == 4).then_some(()));
    cluster.scene.typed("deploy promote --env production").ok();
    assert_eq!(cluster.behind(), ["1.1.0", "1.1.0"]);
    // A canary that is given up goes back in one write.
    cluster.deploy("1.2.0").ok();
    cluster.scene.rollback().ok();
    until("one release has all", || (cluster.behind() == ["1.1.0", "1.1.0"]).then_some(()));
}

#[test]
fn a_release_is_staged_without_a_route() {
    let cluster = Cluster::new(&json!({ "type": "blue_green", "warm_for": "15m" }));
    cluster.deploy("1.0.0").ok();
    cluster.scene.typed("deploy --env production --version 1.1.0 --no-switch").ok();
    assert_eq!((cluster.answers(), cluster.share("1.1.0")), ("1.0.0".to_owned(), Some(json!(0))));
    cluster.scene.typed("deploy promote --env production").ok();
    assert_eq!(cluster.answers(), "1.1.0");
}

const MANIFEST: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: shop }
spec:
  selector: { matchLabels: { app: shop } }
  template:
    metadata: { labels: { app: shop } }
    spec:
      priorityClassName: PRIORITY
      containers:
        - { name: shop, image: "overwritten:1", envFrom: [{ secretRef: { name: keys } }] }
---
apiVersion: v1
kind: Secret
metadata: { name: keys }
stringData: { KEY: hunter2 }
"#;

/// Manifests are read at the deployment; what they say by the time of the rollback does not matter.
#[test]
fn manifests_are_sealed_with_the_release() {
    let mut cluster = Cluster::new(&json!({ "type": "recreate" }));
    let write = |cluster: &mut Cluster, priority: &str| {
        cluster.scene.write("shop.yaml", &MANIFEST.replace("PRIORITY", priority))
    };
    let path = write(&mut cluster, "high");
    cluster.scene.configure(|production| {
        production["kubernetes"]["manifests"] = json!([path]);
        production["processes"] = json!({ "web": { "instances": 2, "listen": "0.0.0.0:80" } });
    });
    let template = |cluster: &Cluster| {
        let deployments = cluster.fake.world().all("deployments");
        assert_eq!(deployments.len(), 1);
        deployments[0]["spec"]["template"].clone()
    };
    cluster.deploy("1.0.0").ok();
    let first = template(&cluster);
    assert_eq!(first["spec"]["priorityClassName"], "high");
    write(&mut cluster, "low");
    cluster.scene.typed("deploy diff --env production --version 1.1.0").ok().prints("low");
    cluster.deploy("1.1.0").ok();
    assert_eq!(template(&cluster)["spec"]["priorityClassName"], "low");
    write(&mut cluster, "none");
    cluster.scene.rollback().ok();
    let again = template(&cluster);
    assert_eq!(again["spec"].to_string(), first["spec"].to_string());
    // What is secret is in the cluster's Secret alone.
    let home = cluster.scene.typed("deploy history --env production --format json").ok().json().to_string();
    assert!(!home.contains("hunter2"));
    cluster.scene.write("shop.yaml", "apiVersion: batch/v1\nkind: CronJob\nmetadata: { name: x }\n");
    cluster
        .scene
        .typed("deploy validate --env production --version 1.2.0")
        .ends(1)
        .prints("is a CronJob (batch/v1)");
    cluster.deploy("1.2.0").ends(1).says("which orchestrate does not apply");
    assert_eq!(cluster.answers(), "1.0.0");
}

#[test]
fn output_of_pods_is_shown_through_the_api_server() {
    let cluster = Cluster::new(&json!({ "type": "blue_green" }));
    cluster.deploy("1.0.0").ok();
    let pod = {
        let mut world = cluster.fake.world();
        let pods = world.all("pods").into_iter();
        let mut web = pods.filter(|pod| pod["metadata"]["labels"]["orchestrate.dev/process"] == "web");
        let pod = web.next().unwrap()["metadata"]["name"].as_str().unwrap().to_owned();
        world.logs.insert(pod.clone(), "one\ntwo\nthree\n".to_owned());
        pod
    };
    cluster.scene.typed("logs --env production -n 2").ok().prints(&format!("{pod} | two")).prints("three");
    let line = cluster.scene.typed("logs --env production -n 1 --format json").ok().json();
    assert_eq!(line, json!({ "instance": pod, "line": "three" }));
    cluster.scene.typed("logs --env production --version 9.9.9").ends(1).says("ORC-0130");
}
