//! What core's checks ask about a release: a request to an instance, a command in its place, its output,
//! and a metric of a Prometheus.

pub(crate) mod http;
mod prometheus;

use std::sync::Arc;

use async_trait::async_trait;
use orchestrate_core::ports::{Answer, CountLines, Ended, Lines, Metric, OneOff, PortResult, Probe, Witness};

use crate::hosted::Hosted;
use prometheus::Prometheus;

/// Lives in the daemon, beside the providers.
pub struct ReleaseWitness {
    providers: Arc<dyn Hosted>,
    prometheus: Prometheus,
}

impl ReleaseWitness {
    pub fn new(providers: Arc<dyn Hosted>) -> Self {
        Self { providers, prometheus: Prometheus::default() }
    }
}

#[async_trait]
impl Witness for ReleaseWitness {
    async fn request(&self, request: &Probe) -> PortResult<Answer> {
        http::request(request).await
    }

    async fn run(&self, command: &OneOff) -> PortResult<Ended> {
        self.providers.run_once(command).await
    }

    async fn count_lines(&self, request: &CountLines) -> PortResult<Lines> {
        self.providers.count_lines(request).await
    }

    async fn metric(&self, metric: &Metric) -> PortResult<Option<f64>> {
        self.prometheus.value(metric).await
    }
}
