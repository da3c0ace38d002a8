//! Whichever router an environment has: one router of all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use orchestrate_core::environment::RouterKind;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{
    Close, Deregister, Drain, Drained, PortError, PortResult, Proof, Prove, Register, ReleaseCounts, Router,
    RouterView, Switch,
};
use orchestrate_core::traffic::Shift;

use super::RoutedBy;

/// The environment's settings say which one it is.
pub struct ByRouter {
    routed: Arc<RoutedBy>,
    kinds: BTreeMap<RouterKind, Arc<dyn Router>>,
    /// Those that were asked anything, and so may have something to write down.
    asked: Mutex<BTreeSet<RouterKind>>,
}

impl ByRouter {
    pub fn new(routed: Arc<RoutedBy>, kinds: BTreeMap<RouterKind, Arc<dyn Router>>) -> Self {
        Self { routed, kinds, asked: Mutex::default() }
    }

    async fn of(&self, environment: &EnvironmentName) -> PortResult<&dyn Router> {
        let (kind, _) = self.routed.of(environment).await?;
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(kind);
        self.kinds.get(&kind).map(AsRef::as_ref).ok_or_else(|| {
            PortError::failed(format!("{environment} has a router that this program does not know"))
        })
    }
}

#[async_trait]
impl Router for ByRouter {
    async fn register(&self, request: &Register) -> PortResult<()> {
        self.of(&request.placement.environment).await?.register(request).await
    }

    async fn switch(&self, request: &Switch) -> PortResult<()> {
        self.of(&request.placement.environment).await?.switch(request).await
    }

    async fn shift(&self, request: &Shift) -> PortResult<()> {
        self.of(&request.placement.environment).await?.shift(request).await
    }

    async fn persisted(&self) -> PortResult<()> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for router in asked.iter().filter_map(|kind| self.kinds.get(kind)) {
            router.persisted().await?;
        }
        Ok(())
    }

    async fn observe(&self, environment: &EnvironmentName) -> PortResult<RouterView> {
        self.of(environment).await?.observe(environment).await
    }

    async fn counts(&self, environment: &EnvironmentName) -> PortResult<Vec<ReleaseCounts>> {
        self.of(environment).await?.counts(environment).await
    }

    async fn prove(&self, request: &Prove) -> PortResult<Proof> {
        self.of(&request.placement.environment).await?.prove(request).await
    }

    async fn drain(&self, request: &Drain) -> PortResult<Drained> {
        self.of(&request.placement.environment).await?.drain(request).await
    }

    async fn deregister(&self, request: &Deregister) -> PortResult<()> {
        self.of(&request.environment).await?.deregister(request).await
    }

    async fn close(&self, request: &Close) -> PortResult<()> {
        self.of(&request.environment).await?.close(request).await
    }
}
