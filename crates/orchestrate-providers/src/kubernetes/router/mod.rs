//! The `kubernetes` router: a Service for each routed process type, whose selector picks who is live. Where two releases share
//! the traffic, an HTTPRoute of the user's has weights, or the Service selects pods of both.

mod drain;
mod endpoints;
mod mix;
mod prove;
mod register;
mod route;
mod service;
mod share;
mod switch;
mod traffic;

pub use mix::described;
pub(super) use service::selected_otherwise;

use std::sync::Arc;

use async_trait::async_trait;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{
    Close, Deregister, Drain, Drained, PortResult, Proof, Prove, Register, ReleaseCounts, Router, RouterView,
    Switch,
};
use orchestrate_core::traffic::Shift;

use super::access::Access;
use super::site::{Places, Site};

/// Asks the cluster of each environment, from wherever it runs.
pub struct KubernetesRouter {
    places: Arc<dyn Places>,
    access: Arc<Access>,
}

impl KubernetesRouter {
    pub fn new(places: Arc<dyn Places>) -> Self {
        Self { places, access: Access::shared() }
    }

    async fn site(&self, environment: &EnvironmentName) -> PortResult<Site> {
        Site::known(&*self.places, &self.access, environment).await
    }
}

#[async_trait]
impl Router for KubernetesRouter {
    async fn register(&self, request: &Register) -> PortResult<()> {
        register::register(&self.site(&request.placement.environment).await?, request).await
    }

    async fn switch(&self, request: &Switch) -> PortResult<()> {
        switch::switch(&self.site(&request.placement.environment).await?, request).await
    }

    async fn shift(&self, request: &Shift) -> PortResult<()> {
        switch::shift(&self.site(&request.placement.environment).await?, request).await
    }

    /// The cluster has it on disk before it answers.
    async fn persisted(&self) -> PortResult<()> {
        Ok(())
    }

    async fn observe(&self, environment: &EnvironmentName) -> PortResult<RouterView> {
        traffic::view(&self.site(environment).await?).await
    }

    /// Nobody in a cluster counts answers by release.
    async fn counts(&self, _: &EnvironmentName) -> PortResult<Vec<ReleaseCounts>> {
        Ok(Vec::new())
    }

    async fn prove(&self, request: &Prove) -> PortResult<Proof> {
        prove::prove(&self.site(&request.placement.environment).await?, request).await
    }

    async fn drain(&self, request: &Drain) -> PortResult<Drained> {
        drain::drain(&self.site(&request.placement.environment).await?, request).await
    }

    async fn deregister(&self, request: &Deregister) -> PortResult<()> {
        register::deregister(&self.site(&request.environment).await?, request).await
    }

    async fn close(&self, request: &Close) -> PortResult<()> {
        register::close(&self.site(&request.environment).await?, request).await
    }
}
