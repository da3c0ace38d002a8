//! Whichever provider a release was sealed for: one provider of all of them, as the daemon hosts it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use orchestrate_core::database::Database;
use orchestrate_core::environment::ProviderKind;
use orchestrate_core::name::{EnvironmentName, ReleaseId};
use orchestrate_core::ports::{
    AwaitHealthy, CountLines, Ended, Fetch, ForgetHooks, HookRequest, Instance, Lines, Memory, OneOff,
    Placement, PortError, PortErrorKind, PortResult, Processes, Provider, StartRequest, StopRequest,
};
use orchestrate_core::release::Digest;
use orchestrate_providers::Hosted;
use tokio::sync::watch;

/// A release says which one runs it, so an environment may move from one provider to another.
pub struct ByProvider {
    db: Database,
    kinds: BTreeMap<ProviderKind, Arc<dyn Hosted>>,
    /// What is sealed does not change.
    known: Mutex<HashMap<ReleaseId, ProviderKind>>,
    changes: watch::Sender<u64>,
}

impl ByProvider {
    pub fn new(db: Database, kinds: BTreeMap<ProviderKind, Arc<dyn Hosted>>) -> Arc<Self> {
        let all = Arc::new(Self { db, kinds, known: Mutex::default(), changes: watch::Sender::new(0) });
        for provider in all.kinds.values() {
            let (mut changed, changes) = (provider.subscribe(), all.changes.clone());
            tokio::spawn(async move {
                while changed.changed().await.is_ok() {
                    changes.send_modify(|count| *count += 1);
                }
            });
        }
        all
    }

    async fn of(&self, release: ReleaseId) -> PortResult<&dyn Hosted> {
        let kind = self.kind_of(release).await?;
        self.kinds.get(&kind).map(AsRef::as_ref).ok_or_else(|| {
            PortError::failed(format!("release {release} runs on {kind}, which this daemon has not"))
        })
    }

    /// An engine that nothing of the environment is on need not even be there. What is left on this machine is always asked for.
    async fn used_in(&self, environment: &EnvironmentName) -> PortResult<BTreeSet<ProviderKind>> {
        let slots = self.db.slots(environment).await;
        let slots = slots.map_err(|error| PortError::failed(error.full_message()))?;
        let mut used = BTreeSet::from([ProviderKind::Process]);
        for slot in slots {
            used.insert(self.kind_of(slot.release).await?);
        }
        Ok(used)
    }

    async fn kind_of(&self, release: ReleaseId) -> PortResult<ProviderKind> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&release).copied();
        match known {
            Some(kind) => Ok(kind),
            None => self.look_up(release).await,
        }
    }

    async fn look_up(&self, release: ReleaseId) -> PortResult<ProviderKind> {
        let told = |error: orchestrate_core::Error| PortError::failed(error.full_message());
        let found = self.db.release(release).await.map_err(told)?.ok_or_else(|| {
            PortError::new(PortErrorKind::Missing, format!("release {release} is not recorded"))
        })?;
        let kind = found.contents.settings.provider;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(release, kind);
        Ok(kind)
    }
}

#[async_trait]
impl Provider for ByProvider {
    async fn fetch(&self, request: &Fetch) -> PortResult<()> {
        self.of(request.release).await?.fetch(request).await
    }

    async fn start(&self, request: &StartRequest) -> PortResult<Vec<Instance>> {
        self.of(request.placement.release).await?.start(request).await
    }

    async fn await_healthy(&self, request: &AwaitHealthy) -> PortResult<Vec<Instance>> {
        self.of(request.placement.release).await?.await_healthy(request).await
    }

    async fn stop(&self, request: &StopRequest) -> PortResult<()> {
        self.of(request.placement.release).await?.stop(request).await
    }

    async fn hook(&self, request: &HookRequest) -> PortResult<Ended> {
        self.of(request.placement.release).await?.hook(request).await
    }

    async fn forget_hooks(&self, request: &ForgetHooks) -> PortResult<()> {
        for provider in self.kinds.values() {
            provider.forget_hooks(request).await?;
        }
        Ok(())
    }

    async fn discard(&self, artifact: &Digest) -> PortResult<bool> {
        let mut discarded = false;
        for provider in self.kinds.values() {
            discarded |= provider.discard(artifact).await?;
        }
        Ok(discarded)
    }

    async fn instances(&self, environment: &EnvironmentName) -> PortResult<Vec<Instance>> {
        let used = self.used_in(environment).await?;
        let mut all = Vec::new();
        for (_, provider) in self.kinds.iter().filter(|(kind, _)| used.contains(kind)) {
            all.extend(provider.instances(environment).await?);
        }
        Ok(all)
    }

    async fn drift(&self, placement: &Placement, of: Processes) -> PortResult<Vec<String>> {
        self.of(placement.release).await?.drift(placement, of).await
    }

    async fn memory(&self, placement: &Placement) -> PortResult<Option<Memory>> {
        self.of(placement.release).await?.memory(placement).await
    }
}

#[async_trait]
impl Hosted for ByProvider {
    fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn run_once(&self, command: &OneOff) -> PortResult<Ended> {
        self.of(command.placement.release).await?.run_once(command).await
    }

    async fn count_lines(&self, request: &CountLines) -> PortResult<Lines> {
        self.of(request.placement.release).await?.count_lines(request).await
    }

    async fn stop_everything(&self) -> PortResult<()> {
        let mut result = Ok(());
        for provider in self.kinds.values() {
            result = provider.stop_everything().await.and(result);
        }
        result
    }
}
