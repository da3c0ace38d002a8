//! The provider: sites that our own program serves are instances of the supervisor's; those behind a link have none.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use orchestrate_core::name::{EnvironmentName, Fence};
use orchestrate_core::ports::{
    AwaitHealthy, CountLines, Ended, Fetch, HookRequest, Instance, Lines, OneOff, Placement, PortError,
    PortErrorKind, PortResult, Processes, Provider, StartRequest, StopRequest,
};
use orchestrate_core::release::Digest;
use orchestrate_core::time::Timestamp;
use tokio::sync::watch;

use super::links::{self, Places};
use crate::artifact::ArtifactStore;
use crate::elsewhere::book::{Book, Entry, Placed};
use crate::elsewhere::run::{self, Call};
use crate::elsewhere::turn::Turn;
use crate::hosted::Hosted;
use crate::process::{blocking, log_path};
use crate::spec::{RunSpec, RunSpecs};

/// Which of the two it is, a release was sealed with.
pub struct StaticSites {
    home: PathBuf,
    store: Arc<ArtifactStore>,
    specs: Arc<dyn RunSpecs>,
    /// Runs what serves files, and all hooks.
    processes: Arc<dyn Hosted>,
    book: Book,
    changes: watch::Sender<u64>,
}

impl StaticSites {
    pub fn new(
        home: PathBuf,
        store: Arc<ArtifactStore>,
        specs: Arc<dyn RunSpecs>,
        processes: Arc<dyn Hosted>,
    ) -> Self {
        let book = links::book(&home);
        Self { home, store, specs, processes, book, changes: watch::Sender::new(0) }
    }

    /// The spec of a release behind a link; none where a process serves it.
    async fn linked(&self, placement: &Placement) -> PortResult<Option<RunSpec>> {
        let spec = self.specs.run_spec(placement.release).await?;
        let links = spec.engine.r#static.as_ref().is_some_and(orchestrate_core::environment::Static::links);
        Ok(links.then_some(spec))
    }

    async fn turn(&self, placement: &Placement) -> PortResult<Turn> {
        let directory = self.home.join("static").join(placement.environment.as_str());
        Turn::take(directory.join(format!("{}.lock", placement.slot))).await
    }

    async fn put(&self, request: &StartRequest, spec: RunSpec) -> PortResult<Vec<Instance>> {
        let (placement, fence) = (request.placement.clone(), request.fence);
        let _turn = self.turn(&placement).await?;
        let placed = self.book.update(&placement.environment, fence, {
            let placement = placement.clone();
            move |entry| Ok(note(entry, &placement))
        });
        let placed = placed.await?;
        self.clear(&placement.environment, fence).await?;
        let (store, places) = (Arc::clone(&self.store), Places::of(&spec, &placement)?);
        let (spec, places) =
            blocking(move || links::put(&store, &spec, &places).map(|()| (spec, places))).await?;
        self.changes.send_modify(|count| *count += 1);
        Ok(links::instances(&spec, &placement, &places, placed.since))
    }

    async fn remove(&self, request: &StopRequest) -> PortResult<()> {
        let (placement, fence) = (request.placement.clone(), request.fence);
        let _turn = self.turn(&placement).await?;
        // There is one directory, whoever shares it.
        let all = request.processes == Processes::All && request.counts.is_none();
        let leave = move |entry: &mut Entry| {
            let meant = entry.placed.iter_mut().filter(|placed| all && placed.placement == placement);
            meant.for_each(|placed| placed.leaving = true);
            Ok(())
        };
        self.book.update(&request.placement.environment, fence, leave).await?;
        self.clear(&request.placement.environment, fence).await?;
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Takes away what is to go and has no traffic any more.
    async fn clear(&self, environment: &EnvironmentName, fence: Fence) -> PortResult<()> {
        for placed in self.book.entry(environment).await?.placed {
            let Some(spec) = self.linked(&placed.placement).await?.filter(|_| placed.leaving) else {
                continue;
            };
            let places = Places::of(&spec, &placed.placement)?;
            if blocking(move || links::take_away(&places)).await? {
                let forget = move |entry: &mut Entry| {
                    entry.forget(&placed.placement);
                    Ok(())
                };
                self.book.update(environment, fence, forget).await?;
            }
        }
        Ok(())
    }

    async fn since(&self, placement: &Placement) -> PortResult<Option<Timestamp>> {
        let entry = self.book.entry(&placement.environment).await?;
        Ok(entry.placed(placement).map(|placed| placed.since))
    }
}

/// Writes down what is in the slot, and that all others leave it.
fn note(entry: &mut Entry, placement: &Placement) -> Placed {
    for other in entry.placed.iter_mut().filter(|placed| placed.placement.slot == placement.slot) {
        other.leaving = other.placement != *placement;
    }
    if let Some(known) = entry.placed(placement) {
        return known.clone();
    }
    let since = Timestamp::system_now();
    let placed = Placed { placement: placement.clone(), since, deployed: true, leaving: false };
    entry.placed.push(placed.clone());
    placed
}

#[async_trait]
impl Provider for StaticSites {
    async fn fetch(&self, request: &Fetch) -> PortResult<()> {
        self.processes.fetch(request).await
    }

    async fn start(&self, request: &StartRequest) -> PortResult<Vec<Instance>> {
        match self.linked(&request.placement).await? {
            Some(spec) => self.put(request, spec).await,
            None => self.processes.start(request).await,
        }
    }

    async fn await_healthy(&self, request: &AwaitHealthy) -> PortResult<Vec<Instance>> {
        let placement = &request.placement;
        let Some(spec) = self.linked(placement).await? else {
            return self.processes.await_healthy(request).await;
        };
        let Some(since) = self.since(placement).await? else {
            let message = format!("{} is not placed in {}", placement.version, placement.environment);
            return Err(PortError::new(PortErrorKind::NotReady, message));
        };
        let places = Places::of(&spec, placement)?;
        let all = links::instances(&spec, placement, &places, since);
        let (store, digest, release) = (Arc::clone(&self.store), spec.digest.clone(), places.release);
        let shown = release.display().to_string();
        match blocking(move || store.is_intact(&digest, &release)).await? {
            true => Ok(all),
            false => Err(PortError::failed(format!("{shown} is not what was sealed"))),
        }
    }

    async fn stop(&self, request: &StopRequest) -> PortResult<()> {
        match self.linked(&request.placement).await? {
            Some(_) => self.remove(request).await,
            None => self.processes.stop(request).await,
        }
    }

    async fn hook(&self, request: &HookRequest) -> PortResult<Ended> {
        self.processes.hook(request).await
    }

    /// The process provider of the same home does that.
    async fn discard(&self, _: &Digest) -> PortResult<bool> {
        Ok(false)
    }

    /// Only what is behind links: the rest is told by the process provider of the same home.
    async fn instances(&self, environment: &EnvironmentName) -> PortResult<Vec<Instance>> {
        let mut all = Vec::new();
        let placed = self.book.entry(environment).await?.placed.into_iter();
        for placed in placed.filter(|placed| !placed.leaving) {
            if let Some(spec) = self.linked(&placed.placement).await? {
                let places = Places::of(&spec, &placed.placement)?;
                all.extend(links::instances(&spec, &placed.placement, &places, placed.since));
            }
        }
        Ok(all)
    }

    async fn drift(&self, placement: &Placement, _: Processes) -> PortResult<Vec<String>> {
        let Some(spec) = self.linked(placement).await? else { return Ok(Vec::new()) };
        let places = Places::of(&spec, placement)?;
        let (store, shown) = (Arc::clone(&self.store), places.release.display().to_string());
        let intact = blocking(move || store.is_intact(&spec.digest, &places.release)).await?;
        Ok(if intact { Vec::new() } else { vec![format!("files of {shown} are not what was sealed")] })
    }
}

#[async_trait]
impl Hosted for StaticSites {
    fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn run_once(&self, command: &OneOff) -> PortResult<Ended> {
        let placement = &command.placement;
        let Some(spec) = self.linked(placement).await? else { return self.processes.run_once(command).await };
        let call = Call {
            who: format!("`{}` ({} of {})", command.command.join(" "), command.name, placement.version),
            words: &command.command,
            directory: Places::of(&spec, placement)?.release,
            spec: &spec,
            placement,
            name: format!("once-{}", placement.slot),
            log: log_path(&self.home, &placement.environment, &placement.version, "once", 1),
            limit: command.timeout,
            variables: command.variables.clone().into_iter().collect(),
        };
        run::once(&call).await
    }

    async fn count_lines(&self, request: &CountLines) -> PortResult<Lines> {
        match self.linked(&request.placement).await? {
            // The web server's log is its own.
            Some(_) => Ok(Lines::default()),
            None => self.processes.count_lines(request).await,
        }
    }

    /// What a web server of the user's serves goes on; nothing of it runs here.
    async fn stop_everything(&self) -> PortResult<()> {
        Ok(())
    }
}
