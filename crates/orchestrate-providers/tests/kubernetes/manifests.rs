//! Manifests of the user's own: what is made of them, what is refused, and that they come back as they were sealed.

use std::path::Path;

use orchestrate_core::environment::{Kubernetes, Security};
use orchestrate_core::ports::{Fetch, Placement, Processes, Provider as _};
use orchestrate_core::time::Span;
use orchestrate_providers::RunSpec;
use orchestrate_providers::kubernetes::read_manifests;
use orchestrate_testkit::contract::provider::{ProviderStage as _, Sample};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::contract::Stage;
use crate::fake::{Fake, variables};
use crate::rolling::{placement, stop};

const SOON: Span = Span::from_secs(30);

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop
  labels: { team: checkout, app.kubernetes.io/managed-by: helm }
  annotations: { example.com/owner: checkout }
spec:
  replicas: 7
  paused: true
  minReadySeconds: 0
  revisionHistoryLimit: 3
  selector: { matchLabels: { app: shop } }
  template:
    metadata:
      labels: { app: shop }
      annotations: { example.com/scrape: "true" }
    spec:
      affinity: { nodeAffinity: {} }
      priorityClassName: high
      volumes:
        - { name: settings, configMap: { name: settings, defaultMode: 0644 } }
        - { name: keys, secret: { secretName: keys } }
        - { name: theirs, configMap: { name: of-the-cluster, optional: true } }
      containers:
        - name: shop
          image: overwritten:1
          args: [serve]
          ports: [{ containerPort: 8080 }, { name: metrics, containerPort: 9000 }]
          env:
            - { name: ORCHESTRATE_VERSION, value: forged }
            - { name: FROM, valueFrom: { configMapKeyRef: { name: settings, key: level } } }
          envFrom: [{ configMapRef: { name: settings } }]
          volumeMounts: [{ name: settings, mountPath: /settings }]
          securityContext: { readOnlyRootFilesystem: true }
          livenessProbe: { httpGet: { path: /live, port: 8080 } }
        - { name: proxy, image: "envoy:1" }
"#;
const SETTINGS: &str = r#"
---
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data: { level: info }
---
apiVersion: v1
kind: Secret
metadata: { name: keys }
type: Opaque
data: { old: aHVudGVyMg== }
stringData: { new: hunter3 }
"#;

fn settings() -> Kubernetes {
    Kubernetes {
        manifests: vec!["shop.yaml".into()],
        container: Some("shop".into()),
        ..Kubernetes::default()
    }
}

fn read(
    directory: &Path,
    text: &str,
    settings: &Kubernetes,
) -> Result<orchestrate_providers::kubernetes::FoundManifests, String> {
    std::fs::write(directory.join("shop.yaml"), text).unwrap();
    read_manifests(directory, settings, true).map_err(|error| error.full_message())
}

/// A release with manifests, as it is sealed.
fn sealed(stage: &Stage<Fake>, placement: &Placement, text: &str) -> RunSpec {
    let directory = TempDir::new().unwrap();
    let mut spec = stage.scene.spec(placement, Sample::web(2));
    spec.processes.remove("work");
    let kubernetes = spec.engine.kubernetes.as_mut().unwrap();
    kubernetes.manifests = settings().manifests;
    kubernetes.container = settings().container;
    let found = read(directory.path(), text, &settings()).unwrap();
    spec.engine.manifests = found.manifests;
    spec.secrets.extend(found.secrets);
    spec.variables.insert("LEVEL".into(), "debug".into());
    spec
}

fn both(level: &str) -> String {
    format!("{DEPLOYMENT}{}", SETTINGS.replace("info", level))
}

fn deployment(stage: &Stage<Fake>, slot: &str) -> Value {
    let name = format!("contract-{}-{slot}-web", stage.scene.environment);
    stage.ground.world().get("deployments", &name).unwrap().clone()
}

#[tokio::test]
async fn the_image_and_who_it_is_are_put_into_their_deployment() {
    let stage: Stage<Fake> = Stage::new().await;
    let first = placement(&stage.scene, 1);
    let mut spec = sealed(&stage, &first, &both("info"));
    spec.engine.kubernetes.as_mut().unwrap().security = Some(Security::default());
    let instances = stage.scene.run(&first, spec).await;
    assert!(
        instances.len() == 2 && instances.iter().all(|one| one.address.is_some_and(|at| at.port() == 8080))
    );
    let object = deployment(&stage, "blue");
    assert_eq!((&object["spec"]["replicas"], &object["spec"]["paused"]), (&2.into(), &Value::Null));
    assert_eq!(object["spec"]["revisionHistoryLimit"], 3);
    assert_eq!(object["metadata"]["labels"]["team"], "checkout");
    assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/managed-by"], "orchestrate");
    let template = &object["spec"]["template"];
    assert_eq!(
        (&template["metadata"]["labels"]["app"], &template["metadata"]["annotations"]["example.com/scrape"]),
        (&"shop".into(), &"true".into())
    );
    let pod = &template["spec"];
    assert_eq!(
        (&pod["priorityClassName"], &pod["volumes"][0]["configMap"]["defaultMode"]),
        (&"high".into(), &0o644.into())
    );
    let container = &pod["containers"][0];
    assert_eq!(
        (&container["image"], &container["args"]),
        (&stage.scene.image.as_str().into(), &json!(["serve"]))
    );
    assert_eq!(container["ports"][0], json!({ "containerPort": 8080, "name": "http" }));
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/");
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/live");
    let context = &container["securityContext"];
    assert_eq!((&context["readOnlyRootFilesystem"], &context["runAsNonRoot"]), (&true.into(), &true.into()));
    assert_eq!(pod["containers"][1]["image"], "envoy:1");
    let world = stage.ground.world();
    let told = variables(&world, &world.all("pods")[0]).unwrap();
    assert_eq!(
        (told["ORCHESTRATE_VERSION"].as_str(), told["level"].as_str(), told["LEVEL"].as_str()),
        ("1.1.0", "info", "debug")
    );
    assert!(!told.keys().any(|key| key.starts_with("manifest/")), "{told:?}");
}

/// Names are by content, so a changed ConfigMap is another one, and everything that names it names that.
#[tokio::test]
async fn what_is_referred_to_goes_with_the_release() {
    let stage: Stage<Fake> = Stage::new().await;
    let first = placement(&stage.scene, 1);
    stage.scene.run(&first, sealed(&stage, &first, &both("info"))).await;
    let pod = deployment(&stage, "blue")["spec"]["template"]["spec"].clone();
    let name = pod["volumes"][0]["configMap"]["name"].as_str().unwrap().to_owned();
    assert_ne!(name, "settings");
    assert_eq!(pod["containers"][0]["envFrom"][0]["configMapRef"]["name"], name.as_str());
    let from =
        pod["containers"][0]["env"].as_array().unwrap().iter().find(|one| one["name"] == "FROM").unwrap();
    assert_eq!(from["valueFrom"]["configMapKeyRef"]["name"], name.as_str());
    assert_eq!(pod["volumes"][2]["configMap"]["name"], "of-the-cluster", "what is not theirs keeps its name");
    let secret = pod["volumes"][1]["secret"]["secretName"].as_str().unwrap().to_owned();
    let object = stage.ground.world().get("secrets", &secret).unwrap().clone();
    assert_eq!(object["data"], json!({ "old": "aHVudGVyMg==", "new": "aHVudGVyMw==" }));
    assert!(secret.ends_with("keys-release-1"), "{secret}");
    for one in stage.ground.world().all("deployments") {
        assert!(!one.to_string().contains("hunter") && !one.to_string().contains("aHVudGVy"));
    }
    // Beside it a release with other settings; what the first one has stays until it is stopped.
    let second = placement(&stage.scene, 2);
    stage.scene.run(&second, sealed(&stage, &second, &both("warn"))).await;
    assert_eq!(stage.ground.world().get("configmaps", &name).unwrap()["data"]["level"], "info");
    stop(&stage.scene, &first).await.unwrap();
    assert!(stage.ground.world().get("configmaps", &name).is_none());
    assert!(stage.ground.world().get("secrets", &secret).is_none());
    assert_eq!(stage.ground.world().all("secrets").len(), 1);
}

/// A rollback applies what was sealed, whatever the files say by then.
#[tokio::test]
async fn what_was_sealed_comes_back_byte_for_byte() {
    let stage: Stage<Fake> = Stage::new().await;
    let (first, second) = (placement(&stage.scene, 1), placement(&stage.scene, 2));
    let rolling = |placement: &Placement, level: &str| {
        let mut spec =
            sealed(&stage, placement, &both(level).replace("[serve]", &format!("[serve, {level}]")));
        (spec.engine.rolls, spec.engine.shares) = (true, false);
        // As it is read from the database.
        let text = serde_json::to_string(&spec.engine.manifests).unwrap();
        spec.engine.manifests = serde_json::from_str(&text).unwrap();
        spec
    };
    let of = || {
        let world = stage.ground.world();
        let applied: Vec<Value> = world
            .applied
            .iter()
            .filter(|((kind, _), _)| kind == "deployments")
            .map(|(_, object)| object.clone())
            .collect();
        let maps = world.all("configmaps").into_iter().filter(|one| one["data"]["level"].is_string());
        (applied, maps.map(|one| (one["metadata"]["name"].clone(), one["data"].clone())).collect::<Vec<_>>())
    };
    stage.scene.run(&first, rolling(&first, "info")).await;
    let (applied, maps) = of();
    let original = applied[0]["spec"].clone();
    stage.scene.run(&second, rolling(&second, "warn")).await;
    assert_ne!(of().0[0]["spec"], original);
    stop(&stage.scene, &second).await.unwrap();
    stage.scene.ready(&first, SOON).await.unwrap();
    assert_eq!(of().0[0]["spec"].to_string(), original.to_string());
    assert!(maps.iter().all(|map| of().1.contains(map)));
    // There is no Service where nothing was switched to.
    let drift = stage.scene.provider.drift(&first, Processes::All).await.unwrap();
    assert!(drift.iter().all(|one| one.contains("the Service")), "{drift:?}");
}

#[tokio::test]
async fn a_hook_runs_in_their_container_alone() {
    use orchestrate_providers::Hosted as _;
    let stage: Stage<Fake> = Stage::new().await;
    let first = placement(&stage.scene, 1);
    stage.scene.run(&first, sealed(&stage, &first, &both("info"))).await;
    let command = orchestrate_core::ports::OneOff {
        placement: first,
        name: "smoke".into(),
        command: vec!["true".into()],
        variables: Default::default(),
        timeout: Span::from_secs(20),
    };
    let ended = stage.scene.provider.run_once(&command).await.unwrap();
    assert!(ended.success && ended.output.starts_with("ran true"), "{ended:?}");
}

#[tokio::test]
async fn another_namespace_is_refused_before_anything_is_touched() {
    let stage: Stage<Fake> = Stage::new().await;
    let first = placement(&stage.scene, 1);
    let text =
        both("info").replace("metadata: { name: settings }", "metadata: { name: settings, namespace: prod }");
    let spec = sealed(&stage, &first, &text);
    let artifact = stage.scene.seal(&first, spec);
    let fetch = Fetch { release: first.release, artifact, size: 0 };
    let error = stage.scene.provider.fetch(&fetch).await.unwrap_err();
    assert!(error.message.contains("is for the namespace prod, and the environment is in shop"), "{error}");
    assert!(stage.ground.world().objects.is_empty());
}

#[test]
fn what_cannot_be_used_is_told_with_where_it_is() {
    let directory = TempDir::new().unwrap();
    let none = |text: &str| read(directory.path(), text, &settings()).map(drop).unwrap_err();
    let without = Kubernetes { container: None, ..settings() };
    let elsewhere = Kubernetes { namespace: Some("shop".into()), ..settings() };
    for (what, told, error) in [
        (
            "no Deployment",
            "there is no Deployment in shop.yaml",
            none(SETTINGS.split("---\napiVersion: v1\nkind: Secret").next().unwrap()),
        ),
        (
            "several",
            "several Deployments, in shop.yaml (document 1) and shop.yaml (document 2)",
            none(&format!("{DEPLOYMENT}---{}", DEPLOYMENT.replacen("name: shop", "name: other", 1))),
        ),
        (
            "two containers without saying which",
            "several containers, shop, proxy; say which one gets the image: `kubernetes: { container: NAME }`",
            read(directory.path(), DEPLOYMENT, &without).map(drop).unwrap_err(),
        ),
        (
            "a container that is not there",
            "no container is called shop; there is web, proxy",
            none(&DEPLOYMENT.replace("- name: shop", "- name: web")),
        ),
        (
            "a kind that we may not apply",
            "shop.yaml (document 2) is a Ingress (networking.k8s.io/v1), which orchestrate does not apply",
            none(&format!(
                "{DEPLOYMENT}---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{ name: shop }}\n"
            )),
        ),
        (
            "another namespace",
            "the Deployment shop, is for the namespace prod, and the environment is in shop",
            read(
                directory.path(),
                &DEPLOYMENT.replacen("name: shop", "name: shop\n  namespace: prod", 1),
                &elsewhere,
            )
            .map(drop)
            .unwrap_err(),
        ),
        ("no YAML", "shop.yaml is no YAML", none("a: [")),
        ("no object", "has no `apiVersion` and `kind`", none("a: 1")),
        ("no name", "has no `metadata.name`", none("apiVersion: v1\nkind: ConfigMap\n")),
        (
            "a name twice",
            "there is another ConfigMap settings",
            none(&format!("{DEPLOYMENT}{}{}", SETTINGS, SETTINGS)),
        ),
        (
            "a port by another name",
            "calls its port 8080 \"web\"; call it `http`",
            none(&DEPLOYMENT.replace("{ containerPort: 8080 }", "{ name: web, containerPort: 8080 }")),
        ),
        (
            "a sidecar with the port of requests",
            "the container \"proxy\" has a port called `http`",
            none(&DEPLOYMENT.replace(
                "image: \"envoy:1\"",
                "image: \"envoy:1\", ports: [{ name: http, containerPort: 80 }]",
            )),
        ),
        (
            "another port",
            "listens on 3000 by its port `http`, and on 8080 by the settings",
            none(&DEPLOYMENT.replace("{ containerPort: 8080 }", "{ name: http, containerPort: 3000 }")),
        ),
    ] {
        assert!(error.contains(told), "{what}: {error}");
    }
    let missing = Kubernetes { manifests: vec!["nowhere.yaml".into()], ..settings() };
    let error = read_manifests(directory.path(), &missing, true).unwrap_err();
    assert!(
        error.code() == "ORC-0362" && error.full_message().contains("nowhere.yaml cannot be read"),
        "{error}"
    );
}

/// Of a directory every file is read, in the order of their names; a List is taken apart.
#[test]
fn a_directory_and_a_list_are_taken_apart() {
    let directory = TempDir::new().unwrap();
    let inside = directory.path().join("k8s");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(inside.join("b.yaml"), DEPLOYMENT).unwrap();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "a" }, "stringData": { "x": "hunter2" } },
        { "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "b" } },
    ] });
    std::fs::write(inside.join("a.json"), list.to_string()).unwrap();
    std::fs::write(inside.join("README.md"), "no object").unwrap();
    let settings = Kubernetes { manifests: vec!["k8s/".into()], ..settings() };
    let found = read_manifests(directory.path(), &settings, true).unwrap();
    let from: Vec<&str> = found.manifests.iter().map(|one| one.from.as_str()).collect();
    assert_eq!(from, ["k8s/a.json, item 1", "k8s/a.json, item 2", "k8s/b.yaml"]);
    assert!(!serde_json::to_string(&found.manifests).unwrap().contains("hunter2"));
    assert!(found.secrets["manifest/a"].expose().contains("hunter2"));
}
