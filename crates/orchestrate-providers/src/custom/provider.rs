//! The provider itself, as it lives in the daemon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{
    AwaitHealthy, CountLines, Ended, Fetch, HookRequest, Instance, Lines, OneOff, Placement, PortError,
    PortResult, Processes, Provider, StartRequest, StopRequest,
};
use orchestrate_core::release::Digest;
use orchestrate_core::time::Timestamp;
use tokio::sync::watch;

use super::answer;
use super::await_healthy::await_healthy;
use super::call::{Surroundings, settings, who};
use super::request::{Verb, wanted};
use crate::artifact::ArtifactStore;
use crate::elsewhere::book::{Entry, Placed};
use crate::elsewhere::run::{self, Call};
use crate::hosted::{Hosted, whole};
use crate::process::{blocking, log_path};
use crate::spec::{RunSpec, RunSpecs};

/// Runs the commands that a release was sealed with.
pub struct CustomProvider {
    around: Arc<Surroundings>,
    /// Hooks are commands of a release whoever runs it, and it keeps what came of them.
    hooks: Arc<dyn Hosted>,
    changes: watch::Sender<u64>,
    closing: Arc<AtomicBool>,
}

impl CustomProvider {
    /// Touches nothing until it is used. `hooks` runs the hooks, and is asked for artifacts that nobody needs.
    pub fn new(
        home: std::path::PathBuf,
        store: Arc<ArtifactStore>,
        specs: Arc<dyn RunSpecs>,
        hooks: Arc<dyn Hosted>,
    ) -> Self {
        let around = Arc::new(Surroundings::new(home, store, specs));
        Self { around, hooks, changes: watch::Sender::new(0), closing: Arc::default() }
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

#[async_trait]
impl Provider for CustomProvider {
    async fn fetch(&self, request: &Fetch) -> PortResult<()> {
        settings(&self.around.spec(request.release).await?)?;
        let (store, digest) = (Arc::clone(&self.around.store), request.artifact.clone());
        blocking(move || store.verify(&digest)).await
    }

    async fn start(&self, request: &StartRequest) -> PortResult<Vec<Instance>> {
        let (around, closing, request) =
            (Arc::clone(&self.around), Arc::clone(&self.closing), request.clone());
        let started = whole("provider", async move { start(&around, &closing, &request).await }).await;
        self.changed();
        started
    }

    async fn await_healthy(&self, request: &AwaitHealthy) -> PortResult<Vec<Instance>> {
        await_healthy(&self.around, request).await
    }

    async fn stop(&self, request: &StopRequest) -> PortResult<()> {
        let (around, request) = (Arc::clone(&self.around), request.clone());
        let stopped = whole("provider", async move { stop(&around, &request).await }).await;
        self.changed();
        stopped
    }

    async fn hook(&self, request: &HookRequest) -> PortResult<Ended> {
        self.hooks.hook(request).await
    }

    /// The process provider of the same home does that.
    async fn discard(&self, _: &Digest) -> PortResult<bool> {
        Ok(false)
    }

    async fn instances(&self, environment: &EnvironmentName) -> PortResult<Vec<Instance>> {
        let mut all = Vec::new();
        for placed in self.around.book.entry(environment).await?.placed {
            all.extend(status(&self.around, &placed).await?);
        }
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(all)
    }

    async fn drift(&self, placement: &Placement, _: Processes) -> PortResult<Vec<String>> {
        let spec = self.around.spec(placement.release).await?;
        let told = self.around.ask(Verb::Status, &spec, placement, None, None, |_| {}).await?;
        Ok(answer::of_another_version(&told.instances.unwrap_or_default(), placement))
    }
}

#[async_trait]
impl Hosted for CustomProvider {
    fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn run_once(&self, command: &OneOff) -> PortResult<Ended> {
        let (around, placement) = (&self.around, &command.placement);
        let spec = around.spec(placement.release).await?;
        let call = Call {
            who: format!("`{}` ({} of {})", command.command.join(" "), command.name, placement.version),
            words: &command.command,
            spec: &spec,
            placement,
            name: format!("once-{}", placement.slot),
            directory: around.make_place(&spec, placement).await?,
            log: log_path(&around.home, &placement.environment, &placement.version, "once", 1),
            limit: command.timeout,
            variables: command.variables.clone().into_iter().collect(),
        };
        run::once(&call).await
    }

    async fn count_lines(&self, request: &CountLines) -> PortResult<Lines> {
        let version = &request.placement.version;
        Err(PortError::failed(format!(
            "what instances of {version} print is not here to be read: commands run them"
        )))
    }

    async fn stop_everything(&self) -> PortResult<()> {
        self.closing.store(true, Ordering::SeqCst);
        let mut outcome = Ok(());
        for entry in self.around.book.record().await?.environments.into_values() {
            for placed in entry.placed {
                let around = Arc::clone(&self.around);
                outcome = whole("provider", async move { end(&around, &placed.placement).await })
                    .await
                    .and(outcome);
            }
        }
        outcome
    }
}

async fn start(
    around: &Surroundings,
    closing: &AtomicBool,
    request: &StartRequest,
) -> PortResult<Vec<Instance>> {
    let (placement, fence) = (&request.placement, request.fence);
    let turn = around.turn(&placement.environment, placement.slot.as_str()).await?;
    if closing.load(Ordering::SeqCst) {
        return Err(PortError::failed("everything is being stopped here"));
    }
    let entry = around.book.update(&placement.environment, fence, |entry| Ok(entry.clone())).await?;
    let spec = around.spec(placement.release).await?;
    settings(&spec)?;
    for other in &entry.placed {
        if other.placement.slot == placement.slot && other.placement != *placement {
            stop_all(around, &turn, &other.placement).await?;
            let gone = other.placement.clone();
            around
                .book
                .update(&placement.environment, fence, move |entry| {
                    entry.forget(&gone);
                    Ok(())
                })
                .await?;
        }
    }
    around.make_place(&spec, placement).await?;
    let placed = note(around, request, false).await?;
    if !placed.deployed && !Verb::Deploy.command(settings(&spec)?).is_empty() {
        around.ask(Verb::Deploy, &spec, placement, Some(&turn), None, |_| {}).await?;
    }
    // `deploy` may have taken long; whoever came meanwhile has the say.
    let placed = note(around, request, true).await?;
    let wanted = wanted(&spec, placement, request.processes, request.counts.as_ref());
    let answer =
        around.ask(Verb::Start, &spec, placement, Some(&turn), None, |told| told.instances = wanted).await?;
    match answer.instances {
        Some(told) => list(told, &spec, &placed, Verb::Start),
        None => status(around, &placed).await,
    }
}

/// Writes down what is in the slot, before anything is run for it and once it is deployed.
async fn note(around: &Surroundings, request: &StartRequest, deployed: bool) -> PortResult<Placed> {
    let placement = request.placement.clone();
    let change = move |entry: &mut Entry| {
        let known = entry.placed(&placement).cloned();
        let since = known.as_ref().map_or_else(Timestamp::system_now, |known| known.since);
        let deployed = deployed || known.is_some_and(|known| known.deployed);
        let placed = Placed { placement: placement.clone(), since, deployed, leaving: false };
        entry.forget(&placement);
        entry.placed.push(placed.clone());
        Ok(placed)
    };
    around.book.update(&request.placement.environment, request.fence, change).await
}

async fn stop(around: &Surroundings, request: &StopRequest) -> PortResult<()> {
    let (placement, fence) = (&request.placement, request.fence);
    let turn = around.turn(&placement.environment, placement.slot.as_str()).await?;
    let entry = around.book.update(&placement.environment, fence, |entry| Ok(entry.clone())).await?;
    let taken = |placed: &Placed| placed.placement.slot == placement.slot && placed.placement != *placement;
    if entry.placed(placement).is_none() && entry.placed.iter().any(taken) {
        // It was stopped when the slot was taken; a command that knows slots only would hit what is there now.
        return Ok(());
    }
    if request.processes == Processes::All && request.counts.is_none() {
        stop_all(around, &turn, placement).await?;
        let gone = placement.clone();
        around
            .book
            .update(&placement.environment, fence, move |entry| {
                entry.forget(&gone);
                Ok(())
            })
            .await?;
        return Ok(());
    }
    let spec = around.spec(placement.release).await?;
    let kept =
        request.counts.as_ref().map(|counts| wanted(&spec, placement, request.processes, Some(counts)));
    let mut going = wanted(&spec, placement, request.processes, None);
    going.retain(|one| !kept.as_ref().is_some_and(|kept| kept.contains(one)));
    around.ask(Verb::Stop, &spec, placement, Some(&turn), None, |told| told.instances = going).await.map(drop)
}

/// Stops a release for good, whatever the fence.
async fn end(around: &Surroundings, placement: &Placement) -> PortResult<()> {
    let turn = around.turn(&placement.environment, placement.slot.as_str()).await?;
    stop_all(around, &turn, placement).await?;
    let gone = placement.clone();
    around.book.amend(&placement.environment, move |entry| entry.forget(&gone)).await
}

async fn stop_all(
    around: &Surroundings,
    turn: &crate::elsewhere::turn::Turn,
    placement: &Placement,
) -> PortResult<()> {
    let spec = around.spec(placement.release).await?;
    let everybody = wanted(&spec, placement, Processes::All, None);
    let fill = |told: &mut super::request::Request| {
        told.instances = everybody;
        told.all = true;
    };
    around.ask(Verb::Stop, &spec, placement, Some(turn), None, fill).await?;
    around.remove_place(placement).await.or_else(|error| {
        // It costs disk space, and the next start there uses it again; the stop itself is done.
        tracing::warn!(%error, "a directory of a custom release is left");
        Ok(())
    })
}

async fn status(around: &Surroundings, placed: &Placed) -> PortResult<Vec<Instance>> {
    let spec = around.spec(placed.placement.release).await?;
    let answer = around.ask(Verb::Status, &spec, &placed.placement, None, None, |_| {}).await?;
    list(answer.instances.unwrap_or_default(), &spec, placed, Verb::Status)
}

fn list(told: Vec<answer::Told>, spec: &RunSpec, placed: &Placed, verb: Verb) -> PortResult<Vec<Instance>> {
    let placement = &placed.placement;
    let who = who(verb, verb.command(settings(spec)?), placement);
    answer::instances(told, spec, placement, placed.since, &who)
}
