//! Where the environments that are in a cluster are, as they are configured now.

use std::path::Path;

use async_trait::async_trait;
use orchestrate_core::Result;
use orchestrate_core::database::Database;
use orchestrate_core::deployment_strategy::{Strategy, StrategyKind};
use orchestrate_core::environment::{EnvironmentSettings, ProviderKind};
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{PortError, PortResult};
use orchestrate_providers::kubernetes::{self, FoundManifests, Place, Places, shares_by_pods};

pub struct ClusterPlaces {
    db: Database,
}

impl ClusterPlaces {
    pub fn new(db: Database) -> Self {
        Self { db }
    }
}

#[async_trait]
impl Places for ClusterPlaces {
    async fn place(&self, environment: &EnvironmentName) -> PortResult<Option<Place>> {
        let found = match self.db.environment(environment).await {
            Ok(record) => record.environment,
            // It may have been deleted, or not be there yet.
            Err(error) if error.code() == "ORC-0101" => return Ok(None),
            Err(error) => return Err(PortError::unreachable(error.full_message())),
        };
        let settings = found.settings;
        let cluster = || settings.engine.kubernetes.clone().unwrap_or_default();
        let is_there = settings.provider == ProviderKind::Kubernetes;
        Ok(is_there.then(|| Place { service: found.service.clone(), settings: cluster() }))
    }
}

/// What is in the manifests that the settings name.
pub fn read_manifests(settings: &EnvironmentSettings, directory: &Path) -> Result<FoundManifests> {
    let cluster = settings.engine.kubernetes.as_ref().filter(|cluster| !cluster.manifests.is_empty());
    let is_routed = settings.processes.values().any(|process| process.listen.is_some());
    cluster.map_or_else(
        || Ok(FoundManifests::default()),
        |cluster| kubernetes::read_manifests(directory, cluster, is_routed),
    )
}

/// How exact the shares of a canary in a cluster can be, where no route has weights for them.
pub fn shares_told(settings: &EnvironmentSettings, kind: Option<StrategyKind>) -> Option<String> {
    let kind = kind.unwrap_or(settings.strategy.kind);
    let has_route = settings.engine.kubernetes.as_ref().is_some_and(|cluster| cluster.route.is_some());
    if settings.provider != ProviderKind::Kubernetes || kind != StrategyKind::Canary || has_route {
        return None;
    }
    let strategy = Strategy { kind, ..settings.strategy.clone() };
    let routed = settings.processes.values().filter(|process| process.listen.is_some());
    let fewest = routed.map(|process| process.instances).min()?;
    Some(shares_by_pods(&strategy.shares(), fewest))
}
