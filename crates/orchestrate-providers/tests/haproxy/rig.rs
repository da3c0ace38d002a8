//! An HAProxy of its own on loopback, and a router that directs it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use orchestrate_core::environment::{HealthCheck, RouterSettings};
use orchestrate_core::name::{EnvironmentName, Fence, ReleaseId, Version};
use orchestrate_core::ports::{Backend, Placement, PortResult, Prove, Register, Router, Switch};
use orchestrate_core::slot::Slot;
use orchestrate_core::time::Span;
use orchestrate_providers::routers::haproxy::{HaproxyRouter, RouterLookup};
use orchestrate_testkit::SampleInstance;
use tempfile::TempDir;

pub struct Rig {
    pub directory: TempDir,
    pub listen: SocketAddr,
    pub settings: Arc<Mutex<RouterSettings>>,
    router: Arc<HaproxyRouter>,
    program: Option<Child>,
}

pub fn shop() -> EnvironmentName {
    EnvironmentName::new("shop").unwrap()
}

struct Settings(Arc<Mutex<RouterSettings>>);

#[async_trait]
impl RouterLookup for Settings {
    async fn router_settings(&self, _: &EnvironmentName) -> PortResult<Option<RouterSettings>> {
        Ok(Some(self.0.lock().unwrap().clone()))
    }
}

/// The servers of the backend, as docs/haproxy.md has them.
pub const SERVERS: &str = "    server-template blue 1-10 127.0.0.1:1 disabled\n    \
     server-template green 1-10 127.0.0.1:1 disabled\n";

impl Rig {
    /// With everything that docs/haproxy.md recommends.
    pub async fn start() -> Self {
        let mut rig = Self::prepare();
        rig.write_config(true, SERVERS);
        rig.run().await;
        rig
    }

    /// An HAProxy that forgets all when it is restarted, and does not name the server that answered.
    pub async fn start_plain() -> Self {
        let mut rig = Self::prepare();
        rig.settings.lock().unwrap().state_file = None;
        rig.write_config(false, SERVERS);
        rig.run().await;
        rig
    }

    pub fn prepare() -> Self {
        let directory = TempDir::new().unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let settings = Arc::new(Mutex::new(RouterSettings {
            haproxy: directory.path().join("admin.sock").display().to_string(),
            backends: BTreeMap::from([("web".to_owned(), "shop".to_owned())]),
            state_file: Some(directory.path().join("state")),
        }));
        let router = HaproxyRouter::new(directory.path(), Arc::new(Settings(Arc::clone(&settings))));
        Self {
            listen: free.local_addr().unwrap(),
            router: Arc::new(router),
            directory,
            settings,
            program: None,
        }
    }

    pub fn write_config(&self, keeps_state: bool, servers: &str) {
        let directory = self.directory.path().display();
        let (state, load, name) = match keeps_state {
            true => (
                format!("    server-state-file {directory}/state\n"),
                "    load-server-state-from-file global\n",
                "    http-request set-var(txn.prove) req.hdr(orchestrate-prove)\n    \
                 http-response set-header orchestrate-server %s if { var(txn.prove) -m found }\n",
            ),
            false => (String::new(), "", ""),
        };
        let config = format!(
            "global\n    stats socket {directory}/admin.sock mode 600 level admin\n    nbthread 2\n{state}\
             defaults\n    mode http\n    timeout connect 1s\n    timeout client 60s\n    timeout server 60s\n    timeout check 2s\n    \
             retries 3\n    option redispatch 1\n{load}\
             frontend shop\n    bind {}\n    default_backend shop\n\
             backend shop\n    balance roundrobin\n    option httpchk GET /healthz\n    \
             default-server check inter 50ms fall 2 rise 1\n{name}{servers}",
            self.listen
        );
        fs::write(self.directory.path().join("haproxy.cfg"), config).unwrap();
    }

    pub fn edit_config(&self, from: &str, to: &str) {
        let path = self.directory.path().join("haproxy.cfg");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from:?} is not in {text}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    pub fn free_address(&self) -> SocketAddr {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
    }

    /// As another program of the same home has it.
    pub fn another_router(&self) -> HaproxyRouter {
        HaproxyRouter::new(self.directory.path(), Arc::new(Settings(Arc::clone(&self.settings))))
    }

    pub fn router(&self) -> Arc<HaproxyRouter> {
        Arc::clone(&self.router)
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    /// Starts it, and returns once it answers.
    pub async fn run(&mut self) {
        self.spawn(&[]);
        self.answers().await;
    }

    fn spawn(&mut self, more: &[&str]) {
        let log =
            fs::File::options().create(true).append(true).open(self.directory.path().join("log")).unwrap();
        let mut command = Command::new("/usr/sbin/haproxy");
        command.args(["-db", "-f"]).arg(self.directory.path().join("haproxy.cfg")).args(more);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.program = Some(command.spawn().expect("haproxy; scripts/install-test-tools installs it"));
    }

    async fn answers(&mut self) {
        let begun = Instant::now();
        while UnixStream::connect(self.socket()).is_err() {
            if let Some(ended) = self.program.as_mut().unwrap().try_wait().unwrap() {
                panic!("{ended}: {}", fs::read_to_string(self.directory.path().join("log")).unwrap());
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "haproxy does not answer");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Another one takes over from the one that runs, as `systemctl reload` has it.
    pub async fn reload(&mut self) {
        let mut old = self.program.take().unwrap();
        self.spawn(&["-sf", &old.id().to_string()]);
        until("the old one ends", async || old.try_wait().unwrap()).await;
        self.answers().await;
    }

    pub fn kill(&mut self) {
        if let Some(mut program) = self.program.take() {
            let _ = program.kill();
            let _ = program.wait();
        }
    }

    /// What a person types.
    pub fn type_in(&self, command: &str) -> String {
        let mut socket = UnixStream::connect(self.socket()).unwrap();
        writeln!(socket, "{command}").unwrap();
        let mut said = String::new();
        socket.read_to_string(&mut said).unwrap();
        said
    }

    pub async fn register(
        &self,
        placement: &Placement,
        samples: &[SampleInstance],
        fence: i64,
    ) -> PortResult<()> {
        self.register_with(placement, samples, None, fence).await
    }

    pub async fn register_draining(
        &self,
        placement: &Placement,
        samples: &[SampleInstance],
        drain: Span,
        fence: i64,
    ) -> PortResult<()> {
        self.register_with(placement, samples, Some(drain), fence).await
    }

    async fn register_with(
        &self,
        placement: &Placement,
        samples: &[SampleInstance],
        drain: Option<Span>,
        fence: i64,
    ) -> PortResult<()> {
        let instances =
            samples.iter().map(|sample| (format!("at-{}", sample.address.port()), sample.address));
        let backend = Backend {
            process: "web".into(),
            listen: self.listen,
            instances: instances.collect(),
            health_check: HealthCheck { path: "/healthz".into(), ..HealthCheck::default() },
        };
        let (placement, fence) = (placement.clone(), Fence(fence));
        self.router.register(&Register { placement, backends: vec![backend], drain, fence }).await
    }

    pub async fn switch(&self, placement: &Placement, needs: u32, fence: i64) -> PortResult<()> {
        let needs = BTreeMap::from([("web".to_owned(), needs)]);
        self.router.switch(&Switch { placement: placement.clone(), needs, fence: Fence(fence) }).await
    }

    pub fn prove(&self, placement: &Placement) -> Prove {
        Prove {
            placement: placement.clone(),
            listen: self.listen,
            path: "/version".into(),
            expected_status: 200,
            contains: None,
            timeout: Span::from_secs(5),
            directed: false,
        }
    }

    /// Each release that the router knows: its share, how many instances HAProxy has of it, and how many are well.
    pub async fn seen(&self) -> Vec<(i64, u8, u32, u32)> {
        let view = self.router.observe(&shop()).await.unwrap();
        let seen = view.slots.iter().map(|slot| {
            let backend = &slot.backends[0];
            (slot.release.0, slot.weight, backend.instances, backend.healthy)
        });
        seen.collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.directory.path().join("log")).unwrap_or_default());
        }
    }
}

/// Release `number`; odd ones are in the blue slot.
pub fn placement(number: i64) -> Placement {
    Placement {
        environment: shop(),
        slot: if number % 2 == 1 { Slot::Blue } else { Slot::Green },
        release: ReleaseId(number),
        version: Version::new(format!("1.{number}.0")).unwrap(),
    }
}

pub async fn samples(placement: &Placement, count: usize) -> Vec<SampleInstance> {
    let mut samples = Vec::new();
    for _ in 0..count {
        samples.push(SampleInstance::start(placement.version.as_str()).await.unwrap());
    }
    samples
}

/// Asks until there is an answer: for facts that nobody announces.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
