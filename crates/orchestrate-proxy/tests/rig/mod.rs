//! A proxy process with a home of its own, and instances to put behind it. Everything ends with the test.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "a part of the tests, and every test file uses a part of it"
)]

pub mod client;
pub mod instance;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use orchestrate_core::environment::HealthCheck;
use orchestrate_core::name::{EnvironmentName, Fence, ReleaseId, Version};
use orchestrate_core::ports::{Backend, Drain, Placement, Prove, Register, Router, Switch};
use orchestrate_core::slot::Slot;
use orchestrate_core::time::Span;
use orchestrate_core::traffic::{Shift, TrafficRules};
use orchestrate_proxy::BuiltinRouter;
use tempfile::TempDir;

pub use instance::Instance;

pub struct Rig {
    pub home: TempDir,
    pub child: Child,
    pub router: BuiltinRouter,
    pub listen: SocketAddr,
    limits: Vec<String>,
}

/// Fails the test rather than hang.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within 20 s"),
    }
}

/// Asks until the answer is yes.
pub async fn eventually(what: &str, mut fact: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !fact().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A port that nobody had a moment ago.
pub fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub fn shop() -> EnvironmentName {
    EnvironmentName::new("shop").unwrap()
}

/// Release `n` has version `n.0`; odd ones are in the blue slot.
pub fn placement(n: i64) -> Placement {
    Placement {
        environment: shop(),
        slot: if n % 2 == 1 { Slot::Blue } else { Slot::Green },
        release: ReleaseId(n),
        version: Version::new(format!("{n}.0")).unwrap(),
    }
}

pub fn proxy_command(home: &TempDir, limits: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orchestrate-proxy"));
    command.arg("--socket").arg(home.path().join("proxy.sock"));
    command.arg("--state").arg(home.path().join("proxy.json"));
    let threads = limits.iter().find_map(|limit| limit.strip_prefix("threads=")).unwrap_or("2");
    command.args(["--threads", threads]);
    for limit in limits.iter().filter(|limit| !limit.starts_with("threads=")) {
        command.args(["--limit", limit]);
    }
    command.stdin(Stdio::null());
    command
}

impl Rig {
    pub async fn start() -> Self {
        Self::with_limits(&[]).await
    }

    /// Limits as the program's `--limit` takes them, and `threads=`, of which there are two otherwise.
    pub async fn with_limits(limits: &[&str]) -> Self {
        let home = TempDir::new().unwrap();
        let limits: Vec<String> = limits.iter().map(|&limit| limit.to_owned()).collect();
        let child = proxy_command(&home, &limits).spawn().unwrap();
        let router = BuiltinRouter::new(home.path().join("proxy.sock"));
        let rig = Self { home, child, router, listen: free_address(), limits };
        rig.ready().await;
        rig
    }

    pub async fn ready(&self) {
        eventually("the proxy's start", async || self.router.hello().await.is_ok()).await;
    }

    pub fn socket(&self) -> PathBuf {
        self.home.path().join("proxy.sock")
    }

    pub fn state(&self) -> PathBuf {
        self.home.path().join("proxy.json")
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub async fn restart(&mut self) {
        self.child = proxy_command(&self.home, &self.limits).spawn().unwrap();
        self.ready().await;
    }

    /// Asserts that no other proxy of the same home begins beside this one.
    pub async fn refuses_a_second(&self) {
        let mut second = tokio::process::Command::from(proxy_command(&self.home, &self.limits));
        let refused = second.kill_on_drop(true).stderr(std::process::Stdio::piped()).output();
        let second = within("the refusal", refused).await.unwrap();
        assert!(!second.status.success());
        assert!(String::from_utf8_lossy(&second.stderr).contains("another proxy"));
    }

    /// A proxy of the same home that is to take over, on its way.
    pub fn heir(&self) -> Child {
        proxy_command(&self.home, &self.limits).arg("--take-over").spawn().unwrap()
    }

    /// One that is to take over, and has a directory in the way of its control socket.
    pub async fn heir_that_finds_a_directory_for_its_socket(&self) -> std::process::ExitStatus {
        let proxy = proxy_command(&self.home, &self.limits);
        // The shell becomes the proxy, so their process number is the same.
        let script = "mkdir \"$1.$$\" && shift && exec \"$@\"";
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-c", script, "sh"]).arg(self.socket()).arg(proxy.get_program()).args(proxy.get_args());
        shell.arg("--take-over").stderr(Stdio::null()).kill_on_drop(true);
        shell.status().await.unwrap()
    }

    /// Has another proxy take over, and returns the one before.
    pub async fn hand_over(&mut self) -> Child {
        let heir = self.heir();
        eventually("the heir serves", async || {
            self.router.hello().await.is_ok_and(|hello| hello.pid == heir.id())
        })
        .await;
        std::mem::replace(&mut self.child, heir)
    }

    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    pub async fn exit(&mut self) -> std::process::ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "the proxy does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn backend(&self, instances: &[&Instance]) -> Backend {
        let named = instances.iter().enumerate();
        Backend {
            process: "web".into(),
            listen: self.listen,
            instances: named.map(|(index, one)| (format!("web-{index}"), one.address)).collect(),
            health_check: HealthCheck { path: "/healthz".into(), ..HealthCheck::default() },
        }
    }

    pub fn registration(&self, release: i64, instances: &[&Instance], fence: i64) -> Register {
        let backends = vec![self.backend(instances)];
        Register { placement: placement(release), backends, fence: Fence(fence), drain: None }
    }

    pub async fn register(&self, release: i64, instances: &[&Instance]) {
        self.router.register(&self.registration(release, instances, 1)).await.unwrap();
    }

    pub async fn switch(&self, release: i64) {
        self.router.switch(&switch(release, 1)).await.unwrap();
    }

    /// A release that has the traffic, well or not.
    pub async fn serve(&self, release: i64, instances: &[&Instance]) {
        self.register(release, instances).await;
        let anyone = Switch { needs: BTreeMap::new(), ..switch(release, 1) };
        self.router.switch(&anyone).await.unwrap();
    }

    pub async fn in_flight(&self, release: i64) -> u64 {
        let view = self.router.observe(&shop()).await.unwrap();
        view.slot(placement(release).slot).map_or(0, |slot| slot.in_flight)
    }

    pub fn prove(&self, release: i64) -> Prove {
        Prove {
            placement: placement(release),
            listen: self.listen,
            path: "/version".into(),
            expected_status: 200,
            contains: Some("{version}".into()),
            timeout: Span::from_secs(5),
            directed: false,
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn switch(release: i64, fence: i64) -> Switch {
    let needs = BTreeMap::from([("web".to_owned(), 1)]);
    Switch { placement: placement(release), needs, fence: Fence(fence) }
}

/// `weight` percent for the release, the rest for another one.
pub fn shift(release: i64, weight: u8, rest: i64, rules: TrafficRules) -> Shift {
    let needs = BTreeMap::from([("web".to_owned(), 1)]);
    Shift { placement: placement(release), weight, rest: placement(rest), needs, rules, fence: Fence(1) }
}

pub fn drain(release: i64, deadline: Span) -> Drain {
    Drain { placement: placement(release), deadline, fence: Fence(1) }
}
