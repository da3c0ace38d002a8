//! What is compared: each peer stands in front of a good and a bad version, and can switch between them.

mod caddy;
mod engine;
mod haproxy;
mod nginx;
mod orchestrate;
mod swarm;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use tempfile::TempDir;
use tokio::process::Command;

pub use caddy::Caddy;
pub use engine::Engine;
pub use haproxy::HaProxy;
pub use nginx::Nginx;
pub use orchestrate::{Orchestrate, Processes, Provider, Setting};
pub use swarm::Swarm;

use crate::Plan;
use crate::client::{BAD, By, GOOD, await_answer};
use crate::process::{Running, free_address, run};

const LOG_LINES: usize = 10;

/// A command that took the bad version out.
pub struct Switched {
    /// Just before it was started.
    pub started: Instant,
    /// When it had ended, and had come true for new connections.
    pub ended: Instant,
}

#[async_trait]
pub trait Peer: Send {
    fn name(&self) -> &'static str;
    fn address(&self) -> SocketAddr;
    /// From the bad version to the good one, by the command that a person would type.
    async fn back(&mut self) -> Result<Switched>;
    /// From the good version to the bad one; not measured.
    async fn forward(&mut self) -> Result<()>;
    /// The processes through which the requests go.
    async fn data_plane(&mut self) -> Result<Vec<u32>>;
    async fn stop(self: Box<Self>) -> Result<()>;
}

/// A directory of this run, and this program, which is also the service.
pub struct Place {
    directory: TempDir,
    program: PathBuf,
}

/// The two versions, for the peers that do not deploy them by themselves.
pub struct Upstreams {
    good: Running,
    bad: Running,
    pub good_address: SocketAddr,
    pub bad_address: SocketAddr,
}

impl Place {
    pub fn new() -> Result<Self> {
        // A short name, because paths of Unix sockets must be short.
        let directory = tempfile::Builder::new().prefix("ob-").tempdir().context("no temporary directory")?;
        Ok(Self { directory, program: std::env::current_exe()? })
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A new directory of that name.
    pub fn room(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.path().join(name);
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(path)
    }

    /// The end of what the programs of this run wrote, which is gone when the run is over.
    fn logs(&self) -> String {
        let rooms = std::fs::read_dir(self.directory.path()).into_iter().flatten().flatten();
        let files = rooms.flat_map(|room| std::fs::read_dir(room.path()).into_iter().flatten().flatten());
        let logs =
            files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "log"));
        let mut text = String::from("the logs say:");
        for path in logs {
            let lines = std::fs::read_to_string(&path).unwrap_or_default();
            let skip = lines.lines().count().saturating_sub(LOG_LINES);
            for line in lines.lines().skip(skip) {
                text.push_str(&format!("\n  {}: {line}", path.display()));
            }
        }
        text
    }

    pub async fn upstreams(&self) -> Result<Upstreams> {
        let room = self.room("upstreams")?;
        let serve = |version: &str| -> Result<(Running, SocketAddr)> {
            let address = free_address()?;
            let mut command = Command::new(&self.program);
            command.args(["--serve", version, &address.port().to_string()]);
            Ok((Running::start(version, command, &room)?, address))
        };
        let ((good, good_address), (bad, bad_address)) = (serve(GOOD)?, serve(BAD)?);
        await_answer(good_address, By::Good).await?;
        await_answer(bad_address, By::Bad).await?;
        Ok(Upstreams { good, bad, good_address, bad_address })
    }
}

impl Upstreams {
    pub async fn stop(self) -> Result<()> {
        self.good.stop().await?;
        self.bad.stop().await
    }
}

/// The peers asked for, each serving the bad version; orchestrate, where it is given, is the first.
pub async fn start(
    plan: &Plan,
    place: &Place,
    upstreams: &Upstreams,
    wanted: &[&str],
) -> Result<Vec<Box<dyn Peer>>> {
    let mut peers: Vec<Box<dyn Peer>> = Vec::new();
    if let Some(program) = &plan.orchestrate {
        peers.push(Box::new(Orchestrate::start(program, place, "o").await?));
    }
    for name in wanted {
        let started: Result<Box<dyn Peer>> = match *name {
            HaProxy::NAME => HaProxy::start(place, upstreams).map(|peer| Box::new(peer) as _),
            Nginx::NAME => Nginx::start(place, upstreams).map(|peer| Box::new(peer) as _),
            _ => Caddy::start(place, upstreams).map(|peer| Box::new(peer) as _),
        };
        match started {
            Ok(peer) => peers.push(peer),
            Err(error) if is_not_installed(&error) => println!("{name} is not installed, and left out\n"),
            Err(error) => return Err(error),
        }
    }
    for peer in &peers {
        let served = await_answer(peer.address(), By::Bad).await;
        served.with_context(|| format!("{} does not serve; {}", peer.name(), place.logs()))?;
    }
    Ok(peers)
}

/// Whether a program could not be started because there is none.
pub fn is_not_installed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// What is compared, and on what: figures mean nothing without it.
pub async fn describe(plan: &Plan) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut text = format!("{cores} cores");
    let ours = plan.orchestrate.as_ref().map(|program| format!("'{}' --version", program.display()));
    let others = ["haproxy -v", "nginx -v 2>&1", "caddy version"].map(str::to_owned);
    for script in ours.into_iter().chain(others) {
        let finished = run(Command::new("sh").arg("-c").arg(&script)).await;
        let said = finished
            .map(|finished| String::from_utf8_lossy(&finished.stdout).into_owned())
            .unwrap_or_default();
        let name = if script.starts_with("caddy") { "caddy " } else { "" };
        if let Some(line) = said.lines().next() {
            text.push_str(&format!("; {name}{}", line.split(" - ").next().unwrap_or(line)));
        }
    }
    text
}

/// Stops all of them, and reports the first that could not be stopped.
pub async fn stop(peers: Vec<Box<dyn Peer>>, upstreams: Upstreams) -> Result<()> {
    let mut result = Ok(());
    for peer in peers {
        let name = peer.name();
        let stopped = peer.stop().await.with_context(|| format!("{name} could not be stopped"));
        result = result.and(stopped);
    }
    result.and(upstreams.stop().await)
}
