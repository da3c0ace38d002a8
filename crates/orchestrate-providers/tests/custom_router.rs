//! The `custom` router passes the suite of all routers, with commands that write down who has the traffic and a front that
//! goes by it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use common::World;
use orchestrate_core::environment::{Custom, Engine, HealthCheck, ProcessType};
use orchestrate_core::name::{EnvironmentName, Fence, ReleaseId};
use orchestrate_core::ports::{Backend, Placement, PortErrorKind, Register, Router, Switch};
use orchestrate_core::time::Span;
use orchestrate_providers::RunSpec;
use orchestrate_providers::custom::CustomRouter;
use orchestrate_testkit::contract::router::{Instances, RouterStage};
use orchestrate_testkit::{SampleInstance, User, router_contract};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const ROUTE: &str = include_str!("common/route.py");

struct Commands {
    world: World,
    router: Option<Arc<CustomRouter>>,
    outside: TempDir,
    listen: SocketAddr,
    front: JoinHandle<()>,
    running: BTreeMap<ReleaseId, Vec<SampleInstance>>,
}

impl Commands {
    fn seal(&self, placement: &Placement, program: PathBuf) {
        let source = TempDir::new().unwrap();
        fs::write(source.path().join("version"), placement.version.as_str()).unwrap();
        let artifact = self.world.store.take_in_path(source.path(), None).unwrap();
        let program = || vec![program.display().to_string()];
        let custom = Custom {
            start: program(),
            stop: program(),
            status: program(),
            switch: program(),
            url: Some(format!("http://{}", self.listen)),
            ..Custom::default()
        };
        let web = ProcessType {
            command: Vec::new(),
            instances: 2,
            listen: Some(self.listen),
            confinement: Default::default(),
        };
        let traffic = self.outside.path().join("traffic").display().to_string();
        let spec = RunSpec {
            service: "shop".into(),
            environment: placement.environment.clone(),
            engine: Engine { custom: Some(custom), ..Engine::default() },
            image: None,
            drain: Span::from_secs(30),
            version: placement.version.clone(),
            digest: artifact.digest,
            processes: BTreeMap::from([("web".to_owned(), web)]),
            confinement: Default::default(),
            health_check: HealthCheck { path: "/healthz".into(), ..HealthCheck::default() },
            stop_timeout: Span::from_secs(5),
            variables: BTreeMap::from([("TRAFFIC".to_owned(), traffic)]),
            secrets: BTreeMap::new(),
        };
        self.world.seal(placement.release, spec);
    }

    fn program(&self) -> PathBuf {
        self.outside.path().join("route")
    }
}

/// Sends each connection to an instance of whoever has the traffic then; nobody has it, nobody answers.
async fn front(listener: TcpListener, traffic: PathBuf) {
    let turn = Arc::new(AtomicU64::new(0));
    while let Ok((mut user, _)) = listener.accept().await {
        let address = address(&traffic, turn.fetch_add(1, Ordering::SeqCst));
        tokio::spawn(async move {
            let Some(address) = address else { return };
            if let Ok(mut instance) = TcpStream::connect(address).await {
                let _ = copy_bidirectional(&mut user, &mut instance).await;
            }
        });
    }
}

fn address(traffic: &Path, turn: u64) -> Option<SocketAddr> {
    let shares: serde_json::Value = serde_json::from_slice(&fs::read(traffic).ok()?).unwrap();
    let mut point = turn % 100;
    for share in shares.as_array().unwrap() {
        let weight = share["weight"].as_u64().unwrap();
        if point < weight {
            return share["instances"][0]["address"].as_str()?.parse().ok();
        }
        point -= weight;
    }
    None
}

impl Drop for Commands {
    fn drop(&mut self) {
        self.front.abort();
    }
}

#[async_trait(?Send)]
impl RouterStage for Commands {
    async fn new() -> Self {
        let (world, outside) = (World::closed(), TempDir::new().unwrap());
        common::executable(&outside.path().join("route"), ROUTE);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let listen = listener.local_addr().unwrap();
        let front = tokio::spawn(front(listener, outside.path().join("traffic")));
        let mut stage = Self { world, router: None, outside, listen, front, running: BTreeMap::new() };
        stage.restart().await;
        stage
    }

    fn environment(&self) -> EnvironmentName {
        EnvironmentName::new("production").unwrap()
    }

    fn router(&self) -> Arc<dyn Router> {
        Arc::clone(self.router.as_ref().unwrap()) as _
    }

    fn listen(&self) -> SocketAddr {
        self.listen
    }

    async fn restart(&mut self) {
        let (store, specs) = (Arc::clone(&self.world.store), self.world.specs.clone());
        let home = self.world.home.path().to_path_buf();
        self.router = Some(Arc::new(CustomRouter::new(home, store, specs)));
    }

    async fn run(&mut self, placement: &Placement, count: u32) -> Instances {
        self.seal(placement, self.program());
        let mut instances = Instances::new();
        for number in 1..=count {
            let sample = SampleInstance::start(placement.version.as_str()).await.unwrap();
            instances.insert(format!("{}-web-{number}", placement.slot), sample.address);
            self.running.entry(placement.release).or_default().push(sample);
        }
        instances
    }

    async fn be_well(&mut self, placement: &Placement, well: bool) {
        self.running[&placement.release].iter().for_each(|sample| sample.be_well(well));
    }

    async fn ask(&self) -> Option<String> {
        User::new(self.listen).version().await
    }
}

router_contract!(Commands);

/// A release that was registered, with `count` instances.
async fn registered(stage: &mut Commands, number: i64, count: u32) -> Placement {
    let placement = Placement {
        environment: stage.environment(),
        slot: if number % 2 == 1 {
            orchestrate_core::slot::Slot::Blue
        } else {
            orchestrate_core::slot::Slot::Green
        },
        release: ReleaseId(number),
        version: orchestrate_core::name::Version::new(format!("1.{number}.0")).unwrap(),
    };
    let instances = stage.run(&placement, count).await;
    let backend = Backend {
        process: "web".into(),
        listen: stage.listen,
        instances,
        health_check: HealthCheck { path: "/healthz".into(), ..HealthCheck::default() },
    };
    let request =
        Register { placement: placement.clone(), backends: vec![backend], drain: None, fence: Fence(1) };
    stage.router().register(&request).await.unwrap();
    placement
}

#[tokio::test]
async fn a_switch_whose_program_was_killed_does_not_come_later() {
    let mut stage = Commands::new().await;
    let (first, second) = (registered(&mut stage, 1, 1).await, registered(&mut stage, 2, 1).await);
    // The switch to the first one hangs, and would go on after its time.
    let slow = stage.outside.path().join("slow");
    let script =
        format!("#!/bin/sh\nmkdir -p \"$TRAFFIC.begun\"\nsleep 1000\nexec {}\n", stage.program().display());
    common::executable(&slow, &script);
    stage.world.edit(&first, |spec| {
        spec.engine.custom.as_mut().unwrap().switch = vec![slow.display().to_string()];
    });
    let hung = stage.router();
    let request = Switch { placement: first, needs: BTreeMap::new(), fence: Fence(2) };
    let task = tokio::spawn(async move { hung.switch(&request).await });
    let begun = stage.outside.path().join("traffic.begun");
    common::until(|| begun.exists().then_some(())).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    let request = Switch { placement: second, needs: BTreeMap::new(), fence: Fence(3) };
    common::in_time(stage.router().switch(&request)).await.unwrap();
    assert_eq!(stage.ask().await.as_deref(), Some("1.2.0"));
    let older = Switch { fence: Fence(2), ..request };
    assert_eq!(stage.router().switch(&older).await.unwrap_err().kind, PortErrorKind::Fenced);
}

#[tokio::test]
async fn a_status_that_does_not_say_who_has_the_traffic_is_an_error() {
    let mut stage = Commands::new().await;
    let placement = registered(&mut stage, 1, 1).await;
    let silent = stage.outside.path().join("silent");
    common::executable(&silent, "#!/bin/sh\necho '{\"ok\":true}'\n");
    stage.world.edit(&placement, |spec| {
        spec.engine.custom.as_mut().unwrap().status = vec![silent.display().to_string()];
    });
    let error = stage.router().observe(&stage.environment()).await.unwrap_err();
    assert!(error.message.contains("gave no `weight`"), "{error}");
}
