//! The supervisor: the `process` provider itself, as it lives in the daemon.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{
    AwaitHealthy, CountLines, Ended, Fetch, ForgetHooks, HookRequest, Instance, Lines, Memory, OneOff,
    Placement, PortResult, Provider, StartRequest, StopRequest,
};
use orchestrate_core::release::Digest;
use orchestrate_core::{Error, Result};
use rustix::fs::{FlockOperation, flock};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::book::Book;
use super::open::{self, Before};
use super::rotate::{self, LogLimits};
use super::shared::{Shared, blocking};
use super::{await_healthy, hook, lines, one_off, proc_table, start, stop};
use crate::artifact::ArtifactStore;
use crate::hosted::{Hosted, whole};
use crate::memory;
use crate::spec::RunSpecs;

/// Where and for whom instances are supervised.
pub struct SupervisorOptions {
    pub home: PathBuf,
    pub store: Arc<ArtifactStore>,
    pub specs: Arc<dyn RunSpecs>,
    pub logs: LogLimits,
    pub restart: RestartPolicy,
    /// Environments that run on another machine by now: what runs here goes on, and what has ended is not started again.
    pub elsewhere: BTreeSet<EnvironmentName>,
}

impl SupervisorOptions {
    pub fn new(home: PathBuf, store: Arc<ArtifactStore>, specs: Arc<dyn RunSpecs>) -> Self {
        let (logs, restart) = (LogLimits::default(), RestartPolicy::default());
        Self { home, store, specs, logs, restart, elsewhere: BTreeSet::new() }
    }
}

/// How an instance that ended by itself is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// The pause before the first restart; each next one is twice as long.
    pub first_pause: Duration,
    pub longest_pause: Duration,
    /// After running for so long an instance starts with the first pause again.
    pub forgiven_after: Duration,
    /// How long what it left behind may take to end before it is killed.
    pub orphan_patience: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(30),
            forgiven_after: Duration::from_secs(60),
            orphan_patience: Duration::from_secs(5),
        }
    }
}

/// Runs the instances of one home. They outlive it, and the next one adopts them.
pub struct Supervisor {
    shared: Arc<Shared>,
    warnings: Vec<String>,
    rotation: AbortHandle,
    _lock: File,
}

impl Supervisor {
    /// Takes over the home: adopts what runs and starts what should. There is at most one for a home.
    ///
    /// Errors: `ORC-0320` another supervisor has the home, `ORC-0321` the home cannot be used.
    pub async fn open(options: SupervisorOptions) -> Result<Arc<Self>> {
        let unusable = |cause: io::Error| {
            Error::refused("ORC-0321", format!("the home {} cannot be used", options.home.display()))
                .source(cause)
                .hint("check its owner, its mode and the space on its disk")
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&options.home).map_err(unusable)?;
        let home = options.home.canonicalize().map_err(unusable)?;
        let lock = lock(&home.join("supervisor.lock"))?;
        let opened = Book::open(home.join("instances.json")).map_err(unusable)?;
        let boot = proc_table::boot_id().map_err(unusable)?;
        let before = Before {
            rebooted: opened.book.read(|record| !record.boot.is_empty() && record.boot != boot),
            damaged: opened.damage.is_some(),
            elsewhere: options.elsewhere,
        };
        opened.book.amend(|record| record.boot = boot);
        let shared = Arc::new(Shared::new(home, options.store, opened.book, options.restart, options.specs));
        let warnings: Vec<String> = opened.damage.into_iter().collect();
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let (changes, counted) = (shared.changes.subscribe(), Arc::clone(&shared.counted));
        let writing = Arc::clone(&shared);
        let rotation = rotate::keep_small(options.logs, changes, counted, move || writing.logs());
        let rotation = tokio::spawn(rotation).abort_handle();
        let supervisor = Arc::new(Self { shared, warnings, rotation, _lock: lock });
        open::take_over(&supervisor.shared, before).await;
        tokio::spawn(one_off::end_leftovers(Arc::clone(&supervisor.shared)));
        Ok(supervisor)
    }

    /// What was found wrong with the home when it was opened, for people.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The environments that have instances.
    pub fn environments(&self) -> Vec<EnvironmentName> {
        let mut names: Vec<EnvironmentName> =
            self.shared.keepers().iter().map(|keeper| keeper.placement.environment.clone()).collect();
        names.dedup();
        names
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.rotation.abort();
        for keeper in self.shared.keepers() {
            keeper.let_go();
        }
    }
}

#[async_trait]
impl Provider for Supervisor {
    async fn fetch(&self, request: &Fetch) -> PortResult<()> {
        let (store, digest) = (Arc::clone(&self.shared.store), request.artifact.clone());
        self.shared.can_start(request.release).await?;
        let size = request.size;
        blocking(move || store.verify(&digest).and_then(|()| store.has_room_for(size))).await
    }

    async fn start(&self, request: &StartRequest) -> PortResult<Vec<Instance>> {
        let (shared, request) = (Arc::clone(&self.shared), request.clone());
        whole("supervisor", async move { start::start(&shared, &request).await }).await
    }

    async fn await_healthy(&self, request: &AwaitHealthy) -> PortResult<Vec<Instance>> {
        await_healthy::await_healthy(&self.shared, request).await
    }

    async fn stop(&self, request: &StopRequest) -> PortResult<()> {
        let (shared, request) = (Arc::clone(&self.shared), request.clone());
        whole("supervisor", async move { stop::stop(&shared, &request).await }).await
    }

    async fn hook(&self, request: &HookRequest) -> PortResult<Ended> {
        hook::run(&self.shared, request).await
    }

    async fn forget_hooks(&self, request: &ForgetHooks) -> PortResult<()> {
        hook::forget(&self.shared, request).await
    }

    async fn discard(&self, artifact: &Digest) -> PortResult<bool> {
        let (store, digest) = (Arc::clone(&self.shared.store), artifact.clone());
        blocking(move || store.discard(&digest)).await
    }

    async fn instances(&self, environment: &EnvironmentName) -> PortResult<Vec<Instance>> {
        let here =
            self.shared.keepers().into_iter().filter(|keeper| keeper.placement.environment == *environment);
        Ok(here.map(|keeper| keeper.instance()).collect())
    }

    async fn memory(&self, placement: &Placement) -> PortResult<Option<Memory>> {
        let instances = self.instances(&placement.environment).await?;
        blocking(move || Ok(memory::of(&instances))).await
    }
}

#[async_trait]
impl Hosted for Supervisor {
    fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    async fn run_once(&self, command: &OneOff) -> PortResult<Ended> {
        one_off::run(&self.shared, command).await
    }

    async fn count_lines(&self, request: &CountLines) -> PortResult<Lines> {
        lines::count(&self.shared, request).await
    }

    async fn stop_everything(&self) -> PortResult<()> {
        let shared = Arc::clone(&self.shared);
        whole("supervisor", async move { stop::stop_everything(&shared).await }).await
    }
}

fn lock(path: &std::path::Path) -> Result<File> {
    let unusable = |cause: io::Error| {
        Error::refused("ORC-0321", format!("{} cannot be locked", path.display())).source(cause)
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(unusable)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::refused(
            "ORC-0320",
            format!("another daemon supervises this home: it holds {}", path.display()),
        )
        .hint("see what it does: orchestrate daemon status")),
        Err(cause) => Err(unusable(cause.into())),
    }
}
