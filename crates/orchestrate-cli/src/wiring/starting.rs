//! Ports behind the daemon, which is started where it is needed.

use async_trait::async_trait;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{
    AwaitHealthy, Close, Deregister, Drain, Drained, Ended, Fetch, HookRequest, Instance, Memory, Placement,
    PortError, PortErrorKind, PortResult, Processes, Proof, Prove, Provider, Register, ReleaseCounts, Router,
    RouterView, StartRequest, StopRequest, Switch,
};
use orchestrate_core::release::Digest;
use orchestrate_core::traffic::Shift;

use crate::daemon_client::DaemonClient;

/// A port behind the daemon: where nobody answers, the daemon is started, once, and asked again. One that another took
/// over from in the middle is asked again, too: every request may be made twice.
pub(super) struct Starting<P> {
    pub daemon: DaemonClient,
    pub port: P,
}

impl<P> Starting<P> {
    async fn again<T>(
        &self,
        first: PortResult<T>,
        second: impl Future<Output = PortResult<T>>,
    ) -> PortResult<T> {
        match first {
            Err(error) if error.kind == PortErrorKind::Unreachable => {
                self.daemon.ensure().await.map_err(|error| PortError::unreachable(error.full_message()))?;
                second.await
            }
            result => result,
        }
    }
}

#[async_trait]
impl<P: Provider> Provider for Starting<P> {
    async fn fetch(&self, request: &Fetch) -> PortResult<()> {
        self.again(self.port.fetch(request).await, self.port.fetch(request)).await
    }

    async fn start(&self, request: &StartRequest) -> PortResult<Vec<Instance>> {
        self.again(self.port.start(request).await, self.port.start(request)).await
    }

    async fn await_healthy(&self, request: &AwaitHealthy) -> PortResult<Vec<Instance>> {
        self.again(self.port.await_healthy(request).await, self.port.await_healthy(request)).await
    }

    async fn stop(&self, request: &StopRequest) -> PortResult<()> {
        self.again(self.port.stop(request).await, self.port.stop(request)).await
    }

    async fn hook(&self, request: &HookRequest) -> PortResult<Ended> {
        self.again(self.port.hook(request).await, self.port.hook(request)).await
    }

    async fn discard(&self, artifact: &Digest) -> PortResult<bool> {
        self.again(self.port.discard(artifact).await, self.port.discard(artifact)).await
    }

    async fn instances(&self, environment: &EnvironmentName) -> PortResult<Vec<Instance>> {
        self.again(self.port.instances(environment).await, self.port.instances(environment)).await
    }

    async fn drift(&self, placement: &Placement, of: Processes) -> PortResult<Vec<String>> {
        self.again(self.port.drift(placement, of).await, self.port.drift(placement, of)).await
    }

    async fn memory(&self, placement: &Placement) -> PortResult<Option<Memory>> {
        self.again(self.port.memory(placement).await, self.port.memory(placement)).await
    }
}

#[async_trait]
impl<P: Router> Router for Starting<P> {
    async fn register(&self, request: &Register) -> PortResult<()> {
        self.again(self.port.register(request).await, self.port.register(request)).await
    }

    async fn switch(&self, request: &Switch) -> PortResult<()> {
        self.again(self.port.switch(request).await, self.port.switch(request)).await
    }

    async fn shift(&self, request: &Shift) -> PortResult<()> {
        self.again(self.port.shift(request).await, self.port.shift(request)).await
    }

    async fn persisted(&self) -> PortResult<()> {
        self.port.persisted().await
    }

    async fn observe(&self, environment: &EnvironmentName) -> PortResult<RouterView> {
        self.again(self.port.observe(environment).await, self.port.observe(environment)).await
    }

    async fn counts(&self, environment: &EnvironmentName) -> PortResult<Vec<ReleaseCounts>> {
        self.port.counts(environment).await
    }

    async fn prove(&self, request: &Prove) -> PortResult<Proof> {
        self.again(self.port.prove(request).await, self.port.prove(request)).await
    }

    async fn drain(&self, request: &Drain) -> PortResult<Drained> {
        self.again(self.port.drain(request).await, self.port.drain(request)).await
    }

    async fn close(&self, request: &Close) -> PortResult<()> {
        self.again(self.port.close(request).await, self.port.close(request)).await
    }

    async fn deregister(&self, request: &Deregister) -> PortResult<()> {
        self.again(self.port.deregister(request).await, self.port.deregister(request)).await
    }
}
