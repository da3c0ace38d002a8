//! A home on a real engine, and releases that are images of a small static service.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use orchestrate_core::environment::{HealthCheck, ProcessType};
use orchestrate_core::name::{EnvironmentName, Fence, ReleaseId, Version};
use orchestrate_core::ports::{
    AwaitHealthy, Fetch, Instance, Placement, PortError, PortErrorKind, PortResult, Processes, Provider,
    StartRequest, StopRequest,
};
use orchestrate_core::release::{Digest, Image};
use orchestrate_core::slot::Slot;
use orchestrate_core::time::Span;
use orchestrate_providers::docker::{Docker, DockerOptions, home_mark};
use orchestrate_providers::{RunSpec, RunSpecs};
use orchestrate_testkit::User;
use orchestrate_testkit::contract::provider::{Manner, ProviderStage, Sample};
use orchestrate_testkit::docker::Engine;
use tempfile::TempDir;

use crate::waiting::{in_time, until};

pub const SOON: Span = Span::from_secs(30);

#[derive(Default)]
pub struct Specs(Mutex<HashMap<ReleaseId, RunSpec>>);

#[async_trait]
impl RunSpecs for Specs {
    async fn run_spec(&self, release: ReleaseId) -> PortResult<RunSpec> {
        let missing = || PortError::new(PortErrorKind::Missing, format!("no release {release}"));
        self.0.lock().unwrap().get(&release).cloned().ok_or_else(missing)
    }
}

pub struct World {
    pub engine: &'static Engine,
    pub home: TempDir,
    specs: Arc<Specs>,
    docker: Option<Arc<Docker>>,
    stranger: Option<String>,
    /// What images were called here.
    tags: Vec<String>,
}

impl World {
    pub async fn on(engine: &'static Engine) -> Self {
        let mut world = Self {
            engine,
            home: TempDir::new().unwrap(),
            specs: Arc::default(),
            docker: None,
            stranger: None,
            tags: Vec::new(),
        };
        world.open().await;
        world
    }

    /// As a new daemon would; an earlier one is let go of first.
    pub async fn open(&mut self) {
        self.close();
        let mut options = DockerOptions::new(self.home.path().to_owned(), self.specs.clone());
        options.host = Some(self.engine.host.clone());
        self.docker = Some(Docker::open(options).await.unwrap());
    }

    pub fn close(&mut self) {
        if let Some(old) = self.docker.take() {
            assert_eq!(Arc::strong_count(&old), 1, "a test still holds the old provider");
        }
    }

    pub fn docker(&self) -> &Docker {
        self.docker.as_ref().unwrap()
    }

    pub fn specs(&self) -> Arc<Specs> {
        Arc::clone(&self.specs)
    }

    pub fn digest(&self, placement: &Placement) -> Digest {
        self.specs.0.lock().unwrap()[&placement.release].digest.clone()
    }

    pub fn mark(&self) -> String {
        home_mark(&self.home.path().canonicalize().unwrap())
    }

    pub fn label(&self) -> String {
        format!("dev.orchestrate.home={}", self.mark())
    }

    /// A name for an image that no other test has.
    pub fn tag(&mut self, placement: &Placement) -> String {
        let tag = format!("test-{}:{}", self.mark(), placement.version);
        self.tags.push(tag.clone());
        tag
    }

    /// Seals a release of an image that is here, as it is.
    pub fn seal_image(
        &mut self,
        placement: &Placement,
        id: &str,
        image: Option<Image>,
        sample: Sample,
    ) -> Digest {
        let digest = Digest::try_from(id.to_owned()).unwrap();
        let process = |word: &str, instances, listen: Option<&str>| ProcessType {
            command: (!word.is_empty()).then(|| word.to_owned()).into_iter().collect(),
            instances,
            listen: listen.map(|listen| listen.parse().unwrap()),
            confinement: Default::default(),
        };
        let types = [
            ("web", process(manner(sample.manner), sample.web, Some("127.0.0.1:1"))),
            ("work", process("work", sample.work, None)),
        ];
        let spec = RunSpec {
            service: "shop".into(),
            environment: placement.environment.clone(),
            engine: Default::default(),
            image,
            drain: Span::from_secs(30),
            version: placement.version.clone(),
            digest: digest.clone(),
            processes: types.into_iter().map(|(name, process)| (name.to_owned(), process)).collect(),
            confinement: Default::default(),
            health_check: HealthCheck { interval: Span::from_millis(20), ..HealthCheck::default() },
            stop_timeout: sample.stop_timeout,
            variables: BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]),
            secrets: BTreeMap::new(),
        };
        self.specs.0.lock().unwrap().insert(placement.release, spec);
        digest
    }

    /// Builds and seals release `number`.
    pub async fn release(&mut self, number: i64, sample: Sample) -> Placement {
        let placement = self.placement(number);
        self.seal(&placement, sample).await;
        placement
    }

    /// Changes what is sealed, before it is first used.
    pub fn edit(&self, placement: &Placement, change: impl FnOnce(&mut RunSpec)) {
        change(self.specs.0.lock().unwrap().get_mut(&placement.release).unwrap());
    }

    pub fn placement(&self, number: i64) -> Placement {
        Placement {
            environment: self.environment(),
            slot: Slot::Blue,
            release: ReleaseId(number),
            version: Version::new(format!("1.{number}.0")).unwrap(),
        }
    }

    pub async fn start(&self, placement: &Placement) -> PortResult<Vec<Instance>> {
        let (processes, fence) = (Processes::All, Fence(1));
        let request = StartRequest { placement: placement.clone(), processes, counts: None, fence };
        in_time(self.docker().start(&request)).await
    }

    pub async fn ready(&self, placement: &Placement) -> PortResult<Vec<Instance>> {
        let processes = Processes::Routed;
        let request = AwaitHealthy { placement: placement.clone(), processes, counts: None, deadline: SOON };
        in_time(self.docker().await_healthy(&request)).await
    }

    pub async fn stop(&self, placement: &Placement) -> PortResult<()> {
        let (processes, fence) = (Processes::All, Fence(1));
        let request = StopRequest { placement: placement.clone(), processes, counts: None, fence };
        in_time(self.docker().stop(&request)).await
    }

    pub async fn fetch(&self, placement: &Placement, artifact: &Digest) -> PortResult<()> {
        let request = Fetch { release: placement.release, artifact: artifact.clone(), size: 0 };
        in_time(self.docker().fetch(&request)).await
    }

    pub async fn instances(&self) -> Vec<Instance> {
        self.docker().instances(&self.environment()).await.unwrap()
    }

    /// Waits until the instances are as wanted.
    pub async fn until(&self, wanted: impl Fn(&[Instance]) -> bool) -> Vec<Instance> {
        until(async || Some(self.instances().await).filter(|instances| wanted(instances))).await
    }

    pub fn log(&self, placement: &Placement, process: &str) -> PathBuf {
        let (home, environment) = (self.home.path(), &placement.environment);
        orchestrate_providers::process::log_path(home, environment, &placement.version, process, 1)
    }

    pub fn containers(&self) -> Vec<String> {
        self.engine.labelled(&self.label())
    }
}

fn manner(manner: Manner) -> &'static str {
    match manner {
        Manner::Well => "",
        Manner::Sick => "sick",
        Manner::Crashing => "crash",
        Manner::Stubborn => "stubborn",
    }
}

#[async_trait(?Send)]
impl ProviderStage for World {
    async fn new() -> Self {
        Self::on(Engine::shared()).await
    }

    fn environment(&self) -> EnvironmentName {
        EnvironmentName::new("production").unwrap()
    }

    fn provider(&self) -> Arc<dyn Provider> {
        Arc::clone(self.docker.as_ref().unwrap()) as _
    }

    async fn restart(&mut self) {
        self.open().await;
    }

    async fn seal(&mut self, placement: &Placement, sample: Sample) -> Digest {
        // Two releases of the same content would share what they are restored from.
        let line = format!("LABEL test={} version={}", self.mark(), placement.version);
        let tag = self.tag(placement);
        let id = self.engine.build(&tag, &line);
        self.seal_image(placement, &id, None, sample)
    }

    async fn lose(&mut self, artifact: &Digest) {
        self.engine.docker(&["image", "rm", "--force", artifact.as_str()]);
    }

    async fn kill(&self, instance: &Instance) {
        let containers = self.containers();
        let name = containers.iter().find(|name| name.contains(&format!(".{}.", instance.id))).unwrap();
        self.engine.docker(&["kill", name]);
    }

    async fn answer(&self, instance: &Instance) -> Option<String> {
        let (status, body) = User::new(instance.address?).get("/").await.ok()?;
        (status == 200).then_some(body)
    }

    async fn remains(&self) -> usize {
        self.containers().len()
    }

    /// A container with the name and all labels of an instance, but of another home.
    async fn stranger(&mut self) {
        let placement = self.placement(77);
        let tag = self.tag(&placement);
        self.engine.build(&tag, "");
        let name = format!("orchestrate-{}.production.blue-web-1.0", &self.mark()[..8]);
        let label = |key: &str, value: &str| format!("--label=dev.orchestrate.{key}={value}");
        let labels = [
            label("home", "0123456789abcdef"),
            label("environment", "production"),
            label("slot", "blue"),
            label("release", "1"),
            label("version", "1.1.0"),
            label("process", "web"),
            label("number", "1"),
        ];
        let mut words = vec!["run", "--detach", "--name", &name];
        words.extend(labels.iter().map(String::as_str));
        words.extend([tag.as_str(), "work"]);
        self.engine.docker(&words);
        self.stranger = Some(name);
    }

    async fn stranger_lives(&self) -> bool {
        let name = self.stranger.as_ref().unwrap();
        self.engine.docker(&["inspect", "--format", "{{.State.Running}}", name]) == "true"
    }
}

impl Drop for World {
    /// Whatever a failing test left is removed, by its home's label.
    fn drop(&mut self) {
        self.docker = None;
        self.engine.remove_labelled(&self.label());
        if let Some(name) = &self.stranger {
            let _ = self.engine.try_docker(&["rm", "--force", name]);
        }
        let kept = format!("orchestrate/{}", self.mark());
        let kept = self.engine.try_docker(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}", &kept]);
        for tag in self.tags.iter().map(String::as_str).chain(kept.unwrap_or_default().lines()) {
            let _ = self.engine.try_docker(&["image", "rm", "--force", tag]);
        }
    }
}
