//! Where the environments that are in a cluster are, as they are configured now.

use async_trait::async_trait;
use orchestrate_core::database::Database;
use orchestrate_core::environment::ProviderKind;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{PortError, PortResult};
use orchestrate_providers::kubernetes::{Place, Places};

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
