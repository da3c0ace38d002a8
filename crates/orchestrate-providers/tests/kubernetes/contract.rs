//! The suites of all providers and of all routers, in a namespace.

use std::sync::Arc;

use async_trait::async_trait;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{Instance, Placement, Provider, Router};
use orchestrate_core::release::Digest;
use orchestrate_testkit::contract::provider::{ProviderStage, Sample};
use orchestrate_testkit::contract::router::{Instances, RouterStage};
use orchestrate_testkit::{provider_contract, router_contract};
use serde_json::json;

use crate::fake::Fake;
use crate::stage::{Scene, as_provider, as_router, listen};

pub const IMAGE: &str = "orchestrate-sample:1";
/// No node has it.
const NOWHERE: &str = "orchestrate-nowhere:1";

/// What a namespace is in.
#[async_trait(?Send)]
pub trait Ground: Sized {
    async fn new() -> Self;
    fn kubeconfig(&self) -> String;
    fn image(&self) -> String;
}

#[async_trait(?Send)]
impl Ground for Fake {
    async fn new() -> Self {
        let fake = Fake::start().await;
        fake.world().images.extend([IMAGE.to_owned(), format!("docker.io/library/{IMAGE}")]);
        fake
    }

    fn kubeconfig(&self) -> String {
        Fake::kubeconfig(self)
    }

    fn image(&self) -> String {
        IMAGE.to_owned()
    }
}

pub struct Stage<G> {
    pub scene: Scene,
    pub ground: G,
}

impl<G: Ground> Stage<G> {
    pub async fn of(ground: G) -> Self {
        let scene = Scene::new(&ground.kubeconfig(), &ground.image()).await;
        Self { scene, ground }
    }
}

const STRANGER: &str = "blue-web-0";

#[async_trait(?Send)]
impl<G: Ground> ProviderStage for Stage<G> {
    async fn new() -> Self {
        Self::of(G::new().await).await
    }

    fn environment(&self) -> EnvironmentName {
        self.scene.environment.clone()
    }

    fn provider(&self) -> Arc<dyn Provider> {
        as_provider(&self.scene.provider)
    }

    async fn restart(&mut self) {
        self.scene.restart();
    }

    async fn seal(&mut self, placement: &Placement, sample: Sample) -> Digest {
        self.scene.seal(placement, self.scene.spec(placement, sample))
    }

    /// A cluster does not say whether a node has an image before it runs there, so what is lost is the record.
    async fn lose(&mut self, artifact: &Digest) {
        self.scene.records.specs.lock().unwrap().retain(|_, spec| spec.digest != *artifact);
    }

    async fn kill(&self, instance: &Instance) {
        let pod = self.scene.pod_of(instance).await.unwrap();
        let (now, before) = (self.scene.image_of(&pod).await, self.scene.restarts_of(&pod).await);
        self.scene.set_image(&pod, &self.scene.alias(&now)).await;
        // The node has yet to see that: until then, the container is as alive as it was.
        for _ in 0..3000 {
            if self.scene.restarts_of(&pod).await > before {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("the container of {pod} is not started again");
    }

    async fn answer(&self, instance: &Instance) -> Option<String> {
        let pod = self.scene.pod_of(instance).await?;
        self.scene.version_at(&format!("/api/v1/NS/pods/{pod}:8080/proxy/")).await
    }

    async fn remains(&self) -> usize {
        self.scene.pods().await.len()
    }

    /// A pod with the name and the labels of an instance, which somebody else looks after.
    async fn stranger(&mut self) {
        let environment = &self.scene.environment;
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": format!("contract-{environment}-{STRANGER}"),
                "labels": {
                    "app.kubernetes.io/managed-by": "somebody",
                    "orchestrate.dev/service": "contract",
                    "orchestrate.dev/environment": environment.as_str(),
                    "orchestrate.dev/process": "web",
                    "orchestrate.dev/track": "blue",
                    "orchestrate.dev/slot": "blue",
                    "orchestrate.dev/release": "1",
                },
                "annotations": { "orchestrate.dev/version": "1.1.0", "orchestrate.dev/process": "web" },
            },
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "main",
                    "image": self.scene.image,
                    "imagePullPolicy": "Never",
                    "env": [{ "name": "ORCHESTRATE_VERSION", "value": "1.1.0" }, { "name": "PORT", "value": "8080" }],
                }],
            },
        });
        self.scene.api("POST", "/api/v1/NS/pods", Some(pod)).await.unwrap();
    }

    async fn stranger_lives(&self) -> bool {
        let path = format!("/api/v1/NS/pods/contract-{}-{STRANGER}", self.scene.environment);
        let Ok(text) = self.scene.api("GET", &path, None).await else { return false };
        let pod: serde_json::Value = serde_json::from_str(&text).unwrap();
        pod["metadata"]["deletionTimestamp"].is_null()
    }
}

/// The same with an HTTPRoute of the user's in front of it; without one, shares go by numbers of pods.
pub struct Routed<G, const ROUTE: bool = true>(pub Stage<G>);

const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/NS/httproutes";

impl<G: Ground, const ROUTE: bool> Routed<G, ROUTE> {
    pub async fn of(mut stage: Stage<G>) -> Self {
        if !ROUTE {
            return Self(stage);
        }
        let environment = stage.scene.environment.clone();
        let route = json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": { "name": environment.as_str(), "labels": { "orchestrate.dev/environment": environment.as_str() } },
            "spec": { "rules": [{ "backendRefs": [{ "name": format!("contract-{environment}-web"), "port": 80 }] }] },
        });
        stage.scene.api("POST", ROUTES, Some(route)).await.unwrap();
        stage.scene.records.place.settings.route = Some(environment.to_string());
        stage.scene.restart();
        Self(stage)
    }
}

#[async_trait(?Send)]
impl<G: Ground, const ROUTE: bool> RouterStage for Routed<G, ROUTE> {
    async fn new() -> Self {
        Self::of(Stage::of(G::new().await).await).await
    }

    fn environment(&self) -> EnvironmentName {
        self.0.scene.environment.clone()
    }

    fn router(&self) -> Arc<dyn Router> {
        as_router(&self.0.scene.router)
    }

    fn listen(&self) -> std::net::SocketAddr {
        listen()
    }

    async fn restart(&mut self) {
        self.0.scene.restart();
    }

    async fn run(&mut self, placement: &Placement, count: u32) -> Instances {
        let spec = self.0.scene.spec(placement, Sample::web(count));
        let instances = self.0.scene.run(placement, spec).await;
        instances.into_iter().map(|one| (one.id, one.address.unwrap())).collect()
    }

    async fn be_well(&mut self, placement: &Placement, well: bool) {
        let release = placement.release.0.to_string();
        for pod in self.0.scene.pods().await {
            if pod["metadata"]["labels"]["orchestrate.dev/release"] == release.as_str() {
                let name = pod["metadata"]["name"].as_str().unwrap();
                self.0.scene.set_image(name, if well { &self.0.scene.image } else { NOWHERE }).await;
            }
        }
    }

    /// The Service that users ask. Where it leads to a moment after a switch is seen by asking again.
    async fn ask(&self) -> Option<String> {
        let service = format!("contract-{}-web", self.0.scene.environment);
        self.0.scene.settled(&service).await;
        self.0.scene.ask(&service).await
    }
}

// The sixth suite, of requests, needs a proxy that counts them and cuts them: nobody in a cluster does.
provider_contract!(Stage<Fake>);
router_contract!(Routed<Fake>);
