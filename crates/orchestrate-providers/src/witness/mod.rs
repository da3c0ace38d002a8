//! What core's checks ask about a release of this host: a request to an instance, a command in its place, its output,
//! and a metric of a Prometheus.

mod http;
mod prometheus;

use std::sync::Arc;

use async_trait::async_trait;
use orchestrate_core::ports::{Answer, CountLines, Ended, Lines, Metric, OneOff, PortResult, Probe, Witness};

use crate::process::Supervisor;
use prometheus::Prometheus;

/// Lives in the daemon, beside the supervisor.
pub struct ReleaseWitness {
    supervisor: Arc<Supervisor>,
    prometheus: Prometheus,
}

impl ReleaseWitness {
    pub fn new(supervisor: Arc<Supervisor>) -> Self {
        Self { supervisor, prometheus: Prometheus::default() }
    }
}

#[async_trait]
impl Witness for ReleaseWitness {
    async fn request(&self, request: &Probe) -> PortResult<Answer> {
        http::request(request).await
    }

    async fn run(&self, command: &OneOff) -> PortResult<Ended> {
        self.supervisor.run_once(command).await
    }

    async fn count_lines(&self, request: &CountLines) -> PortResult<Lines> {
        self.supervisor.count_lines(request).await
    }

    async fn metric(&self, metric: &Metric) -> PortResult<Option<f64>> {
        self.prometheus.value(metric).await
    }
}
