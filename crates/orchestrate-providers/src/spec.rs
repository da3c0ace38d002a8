//! What a provider has to know of a release to run it, and whom it asks.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use orchestrate_core::confinement::Confinement;
use orchestrate_core::environment::{Engine, HealthCheck, ProcessType};
use orchestrate_core::name::{EnvironmentName, ReleaseId, Version};
use orchestrate_core::ports::{Counts, PortResult, Processes};
use orchestrate_core::release::{Digest, Image};
use orchestrate_core::secrets::SecretText;
use orchestrate_core::time::Span;

/// Knows the sealed releases. The daemon answers from its database.
#[async_trait]
pub trait RunSpecs: Send + Sync {
    /// Is also asked while a provider is being opened.
    async fn run_spec(&self, release: ReleaseId) -> PortResult<RunSpec>;
}

/// A sealed release, as far as running it goes. The secrets stay in memory.
#[derive(Clone, Debug)]
pub struct RunSpec {
    pub service: String,
    pub environment: EnvironmentName,
    pub version: Version,
    pub digest: Digest,
    /// Where the release is an image.
    pub image: Option<Image>,
    pub processes: BTreeMap<String, ProcessType>,
    /// Of what runs once: hooks and smoke tests. A process type has its own.
    pub confinement: Confinement,
    pub health_check: HealthCheck,
    pub drain: Span,
    pub stop_timeout: Span,
    pub variables: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, SecretText>,
    /// What only its provider has to know.
    pub engine: Engine,
}

/// One instance that a release should have.
pub(crate) struct Wanted<'a> {
    pub process: &'a str,
    pub number: u32,
    pub listen: Option<SocketAddr>,
}

impl RunSpec {
    /// The instances of these process types; of each only the first ones, where `counts` says how many.
    pub(crate) fn wanted(
        &self,
        processes: Processes,
        counts: Option<&Counts>,
    ) -> impl Iterator<Item = Wanted<'_>> {
        let meant = self.processes.iter().filter(move |(_, kind)| processes.includes(kind.listen));
        meant.flat_map(move |(process, kind)| {
            let most = counts.map_or(kind.instances, |counts| counts.get(process).copied().unwrap_or(0));
            (1..=kind.instances.min(most)).map(|number| Wanted { process, number, listen: kind.listen })
        })
    }
}
