//! The `swarm` provider itself, as it lives in the daemon.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{
    AwaitHealthy, CountLines, Ended, Fetch, ForgetHooks, HookRequest, Instance, Lines, OneOff, Placement,
    PortResult, Processes, Provider, StartRequest, StopRequest,
};
use orchestrate_core::release::Digest;
use tokio::sync::watch;

use super::shared::Shared;
use super::{await_healthy, drift, look, output, privileges, start, stop};
use crate::docker::Docker;
use crate::hosted::{Hosted, whole};
use crate::process::lines::Source;
use crate::process::output::log_path;
use crate::process::shared::blocking;
use crate::spec::RunSpecs;

/// Which swarm, and for whom.
pub struct SwarmOptions {
    pub home: PathBuf,
    /// Where a manager is; none: where `DOCKER_HOST` says, or the engine of this machine.
    pub host: Option<String>,
    /// Tells what is of this installation from what others have there: all homes of one database have the same.
    pub owner: String,
    /// What an older program told it by.
    pub formerly: Option<String>,
    pub specs: Arc<dyn RunSpecs>,
    pub belongings: Arc<dyn Belongings>,
    /// The same engine as one of containers: it keeps images, and runs what is run once.
    pub containers: Arc<Docker>,
}

/// Knows which environments belong to this home.
#[async_trait]
pub trait Belongings: Send + Sync {
    async fn belongs_here(&self, environment: &EnvironmentName) -> PortResult<bool>;
}

/// Runs the services of one installation. They outlive it.
pub struct Swarm {
    shared: Arc<Shared>,
    containers: Arc<Docker>,
}

impl Swarm {
    /// No engine is asked before it is needed.
    pub fn open(options: SwarmOptions) -> Arc<Self> {
        let containers = Arc::clone(&options.containers);
        Arc::new(Self { shared: Arc::new(Shared::new(options)), containers })
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.shared.let_go();
    }
}

#[async_trait]
impl Provider for Swarm {
    async fn fetch(&self, request: &Fetch) -> PortResult<()> {
        self.shared.node().await?;
        privileges::check(&self.shared, &*self.shared.spec(request.release).await?).await?;
        self.containers.fetch(request).await
    }

    async fn start(&self, request: &StartRequest) -> PortResult<Vec<Instance>> {
        let release = request.placement.release;
        let spec = self.shared.spec(release).await?;
        if spec.image.as_ref().is_none_or(|image| image.pinned.is_none()) {
            // It runs by the tag that keeps it here, and another home may have fetched it.
            self.containers.fetch(&Fetch { release, artifact: spec.digest.clone(), size: 0 }).await?;
        }
        let (shared, containers, request) =
            (Arc::clone(&self.shared), Arc::clone(&self.containers), request.clone());
        whole("swarm provider", async move { start::start(&shared, &containers, &request).await }).await
    }

    async fn await_healthy(&self, request: &AwaitHealthy) -> PortResult<Vec<Instance>> {
        await_healthy::await_healthy(&self.shared, request).await
    }

    async fn stop(&self, request: &StopRequest) -> PortResult<()> {
        let (shared, request) = (Arc::clone(&self.shared), request.clone());
        whole("swarm provider", async move { stop::stop(&shared, &request).await }).await
    }

    async fn hook(&self, request: &HookRequest) -> PortResult<Ended> {
        self.containers.hook(request).await
    }

    async fn forget_hooks(&self, request: &ForgetHooks) -> PortResult<()> {
        self.containers.forget_hooks(request).await
    }

    /// The engine of containers does so for both.
    async fn discard(&self, _: &Digest) -> PortResult<bool> {
        Ok(false)
    }

    async fn instances(&self, environment: &EnvironmentName) -> PortResult<Vec<Instance>> {
        let seen = look::look(&self.shared, environment).await?;
        let is_new = !seen.is_empty() && !self.shared.watched().contains(environment);
        if is_new && self.shared.belongs_here(environment).await.unwrap_or(false) {
            self.shared.watch(environment);
        }
        Ok(seen.into_iter().map(|one| one.instance).collect())
    }

    async fn drift(&self, placement: &Placement, of: Processes) -> PortResult<Vec<String>> {
        drift::drift(&self.shared, placement, of).await
    }
}

#[async_trait]
impl Hosted for Swarm {
    fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    async fn run_once(&self, command: &OneOff) -> PortResult<Ended> {
        self.containers.run_once(command).await
    }

    async fn count_lines(&self, request: &CountLines) -> PortResult<Lines> {
        let placement = &request.placement;
        for (who, service) in look::services(&self.shared, Some(&placement.environment)).await? {
            if who.placement == *placement {
                output::copy(&self.shared, &who, service.id.as_deref().unwrap_or_default()).await;
            }
        }
        let spec = self.shared.spec(placement.release).await?;
        let wanted = |process: &str| request.process.as_deref().is_none_or(|wanted| wanted == process);
        let sources: Vec<Source> = spec
            .wanted(Processes::All, None)
            .filter(|one| wanted(one.process))
            .map(|one| Source { log: log_of(&self.shared, placement, one.process, one.number), from: 0 })
            .collect();
        let (shared, text) = (Arc::clone(&self.shared), request.pattern.clone());
        blocking(move || shared.counted.count_all(&sources, &text)).await
    }

    async fn stop_everything(&self) -> PortResult<()> {
        // Where no swarm is, nothing of ours is there.
        if self.shared.node().await.is_err() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        whole("swarm provider", async move { stop::stop_everything(&shared).await }).await
    }
}

fn log_of(shared: &Shared, placement: &Placement, process: &str, number: u32) -> PathBuf {
    log_path(&shared.home, &placement.environment, &placement.version, process, number)
}
