//! A namespace with a provider and a router in it. Whatever a test does behind their backs it does by the API, so that the
//! same stage is one in a real cluster.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use orchestrate_core::environment::{Engine, HealthCheck, Kubernetes, ProcessType, PullPolicy};
use orchestrate_core::name::{EnvironmentName, Fence, ReleaseId};
use orchestrate_core::ports::{
    AwaitHealthy, Instance, Placement, PortError, PortErrorKind, PortResult, Processes, Provider, Router,
    StartRequest,
};
use orchestrate_core::release::{Digest, Image};
use orchestrate_core::time::Span;
use orchestrate_providers::kubernetes::{KubernetesProvider, KubernetesRouter, Place, Places};
use orchestrate_providers::{RunSpec, RunSpecs};
use orchestrate_testkit::contract::provider::{Manner, Sample};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What is known outside of the cluster: sealed releases, and where environments are.
#[derive(Clone)]
pub struct Records {
    pub specs: Arc<Mutex<HashMap<ReleaseId, RunSpec>>>,
    pub place: Place,
}

#[async_trait]
impl RunSpecs for Records {
    async fn run_spec(&self, release: ReleaseId) -> PortResult<RunSpec> {
        let found = self.specs.lock().unwrap().get(&release).cloned();
        found.ok_or_else(|| {
            PortError::new(PortErrorKind::Missing, format!("release {release} is not recorded"))
        })
    }
}

#[async_trait]
impl Places for Records {
    async fn place(&self, _: &EnvironmentName) -> PortResult<Option<Place>> {
        Ok(Some(self.place.clone()))
    }
}

pub struct Scene {
    pub records: Records,
    pub environment: EnvironmentName,
    pub image: String,
    client: Client,
    pub namespace: String,
    pub provider: Arc<KubernetesProvider>,
    pub router: Arc<KubernetesRouter>,
    _directory: TempDir,
}

static NUMBER: AtomicU32 = AtomicU32::new(1);

impl Scene {
    /// An environment of its own in the namespace of the kubeconfig.
    pub async fn new(kubeconfig: &str, image: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let path: PathBuf = directory.path().join("kubeconfig");
        std::fs::write(&path, kubeconfig).unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let read = Kubeconfig::read_from(&path).unwrap();
        let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.unwrap();
        config.default_retry = false;
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config).unwrap();
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let environment = format!("t{}-{number}", std::process::id());
        let settings = Kubernetes {
            kubeconfig: Some(path.display().to_string()),
            image_pull_policy: Some(PullPolicy::Never),
            ..Kubernetes::default()
        };
        let place = Place { service: "contract".into(), settings };
        let records = Records { specs: Arc::default(), place };
        let (provider, router) = opened(&records);
        Self {
            records,
            environment: EnvironmentName::new(environment).unwrap(),
            image: image.to_owned(),
            client,
            namespace,
            provider,
            router,
            _directory: directory,
        }
    }

    /// Who held provider and router is gone.
    pub fn restart(&mut self) {
        (self.provider, self.router) = opened(&self.records);
    }

    pub fn spec(&self, placement: &Placement, sample: Sample) -> RunSpec {
        let process = |instances, listen: Option<&str>| ProcessType {
            command: Vec::new(),
            instances,
            listen: listen.map(|listen| listen.parse().unwrap()),
            confinement: Default::default(),
        };
        let listen = listen().to_string();
        let types = [("web", process(sample.web, Some(&*listen))), ("work", process(sample.work, None))];
        let manner = match sample.manner {
            Manner::Well => None,
            Manner::Sick => Some(("HEALTH", "sick")),
            Manner::Crashing => Some(("CRASH", "1")),
            Manner::Stubborn => Some(("IGNORE_TERM", "1")),
        };
        RunSpec {
            service: "contract".into(),
            environment: placement.environment.clone(),
            version: placement.version.clone(),
            digest: Digest::of(placement.version.as_str().as_bytes()),
            image: Some(Image { reference: self.image.clone(), pinned: None }),
            processes: types.into_iter().map(|(name, process)| (name.to_owned(), process)).collect(),
            confinement: Default::default(),
            health_check: HealthCheck { path: "/".into(), ..HealthCheck::default() },
            drain: Span::from_secs(1),
            stop_timeout: sample.stop_timeout,
            variables: manner.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            secrets: BTreeMap::new(),
            engine: Engine {
                kubernetes: Some(self.records.place.settings.clone()),
                shares: true,
                ..Engine::default()
            },
        }
    }

    pub fn seal(&self, placement: &Placement, spec: RunSpec) -> Digest {
        let digest = spec.digest.clone();
        self.records.specs.lock().unwrap().insert(placement.release, spec);
        digest
    }

    /// Seals and starts a release, and waits until it is ready.
    pub async fn run(&self, placement: &Placement, spec: RunSpec) -> Vec<Instance> {
        self.seal(placement, spec);
        // Provider and router share one fence.
        let newest = self.router.observe(&self.environment).await.unwrap().fence;
        self.start(placement, newest.map_or(1, |fence| fence.0)).await.unwrap();
        self.ready(placement, Span::from_secs(120)).await.unwrap()
    }

    pub async fn start(&self, placement: &Placement, fence: i64) -> PortResult<Vec<Instance>> {
        let (placement, fence) = (placement.clone(), Fence(fence));
        let request = StartRequest { placement, processes: Processes::All, counts: None, fence };
        self.provider.start(&request).await
    }

    pub async fn ready(&self, placement: &Placement, deadline: Span) -> PortResult<Vec<Instance>> {
        let placement = placement.clone();
        let request = AwaitHealthy { placement, processes: Processes::All, counts: None, deadline };
        self.provider.await_healthy(&request).await
    }

    pub async fn api(&self, method: &str, path: &str, body: Option<Value>) -> Result<String, kube::Error> {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let path = path.replace("NS", &format!("namespaces/{}", self.namespace));
        let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
        let request = request.header("x-by-test", "1");
        self.client.request_text(request.body(body).unwrap()).await
    }

    pub async fn list(&self, path: &str, selector: &str) -> Vec<Value> {
        let selector = selector.replace('=', "%3D").replace(',', "%2C").replace('/', "%2F");
        let text = self.api("GET", &format!("{path}?labelSelector={selector}"), None).await.unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["items"].as_array().unwrap().clone()
    }

    /// The pods of this environment that are instances, also those on their way out.
    pub async fn pods(&self) -> Vec<Value> {
        let selector = format!(
            "app.kubernetes.io/managed-by=orchestrate,orchestrate.dev/environment={},orchestrate.dev/process",
            self.environment
        );
        self.list("/api/v1/NS/pods", &selector).await
    }

    /// The pod that an instance is.
    pub async fn pod_of(&self, instance: &Instance) -> Option<String> {
        let address = instance.address?.ip().to_string();
        let pods = self.pods().await;
        let pod = pods.iter().find(|pod| pod["status"]["podIP"] == address.as_str())?;
        pod["metadata"]["name"].as_str().map(str::to_owned)
    }

    /// A pod may be given another image, and nothing else: its container is then killed and started again. The same image under
    /// its long name is another one by name alone.
    pub async fn set_image(&self, pod: &str, image: &str) {
        let path = format!("/api/v1/NS/pods/{pod}");
        let now = self.api("GET", &path, None).await.unwrap();
        let mut containers = serde_json::from_str::<Value>(&now).unwrap()["spec"]["containers"].clone();
        containers[0]["image"] = image.into();
        self.api("PATCH", &path, Some(json!({ "spec": { "containers": containers } }))).await.unwrap();
    }

    /// The long name of the image where its short one is used, and the other way round.
    pub fn alias(&self, now: &str) -> String {
        const LONG: &str = "docker.io/library/";
        match now.strip_prefix(LONG) {
            Some(short) => short.to_owned(),
            None => format!("{LONG}{now}"),
        }
    }

    pub async fn image_of(&self, pod: &str) -> String {
        let now = self.api("GET", &format!("/api/v1/NS/pods/{pod}"), None).await.unwrap();
        let pod: Value = serde_json::from_str(&now).unwrap();
        pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
    }

    pub async fn restarts_of(&self, pod: &str) -> u64 {
        let now = self.api("GET", &format!("/api/v1/NS/pods/{pod}"), None).await.unwrap();
        let pod: Value = serde_json::from_str(&now).unwrap();
        pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0)
    }

    /// The version that answers, asked by the API server.
    pub async fn version_at(&self, path: &str) -> Option<String> {
        let body = self.api("GET", path, None).await.ok()?;
        body.split_whitespace().find(|word| word.starts_with("1.")).map(str::to_owned)
    }

    pub async fn ask(&self, service: &str) -> Option<String> {
        self.version_at(&format!("/api/v1/NS/services/{service}:{}/proxy/", listen().port())).await
    }
}

fn opened(records: &Records) -> (Arc<KubernetesProvider>, Arc<KubernetesRouter>) {
    let provider = KubernetesProvider::new(Arc::new(records.clone()), Arc::new(records.clone()));
    (provider, Arc::new(KubernetesRouter::new(Arc::new(records.clone()))))
}

pub fn listen() -> SocketAddr {
    "0.0.0.0:80".parse().unwrap()
}

pub fn as_router(router: &Arc<KubernetesRouter>) -> Arc<dyn Router> {
    Arc::clone(router) as _
}

pub fn as_provider(provider: &Arc<KubernetesProvider>) -> Arc<dyn Provider> {
    Arc::clone(provider) as _
}

impl Scene {
    /// Returns once the endpoints of a Service are those that its selector picks, as the cluster comes to see it.
    pub async fn settled(&self, service: &str) {
        let path = format!("/api/v1/NS/services/{service}");
        for _ in 0..500 {
            let Ok(text) = self.api("GET", &path, None).await else { return };
            let selector = serde_json::from_str::<Value>(&text).unwrap()["spec"]["selector"].clone();
            let labels: Vec<String> = selector
                .as_object()
                .unwrap()
                .iter()
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap()))
                .collect();
            let is_ready = |pod: &Value| {
                let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
                pod["metadata"]["deletionTimestamp"].is_null()
                    && conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
            };
            let pods = self.list("/api/v1/NS/pods", &labels.join(",")).await;
            let mut wanted: Vec<String> = pods
                .iter()
                .filter(|pod| is_ready(pod))
                .map(|pod| pod["metadata"]["name"].to_string())
                .collect();
            let slices = self
                .list(
                    "/apis/discovery.k8s.io/v1/NS/endpointslices",
                    &format!("kubernetes.io/service-name={service}"),
                )
                .await;
            let endpoints =
                slices.iter().flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
            let ready = endpoints.filter(|one| one["conditions"]["ready"] != false);
            let mut behind: Vec<String> = ready.map(|one| one["targetRef"]["name"].to_string()).collect();
            wanted.sort();
            behind.sort();
            if wanted == behind {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("the endpoints of {service} do not become what its selector picks");
    }
}
