//! orchestrate, by its command line and its JSON alone: whatever it promises to a script, and nothing else.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use serde_json::Value;
use tokio::process::Command;

use super::engine::IMAGE;
use super::{Engine, Peer, Place, Switched};
use crate::client::{BAD, By, GOOD, await_answer};
use crate::process::{Finished, LIMIT, LOOK_EVERY, free_address, is_running, run};

pub struct Orchestrate {
    program: PathBuf,
    room: PathBuf,
    address: SocketAddr,
    provider: Provider,
    stopped: bool,
}

/// What runs the instances.
#[derive(Clone, Default)]
pub enum Provider {
    #[default]
    Process,
    Docker(Arc<Engine>),
    Swarm(Arc<Engine>),
}

impl Provider {
    fn name(&self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Docker(_) => "docker",
            Self::Swarm(_) => "swarm",
        }
    }

    /// On the host's network, as the processes are: what the engine's own proxy for published ports costs is not ours.
    fn settings(&self) -> &'static str {
        match self {
            Self::Docker(_) => {
                "    docker: { networks: [host] }\n    variables: { BENCH_LISTEN: 127.0.0.1 }\n"
            }
            Self::Process | Self::Swarm(_) => "",
        }
    }

    fn engine(&self) -> Option<&Engine> {
        match self {
            Self::Process => None,
            Self::Docker(engine) | Self::Swarm(engine) => Some(engine),
        }
    }
}

/// What differs between the environments of the benchmark, as the config file writes it.
#[derive(Clone)]
pub struct Setting<'a> {
    pub provider: Provider,
    pub strategy: &'a str,
    pub instances: u32,
    pub verify: Option<&'a str>,
    /// The channels, each in one line.
    pub notifications: &'a [String],
    /// What the service of each version finds in its file `BEHAVIOUR`; processes only.
    pub behaviour: &'a [(&'a str, &'a str)],
}

impl Default for Setting<'_> {
    fn default() -> Self {
        let strategy = "{ type: blue_green, warm_for: 1h }";
        Self {
            provider: Provider::Process,
            strategy,
            instances: 1,
            verify: None,
            notifications: &[],
            behaviour: &[],
        }
    }
}

fn channels(lines: &[String]) -> String {
    let lines: String = lines.iter().map(|line| format!("  - {line}\n")).collect();
    if lines.is_empty() { lines } else { format!("notifications:\n{lines}") }
}

const STOP: [&str; 3] = ["daemon", "stop", "--all"];

/// The processes of the home that stay in the background.
pub struct Processes {
    pub daemon: u32,
    pub proxy: u32,
}

impl Orchestrate {
    pub const NAME: &str = "orchestrate";

    /// A home of its own with the good and then the bad version deployed.
    pub async fn start(program: &Path, place: &Place, name: &str) -> Result<Self> {
        Self::start_as(program, place, name, Setting::default()).await
    }

    pub async fn start_as(program: &Path, place: &Place, name: &str, setting: Setting<'_>) -> Result<Self> {
        let this = Self::prepare_as(program, place, name, &[GOOD, BAD], setting)?;
        // What was started is stopped also if the second version fails.
        let deployed = async {
            this.deploy(GOOD).await?;
            this.deploy(BAD).await
        };
        match deployed.await {
            Ok(()) => Ok(this),
            Err(error) => match Box::new(this).stop().await {
                Ok(()) => Err(error),
                Err(also) => Err(error.context(format!("it could not be stopped either ({also:#})"))),
            },
        }
    }

    /// The config file and an artifact for each version, with nothing deployed yet.
    pub async fn prepare(program: &Path, place: &Place, name: &str, versions: &[&str]) -> Result<Self> {
        Self::prepare_as(program, place, name, versions, Setting::default())
    }

    pub fn prepare_as(
        program: &Path,
        place: &Place,
        name: &str,
        versions: &[&str],
        setting: Setting<'_>,
    ) -> Result<Self> {
        let (room, address) = (place.room(name)?, free_address()?);
        let (release, command) = match setting.provider.engine() {
            Some(_) => (format!("image: \"{IMAGE}:{{version}}\""), ""),
            None => {
                lay_out(place, &room, versions, &setting)?;
                ("artifact: dist/{version}".to_owned(), "command: [\"./orchestrate-bench\", \"--serve\"], ")
            }
        };
        let config = format!(
            "service: bench\n\
             release:\n  {release}\n\
             environments:\n  production:\n    type: production\n    provider: {provider}\n\
             \x20   processes:\n      web: {{ {command}instances: {instances}, listen: \"{address}\" }}\n\
             \x20   strategy: {strategy}\n\
             \x20   health_check: {{ path: /healthz, interval: 100ms, deadline: 30s }}\n\
             \x20   drain: 30s\n{more}{verify}{notifications}",
            more = setting.provider.settings(),
            provider = setting.provider.name(),
            instances = setting.instances,
            strategy = setting.strategy,
            verify = setting.verify.map_or_else(String::new, |verify| format!("    verify: {verify}\n")),
            notifications = channels(setting.notifications),
        );
        std::fs::write(room.join("orchestrate.yaml"), config)?;
        let provider = setting.provider;
        Ok(Self { program: program.to_owned(), room, address, provider, stopped: false })
    }

    /// What runs its instances, as the config file names it.
    pub fn provider(&self) -> &'static str {
        self.provider.name()
    }

    pub fn home(&self) -> PathBuf {
        self.room.join("home")
    }

    pub async fn deploy(&self, version: &str) -> Result<()> {
        let arguments = ["deploy", "--env", "production", "--version", version, "--format", "json", "--yes"];
        let (_, result) = self.json(&arguments).await?;
        expect(&result, "status", "completed")
    }

    /// A deployment that may end as it likes: what it printed, and when.
    pub async fn attempt(&self, version: &str) -> Result<std::process::Output> {
        let arguments = ["deploy", "--env", "production", "--version", version, "--format", "json", "--yes"];
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        tokio::time::timeout(LIMIT, command.output())
            .await
            .context("the deployment did not end")?
            .map_err(Into::into)
    }

    /// Any other command of the environment, with its JSON.
    pub async fn typed(&self, words: &[&str]) -> Result<(Finished, Value)> {
        let arguments: Vec<&str> =
            words.iter().copied().chain(["--env", "production", "--yes", "--format", "json"]).collect();
        self.json(&arguments).await
    }

    pub async fn plan_rollback(&self) -> Result<(Finished, Value)> {
        let arguments =
            ["deploy", "rollback", "--env", "production", "--force", "--dry-run", "--format", "json"];
        self.json(&arguments).await
    }

    /// The daemon and the proxy of this home.
    pub async fn processes(&self) -> Result<Processes> {
        let (_, status) = self.json(&["daemon", "status", "--format", "json"]).await?;
        let pid = |name: &str| {
            let pid = status[name]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
            pid.with_context(|| format!("`daemon status` names no pid of the {name}: {status}"))
        };
        Ok(Processes { daemon: pid("daemon")?, proxy: pid("proxy")? })
    }

    async fn rollback(&self, more: &str) -> Result<Finished> {
        let arguments = ["deploy", "rollback", "--env", "production", more, "--yes", "--format", "json"];
        let (finished, result) = self.json(&arguments).await?;
        expect(&result, "status", "completed")?;
        expect(&result, "path", "warm")?;
        Ok(finished)
    }

    async fn json(&self, arguments: &[&str]) -> Result<(Finished, Value)> {
        let finished = run(self.command().args(arguments)).await?;
        let value = serde_json::from_slice(&finished.stdout)
            .with_context(|| format!("`orchestrate {}` did not print JSON", arguments.join(" ")))?;
        Ok((finished, value))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ORCHESTRATE_") {
                command.env_remove(name);
            }
        }
        if let Some(engine) = self.provider.engine() {
            command.env("DOCKER_HOST", engine.host());
        }
        // One worker, as the other proxies have.
        command.env("NO_COLOR", "1").env("ORCHESTRATE_PROXY_THREADS", "1").current_dir(&self.room);
        command
            .env("ORCHESTRATE_HOME", self.home())
            .env("ORCHESTRATE_CONFIG", self.room.join("orchestrate.yaml"));
        command
    }
}

/// An artifact for each version.
fn lay_out(place: &Place, room: &Path, versions: &[&str], setting: &Setting<'_>) -> Result<()> {
    for version in versions {
        let artifact = room.join("dist").join(version);
        std::fs::create_dir_all(&artifact)?;
        std::fs::copy(place.program(), artifact.join("orchestrate-bench"))?;
        // Releases with the same content are the same release.
        std::fs::write(artifact.join("VERSION"), version)?;
        if let Some((_, behaviour)) = setting.behaviour.iter().find(|(of, _)| of == version) {
            std::fs::write(artifact.join("BEHAVIOUR"), behaviour)?;
        }
    }
    Ok(())
}

fn expect(result: &Value, key: &str, wanted: &str) -> Result<()> {
    if result[key] != wanted {
        bail!("orchestrate reports {key} {} and not {wanted}: {result}", result[key]);
    }
    Ok(())
}

#[async_trait]
impl Peer for Orchestrate {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    async fn back(&mut self) -> Result<Switched> {
        let finished = self.rollback("--force").await?;
        Ok(Switched { started: finished.started, ended: finished.ended })
    }

    async fn forward(&mut self) -> Result<()> {
        self.rollback("--undo").await?;
        await_answer(self.address, By::Bad).await
    }

    async fn data_plane(&mut self) -> Result<Vec<u32>> {
        Ok(vec![self.processes().await?.proxy])
    }

    async fn stop(mut self: Box<Self>) -> Result<()> {
        let processes = self.processes().await;
        self.stopped = true;
        run(self.command().args(STOP)).await?;
        // The directory is removed next, so nothing may run in it any more.
        let Ok(Processes { daemon, proxy }) = processes else { return Ok(()) };
        let gone = tokio::time::timeout(LIMIT, async {
            while is_running(daemon) || is_running(proxy) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        gone.await.context("`daemon stop --all` left the daemon or the proxy running")
    }
}

impl Drop for Orchestrate {
    /// After an error or Ctrl-C; what it started lives in sessions of its own, and would stay.
    fn drop(&mut self) {
        if !self.stopped {
            let mut command = self.command().into_std();
            let _ = command.args(STOP).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}
