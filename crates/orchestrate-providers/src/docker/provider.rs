//! The `docker` provider itself, as it lives in the daemon.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{
    AwaitHealthy, CountLines, Ended, Fetch, ForgetHooks, HookRequest, Instance, Lines, Memory, OneOff,
    Placement, PortResult, Processes, Provider, StartRequest, StopRequest,
};
use orchestrate_core::release::Digest;
use orchestrate_core::{Error, Result};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::engine::Engine;
use super::shared::Shared;
use super::{adopt, await_healthy, hook, images, one_off, start, stop};
use crate::hosted::{Hosted, whole};
use crate::memory;
use crate::process::book::Book;
use crate::process::lines::Source;
use crate::process::rotate;
use crate::process::shared::blocking;
use crate::process::{LogLimits, RestartPolicy};
use crate::spec::{RunSpec, RunSpecs};

/// Where and for whom containers are run.
pub struct DockerOptions {
    pub home: PathBuf,
    /// Where the engine is; none: where `DOCKER_HOST` says, or the usual place.
    pub host: Option<String>,
    pub specs: Arc<dyn RunSpecs>,
    pub logs: LogLimits,
    pub restart: RestartPolicy,
}

impl DockerOptions {
    pub fn new(home: PathBuf, specs: Arc<dyn RunSpecs>) -> Self {
        Self { home, host: None, specs, logs: LogLimits::default(), restart: RestartPolicy::default() }
    }
}

/// Runs the containers of one home. They outlive it, and the next one adopts them.
pub struct Docker {
    shared: Arc<Shared>,
    rotation: AbortHandle,
}

impl Docker {
    /// Adopts what this home has on its engine; without anything there, no engine is asked. Whoever calls this holds
    /// the home's lock.
    ///
    /// Errors: `ORC-0343` the home cannot be used.
    pub async fn open(options: DockerOptions) -> Result<Arc<Self>> {
        let unusable = |cause: io::Error| {
            Error::refused("ORC-0343", format!("the home {} cannot be used", options.home.display()))
                .source(cause)
                .hint("check its owner, its mode and the space on its disk")
        };
        let home = options.home.canonicalize().map_err(unusable)?;
        let opened = Book::open(home.join("docker.json")).map_err(unusable)?;
        if let Some(damage) = &opened.damage {
            tracing::warn!("{damage}");
        }
        let engine = Engine::new(options.host);
        let shared = Arc::new(Shared::new(home, engine, opened.book, options.restart, options.specs));
        let (changes, counted) = (shared.changes.subscribe(), Arc::clone(&shared.counted));
        let writing = Arc::clone(&shared);
        let rotation = rotate::keep_small(options.logs, changes, counted, move || writing.logs());
        let rotation = tokio::spawn(rotation).abort_handle();
        let docker = Arc::new(Self { shared, rotation });
        adopt::take_over(&docker.shared, opened.damage.is_some()).await;
        Ok(docker)
    }
}

impl Docker {
    /// The number of the user as whom something of the release runs; without one, as whom its image says.
    pub(crate) async fn user_of(&self, spec: &RunSpec, user: Option<&str>) -> PortResult<u64> {
        one_off::user_of(&self.shared, spec, user).await
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.rotation.abort();
        self.shared.let_go();
    }
}

#[async_trait]
impl Provider for Docker {
    async fn fetch(&self, request: &Fetch) -> PortResult<()> {
        let spec = self.shared.fresh_spec(request.release).await?;
        images::fetch(&self.shared.engine, &self.shared.home, &spec).await
    }

    async fn start(&self, request: &StartRequest) -> PortResult<Vec<Instance>> {
        let (shared, request) = (Arc::clone(&self.shared), request.clone());
        whole("docker provider", async move { start::start(&shared, &request).await }).await
    }

    async fn await_healthy(&self, request: &AwaitHealthy) -> PortResult<Vec<Instance>> {
        await_healthy::await_healthy(&self.shared, request).await
    }

    async fn stop(&self, request: &StopRequest) -> PortResult<()> {
        let (shared, request) = (Arc::clone(&self.shared), request.clone());
        whole("docker provider", async move { stop::stop(&shared, &request).await }).await
    }

    async fn hook(&self, request: &HookRequest) -> PortResult<Ended> {
        hook::run(&self.shared, request).await
    }

    async fn forget_hooks(&self, request: &ForgetHooks) -> PortResult<()> {
        hook::forget(&self.shared, request).await
    }

    async fn discard(&self, artifact: &Digest) -> PortResult<bool> {
        if !self.shared.book.read(|record| record.is_used()) {
            return Ok(false);
        }
        images::discard(&self.shared.engine, &self.shared.home, artifact).await
    }

    /// As they were last seen; an error only where nobody ever could look.
    async fn instances(&self, environment: &EnvironmentName) -> PortResult<Vec<Instance>> {
        let mut here = self.shared.keepers();
        here.retain(|keeper| keeper.placement.environment == *environment);
        if here.iter().any(|keeper| !keeper.status.borrow().looked) {
            self.shared.engine.client().await?;
        }
        Ok(here.iter().map(|keeper| keeper.instance()).collect())
    }

    /// Of an engine on another machine nothing is known.
    async fn memory(&self, placement: &Placement) -> PortResult<Option<Memory>> {
        if !self.shared.engine.is_here() {
            return Ok(None);
        }
        let instances = self.instances(&placement.environment).await?;
        blocking(move || Ok(memory::of(&instances))).await
    }
}

#[async_trait]
impl Hosted for Docker {
    fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    async fn run_once(&self, command: &OneOff) -> PortResult<Ended> {
        one_off::run(&self.shared, command).await
    }

    async fn count_lines(&self, request: &CountLines) -> PortResult<Lines> {
        let sources = sources(&self.shared, request).await?;
        let (shared, text) = (Arc::clone(&self.shared), request.pattern.clone());
        blocking(move || shared.counted.count_all(&sources, &text)).await
    }

    async fn stop_everything(&self) -> PortResult<()> {
        let shared = Arc::clone(&self.shared);
        whole("docker provider", async move { stop::stop_everything(&shared).await }).await
    }
}

/// The logs of what runs in the slot; of a release that does not run any more, what it left.
async fn sources(shared: &Arc<Shared>, request: &CountLines) -> PortResult<Vec<Source>> {
    let placement = &request.placement;
    let wanted = |process: &str| request.process.as_deref().is_none_or(|wanted| wanted == process);
    let mut keepers = shared.keepers_in(&placement.environment, placement.slot);
    keepers.retain(|keeper| keeper.placement == *placement && wanted(&keeper.process));
    if !keepers.is_empty() {
        let source = |log, from| Source { log, from };
        let running = keepers.iter().map(|keeper| {
            source(shared.log(placement, &keeper.process, keeper.number), keeper.status.borrow().output_from)
        });
        return Ok(running.collect());
    }
    let spec = shared.spec(placement.release).await?;
    let left = spec.wanted(Processes::All, None).filter(|one| wanted(one.process));
    Ok(left.map(|one| Source { log: shared.log(placement, one.process, one.number), from: 0 }).collect())
}
