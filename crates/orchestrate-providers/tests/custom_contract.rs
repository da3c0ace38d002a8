//! The `custom` provider passes the suite of all providers, with commands that run real processes.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::Arc;

use async_trait::async_trait;
use common::{WEB, World};
use orchestrate_core::environment::{Custom, Engine, HealthCheck, ProcessType};
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{Instance, Placement, Provider};
use orchestrate_core::release::Digest;
use orchestrate_core::time::Span;
use orchestrate_providers::RunSpec;
use orchestrate_providers::custom::CustomProvider;
use orchestrate_testkit::contract::provider::{Manner, ProviderStage, Sample};
use orchestrate_testkit::{User, provider_contract};
use tempfile::TempDir;

/// Runs, looks after and ends processes as the protocol says.
const OPS: &str = include_str!("common/ops.py");
const CRASHING: &str = "#!/bin/sh\necho address in use >&2\nexit 3\n";
const WORK: &str = "#!/bin/sh\nexec sleep 1000\n";

struct Commands {
    world: World,
    provider: Option<Arc<CustomProvider>>,
    /// Where the commands keep what they started.
    state: TempDir,
    stranger: Option<Child>,
}

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

fn commands() -> Custom {
    let ops = || vec!["./ops".to_owned()];
    Custom { deploy: ops(), start: ops(), health: ops(), stop: ops(), status: ops(), ..Custom::default() }
}

#[async_trait(?Send)]
impl ProviderStage for Commands {
    async fn new() -> Self {
        let (world, state) = (World::closed(), TempDir::new().unwrap());
        let mut stage = Self { world, provider: None, state, stranger: None };
        stage.restart().await;
        stage
    }

    fn environment(&self) -> EnvironmentName {
        EnvironmentName::new("production").unwrap()
    }

    fn provider(&self) -> Arc<dyn Provider> {
        Arc::clone(self.provider.as_ref().unwrap()) as _
    }

    async fn restart(&mut self) {
        self.provider = None;
        let hooks = self.world.open().await;
        let home = self.world.home.path().canonicalize().unwrap();
        let (store, specs) = (Arc::clone(&self.world.store), self.world.specs.clone());
        self.provider = Some(Arc::new(CustomProvider::new(home, store, specs, hooks)));
    }

    async fn seal(&mut self, placement: &Placement, sample: Sample) -> Digest {
        let source = TempDir::new().unwrap();
        common::executable(&source.path().join("ops"), OPS);
        common::executable(&source.path().join("serve"), &script(sample.manner));
        common::executable(&source.path().join("work"), WORK);
        // Two releases of the same content would share what they are restored from.
        fs::write(source.path().join("version"), placement.version.as_str()).unwrap();
        let artifact = self.world.store.take_in_path(source.path(), None).unwrap();
        let process = |instances, listen: Option<&str>| ProcessType {
            command: Vec::new(),
            instances,
            listen: listen.map(|listen| listen.parse().unwrap()),
            confinement: Default::default(),
        };
        let types = [("web", process(sample.web, Some("127.0.0.1:1"))), ("work", process(sample.work, None))];
        let spec = RunSpec {
            service: "shop".into(),
            environment: placement.environment.clone(),
            engine: Engine { custom: Some(commands()), ..Engine::default() },
            image: None,
            drain: Span::from_secs(30),
            version: placement.version.clone(),
            digest: artifact.digest.clone(),
            processes: types.into_iter().map(|(name, process)| (name.to_owned(), process)).collect(),
            confinement: Default::default(),
            health_check: HealthCheck { interval: Span::from_millis(20), ..HealthCheck::default() },
            stop_timeout: sample.stop_timeout,
            variables: BTreeMap::from([("STATE".to_owned(), self.state.path().display().to_string())]),
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

    /// Processes that live in the home; where there are none, there must be no keepers of them either.
    async fn remains(&self) -> usize {
        let home = self.world.home.path().canonicalize().unwrap();
        let all: Vec<_> = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()).collect();
        let instances =
            all.iter().filter(|pid| fs::read_link(pid.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&home)));
        match instances.count() {
            0 => keepers(&self.state).len(),
            count => count,
        }
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

/// The keepers that have their instances' files in this directory, as they stand in their command lines.
fn keepers(state: &TempDir) -> Vec<i32> {
    let place = state.path().display().to_string();
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        let ours = line.contains("\0keep\0") && line.contains(&place);
        ours.then(|| entry.file_name().to_str()?.parse().ok())?
    })
    .collect()
}

impl Drop for Commands {
    /// Whatever a failing test left running is ended: keepers lead the groups of their instances.
    fn drop(&mut self) {
        for pid in keepers(&self.state) {
            let group = rustix::process::Pid::from_raw(pid).unwrap();
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        if let Some(mut stranger) = self.stranger.take() {
            let _ = stranger.kill();
            let _ = stranger.wait();
        }
    }
}

provider_contract!(Commands);
