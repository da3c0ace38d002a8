//! A home, releases made of small scripts, and a supervisor over them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use orchestrate_core::environment::{HealthCheck, ProcessType};
use orchestrate_core::name::{EnvironmentName, Fence, ReleaseId, Version};
use orchestrate_core::ports::{
    AwaitHealthy, Instance, Placement, PortError, PortErrorKind, PortResult, Processes, Provider as _,
    StartRequest, StopRequest,
};
use orchestrate_core::secrets::SecretText;
use orchestrate_core::slot::Slot;
use orchestrate_core::time::Span;
use orchestrate_providers::artifact::{ArtifactLimits, ArtifactStore};
use orchestrate_providers::process::{LogLimits, Supervisor, SupervisorOptions};
use orchestrate_providers::{Hosted as _, RunSpec, RunSpecs};
use tempfile::TempDir;

/// Nothing here takes longer, unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

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
    pub home: TempDir,
    pub store: Arc<ArtifactStore>,
    pub specs: Arc<Specs>,
    supervisor: Option<Arc<Supervisor>>,
    pub logs: LogLimits,
}

/// Answers 200 on every path, naming its version and its pid. Needs nothing but python3.
pub const WEB: &str = r#"#!/usr/bin/env python3
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status = 503 if os.path.exists("sick") else 200
        body = (os.environ["ORCHESTRATE_VERSION"] + " " + str(os.getpid())).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
print("listening", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

impl World {
    pub async fn new() -> Self {
        let mut world = Self::closed();
        world.open().await;
        world
    }

    pub fn closed() -> Self {
        let home = TempDir::new().unwrap();
        let store = Arc::new(ArtifactStore::new(home.path(), ArtifactLimits::default()));
        let logs = LogLimits { check_every: Duration::from_millis(50), ..LogLimits::default() };
        Self { home, store, specs: Arc::default(), supervisor: None, logs }
    }

    /// A new supervisor, as a new daemon would make it; an earlier one is let go of first.
    pub async fn open(&mut self) -> Arc<Supervisor> {
        self.close();
        let mut options = SupervisorOptions::new(
            self.home.path().to_path_buf(),
            Arc::clone(&self.store),
            self.specs.clone(),
        );
        options.logs = self.logs;
        let supervisor = Supervisor::open(options).await.unwrap();
        self.supervisor = Some(Arc::clone(&supervisor));
        supervisor
    }

    pub fn close(&mut self) {
        if let Some(old) = self.supervisor.take() {
            assert_eq!(Arc::strong_count(&old), 1, "a test still holds the old supervisor");
        }
    }

    /// Seals a release as it is.
    pub fn seal(&self, release: ReleaseId, spec: RunSpec) {
        self.specs.0.lock().unwrap().insert(release, spec);
    }

    /// The supervisor, to be let go of before the next one is opened.
    pub fn shared(&self) -> Arc<Supervisor> {
        Arc::clone(self.supervisor.as_ref().unwrap())
    }

    pub fn supervisor(&self) -> &Supervisor {
        self.supervisor.as_ref().unwrap()
    }

    /// Seals a release whose artifact is one script called `run`.
    pub fn release(&self, id: i64, script: &str, web: u32, work: u32) -> Placement {
        let source = TempDir::new().unwrap();
        let path = source.path().join("run");
        fs::write(&path, script).unwrap();
        let artifact = self.store.take_in_path(&path, None).unwrap();
        let process = |instances, listen: Option<&str>| ProcessType {
            command: vec!["./run".into(), "argument".into()],
            instances,
            listen: listen.map(|listen| listen.parse().unwrap()),
            confinement: Default::default(),
        };
        let mut processes = BTreeMap::new();
        if web > 0 {
            processes.insert("web".to_owned(), process(web, Some("127.0.0.1:1")));
        }
        if work > 0 {
            processes.insert("work".to_owned(), process(work, None));
        }
        let placement = self.placement(id);
        let spec = RunSpec {
            service: "shop".into(),
            environment: placement.environment.clone(),
            engine: Default::default(),
            image: None,
            drain: Span::from_secs(30),
            version: placement.version.clone(),
            digest: artifact.digest,
            processes,
            confinement: Default::default(),
            health_check: HealthCheck { interval: Span::from_millis(20), ..HealthCheck::default() },
            stop_timeout: Span::from_secs(5),
            variables: BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]),
            secrets: BTreeMap::from([("PASSWORD".to_owned(), SecretText::new("hunter2"))]),
        };
        self.specs.0.lock().unwrap().insert(ReleaseId(id), spec);
        placement
    }

    /// Changes what is sealed, before it is first used.
    pub fn edit(&self, placement: &Placement, change: impl FnOnce(&mut RunSpec)) {
        change(self.specs.0.lock().unwrap().get_mut(&placement.release).unwrap());
    }

    pub fn placement(&self, id: i64) -> Placement {
        Placement {
            environment: EnvironmentName::new("production").unwrap(),
            slot: Slot::Blue,
            release: ReleaseId(id),
            version: Version::new(format!("1.{id}.0")).unwrap(),
        }
    }

    pub async fn start(&self, placement: &Placement, fence: i64) -> PortResult<Vec<Instance>> {
        let request = StartRequest {
            placement: placement.clone(),
            processes: Processes::All,
            fence: Fence(fence),
            counts: None,
        };
        in_time(self.supervisor().start(&request)).await
    }

    pub async fn healthy(&self, placement: &Placement, deadline: Span) -> PortResult<Vec<Instance>> {
        let request =
            AwaitHealthy { placement: placement.clone(), processes: Processes::All, deadline, counts: None };
        in_time(self.supervisor().await_healthy(&request)).await
    }

    pub async fn stop(&self, placement: &Placement, fence: i64) -> PortResult<()> {
        let request = StopRequest {
            placement: placement.clone(),
            processes: Processes::All,
            fence: Fence(fence),
            counts: None,
        };
        in_time(self.supervisor().stop(&request)).await
    }

    pub async fn instances(&self) -> Vec<Instance> {
        self.supervisor().instances(&EnvironmentName::new("production").unwrap()).await.unwrap()
    }

    /// Waits until the instances are as wanted.
    pub async fn until(&self, wanted: impl Fn(&[Instance]) -> bool) -> Vec<Instance> {
        let mut changes = self.supervisor().subscribe();
        in_time(async {
            loop {
                changes.mark_unchanged();
                let instances = self.instances().await;
                if wanted(&instances) {
                    return instances;
                }
                changes.changed().await.unwrap();
            }
        })
        .await
    }

    pub fn record(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.home.path().join("instances.json")).unwrap()).unwrap()
    }

    pub fn edit_record(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let mut record = self.record();
        change(&mut record);
        fs::write(self.home.path().join("instances.json"), record.to_string()).unwrap();
    }

    pub fn log(&self, placement: &Placement, process: &str) -> PathBuf {
        let (home, environment) = (self.home.path(), &placement.environment);
        orchestrate_providers::process::log_path(home, environment, &placement.version, process, 1)
    }

    /// The text of a file that an instance writes, once it has a whole line.
    pub async fn line_in(&self, path: &Path) -> String {
        until(|| fs::read_to_string(path).ok().filter(|text| text.ends_with('\n'))).await.trim().to_owned()
    }
}

impl Drop for World {
    /// Whatever a failing test left running is ended, by its own process group.
    fn drop(&mut self) {
        self.supervisor = None;
        let Ok(text) = fs::read_to_string(self.home.path().join("instances.json")) else { return };
        let record: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        for slot in record["slots"].as_array().into_iter().flatten() {
            for instance in slot["instances"].as_object().into_iter().flat_map(|instances| instances.values())
            {
                let token = instance["token"].as_str().unwrap_or("?").to_owned();
                let Some(pid) = instance["mark"]["pid"].as_i64() else { continue };
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                if String::from_utf8_lossy(&environment).contains(&token) {
                    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
                    let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
                }
            }
        }
    }
}

pub fn executable(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

pub async fn in_time<R>(work: impl Future<Output = R>) -> R {
    tokio::time::timeout(PATIENCE, work).await.expect("it takes too long")
}

/// Asks until there is an answer: for facts that nobody announces.
pub async fn until<R>(mut ask: impl FnMut() -> Option<R>) -> R {
    in_time(async {
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

pub fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !stat[stat.rfind(')').unwrap()..].starts_with(") Z")
}
