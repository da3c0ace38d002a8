//! The `process` provider passes the suite of all providers, with real processes.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::Arc;

use async_trait::async_trait;
use common::{WEB, World};
use orchestrate_core::environment::{HealthCheck, ProcessType};
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{Instance, Placement, Provider};
use orchestrate_core::release::Digest;
use orchestrate_core::time::Span;
use orchestrate_providers::RunSpec;
use orchestrate_testkit::contract::provider::{Manner, ProviderStage, Sample};
use orchestrate_testkit::{User, provider_contract};
use tempfile::TempDir;

struct Processes {
    world: World,
    stranger: Option<Child>,
}

const CRASHING: &str = "#!/bin/sh\necho address in use >&2\nexit 3\n";
const WORK: &str = "#!/bin/sh\nexec sleep 1000\n";

fn script(manner: Manner) -> String {
    match manner {
        Manner::Well => WEB.to_owned(),
        Manner::Sick => WEB.replace("200", "503"),
        Manner::Crashing => CRASHING.to_owned(),
        Manner::Stubborn => WEB.replace(
            "import http.server, os",
            "import http.server, os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)",
        ),
    }
}

#[async_trait(?Send)]
impl ProviderStage for Processes {
    async fn new() -> Self {
        Self { world: World::new().await, stranger: None }
    }

    fn environment(&self) -> EnvironmentName {
        EnvironmentName::new("production").unwrap()
    }

    fn provider(&self) -> Arc<dyn Provider> {
        self.world.shared()
    }

    async fn restart(&mut self) {
        self.world.open().await;
    }

    async fn seal(&mut self, placement: &Placement, sample: Sample) -> Digest {
        let source = TempDir::new().unwrap();
        common::executable(&source.path().join("serve"), &script(sample.manner));
        common::executable(&source.path().join("work"), WORK);
        // Two releases of the same content would share what they are restored from.
        fs::write(source.path().join("version"), placement.version.as_str()).unwrap();
        let artifact = self.world.store.take_in_path(source.path(), None).unwrap();
        let process = |command: &str, instances, listen: Option<&str>| ProcessType {
            command: vec![command.into()],
            instances,
            listen: listen.map(|listen| listen.parse().unwrap()),
            confinement: Default::default(),
        };
        let types = [
            ("web", process("./serve", sample.web, Some("127.0.0.1:1"))),
            ("work", process("./work", sample.work, None)),
        ];
        let spec = RunSpec {
            service: "shop".into(),
            environment: placement.environment.clone(),
            engine: Default::default(),
            image: None,
            drain: Span::from_secs(30),
            version: placement.version.clone(),
            digest: artifact.digest.clone(),
            processes: types.into_iter().map(|(name, process)| (name.to_owned(), process)).collect(),
            confinement: Default::default(),
            health_check: HealthCheck { interval: Span::from_millis(20), ..HealthCheck::default() },
            stop_timeout: sample.stop_timeout,
            variables: BTreeMap::new(),
            secrets: BTreeMap::new(),
        };
        self.world.seal(placement.release, spec);
        artifact.digest
    }

    async fn lose(&mut self, artifact: &Digest) {
        let artifacts = self.world.home.path().join("artifacts");
        fs::rename(artifacts.join(artifact.as_str()), artifacts.join("lost")).unwrap();
    }

    async fn kill(&self, instance: &Instance) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(instance.pid.unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }

    async fn answer(&self, instance: &Instance) -> Option<String> {
        let (status, body) = User::new(instance.address?).get("/").await.ok()?;
        (status == 200).then(|| body.split(' ').next().unwrap().to_owned())
    }

    /// Processes that live in the home.
    async fn remains(&self) -> usize {
        let home = self.world.home.path().canonicalize().unwrap();
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.filter(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&home)))
            .count()
    }

    /// A process with the name and the marks of an instance, of another home.
    async fn stranger(&mut self) {
        let mut command = Command::new("sleep");
        command.arg0("./serve").arg("1000").env("ORCHESTRATE_INSTANCE", "blue-web-1");
        command.env("ORCHESTRATE_ENVIRONMENT", "production").env("ORCHESTRATE_VERSION", "1.1.0");
        self.stranger = Some(command.spawn().unwrap());
    }

    async fn stranger_lives(&self) -> bool {
        common::is_alive(self.stranger.as_ref().unwrap().id())
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        if let Some(mut stranger) = self.stranger.take() {
            let _ = stranger.kill();
            let _ = stranger.wait();
        }
    }
}

provider_contract!(Processes);
