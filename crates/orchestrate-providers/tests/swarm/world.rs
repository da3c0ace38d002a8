//! A home on a real swarm of one node, and releases that are images of a small static service.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use orchestrate_core::environment::{HealthCheck, ProcessType};
use orchestrate_core::name::{EnvironmentName, ReleaseId, Version};
use orchestrate_core::ports::{Instance, Placement, PortError, PortErrorKind, PortResult, Provider};
use orchestrate_core::release::Digest;
use orchestrate_core::slot::Slot;
use orchestrate_core::time::Span;
use orchestrate_providers::docker::{Docker, DockerOptions, home_mark};
use orchestrate_providers::swarm::{Belongings, Swarm, SwarmOptions};
use orchestrate_providers::{RunSpec, RunSpecs};
use orchestrate_testkit::User;
use orchestrate_testkit::contract::provider::{Manner, ProviderStage, Sample};
use orchestrate_testkit::docker::Engine;
use tempfile::TempDir;

#[derive(Default)]
struct Specs(Mutex<HashMap<ReleaseId, RunSpec>>);

#[async_trait]
impl RunSpecs for Specs {
    async fn run_spec(&self, release: ReleaseId) -> PortResult<RunSpec> {
        let missing = || PortError::new(PortErrorKind::Missing, format!("no release {release}"));
        self.0.lock().unwrap().get(&release).cloned().ok_or_else(missing)
    }
}

/// Everything belongs to this home, or nothing.
pub struct All(pub bool);

#[async_trait]
impl Belongings for All {
    async fn belongs_here(&self, _: &EnvironmentName) -> PortResult<bool> {
        Ok(self.0)
    }
}

pub struct World {
    pub engine: &'static Engine,
    home: TempDir,
    specs: Arc<Specs>,
    swarm: Option<Arc<Swarm>>,
    stranger: Option<String>,
    /// What images were called here.
    tags: Vec<String>,
    others: Vec<String>,
}

impl World {
    async fn open(&mut self) {
        if let Some(old) = self.swarm.take() {
            assert_eq!(Arc::strong_count(&old), 1, "a test still holds the old provider");
        }
        self.swarm = Some(self.provider_of(self.home.path(), &self.owner(), None, true).await);
    }

    /// The provider of some home, which marks what is its own like this.
    pub async fn provider_of(
        &self,
        home: &Path,
        owner: &str,
        formerly: Option<String>,
        belongs: bool,
    ) -> Arc<Swarm> {
        let home = home.canonicalize().unwrap();
        let specs: Arc<dyn RunSpecs> = self.specs.clone();
        let mut options = DockerOptions::new(home.clone(), Arc::clone(&specs));
        options.host = Some(self.engine.host.clone());
        let containers = Docker::open(options).await.unwrap();
        let (host, owner, belongings) =
            (Some(self.engine.host.clone()), owner.to_owned(), Arc::new(All(belongs)));
        Swarm::open(SwarmOptions { home, host, owner, formerly, specs, belongings, containers })
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Changes what is sealed, before it is first used.
    pub fn edit(&self, placement: &Placement, change: impl FnOnce(&mut RunSpec)) {
        change(self.specs.0.lock().unwrap().get_mut(&placement.release).unwrap());
    }

    /// As if this release had been another one in another database.
    pub fn reseal(&self, release: ReleaseId, version: &str) {
        let mut specs = self.specs.0.lock().unwrap();
        specs.get_mut(&release).unwrap().version = Version::new(version).unwrap();
    }

    /// What is to be removed at the end, too.
    pub fn also(&mut self, owner: &str) {
        self.others.push(owner.to_owned());
    }

    pub fn owner(&self) -> String {
        home_mark(&self.home.path().canonicalize().unwrap())
    }

    pub fn placement(&self, number: i64) -> Placement {
        Placement {
            environment: self.environment(),
            slot: Slot::Blue,
            release: ReleaseId(number),
            version: Version::new(format!("1.{number}.0")).unwrap(),
        }
    }

    /// The names of the services of this home.
    pub fn services(&self) -> Vec<String> {
        self.services_of(&self.owner())
    }

    pub fn services_of(&self, owner: &str) -> Vec<String> {
        let filter = format!("label=dev.orchestrate.owner={owner}");
        let listed = self.engine.docker(&["service", "ls", "--filter", &filter, "--format", "{{.Name}}"]);
        listed.lines().map(str::to_owned).collect()
    }

    fn containers(&self) -> Vec<String> {
        self.engine.labelled(&format!("dev.orchestrate.owner={}", self.owner()))
    }

    fn build(&mut self, placement: &Placement) -> (String, String) {
        // Two releases of the same content would share what they are restored from.
        let line = format!("LABEL test={} version={}", self.owner(), placement.version);
        let tag = format!("test-{}:{}", self.owner(), placement.version);
        let id = self.engine.build(&tag, &line);
        self.tags.push(tag.clone());
        // As the sealing of a release keeps it.
        let kept = format!("orchestrate/{}:{}", self.owner(), &id[..32]);
        self.engine.docker(&["tag", &tag, &kept]);
        self.tags.push(kept);
        (tag, id)
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
        let home = TempDir::new().unwrap();
        let (specs, tags, others) = (Arc::default(), Vec::new(), Vec::new());
        let engine = Engine::swarm();
        let mut world = Self { engine, home, specs, swarm: None, stranger: None, tags, others };
        world.open().await;
        world
    }

    fn environment(&self) -> EnvironmentName {
        EnvironmentName::new("production").unwrap()
    }

    fn provider(&self) -> Arc<dyn Provider> {
        Arc::clone(self.swarm.as_ref().unwrap()) as _
    }

    async fn restart(&mut self) {
        self.open().await;
    }

    async fn seal(&mut self, placement: &Placement, sample: Sample) -> Digest {
        let (_, id) = self.build(placement);
        let digest = Digest::try_from(id).unwrap();
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
            image: None,
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

    async fn lose(&mut self, artifact: &Digest) {
        self.engine.docker(&["image", "rm", "--force", artifact.as_str()]);
    }

    async fn kill(&self, instance: &Instance) {
        let (owner, number) = (self.owner(), instance.id.rsplit('-').next().unwrap());
        let filter = |key: &str, value: &str| format!("label=dev.orchestrate.{key}={value}");
        let listed = self.engine.docker(&[
            "ps",
            "--quiet",
            "--filter",
            &filter("owner", &owner),
            "--filter",
            &filter("process", &instance.process),
            "--filter",
            &filter("number", number),
            "--filter",
            &filter("slot", instance.placement.slot.as_str()),
        ]);
        self.engine.docker(&["kill", listed.lines().next().unwrap()]);
    }

    async fn answer(&self, instance: &Instance) -> Option<String> {
        let (status, body) = User::new(instance.address?).get("/").await.ok()?;
        (status == 200).then_some(body)
    }

    async fn remains(&self) -> usize {
        let running = self.containers().len();
        // One that is asked for while nothing runs is no less there.
        running.max(self.services().len())
    }

    /// A service with the labels of an instance, but of another installation.
    async fn stranger(&mut self) {
        let placement = self.placement(77);
        let (tag, _) = self.build(&placement);
        let name = format!("shop-production-blue-web-1-{}", &self.owner()[..8]);
        let label = |key: &str, value: &str| format!("--label=dev.orchestrate.{key}={value}");
        let labels = [
            label("owner", "0123456789abcdef"),
            label("environment", "production"),
            label("slot", "blue"),
            label("release", "1"),
            label("version", "1.1.0"),
            label("process", "web"),
            label("number", "1"),
        ];
        let mut words = vec!["service", "create", "--detach", "--no-resolve-image", "--name", &name];
        words.extend(labels.iter().map(String::as_str));
        words.extend([tag.as_str(), "work"]);
        self.engine.docker(&words);
        self.stranger = Some(name);
    }

    async fn stranger_lives(&self) -> bool {
        let name = self.stranger.as_ref().unwrap();
        self.engine.docker(&["service", "inspect", "--format", "{{.Spec.Mode.Replicated.Replicas}}", name])
            == "1"
    }
}

impl Drop for World {
    /// Whatever a failing test left is removed, by its home's label.
    fn drop(&mut self) {
        self.swarm = None;
        let others: Vec<String> = self.others.iter().flat_map(|owner| self.services_of(owner)).collect();
        for name in self.services().iter().chain(&others).chain(&self.stranger) {
            let _ = self.engine.try_docker(&["service", "rm", name]);
        }
        self.engine.remove_labelled(&format!("dev.orchestrate.owner={}", self.owner()));
        for tag in &self.tags {
            let _ = self.engine.try_docker(&["image", "rm", "--force", tag]);
        }
    }
}
